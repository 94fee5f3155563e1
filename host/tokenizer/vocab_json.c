#include "host/tokenizer/vocab_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/tokenizer/parts.h"

enum { FILE_LIMIT = 512 << 20, TEMPLATE_LIMIT = 1 << 20 };

struct nb_json_vocab {
    nb_vocab vocab;
    json_t *doc, *beside; /* tokenizer.json, tokenizer_config.json: what most strings point into */
    nb_str made;          /* [PADn] and merges "left right"; offsets until all are there */
    char *chat_template;
};

const nb_vocab *nb_json_vocab_get(const nb_json_vocab *v) {
    return &v->vocab;
}

void nb_json_vocab_free(nb_json_vocab *v) {
    if (!v)
        return;
    nb_free(v->vocab.tokens);
    nb_free(v->vocab.types);
    nb_free(v->vocab.scores);
    nb_free(v->vocab.merges);
    nb_str_free(&v->made);
    nb_free(v->chat_template);
    json_decref(v->doc);
    json_decref(v->beside);
    nb_free(v);
}

/* ---- tokens ---- */

static nb_status put_token(nb_vocab *v, const char *text, const json_t *id, int32_t type, nb_err *err) {
    if (!json_is_integer(id) || json_integer_value(id) < 0)
        return nb_fail_at(err, NB_E_INPUT, NULL, "vocab", "\"%.64s\" has no id from 0 to %zu", text, v->size - 1);
    if ((size_t)json_integer_value(id) >= v->size)
        return NB_OK; /* no row of the model's is its embedding, and no engine may expect one */
    size_t i = (size_t)json_integer_value(id);
    if (v->tokens[i].data && strcmp(v->tokens[i].data, text) != 0)
        return nb_fail_at(err, NB_E_INPUT, NULL, "vocab", "\"%.64s\" and \"%.64s\" both have the id %zu", v->tokens[i].data, text, i);
    v->tokens[i] = (nb_bytes){text, strlen(text)};
    v->types[i] = type;
    return NB_OK;
}

static nb_status put_added(nb_vocab *v, const json_t *added, const char *unk, nb_err *err) {
    size_t at;
    json_t *t;
    json_array_foreach((json_t *)(uintptr_t)added, at, t) {
        const char *text = json_string_value(json_object_get(t, "content"));
        if (!text)
            return nb_fail_at(err, NB_E_INPUT, NULL, "added_tokens", "entry %zu has no content", at);
        int32_t type = json_is_true(json_object_get(t, "special")) ? NB_TOKEN_CONTROL : NB_TOKEN_USER;
        NB_TRY(put_token(v, text, json_object_get(t, "id"), unk && !strcmp(unk, text) ? NB_TOKEN_UNKNOWN : type, err));
    }
    return NB_OK;
}

/* Pads are written into `made` after the merges, so that its bytes no longer move. */
static nb_status put_tokens(nb_json_vocab *j, const json_t *model, nb_err *err) {
    nb_vocab *v = &j->vocab;
    const char *unk = json_string_value(json_object_get(model, "unk_token")), *text;
    bool bytes = json_is_true(json_object_get(model, "byte_fallback"));
    json_t *vocab = json_object_get(model, "vocab"), *id;
    if (!json_is_object(vocab))
        return nb_fail_at(err, NB_E_INPUT, NULL, "model.vocab", "is missing or not an object");
    json_object_foreach(vocab, text, id) {
        bool byte = bytes && nb__byte_token(text, strlen(text)) >= 0;
        NB_TRY(put_token(v, text, id, byte ? NB_TOKEN_BYTE : NB_TOKEN_NORMAL, err));
    }
    NB_TRY(put_added(v, json_object_get(j->doc, "added_tokens"), unk, err));
    for (size_t i = 0; i < v->size; i++)
        if (unk && v->tokens[i].data && !strcmp(v->tokens[i].data, unk))
            v->unk = (int64_t)i;
    return NB_OK;
}

/* ---- merges ---- */

/* The two halves of a merge in either of its forms. */
static bool halves(const json_t *m, nb_bytes *left, nb_bytes *right) {
    const json_t *a = json_array_get(m, 0), *b = json_array_get(m, 1);
    if (json_is_string(a) && json_is_string(b)) {
        *left = (nb_bytes){json_string_value(a), json_string_length(a)};
        *right = (nb_bytes){json_string_value(b), json_string_length(b)};
        return true;
    }
    const char *s = json_string_value(m), *blank = s && *s ? strchr(s + 1, ' ') : NULL;
    if (!blank)
        return false;
    *left = (nb_bytes){s, (size_t)(blank - s)};
    *right = (nb_bytes){blank + 1, strlen(blank + 1)};
    return true;
}

static int by_text(const void *a, const void *b) {
    const nb_bytes *x = *(nb_bytes *const *)a, *y = *(nb_bytes *const *)b;
    size_t n = nb_min(x->len, y->len);
    int c = n ? memcmp(x->data, y->data, n) : 0;
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

/* Tokens sorted by text, for looking up what a merge makes. */
static nb_status sort_tokens(const nb_vocab *v, const nb_bytes ***out, size_t *count, nb_err *err) {
    const nb_bytes **list;
    NB_TRY(nb_calloc(v->size, sizeof *list, "a vocabulary", &list, err));
    *count = 0;
    for (size_t i = 0; i < v->size; i++)
        if (v->tokens[i].data)
            list[(*count)++] = &v->tokens[i];
    if (*count)
        qsort(list, *count, sizeof *list, by_text);
    *out = list;
    return NB_OK;
}

/* A piece that the merge of rank r makes first has the score -r; what no merge makes stays below all of them. */
static nb_status scores_by_merges(nb_json_vocab *j, const json_t *merges, nb_err *err) {
    nb_vocab *v = &j->vocab;
    const nb_bytes **sorted = NULL;
    nb_str joined = {0};
    size_t count, rank;
    json_t *m;
    nb_status status;
    NB_GO(nb_calloc(v->size, sizeof *v->scores, "scores", &v->scores, err));
    NB_GO(sort_tokens(v, &sorted, &count, err));
    for (size_t i = 0; i < v->size; i++)
        v->scores[i] = -(float)json_array_size(merges);
    json_array_foreach((json_t *)(uintptr_t)merges, rank, m) {
        nb_bytes left, right, *key = &left;
        if (!halves(m, &left, &right)) {
            status = nb_fail_at(err, NB_E_INPUT, NULL, "model.merges", "merge %zu is not two pieces", rank);
            goto out;
        }
        joined.len = 0;
        NB_GO(nb_str_add(&joined, left.data, left.len, err));
        NB_GO(nb_str_add(&joined, right.data, right.len, err));
        left = (nb_bytes){joined.data, joined.len};
        const nb_bytes **hit = count ? bsearch(&key, sorted, count, sizeof *sorted, by_text) : NULL;
        if (hit && v->scores[*hit - v->tokens] == -(float)json_array_size(merges))
            v->scores[*hit - v->tokens] = -(float)rank;
    }
out:
    nb_free(sorted);
    nb_str_free(&joined);
    return status;
}

static nb_status put_merges(nb_json_vocab *j, const json_t *merges, nb_err *err) {
    nb_vocab *v = &j->vocab;
    size_t i;
    json_t *m;
    NB_TRY(nb_calloc(json_array_size(merges), sizeof *v->merges, "merges", &v->merges, err));
    json_array_foreach((json_t *)(uintptr_t)merges, i, m) {
        nb_bytes left, right;
        if (!halves(m, &left, &right))
            return nb_fail_at(err, NB_E_INPUT, NULL, "model.merges", "merge %zu is not two pieces", i);
        NB_TRY(nb_str_add(&j->made, left.data, left.len, err));
        NB_TRY(nb_str_add(&j->made, " ", 1, err));
        NB_TRY(nb_str_add(&j->made, right.data, right.len, err));
        v->merges[i].len = left.len + 1 + right.len;
    }
    v->n_merges = json_array_size(merges);
    return NB_OK;
}

/* [PADn] for ids without a token, then pointers into what was made. */
static nb_status put_pads(nb_json_vocab *j, nb_err *err) {
    nb_vocab *v = &j->vocab;
    size_t at = 0;
    for (size_t i = 0; i < v->size; i++)
        if (!v->tokens[i].data) {
            size_t before = j->made.len;
            NB_TRY(nb_str_addf(&j->made, err, "[PAD%zu]", i));
            v->tokens[i].len = j->made.len - before;
        }
    for (size_t i = 0; i < v->n_merges; at += v->merges[i++].len)
        v->merges[i].data = j->made.data + at;
    for (size_t i = 0; i < v->size; i++)
        if (!v->tokens[i].data) {
            v->tokens[i].data = j->made.data + at;
            at += v->tokens[i].len;
            v->types[i] = NB_TOKEN_UNUSED;
        }
    return NB_OK;
}

/* ---- the pipeline ---- */

/* Is there a step of this type in a chain (or sequence of chains)? */
static const json_t *find_step(const json_t *chain, const char *type) {
    static const char *const lists[] = {"normalizers", "pretokenizers", "processors"};
    const char *own = json_string_value(json_object_get(chain, "type"));
    if (own && !strcmp(own, type))
        return chain;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const json_t *list = json_object_get(chain, lists[i]);
        for (size_t s = 0; s < json_array_size(list); s++) {
            const json_t *found = find_step(json_array_get(list, s), type);
            if (found)
                return found;
        }
    }
    return NULL;
}

static bool writes_mark(const json_t *replace) {
    const char *what = json_string_value(json_object_get(json_object_get(replace, "pattern"), "String"));
    const char *by = json_string_value(json_object_get(replace, "content"));
    return what && by && !strcmp(what, " ") && !strcmp(by, NB_MARK);
}

/* Blanks become marks by a normalizer, with or without one in front, or by the Metaspace pre-tokenizer. */
static nb_status sentencepiece(nb_json_vocab *j, const json_t *model, nb_err *err) {
    const json_t *norm = json_object_get(j->doc, "normalizer"), *pre = json_object_get(j->doc, "pre_tokenizer");
    const json_t *meta = find_step(pre, "Metaspace");
    const char *scheme = json_string_value(json_object_get(meta, "prepend_scheme"));
    if (!meta && !writes_mark(find_step(norm, "Replace")))
        return nb_fail(err, NB_E_UNSUPPORTED, "its BPE with byte fallback is none that GGUF has: blanks are not replaced by \"%s\"", NB_MARK);
    j->vocab.kind = NB_VOCAB_SPM;
    j->vocab.pre = "default";
    j->vocab.add_space_prefix = meta ? !scheme || strcmp(scheme, "never") != 0 : find_step(norm, "Prepend") != NULL;
    return scores_by_merges(j, json_object_get(model, "merges"), err);
}

static nb_status byte_level(nb_json_vocab *j, const json_t *model, nb_err *err) {
    j->vocab.kind = NB_VOCAB_BPE;
    NB_TRY(nb__preset_detect(json_object_get(j->doc, "normalizer"), json_object_get(j->doc, "pre_tokenizer"),
                             json_is_true(json_object_get(model, "ignore_merges")), &j->vocab.pre, err));
    return put_merges(j, json_object_get(model, "merges"), err);
}

/* A template that begins (ends) with a special token stands for add_bos (add_eos). */
static void read_template(nb_json_vocab *j) {
    const json_t *single = json_object_get(find_step(json_object_get(j->doc, "post_processor"), "TemplateProcessing"), "single");
    size_t n = json_array_size(single);
    j->vocab.add_bos = json_is_object(json_object_get(json_array_get(single, 0), "SpecialToken"));
    j->vocab.add_eos = n > 1 && json_is_object(json_object_get(json_array_get(single, n - 1), "SpecialToken"));
}

/* An id, or the first of a list. */
static int64_t id_of(const json_t *config, const char *key, size_t size) {
    const json_t *v = json_object_get(config, key);
    if (json_is_array(v))
        v = json_array_get(v, 0);
    return json_is_integer(v) && json_integer_value(v) >= 0 && (size_t)json_integer_value(v) < size ? json_integer_value(v) : -1;
}

/* chat_template.jinja, or the key of tokenizer_config.json. */
static nb_status read_chat_template(nb_json_vocab *j, const char *path, nb_err *err) {
    const char *slash = strrchr(path, '/');
    int len = slash ? (int)(slash + 1 - path) : 0;
    nb_str file = {0};
    nb_status status;
    NB_GO(nb_str_addf(&file, err, "%.*schat_template.jinja", len, path));
    if (nb_path_exists(file.data)) {
        size_t size;
        NB_GO(nb_file_read(file.data, TEMPLATE_LIMIT, &j->chat_template, &size, err));
        j->vocab.chat_template = j->chat_template;
        goto out;
    }
    file.len = 0;
    NB_GO(nb_str_addf(&file, err, "%.*stokenizer_config.json", len, path));
    if (nb_path_exists(file.data)) {
        NB_GO(nb_json_read(file.data, FILE_LIMIT, &j->beside, err));
        j->vocab.chat_template = json_string_value(json_object_get(j->beside, "chat_template"));
    }
out:
    nb_str_free(&file);
    return status;
}

static nb_status fill(nb_json_vocab *j, const char *path, const json_t *config, size_t size, nb_err *err) {
    nb_vocab *v = &j->vocab;
    NB_TRY(nb_json_read(path, FILE_LIMIT, &j->doc, err));
    const json_t *model = json_object_get(j->doc, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    if (type && strcmp(type, "BPE") != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "model.type", "\"%.32s\" cannot be written to a GGUF; BPE can", type);
    v->size = size;
    v->unk = -1;
    NB_TRY(nb_calloc(v->size, sizeof *v->tokens, "the vocabulary", &v->tokens, err));
    NB_TRY(nb_calloc(v->size, sizeof *v->types, "the vocabulary", &v->types, err));
    NB_TRY(put_tokens(j, model, err));
    NB_TRY(json_is_true(json_object_get(model, "byte_fallback")) ? sentencepiece(j, model, err) : byte_level(j, model, err));
    NB_TRY(put_pads(j, err));
    read_template(j);
    v->bos = id_of(config, "bos_token_id", v->size);
    v->eos = id_of(config, "eos_token_id", v->size);
    v->pad = id_of(config, "pad_token_id", v->size);
    v->eot = -1;
    return read_chat_template(j, path, err);
}

nb_status nb_vocab_from_json(const char *path, const json_t *config, size_t size, nb_json_vocab **out, nb_err *err) {
    nb_json_vocab *j;
    NB_TRY(nb_calloc(1, sizeof *j, "a vocabulary", &j, err));
    nb_status status = fill(j, path, config, size, err);
    if (status != NB_OK) {
        nb_json_vocab_free(j);
        return nb_err_at(err, status, path, NULL);
    }
    *out = j;
    return NB_OK;
}
