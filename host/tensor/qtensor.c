#include "host/tensor/qtensor.h"

#include "host/base/alloc.h"
#include "host/base/size.h"

nb_status nb_qtensor_new(size_t n, size_t k, unsigned bits, size_t group_size, bool symmetric, bool with_g_idx,
                         nb_qtensor *out, nb_err *err) {
    if (bits < 2 || bits > 8)
        return nb_fail(err, NB_E_USAGE, "%u bits, expected 2 to 8", bits);
    if (n == 0 || k == 0)
        return nb_fail(err, NB_E_USAGE, "an empty matrix of %zu x %zu cannot be quantized", n, k);
    if (group_size == 0 || group_size > k)
        return nb_fail(err, NB_E_USAGE, "group size %zu, expected 1 to %zu", group_size, k);
    nb_qtensor q = {.n = n, .k = k, .bits = bits, .group_size = group_size, .symmetric = symmetric};
    q.groups = nb_ceil_div(k, group_size);
    q.scale_type = NB_F16;
    size_t elems, params;
    if (!nb_mul(n, k, &elems) || !nb_mul(n, q.groups, &params))
        return nb_fail_memory(err, SIZE_MAX, "a quantized tensor");
    nb_status status;
    NB_GO(nb_calloc(elems, 1, "codes", &q.codes, err));
    NB_GO(nb_calloc(params, sizeof *q.scales, "scales", &q.scales, err));
    NB_GO(nb_calloc(params, sizeof *q.zeros, "zero points", &q.zeros, err));
    if (with_g_idx)
        NB_GO(nb_calloc(k, sizeof *q.g_idx, "g_idx", &q.g_idx, err));
    *out = q;
out:
    if (status != NB_OK)
        nb_qtensor_free(&q);
    return status;
}

void nb_qtensor_free(nb_qtensor *q) {
    if (!q)
        return;
    nb_free(q->codes);
    nb_free(q->scales);
    nb_free(q->zeros);
    nb_free(q->g_idx);
    nb_free(q->codebook);
    *q = (nb_qtensor){0};
}

void nb_qtensor_row(const nb_qtensor *q, size_t i, float *out) {
    const uint8_t *codes = q->codes + i * q->k;
    const float *scales = q->scales + i * q->groups, *zeros = q->zeros + i * q->groups;
    for (size_t j = 0; j < q->k; j++) {
        size_t g = q->g_idx ? q->g_idx[j] : j / q->group_size;
        out[j] = q->codebook ? q->codebook[codes[j]] * scales[g] : ((float)codes[j] - zeros[g]) * scales[g];
    }
}

double nb_qtensor_bits_per_weight(const nb_qtensor *q) {
    double scale_bits = 8.0 * nb_dtype_get(q->scale_type)->block_bytes;
    double per_group = scale_bits + (q->symmetric ? 0.0 : q->float_zeros ? scale_bits : (double)q->bits);
    double weights = (double)q->n * (double)q->k;
    double total = weights * q->bits + (double)q->n * (double)q->groups * per_group;
    if (q->g_idx)
        total += 32.0 * (double)q->k;
    return total / weights;
}
