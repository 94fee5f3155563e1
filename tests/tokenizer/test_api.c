/* The public calls. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/tokenizer/utf8.h"
#include "tests/tokenizer/util.h"

/* Raw bytes token by token, repaired as a whole, are the decoded text. SentencePiece's decoder turns a broken run of byte
 * tokens into one U+FFFD a byte, so only well-formed texts are compared there. */
static void check_streaming(const char *name, bool broken_too) {
    nb_tokenizer *tok = golden_tokenizer(name);
    json_t *corpus = golden_json("corpus", "json"), *c;
    size_t i;
    json_array_foreach(json_object_get(corpus, "cases"), i, c) {
        nb_str text = from_hex(json_string_value(json_object_get(c, "hex"))), whole = {0}, raw = {0}, repaired = {0};
        nb_ids ids = ids_of(tok, text.data, text.len);
        cr_assert_eq(nb_detokenize(tok, ids.data, ids.len, false, &whole, NULL), NB_OK);
        for (size_t k = 0; k < ids.len; k++)
            cr_assert_eq(nb_token_bytes(tok, ids.data[k], k == 0, &raw, NULL), NB_OK);
        cr_assert_eq(nb__utf8_repair(raw.data, raw.len, &repaired, NULL), NB_OK);
        if (broken_too || nb__utf8_valid(raw.data, raw.len) == raw.len)
            cr_assert(repaired.len == whole.len && (!whole.len || !memcmp(repaired.data, whole.data, whole.len)), "%s, %s", name,
                      json_string_value(json_object_get(c, "name")));
        nb_ids_free(&ids);
        nb_str_free(&text);
        nb_str_free(&whole);
        nb_str_free(&raw);
        nb_str_free(&repaired);
    }
    json_decref(corpus);
    nb_tokenizer_free(tok);
}

Test(api, streaming_gives_the_decoded_text) {
    check_streaming("smollm", true);
    check_streaming("qwen2", true);
    check_streaming("added", true);
    check_streaming("llama2-prepend", false);
    check_streaming("llama2-metaspace", false);
    check_streaming("gemma", false);
}

Test(api, streaming_gives_parts_of_characters) {
    nb_tokenizer *tok = golden_tokenizer("llama2-prepend");
    nb_str out = {0};
    cr_assert_eq(nb_token_bytes(tok, nb_tokenizer_find(tok, "<0xE2>"), false, &out, NULL), NB_OK);
    cr_assert(out.len == 1 && out.data[0] == '\xE2');
    out.len = 0;
    int32_t the = nb_tokenizer_find(tok, "\xE2\x96\x81the");
    cr_assert_geq(the, 0);
    cr_assert_eq(nb_token_bytes(tok, the, true, &out, NULL), NB_OK);
    cr_assert_str_eq(out.data, "the", "the blank in front of the text goes");
    out.len = 0;
    cr_assert_eq(nb_token_bytes(tok, the, false, &out, NULL), NB_OK);
    cr_assert_str_eq(out.data, " the");
    nb_str_free(&out);
    nb_tokenizer_free(tok);
}

/* Text without ill-formed bytes comes back as it was, where nothing normalizes it. */
Test(api, byte_level_round_trip) {
    static const char *const names[] = {"gpt2", "llama3"};
    for (size_t n = 0; n < 2; n++) {
        nb_tokenizer *tok = golden_tokenizer(names[n]);
        json_t *corpus = golden_json("corpus", "json"), *c;
        size_t i, checked = 0;
        json_array_foreach(json_object_get(corpus, "cases"), i, c) {
            nb_str text = from_hex(json_string_value(json_object_get(c, "hex"))), back = {0};
            if (nb__utf8_valid(text.data, text.len) == text.len) {
                nb_ids ids = ids_of(tok, text.data, text.len);
                cr_assert_eq(nb_detokenize(tok, ids.data, ids.len, false, &back, NULL), NB_OK);
                cr_assert(back.len == text.len && (!text.len || !memcmp(back.data, text.data, text.len)), "%s, %s", names[n],
                          json_string_value(json_object_get(c, "name")));
                nb_ids_free(&ids);
                checked++;
            }
            nb_str_free(&text);
            nb_str_free(&back);
        }
        cr_assert_gt(checked, 20);
        json_decref(corpus);
        nb_tokenizer_free(tok);
    }
}

Test(api, special_tokens_and_bos) {
    nb_tokenizer *tok = golden_tokenizer("llama3");
    int32_t bos = nb_tokenizer_find(tok, "<|begin_of_text|>");
    cr_assert_geq(bos, 0);
    cr_assert_eq(nb_tokenizer_bos(tok), bos);
    cr_assert_eq(nb_tokenizer_eos(tok), -1, "no tokenizer_config.json names it");
    cr_assert(nb_tokenizer_adds_bos(tok));
    cr_assert(nb_tokenizer_is_special(tok, bos));
    cr_assert(!nb_tokenizer_is_special(tok, 5));
    cr_assert(!nb_tokenizer_is_special(tok, -1) && !nb_tokenizer_is_special(tok, INT32_MAX));
    cr_assert_eq(nb_tokenizer_find(tok, "no such token"), -1);
    const char *text = "a<|eot_id|>b";
    nb_ids ids = {0};
    nb_str out = {0};
    cr_assert_eq(nb_tokenize(tok, text, strlen(text), true, &ids, NULL), NB_OK);
    cr_assert_eq(ids.len, 4);
    cr_assert_eq(ids.data[0], bos);
    cr_assert_eq(ids.data[2], nb_tokenizer_find(tok, "<|eot_id|>"));
    cr_assert_eq(nb_detokenize(tok, ids.data, ids.len, true, &out, NULL), NB_OK);
    cr_assert_str_eq(out.data, "ab");
    out.len = 0;
    cr_assert_eq(nb_detokenize(tok, ids.data, ids.len, false, &out, NULL), NB_OK);
    cr_assert_str_eq(out.data, "<|begin_of_text|>a<|eot_id|>b");
    nb_ids_free(&ids);
    nb_str_free(&out);
    nb_tokenizer_free(tok);
}

Test(api, config_names_bos_and_eos) {
    static const char *const json = "{\"model\":{\"vocab\":{\"<s>\":0,\"a\":1,\"</s>\":2},\"merges\":[]}}";
    static const struct {
        const char *config;
        int32_t bos, eos;
    } rows[] = {{"{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}", 0, 2},
                {"{\"bos_token\":{\"content\":\"<s>\",\"lstrip\":false},\"eos_token\":{\"content\":\"</s>\"}}", 0, 2},
                {"{\"bos_token\":null,\"eos_token\":\"a\"}", -1, 1},
                {"{}", -1, -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nb_tokenizer *tok = NULL;
        nb_err err = {0};
        need(tokenizer_with_config(json, rows[i].config, &tok, &err), &err, rows[i].config);
        cr_assert_eq(nb_tokenizer_bos(tok), rows[i].bos, "%s", rows[i].config);
        cr_assert_eq(nb_tokenizer_eos(tok), rows[i].eos, "%s", rows[i].config);
        cr_assert(!nb_tokenizer_adds_bos(tok));
        nb_tokenizer_free(tok);
    }
}

Test(api, ids_out_of_range_are_refused) {
    nb_tokenizer *tok = golden_tokenizer("gpt2");
    static const int32_t bad[] = {-1, INT32_MIN, INT32_MAX};
    nb_str out = {0};
    for (size_t i = 0; i < 4; i++) {
        int32_t id = i < 3 ? bad[i] : (int32_t)nb_tokenizer_size(tok);
        nb_err err = {0};
        cr_assert_eq(nb_detokenize(tok, &id, 1, false, &out, &err), NB_E_USAGE);
        cr_assert(strstr(err.text, "1400"), "%s", err.text);
        cr_assert_eq(nb_token_bytes(tok, id, false, &out, &err), NB_E_USAGE);
    }
    cr_assert_eq(out.len, 0);
    nb_str_free(&out);
    nb_tokenizer_free(tok);
}

Test(api, a_failure_leaves_the_ids_as_they_were) {
    /* x+x+y on xxx... backtracks without end; the retry limit ends it. */
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    need(tokenizer_of_text("{\"model\":{\"vocab\":{\"x\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":"
                           "\"Isolated\",\"pattern\":{\"Regex\":\"(x+x+)+y\"}},\"added_tokens\":[]}", &tok, &err), &err, "json");
    nb_ids ids = {0};
    cr_assert_eq(nb_ids_add(&ids, 42, NULL), NB_OK);
    char text[64];
    memset(text, 'x', sizeof text);
    cr_assert_eq(nb_tokenize(tok, text, sizeof text, false, &ids, &err), NB_E_INPUT);
    cr_assert(strstr(err.text, "(x+x+)+y") && strstr(err.text, "retry"), "%s", err.text);
    cr_assert(ids.len == 1 && ids.data[0] == 42);
    cr_assert_eq(nb_tokenize(tok, "xy", 2, false, &ids, &err), NB_OK, "a harmless text still goes");
    cr_assert_eq(ids.len, 2);
    nb_ids_free(&ids);
    nb_tokenizer_free(tok);
}

typedef struct worker {
    const nb_tokenizer *tok;
    const nb_str *text;
    const nb_ids *expected;
    bool same;
} worker;

static void *run_worker(void *arg) {
    worker *w = arg;
    w->same = true;
    for (int i = 0; i < 20; i++) {
        nb_ids ids = {0};
        w->same = w->same && nb_tokenize(w->tok, w->text->data, w->text->len, false, &ids, NULL) == NB_OK &&
                  ids.len == w->expected->len && memcmp(ids.data, w->expected->data, ids.len * sizeof *ids.data) == 0;
        nb_ids_free(&ids);
    }
    return NULL;
}

/* Hand-written pattern, Oniguruma and SentencePiece in eight threads each. */
Test(api, many_threads_get_the_same_ids, .timeout = 60) {
    nb_str text = {0};
    json_t *corpus = golden_json("corpus", "json"), *c;
    size_t i;
    json_array_foreach(json_object_get(corpus, "cases"), i, c) {
        nb_str one = from_hex(json_string_value(json_object_get(c, "hex")));
        cr_assert_eq(nb_str_add(&text, one.data, one.len, NULL), NB_OK);
        nb_str_free(&one);
    }
    json_decref(corpus);
    made_vocab m = vocab_of_json(golden_path("gpt2", "json"), "tekken");
    nb_tokenizer *toks[3] = {golden_tokenizer("qwen2"), golden_tokenizer("llama2-prepend"), NULL};
    cr_assert_eq(nb_tokenizer_from_vocab(&m.v, "tekken", &toks[2], NULL), NB_OK);
    for (int k = 0; k < 3; k++) {
        nb_ids expected = ids_of(toks[k], text.data, text.len);
        worker w[8];
        pthread_t threads[8];
        for (int t = 0; t < 8; t++) {
            w[t] = (worker){toks[k], &text, &expected, false};
            cr_assert_eq(pthread_create(&threads[t], NULL, run_worker, &w[t]), 0);
        }
        for (int t = 0; t < 8; t++) {
            pthread_join(threads[t], NULL);
            cr_assert(w[t].same, "tokenizer %d, thread %d", k, t);
        }
        nb_ids_free(&expected);
        nb_tokenizer_free(toks[k]);
    }
    vocab_free(&m);
    nb_str_free(&text);
}

/* A cache must not change ids: a long text gives what its halves at a safe boundary give. */
Test(api, the_cache_of_words_changes_nothing) {
    nb_tokenizer *tok = golden_tokenizer("gpt2");
    nb_str text = {0};
    nb_ids parts = {0};
    for (int i = 0; i < 600; i++) {
        char word[32];
        int n = snprintf(word, sizeof word, " word%d the lobster", i % 37);
        cr_assert_eq(nb_str_add(&text, word, (size_t)n, NULL), NB_OK);
        cr_assert_eq(nb_tokenize(tok, word, (size_t)n, false, &parts, NULL), NB_OK);
    }
    nb_ids whole = ids_of(tok, text.data, text.len);
    cr_assert(whole.len == parts.len && memcmp(whole.data, parts.data, whole.len * sizeof *whole.data) == 0);
    nb_ids_free(&whole);
    nb_ids_free(&parts);
    nb_str_free(&text);
    nb_tokenizer_free(tok);
}

static nb_bytes b(const char *s) {
    return (nb_bytes){s, strlen(s)};
}

/* SentencePiece by scores: the highest score first, the leftmost of equals, bytes for what is no piece. */
Test(api, sentencepiece_by_scores) {
    nb_bytes tokens[] = {b("<unk>"), b("<s>"), b("a"), b("b"), b("c"), b("ab"), b("bc"), b("aa"), b("<0xC3>"), b("<0xA9>"), b("\xE2\x96\x81")};
    int32_t types[] = {NB_TOKEN_UNKNOWN, NB_TOKEN_CONTROL, 1, 1, 1, 1, 1, 1, NB_TOKEN_BYTE, NB_TOKEN_BYTE, 1};
    float scores[] = {0, 0, -9, -9, -9, -2, -1, -2, 0, 0, -9};
    nb_vocab v = {.kind = NB_VOCAB_SPM, .pre = "default", .size = 11, .tokens = tokens, .types = types, .scores = scores,
                  .bos = 1, .eos = -1, .unk = 0, .pad = -1, .eot = -1, .add_bos = true};
    static const struct {
        const char *text;
        int32_t ids[6];
        size_t count;
    } rows[] = {{"abc", {2, 6}, 2},          {"aab", {7, 3}, 2},       {"aba", {5, 2}, 2}, {"\xC3\xA9", {8, 9}, 2},
                {"a d", {2, 10, 0}, 3},      {"xyz", {0}, 1},          {"x a", {0, 10, 2}, 3},
                {"bcbcab", {6, 6, 5}, 3}};
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    need(nb_tokenizer_from_vocab(&v, "scores", &tok, &err), &err, "scores");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nb_ids ids = ids_of(tok, rows[i].text, strlen(rows[i].text));
        cr_assert(ids.len == rows[i].count && !memcmp(ids.data, rows[i].ids, ids.len * sizeof *ids.data), "\"%s\": %zu ids, first %d",
                  rows[i].text, ids.len, ids.len ? ids.data[0] : -1);
        nb_ids_free(&ids);
    }
    cr_assert(nb_tokenizer_adds_bos(tok));
    nb_tokenizer_free(tok);
}
