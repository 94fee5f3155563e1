/* Gradient of the KL divergence by logits. */
#include "kernels/cpu/vmath.h"

enum { LANES = 16, CHUNK = 256 };

NB_BODY float row_max(const float *x, size_t n) {
    float m[LANES], max = -3.402823466e38f;
    size_t j = 0;
    for (size_t l = 0; l < LANES; l++)
        m[l] = max;
    for (; j + LANES <= n; j += LANES)
        for (size_t l = 0; l < LANES; l++)
            m[l] = x[j + l] > m[l] ? x[j + l] : m[l];
    for (; j < n; j++)
        max = x[j] > max ? x[j] : max;
    for (size_t l = 0; l < LANES; l++)
        max = m[l] > max ? m[l] : max;
    return max;
}

/* y[j] = exp(x[j] - max), and their sum; y may be x. */
NB_BODY double exponentials(const float *x, size_t n, float max, float *y) {
    double s[LANES] = {0}, sum = 0.0;
    float e[CHUNK];
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t len = nb_min(CHUNK, n - at), j = 0;
        for (size_t i = 0; i < len; i++)
            e[i] = nb__exp(x[at + i] - max);
        for (; j + LANES <= len; j += LANES)
            for (size_t l = 0; l < LANES; l++)
                s[l] += (double)e[j + l];
        for (; j < len; j++)
            s[0] += (double)e[j];
        memcpy(y + at, e, len * sizeof *e);
    }
    for (size_t l = 0; l < LANES; l++)
        sum += s[l];
    return sum;
}

NB_BODY void kl_back_rows(const struct nb_kl_back_args *a, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) {
        const float *x = nb_host_f32(a->logits) + i * a->ldl, *r = nb_host_f32(a->reference) + i * a->ldr;
        float *d = nb_host_f32(a->d) + i * a->ldd, e[CHUNK];
        float q = (float)(1.0 / exponentials(x, a->n, row_max(x, a->n), d)), max = row_max(r, a->n);
        double z = 0.0;
        for (size_t at = 0; at < a->n; at += CHUNK)
            z += exponentials(r + at, nb_min(CHUNK, a->n - at), max, e);
        float p = (float)(1.0 / z);
        for (size_t j = 0; j < a->n; j++)
            d[j] = a->factor * (d[j] * q - nb__exp(r[j] - max) * p);
    }
}

NB_ROWS_VARIANTS(kl_back, 2)
