#!/usr/bin/env python3
"""GPTQModel on the same model and tokens as nibble, for comparison (pins: requirements-heavy.txt).

    GPTQMODEL_CPU_WORKERS=2 peer_gptqmodel.py MODEL CALIB.bin OUT [--dtype float32] [--bits 4] [--group 64] [--sym] [--act]

CALIB.bin: int32 token ids, rows of --seq-len 512. Prints wall seconds of quantize() alone (model already loaded), and the
times of import, load and save. Group-aware order is GPTQModel's default; --act is desc_act. Damping is its own (0.05).
"""
import argparse
import json
import os
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
t0 = time.time()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from gptqmodel import GPTQModel, QuantizeConfig  # noqa: E402


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("calib")
    a.add_argument("out")
    a.add_argument("--dtype", default="float32")
    a.add_argument("--bits", type=int, default=4)
    a.add_argument("--group", type=int, default=64)
    a.add_argument("--seq-len", type=int, default=512)
    a.add_argument("--sym", action="store_true")
    a.add_argument("--act", action="store_true")
    o = a.parse_args()
    torch.set_num_threads(2)
    ids = np.fromfile(o.calib, "<i4").reshape(-1, o.seq_len)
    calib = [{"input_ids": r.tolist(), "attention_mask": [1] * o.seq_len} for r in ids]
    t1 = time.time()
    qc = QuantizeConfig(bits=o.bits, group_size=o.group, sym=o.sym, desc_act=o.act, offload_to_disk=False,
                        format="gptq" if o.sym else "gptq_v2")
    m = GPTQModel.load(os.path.abspath(o.model), qc, device="cpu", dtype=getattr(torch, o.dtype))
    t2 = time.time()
    m.quantize(calib, batch_size=1)
    t3 = time.time()
    m.save(os.path.abspath(o.out))
    t4 = time.time()
    import resource
    print("RESULT " + json.dumps({"args": sys.argv[3:], "tokens": int(ids.size), "import_s": round(t1 - t0, 1),
                                  "load_s": round(t2 - t1, 1), "quantize_s": round(t3 - t2, 1), "save_s": round(t4 - t3, 1),
                                  "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


main()
