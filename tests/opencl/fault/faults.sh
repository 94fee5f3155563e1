#!/bin/bash
# Faults of the OpenCL backend as the command meets them: clear errors, exit code 4, a journal that --resume goes on from.
# Arguments: nibble, the preload library, the folder of test models.
set -euo pipefail
nibble=$1 preload=$2 models=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME=$work/cache
if ! "$nibble" devices | grep -q '^opencl:0'; then
    echo "skipped: no OpenCL device here"
    exit 77
fi
for i in $(seq 600); do echo "Line $i of prose, number $((i * i % 997))."; done >text.txt
run() { "$nibble" quantize "$models/llama-tied-f16" --calib text.txt --samples 8 --seq-len 64 --device opencl -q "$@"; }

# expect CODE TEXT COMMAND...: the command ends with this code, and its error has this text.
expect() {
    local code=$1 text=$2 got=0
    shift 2
    "$@" >out.txt 2>err.txt || got=$?
    if [ "$got" != "$code" ] || ! grep -q -- "$text" err.txt; then
        echo "FAILED: $*: exit code $got, expected $code and \"$text\" in:" >&2
        cat err.txt >&2
        exit 1
    fi
}

mkdir -p none
expect 4 'no OpenCL platform' env OCL_ICD_VENDORS="$work/none/" "$nibble" quantize "$models/llama-tied-f16" --method rtn -d opencl -o o
OCL_ICD_VENDORS="$work/none/" "$nibble" devices | grep -q '^opencl *none: no OpenCL platform'
expect 4 'no OpenCL device is called "9"' "$nibble" quantize "$models/llama-tied-f16" --method rtn -d opencl:9 -o o
expect 4 'no OpenCL device is called "nobody"' "$nibble" quantize "$models/llama-tied-f16" --method rtn -d opencl:nobody -o o
test ! -e o

# A long list of extensions is read to its end: what the device can do stays the same.
can() { "$nibble" verify --device opencl --every 1000 --op 'row_dot' | grep -c skipped || :; }
test "$(can)" = "$(LD_PRELOAD=$preload NB_CL_FAULT=extensions can)"

run -o whole
hash() { (cd "$1" && find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum); }
want=$(hash whole)

# A build that fails names the source and its line.
faulty() { LD_PRELOAD=$preload NB_CL_FAULT=$1 XDG_CACHE_HOME=${2:-$work/cache} run -o out --resume; }
expect 4 'cannot build kernels/opencl/.*\.cl.*CL_BUILD_PROGRAM_FAILURE.*the line: kernel void' faulty source "$work/other"
rm -rf out.partial

# A driver that takes no binary: made from source, without a word.
faulty binary
test "$(hash out)" = "$want"
rm -rf out

# Memory that runs out, and a device that is lost, at instants spread over the run; then a resumed run gives the same bytes.
expect 4 'CL_MEM_OBJECT_ALLOCATION_FAILURE' faulty buffer:5:-4
rm -rf out.partial
lost=0
for n in 1 20 60 150 250 320 400; do
    if faulty launch:$n:-5 2>err.txt; then
        break # the run has fewer launches
    else
        code=$?
    fi
    if [ $code != 4 ] || ! grep -q 'CL_OUT_OF_RESOURCES' err.txt; then
        echo "FAILED: lost at launch $n: exit code $code: $(cat err.txt)" >&2
        exit 1
    fi
    test ! -e out
    lost=$((lost + 1))
    blocks=$(grep -c . out.partial/journal.jsonl || :)
    echo "lost at launch $n: $blocks lines of the journal stand"
done
test $lost -ge 4
test -e out || run -o out --resume
test "$(hash out)" = "$want"
echo "all faults are met"
