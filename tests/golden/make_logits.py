#!/usr/bin/env python3
"""Logits of the golden models from Transformers, float32, eager attention (pins: requirements-heavy.txt).

    make_logits.py tiny                  logits/<model>.safetensors for models/* and gguf/llama-*.gguf
    make_logits.py gemma3                logits/gemma3-*.safetensors
    make_logits.py gemma3-270m MODEL.gguf HF   logits/gemma-3-270m-q4_k_m.safetensors; config and tokenizer of directory HF
    make_logits.py smollm2 MODEL.gguf    logits/smollm2-135m-q4_1.safetensors

Tensors of a file, for each prompt p = 0, 1, ...:
    p<p>.ids      I32 [T]      the prompt
    p<p>.logits   F32 [T, S]   logits at each position, at the ids of `sample` (or at all ids when there is no `sample`)
    p<p>.maxabs   F32 [T]      max |logit| over the whole vocabulary at each position
    p<p>.argmax   I32 [T]      the top id over the whole vocabulary
    p<p>.greedy   I32 [32]     the ids that follow the prompt when the top one is taken each time (no cache, no stop)
    p<p>.margin   F32 [32]     top logit less the second one at each of those steps
    sample        I32 [256]    SmolLM2 only: the stored ids, rising
"""
import os
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM

import gguf_to_hf

HERE = os.path.dirname(os.path.abspath(__file__))

PROMPTS = [
    "The European lobster is a species of clawed lobster from the eastern Atlantic Ocean. It may grow to a length of 60 cm "
    "and a mass of 6 kilograms, and bears a conspicuous pair of claws.",
    "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n\nprint(fib",
    "= History =\n\nThe castle was built in 1204.\n\nIn the following century it changed hands twice.\n\n\n= Today =\n\n"
    "Visitors come for the view, the caf\u00e9 and the gardens.",
]


def model_from(config_dir, state):
    config = LlamaConfig.from_pretrained(config_dir)
    config._attn_implementation = "eager"
    m = LlamaForCausalLM(config).to(torch.float32).eval()
    have = {n: torch.from_numpy(w.astype(np.float32)) for n, w in state.items()}
    missing, unexpected = m.load_state_dict(have, strict=False)
    tied = config.tie_word_embeddings
    assert not unexpected and set(missing) <= ({"lm_head.weight"} if tied else set()), (missing, unexpected)
    m.tie_weights()
    return m


def state_of_dir(path):
    """F32 arrays of a directory, read by Transformers."""
    m = LlamaForCausalLM.from_pretrained(path, dtype=torch.float32)
    return {n: w.numpy() for n, w in m.state_dict().items() if n != "lm_head.weight" or not m.config.tie_word_embeddings}


def greedy(m, ids, n):
    ids, new, margin = list(ids), [], []
    for _ in range(n):
        with torch.no_grad():
            top = torch.topk(m(torch.tensor([ids])).logits[0, -1], 2)
        new.append(int(top.indices[0]))
        margin.append(float(top.values[0] - top.values[1]))
        ids.append(new[-1])
    print(f"  greedy {new[:8]}..., least margin {min(margin):.4f}")
    return np.array(new, np.int32), np.array(margin, np.float32)


def run(m, prompts, sample=None):
    out = {} if sample is None else {"sample": sample.astype(np.int32)}
    for p, ids in enumerate(prompts):
        with torch.no_grad():
            x = torch.tensor([ids])
            y = m(x).logits[0].numpy()
            exact = m.double()(x).logits[0].numpy()
            m.float()
        bound = np.abs(y).max(axis=1)
        print(f"  prompt {p}: {len(ids)} tokens, max|logit| {bound.max():.3f}, "
              f"f32 against f64 {(np.abs(y - exact).max(axis=1) / bound).max():.2e} of it")
        out[f"p{p}.ids"] = np.array(ids, np.int32)
        out[f"p{p}.logits"] = np.ascontiguousarray(y if sample is None else y[:, sample]).astype(np.float32)
        out[f"p{p}.maxabs"] = bound.astype(np.float32)
        out[f"p{p}.argmax"] = y.argmax(axis=1).astype(np.int32)
        out[f"p{p}.greedy"], out[f"p{p}.margin"] = greedy(m, ids, 32)
    return out


def save(name, out):
    os.makedirs(os.path.join(HERE, "logits"), exist_ok=True)
    path = os.path.join(HERE, "logits", name + ".safetensors")
    save_file(out, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)
    print(f"{name}: {os.path.getsize(path)} bytes")


def tiny():
    g = np.random.Generator(np.random.PCG64(11))
    ids = [int(i) for i in g.integers(4, 288, 40)]
    models = os.path.join(HERE, "models")
    for name in ("llama-tied-f32", "llama-tied-f16", "llama-untied-bf16"):
        d = os.path.join(models, name)
        save(name, run(model_from(d, state_of_dir(d)), [ids]))
    _, state = gguf_to_hf.load(os.path.join(HERE, "gguf", "llama-tied-f16.gguf"))
    same = state_of_dir(os.path.join(models, "llama-tied-f16"))
    assert all(np.array_equal(state[n], same[n]) for n in same), "GGUF and directory differ"
    _, state = gguf_to_hf.load(os.path.join(HERE, "gguf", "llama-untied-mix.gguf"))
    save("llama-untied-mix", run(model_from(os.path.join(models, "llama-untied-bf16"), state), [ids]))


def smollm2(path):
    from tokenizers import Tokenizer
    import json
    r, state = gguf_to_hf.load(path)
    tok = Tokenizer.from_str(json.dumps(gguf_to_hf.tokenizer_json(r)))
    config = LlamaConfig(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                         num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
                         rms_norm_eps=1e-5, rope_theta=100000.0, tie_word_embeddings=True, bos_token_id=1,
                         eos_token_id=2)
    import tempfile
    with tempfile.TemporaryDirectory() as d:
        config.save_pretrained(d)
        m = model_from(d, state)
    print("  rope:", m.config.rope_parameters, "inv_freq", m.model.rotary_emb.inv_freq[:3])
    g = np.random.Generator(np.random.PCG64(12))
    sample = np.sort(g.choice(49152, 256, replace=False))
    save("smollm2-135m-q4_1", run(m, [tok.encode(p).ids for p in PROMPTS], sample))


def gemma3():
    """gemma3-bf16 as Transformers reads it, and with the scale of q k^T that the GGUF stands for. BF16 values are exact in F16
    but for the smallest, which F16 rounds: the GGUF's logits are of the rounded matrices."""
    from transformers import AutoModelForCausalLM
    g = np.random.Generator(np.random.PCG64(13))
    ids = [int(i) for i in g.integers(4, 288, 40)]
    d = os.path.join(HERE, "models", "gemma3-bf16")
    m = AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32, attn_implementation="eager").eval()
    save("gemma3-bf16", run(m, [ids]))
    m = AutoModelForCausalLM.from_pretrained(d, dtype=torch.float32, attn_implementation="eager", query_pre_attn_scalar=16).eval()
    with torch.no_grad():
        for p in m.parameters():
            if p.ndim == 2:
                p.copy_(p.half().float())
    save("gemma3-f16", run(m, [ids]))


def gemma3_state(path):
    """F32 arrays of a GGUF as gguf-py decodes them, under Hugging Face names; norms less 1."""
    import gguf
    names = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
             "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
             "attn_k_norm": "self_attn.k_norm", "post_attention_norm": "post_attention_layernorm",
             "ffn_norm": "pre_feedforward_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj", "post_ffw_norm": "post_feedforward_layernorm"}
    out = {}
    for t in gguf.GGUFReader(path).tensors:
        x = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        p = t.name.split(".")
        n = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}.get(p[0])
        out[(n or f"model.layers.{p[1]}.{names[p[2]]}") + ".weight"] = torch.from_numpy(x - 1 if x.ndim == 1 else x)
    return out


def gemma3_270m(path, hf):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    tok = AutoTokenizer.from_pretrained(hf)
    config = AutoConfig.from_pretrained(hf)
    m = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    missing, unexpected = m.load_state_dict(gemma3_state(path), strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    m.tie_weights()
    g = np.random.Generator(np.random.PCG64(14))
    sample = np.sort(g.choice(262144, 256, replace=False))
    long = tok("\n".join(PROMPTS * 6)).input_ids
    assert len(long) > m.config.sliding_window + 64
    out = {"sample": sample.astype(np.int32)}
    for p, ids in enumerate(tok(t).input_ids for t in PROMPTS[:2]):
        with torch.no_grad():
            y = m(torch.tensor([ids])).logits[0].numpy()
        out[f"p{p}.ids"] = np.array(ids, np.int32)
        out[f"p{p}.logits"] = np.ascontiguousarray(y[:, sample])
        out[f"p{p}.maxabs"] = np.abs(y).max(axis=1)
        out[f"p{p}.argmax"] = y.argmax(axis=1).astype(np.int32)
    with torch.no_grad():  # past the window; the last 8 positions
        y = m(torch.tensor([long]), logits_to_keep=8).logits[0].numpy()
    out["long.ids"] = np.array(long, np.int32)
    out["long.logits"] = np.ascontiguousarray(y[:, sample])
    out["long.maxabs"] = np.abs(y).max(axis=1)
    out["long.argmax"] = y.argmax(axis=1).astype(np.int32)
    save("gemma-3-270m-q4_k_m", out)


if sys.argv[1] == "tiny":
    tiny()
elif sys.argv[1] == "gemma3":
    gemma3()
elif sys.argv[1] == "gemma3-270m":
    gemma3_270m(sys.argv[2], sys.argv[3])
else:
    smollm2(sys.argv[2])
