/* Bench cases of dense products and of quantization. A weight is [n, k]; m is rows of activations. Bytes count each operand
 * once, as if caches were perfect; flops count a multiplication and an addition each. */
#include <nibble/quantize.h>

#include "host/base/size.h"
#include "host/cli/bench_case.h"

#define SHAPE(c)                                                                                                       \
    const size_t m = (c)->shape.m, n = (c)->shape.n, k = (c)->shape.k, group = (c)->shape.group,                       \
                 groups = nb_ceil_div((c)->shape.k, (c)->shape.group);                                                 \
    const unsigned bits = (c)->shape.bits;                                                                             \
    (void)m, (void)n, (void)k, (void)group, (void)groups, (void)bits

nb_status nb_bench_make_matmul(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_matmul_args *a = &c->args.matmul;
    *a = (struct nb_matmul_args){
        .m = m, .n = n, .k = k, .lda = k, .ldb = k, .ldc = n, .trans_b = true, .alpha = 1.0f};
    c->bytes = 4 * (TIMES(m, k) + TIMES(n, k) + TIMES(m, n));
    c->flops = 2 * TIMES(m, n) * (double)k;
    NB_TRY(nb_bench_floats(c, m * k, &a->a, err));
    NB_TRY(nb_bench_floats(c, n * k, &a->b, err));
    return nb_bench_zeros(c, m * n, sizeof(float), &a->c, err);
}

/* The weight in f16. */
nb_status nb_bench_make_linear(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_linear_args *a = &c->args.linear;
    *a = (struct nb_linear_args){.m = m, .n = n, .k = k, .ldx = k, .ldy = n, .w_type = NB_F16};
    c->bytes = 4 * (TIMES(m, k) + TIMES(m, n)) + 2 * TIMES(n, k);
    c->flops = 2 * TIMES(m, n) * (double)k;
    NB_TRY(nb_bench_floats(c, m * k, &a->x, err));
    NB_TRY(nb_bench_zeros(c, n * k, sizeof(uint16_t), &a->w, err));
    return nb_bench_zeros(c, m * n, sizeof(float), &a->y, err);
}

nb_status nb_bench_make_group_range(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_group_range_args *a = &c->args.group_range;
    *a = (struct nb_group_range_args){
        .n = n, .k = k, .group = group, .ldw = k, .bits = bits, .scale_type = NB_F16};
    c->bytes = 4 * TIMES(n, k) + 8 * TIMES(n, groups);
    NB_TRY(nb_bench_floats(c, n * k, &a->w, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->scales, err));
    return nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err);
}

/* Of each weight and candidate pair (104 of them, of which 26 roundings): about 7 operations. */
nb_status nb_bench_make_group_search(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_group_search_args *a = &c->args.group_search;
    *a = (struct nb_group_search_args){
        .n = n, .k = k, .group = group, .ldw = k, .bits = bits, .scale_type = NB_F16};
    c->bytes = 4 * TIMES(n, k) + 8 * TIMES(n, groups);
    c->flops = TIMES(n, k) * (26 * 2 + 104 * 7);
    NB_TRY(nb_bench_floats(c, n * k, &a->w, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->scales, err));
    return nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err);
}

nb_status nb_bench_make_rtn(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_rtn_args *a = &c->args.rtn;
    *a = (struct nb_rtn_args){.n = n, .k = k, .group = group, .ldw = k, .bits = bits};
    c->bytes = 5 * TIMES(n, k) + 8 * TIMES(n, groups);
    NB_TRY(nb_bench_floats(c, n * k, &a->w, err));
    NB_TRY(nb_bench_floats(c, n * groups, &a->scales, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err));
    return nb_bench_zeros(c, n, k, &a->codes, err);
}

nb_status nb_bench_make_dequant(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_dequant_args *a = &c->args.dequant;
    *a = (struct nb_dequant_args){.n = n, .k = k, .group = group, .ldw = k};
    c->bytes = 5 * TIMES(n, k) + 8 * TIMES(n, groups);
    NB_TRY(nb_bench_zeros(c, n, k, &a->codes, err));
    NB_TRY(nb_bench_floats(c, n * groups, &a->scales, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err));
    return nb_bench_zeros(c, n * k, sizeof(float), &a->w, err);
}

nb_status nb_bench_make_quant_error(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_quant_error_args *a = &c->args.quant_error;
    *a = (struct nb_quant_error_args){.n = n, .k = k, .group = group, .ldw = k};
    c->bytes = 5 * TIMES(n, k) + 8 * TIMES(n, groups);
    NB_TRY(nb_bench_floats(c, n * k, &a->w, err));
    NB_TRY(nb_bench_zeros(c, n, k, &a->codes, err));
    NB_TRY(nb_bench_floats(c, n * groups, &a->scales, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err));
    return nb_bench_zeros(c, n, sizeof(float), &a->error, err);
}

/* ---- GPTQ ---- */

/* m rows of activations; half of H is read and written. */
nb_status nb_bench_make_hessian(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_hessian_args *a = &c->args.hessian;
    *a = (struct nb_hessian_args){.rows = m, .k = k, .ldx = k, .ldh = k, .scale = 1e-3f};
    c->bytes = 4 * (TIMES(m, k) + TIMES(k, k + 1));
    c->flops = TIMES(m, k) * (double)(k + 1);
    NB_TRY(nb_bench_floats(c, m * k, &a->x, err));
    return nb_bench_zeros(c, k * k, sizeof(float), &a->h, err);
}

nb_status nb_bench_make_hessian_check(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_hessian_check_args *a = &c->args.hessian_check;
    *a = (struct nb_hessian_check_args){.n = n, .k = k, .ldh = k, .ldw = k};
    c->bytes = 4 * (TIMES(k, k) + TIMES(n, k));
    NB_TRY(nb_bench_dominant(c, k, &a->h, err));
    NB_TRY(nb_bench_floats(c, n * k, &a->w, err));
    return nb_bench_zeros(c, 1, sizeof(struct nb_gptq_status), &a->status, err);
}

nb_status nb_bench_make_column_order(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_column_order_args *a = &c->args.column_order;
    *a = (struct nb_column_order_args){.k = k, .group = group, .order = NB_ORDER_GROUP_AWARE, .ldh = k};
    c->bytes = 12 * (double)k;
    NB_TRY(nb_bench_floats(c, k * k, &a->h, err));
    NB_TRY(nb_bench_zeros(c, k, sizeof(uint32_t), &a->perm, err));
    return nb_bench_zeros(c, k, sizeof(uint32_t), &a->group_of, err);
}

nb_status nb_bench_make_hessian_order(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_hessian_order_args *a = &c->args.hessian_order;
    *a = (struct nb_hessian_order_args){.k = k, .ldh = k, .ldf = k, .damp = 0.01f};
    c->bytes = 6 * TIMES(k, k);
    NB_TRY(nb_bench_dominant(c, k, &a->h, err));
    NB_TRY(nb_bench_indices(c, k, 1, &a->perm, err));
    NB_TRY(nb_bench_zeros(c, k * k, sizeof(float), &a->f, err));
    return nb_bench_zeros(c, 1, sizeof(struct nb_gptq_status), &a->status, err);
}

/* One block of at most NB_CHOL_BLOCK columns, in f64. */
nb_status nb_bench_make_chol_inverse(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_chol_inverse_args *a = &c->args.chol_inverse;
    size_t side = nb_min(k, NB_CHOL_BLOCK);
    *a = (struct nb_chol_inverse_args){.k = side, .lda = side};
    c->bytes = 8 * TIMES(side, side);
    c->flops = 2.0 / 3 * TIMES(side, side) * (double)side;
    NB_TRY(nb_bench_dominant(c, side, &c->fresh, err));
    NB_TRY(nb_bench_dominant(c, side, &a->a, err));
    c->in_place = a->a;
    c->in_place_bytes = side * side * sizeof(float);
    return nb_bench_zeros(c, 1, sizeof(struct nb_gptq_status), &a->status, err);
}

nb_status nb_bench_make_copy_matrix(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_copy_matrix_args *a = &c->args.copy_matrix;
    *a = (struct nb_copy_matrix_args){.rows = n, .cols = k, .lds = k, .ldd = k};
    c->bytes = 8 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->src, err));
    return nb_bench_zeros(c, n * k, sizeof(float), &a->dst, err);
}

nb_status nb_bench_make_reverse(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    c->args.reverse = (struct nb_reverse_args){.count = n * k};
    c->bytes = 8 * TIMES(n, k);
    return nb_bench_floats(c, n * k, &c->args.reverse.a, err);
}

nb_status nb_bench_make_transpose(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_transpose_args *a = &c->args.transpose;
    *a = (struct nb_transpose_args){.rows = n, .cols = k, .elem = 4, .lds = k, .ldd = n};
    c->bytes = 8 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->src, err));
    return nb_bench_zeros(c, n * k, sizeof(float), &a->dst, err);
}

/* The first block of at most 128 positions, parameters by range. */
nb_status nb_bench_make_gptq_block(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_gptq_block_args *a = &c->args.gptq_block;
    size_t cols = nb_min(k, 128);
    *a = (struct nb_gptq_block_args){.n = n, .k = k, .groups = groups, .cols = cols, .bits = bits, .scale_type = NB_F16};
    a->ldw = n, a->ldu = k, a->lderr = n;
    c->bytes = TIMES(n, cols) * 9 + 2 * TIMES(cols, cols);
    c->flops = TIMES(n, cols) * (double)(cols - 1) + 8 * TIMES(n, cols);
    NB_TRY(nb_bench_floats(c, k * n, &a->wt, err));
    NB_TRY(nb_bench_dominant(c, k, &a->u, err));
    NB_TRY(nb_bench_indices(c, k, group, &a->group_of, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->scales, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err));
    NB_TRY(nb_bench_zeros(c, k, n, &a->codes, err));
    NB_TRY(nb_bench_zeros(c, cols * n, sizeof(float), &a->err, err));
    return nb_bench_zeros(c, n, sizeof(float), &a->loss, err);
}

/* ---- other methods ---- */

/* The first block of at most 128 columns, with parameters; every code moves. Of a group its rows of H twice, of each code one. */
nb_status nb_bench_make_descent_block(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_descent_block_args *a = &c->args.descent_block;
    size_t cols = nb_min(k, 128);
    *a = (struct nb_descent_block_args){.n = n, .k = k, .group = group, .cols = cols, .bits = bits, .params = true};
    a->ldg = k, a->ldh = k, a->ldd = cols, a->scale_type = NB_F16;
    c->bytes = TIMES(n, cols) * 10 + 4 * TIMES(cols, cols);
    c->flops = 2 * 3 * TIMES(n, cols) * (double)cols;
    NB_TRY(nb_bench_floats(c, n * k, &a->g, err));
    NB_TRY(nb_bench_dominant(c, k, &a->h, err));
    NB_TRY(nb_bench_zeros(c, n, k, &a->codes, err));
    NB_TRY(nb_bench_floats(c, n * groups, &a->scales, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err));
    return nb_bench_zeros(c, n * cols, sizeof(float), &a->delta, err);
}

/* All rows take their old contents, of k floats. */
nb_status nb_bench_make_keep_rows(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_keep_rows_args *a = &c->args.keep_rows;
    *a = (struct nb_keep_rows_args){.rows = n, .row_bytes = 4 * k};
    c->bytes = 8 * TIMES(n, k);
    NB_TRY(nb_bench_zeros(c, n, sizeof(float), &a->before, err));
    NB_TRY(nb_bench_zeros(c, n, sizeof(float), &a->after, err));
    NB_TRY(nb_bench_floats(c, n * k, &a->src, err));
    return nb_bench_zeros(c, n * k, sizeof(float), &a->dst, err);
}

/* 20 iterations at most; most groups end sooner, so no flops are counted. */
nb_status nb_bench_make_hqq(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_hqq_args *a = &c->args.hqq;
    *a = (struct nb_hqq_args){.n = n, .k = k, .group = group, .ldw = k, .bits = bits, .iterations = 20, .scale_type = NB_F16};
    c->bytes = 5 * TIMES(n, k) + 8 * TIMES(n, groups);
    NB_TRY(nb_bench_floats(c, n * k, &a->w, err));
    NB_TRY(nb_bench_zeros(c, n, k, &a->codes, err));
    NB_TRY(nb_bench_zeros(c, n * groups, sizeof(float), &a->scales, err));
    return nb_bench_zeros(c, n * groups, sizeof(float), &a->zeros, err);
}

/* ---- channel scales ---- */

nb_status nb_bench_make_abs_mean(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_abs_mean_args *a = &c->args.abs_mean;
    *a = (struct nb_abs_mean_args){.rows = n, .k = k, .ldx = k};
    c->bytes = 4 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->x, err));
    return nb_bench_zeros(c, k, sizeof(float), &a->out, err);
}

nb_status nb_bench_make_scale_matrix(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_scale_matrix_args *a = &c->args.scale_matrix;
    *a = (struct nb_scale_matrix_args){.rows = n, .k = k, .ldx = k, .ldy = k};
    c->bytes = 8 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->x, err));
    NB_TRY(nb_bench_zeros(c, n * k, sizeof(float), &a->y, err));
    NB_TRY(nb_bench_floats(c, n, &a->row, err));
    return nb_bench_floats(c, k, &a->col, err);
}

nb_status nb_bench_make_subtract(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_subtract_args *a = &c->args.subtract;
    *a = (struct nb_subtract_args){.rows = n, .k = k, .ldx = k, .ldy = k};
    c->bytes = 12 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->x, err));
    return nb_bench_floats(c, n * k, &a->y, err);
}

nb_status nb_bench_make_row_dot(nb_bench_case *c, nb_err *err) {
    SHAPE(c);
    struct nb_row_dot_args *a = &c->args.row_dot;
    *a = (struct nb_row_dot_args){.rows = n, .k = k, .lda = k, .ldb = k};
    c->bytes = 8 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->a, err));
    NB_TRY(nb_bench_floats(c, n * k, &a->b, err));
    return nb_bench_zeros(c, n, sizeof(float), &a->out, err);
}
