/* Launchers of products: matmul, linear, hessian. Rows that need NB_CL_CPU pack one operand into the stream's scratch and
 * use tiles of registers; the others use tiles of local memory. */
#include <stdio.h>

#include "host/backend/opencl_ops.h"
#include "host/base/size.h"

/* As in kernels/opencl/wide_tile.cl and local_tile.cl. BLOCK_TILES: tiles of rows that share a panel while it is in cache. */
enum { TILE_M = 8, PANEL = 32, BLOCK_TILES = 32, PACK_ROWS = 16, SIDE = 64 };

static bool is_wide(const nb_kernel *row) {
    return row->needs & NB_CL_CPU;
}

/* Scratch for n columns of k floats in whole panels. */
static nb_status panels_scratch(nb_stream *stream, size_t n, size_t k, nb_mem *out, nb_err *err) {
    size_t bytes;
    if (!nb_mul3(nb_ceil_div(n, PANEL) * PANEL, nb_max(k, 1), sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "packed panels");
    return nb__cl_scratch(stream, bytes, out, err);
}

static nb__cl_grid pack_grid(size_t n, size_t k) {
    return NB_CL_GRID2(nb_ceil_div(k, PACK_ROWS), nb_ceil_div(n, PANEL), 1, 1);
}

static nb__cl_grid wide_grid(size_t m, size_t n) {
    size_t tiles = nb_ceil_div(m, TILE_M), block = nb_min(tiles, BLOCK_TILES);
    return NB_CL_GRID3(block, nb_ceil_div(n, PANEL), tiles ? nb_ceil_div(tiles, block) : 0, 1, 1, 1);
}

static nb__cl_grid tiled_grid(size_t m, size_t n) {
    return NB_CL_GRID2(nb_ceil_div(n, SIDE), nb_ceil_div(m, SIDE), 16, 16);
}

nb_status nb__cl_matmul(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_matmul_args *a = args;
    if (row->needs & NB_CL_BLAST)
        return nb__cl_blast_matmul(stream, a, err);
    if (!is_wide(row))
        return NB_CL_RUN(stream, row, err, ("matmul_tiled", NULL, tiled_grid(a->m, a->n)), NB_CL_U32(a->m), NB_CL_U32(a->n),
                         NB_CL_U32(a->k), NB_CL_MEM(a->a), NB_CL_U32(a->lda), NB_CL_U32(a->trans_a), NB_CL_MEM(a->b),
                         NB_CL_U32(a->ldb), NB_CL_U32(a->trans_b), NB_CL_MEM(a->c), NB_CL_U32(a->ldc), NB_CL_F32(a->alpha),
                         NB_CL_F32(a->beta), NB_CL_U32(a->lower));
    nb_mem packed;
    NB_TRY(panels_scratch(stream, a->n, a->k, &packed, err));
    NB_TRY(NB_CL_RUN(stream, row, err, ("matmul_pack", NULL, pack_grid(a->n, a->k)), NB_CL_U32(a->n), NB_CL_U32(a->k),
                     NB_CL_MEM(a->b), NB_CL_U32(a->ldb), NB_CL_U32(a->trans_b), NB_CL_MEM(packed)));
    return NB_CL_RUN(stream, row, err, ("matmul_wide", NULL, wide_grid(a->m, a->n)), NB_CL_U32(a->m), NB_CL_U32(a->n),
                     NB_CL_U32(a->k), NB_CL_MEM(a->a), NB_CL_U32(a->lda), NB_CL_U32(a->trans_a), NB_CL_MEM(packed),
                     NB_CL_MEM(a->c), NB_CL_U32(a->ldc), NB_CL_F32(a->alpha), NB_CL_F32(a->beta), NB_CL_U32(a->lower));
}

nb_status nb__cl_weight_type(nb_dtype type, const char **define, unsigned *number, nb_err *err) {
    static const unsigned numbers[NB_DTYPE_COUNT] = {[NB_F16] = 1,  [NB_BF16] = 2, [NB_Q4_0] = 3, [NB_Q4_1] = 4, [NB_Q5_0] = 5,
                                                     [NB_Q5_1] = 6, [NB_Q8_0] = 7, [NB_Q4_K] = 8, [NB_Q5_K] = 9, [NB_Q6_K] = 10};
    *define = type == NB_F32 ? "-DW_F32" : NULL;
    *number = numbers[type];
    if (type != NB_F32 && *number == 0)
        return nb_fail(err, NB_E_UNSUPPORTED, "OpenCL kernels do not read weights of type %s", nb_dtype_get(type)->name);
    return NB_OK;
}

nb_status nb__cl_linear(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_linear_args *a = args;
    const char *type;
    unsigned number;
    size_t row_bytes;
    NB_TRY(nb__cl_weight_type(a->w_type, &type, &number, err));
    if (!nb_dtype_bytes(a->w_type, a->k, &row_bytes))
        return nb_fail(err, NB_E_UNSUPPORTED, "a weight of type %s with rows of %zu elements", nb_dtype_get(a->w_type)->name, a->k);
    if (!is_wide(row))
        return NB_CL_RUN(stream, row, err, ("linear_tiled", type, tiled_grid(a->m, a->n)), NB_CL_U32(a->m), NB_CL_U32(a->n),
                         NB_CL_U32(a->k), NB_CL_MEM(a->x), NB_CL_U32(a->ldx), NB_CL_MEM(a->w), NB_CL_U32(number), NB_CL_U64(row_bytes),
                         NB_CL_MEM(a->bias), NB_CL_MEM(a->y), NB_CL_U32(a->ldy), NB_CL_U32(a->accumulate));
    nb_mem packed;
    NB_TRY(panels_scratch(stream, a->n, a->k, &packed, err));
    NB_TRY(NB_CL_RUN(stream, row, err, ("linear_pack", type, pack_grid(a->n, a->k)), NB_CL_U32(a->n), NB_CL_U32(a->k),
                     NB_CL_MEM(a->w), NB_CL_U32(number), NB_CL_U64(row_bytes), NB_CL_MEM(packed)));
    return NB_CL_RUN(stream, row, err, ("linear_wide", type, wide_grid(a->m, a->n)), NB_CL_U32(a->m), NB_CL_U32(a->n),
                     NB_CL_U32(a->k), NB_CL_MEM(a->x), NB_CL_U32(a->ldx), NB_CL_MEM(packed), NB_CL_MEM(a->bias), NB_CL_MEM(a->y),
                     NB_CL_U32(a->ldy), NB_CL_U32(a->accumulate));
}

static nb_status hessian_add(nb_stream *stream, const nb_kernel *row, const struct nb_hessian_args *a, nb_err *err) {
    if (!is_wide(row))
        return NB_CL_RUN(stream, row, err, ("hessian_tiled", NULL, tiled_grid(a->k, a->k)), NB_CL_U32(a->rows), NB_CL_U32(a->k),
                         NB_CL_MEM(a->x), NB_CL_U32(a->ldx), NB_CL_MEM(a->h), NB_CL_U32(a->ldh), NB_CL_F32(a->scale));
    nb_mem packed;
    NB_TRY(panels_scratch(stream, a->k, a->rows, &packed, err));
    NB_TRY(NB_CL_RUN(stream, row, err, ("hessian_pack", NULL, pack_grid(a->k, a->rows)), NB_CL_U32(a->rows), NB_CL_U32(a->k),
                     NB_CL_MEM(a->x), NB_CL_U32(a->ldx), NB_CL_MEM(packed)));
    return NB_CL_RUN(stream, row, err, ("hessian_wide", NULL, wide_grid(a->k, a->k)), NB_CL_U32(a->rows), NB_CL_U32(a->k),
                     NB_CL_MEM(packed), NB_CL_MEM(a->h), NB_CL_U32(a->ldh), NB_CL_F32(a->scale));
}

nb_status nb__cl_hessian(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_hessian_args *a = args;
    if (a->rows > 0)
        NB_TRY(hessian_add(stream, row, a, err));
    if (!a->mirror)
        return NB_OK;
    return NB_CL_RUN(stream, row, err, ("hessian_mirror", NULL, nb__cl_over(a->k, a->k)), NB_CL_U32(a->k), NB_CL_MEM(a->h),
                     NB_CL_U32(a->ldh));
}
