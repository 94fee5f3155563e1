#!/bin/sh
# Makes a virtual environment for transformers_load.py and for tests/golden/make_{logits,gptq}.py: setup-heavy.sh DIR.
# About 8 GB on disk (torch brings its CUDA libraries); by hand, never in CI.
set -eu
dir=${1:?usage: setup-heavy.sh DIR}
here=$(cd "$(dirname "$0")" && pwd)
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check -r "$here/../golden/requirements-heavy.txt"
