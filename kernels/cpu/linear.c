/* Y = X * W^T + bias with W in any stored type: rows of W are converted to f32 as their panels are packed, so the
 * weight is never whole in memory as floats. */
#include <string.h>

#include "host/base/size.h"
#include "kernels/cpu/sgemm.h"

/* Up to this many rows of X a dot product for each output beats packing panels that are used once. */
enum { MAX_DOT_ROWS = 3, DOT_OUTPUTS = 32 };

typedef struct operand {
    const unsigned char *w;
    size_t row_bytes, k;
    nb_dtype type;
    const nb__sgemm_isa *isa;
} operand;

/* Rows are converted a strip at a time and transposed from there. Where k0 falls inside a block, conversion starts at the
 * block's beginning. */
static void pack_weight(const void *arg, size_t row, size_t rows, size_t k0, size_t ks, size_t width, float *scratch,
                        float *dst) {
    const operand *o = arg;
    const nb_dtype_info *t = nb_dtype_get(o->type);
    size_t first = k0 / t->block_elems * t->block_elems;
    size_t len = nb_ceil_div(k0 + ks, t->block_elems) * t->block_elems - first;
    for (size_t r0 = 0; r0 < width; r0 += NB_PACK_ROWS) {
        size_t some = rows > r0 ? nb_min(NB_PACK_ROWS, rows - r0) : 0;
        for (size_t r = 0; r < some; r++)
            nb_to_f32(o->type, o->w + (row + r0 + r) * o->row_bytes + first / t->block_elems * t->block_bytes, len,
                      scratch + r * len);
        o->isa->strip(scratch + (k0 - first), len, some, ks, width, nb_min(NB_PACK_ROWS, width - r0), dst + r0);
    }
}

typedef struct dot_run {
    const struct nb_linear_args *args;
    const nb__sgemm_isa *isa;
    nb_pool *pool;
    operand w;
} dot_run;

static void dot_task(void *arg, size_t task, unsigned worker) {
    const dot_run *r = arg;
    const struct nb_linear_args *a = r->args;
    float *row = nb_pool_scratch(r->pool, worker, 0);
    const float *x = nb_host_f32(a->x), *bias = nb_host_f32(a->bias);
    float *y = nb_host_f32(a->y);
    size_t last = nb_min((task + 1) * DOT_OUTPUTS, a->n);
    bool halves = a->w_type == NB_F16 && r->isa->dot_f16;
    for (size_t j = task * DOT_OUTPUTS; j < last; j++) {
        const unsigned char *stored = r->w.w + j * r->w.row_bytes;
        const float *w = row;
        if (halves)
            w = NULL;
        else if (a->w_type == NB_F32 && (uintptr_t)r->w.w % sizeof(float) == 0)
            w = (const float *)(const void *)stored;
        else
            nb_to_f32(a->w_type, stored, a->k, row);
        for (size_t i = 0; i < a->m; i++) {
            const float *xi = x + i * a->ldx;
            float v = (w ? r->isa->dot(xi, w, a->k) : r->isa->dot_f16(xi, stored, a->k)) + (bias ? bias[j] : 0.0f);
            y[i * a->ldy + j] = a->accumulate ? y[i * a->ldy + j] + v : v;
        }
    }
}

static nb_status linear(nb_pool *pool, const nb__sgemm_isa *isa, const struct nb_linear_args *a, nb_err *err) {
    dot_run r = {.args = a, .isa = isa, .pool = pool};
    r.w = (operand){.w = nb_host(a->w), .k = a->k, .type = a->w_type, .isa = isa};
    if (!nb_dtype_get(a->w_type)->to_f32 || !nb_dtype_bytes(a->w_type, a->k, &r.w.row_bytes))
        return nb_fail(err, NB_E_UNSUPPORTED, "a weight of type %s with rows of %zu elements cannot be read",
                       nb_dtype_get(a->w_type)->name, a->k);
    if (a->m <= MAX_DOT_ROWS) {
        NB_TRY(nb_pool_reserve(pool, a->k * sizeof(float), err));
        nb_pool_run(pool, a->m ? nb_ceil_div(a->n, DOT_OUTPUTS) : 0, dot_task, &r);
        return NB_OK;
    }
    bool plain = a->w_type == NB_F32 && (uintptr_t)r.w.w % sizeof(float) == 0;
    nb__f32_operand x = {nb_host_f32(a->x), a->ldx}, w = {(const float *)(const void *)r.w.w, a->k};
    nb__sgemm_job job = {
        .m = a->m,
        .n = a->n,
        .k = a->k,
        .pack_a = isa->pack_rows,
        .pack_b = plain ? isa->pack_rows : pack_weight,
        .a = &x,
        .b = plain ? (const void *)&w : (const void *)&r.w,
        .c = nb_host_f32(a->y),
        .ldc = a->ldy,
        .alpha = 1.0f,
        .beta = a->accumulate ? 1.0f : 0.0f,
        .bias = nb_host_f32(a->bias),
    };
    return nb__sgemm_run(pool, isa, &job, err);
}

nb_status nb__cpu_linear_plain(nb_pool *pool, const struct nb_linear_args *args, nb_err *err) {
    return linear(pool, &nb__sgemm_plain, args, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_linear_avx2(nb_pool *pool, const struct nb_linear_args *args, nb_err *err) {
    return linear(pool, &nb__sgemm_avx2, args, err);
}

nb_status nb__cpu_linear_avx512(nb_pool *pool, const struct nb_linear_args *args, nb_err *err) {
    return linear(pool, &nb__sgemm_avx512, args, err);
}
#endif
