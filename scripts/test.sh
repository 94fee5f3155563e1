#!/bin/bash
# Installs what is missing, builds, runs the tests. --deep adds sanitizers, valgrind and fuzzing.
set -euo pipefail
cd "$(dirname "$0")/.."
deep=0
for arg in "$@"; do
    case $arg in
    --deep) deep=1 ;;
    -h | --help) echo "usage: scripts/test.sh [--deep]"; exit 0 ;;
    *) echo "usage: scripts/test.sh [--deep]" >&2; exit 2 ;;
    esac
done
jobs=$(nproc)
scripts/install-deps.sh build test
# nvcc for the CUDA kernels and their simulator: the installed one, else one from PyPI in the build folder.
if nvcc=$(scripts/get-nvcc.sh build/nvcc); then
    PATH=$(dirname "$nvcc"):$PATH
else
    nvcc=
    echo "test.sh: no nvcc: CUDA kernels and the simulator's tests are NOT built" >&2
fi
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DNB_WERROR=ON ${nvcc:+-DCUDA_SIM_NVCC="$nvcc"}
cmake --build build -j "$jobs"
scripts/fetch-model.sh build/models >/dev/null
ctest --test-dir build --output-on-failure -j "$jobs" -LE deep
if [ $deep = 1 ]; then
    scripts/install-deps.sh deep
    scripts/test-deep.sh
fi
