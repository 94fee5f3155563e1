/* Checks of dense products. */
#include <math.h>
#include <stdio.h>

#include "host/base/size.h"
#include "host/cli/verify.h"

typedef struct dims {
    size_t m, n, k;
} dims;

/* At, below, above and at multiples of the tiles: 4x8, 6x16 and 14x32 on the CPU with slabs of 256 columns, 8 to 128 wide
 * elsewhere; then those that cost more. */
static const dims products[] = {
    {1, 1, 1},     {6, 16, 256},   {14, 32, 257}, {15, 33, 40},   {5, 300, 31},  {3, 17, 1000},
    {510, 9, 20},  {70, 257, 130}, {0, 5, 7},     {4, 0, 9},      {4, 8, 8},     {7, 15, 16},
    {16, 16, 16},  {17, 31, 33},   {64, 64, 64},  {65, 63, 127},  {128, 128, 8}, {129, 127, 65},
    {2, 64, 2049}, {13, 47, 255},  {256, 256, 96}, {255, 513, 70}, {300, 200, 600},
};
enum { PRODUCTS = NB_COUNT_OF(products), PRODUCTS_NOW = PRODUCTS - 3 };

/* Both transpositions of both operands, with alpha and beta, padded rows, and each filling. */
static nb_status make_matmul(nb_case *c, size_t index, nb_err *err) {
    struct nb_matmul_args *a = &c->args.matmul;
    dims d = products[index / 4];
    nb_filling fill = (nb_filling)(index / 3 % NB_FILL_COUNT);
    size_t pad = index % 5;
    *a = (struct nb_matmul_args){.m = d.m, .n = d.n, .k = d.k, .trans_a = index & 1, .trans_b = index & 2};
    a->alpha = index % 3 ? 1.0f : -0.75f;
    a->beta = index % 7 == 1 ? 1.0f : index % 7 == 4 ? 0.5f : 0.0f;
    a->lower = d.m == d.n && index % 4 == 2;
    a->lda = (a->trans_a ? d.m : d.k) + pad;
    a->ldb = (a->trans_b ? d.k : d.n) + 3 * pad;
    a->ldc = d.n + 2 * pad;
    snprintf(c->text, sizeof c->text, "m %zu n %zu k %zu, A%s B%s, alpha %g, beta %g%s, %s", d.m, d.n, d.k,
             a->trans_a ? "^T" : "", a->trans_b ? "^T" : "", (double)a->alpha, (double)a->beta, a->lower ? ", lower" : "",
             nb_filling_name(fill));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->a, a->trans_a ? d.k : d.m, a->trans_a ? d.m : d.k, a->lda, fill, "A", NULL,
                          err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->b, a->trans_b ? d.n : d.k, a->trans_b ? d.k : d.n, a->ldb, NB_FILL_RANDOM,
                          "B", NULL, err));
    if (a->beta == 0.0f)
        return nb_case_add(c, NB_ROLE_BOUNDED, &a->c, NB_F32, d.m, d.n, a->ldc, "C", NULL, err);
    return nb_case_floats(c, NB_ROLE_BOUNDED, &a->c, d.m, d.n, a->ldc, NB_FILL_RANDOM, "C", NULL, err);
}

static void matmul_last_term(nb_any_args *a) {
    a->matmul.k--;
}
static void matmul_last_column(nb_any_args *a) {
    a->matmul.n -= a->matmul.n > 0;
}
static void matmul_last_row(nb_any_args *a) {
    a->matmul.m -= a->matmul.m > 0;
}
static void matmul_alpha(nb_any_args *a) {
    a->matmul.alpha = 1.0f;
}
static void matmul_beta(nb_any_args *a) {
    a->matmul.beta = 0.0f;
}
static void matmul_packed_rows(nb_any_args *a) {
    a->matmul.lda = a->matmul.trans_a ? a->matmul.m : a->matmul.k;
}

NB_CHECK_ORACLE(matmul)
const nb_check nb_check_matmul = {
    .cases = PRODUCTS_NOW * 4,
    .full_cases = (PRODUCTS - PRODUCTS_NOW) * 4,
    .make = make_matmul,
    .oracle = oracle_matmul,
    .faults = (const nb_arg_fault[]){{"without the last term of the sum", matmul_last_term},
                                     {"without the last column", matmul_last_column},
                                     {"without the last row", matmul_last_row},
                                     {"without alpha", matmul_alpha},
                                     {"without beta", matmul_beta},
                                     {"rows of A taken as packed", matmul_packed_rows},
                                     {NULL, NULL}},
};

/* ---- linear ---- */

static const nb_dtype weight_types[] = {NB_F32,  NB_F16,  NB_BF16, NB_Q8_0, NB_Q4_0, NB_Q4_1,
                                         NB_Q5_0, NB_Q5_1, NB_Q4_K, NB_Q5_K, NB_Q6_K};
enum { TYPES = NB_COUNT_OF(weight_types) };

static nb_status make_linear(nb_case *c, size_t index, nb_err *err) {
    struct nb_linear_args *a = &c->args.linear;
    dims d = products[index / TYPES];
    nb_dtype type = weight_types[index % TYPES];
    const nb_dtype_info *t = nb_dtype_get(type);
    nb_filling fill = (nb_filling)(index / 3 % NB_FILL_COUNT);
    unsigned char *w = NULL;
    float *bias = NULL;
    d.k = nb_ceil_div(d.k, t->block_elems) * t->block_elems;
    size_t blocks = d.n * (d.k / t->block_elems);
    *a = (struct nb_linear_args){.m = d.m, .n = d.n, .k = d.k, .w_type = type, .accumulate = index % 3 == 1};
    a->ldx = d.k + index % 4;
    a->ldy = d.n + index % 3;
    snprintf(c->text, sizeof c->text, "m %zu n %zu k %zu, weights %s%s%s, %s", d.m, d.n, d.k, t->name,
             index % 2 ? ", bias" : "", a->accumulate ? ", accumulate" : "", nb_filling_name(fill));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->x, d.m, d.k, a->ldx, fill, "X", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->w, NB_U8, 1, blocks * t->block_bytes, blocks * t->block_bytes, "W", &w, err));
    nb_case_stored(c, type, blocks, w);
    if (index % 2) { /* one more, which nothing may read */
        NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->bias, NB_F32, 1, d.n + 1, d.n + 1, "bias", &bias, err));
        nb_case_fill(c, bias, 1, d.n, d.n, NB_FILL_RANDOM);
    }
    if (a->accumulate)
        return nb_case_floats(c, NB_ROLE_BOUNDED, &a->y, d.m, d.n, a->ldy, NB_FILL_RANDOM, "Y", NULL, err);
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->y, NB_F32, d.m, d.n, a->ldy, "Y", NULL, err);
}

static void linear_last_column(nb_any_args *a) {
    a->linear.n -= a->linear.n > 0;
}
static void linear_last_row(nb_any_args *a) {
    a->linear.m -= a->linear.m > 0;
}
static void linear_bias(nb_any_args *a) {
    a->linear.bias = (nb_mem){0};
}
static void linear_bias_index(nb_any_args *a) {
    if (a->linear.bias.base)
        a->linear.bias = nb_mem_at(a->linear.bias, sizeof(float));
}
static void linear_accumulate(nb_any_args *a) {
    a->linear.accumulate = false;
}
static void linear_type(nb_any_args *a) {
    if (a->linear.w_type == NB_F16)
        a->linear.w_type = NB_BF16;
}

NB_CHECK_ORACLE(linear)
const nb_check nb_check_linear = {
    .cases = PRODUCTS_NOW * TYPES,
    .full_cases = (PRODUCTS - PRODUCTS_NOW) * TYPES,
    .make = make_linear,
    .oracle = oracle_linear,
    .faults = (const nb_arg_fault[]){{"without the last column", linear_last_column},
                                     {"without the last row", linear_last_row},
                                     {"without the bias", linear_bias},
                                     {"the next column's bias", linear_bias_index},
                                     {"without what was there", linear_accumulate},
                                     {"another type of weights", linear_type},
                                     {NULL, NULL}},
};
