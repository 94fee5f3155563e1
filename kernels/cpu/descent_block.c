/* Coordinate descent over one block of columns, row by row. */
#include <math.h>

#include "kernels/cpu/vmath.h"

typedef struct run {
    const struct nb_descent_block_args *args;
    nb_pool *pool;
} run;

enum { ROWS_PER_TASK = 16 };

/* One row of W in one block. */
typedef struct row {
    const struct nb_descent_block_args *a;
    float *g, *c, *v, *before; /* [cols]: gradient; codes less zero; c H; q as it was */
    uint8_t *codes;            /* of the block's columns */
    float *scales, *zeros;     /* of the row */
    const uint32_t *g_idx;     /* of the block's columns, or NULL */
    float top;
} row;

NB_BODY size_t group_of(const row *r, size_t j) {
    return r->g_idx ? r->g_idx[j] : (r->a->first + j) / r->a->group;
}

NB_BODY float value(const row *r, size_t j) {
    size_t g = group_of(r, j);
    return ((float)r->codes[j] - r->zeros[g]) * r->scales[g];
}

NB_BODY const float *h_row(const row *r, size_t j) {
    return nb_host_f32(r->a->h) + (r->a->first + j) * r->a->ldh + r->a->first;
}

/* g -= step * row of `count` floats. */
NB_BODY void move(float *restrict g, const float *restrict h, float step, size_t count) {
    for (size_t i = 0; i < count; i++)
        g[i] = g[i] - step * h[i];
}

/* v = sum over columns j0 .. j1 - 1 of c[j] H[j], over the block. */
NB_BODY void product(row *r, size_t j0, size_t j1) {
    size_t cols = r->a->cols;
    for (size_t i = 0; i < cols; i++)
        r->v[i] = 0.0f;
    for (size_t j = j0; j < j1; j++)
        move(r->v, h_row(r, j), -r->c[j], cols);
}

NB_BODY float dot(const float *x, const float *y, size_t j0, size_t j1) {
    float sum = 0.0f;
    for (size_t j = j0; j < j1; j++)
        sum = sum + x[j] * y[j];
    return sum;
}

/* The zero point one lower or higher: q moves by -+scale in all columns of the group. */
NB_BODY void step_zero(row *r, size_t group, size_t j0, size_t j1) {
    float scale = r->scales[group], sum = 0.0f, square = 0.0f;
    for (size_t j = j0; j < j1; j++)
        r->c[j] = 1.0f;
    product(r, j0, j1);
    for (size_t j = j0; j < j1; j++) {
        sum = sum + r->g[j];
        square = square + r->v[j];
    }
    for (float step = -1.0f; step <= 1.0f; step += 2.0f) {
        float zero = r->zeros[group] + step, d = -(step * scale);
        if (zero < 0.0f || zero > r->top || !(d * (d * square - 2.0f * sum) < 0.0f))
            continue;
        r->zeros[group] = zero;
        move(r->g, r->v, d, r->a->cols);
        return;
    }
}

NB_BODY void step_scale(row *r, size_t group, size_t j0, size_t j1) {
    for (size_t j = j0; j < j1; j++)
        r->c[j] = (float)r->codes[j] - r->zeros[group];
    product(r, j0, j1);
    float slope = dot(r->c, r->g, j0, j1), curve = dot(r->c, r->v, j0, j1);
    if (!(curve > 0.0f))
        return;
    float sign = r->scales[group] < 0.0f ? -1.0f : 1.0f; /* it stays on its side of zero */
    float scale = sign * nb__cpu_round_scale(sign * (r->scales[group] + slope / curve), r->a->scale_type);
    float d = scale - r->scales[group];
    if (!(d * (d * curve - 2.0f * slope) < 0.0f))
        return;
    r->scales[group] = scale;
    move(r->g, r->v, d, r->a->cols);
}

NB_BODY void step_params(row *r) {
    const struct nb_descent_block_args *a = r->a;
    for (size_t j0 = 0; j0 < a->cols;) {
        size_t group = (a->first + j0) / a->group, begin = group * a->group, end = nb_min(begin + a->group, a->k);
        size_t j1 = nb_min(end - a->first, a->cols);
        if (begin >= a->first && end - a->first <= a->cols) {
            if (!a->symmetric)
                step_zero(r, group, j0, j1);
            step_scale(r, group, j0, j1);
        }
        j0 = j1;
    }
}

NB_BODY void step_code(row *r, size_t j) {
    size_t group = group_of(r, j);
    float scale = r->scales[group], zero = r->zeros[group], old = (float)r->codes[j], q = (old - zero) * scale;
    const float *h = h_row(r, j);
    if (!(h[j] > 0.0f))
        return;
    float code = nearbyintf((q + r->g[j] / h[j]) / scale + zero);
    code = !(code > 0.0f) ? 0.0f : code > r->top ? r->top : code;
    float d = (code - zero) * scale - q;
    if (!(d * (d * h[j] - 2.0f * r->g[j]) < 0.0f))
        return;
    r->codes[j] = (uint8_t)code;
    move(r->g, h, d, r->a->cols);
}

NB_BODY void descend_row(const struct nb_descent_block_args *a, size_t i, float *room) {
    size_t groups = nb_ceil_div(a->k, a->group);
    const uint32_t *g_idx = nb_host(a->g_idx);
    float *delta = nb_host_f32(a->delta) + i * a->ldd;
    row r = {.a = a, .g = room, .c = room + a->cols, .v = room + 2 * a->cols, .before = room + 3 * a->cols};
    r.codes = (uint8_t *)nb_host(a->codes) + i * a->k + a->first;
    r.scales = nb_host_f32(a->scales) + i * groups;
    r.zeros = nb_host_f32(a->zeros) + i * groups;
    r.g_idx = g_idx ? g_idx + a->first : NULL;
    r.top = (float)((1u << a->bits) - 1u);
    memcpy(r.g, nb_host_f32(a->g) + i * a->ldg + a->first, a->cols * sizeof *r.g);
    for (size_t j = 0; j < a->cols; j++)
        r.before[j] = value(&r, j);
    if (a->params && !g_idx)
        step_params(&r);
    for (size_t j = 0; j < a->cols; j++)
        step_code(&r, j);
    for (size_t j = 0; j < a->cols; j++)
        delta[j] = value(&r, j) - r.before[j];
}

#define VARIANT(isa, target)                                                                                           \
    target static void task_##isa(void *arg, size_t task, unsigned worker) {                                           \
        const run *s = arg;                                                                                            \
        float *room = nb_pool_scratch(s->pool, worker, 0);                                                             \
        size_t last = nb_min((task + 1) * ROWS_PER_TASK, s->args->n);                                                  \
        for (size_t i = task * ROWS_PER_TASK; i < last; i++)                                                           \
            descend_row(s->args, i, room);                                                                             \
    }                                                                                                                  \
    nb_status nb__cpu_descent_block_##isa(nb_pool *pool, const struct nb_descent_block_args *args, nb_err *err) {      \
        run s = {.args = args, .pool = pool};                                                                          \
        size_t bytes;                                                                                                  \
        if (!nb_mul(args->cols, 4 * sizeof(float), &bytes))                                                            \
            return nb_fail_memory(err, SIZE_MAX, "a block of columns");                                                \
        NB_TRY(nb_pool_reserve(pool, bytes, err));                                                                     \
        nb_pool_run(pool, nb_ceil_div(args->n, ROWS_PER_TASK), task_##isa, &s);                                        \
        return NB_OK;                                                                                                  \
    }

VARIANT(plain, NB_TARGET_PLAIN)
#if defined(__x86_64__)
VARIANT(avx2, NB_TARGET_AVX2)
VARIANT(avx512, NB_TARGET_AVX512)
#endif
