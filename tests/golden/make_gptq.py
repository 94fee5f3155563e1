#!/usr/bin/env python3
"""GPTQ checkpoints written by GPTQModel, with what they decode to (pins: requirements-heavy.txt).

    make_gptq.py            writes gptq/<name>/ (run with GPTQMODEL_CPU_WORKERS=2 on a small machine)

Each directory is as GPTQModel saved it, less its log and with the tokenizer of the original. Beside the model:
    expected.json        sha256 / xxh3_64 of every dequantized weight (f32 [N, K]), a few sampled values, the settings
    logits.safetensors   p0.ids, p0.logits, p0.maxabs, p0.argmax: Transformers in float32 on the dequantized weights
GPTQModel's own dequantize_weight() must give the same numbers rounded to F16; Transformers + GPTQModel + Optimum must load
the directory and give the same logits within F16. Both are checked here and the differences stand in expected.json.
"""
import json
import os
import shutil
import sys
import tempfile

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "readers"))

import hashlib  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import xxhash  # noqa: E402
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: E402

import numpy_gptq  # noqa: E402

# name: layers, dtype, lift (see base()), settings
CASES = {
    "w4-sym-g32": (2, "float16", False, dict(bits=4, group_size=32, sym=True, desc_act=False)),
    "w4-sym-g32-act": (2, "float16", False, dict(bits=4, group_size=32, sym=True, desc_act=True)),
    "w4-asym-g64-v2": (1, "float16", False, dict(bits=4, group_size=64, sym=False, desc_act=False, format="gptq_v2")),
    "w4-asym-g64-act-v2": (1, "float16", False, dict(bits=4, group_size=64, sym=False, desc_act=True, format="gptq_v2")),
    "w4-asym-g32-v1": (1, "float16", False, dict(bits=4, group_size=32, sym=False, desc_act=False)),
    "w4-asym-g32-v1-zero0": (1, "float16", True, dict(bits=4, group_size=32, sym=False, desc_act=False)),
    "w4-sym-channel-bf16": (1, "bfloat16", False, dict(bits=4, group_size=-1, sym=True, desc_act=False, act_group_aware=False)),
    "w8-sym-channel": (1, "float16", False, dict(bits=8, group_size=-1, sym=True, desc_act=False, act_group_aware=False)),
    "w8-asym-g32-v2": (1, "float16", False, dict(bits=8, group_size=32, sym=False, desc_act=False, format="gptq_v2")),
    "w3-sym-g32": (1, "float16", False, dict(bits=3, group_size=32, sym=True, desc_act=False)),
    "w3-asym-g64-v2": (1, "float16", False, dict(bits=3, group_size=64, sym=False, desc_act=False, format="gptq_v2")),
    # Rules of config key `dynamic`: other bits and groups for some modules, and modules left in F16.
    "w4-sym-g32-dynamic": (2, "float16", False, dict(bits=4, group_size=32, sym=True, desc_act=False, dynamic={
        r"-:.*layers\.1\.mlp\..*": {}, r"+:.*\.k_proj": {"bits": 8, "group_size": 64},
        r".*\.v_proj": {"bits": 8, "group_size": 64}})),
    "w2-sym-g32": (1, "float16", False, dict(bits=2, group_size=32, sym=True, desc_act=False)),
    "w2-asym-g32-v2": (1, "float16", False, dict(bits=2, group_size=32, sym=False, desc_act=False, format="gptq_v2")),
}


def base(layers, lift, out):
    """The F16 model with its first layers. lift: every 5th row is positive, so that its zero points are 0."""
    src = os.path.join(HERE, "models", "llama-tied-f16")
    shutil.copytree(src, out)
    c = json.load(open(os.path.join(out, "config.json")))
    c["num_hidden_layers"] = layers
    json.dump(c, open(os.path.join(out, "config.json"), "w"), indent=1)
    t = {n: a for n, (a, _) in numpy_gptq.read_dir(src).items()
         if not n.startswith("model.layers.") or int(n.split(".")[2]) < layers}
    if lift:
        for n in t:
            if n.endswith("_proj.weight"):
                t[n] = t[n].copy()
                t[n][::5] = np.abs(t[n][::5])
    save_file({n: np.ascontiguousarray(a) for n, a in t.items()}, os.path.join(out, "model.safetensors"), {"format": "pt"})


def exact_logits(path, plain, ids):
    doc = json.load(open(os.path.join(path, "config.json")))
    doc.pop("quantization_config")
    config = LlamaConfig(**doc)
    config._attn_implementation = "eager"
    m = LlamaForCausalLM(config).to(torch.float32).eval()
    m.load_state_dict({n: torch.from_numpy(w) for n, w in plain.items()}, strict=False)
    m.tie_weights()
    with torch.no_grad():
        return m(torch.tensor([ids])).logits[0].numpy()


def own_weights(path):
    """Dequantized by GPTQModel's torch kernel, in F16 as the scales are (in BF16 it would round the scales first)."""
    m = GPTQModel.load(path, backend=BACKEND.TORCH, device="cpu", dtype=torch.float16)
    return {n: q.dequantize_weight().T.float().contiguous().numpy() for n, q in m.model.named_modules()
            if hasattr(q, "dequantize_weight")}


def one(name):
    layers, dtype, lift, settings = CASES[name]
    out = os.path.join(HERE, "gptq", name)
    shutil.rmtree(out, ignore_errors=True)
    g = np.random.Generator(np.random.PCG64(21))
    calib = [{"input_ids": g.integers(4, 288, 64).tolist(), "attention_mask": [1] * 64} for _ in range(16)]
    with tempfile.TemporaryDirectory() as tmp:
        src = os.path.join(tmp, "base")
        base(layers, lift, src)
        m = GPTQModel.load(src, QuantizeConfig(offload_to_disk=False, **settings), device="cpu", dtype=getattr(torch, dtype))
        m.quantize(calib, batch_size=1)
        m.save(out)
        for file in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            shutil.copy(os.path.join(src, file), os.path.join(out, file))
    if os.path.exists(os.path.join(out, "quant_log.csv")):
        os.remove(os.path.join(out, "quant_log.csv"))
    # The only key with a path of the machine that wrote it.
    for file in ("config.json", "quantize_config.json"):
        text = json.load(open(os.path.join(out, file)))
        meta = text.get("quantization_config", text).get("meta", {})
        meta.pop("offload_to_disk_path", None)
        with open(os.path.join(out, file), "w") as f:
            json.dump(text, f, indent=1)
            f.write("\n")
    for file in os.listdir(out):
        os.chmod(os.path.join(out, file), 0o644)

    config, plain, facts = numpy_gptq.load(out)
    own = own_weights(out)
    assert set(own) == set(facts), (sorted(own), sorted(facts))
    worst = 0.0
    for p in facts:
        # One rounding to F16 of an exact product.
        mine = plain[p + ".weight"].astype(np.float16).astype(np.float32)
        worst = max(worst, float(np.abs(own[p] - mine).max()))
    assert worst == 0.0, f"{name}: GPTQModel decodes to other weights, difference {worst}"

    ids = [int(i) for i in np.random.Generator(np.random.PCG64(11)).integers(4, 288, 16)]
    y = exact_logits(out, plain, ids)
    save_file({"p0.ids": np.array(ids, np.int32), "p0.logits": y, "p0.maxabs": np.abs(y).max(axis=1),
               "p0.argmax": y.argmax(axis=1).astype(np.int32)}, os.path.join(out, "logits.safetensors"), {"format": "pt"})
    os.chmod(os.path.join(out, "logits.safetensors"), 0o644)
    try:
        m = AutoModelForCausalLM.from_pretrained(out, dtype=getattr(torch, dtype), device_map="cpu").eval()
        with torch.no_grad():
            z = m(torch.tensor([ids])).logits[0].float().numpy()
        load = {"loaded": True, "logits_max_difference": float(np.abs(y - z).max()), "max_logit": float(np.abs(y).max())}
    except Exception as e:  # noqa: BLE001
        load = {"loaded": False, "error": f"{type(e).__name__}: {e}"[:300]}
    g = np.random.Generator(np.random.PCG64(31))
    quantized = {}
    for p, f in sorted(facts.items()):
        w = plain[p + ".weight"]
        f["sha256"] = hashlib.sha256(w.tobytes()).hexdigest()
        f["xxh3_64"] = xxhash.xxh3_64_hexdigest(w.tobytes())
        at = [(int(g.integers(w.shape[0])), int(g.integers(w.shape[1]))) for _ in range(8)]
        f["samples"] = [[n, k, float(w[n, k])] for n, k in at]
        quantized[p] = f
    import gptqmodel
    import optimum.version
    import transformers
    doc = {"written_by": {"gptqmodel": gptqmodel.__version__, "torch": torch.__version__,
                          "transformers": transformers.__version__, "optimum": optimum.version.__version__},
           "settings": {**settings, "dtype": dtype}, "transformers_load": load, "quantized": quantized}
    with open(os.path.join(out, "expected.json"), "w") as f:
        json.dump(doc, f, indent=1)
        f.write("\n")
    size = os.path.getsize(os.path.join(out, "model.safetensors"))
    tops = sum(f["v1_top_fields"] for f in facts.values())
    zero0 = min(f["zero_min"] for f in facts.values())
    print(f"RESULT {name}: {size} bytes, {load}, zero_min {zero0}, v1 top fields {tops}", flush=True)


os.chdir(tempfile.mkdtemp())  # GPTQModel leaves logs/ where it runs
for case in sys.argv[1:] or CASES:
    one(case)
