/* A step of Adam on factors of scales. */
#include <math.h>

#include "kernels/cpu/vmath.h"

static void scale_step_rows(const struct nb_scale_step_args *a, size_t first, size_t last) {
    float *f = nb_host_f32(a->f), *m = nb_host_f32(a->m), *v = nb_host_f32(a->v);
    for (size_t i = first * a->k; i < last * a->k; i++) {
        float g = nb_host_f32(a->d)[i], base = nb_host_f32(a->scale0)[i];
        m[i] = a->beta1 * m[i] + (1.0f - a->beta1) * g;
        v[i] = a->beta2 * v[i] + (1.0f - a->beta2) * (g * g);
        float x = f[i] - a->step * ((m[i] * a->fix1) / (sqrtf(v[i] * a->fix2) + a->eps));
        x = x < a->low ? a->low : x > a->high ? a->high : x;
        f[i] = x;
        float sign = base < 0.0f ? -1.0f : 1.0f; /* formats with scales of either sign */
        nb_host_f32(a->scales)[i] = sign * nb__cpu_round_scale(sign * (x * base), a->scale_type);
    }
}

NB_ROWS_VARIANT(scale_step, plain, NB_TARGET_PLAIN, 16)
