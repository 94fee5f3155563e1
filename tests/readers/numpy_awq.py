#!/usr/bin/env python3
"""Independent decoder of an AWQ checkpoint, version "gemm" (4 bits): numpy and safetensors only. Options and output are those of
numpy_gptq.py.

    numpy_awq.py DIR [--compare ORIGINAL] [--dump OUT] [--expect FILE.json]

qweight [K, N/8], qzeros [K/g, N/8]: nibble i of word c belongs to output 8 c + ORDER[i]; scales [K/g, N] in F16.
weight[n][k] = (code[k][n] - zero[k/g][n]) * scale[k/g][n], exact in float32; zero points are stored as they are. The names in
modules_to_not_convert are parts of the full names of linears that hold a plain weight. A file that breaks the format exits 3.
"""
import json
import os

import numpy as np

from numpy_gptq import check, main, read_dir

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def unpack(words):
    """[R, C] u32 -> codes [R, 8 C]"""
    r, c = words.shape
    codes = np.empty((r, c, 8), np.int32)
    for i, column in enumerate(ORDER):
        codes[:, :, column] = (words >> np.uint32(4 * i)) & np.uint32(15)
    return codes.reshape(r, 8 * c)


def decode(p, t, group):
    """-> weight f32 [N, K], facts"""
    for part in ("qweight", "qzeros", "scales"):
        check(f"{p}.{part}" in t, f"{p}.{part} is missing")
    check(f"{p}.g_idx" not in t, f"{p}.g_idx: the format has none")
    qw, qz, sc = (t[f"{p}.{x}"] for x in ("qweight", "qzeros", "scales"))
    check(qw[1] == "I32" and qz[1] == "I32" and sc[1] == "F16", f"{p}: types {qw[1]}, {qz[1]}, {sc[1]}")
    k, n = qw[0].shape[0], 8 * qw[0].shape[1]
    check(k % group == 0, f"{p}: K is {k}, groups of {group}")
    check(qz[0].shape == (k // group, n // 8), f"{p}: qzeros {qz[0].shape}, K is {k} and N {n}")
    check(sc[0].shape == (k // group, n), f"{p}: scales {sc[0].shape}, K is {k} and N {n}")
    code, zero = (unpack(x[0].view(np.uint32)) for x in (qw, qz))
    scale = sc[0].astype(np.float32)
    check(np.isfinite(scale).all(), f"{p}.scales holds a NaN or infinity")
    per_row = np.arange(k) // group
    w = ((code - zero[per_row]).astype(np.float32) * scale[per_row]).T
    facts = {"shape": [n, k], "bits": 4, "group_size": group, "groups": k // group, "scales_dtype": sc[1],
             "zero_min": int(zero.min()), "zero_max": int(zero.max()),
             "scale_min": float(np.abs(scale).min()), "scale_max": float(np.abs(scale).max())}
    return np.ascontiguousarray(w, dtype="<f4"), facts


def load(path):
    """-> config, {name: f32 array}, {module: facts}, as numpy_gptq.load"""
    config = json.load(open(os.path.join(path, "config.json"))).get("quantization_config")
    check(isinstance(config, dict), "config.json has no quantization_config")
    side = os.path.join(path, "quantize_config.json")
    check(not os.path.exists(side) or json.load(open(side)) == config, "quantize_config.json is not what config.json has")
    for key, want in (("quant_method", "awq"), ("version", "gemm"), ("bits", 4), ("zero_point", True)):
        check(config.get(key) == want, f"{key} is {config.get(key)}, not {want}")
    group = config.get("group_size")
    check(isinstance(group, int) and group > 0, f"group_size is {group}")
    left_alone = config.get("modules_to_not_convert") or []
    t = read_dir(path)
    plain, facts = {}, {}
    for name in t:
        p, kind = name.rsplit(".", 1)
        skipped = any(part in p for part in left_alone)
        if kind == "qweight":
            check(p + ".weight" not in t, f"{p}: both weight and qweight")
            check(not skipped, f"{p} is quantized, but in modules_to_not_convert")
            plain[p + ".weight"], facts[p] = decode(p, t, group)
        elif kind in ("qzeros", "scales"):
            check(p + ".qweight" in t, f"{name} without qweight")
        else:
            linear = t[name][0].ndim == 2 and not p.endswith(("embed_tokens", "lm_head"))
            check(skipped or not linear, f"{p} is not quantized, nor in modules_to_not_convert")
            plain[name] = t[name][0].astype(np.float32)
    check(facts, "no quantized tensor")
    return dict(config, checkpoint_format="awq"), plain, facts


if __name__ == "__main__":
    main("numpy_awq", load, __doc__)
