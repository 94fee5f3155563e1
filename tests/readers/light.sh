#!/bin/sh
# The light readers in the tests: light.sh NIBBLE VENV. Makes VENV through PyPI where it is missing, checks the readers
# themselves, then lets them read what nibble writes from the tiny models.
set -eu
nibble=$1 venv=$2
here=$(cd "$(dirname "$0")" && pwd)
models=$here/../golden/models
if ! sh "$here/setup-light.sh" "$venv" >"$venv.log" 2>&1; then
    tail -n 5 "$venv.log" >&2
    echo "readers: numpy, safetensors and gguf could not be installed from PyPI (is it reachable?); nothing was checked" >&2
    exit 1
fi
python=$venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" "$here/selftest.py"
for model in llama-tied-f16 llama-untied-mix; do
    "$python" "$here/gguf_check.py" "$here/../golden/gguf/$model.gguf" >"$work/gguf.json"
    echo "gguf $model: $(grep -c '"sha256"' "$work/gguf.json") tensors"
done
# With the range of a group as its scale, rounding to nearest is off by half a scale at most, and by what the scale's rounding to F16 (2^-11) does to codes up to 2^bits.
cat >"$work/check.py" <<'PY'
import json, sys
doc = json.load(open(sys.argv[1]))
worst = 0.0
for name, q in doc["quantized"].items():
    bound = q["scale_max"] * (0.5 + 2.0 ** (q["bits"] - 11))
    worst = max(worst, q["max_abs_error"] / bound)
print(f"{sys.argv[2]}: {len(doc['quantized'])} matrices, largest error {worst:.3f} of its bound")
sys.exit(0 if doc["quantized"] and worst <= 1 else 1)
PY
check() {
    model=$1
    shift
    "$nibble" quantize "$models/$model" -o "$work/out" --force -q --method rtn --scales minmax "$@"
    "$python" "$here/numpy_gptq.py" "$work/out" --compare "$models/$model" >"$work/out.json"
    "$python" "$work/check.py" "$work/out.json" "$model $*"
}
check llama-tied-f16
check llama-tied-f16 --bits 8 --group-size -1
check llama-tied-f16 --bits 3 --group-size 32 --asym
check llama-tied-f16 --bits 2 --group-size 32 --asym --checkpoint-format gptq
check llama-untied-bf16 --asym
check llama-untied-bf16 --asym --checkpoint-format gptq --shard-size 40K
# GGUF: half a step of the coarsest block, and in Q4_1 the rounding of its offset; tables in Q8_0 are within half of their step.
cat >"$work/check_gguf.py" <<'PY'
import json, sys
doc = json.load(open(sys.argv[1]))["tensors"]
worst = max(t["max_abs_error"] / max(abs(t["min"]), abs(t["max"])) for n, t in doc.items() if n != "rope_freqs.weight")
kinds = sorted({t["type"] for t in doc.values()})
print(f"{sys.argv[2]}: {len(doc)} tensors of {kinds}, largest error {worst:.4f} of the largest value")
# 4 bits: a step is at most 2 a / 15, a the largest value, half of it a / 15; of what is written at least 14 a / 15 is the largest;
# and 1 % for roundings to F16.
sys.exit(0 if worst <= 1.01 / 14 and sys.argv[3] in kinds else 1)
PY
check_gguf() {
    model=$1 kind=$2
    shift 2
    "$nibble" quantize "$models/$model" -o "$work/out.gguf" --force -q --method rtn --scales minmax --format gguf "$@"
    "$python" "$here/gguf_check.py" "$work/out.gguf" --compare "$models/$model" >"$work/gguf.json"
    "$python" "$work/check_gguf.py" "$work/gguf.json" "gguf $model $*" "$kind"
}
# Symmetric codes are the same weights in both formats.
cat >"$work/same.py" <<'PY'
import sys
sys.path[:0] = [sys.argv[3], sys.argv[3] + "/../golden"]
import gguf_to_hf, numpy_gptq
import numpy as np
a, b = gguf_to_hf.load(sys.argv[1])[1], numpy_gptq.load(sys.argv[2])[1]
differ = [n for n in b if not np.array_equal(a[n], b[n])]
print(f"GGUF and GPTQ: {len(b)} tensors, {len(differ)} differ")
sys.exit(0 if b and not differ and set(a) == set(b) else 1)
PY
"$nibble" quantize "$models/llama-tied-f16" -o "$work/q" -q --method rtn --group-size 32
"$nibble" quantize "$models/llama-tied-f16" -o "$work/q.gguf" -q --method rtn --format gguf --embeddings f16
"$python" "$work/same.py" "$work/q.gguf" "$work/q" "$here"
check_gguf llama-tied-f16 Q4_0
check_gguf llama-tied-f16 Q4_1 --asym
check_gguf llama-untied-bf16 Q8_0 --bits 8 --embeddings f16
check_gguf llama-untied-bf16 Q4_0 --override '*.layers.0.*:skip'
check llama-tied-f16 --override '*.layers.0.*:skip' --override '*.up_proj:bits=8'
