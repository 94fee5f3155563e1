#!/usr/bin/env python3
"""Another quantizer on a model and the token ids of bench_calib_ids, as a folder of F16 weights that `nibble eval` reads.

    quality_peer.py PEER MODEL IDS OUT [--bits 4] [--group 64] [--sym] [--seq-len 512] [--iters 200] [--lr X] [--threads 2]

PEER: hqq, hqq-int (zero points rounded before the iteration, as its round_zero), gptqmodel, llmc-gptq, llmc-awq, autoround. Each
in an environment of its own with torch, transformers and the peer from PyPI; llm-compressor and GPTQModel cannot share one.
MODEL: a Hugging Face directory in F16 or F32. Weights run in float32 on the CPU, but auto-round's, which takes bfloat16 where it
can, by its default; --iters 50 --lr 0.005 is what it calls light. Prints one JSON line: seconds of quantizing
alone (the model is loaded), CPU seconds with loading, peak resident memory, versions.
"""
import argparse
import json
import os
import resource
import shutil
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def linears(model):
    return [(n, m) for n, m in model.named_modules() if n.split(".")[-1] in LINEARS and hasattr(m, "weight")]


def hqq(o, model, ids):
    from hqq.core.quantize import Quantizer
    t = time.time()
    with torch.no_grad():
        for _, m in linears(model):
            q, meta = Quantizer.quantize(m.weight.data, nbits=o.bits, group_size=o.group, axis=1, optimize=True,
                                         round_zero=o.peer == "hqq-int", device="cpu", compute_dtype=torch.float32, bitpack=False)
            meta["scale"] = meta["scale"].half().float()
            meta["compute_dtype"] = torch.float32
            m.weight.data = Quantizer.dequantize(q, meta).reshape(m.weight.shape).float()
    return model, time.time() - t


def gptqmodel(o, model, ids):
    from gptqmodel import GPTQModel, QuantizeConfig
    calib = [{"input_ids": r.tolist(), "attention_mask": [1] * o.seq_len} for r in ids]
    qc = QuantizeConfig(bits=o.bits, group_size=o.group, sym=o.sym, desc_act=False, offload_to_disk=False,
                        format="gptq" if o.sym else "gptq_v2")
    m = GPTQModel.load(os.path.abspath(o.model), qc, device="cpu", dtype=torch.float32)
    t = time.time()
    m.quantize(calib, batch_size=1)
    t = time.time() - t
    m.save(os.path.abspath(o.out) + ".q")  # nibble reads it as it is
    return None, t


def llmc(o, model, ids):
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier
    torch.Tensor.pin_memory = lambda self, *a, **k: self  # its offloading asks for it where there is no driver
    args = QuantizationArgs(num_bits=o.bits, type="int", symmetric=o.sym, strategy="group", group_size=o.group)
    groups = {"group_0": QuantizationScheme(targets=["Linear"], weights=args)}
    if o.peer == "llmc-gptq":
        recipe = [GPTQModifier(config_groups=groups, ignore=["lm_head"], dampening_frac=0.01, actorder="static")]
    else:
        from llmcompressor.modifiers.awq import AWQModifier
        recipe = [AWQModifier(config_groups=groups, ignore=["lm_head"])]
    data = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": np.ones_like(ids).tolist()})
    t = time.time()
    oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=o.seq_len, num_calibration_samples=len(ids),
            tokenizer=AutoTokenizer.from_pretrained(o.model))
    t = time.time() - t
    with torch.no_grad():
        for _, m in linears(model):
            if hasattr(m, "weight_scale"):
                assert getattr(m, "weight_g_idx", None) is None  # actorder="static" keeps groups where they are
                m.weight.data = fake_quantize(m.weight.data.float(), m.weight_scale.float(), getattr(m, "weight_zero_point", None),
                                              args).float()
    return model, t


def autoround(o, model, ids):
    from auto_round import AutoRound
    data = [torch.from_numpy(r.astype(np.int64))[None] for r in ids]
    ar = AutoRound(model, tokenizer=AutoTokenizer.from_pretrained(o.model), bits=o.bits, group_size=o.group, sym=o.sym,
                   iters=o.iters, lr=o.lr, nsamples=len(ids), seqlen=o.seq_len, batch_size=min(8, len(ids)), dataset=data, device_map="cpu")
    t = time.time()
    done = ar.quantize()
    return (done[0] if isinstance(done, tuple) else done) or model, time.time() - t


def save(o, model):
    """Weights and norms (which AWQ changes) into a copy of the original's folder, F16."""
    from safetensors.torch import load_file, save_file
    state = {k: v for k, v in model.state_dict().items()}
    shutil.rmtree(o.out, ignore_errors=True)
    shutil.copytree(o.model, o.out)
    for name in os.listdir(o.out):
        if not name.endswith(".safetensors"):
            continue
        path = os.path.join(o.out, name)
        old = load_file(path)
        save_file({k: (state[k].detach().to(v.dtype).contiguous() if k in state else v) for k, v in old.items()}, path,
                  metadata={"format": "pt"})


def main():
    a = argparse.ArgumentParser()
    a.add_argument("peer", choices=["hqq", "hqq-int", "gptqmodel", "llmc-gptq", "llmc-awq", "autoround"])
    a.add_argument("model")
    a.add_argument("ids")
    a.add_argument("out")
    a.add_argument("--bits", type=int, default=4)
    a.add_argument("--group", type=int, default=64)
    a.add_argument("--seq-len", type=int, default=512)
    a.add_argument("--iters", type=int, default=200)
    a.add_argument("--lr", type=float)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--sym", action="store_true")
    o = a.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(o.threads)
    ids = np.fromfile(o.ids, "<i4").reshape(-1, o.seq_len)
    run = {"hqq": hqq, "hqq-int": hqq, "gptqmodel": gptqmodel, "llmc-gptq": llmc, "llmc-awq": llmc, "autoround": autoround}[o.peer]
    before = resource.getrusage(resource.RUSAGE_SELF)
    model, seconds = run(o, None if o.peer == "gptqmodel" else load(o.model), ids)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if model is not None:
        save(o, model)
    from importlib.metadata import PackageNotFoundError, version
    found = {}
    for p in ("torch", "transformers", "hqq", "gptqmodel", "llmcompressor", "auto-round"):
        try:
            found[p] = version(p)
        except PackageNotFoundError:
            pass
    print("RESULT " + json.dumps({"peer": o.peer, "bits": o.bits, "group": o.group, "sym": o.sym, "seconds": round(seconds, 1), "cpu": round(cpu, 1),
                                  "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "versions": found}))


sys.exit(main())
