#!/bin/sh
# Tokens a second of a whole model beside llama.cpp's llama-bench, which the user brings: a prompt of 512 tokens, and 128 tokens
# decoded from an empty cache, on one and two threads. The programs take turns, so that both see the same machine; the figures
# are the best and the median of all rounds.
# usage: bench/whole_model.sh NIBBLE MODEL LLAMA_BENCH MODEL.gguf [ROUNDS]
#
# A fair pair, 4 bits in groups of 32 with f16 scales, and an 8-bit head in both:
#   nibble quantize F16_MODEL -o MODEL -g 32 --calib text.txt
#   llama-quantize --output-tensor-type q8_0 --token-embedding-type q8_0 F16.gguf MODEL.gguf Q4_0
# MODE=exact runs nibble in f32 (llama.cpp rounds activations to 8 bits always); EMBEDDINGS=f16 goes with a GGUF whose head is f16.
set -eu
nibble=$1 model=$2 peer=$3 gguf=$4 rounds=${5-4}
mode=${MODE-fast} embeddings=${EMBEDDINGS-q8} threads=${THREADS-1 2}
got=$(mktemp)
trap 'rm -f "$got"' EXIT

# Lines of: program test threads tokens/s.
ours() {
    "$nibble" bench --model "$model" --mode "$mode" --embeddings "$embeddings" --samples 2 -j "$1" |
        awk -v t="$1" 'NR > 1 { print "nibble", $1, t, $8 }'
}
theirs() {
    "$peer" -m "$gguf" -p 512 -n 128 -t "$1" -r 2 -o jsonl 2>/dev/null |
        sed -n 's/.*"n_prompt": \([0-9]*\),.*"samples_ts": \[ *\([0-9.]*\), *\([0-9.]*\).*/\1 \2 \3/p' |
        awk -v t="$1" '{ print "llama.cpp", ($1 > 0 ? "prompt" : "decode"), t, ($2 > $3 ? $2 : $3) }'
}

round=0
while [ "$round" -lt "$rounds" ]; do
    for t in $threads; do
        ours "$t" >>"$got"
        theirs "$t" >>"$got"
    done
    round=$((round + 1))
done

echo "nibble $mode, $embeddings head; tokens/s, best and median of $rounds rounds"
sort -k2,2r -k3,3n -k1,1 -k4,4n "$got" | awk '
function flush() {
    if (!n) return
    med = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    printf "%-7s %s thread%s  %-10s best %8.1f  median %8.1f", test, t, (t > 1 ? "s" : " "), who, v[n], med
    if (who == "nibble" && theirs_best) printf "   nibble / llama.cpp: best %.2f, median %.2f", v[n] / theirs_best, med / theirs_med
    print ""
    if (who != "nibble") { theirs_best = v[n]; theirs_med = med }
    n = 0
}
{
    key = $1 " " $2 " " $3
    if (key != last) flush()
    if ($2 " " $3 != pair) theirs_best = 0
    last = key; pair = $2 " " $3; who = $1; test = $2; t = $3
    v[++n] = $4
}
END { flush() }'
