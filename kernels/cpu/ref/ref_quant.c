/* Codes, scales and zero points. Each operation of ops.h is one rounding to f32, half to even. */
#include <math.h>

#include "kernels/cpu/ref/ref.h"
#include "kernels/cpu/ref/ref_quant.h"

float nb_ref_round_scale(float scale, nb_dtype type) {
    float least = type == NB_F16 ? 0x1p-14f : 0x1p-126f;
    if (type == NB_F16)
        scale = nb_f16_to_f32(nb_f32_to_f16(scale < 65504.0f ? scale : 65504.0f));
    if (type == NB_BF16)
        scale = nb_bf16_to_f32(nb_f32_to_bf16(scale));
    return scale < least ? least : scale;
}

static float clamp(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

void nb_ref_range(const float *w, size_t stride, size_t count, const nb_ref_grid *grid, float *scale, float *zero) {
    float min = 0, max = 0, top = (float)((1u << grid->bits) - 1u);
    for (size_t j = 0; j < count; j++) {
        min = w[j * stride] < min ? w[j * stride] : min;
        max = w[j * stride] > max ? w[j * stride] : max;
    }
    if (min == 0 && max == 0)
        min = -1, max = 1;
    if (grid->symmetric) {
        float a = -min > max ? -min : max;
        *scale = nb_ref_round_scale(2 * a / top, grid->scale_type);
        *zero = (float)(1u << (grid->bits - 1));
    } else {
        *scale = nb_ref_round_scale((max - min) / top, grid->scale_type);
        *zero = clamp(rintf(-min / *scale), 0, top);
    }
}

/* The error of one pair. */
static float pair_error(const float *w, size_t stride, size_t count, const float *h, float scale, float zero, float top) {
    float sum = 0, inverse = 1.0f / scale;
    for (size_t j = 0; j < count; j++) {
        float c = clamp(rintf(w[j * stride] * inverse), 0.0f - zero, top - zero);
        float d = w[j * stride] - c * scale;
        sum = sum + (h ? h[j] : 1.0f) * (d * d);
    }
    return sum;
}

typedef struct best {
    float error, scale, zero;
} best;

static void consider(best *b, const float *w, size_t stride, size_t count, const float *h, float scale, float zero,
                     float top) {
    float error = pair_error(w, stride, count, h, scale, zero, top);
    if (error < b->error)
        *b = (best){error, scale, zero};
}

/* Clamped to the codes; -0 becomes 0. */
static float code_of(float z, float top) {
    return z > 0 ? clamp(z, 0, top) : 0;
}

void nb_ref_search(const float *w, size_t stride, size_t count, const float *h, const nb_ref_grid *grid, float *scale,
                   float *zero) {
    float min = 0, max = 0, top = (float)((1u << grid->bits) - 1u), half = (float)(1u << (grid->bits - 1));
    best b;
    for (size_t j = 0; j < count; j++) {
        min = w[j * stride] < min ? w[j * stride] : min;
        max = w[j * stride] > max ? w[j * stride] : max;
    }
    nb_ref_range(w, stride, count, grid, &b.scale, &b.zero);
    b.error = pair_error(w, stride, count, h, b.scale, b.zero, top);
    for (int i = 0; grid->symmetric && i < (grid->either_sign ? 72 : 36); i++) {
        float a = -min > max ? -min : max, part = (float)(232 - 3 * (i % 36)) / 200.0f;
        float s = nb_ref_round_scale(part * a / half, grid->scale_type);
        consider(&b, w, stride, count, h, i < 36 ? s : -s, half, top);
    }
    for (int i = 0; !grid->symmetric && i < 26; i++) {
        float p = (float)(52 - i) / 50.0f, range = max - min;
        float s = nb_ref_round_scale(p * range / top, grid->scale_type);
        float z = rintf(-(p * min) / s), low = min + (1.0f - p) * 0.5f * range;
        consider(&b, w, stride, count, h, s, code_of(z, top), top);
        consider(&b, w, stride, count, h, s, code_of(z - 1, top), top);
        consider(&b, w, stride, count, h, s, code_of(z + 1, top), top);
        consider(&b, w, stride, count, h, s, code_of(rintf(-low / s), top), top);
    }
    *scale = b.scale;
    *zero = b.zero;
}

float nb_ref_code(float w, float scale, float zero, unsigned bits) {
    return clamp(rintf(w / scale) + zero, 0, (float)((1u << bits) - 1u));
}

static size_t groups_of(size_t k, size_t group) {
    return (k + group - 1) / group;
}

/* Where the parameters of element [i][j] stand. */
static size_t param(size_t i, size_t j, size_t k, size_t group, const uint32_t *g_idx) {
    return i * groups_of(k, group) + (g_idx ? g_idx[j] : j / group);
}

void nb_ref_group_range(const struct nb_group_range_args *a, const nb_error_model *e, const nb_ref_out *out) {
    nb_ref_grid grid = {a->bits, a->symmetric, a->scale_type, false};
    (void)e, (void)out;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->k; j += a->group) {
            size_t at = param(i, j, a->k, a->group, NULL), count = a->k - j < a->group ? a->k - j : a->group;
            nb_ref_range(nb_host_f32(a->w) + i * a->ldw + j, 1, count, &grid, nb_host_f32(a->scales) + at,
                         nb_host_f32(a->zeros) + at);
        }
}

void nb_ref_group_search(const struct nb_group_search_args *a, const nb_error_model *e, const nb_ref_out *out) {
    nb_ref_grid grid = {a->bits, a->symmetric, a->scale_type, a->either_sign};
    (void)e, (void)out;
    for (size_t j = 0; j < a->k; j += a->group) {
        float h[NB_REF_MOST_COLUMNS];
        size_t count = a->k - j < a->group ? a->k - j : a->group;
        for (size_t l = 0; a->h.base && l < count; l++)
            h[l] = nb_host_f32(a->h)[(j + l) * a->ldh + j + l];
        for (size_t i = 0; i < a->n; i++) {
            size_t at = param(i, j, a->k, a->group, NULL);
            nb_ref_search(nb_host_f32(a->w) + i * a->ldw + j, 1, count, a->h.base ? h : NULL, &grid,
                          nb_host_f32(a->scales) + at, nb_host_f32(a->zeros) + at);
        }
    }
}

void nb_ref_rtn(const struct nb_rtn_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->k; j++) {
            size_t at = param(i, j, a->k, a->group, nb_host(a->g_idx));
            float code = nb_ref_code(nb_host_f32(a->w)[i * a->ldw + j], nb_host_f32(a->scales)[at],
                                     nb_host_f32(a->zeros)[at], a->bits);
            ((uint8_t *)nb_host(a->codes))[i * a->k + j] = (uint8_t)code;
        }
}

void nb_ref_dequant(const struct nb_dequant_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->k; j++) {
            size_t at = param(i, j, a->k, a->group, nb_host(a->g_idx));
            float code = (float)((const uint8_t *)nb_host(a->codes))[i * a->k + j];
            nb_host_f32(a->w)[i * a->ldw + j] = (code - nb_host_f32(a->zeros)[at]) * nb_host_f32(a->scales)[at];
        }
}

/* Differences in f32, as ops.h has them; then k additions in f64 and one rounding. */
void nb_ref_quant_error(const struct nb_quant_error_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t i = 0; i < a->n; i++) {
        double sum = 0;
        for (size_t j = 0; j < a->k; j++) {
            size_t at = param(i, j, a->k, a->group, nb_host(a->g_idx));
            float code = (float)((const uint8_t *)nb_host(a->codes))[i * a->k + j];
            float back = (code - nb_host_f32(a->zeros)[at]) * nb_host_f32(a->scales)[at];
            float d = nb_host_f32(a->w)[i * a->ldw + j] - back;
            sum += (double)d * (double)d;
        }
        out->y[i] = sum;
        out->bound[i] = sum * (NB_U * (1 + 0x1p-20) + ((double)a->k + 1) * 0x1p-53) + 0x1p-149;
    }
}
