#!/usr/bin/env python3
"""Perplexity and KL divergence by Transformers, to check `nibble eval` (pins: requirements-heavy.txt).

    reference_eval.py MODEL TEXT --windows 5 [--reference DIR] [--fake bits,group,asym|sym] [--weights DIR]

MODEL is a Hugging Face directory, run in float32 whatever its dtype. Protocol: the file is tokenized once, no BOS (none
for SmolLM2), cut into non-overlapping windows of --seq-len 1024, a last short window dropped; mean negative log likelihood over the
L-1 targets of each window; KL(reference || model) in nats and top-1 agreement over the same positions.
--fake: round-to-nearest of the linears inside the blocks (scale in F16 before the codes, zero point an integer, range
includes 0). --weights DIR: a GPTQ directory, decoded by tests/readers/numpy_gptq.py, takes the place of MODEL's weights.
"""
import argparse
import json
import os
import sys
import time

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "readers"))


def rtn(w, bits, group, sym):
    n, k = w.shape
    x = w.reshape(n, k // group, group)
    maxq = 2 ** bits - 1
    lo = x.amin(-1, keepdim=True).clamp(max=0)
    hi = x.amax(-1, keepdim=True).clamp(min=0)
    if sym:
        a = torch.maximum(-lo, hi)
        lo, hi = -a, a
    flat = hi == lo
    lo, hi = torch.where(flat, -torch.ones_like(lo), lo), torch.where(flat, torch.ones_like(hi), hi)
    scale = ((hi - lo) / maxq).half().float()
    zero = torch.full_like(scale, (maxq + 1) // 2) if sym else torch.round(-lo / scale).clamp(0, maxq)
    code = (torch.round(x / scale) + zero).clamp(0, maxq)
    return ((code - zero) * scale).reshape(n, k)


def load(path):
    m = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    return m


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("text")
    a.add_argument("--windows", type=int, default=5)
    a.add_argument("--seq-len", type=int, default=1024)
    a.add_argument("--reference")
    a.add_argument("--fake")
    a.add_argument("--weights")
    a.add_argument("--threads", type=int, default=2)
    o = a.parse_args()
    torch.set_num_threads(o.threads)
    text = open(o.text, "rb").read().decode("utf-8", "replace")
    ids = Tokenizer.from_file(os.path.join(o.model, "tokenizer.json")).encode(text, add_special_tokens=False).ids
    count = min(o.windows, len(ids) // o.seq_len)
    m = load(o.model)
    if o.fake:
        bits, group, kind = o.fake.split(",")
        for n, q in m.named_modules():
            if isinstance(q, torch.nn.Linear) and n != "lm_head":
                q.weight.data = rtn(q.weight.data, int(bits), int(group), kind == "sym")
    if o.weights:
        import numpy_gptq
        _, plain, facts = numpy_gptq.load(o.weights)
        mods = dict(m.named_modules())
        for p in facts:
            mods[p].weight.data = torch.from_numpy(plain[p + ".weight"].copy())
    ref = load(o.reference) if o.reference else None
    start = time.time()
    rows = []
    for w in range(count):
        x = torch.tensor([ids[w * o.seq_len:(w + 1) * o.seq_len]])
        with torch.no_grad():
            lp = torch.log_softmax(m(x).logits[0, :-1], -1)
            row = {"nll": float(-lp.gather(1, x[0, 1:, None]).double().mean())}
            if ref is not None:
                rl = torch.log_softmax(ref(x).logits[0, :-1], -1)
                row["ref_nll"] = float(-rl.gather(1, x[0, 1:, None]).double().mean())
                row["kl"] = float((rl.exp() * (rl - lp)).sum(-1).double().mean())
                row["top1"] = float((rl.argmax(-1) == lp.argmax(-1)).double().mean())
        rows.append(row)
    mean = {k: float(np.mean([r[k] for r in rows])) for k in rows[0]}
    out = {"windows": count, "seq_len": o.seq_len, "tokens_in_text": len(ids), "targets": count * (o.seq_len - 1),
           "nll": mean["nll"], "perplexity": float(np.exp(mean["nll"])), "seconds": round(time.time() - start, 1)}
    if ref is not None:
        out.update({"reference_nll": mean["ref_nll"], "reference_perplexity": float(np.exp(mean["ref_nll"])),
                    "kl_mean": mean["kl"], "top1_agreement": mean["top1"]})
    out["per_window_nll"] = [round(r["nll"], 6) for r in rows]
    print(json.dumps(out))


main()
