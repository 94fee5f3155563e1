/* Ids and texts against those of Hugging Face's tokenizers package (tests/golden/README.md). */
#include <string.h>

#include "host/base/file.h"
#include "tests/tokenizer/util.h"

static void check_text(const nb_tokenizer *tok, const nb_ids *ids, bool skip, const char *expected, size_t len, const char *what) {
    nb_str text = {0};
    nb_err err = {0};
    need(nb_detokenize(tok, ids->data, ids->len, skip, &text, &err), &err, what);
    cr_assert_eq(text.len, len, "%s: %zu bytes, expected %zu (skip %d)", what, text.len, len, skip);
    cr_assert(len == 0 || memcmp(text.data, expected, len) == 0, "%s: text differs (skip %d)", what, skip);
    nb_str_free(&text);
}

static void check_hex(const nb_tokenizer *tok, const nb_ids *ids, bool skip, const json_t *hex, const nb_str *otherwise,
                      const char *what) {
    nb_str expected = hex ? from_hex(json_string_value(hex)) : *otherwise;
    check_text(tok, ids, skip, expected.data, expected.len, what);
    if (hex)
        nb_str_free(&expected);
}

/* All cases of NAME.expected.json. cases may be NULL where the file has its own texts. */
static void check_all(const nb_tokenizer *tok, const char *name, bool decoding) {
    json_t *doc = golden_json(name, "expected.json"), *corpus = golden_json("corpus", "json"), *c;
    json_t *cases = json_object_get(doc, "cases"), *decode = json_object_get(doc, "decode");
    size_t i;
    cr_assert_gt(json_array_size(cases), 10);
    json_array_foreach(cases, i, c) {
        const json_t *own = json_object_get(c, "hex");
        const json_t *hex = own ? own : json_object_get(json_array_get(json_object_get(corpus, "cases"), i), "hex");
        char what[128];
        snprintf(what, sizeof what, "%s, case %s", name, json_string_value(json_object_get(c, "name")));
        nb_str text = from_hex(json_string_value(hex));
        nb_ids ids = ids_of(tok, text.data, text.len), with = {0};
        check_ids(&ids, json_object_get(c, "ids"), what);
        cr_assert_eq(nb_tokenize(tok, text.data, text.len, true, &with, NULL), NB_OK);
        const json_t *prefix = json_object_get(doc, "prefix");
        if (decoding) {
            cr_assert_eq(with.len, ids.len + json_array_size(prefix), "%s: what the post-processor adds", what);
            check_hex(tok, &ids, false, json_object_get(c, "decoded"), &text, what);
            check_hex(tok, &ids, true, json_object_get(c, "decoded_skip"), &text, what);
        }
        nb_ids_free(&ids);
        nb_ids_free(&with);
        nb_str_free(&text);
    }
    json_array_foreach(decode, i, c) {
        nb_ids ids = {0};
        const json_t *id;
        size_t k;
        char what[128];
        snprintf(what, sizeof what, "%s, decoding case %zu", name, i);
        json_array_foreach(json_object_get(c, "ids"), k, id)
            nb_ids_add(&ids, (int32_t)json_integer_value(id), NULL);
        if (decoding) {
            check_hex(tok, &ids, false, json_object_get(c, "decoded"), NULL, what);
            check_hex(tok, &ids, true, json_object_get(c, "decoded_skip"), NULL, what);
        }
        nb_ids_free(&ids);
    }
    json_decref(doc);
    json_decref(corpus);
}

static void check_json(const char *name) {
    nb_tokenizer *tok = golden_tokenizer(name);
    check_all(tok, name, true);
    nb_tokenizer_free(tok);
}

/* The same vocabulary as a GGUF file describes it, through the pre-tokenizer's name. */
static void check_named(const char *name, const char *pre) {
    made_vocab m = vocab_of_json(golden_path(name, "json"), pre);
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    need(nb_tokenizer_from_vocab(&m.v, name, &tok, &err), &err, pre);
    check_all(tok, name, false);
    nb_tokenizer_free(tok);
    vocab_free(&m);
}

Test(golden, smollm) { check_json("smollm"); }
Test(golden, gpt2) { check_json("gpt2"); }
Test(golden, llama3) { check_json("llama3"); }
Test(golden, qwen2) { check_json("qwen2"); }
Test(golden, added) { check_json("added"); }
Test(golden, llama2_prepend) { check_json("llama2-prepend"); }
Test(golden, llama2_metaspace) { check_json("llama2-metaspace"); }
Test(golden, gemma) { check_json("gemma"); }
Test(golden, named_smollm) { check_named("smollm", "smollm"); }
Test(golden, named_gpt2) { check_named("gpt2", "gpt-2"); }
Test(golden, named_llama3) { check_named("llama3", "llama-bpe"); }
Test(golden, named_qwen2) { check_named("qwen2", "qwen2"); }
