#include <criterion/criterion.h>
#include <stdio.h>
#include <math.h>
#include <string.h>

#include "host/tensor/dtype.h"
#include "host/tensor/qtensor.h"

Test(f16, every_value_survives) {
    for (uint32_t h = 0; h < 0x10000; h++) {
        float x = nb_f16_to_f32((uint16_t)h);
        if (x != x)
            cr_assert(nb_f16_to_f32(nb_f32_to_f16(x)) != x + 0.0f);
        else
            cr_assert_eq(nb_f32_to_f16(x), h, "0x%04x", h);
    }
}

/* Between two neighbours the middle goes to the even one, all else to the nearer. */
Test(f16, rounding_is_half_to_even) {
    for (uint32_t h = 0; h < 0x7bff; h++) {
        double a = (double)nb_f16_to_f32((uint16_t)h), b = (double)nb_f16_to_f32((uint16_t)(h + 1));
        float mid = (float)((a + b) / 2), below = nextafterf(mid, 0.0f), above = nextafterf(mid, 1e9f);
        uint16_t even = (uint16_t)(h % 2 ? h + 1 : h);
        cr_assert_eq(nb_f32_to_f16(mid), even, "middle above 0x%04x", h);
        cr_assert_eq(nb_f32_to_f16(below), h);
        cr_assert_eq(nb_f32_to_f16(above), h + 1);
    }
    cr_assert_eq(nb_f32_to_f16(65519.996f), 0x7bff);
    cr_assert_eq(nb_f32_to_f16(65520.0f), 0x7c00);
    cr_assert_eq(nb_f32_to_f16(-1e30f), 0xfc00);
}

Test(bf16, rounding_is_half_to_even) {
    union {
        uint32_t u;
        float f;
    } v;
    for (uint32_t h = 0; h < 0x7f80; h += 3) {
        v.u = h << 16 | 0x8000u;
        cr_assert_eq(nb_f32_to_bf16(v.f), h + (h & 1));
        v.u = h << 16 | 0x7fffu;
        cr_assert_eq(nb_f32_to_bf16(v.f), h);
        v.u = h << 16 | 0x8001u;
        cr_assert_eq(nb_f32_to_bf16(v.f), h + 1);
    }
    cr_assert(isnan(nb_bf16_to_f32(nb_f32_to_bf16(NAN))));
}

static size_t from_hex(const char *hex, uint8_t *out) {
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        sscanf(hex + 2 * i, "%2x", &v);
        out[i] = (uint8_t)v;
    }
    return n;
}

/* Blocks that ggml's quantizers made of x[i] = ((37 i + 11) mod 101 - 50) / 64: decoded values must lie within the
 * step of the type. The exact decode is compared to gguf-py's in the container's tests. */
Test(gguf_blocks, known_blocks_decode_near_their_source) {
    static const struct {
        nb_dtype type;
        double tolerance;
        const char *hex;
    } cases[] = {
        {NB_Q4_0, 0.11, "402EF258BE1379DF359BF147AC0268CE248A"},
        {NB_Q4_1, 0.06, "892E40BAF257BD1379CF358AE146AC0268BD2479"},
        {NB_Q5_0, 0.05, "402AB4B4A525F4BF7B27E3AE5A16D19D4904C08C38F4"},
        {NB_Q5_1, 0.03, "532A40BAB4B4A525F3BF6B27E2AE5A16D19D4904C07C38F3"},
        {NB_Q8_0, 0.004, "4D1E9DFB59B61472D02E8BE947A50361BE1C7AD73593F14FAC0A68C62481DF3D9AF8"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint8_t block[64];
        float out[32];
        cr_assert_eq(from_hex(cases[c].hex, block), nb_dtype_get(cases[c].type)->block_bytes);
        nb_to_f32(cases[c].type, block, 32, out);
        for (int i = 0; i < 32; i++)
            cr_assert_float_eq(out[i], (float)((37 * i + 11) % 101 - 50) / 64.0f, cases[c].tolerance, "%s element %d",
                               nb_dtype_get(cases[c].type)->name, i);
    }
}

Test(dtype, sizes_are_checked) {
    size_t bytes = 1;
    cr_assert(nb_dtype_bytes(NB_Q4_K, 512, &bytes) && bytes == 288);
    cr_assert(!nb_dtype_bytes(NB_Q4_K, 100, &bytes));
    cr_assert(!nb_dtype_bytes(NB_F32, SIZE_MAX / 2, &bytes));
}

Test(qtensor, settings_are_checked) {
    nb_qtensor q;
    nb_err err = {0};
    cr_assert_eq(nb_qtensor_new(4, 8, 9, 4, true, false, &q, &err), NB_E_USAGE);
    cr_assert_eq(nb_qtensor_new(4, 8, 4, 0, true, false, &q, &err), NB_E_USAGE);
    cr_assert_eq(nb_qtensor_new(0, 8, 4, 4, true, false, &q, &err), NB_E_USAGE);
    cr_assert_eq(nb_qtensor_new(SIZE_MAX / 2, 8, 4, 4, true, false, &q, &err), NB_E_MEMORY);
    cr_assert_eq(nb_qtensor_new(4, 9, 4, 4, false, true, &q, &err), NB_OK);
    cr_assert_eq(q.groups, 3);
    nb_qtensor_free(&q);
}
