/* Gradient of gated linear units. With both activations x * sigmoid(z), act' = s + x s (1 - s) z'. */
#include "kernels/cpu/vmath.h"

NB_BODY void glu_back_rows(const struct nb_glu_back_args *a, size_t first, size_t last) {
    bool silu = a->act == NB_GLU_SILU;
    for (size_t i = first * a->n; i < last * a->n; i++) {
        float x = nb_host_f32(a->gate)[i], up = nb_host_f32(a->up)[i], d = nb_host_f32(a->d)[i];
        float z = silu ? x : 1.5957691216057308f * (x + 0.044715f * (x * x * x));
        float slope = silu ? 1.0f : 1.5957691216057308f * (1.0f + 0.134145f * (x * x));
        float s = 1.0f / (1.0f + nb__exp(-z));
        nb_host_f32(a->dup)[i] = d * (x * s);
        nb_host_f32(a->dgate)[i] = d * up * (s + x * (s * (1.0f - s)) * slope);
    }
}

NB_ROWS_VARIANTS(glu_back, 16)
