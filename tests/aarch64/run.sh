#!/bin/sh
# Cross-compiles the packed kernels with a plain main and runs them under qemu-user. Exit 77 where the tools are missing.
set -eu
source=$1 out=$2
cc=aarch64-linux-gnu-gcc
for tool in $cc qemu-aarch64; do
    command -v $tool >/dev/null || { echo "skipped: $tool is not installed"; exit 77; }
done
cd "$source"
$cc -std=c11 -O2 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes \
    -Wmissing-prototypes -Wvla -Wundef -Werror -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -I. -Iinclude -static \
    tests/aarch64/main.c host/cli/verify_packed.c host/cli/verify_memory.c host/base/alloc.c host/base/err.c \
    host/base/log.c host/base/pool.c host/base/str.c host/tensor/dtype.c host/tensor/dequant.c host/tensor/qtensor.c \
    host/backend/cpu.c host/backend/select.c host/backend/packed.c host/backend/opencl_none.c host/backend/packer_cpu.c kernels/cpu/*.c kernels/cpu/ref/*.c \
    -lm -lpthread -o "$out"
exec qemu-aarch64 "$out"
