#!/bin/sh
# Quantizes models with many settings and loads each result with Transformers (transformers_load.py), against nibble's own
# logits: matrix.sh NIBBLE HEAVY_VENV WORKDIR [MODEL.gguf CALIB.txt]. By hand; about 10 s a case. Prints a Markdown table.
# A case whose file the reader refuses, or whose logits differ, says so and makes the script exit 5.
set -eu
nibble=$1 venv=$2 work=$3 gguf=${4-} calib=${5-}
here=$(cd "$(dirname "$0")" && pwd)
models=$here/../golden/models
mkdir -p "$work"
cd "$work"
i=0
while [ $i -lt 400 ]; do
    echo "Line $i of some prose with words, number $((i * i % 997)), and more of them here."
    i=$((i + 1))
done >text.txt
failed=0
echo "| model | settings | kernels | max difference | share of max logit | top-1 equal | SHA-256 of model.safetensors |"
echo "| --- | --- | --- | --- | --- | --- | --- |"
one() {
    label=$1 model=$2 text=$3
    shift 3
    rm -rf out
    "$nibble" quantize "$model" -o out --force -q --scales minmax "$@"
    ids=$("$nibble" eval out --text "$text" --seq-len 32 --max-tokens 64 --logits logits.f32 --json -q |
        "$venv/bin/python" -c 'import json,sys; print(",".join(map(str, json.load(sys.stdin)["logits_ids"])))')
    if ! "$venv/bin/python" "$here/transformers_load.py" out --ids "$ids" --logits logits.f32 >result.json 2>reader.err; then
        failed=5
    fi
    "$venv/bin/python" - "$label" "$*" <<'PY'
import json, sys
try:
    r = json.load(open("result.json"))
except ValueError:
    last = [x for x in open("reader.err").read().split("\n") if "Error" in x][-1:] or ["no output"]
    print(f"| {sys.argv[1]} | `{sys.argv[2]}` | does not load: {last[0].strip()[:160]} | | | | |", flush=True)
    sys.exit()
k = ", ".join(f"{v} {n}" for n, v in sorted(r["modules"].items()))
print(f"| {sys.argv[1]} | `{sys.argv[2]}` | {k} | {r['max_difference']:.4g} | {r['share_of_max_logit']:.2g} | {r['top1_equal']:.3f} | "
      f"{' '.join(h for h in r['sha256'].values())} |", flush=True)
PY
}
for m in llama-tied-f16 llama-untied-bf16; do
    one $m $models/$m text.txt --method rtn
    one $m $models/$m text.txt --method rtn --asym
    one $m $models/$m text.txt --method rtn --asym --checkpoint-format gptq
done
m=llama-tied-f16
for b in 2 3 8; do
    one $m $models/$m text.txt --method rtn --bits $b --group-size 32
    one $m $models/$m text.txt --method rtn --bits $b --group-size 32 --asym
done
one $m $models/$m text.txt --method rtn --group-size -1
one $m $models/$m text.txt --method rtn --group-size -1 --asym --bits 8
g="--calib text.txt --samples 8 --seq-len 64"
one $m $models/$m text.txt $g --order act --group-size 32
one $m $models/$m text.txt $g --order act --group-size 32 --asym
one $m $models/$m text.txt $g --order group-aware --group-size 32 --asym
one $m $models/$m text.txt $g --order act-static --group-size 32
one $m $models/$m text.txt --method rtn --override '*.layers.1.mlp.*:skip'
one llama-untied-bf16 $models/llama-untied-bf16 text.txt --method rtn --override '*.q_proj:skip'
one $m $models/$m text.txt --method rtn --shard-size 40K
one $m $models/$m text.txt --method rtn --override '*.down_proj:bits=8'
for m in llama-tied-f16 llama-untied-bf16; do
    one $m $models/$m text.txt --method rtn --asym --format awq
done
m=llama-tied-f16
one $m $models/$m text.txt --method rtn --format awq
one $m $models/$m text.txt --method rtn --asym --format awq --override '*.layers.1.mlp.*:skip'
one $m $models/$m text.txt $g --asym --format awq --group-size 32
one $m $models/$m text.txt $g --asym --format awq --group-size 32 --method awq
if [ "$gguf" ]; then
    g="--calib $calib --samples 8 --seq-len 512"
    one SmolLM2 "$gguf" "$calib" $g
    one SmolLM2 "$gguf" "$calib" $g --asym
    one SmolLM2 "$gguf" "$calib" $g --asym --checkpoint-format gptq
    one SmolLM2 "$gguf" "$calib" $g --order act --group-size 32
    one SmolLM2 "$gguf" "$calib" $g --group-size -1 --bits 8
    one SmolLM2 "$gguf" "$calib" $g --bits 3 --asym
    one SmolLM2 "$gguf" "$calib" $g --override 'model.layers.0.*:skip'
    one SmolLM2 "$gguf" "$calib" $g --asym --format awq
    one SmolLM2 "$gguf" "$calib" $g --asym --format awq --method awq
fi
exit $failed
