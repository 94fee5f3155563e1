/* Rows and columns of a matrix times factors. */
#include "kernels/cpu/vmath.h"

static void scale_matrix_rows(const struct nb_scale_matrix_args *a, size_t first, size_t last) {
    const float *row = nb_host_f32(a->row), *col = nb_host_f32(a->col);
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx;
        float *y = nb_host_f32(a->y) + i * a->ldy, r = row ? row[i] : 1.0f;
        for (size_t j = 0; col && j < a->k; j++)
            y[j] = x[j] * r * col[j];
        for (size_t j = 0; !col && j < a->k; j++)
            y[j] = x[j] * r;
    }
}

NB_ROWS_VARIANT(scale_matrix, plain, NB_TARGET_PLAIN, 32)
