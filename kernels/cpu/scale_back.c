/* Gradient of dequantization by factors of the scales. */
#include "kernels/cpu/vmath.h"

enum { LANES = 8 };

/* sum of g (code - zero), each product in f32. */
NB_BODY double group_sum(const float *restrict g, const uint8_t *restrict codes, float zero, size_t count) {
    double s[LANES] = {0}, sum = 0.0;
    size_t j = 0;
    for (; j + LANES <= count; j += LANES)
        for (size_t l = 0; l < LANES; l++)
            s[l] += (double)(g[j + l] * ((float)codes[j + l] - zero));
    for (; j < count; j++)
        s[0] += (double)(g[j] * ((float)codes[j] - zero));
    for (size_t l = 0; l < LANES; l++)
        sum += s[l];
    return sum;
}

NB_BODY void scale_back_rows(const struct nb_scale_back_args *a, size_t first, size_t last) {
    size_t groups = nb_ceil_div(a->k, a->group);
    for (size_t i = first; i < last; i++)
        for (size_t at = 0; at < groups; at++) {
            size_t p = i * groups + at, from = i * a->k + at * a->group;
            double sum = group_sum(nb_host_f32(a->g) + from, (const uint8_t *)nb_host(a->codes) + from,
                                   nb_host_f32(a->zeros)[p], nb_min(a->group, a->k - at * a->group));
            nb_host_f32(a->d)[p] = (float)(sum * (double)nb_host_f32(a->scale0)[p]);
        }
}

NB_ROWS_VARIANTS(scale_back, 8)
