/* Coordinate descent and half-quadratic quantization. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/ref/ref.h"
#include "kernels/cpu/ref/ref_quant.h"

static float clamp(float x, float top) {
    return !(x > 0) ? 0 : x > top ? top : x;
}

/* ---- descent_block ---- */

/* One row in one block; index j counts from the block's first column. */
typedef struct descent {
    const struct nb_descent_block_args *a;
    float g[NB_REF_MOST_COLUMNS]; /* e H */
    uint8_t *codes;
    float *scales, *zeros, top;
} descent;

static float h_of(const descent *d, size_t i, size_t j) {
    return nb_host_f32(d->a->h)[(d->a->first + i) * d->a->ldh + d->a->first + j];
}

static size_t group_of(const descent *d, size_t j) {
    const uint32_t *g_idx = nb_host(d->a->g_idx);
    return g_idx ? g_idx[d->a->first + j] : (d->a->first + j) / d->a->group;
}

static float value(const descent *d, size_t j) {
    size_t group = group_of(d, j);
    return ((float)d->codes[j] - d->zeros[group]) * d->scales[group];
}

/* A step of size t along c, given c H = v: L changes by t (t c H c - 2 g c). */
static bool lowers(float t, float curve, float slope) {
    return t * (t * curve - 2 * slope) < 0;
}

static void take(descent *d, const float *v, float t) {
    for (size_t i = 0; i < d->a->cols; i++)
        d->g[i] = d->g[i] - t * v[i];
}

/* v = c H over columns j0 .. j1 - 1, in rising order. */
static void along(const descent *d, const float *c, size_t j0, size_t j1, float *v) {
    for (size_t i = 0; i < d->a->cols; i++) {
        v[i] = 0;
        for (size_t j = j0; j < j1; j++)
            v[i] = v[i] + c[j] * h_of(d, j, i);
    }
}

static void step_group(descent *d, size_t group, size_t j0, size_t j1) {
    float c[NB_REF_MOST_COLUMNS], v[NB_REF_MOST_COLUMNS], curve = 0, slope = 0;
    bool done = d->a->symmetric;
    for (size_t j = j0; j < j1; j++)
        c[j] = 1;
    along(d, c, j0, j1, v);
    for (size_t j = j0; j < j1; j++) {
        slope = slope + d->g[j];
        curve = curve + v[j];
    }
    for (int step = -1; step <= 1; step += 2) {
        float zero = d->zeros[group] + (float)step, t = -((float)step * d->scales[group]);
        if (done || zero < 0 || zero > d->top || !lowers(t, curve, slope))
            continue;
        d->zeros[group] = zero;
        take(d, v, t);
        done = true;
    }
    curve = slope = 0;
    for (size_t j = j0; j < j1; j++)
        c[j] = (float)d->codes[j] - d->zeros[group];
    along(d, c, j0, j1, v);
    for (size_t j = j0; j < j1; j++) {
        slope = slope + c[j] * d->g[j];
        curve = curve + c[j] * v[j];
    }
    if (!(curve > 0))
        return;
    float sign = d->scales[group] < 0 ? -1.0f : 1.0f, moved = d->scales[group] + slope / curve;
    float scale = sign * nb_ref_round_scale(sign * moved, d->a->scale_type), t = scale - d->scales[group];
    if (!lowers(t, curve, slope))
        return;
    d->scales[group] = scale;
    take(d, v, t);
}

static void step_code(descent *d, size_t j) {
    float h = h_of(d, j, j), v[NB_REF_MOST_COLUMNS], q = value(d, j);
    size_t group = group_of(d, j);
    if (h == 0)
        return;
    float code = clamp(rintf((q + d->g[j] / h) / d->scales[group] + d->zeros[group]), d->top);
    float t = (code - d->zeros[group]) * d->scales[group] - q;
    if (!lowers(t, h, d->g[j]))
        return;
    d->codes[j] = (uint8_t)code;
    for (size_t i = 0; i < d->a->cols; i++)
        v[i] = h_of(d, j, i);
    take(d, v, t);
}

void nb_ref_descent_block(const struct nb_descent_block_args *a, const nb_error_model *e, const nb_ref_out *out) {
    size_t groups = (a->k + a->group - 1) / a->group;
    (void)e, (void)out;
    for (size_t i = 0; i < a->n; i++) {
        float before[NB_REF_MOST_COLUMNS];
        descent d = {.a = a, .top = (float)((1u << a->bits) - 1u)};
        d.codes = (uint8_t *)nb_host(a->codes) + i * a->k + a->first;
        d.scales = nb_host_f32(a->scales) + i * groups;
        d.zeros = nb_host_f32(a->zeros) + i * groups;
        for (size_t j = 0; j < a->cols; j++) {
            d.g[j] = nb_host_f32(a->g)[i * a->ldg + a->first + j];
            before[j] = value(&d, j);
        }
        for (size_t group = 0; a->params && !a->g_idx.base && group < groups; group++) {
            size_t begin = group * a->group, end = begin + a->group < a->k ? begin + a->group : a->k;
            if (begin >= a->first && end <= a->first + a->cols)
                step_group(&d, group, begin - a->first, end - a->first);
        }
        for (size_t j = 0; j < a->cols; j++)
            step_code(&d, j);
        for (size_t j = 0; j < a->cols; j++)
            nb_host_f32(a->delta)[i * a->ldd + j] = value(&d, j) - before[j];
    }
}

void nb_ref_keep_rows(const struct nb_keep_rows_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows; i++) {
        bool below = nb_host_f32(a->after)[i] < nb_host_f32(a->before)[i];
        if (!below)
            memcpy((char *)nb_host(a->dst) + i * a->row_bytes, (const char *)nb_host(a->src) + i * a->row_bytes, a->row_bytes);
    }
}

/* ---- hqq ---- */

/* A zero point, and how far from it that of a right kernel may lie: not at all until an error is shrunk, as elements are f32 and
 * the check's numbers are such that sums of them in f64 round in no order; then by what a power to 4 ulp gives. */
typedef struct point {
    float zero;
    double off;
} point;

/* What one group is like under a zero point. */
typedef struct view {
    double error;  /* sum |w - q| */
    double margin; /* least distance of w / scale + zero from where its code changes */
    float mean;    /* that the next zero point comes from */
    double off;    /* of the mean */
} view;

/* The shrinkage has a slope of at most 1 + 0.3 |e|^-1.3 / beta, which is how it hands on the offset of the zero point; each
 * power adds 8 u of itself, and what is rounded anew from another zero point 4 u of its size. */
static view look(const struct nb_hqq_args *a, const float *w, size_t count, float scale, point at, float beta, uint8_t *codes) {
    float inverse = 1 / scale, top = (float)((1u << a->bits) - 1u);
    view v = {.margin = INFINITY};
    double sum = 0, slope = 0, fresh = 0;
    for (size_t j = 0; j < count; j++) {
        float x = w[j] * inverse + at.zero, c = clamp(rintf(x), top), d = w[j] - (c - at.zero) * scale, size = fabsf(d);
        float power = size > 0 ? powf(size, -0.3f) / beta : 0, keep = size > power ? copysignf(size - power, d) : 0;
        bool shrunk = size > 0 && size > power * 0.999f;
        v.error += (double)size;
        sum += (double)(c - (w[j] - keep) * inverse);
        if (shrunk)
            slope += 1 + 0.3 * (double)power / (double)size;
        if (shrunk || at.off > 0)
            fresh += (8 * (double)power + 2 * (double)size) * (double)inverse + 4 * (fabs((double)c) + fabs((double)x));
        if (x > -1 && x < top + 1)
            v.margin = fmin(v.margin, fabs((double)x - floor((double)x) - 0.5));
        if (codes)
            codes[j] = (uint8_t)c;
    }
    v.mean = (float)(sum / (double)count);
    v.off = (slope * at.off + fresh * NB_U) / (double)count + (fresh > 0 ? NB_U * fabs((double)v.mean) : 0);
    return v;
}

/* The next zero point; where it is rounded to a whole number, an offset that may cross over makes it anything. */
static point next_zero(const struct nb_hqq_args *a, const view *v) {
    float top = (float)((1u << a->bits) - 1u);
    if (a->float_zeros)
        return (point){v->mean, v->off};
    double tie = fabs((double)v->mean - floor((double)v->mean) - 0.5);
    return (point){clamp(rintf(v->mean), top), v->off > 0 && tie <= v->off ? INFINITY : 0};
}

static point one_group(const struct nb_hqq_args *a, const float *w, size_t count, uint8_t *codes, float *scale) {
    float min = w[0], max = w[0], top = (float)((1u << a->bits) - 1u), beta = 10;
    point best = {0, 0};
    for (size_t j = 1; j < count; j++) {
        min = w[j] < min ? w[j] : min;
        max = w[j] > max ? w[j] : max;
    }
    if (a->float_zeros) {
        *scale = max > min ? nb_ref_round_scale((max - min) / top, a->scale_type) : 1;
        best.zero = -min / *scale;
    } else {
        nb_ref_grid grid = {a->bits, false, a->scale_type, false};
        nb_ref_range(w, 1, count, &grid, scale, &best.zero);
    }
    view seen = look(a, w, count, *scale, best, beta, NULL);
    for (unsigned i = 0; i < a->iterations; i++) {
        point next = next_zero(a, &seen);
        beta = beta * 1.01f;
        view v = look(a, w, count, *scale, next, beta, NULL);
        double doubt = (next.off + best.off) * (double)*scale * (double)count;
        if (next.off > 0 && (v.margin <= next.off || fabs(v.error - seen.error) <= doubt))
            best.off = INFINITY; /* another code or another choice may be right as well */
        if (!(v.error < seen.error) || isinf(best.off))
            break;
        best = next;
        seen = v;
    }
    look(a, w, count, *scale, best, beta, codes);
    return best;
}

/* Codes and zero points are bounded outputs (mostly by nothing at all), scales exact ones. */
void nb_ref_hqq(const struct nb_hqq_args *a, const nb_error_model *e, const nb_ref_out *out) {
    size_t groups = (a->k + a->group - 1) / a->group;
    (void)e;
    for (size_t i = 0; i < a->n; i++)
        for (size_t g = 0; g < groups; g++) {
            size_t first = g * a->group, count = a->k - first < a->group ? a->k - first : a->group;
            uint8_t codes[NB_REF_MOST_COLUMNS];
            point p = one_group(a, nb_host_f32(a->w) + i * a->ldw + first, count, codes,
                                nb_host_f32(a->scales) + i * groups + g);
            for (size_t j = 0; j < count; j++) {
                out[0].y[i * a->k + first + j] = codes[j];
                out[0].bound[i * a->k + first + j] = isinf(p.off) ? INFINITY : 0;
            }
            out[1].y[i * groups + g] = (double)p.zero;
            out[1].bound[i * groups + g] = p.off;
        }
}
