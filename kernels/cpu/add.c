/* y += x. */
#include "kernels/cpu/vmath.h"

static void add_rows(const struct nb_add_args *a, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx;
        float *y = nb_host_f32(a->y) + i * a->ldy;
        for (size_t j = 0; j < a->n; j++)
            y[j] += x[j];
    }
}

NB_ROWS_VARIANT(add, plain, NB_TARGET_PLAIN, 32)
