/* Tensors of a packed linear: what the disk formats with scales [G, N] and integer zero points share. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/scheme/impl.h"

enum { MAX_PREFIX = 512 };

const nb_view *nb__find_part(const nb__parts *s, const char *suffix) {
    char name[MAX_PREFIX];
    int len = snprintf(name, sizeof name, "%s.%s", s->prefix, suffix);
    return len < 0 || (size_t)len >= sizeof name ? NULL : s->find(s->ctx, name);
}

nb_status nb__check_part(const nb__parts *s, const char *suffix, bool floats, unsigned ndim, size_t rows, size_t cols,
                            const nb_view **out) {
    const nb_view *v = nb__find_part(s, suffix);
    if (!v)
        return nb_fail_at(s->err, NB_E_INPUT, NULL, s->prefix, "has no tensor %s", suffix);
    bool fits = floats ? v->dtype == NB_F16 || v->dtype == NB_BF16 || v->dtype == NB_F32
                       : v->dtype == NB_I32 || v->dtype == NB_U32;
    if (!fits)
        return nb_fail_at(s->err, NB_E_INPUT, v->path, v->name, "is of dtype %s, expected %s", nb_dtype_get(v->dtype)->name,
                          floats ? "F16, BF16 or F32" : "I32");
    if (v->ndim != ndim)
        return nb_fail_at(s->err, NB_E_INPUT, v->path, v->name, "has %u dimensions, expected %u", v->ndim, ndim);
    if (v->dims[0] != rows || (ndim == 2 && v->dims[1] != cols))
        return nb_fail_at(s->err, NB_E_INPUT, v->path, v->name, "has shape [%zu, %zu], expected [%zu, %zu]", v->dims[0],
                          ndim == 2 ? v->dims[1] : 1, rows, ndim == 2 ? cols : 1);
    *out = v;
    return NB_OK;
}

nb_status nb__read_scales(const nb__parts *s, const nb_view *v, nb_qtensor *q) {
    float *row;
    NB_TRY(nb_calloc(q->n, sizeof *row, "scales", &row, s->err));
    nb_status status = NB_OK;
    size_t row_bytes = v->bytes / q->groups;
    q->scale_type = v->dtype;
    for (size_t g = 0; g < q->groups && status == NB_OK; g++) {
        nb_to_f32(v->dtype, (const unsigned char *)v->data + g * row_bytes, q->n, row);
        for (size_t i = 0; i < q->n; i++) {
            if (!isfinite(row[i])) {
                status = nb_fail_at(s->err, NB_E_INPUT, v->path, v->name, "scale of group %zu, row %zu is not finite", g, i);
                break;
            }
            q->scales[i * q->groups + g] = row[i];
        }
    }
    nb_free(row);
    return status;
}

void nb__describe_part(nb_packed_tensor *t, const char *suffix, nb_dtype dtype, unsigned ndim, size_t rows, size_t cols) {
    *t = (nb_packed_tensor){.dtype = dtype, .ndim = ndim, .dims = {rows, cols}};
    snprintf(t->suffix, sizeof t->suffix, "%s", suffix);
    t->bytes = rows * (ndim == 2 ? cols : 1) * nb_dtype_get(dtype)->block_bytes;
}

nb_status nb__pack_scales(const nb_qtensor *q, uint16_t *out, nb_err *err) {
    for (size_t i = 0; i < q->n; i++)
        for (size_t g = 0; g < q->groups; g++) {
            float scale = q->scales[i * q->groups + g];
            uint16_t half = nb_f32_to_f16(scale);
            if (!isfinite(scale) || nb_f16_to_f32(half) != scale)
                return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "scales", "%g of row %zu, group %zu is not exact in F16",
                                  (double)scale, i, g);
            out[g * q->n + i] = half;
        }
    return NB_OK;
}

nb_status nb__zero_of(const nb_qtensor *q, size_t i, size_t g, uint8_t *out, nb_err *err) {
    float zero = q->symmetric ? (float)(1u << (q->bits - 1)) : q->zeros[i * q->groups + g];
    if (!(zero >= 0) || zero > (float)((1u << q->bits) - 1) || zero != (float)(int)zero)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "qzeros", "zero point %g of row %zu, group %zu is no integer of %u bits",
                          (double)zero, i, g, q->bits);
    *out = (uint8_t)zero;
    return NB_OK;
}

nb_status nb__check_codes(const nb_qtensor *q, nb_err *err) {
    uint8_t all = 0;
    for (size_t i = 0; i < q->n * q->k; i++)
        all |= q->codes[i];
    if (all >> q->bits)
        return nb_fail(err, NB_E_USAGE, "a code does not fit into %u bits", q->bits);
    return NB_OK;
}
