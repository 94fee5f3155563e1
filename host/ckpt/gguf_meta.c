/* Typed look-ups in GGUF metadata, and the vocabulary in it. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/ckpt/impl.h"

static const char *type_name(nb__gguf_type type) {
    static const char *const names[NB__GGUF_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                      "bool", "string", "array", "u64", "i64", "f64"};
    return names[type];
}

static nb_status wrong_type(const nb_ckpt *c, const nb__kv *kv, const char *expected, nb_err *err) {
    return nb_fail_at(err, NB_E_INPUT, c->path, kv->key, "is of type %s, expected %s", type_name(kv->type), expected);
}

/* False where the type is no integer; *big where it is beyond int64. */
static bool read_int(nb__gguf_type type, const unsigned char *p, int64_t *out, bool *big) {
    *big = false;
    switch (type) {
    case NB__GGUF_U8: *out = p[0]; return true;
    case NB__GGUF_I8: *out = (int8_t)p[0]; return true;
    case NB__GGUF_U16: *out = nb__u16(p); return true;
    case NB__GGUF_I16: *out = (int16_t)nb__u16(p); return true;
    case NB__GGUF_U32: *out = nb__u32(p); return true;
    case NB__GGUF_I32: *out = (int32_t)nb__u32(p); return true;
    case NB__GGUF_I64: *out = (int64_t)nb__u64(p); return true;
    case NB__GGUF_U64:
        *out = (int64_t)nb__u64(p);
        *big = *out < 0;
        return true;
    default: return false;
    }
}

static double f64_at(const unsigned char *p) {
    uint64_t u = nb__u64(p);
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static float f32_at(const unsigned char *p) {
    uint32_t u = nb__u32(p);
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Sets *found; NULL where the key is absent. */
static const nb__kv *look_up(const nb_ckpt *c, const char *key, bool *found) {
    const nb__kv *kv = nb__meta_find(&c->meta, key);
    if (found)
        *found = kv != NULL;
    return kv;
}

nb_status nb_ckpt_meta_int(const nb_ckpt *c, const char *key, int64_t lo, int64_t hi, int64_t *out, bool *found,
                           nb_err *err) {
    const nb__kv *kv = look_up(c, key, found);
    int64_t v;
    bool big;
    if (!kv)
        return NB_OK;
    if (!read_int(kv->type, kv->at, &v, &big))
        return wrong_type(c, kv, "an integer", err);
    if (big || v < lo || v > hi)
        return nb_fail_at(err, NB_E_INPUT, c->path, key, "is %llu, expected %lld to %lld", (unsigned long long)v,
                          (long long)lo, (long long)hi);
    *out = v;
    return NB_OK;
}

nb_status nb_ckpt_meta_float(const nb_ckpt *c, const char *key, double *out, bool *found, nb_err *err) {
    const nb__kv *kv = look_up(c, key, found);
    if (!kv)
        return NB_OK;
    if (kv->type == NB__GGUF_F32)
        *out = (double)f32_at(kv->at);
    else if (kv->type == NB__GGUF_F64)
        *out = f64_at(kv->at);
    else
        return wrong_type(c, kv, "f32 or f64", err);
    return NB_OK;
}

nb_status nb_ckpt_meta_bool(const nb_ckpt *c, const char *key, bool *out, bool *found, nb_err *err) {
    const nb__kv *kv = look_up(c, key, found);
    if (!kv)
        return NB_OK;
    if (kv->type != NB__GGUF_BOOL)
        return wrong_type(c, kv, "bool", err);
    *out = kv->at[0] != 0;
    return NB_OK;
}

nb_status nb_ckpt_meta_str(const nb_ckpt *c, const char *key, const char **out, bool *found, nb_err *err) {
    const nb__kv *kv = look_up(c, key, found);
    if (!kv)
        return NB_OK;
    if (kv->type != NB__GGUF_STRING)
        return wrong_type(c, kv, "string", err);
    if (strlen(kv->text) != kv->count)
        return nb_fail_at(err, NB_E_INPUT, c->path, key, "holds a NUL");
    *out = kv->text;
    return NB_OK;
}

/* ---- vocabulary ---- */

typedef struct vocab_source {
    const nb__meta *meta;
    const char *path;
    nb_err *err;
} vocab_source;

#define FAIL(s, code, key, ...) nb_fail_at((s)->err, (code), (s)->path, (key), __VA_ARGS__)

/* An array of strings, as spans of the map. *out stays NULL where the key is absent. */
static nb_status read_strings(const vocab_source *s, const char *key, nb_bytes **out, size_t *count) {
    const nb__kv *kv = nb__meta_find(s->meta, key);
    if (!kv)
        return NB_OK;
    if (kv->type != NB__GGUF_ARRAY || kv->elem != NB__GGUF_STRING)
        return FAIL(s, NB_E_INPUT, key, "is no array of strings");
    nb_bytes *list;
    NB_TRY(nb_calloc(kv->count, sizeof *list, "the vocabulary", &list, s->err));
    const unsigned char *p = kv->at; /* checked by the parser */
    for (size_t i = 0; i < kv->count; i++) {
        size_t len = (size_t)nb__u64(p);
        list[i] = (nb_bytes){(const char *)p + 8, len};
        p += 8 + len;
    }
    *out = list;
    *count = kv->count;
    return NB_OK;
}

/* An array of `size` 4-byte elements of one of two types; *at stays NULL where it is absent. */
static nb_status find_words(const vocab_source *s, const char *key, nb__gguf_type a, nb__gguf_type b, size_t size,
                            const unsigned char **at) {
    const nb__kv *kv = nb__meta_find(s->meta, key);
    if (!kv)
        return NB_OK;
    if (kv->type != NB__GGUF_ARRAY || (kv->elem != a && kv->elem != b))
        return FAIL(s, NB_E_INPUT, key, "is no array of %s", type_name(a));
    if (kv->count != size)
        return FAIL(s, NB_E_INPUT, key, "has %zu entries for %zu tokens", kv->count, size);
    *at = kv->at;
    return NB_OK;
}

static nb_status read_types_and_scores(const vocab_source *s, nb_vocab *v) {
    const unsigned char *types = NULL, *scores = NULL;
    NB_TRY(find_words(s, "tokenizer.ggml.token_type", NB__GGUF_I32, NB__GGUF_U32, v->size, &types));
    NB_TRY(find_words(s, "tokenizer.ggml.scores", NB__GGUF_F32, NB__GGUF_F32, v->size, &scores));
    if (types) {
        NB_TRY(nb_calloc(v->size, sizeof *v->types, "token types", &v->types, s->err));
        for (size_t i = 0; i < v->size; i++)
            v->types[i] = (int32_t)nb__u32(types + 4 * i);
    }
    if (scores) {
        NB_TRY(nb_calloc(v->size, sizeof *v->scores, "token scores", &v->scores, s->err));
        for (size_t i = 0; i < v->size; i++)
            v->scores[i] = f32_at(scores + 4 * i);
    }
    return NB_OK;
}

/* An id in [0, size), `fallback` where the key is absent (and the vocabulary is large enough), -1 for "none", which
 * some writers store as all ones. */
static nb_status read_id(const vocab_source *s, const char *key, size_t size, int64_t fallback, int64_t *out) {
    const nb__kv *kv = nb__meta_find(s->meta, key);
    int64_t id;
    bool big;
    *out = fallback >= 0 && (uint64_t)fallback < size ? fallback : -1;
    if (!kv)
        return NB_OK;
    if (!read_int(kv->type, kv->at, &id, &big))
        return FAIL(s, NB_E_INPUT, key, "is of type %s, expected an integer", type_name(kv->type));
    if (id == -1 || (kv->type == NB__GGUF_U32 && id == UINT32_MAX))
        *out = -1;
    else if (big || id < 0 || (uint64_t)id >= size)
        return FAIL(s, NB_E_INPUT, key, "is %lld, but there are %zu tokens", (long long)id, size);
    else
        *out = id;
    return NB_OK;
}

static nb_status read_flag(const vocab_source *s, const char *key, bool fallback, bool *out) {
    const nb__kv *kv = nb__meta_find(s->meta, key);
    *out = fallback;
    if (!kv)
        return NB_OK;
    if (kv->type != NB__GGUF_BOOL)
        return FAIL(s, NB_E_INPUT, key, "is of type %s, expected bool", type_name(kv->type));
    *out = kv->at[0] != 0;
    return NB_OK;
}

static nb_status read_text(const vocab_source *s, const char *key, const char **out) {
    const nb__kv *kv = nb__meta_find(s->meta, key);
    if (!kv)
        return NB_OK;
    if (kv->type != NB__GGUF_STRING || strlen(kv->text) != kv->count)
        return FAIL(s, NB_E_INPUT, key, "is no string, or holds a NUL");
    *out = kv->text;
    return NB_OK;
}

static nb_status read_kind(const vocab_source *s, nb_vocab *v) {
    const char *model = NULL;
    NB_TRY(read_text(s, "tokenizer.ggml.model", &model));
    if (!model)
        return FAIL(s, NB_E_INPUT, "tokenizer.ggml.model", "is missing: the file has no vocabulary");
    if (!strcmp(model, "gpt2"))
        v->kind = NB_VOCAB_BPE;
    else if (!strcmp(model, "llama"))
        v->kind = NB_VOCAB_SPM;
    else
        return FAIL(s, NB_E_UNSUPPORTED, "tokenizer.ggml.model", "'%.40s' is not supported, gpt2 and llama are", model);
    v->pre = "";
    NB_TRY(read_text(s, "tokenizer.ggml.pre", &v->pre));
    return read_text(s, "tokenizer.chat_template", &v->chat_template);
}

/* Defaults are llama.cpp's (llama-vocab.cpp): a SentencePiece vocabulary has <unk> <s> </s> as 0, 1, 2 and puts BOS
 * and a blank in front; Llama 3's BPE puts BOS in front. */
static nb_status read_specials(const vocab_source *s, nb_vocab *v) {
    bool spm = v->kind == NB_VOCAB_SPM;
    bool llama3 = !strcmp(v->pre, "llama-bpe") || !strcmp(v->pre, "llama3") || !strcmp(v->pre, "llama-v3");
    NB_TRY(read_id(s, "tokenizer.ggml.bos_token_id", v->size, spm ? 1 : -1, &v->bos));
    NB_TRY(read_id(s, "tokenizer.ggml.eos_token_id", v->size, spm ? 2 : -1, &v->eos));
    NB_TRY(read_id(s, "tokenizer.ggml.unknown_token_id", v->size, spm ? 0 : -1, &v->unk));
    NB_TRY(read_id(s, "tokenizer.ggml.padding_token_id", v->size, -1, &v->pad));
    NB_TRY(read_id(s, "tokenizer.ggml.eot_token_id", v->size, -1, &v->eot));
    NB_TRY(read_flag(s, "tokenizer.ggml.add_bos_token", spm || llama3, &v->add_bos));
    NB_TRY(read_flag(s, "tokenizer.ggml.add_eos_token", false, &v->add_eos));
    return read_flag(s, "tokenizer.ggml.add_space_prefix", spm, &v->add_space_prefix);
}

nb_status nb__gguf_vocab(const nb__meta *meta, const char *path, nb_vocab **out, nb_err *err) {
    vocab_source s = {meta, path, err};
    nb_vocab *v;
    nb_status status;
    NB_TRY(nb_calloc(1, sizeof *v, "a vocabulary", &v, err));
    NB_GO(read_kind(&s, v));
    NB_GO(read_strings(&s, "tokenizer.ggml.tokens", &v->tokens, &v->size));
    if (v->size == 0 || v->size > INT32_MAX) {
        status = FAIL(&s, NB_E_INPUT, "tokenizer.ggml.tokens", "%zu tokens, expected 1 to %d", v->size, INT32_MAX);
        goto out;
    }
    NB_GO(read_types_and_scores(&s, v));
    NB_GO(read_strings(&s, "tokenizer.ggml.merges", &v->merges, &v->n_merges));
    NB_GO(read_specials(&s, v));
    if (v->kind == NB_VOCAB_SPM && !v->scores) {
        status = FAIL(&s, NB_E_INPUT, "tokenizer.ggml.scores", "is missing: a SentencePiece vocabulary needs scores");
        goto out;
    }
    *out = v;
out:
    if (status != NB_OK)
        nb__vocab_free(v);
    return status;
}

void nb__vocab_free(nb_vocab *v) {
    if (!v)
        return;
    nb_free(v->tokens);
    nb_free(v->types);
    nb_free(v->scores);
    nb_free(v->merges);
    nb_free(v);
}
