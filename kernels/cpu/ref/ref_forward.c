/* The forward pass. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/ref/ref.h"

/* Rows of the table, converted, times scale: one rounding. */
void nb_ref_embed(const struct nb_embed_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const nb_dtype_info *t = nb_dtype_get(a->w_type);
    const int32_t *ids = nb_host(a->ids);
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->k; j++) {
            size_t block = ((size_t)ids[i] * a->k + j) / t->block_elems;
            float values[256];
            nb__to_f32_plain(a->w_type, (const char *)nb_host(a->table) + block * t->block_bytes, t->block_elems, values);
            nb_host_f32(a->out)[i * a->ldo + j] = values[j % t->block_elems] * a->scale;
        }
}

/* Roundings: the inverse root, weight + offset, two products: 4 u, as ops.h has it. Either product may underflow. */
void nb_ref_rmsnorm(const struct nb_rmsnorm_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t i = 0; i < a->rows; i++) {
        const float *x = nb_host_f32(a->x) + i * a->ldx;
        double sum = 0;
        for (size_t j = 0; j < a->k; j++)
            sum += (double)x[j] * (double)x[j];
        double inverse = 1 / sqrt(sum / (double)a->k + (double)a->eps);
        for (size_t j = 0; j < a->k; j++) {
            double w = (double)nb_host_f32(a->weight)[j] + (double)a->offset, y = (double)x[j] * inverse * w;
            out->y[i * a->k + j] = y;
            out->bound[i * a->k + j] = nb_ref_gamma(4) * fabs(y) * (1 + (double)a->k * 0x1p-50) + (1 + fabs(w)) * 0x1p-149;
        }
    }
}

/* Roundings: two products and a sum, 3 u of their magnitudes, as ops.h has it. */
void nb_ref_rope(const struct nb_rope_args *a, const nb_error_model *e, const nb_ref_out *out) {
    size_t half = a->head_dim / 2, width = a->heads * a->head_dim;
    (void)e;
    for (size_t i = 0; i < a->rows; i++)
        for (size_t h = 0; h < a->heads; h++)
            for (size_t j = 0; j < half; j++) {
                const float *x = nb_host_f32(a->x) + i * a->ldx + h * a->head_dim + j;
                size_t at = (a->past + i % a->length) * half + j, o = i * width + h * a->head_dim + j;
                double p = (double)x[0], q = (double)x[half];
                double c = (double)nb_host_f32(a->cos)[at], s = (double)nb_host_f32(a->sin)[at];
                out->y[o] = p * c - q * s;
                out->y[o + half] = q * c + p * s;
                out->bound[o] = 3 * NB_U * (fabs(p * c) + fabs(q * s)) + 0x1p-147;
                out->bound[o + half] = 3 * NB_U * (fabs(q * c) + fabs(p * s)) + 0x1p-147;
            }
}

/* ---- attention ---- */

enum { MOST_KEYS = 8192 };

/* One query of one head. Where each weight p_j of the softmax has a relative error of at most d, and their sum is taken of the
 * same numbers, the output moves by at most 2 d sum p_j |v_j|; the product with v adds gamma(keys). d is made of
 *   - the scores: head_dim products and sums, the factor; and the units of operands that are rounded before;
 *   - their difference from the maximum, times log2 e where a kernel takes powers of two: three roundings of a number up to
 *     twice the largest score, and the same again for the maximum that moves from tile to tile;
 *   - the exponential, 2 ulp = 4 u, and one more for each tile of at least 8 keys that the sum is rescaled by;
 *   - the sum: one for each key. */
static void attend(const struct nb_attention_args *a, const nb_error_model *e, size_t row, size_t head, double *y,
                   double *bound) {
    double s[MOST_KEYS], max = -INFINITY, sum = 0, off = 0, range = 0;
    double unit = nb_ref_unit(e->weight) + nb_ref_unit(e->act);
    size_t hd = a->head_dim, pos = a->past + row % a->length;
    size_t first = a->window && pos + 1 > a->window ? pos + 1 - a->window : 0, n = pos + 1 - first;
    size_t at = row / a->length * a->kv_stride + first * a->ldkv + head / (a->heads / a->kv_heads) * hd;
    const float *q = nb_host_f32(a->q) + row * a->ldq + head * hd;
    const float *k = nb_host_f32(a->k) + at, *v = nb_host_f32(a->v) + at;
    for (size_t j = 0; j < n; j++) {
        double size = 0;
        s[j] = 0;
        for (size_t d = 0; d < hd; d++) {
            double t = (double)q[d] * (double)k[j * a->ldkv + d];
            s[j] += t;
            size += fabs(t);
        }
        s[j] *= (double)a->scale;
        off = fmax(off, fabs((double)a->scale) * (nb_ref_gamma((double)hd + 2) + unit) * size);
        range = fmax(range, fabs(s[j]));
        max = fmax(max, s[j]);
    }
    for (size_t j = 0; j < n; j++)
        sum += s[j] = exp(s[j] - max);
    memset(y, 0, hd * sizeof *y);
    memset(bound, 0, hd * sizeof *bound);
    for (size_t j = 0; j < n; j++)
        for (size_t d = 0; d < hd; d++) {
            double t = s[j] / sum * (double)v[j * a->ldkv + d];
            y[d] += t;
            bound[d] += fabs(t);
        }
    double keys = (double)n, weight = off + (2 * 3 * 2 * range + 5 + 5 * keys / 8 + keys) * NB_U;
    for (size_t d = 0; d < hd; d++)
        bound[d] = (2 * weight + nb_ref_gamma(keys + 2) + unit) * bound[d] + (keys + 1) * 0x1p-126;
}

void nb_ref_attention(const struct nb_attention_args *a, const nb_error_model *e, const nb_ref_out *out) {
    for (size_t row = 0; row < a->sequences * a->length; row++)
        for (size_t head = 0; head < a->heads; head++) {
            size_t at = (row * a->heads + head) * a->head_dim;
            attend(a, e, row, head, out->y + at, out->bound + at);
        }
}

/* ---- glu ---- */

/* Both are x / (1 + exp(-z)), z = x or 2 sqrt(2/pi) (x + 0.044715 x^3) as (1 + tanh(t)) / 2 = 1 / (1 + exp(-2t)). Roundings:
 * the exponential 4, its sum, the quotient, the product: 7, and one of the argument's; with gelu z has 6 of its own, which the
 * exponential turns into 6 |z|. What underflows or is cut off by a kernel's exponential is below 2^-120 of x and up. */
void nb_ref_glu(const struct nb_glu_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->n; j++) {
            double x = (double)nb_host_f32(a->gate)[i * a->ldg + j], up = (double)nb_host_f32(a->up)[i * a->ldu + j];
            bool gelu = a->act == NB_GLU_GELU_TANH;
            double z = gelu ? 2 * sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x) : x;
            double y = x / (1 + exp(-z)) * up;
            out->y[i * a->n + j] = y;
            /* Beyond 100 the exponential is nothing or all: its error has no effect. */
            out->bound[i * a->n + j] = (8 + (gelu ? 6 * fmin(fabs(z), 100) : 0)) * NB_U * fabs(y) +
                                       (1 + fabs(x)) * (1 + fabs(up)) * 0x1p-120;
        }
}

/* ---- logit_stats ---- */

typedef struct distribution {
    double max, log_sum; /* log sum_j exp(x_j) */
    double off;          /* what exponentials of 4 u and three roundings of their argument change it by */
    size_t top;
} distribution;

/* An argument below -104 makes an exponential of 0, whatever its error. */
static distribution distribution_of(const float *x, size_t n) {
    distribution d = {.max = -INFINITY};
    double sum = 0, least = INFINITY;
    for (size_t j = 0; j < n; j++) {
        if ((double)x[j] > d.max) {
            d.max = (double)x[j];
            d.top = j;
        }
        least = fmin(least, (double)x[j]);
    }
    for (size_t j = 0; j < n; j++)
        sum += exp((double)x[j] - d.max);
    d.log_sum = d.max + log(sum);
    d.off = (4 + 3 * fmin(d.max - least, 104)) * NB_U * 1.01 + (double)n * 0x1p-50 + fabs(d.max) * 0x1p-50;
    return d;
}

/* nll and kl in f64; agree exactly. kl = sum p (r - x) - log_sum(r) + log_sum(x): weights with a relative error of `off` move
 * the first by twice that of sum p |r - x|. */
void nb_ref_logit_stats(const struct nb_logit_stats_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const int32_t *targets = nb_host(a->targets);
    (void)e;
    for (size_t i = 0; i < a->rows; i++) {
        const float *x = nb_host_f32(a->logits) + i * a->ldl;
        distribution q = distribution_of(x, a->n);
        out[0].y[i] = targets[i] < 0 ? 0 : q.log_sum - (double)x[targets[i]];
        out[0].bound[i] = targets[i] < 0 ? 0 : q.off + fabs((double)x[targets[i]]) * 0x1p-50;
        if (!a->reference.base)
            continue;
        const float *r = nb_host_f32(a->reference) + i * a->ldr;
        distribution p = distribution_of(r, a->n);
        double kl = 0, size = 0;
        for (size_t j = 0; j < a->n; j++) {
            double w = exp((double)r[j] - p.log_sum), d = (double)r[j] - (double)x[j];
            kl += w * d;
            size += w * fabs(d);
        }
        out[1].y[i] = kl - p.log_sum + q.log_sum;
        out[1].bound[i] = 2 * p.off * size + p.off + q.off;
        ((int32_t *)nb_host(a->agree))[i] = p.top == q.top;
    }
}
