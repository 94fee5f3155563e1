/* Checks of codes, scales and zero points. */
#include <math.h>
#include <stdio.h>

#include "host/base/size.h"
#include "host/cli/verify.h"

typedef struct dims {
    size_t n, k, group;
    unsigned bits;
} dims;

/* Short last groups, groups of one column and of whole rows, widths of all codes, tasks of 16 and 32 rows. */
static const dims shapes[] = {{1, 1, 1, 4},     {16, 64, 32, 4},  {17, 65, 32, 3},   {3, 100, 100, 8},  {33, 129, 16, 2},
                              {32, 128, 128, 4}, {31, 127, 128, 4}, {5, 40, 7, 3},     {64, 96, 64, 8},   {65, 33, 40, 2},
                              {2, 1025, 1024, 4}, {1, 300, 1, 8},  {0, 8, 4, 4},      {129, 260, 64, 4}, {40, 2048, 128, 4},
                              {300, 1000, 96, 3}};
enum { SHAPES = NB_COUNT_OF(shapes), SHAPES_NOW = SHAPES - 2 };

/* Fillings of weights, and one more: whole groups of zeros, and groups that lie on one side of zero. */
enum { FILLINGS = NB_FILL_COUNT + 1 };

#define CASES       .cases = SHAPES_NOW * FILLINGS, .full_cases = (SHAPES - SHAPES_NOW) * FILLINGS
#define FAULTS(...) .faults = (const nb_arg_fault[]){__VA_ARGS__, {NULL, NULL}}
#define LAST_OF(op, member)                                                                                            \
    static void op##_last_##member(nb_any_args *a) {                                                                   \
        a->op.member -= a->op.member > 0;                                                                              \
    }
/* Reads a float array one element further on, as a shifted index does. Such arrays have one element more. */
#define NEXT_OF(op, member)                                                                                            \
    static void op##_next_##member(nb_any_args *a) {                                                                   \
        a->op.member = nb_mem_at(a->op.member, sizeof(float));                                                         \
    }
#define GROUP_OF(op)                                                                                                   \
    static void op##_group(nb_any_args *a) {                                                                           \
        if (a->op.k % a->op.group == 0 || a->op.k / a->op.group < a->op.group)                                         \
            a->op.group += nb_ceil_div(a->op.k, a->op.group + 1) == nb_ceil_div(a->op.k, a->op.group);                 \
    }

static size_t groups_of(dims d) {
    return nb_ceil_div(d.k, d.group);
}

static nb_status add_weights(nb_case *c, size_t index, dims d, nb_mem *field, size_t ld, float **out, nb_err *err) {
    size_t fill = index % FILLINGS;
    float *w;
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, field, d.n, d.k, ld, fill < NB_FILL_COUNT ? (nb_filling)fill : NB_FILL_RANDOM, "W",
                          &w, err));
    for (size_t i = 0; fill == NB_FILL_COUNT && i < d.n; i++)
        for (size_t j = 0; j < d.k; j++) {
            size_t kind = (j / d.group + i) % 4;
            w[i * ld + j] = kind == 0 ? 0.0f : kind == 1 ? fabsf(w[i * ld + j]) : kind == 2 ? -fabsf(w[i * ld + j]) : w[i * ld + j];
        }
    snprintf(c->text, sizeof c->text, "n %zu k %zu, %u bits, group %zu, %s", d.n, d.k, d.bits, d.group,
             fill < NB_FILL_COUNT ? nb_filling_name((nb_filling)fill) : "groups of zeros and of one sign");
    if (out)
        *out = w;
    return NB_OK;
}

static bool symmetric(size_t index) {
    return index % 3 == 1;
}

/* Scales from 1/100 up, now and then a huge or the least one; zero points among the codes, in part not whole numbers. */
static nb_status add_params(nb_case *c, size_t index, dims d, nb_mem *scales, nb_mem *zeros, nb_err *err) {
    size_t count = d.n * groups_of(d);
    float *s = NULL, *z = NULL;
    NB_TRY(nb_case_add(c, NB_ROLE_IN, scales, NB_F32, 1, count + 1, count + 1, "scales", &s, err));
    NB_TRY(nb_case_add(c, NB_ROLE_IN, zeros, NB_F32, 1, count + 1, count + 1, "zeros", &z, err));
    for (size_t i = 0; i < count; i++) {
        s[i] = 0.01f + nb_random_f32(&c->random) / 8;
        if (index % FILLINGS == NB_FILL_HUGE && nb_random_below(&c->random, 7) == 0)
            s[i] = nb_random_below(&c->random, 2) ? 65504.0f : 0x1p-126f;
        if (index % FILLINGS == NB_FILL_DENORMAL)
            s[i] = 0x1p-126f;
        z[i] = symmetric(index)   ? (float)((1u << d.bits) / 2)
               : index % 4 == 3 ? (float)(1u << d.bits) * nb_random_f32(&c->random)
                                : (float)nb_random_below(&c->random, 1u << d.bits);
    }
    return NB_OK;
}

/* In two of five cases the columns' groups are given, in a shuffled order. */
static nb_status add_order(nb_case *c, size_t index, dims d, nb_mem *g_idx, nb_err *err) {
    uint32_t *p = NULL;
    if (index % 5 > 1)
        return NB_OK;
    NB_TRY(nb_case_add(c, NB_ROLE_IN, g_idx, NB_U32, 1, d.k, d.k, "g_idx", &p, err));
    for (size_t j = 0; j < d.k; j++)
        p[j] = nb_random_below(&c->random, (uint32_t)groups_of(d));
    return NB_OK;
}

static nb_status add_codes(nb_case *c, size_t index, dims d, nb_mem *field, nb_err *err) {
    uint8_t *codes = NULL, top = (uint8_t)((1u << d.bits) - 1u);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, field, NB_U8, d.n, d.k, d.k, "codes", &codes, err));
    for (size_t i = 0; i < d.n * d.k; i++)
        codes[i] = index % FILLINGS == NB_FILL_ZEROS && i % 2 ? top : (uint8_t)(nb_random_u32(&c->random) & top);
    return NB_OK;
}

/* ---- group_range and group_search ---- */

static nb_dtype scale_type(size_t index) {
    static const nb_dtype types[] = {NB_F16, NB_F32, NB_BF16, NB_F16};
    return types[index % 4];
}

static nb_status make_group_range(nb_case *c, size_t index, nb_err *err) {
    struct nb_group_range_args *a = &c->args.group_range;
    dims d = shapes[index / FILLINGS];
    *a = (struct nb_group_range_args){.n = d.n, .k = d.k, .group = d.group, .ldw = d.k + index % 3, .bits = d.bits};
    a->symmetric = symmetric(index);
    a->scale_type = scale_type(index);
    NB_TRY(add_weights(c, index, d, &a->w, a->ldw, NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->scales, NB_F32, d.n, groups_of(d), groups_of(d), "scales", NULL, err));
    return nb_case_add(c, NB_ROLE_EXACT, &a->zeros, NB_F32, d.n, groups_of(d), groups_of(d), "zeros", NULL, err);
}

LAST_OF(group_range, n)
LAST_OF(group_range, ldw)
GROUP_OF(group_range)
static void group_range_symmetric(nb_any_args *a) {
    a->group_range.symmetric = !a->group_range.symmetric;
}
static void group_range_bits(nb_any_args *a) {
    a->group_range.bits--;
}
static void group_range_type(nb_any_args *a) {
    a->group_range.scale_type = a->group_range.scale_type == NB_F16 ? NB_F32 : NB_F16;
}
NB_CHECK_ORACLE(group_range)
const nb_check nb_check_group_range = {
    CASES,
    .make = make_group_range,
    .oracle = oracle_group_range,
    FAULTS({"without the last row", group_range_last_n}, {"rows one element early", group_range_last_ldw},
           {"groups of another size", group_range_group}, {"symmetric exchanged", group_range_symmetric},
           {"a bit too few", group_range_bits}, {"another type of scales", group_range_type}),
};

/* The search takes at most NB_REF_MOST_COLUMNS columns a group. */
static nb_status make_group_search(nb_case *c, size_t index, nb_err *err) {
    struct nb_group_search_args *a = &c->args.group_search;
    dims d = shapes[index / FILLINGS];
    *a = (struct nb_group_search_args){.n = d.n, .k = d.k, .group = d.group, .ldw = d.k + index % 3, .bits = d.bits};
    a->symmetric = symmetric(index);
    a->either_sign = a->symmetric && index % 2;
    a->scale_type = scale_type(index);
    a->ldh = d.k + index % 2;
    NB_TRY(add_weights(c, index, d, &a->w, a->ldw, NULL, err));
    if (index % 7 > 1) {
        float *h = NULL;
        NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->h, NB_F32, d.k, d.k, a->ldh, "H", &h, err));
        for (size_t j = 0; j < d.k; j++) /* NaN beside the diagonal */
            h[j * (a->ldh + 1)] = nb_random_below(&c->random, 9) ? nb_random_f32(&c->random) * 30 : 0.0f;
    }
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->scales, NB_F32, d.n, groups_of(d), groups_of(d), "scales", NULL, err));
    return nb_case_add(c, NB_ROLE_EXACT, &a->zeros, NB_F32, d.n, groups_of(d), groups_of(d), "zeros", NULL, err);
}

LAST_OF(group_search, n)
GROUP_OF(group_search)
static void group_search_symmetric(nb_any_args *a) {
    a->group_search.symmetric = !a->group_search.symmetric;
}
static void group_search_sign(nb_any_args *a) {
    a->group_search.either_sign = false;
}
static void group_search_no_h(nb_any_args *a) {
    a->group_search.h = (nb_mem){0};
}
static void group_search_next_h(nb_any_args *a) {
    a->group_search.ldh--;
}
static void group_search_bits(nb_any_args *a) {
    a->group_search.bits--;
}
NB_CHECK_ORACLE(group_search)
const nb_check nb_check_group_search = {
    CASES,
    .make = make_group_search,
    .oracle = oracle_group_search,
    FAULTS({"without the last row", group_search_last_n}, {"groups of another size", group_search_group},
           {"symmetric exchanged", group_search_symmetric}, {"scales of one sign", group_search_sign}, {"without H", group_search_no_h},
           {"beside the diagonal of H", group_search_next_h}, {"a bit too few", group_search_bits}),
};

/* ---- rtn, dequant, quant_error ---- */

/* Every third weight becomes half-way between two codes, or next to it, where a quotient that is not rounded correctly, or half
 * up, gives another code. */
static void near_ties(nb_case *c, const struct nb_rtn_args *a) {
    float *w = (float *)(void *)c->arrays[0].host;
    const float *scales = (const float *)(const void *)c->arrays[1].host;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = i % 3; j < a->k; j += 3) {
            float half = (float)nb_random_below(&c->random, 1u << a->bits) - (float)(1u << (a->bits - 1)) + 0.5f;
            w[i * a->ldw + j] = half * scales[i * nb_ceil_div(a->k, a->group) + j / a->group];
        }
}

static nb_status make_rtn(nb_case *c, size_t index, nb_err *err) {
    struct nb_rtn_args *a = &c->args.rtn;
    dims d = shapes[index / FILLINGS];
    *a = (struct nb_rtn_args){.n = d.n, .k = d.k, .group = d.group, .ldw = d.k + index % 3, .bits = d.bits};
    NB_TRY(add_weights(c, index, d, &a->w, a->ldw, NULL, err));
    NB_TRY(add_params(c, index, d, &a->scales, &a->zeros, err));
    if (index % FILLINGS == NB_FILL_RANDOM)
        near_ties(c, a);
    NB_TRY(add_order(c, index, d, &a->g_idx, err));
    return nb_case_add(c, NB_ROLE_EXACT, &a->codes, NB_U8, d.n, d.k, d.k, "codes", NULL, err);
}

LAST_OF(rtn, n)
LAST_OF(rtn, ldw)
NEXT_OF(rtn, scales)
NEXT_OF(rtn, zeros)
GROUP_OF(rtn)
static void rtn_no_order(nb_any_args *a) {
    a->rtn.g_idx = (nb_mem){0};
}
static void rtn_bits(nb_any_args *a) {
    a->rtn.bits--;
}
NB_CHECK_ORACLE(rtn)
const nb_check nb_check_rtn = {
    CASES,
    .make = make_rtn,
    .oracle = oracle_rtn,
    FAULTS({"without the last row", rtn_last_n}, {"rows one element early", rtn_last_ldw},
           {"the next group's scale", rtn_next_scales}, {"the next group's zero point", rtn_next_zeros},
           {"groups of another size", rtn_group}, {"without the columns' groups", rtn_no_order}, {"a bit too few", rtn_bits}),
};

static nb_status make_dequant(nb_case *c, size_t index, nb_err *err) {
    struct nb_dequant_args *a = &c->args.dequant;
    dims d = shapes[index / FILLINGS];
    *a = (struct nb_dequant_args){.n = d.n, .k = d.k, .group = d.group, .ldw = d.k + index % 3};
    snprintf(c->text, sizeof c->text, "n %zu k %zu, %u bits, group %zu, filling %zu", d.n, d.k, d.bits, d.group,
             index % FILLINGS);
    NB_TRY(add_codes(c, index, d, &a->codes, err));
    NB_TRY(add_params(c, index, d, &a->scales, &a->zeros, err));
    NB_TRY(add_order(c, index, d, &a->g_idx, err));
    return nb_case_add(c, NB_ROLE_EXACT, &a->w, NB_F32, d.n, d.k, a->ldw, "W", NULL, err);
}

LAST_OF(dequant, n)
LAST_OF(dequant, ldw)
NEXT_OF(dequant, scales)
NEXT_OF(dequant, zeros)
GROUP_OF(dequant)
static void dequant_no_order(nb_any_args *a) {
    a->dequant.g_idx = (nb_mem){0};
}
NB_CHECK_ORACLE(dequant)
const nb_check nb_check_dequant = {
    CASES,
    .make = make_dequant,
    .oracle = oracle_dequant,
    FAULTS({"without the last row", dequant_last_n}, {"rows one element early", dequant_last_ldw},
           {"the next group's scale", dequant_next_scales}, {"the next group's zero point", dequant_next_zeros},
           {"groups of another size", dequant_group}, {"without the columns' groups", dequant_no_order}),
};

static nb_status make_quant_error(nb_case *c, size_t index, nb_err *err) {
    struct nb_quant_error_args *a = &c->args.quant_error;
    dims d = shapes[index / FILLINGS];
    *a = (struct nb_quant_error_args){.n = d.n, .k = d.k, .group = d.group, .ldw = d.k + index % 3};
    NB_TRY(add_weights(c, index, d, &a->w, a->ldw, NULL, err));
    NB_TRY(add_codes(c, index, d, &a->codes, err));
    NB_TRY(add_params(c, index, d, &a->scales, &a->zeros, err));
    NB_TRY(add_order(c, index, d, &a->g_idx, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->error, NB_F32, 1, d.n, d.n, "error", NULL, err);
}

LAST_OF(quant_error, n)
LAST_OF(quant_error, ldw)
NEXT_OF(quant_error, scales)
NEXT_OF(quant_error, zeros)
GROUP_OF(quant_error)
static void quant_error_no_order(nb_any_args *a) {
    a->quant_error.g_idx = (nb_mem){0};
}
NB_CHECK_ORACLE(quant_error)
const nb_check nb_check_quant_error = {
    CASES,
    .make = make_quant_error,
    .oracle = oracle_quant_error,
    FAULTS({"without the last row", quant_error_last_n}, {"rows one element early", quant_error_last_ldw},
           {"the next group's scale", quant_error_next_scales}, {"the next group's zero point", quant_error_next_zeros},
           {"groups of another size", quant_error_group}, {"without the columns' groups", quant_error_no_order}),
};
