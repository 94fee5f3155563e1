/* Arguments of the quantization operations on CUDA. */
#include "host/backend/cuda.h"
#include "host/base/size.h"
#include "kernels/cuda/params.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

static nb_status too_large(size_t n, size_t k, nb_err *err) {
    return nb_fail(err, NB_E_UNSUPPORTED, "a matrix of %zu x %zu is too large for a CUDA kernel", n, k);
}

/* A warp for each of `count` pieces. */
static nb_status warps_grid(size_t count, nb__cuda_grid *out, nb_err *err) {
    size_t ctas = nb_ceil_div(count, WARPS);
    if (ctas > INT32_MAX)
        return too_large(count, 1, err);
    *out = (nb__cuda_grid){.x = (unsigned)ctas, .y = 1, .z = 1, .threads = THREADS};
    return NB_OK;
}

static nb_status check_sizes(size_t n, size_t k, nb_err *err) {
    size_t all;
    return n <= INT32_MAX && k <= INT32_MAX && nb_mul(n, k, &all) ? NB_OK : too_large(n, k, err);
}

/* ---- groups ---- */

static nb_status run_groups(nb_stream *stream, const char *kernel, const nb_cu_groups *p, nb_err *err) {
    nb__cuda_grid grid;
    size_t pieces;
    if (!nb_mul(p->n, p->groups, &pieces))
        return too_large(p->n, p->k, err);
    NB_TRY(warps_grid(pieces, &grid, err));
    return nb__cuda_run(stream, kernel, grid, p, err);
}

nb_status nb__cuda_group_range_cuda(nb_stream *stream, const struct nb_group_range_args *a, nb_err *err) {
    NB_TRY(check_sizes(a->n, a->k, err));
    nb_cu_groups p = {.w = nb__cuda_at(a->w), .scales = nb__cuda_at(a->scales), .zeros = nb__cuda_at(a->zeros), .ldw = a->ldw,
                      .n = (unsigned)a->n, .k = (unsigned)a->k, .group = (unsigned)nb_min(a->group, a->k),
                      .groups = (unsigned)nb_ceil_div(a->k, a->group), .bits = a->bits, .symmetric = a->symmetric,
                      .scale_type = (unsigned)a->scale_type};
    return run_groups(stream, "group_range_cuda", &p, err);
}

nb_status nb__cuda_group_search_cuda(nb_stream *stream, const struct nb_group_search_args *a, nb_err *err) {
    NB_TRY(check_sizes(a->n, a->k, err));
    nb_cu_groups p = {.w = nb__cuda_at(a->w), .h = nb__cuda_at(a->h), .scales = nb__cuda_at(a->scales), .zeros = nb__cuda_at(a->zeros),
                      .ldw = a->ldw, .ldh = a->ldh, .n = (unsigned)a->n, .k = (unsigned)a->k,
                      .group = (unsigned)nb_min(a->group, a->k), .groups = (unsigned)nb_ceil_div(a->k, a->group), .bits = a->bits,
                      .symmetric = a->symmetric, .either_sign = a->either_sign, .scale_type = (unsigned)a->scale_type};
    return run_groups(stream, "group_search_cuda", &p, err);
}

/* ---- codes ---- */

static nb_status codes_params(size_t n, size_t k, size_t group, nb_mem w, size_t ldw, nb_mem scales, nb_mem zeros, nb_mem g_idx,
                              nb_mem codes, nb_cu_codes *out, nb_err *err) {
    NB_TRY(check_sizes(n, k, err));
    *out = (nb_cu_codes){.w = nb__cuda_at(w), .scales = nb__cuda_at(scales), .zeros = nb__cuda_at(zeros), .g_idx = nb__cuda_at(g_idx),
                         .codes = nb__cuda_at(codes), .ldw = ldw, .n = (unsigned)n, .k = (unsigned)k,
                         .group = (unsigned)nb_min(group, k), .groups = (unsigned)nb_ceil_div(k, group)};
    return NB_OK;
}

nb_status nb__cuda_rtn_cuda(nb_stream *stream, const struct nb_rtn_args *a, nb_err *err) {
    nb_cu_codes p;
    nb__cuda_grid grid;
    NB_TRY(codes_params(a->n, a->k, a->group, a->w, a->ldw, a->scales, a->zeros, a->g_idx, a->codes, &p, err));
    p.bits = a->bits;
    NB_TRY(nb__cuda_rows_grid(a->n, a->k, THREADS, &grid, err));
    return nb__cuda_run(stream, "rtn_cuda", grid, &p, err);
}

nb_status nb__cuda_dequant_cuda(nb_stream *stream, const struct nb_dequant_args *a, nb_err *err) {
    nb_cu_codes p;
    nb__cuda_grid grid;
    NB_TRY(codes_params(a->n, a->k, a->group, a->w, a->ldw, a->scales, a->zeros, a->g_idx, a->codes, &p, err));
    NB_TRY(nb__cuda_rows_grid(a->n, a->k, THREADS, &grid, err));
    return nb__cuda_run(stream, "dequant_cuda", grid, &p, err);
}

nb_status nb__cuda_quant_error_cuda(nb_stream *stream, const struct nb_quant_error_args *a, nb_err *err) {
    nb_cu_codes p;
    nb__cuda_grid grid;
    NB_TRY(codes_params(a->n, a->k, a->group, a->w, a->ldw, a->scales, a->zeros, a->g_idx, a->codes, &p, err));
    p.error = nb__cuda_at(a->error);
    NB_TRY(warps_grid(a->n, &grid, err));
    return nb__cuda_run(stream, "quant_error_cuda", grid, &p, err);
}

/* ---- what precedes a solve ---- */

nb_status nb__cuda_hessian_check_cuda(nb_stream *stream, const struct nb_hessian_check_args *a, nb_err *err) {
    NB_TRY(check_sizes(a->n, a->k, err));
    nb_cu_square p = {.h = nb__cuda_at(a->h), .ldh = a->ldh, .w = nb__cuda_at(a->w), .ldw = a->ldw, .status = nb__cuda_at(a->status),
                      .n = (unsigned)a->n, .k = (unsigned)a->k};
    nb__cuda_grid one = {.x = 1, .y = 1, .z = 1, .threads = THREADS}, grid;
    NB_TRY(nb_fill(stream, a->status, 0, sizeof(struct nb_gptq_status), err));
    NB_TRY(nb__cuda_run(stream, "hessian_check_diagonal", one, &p, err));
    NB_TRY(warps_grid(a->k, &grid, err));
    NB_TRY(nb__cuda_run(stream, "hessian_check_square", grid, &p, err));
    NB_TRY(warps_grid(a->n, &grid, err));
    return nb__cuda_run(stream, "hessian_check_weight", grid, &p, err);
}

nb_status nb__cuda_column_order_cuda(nb_stream *stream, const struct nb_column_order_args *a, nb_err *err) {
    nb_mem scratch;
    NB_TRY(check_sizes(a->k, 2 * sizeof(float), err));
    NB_TRY(nb__cuda_scratch(stream, nb_max(2 * a->k * sizeof(float), 1), &scratch, err));
    nb_cu_order p = {.h = nb__cuda_at(a->h), .ldh = a->ldh, .keys = nb__cuda_at(scratch), .perm = nb__cuda_at(a->perm),
                     .group_of = nb__cuda_at(a->group_of), .g_idx = nb__cuda_at(a->g_idx), .k = (unsigned)a->k,
                     .group = (unsigned)nb_min(a->group, a->k), .order = a->order};
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->k, THREADS), .y = 1, .z = 1, .threads = THREADS}, groups;
    NB_TRY(warps_grid(nb_ceil_div(a->k, a->group), &groups, err));
    NB_TRY(nb__cuda_run(stream, "column_order_keys", groups, &p, err));
    return nb__cuda_run(stream, "column_order_rank", grid, &p, err);
}

nb_status nb__cuda_hessian_order_cuda(nb_stream *stream, const struct nb_hessian_order_args *a, nb_err *err) {
    NB_TRY(check_sizes(a->k, a->k, err));
    nb_cu_square p = {.h = nb__cuda_at(a->h), .ldh = a->ldh, .f = nb__cuda_at(a->f), .ldf = a->ldf, .perm = nb__cuda_at(a->perm),
                      .status = nb__cuda_at(a->status), .k = (unsigned)a->k, .damp = a->damp};
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->k, a->k, THREADS, &grid, err));
    return nb__cuda_run(stream, "hessian_order_cuda", grid, &p, err);
}

nb_status nb__cuda_chol_inverse_cuda(nb_stream *stream, const struct nb_chol_inverse_args *a, nb_err *err) {
    if (a->k > NB_CHOL_BLOCK)
        return nb_fail(err, NB_E_USAGE, "a Cholesky block of %zu, at most %d are possible", a->k, NB_CHOL_BLOCK);
    nb_cu_chol p = {.a = nb__cuda_at(a->a), .lda = a->lda, .status = nb__cuda_at(a->status), .k = (unsigned)a->k,
                    .base = (unsigned)a->base};
    nb__cuda_grid grid = {.x = a->k > 0, .y = 1, .z = 1, .threads = THREADS};
    return nb__cuda_run(stream, "chol_inverse_cuda", grid, &p, err);
}

/* ---- moving ---- */

nb_status nb__cuda_copy_matrix_cuda(nb_stream *stream, const struct nb_copy_matrix_args *a, nb_err *err) {
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->rows, a->cols, THREADS, &grid, err));
    nb_cu_copy p = {.src = nb__cuda_at(a->src), .dst = nb__cuda_at(a->dst), .lds = a->lds, .ldd = a->ldd, .rows = (unsigned)a->rows,
                    .cols = (unsigned)a->cols};
    return nb__cuda_run(stream, "copy_matrix_cuda", grid, &p, err);
}

nb_status nb__cuda_reverse_cuda(nb_stream *stream, const struct nb_reverse_args *a, nb_err *err) {
    enum { MAX_CTAS = 1 << 16 };
    size_t ctas = nb_min(nb_ceil_div(a->count / 2, THREADS), MAX_CTAS);
    nb_cu_copy p = {.dst = nb__cuda_at(a->a), .count = a->count};
    nb__cuda_grid grid = {.x = (unsigned)ctas, .y = 1, .z = 1, .threads = THREADS};
    return nb__cuda_run(stream, "reverse_cuda", grid, &p, err);
}

nb_status nb__cuda_transpose_cuda(nb_stream *stream, const struct nb_transpose_args *a, nb_err *err) {
    enum { SIDE = 32 };
    if ((a->elem != 1 && a->elem != 4) || (a->from.base && a->to.base))
        return nb_fail(err, NB_E_USAGE, "a transposition of %u-byte elements with %s", a->elem,
                       a->from.base && a->to.base ? "two permutations" : "one permutation at most");
    NB_TRY(check_sizes(a->rows, a->cols, err));
    if (nb_ceil_div(a->cols, SIDE) > 65535)
        return too_large(a->rows, a->cols, err);
    nb_cu_copy p = {.src = nb__cuda_at(a->src), .dst = nb__cuda_at(a->dst), .from = nb__cuda_at(a->from), .to = nb__cuda_at(a->to),
                    .lds = a->lds, .ldd = a->ldd, .rows = (unsigned)a->rows, .cols = (unsigned)a->cols};
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->rows, SIDE), .y = (unsigned)nb_ceil_div(a->cols, SIDE), .z = 1,
                          .threads = THREADS};
    return nb__cuda_run(stream, a->elem == 1 ? "transpose_bytes" : "transpose_words", grid, &p, err);
}

/* ---- GPTQ ---- */

/* Rows of W in a CTA: 32 where their tile of the block fits in 48 KiB of shared memory, else fewer. The tile is [cols, lanes + 1],
 * with a run of errors [8, lanes], the lanes' parameters and the block's part of the Hessian's diagonal beside it. */
static unsigned gptq_lanes(size_t cols, unsigned *bytes) {
    enum { STEPS = 8, LIMIT = 48 * 1024 };
    for (unsigned lanes = 32; lanes >= 1; lanes /= 2) {
        size_t floats = cols * (lanes + 1) + (STEPS + 2) * lanes + cols;
        if (floats * sizeof(float) <= LIMIT) {
            *bytes = (unsigned)(floats * sizeof(float));
            return lanes;
        }
    }
    return 0;
}

nb_status nb__cuda_gptq_block_cuda(nb_stream *stream, const struct nb_gptq_block_args *a, nb_err *err) {
    unsigned bytes = 0, lanes = gptq_lanes(a->cols, &bytes);
    NB_TRY(check_sizes(a->n, a->k, err));
    if (!lanes)
        return nb_fail(err, NB_E_UNSUPPORTED, "a GPTQ block of %zu columns is too large for a CUDA kernel", a->cols);
    nb_cu_gptq p = {.wt = nb__cuda_at(a->wt), .u = nb__cuda_at(a->u), .group_of = nb__cuda_at(a->group_of), .h = nb__cuda_at(a->h),
                    .perm = nb__cuda_at(a->perm), .scales = nb__cuda_at(a->scales), .zeros = nb__cuda_at(a->zeros),
                    .codes = nb__cuda_at(a->codes), .err = nb__cuda_at(a->err), .loss = nb__cuda_at(a->loss), .ldw = a->ldw,
                    .ldu = a->ldu, .ldh = a->ldh, .lderr = a->lderr, .n = (unsigned)a->n, .k = (unsigned)a->k,
                    .groups = (unsigned)a->groups, .first = (unsigned)a->first, .cols = (unsigned)a->cols, .lanes = lanes,
                    .static_params = a->static_params, .symmetric = a->symmetric, .either_sign = a->either_sign, .bits = a->bits,
                    .scale_type = (unsigned)a->scale_type};
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->n, lanes), .y = 1, .z = 1, .threads = THREADS, .shared = bytes};
    return nb__cuda_run(stream, "gptq_block_cuda", grid, &p, err);
}

/* ---- other methods ---- */

nb_status nb__cuda_descent_block_cuda(nb_stream *stream, const struct nb_descent_block_args *a, nb_err *err) {
    enum { ROWS = 4, MAX_COLS = 1024 }; /* 3 arrays of columns a row: 48 KiB */
    NB_TRY(check_sizes(a->n, a->k, err));
    if (a->cols > MAX_COLS)
        return nb_fail(err, NB_E_UNSUPPORTED, "a block of %zu columns is too large for a CUDA kernel", a->cols);
    nb_cu_descent p = {.g = nb__cuda_at(a->g), .ldg = a->ldg, .h = nb__cuda_at(a->h), .ldh = a->ldh, .codes = nb__cuda_at(a->codes),
                       .scales = nb__cuda_at(a->scales), .zeros = nb__cuda_at(a->zeros), .g_idx = nb__cuda_at(a->g_idx),
                       .delta = nb__cuda_at(a->delta), .ldd = a->ldd, .n = (unsigned)a->n, .k = (unsigned)a->k,
                       .group = (unsigned)nb_min(a->group, a->k), .groups = (unsigned)nb_ceil_div(a->k, a->group),
                       .first = (unsigned)a->first, .cols = (unsigned)a->cols, .bits = a->bits, .symmetric = a->symmetric,
                       .params = a->params, .scale_type = (unsigned)a->scale_type};
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->n, ROWS), .y = 1, .z = 1, .threads = 32 * ROWS,
                          .shared = (unsigned)(ROWS * 3 * a->cols * sizeof(float))};
    return nb__cuda_run(stream, "descent_block_cuda", grid, &p, err);
}

nb_status nb__cuda_keep_rows_cuda(nb_stream *stream, const struct nb_keep_rows_args *a, nb_err *err) {
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->rows, nb_max(a->row_bytes / 4, a->row_bytes > 0), THREADS, &grid, err));
    nb_cu_keep p = {.before = nb__cuda_at(a->before), .after = nb__cuda_at(a->after), .src = nb__cuda_at(a->src),
                    .dst = nb__cuda_at(a->dst), .row_bytes = a->row_bytes};
    return nb__cuda_run(stream, "keep_rows_cuda", grid, &p, err);
}

nb_status nb__cuda_hqq_cuda(nb_stream *stream, const struct nb_hqq_args *a, nb_err *err) {
    nb__cuda_grid grid;
    size_t groups = nb_ceil_div(a->k, a->group), pieces;
    NB_TRY(check_sizes(a->n, a->k, err));
    if (!nb_mul(a->n, groups, &pieces))
        return too_large(a->n, a->k, err);
    nb_cu_hqq p = {.w = nb__cuda_at(a->w), .codes = nb__cuda_at(a->codes), .scales = nb__cuda_at(a->scales),
                   .zeros = nb__cuda_at(a->zeros), .ldw = a->ldw, .n = (unsigned)a->n, .k = (unsigned)a->k,
                   .group = (unsigned)nb_min(a->group, a->k), .groups = (unsigned)groups, .bits = a->bits, .iterations = a->iterations,
                   .float_zeros = a->float_zeros, .scale_type = (unsigned)a->scale_type};
    NB_TRY(warps_grid(pieces, &grid, err));
    return nb__cuda_run(stream, "hqq_cuda", grid, &p, err);
}

/* ---- channel scales ---- */

nb_status nb__cuda_abs_mean_cuda(nb_stream *stream, const struct nb_abs_mean_args *a, nb_err *err) {
    enum { COLUMNS = 32 };
    NB_TRY(check_sizes(a->rows, a->k, err));
    nb_cu_rows p = {.x = nb__cuda_at(a->x), .y = nb__cuda_at(a->out), .ldx = a->ldx, .rows = (unsigned)a->rows, .k = (unsigned)a->k};
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->k, COLUMNS), .y = 1, .z = 1, .threads = THREADS};
    return nb__cuda_run(stream, "abs_mean_cuda", grid, &p, err);
}

nb_status nb__cuda_scale_matrix_cuda(nb_stream *stream, const struct nb_scale_matrix_args *a, nb_err *err) {
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->rows, a->k, THREADS, &grid, err));
    nb_cu_rows p = {.x = nb__cuda_at(a->x), .y = nb__cuda_at(a->y), .row = nb__cuda_at(a->row), .col = nb__cuda_at(a->col),
                    .ldx = a->ldx, .ldy = a->ldy, .rows = (unsigned)a->rows, .k = (unsigned)a->k};
    return nb__cuda_run(stream, "scale_matrix_cuda", grid, &p, err);
}

nb_status nb__cuda_subtract_cuda(nb_stream *stream, const struct nb_subtract_args *a, nb_err *err) {
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->rows, a->k, THREADS, &grid, err));
    nb_cu_rows p = {.x = nb__cuda_at(a->x), .y = nb__cuda_at(a->y), .ldx = a->ldx, .ldy = a->ldy, .rows = (unsigned)a->rows,
                    .k = (unsigned)a->k};
    return nb__cuda_run(stream, "subtract_cuda", grid, &p, err);
}

nb_status nb__cuda_row_dot_cuda(nb_stream *stream, const struct nb_row_dot_args *a, nb_err *err) {
    nb__cuda_grid grid;
    NB_TRY(check_sizes(a->rows, a->k, err));
    NB_TRY(warps_grid(a->rows, &grid, err));
    nb_cu_rows p = {.x = nb__cuda_at(a->a), .row = nb__cuda_at(a->b), .y = nb__cuda_at(a->out), .ldx = a->lda, .ldy = a->ldb,
                    .rows = (unsigned)a->rows, .k = (unsigned)a->k};
    return nb__cuda_run(stream, "row_dot_cuda", grid, &p, err);
}
