#!/bin/bash
# CLBlast, by a library of ours in its place: taken where it is right and faster, and never else.
# Arguments: nibble, the folder of that libclblast.so.1, the folder of test models.
set -euo pipefail
nibble=$1 folder=$2 models=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache
"$nibble" devices >out.txt
if ! grep -q '^opencl:0' out.txt; then
    echo "skipped: no OpenCL device here"
    exit 77
fi
for i in $(seq 600); do echo "Line $i of prose, number $((i * i % 997))."; done >text.txt
fail() { echo "FAILED: $*" >&2; exit 1; }
# with KIND COMMAND...: with the library, of this kind
with() { local kind=$1; shift; LD_LIBRARY_PATH=$folder NB_BLAST=$kind "$@"; }
tuned() { with "$1" "$nibble" tune --device opencl 2>err.txt | awk '$1 == "clblast" { print $2 }'; }
check() { with "$1" "$nibble" verify --device opencl --kernel matmul_clblast --full --jobs 1; }
hash() { (cd "$1" && find . -name '*.safetensors' -type f | LC_ALL=C sort | xargs sha256sum | sha256sum); }
run() { "$nibble" quantize "$models/llama-tied-f16" --calib text.txt --samples 8 --seq-len 64 --device opencl "$@"; }

# A file that is no library is as none.
mkdir none
echo no >none/libclblast.so.1
LD_LIBRARY_PATH=$work/none "$nibble" verify --device opencl --kernel matmul_clblast --full >out.txt
grep -q '^skipped' out.txt || fail "no library: $(cat out.txt)"
test "$(LD_LIBRARY_PATH=$work/none "$nibble" tune --device opencl 2>err.txt | awk '$1 == "clblast" { print $2 }')" = 0 || fail "tuned without it"

check right >out.txt || fail "a right library: $(cat out.txt)"
grep -q '^passed *matmul *matmul_clblast' out.txt || fail "a right library: $(cat out.txt)"
! check wrong >out.txt 2>&1 || fail "a wrong library passed"
grep -q '^FAILED *matmul *matmul_clblast' out.txt || fail "$(cat out.txt)"
check error >out.txt 2>&1 || fail "a library that gives up: $(cat out.txt)"

test "$(tuned wrong)" = 0 || fail "wrong results were taken"
grep -q 'CLBlast multiplies wrongly' err.txt || fail "$(cat err.txt)"
test "$(tuned error)" = 0 || fail "a library that gives up was taken"
run -o plain -q
test "$(tuned right)" = 1 || fail "a fast library was not taken: $(cat err.txt)"

# From now on it is taken; where it gives up, or is gone, all goes on as without it.
with error run -o fallen 2>err.txt || fail "$(cat err.txt)"
grep -q 'CLBlast fails with -2047' err.txt || fail "not a word: $(cat err.txt)"
test "$(hash fallen)" = "$(hash plain)" || fail "other bytes after CLBlast gave up"
LD_LIBRARY_PATH=$work/none run -o gone -q
test "$(hash gone)" = "$(hash plain)" || fail "other bytes without the library"
with right run -o taken -q
echo "CLBlast is taken where it is right and faster, and never else"
