/* Squared error of codes, row by row. */
#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 16 };

/* Four partial sums, so that the next addition need not wait for the last. */
enum { SUMS = 4 };

static void add_square(double *sums, size_t j, float w, float q) {
    double d = (double)(w - q);
    sums[j % SUMS] += d * d;
}

static float error_of_row(const struct nb_quant_error_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->k, a->group);
    const float *w = nb_host_f32(a->w) + i * a->ldw;
    const float *scales = nb_host_f32(a->scales) + i * groups,
                *zeros = nb_host_f32(a->zeros) + i * groups;
    const uint32_t *g_idx = nb_host(a->g_idx);
    const uint8_t *codes = (const uint8_t *)nb_host(a->codes) + i * a->k;
    double sums[SUMS] = {0};
    for (size_t j = 0; g_idx && j < a->k; j++)
        add_square(sums, j, w[j], ((float)codes[j] - zeros[g_idx[j]]) * scales[g_idx[j]]);
    for (size_t g = 0; !g_idx && g < groups; g++) {
        float scale = scales[g], zero = zeros[g];
        size_t last = nb_min((g + 1) * a->group, a->k);
        for (size_t j = g * a->group; j < last; j++)
            add_square(sums, j, w[j], ((float)codes[j] - zero) * scale);
    }
    return (float)((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

static void error_task(void *arg, size_t task, unsigned worker) {
    const struct nb_quant_error_args *a = arg;
    (void)worker;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->n);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++)
        nb_host_f32(a->error)[i] = error_of_row(a, i);
}

nb_status nb__cpu_quant_error_plain(nb_pool *pool, const struct nb_quant_error_args *a,
                                    nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->n, ROWS_PER_TASK), error_task, (void *)(uintptr_t)a);
    return NB_OK;
}
