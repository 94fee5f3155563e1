#!/usr/bin/env python3
"""Load a GGUF with the PyPI package `gguf` and dequantize every tensor.

    gguf_check.py FILE                      print JSON: per tensor type, shape, SHA-256 of the f32 values, range
    gguf_check.py FILE --compare ORIGINAL   also errors against a .gguf or a Hugging Face directory (llama names)

Exits 3 when the file cannot be read, or when a value is not finite.
"""
import argparse
import hashlib
import json
import os
import sys

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "golden")]

import gguf_to_hf  # noqa: E402
import numpy_gptq  # noqa: E402


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("file")
    a.add_argument("--compare")
    o = a.parse_args()
    r = gguf.GGUFReader(o.file)
    keys = {}
    for k, f in r.fields.items():
        v = f.contents()
        keys[k] = f"{len(v)} elements" if isinstance(v, list) else v
    ref = numpy_gptq.original(o.compare) if o.compare else None
    hf = gguf_to_hf.load(o.file)[1] if o.compare else None
    bad = 0
    out = {"keys": keys, "tensors": {}}
    for t in r.tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype("<f4")
        f = {"type": t.tensor_type.name, "ne": [int(x) for x in t.shape], "bytes": int(t.n_bytes),
             "sha256": hashlib.sha256(np.ascontiguousarray(w).tobytes()).hexdigest(),
             "min": float(w.min()), "max": float(w.max())}
        bad += not np.isfinite(w).all()
        if ref is not None and t.name != "rope_freqs.weight":
            n = gguf_to_hf.hf_name(t.name)
            numpy_gptq.check(n in ref, f"{o.compare} has no {n}")
            f.update(numpy_gptq.errors(hf[n], ref[n]))
        out["tensors"][t.name] = f
    print(json.dumps(out, indent=1))
    numpy_gptq.check(not bad, f"{bad} tensors hold values that are not finite")


if __name__ == "__main__":
    try:
        main()
    except (numpy_gptq.Bad, OSError, KeyError, ValueError) as e:
        print(f"gguf_check: {type(e).__name__}: {e}", file=sys.stderr)
        sys.exit(3)
