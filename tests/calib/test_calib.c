/* Calibration text to windows. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/file.h"
#include "host/calib/calib.h"

static char dir[64];

static void setup(void) {
    strcpy(dir, "/tmp/nibble-calib-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void teardown(void) {
    nb_dir_remove(dir, NULL);
}

TestSuite(calib, .init = setup, .fini = teardown);

static const char *file_of(const void *data, size_t len) {
    static char path[96];
    snprintf(path, sizeof path, "%s/text", dir);
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(data, 1, len, f), len);
    fclose(f);
    return path;
}

static const char *text_of(const char *text) {
    return file_of(text, strlen(text));
}

static nb_tokenizer *golden(const char *name) {
    char path[512], line[512];
    nb_tokenizer *tok = NULL;
    nb_err err = {0};
    snprintf(path, sizeof path, "%s/golden/tok/%s.json", NB_TEST_DATA, name);
    nb_status status = nb_tokenizer_from_json(path, &tok, &err);
    nb_err_line(&err, line, sizeof line);
    cr_assert_eq(status, NB_OK, "%s", line);
    return tok;
}

/* A tokenizer of single letters, with <s> = 0 and </s> = 1 as bos and eos; a = 2, b = 3, ... A template puts <s> in front
 * where bos is set. */
static nb_tokenizer *letters(bool bos) {
    char path[96];
    nb_str s = {0};
    nb_tokenizer *tok = NULL;
    nb_str_addf(&s, NULL, "{\"model\":{\"merges\":[],\"vocab\":{\"<s>\":0,\"</s>\":1");
    for (int i = 0; i < 26; i++)
        nb_str_addf(&s, NULL, ",\"%c\":%d", 'a' + i, i + 2);
    nb_str_addf(&s, NULL, "}},\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true},{\"id\":1,\"content\":\"</s>\",\"special\":true}]");
    if (bos)
        nb_str_addf(&s, NULL, ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
                    "{\"Sequence\":{\"id\":\"A\"}}],\"special_tokens\":{\"<s>\":{\"ids\":[0]}}}");
    nb_str_addf(&s, NULL, "}");
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    const char *config = "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\"}";
    cr_assert_eq(nb_file_write(path, config, strlen(config), NULL), NB_OK);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    cr_assert_eq(nb_file_write(path, s.data, s.len, NULL), NB_OK);
    cr_assert_eq(nb_tokenizer_from_json(path, &tok, NULL), NB_OK);
    nb_str_free(&s);
    return tok;
}

static nb_windows windows_of(const nb_tokenizer *tok, const char *path, size_t samples, size_t seq_len, uint64_t seed) {
    nb_calib_options o = {samples, seq_len, seed};
    nb_windows w = {0};
    nb_err err = {0};
    char line[1024];
    nb_status status = nb_calib_file(tok, path, &o, &w, &err);
    nb_err_line(&err, line, sizeof line);
    cr_assert_eq(status, NB_OK, "%s", line);
    return w;
}

static void check_ids(const nb_windows *w, const int32_t *expected, size_t count, const char *what) {
    cr_assert_eq(w->samples * w->seq_len, count, "%s", what);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(w->ids[i], expected[i], "%s: id %zu is %d, expected %d", what, i, w->ids[i], expected[i]);
}

Test(calib, plain_text_is_cut_in_order) {
    nb_tokenizer *tok = letters(false);
    nb_windows w = windows_of(tok, text_of("abcdefgh"), 2, 3, 7);
    static const int32_t all[] = {2, 3, 4, 5, 6, 7};
    check_ids(&w, all, 6, "all windows there are");
    cr_assert_eq(w.text_tokens, 8);
    cr_assert_eq(w.replaced, 0);
    nb_windows_free(&w);
    cr_assert_null(w.ids);
    nb_tokenizer_free(tok);
}

Test(calib, each_window_begins_with_bos_where_the_model_uses_it) {
    nb_tokenizer *tok = letters(true);
    nb_windows w = windows_of(tok, text_of("abcdefg"), 3, 3, 7);
    static const int32_t all[] = {0, 2, 3, 0, 4, 5, 0, 6, 7};
    check_ids(&w, all, 9, "bos");
    nb_windows_free(&w);
    nb_tokenizer_free(tok);
}

Test(calib, json_lines_are_joined_by_eos) {
    nb_tokenizer *tok = letters(false);
    nb_windows w = windows_of(tok, text_of("{\"text\": \"ab\", \"id\": 3}\r\n\n  \n{\"text\":\"\"}\n{\"text\":\"c\"}"), 1, 5, 7);
    static const int32_t all[] = {2, 3, 1, 1, 4};
    check_ids(&w, all, 5, "json lines");
    nb_windows_free(&w);
    nb_tokenizer_free(tok);
}

Test(calib, added_tokens_in_the_text_are_found) {
    nb_tokenizer *tok = letters(false);
    nb_windows w = windows_of(tok, text_of("ab</s>c"), 1, 4, 7);
    static const int32_t all[] = {2, 3, 1, 4};
    check_ids(&w, all, 4, "</s>");
    nb_windows_free(&w);
    nb_tokenizer_free(tok);
}

/* Each seed draws distinct windows of the text in order; over many seeds each window comes equally often. */
Test(calib, windows_are_drawn_evenly_and_in_order) {
    enum { WINDOWS = 20, TAKE = 5, SEEDS = 4000 };
    nb_tokenizer *tok = letters(false);
    static int hits[WINDOWS];
    int32_t ids[WINDOWS];
    for (int i = 0; i < WINDOWS; i++)
        ids[i] = i;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        nb_calib_options o = {TAKE, 1, seed};
        nb_windows w = {0};
        cr_assert_eq(nb_windows_draw(tok, ids, WINDOWS, &o, &w, NULL), NB_OK);
        for (size_t k = 0; k < TAKE; k++) {
            cr_assert(w.ids[k] >= 0 && w.ids[k] < WINDOWS && (k == 0 || w.ids[k] > w.ids[k - 1]));
            hits[w.ids[k]]++;
        }
        nb_windows_free(&w);
    }
    /* Binomial with p = 1/4: mean 1000, standard deviation 27.4; five of them. */
    for (int i = 0; i < WINDOWS; i++)
        cr_assert(abs(hits[i] - SEEDS * TAKE / WINDOWS) < 137, "window %d: %d times", i, hits[i]);
    nb_tokenizer_free(tok);
}

Test(calib, the_same_seed_gives_the_same_hash_and_another_another) {
    nb_tokenizer *tok = golden("smollm");
    nb_str text = {0};
    for (int i = 0; i < 3000; i++)
        nb_str_addf(&text, NULL, "word %d and its %d lobsters\n", i, i * i % 97);
    const char *path = file_of(text.data, text.len);
    nb_windows a = windows_of(tok, path, 8, 64, 1), b = windows_of(tok, path, 8, 64, 1), c = windows_of(tok, path, 8, 64, 2);
    nb_windows d = windows_of(tok, path, 16, 32, 1);
    char ha[NB_HASH_TEXT], hb[NB_HASH_TEXT], hc[NB_HASH_TEXT], hd[NB_HASH_TEXT];
    nb_windows_hash(&a, ha);
    nb_windows_hash(&b, hb);
    nb_windows_hash(&c, hc);
    nb_windows_hash(&d, hd);
    cr_assert_str_eq(ha, hb);
    cr_assert_str_neq(ha, hc);
    cr_assert_str_neq(ha, hd);
    /* The same ids in another shape are another input. */
    nb_windows e = a;
    e.samples = 16;
    e.seq_len = 32;
    nb_windows_hash(&e, hd);
    cr_assert_str_neq(ha, hd);
    a.ids[5]++;
    nb_windows_hash(&a, hb);
    cr_assert_str_neq(ha, hb);
    nb_windows_free(&a);
    nb_windows_free(&b);
    nb_windows_free(&c);
    nb_windows_free(&d);
    nb_str_free(&text);
    nb_tokenizer_free(tok);
}

Test(calib, byte_order_mark_is_passed_over) {
    nb_tokenizer *tok = golden("gpt2");
    nb_windows with = windows_of(tok, text_of("\xEF\xBB\xBFthe lobster"), 1, 3, 1);
    nb_windows without = windows_of(tok, text_of("the lobster"), 1, 3, 1);
    check_ids(&with, without.ids, 3, "mark");
    nb_windows_free(&with);
    nb_windows_free(&without);
    with = windows_of(tok, text_of("\xEF\xBB\xBF{\"text\":\"the lobster\"}"), 1, 3, 1);
    without = windows_of(tok, text_of("{\"text\":\"the lobster\"}"), 1, 3, 1);
    check_ids(&with, without.ids, 3, "mark before JSON");
    nb_windows_free(&with);
    nb_windows_free(&without);
    nb_tokenizer_free(tok);
}

Test(calib, ill_formed_bytes_are_read_as_replacement_and_counted) {
    nb_tokenizer *tok = golden("gpt2");
    nb_windows bad = windows_of(tok, text_of("caf\xE9 \xE2\x82 x\xFF"), 1, 8, 1);
    nb_windows good = windows_of(tok, text_of("caf\xEF\xBF\xBD \xEF\xBF\xBD x\xEF\xBF\xBD"), 1, 8, 1);
    check_ids(&bad, good.ids, 8, "replaced");
    cr_assert_eq(bad.replaced, 3);
    cr_assert_eq(good.replaced, 0);
    nb_windows_free(&bad);
    nb_windows_free(&good);
    nb_tokenizer_free(tok);
}

/* The numbers are those of the list of bad inputs. */
Test(calib, bad_files) {
    static const struct {
        const char *name, *data;
        size_t len;
        const char *words[3];
    } rows[] = {
        {"41 empty", "", 0, {"empty"}},
        {"41 a byte order mark alone", "\xEF\xBB\xBF", 3, {"empty"}},
        {"42 shorter than a window", "ab", 2, {"has 2 tokens", "need 4"}},
        {"42 empty documents", "{\"text\":\"\"}\n", 12, {"has 0 tokens"}},
        {"43 NUL", "abcdef\0gh", 9, {"NUL", "byte 6"}},
        {"43 UTF-16 LE", "\xFF\xFE" "a\0b\0", 6, {"UTF-16"}},
        {"43 UTF-16 BE", "\xFE\xFF\0a\0b", 6, {"UTF-16"}},
        {"43 ill-formed JSON line", "{\"text\":\"a\xFF\"}", 13, {"line 1", "0xff"}},
        {"broken JSON line", "{\"text\":\"aaaa\"}\n{\"text\":\n", 25, {"line 2"}},
        {"text after a JSON line", "{\"text\":\"aaaa\"}\nabc", 19, {"line 2"}},
        {"no text", "{\"txt\":\"aaaa\"}", 14, {"line 1", "\"text\""}},
        {"text a number", "{\"text\":3}", 10, {"line 1", "\"text\""}},
        {"NUL in a string", "{\"text\":\"a\\u0000b\"}", 19, {"line 1"}},
    };
    nb_tokenizer *tok = letters(false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nb_calib_options o = {2, 2, 1};
        nb_windows w = {0};
        nb_err err = {0};
        char line[1024];
        const char *path = file_of(rows[i].data, rows[i].len);
        cr_assert_eq(nb_calib_file(tok, path, &o, &w, &err), NB_E_INPUT, "%s", rows[i].name);
        nb_err_line(&err, line, sizeof line);
        cr_assert_str_eq(err.path, path, "%s", rows[i].name);
        for (int k = 0; k < 3 && rows[i].words[k]; k++)
            cr_assert(strstr(line, rows[i].words[k]), "%s: no \"%s\" in \"%s\"", rows[i].name, rows[i].words[k], line);
        cr_assert_null(w.ids, "%s", rows[i].name);
    }
    nb_tokenizer_free(tok);
}

Test(calib, bad_options) {
    static const nb_calib_options rows[] = {{0, 8, 1}, {1, 0, 1}, {SIZE_MAX, 8, 1}, {8, SIZE_MAX, 1}, {UINT32_MAX, UINT32_MAX, 1}};
    for (int bos = 0; bos < 2; bos++) {
        nb_tokenizer *tok = letters(bos);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            nb_windows w = {0};
            nb_err err = {0};
            nb_status status = nb_calib_file(tok, text_of("abcdefgh"), &rows[i], &w, &err);
            cr_assert_eq(status, i < 4 ? NB_E_USAGE : NB_E_INPUT, "row %zu: %s", i, err.text);
            cr_assert_null(w.ids);
        }
        nb_calib_options o = {1, 1, 1}; /* room for BOS and nothing else */
        nb_windows w = {0};
        cr_assert_eq(nb_calib_file(tok, text_of("abcdefgh"), &o, &w, NULL), bos ? NB_E_USAGE : NB_OK);
        nb_windows_free(&w);
        nb_tokenizer_free(tok);
    }
}

Test(calib, unreadable_files) {
    nb_tokenizer *tok = letters(false);
    nb_calib_options o = {1, 1, 1};
    nb_windows w = {0};
    nb_err err = {0};
    cr_assert_neq(nb_calib_file(tok, "/nonexistent/text", &o, &w, &err), NB_OK);
    cr_assert_str_eq(err.path, "/nonexistent/text");
    cr_assert_neq(nb_calib_file(tok, dir, &o, &w, &err), NB_OK, "a folder is no text");
    cr_assert_null(w.ids);
    nb_tokenizer_free(tok);
}
