/* Scale and zero point of each group by the range of its values. */
#include <math.h>

#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 16 };

float nb__cpu_round_scale(float scale, nb_dtype type) {
    if (type == NB_F16) {
        float r = nb_f16_to_f32(nb_f32_to_f16(scale > 65504.0f ? 65504.0f : scale));
        return r < 0x1p-14f ? 0x1p-14f : r;
    }
    if (type == NB_BF16)
        scale = nb_bf16_to_f32(nb_f32_to_bf16(scale));
    return scale < 0x1p-126f ? 0x1p-126f : scale;
}

void nb__cpu_range_params(float min, float max, unsigned bits, bool symmetric, nb_dtype type, float *scale, float *zero) {
    float top = (float)((1u << bits) - 1u);
    min = min < 0.0f ? min : 0.0f;
    max = max > 0.0f ? max : 0.0f;
    if (min == 0.0f && max == 0.0f) {
        min = -1.0f;
        max = 1.0f;
    }
    if (symmetric) {
        float a = -min > max ? -min : max;
        *scale = nb__cpu_round_scale(2.0f * a / top, type);
        *zero = (float)(1u << (bits - 1));
        return;
    }
    *scale = nb__cpu_round_scale((max - min) / top, type);
    float z = nearbyintf(-min / *scale);
    *zero = z < 0.0f ? 0.0f : z > top ? top : z;
}

static void range_row(const struct nb_group_range_args *a, size_t i) {
    size_t groups = nb_ceil_div(a->k, a->group);
    const float *w = nb_host_f32(a->w) + i * a->ldw;
    for (size_t g = 0; g < groups; g++) {
        size_t first = g * a->group, last = nb_min(first + a->group, a->k);
        float min = w[first], max = w[first];
        for (size_t j = first + 1; j < last; j++) {
            min = w[j] < min ? w[j] : min;
            max = w[j] > max ? w[j] : max;
        }
        nb__cpu_range_params(min, max, a->bits, a->symmetric, a->scale_type, nb_host_f32(a->scales) + i * groups + g,
                             nb_host_f32(a->zeros) + i * groups + g);
    }
}

static void range_task(void *arg, size_t task, unsigned worker) {
    const struct nb_group_range_args *a = arg;
    (void)worker;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->n);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++)
        range_row(a, i);
}

nb_status nb__cpu_group_range_plain(nb_pool *pool, const struct nb_group_range_args *a, nb_err *err) {
    (void)err;
    nb_pool_run(pool, nb_ceil_div(a->n, ROWS_PER_TASK), range_task, (void *)(uintptr_t)a);
    return NB_OK;
}
