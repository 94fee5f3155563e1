#!/bin/bash
# From nothing to a quantized model and what it lost, on a Debian 12 machine: installs what is missing, builds, fetches
# SmolLM2-135M-Instruct and English prose, quantizes with GPTQ and with plain rounding at the same settings, and prints a table.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# = 0 ] || { echo "usage: scripts/demo.sh" >&2; exit 2; }
data=build/demo
nibble=build/nibble
tokens=12288   # of held-out text to measure on
samples=64     # calibration windows of 512 tokens

step() { printf '\n== %s\n' "$*" >&2; }

step "packages"
scripts/install-deps.sh build demo
step "building"
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DNB_BUILD_TESTS=OFF -DNB_BUILD_BENCH=OFF >/dev/null
cmake --build build -j "$(nproc)" --target nibble >/dev/null
step "model and text"
mkdir -p $data
gguf=$(scripts/fetch-model.sh $data)
scripts/fetch-text.sh $data
started=$(date +%s)

# The reference: the GGUF's matrices, which are 4-bit themselves (Q4_1), written out as F16.
reference=$data/SmolLM2-f16
step "the original, dequantized to F16"
$nibble quantize "$gguf" -o $reference --method rtn --override '*:skip' --force

quantize() { # name, then options
    local out=$data/$1
    step "quantizing: $1"
    $nibble quantize $reference -o "$out" --calib $data/calib.txt --samples $samples --group-size 64 --force --json "${@:2}" >"$out.json"
}
quantize SmolLM2-rtn-w4g64 --method rtn --sym
quantize SmolLM2-gptq-w4g64 --method gptq --sym
quantize SmolLM2-rtn-w4g64-asym --method rtn --asym
quantize SmolLM2-gptq-w4g64-asym --method gptq --asym

measure() {
    step "measuring: $(basename "$1")"
    $nibble eval "$1" --text $data/eval.txt --max-tokens $tokens --json ${2:+--reference $2} >"$1.eval.json"
    $nibble inspect "$1" --json >"$1.inspect.json"
    $nibble generate "$1" -p "$prompt" -n 48 --temp 0 --json >"$1.text.json" 2>/dev/null
}
prompt="The history of the printing press begins"
models=($reference $data/SmolLM2-rtn-w4g64 $data/SmolLM2-gptq-w4g64 $data/SmolLM2-rtn-w4g64-asym $data/SmolLM2-gptq-w4g64-asym)
for m in "${models[@]}"; do
    if [ "$m" = $reference ]; then measure "$m"; else measure "$m" $reference; fi
done

step "what was lost"
python3 - "${models[@]}" <<'PY'
import json, os, sys
row = "%-26s %9s %9s %7s %11s %9s %9s %9s"
print(row % ("model", "matrices", "file", "bits/w", "perplexity", "mean KL", "top-1", "tokens/s"))
texts = []
for m in sys.argv[1:]:
    e, i, t = (json.load(open("%s.%s.json" % (m, k))) for k in ("eval", "inspect", "text"))
    kl, top = e.get("kl_mean"), e.get("top1_agreement")
    print(row % (os.path.basename(m), "%.1f MB" % (i["matrix_bytes"] / 1e6), "%.1f MB" % (i["file_bytes"] / 1e6),
                 "%.3f" % i["bits_per_weight"], "%.3f" % e["perplexity"], "-" if kl is None else "%.4f" % kl,
                 "-" if top is None else "%.1f %%" % (100 * top), "%.0f" % t["tokens_per_second"]))
    texts.append((os.path.basename(m), t["prompt"] + t["text"]))
print("\nThe reference is the dequantized model in F16; the matrices of the GGUF that it was made from are 4-bit\n"
      "themselves (Q4_1, groups of 32). KL divergence and top-1 agreement are to that reference, on held-out text.")
for name, text in texts:
    print("\n%s:\n    %s" % (name, text.strip().replace("\n", "\n    ")))
PY
echo
echo "done in $(($(date +%s) - started)) s after the downloads; checkpoints are in $data/"
