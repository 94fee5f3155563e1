/* Root mean square normalisation (arXiv 1910.07467). */
#include <math.h>

#include "kernels/cpu/vmath.h"

enum { LANES = 16 };

/* Squares of floats are exact in double; eight digits more than the result needs, in any order of the sum. */
NB_BODY double sum_squares(const float *x, size_t k) {
    double s[LANES] = {0}, sum = 0.0;
    size_t j = 0;
    for (; j + LANES <= k; j += LANES)
        for (size_t l = 0; l < LANES; l++)
            s[l] += (double)x[j + l] * (double)x[j + l];
    for (; j < k; j++)
        sum += (double)x[j] * (double)x[j];
    for (size_t l = 0; l < LANES; l++)
        sum += s[l];
    return sum;
}

NB_BODY void rmsnorm_rows(const struct nb_rmsnorm_args *a, size_t first, size_t last) {
    const float *weight = nb_host_f32(a->weight);
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx;
        float *y = nb_host_f32(a->y) + i * a->ldy;
        float inverse = (float)(1.0 / sqrt(sum_squares(x, a->k) / (double)a->k + (double)a->eps));
        for (size_t j = 0; j < a->k; j++)
            y[j] = x[j] * inverse * (weight[j] + a->offset);
    }
}

NB_ROWS_VARIANTS(rmsnorm, 16)
