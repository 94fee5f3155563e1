/* Launchers of the operations of quantization. */
#include <nibble/quantize.h>

#include "host/backend/opencl_ops.h"
#include "host/base/size.h"

/* As in kernels/opencl: STRIP elements of a row for an item, columns of a transposition's block. */
enum { STRIP = 64, BLOCK = 16, CHOL_ITEMS = 64 };

/* A grid over the groups of n rows, lanes of rows together. */
static nb__cl_grid groups_grid(const nb_kernel *row, size_t n, size_t k, size_t group) {
    size_t items = row->needs & NB_CL_CPU ? 1 : 16;
    return NB_CL_GRID2(nb_ceil_div(nb_ceil_div(k, group), items), nb_ceil_div(n, nb__cl_lanes(row)), items, 1);
}

nb_status nb__cl_group_range(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_group_range_args *a = args;
    return NB_CL_RUN(stream, row, err, ("group_range", NULL, groups_grid(row, a->n, a->k, a->group)), NB_CL_U32(a->n),
                     NB_CL_U32(a->k), NB_CL_U32(a->group), NB_CL_MEM(a->w), NB_CL_U32(a->ldw), NB_CL_U32(a->bits),
                     NB_CL_U32(a->symmetric), NB_CL_U32(a->scale_type), NB_CL_MEM(a->scales), NB_CL_MEM(a->zeros));
}

nb_status nb__cl_group_search(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_group_search_args *a = args;
    size_t lanes = nb__cl_lanes(row), padded = nb_ceil_div(a->n, lanes) * lanes, bytes;
    nb_mem turned;
    if (!nb_mul3(padded, a->k, sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a search of scales");
    NB_TRY(nb__cl_scratch(stream, bytes, &turned, err));
    NB_TRY(NB_CL_RUN(stream, row, err, ("group_search_turn", NULL, groups_grid(row, a->n, a->k, 1)), NB_CL_U32(a->n),
                     NB_CL_U32(a->k), NB_CL_MEM(a->w), NB_CL_U32(a->ldw), NB_CL_MEM(turned), NB_CL_U32(padded)));
    return NB_CL_RUN(stream, row, err, ("group_search", NULL, groups_grid(row, a->n, a->k, a->group)), NB_CL_U32(a->n),
                     NB_CL_U32(a->k), NB_CL_U32(a->group), NB_CL_MEM(turned), NB_CL_U32(padded), NB_CL_MEM(a->h),
                     NB_CL_U32(a->ldh), NB_CL_U32(a->bits), NB_CL_U32(a->symmetric), NB_CL_U32(a->either_sign), NB_CL_U32(a->scale_type),
                     NB_CL_MEM(a->scales), NB_CL_MEM(a->zeros));
}

nb_status nb__cl_rtn(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_rtn_args *a = args;
    return NB_CL_RUN(stream, row, err, ("rtn", NULL, nb__cl_over_lanes(row, a->n, a->k)), NB_CL_U32(a->k), NB_CL_U32(a->group),
                     NB_CL_MEM(a->w), NB_CL_U32(a->ldw), NB_CL_U32(a->bits), NB_CL_MEM(a->scales), NB_CL_MEM(a->zeros),
                     NB_CL_MEM(a->g_idx), NB_CL_MEM(a->codes));
}

nb_status nb__cl_dequant(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_dequant_args *a = args;
    return NB_CL_RUN(stream, row, err, ("dequant", NULL, nb__cl_over(a->n, a->k)), NB_CL_U32(a->k), NB_CL_U32(a->group),
                     NB_CL_MEM(a->codes), NB_CL_MEM(a->scales), NB_CL_MEM(a->zeros), NB_CL_MEM(a->g_idx), NB_CL_MEM(a->w),
                     NB_CL_U32(a->ldw));
}

nb_status nb__cl_hqq(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_hqq_args *a = args;
    size_t items = nb__cl_row_items(row);
    return NB_CL_RUN(stream, row, err, ("hqq", NULL, NB_CL_GRID2(nb_ceil_div(a->k, a->group), a->n, items, 1)), NB_CL_U32(a->k),
                     NB_CL_U32(a->group), NB_CL_MEM(a->w), NB_CL_U32(a->ldw), NB_CL_U32(a->bits), NB_CL_U32(a->iterations),
                     NB_CL_U32(a->float_zeros), NB_CL_U32(a->scale_type), NB_CL_MEM(a->codes), NB_CL_MEM(a->scales),
                     NB_CL_MEM(a->zeros), NB_CL_LOCAL(items * NB_CL_WIDE));
}

nb_status nb__cl_quant_error(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_quant_error_args *a = args;
    size_t items = nb__cl_row_items(row);
    return NB_CL_RUN(stream, row, err, ("quant_error", NULL, NB_CL_GRID1(a->n, items)), NB_CL_U32(a->k), NB_CL_U32(a->group),
                     NB_CL_MEM(a->w), NB_CL_U32(a->ldw), NB_CL_MEM(a->codes), NB_CL_MEM(a->scales), NB_CL_MEM(a->zeros),
                     NB_CL_MEM(a->g_idx), NB_CL_MEM(a->error), NB_CL_LOCAL(items * NB_CL_WIDE));
}

nb_status nb__cl_row_dot(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_row_dot_args *a = args;
    size_t items = nb__cl_row_items(row);
    return NB_CL_RUN(stream, row, err, ("row_dot", NULL, NB_CL_GRID1(a->rows, items)), NB_CL_U32(a->k), NB_CL_MEM(a->a),
                     NB_CL_U32(a->lda), NB_CL_MEM(a->b), NB_CL_U32(a->ldb), NB_CL_MEM(a->out), NB_CL_LOCAL(items * NB_CL_WIDE));
}

nb_status nb__cl_abs_mean(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_abs_mean_args *a = args;
    return NB_CL_RUN(stream, row, err, ("abs_mean", NULL, nb__cl_over(1, a->k)), NB_CL_U32(a->rows), NB_CL_U32(a->k),
                     NB_CL_MEM(a->x), NB_CL_U32(a->ldx), NB_CL_MEM(a->out));
}

nb_status nb__cl_hessian_check(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_hessian_check_args *a = args;
    size_t items = nb__cl_row_items(row), strips = nb_ceil_div(a->k, STRIP);
    NB_TRY(NB_CL_RUN(stream, row, err, ("hessian_check_diagonal", NULL, NB_CL_GRID1(1, items)), NB_CL_U32(a->k), NB_CL_MEM(a->h),
                     NB_CL_U32(a->ldh), NB_CL_MEM(a->status), NB_CL_LOCAL(items * NB_CL_WIDE)));
    NB_TRY(NB_CL_RUN(stream, row, err, ("hessian_check_hessian", NULL, NB_CL_GRID2(strips, a->k, 1, 1)), NB_CL_U32(a->k),
                     NB_CL_MEM(a->h), NB_CL_U32(a->ldh), NB_CL_MEM(a->status)));
    return NB_CL_RUN(stream, row, err, ("hessian_check_weight", NULL, NB_CL_GRID2(strips, a->n, 1, 1)), NB_CL_U32(a->k),
                     NB_CL_MEM(a->h), NB_CL_U32(a->ldh), NB_CL_MEM(a->w), NB_CL_U32(a->ldw), NB_CL_MEM(a->status));
}

nb_status nb__cl_column_order(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_column_order_args *a = args;
    bool by_group = a->order == NB_ORDER_GROUP_AWARE;
    size_t bytes;
    nb_mem keys;
    if (!nb_mul3(a->k, 2, sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a column order");
    NB_TRY(nb__cl_scratch(stream, bytes, &keys, err));
    NB_TRY(NB_CL_RUN(stream, row, err, ("column_order_keys", NULL, nb__cl_over(1, a->k)), NB_CL_U32(a->k), NB_CL_U32(a->group),
                     NB_CL_U32(a->order != NB_ORDER_STORED), NB_CL_U32(by_group), NB_CL_MEM(a->h), NB_CL_U32(a->ldh),
                     NB_CL_MEM(keys)));
    return NB_CL_RUN(stream, row, err, ("column_order", NULL, nb__cl_over(1, a->k)), NB_CL_U32(a->k), NB_CL_U32(a->group),
                     NB_CL_U32(by_group), NB_CL_U32(a->order == NB_ORDER_ACT), NB_CL_MEM(keys), NB_CL_MEM(a->perm),
                     NB_CL_MEM(a->group_of), NB_CL_MEM(a->g_idx));
}

nb_status nb__cl_hessian_order(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_hessian_order_args *a = args;
    return NB_CL_RUN(stream, row, err, ("hessian_order", NULL, nb__cl_over(a->k, a->k)), NB_CL_U32(a->k), NB_CL_MEM(a->h),
                     NB_CL_U32(a->ldh), NB_CL_MEM(a->perm), NB_CL_F32(a->damp), NB_CL_MEM(a->f), NB_CL_U32(a->ldf),
                     NB_CL_MEM(a->status));
}

nb_status nb__cl_chol_inverse(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_chol_inverse_args *a = args;
    if (a->k > NB_CHOL_BLOCK)
        return nb_fail(err, NB_E_USAGE, "a Cholesky block of %zu, at most %d are possible", a->k, NB_CHOL_BLOCK);
    return NB_CL_RUN(stream, row, err, ("chol_inverse", NULL, NB_CL_GRID1(1, CHOL_ITEMS)), NB_CL_U32(a->k), NB_CL_U32(a->base),
                     NB_CL_MEM(a->a), NB_CL_U32(a->lda), NB_CL_MEM(a->status));
}

/* Rows of pairs: an OpenCL 1.2 dimension may be only 32 bits wide on some devices. */
nb_status nb__cl_reverse(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_reverse_args *a = args;
    size_t pairs = a->count / 2, width = nb_min(nb_ceil_div(pairs, STRIP), 4096);
    return NB_CL_RUN(stream, row, err, ("reverse", NULL, NB_CL_GRID2(width, nb_ceil_div(pairs, nb_max(width, 1) * STRIP), STRIP, 1)),
                     NB_CL_U64(a->count), NB_CL_MEM(a->a));
}

nb_status nb__cl_transpose(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_transpose_args *a = args;
    if ((a->elem != 1 && a->elem != 4) || (a->from.base && a->to.base))
        return nb_fail(err, NB_E_USAGE, "a transposition of %u-byte elements with %s", a->elem,
                       a->from.base && a->to.base ? "two permutations" : "one permutation at most");
    bool blocks = row->needs & NB_CL_CPU;
    nb__cl_grid grid = blocks ? NB_CL_GRID2(nb_ceil_div(a->rows, BLOCK), nb_ceil_div(a->cols, BLOCK), 1, 1)
                              : nb__cl_over(a->cols, a->rows);
    const char *entry = a->elem == 1 ? "transpose_bytes" : "transpose_words";
    return NB_CL_RUN(stream, row, err, (entry, NULL, grid), NB_CL_U32(a->rows), NB_CL_U32(a->cols), NB_CL_MEM(a->src),
                     NB_CL_MEM(a->dst), NB_CL_U32(a->lds), NB_CL_U32(a->ldd), NB_CL_MEM(a->from), NB_CL_MEM(a->to));
}

nb_status nb__cl_gptq_block(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_gptq_block_args *a = args;
    size_t lanes = nb__cl_lanes(row), tasks = nb_ceil_div(a->n, lanes), items = row->needs & NB_CL_CPU ? 1 : 32, bytes;
    nb_mem room;
    if (!nb_mul3(tasks * lanes, a->cols, sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a block of columns");
    NB_TRY(nb__cl_scratch(stream, bytes, &room, err));
    return NB_CL_RUN(stream, row, err, ("gptq_block", NULL, NB_CL_GRID1(nb_ceil_div(tasks, items), items)), NB_CL_U32(a->n),
                     NB_CL_U32(a->k), NB_CL_U32(a->groups), NB_CL_U32(a->first), NB_CL_U32(a->cols), NB_CL_MEM(a->wt),
                     NB_CL_U32(a->ldw), NB_CL_MEM(a->u), NB_CL_U32(a->ldu), NB_CL_MEM(a->group_of), NB_CL_MEM(a->h),
                     NB_CL_U32(a->ldh), NB_CL_MEM(a->perm), NB_CL_U32(a->static_params), NB_CL_U32(a->symmetric), NB_CL_U32(a->either_sign),
                     NB_CL_U32(a->bits), NB_CL_U32(a->scale_type), NB_CL_MEM(a->scales), NB_CL_MEM(a->zeros), NB_CL_MEM(a->codes),
                     NB_CL_MEM(a->err), NB_CL_U32(a->lderr), NB_CL_MEM(a->loss), NB_CL_MEM(room));
}

nb_status nb__cl_keep_rows(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_keep_rows_args *a = args;
    return NB_CL_RUN(stream, row, err, ("keep_rows", NULL, nb__cl_over(a->rows, nb_ceil_div(a->row_bytes, 4))),
                     NB_CL_U64(a->row_bytes), NB_CL_MEM(a->before), NB_CL_MEM(a->after), NB_CL_MEM(a->src), NB_CL_MEM(a->dst));
}

nb_status nb__cl_descent_block(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_descent_block_args *a = args;
    size_t items = row->needs & NB_CL_CPU ? 1 : 32, bytes;
    nb_mem room;
    if (!nb_mul3(a->n, a->cols, 4 * sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a block of columns");
    NB_TRY(nb__cl_scratch(stream, bytes, &room, err));
    return NB_CL_RUN(stream, row, err, ("descent_block", NULL, NB_CL_GRID1(nb_ceil_div(a->n, items), items)), NB_CL_U32(a->n),
                     NB_CL_U32(a->k), NB_CL_U32(a->group), NB_CL_U32(a->first), NB_CL_U32(a->cols), NB_CL_MEM(a->g),
                     NB_CL_U32(a->ldg), NB_CL_MEM(a->h), NB_CL_U32(a->ldh), NB_CL_U32(a->bits), NB_CL_U32(a->symmetric),
                     NB_CL_U32(a->params), NB_CL_U32(a->scale_type), NB_CL_MEM(a->codes), NB_CL_MEM(a->scales),
                     NB_CL_MEM(a->zeros), NB_CL_MEM(a->g_idx), NB_CL_MEM(a->delta), NB_CL_U32(a->ldd), NB_CL_MEM(room));
}
