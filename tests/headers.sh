#!/bin/sh
# Each public header compiles alone, as C11 and as C++17.
set -eu
cd "$1"
for h in include/nibble/*.h; do
    printf '#include <nibble/%s>\n' "$(basename "$h")" |
        gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only -x c -
    printf '#include <nibble/%s>\n' "$(basename "$h")" |
        g++ -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only -x c++ -
done
