#!/bin/bash
# The long checks: address and undefined-behaviour sanitizers over the tests, and a clang build.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
cmake --preset asan
cmake --build build-asan -j "$jobs"
ctest --test-dir build-asan --output-on-failure
cmake --preset clang
cmake --build build-clang -j "$jobs"
ctest --test-dir build-clang --output-on-failure -L unit
