/* y = x - y. */
#include "kernels/cpu/vmath.h"

static void subtract_rows(const struct nb_subtract_args *a, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx;
        float *y = nb_host_f32(a->y) + i * a->ldy;
        for (size_t j = 0; j < a->k; j++)
            y[j] = x[j] - y[j];
    }
}

NB_ROWS_VARIANT(subtract, plain, NB_TARGET_PLAIN, 32)
