#!/usr/bin/env python3
"""Tiny random llama models and GGUF files for the tests (pins: requirements-light.txt).

    make_tiny_models.py            writes models/ and gguf/ beside this script

models/llama-tied-f32      48 wide, 6/2 heads of 16 (head_dim given, != hidden/heads), F32, tied
models/llama-tied-f16      64 wide, 4/2 heads, F16, tied, config in the new style (rope_parameters, dtype)
models/llama-untied-bf16   64 wide, 4/2 heads, BF16, untied, llama3 RoPE scaling, three shards
gguf/blocks.gguf           one tensor per block type; gguf/blocks.expected.safetensors holds its floats
gguf/llama-tied-f16.gguf   the F16 model above as GGUF (q/k rows permuted, norms F32)
gguf/llama-untied-mix.gguf the BF16 model with block-quantized matrices and rope_freqs.weight
models/gemma3-bf16         gemma3_text, 48 wide, 3/1 heads of 16, layers local, global, local with a window of 8
gguf/gemma3-f16.gguf       the same with another scale of q k^T (head_dim^-0.5, GGUF has no key for it), matrices in F16
"""
import json
import os
import shutil

import gguf
import numpy as np
import safetensors
from gguf import GGMLQuantizationType as T

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB = 288


def to_bf16(x):
    """Round f32 to bfloat16 bits, half to even (finite input)."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7FFF + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(b):
    return (b.astype(np.uint32) << 16).view(np.float32)


def byte_alphabet():
    """GPT-2's byte -> printable character table."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, nxt = {}, 0x100
    for b in range(256):
        if b in keep:
            table[b] = chr(b)
        else:
            table[b] = chr(nxt)
            nxt += 1
    return table


def tiny_tokenizer():
    """256 bytes, 28 merges, 4 special tokens; ids 0..3 special. Pre-tokenizer: GPT-2's."""
    alpha = byte_alphabet()
    merges = ["Ġ t", "h e", "Ġ a", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t", "n d", "Ġ o", "e n", "Ġ w", "i s",
              "Ġ c", "o u", "Ġo f", "Ġa nd", "e d", "in g", "Ġ in", "o r", "Ġt o", "Ġ b", "a n", "Ġ f", "e s"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    tokens = special + sorted(alpha.values()) + [m.replace(" ", "") for m in merges]
    assert len(tokens) == VOCAB and len(set(tokens)) == VOCAB
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    doc = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, t in enumerate(special)],
        "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [m.split(" ") for m in merges]},
    }
    return doc, tokens, merges, len(special)


def weights(seed, d, f, heads, kv, hd, layers, tied):
    """Random llama weights in f32. A few loud channels in the norms make act-order and GPTQ matter."""
    g = np.random.Generator(np.random.PCG64(seed))

    def mat(n, k, gain):
        return (g.standard_normal((n, k)) * gain / np.sqrt(k)).astype(np.float32)

    def norm():
        w = 1.0 + 0.2 * g.standard_normal(d)
        w[g.choice(d, 3, replace=False)] *= 4.0
        return w.astype(np.float32)

    w = {"model.embed_tokens.weight": (g.standard_normal((VOCAB, d)) * 0.5).astype(np.float32)}
    for i in range(layers):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = norm()
        w[p + "self_attn.q_proj.weight"] = mat(heads * hd, d, 1.2)
        w[p + "self_attn.k_proj.weight"] = mat(kv * hd, d, 1.2)
        w[p + "self_attn.v_proj.weight"] = mat(kv * hd, d, 0.8)
        w[p + "self_attn.o_proj.weight"] = mat(d, heads * hd, 0.8)
        w[p + "post_attention_layernorm.weight"] = norm()
        w[p + "mlp.gate_proj.weight"] = mat(f, d, 0.8)
        w[p + "mlp.up_proj.weight"] = mat(f, d, 0.8)
        w[p + "mlp.down_proj.weight"] = mat(d, f, 0.8)
    w["model.norm.weight"] = norm()
    if not tied:
        w["lm_head.weight"] = mat(VOCAB, d, 1.0)
    return w


def save(tensors, kind, path):
    """Write {name: f32 array} as one safetensors file of one dtype (the numpy front end has no BF16)."""
    make = {"F32": lambda x: x.astype("<f4"), "F16": lambda x: x.astype("<f2"), "BF16": to_bf16}[kind]
    dtype = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[kind]
    data = {n: np.ascontiguousarray(make(x)) for n, x in tensors.items()}
    spec = {n: safetensors.TensorSpec(dtype=dtype, shape=list(d.shape), data_ptr=d.ctypes.data, data_len=d.nbytes)
            for n, d in data.items()}
    safetensors.serialize_file(spec, path, {"format": "pt"})
    os.chmod(path, 0o644)
    return sum(d.nbytes for d in data.values())


def dump(path, obj):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(obj, f, ensure_ascii=False, indent=1)
        f.write("\n")


def write_hf(name, w, kind, config, shards=1):
    out = os.path.join(HERE, "models", name)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    names = list(w)
    if shards == 1:
        save(w, kind, os.path.join(out, "model.safetensors"))
    else:
        total, wmap = 0, {}
        for s in range(shards):
            part = names[s * len(names) // shards:(s + 1) * len(names) // shards]
            file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
            total += save({n: w[n] for n in part}, kind, os.path.join(out, file))
            wmap.update({n: file for n in part})
        dump(os.path.join(out, "model.safetensors.index.json"),
             {"metadata": {"total_size": total}, "weight_map": dict(sorted(wmap.items()))})
    dump(os.path.join(out, "config.json"), config)
    dump(os.path.join(out, "generation_config.json"), {"bos_token_id": 0, "eos_token_id": 0})
    doc = tiny_tokenizer()[0]
    with open(os.path.join(out, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(doc, f, ensure_ascii=False)
        f.write("\n")
    dump(os.path.join(out, "tokenizer_config.json"),
         {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
          "clean_up_tokenization_spaces": False})


def config(d, f, heads, kv, layers, tied, kind, **more):
    c = {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 0,
        "eos_token_id": 0, "hidden_act": "silu", "hidden_size": d, "initializer_range": 0.02, "intermediate_size": f,
        "max_position_embeddings": 512, "mlp_bias": False, "model_type": "llama", "num_attention_heads": heads,
        "num_hidden_layers": layers, "num_key_value_heads": kv, "pretraining_tp": 1, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": tied, "use_cache": True, "vocab_size": VOCAB,
    }
    c.update(more)
    return c


GG = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def gguf_name(n):
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight"}
    if n in top:
        return top[n]
    parts = n.split(".")
    return f"blk.{parts[2]}.{GG['.'.join(parts[3:-1])]}.weight"


def gemma3_weights(seed, d, f, heads, kv, hd, layers):
    """Random Gemma 3 weights; norms are stored less 1."""
    g = np.random.Generator(np.random.PCG64(seed))

    def mat(n, k, gain):
        return (g.standard_normal((n, k)) * gain / np.sqrt(k)).astype(np.float32)

    def norm(n=d):
        return (0.3 * g.standard_normal(n)).astype(np.float32)

    w = {"model.embed_tokens.weight": (g.standard_normal((VOCAB, d)) * 0.2).astype(np.float32)}
    for i in range(layers):
        p = f"model.layers.{i}."
        w[p + "input_layernorm.weight"] = norm()
        w[p + "self_attn.q_proj.weight"] = mat(heads * hd, d, 1.0)
        w[p + "self_attn.k_proj.weight"] = mat(kv * hd, d, 1.0)
        w[p + "self_attn.v_proj.weight"] = mat(kv * hd, d, 1.0)
        w[p + "self_attn.o_proj.weight"] = mat(d, heads * hd, 1.0)
        w[p + "self_attn.q_norm.weight"] = norm(hd)
        w[p + "self_attn.k_norm.weight"] = norm(hd)
        w[p + "post_attention_layernorm.weight"] = norm()
        w[p + "pre_feedforward_layernorm.weight"] = norm()
        w[p + "mlp.gate_proj.weight"] = mat(f, d, 1.0)
        w[p + "mlp.up_proj.weight"] = mat(f, d, 1.0)
        w[p + "mlp.down_proj.weight"] = mat(d, f, 1.0)
        w[p + "post_feedforward_layernorm.weight"] = norm()
    w["model.norm.weight"] = norm()
    return w


def gemma3_config(d, f, heads, kv, hd, window, types, scalar):
    return {
        "architectures": ["Gemma3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
        "attn_logit_softcapping": None, "bos_token_id": 0, "dtype": "bfloat16", "eos_token_id": 0,
        "final_logit_softcapping": None, "head_dim": hd, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": d,
        "initializer_range": 0.02, "intermediate_size": f, "layer_types": types, "max_position_embeddings": 512,
        "model_type": "gemma3_text", "num_attention_heads": heads, "num_hidden_layers": len(types),
        "num_key_value_heads": kv, "pad_token_id": 3, "query_pre_attn_scalar": scalar, "rms_norm_eps": 1e-6,
        "rope_parameters": {"full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 4.0},
                            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}},
        "sliding_window": window, "use_cache": True, "vocab_size": VOCAB,
    }


def write_gemma3_gguf(name, w, c, pattern):
    names = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
             "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "post_attention_norm",
             "pre_feedforward_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "post_feedforward_layernorm": "post_ffw_norm"}
    out = gguf.GGUFWriter(os.path.join(HERE, "gguf", name), "gemma3")
    out.add_name(name)
    out.add_block_count(c["num_hidden_layers"])
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_feed_forward_length(c["intermediate_size"])
    out.add_head_count(c["num_attention_heads"])
    out.add_head_count_kv(c["num_key_value_heads"])
    out.add_key_length(c["head_dim"])
    out.add_value_length(c["head_dim"])
    out.add_rope_freq_base(1e6)
    out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    out.add_rope_scaling_factor(4.0)
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    out.add_sliding_window(c["sliding_window"])
    out.add_uint32("gemma3.attention.sliding_window_pattern", pattern)
    out.add_file_type(1)
    _, tokens, merges, specials = tiny_tokenizer()
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([3 if i < specials else 1 for i in range(VOCAB)])
    out.add_token_merges(merges)
    out.add_bos_token_id(0)
    out.add_eos_token_id(0)
    out.add_add_bos_token(False)
    out.add_quantization_version(2)
    for n, x in w.items():
        top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
        p = n.split(".")
        gg = top.get(n) or f"blk.{p[2]}.{names['.'.join(p[3:-1])]}.weight"
        out.add_tensor(gg, (x + 1.0).astype(np.float32) if x.ndim == 1 else x.astype(np.float16))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def write_gemma3():
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    w = gemma3_weights(6, 48, 80, 3, 1, 16, 3)
    w = {n: from_bf16(to_bf16(x)) for n, x in w.items()}
    c = gemma3_config(48, 80, 3, 1, 16, 8, types, 24)
    write_hf("gemma3-bf16", w, "BF16", c)
    c["query_pre_attn_scalar"] = 16
    write_gemma3_gguf("gemma3-f16.gguf", w, c, 2)


def permute(w, heads):
    """HF row h*hd + p*hd/2 + i -> GGUF row h*hd + 2i + p."""
    n = w.shape[0]
    return np.ascontiguousarray(w.reshape(heads, 2, n // heads // 2, -1).swapaxes(1, 2).reshape(w.shape))


def write_gguf(name, w, c, pick):
    """pick(hf_name, index) -> block type of a matrix. Norms are F32."""
    os.makedirs(os.path.join(HERE, "gguf"), exist_ok=True)
    out = gguf.GGUFWriter(os.path.join(HERE, "gguf", name), "llama")
    out.add_name(name)
    out.add_block_count(c["num_hidden_layers"])
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_feed_forward_length(c["intermediate_size"])
    out.add_head_count(c["num_attention_heads"])
    out.add_head_count_kv(c["num_key_value_heads"])
    out.add_rope_freq_base(10000.0)
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    out.add_file_type(1)
    out.add_vocab_size(VOCAB)
    out.add_rope_dimension_count(c["hidden_size"] // c["num_attention_heads"])
    _, tokens, merges, specials = tiny_tokenizer()
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([3 if i < specials else 1 for i in range(VOCAB)])
    out.add_token_merges(merges)
    out.add_bos_token_id(0)
    out.add_eos_token_id(0)
    out.add_add_bos_token(False)
    out.add_quantization_version(2)
    i = 0
    for n, x in w.items():
        if x.ndim == 1:
            out.add_tensor(gguf_name(n), x.astype(np.float32))
            continue
        if ".q_proj." in n:
            x = permute(x, c["num_attention_heads"])
        elif ".k_proj." in n:
            x = permute(x, c["num_key_value_heads"])
        t = pick(n, i)
        i += 1
        if t == T.BF16:
            out.add_tensor(gguf_name(n), to_bf16(x).view(np.uint8).reshape(x.shape[0], -1), raw_dtype=t)
        else:
            out.add_tensor(gguf_name(n), gguf.quants.quantize(x, t), raw_dtype=t)
    s = c.get("rope_scaling")
    if s:
        # rope_freqs.weight: divisors of the inverse frequencies, one per pair.
        hd = c["hidden_size"] // c["num_attention_heads"]
        f = 10000.0 ** (-np.arange(0, hd, 2) / hd)
        wl = 2 * np.pi / f
        orig, lo, hi = s["original_max_position_embeddings"], s["low_freq_factor"], s["high_freq_factor"]
        smooth = (orig / wl - lo) / (hi - lo)
        mid = 1.0 / ((1 - smooth) / s["factor"] + smooth)
        div = np.where(wl < orig / hi, 1.0, np.where(wl > orig / lo, s["factor"], mid))
        out.add_tensor("rope_freqs.weight", div.astype(np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def write_blocks():
    """Random blocks (random codes, sane fp16 scales) of every type that nibble reads."""
    g = np.random.Generator(np.random.PCG64(5))
    rows, cols = 3, 512
    expected = {}
    out = gguf.GGUFWriter(os.path.join(HERE, "gguf", "blocks.gguf"), "llama")
    out.add_name("blocks")
    out.add_block_count(0)
    out.add_quantization_version(2)

    def half(n):
        return (g.standard_normal(n) * 0.05).astype("<f2").view(np.uint8).reshape(n, 2)

    fields = {T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q4_K: [0, 2], T.Q5_K: [0, 2],
              T.Q6_K: [208], T.Q2_K: [80, 82], T.Q3_K: [108]}
    for t in (T.F32, T.F16, T.BF16, *fields):
        name = f"t.{t.name.lower()}"
        if t in fields:
            per, size = gguf.GGML_QUANT_SIZES[t]
            n = rows * cols // per
            raw = g.integers(0, 256, (n, size), dtype=np.uint8)
            for off in fields[t]:
                raw[:, off:off + 2] = half(n)
            raw = raw.reshape(rows, -1)
            expected[name] = gguf.quants.dequantize(raw, t).astype(np.float32)
            out.add_tensor(name, raw, raw_dtype=t)
            continue
        x = (g.standard_normal((rows, cols)) * 2).astype(np.float32)
        # Values where a conversion goes wrong first: zeros, subnormals, the extremes of fp16.
        x[0, :10] = [0.0, -0.0, 1.0, -1.0, 65504.0, -65504.0, 6e-8, 6.1e-5, 5.9e-5, 1e-7]
        if t == T.F32:
            x[0, 10:12] = [1e-40, 3.4e38]
            expected[name] = x
            out.add_tensor(name, x)
        elif t == T.F16:
            expected[name] = x.astype(np.float16).astype(np.float32)
            out.add_tensor(name, x.astype(np.float16))
        else:
            x[0, 10:12] = [1e-40, 3.3e38]
            b = to_bf16(x)
            expected[name] = from_bf16(b)
            out.add_tensor(name, b.view(np.uint8).reshape(rows, -1), raw_dtype=t)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    save(expected, "F32", os.path.join(HERE, "gguf", "blocks.expected.safetensors"))


def main():
    os.makedirs(os.path.join(HERE, "gguf"), exist_ok=True)
    write_blocks()

    write_gemma3()

    w = weights(1, 48, 80, 6, 2, 16, 2, True)
    write_hf("llama-tied-f32", w, "F32",
             config(48, 80, 6, 2, 2, True, "F32", head_dim=16, rope_theta=10000.0, rope_scaling=None,
                    torch_dtype="float32"))

    w = weights(2, 64, 128, 4, 2, 16, 2, True)
    w = {n: x.astype(np.float16).astype(np.float32) for n, x in w.items()}
    c = config(64, 128, 4, 2, 2, True, "F16", head_dim=16, dtype="float16",
               rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    write_hf("llama-tied-f16", w, "F16", c)
    write_gguf("llama-tied-f16.gguf", w, c, lambda n, i: T.F16)

    w = weights(3, 64, 128, 4, 2, 16, 2, False)
    w = {n: from_bf16(to_bf16(x)) for n, x in w.items()}
    c = config(64, 128, 4, 2, 2, False, "BF16", rope_theta=10000.0, torch_dtype="bfloat16",
               rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 64})
    write_hf("llama-untied-bf16", w, "BF16", c, shards=3)
    kinds = [T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.BF16, T.F32, T.F16]
    write_gguf("llama-untied-mix.gguf", w, c, lambda n, i: kinds[i % len(kinds)])


main()
