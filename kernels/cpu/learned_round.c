/* Rounding with learned offsets, on a grid with learned ends. */
#include "kernels/cpu/learned.h"

/* Adding and taking away 1.5 * 2^23 rounds to the nearest integer, half to even, where |x| < 2^22; past it any value serves, as
 * it is clamped. */
NB_BODY float nearest(float x) {
    const float magic = 12582912.0f;
    float c = x > 4e6f ? 4e6f : x < -4e6f ? -4e6f : x;
    return (c + magic) - magic;
}

NB_BODY void learned_round_body(const struct nb_learned_round_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->k, a->group);
    const float *restrict b = nb_host_f32(a->b) + i * a->k, *restrict v = nb_host_f32(a->v) + i * a->k;
    float *restrict w = nb_host_f32(a->w) + i * a->k;
    uint8_t *restrict codes = (uint8_t *)nb_host(a->codes) + i * a->k;
    for (size_t at = 0; at < groups; at++) {
        nb__learned_grid g = nb__learned_grid_of(a, i * groups + at);
        size_t last = nb_min((at + 1) * a->group, a->k);
        for (size_t j = at * a->group; j < last; j++) {
            float c = nearest(b[j] / g.scale + v[j]) + g.zero;
            c = c > 0.0f ? c : 0.0f;
            c = c < g.top ? c : g.top;
            codes[j] = (uint8_t)c;
            w[j] = (c - g.zero) * g.scale;
        }
        nb_host_f32(a->scales)[i * groups + at] = g.scale;
        nb_host_f32(a->zeros)[i * groups + at] = g.zero;
    }
}

enum { ROWS_PER_TASK = 8 };

#define VARIANT(isa, target)                                                                                           \
    target static void task_##isa(void *arg, size_t task, unsigned worker) {                                           \
        const struct nb_learned_round_args *a = arg;                                                                   \
        (void)worker;                                                                                                  \
        for (size_t i = task * ROWS_PER_TASK; i < nb_min((task + 1) * ROWS_PER_TASK, a->n); i++)                       \
            learned_round_body(a, i);                                                                                  \
    }                                                                                                                  \
    nb_status nb__cpu_learned_round_##isa(nb_pool *pool, const struct nb_learned_round_args *args, nb_err *err) {      \
        (void)err;                                                                                                     \
        nb_pool_run(pool, nb_ceil_div(args->n, ROWS_PER_TASK), task_##isa, (void *)(uintptr_t)args);                   \
        return NB_OK;                                                                                                  \
    }

VARIANT(plain, NB_TARGET_PLAIN)
#if defined(__x86_64__)
VARIANT(avx2, NB_TARGET_AVX2)
VARIANT(avx512, NB_TARGET_AVX512)
#endif
