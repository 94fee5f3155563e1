/* Copies or clears a part of a matrix. */
#include <string.h>

#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 64 };

static void copy_task(void *arg, size_t task, unsigned worker) {
    const struct nb_copy_matrix_args *a = arg;
    const float *src = nb_host_f32(a->src);
    (void)worker;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->rows);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++) {
        float *dst = nb_host_f32(a->dst) + i * a->ldd;
        if (src)
            memcpy(dst, src + i * a->lds, a->cols * sizeof *dst);
        else
            memset(dst, 0, a->cols * sizeof *dst);
    }
}

nb_status nb__cpu_copy_matrix_plain(nb_pool *pool, const struct nb_copy_matrix_args *a, nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->rows, ROWS_PER_TASK), copy_task, (void *)(uintptr_t)a);
    return NB_OK;
}
