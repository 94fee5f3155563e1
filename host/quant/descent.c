/* Coordinate descent on a finished layer: sweeps over codes, scales and zero points that lower tr(E H E^T), E = W - Q. The
 * gradient E H is made anew for each sweep, and inside one carried from block to block by a product. Rows are kept only where
 * the error, computed whole, is less than it was. */
#include "host/base/size.h"
#include "host/quant/internal.h"

/* Columns of a block: whole groups where they are no wider than WIDEST. Parameters of wider ones stay as they are. */
enum { BLOCK = 128, WIDEST = 256 };

typedef struct descent {
    nb_stream *stream;
    nb_device *device;
    const nb__quant_result *r;
    const nb_quant_options *options;
    size_t n, k, groups, block;
    bool params;
    nb_mem h;
    nb_mem e, g, delta;             /* f32 [n,k] twice, [n,block] */
    nb_mem codes, scales, zeros;    /* as they were before */
    nb_mem before, after;           /* f32 [n]: e H e^T of rows */
} descent;

static bool steps_params(size_t group, bool act_order) {
    return !act_order && group <= WIDEST;
}

static size_t block_columns(size_t k, size_t group, bool params) {
    return nb_min(params ? nb_max(1, BLOCK / group) * group : BLOCK, k);
}

size_t nb__descent_scratch(size_t n, size_t k, const nb_quant_options *o) {
    size_t block = block_columns(k, o->group_size, steps_params(o->group_size, o->order == NB_ORDER_ACT));
    return n * k * (2 * sizeof(float) + 1) + n * (block + 2 * nb_ceil_div(k, o->group_size) + 2) * sizeof(float);
}

static nb_status allocate(descent *d, nb_err *err) {
    const struct {
        nb_mem *mem;
        size_t count, size;
    } all[] = {{&d->e, d->n * d->k, 4},           {&d->g, d->n * d->k, 4},           {&d->delta, d->n * d->block, 4},
               {&d->codes, d->n * d->k, 1},       {&d->scales, d->n * d->groups, 4}, {&d->zeros, d->n * d->groups, 4},
               {&d->before, d->n, 4},             {&d->after, d->n, 4}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        NB_TRY(nb_alloc_array(d->device, all[i].count, all[i].size, all[i].mem, err));
    return NB_OK;
}

static void release(descent *d) {
    nb_mem *all[] = {&d->e, &d->g, &d->delta, &d->codes, &d->scales, &d->zeros, &d->before, &d->after};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nb_release(d->device, all[i]);
}

/* e = W - Q, g = e H, errors of rows. */
static nb_status evaluate(const descent *d, nb_mem errors, nb_err *err) {
    size_t n = d->n, k = d->k;
    struct nb_dequant_args back = {.n = n, .k = k, .group = d->options->group_size, .codes = d->r->codes,
                                   .scales = d->r->scales, .zeros = d->r->zeros, .g_idx = d->r->g_idx, .w = d->e, .ldw = k};
    struct nb_subtract_args less = {.rows = n, .k = k, .x = d->r->w, .ldx = k, .y = d->e, .ldy = k};
    struct nb_matmul_args by_h = {.m = n, .n = k, .k = k, .a = d->e, .lda = k, .b = d->h, .ldb = k, .c = d->g, .ldc = k,
                                  .alpha = 1.0f};
    struct nb_row_dot_args dot = {.rows = n, .k = k, .a = d->e, .lda = k, .b = d->g, .ldb = k, .out = errors};
    NB_TRY(nb_launch(d->stream, NB_OP_dequant, &back, err));
    NB_TRY(nb_launch(d->stream, NB_OP_subtract, &less, err));
    NB_TRY(nb_launch(d->stream, NB_OP_matmul, &by_h, err));
    return nb_launch(d->stream, NB_OP_row_dot, &dot, err);
}

static nb_status sweep_block(const descent *d, size_t first, size_t cols, nb_err *err) {
    size_t n = d->n, k = d->k, rest = k - first - cols;
    struct nb_descent_block_args a = {.n = n, .k = k, .group = d->options->group_size, .first = first, .cols = cols, .g = d->g,
                                      .ldg = k, .h = d->h, .ldh = k, .bits = d->options->bits, .params = d->params,
                                      .symmetric = d->options->symmetric, .scale_type = d->options->scale_type,
                                      .codes = d->r->codes, .scales = d->r->scales, .zeros = d->r->zeros,
                                      .g_idx = d->r->g_idx, .delta = d->delta, .ldd = cols};
    NB_TRY(nb_launch(d->stream, NB_OP_descent_block, &a, err));
    if (rest == 0)
        return NB_OK;
    struct nb_matmul_args carry = {.m = n, .n = rest, .k = cols, .a = d->delta, .lda = cols, .ldb = k, .ldc = k,
                                   .alpha = -1.0f, .beta = 1.0f};
    carry.b = nb_mem_at(d->h, (first * k + first + cols) * sizeof(float));
    carry.c = nb_mem_at(d->g, (first + cols) * sizeof(float));
    return nb_launch(d->stream, NB_OP_matmul, &carry, err);
}

/* What is to be restored where a row got worse: dst and its copy. */
static nb_status keep(const descent *d, nb_mem src, nb_mem dst, size_t row_bytes, nb_err *err) {
    struct nb_keep_rows_args a = {.rows = d->n, .row_bytes = row_bytes, .before = d->before, .after = d->after, .src = src,
                                  .dst = dst};
    return nb_launch(d->stream, NB_OP_keep_rows, &a, err);
}

static nb_status restore_worse(const descent *d, nb_err *err) {
    NB_TRY(keep(d, d->codes, d->r->codes, d->k, err));
    NB_TRY(keep(d, d->scales, d->r->scales, d->groups * sizeof(float), err));
    NB_TRY(keep(d, d->zeros, d->r->zeros, d->groups * sizeof(float), err));
    return keep(d, d->before, d->after, sizeof(float), err);
}

static nb_status remember(const descent *d, nb_err *err) {
    NB_TRY(nb_copy(d->stream, d->codes, d->r->codes, d->n * d->k, err));
    NB_TRY(nb_copy(d->stream, d->scales, d->r->scales, d->n * d->groups * sizeof(float), err));
    return nb_copy(d->stream, d->zeros, d->r->zeros, d->n * d->groups * sizeof(float), err);
}

nb_status nb__quant_descend(nb_stream *stream, const nb__quant_result *r, nb_mem h, const nb_quant_options *options,
                            double *after, nb_err *err) {
    descent d = {.stream = stream, .device = stream->device, .r = r, .options = options, .n = r->n, .k = r->k, .h = h,
                 .groups = nb_ceil_div(r->k, options->group_size)};
    nb_status status;
    d.params = steps_params(options->group_size, r->g_idx.base != NULL);
    d.block = block_columns(r->k, options->group_size, d.params);
    NB_GO(allocate(&d, err));
    NB_GO(remember(&d, err));
    NB_GO(evaluate(&d, d.before, err));
    for (unsigned i = 0; i < options->descent; i++) {
        for (size_t first = 0; first < d.k; first += d.block)
            NB_GO(sweep_block(&d, first, nb_min(d.block, d.k - first), err));
        NB_GO(evaluate(&d, d.after, err));
    }
    NB_GO(restore_worse(&d, err));
    NB_GO(nb__quant_sum(stream, d.after, d.n, after, err));
out:
    release(&d);
    return status;
}
