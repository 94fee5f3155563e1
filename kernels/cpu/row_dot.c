/* Scalar products of rows. */
#include "kernels/cpu/vmath.h"

/* Four partial sums, so that the next addition need not wait for the last. */
static void row_dot_rows(const struct nb_row_dot_args *a, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->a) + i * a->lda, *y = nb_host_f32(a->b) + i * a->ldb;
        double sums[4] = {0};
        for (size_t j = 0; j < a->k; j++)
            sums[j % 4] += (double)x[j] * (double)y[j];
        nb_host_f32(a->out)[i] = (float)((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
}

NB_ROWS_VARIANT(row_dot, plain, NB_TARGET_PLAIN, 32)
