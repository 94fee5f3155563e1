#!/bin/bash
# Our GGUF beside llama.cpp's own 4-bit ones, by llama.cpp's own program:
#   gguf_peer.sh NIBBLE LLAMA_BIN MODEL-f16.gguf CALIB.txt EVAL.txt WORKDIR [WINDOWS] [CHUNKS]
# LLAMA_BIN holds llama-quantize, llama-imatrix and llama-perplexity. WINDOWS of 512 tokens calibrate both the importance matrix
# and ours; CHUNKS of 512 are evaluated. Prints sizes, mean KL divergence to MODEL, perplexity and top-1 agreement.
set -euo pipefail
nibble=$1 bin=$2 model=$3 calib=$4 eval=$5 work=$6 windows=${7:-64} chunks=${8:-24}
export OMP_WAIT_POLICY=passive # two programs on one machine do not spin against each other
mkdir -p "$work"
"$bin/llama-imatrix" -m "$model" -f "$calib" -c 512 --chunks "$windows" -o "$work/imatrix.gguf" >"$work/imatrix.log" 2>&1
"$bin/llama-quantize" "$model" "$work/q4_0.gguf" Q4_0 >"$work/q4_0.log" 2>&1
"$bin/llama-quantize" --imatrix "$work/imatrix.gguf" "$model" "$work/q4_0-imatrix.gguf" Q4_0 >"$work/q4_0-imatrix.log" 2>&1
"$nibble" quantize "$model" -o "$work/nibble.gguf" --force --format gguf --calib "$calib" --samples "$windows" >"$work/nibble.log" 2>&1
"$bin/llama-perplexity" -m "$model" -f "$eval" -c 512 --chunks "$chunks" --kl-divergence-base "$work/base.dat" >"$work/base.log" 2>&1
for name in q4_0 q4_0-imatrix nibble; do
    "$bin/llama-perplexity" -m "$work/$name.gguf" -f "$eval" -c 512 --chunks "$chunks" --kl-divergence-base "$work/base.dat" \
        --kl-divergence >"$work/kl-$name.log" 2>&1
    printf '%-14s %9s bytes  ' "$name" "$(stat -c %s "$work/$name.gguf")"
    grep -hE '^(Mean PPL\(Q\) |Mean +KLD|Same top p)' "$work/kl-$name.log" | tr -s ' ' | paste -sd' '
done
