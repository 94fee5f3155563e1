/* Arguments of the forward pass's operations on CUDA. */
#include "host/backend/cuda.h"
#include "host/base/size.h"
#include "kernels/cuda/params.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

nb_status nb__cuda_rmsnorm_cuda(nb_stream *stream, const struct nb_rmsnorm_args *a, nb_err *err) {
    if (a->rows > INT32_MAX || a->k > INT32_MAX)
        return nb_fail(err, NB_E_UNSUPPORTED, "a matrix of %zu x %zu is too large for a CUDA kernel", a->rows, a->k);
    nb_cu_rows p = {.x = nb__cuda_at(a->x), .y = nb__cuda_at(a->y), .row = nb__cuda_at(a->weight), .ldx = a->ldx, .ldy = a->ldy,
                    .rows = (unsigned)a->rows, .k = (unsigned)a->k, .eps = a->eps, .offset = a->offset};
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->rows, WARPS), .y = 1, .z = 1, .threads = THREADS};
    return nb__cuda_run(stream, "rmsnorm_cuda", grid, &p, err);
}

nb_status nb__cuda_rope_cuda(nb_stream *stream, const struct nb_rope_args *a, nb_err *err) {
    size_t half = a->head_dim / 2, pairs;
    nb__cuda_grid grid;
    if (!nb_mul(a->heads, half, &pairs))
        return nb_fail(err, NB_E_UNSUPPORTED, "%zu heads of %zu are too large for a CUDA kernel", a->heads, a->head_dim);
    NB_TRY(nb__cuda_rows_grid(a->rows, pairs, THREADS, &grid, err));
    nb_cu_rope p = {.x = nb__cuda_at(a->x), .cos = nb__cuda_at(a->cos), .sin = nb__cuda_at(a->sin), .ldx = a->ldx,
                    .length = a->length, .past = a->past, .rows = (unsigned)a->rows, .heads = (unsigned)a->heads,
                    .half = (unsigned)half};
    return nb__cuda_run(stream, "rope_cuda", grid, &p, err);
}

/* Of kernels/cuda/attention.cu: each kernel has its dimensions of a head by lane, queries of a warp, and warps of a CTA. */
nb_status nb__cuda_attention_tiled(nb_stream *stream, const struct nb_attention_args *a, nb_err *err) {
    enum { ATTENTION_WARPS = 4, KEYS = 32 };
    static const struct {
        const char *kernel;
        size_t head_dim, queries;
    } kinds[] = {{"attention_tiled_64", 64, 4}, {"attention_tiled_128", 128, 4}, {"attention_tiled_256", 256, 2}};
    size_t kind = 0, total = a->past + a->length;
    while (kind < 3 && a->head_dim > kinds[kind].head_dim)
        kind++;
    if (kind == 3 || total > INT32_MAX || a->sequences > 65535 || a->heads > 65535)
        return nb_fail(err, NB_E_UNSUPPORTED, "attention of %zu sequences, %zu keys and %zu heads of %zu is too large for a CUDA kernel",
                       a->sequences, total, a->heads, a->head_dim);
    nb_cu_attention p = {.q = nb__cuda_at(a->q), .k = nb__cuda_at(a->k), .v = nb__cuda_at(a->v), .out = nb__cuda_at(a->out),
                         .ldq = a->ldq, .ldkv = a->ldkv, .ldo = a->ldo, .kv_stride = a->kv_stride, .window = a->window,
                         .sequences = (unsigned)a->sequences, .length = (unsigned)a->length, .past = (unsigned)a->past,
                         .heads = (unsigned)a->heads, .kv_heads = (unsigned)a->kv_heads, .head_dim = (unsigned)a->head_dim,
                         .scale = a->scale};
    size_t queries = ATTENTION_WARPS * kinds[kind].queries, floats = queries * a->head_dim + KEYS * (a->head_dim + 1);
    nb__cuda_grid grid = {.x = (unsigned)nb_ceil_div(a->length, queries), .y = (unsigned)a->heads, .z = (unsigned)a->sequences,
                          .threads = 32 * ATTENTION_WARPS, .shared = (unsigned)(floats * sizeof(float))};
    return nb__cuda_run(stream, kinds[kind].kernel, grid, &p, err);
}

nb_status nb__cuda_glu_cuda(nb_stream *stream, const struct nb_glu_args *a, nb_err *err) {
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->rows, a->n, THREADS, &grid, err));
    nb_cu_glu p = {.gate = nb__cuda_at(a->gate), .up = nb__cuda_at(a->up), .out = nb__cuda_at(a->out), .ldg = a->ldg, .ldu = a->ldu,
                   .ldo = a->ldo, .rows = (unsigned)a->rows, .n = (unsigned)a->n, .gelu = a->act == NB_GLU_GELU_TANH};
    return nb__cuda_run(stream, "glu_cuda", grid, &p, err);
}

nb_status nb__cuda_add_cuda(nb_stream *stream, const struct nb_add_args *a, nb_err *err) {
    nb__cuda_grid grid;
    NB_TRY(nb__cuda_rows_grid(a->rows, a->n, THREADS, &grid, err));
    nb_cu_rows p = {.x = nb__cuda_at(a->x), .y = nb__cuda_at(a->y), .ldx = a->ldx, .ldy = a->ldy, .rows = (unsigned)a->rows,
                    .k = (unsigned)a->n};
    return nb__cuda_run(stream, "add_cuda", grid, &p, err);
}

nb_status nb__cuda_logit_stats_cuda(nb_stream *stream, const struct nb_logit_stats_args *a, nb_err *err) {
    if (a->rows > INT32_MAX || a->n > INT32_MAX)
        return nb_fail(err, NB_E_UNSUPPORTED, "%zu rows of %zu logits are too large for a CUDA kernel", a->rows, a->n);
    nb_cu_logits p = {.logits = nb__cuda_at(a->logits), .reference = nb__cuda_at(a->reference), .targets = nb__cuda_at(a->targets),
                      .nll = nb__cuda_at(a->nll), .kl = nb__cuda_at(a->kl), .agree = nb__cuda_at(a->agree), .ldl = a->ldl,
                      .ldr = a->ldr, .rows = (unsigned)a->rows, .n = (unsigned)a->n};
    nb__cuda_grid grid = {.x = (unsigned)a->rows, .y = 1, .z = 1, .threads = THREADS};
    return nb__cuda_run(stream, "logit_stats_cuda", grid, &p, err);
}
