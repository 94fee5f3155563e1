#!/bin/bash
# Gets English prose into DIR from Debian's text packages: calib.txt (jargon-text) and, disjoint from it, eval.txt (debian-faq and
# debian-history). Packages are downloaded and unpacked, not installed.
set -euo pipefail
dir=${1:?usage: scripts/fetch-text.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
[ -s "$dir/calib.txt" ] && [ -s "$dir/eval.txt" ] && exit 0
work=$(mktemp -d "$dir/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
download() { (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$@" >/dev/null); }
download jargon-text debian-faq debian-history 2>/dev/null || {
    if [ "$(id -u)" = 0 ]; then apt-get update -qq; else sudo apt-get update -qq; fi
    download jargon-text debian-faq debian-history
}
for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/x"; done
# Lines of a paragraph are joined, blanks at the edges dropped, drawings and tables of contents left out.
prose() {
    zcat "$@" | tr -d '\r\f' | awk '
        function flush() { if (n > 1 && length(p) > 200 && length(p) < 3000 && p !~ /\.\.\.\.|====|----|\+--/) print p "\n"; p = ""; n = 0 }
        /^[ \t]*$/ { flush(); next }
        { sub(/^[ \t]+/, ""); sub(/[ \t]+$/, ""); gsub(/[ \t]+/, " "); p = p (n++ ? " " : "") $0 }
        END { flush() }'
}
doc=$work/x/usr/share/doc
prose "$doc/jargon-text/jargon.txt.gz" >"$work/calib.txt"
prose "$doc/debian/FAQ/debian-faq.en.txt.gz" "$doc/debian-history/docs/project-history.en.txt.gz" >"$work/eval.txt"
mv "$work/calib.txt" "$work/eval.txt" "$dir/"
