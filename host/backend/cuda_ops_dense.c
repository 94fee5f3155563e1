/* Arguments of dense products on CUDA. */
#include "host/backend/cuda_dense.h"
#include "host/base/size.h"
#include "kernels/cuda/params.h"

/* kernels/cuda/decode.cuh goes by these numbers. */
_Static_assert((int)NB_CU_F32 == (int)NB_F32 && (int)NB_CU_F16 == (int)NB_F16 && (int)NB_CU_BF16 == (int)NB_BF16, "plain types");
_Static_assert((int)NB_CU_Q4_0 == (int)NB_Q4_0 && (int)NB_CU_Q4_1 == (int)NB_Q4_1 && (int)NB_CU_Q5_0 == (int)NB_Q5_0, "blocks of 32");
_Static_assert((int)NB_CU_Q5_1 == (int)NB_Q5_1 && (int)NB_CU_Q8_0 == (int)NB_Q8_0, "blocks of 32");
_Static_assert((int)NB_CU_Q4_K == (int)NB_Q4_K && (int)NB_CU_Q5_K == (int)NB_Q5_K && (int)NB_CU_Q6_K == (int)NB_Q6_K, "blocks of 256");

/* Rows of X that one sum of a Hessian takes, as struct nb_hessian_args has it. */
enum { HESSIAN_ROWS = 256 };

/* Of kernels/cuda/matmul.cu. */
enum { TILE = 64, THREADS = 256 };

static nb_status check_sizes(size_t m, size_t n, size_t k, nb_err *err) {
    if (m <= INT32_MAX && n <= INT32_MAX && k <= INT32_MAX && nb_ceil_div(n, TILE) <= 65535)
        return NB_OK;
    return nb_fail(err, NB_E_UNSUPPORTED, "a product of %zu x %zu x %zu is too large for a CUDA kernel", m, n, k);
}

nb_status nb__cuda_matmul_tiled(nb_stream *stream, const struct nb_matmul_args *a, nb_err *err) {
    NB_TRY(check_sizes(a->m, a->n, a->k, err));
    nb_cu_matmul p = {.a = nb__cuda_at(a->a), .b = nb__cuda_at(a->b), .c = nb__cuda_at(a->c), .ldc = a->ldc, .m = (unsigned)a->m,
                      .n = (unsigned)a->n, .k = (unsigned)a->k, .lower = a->lower, .alpha = a->alpha, .beta = a->beta};
    p.a_row = a->trans_a ? 1 : a->lda;
    p.a_col = a->trans_a ? a->lda : 1;
    p.b_row = a->trans_b ? 1 : a->ldb;
    p.b_col = a->trans_b ? a->ldb : 1;
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->m, TILE), .y = (unsigned)nb_ceil_div(a->n, TILE), .z = 1, .threads = THREADS};
    return nb__cuda_run(stream, "matmul_tiled", grid, &p, err);
}

/* ---- linear ---- */

static nb_status convert(nb_stream *stream, nb_mem src, nb_dtype type, size_t row_bytes, size_t rows, size_t k, nb_mem dst, nb_err *err) {
    nb_cu_convert p = {.src = nb__cuda_at(src), .out = nb__cuda_at(dst), .row_bytes = row_bytes, .ldo = k, .rows = (unsigned)rows,
                       .k = (unsigned)k, .type = (unsigned)type, .scale = 1.0f};
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(rows, k, THREADS, &grid, err));
    return nb__cuda_run(stream, "linear_convert", grid, &p, err);
}

static nb_status add_bias(nb_stream *stream, const struct nb_linear_args *a, nb_err *err) {
    nb_cu_bias p = {.y = nb__cuda_at(a->y), .bias = nb__cuda_at(a->bias), .ldy = a->ldy, .rows = (unsigned)a->m, .n = (unsigned)a->n};
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->m, a->n, THREADS, &grid, err));
    return nb__cuda_run(stream, "linear_bias", grid, &p, err);
}

/* Columns [at, at + n) of Y by rows of W that lie at w as f32. */
static nb_status some_columns(nb_stream *stream, const struct nb_linear_args *a, nb_mem w, size_t at, size_t n,
                              nb__cuda_product *product, nb_err *err) {
    struct nb_matmul_args p = {.m = a->m, .n = n, .k = a->k, .a = a->x, .lda = a->ldx, .b = w, .ldb = a->k, .trans_b = true,
                               .c = nb_mem_at(a->y, at * sizeof(float)), .ldc = a->ldy, .alpha = 1.0f,
                               .beta = a->accumulate ? 1.0f : 0.0f};
    return product(stream, &p, err);
}

nb_status nb__cuda_linear(nb_stream *stream, const struct nb_linear_args *a, nb__cuda_product *product, nb_err *err) {
    size_t row_bytes, wide;
    if (!nb_dtype_get(a->w_type)->to_f32 || !nb_dtype_bytes(a->w_type, a->k, &row_bytes) || !nb_mul(a->k, sizeof(float), &wide))
        return nb_fail(err, NB_E_UNSUPPORTED, "a weight of type %s with rows of %zu elements cannot be read",
                       nb_dtype_get(a->w_type)->name, a->k);
    if (a->m == 0 || a->n == 0)
        return NB_OK;
    if (a->w_type == NB_F32) {
        NB_TRY(some_columns(stream, a, a->w, 0, a->n, product, err));
    } else {
        nb_mem scratch;
        size_t step = nb_min(a->n, nb_max(1, NB_CUDA_CONVERT / nb_max(wide, 1)));
        NB_TRY(nb__cuda_scratch(stream, nb_max(step * wide, 1), &scratch, err));
        for (size_t at = 0; at < a->n; at += step) {
            size_t n = nb_min(step, a->n - at);
            NB_TRY(convert(stream, nb_mem_at(a->w, at * row_bytes), a->w_type, row_bytes, n, a->k, scratch, err));
            NB_TRY(some_columns(stream, a, scratch, at, n, product, err));
        }
    }
    return a->bias.base ? add_bias(stream, a, err) : NB_OK;
}

nb_status nb__cuda_linear_tiled(nb_stream *stream, const struct nb_linear_args *a, nb_err *err) {
    return nb__cuda_linear(stream, a, nb__cuda_matmul_tiled, err);
}

nb_status nb__cuda_embed_cuda(nb_stream *stream, const struct nb_embed_args *a, nb_err *err) {
    size_t row_bytes;
    nb__cuda_grid grid;
    if (!nb_dtype_get(a->w_type)->to_f32 || !nb_dtype_bytes(a->w_type, a->k, &row_bytes))
        return nb_fail(err, NB_E_UNSUPPORTED, "a table of type %s with rows of %zu elements cannot be read",
                       nb_dtype_get(a->w_type)->name, a->k);
    NB_TRY(nb__cuda_rows_grid(a->rows, a->k, THREADS, &grid, err));
    nb_cu_convert p = {.src = nb__cuda_at(a->table), .ids = nb__cuda_at(a->ids), .out = nb__cuda_at(a->out), .row_bytes = row_bytes,
                       .ldo = a->ldo, .rows = (unsigned)a->rows, .k = (unsigned)a->k, .type = (unsigned)a->w_type, .scale = a->scale};
    return nb__cuda_run(stream, "linear_convert", grid, &p, err);
}

/* ---- hessian ---- */

static nb_status mirror(nb_stream *stream, const struct nb_hessian_args *a, nb_err *err) {
    enum { SIDE = 32, MIRROR_THREADS = 256 };
    nb_cu_square p = {.h = nb__cuda_at(a->h), .ldh = a->ldh, .k = (unsigned)a->k};
    unsigned tiles = (unsigned)nb_ceil_div(a->k, SIDE);
    if (tiles > 65535)
        return nb_fail(err, NB_E_UNSUPPORTED, "a Hessian of %zu columns is too large for a CUDA kernel", a->k);
    nb__cuda_grid grid = {.x = tiles, .y = tiles, .z = 1, .threads = MIRROR_THREADS};
    return nb__cuda_run(stream, "hessian_mirror", grid, &p, err);
}

nb_status nb__cuda_hessian(nb_stream *stream, const struct nb_hessian_args *a, nb__cuda_moments *moments, nb_err *err) {
    for (size_t at = 0; at < a->rows; at += HESSIAN_ROWS)
        NB_TRY(moments(stream, a, nb_mem_at(a->x, at * a->ldx * sizeof(float)), nb_min(HESSIAN_ROWS, a->rows - at), err));
    return a->mirror ? mirror(stream, a, err) : NB_OK;
}

static nb_status add_moments(nb_stream *stream, const struct nb_hessian_args *a, nb_mem x, size_t rows, nb_err *err) {
    struct nb_matmul_args p = {.m = a->k, .n = a->k, .k = rows, .a = x, .lda = a->ldx, .trans_a = true, .b = x, .ldb = a->ldx,
                               .c = a->h, .ldc = a->ldh, .lower = true, .alpha = a->scale, .beta = 1.0f};
    return nb__cuda_matmul_tiled(stream, &p, err);
}

nb_status nb__cuda_hessian_tiled(nb_stream *stream, const struct nb_hessian_args *a, nb_err *err) {
    return nb__cuda_hessian(stream, a, add_moments, err);
}
