#!/usr/bin/env python3
"""Small trained tokenizers and the ids that the `tokenizers` package gives (pins: requirements-light.txt).

    make_tokenizers.py train TEXT          tok/<name>.json and tok/<name>.gguf, trained on TEXT (English prose)
    make_tokenizers.py expect [MODEL.gguf] tok/<name>.expected.json over tok/corpus.json, and for the real vocabulary
                                           of SmolLM2 tok/smollm2.expected.json

The pipelines (normalizer, pre-tokenizer, decoder, post-processor) are those of the published models; only the
vocabularies are small.
"""
import collections
import json
import os
import random
import sys

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
TOK = os.path.join(HERE, "tok")

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
EXTRA = [
    "def main(argc, argv):\n    for i in range(10):\n        print(i)\n    return 0\n" * 8,
    "\u4ECA\u5929\u5929\u6C14\u5F88\u597D\u3002\u65E5\u672C\u8A9E\u306E\u6587\u7AE0\u3067\u3059\u3002\u6771\u4EAC " * 8,
    "na\u00EFve caf\u00E9 fa\u00E7ade \u00FCber \u043F\u0440\u0438\u0432\u0435\u0442 \u043C\u0438\u0440 \u0928\u092E\u0938\u094D\u0924\u0947 " * 8,
    "\U0001F600 \U0001F44D\U0001F3FD \U0001F468\u200D\U0001F469\u200D\U0001F467 I'M YOU'RE don't we'll\n\n\n    \t\t" * 8,
]


def split(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def lines_of(path):
    text = open(path, encoding="utf-8").read()[:250000]
    return text.splitlines(keepends=True) + EXTRA


def special(*names):
    return [AddedToken(n, special=True, normalized=False) for n in names]


# Byte-level BPE

def gpt2_alphabet():
    """Byte -> character: printable Latin-1 stands for itself, the others follow from U+0100."""
    keep = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [b for b in range(256) if b not in keep]
    return [chr(b) if b in keep else chr(0x100 + rest.index(b)) for b in range(256)]


def byte_bpe(lines, vocab, pre, norm=None, added=(), drop_bytes=()):
    """Train; -> tokenizer.json as an object. Special tokens first (SmolLM2, GPT-2 order does not matter)."""
    t = Tokenizer(models.BPE())
    if norm:
        t.normalizer = norm
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(added), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    doc = json.loads(t.to_str())
    for b in drop_bytes:
        del doc["model"]["vocab"][b]
    return doc


def put_last(doc, names, **flags):
    """Added tokens with the ids after the vocabulary."""
    at = max(max(doc["model"]["vocab"].values()), max((a["id"] for a in doc["added_tokens"]), default=0)) + 1
    for n in names:
        a = {"id": at, "content": n, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": False}
        a.update(flags)
        doc["added_tokens"].append(a)
        at += 1


def template(doc, bos):
    i = next(a["id"] for a in doc["added_tokens"] if a["content"] == bos)
    doc["post_processor"] = json.loads(processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, i)]).__getstate__())


# SentencePiece-style BPE

def sp_bpe(lines, vocab, specials):
    """Pieces with scores as SentencePiece would store them, and merges as Transformers derives them from scores."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    # The trainer's own limit_alphabet breaks ties by chance; the 110 most frequent characters are picked here.
    count = collections.Counter(ch for x in lines for ch in x)
    keep = {ch for ch, _ in sorted(count.items(), key=lambda p: (-p[1], p[0]))[:110]}
    t.train_from_iterator(("".join(ch for ch in x if ch in keep) for x in lines),
                          trainers.BpeTrainer(vocab_size=vocab, show_progress=False))
    ranked = sorted(t.get_vocab().items(), key=lambda p: p[1])
    chars = [p for p, _ in ranked if len(p) == 1]
    pieces = [p for p, _ in ranked if len(p) > 1 and "\n" not in p]
    pieces[200:200] = ["\u2581\u2581", "\u2581\u2581\u2581\u2581"]
    tokens = list(specials) + [f"<0x{b:02X}>" for b in range(256)] + pieces + chars
    ids = {p: i for i, p in enumerate(tokens)}
    assert len(ids) == len(tokens)
    score = {p: -float(i) for i, p in enumerate(pieces)}
    merges = []
    for p in pieces:
        cuts = [(p[:k], p[k:]) for k in range(1, len(p)) if p[:k] in ids and p[k:] in ids]
        merges += sorted(cuts, key=lambda c: (ids[c[0]], ids[c[1]]))
    low = -float(len(pieces))
    scores = [0.0] * (len(specials) + 256) + [score[p] for p in pieces] + [low - i for i in range(len(chars))]
    return tokens, scores, merges


def sp_doc(tokens, merges, specials, unk, normalizer, pre, decoder, old_merges):
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": True} for i, s in enumerate(specials)],
        "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": None, "decoder": decoder,
        "model": {"type": "BPE", "dropout": None, "unk_token": unk, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {p: i for i, p in enumerate(tokens)},
                  "merges": [f"{a} {b}" if old_merges else [a, b] for a, b in merges]},
    }


def write(name, doc):
    with open(os.path.join(TOK, name + ".json"), "w", encoding="utf-8") as f:
        json.dump(doc, f, ensure_ascii=False)
        f.write("\n")
    print(name, len(doc["model"]["vocab"]), "pieces,", os.path.getsize(os.path.join(TOK, name + ".json")), "bytes")


def write_gguf(name, doc, model, pre, scores=None, bos=None, space=True):
    """Vocabulary-only GGUF of the same tokenizer."""
    vocab = dict(doc["model"]["vocab"])
    kinds = {}
    for a in doc["added_tokens"]:
        vocab[a["content"]] = a["id"]
        kinds[a["content"]] = 3 if a["special"] else 4
    if model == "llama":
        kinds.update({f"<0x{b:02X}>": 6 for b in range(256)})
        kinds["<unk>"] = 2
    by_id = {i: t for t, i in vocab.items()}
    n = max(by_id) + 1
    w = gguf.GGUFWriter(os.path.join(TOK, name + ".gguf"), "llama")
    w.add_name(name)
    w.add_block_count(0)
    w.add_vocab_size(n)
    w.add_tokenizer_model(model)
    w.add_tokenizer_pre(pre)
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(n)]
    w.add_token_list([t.encode("utf-8") for t in tokens])
    if scores:
        w.add_token_scores(scores)
    w.add_token_types([kinds.get(t, 1) if i in by_id else 5 for i, t in enumerate(tokens)])
    if model == "gpt2":
        w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in doc["model"]["merges"]])
    else:
        w.add_add_space_prefix(space)
        w.add_unk_token_id(tokens.index("<unk>"))
    if bos is not None:
        w.add_bos_token_id(bos)
    w.add_add_bos_token(bos is not None)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def train(path):
    lines = lines_of(path)

    # SmolLM2: single digits, then GPT-2's pattern. 21 bytes are missing, as in the real vocabulary: they are dropped.
    alphabet = gpt2_alphabet()
    missing = [alphabet[b] for b in (4, 6, 0x13, 0x14, 0x16, 0x1D, 0xC0, 0xC1, 0xF1, 0xF2, *range(0xF5, 0x100))]
    doc = byte_bpe(lines, 1400, pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        added=special("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"), drop_bytes=missing)
    write("smollm", doc)
    write_gguf("smollm", doc, "gpt2", "smollm")

    # GPT-2: merges in the old "a b" form.
    doc = byte_bpe(lines, 1400, pre_tokenizers.ByteLevel(add_prefix_space=False))
    put_last(doc, ["<|endoftext|>"], special=True)
    doc["model"]["merges"] = [" ".join(m) for m in doc["model"]["merges"]]
    write("gpt2", doc)
    write_gguf("gpt2", doc, "gpt2", "gpt-2")

    # Llama 3: ignore_merges, with whole words in the vocabulary that no merge makes.
    doc = byte_bpe(lines, 1400, split(LLAMA3))
    vocab = doc["model"]["vocab"]
    for word in ["\u0120assistant", "\u0120theatre", "Mediterranean", "\u0120quantization", "theatretheatre", "zq"]:
        vocab.setdefault(word, len(vocab))
    doc["model"]["ignore_merges"] = True
    put_last(doc, ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
             special=True)
    template(doc, "<|begin_of_text|>")
    write("llama3", doc)
    write_gguf("llama3", doc, "gpt2", "llama-bpe", bos=next(
        a["id"] for a in doc["added_tokens"] if a["content"] == "<|begin_of_text|>"))

    # Qwen2: NFC.
    doc = byte_bpe(lines, 1400, split(QWEN2), norm=normalizers.NFC())
    put_last(doc, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], special=True)
    write("qwen2", doc)
    write_gguf("qwen2", doc, "gpt2", "qwen2")

    # Flags of added tokens: lstrip, rstrip, single_word, normalized, one token inside another.
    doc = byte_bpe(lines, 700, split(QWEN2), norm=normalizers.NFC())
    put_last(doc, ["<mask>"], special=True, lstrip=True)
    put_last(doc, ["<sep>"], special=True, rstrip=True)
    put_last(doc, ["<both>"], special=True, lstrip=True, rstrip=True)
    put_last(doc, ["lobster"], single_word=True)
    put_last(doc, ["caf\u00E9", "Cancer"], normalized=True)
    put_last(doc, ["<a>", "<a><b>", "<a><b><c>", "<|im_end|>"])
    write("added", doc)

    # Llama 2: SentencePiece pieces; the two ways in which tokenizer.json spells the blank.
    specials = ("<unk>", "<s>", "</s>")
    tokens, scores, merges = sp_bpe(lines, 1100, specials)
    low = [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
           {"type": "Fuse"}]
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    prepend = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace]}
    doc = sp_doc(tokens, merges, specials, "<unk>", prepend, None, {"type": "Sequence", "decoders": low + [strip]}, True)
    template(doc, "<s>")
    write("llama2-prepend", doc)
    write_gguf("llama2", doc, "llama", "default", scores=scores, bos=1)
    doc = sp_doc(tokens, merges, specials, "<unk>", None,
                 {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False},
                 {"type": "Sequence", "decoders": low + [strip]}, False)
    template(doc, "<s>")
    write("llama2-metaspace", doc)

    # Gemma: no blank in front.
    specials = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
    tokens, scores, merges = sp_bpe(lines, 1100, specials)
    doc = sp_doc(tokens, merges, specials, "<unk>", replace,
                 {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
                 {"type": "Sequence", "decoders": low}, False)
    template(doc, "<bos>")
    write("gemma", doc)
    write_gguf("gemma", doc, "llama", "default", scores=scores, bos=2, space=False)


ADDED_TEXTS = [
    "a <mask> b", "a  <mask>b", "\n <mask>\u3000<mask> c", "a <sep> b", "a<sep>  \n b", "a  <both>  b<both><both> c",
    "lobster lobsters alobster (lobster) lobster_ lobster1 \u00E9lobster lobster", "lobster", "lobsterlobster lobster",
    "caf\u00E9 cafe\u0301 caf\u00E9s xcaf\u00E9", "Cancer gammarus Cancers", "<a><b><c><a><b><a>", "<a> <b><c>", "<<a>>",
    "<a><|im_end|><a><b", "<mask", "<mask><sep> <both>\t<mask>", " <mask> ", "<sep> ", "  <both>",
]


def decode_cases(t, n, names):
    """Id sequences that no encoder makes: random ones, and byte tokens that end inside a character."""
    r = random.Random(77)
    known = [i for i in range(n) if t.id_to_token(i) is not None]
    out = [[r.choice(known) for _ in range(r.randint(1, 24))] for _ in range(24)]
    b = [t.token_to_id(f"<0x{x:02X}>") for x in range(256)]
    if None not in b:
        for seq in ("E282AC", "E282", "82AC", "41E282AC42", "F09F9880", "F09F98", "C3A9C3", "FF", "0A0D00", "E2E282AC",
                    "E282ACFF", "EDA080"):
            out.append([b[x] for x in bytes.fromhex(seq)])
        word = t.token_to_id("\u2581the")
        out += [[word, b[0xE2], b[0x82], b[0xAC], word], [b[0xE2], word, b[0x82], b[0xAC]], [word, b[0x20], word],
                [b[0x20], word], [word], [t.token_to_id("\u2581\u2581"), word]]
    out += [[s, known[-1], s] for s in names]
    return out


def expect(name, t, cases):
    names = [i for i, a in t.get_added_tokens_decoder().items() if a.special][:3]
    prefix = t.encode("", add_special_tokens=True).ids
    rows = []
    for c in cases:
        data = bytes.fromhex(c["hex"])
        text = data.decode("utf-8", "replace")
        ids = t.encode(text, add_special_tokens=False).ids
        assert t.encode(text).ids == prefix + ids, c["name"]
        row = {"name": c["name"], "ids": ids}
        for key, skip in (("decoded", False), ("decoded_skip", True)):
            d = t.decode(ids, skip_special_tokens=skip).encode("utf-8")
            if d != data:
                row[key] = d.hex()
        if name == "added":
            row["hex"] = c["hex"]
        rows.append(row)
    dec = [{"ids": ids, "decoded": t.decode(ids, skip_special_tokens=False).encode("utf-8").hex(),
            "decoded_skip": t.decode(ids, skip_special_tokens=True).encode("utf-8").hex()}
           for ids in decode_cases(t, t.get_vocab_size(), names)]
    path = os.path.join(TOK, name + ".expected.json")
    with open(path, "w") as f:
        one = lambda x: json.dumps(x, separators=(",", ":"))
        f.write('{"tokenizer":%s,"prefix":%s,\n"cases":[\n' % (one(name), one(prefix)))
        f.write(",\n".join(map(one, rows)) + '\n],\n"decode":[\n' + ",\n".join(map(one, dec)) + "\n]}\n")
    print(name, len(rows), "cases,", sum(len(r["ids"]) for r in rows), "ids,", os.path.getsize(path), "bytes, prefix",
          prefix)


def main():
    if sys.argv[1] == "train":
        train(sys.argv[2])
        return
    cases = json.load(open(os.path.join(TOK, "corpus.json")))["cases"]
    for name in ("smollm", "gpt2", "llama3", "qwen2", "llama2-prepend", "llama2-metaspace", "gemma"):
        expect(name, Tokenizer.from_file(os.path.join(TOK, name + ".json")), cases)
    own = [{"name": f"added_{i:02d}", "hex": x.encode("utf-8").hex()} for i, x in enumerate(ADDED_TEXTS)]
    expect("added", Tokenizer.from_file(os.path.join(TOK, "added.json")), own)
    if len(sys.argv) > 2:
        import gguf_to_hf
        doc = gguf_to_hf.tokenizer_json(gguf.GGUFReader(sys.argv[2]))
        expect("smollm2", Tokenizer.from_str(json.dumps(doc)), cases)


main()
