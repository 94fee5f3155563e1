/* Checks of elementwise operations, of sums of rows and columns, and of moves. */
#include <stdio.h>
#include <string.h>

#include "host/cli/verify.h"

typedef struct dims {
    size_t rows, k;
} dims;

/* Around vectors of 8 and 16, warps of 32, blocks of 64 to 256, tasks of 16, 32 and 64 rows; nothing at all. */
static const dims shapes[] = {{1, 1},   {1, 31},   {3, 32},    {33, 33},  {31, 64},   {32, 65},    {64, 16},
                              {65, 17}, {7, 255},  {2, 256},   {5, 257},  {129, 100}, {0, 5},      {17, 1023},
                              {4, 0},   {300, 63}, {3, 4099},  {1, 9001}, {513, 129}, {2000, 130}, {70, 5000}};
enum { SHAPES = NB_COUNT_OF(shapes), SHAPES_NOW = SHAPES - 2 };

static dims describe(nb_case *c, size_t index, nb_filling *fill) {
    dims d = shapes[index / NB_FILL_COUNT];
    *fill = (nb_filling)(index % NB_FILL_COUNT);
    snprintf(c->text, sizeof c->text, "rows %zu columns %zu, %s", d.rows, d.k, nb_filling_name(*fill));
    return d;
}

#define CASES       .cases = SHAPES_NOW * NB_FILL_COUNT, .full_cases = (SHAPES - SHAPES_NOW) * NB_FILL_COUNT
#define FAULTS(...) .faults = (const nb_arg_fault[]){__VA_ARGS__, {NULL, NULL}}

/* Faults that leave out the last of something. */
#define LAST_OF(op, member)                                                                                            \
    static void op##_last_##member(nb_any_args *a) {                                                                   \
        a->op.member -= a->op.member > 0;                                                                              \
    }

/* ---- abs_mean ---- */

static nb_status make_abs_mean(nb_case *c, size_t index, nb_err *err) {
    struct nb_abs_mean_args *a = &c->args.abs_mean;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    *a = (struct nb_abs_mean_args){.rows = d.rows, .k = d.k, .ldx = d.k + index % 3};
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->x, d.rows, d.k, a->ldx, fill, "x", NULL, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->out, NB_F32, 1, d.k, d.k, "out", NULL, err);
}

LAST_OF(abs_mean, rows)
LAST_OF(abs_mean, k)
LAST_OF(abs_mean, ldx)
NB_CHECK_ORACLE(abs_mean)
const nb_check nb_check_abs_mean = {
    CASES,
    .make = make_abs_mean,
    .oracle = oracle_abs_mean,
    FAULTS({"without the last row", abs_mean_last_rows}, {"without the last column", abs_mean_last_k},
           {"rows one element early", abs_mean_last_ldx}),
};

/* ---- row_dot ---- */

static nb_status make_row_dot(nb_case *c, size_t index, nb_err *err) {
    struct nb_row_dot_args *a = &c->args.row_dot;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    *a = (struct nb_row_dot_args){.rows = d.rows, .k = d.k, .lda = d.k + index % 3, .ldb = d.k + index % 2};
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->a, d.rows, d.k, a->lda, fill, "a", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->b, d.rows, d.k, a->ldb, NB_FILL_RANDOM, "b", NULL, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->out, NB_F32, 1, d.rows, d.rows, "out", NULL, err);
}

LAST_OF(row_dot, rows)
LAST_OF(row_dot, k)
static void row_dot_itself(nb_any_args *a) {
    a->row_dot.b = a->row_dot.a;
    a->row_dot.ldb = a->row_dot.lda;
}
NB_CHECK_ORACLE(row_dot)
const nb_check nb_check_row_dot = {
    CASES,
    .make = make_row_dot,
    .oracle = oracle_row_dot,
    FAULTS({"without the last row", row_dot_last_rows}, {"without the last term", row_dot_last_k},
           {"a with itself", row_dot_itself}),
};

/* ---- scale_matrix: rows, columns, both or none; in place or not ---- */

static nb_status make_scale_matrix(nb_case *c, size_t index, nb_err *err) {
    struct nb_scale_matrix_args *a = &c->args.scale_matrix;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    size_t form = index % 7;
    bool in_place = index % 3 == 1;
    *a = (struct nb_scale_matrix_args){.rows = d.rows, .k = d.k, .ldx = d.k + index % 3};
    a->ldy = in_place ? a->ldx : d.k + index % 2;
    NB_TRY(nb_case_floats(c, in_place ? NB_ROLE_EXACT : NB_ROLE_IN, &a->x, d.rows, d.k, a->ldx, fill, "x", NULL, err));
    if (in_place)
        nb_case_alias(c, &a->y);
    if (form != 1)
        NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->row, 1, d.rows, d.rows, NB_FILL_RANDOM, "row", NULL, err));
    if (form != 2)
        NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->col, 1, d.k, d.k, NB_FILL_RANDOM, "col", NULL, err));
    if (form == 3)
        a->row = (nb_mem){0}, a->col = (nb_mem){0};
    return in_place ? NB_OK : nb_case_add(c, NB_ROLE_EXACT, &a->y, NB_F32, d.rows, d.k, a->ldy, "y", NULL, err);
}

LAST_OF(scale_matrix, rows)
LAST_OF(scale_matrix, k)
static void scale_matrix_no_row(nb_any_args *a) {
    a->scale_matrix.row = (nb_mem){0};
}
static void scale_matrix_no_col(nb_any_args *a) {
    a->scale_matrix.col = (nb_mem){0};
}
static void scale_matrix_exchanged(nb_any_args *a) {
    nb_mem row = a->scale_matrix.row;
    if (a->scale_matrix.rows == a->scale_matrix.k) {
        a->scale_matrix.row = a->scale_matrix.col;
        a->scale_matrix.col = row;
    }
}
NB_CHECK_ORACLE(scale_matrix)
const nb_check nb_check_scale_matrix = {
    CASES,
    .make = make_scale_matrix,
    .oracle = oracle_scale_matrix,
    FAULTS({"without the last row", scale_matrix_last_rows}, {"without the last column", scale_matrix_last_k},
           {"without factors of rows", scale_matrix_no_row}, {"without factors of columns", scale_matrix_no_col},
           {"factors exchanged", scale_matrix_exchanged}),
};

/* ---- subtract and add ---- */

static nb_status make_subtract(nb_case *c, size_t index, nb_err *err) {
    struct nb_subtract_args *a = &c->args.subtract;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    *a = (struct nb_subtract_args){.rows = d.rows, .k = d.k, .ldx = d.k + index % 3, .ldy = d.k + index % 2};
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->x, d.rows, d.k, a->ldx, fill, "x", NULL, err));
    return nb_case_floats(c, NB_ROLE_EXACT, &a->y, d.rows, d.k, a->ldy, fill, "y", NULL, err);
}

LAST_OF(subtract, rows)
LAST_OF(subtract, k)
static void subtract_itself(nb_any_args *a) {
    a->subtract.x = a->subtract.y;
    a->subtract.ldx = a->subtract.ldy;
}
NB_CHECK_ORACLE(subtract)
const nb_check nb_check_subtract = {
    CASES,
    .make = make_subtract,
    .oracle = oracle_subtract,
    FAULTS({"without the last row", subtract_last_rows}, {"without the last column", subtract_last_k},
           {"y from itself", subtract_itself}),
};

static nb_status make_add(nb_case *c, size_t index, nb_err *err) {
    struct nb_add_args *a = &c->args.add;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    *a = (struct nb_add_args){.rows = d.rows, .n = d.k, .ldx = d.k + index % 3, .ldy = d.k + index % 2};
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->x, d.rows, d.k, a->ldx, fill, "x", NULL, err));
    return nb_case_floats(c, NB_ROLE_EXACT, &a->y, d.rows, d.k, a->ldy, fill, "y", NULL, err);
}

LAST_OF(add, rows)
LAST_OF(add, n)
static void add_itself(nb_any_args *a) {
    a->add.x = a->add.y;
    a->add.ldx = a->add.ldy;
}
NB_CHECK_ORACLE(add)
const nb_check nb_check_add = {
    CASES,
    .make = make_add,
    .oracle = oracle_add,
    FAULTS({"without the last row", add_last_rows}, {"without the last column", add_last_n}, {"y to itself", add_itself}),
};

/* ---- moves ---- */

static nb_status make_copy_matrix(nb_case *c, size_t index, nb_err *err) {
    struct nb_copy_matrix_args *a = &c->args.copy_matrix;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    *a = (struct nb_copy_matrix_args){.rows = d.rows, .cols = d.k, .lds = d.k + index % 3, .ldd = d.k + index % 5};
    if (index % 4 != 1)
        NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->src, d.rows, d.k, a->lds, fill, "src", NULL, err));
    return nb_case_add(c, NB_ROLE_EXACT, &a->dst, NB_F32, d.rows, d.k, a->ldd, "dst", NULL, err);
}

LAST_OF(copy_matrix, rows)
LAST_OF(copy_matrix, cols)
static void copy_matrix_zeros(nb_any_args *a) {
    a->copy_matrix.src = (nb_mem){0};
}
NB_CHECK_ORACLE(copy_matrix)
const nb_check nb_check_copy_matrix = {
    CASES,
    .make = make_copy_matrix,
    .oracle = oracle_copy_matrix,
    FAULTS({"without the last row", copy_matrix_last_rows}, {"without the last column", copy_matrix_last_cols},
           {"zeros", copy_matrix_zeros}),
};

static nb_status make_reverse(nb_case *c, size_t index, nb_err *err) {
    struct nb_reverse_args *a = &c->args.reverse;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    a->count = d.rows * d.k;
    return nb_case_floats(c, NB_ROLE_EXACT, &a->a, 1, a->count, a->count, fill, "a", NULL, err);
}

LAST_OF(reverse, count)
NB_CHECK_ORACLE(reverse)
const nb_check nb_check_reverse = {
    CASES,
    .make = make_reverse,
    .oracle = oracle_reverse,
    FAULTS({"without the last", reverse_last_count}),
};

static void shuffle(nb_case *c, uint32_t *p, size_t count) {
    for (size_t i = 0; i < count; i++)
        p[i] = (uint32_t)i;
    for (size_t i = count; i > 1; i--) {
        size_t o = nb_random_below(&c->random, (uint32_t)i);
        uint32_t t = p[i - 1];
        p[i - 1] = p[o];
        p[o] = t;
    }
}

/* Bytes and words; without a permutation, with one of what is read, with one of what is written. */
static nb_status make_transpose(nb_case *c, size_t index, nb_err *err) {
    struct nb_transpose_args *a = &c->args.transpose;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    nb_dtype type = index % 2 ? NB_U8 : NB_F32;
    unsigned char *src = NULL;
    uint32_t *perm = NULL;
    *a = (struct nb_transpose_args){.rows = d.rows, .cols = d.k, .elem = index % 2 ? 1 : 4};
    a->lds = d.k + index % 3;
    a->ldd = d.rows + index % 5;
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->src, type, d.rows, d.k, a->lds, "src", &src, err));
    for (size_t i = 0; i < d.rows; i++)
        for (size_t j = 0; j < d.k * a->elem; j++)
            src[i * a->lds * a->elem + j] = (unsigned char)nb_random_u32(&c->random);
    size_t form = index % 3;
    if (form == 1) {
        NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->from, NB_U32, 1, d.k, d.k, "from", &perm, err));
        shuffle(c, perm, d.k);
    } else if (form == 2) {
        NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->to, NB_U32, 1, d.rows, d.rows, "to", &perm, err));
        shuffle(c, perm, d.rows);
    }
    return nb_case_add(c, NB_ROLE_EXACT, &a->dst, type, d.k, d.rows, a->ldd, "dst", NULL, err);
}

LAST_OF(transpose, rows)
LAST_OF(transpose, cols)
static void transpose_no_permutation(nb_any_args *a) {
    a->transpose.from = a->transpose.to = (nb_mem){0};
}
static void transpose_other_side(nb_any_args *a) {
    nb_mem from = a->transpose.from;
    if (a->transpose.rows == a->transpose.cols) {
        a->transpose.from = a->transpose.to;
        a->transpose.to = from;
    }
}
NB_CHECK_ORACLE(transpose)
const nb_check nb_check_transpose = {
    CASES,
    .make = make_transpose,
    .oracle = oracle_transpose,
    FAULTS({"without the last row", transpose_last_rows}, {"without the last column", transpose_last_cols},
           {"without the permutation", transpose_no_permutation}, {"the other side permuted", transpose_other_side}),
};
