/* The Hessian in reversed visiting order, damped, as a lower triangle. */
#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 16 };

static void order_task(void *arg, size_t task, unsigned worker) {
    const struct nb_hessian_order_args *a = arg;
    const struct nb_gptq_status *status = nb_host(a->status);
    const uint32_t *perm = nb_host(a->perm);
    (void)worker;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->k), k = a->k;
    for (size_t i = task * ROWS_PER_TASK; i < last; i++) {
        const float *h = nb_host_f32(a->h) + perm[k - 1 - i] * a->ldh;
        float *f = nb_host_f32(a->f) + i * a->ldf;
        for (size_t j = 0; j <= i; j++)
            f[j] = h[perm[k - 1 - j]];
        for (size_t j = i + 1; j < k; j++)
            f[j] = 0.0f;
        f[i] = (f[i] == 0.0f ? status->mean : f[i]) + a->damp * status->mean;
    }
}

nb_status nb__cpu_hessian_order_plain(nb_pool *pool, const struct nb_hessian_order_args *a, nb_err *err) {
    (void)err;
    struct nb_gptq_status *status = nb_host(a->status);
    status->pivot = 0;
    nb_pool_run(pool, nb_ceil_div(a->k, ROWS_PER_TASK), order_task, (void *)(uintptr_t)a);
    return NB_OK;
}
