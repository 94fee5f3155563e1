/* The block types of GGUF that hold what our solvers make (ggml-common.h; half split: byte j of a block of 32 has element j in
 * its low nibble, element j + 16 in its high one):
 *
 *   Q4_0  f16 d, 16 bytes of codes           d (q - 8)   symmetric 4 bits, exactly
 *   Q4_1  f16 d, f16 m, 16 bytes of codes    d q + m     asymmetric 4 bits, m = -zero d rounded to F16
 *   Q8_0  f16 d, 32 signed bytes             d q         symmetric 8 bits, exactly
 *
 * A group of 64 or more repeats its scale in each block. Scales may have either sign. A linear is one tensor, PREFIX.q4_0 and so
 * on, in the parts of a run; its rows are in HF order there, the order of the file is the container's business. There is no
 * config.json around a GGUF, so nothing is parsed or emitted. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/scheme/ggml.h"
#include "host/scheme/impl.h"

enum { BLOCK = 32, HALF = BLOCK / 2 };

nb_dtype nb_ggml_type(unsigned bits, bool symmetric) {
    return bits == 8 ? NB_Q8_0 : symmetric ? NB_Q4_0 : NB_Q4_1;
}

static const char *suffix_of(nb_dtype type) {
    return type == NB_Q8_0 ? "q8_0" : type == NB_Q4_0 ? "q4_0" : "q4_1";
}

static nb_status ggml_parse(const json_t *settings, nb_scheme_config *out, bool *mine, nb_err *err) {
    (void)settings;
    (void)out;
    (void)err;
    *mine = false;
    return NB_OK;
}

static nb_status ggml_emit(const nb_scheme_config *c, json_t **out, nb_err *err) {
    (void)c;
    (void)out;
    return nb_fail(err, NB_E_UNSUPPORTED, "a GGUF has no quantization_config");
}

static nb_status ggml_accepts(const nb_scheme_config *c, size_t n, size_t k, unsigned bits, size_t group_size, bool symmetric,
                              nb_err *err) {
    if (bits != 4 && bits != 8)
        return nb_fail(err, NB_E_UNSUPPORTED, "GGUF has no block type for %u-bit codes with a scale for each group; 4 and 8 bits do", bits);
    if (bits == 8 && !symmetric)
        return nb_fail(err, NB_E_UNSUPPORTED, "GGUF has no 8-bit blocks with zero points; --sym does");
    if (c->desc_act)
        return nb_fail(err, NB_E_UNSUPPORTED, "a GGUF holds no g_idx; --order group-aware needs none");
    if (n == 0 || k == 0 || k % BLOCK != 0)
        return nb_fail(err, NB_E_UNSUPPORTED, "rows of %zu are no whole blocks of %d, which GGUF needs; leave it alone by --override "
                       "(skip)", k, BLOCK);
    if (group_size == 0 || k % group_size != 0 || group_size % BLOCK != 0)
        return nb_fail(err, NB_E_UNSUPPORTED, "a group size of %zu does not fit into GGUF's blocks of %d; %d does", group_size, BLOCK,
                       BLOCK);
    return NB_OK;
}

static nb_status ggml_shapes(const nb_scheme_config *c, size_t n, size_t k, unsigned bits, size_t group_size, nb_packed_tensor *out,
                             size_t *count, nb_err *err) {
    size_t bytes;
    NB_TRY(ggml_accepts(c, n, k, bits, group_size, c->symmetric, err));
    nb_dtype type = nb_ggml_type(bits, c->symmetric);
    if (!nb_mul(n, k / BLOCK * nb_dtype_get(type)->block_bytes, &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a packed tensor");
    nb__describe_part(&out[0], suffix_of(type), NB_U8, 2, n, bytes / n);
    *count = 1;
    return NB_OK;
}

/* ---- blocks ---- */

static void put_half(unsigned char *p, float x) {
    uint16_t h = nb_f32_to_f16(x);
    p[0] = (unsigned char)(h & 0xff);
    p[1] = (unsigned char)(h >> 8);
}

static float get_half(const unsigned char *p) {
    return nb_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static void put_nibbles(unsigned char *p, const uint8_t *codes) {
    for (int j = 0; j < HALF; j++)
        p[j] = (unsigned char)(codes[j] | codes[j + HALF] << 4);
}

static void put_block(nb_dtype type, const uint8_t *codes, float scale, float zero, unsigned char *p) {
    put_half(p, scale);
    if (type == NB_Q4_1)
        put_half(p + 2, -zero * scale);
    if (type == NB_Q8_0)
        for (int j = 0; j < BLOCK; j++)
            p[2 + j] = (unsigned char)(codes[j] - 128);
    else
        put_nibbles(p + (type == NB_Q4_1 ? 4 : 2), codes);
}

/* scale and zero of a block; its codes. */
static void get_block(nb_dtype type, const unsigned char *p, uint8_t *codes, float *scale, float *zero) {
    *scale = get_half(p);
    *zero = type == NB_Q8_0 ? 128.0f : 8.0f;
    if (type == NB_Q8_0) {
        for (int j = 0; j < BLOCK; j++)
            codes[j] = (uint8_t)(p[2 + j] + 128);
        return;
    }
    if (type == NB_Q4_1)
        *zero = *scale != 0.0f ? -get_half(p + 2) / *scale : 0.0f;
    p += type == NB_Q4_1 ? 4 : 2;
    for (int j = 0; j < HALF; j++) {
        codes[j] = p[j] & 15;
        codes[j + HALF] = p[j] >> 4;
    }
}

/* As ggml-quants.c does it: the step is rounded after it was used. */
void nb_ggml_q8_0(const float *x, size_t count, void *out) {
    unsigned char *p = out;
    for (size_t at = 0; at < count; at += BLOCK, p += 2 + BLOCK) {
        float most = 0.0f;
        for (size_t j = 0; j < BLOCK; j++)
            most = fmaxf(most, fabsf(x[at + j]));
        float d = most / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
        put_half(p, d);
        for (size_t j = 0; j < BLOCK; j++)
            p[2 + j] = (unsigned char)(int)roundf(x[at + j] * inverse);
    }
}

/* ---- linears ---- */

static bool ggml_has(nb_scheme_find_fn *find, void *ctx, const char *prefix) {
    nb__parts s = {find, ctx, prefix, NULL};
    return nb__find_part(&s, "q4_0") || nb__find_part(&s, "q4_1") || nb__find_part(&s, "q8_0");
}

static nb_status ggml_read(const nb_scheme_config *c, nb_scheme_find_fn *find, void *ctx, const char *prefix, size_t n, size_t k,
                           nb_qtensor *out, nb_err *err) {
    nb_dtype type = nb_ggml_type(c->bits, c->symmetric);
    size_t block_bytes = nb_dtype_get(type)->block_bytes, group = c->group_size < 0 ? k : (size_t)c->group_size;
    nb_packed_tensor shape;
    nb_qtensor q;
    size_t count;
    nb__parts s = {find, ctx, prefix, err};
    NB_TRY(nb_err_at(err, ggml_shapes(c, n, k, c->bits, group, &shape, &count, err), NULL, prefix));
    const nb_view *v = nb__find_part(&s, shape.suffix);
    if (!v || v->dtype != NB_U8 || v->bytes != shape.bytes)
        return nb_fail_at(err, NB_E_INPUT, NULL, prefix, "has no tensor %s of %zu bytes", shape.suffix, shape.bytes);
    NB_TRY(nb_qtensor_new(n, k, c->bits, group, c->symmetric, false, &q, err));
    q.float_zeros = type == NB_Q4_1;
    q.scale_type = NB_F16;
    for (size_t b = 0; b < n * k / BLOCK; b++) {
        size_t at = b * BLOCK / group;
        get_block(type, (const unsigned char *)v->data + b * block_bytes, q.codes + b * BLOCK, &q.scales[at], &q.zeros[at]);
    }
    *out = q;
    return NB_OK;
}

static nb_status check_params(const nb_qtensor *q, nb_dtype type, nb_err *err) {
    for (size_t g = 0; g < q->n * q->groups; g++) {
        float scale = q->scales[g], m = -q->zeros[g] * scale;
        if (!isfinite(scale) || nb_f16_to_f32(nb_f32_to_f16(scale)) != scale)
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "scales", "%g of row %zu, group %zu is not exact in F16", (double)scale,
                              g / q->groups, g % q->groups);
        if (type == NB_Q4_1 && !(fabsf(m) < 65504.0f))
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "zeros", "offset %g of row %zu, group %zu does not fit into F16", (double)m,
                              g / q->groups, g % q->groups);
    }
    return NB_OK;
}

static nb_status ggml_pack(const nb_scheme_config *c, const nb_qtensor *q, nb_packed_tensor *out, size_t *count, size_t *clamped,
                           nb_err *err) {
    nb_packed_tensor t;
    nb_scheme_config own = *c;
    size_t made;
    own.symmetric = q->symmetric;
    *clamped = 0;
    if (q->codebook || q->g_idx)
        return nb_fail(err, NB_E_UNSUPPORTED, "GGUF's blocks hold no codebook and no g_idx");
    NB_TRY(ggml_shapes(&own, q->n, q->k, q->bits, q->group_size, &t, &made, err));
    nb_dtype type = nb_ggml_type(q->bits, q->symmetric);
    size_t block_bytes = nb_dtype_get(type)->block_bytes;
    NB_TRY(nb__check_codes(q, err));
    NB_TRY(check_params(q, type, err));
    NB_TRY(nb_alloc_aligned(t.bytes, 1, t.suffix, &t.data, err));
    for (size_t b = 0; b < q->n * q->k / BLOCK; b++) {
        size_t at = b * BLOCK / q->group_size;
        put_block(type, q->codes + b * BLOCK, q->scales[at], q->zeros[at], (unsigned char *)t.data + b * block_bytes);
    }
    out[0] = t;
    *count = 1;
    return NB_OK;
}

const nb_scheme nb__scheme_ggml = {
    .name = "gguf",
    .rounds_offsets = true,
    .parse = ggml_parse,
    .emit = ggml_emit,
    .has = ggml_has,
    .read = ggml_read,
    .shapes = ggml_shapes,
    .pack = ggml_pack,
    .accepts = ggml_accepts,
};
