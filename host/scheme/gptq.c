/* GPTQ checkpoints: qweight, qzeros, scales, g_idx of each linear; checkpoint formats "gptq" (v1) and "gptq_v2".
 *
 *   qweight I32 [K*bits/32, N]   codes; a bit stream down each column
 *   qzeros  I32 [G, N*bits/32]   zero points; a bit stream along each row. v2 stores them, v1 stores them less 1
 *   scales  F16 [G, N]           (BF16 and F32 are read too)
 *   g_idx   I32 [K]              group of each column
 *   W[n][k] = (code - zero[g_idx[k]][n]) * scales[g_idx[k]][n],  G = ceil(K / group_size)
 *
 * v1 and a zero point of 0. GPTQModel subtracts 1 from whole words, so that a field of 0 borrows from its neighbour, and
 * adds it to whole words when it reads: we read in that way, which is exact for its files and the same as "field + 1"
 * wherever no field is at its top. Other engines differ there, so we do not write it: such a zero point becomes 1, and the
 * codes of the group rise by 1 with it, so that every weight keeps its value, except that those at the top code lose one
 * step of the scale. `pack` counts these groups in *clamped.
 *
 * Symmetric files with the wrong label exist. Their zero points are known, so the content decides: all fields
 * 2^(bits-1) - 1 are v1, all fields 2^(bits-1) are v2. For asymmetric files the label is trusted. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/scheme/bits.h"
#include "host/scheme/impl.h"
#include "host/tensor/repack.h"

/* ---- reading ---- */

static bool gptq_has(nb_scheme_find_fn *find, void *ctx, const char *prefix) {
    nb__parts s = {find, ctx, prefix, NULL};
    return nb__find_part(&s, "qweight") != NULL;
}

/* Do K and N make whole words? */
static nb_status check_words(size_t n, size_t k, unsigned bits, nb_status code, nb_err *err) {
    size_t unit = bits == 3 ? 32 : 32 / bits;
    if (n == 0 || k == 0 || k % unit || n % unit)
        return nb_fail(err, code, "a matrix of %zu x %zu does not make whole words: %u-bit codes need multiples of %zu", n, k,
                       bits, unit);
    return NB_OK;
}

/* Group size in columns, and the remainder rule. */
static nb_status group_of(const nb_scheme_config *c, size_t k, size_t *group, nb_err *err) {
    *group = c->group_size < 0 ? k : (size_t)c->group_size;
    if (k % *group == 0)
        return NB_OK;
    if (!c->ragged)
        return nb_fail(err, NB_E_INPUT, "group size %zu does not divide %zu columns", *group, k);
    *group = nb_min(*group, k);
    return NB_OK;
}

/* Are all fields of qzeros `field`? */
static bool all_fields(const nb_view *v, size_t groups, size_t n, unsigned bits, uint8_t *row, uint8_t field) {
    size_t words = nb__stream_words(n, bits);
    for (size_t g = 0; g < groups; g++) {
        nb__unpack_stream((const unsigned char *)v->data + 4 * words * g, n, bits, row);
        for (size_t i = 0; i < n; i++)
            if (row[i] != field)
                return false;
    }
    return true;
}

/* Adds 1 to each field as GPTQModel does: to whole words, and for 3 bits field by field, without carry. */
static void unpack_zeros(const unsigned char *src, size_t n, unsigned bits, bool v1, uint32_t *words, uint8_t *fields) {
    size_t count = nb__stream_words(n, bits);
    memcpy(words, src, 4 * count);
    for (size_t i = 0; v1 && i < count; i++)
        words[i] += nb_gptq_ones(bits);
    nb__unpack_stream(words, n, bits, fields);
    for (size_t i = 0; v1 && bits == 3 && i < n; i++)
        fields[i] = (fields[i] + 1) & 7;
}

static nb_status read_zeros(const nb__parts *s, const nb_scheme_config *c, const nb_view *v, nb_qtensor *q) {
    uint8_t *fields = NULL, half = (uint8_t)(1u << (c->bits - 1));
    uint32_t *words = NULL;
    nb_status status;
    size_t count = nb__stream_words(q->n, c->bits);
    NB_GO(nb_calloc(q->n, 1, "zero points", &fields, s->err));
    NB_GO(nb_calloc(count, sizeof *words, "zero points", &words, s->err));
    bool v1 = strcmp(c->format, "gptq_v2") != 0;
    if (c->symmetric) {
        if (all_fields(v, q->groups, q->n, c->bits, fields, (uint8_t)(half - 1)))
            v1 = true;
        else if (all_fields(v, q->groups, q->n, c->bits, fields, half))
            v1 = false;
    }
    q->symmetric = c->symmetric;
    for (size_t g = 0; g < q->groups; g++) {
        unpack_zeros((const unsigned char *)v->data + 4 * count * g, q->n, c->bits, v1, words, fields);
        for (size_t i = 0; i < q->n; i++) {
            q->zeros[i * q->groups + g] = (float)fields[i];
            q->symmetric = q->symmetric && fields[i] == half;
        }
    }
out:
    nb_free(fields);
    nb_free(words);
    return status;
}

/* NULL g_idx where it is k / group_size, so that kernels may skip it. */
static nb_status read_g_idx(const nb__parts *s, const nb_scheme_config *c, nb_qtensor *q) {
    const nb_view *v = nb__find_part(s, "g_idx");
    if (!v) {
        if (c->desc_act)
            return nb_fail_at(s->err, NB_E_INPUT, NULL, s->prefix, "desc_act is true, but there is no tensor g_idx");
        return NB_OK;
    }
    NB_TRY(nb__check_part(s, "g_idx", false, 1, q->k, 0, &v));
    bool plain = true;
    NB_TRY(nb_calloc(q->k, sizeof *q->g_idx, "g_idx", &q->g_idx, s->err));
    memcpy(q->g_idx, v->data, 4 * q->k);
    for (size_t j = 0; j < q->k; j++) {
        if (q->g_idx[j] >= q->groups)
            return nb_fail_at(s->err, NB_E_INPUT, v->path, v->name, "column %zu is in group %d, there are %zu", j,
                              (int)q->g_idx[j], q->groups);
        plain = plain && q->g_idx[j] == j / q->group_size;
    }
    if (plain) {
        nb_free(q->g_idx);
        q->g_idx = NULL;
    }
    return NB_OK;
}

static nb_status gptq_read(const nb_scheme_config *config, nb_scheme_find_fn *find, void *ctx, const char *prefix, size_t n,
                           size_t k, nb_qtensor *out, nb_err *err) {
    nb__parts s = {find, ctx, prefix, err};
    nb_scheme_config c;
    nb_qtensor q = {0};
    const nb_view *codes = NULL, *zeros = NULL, *scales = NULL;
    size_t group = 0;
    bool skip = false;
    nb_status status;
    NB_GO(nb_scheme_for_module(config, prefix, &c, &skip, err));
    NB_GO(nb__gptq_check_bits(c.bits, err));
    NB_GO(nb__gptq_check_group(c.group_size, err));
    NB_GO(check_words(n, k, c.bits, NB_E_INPUT, err));
    NB_GO(group_of(&c, k, &group, err));
    size_t groups = nb_ceil_div(k, group);
    NB_GO(nb__check_part(&s, "qweight", false, 2, nb__stream_words(k, c.bits), n, &codes));
    NB_GO(nb__check_part(&s, "qzeros", false, 2, groups, nb__stream_words(n, c.bits), &zeros));
    NB_GO(nb__check_part(&s, "scales", true, 2, groups, n, &scales));
    NB_GO(nb_qtensor_new(n, k, c.bits, group, c.symmetric, false, &q, err));
    NB_GO(read_g_idx(&s, &c, &q));
    NB_GO(nb__read_scales(&s, scales, &q));
    NB_GO(read_zeros(&s, &c, zeros, &q));
    nb__unpack_columns(codes->data, n, k, c.bits, q.codes);
    *out = q;
out:
    if (status != NB_OK) {
        nb_qtensor_free(&q);
        nb_err_at(err, status, NULL, prefix);
    }
    return status;
}

/* ---- writing ---- */

static nb_status gptq_accepts(const nb_scheme_config *c, size_t n, size_t k, unsigned bits, size_t group_size,
                              bool symmetric, nb_err *err) {
    (void)symmetric; /* both kinds can be written, in both formats */
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
        return nb_fail(err, NB_E_UNSUPPORTED, "GPTQ files hold 2, 3, 4 or 8 bits, not %u", bits);
    NB_TRY(check_words(n, k, bits, NB_E_UNSUPPORTED, err));
    if (group_size == 0 || group_size > k)
        return nb_fail(err, NB_E_UNSUPPORTED, "group size %zu, expected 1 to %zu", group_size, k);
    if (k % group_size && !c->ragged) {
        size_t would = k % 128 == 0 ? 128 : k % 64 == 0 ? 64 : k % 32 == 0 ? 32 : k;
        return nb_fail(err, NB_E_UNSUPPORTED, "group size %zu does not divide %zu columns; %zu does", group_size, k, would);
    }
    return NB_OK;
}

enum { QWEIGHT, QZEROS, SCALES, G_IDX, TENSORS };

static nb_status gptq_shapes(const nb_scheme_config *config, size_t n, size_t k, unsigned bits, size_t group_size,
                             nb_packed_tensor *out, size_t *count, nb_err *err) {
    size_t elems, bytes;
    NB_TRY(gptq_accepts(config, n, k, bits, group_size, true, err));
    if (!nb_mul(n, k, &elems) || !nb_mul(elems, 4, &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a packed tensor");
    size_t groups = nb_ceil_div(k, group_size);
    nb__describe_part(&out[QWEIGHT], "qweight", NB_I32, 2, nb__stream_words(k, bits), n);
    nb__describe_part(&out[QZEROS], "qzeros", NB_I32, 2, groups, nb__stream_words(n, bits));
    nb__describe_part(&out[SCALES], "scales", NB_F16, 2, groups, n);
    nb__describe_part(&out[G_IDX], "g_idx", NB_I32, 1, k, 0);
    *count = TENSORS;
    return NB_OK;
}

/* out [groups, stream_words(n)]; *clamped counts zero points of 0 that v1 cannot hold. */
static nb_status pack_zeros(const nb_qtensor *q, bool v1, uint32_t *out, size_t *clamped, nb_err *err) {
    uint8_t *fields;
    NB_TRY(nb_calloc(q->n, 1, "zero points", &fields, err));
    nb_status status = NB_OK;
    size_t words = nb__stream_words(q->n, q->bits);
    for (size_t g = 0; g < q->groups && status == NB_OK; g++) {
        for (size_t i = 0; i < q->n && status == NB_OK; i++) {
            status = nb__zero_of(q, i, g, &fields[i], err);
            if (v1 && fields[i] == 0)
                (*clamped)++;
            else if (v1)
                fields[i]--;
        }
        nb__pack_stream(fields, q->n, q->bits, out + g * words);
    }
    nb_free(fields);
    return status;
}

static void raise_run(uint8_t *codes, size_t count, uint8_t top) {
    for (size_t j = 0; j < count; j++)
        codes[j] = (uint8_t)(codes[j] + (codes[j] < top));
}

/* codes[n, k] with those of groups of zero point 0 raised by one, up to the top code. */
static void raise_codes(const nb_qtensor *q, uint8_t *codes) {
    uint8_t top = (uint8_t)((1u << q->bits) - 1);
    for (size_t i = 0; i < q->n; i++) {
        const float *zeros = q->zeros + i * q->groups;
        uint8_t *row = codes + i * q->k;
        for (size_t g = 0; !q->g_idx && g < q->groups; g++)
            if (zeros[g] == 0)
                raise_run(row + g * q->group_size, nb_min(q->group_size, q->k - g * q->group_size), top);
        for (size_t j = 0; q->g_idx && j < q->k; j++)
            if (zeros[q->g_idx[j]] == 0)
                raise_run(row + j, 1, top);
    }
}

static nb_status pack_codes(const nb_qtensor *q, bool raise, uint32_t *out, nb_err *err) {
    if (!raise) {
        nb__pack_columns(q->codes, q->n, q->k, q->bits, out);
        return NB_OK;
    }
    uint8_t *codes;
    NB_TRY(nb_alloc_aligned(q->n * q->k, 1, "codes", &codes, err)); /* q holds as many */
    memcpy(codes, q->codes, q->n * q->k);
    raise_codes(q, codes);
    nb__pack_columns(codes, q->n, q->k, q->bits, out);
    nb_free(codes);
    return NB_OK;
}

static nb_status gptq_pack(const nb_scheme_config *config, const nb_qtensor *q, nb_packed_tensor *out, size_t *count,
                           size_t *clamped, nb_err *err) {
    nb_packed_tensor t[TENSORS];
    size_t made = 0;
    nb_status status;
    if (q->codebook || q->float_zeros)
        return nb_fail(err, NB_E_UNSUPPORTED, "GPTQ files hold integer zero points and no codebook");
    NB_TRY(gptq_accepts(config, q->n, q->k, q->bits, q->group_size, q->symmetric, err));
    NB_TRY(gptq_shapes(config, q->n, q->k, q->bits, q->group_size, t, &made, err));
    bool v1 = strcmp(config->format, "gptq_v2") != 0;
    *clamped = 0;
    NB_GO(nb__check_codes(q, err));
    for (size_t i = 0; i < made; i++)
        NB_GO(nb_alloc_aligned(t[i].bytes, 1, t[i].suffix, &t[i].data, err));
    NB_GO(nb__pack_scales(q, t[SCALES].data, err));
    NB_GO(pack_zeros(q, v1, t[QZEROS].data, clamped, err));
    NB_GO(pack_codes(q, *clamped > 0, t[QWEIGHT].data, err));
    uint32_t *g_idx = t[G_IDX].data;
    for (size_t j = 0; j < q->k; j++)
        g_idx[j] = q->g_idx ? q->g_idx[j] : (uint32_t)(j / q->group_size);
    memcpy(out, t, sizeof t);
    *count = made;
out:
    if (status != NB_OK)
        nb_packed_tensors_free(t, made);
    return status;
}

const nb_scheme nb__scheme_gptq = {
    .name = "gptq",
    .parse = nb__gptq_parse,
    .emit = nb__gptq_emit,
    .has = gptq_has,
    .read = gptq_read,
    .shapes = gptq_shapes,
    .pack = gptq_pack,
    .accepts = gptq_accepts,
};
