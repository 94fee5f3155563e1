/* Half-quadratic quantization: zero points by proximal steps. */
#include <math.h>

#include "kernels/cpu/vmath.h"

enum { ROWS_PER_TASK = 8 };

#define NORM 0.7f
#define BETA 10.0f
#define KAPPA 1.01f

typedef struct group {
    const struct nb_hqq_args *a;
    const float *w;
    size_t count;
    float scale, inverse, top;
} group;

static float settle_zero(const group *g, float zero) {
    if (g->a->float_zeros)
        return zero;
    zero = nearbyintf(zero);
    return !(zero > 0.0f) ? 0.0f : zero > g->top ? g->top : zero;
}

static inline float code_of(const group *g, float w, float zero) {
    float c = nearbyintf(w * g->inverse + zero);
    return !(c > 0.0f) ? 0.0f : c > g->top ? g->top : c;
}

static void begin(group *g, float *zero) {
    float min = g->w[0], max = g->w[0];
    for (size_t j = 1; j < g->count; j++) {
        min = g->w[j] < min ? g->w[j] : min;
        max = g->w[j] > max ? g->w[j] : max;
    }
    if (g->a->float_zeros) {
        g->scale = max > min ? nb__cpu_round_scale((max - min) / g->top, g->a->scale_type) : 1.0f;
        *zero = -min / g->scale;
    } else {
        nb__cpu_range_params(min, max, g->a->bits, false, g->a->scale_type, &g->scale, zero);
    }
    g->inverse = 1.0f / g->scale;
}

static double error_of(const group *g, float zero) {
    double error = 0.0;
    for (size_t j = 0; j < g->count; j++)
        error += (double)fabsf(g->w[j] - (code_of(g, g->w[j], zero) - zero) * g->scale);
    return error;
}

/* The next zero point. |e| - |e|^(p-1) / beta is positive only past beta^(-1 / (2 - p)): the power is seldom needed. */
static float step(const group *g, float zero, float beta) {
    float least = powf(beta, -1.0f / (2.0f - NORM));
    double sum = 0.0;
    for (size_t j = 0; j < g->count; j++) {
        float c = code_of(g, g->w[j], zero), e = g->w[j] - (c - zero) * g->scale, d = 0.0f;
        if (fabsf(e) > least)
            d = copysignf(fmaxf(0.0f, fabsf(e) - powf(fabsf(e), NORM - 1.0f) / beta), e);
        sum += (double)(c - (g->w[j] - d) * g->inverse);
    }
    return settle_zero(g, (float)(sum / (double)g->count));
}

static float best_zero(const group *g, float zero) {
    double best = error_of(g, zero);
    float beta = BETA;
    for (unsigned i = 0; i < g->a->iterations; i++, beta *= KAPPA) {
        float next = step(g, zero, beta);
        double error = error_of(g, next);
        if (!(error < best))
            break;
        best = error;
        zero = next;
    }
    return zero;
}

static void hqq_row(const struct nb_hqq_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->k, a->group);
    const float *w = nb_host_f32(a->w) + i * a->ldw;
    uint8_t *codes = (uint8_t *)nb_host(a->codes) + i * a->k;
    for (size_t at = 0; at < groups; at++) {
        size_t first = at * a->group;
        float zero;
        group g = {.a = a, .w = w + first, .count = nb_min(a->group, a->k - first), .top = (float)((1u << a->bits) - 1u)};
        begin(&g, &zero);
        zero = best_zero(&g, zero);
        for (size_t j = 0; j < g.count; j++)
            codes[first + j] = (uint8_t)code_of(&g, g.w[j], zero);
        nb_host_f32(a->scales)[i * groups + at] = g.scale;
        nb_host_f32(a->zeros)[i * groups + at] = zero;
    }
}

static void hqq_task(void *arg, size_t task, unsigned worker) {
    const struct nb_hqq_args *a = arg;
    (void)worker;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->n);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++)
        hqq_row(a, i);
}

nb_status nb__cpu_hqq_plain(nb_pool *pool, const struct nb_hqq_args *a, nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->n, ROWS_PER_TASK), hqq_task, (void *)(uintptr_t)a);
    return NB_OK;
}
