#!/bin/sh
# Installs the Debian packages that are missing; says which. Arguments: what for (build, test, deep, demo). As root, or through sudo.
set -eu
build="gcc g++ make cmake pkg-config git libc6-dev libjansson-dev libonig-dev libutf8proc-dev libxxhash-dev opencl-c-headers"
test="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user pocl-opencl-icd ocl-icd-libopencl1 libcriterion-dev python3 python3-pip python3-venv unzip ca-certificates"
deep="oclgrind valgrind clang-14 libclang-rt-14-dev clang-format-14"
demo="python3 python3-pip unzip ca-certificates"
[ $# -gt 0 ] || { echo "install-deps.sh: say what for: build, test, deep, demo" >&2; exit 2; }
want=""
for part in "$@"; do
    case $part in
    build) want="$want $build" ;;
    test) want="$want $test" ;;
    deep) want="$want $deep" ;;
    demo) want="$want $demo" ;;
    *) echo "install-deps.sh: no set of packages is called $part" >&2; exit 2 ;;
    esac
done
missing=""
for p in $want; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing Debian packages:$missing"
if [ "$(id -u)" = 0 ]; then as=""; elif command -v sudo >/dev/null; then as=sudo; else
    echo "install-deps.sh: these packages are missing, and neither root nor sudo is there to install them" >&2
    exit 1
fi
$as apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as apt-get install -y -qq --no-install-recommends $missing >/dev/null
