#!/usr/bin/env python3
"""Dequantize a llama GGUF into a Hugging Face directory (F32 or F16).

    gguf_to_hf.py MODEL.gguf OUTDIR f32|f16

An independent reference for nibble's own GGUF reader: blocks are decoded by the PyPI package `gguf`, the file is
written by `safetensors`. The q and k rows are put back into Hugging Face's order (RoPE on halves), and tokenizer.json
is rebuilt from the vocabulary and merges of the GGUF (pre-tokenizer `smollm` only).
"""
import json
import os
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hf_name(name):
    if name in NAMES:
        return NAMES[name]
    blk, layer, part, kind = name.split(".")
    assert blk == "blk"
    return f"model.layers.{layer}.{BLOCK[part]}.{kind}"


def unpermute(w, heads):
    """GGUF row h*hd + 2i + p  ->  HF row h*hd + p*hd/2 + i."""
    n = w.shape[0]
    hd = n // heads
    return w.reshape(heads, hd // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def field(reader, key, default=None):
    f = reader.fields.get(key)
    return default if f is None else f.contents()


def tokenizer_json(reader):
    pre = field(reader, "tokenizer.ggml.pre")
    if pre != "smollm":
        raise SystemExit(f"pre-tokenizer {pre}: only smollm is rebuilt here")
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for i, (t, k) in enumerate(zip(tokens, types)) if k == 3
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {t: i for i, t in enumerate(tokens)},
            "merges": [m.split(" ") for m in field(reader, "tokenizer.ggml.merges")],
        },
    }


def load(path):
    """-> reader, {hf name: f32 array}"""
    r = gguf.GGUFReader(path)
    a = field(r, "general.architecture")
    heads = field(r, f"{a}.attention.head_count")
    kv = field(r, f"{a}.attention.head_count_kv", heads)
    tensors = {}
    for t in r.tensors:
        if t.name == "rope_freqs.weight":
            continue
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        w = w.reshape([int(x) for x in reversed(t.shape)])
        if ".attn_q." in t.name:
            w = unpermute(w, heads)
        elif ".attn_k." in t.name:
            w = unpermute(w, kv)
        tensors[hf_name(t.name)] = np.ascontiguousarray(w)
    return r, tensors


def main():
    path, out, kind = sys.argv[1:4]
    dtype = {"f32": np.float32, "f16": np.float16}[kind]
    r, tensors = load(path)
    a = field(r, "general.architecture")
    heads = field(r, f"{a}.attention.head_count")
    kv = field(r, f"{a}.attention.head_count_kv", heads)
    tensors = {n: w.astype(dtype) for n, w in tensors.items()}
    os.makedirs(out, exist_ok=True)
    save_file(tensors, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    os.chmod(os.path.join(out, "model.safetensors"), 0o644)

    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": field(r, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(r, "tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": field(r, f"{a}.embedding_length"),
        "intermediate_size": field(r, f"{a}.feed_forward_length"),
        "max_position_embeddings": field(r, f"{a}.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": field(r, f"{a}.block_count"),
        "num_key_value_heads": kv,
        "rms_norm_eps": float(f"{field(r, f'{a}.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_scaling": None,
        "rope_theta": field(r, f"{a}.rope.freq_base", 10000.0),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "torch_dtype": {"f32": "float32", "f16": "float16"}[kind],
        "vocab_size": tensors["model.embed_tokens.weight"].shape[0],
    }
    pad = field(r, "tokenizer.ggml.padding_token_id")
    tok_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>", "pad_token": "<|im_end|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "chat_template": field(r, "tokenizer.chat_template"),
    }
    generation = {"_from_model_config": True, "bos_token_id": config["bos_token_id"],
                  "eos_token_id": config["eos_token_id"], "pad_token_id": pad}
    for name, obj, indent in (("config.json", config, 2), ("generation_config.json", generation, 2),
                              ("tokenizer_config.json", tok_config, 2), ("tokenizer.json", tokenizer_json(r), None)):
        with open(os.path.join(out, name), "w", encoding="utf-8") as f:
            json.dump(obj, f, ensure_ascii=False, indent=indent)
            f.write("\n")


if __name__ == "__main__":
    main()
