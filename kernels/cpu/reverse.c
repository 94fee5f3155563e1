/* Reversal in place. */
#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { PAIRS_PER_TASK = 1 << 16 };

static void reverse_task(void *arg, size_t task, unsigned worker) {
    const struct nb_reverse_args *a = arg;
    float *p = nb_host_f32(a->a);
    (void)worker;
    size_t last = nb_min((task + 1) * PAIRS_PER_TASK, a->count / 2);
    for (size_t i = task * PAIRS_PER_TASK; i < last; i++) {
        float t = p[i];
        p[i] = p[a->count - 1 - i];
        p[a->count - 1 - i] = t;
    }
}

nb_status nb__cpu_reverse_plain(nb_pool *pool, const struct nb_reverse_args *a, nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->count / 2, PAIRS_PER_TASK), reverse_task, (void *)(uintptr_t)a);
    return NB_OK;
}
