#!/usr/bin/env python3
"""tok/steps.expected.json: each class of normalizer, pre-tokenizer and decoder by itself, over a vocabulary of single
characters (listed in id order instead of mapped) and, after them, all pairs of the first nine, each one merge; and the pipelines that
tokenizer.ggml.pre names over the vocabulary of tok/gpt2.json, as the `tokenizers` package runs them (pins:
requirements-light.txt). Ids of the pipelines over tok/corpus.json are kept as FNV-1a hashes (32 bits, over little-endian
i32)."""
import itertools
import json
import os
import struct

from tokenizers import Tokenizer

TOK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tok")
CHARS = list("ab19 -.\u2581_")
TEXTS = ["ab-ab", "--a--b1-", "a1b19ab", "  a b  ab ", "-", "a", "19", "-a-", "ab ab", " ", "a--", "1a1", "ba.ab -1- 9",
         "\u2581a", "a\u2581 b", "aa  bb\u3000ab\tab", "", "9-9-9", "ab_ab_", "_a"]
FORMS = ["e\u0301a", "\u1e9b\u0323 a", "\ufb01a\u2460", "\u1100\u1161\u11a8", "A\u030aa\u0327\u0301", "\u00c5ngstr\u00f6m",
         "\u0344", "a\u0305\u0323b", "\uff21\uff22", "\u212b\u2126", "abc", ""]


def model(extra=""):
    chars = CHARS + [c for c in dict.fromkeys(extra) if c not in CHARS]
    pairs = [a + b for a, b in itertools.product(CHARS, CHARS)]
    vocab = {t: i for i, t in enumerate(["<unk>"] + chars + pairs)}
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocab, "merges": [[p[0], p[1]] for p in pairs]}


def doc(normalizer=None, pre=None, decoder=None, extra="", fuse=False):
    m = model(extra)
    m["fuse_unk"] = fuse
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [{"id": 0, "content": "<unk>", "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True}],
            "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": None, "decoder": decoder, "model": m}


def rows(name, d, texts):
    t = Tokenizer.from_str(json.dumps(d))
    out = []
    for x in texts:
        ids = t.encode(x, add_special_tokens=False).ids
        out.append({"hex": x.encode().hex(), "ids": ids, "decoded": t.decode(ids, skip_special_tokens=False).encode().hex()})
    d = dict(d)
    d["model"] = dict(d["model"], vocab=[t for t in d["model"]["vocab"]][:-len(CHARS) ** 2], merges=None)
    return {"name": name, "doc": d, "cases": out}


def steps():
    out = []
    patterns = [{"String": "-"}, {"Regex": "[0-9]+"}, {"Regex": "-*"}, {"Regex": "(?<=a)b"}, {"Regex": "\\s+$|^-"}]
    for p in patterns:
        for behaviour in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
            for invert in (False, True):
                out.append(rows(f"split {list(p.values())[0]} {behaviour} {invert}", doc(
                    pre={"type": "Split", "pattern": p, "behavior": behaviour, "invert": invert}), TEXTS))
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}
            out.append(rows(f"metaspace {scheme} {cut}", doc(pre=meta, decoder=meta), TEXTS))
    out.append(rows("metaspace _ after blanks", doc(pre={"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": True}]}), TEXTS))
    for individual in (True, False):
        out.append(rows(f"digits {individual}", doc(pre={"type": "Digits", "individual_digits": individual}), TEXTS))
    for fuse in (True, False):
        out.append(rows(f"unknown, fuse {fuse}", doc(fuse=fuse), ["xya", "axyzb", "xa\u00e9x", "", "zzz"]))
    extra = "".join(sorted(set("".join(FORMS)) | set("\u00e9\u0301\u1e69s\u0323\u0307fi1\uac01\u00e7\u0308o\u03a9\u1e9bAB\u0344\u017f")))
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        out.append(rows(form, doc(normalizer={"type": form}, extra=extra), FORMS))
    replace = {"type": "Replace", "pattern": {"Regex": " {2,}|-"}, "content": "._"}
    out.append(rows("replace", doc(normalizer=replace), TEXTS))
    out.append(rows("prepend, replace", doc(normalizer={"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]}), TEXTS))
    out.append(rows("decode replace, strip", doc(decoder={"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "x"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 2, "stop": 0}]}), TEXTS))
    # The reference panics where start and stop meet, so each by itself.
    for start, stop in ((1, 0), (0, 1)):
        out.append(rows(f"strip each {start} {stop}", doc(decoder={
            "type": "Strip", "content": "-", "start": start, "stop": stop}), TEXTS))
    return out


CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PRESETS = {
    "qwen35": ("NFC", [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
                       r"|\s+(?!\S)|\s+"]),
    "tekken": (None, [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}" + REST]),
    "gpt-4o": (None, [rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*"
                      rf"{CONTRACTIONS}?|\p{{N}}{{1,3}}" + REST]),
    "deepseek-coder": (None, ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"]),
    "deepseek-v3": (None, [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                           "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                           "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]),
    "default": (None, [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
}


def fnv(ids):
    h = 0x811C9DC5
    for b in b"".join(struct.pack("<i", i) for i in ids):
        h = (h ^ b) * 0x01000193 & 0xFFFFFFFF
    return h


def presets():
    base = json.load(open(os.path.join(TOK, "gpt2.json"), encoding="utf-8"))
    corpus = json.load(open(os.path.join(TOK, "corpus.json")))["cases"]
    out = []
    for name, (form, patterns) in PRESETS.items():
        base["normalizer"] = form and {"type": form}
        base["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns] + [
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
        t = Tokenizer.from_str(json.dumps(base))
        ids = [t.encode(bytes.fromhex(c["hex"]).decode("utf-8", "replace"), add_special_tokens=False).ids for c in corpus]
        out.append({"pre": name, "counts": [len(i) for i in ids], "fnv": [fnv(i) for i in ids]})
    return out


done = {"steps": steps(), "presets": presets()}
with open(os.path.join(TOK, "steps.expected.json"), "w", encoding="utf-8") as f:
    one = lambda x: json.dumps(x, ensure_ascii=False, separators=(",", ":"))
    f.write('{"steps":[\n' + ",\n".join(map(one, done["steps"])) + '\n],\n"presets":[\n' + ",\n".join(map(one, done["presets"])) + "\n]}\n")
