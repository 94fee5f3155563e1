/* Gradient of root mean square normalisation. */
#include <math.h>

#include "kernels/cpu/vmath.h"

enum { LANES = 16 };

/* Sums of x^2 and of t x, t = d (weight + offset). */
NB_BODY void sums(const float *x, const float *d, const float *weight, float offset, size_t k, double *xx, double *tx) {
    double a[LANES] = {0}, b[LANES] = {0};
    size_t j = 0;
    for (; j + LANES <= k; j += LANES)
        for (size_t l = 0; l < LANES; l++) {
            double v = (double)x[j + l];
            a[l] += v * v;
            b[l] += (double)(d[j + l] * (weight[j + l] + offset)) * v;
        }
    *xx = *tx = 0.0;
    for (; j < k; j++) {
        *xx += (double)x[j] * (double)x[j];
        *tx += (double)(d[j] * (weight[j] + offset)) * (double)x[j];
    }
    for (size_t l = 0; l < LANES; l++) {
        *xx += a[l];
        *tx += b[l];
    }
}

NB_BODY void rmsnorm_back_rows(const struct nb_rmsnorm_back_args *a, size_t first, size_t last) {
    const float *weight = nb_host_f32(a->weight);
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx, *d = nb_host_f32(a->d) + i * a->ldd;
        float *dx = nb_host_f32(a->dx) + i * a->lddx;
        double xx, tx;
        sums(x, d, weight, a->offset, a->k, &xx, &tx);
        double r = 1.0 / sqrt(xx / (double)a->k + (double)a->eps);
        float scale = (float)r, pull = (float)(r * r * r * tx / (double)a->k);
        for (size_t j = 0; j < a->k; j++) {
            float g = scale * (d[j] * (weight[j] + a->offset)) - pull * x[j];
            dx[j] = a->accumulate ? dx[j] + g : g;
        }
    }
}

NB_ROWS_VARIANTS(rmsnorm_back, 16)
