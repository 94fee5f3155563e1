#include "kernels/cpu/ref/qgemm_ref.h"

#include <math.h>

nb_ref_sum nb_ref_dot(const nb_ref_weight *w, size_t i, const float *x, const double *step) {
    nb_ref_sum s = {0, 0, 0};
    for (size_t j = 0; j < w->k; j++) {
        size_t g = w->g_idx ? w->g_idx[j] : j / w->group;
        double q = w->codes[i * w->k + j], scale = (double)w->scales[i * w->groups + g];
        double zero = (double)w->zeros[i * w->groups + g];
        double value = w->offsets ? q * scale + zero : (q - zero) * scale;
        double size = w->offsets ? fabs(q * scale) + fabs(zero) : fabs(value);
        s.y += (double)x[j] * value;
        s.magnitude += fabs((double)x[j]) * size;
        if (step)
            s.weights += size * step[j];
    }
    return s;
}
