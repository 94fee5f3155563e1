#!/bin/bash
# The commands under valgrind, on the tiny models: no invalid access, no value that depends on uninitialised memory, no leak, also where
# they fail: valgrind.sh NIBBLE.
set -euo pipefail
nibble=$(realpath "$1")
golden=$(cd "$(dirname "$0")" && pwd)/golden
models=$golden/models
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for i in $(seq 100); do echo "Line $i of some prose with words, number $((i * i % 997))."; done >text.txt
export OCL_ICD_VENDORS=$work/none # OpenCL drivers keep memory of their own and read past strings; they are not ours to mend
failed=0
# check EXPECTED_CODE COMMAND...
check() {
    local want=$1 code=0
    shift
    valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect,possible "$nibble" "$@" \
        >out.txt 2>err.txt || code=$?
    if [ "$code" = "$want" ]; then
        echo "valgrind: good: $*"
        return
    fi
    echo "valgrind: exit $code, expected $want: $*"
    head -n 60 err.txt
    failed=1
}
check 0 quantize "$models/llama-tied-f16" -o a --method rtn -q
check 0 quantize "$models/llama-untied-bf16" -o b --method rtn --asym --bits 3 --group-size 32 --shard-size 40K -q
check 0 quantize "$models/llama-tied-f16" -o c --calib text.txt --samples 3 --seq-len 16 --order act -q
check 0 quantize "$golden/gguf/llama-tied-f16.gguf" -o d --calib self --samples 2 --seq-len 16 --asym --checkpoint-format gptq -q
check 0 quantize "$models/llama-tied-f16" -o e --dry-run --json --override '*.up_proj:bits=8' --override 're:.*\.0\..*:skip'
check 0 quantize "$models/llama-tied-f16" -o g --calib text.txt --samples 3 --seq-len 16 --method best --bits 3 --asym --group-size 32 -q
check 0 quantize "$models/llama-tied-f16" -o h --calib text.txt --samples 3 --seq-len 16 --method gptq+tune --two-sided --iters 2 --asym -q
check 0 quantize "$models/llama-tied-f16" -o i --calib text.txt --samples 3 --seq-len 16 --method awq+gptq --format awq --descent 1 -q
check 0 quantize "$models/llama-tied-f16" -o j --calib text.txt --samples 3 --seq-len 16 --method autoround --iters 2 -q
check 0 quantize "$golden/gguf/llama-tied-f16.gguf" -o k.gguf --method hqq --asym --format gguf -q
check 0 eval k.gguf --text text.txt --seq-len 16 --max-tokens 64 --json -q
check 0 eval c --text text.txt --seq-len 16 --max-tokens 64 --reference "$models/llama-tied-f16" --logits l.f32 --json -q
check 0 generate c -p "Hello" -n 4 -q
check 0 inspect b --tensors --json
check 0 devices
check 3 quantize a -o a --force --method rtn
check 2 quantize "$models/llama-tied-f16" -o f --override '*.nothing:skip'
check 3 quantize a -o f --method rtn
check 3 inspect text.txt
check 3 eval c --text missing.txt
cp -r "$models/llama-tied-f16" cut && truncate -s -7 cut/model.safetensors
check 3 inspect cut
exit $failed
