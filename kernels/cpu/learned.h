/* The grid of one group in learned rounding, for its forward and its backward step. */
#ifndef NB_KERNELS_CPU_LEARNED_H
#define NB_KERNELS_CPU_LEARNED_H

#include <math.h>

#include "kernels/cpu/vmath.h"

typedef struct nb__learned_grid {
    float low, high, scale, zero, top;
} nb__learned_grid;

static inline nb__learned_grid nb__learned_grid_of(const struct nb_learned_round_args *a, size_t at) {
    float scale0 = nb_host_f32(a->scale0)[at], zero0 = nb_host_f32(a->zero0)[at], alpha = nb_host_f32(a->alpha)[at];
    nb__learned_grid g = {.top = (float)((1u << a->bits) - 1u)};
    g.low = -(zero0 * scale0);
    g.high = (g.top - zero0) * scale0;
    if (a->symmetric) {
        float sign = scale0 < 0.0f ? -1.0f : 1.0f; /* formats with scales of either sign */
        g.scale = sign * nb__cpu_round_scale(sign * (alpha * scale0), a->scale_type);
        g.zero = zero0;
        return g;
    }
    float low = nb_host_f32(a->beta)[at] * g.low;
    g.scale = nb__cpu_round_scale((alpha * g.high - low) / g.top, a->scale_type);
    float z = nearbyintf(-low / g.scale);
    g.zero = !(z > 0.0f) ? 0.0f : z > g.top ? g.top : z;
    return g;
}

#endif
