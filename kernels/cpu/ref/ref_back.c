/* Gradients, and learned rounding. */
#include <math.h>

#include "kernels/cpu/ref/ref.h"
#include "kernels/cpu/ref/ref_quant.h"

/* The least difference that a chain of f32 operations may lose below the normal numbers. */
#define TINY 0x1p-120

/* ---- rmsnorm_back ---- */

void nb_ref_rmsnorm_back(const struct nb_rmsnorm_back_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t i = 0; i < a->rows; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx, *d = nb_host_f32(a->d) + i * a->ldd, *w = nb_host_f32(a->weight);
        double xx = 0, tx = 0, size = 0;
        for (size_t j = 0; j < a->k; j++) {
            double t = (double)d[j] * ((double)w[j] + (double)a->offset);
            xx += (double)x[j] * (double)x[j];
            tx += t * (double)x[j];
            size += fabs(t * (double)x[j]);
        }
        double r = 1 / sqrt(xx / (double)a->k + (double)a->eps), pull = r * r * r * tx / (double)a->k;
        double pull_off = NB_U * fabs(pull) + 2.1 * NB_U * r * r * r * size / (double)a->k; /* t has two roundings */
        for (size_t j = 0; j < a->k; j++) {
            double t = (double)d[j] * ((double)w[j] + (double)a->offset), g = r * t - pull * (double)x[j];
            double old = a->accumulate ? (double)nb_host_f32(a->dx)[i * a->lddx + j] : 0, y = old + g;
            /* r, t twice, and their product; pull and its product; the difference; the sum */
            double bound = 4 * NB_U * fabs(r * t) + fabs((double)x[j]) * (pull_off + NB_U * fabs(pull)) + NB_U * fabs(g) +
                           (a->accumulate ? NB_U * fabs(y) : 0);
            out[0].y[i * a->k + j] = y;
            out[0].bound[i * a->k + j] = 1.01 * bound + TINY;
        }
    }
}

/* ---- glu_back ---- */

/* Per element: the exponential is good to 2 ulp, its argument to 6 roundings; sigmoid s = 1 / (1 + exp(-z)) then to s_off. Past
 * exp(88.37) the exponential stands still, so that s is no less than 2^-128. */
void nb_ref_glu_back(const struct nb_glu_back_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t i = 0; i < a->rows * a->n; i++) {
        double x = (double)nb_host_f32(a->gate)[i], up = (double)nb_host_f32(a->up)[i], d = (double)nb_host_f32(a->d)[i];
        double c = 2 * sqrt(2 / 3.14159265358979323846), z = x, slope = 1;
        if (a->act != NB_GLU_SILU) {
            z = c * (x + 0.044715 * x * x * x);
            slope = c * (1 + 3 * 0.044715 * x * x);
        }
        double s = 1 / (1 + exp(-z)), s_off = s * NB_U * ((1 - s) * (6 * fabs(z) + 4) + 3) + 0x1p-127;
        double first = s, second = x * s * (1 - s) * slope;
        double second_off = fabs(x * slope) * (s_off + s * NB_U) + 8 * NB_U * fabs(second);
        out[0].y[i] = d * up * (first + second);
        out[0].bound[i] = 1.01 * fabs(d * up) * (s_off + second_off + 4 * NB_U * (fabs(first) + fabs(second))) + TINY;
        out[1].y[i] = d * x * s;
        out[1].bound[i] = 1.01 * fabs(d) * (fabs(x) * s_off + 3 * NB_U * fabs(x) * s) + TINY;
    }
}

/* ---- attention_back ---- */

typedef struct sums {
    double value, size; /* of products, and of their magnitudes */
} sums;

static sums dot(const float *x, const float *y, size_t count) {
    sums s = {0};
    for (size_t i = 0; i < count; i++) {
        double p = (double)x[i] * (double)y[i];
        s.value += p;
        s.size += fabs(p);
    }
    return s;
}

enum { MOST_KEYS = 512 };

/* One query of one head: what it adds to y of dq, dk, dv (outputs 0, 1, 2), and to their bounds. */
static void query(const struct nb_attention_back_args *a, size_t row, size_t head, const nb_ref_out *out) {
    size_t hd = a->head_dim, pos = row % a->length, base = row - pos, kvh = head / (a->heads / a->kv_heads) * hd;
    size_t first = a->window && pos + 1 > a->window ? pos + 1 - a->window : 0, keys = pos + 1 - first;
    const float *q = nb_host_f32(a->q) + row * a->ldq + head * hd, *d = nb_host_f32(a->d) + row * a->ldo + head * hd;
    sums own = dot(d, nb_host_f32(a->out) + row * a->ldo + head * hd, hd);
    double p[MOST_KEYS], sum = 0, most = -INFINITY, off = 0, dims = nb_ref_gamma((double)hd + 2);
    for (size_t j = 0; j < keys; j++) {
        sums s = dot(q, nb_host_f32(a->k) + (base + first + j) * a->ldkv + kvh, hd);
        p[j] = (double)a->scale * s.value;
        most = fmax(most, p[j]);
        off = fmax(off, fabs((double)a->scale) * s.size * dims);
    }
    for (size_t j = 0; j < keys; j++)
        sum += p[j] = exp(p[j] - most);
    double rel = 3 * off + nb_ref_gamma((double)keys + 12); /* two scores and their difference; exp, sum, quotient */
    size_t kv_cols = a->kv_heads * hd, q_at = row * a->heads * hd + head * hd;
    for (size_t j = 0; j < keys; j++) {
        size_t token = base + first + j, at = token * a->ldkv + kvh, y_at = token * kv_cols + kvh;
        sums dp = dot(d, nb_host_f32(a->v) + at, hd);
        double prob = p[j] / sum, ds = (double)a->scale * prob * (dp.value - own.value);
        double ds_off = fabs((double)a->scale) * prob *
                        ((rel + 4 * NB_U) * fabs(dp.value - own.value) + (1 + rel) * dims * (dp.size + own.size));
        double adds = nb_ref_gamma((double)(a->length * (a->heads / a->kv_heads)) + 2);
        for (size_t i = 0; i < hd; i++) {
            double k = (double)nb_host_f32(a->k)[at + i], qi = (double)q[i], di = (double)d[i];
            out[0].y[q_at + i] += ds * k;
            out[0].bound[q_at + i] += 1.02 * fabs(k) * (ds_off + adds * (fabs(ds) + ds_off)) + TINY;
            out[1].y[y_at + i] += ds * qi;
            out[1].bound[y_at + i] += 1.02 * fabs(qi) * (ds_off + adds * (fabs(ds) + ds_off)) + TINY;
            out[2].y[y_at + i] += prob * di;
            out[2].bound[y_at + i] += 1.02 * fabs(di) * prob * (rel + adds * (1 + rel)) + TINY;
        }
    }
}

void nb_ref_attention_back(const struct nb_attention_back_args *a, const nb_error_model *e, const nb_ref_out *out) {
    size_t rows = a->sequences * a->length, widths[3] = {a->heads, a->kv_heads, a->kv_heads};
    (void)e;
    for (size_t o = 0; o < 3; o++)
        for (size_t i = 0; i < rows * widths[o] * a->head_dim; i++)
            out[o].y[i] = out[o].bound[i] = 0;
    for (size_t row = 0; row < rows; row++)
        for (size_t h = 0; h < a->heads; h++)
            query(a, row, h, out);
}

/* ---- learned rounding ---- */

typedef struct grid {
    float low, high, scale, zero, top;
} grid;

static grid grid_of(const struct nb_learned_round_args *a, size_t at) {
    float scale0 = nb_host_f32(a->scale0)[at], zero0 = nb_host_f32(a->zero0)[at], alpha = nb_host_f32(a->alpha)[at];
    grid g = {.top = (float)((1u << a->bits) - 1u)};
    g.low = -(zero0 * scale0);
    g.high = (g.top - zero0) * scale0;
    if (a->symmetric) {
        float s = alpha * scale0;
        g.scale = s < 0 ? -nb_ref_round_scale(-s, a->scale_type) : nb_ref_round_scale(s, a->scale_type);
        g.zero = zero0;
        return g;
    }
    float low = nb_host_f32(a->beta)[at] * g.low;
    g.scale = nb_ref_round_scale((alpha * g.high - low) / g.top, a->scale_type);
    g.zero = rintf(-low / g.scale);
    g.zero = !(g.zero > 0) ? 0 : g.zero > g.top ? g.top : g.zero;
    return g;
}

void nb_ref_learned_round(const struct nb_learned_round_args *a, const nb_error_model *e, const nb_ref_out *out) {
    size_t groups = (a->k + a->group - 1) / a->group;
    (void)e, (void)out;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->k; j++) {
            size_t at = i * groups + j / a->group, p = i * a->k + j;
            grid g = grid_of(a, at);
            float c = rintf(nb_host_f32(a->b)[p] / g.scale + nb_host_f32(a->v)[p]) + g.zero;
            c = !(c > 0) ? 0 : c > g.top ? g.top : c;
            ((uint8_t *)nb_host(a->codes))[p] = (uint8_t)c;
            nb_host_f32(a->w)[p] = (c - g.zero) * g.scale;
            nb_host_f32(a->scales)[at] = g.scale;
            nb_host_f32(a->zeros)[at] = g.zero;
        }
}

/* g is exact; dalpha and dbeta are sums in f64 of products rounded to f32. A term of dscale is of size g q or g (q - x), with
 * three roundings of q, x and their difference, and one of the product. */
void nb_ref_learned_back(const struct nb_learned_back_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const struct nb_learned_round_args *f = &a->f;
    size_t groups = (f->k + f->group - 1) / f->group;
    (void)e;
    for (size_t at = 0; at < f->n * groups; at++) {
        grid g = grid_of(f, at);
        size_t i = at / groups, first = at % groups * f->group, last = first + f->group < f->k ? first + f->group : f->k;
        double by_scale = 0, by_zero = 0, scale_off = 0, zero_off = 0, scale = (double)g.scale, top = (double)g.top;
        for (size_t j = i * f->k + first; j < i * f->k + last; j++) {
            float x = nb_host_f32(f->b)[j] / g.scale, place = x + nb_host_f32(f->v)[j] + g.zero, *grad = nb_host_f32(a->g) + j;
            bool clamped = place < -0.5f || place > g.top + 0.5f;
            double q = (double)((uint8_t *)nb_host(f->codes))[j] - (double)g.zero, term = clamped ? q : q - (double)x;
            by_scale += (double)*grad * term;
            scale_off += 2 * NB_U * fabs((double)*grad) * fabs(term);
            by_zero -= clamped ? (double)*grad * scale : 0;
            zero_off += clamped ? NB_U * fabs((double)*grad * scale) : 0;
            *grad = clamped ? 0.0f : *grad * g.scale;
        }
        double low = (double)g.low, beta = (double)nb_host_f32(f->beta)[at], alpha_part = (double)g.high / top;
        double per_zero = beta * low / (scale * scale);
        if (f->symmetric) {
            alpha_part = (double)nb_host_f32(f->scale0)[at];
            per_zero = 0;
        }
        double all = by_scale + by_zero * per_zero, all_off = scale_off + zero_off * fabs(per_zero) + 0x1p-45 * (fabs(by_scale) + fabs(by_zero * per_zero));
        out[0].y[at] = all * alpha_part;
        out[0].bound[at] = 1.01 * (all_off * fabs(alpha_part) + NB_U * fabs(out[0].y[at])) + TINY;
        out[1].y[at] = f->symmetric ? 0 : -all * low / top - by_zero * low / scale;
        out[1].bound[at] = f->symmetric ? 0 : 1.01 * (all_off * fabs(low) / top + zero_off * fabs(low / scale) + NB_U * fabs(out[1].y[at]) +
                                                      0x1p-45 * (fabs(all * low / top) + fabs(by_zero * low / scale))) + TINY;
    }
}

void nb_ref_sign_step(const struct nb_sign_step_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows * a->k; i++) {
        float g = nb_host_f32(a->g)[i], *x = nb_host_f32(a->x) + i;
        if (g > 0)
            *x = *x - a->step;
        if (g < 0)
            *x = *x + a->step;
        *x = *x < a->low ? a->low : *x > a->high ? a->high : *x;
    }
}

/* ---- learned scales ---- */

/* A term's difference is exact or has one rounding (zeros that are not whole), its product one. */
void nb_ref_scale_back(const struct nb_scale_back_args *a, const nb_error_model *e, const nb_ref_out *out) {
    size_t groups = (a->k + a->group - 1) / a->group;
    (void)e;
    for (size_t at = 0; at < a->rows * groups; at++) {
        size_t first = at % groups * a->group, last = first + a->group < a->k ? first + a->group : a->k;
        double sum = 0, size = 0, scale = (double)nb_host_f32(a->scale0)[at];
        for (size_t j = first; j < last; j++) {
            size_t p = at / groups * a->k + j;
            double term = (double)nb_host_f32(a->g)[p] * ((double)((uint8_t *)nb_host(a->codes))[p] - (double)nb_host_f32(a->zeros)[at]);
            sum += term;
            size += fabs(term);
        }
        out[0].y[at] = scale * sum;
        out[0].bound[at] = 1.01 * fabs(scale) * (2 * NB_U * size + NB_U * fabs(sum)) + TINY;
    }
}

void nb_ref_scale_step(const struct nb_scale_step_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows * a->k; i++) {
        float d = nb_host_f32(a->d)[i], *f = nb_host_f32(a->f) + i, *m = nb_host_f32(a->m) + i, *v = nb_host_f32(a->v) + i;
        float kept1 = a->beta1 * *m, kept2 = a->beta2 * *v, square = d * d;
        float new1 = (1 - a->beta1) * d, new2 = (1 - a->beta2) * square;
        *m = kept1 + new1;
        *v = kept2 + new2;
        float up = *m * a->fix1, below = sqrtf(*v * a->fix2) + a->eps, ratio = up / below;
        *f = *f - a->step * ratio;
        *f = *f < a->low ? a->low : *f > a->high ? a->high : *f;
        float s = *f * nb_host_f32(a->scale0)[i];
        nb_host_f32(a->scales)[i] = s < 0 ? -nb_ref_round_scale(-s, a->scale_type) : nb_ref_round_scale(s, a->scale_type);
    }
}

/* ---- kl_back ---- */

typedef struct softmax {
    double max, sum, off; /* off: relative, of the sum of exponentials */
} softmax;

/* An exponential is good to 4 u, its argument to one rounding; below -87.33 there is nothing left, 2^-125 at the most. */
static double exp_off(double x) {
    return NB_U * (4 + fabs(fmax(x, -104)));
}

static softmax softmax_of(const float *x, size_t n) {
    softmax s = {.max = -INFINITY};
    for (size_t j = 0; j < n; j++)
        s.max = fmax(s.max, (double)x[j]);
    for (size_t j = 0; j < n; j++)
        s.sum += exp((double)x[j] - s.max);
    for (size_t j = 0; j < n; j++)
        s.off += exp((double)x[j] - s.max) * exp_off((double)x[j] - s.max) / s.sum;
    return s;
}

/* The inverse of the sum and its product are rounded, and the difference and its product. */
void nb_ref_kl_back(const struct nb_kl_back_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t i = 0; i < a->rows; i++) {
        const float *x = nb_host_f32(a->logits) + i * a->ldl, *r = nb_host_f32(a->reference) + i * a->ldr;
        softmax sq = softmax_of(x, a->n), sp = softmax_of(r, a->n);
        for (size_t j = 0; j < a->n; j++) {
            double dx = (double)x[j] - sq.max, dr = (double)r[j] - sp.max, q = exp(dx) / sq.sum, p = exp(dr) / sp.sum;
            double off = q * (exp_off(dx) + sq.off + 2 * NB_U) + p * (exp_off(dr) + sp.off + 2 * NB_U);
            out[0].y[i * a->n + j] = (double)a->factor * (q - p);
            out[0].bound[i * a->n + j] = 1.01 * fabs((double)a->factor) * (off + 2 * NB_U * fabs(q - p)) + TINY;
        }
    }
}
