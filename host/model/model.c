/* A model's tensors, looked up and checked once. */
#include "host/model/model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/model/impl.h"

/* ---- NaN and infinity ---- */

static bool finite_words(const unsigned char *p, size_t count) {
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t u;
        memcpy(&u, p + 4 * i, sizeof u);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

static bool finite_halves(const unsigned char *p, size_t count, uint16_t exponent) {
    uint16_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint16_t u;
        memcpy(&u, p + 2 * i, sizeof u);
        bad |= (u & exponent) == exponent;
    }
    return !bad;
}

/* Values of a whole number of blocks, at most ROOM. */
enum { ROOM = 1024 };

static nb_status fail_value(const nb_view *view, size_t at, float value, nb_err *err) {
    return nb_fail_at(err, NB_E_INPUT, view->path, view->name, "value %zu is %s, expected finite weights", at,
                      isnan(value) ? "NaN" : "infinite");
}

static nb_status finite_slowly(const nb_view *view, nb_err *err) {
    float room[ROOM];
    const nb_dtype_info *t = nb_dtype_get(view->dtype);
    size_t count = nb_view_count(view);
    for (size_t at = 0; at < count; at += ROOM) {
        size_t len = nb_min(ROOM, count - at);
        nb_to_f32(view->dtype, (const char *)view->data + at / t->block_elems * t->block_bytes, len, room);
        for (size_t i = 0; i < len; i++)
            if (!isfinite(room[i]))
                return fail_value(view, at + i, room[i], err);
    }
    return NB_OK;
}

nb_status nb__view_finite(const nb_view *view, nb_err *err) {
    size_t count = nb_view_count(view);
    if (view->dtype == NB_F32 && finite_words(view->data, count))
        return NB_OK;
    if (view->dtype == NB_F16 && finite_halves(view->data, count, 0x7c00u))
        return NB_OK;
    if (view->dtype == NB_BF16 && finite_halves(view->data, count, 0x7f80u))
        return NB_OK;
    return finite_slowly(view, err);
}

/* ---- opening ---- */

/* Looks up a tensor of shape [n,k], or [k] where n is 0, whose type can be read as floats. */
static nb_status find_tensor(const nb_ckpt *ckpt, const char *name, size_t n, size_t k, const nb_view **out, nb_err *err) {
    const nb_view *v = nb_ckpt_find(ckpt, name);
    if (!v)
        return nb_fail_at(err, NB_E_INPUT, nb_ckpt_path(ckpt), name, "the tensor is missing");
    const nb_dtype_info *t = nb_dtype_get(v->dtype);
    bool fits = n ? v->ndim == 2 && v->dims[0] == n && v->dims[1] == k : v->ndim == 1 && v->dims[0] == k;
    if (!fits) {
        char found[96] = "", want[64];
        for (unsigned i = 0; i < v->ndim; i++) {
            size_t len = strlen(found);
            snprintf(found + len, sizeof found - len, "%s%zu", i ? "," : "", v->dims[i]);
        }
        if (n)
            snprintf(want, sizeof want, "%zu,%zu", n, k);
        else
            snprintf(want, sizeof want, "%zu", k);
        return nb_fail_at(err, NB_E_INPUT, v->path, name, "has shape [%s], expected [%s]", found, want);
    }
    if (!t->to_f32 || k % t->block_elems != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, v->path, name, "weights of type %s with rows of %zu cannot be read", t->name, k);
    *out = v;
    return NB_OK;
}

static const nb_view *find_in_ckpt(void *ctx, const char *name) {
    return nb_ckpt_find(ctx, name);
}

static bool has_quantized(const nb_model *m, size_t layer, nb_lin lin) {
    char prefix[NB_NAME_CAP];
    nb_lin_name(&m->hp, layer, lin, prefix, sizeof prefix);
    return m->scheme && m->scheme->has(find_in_ckpt, m->ckpt, prefix);
}

static nb_status find_layer(nb_model *m, size_t layer, nb_err *err) {
    const nb_family *f = m->hp.family;
    nb_ckpt_kind kind = nb_ckpt_kind_of(m->ckpt);
    nb__layer *l = &m->layers[layer];
    char name[NB_NAME_CAP];
    for (nb_norm n = 0; n < NB_NORM_COUNT; n++) {
        if (!f->norms[n].hf)
            continue;
        size_t width = n == NB_NORM_Q || n == NB_NORM_K ? m->hp.head_dim : m->hp.hidden;
        nb__layer_tensor_name(&m->hp, kind, layer, f->norms[n].hf, f->norms[n].gguf, name, sizeof name);
        NB_TRY(find_tensor(m->ckpt, name, 0, width, &l->norm[n], err));
    }
    for (nb_lin lin = 0; lin < NB_LIN_COUNT; lin++) {
        size_t n, k;
        if (has_quantized(m, layer, lin))
            continue;
        nb_lin_shape(&m->hp, lin, &n, &k);
        nb__layer_tensor_name(&m->hp, kind, layer, f->lins[lin].hf, f->lins[lin].gguf, name, sizeof name);
        NB_TRY(find_tensor(m->ckpt, name, n, k, &l->lin[lin], err));
    }
    return NB_OK;
}

static nb_status find_top(nb_model *m, nb_err *err) {
    const nb_hparams *hp = &m->hp;
    bool hf = nb_ckpt_kind_of(m->ckpt) == NB_CKPT_HF;
    char name[NB_NAME_CAP];
    snprintf(name, sizeof name, "%s.weight", hf ? hp->family->embed : hp->family->gguf_embed);
    NB_TRY(find_tensor(m->ckpt, name, hp->vocab, hp->hidden, &m->embed, err));
    snprintf(name, sizeof name, "%s.weight", hf ? hp->family->final_norm : hp->family->gguf_final_norm);
    NB_TRY(find_tensor(m->ckpt, name, 0, hp->hidden, &m->final_norm, err));
    m->head = m->embed;
    if (hp->tied)
        return NB_OK;
    if (m->scheme && m->config.lm_head)
        return nb_fail_at(err, NB_E_UNSUPPORTED, nb_ckpt_path(m->ckpt), hp->family->head, "a quantized head is not supported");
    snprintf(name, sizeof name, "%s.weight", hf ? hp->family->head : hp->family->gguf_head);
    return find_tensor(m->ckpt, name, hp->vocab, hp->hidden, &m->head, err);
}

static nb_status find_rope(nb_model *m, nb_err *err) {
    const nb_view *v = NULL;
    size_t half = m->hp.head_dim / 2;
    float *factors = NULL;
    NB_TRY(nb_calloc(half, sizeof *m->inv_freq[0], "rotary frequencies", &m->inv_freq[0], err));
    if (m->hp.window) {
        NB_TRY(nb_calloc(half, sizeof *m->inv_freq[1], "rotary frequencies", &m->inv_freq[1], err));
        nb__rope_local_freq(&m->hp, m->inv_freq[1]);
    }
    if (m->hp.rope_scaling == NB_ROPE_FACTORS) {
        NB_TRY(find_tensor(m->ckpt, "rope_freqs.weight", 0, half, &v, err));
        NB_TRY(nb_calloc(half, sizeof *factors, "rotary factors", &factors, err));
        nb_to_f32(v->dtype, v->data, half, factors);
        for (size_t i = 0; i < half; i++)
            if (!(factors[i] > 0.0f) || !isfinite(factors[i])) {
                nb_fail_at(err, NB_E_INPUT, v->path, v->name, "factor %zu is %g, expected more than 0", i, (double)factors[i]);
                nb_free(factors);
                return NB_E_INPUT;
            }
        nb_rope_solve(&m->hp, factors);
    }
    nb__rope_inv_freq(&m->hp, factors, m->inv_freq[0]);
    nb_free(factors);
    return NB_OK;
}

/* Which format, if any, the quantization_config of config.json is of. */
static nb_status find_scheme(nb_model *m, nb_err *err) {
    const json_t *settings = json_object_get(nb_ckpt_config(m->ckpt), "quantization_config");
    if (!json_is_object(settings))
        return NB_OK;
    for (const nb_scheme *const *s = nb_schemes; *s; s++) {
        bool mine = false;
        NB_TRY((*s)->parse(settings, &m->config, &mine, err));
        if (mine) {
            m->scheme = *s;
            return NB_OK;
        }
    }
    const char *method = json_string_value(json_object_get(settings, "quant_method"));
    return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "quantization_config", "quant_method \"%.32s\" is not supported",
                      method ? method : "");
}

static nb_status open_parts(nb_model *m, const char *path, nb_err *err) {
    NB_TRY(nb_ckpt_open(path, &m->ckpt, err));
    NB_TRY(nb_hparams_read(m->ckpt, &m->hp, err));
    nb_status status = find_scheme(m, err);
    if (status != NB_OK)
        return nb_err_at(err, status, path, NULL);
    NB_TRY(find_top(m, err));
    NB_TRY(nb_calloc(m->hp.layers, sizeof *m->layers, "a table of layers", &m->layers, err));
    for (size_t i = 0; i < m->hp.layers; i++)
        NB_TRY(find_layer(m, i, err));
    return find_rope(m, err);
}

nb_status nb_model_open(const char *path, nb_model **out, nb_err *err) {
    nb_model *m;
    NB_TRY(nb_calloc(1, sizeof *m, "a model", &m, err));
    nb_status status = open_parts(m, path, err);
    if (status != NB_OK) {
        nb_model_close(m);
        return status;
    }
    *out = m;
    return NB_OK;
}

void nb_model_close(nb_model *m) {
    if (!m)
        return;
    nb_free(m->inv_freq[0]);
    nb_free(m->inv_freq[1]);
    nb_free(m->layers);
    if (m->ckpt)
        nb_ckpt_close(m->ckpt);
    nb_free(m);
}

const nb_hparams *nb_model_hparams(const nb_model *m) {
    return &m->hp;
}

const nb_ckpt *nb_model_ckpt(const nb_model *m) {
    return m->ckpt;
}

const nb_scheme_config *nb_model_scheme(const nb_model *m) {
    return m->scheme ? &m->config : NULL;
}

/* ---- weights ---- */

bool nb__permuted(const nb_model *m, nb_lin lin) {
    return nb_ckpt_kind_of(m->ckpt) == NB_CKPT_GGUF && m->hp.family->gguf_permutes_qk && (lin == NB_LIN_Q || lin == NB_LIN_K);
}

/* GGUF row h*hd + 2i + p holds HF row h*hd + p*hd/2 + i. */
size_t nb_gguf_row(const nb_hparams *hp, size_t row) {
    size_t half = hp->head_dim / 2, in = row % hp->head_dim;
    return row - in + 2 * (in % half) + in / half;
}

size_t nb__file_row(const nb_model *m, nb_lin lin, size_t row) {
    return nb__permuted(m, lin) ? nb_gguf_row(&m->hp, row) : row;
}

bool nb_model_is_quantized(const nb_model *m, size_t layer, nb_lin lin) {
    return m->layers[layer].lin[lin] == NULL;
}

nb_status nb_model_qtensor(const nb_model *m, size_t layer, nb_lin lin, nb_qtensor *out, nb_err *err) {
    char prefix[NB_NAME_CAP];
    size_t n, k;
    nb_lin_name(&m->hp, layer, lin, prefix, sizeof prefix);
    nb_lin_shape(&m->hp, lin, &n, &k);
    if (!m->scheme)
        return nb_fail_at(err, NB_E_USAGE, nb_ckpt_path(m->ckpt), prefix, "is not quantized");
    return m->scheme->read(&m->config, find_in_ckpt, m->ckpt, prefix, n, k, out, err);
}

nb_status nb__qtensor_finite(const nb_model *m, size_t layer, nb_lin lin, const nb_qtensor *q, nb_err *err) {
    size_t count = q->n * q->groups;
    if (finite_words((const unsigned char *)q->scales, count) && finite_words((const unsigned char *)q->zeros, count))
        return NB_OK;
    char prefix[NB_NAME_CAP];
    nb_lin_name(&m->hp, layer, lin, prefix, sizeof prefix);
    return nb_fail_at(err, NB_E_INPUT, nb_ckpt_path(m->ckpt), prefix, "has a NaN or infinite scale, expected finite weights");
}

static nb_status quantized_f32(const nb_model *m, size_t layer, nb_lin lin, float *out, nb_err *err) {
    nb_qtensor q;
    NB_TRY(nb_model_qtensor(m, layer, lin, &q, err));
    nb_status status = nb__qtensor_finite(m, layer, lin, &q, err);
    for (size_t i = 0; i < q.n && status == NB_OK; i++)
        nb_qtensor_row(&q, i, out + i * q.k);
    nb_qtensor_free(&q);
    return status;
}

nb_status nb_model_weight_f32(const nb_model *m, size_t layer, nb_lin lin, float *out, nb_err *err) {
    const nb_view *v = m->layers[layer].lin[lin];
    if (!v)
        return quantized_f32(m, layer, lin, out, err);
    size_t n = v->dims[0], k = v->dims[1], row_bytes = v->bytes / n;
    for (size_t i = 0; i < n; i++) {
        size_t row = nb__file_row(m, lin, i);
        nb_to_f32(v->dtype, (const char *)v->data + row * row_bytes, k, out + i * k);
        if (!finite_words((const unsigned char *)(out + i * k), k)) {
            for (size_t j = 0; j < k; j++)
                if (!isfinite(out[i * k + j]))
                    return fail_value(v, row * k + j, out[i * k + j], err);
        }
    }
    return NB_OK;
}

const nb_view *nb_model_embeddings(const nb_model *model) {
    return model->embed;
}

const nb_view *nb_model_linear_view(const nb_model *model, size_t layer, nb_lin lin) {
    return model->layers[layer].lin[lin];
}
