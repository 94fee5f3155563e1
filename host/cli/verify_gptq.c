/* Checks of the steps of GPTQ. */
#include <math.h>
#include <nibble/quantize.h>
#include <stdio.h>
#include <string.h>

#include "host/base/size.h"
#include "host/cli/verify.h"

#define FAULTS(...) .faults = (const nb_arg_fault[]){__VA_ARGS__, {NULL, NULL}}
#define LAST_OF(op, member)                                                                                            \
    static void op##_last_##member(nb_any_args *a) {                                                                   \
        a->op.member -= a->op.member > 0;                                                                              \
    }

static nb_status add_status(nb_case *c, nb_mem *field, struct nb_gptq_status before, nb_err *err) {
    unsigned char *p = NULL;
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, field, NB_U32, 1, sizeof before / 4, sizeof before / 4, "status", &p, err));
    memcpy(p, &before, sizeof before);
    return NB_OK;
}

/* 0 .. count - 1, shuffled. */
static nb_status add_permutation(nb_case *c, nb_mem *field, size_t count, nb_err *err) {
    uint32_t *p = NULL;
    NB_TRY(nb_case_add(c, NB_ROLE_IN, field, NB_U32, 1, count, count, "perm", &p, err));
    for (size_t i = 0; i < count; i++)
        p[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) {
        size_t o = nb_random_below(&c->random, (uint32_t)i);
        uint32_t t = p[i - 1];
        p[i - 1] = p[o];
        p[o] = t;
    }
    return NB_OK;
}

/* ---- hessian ---- */

typedef struct hessian_dims {
    size_t rows, k;
} hessian_dims;

/* Around register tiles of 4 to 32, tiles of 224, chunks of 256 rows. */
static const hessian_dims hessians[] = {{1, 1},    {5, 13},   {16, 32},  {33, 33},  {64, 64},   {255, 65}, {256, 17},
                                        {257, 40}, {600, 24}, {0, 31},   {3, 225},  {20, 100},  {7, 129},  {1000, 15},
                                        {70, 449}, {300, 230}};
enum { HESSIANS = NB_COUNT_OF(hessians), HESSIANS_NOW = HESSIANS - 2 };

/* With and without the mirror; onto zeros (the first call) and onto what was there. */
static nb_status make_hessian(nb_case *c, size_t index, nb_err *err) {
    struct nb_hessian_args *a = &c->args.hessian;
    hessian_dims d = hessians[index / NB_FILL_COUNT];
    nb_filling fill = (nb_filling)(index % NB_FILL_COUNT);
    float *h = NULL;
    *a = (struct nb_hessian_args){.rows = d.rows, .k = d.k, .ldx = d.k + index % 3, .ldh = d.k + index % 2};
    a->scale = index % 3 ? 2.0f / 7 : 1.0f;
    a->mirror = index / NB_FILL_COUNT % 2 || d.rows == 0;
    snprintf(c->text, sizeof c->text, "rows %zu columns %zu%s, %s", d.rows, d.k, a->mirror ? ", mirrored" : "",
             nb_filling_name(fill));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->x, d.rows, d.k, a->ldx, fill, "X", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_BOUNDED, &a->h, d.k, d.k, a->ldh, NB_FILL_RANDOM, "H", &h, err));
    for (size_t i = 0; i < d.k; i++)
        for (size_t j = 0; j < d.k && index % 5 == 1; j++)
            h[i * a->ldh + j] = 0.0f;
    return NB_OK;
}

LAST_OF(hessian, rows)
LAST_OF(hessian, k)
static void hessian_scale(nb_any_args *a) {
    a->hessian.scale = 1.0f;
}
static void hessian_mirror(nb_any_args *a) {
    a->hessian.mirror = false;
}
NB_CHECK_ORACLE(hessian)
const nb_check nb_check_hessian = {
    .cases = HESSIANS_NOW * NB_FILL_COUNT,
    .full_cases = (HESSIANS - HESSIANS_NOW) * NB_FILL_COUNT,
    .make = make_hessian,
    .oracle = oracle_hessian,
    FAULTS({"without the last row", hessian_last_rows}, {"without the last column", hessian_last_k},
           {"without the factor", hessian_scale}, {"not mirrored", hessian_mirror}),
};

/* ---- hessian_check ---- */

typedef struct dims {
    size_t n, k;
} dims;

static const dims squares[] = {{1, 1}, {3, 15}, {16, 16}, {17, 33}, {40, 64}, {5, 257}, {0, 12}, {65, 128}, {130, 300}};
enum { SQUARES = NB_COUNT_OF(squares), SQUARES_NOW = SQUARES - 1, HESSIAN_FORMS = 4 };

static float not_a_number(nb_case *c) {
    return nb_random_below(&c->random, 2) ? NAN : nb_random_below(&c->random, 2) ? INFINITY : -INFINITY;
}

/* Diagonals are multiples of 2^-24 below 1, whose sum in f64 no order rounds. Forms: as it should be; dead columns; all dead;
 * dead columns, negative ones and values that are no numbers. */
static nb_status make_hessian_check(nb_case *c, size_t index, nb_err *err) {
    struct nb_hessian_check_args *a = &c->args.hessian_check;
    dims d = squares[index / HESSIAN_FORMS];
    size_t form = index % HESSIAN_FORMS;
    float *h = NULL, *w = NULL;
    *a = (struct nb_hessian_check_args){.n = d.n, .k = d.k, .ldh = d.k + index % 3, .ldw = d.k + index % 2};
    snprintf(c->text, sizeof c->text, "n %zu k %zu, form %zu", d.n, d.k, form);
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->h, d.k, d.k, a->ldh, NB_FILL_RANDOM, "H", &h, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->w, d.n, d.k, a->ldw, NB_FILL_RANDOM, "W", &w, err));
    for (size_t j = 0; j < d.k; j++) {
        float *row = h + j * a->ldh;
        row[j] = fabsf(row[j]) + 0x1p-24f;
        if (form == 2 || (form > 0 && nb_random_below(&c->random, 4) == 0))
            row[j] = 0.0f;
        if (form == 3 && nb_random_below(&c->random, 9) == 0)
            row[j] = -row[j];
        if (form == 3 && j > 0 && nb_random_below(&c->random, 3) == 0)
            row[nb_random_below(&c->random, (uint32_t)j)] = not_a_number(c);
    }
    for (size_t i = 0; i < d.n && form == 3; i++)
        w[i * a->ldw + nb_random_below(&c->random, (uint32_t)d.k)] = not_a_number(c);
    return add_status(c, &a->status, (struct nb_gptq_status){7, 7, 7, 7, 7.0f}, err);
}

LAST_OF(hessian_check, n)
LAST_OF(hessian_check, k)
static void hessian_check_beside(nb_any_args *a) {
    a->hessian_check.ldh -= a->hessian_check.ldh > 1;
}
NB_CHECK_ORACLE(hessian_check)
const nb_check nb_check_hessian_check = {
    .cases = SQUARES_NOW * HESSIAN_FORMS,
    .full_cases = (SQUARES - SQUARES_NOW) * HESSIAN_FORMS,
    .make = make_hessian_check,
    .oracle = oracle_hessian_check,
    FAULTS({"without the last row of W", hessian_check_last_n}, {"without the last column", hessian_check_last_k},
           {"beside the diagonal", hessian_check_beside}),
};

/* ---- column_order ---- */

static const size_t orders[] = {1, 2, 31, 64, 65, 100, 257, 300, 1500};
enum { ORDERS = NB_COUNT_OF(orders), ORDERS_NOW = ORDERS - 1, ORDER_KINDS = 4, ORDER_FORMS = 3 };

/* Forms: different values; many equal ones with zeros; equal ones with NaN. Off the diagonal H is NaN: it must not be read. */
static nb_status make_column_order(nb_case *c, size_t index, nb_err *err) {
    static const size_t groups[] = {32, 1, 7, 128};
    struct nb_column_order_args *a = &c->args.column_order;
    size_t k = orders[index / (ORDER_KINDS * ORDER_FORMS)], form = index / ORDER_KINDS % ORDER_FORMS;
    float *h = NULL;
    *a = (struct nb_column_order_args){.k = k, .group = groups[index / 3 % 4], .order = (unsigned)(index % ORDER_KINDS)};
    a->ldh = k + index % 3;
    snprintf(c->text, sizeof c->text, "k %zu group %zu, order %u, form %zu", k, a->group, a->order, form);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->h, NB_F32, k, k, a->ldh, "H", &h, err));
    for (size_t j = 0; j < k; j++) {
        bool none = form == 2 && nb_random_below(&c->random, 5) == 0;
        h[j * (a->ldh + 1)] = none        ? NAN
                              : form == 0 ? nb_random_f32(&c->random) * 1000
                                          : (float)nb_random_below(&c->random, 6) / 4;
    }
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->perm, NB_U32, 1, k, k, "perm", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->group_of, NB_U32, 1, k, k, "group_of", NULL, err));
    return index % 2 ? NB_OK : nb_case_add(c, NB_ROLE_EXACT, &a->g_idx, NB_U32, 1, k, k, "g_idx", NULL, err);
}

LAST_OF(column_order, k)
static void column_order_group(nb_any_args *a) {
    a->column_order.group++;
}
static void column_order_kind(nb_any_args *a) {
    a->column_order.order = (a->column_order.order + 1) % ORDER_KINDS;
}
NB_CHECK_ORACLE(column_order)
const nb_check nb_check_column_order = {
    .cases = ORDERS_NOW * ORDER_KINDS * ORDER_FORMS,
    .full_cases = (ORDERS - ORDERS_NOW) * ORDER_KINDS * ORDER_FORMS,
    .make = make_column_order,
    .oracle = oracle_column_order,
    FAULTS({"without the last column", column_order_last_k}, {"groups of another size", column_order_group},
           {"another order", column_order_kind}),
};

/* ---- hessian_order ---- */

static nb_status make_hessian_order(nb_case *c, size_t index, nb_err *err) {
    struct nb_hessian_order_args *a = &c->args.hessian_order;
    size_t k = squares[index / 2].k;
    float *h = NULL;
    *a = (struct nb_hessian_order_args){.k = k, .ldh = k + index % 3, .ldf = k + index % 5, .damp = 0.01f};
    snprintf(c->text, sizeof c->text, "k %zu", k);
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->h, k, k, a->ldh, NB_FILL_RANDOM, "H", &h, err));
    for (size_t j = 0; j < k; j++)
        if (nb_random_below(&c->random, 4) == 0)
            h[j * (a->ldh + 1)] = 0.0f;
    NB_TRY(add_permutation(c, &a->perm, k, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->f, NB_F32, k, k, a->ldf, "F", NULL, err));
    return add_status(c, &a->status, (struct nb_gptq_status){1, 2, 3, 4, 0.7071f}, err);
}

LAST_OF(hessian_order, k)
static void hessian_order_damp(nb_any_args *a) {
    a->hessian_order.damp = 0;
}
static void hessian_order_ldh(nb_any_args *a) {
    a->hessian_order.ldh -= a->hessian_order.ldh > 1;
}
NB_CHECK_ORACLE(hessian_order)
const nb_check nb_check_hessian_order = {
    .cases = SQUARES * 2,
    .make = make_hessian_order,
    .oracle = oracle_hessian_order,
    FAULTS({"without the last column", hessian_order_last_k}, {"without damping", hessian_order_damp},
           {"rows of H one element early", hessian_order_ldh}),
};

/* ---- chol_inverse ---- */

static const size_t blocks[] = {1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 63, 64};
enum { BLOCKS = NB_COUNT_OF(blocks), BLOCK_FORMS = 4 };

/* A = R R^T + a diagonal. Forms: well conditioned; less so; a pivot that is not positive; the same where one was found
 * before. Above the diagonal A is NaN: it must not be read. */
static nb_status make_chol_inverse(nb_case *c, size_t index, nb_err *err) {
    struct nb_chol_inverse_args *a = &c->args.chol_inverse;
    size_t k = blocks[index / BLOCK_FORMS], form = index % BLOCK_FORMS;
    float r[NB_CHOL_BLOCK][NB_CHOL_BLOCK], *p = NULL;
    *a = (struct nb_chol_inverse_args){.k = k, .base = index * 3, .lda = k + index % 3};
    snprintf(c->text, sizeof c->text, "k %zu, form %zu", k, form);
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->a, NB_F32, k, k, a->lda, "A", &p, err));
    nb_case_fill(c, &r[0][0], k, k, NB_CHOL_BLOCK, NB_FILL_RANDOM);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = i == j ? (form == 1 ? 1e-3 : 1.0) : 0;
            for (size_t l = 0; l < k; l++)
                sum += (double)r[i][l] * (double)r[j][l];
            p[i * a->lda + j] = (float)sum;
        }
    if (form >= 2)
        p[k / 2 * (a->lda + 1)] = index / BLOCK_FORMS % 2 ? -1.0f : 0.0f;
    return add_status(c, &a->status, (struct nb_gptq_status){1, 2, 3, form == 3 ? 99 : 0, 0.5f}, err);
}

LAST_OF(chol_inverse, k)
static void chol_inverse_base(nb_any_args *a) {
    a->chol_inverse.base++;
}
NB_CHECK_ORACLE(chol_inverse)
const nb_check nb_check_chol_inverse = {
    .cases = BLOCKS * BLOCK_FORMS,
    .make = make_chol_inverse,
    .oracle = oracle_chol_inverse,
    FAULTS({"without the last row", chol_inverse_last_k}, {"the next pivot", chol_inverse_base}),
};

/* ---- gptq_block ---- */

typedef struct block_dims {
    size_t n, k, group, first, cols;
} block_dims;

/* Tasks of 32 rows, runs of 8 columns; groups that begin before the block, in it, and go past it. */
static const block_dims gptq_blocks[] = {{1, 1, 1, 0, 1},       {5, 40, 16, 0, 40},     {32, 64, 32, 0, 32},   {33, 64, 32, 32, 32},
                                         {31, 100, 128, 0, 64}, {64, 130, 40, 65, 65},  {40, 96, 7, 24, 9},    {70, 128, 128, 120, 8},
                                         {9, 257, 64, 250, 7},  {33, 70, 1, 3, 50},     {0, 16, 8, 0, 16},     {3, 300, 100, 90, 128},
                                         {257, 40, 32, 8, 32},  {300, 520, 128, 128, 128}};
enum { GPTQ_BLOCKS = NB_COUNT_OF(gptq_blocks), GPTQ_BLOCKS_NOW = GPTQ_BLOCKS - 1, GPTQ_FORMS = 6 };

/* U: an upper triangle with NaN below, which must not be read. */
static nb_status add_factor(nb_case *c, nb_mem *field, size_t k, size_t ld, nb_err *err) {
    float *u = NULL;
    NB_TRY(nb_case_add(c, NB_ROLE_IN, field, NB_F32, k, k, ld, "U", &u, err));
    for (size_t i = 0; i < k; i++) {
        nb_case_fill(c, u + i * ld + i, 1, k - i, 0, NB_FILL_RANDOM);
        u[i * ld + i] = 1.0f + fabsf(u[i * ld + i]);
    }
    return NB_OK;
}

/* The groups of positions: by position, or (static) of shuffled columns. */
static nb_status add_groups(nb_case *c, nb_mem *field, block_dims d, bool shuffled, nb_err *err) {
    uint32_t *p = NULL;
    NB_TRY(nb_case_add(c, NB_ROLE_IN, field, NB_U32, 1, d.k, d.k, "group_of", &p, err));
    for (size_t i = 0; i < d.k; i++)
        p[i] = (uint32_t)((shuffled ? (i * 7 + 3) % d.k : i) / d.group);
    return NB_OK;
}

/* Parameters that stand already: all where they are static, else those of groups that began before the block. */
static nb_status add_standing(nb_case *c, const block_dims *d, struct nb_gptq_block_args *a, float **scales, nb_err *err) {
    float *s = NULL, *z = NULL;
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->scales, d->n, a->groups, a->groups, NB_FILL_RANDOM, "scales", &s, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->zeros, d->n, a->groups, a->groups, NB_FILL_RANDOM, "zeros", &z, err));
    for (size_t i = 0; i < d->n * a->groups; i++) {
        s[i] = 0.02f + fabsf(s[i]) / 8;
        z[i] = a->symmetric ? (float)(1u << (a->bits - 1)) : (float)nb_random_below(&c->random, 1u << a->bits);
    }
    *scales = s;
    return NB_OK;
}

/* With static parameters the weights of the block's first position become half-way between two codes, or next to it. */
static void near_ties(nb_case *c, const struct nb_gptq_block_args *a, float *wt, const float *scales) {
    uint32_t group = 0;
    for (size_t i = 0; i < c->count; i++)
        if (c->arrays[i].fields[0] == &a->group_of)
            memcpy(&group, c->arrays[i].host + a->first * sizeof group, sizeof group);
    for (size_t i = 0; i < a->n; i++)
        wt[a->first * a->ldw + i] = ((float)nb_random_below(&c->random, 1u << a->bits) - 4.5f) * scales[i * a->groups + group];
}

/* Forms: by range; static; searched; symmetric by range; symmetric and searched, every other one with scales of either sign; by range of
 * weights with huge ones. */
static nb_status make_gptq_block(nb_case *c, size_t index, nb_err *err) {
    static const unsigned widths[] = {4, 3, 8, 2, 4};
    static const nb_dtype types[] = {NB_F16, NB_BF16, NB_F32};
    struct nb_gptq_block_args *a = &c->args.gptq_block;
    block_dims d = gptq_blocks[index / GPTQ_FORMS];
    size_t form = index % GPTQ_FORMS;
    float *h = NULL, *wt = NULL, *scales = NULL;
    *a = (struct nb_gptq_block_args){.n = d.n, .k = d.k, .first = d.first, .cols = d.cols, .bits = widths[index % 5]};
    a->groups = nb_ceil_div(d.k, d.group);
    a->symmetric = form == 3 || form == 4;
    a->static_params = form == 1;
    a->either_sign = form == 4 && index / GPTQ_FORMS % 2;
    a->scale_type = types[index % 3];
    a->ldw = d.n + index % 2, a->ldu = d.k + index % 3, a->ldh = d.k + index % 5, a->lderr = d.n + index % 4;
    snprintf(c->text, sizeof c->text, "n %zu k %zu, positions %zu to %zu, group %zu, %u bits, form %zu", d.n, d.k, d.first,
             d.first + d.cols - 1, d.group, a->bits, form);
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->wt, d.k, d.n, a->ldw, form == 5 ? NB_FILL_HUGE : NB_FILL_RANDOM, "Wt", &wt, err));
    NB_TRY(add_factor(c, &a->u, d.k, a->ldu, err));
    NB_TRY(add_groups(c, &a->group_of, d, form == 1, err));
    if (form == 2 || form == 4) {
        NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->h, NB_F32, d.k, d.k, a->ldh, "H", &h, err));
        for (size_t j = 0; j < d.k; j++)
            h[j * (a->ldh + 1)] = nb_random_below(&c->random, 9) ? nb_random_f32(&c->random) * 30 : 0.0f;
        NB_TRY(add_permutation(c, &a->perm, d.k, err));
    }
    NB_TRY(add_standing(c, &d, a, &scales, err));
    if (form == 1)
        near_ties(c, a, wt, scales);
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->codes, NB_U8, d.k, d.n, d.n, "codes", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->err, NB_F32, d.cols, d.n, a->lderr, "err", NULL, err));
    return nb_case_floats(c, NB_ROLE_EXACT, &a->loss, 1, d.n, d.n, NB_FILL_RANDOM, "loss", NULL, err);
}

LAST_OF(gptq_block, cols)
static void gptq_block_bits(nb_any_args *a) {
    a->gptq_block.bits--;
}
static void gptq_block_static(nb_any_args *a) {
    a->gptq_block.static_params = !a->gptq_block.static_params;
}
static void gptq_block_no_search(nb_any_args *a) {
    a->gptq_block.h = (nb_mem){0};
}
static void gptq_block_symmetric(nb_any_args *a) {
    a->gptq_block.symmetric = !a->gptq_block.symmetric;
}
static void gptq_block_sign(nb_any_args *a) {
    a->gptq_block.either_sign = false;
}
static void gptq_block_ldu(nb_any_args *a) {
    a->gptq_block.ldu -= a->gptq_block.ldu > 1;
}
static void gptq_block_type(nb_any_args *a) {
    a->gptq_block.scale_type = a->gptq_block.scale_type == NB_F32 ? NB_F16 : NB_F32;
}
NB_CHECK_ORACLE(gptq_block)
const nb_check nb_check_gptq_block = {
    .cases = GPTQ_BLOCKS_NOW * GPTQ_FORMS,
    .full_cases = (GPTQ_BLOCKS - GPTQ_BLOCKS_NOW) * GPTQ_FORMS,
    .make = make_gptq_block,
    .oracle = oracle_gptq_block,
    FAULTS({"without the last position", gptq_block_last_cols}, {"a bit too few", gptq_block_bits},
           {"standing parameters taken or not", gptq_block_static}, {"without the search", gptq_block_no_search},
           {"symmetric exchanged", gptq_block_symmetric}, {"scales of one sign", gptq_block_sign}, {"rows of U one element early", gptq_block_ldu},
           {"another type of scales", gptq_block_type}),
};
