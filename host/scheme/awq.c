/* AWQ checkpoints, version "gemm" (AutoAWQ): 4 bits, zero points, packed along the outputs.
 *
 *   qweight I32 [K, N/8]   codes; nibble i of word c holds output 8c + order[i], order = 0 2 4 6 1 3 5 7
 *   qzeros  I32 [G, N/8]   zero points in the same order, as they are
 *   scales  F16 [G, N]
 *   W[n][k] = (code[k][n] - zero[k/g][n]) * scales[k/g][n],  G = K / g
 *
 * There is no g_idx. Channel scales are in the weights and in what makes the input; the file does not show them. Groups of a
 * whole row are not written: AutoAWQ does not read them. */
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/scheme/impl.h"

enum { BITS = 4, PER_WORD = 8 };

/* Nibble that holds output 8c + j. */
static const unsigned nibble_of[PER_WORD] = {0, 4, 1, 5, 2, 6, 3, 7};

enum { QWEIGHT, QZEROS, SCALES, TENSORS };

/* ---- settings ---- */

static nb_status parse_int(const json_t *doc, const char *key, const char *alias, int64_t *out, nb_err *err) {
    const json_t *v = json_object_get(doc, key);
    if (!v || json_is_null(v))
        key = alias;
    v = json_object_get(doc, key);
    if (!v || json_is_null(v))
        return nb_fail_at(err, NB_E_INPUT, NULL, "quantization_config", "has no %s", alias);
    return nb_json_get_int(doc, key, INT64_MIN, INT64_MAX, out, err);
}

static nb_status awq_parse(const json_t *doc, nb_scheme_config *out, bool *mine, nb_err *err) {
    nb_scheme_config c = {.format = "awq", .bits = BITS, .damp = -1};
    const char *method = NULL, *version = NULL;
    int64_t bits = 0, group = 0;
    bool zero_point = true;
    *mine = false;
    if (!json_is_object(doc))
        return nb_fail_at(err, NB_E_INPUT, NULL, "quantization_config", "is no object");
    NB_TRY(nb_json_get_str(doc, "quant_method", &method, err));
    *mine = method && !strcmp(method, "awq");
    if (!*mine)
        return NB_OK;
    NB_TRY(nb_json_get_str(doc, "version", &version, err));
    if (version && strcmp(version, "gemm") != 0 && strcmp(version, "GEMM") != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "version", "'%.30s' is not read, gemm is", version);
    NB_TRY(parse_int(doc, "bits", "w_bit", &bits, err));
    NB_TRY(parse_int(doc, "group_size", "q_group_size", &group, err));
    if (bits != BITS)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "bits", "is %lld; AWQ files hold 4", (long long)bits);
    if (group != -1 && (group < 1 || group > INT32_MAX))
        return nb_fail_at(err, NB_E_INPUT, NULL, "group_size", "is %lld, expected -1 or a positive size", (long long)group);
    NB_TRY(nb_json_get_bool(doc, "zero_point", &zero_point, err));
    c.symmetric = !zero_point;
    c.group_size = group;
    *out = c;
    return NB_OK;
}

/* Names of modules left alone, from exact rules "-:NAME$" with dots escaped. */
static json_t *skipped_modules(const json_t *dynamic) {
    json_t *names = json_array();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)dynamic, key, value) {
        char name[256];
        size_t len = 0;
        if (strncmp(key, "-:", 2) != 0)
            continue;
        for (const char *p = key + 2; *p && *p != '$' && len + 1 < sizeof name; p++)
            if (*p != '\\')
                name[len++] = *p;
        name[len] = 0;
        if (json_array_append_new(names, json_string(name)) != 0) {
            json_decref(names);
            return NULL;
        }
    }
    return names;
}

static nb_status awq_emit(const nb_scheme_config *c, json_t **out, nb_err *err) {
    json_t *names = skipped_modules(c->dynamic);
    json_t *doc = !names ? NULL
                         : json_pack("{s:s, s:i, s:I, s:b, s:s, s:o?}", "quant_method", "awq", "bits", BITS, "group_size",
                                     (json_int_t)c->group_size, "zero_point", 1, "version", "gemm", "modules_to_not_convert",
                                     json_array_size(names) ? names : NULL);
    if (names && !json_array_size(names))
        json_decref(names);
    if (!doc)
        return nb_fail_memory(err, 0, "a quantization_config");
    *out = doc;
    return NB_OK;
}

static nb_status check_shape(size_t n, size_t k, size_t group, nb_status code, nb_err *err) {
    if (n == 0 || k == 0 || n % PER_WORD)
        return nb_fail(err, code, "a matrix of %zu x %zu does not make whole words: AWQ packs 8 outputs into one", n, k);
    if (group == 0 || group > k || k % group)
        return nb_fail(err, code, "group size %zu does not divide %zu columns", group, k);
    return NB_OK;
}

static nb_status awq_accepts(const nb_scheme_config *c, size_t n, size_t k, unsigned bits, size_t group_size, bool symmetric,
                             nb_err *err) {
    (void)symmetric; /* a zero point of 8 everywhere */
    if (bits != BITS)
        return nb_fail(err, NB_E_UNSUPPORTED, "AWQ files hold 4 bits, not %u; the gptq format holds 2, 3, 4 and 8", bits);
    if (c->desc_act)
        return nb_fail(err, NB_E_UNSUPPORTED, "AWQ files hold no g_idx; --order group-aware needs none");
    if (c->group_size < 0)
        return nb_fail(err, NB_E_UNSUPPORTED, "AWQ files with one group a row are not read by AutoAWQ; choose a group size");
    if (group_size != (size_t)c->group_size)
        return nb_fail(err, NB_E_UNSUPPORTED, "AWQ files have one group size for all, %lld, not %zu", (long long)c->group_size,
                       group_size);
    return check_shape(n, k, group_size, NB_E_UNSUPPORTED, err);
}

/* ---- words ---- */

/* codes[count], count a multiple of 8. */
static void pack_row(const uint8_t *codes, size_t stride, size_t count, uint32_t *words) {
    for (size_t c = 0; c < count / PER_WORD; c++) {
        uint32_t word = 0;
        for (size_t j = 0; j < PER_WORD; j++)
            word |= (uint32_t)codes[(c * PER_WORD + j) * stride] << (BITS * nibble_of[j]);
        words[c] = word;
    }
}

static void unpack_row(const unsigned char *words, size_t count, uint8_t *codes, size_t stride) {
    for (size_t c = 0; c < count / PER_WORD; c++) {
        uint32_t word;
        memcpy(&word, words + 4 * c, sizeof word);
        for (size_t j = 0; j < PER_WORD; j++)
            codes[(c * PER_WORD + j) * stride] = word >> (BITS * nibble_of[j]) & 15u;
    }
}

/* ---- reading ---- */

static bool awq_has(nb_scheme_find_fn *find, void *ctx, const char *prefix) {
    nb__parts s = {find, ctx, prefix, NULL};
    return nb__find_part(&s, "qweight") != NULL;
}

static nb_status read_zeros(const nb_view *v, nb_qtensor *q, nb_err *err) {
    uint8_t *fields;
    NB_TRY(nb_calloc(q->n, 1, "zero points", &fields, err));
    q->symmetric = true;
    for (size_t g = 0; g < q->groups; g++) {
        unpack_row((const unsigned char *)v->data + g * (q->n / PER_WORD) * 4, q->n, fields, 1);
        for (size_t i = 0; i < q->n; i++) {
            q->zeros[i * q->groups + g] = (float)fields[i];
            q->symmetric = q->symmetric && fields[i] == 8;
        }
    }
    nb_free(fields);
    return NB_OK;
}

static nb_status awq_read(const nb_scheme_config *c, nb_scheme_find_fn *find, void *ctx, const char *prefix, size_t n, size_t k,
                          nb_qtensor *out, nb_err *err) {
    nb__parts s = {find, ctx, prefix, err};
    const nb_view *codes, *zeros, *scales;
    nb_qtensor q = {0};
    size_t group = c->group_size < 0 ? k : (size_t)c->group_size;
    nb_status status;
    NB_GO(check_shape(n, k, group, NB_E_INPUT, err));
    NB_GO(nb__check_part(&s, "qweight", false, 2, k, n / PER_WORD, &codes));
    NB_GO(nb__check_part(&s, "scales", true, 2, k / group, n, &scales));
    NB_GO(nb__check_part(&s, "qzeros", false, 2, k / group, n / PER_WORD, &zeros));
    NB_GO(nb_qtensor_new(n, k, BITS, group, false, false, &q, err));
    NB_GO(nb__read_scales(&s, scales, &q));
    NB_GO(read_zeros(zeros, &q, err));
    for (size_t j = 0; j < k; j++)
        unpack_row((const unsigned char *)codes->data + j * (n / PER_WORD) * 4, n, q.codes + j, k);
    *out = q;
    q = (nb_qtensor){0};
out:
    nb_qtensor_free(&q);
    return nb_err_at(err, status, NULL, prefix);
}

/* ---- writing ---- */

static nb_status awq_shapes(const nb_scheme_config *c, size_t n, size_t k, unsigned bits, size_t group_size,
                            nb_packed_tensor *out, size_t *count, nb_err *err) {
    size_t elems, bytes;
    NB_TRY(awq_accepts(c, n, k, bits, group_size, false, err));
    if (!nb_mul(n, k, &elems) || !nb_mul(elems, 4, &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a packed tensor");
    nb__describe_part(&out[QWEIGHT], "qweight", NB_I32, 2, k, n / PER_WORD);
    nb__describe_part(&out[QZEROS], "qzeros", NB_I32, 2, k / group_size, n / PER_WORD);
    nb__describe_part(&out[SCALES], "scales", NB_F16, 2, k / group_size, n);
    *count = TENSORS;
    return NB_OK;
}

static nb_status pack_zeros(const nb_qtensor *q, uint32_t *out, nb_err *err) {
    uint8_t *fields;
    nb_status status = NB_OK;
    NB_TRY(nb_calloc(q->n, 1, "zero points", &fields, err));
    for (size_t g = 0; g < q->groups && status == NB_OK; g++) {
        for (size_t i = 0; i < q->n && status == NB_OK; i++)
            status = nb__zero_of(q, i, g, &fields[i], err);
        pack_row(fields, 1, q->n, out + g * (q->n / PER_WORD));
    }
    nb_free(fields);
    return status;
}

static nb_status awq_pack(const nb_scheme_config *c, const nb_qtensor *q, nb_packed_tensor *out, size_t *count, size_t *clamped,
                          nb_err *err) {
    nb_packed_tensor t[TENSORS];
    size_t made = 0;
    nb_status status;
    *clamped = 0;
    if (q->codebook || q->float_zeros || q->g_idx)
        return nb_fail(err, NB_E_UNSUPPORTED, "AWQ files hold integer zero points, no codebook and no g_idx");
    NB_TRY(awq_shapes(c, q->n, q->k, q->bits, q->group_size, t, &made, err));
    NB_GO(nb__check_codes(q, err));
    for (size_t i = 0; i < made; i++)
        NB_GO(nb_alloc_aligned(t[i].bytes, 1, t[i].suffix, &t[i].data, err));
    NB_GO(nb__pack_scales(q, t[SCALES].data, err));
    NB_GO(pack_zeros(q, t[QZEROS].data, err));
    for (size_t j = 0; j < q->k; j++)
        pack_row(q->codes + j, q->k, q->n, (uint32_t *)t[QWEIGHT].data + j * (q->n / PER_WORD));
    memcpy(out, t, sizeof t);
    *count = made;
out:
    if (status != NB_OK)
        nb_packed_tensors_free(t, made);
    return status;
}

const nb_scheme nb__scheme_awq = {
    .name = "awq",
    .parse = awq_parse,
    .emit = awq_emit,
    .has = awq_has,
    .read = awq_read,
    .shapes = awq_shapes,
    .pack = awq_pack,
    .accepts = awq_accepts,
};
