#!/bin/sh
# The shared library exports exactly the functions that the public headers declare with NB_API.
set -eu
lib=$1 include=$2
exported=$(nm -D --defined-only "$lib" | awk '{print $3}' | sort)
declared=$(grep -hv '^#' "$include"/nibble/*.h | tr '\n' ' ' | grep -o 'NB_API [^;{]*(' | sed 's/ *(.*//; s/.*[ *]//' | sort -u)
[ -n "$declared" ] || { echo "no declaration found"; exit 1; }
[ "$exported" = "$declared" ] || {
    echo "exported and declared symbols differ (< exported, > declared):"
    echo "$exported" >"${TMPDIR:-/tmp}/nb-exported.$$"
    echo "$declared" | diff "${TMPDIR:-/tmp}/nb-exported.$$" - || true
    rm -f "${TMPDIR:-/tmp}/nb-exported.$$"
    exit 1
}
