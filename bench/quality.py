#!/usr/bin/env python3
"""The quality table: every method at 4 and 3 bits on one model, and what each refinement earns. Standard library only.

    quality.py NIBBLE MODEL CALIB EVAL [--group 64] [--samples 128] [--seeds 0,1,2] [--rows PATTERN,...] [--threads 0]
               [--smoke] [--keep DIR]

CALIB and EVAL are texts that share nothing. Each row is quantized with SAMPLES windows of 512 tokens and evaluated in windows
of 1024 tokens against MODEL itself in 16 bits: perplexity, mean KL divergence in nats, share of equal first choices; wall
time, CPU time (user and system, all threads: what stays comparable on a machine that others use too) and peak anonymous memory of
quantizing. Headline rows (a * before the name) are run for every seed. --rows takes globs over
row names. --smoke: 4 windows of 64 tokens, 512 tokens of text, the headline rows only; it checks that all of it runs.
Prints a Markdown table; rows are printed as they are done.
"""
import argparse
import fnmatch
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile

# name, settings; * is run with every seed
ROWS = [
    ("w4 rtn asym", "--bits 4 --asym --method rtn"),
    ("w4 rtn sym", "--bits 4 --sym --method rtn"),
    ("w4 rtn sym g32", "--bits 4 --sym --method rtn --group-size 32"),
    ("w4 hqq asym", "--bits 4 --asym --method hqq"),
    ("w4 hqq real zeros asym", "--bits 4 --asym --method hqq --format gguf --embeddings f16"),
    ("w4 gptq minmax asym", "--bits 4 --asym --scales minmax --asym-calib 0"),
    ("w4 gptq minmax asym damp 0.05", "--bits 4 --asym --scales minmax --asym-calib 0 --damp 0.05"),
    ("w4 gptq minmax stored asym", "--bits 4 --asym --scales minmax --asym-calib 0 --order stored"),
    ("w4 gptq minmax act asym", "--bits 4 --asym --scales minmax --asym-calib 0 --order act"),
    ("w4 gptq minmax act-static asym", "--bits 4 --asym --scales minmax --asym-calib 0 --order act-static"),
    ("w4 gptq search asym", "--bits 4 --asym --asym-calib 0"),
    ("w4 gptq stored asym", "--bits 4 --asym --order stored"),
    ("w4 gptq act-static asym", "--bits 4 --asym --order act-static"),
    ("w4 gptq act asym", "--bits 4 --asym --order act"),
    ("w4 gptq minmax calib asym", "--bits 4 --asym --scales minmax"),
    ("*w4 gptq asym", "--bits 4 --asym"),
    ("w4 gptq self asym", "--bits 4 --asym --calib self"),
    ("w4 gptq asym calib 1", "--bits 4 --asym --asym-calib 1"),
    ("w4 gptq asym damp 0.05", "--bits 4 --asym --damp 0.05"),
    ("w4 gptq asym damp 0.002", "--bits 4 --asym --damp 0.002"),
    ("w4 gptq asym descent 2", "--bits 4 --asym --descent 2"),
    ("w4 gptq two-sided asym", "--bits 4 --asym --two-sided"),
    ("w4 gptq+tune asym", "--bits 4 --asym --method gptq+tune"),
    ("*w4 awq+gptq two-sided asym", "--bits 4 --asym --method awq+gptq --two-sided"),
    ("w4 awq+gptq+tune two-sided asym", "--bits 4 --asym --method awq+gptq+tune --two-sided"),
    ("w4 awq asym", "--bits 4 --asym --method awq"),
    ("*w4 awq+gptq asym", "--bits 4 --asym --method awq+gptq"),
    ("w4 gptq+autoround asym", "--bits 4 --asym --method gptq+autoround --iters 50"),
    ("w4 autoround asym", "--bits 4 --asym --method autoround --iters 50"),
    ("w4 autoround sym", "--bits 4 --sym --method autoround --iters 50"),
    ("w4 gptq minmax sym", "--bits 4 --sym --scales minmax --asym-calib 0"),
    ("w4 gptq minmax sym damp 0.05", "--bits 4 --sym --scales minmax --asym-calib 0 --damp 0.05"),
    ("w4 gptq minmax act-static sym", "--bits 4 --sym --scales minmax --asym-calib 0 --order act-static"),
    ("w4 gptq minmax sym g32", "--bits 4 --sym --scales minmax --asym-calib 0 --group-size 32"),
    ("*w4 gptq sym", "--bits 4 --sym"),
    ("w4 gptq sym descent 2", "--bits 4 --sym --descent 2"),
    ("w4 awq+gptq two-sided sym", "--bits 4 --sym --method awq+gptq --two-sided"),
    ("w4 awq+gptq two-sided sym g32", "--bits 4 --sym --method awq+gptq --two-sided --group-size 32"),
    ("w4 awq sym", "--bits 4 --sym --method awq"),
    ("w4 awq+gptq sym", "--bits 4 --sym --method awq+gptq"),
    ("*w4 gptq sym g32", "--bits 4 --sym --group-size 32"),
    ("w2 rtn asym", "--bits 2 --asym --method rtn"),
    ("w2 gptq asym", "--bits 2 --asym"),
    ("w2 awq+gptq two-sided asym", "--bits 2 --asym --method awq+gptq --two-sided"),
    ("w3 rtn asym", "--bits 3 --asym --method rtn"),
    ("w3 rtn sym", "--bits 3 --sym --method rtn"),
    ("w3 hqq asym", "--bits 3 --asym --method hqq"),
    ("w3 gptq minmax asym", "--bits 3 --asym --scales minmax --asym-calib 0"),
    ("w3 gptq minmax sym", "--bits 3 --sym --scales minmax --asym-calib 0"),
    ("w3 gptq search asym", "--bits 3 --asym --asym-calib 0"),
    ("w3 awq asym", "--bits 3 --asym --method awq"),
    ("w3 awq sym", "--bits 3 --sym --method awq"),
    ("w3 gptq asym", "--bits 3 --asym"),
    ("*w3 gptq asym descent 2", "--bits 3 --asym --descent 2"),
    ("w3 awq+gptq asym", "--bits 3 --asym --method awq+gptq"),
    ("w3 awq+gptq two-sided asym", "--bits 3 --asym --method awq+gptq --two-sided"),
    ("w3 awq+gptq two-sided asym descent 2", "--bits 3 --asym --method awq+gptq --two-sided --descent 2"),
    ("w3 autoround asym", "--bits 3 --asym --method autoround --iters 50"),
    ("w3 autoround sym", "--bits 3 --sym --method autoround --iters 50"),
    ("w3 gptq sym", "--bits 3 --sym"),
    ("w3 gptq sym g32", "--bits 3 --sym --group-size 32"),
    ("w3 gptq sym descent 2", "--bits 3 --sym --descent 2"),
    ("w3 awq+gptq sym", "--bits 3 --sym --method awq+gptq"),
    ("w3 awq+gptq two-sided sym", "--bits 3 --sym --method awq+gptq --two-sided"),
    ("w8 rtn sym", "--bits 8 --sym --method rtn"),
    ("w8 gptq sym", "--bits 8 --sym"),
    ("w8 awq+gptq two-sided sym", "--bits 8 --sym --method awq+gptq --two-sided"),
]


def call(args):
    p = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode != 0:
        sys.exit(f"{' '.join(args)}: exit {p.returncode}\n{p.stderr}")
    return json.loads(p.stdout)


def cpu():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def row(o, folder, name, settings, seed):
    out = os.path.join(folder, "out.gguf" if "gguf" in settings else "out")
    given = [] if "--group-size" in settings else ["--group-size", str(o.group)]
    given += [] if "--calib" in settings else ["--calib", o.calib]
    before = cpu()
    q = call([o.nibble, "quantize", o.model, "-o", out, "--force", "-q", "--json", "--samples", str(o.samples),
              "--seq-len", str(o.seq_len), "--seed", str(seed), "-d", o.device, "-j", str(o.threads)] + given + settings.split())
    spent = cpu() - before
    e = call([o.nibble, "eval", out, "--text", o.eval, "--seq-len", str(o.window), "--max-tokens", str(o.max_tokens), "--reference",
              o.reference or o.model, "--json", "-q", "-d", o.device, "-j", str(o.threads)])
    if o.keep:
        shutil.move(out, os.path.join(o.keep, name.replace(" ", "-") + f"-s{seed}"))
    print(f"| {name} | `{settings}` | {seed} | {e['kl_mean']:.4f} | {e['perplexity']:.2f} | {100 * e['top1_agreement']:.1f} % | "
          f"{q['bits_per_weight']:.2f} | {q['seconds']:.0f} s | {spent:.0f} s | {q['peak_anonymous_memory'] / 1e6:.0f} MB |", flush=True)


def main():
    a = argparse.ArgumentParser()
    for name in ("nibble", "model", "calib", "eval"):
        a.add_argument(name)
    a.add_argument("--reference", help="the original in 16 bits, where MODEL is not")
    a.add_argument("--group", type=int, default=64)
    a.add_argument("--samples", type=int, default=128)
    a.add_argument("--seq-len", type=int, default=512)
    a.add_argument("--window", type=int, default=1024)
    a.add_argument("--max-tokens", type=int, default=5120)
    a.add_argument("--seeds", default="0,1,2")
    a.add_argument("--rows", default="*")
    a.add_argument("--device", default="cpu")
    a.add_argument("--threads", type=int, default=0, help="0: one per processor; figures other than times do not depend on it")
    a.add_argument("--smoke", action="store_true")
    a.add_argument("--keep")
    o = a.parse_args()
    seeds = [int(s) for s in o.seeds.split(",")]
    if o.smoke:
        o.samples, o.seq_len, o.window, o.max_tokens, seeds = 4, 64, 128, 512, seeds[:1]
    print("| row | settings | seed | mean KL | perplexity | top-1 | bits | time | CPU | memory |\n|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in ROWS:
            bare = name.lstrip("*")
            if not any(fnmatch.fnmatchcase(bare, p) for p in o.rows.split(",")) or (o.smoke and bare == name):
                continue
            for seed in seeds if bare != name else seeds[:1]:
                row(o, folder, bare, settings, seed)


main()
