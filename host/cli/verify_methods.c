/* Checks of coordinate descent and of half-quadratic quantization. */
#include <math.h>
#include <stdio.h>

#include "host/base/size.h"
#include "host/cli/verify.h"

#define FAULTS(...) .faults = (const nb_arg_fault[]){__VA_ARGS__, {NULL, NULL}}
#define LAST_OF(op, member)                                                                                            \
    static void op##_last_##member(nb_any_args *a) {                                                                   \
        a->op.member -= a->op.member > 0;                                                                              \
    }

/* ---- descent_block ---- */

typedef struct block_dims {
    size_t n, k, group, first, cols;
} block_dims;

/* Tasks of 16 rows; groups that lie in the block, and that go past it on either side. */
static const block_dims blocks[] = {{1, 1, 1, 0, 1},      {5, 40, 16, 0, 40},   {16, 64, 32, 32, 32}, {17, 65, 32, 0, 65},
                                    {33, 96, 40, 16, 64}, {3, 100, 7, 30, 33},  {8, 130, 128, 0, 130}, {0, 16, 8, 0, 16},
                                    {15, 31, 31, 0, 31},  {300, 160, 64, 0, 128}};
enum { BLOCKS = NB_COUNT_OF(blocks), BLOCKS_NOW = BLOCKS - 1, FORMS = 4 };

/* A symmetric H with a dominant diagonal, and columns of zeros. */
static void fill_symmetric(nb_case *c, float *h, size_t k, size_t ld) {
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            float x = nb_random_f32(&c->random) - 0.5f;
            h[i * ld + j] = h[j * ld + i] = i == j ? (float)k * (0.6f + x) : x;
        }
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; i % 11 == 5 && j < k; j++)
            h[i * ld + j] = h[j * ld + i] = 0.0f;
}

/* Forms: codes alone; with parameters, whole zero points; with parameters, symmetric; codes with the columns' groups given.
 * Only the block's columns of g are numbers. */
static nb_status make_descent_block(nb_case *c, size_t index, nb_err *err) {
    static const unsigned widths[] = {4, 3, 8, 2, 4};
    static const nb_dtype types[] = {NB_F16, NB_BF16, NB_F32};
    struct nb_descent_block_args *a = &c->args.descent_block;
    block_dims d = blocks[index / FORMS];
    size_t form = index % FORMS, groups = nb_ceil_div(d.k, d.group);
    float *g = NULL, *h = NULL, *s = NULL, *z = NULL;
    uint8_t *codes = NULL;
    uint32_t *g_idx = NULL;
    *a = (struct nb_descent_block_args){.n = d.n, .k = d.k, .group = d.group, .first = d.first, .cols = d.cols};
    a->bits = widths[index % 5];
    a->symmetric = form == 2;
    a->params = form == 1 || form == 2;
    a->scale_type = types[index % 3];
    a->ldg = d.k + index % 2, a->ldh = d.k + index % 3, a->ldd = d.cols + index % 4;
    snprintf(c->text, sizeof c->text, "n %zu k %zu, columns %zu to %zu, group %zu, %u bits, form %zu", d.n, d.k, d.first,
             d.first + d.cols - 1, d.group, a->bits, form);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->g, NB_F32, d.n, d.k, a->ldg, "g", &g, err));
    for (size_t i = 0; i < d.n; i++)
        for (size_t j = d.first; j < d.first + d.cols; j++)
            g[i * a->ldg + j] = (float)d.k * 0.1f * (nb_random_f32(&c->random) - 0.5f);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->h, NB_F32, d.k, d.k, a->ldh, "H", &h, err));
    fill_symmetric(c, h, d.k, a->ldh);
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->codes, NB_U8, d.n, d.k, d.k, "codes", &codes, err));
    for (size_t i = 0; i < d.n * d.k; i++)
        codes[i] = (uint8_t)nb_random_below(&c->random, 1u << a->bits);
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->scales, NB_F32, d.n, groups, groups, "scales", &s, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->zeros, NB_F32, d.n, groups, groups, "zeros", &z, err));
    for (size_t i = 0; i < d.n * groups; i++) {
        s[i] = 0.02f + nb_random_f32(&c->random) / 16;
        z[i] = a->symmetric ? (float)(1u << (a->bits - 1)) : (float)nb_random_below(&c->random, 1u << a->bits);
    }
    if (form == 3) {
        NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->g_idx, NB_U32, 1, d.k, d.k, "g_idx", &g_idx, err));
        for (size_t j = 0; j < d.k; j++)
            g_idx[j] = nb_random_below(&c->random, (uint32_t)groups);
    }
    return nb_case_add(c, NB_ROLE_EXACT, &a->delta, NB_F32, d.n, d.cols, a->ldd, "delta", NULL, err);
}

LAST_OF(descent_block, n)
LAST_OF(descent_block, cols)
static void descent_block_codes_alone(nb_any_args *a) {
    a->descent_block.params = false;
}
static void descent_block_symmetric(nb_any_args *a) {
    a->descent_block.symmetric = !a->descent_block.symmetric;
}
static void descent_block_bits(nb_any_args *a) {
    a->descent_block.bits--;
}
static void descent_block_ldh(nb_any_args *a) {
    a->descent_block.ldh -= a->descent_block.ldh > 1;
}
static void descent_block_no_order(nb_any_args *a) {
    a->descent_block.g_idx = (nb_mem){0};
}
static void descent_block_type(nb_any_args *a) {
    a->descent_block.scale_type = a->descent_block.scale_type == NB_F32 ? NB_F16 : NB_F32;
}
NB_CHECK_ORACLE(descent_block)
const nb_check nb_check_descent_block = {
    .cases = BLOCKS_NOW * FORMS,
    .full_cases = (BLOCKS - BLOCKS_NOW) * FORMS,
    .make = make_descent_block,
    .oracle = oracle_descent_block,
    FAULTS({"without the last row", descent_block_last_n}, {"without the last column", descent_block_last_cols},
           {"parameters left alone", descent_block_codes_alone}, {"symmetric exchanged", descent_block_symmetric},
           {"a bit too few", descent_block_bits}, {"rows of H one element early", descent_block_ldh},
           {"without the columns' groups", descent_block_no_order}, {"another type of scales", descent_block_type}),
};

/* ---- keep_rows ---- */

typedef struct row_dims {
    size_t rows, bytes;
} row_dims;

static const row_dims kept[] = {{1, 1}, {3, 7}, {64, 16}, {65, 33}, {130, 100}, {2, 4099}, {0, 5}, {7, 0}, {1000, 64}, {70, 4}};
enum { KEPT = NB_COUNT_OF(kept) };

/* Errors below, above, equal, and NaN. A row of one float may be after itself, which is then kept or put back. */
static nb_status make_keep_rows(nb_case *c, size_t index, nb_err *err) {
    struct nb_keep_rows_args *a = &c->args.keep_rows;
    row_dims d = kept[index / 2];
    float *before = NULL, *after = NULL;
    unsigned char *p[2] = {NULL, NULL};
    *a = (struct nb_keep_rows_args){.rows = d.rows, .row_bytes = d.bytes};
    snprintf(c->text, sizeof c->text, "%zu rows of %zu bytes", d.rows, d.bytes);
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->before, 1, d.rows, d.rows, NB_FILL_RANDOM, "before", &before, err));
    bool in_place = d.bytes == sizeof(float) && index % 2;
    NB_TRY(nb_case_floats(c, in_place ? NB_ROLE_EXACT : NB_ROLE_IN, &a->after, 1, d.rows, d.rows, NB_FILL_RANDOM, "after", &after, err));
    if (in_place)
        nb_case_alias(c, &a->dst);
    for (size_t i = 0; i < d.rows; i++)
        after[i] = i % 5 == 1 ? before[i] : i % 7 == 3 ? NAN : after[i];
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->src, NB_U8, d.rows, d.bytes, d.bytes, "src", &p[0], err));
    if (!in_place)
        NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->dst, NB_U8, d.rows, d.bytes, d.bytes, "dst", &p[1], err));
    for (size_t i = 0; i < d.rows * d.bytes; i++)
        for (size_t s = 0; s < (in_place ? 1 : 2); s++)
            p[s][i] = (unsigned char)nb_random_u32(&c->random);
    return NB_OK;
}

LAST_OF(keep_rows, rows)
static void keep_rows_exchanged(nb_any_args *a) {
    nb_mem before = a->keep_rows.before;
    a->keep_rows.before = a->keep_rows.after;
    a->keep_rows.after = before;
}
static void keep_rows_short(nb_any_args *a) {
    a->keep_rows.row_bytes -= a->keep_rows.row_bytes > 0;
}
NB_CHECK_ORACLE(keep_rows)
const nb_check nb_check_keep_rows = {
    .cases = KEPT * 2,
    .make = make_keep_rows,
    .oracle = oracle_keep_rows,
    FAULTS({"without the last row", keep_rows_last_rows}, {"before and after exchanged", keep_rows_exchanged},
           {"rows a byte short", keep_rows_short}),
};

/* ---- hqq ---- */

typedef struct dims {
    size_t n, k, group;
    unsigned bits;
} dims;

static const dims shapes[] = {{1, 1, 1, 4},    {8, 64, 32, 4},  {9, 65, 32, 3},   {3, 100, 100, 8}, {7, 129, 16, 2},
                              {17, 40, 7, 3},  {2, 1025, 512, 4}, {0, 8, 4, 4}, {33, 260, 64, 4}, {100, 512, 128, 3}};
enum { SHAPES = NB_COUNT_OF(shapes), SHAPES_NOW = SHAPES - 1, HQQ_FORMS = 5 };

/* Weights are multiples of 2^-12 below 1/2, so that sums in f64 of what is made of them have room to be exact. Forms: whole zero
 * points; real ones; real ones with larger weights, whose errors are shrunk; groups of one value and of one sign; whole ones with
 * larger weights. Where errors are shrunk a few iterations keep the bound small. */
static nb_status make_hqq(nb_case *c, size_t index, nb_err *err) {
    static const nb_dtype types[] = {NB_F16, NB_F32, NB_BF16};
    struct nb_hqq_args *a = &c->args.hqq;
    dims d = shapes[index / HQQ_FORMS];
    size_t form = index % HQQ_FORMS, groups = nb_ceil_div(d.k, d.group);
    float *w = NULL;
    *a = (struct nb_hqq_args){.n = d.n, .k = d.k, .group = d.group, .bits = d.bits, .ldw = d.k + index % 3, .iterations = 20};
    a->float_zeros = form == 1 || form == 2;
    if (form == 2)
        a->iterations = 3;
    a->scale_type = types[index % 3];
    snprintf(c->text, sizeof c->text, "n %zu k %zu, %u bits, group %zu, form %zu", d.n, d.k, d.bits, d.group, form);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->w, NB_F32, d.n, d.k, a->ldw, "W", &w, err));
    for (size_t i = 0; i < d.n; i++)
        for (size_t j = 0; j < d.k; j++) {
            float x = (float)((int)nb_random_below(&c->random, 4001) - 2000) * 0x1p-12f;
            size_t kind = (j / d.group + i) % 3;
            if (form == 3)
                x = kind == 0 ? 0.25f : kind == 1 ? fabsf(x) : x;
            w[i * a->ldw + j] = form == 2 || form == 4 ? x * 16 : x;
        }
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->codes, NB_U8, d.n, d.k, d.k, "codes", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->scales, NB_F32, d.n, groups, groups, "scales", NULL, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->zeros, NB_F32, d.n, groups, groups, "zeros", NULL, err);
}

LAST_OF(hqq, n)
static void hqq_no_iteration(nb_any_args *a) {
    a->hqq.iterations = 0;
}
static void hqq_zeros(nb_any_args *a) {
    a->hqq.float_zeros = !a->hqq.float_zeros;
}
static void hqq_bits(nb_any_args *a) {
    a->hqq.bits--;
}
static void hqq_ldw(nb_any_args *a) {
    a->hqq.ldw--;
}
static void hqq_type(nb_any_args *a) {
    a->hqq.scale_type = a->hqq.scale_type == NB_F32 ? NB_F16 : NB_F32;
}
NB_CHECK_ORACLE(hqq)
const nb_check nb_check_hqq = {
    .cases = SHAPES_NOW * HQQ_FORMS,
    .full_cases = (SHAPES - SHAPES_NOW) * HQQ_FORMS,
    .make = make_hqq,
    .oracle = oracle_hqq,
    FAULTS({"without the last row", hqq_last_n}, {"without the iteration", hqq_no_iteration},
           {"whole zero points for real ones", hqq_zeros}, {"a bit too few", hqq_bits},
           {"rows one element early", hqq_ldw}, {"another type of scales", hqq_type}),
};
