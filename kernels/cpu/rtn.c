/* Rounding to nearest. */
#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 16 };

/* Rounds half to even by adding and removing 1.5 * 2^23, which compilers can make vectors of, unlike nearbyintf. Past
 * 2^21, where any code is clamped, x is clamped first. NaN stays. */
static inline float round_even(float x) {
    x = x > 0x1p21f ? 0x1p21f : x;
    x = x < -0x1p21f ? -0x1p21f : x;
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

static inline uint8_t code_of(float w, float scale, float zero, float top) {
    float q = round_even(w / scale) + zero;
    q = q > 0.0f ? q : 0.0f; /* NaN to 0 */
    return (uint8_t)(int)(q < top ? q : top);
}

static void rtn_row(const struct nb_rtn_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->k, a->group);
    float top = (float)((1u << a->bits) - 1u);
    const float *w = nb_host_f32(a->w) + i * a->ldw;
    const float *scales = nb_host_f32(a->scales) + i * groups, *zeros = nb_host_f32(a->zeros) + i * groups;
    const uint32_t *g_idx = nb_host(a->g_idx);
    uint8_t *codes = (uint8_t *)nb_host(a->codes) + i * a->k;
    for (size_t j = 0; g_idx && j < a->k; j++)
        codes[j] = code_of(w[j], scales[g_idx[j]], zeros[g_idx[j]], top);
    for (size_t g = 0; !g_idx && g < groups; g++) {
        float scale = scales[g], zero = zeros[g];
        size_t last = nb_min((g + 1) * a->group, a->k);
        for (size_t j = g * a->group; j < last; j++)
            codes[j] = code_of(w[j], scale, zero, top);
    }
}

static void rtn_task(void *arg, size_t task, unsigned worker) {
    const struct nb_rtn_args *a = arg;
    (void)worker;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->n);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++)
        rtn_row(a, i);
}

nb_status nb__cpu_rtn_plain(nb_pool *pool, const struct nb_rtn_args *a, nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->n, ROWS_PER_TASK), rtn_task, (void *)(uintptr_t)a);
    return NB_OK;
}
