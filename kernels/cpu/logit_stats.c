/* Negative log-likelihood, KL divergence and agreement of rows of logits. */
#include <math.h>

#include "kernels/cpu/vmath.h"

enum { LANES = 16, CHUNK = 256 };

/* Largest value and its first place. Lane by lane, so that it vectorises; the place is looked for afterwards. */
NB_BODY float row_max(const float *x, size_t n, size_t *place) {
    float m[LANES];
    size_t j = 0;
    for (size_t l = 0; l < LANES; l++)
        m[l] = -INFINITY;
    for (; j + LANES <= n; j += LANES)
        for (size_t l = 0; l < LANES; l++)
            m[l] = x[j + l] > m[l] ? x[j + l] : m[l];
    float max = -INFINITY;
    for (size_t l = 0; l < LANES; l++)
        max = m[l] > max ? m[l] : max;
    for (; j < n; j++)
        max = x[j] > max ? x[j] : max;
    for (j = 0; j + 1 < n && x[j] != max; j++)
        continue;
    *place = j;
    return max;
}

/* e[j] = exp(x[j] - max) for a chunk. */
NB_BODY void exp_chunk(const float *restrict x, size_t n, float max, float *restrict e) {
    for (size_t j = 0; j < n; j++)
        e[j] = nb__exp(x[j] - max);
}

NB_BODY double lanes_sum(const double *s) {
    double sum = 0.0;
    for (size_t l = 0; l < LANES; l++)
        sum += s[l];
    return sum;
}

NB_BODY double sum_exp(const float *x, size_t n, float max) {
    double s[LANES] = {0};
    float e[CHUNK];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t len = nb_min(CHUNK, n - at), j = 0;
        exp_chunk(x + at, len, max, e);
        for (; j + LANES <= len; j += LANES)
            for (size_t l = 0; l < LANES; l++)
                s[l] += (double)e[j + l];
        for (; j < len; j++)
            s[0] += (double)e[j];
    }
    return lanes_sum(s);
}

/* *z = sum_j exp(r_j - max), and the sum of exp(r_j - max) * (r_j - l_j). */
NB_BODY double sum_exp_diff(const float *r, const float *x, size_t n, float max, double *z) {
    double s[LANES] = {0}, d[LANES] = {0};
    float e[CHUNK];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t len = nb_min(CHUNK, n - at), j = 0;
        const float *rc = r + at, *xc = x + at;
        exp_chunk(rc, len, max, e);
        for (; j + LANES <= len; j += LANES)
            for (size_t l = 0; l < LANES; l++) {
                s[l] += (double)e[j + l];
                d[l] += (double)e[j + l] * ((double)rc[j + l] - (double)xc[j + l]);
            }
        for (; j < len; j++) {
            s[0] += (double)e[j];
            d[0] += (double)e[j] * ((double)rc[j] - (double)xc[j]);
        }
    }
    *z = lanes_sum(s);
    return lanes_sum(d);
}

NB_BODY void logit_stats_rows(const struct nb_logit_stats_args *a, size_t first, size_t last) {
    const int32_t *targets = nb_host(a->targets);
    double *nll = nb_host(a->nll), *kl = nb_host(a->kl);
    int32_t *agree = nb_host(a->agree);
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->logits) + i * a->ldl;
        size_t top, ref_top;
        float max = row_max(x, a->n, &top);
        double lse = (double)max + log(sum_exp(x, a->n, max));
        nll[i] = targets[i] < 0 ? 0.0 : lse - (double)x[targets[i]];
        if (!a->reference.base)
            continue;
        const float *r = nb_host_f32(a->reference) + i * a->ldr;
        float ref_max = row_max(r, a->n, &ref_top);
        double z, d = sum_exp_diff(r, x, a->n, ref_max, &z);
        /* sum p (r - x) - lse(r) + lse(x) */
        kl[i] = d / z - ((double)ref_max + log(z)) + lse;
        agree[i] = top == ref_top;
    }
}

NB_ROWS_VARIANTS(logit_stats, 2)
