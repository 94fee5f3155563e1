#!/bin/sh
# Seeds of the fuzz targets: seeds.sh GOLDEN OUT
set -eu
golden=$1
out=$2
mkdir -p "$out/safetensors" "$out/gguf" "$out/gptq" "$out/tokenizer"

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

# Of tokenizer: a tokenizer.json, a NUL and a text; or a byte that picks a pre-tokenizer by name, and a text.
tok() { printf '%s\0%b' "$2" "$3" >"$out/tokenizer/$1"; }
letters='"vocab":{"<s>":0,"a":1,"b":2,"ab":3,"\u2581":4,"\u2581a":5,"<0x41>":6," ":7},"merges":["a b",["\u2581","a"]]'
added='"added_tokens":[{"id":0,"content":"<s>","special":true,"lstrip":true},{"id":9,"content":"caf","single_word":true,"rstrip":true,"normalized":true}]'
tok plain "{\"model\":{$letters},$added}" 'ab <s> ba caf x'
tok split "{\"model\":{$letters,\"unk_token\":\"a\"},\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"MergedWithNext\",\"pattern\":{\"Regex\":\"[0-9]+|-*\"}}}" 'a1b--22 \0377\0303'
tok meta "{\"model\":{$letters,\"byte_fallback\":true,\"fuse_unk\":true},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\"},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]}}" 'a bA ab'
tok forms "{\"model\":{$letters},\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Prepend\",\"prepend\":\"a\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"b\"}]}}" 'e\0314\0201 a'
for i in 0 1 2 3 4 5; do printf '%b%b' "\\000$i" "It's 12345 x\\n\\n  \\0360\\0237\\0230\\0200 caf\\0303\\0251 \\0377<s>the THE" >"$out/tokenizer/name$i"; done
