#!/bin/sh
# Makes a virtual environment for the light readers: setup-light.sh DIR. Does nothing when DIR is already made by this
# version of the script. Needs python3 (3.11 or newer) with venv and pip.
set -eu
dir=${1:?usage: setup-light.sh DIR}
pins="numpy==2.4.6 safetensors==0.8.0 gguf==0.19.0"
if [ -f "$dir/.pins" ] && [ "$(cat "$dir/.pins")" = "$pins" ]; then
    exit 0
fi
rm -f "$dir/.pins"
python3 -m venv "$dir"
# shellcheck disable=SC2086
"$dir/bin/pip" install --quiet --disable-pip-version-check $pins
echo "$pins" > "$dir/.pins"
