#!/bin/sh
# Installs the library to a new place and builds a program with it, by pkg-config and by find_package; runs all of them.
set -eu
build=$1 source=$2
prefix=$build/consumer-prefix
rm -rf "$prefix" "$build/consumer-build"
cmake --install "$build" --prefix "$prefix" >/dev/null
libdir=$(dirname "$(find "$prefix" -name libnibble.so | head -1)")
grep -q "^prefix=" "$libdir/pkgconfig/nibble.pc"
PKG_CONFIG_PATH=$libdir/pkgconfig
export PKG_CONFIG_PATH
flags="--define-variable=prefix=$prefix"
mkdir -p "$build/consumer-build"
cc -std=c11 -Wall -Wextra -Werror $(pkg-config $flags --cflags nibble) "$source/main.c" -o "$build/consumer-build/by-pkg-config" \
    $(pkg-config $flags --libs nibble)
LD_LIBRARY_PATH=$libdir "$build/consumer-build/by-pkg-config"
cmake -S "$source" -B "$build/consumer-build/cmake" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$build/consumer-build/cmake" >/dev/null
"$build/consumer-build/cmake/shared"
"$build/consumer-build/cmake/static"
