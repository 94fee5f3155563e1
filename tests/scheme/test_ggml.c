/* The gguf scheme: bytes of blocks, round trips, what it refuses. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/random.h"
#include "host/scheme/ggml.h"
#include "host/scheme/scheme.h"

static nb_err err;

static const nb_scheme *ggml(void) {
    return nb_scheme_by_name("gguf");
}

static nb_scheme_config config_of(unsigned bits, bool symmetric, int64_t group) {
    return (nb_scheme_config){.format = "gguf", .bits = bits, .symmetric = symmetric, .group_size = group, .damp = -1};
}

static nb_view view;

static const nb_view *find(void *ctx, const char *name) {
    const nb_packed_tensor *t = ctx;
    char own[64];
    snprintf(own, sizeof own, "p.%s", t->suffix);
    view = (nb_view){"p", t->dtype, t->ndim, {t->dims[0], t->dims[1]}, t->data, t->bytes, 0, "mem"};
    return strcmp(name, own) ? NULL : &view;
}

static nb_packed_tensor pack(const nb_qtensor *q) {
    nb_packed_tensor t;
    size_t count, clamped;
    nb_scheme_config c = config_of(q->bits, q->symmetric, (int64_t)q->group_size);
    cr_assert_eq(ggml()->pack(&c, q, &t, &count, &clamped, &err), NB_OK, "%s", err.text);
    cr_assert(count == 1 && clamped == 0 && t.dtype == NB_U8);
    return t;
}

/* Blocks that the format's description spells out. */
Test(ggml, bytes_of_blocks) {
    nb_qtensor q;
    cr_assert_eq(nb_qtensor_new(1, 32, 4, 32, true, false, &q, NULL), NB_OK);
    q.scales[0] = 1.0f;
    q.zeros[0] = 8.0f;
    for (int i = 0; i < 32; i++)
        q.codes[i] = i < 16 ? 1 : 2;
    nb_packed_tensor t = pack(&q);
    cr_assert_eq(t.bytes, 18);
    cr_assert(!memcmp(t.data, "\x00\x3c\x21\x21\x21\x21\x21\x21\x21\x21\x21\x21\x21\x21\x21\x21\x21\x21", 18));
    cr_assert_str_eq(t.suffix, "q4_0");
    nb_packed_tensors_free(&t, 1);
    q.symmetric = false;
    q.zeros[0] = 3.0f;
    t = pack(&q);
    cr_assert(t.bytes == 20 && !memcmp(t.data, "\x00\x3c\x00\xc2\x21", 5)); /* m = -3 */
    cr_assert_str_eq(t.suffix, "q4_1");
    nb_packed_tensors_free(&t, 1);
    nb_qtensor_free(&q);
    cr_assert_eq(nb_qtensor_new(1, 32, 8, 32, true, false, &q, NULL), NB_OK);
    q.scales[0] = 0.5f;
    q.zeros[0] = 128.0f;
    memset(q.codes, 127, 32);
    t = pack(&q);
    cr_assert(t.bytes == 34 && !memcmp(t.data, "\x00\x38\xff\xff", 4));
    cr_assert_str_eq(t.suffix, "q8_0");
    nb_packed_tensors_free(&t, 1);
    nb_qtensor_free(&q);
}

/* ggml-quants.c's own block of x[i] = ((37 i + 11) mod 101 - 50) / 64. */
Test(ggml, q8_0_is_that_of_ggml) {
    static const unsigned char want[] = {0x4D, 0x1E, 0x9D, 0xFB, 0x59, 0xB6, 0x14, 0x72, 0xD0, 0x2E, 0x8B, 0xE9,
                                         0x47, 0xA5, 0x03, 0x61, 0xBE, 0x1C, 0x7A, 0xD7, 0x35, 0x93, 0xF1, 0x4F,
                                         0xAC, 0x0A, 0x68, 0xC6, 0x24, 0x81, 0xDF, 0x3D, 0x9A, 0xF8};
    float x[32];
    unsigned char got[34];
    for (int i = 0; i < 32; i++)
        x[i] = (float)((37 * i + 11) % 101 - 50) / 64.0f;
    nb_ggml_q8_0(x, 32, got);
    cr_assert(!memcmp(got, want, sizeof want));
    memset(x, 0, sizeof x);
    nb_ggml_q8_0(x, 32, got);
    for (int i = 0; i < 34; i++)
        cr_assert_eq(got[i], 0);
}

static nb_qtensor random_tensor(unsigned bits, bool symmetric, size_t group, uint64_t seed) {
    nb_random r = nb_random_seed(seed);
    nb_qtensor q;
    cr_assert_eq(nb_qtensor_new(5, 192, bits, group, symmetric, false, &q, &err), NB_OK);
    q.scale_type = NB_F16;
    for (size_t i = 0; i < q.n * q.k; i++)
        q.codes[i] = (uint8_t)nb_random_below(&r, 1u << bits);
    for (size_t i = 0; i < q.n * q.groups; i++) {
        float sign = nb_random_below(&r, 2) ? -1.0f : 1.0f; /* scales may have either */
        q.scales[i] = nb_f16_to_f32(nb_f32_to_f16(sign * (0.01f + nb_random_f32(&r))));
        q.zeros[i] = symmetric ? (float)(1u << (bits - 1)) : (float)nb_random_below(&r, 1u << bits);
    }
    return q;
}

/* What our own GGUF reader makes of the blocks, and what the scheme reads back: exact where symmetric; with zero points the
 * offset is rounded to F16, 2^-11 of it. */
Test(ggml, round_trips) {
    static const struct {
        unsigned bits;
        bool symmetric;
        size_t group;
    } cases[] = {{4, true, 32}, {4, true, 64}, {4, true, 192}, {4, false, 32}, {4, false, 96}, {8, true, 32}, {8, true, 64}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        nb_qtensor q = random_tensor(cases[c].bits, cases[c].symmetric, cases[c].group, c), back;
        nb_packed_tensor t = pack(&q);
        nb_scheme_config config = config_of(q.bits, q.symmetric, (int64_t)q.group_size);
        cr_assert(ggml()->has(find, &t, "p"));
        cr_assert_eq(ggml()->read(&config, find, &t, "p", q.n, q.k, &back, &err), NB_OK, "%s", err.text);
        cr_assert(!memcmp(q.codes, back.codes, q.n * q.k));
        float *all = malloc(q.n * q.k * sizeof *all), row[192], again[192];
        nb_to_f32(nb_ggml_type(q.bits, q.symmetric), t.data, q.n * q.k, all);
        for (size_t i = 0; i < q.n; i++) {
            nb_qtensor_row(&q, i, row);
            nb_qtensor_row(&back, i, again);
            for (size_t j = 0; j < q.k; j++) {
                size_t g = i * q.groups + j / q.group_size;
                float m = fabsf(q.zeros[g] * q.scales[g]), bound = q.symmetric ? 0.0f : m * 0x1p-11f;
                float rounding = q.symmetric ? 0.0f : 16.0f * fabsf(q.scales[g]) * 0x1p-22f; /* q d + m in f32 */
                cr_assert_leq(fabsf(all[i * q.k + j] - row[j]), bound + rounding, "case %zu", c);
                cr_assert_leq(fabsf(all[i * q.k + j] - again[j]), rounding, "case %zu", c);
            }
        }
        free(all);
        nb_packed_tensors_free(&t, 1);
        nb_qtensor_free(&q);
        nb_qtensor_free(&back);
    }
}

Test(ggml, refusals) {
    static const struct {
        unsigned bits;
        bool symmetric, act;
        size_t k, group;
        const char *says;
    } cases[] = {{3, true, false, 64, 32, "no block type for 3-bit"}, {8, false, false, 64, 32, "8-bit blocks with zero points"},
                 {4, true, true, 64, 32, "g_idx"},                    {4, true, false, 48, 16, "rows of 48"},
                 {4, true, false, 64, 16, "group size of 16"},        {4, false, false, 96, 64, "group size of 64"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_scheme_config c = config_of(cases[i].bits, cases[i].symmetric, (int64_t)cases[i].group);
        c.desc_act = cases[i].act;
        cr_assert_eq(ggml()->accepts(&c, 8, cases[i].k, cases[i].bits, cases[i].group, cases[i].symmetric, &err), NB_E_UNSUPPORTED);
        cr_assert(strstr(err.text, cases[i].says), "%s", err.text);
    }
    nb_qtensor q = random_tensor(4, true, 32, 9);
    nb_scheme_config c = config_of(4, true, 32);
    nb_packed_tensor t;
    size_t count, clamped;
    q.scales[3] = 1.0f + 0x1p-12f;
    cr_assert_eq(ggml()->pack(&c, &q, &t, &count, &clamped, &err), NB_E_UNSUPPORTED);
    cr_assert(strstr(err.text, "not exact in F16"));
    q.scales[3] = 1.0f;
    q.codes[7] = 16;
    cr_assert_eq(ggml()->pack(&c, &q, &t, &count, &clamped, &err), NB_E_USAGE);
    nb_qtensor_free(&q);
}
