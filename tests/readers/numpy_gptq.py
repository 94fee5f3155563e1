#!/usr/bin/env python3
"""Independent decoder of a GPTQ checkpoint: numpy and safetensors only (gguf too, to compare with a GGUF).

    numpy_gptq.py DIR                     print JSON: per quantized tensor shape, bits, group size, hashes, range
    numpy_gptq.py DIR --compare ORIGINAL  also errors against a Hugging Face directory or a .gguf file
    numpy_gptq.py DIR --dump OUT          also write every weight, dequantized, to OUT.safetensors (F32)
    numpy_gptq.py DIR --expect FILE.json  compare hashes with an earlier print; exit 5 on a difference

Formats: checkpoint_format gptq (v1, stored zero = zero - 1) and gptq_v2; 2, 3, 4, 8 bits; any g_idx. A file that breaks
the format exits 3 with one line. weight[n][k] = (code[k][n] - zero[g_idx[k]][n]) * scale[g_idx[k]][n], exact in float32.
Hashes are of the little-endian f32 array [N, K], row-major.
"""
import argparse
import hashlib
import json
import os
import sys

import numpy as np
import safetensors

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
          "BOOL": "?"}


class Bad(Exception):
    pass


def check(ok, text):
    if not ok:
        raise Bad(text)


def read_file(path):
    with open(path, "rb") as f:
        data = f.read()
    out = {}
    for name, t in safetensors.deserialize(data):
        raw = t["data"]
        if t["dtype"] == "BF16":
            a = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            check(t["dtype"] in DTYPES, f"{path}: {name}: dtype {t['dtype']}")
            a = np.frombuffer(raw, DTYPES[t["dtype"]])
        out[name] = (a.reshape(t["shape"]), t["dtype"])
    return out


def read_dir(path):
    """{name: (array, dtype)}; BF16 arrives as exact f32."""
    index = os.path.join(path, "model.safetensors.index.json")
    if not os.path.exists(index):
        return read_file(os.path.join(path, "model.safetensors"))
    weight_map = json.load(open(index))["weight_map"]
    out = {}
    for file in sorted(set(weight_map.values())):
        check("/" not in file and ".." not in file, f"{index}: shard {file}")
        part = read_file(os.path.join(path, file))
        for name, t in part.items():
            check(weight_map.get(name) == file, f"{file}: {name} is not mapped to this shard")
            check(name not in out, f"{name} is in two shards")
            out[name] = t
    missing = sorted(set(weight_map) - set(out))
    check(not missing, f"{index}: no tensor {missing[:1]}")
    return out


def unpack(words, bits):
    """[R, C] u32, packed along axis 0 -> codes [R*32/bits, C]; a little-endian bit stream in each column."""
    r, c = words.shape
    check(r * 32 % bits == 0, f"{r} words do not hold whole {bits}-bit codes")
    if bits == 3:
        check(r % 3 == 0, f"{r} words: 3-bit codes come in threes of words")
    n = r * 32 // bits
    at = np.arange(n) * bits
    lo, shift = at // 32, (at % 32).astype(np.uint64)[:, None]
    wide = words.astype(np.uint64)
    nxt = np.minimum(lo + 1, r - 1)
    pair = wide[lo] | (wide[nxt] << np.uint64(32))
    return ((pair >> shift) & np.uint64(2 ** bits - 1)).astype(np.int32)


def zeros_of(words, bits, v1):
    """qzeros [G, N*bits/32] -> zero points [G, N], and how many v1 fields hold the top code."""
    if not v1:
        return unpack(words.T, bits).T, 0
    stored = unpack(words.T, bits).T
    top = int((stored == 2 ** bits - 1).sum())
    if bits == 3:
        return (stored + 1) & 7, top
    # A zero point of 0 borrowed from its neighbour when it was written; the whole-word addition gives it back.
    step = np.uint32(sum(1 << i for i in range(0, 32, bits)))
    return unpack((words + step).T, bits).T, top


def decode(p, t, config):
    """-> weight f32 [N, K], facts"""
    for part in ("qweight", "qzeros", "scales"):
        check(f"{p}.{part}" in t, f"{p}.{part} is missing")
    qw, qz, sc = (t[f"{p}.{x}"] for x in ("qweight", "qzeros", "scales"))
    check(qw[1] == "I32" and qz[1] == "I32", f"{p}: qweight and qzeros must be I32")
    check(sc[1] in ("F16", "BF16", "F32"), f"{p}: scales are {sc[1]}")
    g_count, n = sc[0].shape
    check(qw[0].shape[1] == n, f"{p}: qweight {qw[0].shape} against {n} scales a row")
    check(qz[0].shape[0] == g_count and qz[0].shape[1] * 32 % n == 0, f"{p}: qzeros {qz[0].shape}, scales {sc[0].shape}")
    bits = qz[0].shape[1] * 32 // n
    check(bits in (2, 3, 4, 8), f"{p}: {bits} bits")
    codes = unpack(qw[0].astype(np.uint32), bits)
    k = codes.shape[0]
    if f"{p}.g_idx" in t:
        g_idx, kind = t[f"{p}.g_idx"]
        check(kind == "I32" and g_idx.shape == (k,), f"{p}.g_idx {kind} {g_idx.shape}, K is {k}")
    else:
        check(not config.get("desc_act"), f"{p}: desc_act without g_idx")
        g_idx = np.arange(k) // -(-k // g_count)
    check(g_idx.min() >= 0 and g_idx.max() < g_count, f"{p}.g_idx holds {g_idx.min()}..{g_idx.max()} of {g_count} groups")
    per = np.bincount(g_idx, minlength=g_count)
    v1 = config.get("checkpoint_format", "gptq") == "gptq"
    zero, top = zeros_of(qz[0].astype(np.uint32), bits, v1)
    scale = sc[0].astype(np.float32)
    check(np.isfinite(scale).all(), f"{p}.scales holds a NaN or infinity")
    if config.get("sym"):
        check((zero == 2 ** (bits - 1)).all(), f"{p}: sym, but zero points are not all {2 ** (bits - 1)}")
    w = ((codes - zero[g_idx]).astype(np.float32) * scale[g_idx]).T
    facts = {
        "shape": [n, k], "bits": bits, "group_size": int(per.max()) if g_count > 1 else -1, "groups": g_count,
        "scales_dtype": sc[1],
        "g_idx_in_order": bool((np.diff(g_idx) >= 0).all()),
        "zero_min": int(zero.min()), "zero_max": int(zero.max()),
        "v1_top_fields": top,
        "scale_min": float(np.abs(scale).min()), "scale_max": float(np.abs(scale).max()),
    }
    return np.ascontiguousarray(w, dtype="<f4"), facts


def original(path):
    if path.endswith(".gguf"):
        sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
        import gguf_to_hf
        return gguf_to_hf.load(path)[1]
    return {n: a.astype(np.float32) for n, (a, _) in read_dir(path).items()}


def errors(w, ref):
    d = (w - ref).astype(np.float64)
    power = float((ref.astype(np.float64) ** 2).sum())
    noise = float((d ** 2).sum())
    return {"relative_error": (noise / power) ** 0.5 if power else 0.0,
            "sqnr_db": 10 * float(np.log10(power / noise)) if noise and power else None,
            "max_abs_error": float(np.abs(d).max())}


def load(path):
    """-> config, {name: f32 array}, {module: facts}. Names are Hugging Face's; quantized ones end in .weight."""
    doc = json.load(open(os.path.join(path, "config.json")))
    config = doc.get("quantization_config")
    check(isinstance(config, dict), "config.json has no quantization_config")
    check(config.get("quant_method") == "gptq", f"quant_method is {config.get('quant_method')}")
    check(config.get("checkpoint_format", "gptq") in ("gptq", "gptq_v2"), f"checkpoint_format {config['checkpoint_format']}")
    side = os.path.join(path, "quantize_config.json")
    if os.path.exists(side):
        other = json.load(open(side))
        for key in ("bits", "group_size", "desc_act", "sym", "checkpoint_format"):
            check(other.get(key) == config.get(key), f"{key}: quantize_config.json has {other.get(key)}, config.json {config.get(key)}")
    t = read_dir(path)
    plain, facts = {}, {}
    for name in t:
        if name.endswith(".qweight"):
            p = name[:-len(".qweight")]
            check(p + ".weight" not in t, f"{p}: both weight and qweight")
            plain[p + ".weight"], facts[p] = decode(p, t, config)
        elif name.rsplit(".", 1)[1] not in ("qzeros", "scales", "g_idx"):
            plain[name] = t[name][0].astype(np.float32)
    check(facts, "no quantized tensor")
    return config, plain, facts


def report(load, doc):
    a = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("dir")
    a.add_argument("--compare")
    a.add_argument("--dump")
    a.add_argument("--expect")
    o = a.parse_args()
    config, plain, facts = load(o.dir)
    ref = original(o.compare) if o.compare else {}
    for p in sorted(facts):
        w, f = plain[p + ".weight"], facts[p]
        f["sha256"] = hashlib.sha256(w.tobytes()).hexdigest()
        f["min"], f["max"] = float(w.min()), float(w.max())
        if o.compare:
            check(p + ".weight" in ref, f"{o.compare} has no {p}.weight")
            f.update(errors(w, ref[p + ".weight"]))
    rest = {n: hashlib.sha256(np.ascontiguousarray(x, dtype="<f4").tobytes()).hexdigest()
            for n, x in sorted(plain.items()) if n[:-len(".weight")] not in facts}
    out = {"checkpoint_format": config.get("checkpoint_format", "gptq"), "bits": config.get("bits"),
           "group_size": config.get("group_size"), "sym": config.get("sym"), "desc_act": config.get("desc_act"),
           "quantized": dict(sorted(facts.items())), "other": rest}
    if o.compare:
        noise = sum(((plain[p + ".weight"] - ref[p + ".weight"]).astype(np.float64) ** 2).sum() for p in facts)
        power = sum((ref[p + ".weight"].astype(np.float64) ** 2).sum() for p in facts)
        out["relative_error"] = float((noise / power) ** 0.5)
        out["other_differs"] = [n for n in rest if n in ref and not np.array_equal(plain[n], ref[n])]
        out["other_missing"] = [n for n in ref if n not in plain]
    print(json.dumps(out, indent=1))
    if o.dump:
        from safetensors.numpy import save_file
        save_file({n: np.ascontiguousarray(x, dtype=np.float32) for n, x in plain.items()}, o.dump + ".safetensors",
                  metadata={"format": "pt"})
    if o.expect:
        want = json.load(open(o.expect))
        bad = [p for p in want["quantized"] if facts.get(p, {}).get("sha256") != want["quantized"][p]["sha256"]]
        bad += [n for n, h in want.get("other", {}).items() if rest.get(n) != h]
        bad += [p for p in facts if p not in want["quantized"]]
        if bad:
            print(f"{o.dir}: {len(bad)} tensors differ from {o.expect}: {bad[:3]}", file=sys.stderr)
            sys.exit(5)


def main(name, load, doc):
    try:
        report(load, doc)
    except (Bad, OSError, safetensors.SafetensorError, KeyError, ValueError) as e:
        print(f"{name}: {type(e).__name__}: {e}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main("numpy_gptq", load, __doc__)
