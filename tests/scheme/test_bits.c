/* Bit streams against kernels/layout.h, one code at a time. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "host/scheme/bits.h"
#include "kernels/layout.h"

static void random_codes(nb_random *r, uint8_t *codes, size_t count, unsigned bits) {
    for (size_t i = 0; i < count; i++)
        codes[i] = (uint8_t)nb_random_below(r, 1u << bits);
}

Test(bits, rows_agree_with_layout) {
    nb_random r = nb_random_seed(1);
    for (unsigned bits = 2; bits <= 8; bits++)
        for (size_t count = 0; count <= 200; count++) {
            uint8_t codes[200], back[200 + 8];
            uint32_t words[60], want[60] = {0};
            size_t n = nb__stream_words(count, bits);
            cr_assert_eq(n, (count * bits + 31) / 32);
            random_codes(&r, codes, count, bits);
            memset(words, 0xee, sizeof words);
            memset(back, 0xcc, sizeof back);
            nb__pack_stream(codes, count, bits, words);
            for (size_t i = 0; i < count; i++)
                nb_stream_put(want, (nb_u32)i, bits, codes[i]);
            cr_assert_eq(memcmp(words, want, 4 * n), 0, "%u bits, %zu codes", bits, count);
            cr_assert_eq(words[n], 0xeeeeeeee, "%u bits, %zu codes: written beyond the end", bits, count);
            nb__unpack_stream(words, count, bits, back);
            cr_assert_eq(memcmp(back, codes, count), 0, "%u bits, %zu codes", bits, count);
            cr_assert_eq(back[count], 0xcc, "%u bits, %zu codes: written beyond the end", bits, count);
        }
}

/* Shapes below, at and above the tile of 16 columns and 256 codes. */
Test(bits, columns_agree_with_layout) {
    static const size_t ns[] = {1, 15, 16, 17, 40}, ks[] = {32, 224, 256, 288, 544};
    nb_random r = nb_random_seed(2);
    for (unsigned bits = 2; bits <= 8; bits++)
        for (size_t a = 0; a < 5; a++)
            for (size_t b = 0; b < 5; b++) {
                size_t n = ns[a], k = ks[b], rows = k * bits / 32;
                uint8_t *codes = malloc(n * k), *back = malloc(n * k);
                uint32_t *words = malloc(4 * rows * n + 1), *column = calloc(rows, 4);
                random_codes(&r, codes, n * k, bits);
                nb__pack_columns(codes, n, k, bits, words);
                for (size_t i = 0; i < n; i++) {
                    memset(column, 0, 4 * rows);
                    for (size_t j = 0; j < k; j++)
                        nb_stream_put(column, (nb_u32)j, bits, codes[i * k + j]);
                    for (size_t w = 0; w < rows; w++)
                        cr_assert_eq(words[w * n + i], column[w], "%u bits, %zu x %zu: word %zu of row %zu", bits, n, k, w, i);
                }
                unsigned char *odd = malloc(4 * rows * n + 1); /* files give no alignment */
                memcpy(odd + 1, words, 4 * rows * n);
                nb__unpack_columns(odd + 1, n, k, bits, back);
                cr_assert_eq(memcmp(codes, back, n * k), 0, "%u bits, %zu x %zu", bits, n, k);
                free(codes), free(back), free(words), free(column), free(odd);
            }
}

/* K need not be a multiple of 32 where the width divides the word. */
Test(bits, columns_of_odd_length) {
    static const struct {
        unsigned bits;
        size_t k;
    } cases[] = {{2, 16}, {2, 272}, {4, 8}, {4, 264}, {8, 4}, {8, 260}};
    nb_random r = nb_random_seed(3);
    for (size_t c = 0; c < 6; c++) {
        enum { N = 3 };
        size_t k = cases[c].k;
        uint8_t codes[N * 300], back[N * 300];
        uint32_t words[N * 80];
        random_codes(&r, codes, N * k, cases[c].bits);
        nb__pack_columns(codes, N, k, cases[c].bits, words);
        nb__unpack_columns(words, N, k, cases[c].bits, back);
        cr_assert_eq(memcmp(codes, back, N * k), 0, "%u bits, k %zu", cases[c].bits, k);
    }
}
