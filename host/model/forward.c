/* The forward pass by operations of kernels.def. */
#include "host/model/forward.h"

#include <math.h>

#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/model/impl.h"
#include "host/model/kv.h"

struct nb_forward {
    const nb_model *model;
    nb_stream *stream;
    nb_device *device;
    const nb_hparams *hp;
    size_t rows, q_width, kv_width;
    nb_mem x;               /* [rows, hidden]: normalised input */
    nb_mem work;            /* q, k, v, o, or gate and up */
    nb_mem ids;             /* i32 [rows] */
    nb_mem final_norm;      /* [hidden] */
    nb_mem embed, head;     /* tables */
    nb_dtype embed_type, head_type;
    bool embed_owned, head_owned;
    nb_packed *head_q8;     /* runs instead of head where it is set */
    nb_mem cos[2], sin[2];  /* [positions, head_dim / 2] of global and local layers */
    size_t positions;
    nb_gemm_mode mode;
    nb_mem workspace; /* of packed weights */
};

/* Floats of work for a token. */
static size_t work_width(const nb_hparams *hp) {
    size_t q = hp->heads * hp->head_dim, kv = hp->kv_heads * hp->head_dim;
    return nb_max(2 * q + 2 * kv, 2 * hp->intermediate);
}

size_t nb_forward_bytes(const nb_hparams *hp, size_t rows) {
    size_t floats, bytes;
    if (!nb_mul(rows, hp->hidden + work_width(hp) + 1, &floats) || !nb_mul(floats, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

size_t nb_forward_stage_bytes(const nb_hparams *hp, size_t tokens) {
    size_t floats, bytes, width = nb_max(hp->hidden, nb_max(hp->heads * hp->head_dim, hp->intermediate));
    if (!nb_mul(tokens, width, &floats) || !nb_mul(floats, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

/* ---- set-up ---- */

/* A table of the top of the model in its stored type: as it lies in the file, or on the device, where it is loaded when it is first
 * used. */
static nb_status load_table(nb_stream *stream, const nb_view *v, nb_mem *mem, nb_dtype *type, bool *owned, nb_err *err) {
    if (mem->base)
        return NB_OK;
    NB_TRY(nb__view_finite(v, err));
    *type = v->dtype;
    *owned = !stream->device->unified;
    if (!*owned) {
        *mem = nb_mem_host(v->data, v->bytes);
        return NB_OK;
    }
    NB_TRY(nb_alloc(stream->device, v->bytes, mem, err));
    nb_status status = nb_upload(stream, *mem, v->data, v->bytes, err);
    if (status == NB_OK)
        status = nb_sync(stream, err);
    if (status != NB_OK)
        nb_release(stream->device, mem);
    return status;
}

static nb_status need_embed(nb_forward *f, nb_err *err) {
    return load_table(f->stream, f->model->embed, &f->embed, &f->embed_type, &f->embed_owned, err);
}

static nb_status need_head(nb_forward *f, nb_err *err) {
    if (f->model->head != f->model->embed)
        return load_table(f->stream, f->model->head, &f->head, &f->head_type, &f->head_owned, err);
    NB_TRY(need_embed(f, err));
    f->head = f->embed;
    f->head_type = f->embed_type;
    return NB_OK;
}

void nb_forward_drop_tables(nb_forward *f) {
    if (f->embed_owned)
        nb_release(f->device, &f->embed);
    if (f->head_owned)
        nb_release(f->device, &f->head);
    if (f->embed_owned || f->head_owned)
        f->embed = f->head = (nb_mem){0};
    f->embed_owned = f->head_owned = false;
}

static nb_status setup(nb_forward *f, nb_err *err) {
    const nb_model *m = f->model;
    if (nb_forward_bytes(f->hp, f->rows) == SIZE_MAX)
        return nb_fail_memory(err, SIZE_MAX, "a forward pass");
    NB_TRY(nb_alloc_array(f->device, f->rows * f->hp->hidden, sizeof(float), &f->x, err));
    NB_TRY(nb_alloc_array(f->device, f->rows * work_width(f->hp), sizeof(float), &f->work, err));
    NB_TRY(nb_alloc_array(f->device, f->rows, sizeof(int32_t), &f->ids, err));
    NB_TRY(nb__load_vector(f->stream, m->final_norm, f->hp->norm_offset, &f->final_norm, err));
    if (!f->device->unified)
        return NB_OK; /* tables are loaded when they are used */
    NB_TRY(need_embed(f, err));
    return need_head(f, err);
}

nb_status nb_forward_new(const nb_model *model, nb_stream *stream, size_t rows, nb_forward **out, nb_err *err) {
    nb_forward *f;
    NB_TRY(nb_calloc(1, sizeof *f, "a forward pass", &f, err));
    f->model = model;
    f->stream = stream;
    f->device = stream->device;
    f->hp = nb_model_hparams(model);
    f->rows = rows;
    f->q_width = f->hp->heads * f->hp->head_dim;
    f->kv_width = f->hp->kv_heads * f->hp->head_dim;
    nb_status status = setup(f, err);
    if (status != NB_OK) {
        nb_forward_free(f);
        return status;
    }
    *out = f;
    return NB_OK;
}

void nb_forward_free(nb_forward *f) {
    if (!f)
        return;
    nb_release(f->device, &f->x);
    nb_release(f->device, &f->work);
    nb_release(f->device, &f->ids);
    nb_release(f->device, &f->final_norm);
    nb_forward_drop_tables(f);
    nb_packed_free(f->head_q8);
    for (int i = 0; i < 2; i++) {
        nb_release(f->device, &f->cos[i]);
        nb_release(f->device, &f->sin[i]);
    }
    nb_release(f->device, &f->workspace);
    nb_free(f);
}

void nb_forward_set_mode(nb_forward *f, nb_gemm_mode mode) {
    f->mode = mode;
}

nb_status nb_forward_set_embeddings(nb_forward *f, nb_embeddings kind, nb_err *err) {
    if (kind == NB_EMBEDDINGS_Q8 && !f->device->chosen[NB_OP_qgemm])
        return nb_fail(err, NB_E_UNSUPPORTED, "an 8-bit head needs packed kernels, the device %s has none",
                       f->device->backend->name);
    if ((kind == NB_EMBEDDINGS_Q8) == (f->head_q8 != NULL))
        return NB_OK;
    if (kind == NB_EMBEDDINGS_Q8)
        return nb__head_q8(f->stream, f->model->head, &f->head_q8, err);
    nb_packed_free(f->head_q8);
    f->head_q8 = NULL;
    return NB_OK;
}

/* Cosines and sines of positions [0, count) with angles in double; the table grows by doubling. */
static nb_status fill_tables(nb_forward *f, int local, size_t count, float *c, float *s, nb_err *err) {
    size_t half = f->hp->head_dim / 2;
    for (size_t p = 0; p < count; p++)
        for (size_t i = 0; i < half; i++) {
            double angle = (double)p * f->model->inv_freq[local][i];
            c[p * half + i] = (float)cos(angle);
            s[p * half + i] = (float)sin(angle);
        }
    NB_TRY(nb_upload(f->stream, f->cos[local], c, count * half * sizeof *c, err));
    NB_TRY(nb_upload(f->stream, f->sin[local], s, count * half * sizeof *s, err));
    return nb_sync(f->stream, err);
}

static nb_status need_positions(nb_forward *f, size_t count, nb_err *err) {
    if (count <= f->positions)
        return NB_OK;
    size_t floats, half = f->hp->head_dim / 2;
    count = nb_max(count, nb_max(2 * f->positions, 256));
    if (!nb_mul(count, half, &floats))
        return nb_fail_memory(err, SIZE_MAX, "a table of angles");
    float *c = NULL, *s = NULL;
    nb_status status;
    f->positions = 0;
    NB_GO(nb_calloc(floats, sizeof *c, "a table of angles", &c, err));
    NB_GO(nb_calloc(floats, sizeof *s, "a table of angles", &s, err));
    for (int local = 0; local < 2 && f->model->inv_freq[local]; local++) {
        nb_release(f->device, &f->cos[local]);
        nb_release(f->device, &f->sin[local]);
        NB_GO(nb_alloc_array(f->device, floats, sizeof(float), &f->cos[local], err));
        NB_GO(nb_alloc_array(f->device, floats, sizeof(float), &f->sin[local], err));
        NB_GO(fill_tables(f, local, count, c, s, err));
    }
    f->positions = count;
out:
    nb_free(c);
    nb_free(s);
    return status;
}

/* ---- pieces of a block ---- */

static nb_mem row_at(nb_mem mem, size_t row, size_t width) {
    return nb_mem_at(mem, row * width * sizeof(float));
}

static nb_status apply_packed(nb_forward *f, const nb_linear *lin, nb_mem x, size_t ldx, size_t rows, nb_mem y, size_t ldy,
                              bool accumulate, nb_err *err) {
    size_t bytes;
    NB_TRY(nb_packed_workspace(lin->packed, rows, f->mode, &bytes, err));
    if (bytes > f->workspace.bytes) {
        nb_release(f->device, &f->workspace);
        NB_TRY(nb_alloc(f->device, bytes, &f->workspace, err));
    }
    return nb_packed_linear(f->stream, lin->packed, f->mode, rows, x, ldx, y, ldy, (nb_mem){0}, accumulate, f->workspace,
                            err);
}

/* y[rows,n] = x[rows,k] w^T, or += . */
static nb_status apply(nb_forward *f, const nb_linear *lin, nb_mem x, size_t ldx, size_t rows, nb_mem y, size_t ldy,
                       bool accumulate, nb_err *err) {
    if (lin->quantized)
        return apply_packed(f, lin, x, ldx, rows, y, ldy, accumulate, err);
    struct nb_linear_args a = {.m = rows, .n = lin->n, .k = lin->k, .x = x, .w = lin->w, .y = y, .ldx = ldx, .ldy = ldy,
                               .w_type = lin->w_type, .accumulate = accumulate};
    return nb_launch(f->stream, NB_OP_linear, &a, err);
}

static nb_status norm(nb_forward *f, nb_mem weight, nb_mem x, size_t rows, nb_mem y, nb_err *err) {
    size_t k = f->hp->hidden;
    struct nb_rmsnorm_args a = {.rows = rows, .k = k, .x = x, .weight = weight, .y = y, .ldx = k, .ldy = k,
                                .eps = (float)f->hp->norm_eps};
    return nb_launch(f->stream, NB_OP_rmsnorm, &a, err);
}

/* The norm of each head of x [rows, heads * head_dim], in place; nothing where the family has none. */
static nb_status norm_heads(nb_forward *f, nb_mem weight, nb_mem x, size_t ldx, size_t rows, size_t heads, nb_err *err) {
    size_t hd = f->hp->head_dim;
    bool dense = ldx == heads * hd; /* then each head is a row */
    struct nb_rmsnorm_args a = {.rows = dense ? rows * heads : rows, .k = hd, .weight = weight, .ldx = dense ? hd : ldx,
                                .ldy = dense ? hd : ldx, .eps = (float)f->hp->norm_eps};
    for (size_t h = 0; weight.base && h < (dense ? 1 : heads); h++) {
        a.x = a.y = row_at(x, h, hd);
        NB_TRY(nb_launch(f->stream, NB_OP_rmsnorm, &a, err));
    }
    return NB_OK;
}

/* hidden += lin x, by way of the norm of the result where the family has one; then f->x is written over. */
static nb_status add_to_stream(nb_forward *f, const nb_linear *lin, nb_mem weight, nb_mem x, size_t ldx, size_t rows, nb_mem hidden,
                               nb_err *err) {
    size_t h = f->hp->hidden;
    if (!weight.base)
        return apply(f, lin, x, ldx, rows, hidden, h, true, err);
    for (size_t at = 0; at < rows; at += f->rows) {
        size_t some = nb_min(f->rows, rows - at);
        NB_TRY(apply(f, lin, row_at(x, at, ldx), ldx, some, f->x, h, false, err));
        NB_TRY(norm(f, weight, f->x, some, f->x, err));
        struct nb_add_args a = {.rows = some, .n = h, .x = f->x, .y = row_at(hidden, at, h), .ldx = h, .ldy = h};
        NB_TRY(nb_launch(f->stream, NB_OP_add, &a, err));
    }
    return NB_OK;
}

static nb_status rotate(nb_forward *f, bool local, nb_mem x, size_t ldx, size_t rows, size_t length, size_t past, size_t heads, nb_err *err) {
    struct nb_rope_args a = {.rows = rows, .length = length, .past = past, .heads = heads, .head_dim = f->hp->head_dim,
                             .x = x, .ldx = ldx, .cos = f->cos[local], .sin = f->sin[local]};
    return nb_launch(f->stream, NB_OP_rope, &a, err);
}

/* Where keys and values of a call lie, and how they are written: row r of the call at `keys` + r * ld where `direct`, else
 * through `work` and a copy for each sequence. */
typedef struct kv_place {
    nb_mem keys, values;         /* of sequence 0, position 0 */
    nb_mem new_keys, new_values; /* where the linears write */
    size_t ld, stride;           /* of what the linears write, in floats; of sequences */
    bool direct;
} kv_place;

static kv_place place_kv(const nb_forward *f, const nb_kv *kv, size_t layer, size_t rows, size_t sequences, size_t length,
                         size_t past) {
    size_t w = f->kv_width;
    nb_mem k = row_at(f->work, rows, f->q_width), v = row_at(k, rows, w);
    if (!kv)
        return (kv_place){.keys = k, .values = v, .new_keys = k, .new_values = v, .ld = w, .stride = length * w, .direct = true};
    kv_place p = {.keys = nb__kv_keys(kv, layer), .values = nb__kv_values(kv, layer), .stride = kv->context * w};
    p.direct = sequences == 1 || length == 1;
    p.new_keys = p.direct ? row_at(p.keys, past, w) : k;
    p.new_values = p.direct ? row_at(p.values, past, w) : v;
    p.ld = p.direct && length == 1 ? p.stride : w;
    return p;
}

static nb_status copy_new(nb_forward *f, const kv_place *p, size_t sequences, size_t length, size_t past, nb_err *err) {
    size_t w = f->kv_width, bytes = length * w * sizeof(float);
    for (size_t s = 0; s < sequences; s++) {
        size_t at = s * p->stride + past * w;
        NB_TRY(nb_copy(f->stream, row_at(p->keys, at, 1), row_at(p->new_keys, s * length, w), bytes, err));
        NB_TRY(nb_copy(f->stream, row_at(p->values, at, 1), row_at(p->new_values, s * length, w), bytes, err));
    }
    return NB_OK;
}

/* Where attention reads its input; numbers of floats. */
typedef struct attention_input {
    nb_mem q, k, v; /* k, v of sequence 0, position 0 */
    size_t ldq, ldkv, stride;
} attention_input;

/* q, k and v by a linear each; keys and values go straight to the cache where one call can write them there. */
static nb_status project(nb_forward *f, const nb_block *b, nb_mem x, size_t sequences, size_t length, nb_kv *kv, size_t past,
                         attention_input *in, nb_err *err) {
    const nb_hparams *hp = f->hp;
    size_t rows = sequences * length;
    bool local = nb_layer_is_local(hp, b->layer);
    kv_place p = place_kv(f, kv, b->layer, rows, sequences, length, past);
    NB_TRY(apply(f, &b->lin[NB_LIN_Q], x, f->hp->hidden, rows, f->work, f->q_width, false, err));
    NB_TRY(apply(f, &b->lin[NB_LIN_K], x, f->hp->hidden, rows, p.new_keys, p.ld, false, err));
    NB_TRY(apply(f, &b->lin[NB_LIN_V], x, f->hp->hidden, rows, p.new_values, p.ld, false, err));
    NB_TRY(norm_heads(f, b->norm[NB_NORM_Q], f->work, f->q_width, rows, hp->heads, err));
    NB_TRY(norm_heads(f, b->norm[NB_NORM_K], p.new_keys, p.ld, rows, hp->kv_heads, err));
    NB_TRY(rotate(f, local, f->work, f->q_width, rows, length, past, hp->heads, err));
    NB_TRY(rotate(f, local, p.new_keys, p.ld, rows, length, past, hp->kv_heads, err));
    if (!p.direct)
        NB_TRY(copy_new(f, &p, sequences, length, past, err));
    *in = (attention_input){.q = f->work, .k = p.keys, .v = p.values, .ldq = f->q_width, .ldkv = f->kv_width,
                            .stride = p.stride};
    return NB_OK;
}

/* Rows [sequences, length] of a matrix with leading dimension lds into a cache at position past. */
static nb_status append(nb_forward *f, nb_mem src, size_t lds, nb_mem cache, size_t stride, size_t sequences, size_t length,
                        size_t past, nb_err *err) {
    size_t w = f->kv_width, calls = length == 1 ? 1 : sequences;
    struct nb_copy_matrix_args a = {.rows = length == 1 ? sequences : length, .cols = w, .lds = lds,
                                    .ldd = length == 1 ? stride : w};
    for (size_t s = 0; s < calls; s++) {
        a.src = row_at(src, s * length, lds);
        a.dst = row_at(cache, s * stride + past * w, 1);
        NB_TRY(nb_launch(f->stream, NB_OP_copy_matrix, &a, err));
    }
    return NB_OK;
}

/* The same by one linear: rows of q, k and v side by side. */
static nb_status project_joined(nb_forward *f, const nb_block *b, nb_mem x, size_t sequences, size_t length, nb_kv *kv,
                                size_t past, attention_input *in, nb_err *err) {
    size_t rows = sequences * length, ld = f->q_width + 2 * f->kv_width;
    nb_mem k = row_at(f->work, 1, f->q_width), v = row_at(k, 1, f->kv_width);
    NB_TRY(apply(f, &b->joint[NB_JOINT_QKV], x, f->hp->hidden, rows, f->work, ld, false, err));
    NB_TRY(norm_heads(f, b->norm[NB_NORM_Q], f->work, ld, rows, f->hp->heads, err));
    NB_TRY(norm_heads(f, b->norm[NB_NORM_K], k, ld, rows, f->hp->kv_heads, err));
    NB_TRY(rotate(f, nb_layer_is_local(f->hp, b->layer), f->work, ld, rows, length, past, f->hp->heads + f->hp->kv_heads, err));
    *in = (attention_input){.q = f->work, .k = k, .v = v, .ldq = ld, .ldkv = ld, .stride = length * ld};
    if (!kv)
        return NB_OK;
    in->k = nb__kv_keys(kv, b->layer);
    in->v = nb__kv_values(kv, b->layer);
    in->ldkv = f->kv_width;
    in->stride = kv->context * f->kv_width;
    NB_TRY(append(f, k, ld, in->k, in->stride, sequences, length, past, err));
    return append(f, v, ld, in->v, in->stride, sequences, length, past, err);
}

/* out[rows, q_width] = attention of x[rows, hidden]; uses `work`. out may be the first part of work that holds o, or a
 * buffer elsewhere. */
static nb_status attention(nb_forward *f, const nb_block *b, nb_mem x, size_t sequences, size_t length, nb_kv *kv, size_t past,
                           nb_mem out, nb_err *err) {
    const nb_hparams *hp = f->hp;
    attention_input in;
    NB_TRY(need_positions(f, past + length, err));
    if (b->joint[NB_JOINT_QKV].packed)
        NB_TRY(project_joined(f, b, x, sequences, length, kv, past, &in, err));
    else
        NB_TRY(project(f, b, x, sequences, length, kv, past, &in, err));
    struct nb_attention_args a = {.sequences = sequences, .length = length, .past = past, .heads = hp->heads,
                                  .kv_heads = hp->kv_heads, .head_dim = hp->head_dim, .q = in.q, .k = in.k, .v = in.v,
                                  .out = out, .ldq = in.ldq, .ldkv = in.ldkv, .ldo = f->q_width, .kv_stride = in.stride,
                                  .window = nb_layer_is_local(hp, b->layer) ? hp->window : 0,
                                  .scale = (float)hp->attn_scale};
    return nb_launch(f->stream, NB_OP_attention, &a, err);
}

/* out[rows, intermediate] = act(gate x) * (up x), its rows one after another or, where gate and up are joined, two of them
 * apart (*ldo); out may be the beginning of work. */
static nb_status gated(nb_forward *f, const nb_block *b, nb_mem x, size_t rows, nb_mem out, size_t *ldo, nb_err *err) {
    const nb_linear *joint = &b->joint[NB_JOINT_GATE_UP];
    size_t n = f->hp->intermediate, ld = joint->packed ? 2 * n : n;
    nb_mem up = row_at(f->work, joint->packed ? 1 : rows, n);
    if (joint->packed) {
        NB_TRY(apply(f, joint, x, f->hp->hidden, rows, f->work, ld, false, err));
    } else {
        NB_TRY(apply(f, &b->lin[NB_LIN_GATE], x, f->hp->hidden, rows, f->work, n, false, err));
        NB_TRY(apply(f, &b->lin[NB_LIN_UP], x, f->hp->hidden, rows, up, n, false, err));
    }
    struct nb_glu_args a = {.rows = rows, .n = n, .gate = f->work, .up = up, .out = out, .ldg = ld, .ldu = ld, .ldo = ld,
                            .act = f->hp->family->act == NB_ACT_SILU ? NB_GLU_SILU : NB_GLU_GELU_TANH};
    *ldo = ld;
    return nb_launch(f->stream, NB_OP_glu, &a, err);
}

/* ---- whole passes ---- */

nb_status nb_forward_embed(nb_forward *f, const int32_t *ids, size_t count, nb_mem hidden, nb_err *err) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= f->hp->vocab)
            return nb_fail(err, NB_E_INPUT, "token id %d at place %zu, expected ids below the vocabulary's size %zu",
                           (int)ids[i], i, f->hp->vocab);
    NB_TRY(need_embed(f, err));
    for (size_t at = 0; at < count; at += f->rows) {
        size_t rows = nb_min(f->rows, count - at);
        NB_TRY(nb_upload(f->stream, f->ids, ids + at, rows * sizeof *ids, err));
        struct nb_embed_args a = {.rows = rows, .k = f->hp->hidden, .ids = f->ids, .table = f->embed,
                                  .out = row_at(hidden, at, f->hp->hidden), .ldo = f->hp->hidden, .w_type = f->embed_type,
                                  .scale = (float)f->hp->embed_scale};
        NB_TRY(nb_launch(f->stream, NB_OP_embed, &a, err));
        NB_TRY(nb_sync(f->stream, err));
    }
    return NB_OK;
}

static nb_status check_rows(const nb_forward *f, size_t sequences, size_t length, nb_err *err) {
    size_t rows;
    if (!nb_mul(sequences, length, &rows) || rows > f->rows)
        return nb_fail(err, NB_E_USAGE, "%zu sequences of %zu tokens, but this pass was made for %zu tokens", sequences, length,
                       f->rows);
    return NB_OK;
}

nb_status nb_forward_block(nb_forward *f, nb_block *b, nb_mem hidden, size_t sequences, size_t length, nb_kv *kv, size_t past,
                           nb_err *err) {
    size_t rows = sequences * length, ld;
    NB_TRY(check_rows(f, sequences, length, err));
    if (kv && (sequences != kv->sequences || past > kv->context || length > kv->context - past))
        return nb_fail(err, NB_E_USAGE, "%zu sequences at %zu + %zu tokens, but the cache holds %zu of %zu", sequences, past,
                       length, kv->sequences, kv->context);
    if (!kv && past != 0)
        return nb_fail(err, NB_E_USAGE, "a past of %zu tokens needs a cache", past);
    if (rows == 0)
        return NB_OK;
    nb_mem o = row_at(f->work, rows, f->q_width + 2 * f->kv_width);
    NB_TRY(norm(f, b->norm[NB_NORM_ATTN], hidden, rows, f->x, err));
    NB_TRY(attention(f, b, f->x, sequences, length, kv, past, o, err));
    NB_TRY(add_to_stream(f, &b->lin[NB_LIN_O], b->norm[NB_NORM_ATTN_OUT], o, f->q_width, rows, hidden, err));
    NB_TRY(norm(f, b->norm[NB_NORM_MLP], hidden, rows, f->x, err));
    NB_TRY(gated(f, b, f->x, rows, f->work, &ld, err));
    return add_to_stream(f, &b->lin[NB_LIN_DOWN], b->norm[NB_NORM_MLP_OUT], f->work, ld, rows, hidden, err);
}

/* A stage reads x [tokens, hidden] and writes rows of `width` from the beginning of work, chunk after chunk. x stands so
 * far behind that a chunk's output never reaches a later chunk's input. */
static nb_mem stage_input(const nb_forward *f, nb_mem work, size_t tokens, size_t width) {
    size_t gap = width > f->hp->hidden ? width - f->hp->hidden : 0;
    return row_at(work, tokens, gap);
}

/* work = attention of x, sequence by sequence. */
static nb_status stage_attention(nb_forward *f, nb_block *b, nb_mem x, nb_mem work, size_t sequences, size_t length,
                                 nb_err *err) {
    size_t step = f->rows / length;
    for (size_t s = 0; s < sequences; s += step) {
        size_t some = nb_min(step, sequences - s), at = s * length, rows = some * length;
        nb_mem o = row_at(f->work, rows, f->q_width + 2 * f->kv_width);
        NB_TRY(attention(f, b, row_at(x, at, f->hp->hidden), some, length, NULL, 0, o, err));
        NB_TRY(nb_copy(f->stream, row_at(work, at, f->q_width), o, rows * f->q_width * sizeof(float), err));
    }
    return NB_OK;
}

static nb_status stage_gated(nb_forward *f, nb_block *b, nb_mem x, nb_mem work, size_t tokens, nb_err *err) {
    size_t inter = f->hp->intermediate, ld;
    for (size_t at = 0; at < tokens; at += f->rows) {
        size_t rows = nb_min(f->rows, tokens - at);
        NB_TRY(gated(f, b, row_at(x, at, f->hp->hidden), rows, f->work, &ld, err));
        NB_TRY(nb_copy(f->stream, row_at(work, at, inter), f->work, rows * inter * sizeof(float), err));
    }
    return NB_OK;
}

nb_status nb_forward_stage(nb_forward *f, nb_block *b, nb_tap tap, nb_mem hidden, nb_mem work, size_t sequences, size_t length,
                           nb_mem *x, size_t *k, nb_err *err) {
    size_t tokens = sequences * length, h = f->hp->hidden, inter = f->hp->intermediate;
    *x = work;
    *k = 0;
    if (tokens == 0)
        return NB_OK;
    if (length > f->rows)
        return check_rows(f, 1, length, err);
    switch (tap) {
    case NB_TAP_ATTN_IN:
        *x = stage_input(f, work, tokens, f->q_width);
        *k = h;
        return norm(f, b->norm[NB_NORM_ATTN], hidden, tokens, *x, err);
    case NB_TAP_ATTN_OUT:
        *k = f->q_width;
        return stage_attention(f, b, stage_input(f, work, tokens, f->q_width), work, sequences, length, err);
    case NB_TAP_MLP_IN:
        NB_TRY(add_to_stream(f, &b->lin[NB_LIN_O], b->norm[NB_NORM_ATTN_OUT], work, f->q_width, tokens, hidden, err));
        *x = stage_input(f, work, tokens, inter);
        *k = h;
        return norm(f, b->norm[NB_NORM_MLP], hidden, tokens, *x, err);
    case NB_TAP_MLP_OUT:
        *k = inter;
        return stage_gated(f, b, stage_input(f, work, tokens, inter), work, tokens, err);
    case NB_TAP_COUNT:
        break;
    }
    return add_to_stream(f, &b->lin[NB_LIN_DOWN], b->norm[NB_NORM_MLP_OUT], work, inter, tokens, hidden, err);
}

nb_status nb_forward_norm(nb_forward *f, const nb_block *b, nb_tap tap, nb_mem hidden, size_t tokens, nb_mem x, nb_err *err) {
    return norm(f, b->norm[tap == NB_TAP_ATTN_IN ? NB_NORM_ATTN : NB_NORM_MLP], hidden, tokens, x, err);
}

nb_status nb_forward_stages(nb_forward *f, nb_block *b, nb_mem hidden, nb_mem work, size_t sequences, size_t length,
                            nb_tap_fn *tap, void *ctx, nb_err *err) {
    nb_mem x;
    size_t k;
    for (nb_tap t = NB_TAP_ATTN_IN; t < NB_TAP_COUNT && sequences * length > 0; t++) {
        NB_TRY(nb_forward_stage(f, b, t, hidden, work, sequences, length, &x, &k, err));
        NB_TRY(tap(ctx, t, x, sequences * length, k, b, err));
    }
    return nb_forward_stage(f, b, NB_TAP_COUNT, hidden, work, sequences, length, &x, &k, err);
}

nb_status nb_forward_logits(nb_forward *f, nb_mem hidden, size_t count, nb_mem logits, nb_err *err) {
    if (!f->head_q8)
        NB_TRY(need_head(f, err));
    nb_linear head = {.n = f->hp->vocab, .k = f->hp->hidden, .w = f->head, .w_type = f->head_type, .packed = f->head_q8,
                      .quantized = f->head_q8};
    for (size_t at = 0; at < count; at += f->rows) {
        size_t rows = nb_min(f->rows, count - at);
        NB_TRY(norm(f, f->final_norm, row_at(hidden, at, f->hp->hidden), rows, f->x, err));
        NB_TRY(apply(f, &head, f->x, f->hp->hidden, rows, row_at(logits, at, f->hp->vocab), f->hp->vocab, false, err));
    }
    return NB_OK;
}
