#!/bin/sh
# Packed products on OpenCL beside the CPU's own kernels in f32, on the same processor (PoCL): 4 bits, group 128, in one run,
# by turns: a round is both backends, so that both see the same machine. Operations of a sample are queued one behind the other. `ratio` is OpenCL's speed over the CPU's, of medians.
# usage: bench/opencl.sh NIBBLE [ROUNDS]
set -eu
nibble=$1 rounds=${2-5}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
one() { # one DEVICE KERNEL FILE ARGS...: appends GFLOP/s of one short run
    d=$1 k=$2 f=$3
    shift 3
    "$nibble" bench --json --device "$d" --kernel "$k" --samples 9 --sample-ms 5 "$@" >"$tmp/json"
    python3 - "$tmp/json" "$k" >>"$f" <<'EOF'
import json, sys
for r in json.load(open(sys.argv[1]))["results"]:
    if r["variant"] == sys.argv[2]:
        print(r["median_s"])
EOF
}
best=$("$nibble" bench --json --op qgemm --shape 256x256 --samples 3 --sample-ms 1 | python3 -c '
import json, sys
print([r["variant"] for r in json.load(sys.stdin)["results"] if r["op"] == "qgemm"][0])')
echo "cpu: $best, opencl: qgemm_wide; median seconds, ratio of speeds"
for what in "gemv 576x1536 1" "gemv 1536x576 1" "gemv 4096x4096 1" "gemv 11008x4096 1" "gemv 4096x11008 1" "rows 4096x4096 4" "gemm 4096x4096 16" "gemm 4096x4096 128" "gemm 4096x4096 512"; do
    set -- $what
    : >"$tmp/cpu"
    : >"$tmp/ocl"
    for i in $(seq "$rounds"); do
        one cpu "$best" "$tmp/cpu" --shape "$2" -m "$3"
        one opencl qgemm_wide "$tmp/ocl" --shape "$2" -m "$3"
    done
    python3 - "$tmp/cpu" "$tmp/ocl" "$what" <<'EOF'
import statistics, sys
a, b = (statistics.median(map(float, open(f))) for f in sys.argv[1:3])
print("%-20s cpu %10.1f us  opencl %10.1f us  ratio %.2f" % (sys.argv[3], a * 1e6, b * 1e6, a / b))
EOF
done
