#!/bin/bash
# Prints the path of an nvcc 13.0: the one on PATH, else one made from PyPI in DIR without root.
#
#   scripts/get-nvcc.sh DIR        use the nvcc on PATH when it is 13.x, else make DIR/venv
#   scripts/get-nvcc.sh --own DIR  make DIR/venv whatever is on PATH
#
# Idempotent: a complete DIR/venv is used as it is.
set -euo pipefail
own=0
if [ "${1:-}" = --own ]; then
    own=1
    shift
fi
if [ $# -ne 1 ]; then
    echo "usage: scripts/get-nvcc.sh [--own] DIR" >&2
    exit 2
fi
dir=$1
if [ $own = 0 ] && command -v nvcc >/dev/null && nvcc --version | grep -q 'release 13\.'; then
    command -v nvcc
    exit 0
fi
packages="nvidia-cuda-nvcc==13.0.* nvidia-cuda-crt==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-runtime==13.0.* nvidia-cuda-cccl==13.0.*"
find_nvcc() { find "$dir/venv" -path '*/bin/nvcc' -type f 2>/dev/null | head -n 1; }
if [ ! -e "$dir/venv/.complete" ]; then
    mkdir -p "$dir"
    rm -rf "$dir/venv"
    python3 -m venv "$dir/venv" >&2
    # shellcheck disable=SC2086
    "$dir/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps $packages >&2
    nvcc=$(find_nvcc)
    if [ -z "$nvcc" ]; then
        echo "get-nvcc.sh: no nvcc in the packages" >&2
        exit 1
    fi
    chmod +x "$(dirname "$nvcc")"/* 2>/dev/null || true
    root=$(dirname "$(dirname "$nvcc")")
    find "$root/nvvm" -name cicc -exec chmod +x {} + 2>/dev/null || true
    touch "$dir/venv/.complete"
fi
nvcc=$(find_nvcc)
[ -n "$nvcc" ] || { echo "get-nvcc.sh: no nvcc in $dir/venv; remove it and try again" >&2; exit 1; }
realpath "$nvcc"
