/* Each class of normalizer, pre-tokenizer and decoder by itself, and the pipelines that tokenizer.ggml.pre names, against
 * the tokenizers package (tests/golden/make_tok_steps.py). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tokenizer/util.h"

/* The recorded document lists characters in id order; the pairs of the first nine (after <unk>), and their merges, are
 * made here as the script makes them. */
static nb_tokenizer *tokenizer_of(const json_t *recorded) {
    json_t *doc = json_deep_copy(recorded), *model = json_object_get(doc, "model");
    json_t *list = json_object_get(model, "vocab"), *vocab = json_object(), *merges = json_array(), *c;
    size_t i, first = 1, count = 9;
    json_array_foreach(list, i, c)
        json_object_set_new(vocab, json_string_value(c), json_integer((json_int_t)i));
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < count; b++) {
            const char *l = json_string_value(json_array_get(list, first + a)), *r = json_string_value(json_array_get(list, first + b));
            char pair[16];
            snprintf(pair, sizeof pair, "%s%s", l, r);
            json_object_set_new(vocab, pair, json_integer((json_int_t)json_object_size(vocab)));
            json_array_append_new(merges, json_pack("[s,s]", l, r));
        }
    json_object_set_new(model, "vocab", vocab);
    json_object_set_new(model, "merges", merges);
    char *text = json_dumps(doc, 0);
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    need(tokenizer_of_text(text, &tok, &err), &err, "a recorded tokenizer");
    free(text);
    json_decref(doc);
    return tok;
}

/* All recorded tokenizers whose name begins with prefix; at least `least` of them. */
static void check_steps(const char *prefix, size_t least) {
    json_t *all = golden_json("steps", "expected.json"), *row, *c;
    size_t i, k, seen = 0;
    json_array_foreach(json_object_get(all, "steps"), i, row) {
        const char *name = json_string_value(json_object_get(row, "name"));
        if (!nb_starts_with(name, prefix))
            continue;
        seen++;
        nb_tokenizer *tok = tokenizer_of(json_object_get(row, "doc"));
        json_array_foreach(json_object_get(row, "cases"), k, c) {
            nb_str text = from_hex(json_string_value(json_object_get(c, "hex"))), decoded = {0};
            nb_str expected = from_hex(json_string_value(json_object_get(c, "decoded")));
            char what[160];
            snprintf(what, sizeof what, "%s, \"%s\"", name, text.data);
            nb_ids ids = ids_of(tok, text.data, text.len);
            check_ids(&ids, json_object_get(c, "ids"), what);
            cr_assert_eq(nb_detokenize(tok, ids.data, ids.len, false, &decoded, NULL), NB_OK);
            cr_assert(decoded.len == expected.len && (!decoded.len || !memcmp(decoded.data, expected.data, decoded.len)),
                      "%s: decoded \"%s\", expected \"%s\"", what, decoded.data ? decoded.data : "", expected.data);
            nb_ids_free(&ids);
            nb_str_free(&text);
            nb_str_free(&decoded);
            nb_str_free(&expected);
        }
        nb_tokenizer_free(tok);
    }
    cr_assert_geq(seen, least);
    json_decref(all);
}

Test(steps, split) { check_steps("split ", 50); }
Test(steps, metaspace) { check_steps("metaspace ", 7); }
Test(steps, digits) { check_steps("digits ", 2); }
Test(steps, unknown_characters) { check_steps("unknown, ", 2); }
Test(steps, unicode_forms) { check_steps("NF", 4); }
Test(steps, replace) { check_steps("replace", 1); }
Test(steps, prepend) { check_steps("prepend, ", 1); }
Test(steps, decoders) {
    check_steps("decode ", 1);
    check_steps("strip each", 2);
}

static uint32_t fnv(const nb_ids *ids) {
    uint32_t h = 0x811C9DC5u;
    for (size_t i = 0; i < ids->len; i++)
        for (int b = 0; b < 4; b++)
            h = (h ^ ((uint32_t)ids->data[i] >> 8 * b & 0xFF)) * 0x01000193u;
    return h;
}

Test(steps, presets) {
    json_t *all = golden_json("steps", "expected.json"), *corpus = golden_json("corpus", "json"), *row, *c;
    size_t i, k;
    cr_assert_geq(json_array_size(json_object_get(all, "presets")), 6);
    json_array_foreach(json_object_get(all, "presets"), i, row) {
        const char *pre = json_string_value(json_object_get(row, "pre"));
        made_vocab m = vocab_of_json(golden_path("gpt2", "json"), pre);
        nb_tokenizer *tok = NULL;
        nb_err err = {0};
        need(nb_tokenizer_from_vocab(&m.v, pre, &tok, &err), &err, pre);
        json_array_foreach(json_object_get(corpus, "cases"), k, c) {
            nb_str text = from_hex(json_string_value(json_object_get(c, "hex")));
            nb_ids ids = ids_of(tok, text.data, text.len);
            const char *name = json_string_value(json_object_get(c, "name"));
            size_t count = (size_t)json_integer_value(json_array_get(json_object_get(row, "counts"), k));
            cr_assert_eq(ids.len, count, "%s, %s: %zu ids, expected %zu", pre, name, ids.len, count);
            cr_assert_eq(fnv(&ids), json_integer_value(json_array_get(json_object_get(row, "fnv"), k)), "%s, %s", pre, name);
            nb_ids_free(&ids);
            nb_str_free(&text);
        }
        nb_tokenizer_free(tok);
        vocab_free(&m);
    }
    json_decref(all);
    json_decref(corpus);
}
