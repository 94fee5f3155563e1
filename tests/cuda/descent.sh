#!/bin/sh
# Codes of a run with coordinate descent, on the CPU and on the CUDA device: NIBBLE MODELS. Fails where they differ or the device finds
# a fault. What `nibble verify` has no check for is mutated under it.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
i=0
while [ $i -lt 300 ]; do
    echo "Line $i of prose, number $((i * i % 997))."
    i=$((i + 1))
done >"$dir/text"
# $settings is words.
run() {
    # shellcheck disable=SC2086
    "$1" quantize "$2/llama-tied-f16" --calib "$dir/text" --samples 4 --seq-len 32 --scales minmax --asym --asym-calib 0 --descent 2 \
        $settings --override '*.mlp.*:skip' --override '*.layers.1.*:skip' -q --device "$3" -o "$dir/$3" --force
}
for settings in "--bits 2 --group-size 16" "--order act"; do
    run "$1" "$2" cpu
    run "$1" "$2" cuda
    cmp "$dir/cpu/model.safetensors" "$dir/cuda/model.safetensors"
done
