#!/usr/bin/env python3
"""Load a checkpoint with Transformers (GPTQ and AWQ: + gptqmodel + optimum) and compare its logits with nibble's.

    transformers_load.py DIR --ids 1,2,3 [--dtype float16|bfloat16|float32] [--logits FILE.f32] [--tolerance 2e-2]
    transformers_load.py DIR --prompt "text"        ids by the directory's tokenizer.json

Prints JSON: versions, the kernel classes that were chosen, SHA-256 of the safetensors files, the last position's top ids.
FILE.f32 is raw little-endian float32, T rows of vocab_size logits, as nibble writes them; the JSON then also has the largest
difference, and as a share of max|logit|; exit 5 if that share is above the tolerance. The kernels compute in F16 and
round activations at each linear: the default tolerance is for that.
Heavy: needs setup-heavy.sh (torch, 5 GB). On a small machine set GPTQMODEL_CPU_WORKERS=2.
"""
import argparse
import collections
import glob
import hashlib
import json
import os
import sys

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

# The packages print banners and progress on stdout: send those to stderr, keep stdout for the JSON.
REPORT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402


def versions():
    import importlib.metadata as meta
    out = {"python": sys.version.split()[0]}
    for p in ("torch", "transformers", "gptqmodel", "optimum", "safetensors", "tokenizers"):
        try:
            out[p] = meta.version(p)
        except meta.PackageNotFoundError:
            out[p] = None
    return out


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("dir")
    a.add_argument("--ids")
    a.add_argument("--prompt")
    a.add_argument("--dtype", default="float16")
    a.add_argument("--logits")
    a.add_argument("--tolerance", type=float, default=2e-2)
    o = a.parse_args()
    if o.ids:
        ids = [int(x) for x in o.ids.split(",")]
    else:
        from tokenizers import Tokenizer
        ids = Tokenizer.from_file(os.path.join(o.dir, "tokenizer.json")).encode(o.prompt or "Hello world").ids
    m = transformers.AutoModelForCausalLM.from_pretrained(o.dir, dtype=getattr(torch, o.dtype), device_map="cpu").eval()
    with torch.no_grad():
        z = m(torch.tensor([ids])).logits[0].float().numpy()
    kinds = collections.Counter(type(x).__name__ for n, x in m.named_modules() if n.endswith("_proj") or n == "lm_head")
    out = {"versions": versions(), "ids": ids, "dtype": o.dtype, "modules": dict(kinds), "finite": bool(np.isfinite(z).all()),
           "max_logit": float(np.abs(z).max()), "top5_last": [int(i) for i in np.argsort(-z[-1])[:5]],
           "sha256": {os.path.basename(p): hashlib.sha256(open(p, "rb").read()).hexdigest()
                      for p in sorted(glob.glob(os.path.join(o.dir, "model*.safetensors")))}}
    failed = not out["finite"]
    if o.logits:
        y = np.fromfile(o.logits, "<f4").reshape(len(ids), -1)
        if y.shape[1] != z.shape[1]:
            sys.exit(f"{o.logits}: {y.shape[1]} logits a row, the model has {z.shape[1]}")
        d = np.abs(y - z).max(axis=1)
        share = float((d / np.abs(y).max(axis=1)).max())
        out.update({"max_difference": float(d.max()), "share_of_max_logit": share,
                    "top1_equal": float((y.argmax(1) == z.argmax(1)).mean()), "tolerance": o.tolerance})
        failed |= share > o.tolerance
    print(json.dumps(out), file=REPORT, flush=True)
    sys.exit(5 if failed else 0)


main()
