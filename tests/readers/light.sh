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
check_with() {
    reader=$1 model=$2
    shift 2
    "$nibble" quantize "$models/$model" -o "$work/out" --force -q --method rtn --scales minmax "$@"
    "$python" "$here/$reader" "$work/out" --compare "$models/$model" >"$work/out.json"
    "$python" "$work/check.py" "$work/out.json" "$model $*"
}
check() { check_with numpy_gptq.py "$@"; }
check_awq() { check_with numpy_awq.py "$@" --format awq; }
check llama-tied-f16
check llama-tied-f16 --bits 8 --group-size -1
check llama-tied-f16 --bits 3 --group-size 32 --asym
check llama-tied-f16 --bits 2 --group-size 32 --asym --checkpoint-format gptq
check llama-untied-bf16 --asym
check llama-untied-bf16 --asym --checkpoint-format gptq --shard-size 40K
check_awq llama-tied-f16
check_awq llama-tied-f16 --asym --group-size 32 --override '*.layers.0.*:skip'
check_awq llama-untied-bf16 --asym --shard-size 40K
check_awq gemma3-bf16 --asym --group-size 16
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
# The same codes are the same weights in two formats, each read by its own decoder: READER OUT READER OUT.
cat >"$work/same.py" <<'PY'
import importlib, sys
here, one, path, other, path2 = sys.argv[1:]
sys.path[:0] = [here, here + "/../golden"]
import numpy as np
a, b = importlib.import_module(one).load(path)[1], importlib.import_module(other).load(path2)[1]
differ = [n for n in b if n not in a or not np.array_equal(a[n], b[n])]
print(f"{one} and {other}: {len(b)} tensors, {len(differ)} differ")
sys.exit(0 if b and not differ and set(a) == set(b) else 1)
PY
"$nibble" quantize "$models/llama-tied-f16" -o "$work/q" -q --method rtn --group-size 32
"$nibble" quantize "$models/llama-tied-f16" -o "$work/q.gguf" -q --method rtn --format gguf --embeddings f16
"$python" "$work/same.py" "$here" gguf_to_hf "$work/q.gguf" numpy_gptq "$work/q"
same_awq() {
    "$nibble" quantize "$@" -o "$work/awq" --force -q --asym --format awq
    "$nibble" quantize "$@" -o "$work/q" --force -q --asym
    "$python" "$work/same.py" "$here" numpy_awq "$work/awq" numpy_gptq "$work/q"
}
same_awq "$models/llama-tied-f16" --method rtn
same_awq "$models/gemma3-bf16" --method rtn --group-size 16
# Channel scales s stand in norms, as norm / s; q, k and gate, whose rows nothing scales, then hold W s. So for the reader, who knows
# nothing of s, a weight times the ratio of the norms is the original's within the bound of above times that ratio, and what the
# norm's rounding to the DIGITS of its type does. OFFSET is what the model adds to a norm's weight.
cat >"$work/folded.py" <<'PY'
import sys
here, out, model, before_mlp, offset, digits = sys.argv[1:]
sys.path.insert(0, here)
import numpy as np
import numpy_awq, numpy_gptq
new, facts = numpy_awq.load(out)[1:]
old = numpy_gptq.original(model)
worst, scaled = 0.0, 0
for p, f in facts.items():
    block, part = p.rsplit(".", 2)[0], p.rsplit(".", 1)[1]
    if part not in ("q_proj", "k_proj", "gate_proj"):
        continue
    norm = f"{block}.{before_mlp if part == 'gate_proj' else 'input_layernorm'}.weight"
    w, a, b = (x.astype(np.float64) for x in (old[p + ".weight"], old[norm] + float(offset), new[norm] + float(offset)))
    ratio = b / a
    bound = f["scale_max"] * (0.5 + 2.0 ** (f["bits"] - 11)) * ratio + np.abs(w) * 2.0 ** -int(digits) * np.abs(new[norm]) / b
    worst = max(worst, (np.abs(new[p + ".weight"] * ratio - w) / bound).max())
    scaled += not np.array_equal(a, b)
print(f"{model.rsplit('/', 1)[1]}, channel scales: {scaled} matrices have some, largest error {worst:.3f} of its bound")
sys.exit(0 if scaled and worst <= 1 else 1)
PY
check_folded() {
    model=$1 group=$2
    shift 2
    "$nibble" quantize "$models/$model" -o "$work/out" --force -q --method awq --scales minmax --asym --format awq --group-size "$group" \
        --calib "$here/../../docs/architecture.md" --samples 4 --seq-len 64
    "$python" "$work/folded.py" "$here" "$work/out" "$models/$model" "$@"
}
check_folded llama-tied-f16 32 post_attention_layernorm 0 11
check_folded llama-untied-bf16 32 post_attention_layernorm 0 8
check_folded gemma3-bf16 16 pre_feedforward_layernorm 1 8
check_gguf llama-tied-f16 Q4_0
check_gguf llama-tied-f16 Q4_1 --asym
check_gguf llama-untied-bf16 Q8_0 --bits 8 --embeddings f16
check_gguf llama-untied-bf16 Q4_0 --override '*.layers.0.*:skip'
check llama-tied-f16 --override '*.layers.0.*:skip' --override '*.up_proj:bits=8'
