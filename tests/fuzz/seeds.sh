#!/bin/sh
# Seeds of the fuzz targets: seeds.sh GOLDEN OUT
set -eu
golden=$1
out=$2
mkdir -p "$out/safetensors" "$out/gguf" "$out/gptq"

# A safetensors file from a header and a number of zero bytes.
st() {
    printf "\\$(printf %o "${#2}")\\0\\0\\0\\0\\0\\0\\0%s" "$2" >"$out/safetensors/$1"
    head -c "$3" /dev/zero >>"$out/safetensors/$1"
}
st empty '{}' 0
st one '{"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}' 12
st two '{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}' 6
cp "$golden/gptq/w4-asym-g32-v1/model.safetensors" "$out/safetensors/gptq"

printf 'GGUF\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' >"$out/gguf/empty"
{
    printf 'GGUF\3\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0'
    printf '\21\0\0\0\0\0\0\0general.alignment\4\0\0\0\40\0\0\0'
    printf '\1\0\0\0\0\0\0\0a\2\0\0\0\40\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0'
    head -c 96 /dev/zero
} >"$out/gguf/one"
cp "$golden/gguf/blocks.gguf" "$out/gguf/blocks"
cp "$golden/tok/llama2.gguf" "$out/gguf/llama2"
cp "$golden/tok/smollm.gguf" "$out/gguf/smollm"

# Of gptq: four bytes (n / 8, k / 8, flags, shift of the shapes), the config, a NUL, bytes for the tensors.
gptq() { printf '%b%s\0\1\2\3\4\5\6\7\10\11\12' "$2" "$3" >"$out/gptq/$1"; }
gptq sym '\0004\0010\0001\0000' '{"quant_method":"gptq","bits":4,"group_size":32,"sym":true,"desc_act":false}'
gptq v2 '\0004\0010\0001\0000' '{"quant_method":"gptq","bits":3,"group_size":-1,"sym":false,"checkpoint_format":"gptq_v2"}'
gptq act '\0010\0004\0003\0000' '{"bits":2,"group_size":16,"sym":false,"desc_act":true,"meta":{"ragged":true}}'
gptq rules '\0004\0004\0001\0000' '{"quant_method":"gptq","bits":8,"group_size":64,"dynamic":{"-:x":{},".*":{"bits":4,"group_size":32}}}'
