/* Gated linear units: act(gate) * up. Both activations are x * sigmoid(z): z = x for SiLU, and for GELU by tanh
 * z = 2 sqrt(2/pi) (x + 0.044715 x^3), as (1 + tanh(t)) / 2 = sigmoid(2t). */
#include "kernels/cpu/vmath.h"

NB_BODY void silu_row(size_t n, const float *gate, const float *up, float *out) {
    for (size_t j = 0; j < n; j++)
        out[j] = gate[j] / (1.0f + nb__exp(-gate[j])) * up[j];
}

NB_BODY void gelu_row(size_t n, const float *gate, const float *up, float *out) {
    for (size_t j = 0; j < n; j++) {
        float x = gate[j], z = 1.5957691216057308f * (x + 0.044715f * (x * x * x));
        out[j] = x / (1.0f + nb__exp(-z)) * up[j];
    }
}

NB_BODY void glu_rows(const struct nb_glu_args *a, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) {
        const float *gate = nb_host_f32(a->gate) + i * a->ldg, *up = nb_host_f32(a->up) + i * a->ldu;
        float *out = nb_host_f32(a->out) + i * a->ldo;
        if (a->act == NB_GLU_SILU)
            silu_row(a->n, gate, up, out);
        else
            gelu_row(a->n, gate, up, out);
    }
}

NB_ROWS_VARIANTS(glu, 16)
