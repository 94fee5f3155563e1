#!/bin/bash
# The long checks, run by hand: all tests under address and undefined-behaviour sanitizers; the commands under valgrind; the stress
# program under the thread sanitizer; a clang build with its tests; each fuzzer for a minute.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
step() { printf '\n== %s\n' "$*"; }

step "the slow tests"
ctest --test-dir build --output-on-failure -L deep -j "$jobs"

step "address and undefined-behaviour sanitizers"
cmake --preset asan -DNB_BUILD_BENCH=OFF
cmake --build build-asan -j "$jobs"
mkdir -p build-asan/models
cp build/models/*.gguf build-asan/models/
ctest --test-dir build-asan --output-on-failure -LE 'deep|rig|fault'

step "valgrind"
# valgrind knows no AVX-512: it hides it, so the AVX2 kernels run.
tests/valgrind.sh build/nibble

step "oclgrind"
tests/opencl/grind.sh build/nibble

step "thread sanitizer"
cmake --preset tsan -DNB_BUILD_BENCH=OFF
cmake --build build-tsan -j "$jobs" --target stress
build-tsan/tests/stress/stress

step "clang"
cmake --preset clang -DNB_BUILD_BENCH=OFF
cmake --build build-clang -j "$jobs"
mkdir -p build-clang/models
cp build/models/*.gguf build-clang/models/
ctest --test-dir build-clang --output-on-failure -L unit

step "fuzzing"
cmake --preset fuzz
cmake --build build-fuzz --target fuzz
for target in gguf safetensors gptq tokenizer; do
    mkdir -p build-fuzz/found/$target
    build-fuzz/tests/fuzz/fuzz_$target -max_total_time=60 -print_final_stats=1 build-fuzz/found/$target build-fuzz/fuzz/$target
done
echo "all deep checks passed"
