#include "tests/tokenizer/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/base/file.h"

void need(nb_status status, const nb_err *err, const char *what) {
    char line[1024];
    nb_err_line(err, line, sizeof line);
    cr_assert_eq(status, NB_OK, "%s: %s", what, line);
}

const char *golden_path(const char *name, const char *suffix) {
    static char path[512];
    snprintf(path, sizeof path, "%s/golden/tok/%s.%s", NB_TEST_DATA, name, suffix);
    return path;
}

nb_tokenizer *golden_tokenizer(const char *name) {
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    need(nb_tokenizer_from_json(golden_path(name, "json"), &tok, &err), &err, name);
    return tok;
}

json_t *golden_json(const char *name, const char *suffix) {
    json_t *v = NULL;
    nb_err err = {0};
    need(nb_json_read(golden_path(name, suffix), 1 << 26, &v, &err), &err, name);
    return v;
}

nb_str from_hex(const char *hex) {
    nb_str s = {0};
    cr_assert_eq(nb_str_add(&s, "", 0, NULL), NB_OK);
    for (; hex[0] && hex[1]; hex += 2) {
        char two[3] = {hex[0], hex[1], 0}, c = (char)strtoul(two, NULL, 16);
        cr_assert_eq(nb_str_add(&s, &c, 1, NULL), NB_OK);
    }
    return s;
}

nb_ids ids_of(const nb_tokenizer *tok, const char *text, size_t len) {
    nb_ids ids = {0};
    nb_err err = {0};
    need(nb_tokenize(tok, text, len, false, &ids, &err), &err, "nb_tokenize");
    return ids;
}

void check_ids(const nb_ids *ids, const json_t *expected, const char *what) {
    size_t n = json_array_size(expected);
    for (size_t i = 0; i < ids->len && i < n; i++)
        cr_assert_eq(ids->data[i], json_integer_value(json_array_get(expected, i)), "%s: id %zu is %ld, expected %ld", what, i,
                     (long)ids->data[i], (long)json_integer_value(json_array_get(expected, i)));
    cr_assert_eq(ids->len, n, "%s: %zu ids, expected %zu", what, ids->len, n);
}

static void write_text(const char *dir, const char *name, const char *text) {
    char path[96];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

nb_status tokenizer_with_config(const char *json, const char *config, nb_tokenizer **out, nb_err *err) {
    char dir[] = "/tmp/nibble-tok-XXXXXX", path[96];
    cr_assert_not_null(mkdtemp(dir));
    write_text(dir, "tokenizer.json", json);
    if (config)
        write_text(dir, "tokenizer_config.json", config);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    nb_status status = nb_tokenizer_from_json(path, out, err);
    nb_dir_remove(dir, NULL);
    return status;
}

nb_status tokenizer_of_text(const char *json, nb_tokenizer **out, nb_err *err) {
    return tokenizer_with_config(json, NULL, out, err);
}

made_vocab vocab_of_json(const char *path, const char *pre) {
    made_vocab m = {.v = {.kind = NB_VOCAB_BPE, .pre = pre, .bos = -1, .eos = -1, .unk = -1, .pad = -1, .eot = -1}};
    nb_err err = {0};
    need(nb_json_read(path, 1 << 26, &m.doc, &err), &err, path);
    json_t *model = json_object_get(m.doc, "model"), *vocab = json_object_get(model, "vocab"), *id, *a;
    json_t *merges = json_object_get(model, "merges"), *added = json_object_get(m.doc, "added_tokens");
    const char *name;
    size_t i, room = 2 * json_object_size(vocab) + json_array_size(added);
    m.v.tokens = calloc(room, sizeof *m.v.tokens);
    m.v.types = calloc(room, sizeof *m.v.types);
    m.v.merges = calloc(json_array_size(merges), sizeof *m.v.merges);
    json_object_foreach(vocab, name, id) {
        size_t at = (size_t)json_integer_value(id);
        m.v.tokens[at] = (nb_bytes){name, strlen(name)};
        m.v.types[at] = NB_TOKEN_NORMAL;
        m.v.size = at + 1 > m.v.size ? at + 1 : m.v.size;
    }
    json_array_foreach(added, i, a) {
        size_t at = (size_t)json_integer_value(json_object_get(a, "id"));
        m.v.tokens[at] = (nb_bytes){json_string_value(json_object_get(a, "content")), json_string_length(json_object_get(a, "content"))};
        m.v.types[at] = json_is_true(json_object_get(a, "special")) ? NB_TOKEN_CONTROL : NB_TOKEN_USER;
        m.v.size = at + 1 > m.v.size ? at + 1 : m.v.size;
    }
    size_t total = 1;
    json_array_foreach(merges, i, a)
        total += json_is_string(a) ? 0 : json_string_length(json_array_get(a, 0)) + json_string_length(json_array_get(a, 1)) + 1;
    m.text.data = malloc(total);
    m.text.room = total;
    json_array_foreach(merges, i, a) {
        if (json_is_string(a)) {
            m.v.merges[i] = (nb_bytes){json_string_value(a), json_string_length(a)};
            continue;
        }
        size_t at = m.text.len;
        nb_str_addf(&m.text, NULL, "%s %s", json_string_value(json_array_get(a, 0)), json_string_value(json_array_get(a, 1)));
        m.v.merges[i] = (nb_bytes){m.text.data + at, m.text.len - at};
    }
    m.v.n_merges = json_array_size(merges);
    return m;
}

void vocab_free(made_vocab *m) {
    free(m->v.tokens);
    free(m->v.types);
    free(m->v.merges);
    nb_str_free(&m->text);
    json_decref(m->doc);
}
