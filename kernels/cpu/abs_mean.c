/* Mean magnitude of each column. */
#include <math.h>

#include "kernels/cpu/vmath.h"

enum { COLUMNS = 64 };

static void abs_mean_task(void *arg, size_t task, unsigned worker) {
    const struct nb_abs_mean_args *a = arg;
    (void)worker;
    size_t first = task * COLUMNS, count = nb_min(COLUMNS, a->k - first);
    double sums[COLUMNS] = {0};
    for (size_t i = 0; i < a->rows; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx + first;
        for (size_t j = 0; j < count; j++)
            sums[j] += (double)fabsf(x[j]);
    }
    for (size_t j = 0; j < count; j++)
        nb_host_f32(a->out)[first + j] = a->rows ? (float)(sums[j] / (double)a->rows) : 0.0f;
}

nb_status nb__cpu_abs_mean_plain(nb_pool *pool, const struct nb_abs_mean_args *a, nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->k, COLUMNS), abs_mean_task, (void *)(uintptr_t)a);
    return NB_OK;
}
