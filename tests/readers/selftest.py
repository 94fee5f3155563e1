#!/usr/bin/env python3
"""Checks the light readers themselves: the words of published examples, the golden checkpoints, and damaged copies.

    VENV/bin/python selftest.py        prints `N passed, N failed`; exit 1 on a failure
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden")
sys.path.insert(0, HERE)

import numpy_awq  # noqa: E402
import numpy_gptq  # noqa: E402

done = {"passed": 0, "failed": 0}


def case(name, ok, text=""):
    done["passed" if ok else "failed"] += 1
    if not ok:
        print(f"FAILED {name} {text}")


def column(*words):
    return np.array(words, np.uint32)[:, None]


def run(script, *args):
    p = subprocess.run([sys.executable, os.path.join(HERE, script), *args], capture_output=True, text=True)
    return p.returncode, p.stdout, p.stderr


def words():
    u = numpy_gptq.unpack
    case("w4", u(column(0x76543210), 4)[:, 0].tolist() == list(range(8)))
    case("w2", u(column(0xE4E4E4E4), 2)[:, 0].tolist() == [0, 1, 2, 3] * 4)
    case("w8", u(column(0xFF7F0100), 8)[:, 0].tolist() == [0, 1, 0x7F, 0xFF])
    case("w3", u(column(0x88FAC688, 0xC688FAC6, 0xFAC688FA), 3)[:, 0].tolist() == [k % 8 for k in range(32)])
    case("awq", numpy_awq.unpack(column(0x75316420))[0].tolist() == list(range(8)))
    for bits, v1, v2 in ((4, [0x77777777], [0x88888888]), (8, [0x7F7F7F7F], [0x80808080]), (2, [0x55555555], [0xAAAAAAAA]),
                         (3, [0xDB6DB6DB, 0xB6DB6DB6, 0x6DB6DB6D], [0x24924924, 0x49249249, 0x92492492])):
        for row, old in ((v1, True), (v2, False)):
            z, _ = numpy_gptq.zeros_of(column(*row).T, bits, old)
            case(f"zeros {bits} v1={old}", (z == 2 ** (bits - 1)).all())


def checkpoints():
    dirs = sorted(glob.glob(os.path.join(GOLDEN, "gptq", "*", "")))
    case("there are checkpoints", len(dirs) >= 10, len(dirs))
    for d in dirs:
        rc, out, err = run("numpy_gptq.py", d, "--expect", os.path.join(d, "expected.json"))
        case(d, rc == 0, err)
        want = json.load(open(os.path.join(d, "expected.json")))["quantized"]
        _, plain, _ = numpy_gptq.load(d)
        case(d + " samples", all(float(plain[p + ".weight"][n, k]) == v for p in want for n, k, v in want[p]["samples"]))


def damage():
    """Each damaged copy must be refused (3) or differ (5)."""
    src = os.path.join(GOLDEN, "gptq", "w4-sym-g32")
    model = "model.safetensors"
    original = open(os.path.join(src, model), "rb").read()
    config = json.load(open(os.path.join(src, "config.json")))
    start = 8 + int.from_bytes(original[:8], "little")

    def try_one(name, rc_want, data=original, edit=None):
        with tempfile.TemporaryDirectory() as tmp:
            d = os.path.join(tmp, "m")
            shutil.copytree(src, d)
            open(os.path.join(d, model), "wb").write(data)
            c = json.loads(json.dumps(config))
            if edit:
                edit(c["quantization_config"])
                os.remove(os.path.join(d, "quantize_config.json"))
            json.dump(c, open(os.path.join(d, "config.json"), "w"))
            rc, _, err = run("numpy_gptq.py", d, "--expect", os.path.join(src, "expected.json"))
            case(f"{name}: {rc}, wanted {rc_want}", rc == rc_want, err)

    head = json.loads(original[8:start])

    def flip(tensor):
        b, _ = head[tensor]["data_offsets"]
        return original[:start + b] + bytes([original[start + b] ^ 1]) + original[start + b + 1:]

    p = "model.layers.0.self_attn.q_proj."
    try_one("as it is", 0)
    try_one("a code bit", 5, flip(p + "qweight"))
    try_one("a scale bit", 5, flip(p + "scales"))
    try_one("a zero bit under sym", 3, flip(p + "qzeros"))
    try_one("a g_idx bit", 5, flip(p + "g_idx"))
    try_one("cut short", 3, original[:-7])
    try_one("v1 called v2", 3, edit=lambda q: q.update(checkpoint_format="gptq_v2"))
    try_one("not gptq", 3, edit=lambda q: q.update(quant_method="awq"))


def awq():
    """A GPTQ checkpoint with its codes packed anew for AWQ holds the same weights, and damaged copies are refused (3) or differ (5)."""
    src = os.path.join(GOLDEN, "gptq", "w4-asym-g64-v2")
    doc = json.load(open(os.path.join(src, "config.json")))
    doc["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}

    def pack(codes):
        c = codes.astype(np.uint32)
        out = np.zeros((c.shape[0], c.shape[1] // 8), np.uint32)
        for n in range(c.shape[1]):
            out[:, n // 8] |= c[:, n] << np.uint32(4 * (0, 4, 1, 5, 2, 6, 3, 7)[n % 8])
        return out.view(np.int32)

    t = {}
    for name, (a, kind) in numpy_gptq.read_dir(src).items():
        if name.endswith(".qweight"):
            t[name] = pack(numpy_gptq.unpack(a.view(np.uint32), 4))
        elif name.endswith(".qzeros"):
            t[name] = pack(numpy_gptq.zeros_of(a.view(np.uint32), 4, False)[0])
        elif not name.endswith(".g_idx"):
            t[name] = a.astype(np.float32) if kind == "BF16" else a

    def try_one(name, rc_want, tensors=None, **config):
        with tempfile.TemporaryDirectory() as d:
            c = json.loads(json.dumps(doc))
            c["quantization_config"].update(config)
            json.dump(c, open(os.path.join(d, "config.json"), "w"))
            save_file({n: np.ascontiguousarray(a) for n, a in {**t, **(tensors or {})}.items()}, os.path.join(d, "model.safetensors"))
            rc, _, err = run("numpy_awq.py", d, "--expect", os.path.join(src, "expected.json"))
            case(f"awq, {name}: {rc}, wanted {rc_want}", rc == rc_want, err)

    def flip(name):
        a = t[name].copy()
        a.view(np.uint8)[0, 0] ^= 1
        return {name: a}

    p = "model.layers.0.self_attn.q_proj."
    try_one("as it is", 0)
    for part in ("qweight", "qzeros", "scales"):
        try_one(f"a bit of {part}", 5, flip(p + part))
    codes = numpy_awq.unpack(t[p + "qweight"].view(np.uint32))
    try_one("two outputs swapped", 5, {p + "qweight": pack(codes[:, [1, 0, *range(2, codes.shape[1])]])})
    try_one("a row short", 3, {p + "qzeros": t[p + "qzeros"][:-1]})
    try_one("another group size", 3, group_size=32)
    try_one("not awq", 3, quant_method="gptq")
    try_one("gemv", 3, version="gemv")
    try_one("quantized, but listed as left alone", 3, modules_to_not_convert=[p[:-1]])
    try_one("left alone, but not listed", 3, {"model.layers.0.extra.weight": np.zeros((2, 2), np.float16)})


def main():
    words()
    checkpoints()
    damage()
    awq()
    rc, out, _ = run("gguf_check.py", os.path.join(GOLDEN, "gguf", "llama-tied-f16.gguf"), "--compare",
                     os.path.join(GOLDEN, "models", "llama-tied-f16"))
    case("gguf", rc == 0 and all(t["relative_error"] == 0.0 for t in json.loads(out)["tensors"].values()))
    print(f"{done['passed']} passed, {done['failed']} failed")
    sys.exit(1 if done["failed"] else 0)


main()
