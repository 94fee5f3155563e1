/* The patterns matched by hand against Oniguruma, the hash maps and the merging against plain versions, UTF-8. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "host/tokenizer/parts.h"
#include "host/tokenizer/unicode.h"
#include "host/tokenizer/utf8.h"
#include "tests/tokenizer/util.h"

/* Every piece of text by hand and by Oniguruma. */
static void compare(nb__pattern p, const nb__regex *regex, nb__regex_scratch *scratch, const char *text, size_t len) {
    for (size_t at = 0; at < len;) {
        size_t start = 0, end = 0, hand = nb__pattern_next(p, text, len, at);
        bool found = false;
        cr_assert_eq(nb__regex_find(regex, scratch, text, len, at, &found, &start, &end, NULL), NB_OK);
        cr_assert(found && start == at && end == hand, "pattern %d at %zu of \"%.*s\": %zu by hand, %zu to %zu by Oniguruma",
                  (int)p, at, (int)(len < 60 ? len : 60), text, hand, start, end);
        at = hand;
    }
}

static nb__regex *regex_of(nb__pattern p) {
    nb__regex *r = NULL;
    cr_assert_eq(nb__regex_new(nb__pattern_text(p), strlen(nb__pattern_text(p)), &r, NULL), NB_OK);
    return r;
}

Test(pattern, random_texts_split_as_oniguruma_splits_them, .timeout = 120) {
    static const uint32_t chars[] = {' ',    ' ',    ' ',    '\n',   '\r',   '\t',   '\'',    's',    'S',     't',     'r',
                                     'e',    'E',    'v',    'l',    'L',    'm',    'd',     'a',    'Z',     '1',     '9',
                                     '.',    '-',    '_',    '<',    0x17F,  0xE9,   0x301,   0x3000, 0x85,    0xA0,    0x2028,
                                     0x4E2D, 0x660,  0xBD,   0x2160, 0x1F600, 0x200D, 0x180E, 0xFEFF, 0x1F3FD, 0x10FFFF, 0x212A,
                                     0,      0x149,  0xFB06, 0x1C5,  0x2B0,  0x903};
    for (int p = 0; p < NB_FAST_COUNT; p++) {
        nb__regex *regex = regex_of((nb__pattern)p);
        nb__regex_scratch scratch = {0};
        nb_random r = nb_random_seed((uint64_t)p);
        for (int round = 0; round < 30000; round++) {
            char text[128];
            size_t len = 0;
            for (uint32_t n = nb_random_below(&r, 24) + 1; n; n--)
                len += nb__utf8_put(chars[nb_random_below(&r, sizeof chars / sizeof *chars)], text + len);
            compare((nb__pattern)p, regex, &scratch, text, len);
        }
        nb__regex_scratch_free(&scratch);
        nb__regex_free(regex);
    }
}

/* Each code point after and before a letter, a digit, a blank and a newline. */
Test(pattern, every_code_point, .timeout = 120) {
    static const char *const around[] = {"a", "1", " ", "\n", "'"};
    for (int p = 0; p < NB_FAST_COUNT; p++) {
        nb__regex *regex = regex_of((nb__pattern)p);
        nb__regex_scratch scratch = {0};
        for (uint32_t first = 0; first < 0x110000; first += 64) {
            char text[64 * 9];
            size_t len = 0;
            for (uint32_t c = first; c < first + 64; c++) {
                if (c >= 0xD800 && c < 0xE000)
                    continue;
                len += nb__utf8_put(c, text + len);
                text[len++] = around[(c + c / 5) % 5][0];
            }
            if (len)
                compare((nb__pattern)p, regex, &scratch, text, len);
        }
        nb__regex_scratch_free(&scratch);
        nb__regex_free(regex);
    }
}

Test(pattern, recognises_its_own_text_only) {
    for (int p = 0; p < NB_FAST_COUNT; p++) {
        const char *text = nb__pattern_text((nb__pattern)p);
        cr_assert_eq((int)nb__pattern_of(text, strlen(text)), p);
        cr_assert_eq((int)nb__pattern_of(text, strlen(text) - 1), NB_FAST_COUNT);
    }
}

Test(unicode, classes) {
    nb__unicode_init();
    cr_assert_eq(nb__class_of('a'), NB_CH_LETTER);
    cr_assert_eq(nb__class_of('7'), NB_CH_NUMBER);
    cr_assert_eq(nb__class_of('\n'), NB_CH_BLANK | NB_CH_NEWLINE);
    cr_assert_eq(nb__class_of(0x2028), NB_CH_BLANK);
    cr_assert_eq(nb__class_of(0x180E), 0, "U+180E is no White_Space");
    cr_assert_eq(nb__class_of(0x301), NB_CH_MARK);
    cr_assert_eq(nb__class_of(0x4E2D), NB_CH_LETTER);
    cr_assert_eq(nb__class_of(0x2160), NB_CH_NUMBER);
    cr_assert_eq(nb__class_of('_'), 0);
    cr_assert(nb__is_numeric(0xBD) && nb__is_numeric(0x660) && !nb__is_numeric('a') && !nb__is_numeric(0x4E00));
    cr_assert(nb__is_word('_') && nb__is_word(0x301) && nb__is_word(0x200D) && !nb__is_word('-') && !nb__is_word(0x1F600));
}

/* Unicode 15, table 3-8 and the examples around it. */
Test(utf8, maximal_subparts_become_one_replacement_each) {
    static const char *const rows[][2] = {
        {"61F1808080C280", "61F1808080C280"},
        {"61F18080E180C262", "61EFBFBDEFBFBDEFBFBD62"},
        {"C0AFE080BFF0818241", "EFBFBDEFBFBDEFBFBDEFBFBDEFBFBDEFBFBDEFBFBDEFBFBD41"},
        {"EDA080EDBFBFEDAF41", "EFBFBDEFBFBDEFBFBDEFBFBDEFBFBDEFBFBDEFBFBDEFBFBD41"},
        {"F4919293FF4180BF42", "EFBFBDEFBFBDEFBFBDEFBFBDEFBFBD41EFBFBDEFBFBD42"},
        {"E180E2F09192F1BF41", "EFBFBDEFBFBDEFBFBDEFBFBD41"},
        {"E282", "EFBFBD"},
        {"F09F9880EFBFBF00", "F09F9880EFBFBF00"},
        {"FEFFC1BFF5", "EFBFBDEFBFBDEFBFBDEFBFBDEFBFBD"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nb_str in = from_hex(rows[i][0]), want = from_hex(rows[i][1]), got = {0};
        cr_assert_eq(nb__utf8_repair(in.data, in.len, &got, NULL), NB_OK);
        cr_assert(got.len == want.len && memcmp(got.data, want.data, got.len) == 0, "row %zu: %zu bytes, expected %zu", i,
                  got.len, want.len);
        nb_str_free(&in);
        nb_str_free(&want);
        nb_str_free(&got);
    }
}

Test(utf8, every_scalar_value_there_and_back) {
    for (uint32_t c = 0; c < 0x110000; c++) {
        char buffer[4];
        uint32_t back;
        bool ok;
        size_t n = nb__utf8_put(c, buffer), m = nb__utf8_next(buffer, n, &back, &ok);
        if (c >= 0xD800 && c < 0xE000)
            cr_assert(!ok, "surrogate %x is taken", c);
        else
            cr_assert(ok && n == m && back == c && nb__utf8_valid(buffer, n) == n && nb__utf8_back(buffer, n) == 0, "%x", c);
    }
}

Test(alphabet, bytes_there_and_back) {
    for (unsigned b = 0; b < 256; b++)
        cr_assert_eq(nb__char_to_byte(nb__byte_to_char((unsigned char)b)), (int)b);
    cr_assert_eq(nb__byte_to_char(0x20), 0x120);
    cr_assert_eq(nb__byte_to_char(0x0A), 0x10A);
    cr_assert_eq(nb__byte_to_char(0x7F), 0x121);
    cr_assert_eq(nb__byte_to_char(0xAD), 0x143);
    cr_assert_eq(nb__char_to_byte(0x144), -1);
    cr_assert_eq(nb__char_to_byte(0x20), -1);
    cr_assert_eq(nb__byte_token("<0x0A>", 6), 10);
    cr_assert_eq(nb__byte_token("<0x-1>", 6), -1);
    cr_assert_eq(nb__byte_token("<0xG0>", 6), -1);
    cr_assert_eq(nb__byte_token("<0x0A> ", 7), -1);
}

/* Merging as the definition says it: again and again the first pair of least rank. */
static size_t plain_merge(const nb__bpe *b, int32_t *ids, size_t n) {
    for (;;) {
        const nb__pair_slot *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const nb__pair_slot *m = nb__pairmap_get(&b->merges, ids[i], ids[i + 1]);
            if (m && (!best || m->rank < best->rank)) {
                best = m;
                at = i;
            }
        }
        if (!best)
            return n;
        ids[at] = best->id;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

Test(bpe, merges_as_the_definition_says, .timeout = 60) {
    nb_tokenizer *tok = golden_tokenizer("gpt2");
    nb__bpe_scratch scratch = {0}, cached = {0};
    nb_random r = nb_random_seed(5);
    cr_assert_eq(nb__bpe_use_cache(&cached, NULL), NB_OK);
    for (int round = 0; round < 4000; round++) {
        char text[200];
        int32_t plain[200];
        size_t len = nb_random_below(&r, round % 2 ? 30 : 199) + 1;
        for (size_t i = 0; i < len; i++) {
            text[i] = " aaeeeettthhhnniioosrdlcum"[nb_random_below(&r, round % 3 ? 26 : 9)];
            plain[i] = tok->bpe.byte_id[(unsigned char)text[i]];
        }
        size_t n = plain_merge(&tok->bpe, plain, len);
        nb__bpe_scratch *use[] = {&scratch, &cached, &cached};
        for (int k = 0; k < 3; k++) {
            nb_ids ids = {0};
            cr_assert_eq(nb__bpe_encode(&tok->bpe, use[k], text, len, &ids, NULL), NB_OK);
            cr_assert(ids.len == n && memcmp(ids.data, plain, n * sizeof *plain) == 0, "\"%.*s\"", (int)len, text);
            nb_ids_free(&ids);
        }
    }
    nb__bpe_scratch_free(&scratch);
    nb__bpe_scratch_free(&cached);
    nb_tokenizer_free(tok);
}

/* A word of a megabyte: each merge takes a symbol away and brings two pairs at most, so there are at most n pairs at the
 * start and 2 (n - 1) later. */
Test(bpe, long_words_take_n_log_n, .timeout = 60) {
    nb_tokenizer *tok = golden_tokenizer("gpt2");
    size_t n = 1 << 20;
    char *text = malloc(n);
    for (int kind = 0; kind < 3; kind++) {
        nb_random r = nb_random_seed(1);
        for (size_t i = 0; i < n; i++)
            text[i] = kind == 0 ? 'a' : kind == 1 ? "the"[i % 3] : (char)('a' + nb_random_below(&r, 26));
        nb__bpe_scratch scratch = {0};
        nb_ids ids = {0};
        nb_str back = {0};
        cr_assert_eq(nb__bpe_encode(&tok->bpe, &scratch, text, n, &ids, NULL), NB_OK);
        cr_assert_lt(scratch.joins, n);
        cr_assert_leq(scratch.pops, 3 * n);
        cr_assert_eq(scratch.joins + ids.len, n);
        cr_assert_eq(nb_detokenize(tok, ids.data, ids.len, false, &back, NULL), NB_OK);
        cr_assert(back.len == n && memcmp(back.data, text, n) == 0);
        nb__bpe_scratch_free(&scratch);
        nb_ids_free(&ids);
        nb_str_free(&back);
    }
    free(text);
    nb_tokenizer_free(tok);
}

Test(map, finds_what_was_put_and_nothing_else) {
    nb__strmap map = {0};
    char keys[1000][8];
    cr_assert_eq(nb__strmap_get(&map, "a", 1), -1);
    cr_assert_eq(nb__strmap_init(&map, 1000, NULL), NB_OK);
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "k%d", i);
        cr_assert(nb__strmap_put(&map, (nb_bytes){keys[i], (size_t)n}, i));
        cr_assert(!nb__strmap_put(&map, (nb_bytes){keys[i], (size_t)n}, -5));
    }
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(nb__strmap_get(&map, keys[i], strlen(keys[i])), i);
    cr_assert_eq(nb__strmap_get(&map, "k1000", 5), -1);
    cr_assert_eq(nb__strmap_get(&map, "", 0), -1);
    nb__strmap_free(&map);
    nb__pairmap pairs = {0};
    cr_assert_null(nb__pairmap_get(&pairs, 1, 2));
    cr_assert_eq(nb__pairmap_init(&pairs, 1000, NULL), NB_OK);
    for (int i = 0; i < 1000; i++)
        nb__pairmap_put(&pairs, i, i * 7, i, i + 1);
    nb__pairmap_put(&pairs, 3, 21, 99, 98);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(nb__pairmap_get(&pairs, i, i * 7)->rank, i == 3 ? 99 : i);
    cr_assert_null(nb__pairmap_get(&pairs, 1, 8));
    cr_assert_eq(pairs.used, 1000);
    nb__pairmap_free(&pairs);
}
