/* Rotary position embedding (arXiv 2104.09864), on halves of each head. */
#include "kernels/cpu/vmath.h"

NB_BODY void rope_rows(const struct nb_rope_args *a, size_t first, size_t last) {
    size_t half = a->head_dim / 2;
    for (size_t i = first; i < last; i++) {
        size_t at = (a->past + i % a->length) * half;
        const float *restrict c = nb_host_f32(a->cos) + at, *restrict s = nb_host_f32(a->sin) + at;
        for (size_t h = 0; h < a->heads; h++) {
            float *restrict lo = nb_host_f32(a->x) + i * a->ldx + h * a->head_dim, *restrict hi = lo + half;
            for (size_t j = 0; j < half; j++) {
                float p = lo[j], q = hi[j];
                lo[j] = p * c[j] - q * s[j];
                hi[j] = q * c[j] + p * s[j];
            }
        }
    }
}

NB_ROWS_VARIANTS(rope, 16)
