/* A step of fixed length against the gradient's sign. */
#include "kernels/cpu/vmath.h"

static void sign_step_rows(const struct nb_sign_step_args *a, size_t first, size_t last) {
    for (size_t i = first * a->k; i < last * a->k; i++) {
        float g = nb_host_f32(a->g)[i], x = nb_host_f32(a->x)[i];
        x = g > 0.0f ? x - a->step : g < 0.0f ? x + a->step : x;
        nb_host_f32(a->x)[i] = x < a->low ? a->low : x > a->high ? a->high : x;
    }
}

NB_ROWS_VARIANT(sign_step, plain, NB_TARGET_PLAIN, 16)
