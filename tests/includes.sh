#!/bin/sh
# Includes point one way only:
#   cli -> run -> calib, eval -> quant, model -> scheme, ckpt, tokenizer, backend -> kernels -> tensor -> base -> include
# Rooms between two arrows do not include each other. layout.h may be included by all. Only backend/ includes CUDA's and
# OpenCL's headers.
set -eu
cd "$1"
floor() {
    case $1 in
    include) echo 0 ;; base) echo 1 ;; tensor) echo 2 ;; kernels) echo 3 ;; ckpt | tokenizer | backend | scheme) echo 4 ;;
    quant | model) echo 5 ;; calib | eval) echo 6 ;; run) echo 7 ;; cli) echo 8 ;; *) echo 99 ;;
    esac
}
room() {
    case $1 in
    nibble/*) echo include ;; kernels/*) echo kernels ;; host/*) echo "$1" | cut -d/ -f2 ;; *) echo none ;;
    esac
}
bad=0
for f in $(find host kernels -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cl'); do
    from=$(room "$f")
    for inc in $(sed -n 's/^ *# *include *[<"]\([^>"]*\)[>"].*/\1/p' "$f"); do
        case $inc in
        kernels/layout.h) continue ;;
        cuda.h | CL/*)
            [ "$from" = backend ] || { echo "$f includes $inc outside of host/backend"; bad=1; }
            continue ;;
        nibble/* | host/* | kernels/*) ;;
        *) continue ;;
        esac
        to=$(room "$inc")
        if [ "$from" != "$to" ] && [ "$(floor "$to")" -ge "$(floor "$from")" ]; then
            echo "$f ($from) includes $inc ($to)"
            bad=1
        fi
    done
done
exit $bad
