/* Rounding to nearest. */
#include <math.h>

#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 16 };

static void rtn_row(const struct nb_rtn_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->k, a->group);
    float top = (float)((1u << a->bits) - 1u);
    const float *w = nb_host_f32(a->w) + i * a->ldw;
    const float *scales = nb_host_f32(a->scales) + i * groups, *zeros = nb_host_f32(a->zeros) + i * groups;
    const uint32_t *g_idx = nb_host(a->g_idx);
    uint8_t *codes = (uint8_t *)nb_host(a->codes) + i * a->k;
    for (size_t j = 0; j < a->k; j++) {
        size_t g = g_idx ? g_idx[j] : j / a->group;
        float q = nearbyintf(w[j] / scales[g]) + zeros[g];
        codes[j] = (uint8_t)(!(q > 0.0f) ? 0.0f : q > top ? top : q); /* NaN to 0 */
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
