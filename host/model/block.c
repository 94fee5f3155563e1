/* A block's weights on a device. Where the device reads host memory in place, a dense linear is the mapped tensor itself. */
#include <string.h>

#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/model/impl.h"

/* In their stored type on a device with memory of its own, rows of q and k in HF order. */
static nb_status load_stored(const nb_model *m, nb_stream *stream, nb_lin which, const nb_view *v, nb_linear *lin, nb_err *err) {
    size_t row_bytes = v->bytes / lin->n;
    char *rows = NULL;
    nb_status status = nb_alloc(stream->device, v->bytes, &lin->w, err);
    if (status != NB_OK)
        return status;
    lin->w_type = v->dtype;
    lin->owned = true;
    if (nb__permuted(m, which)) {
        NB_TRY(nb_calloc(v->bytes, 1, "a weight", &rows, err));
        for (size_t i = 0; i < lin->n; i++)
            memcpy(rows + i * row_bytes, (const char *)v->data + nb__file_row(m, which, i) * row_bytes, row_bytes);
    }
    NB_GO(nb_upload(stream, lin->w, rows ? rows : v->data, v->bytes, err));
    NB_GO(nb_sync(stream, err));
out:
    nb_free(rows);
    return status;
}

/* Rows of q and k in HF order, in their stored type. */
static nb_status load_permuted(const nb_model *m, nb_device *device, nb_lin which, const nb_view *v, nb_linear *lin,
                               nb_err *err) {
    size_t row_bytes = v->bytes / lin->n;
    NB_TRY(nb_alloc(device, v->bytes, &lin->w, err));
    lin->owned = true;
    for (size_t i = 0; i < lin->n; i++)
        memcpy((char *)nb_host(lin->w) + i * row_bytes,
               (const char *)v->data + nb__file_row(m, which, i) * row_bytes, row_bytes);
    return NB_OK;
}

/* As floats, by way of the host. */
static nb_status load_f32(const nb_model *m, nb_stream *stream, size_t layer, nb_lin which, nb_linear *lin, nb_err *err) {
    size_t count, bytes;
    float *w = NULL;
    if (!nb_mul(lin->n, lin->k, &count) || !nb_mul(count, sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a weight");
    lin->w_type = NB_F32;
    NB_TRY(nb_alloc(stream->device, bytes, &lin->w, err));
    lin->owned = true;
    if (stream->device->unified)
        return nb_model_weight_f32(m, layer, which, nb_host_f32(lin->w), err);
    NB_TRY(nb_calloc(count, sizeof(float), "a weight", &w, err));
    nb_status status = nb_model_weight_f32(m, layer, which, w, err);
    if (status == NB_OK)
        status = nb_upload(stream, lin->w, w, bytes, err);
    if (status == NB_OK)
        status = nb_sync(stream, err);
    nb_free(w);
    return status;
}

/* Packed for the inference kernels; what they do not serve is dequantized, and said. */
static nb_status load_quantized(const nb_model *m, nb_stream *stream, size_t layer, nb_lin which, nb_linear *lin, nb_err *err) {
    nb_qtensor q;
    NB_TRY(nb_model_qtensor(m, layer, which, &q, err));
    nb_status status = nb__qtensor_finite(m, layer, which, &q, err);
    if (status != NB_OK) {
        nb_qtensor_free(&q);
        return status;
    }
    status = NB_E_UNSUPPORTED;
    if (nb_packed_supports(&q) && stream->device->chosen[NB_OP_qgemm])
        status = nb_packed_new(stream, &q, &lin->packed, err);
    nb_qtensor_free(&q);
    lin->quantized = status == NB_OK;
    if (status != NB_E_UNSUPPORTED)
        return status;
    char name[NB_NAME_CAP];
    nb_lin_name(&m->hp, layer, which, name, sizeof name);
    nb_logf(&stream->device->log, NB_LOG_WARN, "%s: no packed kernel for its %u bits serves here; it runs as f32", name,
            m->config.bits);
    return load_f32(m, stream, layer, which, lin, err);
}

static nb_status load_linear(const nb_model *m, nb_stream *stream, size_t layer, nb_lin which, nb_linear *lin, nb_err *err) {
    const nb_view *v = m->layers[layer].lin[which];
    nb_lin_shape(&m->hp, which, &lin->n, &lin->k);
    if (!v)
        return load_quantized(m, stream, layer, which, lin, err);
    if (!stream->device->unified)
        return load_stored(m, stream, which, v, lin, err);
    lin->w_type = v->dtype;
    if (nb__permuted(m, which))
        return load_permuted(m, stream->device, which, v, lin, err);
    lin->w = nb_mem_host(v->data, v->bytes);
    return NB_OK;
}

nb_status nb__load_vector(nb_stream *stream, const nb_view *v, double offset, nb_mem *out, nb_err *err) {
    size_t count = nb_view_count(v), bytes;
    float *x = NULL;
    NB_TRY(nb__view_finite(v, err));
    if (!nb_mul(count, sizeof *x, &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a norm's weight");
    nb_status status;
    NB_GO(nb_calloc(count, sizeof *x, "a norm's weight", &x, err));
    nb_to_f32(v->dtype, v->data, count, x);
    for (size_t i = 0; i < count && offset != 0; i++)
        x[i] += (float)offset;
    NB_GO(nb_alloc(stream->device, bytes, out, err));
    NB_GO(nb_upload(stream, *out, x, bytes, err));
    NB_GO(nb_sync(stream, err));
out:
    nb_free(x);
    return status;
}

/* The first load of a layer looks through its weights. */
static nb_status check_layer(const nb_model *m, size_t layer, nb_err *err) {
    nb__layer *l = &m->layers[layer];
    if (atomic_load(&l->finite))
        return NB_OK;
    for (nb_lin lin = 0; lin < NB_LIN_COUNT; lin++)
        if (l->lin[lin])
            NB_TRY(nb__view_finite(l->lin[lin], err));
    atomic_store(&l->finite, true);
    return NB_OK;
}

/* ---- joined linears ---- */

enum { MAX_JOINED = 3 };

static const struct {
    size_t count;
    nb_lin lins[MAX_JOINED];
} joints[NB_JOINT_COUNT] = {
    [NB_JOINT_QKV] = {3, {NB_LIN_Q, NB_LIN_K, NB_LIN_V}},
    [NB_JOINT_GATE_UP] = {2, {NB_LIN_GATE, NB_LIN_UP}},
};

/* Can one packed weight hold both, row under row? */
static bool same_form(const nb_qtensor *a, const nb_qtensor *b) {
    return a->k == b->k && a->bits == b->bits && a->group_size == b->group_size && a->symmetric == b->symmetric &&
           a->float_zeros == b->float_zeros && a->scale_type == b->scale_type && !a->g_idx && !b->g_idx &&
           nb_packed_supports(a) && nb_packed_supports(b);
}

/* out = the tensors, row under row. */
static nb_status join_rows(const nb_qtensor *parts, size_t count, nb_qtensor *out, nb_err *err) {
    size_t n = 0, row = 0;
    for (size_t i = 0; i < count; i++)
        n += parts[i].n;
    NB_TRY(nb_qtensor_new(n, parts->k, parts->bits, parts->group_size, parts->symmetric, false, out, err));
    out->float_zeros = parts->float_zeros;
    out->scale_type = parts->scale_type;
    for (size_t i = 0; i < count; row += parts[i++].n) {
        size_t params = parts[i].n * out->groups;
        memcpy(out->codes + row * out->k, parts[i].codes, parts[i].n * out->k);
        memcpy(out->scales + row * out->groups, parts[i].scales, params * sizeof *out->scales);
        memcpy(out->zeros + row * out->groups, parts[i].zeros, params * sizeof *out->zeros);
    }
    return NB_OK;
}

static nb_status pack_joined(nb_stream *stream, const nb_qtensor *parts, size_t count, nb_linear *out, nb_err *err) {
    nb_qtensor all;
    NB_TRY(join_rows(parts, count, &all, err));
    nb_status status = nb_packed_new(stream, &all, &out->packed, err);
    *out = (nb_linear){.n = all.n, .k = all.k, .quantized = status == NB_OK, .packed = out->packed};
    nb_qtensor_free(&all);
    return status;
}

/* Leaves *out empty where they are not of one form. */
static nb_status load_joint(const nb_model *m, nb_stream *stream, size_t layer, nb_joint which, nb_linear *out, nb_err *err) {
    nb_qtensor parts[MAX_JOINED] = {0};
    size_t count = joints[which].count;
    bool fits = stream->device->chosen[NB_OP_qgemm] && stream->device->chosen[NB_OP_copy_matrix];
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && fits; i++)
        fits = nb_model_is_quantized(m, layer, joints[which].lins[i]);
    for (size_t i = 0; i < count && fits; i++) {
        NB_GO(nb_model_qtensor(m, layer, joints[which].lins[i], &parts[i], err));
        NB_GO(nb__qtensor_finite(m, layer, joints[which].lins[i], &parts[i], err));
        fits = same_form(&parts[0], &parts[i]);
    }
    if (fits)
        status = pack_joined(stream, parts, count, out, err);
out:
    for (size_t i = 0; i < count; i++)
        nb_qtensor_free(&parts[i]);
    return status;
}

static nb_status load_linears(const nb_model *m, nb_stream *stream, nb_block *b, bool join, nb_err *err) {
    bool joined[NB_LIN_COUNT] = {false};
    for (nb_joint j = 0; j < NB_JOINT_COUNT && join; j++) {
        NB_TRY(load_joint(m, stream, b->layer, j, &b->joint[j], err));
        for (size_t i = 0; i < joints[j].count; i++)
            joined[joints[j].lins[i]] = b->joint[j].packed;
    }
    for (nb_lin lin = 0; lin < NB_LIN_COUNT; lin++)
        if (!joined[lin])
            NB_TRY(load_linear(m, stream, b->layer, lin, &b->lin[lin], err));
    return NB_OK;
}

static nb_status load_parts(const nb_model *m, nb_stream *stream, nb_block *b, bool join, nb_err *err) {
    NB_TRY(check_layer(m, b->layer, err));
    const nb__layer *l = &m->layers[b->layer];
    for (nb_norm n = 0; n < NB_NORM_COUNT; n++)
        if (l->norm[n])
            NB_TRY(nb__load_vector(stream, l->norm[n], m->hp.norm_offset, &b->norm[n], err));
    return load_linears(m, stream, b, join, err);
}

static nb_status load(const nb_model *m, nb_stream *stream, size_t layer, bool join, nb_block *out, nb_err *err) {
    nb_block b = {.layer = layer};
    if (layer >= m->hp.layers)
        return nb_fail(err, NB_E_USAGE, "layer %zu of %zu", layer, m->hp.layers);
    nb_status status = load_parts(m, stream, &b, join, err);
    if (status != NB_OK) {
        nb_block_free(stream->device, &b);
        return status;
    }
    *out = b;
    return NB_OK;
}

nb_status nb_block_load(const nb_model *m, nb_stream *stream, size_t layer, nb_block *out, nb_err *err) {
    return load(m, stream, layer, false, out, err);
}

nb_status nb_block_load_joined(const nb_model *m, nb_stream *stream, size_t layer, nb_block *out, nb_err *err) {
    return load(m, stream, layer, true, out, err);
}

static void drop_weight(nb_device *device, nb_linear *lin) {
    if (lin->owned)
        nb_release(device, &lin->w);
    nb_packed_free(lin->packed);
    lin->packed = NULL;
    lin->w = (nb_mem){0};
    lin->owned = lin->quantized = false;
}

void nb_block_free(nb_device *device, nb_block *b) {
    for (nb_lin lin = 0; lin < NB_LIN_COUNT; lin++)
        drop_weight(device, &b->lin[lin]);
    for (nb_joint j = 0; j < NB_JOINT_COUNT; j++)
        drop_weight(device, &b->joint[j]);
    for (nb_norm n = 0; n < NB_NORM_COUNT; n++)
        nb_release(device, &b->norm[n]);
}

void nb_block_set_dense(nb_device *device, nb_block *b, nb_lin lin, nb_mem w) {
    drop_weight(device, &b->lin[lin]);
    b->lin[lin].w = w;
    b->lin[lin].w_type = NB_F32;
    b->lin[lin].owned = true;
}
