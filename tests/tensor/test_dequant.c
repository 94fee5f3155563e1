/* The variants of nb_to_f32 give the same bits. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "host/tensor/dtype.h"

/* All bit patterns of binary16, at an odd address, in every length modulo 8. */
Test(dequant, every_f16) {
    enum { COUNT = 0x10000 };
    unsigned char *src = malloc(2 * COUNT + 1);
    float *a = malloc(COUNT * sizeof *a), *b = malloc(COUNT * sizeof *b);
    for (size_t i = 0; i < COUNT; i++) {
        src[1 + 2 * i] = (unsigned char)i;
        src[2 + 2 * i] = (unsigned char)(i >> 8);
    }
    nb_to_f32(NB_F16, src + 1, COUNT, a);
    nb__to_f32_plain(NB_F16, src + 1, COUNT, b);
    cr_assert_eq(memcmp(a, b, COUNT * sizeof *a), 0);
    for (size_t count = 0; count < 20; count++) {
        memset(a, 0x5a, 20 * sizeof *a);
        memset(b, 0x5a, 20 * sizeof *b);
        nb_to_f32(NB_F16, src + 1 + 2 * 0x3c00, count, a);
        nb__to_f32_plain(NB_F16, src + 1 + 2 * 0x3c00, count, b);
        cr_assert_eq(memcmp(a, b, 20 * sizeof *a), 0, "%zu elements", count);
    }
    free(src), free(a), free(b);
}

/* Random bytes are legal blocks of every type: scales become subnormal, infinite and NaN too. */
Test(dequant, random_blocks) {
    enum { BLOCKS = 4096 };
    nb_random r = nb_random_seed(3);
    for (int t = 0; t < NB_DTYPE_COUNT; t++) {
        const nb_dtype_info *info = nb_dtype_get((nb_dtype)t);
        if (!info->to_f32)
            continue;
        size_t bytes = (size_t)BLOCKS * info->block_bytes, count = (size_t)BLOCKS * info->block_elems;
        unsigned char *src = malloc(bytes + 1);
        float *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b);
        for (size_t i = 0; i <= bytes; i++)
            src[i] = (unsigned char)nb_random_u32(&r);
        nb_to_f32((nb_dtype)t, src + 1, count, a);
        nb__to_f32_plain((nb_dtype)t, src + 1, count, b);
        size_t bad = 0;
        for (size_t i = 0; i < count; i++) {
            bool nan = a[i] != a[i] && b[i] != b[i]; /* which NaN of two comes out is the compiler's choice */
            bad += !nan && memcmp(&a[i], &b[i], sizeof *a) != 0;
        }
        cr_assert_eq(bad, 0, "%s: %zu of %zu floats differ", info->name, bad, count);
        free(src), free(a), free(b);
    }
}
