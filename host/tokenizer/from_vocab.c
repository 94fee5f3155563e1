/* A tokenizer from a GGUF vocabulary. */
#include <string.h>

#include "host/base/alloc.h"
#include "host/tokenizer/parts.h"

/* What the loader holds while it describes the vocabulary. */
typedef struct parts {
    nb__spec spec;
    nb_bytes *left, *right;
    nb__spec_added *added;
} parts;

static nb_status split_merges(const nb_vocab *v, parts *p, nb_err *err) {
    NB_TRY(nb_calloc(v->n_merges, sizeof *p->left, "merges", &p->left, err));
    NB_TRY(nb_calloc(v->n_merges, sizeof *p->right, "merges", &p->right, err));
    for (size_t i = 0; i < v->n_merges; i++) {
        nb_bytes m = v->merges[i];
        const char *blank = m.len > 2 ? memchr(m.data + 1, ' ', m.len - 2) : NULL;
        if (!blank)
            return nb_fail_at(err, NB_E_INPUT, NULL, "tokenizer.ggml.merges", "merge %zu is \"%.*s\", expected two pieces",
                              i, (int)(m.len < 64 ? m.len : 64), m.data);
        size_t n = (size_t)(blank - m.data);
        p->left[i] = (nb_bytes){m.data, n};
        p->right[i] = (nb_bytes){blank + 1, m.len - n - 1};
    }
    p->spec.left = p->left;
    p->spec.right = p->right;
    p->spec.n_merges = v->n_merges;
    return NB_OK;
}

/* Control and unknown tokens are special, user-defined ones are added: all are found in the text as they stand. */
static nb_status collect_added(const nb_vocab *v, parts *p, nb_err *err) {
    size_t n = 0;
    for (size_t i = 0; v->types && i < v->size; i++) {
        int32_t t = v->types[i];
        n += t == NB_TOKEN_CONTROL || t == NB_TOKEN_UNKNOWN || t == NB_TOKEN_USER;
    }
    NB_TRY(nb_calloc(n, sizeof *p->added, "added tokens", &p->added, err));
    p->spec.added = p->added;
    for (size_t i = 0; v->types && i < v->size; i++) {
        int32_t t = v->types[i];
        if (t == NB_TOKEN_BYTE) {
            if (nb__byte_token(v->tokens[i].data, v->tokens[i].len) < 0)
                return nb_fail_at(err, NB_E_INPUT, NULL, "tokenizer.ggml.tokens",
                                  "token %zu is marked as a byte, but \"%.*s\" is not of the form <0xHH>", i,
                                  (int)(v->tokens[i].len < 64 ? v->tokens[i].len : 64), v->tokens[i].data);
            p->spec.byte_fallback = true;
        }
        if (t != NB_TOKEN_CONTROL && t != NB_TOKEN_UNKNOWN && t != NB_TOKEN_USER)
            continue;
        if (v->tokens[i].len == 0) /* nothing to find */
            continue;
        p->added[p->spec.n_added++] =
            (nb__spec_added){v->tokens[i], {.id = (int32_t)i, .special = t != NB_TOKEN_USER}};
    }
    return NB_OK;
}

static nb_status byte_level(nb_tokenizer *tok, const nb_vocab *v, parts *p, nb_err *err) {
    nb__dec_step *step;
    p->spec.byte_level = true;
    NB_TRY(nb__preset_apply(tok, v->pre ? v->pre : "", &p->spec.ignore_merges, err));
    NB_TRY(nb__dec_add(&tok->dec, NB_DEC_BYTE_LEVEL, &step, err));
    p->spec.byte_fallback = false;
    p->spec.unk = NB_UNK_NONE;
    return split_merges(v, p, err);
}

static nb_status sentencepiece(nb_tokenizer *tok, const nb_vocab *v, parts *p, nb_err *err) {
    nb__norm_step *step;
    if (v->add_space_prefix) {
        NB_TRY(nb__norm_add(&tok->norm, NB_NORM_PREPEND, &step, err));
        NB_TRY(nb_str_add(&step->text, NB_MARK, 3, err));
    }
    NB_TRY(nb__norm_add(&tok->norm, NB_NORM_REPLACE, &step, err));
    NB_TRY(nb__finder_string(&step->find, " ", 1, err));
    NB_TRY(nb_str_add(&step->text, NB_MARK, 3, err));
    NB_TRY(nb__dec_add_spm(&tok->dec, v->add_space_prefix, err));
    p->spec.fuse_unk = true;
    p->spec.unk = v->unk;
    if (!v->scores)
        return nb_fail_at(err, NB_E_INPUT, NULL, "tokenizer.ggml.scores", "is missing");
    p->spec.scores = v->scores;
    p->spec.types = v->types;
    return NB_OK;
}

static nb_status add_edge(nb_ids *ids, bool add, int64_t id, const char *key, nb_err *err) {
    if (!add)
        return NB_OK;
    if (id < 0)
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "is true, but the token is not named");
    return nb_ids_add(ids, (int32_t)id, err); /* nb__build has checked the range */
}

static nb_status fill(nb_tokenizer *tok, const nb_vocab *v, parts *p, nb_err *err) {
    if (v->size == 0 || v->size >= INT32_MAX)
        return nb_fail_at(err, NB_E_INPUT, NULL, "tokenizer.ggml.tokens", "%zu tokens, expected 1 to 2^31 - 2", v->size);
    p->spec.size = v->size;
    p->spec.tokens = v->tokens;
    p->spec.bos = v->bos;
    p->spec.eos = v->eos;
    NB_TRY(collect_added(v, p, err));
    NB_TRY(v->kind == NB_VOCAB_BPE ? byte_level(tok, v, p, err) : sentencepiece(tok, v, p, err));
    NB_TRY(nb__build(tok, &p->spec, err));
    NB_TRY(add_edge(&tok->prefix, v->add_bos, v->bos, "tokenizer.ggml.add_bos_token", err));
    return add_edge(&tok->suffix, v->add_eos, v->eos, "tokenizer.ggml.add_eos_token", err);
}

nb_status nb_tokenizer_from_vocab(const nb_vocab *vocab, const char *path, nb_tokenizer **out, nb_err *err) {
    nb_tokenizer *tok;
    NB_TRY(nb_calloc(1, sizeof *tok, "a tokenizer", &tok, err));
    parts p = {0};
    nb_status status = fill(tok, vocab, &p, err);
    nb_free(p.left);
    nb_free(p.right);
    nb_free(p.added);
    if (status != NB_OK) {
        nb_tokenizer_free(tok);
        return nb_err_at(err, status, path, "vocabulary");
    }
    *out = tok;
    return NB_OK;
}
