/* Gradient of learned rounding, straight through its roundings. */
#include "kernels/cpu/learned.h"

enum { LANES = 8 };

/* Sums of g dw/dscale and g dw/dzero over a group, and g := dL/dv. A code is clamped where b / scale + v is more than half a
 * step outside of the grid; one that ends at 0 or top by rounding is not. */
NB_BODY void group_back(const struct nb_learned_back_args *a, const nb__learned_grid *grid, size_t first, size_t count,
                        double *by_scale, double *by_zero) {
    const float *restrict b = nb_host_f32(a->f.b) + first, *restrict v = nb_host_f32(a->f.v) + first;
    const uint8_t *restrict codes = (const uint8_t *)nb_host(a->f.codes) + first;
    float *restrict g = nb_host_f32(a->g) + first;
    double s[LANES] = {0}, z[LANES] = {0};
    for (size_t j = 0; j < count; j++) {
        float x = b[j] / grid->scale, at = x + v[j] + grid->zero;
        bool clamped = at < -0.5f || at > grid->top + 0.5f;
        float q = (float)codes[j] - grid->zero;
        s[j % LANES] += (double)(g[j] * (clamped ? q : q - x));
        z[j % LANES] += (double)(clamped ? -(g[j] * grid->scale) : 0.0f);
        g[j] = clamped ? 0.0f : g[j] * grid->scale;
    }
    *by_scale = *by_zero = 0.0;
    for (size_t l = 0; l < LANES; l++) {
        *by_scale += s[l];
        *by_zero += z[l];
    }
}

NB_BODY void learned_back_body(const struct nb_learned_back_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->f.k, a->f.group);
    for (size_t at = 0; at < groups; at++) {
        size_t p = i * groups + at, first = at * a->f.group;
        nb__learned_grid g = nb__learned_grid_of(&a->f, p);
        double s, z, low = (double)g.low, scale = (double)g.scale, top = (double)g.top;
        group_back(a, &g, i * a->f.k + first, nb_min(a->f.group, a->f.k - first), &s, &z);
        if (a->f.symmetric) {
            nb_host_f32(a->dalpha)[p] = (float)(s * (double)nb_host_f32(a->f.scale0)[p]);
            nb_host_f32(a->dbeta)[p] = 0.0f;
            continue;
        }
        s += z * (double)nb_host_f32(a->f.beta)[p] * low / (scale * scale);
        nb_host_f32(a->dalpha)[p] = (float)(s * (double)g.high / top);
        nb_host_f32(a->dbeta)[p] = (float)(-s * low / top - z * low / scale);
    }
}

enum { ROWS_PER_TASK = 8 };

#define VARIANT(isa, target)                                                                                           \
    target static void task_##isa(void *arg, size_t task, unsigned worker) {                                           \
        const struct nb_learned_back_args *a = arg;                                                                    \
        (void)worker;                                                                                                  \
        for (size_t i = task * ROWS_PER_TASK; i < nb_min((task + 1) * ROWS_PER_TASK, a->f.n); i++)                     \
            learned_back_body(a, i);                                                                                   \
    }                                                                                                                  \
    nb_status nb__cpu_learned_back_##isa(nb_pool *pool, const struct nb_learned_back_args *args, nb_err *err) {        \
        (void)err;                                                                                                     \
        nb_pool_run(pool, nb_ceil_div(args->f.n, ROWS_PER_TASK), task_##isa, (void *)(uintptr_t)args);                 \
        return NB_OK;                                                                                                  \
    }

VARIANT(plain, NB_TARGET_PLAIN)
#if defined(__x86_64__)
VARIANT(avx2, NB_TARGET_AVX2)
VARIANT(avx512, NB_TARGET_AVX512)
#endif
