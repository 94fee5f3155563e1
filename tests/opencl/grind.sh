#!/bin/bash
# Kernels under oclgrind: reads and writes out of bounds, races of data, wrong use of the API. It is a device of the least kind: no
# processor, no exact division. Argument: nibble. OpenCL finds oclgrind by a folder of ICDs; its wrapper would preload a library
# that a dlopen does not see.
set -euo pipefail
nibble=$1
library=$(find /usr/lib /usr/local/lib -name 'liboclgrind-rt-icd.so' 2>/dev/null | head -1)
[ -n "$library" ] || { echo "oclgrind is not installed" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/icd"
echo "$library" >"$work/icd/oclgrind.icd"
export OCL_ICD_VENDORS=$work/icd/ XDG_CACHE_HOME=$work OCLGRIND_DATA_RACES=1 OCLGRIND_CHECK_API=1 OCLGRIND_MAX_ERRORS=20
"$nibble" devices | grep -q 'Oclgrind' || { echo "oclgrind is not found as a device" >&2; exit 1; }
rows=${2:-"matmul_tiled linear_tiled hessian_tiled group_range_integer group_search_integer rtn_integer gptq_block_integer dequant
quant_error_f64 quant_error_pairs row_dot_pairs hessian_check_f64 hessian_check_pairs abs_mean_pairs chol_inverse_f64 column_order
hessian_order reverse transpose hqq_pairs embed rmsnorm_f64 rmsnorm_pairs logit_stats_f64 rope glu attention_tiled"}
# Packed products have many cases: each 101st. Dense ones, attention and searches are large to emulate: some.
packed=${3-"qgemm_lanes qgemm_i8_lanes"}
bad=0
for row in $rows $packed; do
    every=1 options=
    case $row in
    qgemm*) every=101 ;;
    linear*) every=31 ;;
    attention*) every=7 options=-cl-opt-disable ;; # optimized it calls an intrinsic that oclgrind has not (llvm.usub.sat)
    matmul* | hessian_tiled | group_search* | row_dot* | hqq*) every=7 ;;
    esac
    OCLGRIND_LOG=$work/log env ${options:+OCLGRIND_BUILD_OPTIONS=$options} "$nibble" verify --device opencl --kernel "$row" --every $every -j 1 --jobs 1 || bad=1
    if [ -s "$work/log" ]; then
        echo "FAILED: $row under oclgrind:"
        head -40 "$work/log"
        bad=1
    fi
    rm -f "$work/log"
done
exit $bad
