/* A tokenizer from tokenizer.json. The chains are read in json_chains.c. */
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/size.h"
#include "host/tokenizer/json_chains.h"
#include "host/tokenizer/parts.h"

enum { FILE_LIMIT = 512 << 20 };

/* What the loader holds while it describes the vocabulary. Strings point into the JSON. */
typedef struct parts {
    nb__spec spec;
    nb_bytes *tokens, *left, *right;
    nb__spec_added *added;
} parts;

static nb_bytes text_of(const json_t *s) {
    return (nb_bytes){json_string_value(s), json_string_length(s)};
}

static nb_status read_vocab(const json_t *model, parts *p, nb_err *err) {
    json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab))
        return nb_fail_at(err, NB_E_INPUT, NULL, "model.vocab", "is missing or not an object");
    /* Ids may have holes; one far beyond the number of tokens would only waste memory. */
    size_t count = json_object_size(vocab), limit = 2 * count + 65536, size = 0;
    NB_TRY(nb_calloc(limit, sizeof *p->tokens, "the vocabulary", &p->tokens, err));
    const char *name;
    json_t *id;
    json_object_foreach(vocab, name, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || (size_t)json_integer_value(id) >= limit) {
            char *found = json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT);
            nb_fail_at(err, NB_E_INPUT, NULL, "model.vocab", "\"%.64s\" has the id %.64s, expected an integer from 0 to %zu",
                       name, found ? found : "?", limit - 1);
            free(found);
            return NB_E_INPUT;
        }
        size_t i = (size_t)json_integer_value(id);
        if (p->tokens[i].data)
            return nb_fail_at(err, NB_E_INPUT, NULL, "model.vocab", "\"%.64s\" and \"%.64s\" both have the id %zu",
                              p->tokens[i].data, name, i);
        p->tokens[i] = (nb_bytes){name, strlen(name)};
        size = nb_max(size, i + 1);
    }
    p->spec.tokens = p->tokens;
    p->spec.size = size;
    return NB_OK;
}

static nb_status bad_merge(nb_err *err, size_t i) {
    return nb_fail_at(err, NB_E_INPUT, NULL, "model.merges", "merge %zu is not two pieces (\"a b\" or [\"a\", \"b\"])", i);
}

static nb_status read_merges(const json_t *model, parts *p, nb_err *err) {
    json_t *merges = json_object_get(model, "merges"), *m;
    if (!json_is_array(merges))
        return nb_fail_at(err, NB_E_INPUT, NULL, "model.merges", "is missing or not an array");
    size_t i, n = json_array_size(merges);
    NB_TRY(nb_calloc(n, sizeof *p->left, "merges", &p->left, err));
    NB_TRY(nb_calloc(n, sizeof *p->right, "merges", &p->right, err));
    json_array_foreach(merges, i, m) {
        if (json_is_string(m)) {
            nb_bytes t = text_of(m);
            const char *blank = memchr(t.data, ' ', t.len);
            if (!blank || memchr(blank + 1, ' ', t.len - (size_t)(blank + 1 - t.data)))
                return bad_merge(err, i);
            size_t at = (size_t)(blank - t.data);
            p->left[i] = (nb_bytes){t.data, at};
            p->right[i] = (nb_bytes){blank + 1, t.len - at - 1};
        } else if (json_is_array(m) && json_array_size(m) == 2 && json_is_string(json_array_get(m, 0)) &&
                   json_is_string(json_array_get(m, 1))) {
            p->left[i] = text_of(json_array_get(m, 0));
            p->right[i] = text_of(json_array_get(m, 1));
        } else {
            return bad_merge(err, i);
        }
    }
    p->spec.left = p->left;
    p->spec.right = p->right;
    p->spec.n_merges = n;
    return NB_OK;
}

/* Affixes of pieces inside and at the end of words: no model of today uses them. */
static nb_status refuse_affix(const json_t *model, const char *key, nb_err *err) {
    const char *affix = "";
    NB_TRY(nb_json_get_str(model, key, &affix, err));
    return *affix ? nb_fail_at(err, NB_E_UNSUPPORTED, NULL, key, "is \"%.64s\", only an empty one is supported", affix) : NB_OK;
}

static nb_status read_model(const json_t *model, parts *p, nb_err *err) {
    const char *type = "BPE", *unk = NULL;
    double dropout = 0;
    if (!json_is_object(model))
        return nb_fail_at(err, NB_E_INPUT, NULL, "model", "is missing or not an object");
    NB_TRY(nb_json_get_str(model, "type", &type, err));
    if (strcmp(type, "BPE") != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "model.type", "is \"%.64s\", only BPE is supported", type);
    NB_TRY(refuse_affix(model, "continuing_subword_prefix", err));
    NB_TRY(refuse_affix(model, "end_of_word_suffix", err));
    NB_TRY(nb_json_get_number(model, "dropout", &dropout, err));
    if (dropout != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "model.dropout", "is %g, only 0 is supported", dropout);
    NB_TRY(nb_json_get_bool(model, "byte_fallback", &p->spec.byte_fallback, err));
    NB_TRY(nb_json_get_bool(model, "fuse_unk", &p->spec.fuse_unk, err));
    NB_TRY(nb_json_get_bool(model, "ignore_merges", &p->spec.ignore_merges, err));
    NB_TRY(read_vocab(model, p, err));
    NB_TRY(read_merges(model, p, err));
    NB_TRY(nb_json_get_str(model, "unk_token", &unk, err));
    p->spec.unk = NB_UNK_NONE;
    if (unk) {
        const json_t *id = json_object_get(json_object_get(model, "vocab"), unk);
        p->spec.unk = id ? json_integer_value(id) : NB_UNK_MISSING;
    }
    return NB_OK;
}

static nb_status read_added(const json_t *doc, parts *p, nb_err *err) {
    const json_t *list = json_object_get(doc, "added_tokens"), *a;
    size_t i;
    if (!list || json_is_null(list))
        return NB_OK;
    if (!json_is_array(list))
        return nb_fail_at(err, NB_E_INPUT, NULL, "added_tokens", "is not an array");
    NB_TRY(nb_calloc(json_array_size(list), sizeof *p->added, "added tokens", &p->added, err));
    p->spec.added = p->added;
    json_array_foreach(list, i, a) {
        nb__spec_added *t = &p->added[i];
        const json_t *content = json_object_get(a, "content");
        int64_t id = -1;
        if (!json_is_string(content))
            return nb_fail_at(err, NB_E_INPUT, NULL, "added_tokens", "token %zu has no content", i);
        NB_TRY(nb_json_get_int(a, "id", 0, INT32_MAX - 1, &id, err));
        t->content = text_of(content);
        t->flags.id = (int32_t)id;
        NB_TRY(nb_json_get_bool(a, "single_word", &t->flags.single_word, err));
        NB_TRY(nb_json_get_bool(a, "lstrip", &t->flags.lstrip, err));
        NB_TRY(nb_json_get_bool(a, "rstrip", &t->flags.rstrip, err));
        NB_TRY(nb_json_get_bool(a, "normalized", &t->flags.normalized, err));
        NB_TRY(nb_json_get_bool(a, "special", &t->flags.special, err));
        p->spec.n_added++;
    }
    return NB_OK;
}

/* The id of the token that a key of tokenizer_config.json names ("x" or {"content": "x"}), -1 where it names none. */
static nb_status named_token(const nb_tokenizer *tok, const json_t *config, const char *key, int32_t *out, nb_err *err) {
    const json_t *v = json_object_get(config, key);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    if (!v || json_is_null(v))
        return NB_OK;
    if (!json_is_string(v))
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "is not a token");
    int32_t id = nb__strmap_get(&tok->by_content, json_string_value(v), json_string_length(v));
    if (id < 0)
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "\"%.64s\" is no token of tokenizer.json", json_string_value(v));
    *out = id;
    return NB_OK;
}

/* tokenizer_config.json beside the file, where it is there. */
static nb_status read_config(nb_tokenizer *tok, const char *path, nb_err *err) {
    nb_str name = {0};
    nb_status status = NB_OK;
    json_t *config = NULL;
    NB_GO(nb_str_add(&name, path, (size_t)(nb_path_base(path) - path), err));
    NB_GO(nb_str_add(&name, "tokenizer_config.json", strlen("tokenizer_config.json"), err));
    if (nb_path_exists(name.data)) {
        NB_GO(nb_json_read(name.data, FILE_LIMIT, &config, err));
        status = named_token(tok, config, "bos_token", &tok->bos, err);
        if (status == NB_OK)
            status = named_token(tok, config, "eos_token", &tok->eos, err);
        if (status != NB_OK)
            nb_err_at(err, status, name.data, NULL);
    }
out:
    json_decref(config);
    nb_str_free(&name);
    return status;
}

static nb_status fill(nb_tokenizer *tok, const json_t *doc, parts *p, nb_err *err) {
    if (!json_is_object(doc))
        return nb_fail(err, NB_E_INPUT, "is not a JSON object");
    p->spec.bos = p->spec.eos = -1;
    NB_TRY(read_model(json_object_get(doc, "model"), p, err));
    NB_TRY(read_added(doc, p, err));
    NB_TRY(nb__json_normalizer(json_object_get(doc, "normalizer"), &tok->norm, err));
    NB_TRY(nb__json_pre_tokenizer(json_object_get(doc, "pre_tokenizer"), &tok->pre, &p->spec.byte_level, err));
    NB_TRY(nb__json_decoder(json_object_get(doc, "decoder"), &tok->dec, err));
    NB_TRY(nb__build(tok, &p->spec, err));
    return nb__json_post_processor(json_object_get(doc, "post_processor"), tok, err);
}

nb_status nb__tokenizer_from_text(const char *text, size_t len, const char *path, nb_tokenizer **out, nb_err *err) {
    nb_tokenizer *tok = NULL;
    json_t *doc = NULL;
    parts p = {0};
    nb_status status;
    NB_GO(nb_json_parse(text, len, path, &doc, err));
    NB_GO(nb_calloc(1, sizeof *tok, "a tokenizer", &tok, err));
    NB_GO(fill(tok, doc, &p, err));
    if (tok->prefix.len > 0)
        tok->bos = tok->prefix.data[0];
    *out = tok;
    tok = NULL;
out:
    nb_tokenizer_free(tok);
    json_decref(doc);
    nb_free(p.tokens);
    nb_free(p.left);
    nb_free(p.right);
    nb_free(p.added);
    return status == NB_OK ? status : nb_err_at(err, status, path, NULL);
}

nb_status nb_tokenizer_from_json(const char *path, nb_tokenizer **out, nb_err *err) {
    nb_tokenizer *tok = NULL;
    char *text;
    size_t len;
    NB_TRY(nb_file_read(path, FILE_LIMIT, &text, &len, err));
    nb_status status = nb__tokenizer_from_text(text, len, path, &tok, err);
    nb_free(text);
    if (status == NB_OK)
        status = read_config(tok, path, err);
    if (status == NB_OK)
        *out = tok;
    else
        nb_tokenizer_free(tok);
    return status;
}
