/* Codes to floats. */
#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 16 };

static void dequant_row(const struct nb_dequant_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->k, a->group);
    const float *scales = nb_host_f32(a->scales) + i * groups, *zeros = nb_host_f32(a->zeros) + i * groups;
    const uint32_t *g_idx = nb_host(a->g_idx);
    const uint8_t *codes = (const uint8_t *)nb_host(a->codes) + i * a->k;
    float *w = nb_host_f32(a->w) + i * a->ldw;
    for (size_t j = 0; g_idx && j < a->k; j++)
        w[j] = ((float)codes[j] - zeros[g_idx[j]]) * scales[g_idx[j]];
    for (size_t g = 0; !g_idx && g < groups; g++) {
        float scale = scales[g], zero = zeros[g];
        size_t last = nb_min((g + 1) * a->group, a->k);
        for (size_t j = g * a->group; j < last; j++)
            w[j] = ((float)codes[j] - zero) * scale;
    }
}

static void dequant_task(void *arg, size_t task, unsigned worker) {
    const struct nb_dequant_args *a = arg;
    (void)worker;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->n);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++)
        dequant_row(a, i);
}

nb_status nb__cpu_dequant_plain(nb_pool *pool, const struct nb_dequant_args *a, nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->n, ROWS_PER_TASK), dequant_task, (void *)(uintptr_t)a);
    return NB_OK;
}
