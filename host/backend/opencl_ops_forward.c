/* Launchers of the forward pass. */
#include "host/backend/opencl_ops.h"
#include "host/base/size.h"

/* As in kernels/opencl/attention.cl. */
enum { QUERIES = 32, KEYS = 64, ATTENTION_ITEMS = 64, MAX_HEAD_DIM = 512 };

nb_status nb__cl_embed(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_embed_args *a = args;
    const char *type;
    unsigned number;
    size_t row_bytes;
    NB_TRY(nb__cl_weight_type(a->w_type, &type, &number, err));
    if (!nb_dtype_bytes(a->w_type, a->k, &row_bytes))
        return nb_fail(err, NB_E_UNSUPPORTED, "a table of type %s with rows of %zu elements", nb_dtype_get(a->w_type)->name, a->k);
    return NB_CL_RUN(stream, row, err, ("embed", type, nb__cl_over(a->rows, a->k)), NB_CL_U32(a->k), NB_CL_MEM(a->ids),
                     NB_CL_MEM(a->table), NB_CL_U32(number), NB_CL_U64(row_bytes), NB_CL_MEM(a->out), NB_CL_U32(a->ldo), NB_CL_F32(a->scale));
}

nb_status nb__cl_rmsnorm(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_rmsnorm_args *a = args;
    size_t items = nb__cl_row_items(row);
    return NB_CL_RUN(stream, row, err, ("rmsnorm", NULL, NB_CL_GRID1(a->rows, items)), NB_CL_U32(a->k), NB_CL_MEM(a->x),
                     NB_CL_MEM(a->weight), NB_CL_MEM(a->y), NB_CL_U32(a->ldx), NB_CL_U32(a->ldy), NB_CL_F32(a->eps),
                     NB_CL_F32(a->offset), NB_CL_LOCAL(items * NB_CL_WIDE));
}

nb_status nb__cl_rope(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_rope_args *a = args;
    return NB_CL_RUN(stream, row, err, ("rope", NULL, nb__cl_over(a->rows, a->heads * (a->head_dim / 2))), NB_CL_U32(a->length),
                     NB_CL_U32(a->past), NB_CL_U32(a->heads), NB_CL_U32(a->head_dim), NB_CL_MEM(a->x), NB_CL_U32(a->ldx),
                     NB_CL_MEM(a->cos), NB_CL_MEM(a->sin));
}

nb_status nb__cl_glu(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_glu_args *a = args;
    return NB_CL_RUN(stream, row, err, ("glu", NULL, nb__cl_over_lanes(row, a->rows, a->n)), NB_CL_U32(a->n), NB_CL_MEM(a->gate),
                     NB_CL_MEM(a->up), NB_CL_MEM(a->out), NB_CL_U32(a->ldg), NB_CL_U32(a->ldu), NB_CL_U32(a->ldo),
                     NB_CL_U32(a->act == NB_GLU_GELU_TANH));
}

/* Arguments of either kernel. */
#define ATTENTION_ARGS(a)                                                                                              \
    NB_CL_U32((a)->length), NB_CL_U32((a)->past), NB_CL_U32((a)->heads / (a)->kv_heads), NB_CL_U32((a)->head_dim),      \
        NB_CL_MEM((a)->q), NB_CL_MEM((a)->k), NB_CL_MEM((a)->v), NB_CL_MEM((a)->out), NB_CL_U32((a)->ldq),             \
        NB_CL_U32((a)->ldkv), NB_CL_U32((a)->ldo), NB_CL_U64((a)->kv_stride), NB_CL_U32((a)->window), NB_CL_F32((a)->scale)

nb_status nb__cl_attention(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_attention_args *a = args;
    if (a->head_dim > MAX_HEAD_DIM)
        return nb_fail(err, NB_E_UNSUPPORTED, "heads of %zu columns; OpenCL kernels take at most %d", a->head_dim, MAX_HEAD_DIM);
    if (!(row->needs & NB_CL_CPU))
        return NB_CL_RUN(stream, row, err,
                         ("attention_tiled", NULL, NB_CL_GRID3(a->length, a->heads, a->sequences, ATTENTION_ITEMS, 1, 1)),
                         ATTENTION_ARGS(a));
    size_t room = (2 * a->head_dim + KEYS) * QUERIES * sizeof(float);
    return NB_CL_RUN(stream, row, err,
                     ("attention_wide", NULL, NB_CL_GRID3(nb_ceil_div(a->length, QUERIES), a->heads, a->sequences, 1, 1, 1)),
                     ATTENTION_ARGS(a), NB_CL_LOCAL(room));
}

/* Rows of the logits (or of the reference) against the logits, into parts. */
static nb_status logit_rows(nb_stream *stream, const nb_kernel *row, const struct nb_logit_stats_args *a, nb_mem r, size_t ldr,
                            nb_mem parts, nb_err *err) {
    size_t items = nb__cl_row_items(row);
    return NB_CL_RUN(stream, row, err, ("logit_stats_row", NULL, NB_CL_GRID1(a->rows, items)), NB_CL_U32(a->n), NB_CL_MEM(r),
                     NB_CL_U32(ldr), NB_CL_MEM(a->logits), NB_CL_U32(a->ldl), NB_CL_MEM(parts), NB_CL_LOCAL(items * NB_CL_WIDE),
                     NB_CL_LOCAL(items * sizeof(float)), NB_CL_LOCAL(items * sizeof(uint32_t)));
}

nb_status nb__cl_logit_stats(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_logit_stats_args *a = args;
    enum { PART = 24 }; /* of kernels/opencl/logit_stats.cl */
    size_t bytes;
    nb_mem parts;
    if (!nb_mul3(a->rows, 2, PART, &bytes))
        return nb_fail_memory(err, SIZE_MAX, "statistics of logits");
    if (a->rows == 0)
        return NB_OK;
    NB_TRY(nb__cl_scratch(stream, bytes, &parts, err));
    NB_TRY(logit_rows(stream, row, a, a->logits, a->ldl, parts, err));
    if (a->reference.base)
        NB_TRY(logit_rows(stream, row, a, a->reference, a->ldr, nb_mem_at(parts, a->rows * PART), err));
    return NB_CL_RUN(stream, row, err, ("logit_stats", NULL, nb__cl_over(1, a->rows)), NB_CL_U32(a->rows), NB_CL_MEM(parts),
                     NB_CL_MEM(a->logits), NB_CL_U32(a->ldl), NB_CL_MEM(a->targets), NB_CL_MEM(a->nll), NB_CL_MEM(a->kl),
                     NB_CL_MEM(a->agree), NB_CL_U32(a->reference.base != NULL));
}
