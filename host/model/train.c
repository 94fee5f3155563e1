/* Forward and backward of one block by operations of kernels.def. */
#include "host/model/train.h"

#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/model/impl.h"

/* Rows of tokens, of these widths. Gradients take the place of what is not read again: d_gate of gate, d_up of up. */
struct nb_trainer {
    nb_stream *stream;
    nb_device *device;
    const nb_hparams *hp;
    size_t sequences, length, tokens, q_width, kv_width;
    nb_mem x;                 /* the caller's input */
    nb_mem n1, mid, n2, out;  /* [hidden]: norms' outputs, stream after attention, block's output */
    nb_mem q, k, v, o;        /* rotated q and k; o = attention's output */
    nb_mem gate, up, act;     /* [intermediate] */
    nb_mem dq, dk, dv, d_o, d_act, dn; /* gradients */
    nb_mem cos, sin, minus_sin;        /* [length, head_dim / 2] */
};

typedef struct part {
    nb_mem *mem;
    size_t width;
} part;

enum { PARTS = 17 };

static void list_parts(nb_trainer *t, const nb_hparams *hp, part out[PARTS]) {
    size_t h = hp->hidden, q = hp->heads * hp->head_dim, kv = hp->kv_heads * hp->head_dim, f = hp->intermediate;
    const part all[PARTS] = {{&t->n1, h},   {&t->mid, h},  {&t->n2, h},  {&t->out, h}, {&t->q, q},     {&t->k, kv},
                             {&t->v, kv},   {&t->o, q},    {&t->gate, f}, {&t->up, f}, {&t->act, f},   {&t->dq, q},
                             {&t->dk, kv},  {&t->dv, kv},  {&t->d_o, q}, {&t->d_act, f}, {&t->dn, h}};
    for (int i = 0; i < PARTS; i++)
        out[i] = all[i];
}

size_t nb_trainer_bytes(const nb_hparams *hp, size_t tokens) {
    nb_trainer none = {0};
    part parts[PARTS];
    size_t width = 0, floats, bytes;
    list_parts(&none, hp, parts);
    for (int i = 0; i < PARTS; i++)
        width += parts[i].width;
    if (!nb_mul(tokens, width, &floats) || !nb_mul(floats, sizeof(float), &bytes))
        return SIZE_MAX;
    return bytes;
}

static nb_status make_tables(nb_trainer *t, const nb_model *model, nb_err *err) {
    size_t half = t->hp->head_dim / 2, count = t->length * half;
    float *host;
    nb_status status;
    NB_TRY(nb_calloc(count, 3 * sizeof *host, "rotary tables", &host, err));
    for (size_t i = 0; i < count; i++) {
        double angle = (double)(i / half) * model->inv_freq[i % half];
        host[i] = (float)cos(angle);
        host[count + i] = (float)sin(angle);
        host[2 * count + i] = -host[count + i];
    }
    nb_mem *tables[] = {&t->cos, &t->sin, &t->minus_sin};
    for (size_t i = 0; i < 3; i++) {
        NB_GO(nb_alloc_array(t->device, count, sizeof(float), tables[i], err));
        NB_GO(nb_upload(t->stream, *tables[i], host + i * count, count * sizeof(float), err));
    }
    NB_GO(nb_sync(t->stream, err));
out:
    nb_free(host);
    return status;
}

static nb_status setup(nb_trainer *t, const nb_model *model, nb_err *err) {
    part parts[PARTS];
    list_parts(t, t->hp, parts);
    if (!nb_mul(t->sequences, t->length, &t->tokens) || nb_trainer_bytes(t->hp, t->tokens) == SIZE_MAX)
        return nb_fail_memory(err, SIZE_MAX, "a block's training");
    for (int i = 0; i < PARTS; i++)
        NB_TRY(nb_alloc_array(t->device, t->tokens * parts[i].width, sizeof(float), parts[i].mem, err));
    return make_tables(t, model, err);
}

nb_status nb_trainer_new(const nb_model *model, nb_stream *stream, size_t sequences, size_t length, nb_trainer **out,
                         nb_err *err) {
    nb_trainer *t;
    NB_TRY(nb_calloc(1, sizeof *t, "a block's training", &t, err));
    t->stream = stream;
    t->device = stream->device;
    t->hp = &model->hp;
    t->sequences = sequences;
    t->length = length;
    t->q_width = t->hp->heads * t->hp->head_dim;
    t->kv_width = t->hp->kv_heads * t->hp->head_dim;
    nb_status status = setup(t, model, err);
    if (status != NB_OK) {
        nb_trainer_free(t);
        return status;
    }
    *out = t;
    return NB_OK;
}

void nb_trainer_free(nb_trainer *t) {
    part parts[PARTS];
    if (!t)
        return;
    list_parts(t, t->hp, parts);
    for (int i = 0; i < PARTS; i++)
        nb_release(t->device, parts[i].mem);
    nb_release(t->device, &t->cos);
    nb_release(t->device, &t->sin);
    nb_release(t->device, &t->minus_sin);
    nb_free(t);
}

/* ---- forward ---- */

static nb_status apply(nb_trainer *t, const nb_linear *l, nb_mem x, nb_mem y, bool accumulate, nb_err *err) {
    struct nb_linear_args a = {.m = t->tokens, .n = l->n, .k = l->k, .x = x, .w = l->w, .y = y, .ldx = l->k, .ldy = l->n,
                               .w_type = l->w_type, .accumulate = accumulate};
    return nb_launch(t->stream, NB_OP_linear, &a, err);
}

static nb_status norm(nb_trainer *t, nb_mem weight, nb_mem x, nb_mem y, nb_err *err) {
    size_t k = t->hp->hidden;
    struct nb_rmsnorm_args a = {.rows = t->tokens, .k = k, .x = x, .weight = weight, .y = y, .ldx = k, .ldy = k,
                                .eps = (float)t->hp->norm_eps};
    return nb_launch(t->stream, NB_OP_rmsnorm, &a, err);
}

static nb_status rotate(nb_trainer *t, nb_mem x, size_t heads, nb_mem sine, nb_err *err) {
    struct nb_rope_args a = {.rows = t->tokens, .length = t->length, .heads = heads, .head_dim = t->hp->head_dim, .x = x,
                             .ldx = heads * t->hp->head_dim, .cos = t->cos, .sin = sine};
    return nb_launch(t->stream, NB_OP_rope, &a, err);
}

static float attention_scale(const nb_hparams *hp) {
    return (float)(1.0 / sqrt((double)hp->head_dim));
}

static nb_glu_act activation(const nb_hparams *hp) {
    return hp->family->act == NB_ACT_SILU ? NB_GLU_SILU : NB_GLU_GELU_TANH;
}

static nb_status attend(nb_trainer *t, nb_err *err) {
    const nb_hparams *hp = t->hp;
    NB_TRY(rotate(t, t->q, hp->heads, t->sin, err));
    NB_TRY(rotate(t, t->k, hp->kv_heads, t->sin, err));
    struct nb_attention_args a = {.sequences = t->sequences, .length = t->length, .heads = hp->heads, .kv_heads = hp->kv_heads,
                                  .head_dim = hp->head_dim, .q = t->q, .k = t->k, .v = t->v, .out = t->o, .ldq = t->q_width,
                                  .ldkv = t->kv_width, .ldo = t->q_width, .kv_stride = t->length * t->kv_width,
                                  .scale = attention_scale(hp)};
    return nb_launch(t->stream, NB_OP_attention, &a, err);
}

nb_status nb_trainer_forward(nb_trainer *t, const nb_block *b, nb_mem x, nb_mem *out, nb_err *err) {
    size_t bytes = t->tokens * t->hp->hidden * sizeof(float);
    t->x = x;
    NB_TRY(norm(t, b->attn_norm, x, t->n1, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_Q], t->n1, t->q, false, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_K], t->n1, t->k, false, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_V], t->n1, t->v, false, err));
    NB_TRY(attend(t, err));
    NB_TRY(nb_copy(t->stream, t->mid, x, bytes, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_O], t->o, t->mid, true, err));
    NB_TRY(norm(t, b->mlp_norm, t->mid, t->n2, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_GATE], t->n2, t->gate, false, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_UP], t->n2, t->up, false, err));
    size_t f = t->hp->intermediate;
    struct nb_glu_args glu = {.rows = t->tokens, .n = f, .gate = t->gate, .up = t->up, .out = t->act, .ldg = f, .ldu = f,
                              .ldo = f, .act = activation(t->hp)};
    NB_TRY(nb_launch(t->stream, NB_OP_glu, &glu, err));
    NB_TRY(nb_copy(t->stream, t->out, t->mid, bytes, err));
    *out = t->out;
    return apply(t, &b->lin[NB_LIN_DOWN], t->act, t->out, true, err);
}

/* ---- backward ---- */

/* grad [n,k] = d^T x, where it is wanted. */
static nb_status by_weight(nb_trainer *t, const nb_linear *l, nb_mem d, nb_mem x, nb_mem grad, nb_err *err) {
    if (!grad.base)
        return NB_OK;
    struct nb_matmul_args a = {.m = l->n, .n = l->k, .k = t->tokens, .a = d, .lda = l->n, .trans_a = true, .b = x, .ldb = l->k,
                               .c = grad, .ldc = l->k, .alpha = 1.0f};
    return nb_launch(t->stream, NB_OP_matmul, &a, err);
}

/* dx [tokens,k] = d W, or += . Weights that are no floats are not multiplied by this operation: they are dense f32 here. */
static nb_status by_input(nb_trainer *t, const nb_linear *l, nb_mem d, nb_mem dx, bool accumulate, nb_err *err) {
    if (l->quantized || l->w_type != NB_F32)
        return nb_fail(err, NB_E_USAGE, "a gradient needs weights in F32");
    struct nb_matmul_args a = {.m = t->tokens, .n = l->k, .k = l->n, .a = d, .lda = l->n, .b = l->w, .ldb = l->k, .c = dx,
                               .ldc = l->k, .alpha = 1.0f, .beta = accumulate ? 1.0f : 0.0f};
    return nb_launch(t->stream, NB_OP_matmul, &a, err);
}

/* From d_act to the gradient by the MLP's input, in dn. */
static nb_status back_gated(nb_trainer *t, const nb_block *b, const nb_mem grads[NB_LIN_COUNT], nb_err *err) {
    const nb_linear *gate = &b->lin[NB_LIN_GATE], *up = &b->lin[NB_LIN_UP];
    struct nb_glu_back_args a = {.rows = t->tokens, .n = t->hp->intermediate, .gate = t->gate, .up = t->up, .d = t->d_act,
                                 .dgate = t->gate, .dup = t->up, .act = activation(t->hp)};
    NB_TRY(nb_launch(t->stream, NB_OP_glu_back, &a, err));
    NB_TRY(by_weight(t, gate, t->gate, t->n2, grads[NB_LIN_GATE], err));
    NB_TRY(by_weight(t, up, t->up, t->n2, grads[NB_LIN_UP], err));
    NB_TRY(by_input(t, gate, t->gate, t->dn, false, err));
    return by_input(t, up, t->up, t->dn, true, err);
}

/* From d_o to dq, dk, dv before the rotation. */
static nb_status back_attention(nb_trainer *t, nb_err *err) {
    const nb_hparams *hp = t->hp;
    struct nb_attention_back_args a = {.sequences = t->sequences, .length = t->length, .heads = hp->heads,
                                       .kv_heads = hp->kv_heads, .head_dim = hp->head_dim, .q = t->q, .k = t->k, .v = t->v,
                                       .out = t->o, .d = t->d_o, .dq = t->dq, .dk = t->dk, .dv = t->dv, .ldq = t->q_width,
                                       .ldkv = t->kv_width, .ldo = t->q_width, .scale = attention_scale(hp)};
    NB_TRY(nb_launch(t->stream, NB_OP_attention_back, &a, err));
    NB_TRY(rotate(t, t->dq, hp->heads, t->minus_sin, err));
    return rotate(t, t->dk, hp->kv_heads, t->minus_sin, err);
}

nb_status nb_trainer_back(nb_trainer *t, const nb_block *b, nb_mem d, const nb_mem grads[NB_LIN_COUNT], nb_err *err) {
    size_t h = t->hp->hidden;
    const nb_linear *down = &b->lin[NB_LIN_DOWN], *o = &b->lin[NB_LIN_O];
    NB_TRY(by_weight(t, down, d, t->act, grads[NB_LIN_DOWN], err));
    NB_TRY(by_input(t, down, d, t->d_act, false, err));
    NB_TRY(back_gated(t, b, grads, err));
    struct nb_rmsnorm_back_args mlp = {.rows = t->tokens, .k = h, .x = t->mid, .weight = b->mlp_norm, .d = t->dn, .dx = d,
                                       .ldx = h, .ldd = h, .lddx = h, .eps = (float)t->hp->norm_eps, .accumulate = true};
    NB_TRY(nb_launch(t->stream, NB_OP_rmsnorm_back, &mlp, err));
    NB_TRY(by_weight(t, o, d, t->o, grads[NB_LIN_O], err));
    NB_TRY(by_input(t, o, d, t->d_o, false, err));
    NB_TRY(back_attention(t, err));
    NB_TRY(by_weight(t, &b->lin[NB_LIN_Q], t->dq, t->n1, grads[NB_LIN_Q], err));
    NB_TRY(by_weight(t, &b->lin[NB_LIN_K], t->dk, t->n1, grads[NB_LIN_K], err));
    return by_weight(t, &b->lin[NB_LIN_V], t->dv, t->n1, grads[NB_LIN_V], err);
}
