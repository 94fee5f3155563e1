#!/bin/sh
# The packed products beside what users would take instead, on one and two threads: GEMV out of cache against the read
# bandwidth, GEMV in cache and GEMM against the f32 products of OpenBLAS and oneDNN where they are installed.
# usage: bench/packed.sh NIBBLE [OUT_DIR]   with OUT_DIR, JSON goes there; compare two such with `nibble bench --compare`.
set -eu
nibble=$1 out=${2-}
threads=${THREADS--j 1 -j 2} # CLOCK=--cpu-time THREADS="-j 1" on a machine that others use as well
shapes="--shape 4096x4096 --shape 11008x4096 --shape 4096x11008 --shape 576x1536"
llc=$(getconf LEVEL3_CACHE_SIZE 2>/dev/null || echo 0)
[ "$llc" -gt 0 ] 2>/dev/null || llc=33554432
ring=$((4 * llc))

run() {
    name=$1
    shift
    if [ -n "$out" ]; then
        mkdir -p "$out"
        "$nibble" bench --json ${CLOCK-} "$@" >"$out/$name.json"
    else
        echo "== $name"
        "$nibble" bench ${CLOCK-} "$@"
    fi
}

best=${KERNELS-*avx512*} # a glob of variants
run gemv-memory $threads --kernel "$best" $shapes --ring $ring --samples 60 --sample-ms 1
run gemv-large $threads --kernel "$best" --shape 32768x8192 --samples 20 --sample-ms 1
run gemv-cache $threads --kernel "$best" $shapes --peers openblas,onednn --samples 60 --sample-ms 1
run gemm $threads --kernel "$best" --shape 4096x4096 -m 16 -m 128 -m 512 --peers openblas,onednn --samples 9 --sample-ms 1
