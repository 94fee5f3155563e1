#!/usr/bin/env python3
"""Zero points and codes of HQQ (PyPI hqq 0.2.8.post1, torch): hqq/hqq.safetensors.

optimize_weights_proximal_v2 with its defaults (p 0.7, beta 10, kappa 1.01, 20 iterations, early stop) is called for each group
by itself, so that its stop, which looks at a whole tensor, is a group's own. Tensors: w.<case> F32 [G, 64], a group a row;
scale.<case>.<bits>, zero.<case>.<bits> F32 [G], codes.<case>.<bits> U8 [G, 64].
"""
import os

import numpy as np
import torch
from hqq.core.optimize import optimize_weights_proximal_v2
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
CASES = {
    "normal": 0.05 * rng.standard_normal((24, 64)),
    "tails": 0.3 * rng.standard_t(2, (24, 64)),  # residuals large enough for the shrinkage to matter at 2 bits
    "shifted": 0.02 * rng.standard_normal((16, 64)) + 0.15,
}
out = {}
for name, w in CASES.items():
    w = w.astype(np.float32)
    out["w." + name] = w
    for bits in (2, 3, 4, 8):
        top = 2**bits - 1
        rows = []
        for row in w:
            t = torch.from_numpy(row)[None]
            lo, hi = t.min(1, keepdim=True)[0], t.max(1, keepdim=True)[0]
            scale = 1.0 / ((hi - lo) / top)
            q, s, z = optimize_weights_proximal_v2(t, scale, -lo * scale, [0, top], axis=1)
            rows.append((float(1.0 / s), float(z), q[0].numpy().astype(np.uint8)))
        key = f"{name}.{bits}"
        out["scale." + key] = np.array([r[0] for r in rows], np.float32)
        out["zero." + key] = np.array([r[1] for r in rows], np.float32)
        out["codes." + key] = np.stack([r[2] for r in rows])
os.makedirs(os.path.join(HERE, "hqq"), exist_ok=True)
save_file(out, os.path.join(HERE, "hqq", "hqq.safetensors"))
