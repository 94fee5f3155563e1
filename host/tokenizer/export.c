/* A GGUF vocabulary as tokenizer.json, tokenizer_config.json and generation_config.json. */
#include "host/tokenizer/export.h"

#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/tokenizer/parts.h"

static json_t *text_of(nb_bytes b) {
    return json_stringn(b.data, b.len);
}

static json_t *byte_level(bool use_regex) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0, "trim_offsets", 1, "use_regex",
                     (int)use_regex);
}

static json_t *added_tokens(const nb_vocab *v) {
    json_t *list = json_array();
    for (size_t i = 0; v->types && i < v->size; i++) {
        int32_t t = v->types[i];
        if (t != NB_TOKEN_CONTROL && t != NB_TOKEN_UNKNOWN && t != NB_TOKEN_USER)
            continue;
        json_array_append_new(list, json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                                              text_of(v->tokens[i]), "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                              "special", (int)(t != NB_TOKEN_USER)));
    }
    return list;
}

static json_t *vocab_object(const nb_vocab *v) {
    json_t *o = json_object();
    for (size_t i = 0; i < v->size; i++)
        json_object_setn_new(o, v->tokens[i].data, v->tokens[i].len, json_integer((json_int_t)i));
    return o;
}

/* ---- merges ---- */

static json_t *merges_as_stored(const nb_vocab *v) {
    json_t *list = json_array();
    for (size_t i = 0; i < v->n_merges; i++) {
        nb_bytes m = v->merges[i];
        const char *blank = m.len > 2 ? memchr(m.data + 1, ' ', m.len - 2) : NULL;
        size_t n = blank ? (size_t)(blank - m.data) : 0;
        if (blank)
            json_array_append_new(list, json_pack("[o, o]", json_stringn(m.data, n), json_stringn(blank + 1, m.len - n - 1)));
    }
    return list;
}

/* A merge that SentencePiece's scores imply: left + right is a token of that score. */
typedef struct implied {
    nb_bytes left, right;
    float score;
    size_t at; /* order of discovery, for ties */
} implied;

static int by_bytes(const void *a, const void *b) {
    const nb_bytes *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int c = n ? memcmp(x->data, y->data, n) : 0;
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

static int by_score(const void *a, const void *b) {
    const implied *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

static bool in_vocab(const nb_bytes *sorted, size_t n, nb_bytes key) {
    return bsearch(&key, sorted, n, sizeof key, by_bytes) != NULL;
}

/* Splits of one token into two tokens, at borders of characters. */
static nb_status splits_of(const nb_vocab *v, const nb_bytes *sorted, size_t id, implied **list, size_t *count, size_t *room,
                           nb_err *err) {
    nb_bytes t = v->tokens[id];
    for (size_t i = 1; i < t.len; i++) {
        nb_bytes left = {t.data, i}, right = {t.data + i, t.len - i};
        if (((unsigned char)t.data[i] & 0xc0) == 0x80 || !in_vocab(sorted, v->size, left) || !in_vocab(sorted, v->size, right))
            continue;
        if (*count == *room) {
            size_t grown = *room ? 2 * *room : 4096;
            NB_TRY(nb_regrow(grown, sizeof **list, "merges", list, err));
            *room = grown;
        }
        (*list)[*count] = (implied){left, right, v->scores[id], *count};
        ++*count;
    }
    return NB_OK;
}

/* Merging the pair of highest score first is merging by rank in this list. */
static nb_status merges_by_score(const nb_vocab *v, json_t **out, nb_err *err) {
    nb_bytes *sorted = NULL;
    implied *list = NULL;
    size_t count = 0, room = 0;
    nb_status status;
    NB_GO(nb_calloc(v->size, sizeof *sorted, "a vocabulary", &sorted, err));
    memcpy(sorted, v->tokens, v->size * sizeof *sorted);
    qsort(sorted, v->size, sizeof *sorted, by_bytes);
    for (size_t i = 0; i < v->size; i++)
        if (!v->types || v->types[i] == NB_TOKEN_NORMAL)
            NB_GO(splits_of(v, sorted, i, &list, &count, &room, err));
    if (count)
        qsort(list, count, sizeof *list, by_score);
    *out = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(*out, json_pack("[o, o]", text_of(list[i].left), text_of(list[i].right)));
out:
    nb_free(sorted);
    nb_free(list);
    return status;
}

/* ---- tokenizer.json ---- */

/* BOS (and EOS) that a template puts round the text; null where there is none. */
static json_t *post_processor(const nb_vocab *v) {
    bool bos = v->add_bos && v->bos >= 0 && (size_t)v->bos < v->size, eos = v->add_eos && v->eos >= 0 && (size_t)v->eos < v->size;
    json_t *single = json_array(), *pair = json_array(), *special = json_object();
    if (!bos && !eos) {
        json_decref(single);
        json_decref(pair);
        json_decref(special);
        return json_null();
    }
    for (int form = 0; form < 2; form++) {
        json_t *list = form ? pair : single;
        for (int part = 0; part <= form; part++) {
            if (bos)
                json_array_append_new(list, json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text_of(v->tokens[v->bos]), "type_id",
                                                      part));
            json_array_append_new(list, json_pack("{s:{s:s, s:i}}", "Sequence", "id", part ? "B" : "A", "type_id", part));
            if (eos)
                json_array_append_new(list, json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text_of(v->tokens[v->eos]), "type_id",
                                                      part));
        }
    }
    for (int i = 0; i < 2; i++) {
        int64_t id = i ? v->eos : v->bos;
        if (i ? eos : bos)
            json_object_setn_new(special, v->tokens[id].data, v->tokens[id].len,
                                 json_pack("{s:o, s:[I], s:[o]}", "id", text_of(v->tokens[id]), "ids", (json_int_t)id, "tokens",
                                           text_of(v->tokens[id])));
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair, "special_tokens",
                     special);
}

static json_t *model_object(const nb_vocab *v, json_t *merges, bool ignore_merges) {
    bool spm = v->kind == NB_VOCAB_SPM;
    json_t *unk = spm && v->unk >= 0 && (size_t)v->unk < v->size ? text_of(v->tokens[v->unk]) : json_null();
    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token", unk,
                     "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", (int)spm, "byte_fallback", (int)spm,
                     "ignore_merges", (int)ignore_merges, "vocab", vocab_object(v), "merges", merges);
}

static json_t *replace(const char *what, const char *by) {
    return json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", what, "content", by);
}

static void spm_chains(const nb_vocab *v, json_t **normalizer, json_t **decoder) {
    json_t *n = json_array(), *d = json_array();
    if (v->add_space_prefix)
        json_array_append_new(n, json_pack("{s:s, s:s}", "type", "Prepend", "prepend", NB_MARK));
    json_array_append_new(n, replace(" ", NB_MARK));
    json_array_append_new(d, replace(NB_MARK, " "));
    json_array_append_new(d, json_pack("{s:s}", "type", "ByteFallback"));
    json_array_append_new(d, json_pack("{s:s}", "type", "Fuse"));
    if (v->add_space_prefix)
        json_array_append_new(d, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip", "content", " ", "start", 1, "stop", 0));
    *normalizer = json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", n);
    *decoder = json_pack("{s:s, s:o}", "type", "Sequence", "decoders", d);
}

static nb_status tokenizer_json(const nb_vocab *v, json_t **out, nb_err *err) {
    json_t *normalizer = NULL, *pre = NULL, *decoder = NULL, *merges = NULL;
    bool ignore_merges = false;
    if (v->kind == NB_VOCAB_SPM) {
        NB_TRY(merges_by_score(v, &merges, err));
        spm_chains(v, &normalizer, &decoder);
        pre = json_null();
    } else {
        NB_TRY(nb__preset_export(v->pre ? v->pre : "", &normalizer, &pre, &ignore_merges, err));
        json_array_append_new(json_object_get(pre, "pretokenizers"), byte_level(false));
        decoder = byte_level(true);
        merges = merges_as_stored(v);
    }
    json_t *o = json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0", "truncation", "padding", "added_tokens",
                          added_tokens(v), "normalizer", normalizer, "pre_tokenizer", pre, "post_processor", post_processor(v),
                          "decoder", decoder, "model", model_object(v, merges, ignore_merges));
    if (!o)
        NB_TRY(nb_json_check(err));
    if (!o)
        return nb_fail(err, NB_E_INPUT, "the vocabulary cannot be written as JSON: a token is not UTF-8");
    *out = o;
    return NB_OK;
}

/* ---- the other files ---- */

static void name_token(json_t *o, const char *key, const nb_vocab *v, int64_t id) {
    if (id >= 0 && (size_t)id < v->size)
        json_object_set_new(o, key, text_of(v->tokens[id]));
}

static json_t *tokenizer_config(const nb_vocab *v) {
    json_t *o = json_pack("{s:s, s:b, s:b, s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0,
                          "add_bos_token", (int)v->add_bos, "add_eos_token", (int)v->add_eos);
    name_token(o, "bos_token", v, v->bos);
    name_token(o, "eos_token", v, v->eos);
    name_token(o, "unk_token", v, v->unk);
    name_token(o, "pad_token", v, v->pad);
    if (v->chat_template)
        json_object_set_new(o, "chat_template", json_string(v->chat_template));
    return o;
}

static json_t *generation_config(const nb_vocab *v) {
    json_t *o = json_pack("{s:b}", "_from_model_config", 1);
    if (v->bos >= 0)
        json_object_set_new(o, "bos_token_id", json_integer(v->bos));
    if (v->eos >= 0)
        json_object_set_new(o, "eos_token_id", json_integer(v->eos));
    if (v->pad >= 0)
        json_object_set_new(o, "pad_token_id", json_integer(v->pad));
    return o;
}

static nb_status write_and_drop(const char *dir, const char *name, json_t *value, nb_err *err) {
    char *path = NULL;
    nb_status status = value ? nb_path_join(dir, name, &path, err) : nb_fail_memory(err, 0, name);
    if (status == NB_OK)
        status = nb_json_write(path, value, err);
    nb_free(path);
    json_decref(value);
    return status;
}

nb_status nb_tokenizer_export(const nb_vocab *v, const char *dir, nb_err *err) {
    json_t *tokenizer = NULL;
    NB_TRY(tokenizer_json(v, &tokenizer, err));
    NB_TRY(write_and_drop(dir, "tokenizer.json", tokenizer, err));
    NB_TRY(write_and_drop(dir, "tokenizer_config.json", tokenizer_config(v), err));
    return write_and_drop(dir, "generation_config.json", generation_config(v), err);
}

nb_status nb_tokenizer_export_check(const nb_vocab *v, nb_err *err) {
    json_t *tokenizer = NULL;
    nb_status status = tokenizer_json(v, &tokenizer, err);
    json_decref(tokenizer);
    return status;
}
