#!/bin/sh
# The golden table: what ptxas says of every kernel and architecture, and what the simulator counts of the packed products.
#
#   golden.sh check|write TABLE CUDA_DIR NVCC QGEMM_CHECK SIM_DIR SHAPE...
#
# check: 0 where the table agrees, 1 where it does not. Lines of another compiler are reported, and not compared; spills are
# wrong with any. write: makes the table from this build.
set -eu
mode=$1 table=$2 dir=$3 nvcc=$4 check=$5 sim=$6
shift 6
version=$("$nvcc" --version | sed -n 's/.*, V\([0-9.]*\).*/\1/p')
now=$(mktemp)
trap 'rm -f "$now" "$now.report"' EXIT
echo "compiler $version" > "$now"
for log in "$dir"/nibble.*.cubin.log; do
    [ -f "$log" ] || continue
    arch=$(basename "$log" .cubin.log | sed 's/nibble\.//')
    awk -v arch="$arch" '
        /Compiling entry function/ { split($0, q, "\x27"); kernel = q[2] }
        /spill stores/ { spill = $5 + $9 }
        /Used [0-9]+ registers/ {
            smem = 0
            for (i = 1; i < NF; i++) { if ($i == "Used") regs = $(i + 1); if ($(i + 2) ~ /^smem/) smem = $i }
            print "ptxas sm_" arch, kernel, "registers", regs, "spills", spill, "shared", smem
        }' "$log" | sort
done >> "$now"
if [ -f "$dir/nibble.80.ptx" ]; then
    CUDA_SIM_CC=80 CUDA_SIM_SMS=4 CUDA_SIM_REPORT="$now.report" LD_LIBRARY_PATH="$sim" "$check" "$dir/nibble.80.ptx" 80 "$@"
    # One "key": value a line.
    tr ',{}' '\n\n\n' < "$now.report" | tr -d '" ' | awk -F: '
        $1 == "kernel" { kernel = $2 }
        $1 == "warp_instructions" { inst = $2 }
        $1 == "sectors" { sectors = $2 }
        $1 == "sectors_ideal" { ideal = $2 }
        $1 == "wavefronts" { waves = $2 }
        $1 == "wavefronts_ideal" { least = $2 }
        $1 == "mma" { mma = $2 }
        $1 == "finding" {
            print "count", kernel, "instructions", inst, "mma", mma, "sectors", sectors, "ideal", ideal, "wavefronts", waves, "ideal", least
        }' >> "$now"
fi
if [ "$mode" = write ]; then
    cp "$now" "$table"
    exit 0
fi
if grep '^ptxas' "$now" | grep -v 'spills 0 ' ; then
    echo "a kernel spills registers" >&2
    exit 1
fi
if [ "$(head -1 "$table")" != "compiler $version" ]; then
    echo "reported, not compared: the table is of $(head -1 "$table"), this is $version"
    grep -v '^compiler' "$now"
    exit 0
fi
status=0
# Each line of this build must stand in the table; architectures that this build leaves out are not missed, and those that
# the table leaves out are reported.
while read -r line; do
    grep -qxF "$line" "$table" && continue
    arch=$(echo "$line" | sed -n 's/^ptxas \(sm_[0-9]*\) .*/\1/p')
    if [ -n "$arch" ] && ! grep -q "^ptxas $arch " "$table"; then
        echo "reported, not compared: $line"
        continue
    fi
    echo "not in the table: $line" >&2
    status=1
done < "$now"
exit $status
