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
    nb_mem q0, k0;            /* q and k before the norms of their heads, where the family has them */
    nb_mem a0, m0;            /* [hidden]: what attention and MLP add, before its norm, where the family has one */
    nb_mem dq, dk, dv, d_o, d_act, dn; /* gradients */
    const nb_mem *grams, *squares; /* [NB_LIN_COUNT], the caller's, or NULL */
    nb_mem cos[2], sin[2], minus_sin[2]; /* [length, head_dim / 2], of global and local layers */
};

typedef struct part {
    nb_mem *mem;
    size_t width;
} part;

enum { PARTS = 21 };

static bool has_norm(const nb_hparams *hp, nb_norm which) {
    return hp->family->norms[which].hf != NULL;
}

/* Parts of width 0 are not there. */
static void list_parts(nb_trainer *t, const nb_hparams *hp, part out[PARTS]) {
    size_t h = hp->hidden, q = hp->heads * hp->head_dim, kv = hp->kv_heads * hp->head_dim, f = hp->intermediate;
    const part all[PARTS] = {{&t->q0, has_norm(hp, NB_NORM_Q) ? q : 0},
                             {&t->k0, has_norm(hp, NB_NORM_K) ? kv : 0},
                             {&t->a0, has_norm(hp, NB_NORM_ATTN_OUT) ? h : 0},
                             {&t->m0, has_norm(hp, NB_NORM_MLP_OUT) ? h : 0},
                             {&t->n1, h},   {&t->mid, h},  {&t->n2, h},  {&t->out, h}, {&t->q, q},     {&t->k, kv},
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

static nb_status make_tables(nb_trainer *t, const nb_model *model, int local, nb_err *err) {
    size_t half = t->hp->head_dim / 2, count = t->length * half;
    float *host;
    nb_status status;
    NB_TRY(nb_calloc(count, 3 * sizeof *host, "rotary tables", &host, err));
    for (size_t i = 0; i < count; i++) {
        double angle = (double)(i / half) * model->inv_freq[local][i % half];
        host[i] = (float)cos(angle);
        host[count + i] = (float)sin(angle);
        host[2 * count + i] = -host[count + i];
    }
    nb_mem *tables[] = {&t->cos[local], &t->sin[local], &t->minus_sin[local]};
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
        if (parts[i].width)
            NB_TRY(nb_alloc_array(t->device, t->tokens * parts[i].width, sizeof(float), parts[i].mem, err));
    for (int local = 0; local < 2 && model->inv_freq[local]; local++)
        NB_TRY(make_tables(t, model, local, err));
    return NB_OK;
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
    for (int local = 0; local < 2; local++) {
        nb_release(t->device, &t->cos[local]);
        nb_release(t->device, &t->sin[local]);
        nb_release(t->device, &t->minus_sin[local]);
    }
    nb_free(t);
}

/* ---- forward ---- */

static nb_status apply(nb_trainer *t, const nb_linear *l, nb_mem x, nb_mem y, bool accumulate, nb_err *err) {
    struct nb_linear_args a = {.m = t->tokens, .n = l->n, .k = l->k, .x = x, .w = l->w, .y = y, .ldx = l->k, .ldy = l->n,
                               .w_type = l->w_type, .accumulate = accumulate};
    return nb_launch(t->stream, NB_OP_linear, &a, err);
}

/* y = x / root mean square of each row of k, times weight; y may be x. */
static nb_status norm(nb_trainer *t, nb_mem weight, nb_mem x, size_t rows, size_t k, nb_mem y, nb_err *err) {
    struct nb_rmsnorm_args a = {.rows = rows, .k = k, .x = x, .weight = weight, .y = y, .ldx = k, .ldy = k,
                                .eps = (float)t->hp->norm_eps};
    return nb_launch(t->stream, NB_OP_rmsnorm, &a, err);
}

static nb_status rotate(nb_trainer *t, nb_mem x, size_t heads, nb_mem cosine, nb_mem sine, nb_err *err) {
    struct nb_rope_args a = {.rows = t->tokens, .length = t->length, .heads = heads, .head_dim = t->hp->head_dim, .x = x,
                             .ldx = heads * t->hp->head_dim, .cos = cosine, .sin = sine};
    return nb_launch(t->stream, NB_OP_rope, &a, err);
}

static nb_glu_act activation(const nb_hparams *hp) {
    return hp->family->act == NB_ACT_SILU ? NB_GLU_SILU : NB_GLU_GELU_TANH;
}

/* Norm of each head of x where the family has one; x as it was stays in `before`. */
static nb_status norm_heads(nb_trainer *t, nb_mem weight, nb_mem x, size_t heads, nb_mem before, nb_err *err) {
    size_t hd = t->hp->head_dim;
    if (!weight.base)
        return NB_OK;
    NB_TRY(nb_copy(t->stream, before, x, t->tokens * heads * hd * sizeof(float), err));
    return norm(t, weight, x, t->tokens * heads, hd, x, err);
}

static nb_status attend(nb_trainer *t, const nb_block *b, nb_err *err) {
    const nb_hparams *hp = t->hp;
    bool local = nb_layer_is_local(hp, b->layer);
    NB_TRY(norm_heads(t, b->norm[NB_NORM_Q], t->q, hp->heads, t->q0, err));
    NB_TRY(norm_heads(t, b->norm[NB_NORM_K], t->k, hp->kv_heads, t->k0, err));
    NB_TRY(rotate(t, t->q, hp->heads, t->cos[local], t->sin[local], err));
    NB_TRY(rotate(t, t->k, hp->kv_heads, t->cos[local], t->sin[local], err));
    struct nb_attention_args a = {.sequences = t->sequences, .length = t->length, .heads = hp->heads, .kv_heads = hp->kv_heads,
                                  .head_dim = hp->head_dim, .q = t->q, .k = t->k, .v = t->v, .out = t->o, .ldq = t->q_width,
                                  .ldkv = t->kv_width, .ldo = t->q_width, .kv_stride = t->length * t->kv_width,
                                  .window = local ? hp->window : 0, .scale = (float)hp->attn_scale};
    return nb_launch(t->stream, NB_OP_attention, &a, err);
}

/* y = x + linear of z, by way of the norm of what is added where the family has one; what is added stays in `before`. */
static nb_status add_to_stream(nb_trainer *t, const nb_linear *l, nb_mem weight, nb_mem z, nb_mem x, nb_mem before, nb_mem y,
                               nb_err *err) {
    size_t h = t->hp->hidden;
    NB_TRY(nb_copy(t->stream, y, x, t->tokens * h * sizeof(float), err));
    if (!weight.base)
        return apply(t, l, z, y, true, err);
    NB_TRY(apply(t, l, z, before, false, err));
    NB_TRY(norm(t, weight, before, t->tokens, h, t->dn, err));
    struct nb_add_args a = {.rows = t->tokens, .n = h, .x = t->dn, .y = y, .ldx = h, .ldy = h};
    return nb_launch(t->stream, NB_OP_add, &a, err);
}

nb_status nb_trainer_forward(nb_trainer *t, const nb_block *b, nb_mem x, nb_mem *out, nb_err *err) {
    size_t h = t->hp->hidden, f = t->hp->intermediate;
    t->x = x;
    NB_TRY(norm(t, b->norm[NB_NORM_ATTN], x, t->tokens, h, t->n1, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_Q], t->n1, t->q, false, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_K], t->n1, t->k, false, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_V], t->n1, t->v, false, err));
    NB_TRY(attend(t, b, err));
    NB_TRY(add_to_stream(t, &b->lin[NB_LIN_O], b->norm[NB_NORM_ATTN_OUT], t->o, x, t->a0, t->mid, err));
    NB_TRY(norm(t, b->norm[NB_NORM_MLP], t->mid, t->tokens, h, t->n2, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_GATE], t->n2, t->gate, false, err));
    NB_TRY(apply(t, &b->lin[NB_LIN_UP], t->n2, t->up, false, err));
    struct nb_glu_args glu = {.rows = t->tokens, .n = f, .gate = t->gate, .up = t->up, .out = t->act, .ldg = f, .ldu = f,
                              .ldo = f, .act = activation(t->hp)};
    NB_TRY(nb_launch(t->stream, NB_OP_glu, &glu, err));
    *out = t->out;
    return add_to_stream(t, &b->lin[NB_LIN_DOWN], b->norm[NB_NORM_MLP_OUT], t->act, t->mid, t->m0, t->out, err);
}

/* ---- backward ---- */

/* What is wanted of the gradient by a linear's outputs: its covariance, its length at each token. */
static nb_status by_output(nb_trainer *t, nb_lin lin, size_t n, nb_mem d, nb_err *err) {
    struct nb_hessian_args add = {.rows = t->tokens, .k = n, .x = d, .ldx = n, .ldh = n, .scale = 1.0f, .mirror = true};
    struct nb_row_dot_args square = {.rows = t->tokens, .k = n, .a = d, .lda = n, .b = d, .ldb = n};
    if (t->grams && t->grams[lin].base) {
        add.h = t->grams[lin];
        NB_TRY(nb_launch(t->stream, NB_OP_hessian, &add, err));
    }
    if (t->squares && t->squares[lin].base) {
        square.out = t->squares[lin];
        NB_TRY(nb_launch(t->stream, NB_OP_row_dot, &square, err));
    }
    return NB_OK;
}

/* grads[lin] [n,k] = d^T x, where it is wanted. */
static nb_status by_weight(nb_trainer *t, const nb_block *b, nb_lin lin, nb_mem d, nb_mem x, const nb_mem *grads, nb_err *err) {
    const nb_linear *l = &b->lin[lin];
    nb_mem grad = grads[lin];
    NB_TRY(by_output(t, lin, l->n, d, err));
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
    NB_TRY(by_weight(t, b, NB_LIN_GATE, t->gate, t->n2, grads, err));
    NB_TRY(by_weight(t, b, NB_LIN_UP, t->up, t->n2, grads, err));
    NB_TRY(by_input(t, gate, t->gate, t->dn, false, err));
    return by_input(t, up, t->up, t->dn, true, err);
}

/* dx = gradient of a norm, or += ; dx may be d. */
static nb_status back_norm(nb_trainer *t, nb_mem weight, nb_mem x, size_t rows, size_t k, nb_mem d, nb_mem dx, bool accumulate,
                           nb_err *err) {
    struct nb_rmsnorm_back_args a = {.rows = rows, .k = k, .x = x, .weight = weight, .d = d, .dx = dx, .ldx = k, .ldd = k,
                                     .lddx = k, .eps = (float)t->hp->norm_eps, .accumulate = accumulate};
    return nb_launch(t->stream, NB_OP_rmsnorm_back, &a, err);
}

static nb_status back_heads(nb_trainer *t, nb_mem weight, nb_mem before, size_t heads, nb_mem d, nb_err *err) {
    if (!weight.base)
        return NB_OK;
    return back_norm(t, weight, before, t->tokens * heads, t->hp->head_dim, d, d, false, err);
}

/* From d_o to dq, dk, dv before rotation and norms. */
static nb_status back_attention(nb_trainer *t, const nb_block *b, nb_err *err) {
    const nb_hparams *hp = t->hp;
    bool local = nb_layer_is_local(hp, b->layer);
    struct nb_attention_back_args a = {.sequences = t->sequences, .length = t->length, .heads = hp->heads,
                                       .kv_heads = hp->kv_heads, .head_dim = hp->head_dim, .q = t->q, .k = t->k, .v = t->v,
                                       .out = t->o, .d = t->d_o, .dq = t->dq, .dk = t->dk, .dv = t->dv, .ldq = t->q_width,
                                       .ldkv = t->kv_width, .ldo = t->q_width, .window = local ? hp->window : 0,
                                       .scale = (float)hp->attn_scale};
    NB_TRY(nb_launch(t->stream, NB_OP_attention_back, &a, err));
    NB_TRY(rotate(t, t->dq, hp->heads, t->cos[local], t->minus_sin[local], err));
    NB_TRY(rotate(t, t->dk, hp->kv_heads, t->cos[local], t->minus_sin[local], err));
    NB_TRY(back_heads(t, b->norm[NB_NORM_Q], t->q0, hp->heads, t->dq, err));
    return back_heads(t, b->norm[NB_NORM_K], t->k0, hp->kv_heads, t->dk, err);
}

/* Of what was added to the stream, given d by the stream: *through = gradient by the linear's output, d itself or dn. */
static nb_status back_from_stream(nb_trainer *t, nb_mem weight, nb_mem before, nb_mem d, nb_mem *through, nb_err *err) {
    *through = weight.base ? t->dn : d;
    return weight.base ? back_norm(t, weight, before, t->tokens, t->hp->hidden, d, t->dn, false, err) : NB_OK;
}

nb_status nb_trainer_back(nb_trainer *t, const nb_block *b, nb_mem d, const nb_mem grads[NB_LIN_COUNT], nb_err *err) {
    const nb_linear *down = &b->lin[NB_LIN_DOWN], *o = &b->lin[NB_LIN_O];
    nb_mem g;
    NB_TRY(back_from_stream(t, b->norm[NB_NORM_MLP_OUT], t->m0, d, &g, err));
    NB_TRY(by_weight(t, b, NB_LIN_DOWN, g, t->act, grads, err));
    NB_TRY(by_input(t, down, g, t->d_act, false, err));
    NB_TRY(back_gated(t, b, grads, err));
    NB_TRY(back_norm(t, b->norm[NB_NORM_MLP], t->mid, t->tokens, t->hp->hidden, t->dn, d, true, err));
    NB_TRY(back_from_stream(t, b->norm[NB_NORM_ATTN_OUT], t->a0, d, &g, err));
    NB_TRY(by_weight(t, b, NB_LIN_O, g, t->o, grads, err));
    NB_TRY(by_input(t, o, g, t->d_o, false, err));
    NB_TRY(back_attention(t, b, err));
    NB_TRY(by_weight(t, b, NB_LIN_Q, t->dq, t->n1, grads, err));
    NB_TRY(by_weight(t, b, NB_LIN_K, t->dk, t->n1, grads, err));
    return by_weight(t, b, NB_LIN_V, t->dv, t->n1, grads, err);
}

void nb_trainer_set_grams(nb_trainer *t, const nb_mem grams[NB_LIN_COUNT], const nb_mem squares[NB_LIN_COUNT]) {
    t->grams = grams;
    t->squares = squares;
}

nb_status nb_trainer_back_input(nb_trainer *t, const nb_block *b, nb_mem d, nb_err *err) {
    NB_TRY(by_input(t, &b->lin[NB_LIN_Q], t->dq, t->dn, false, err));
    NB_TRY(by_input(t, &b->lin[NB_LIN_K], t->dk, t->dn, true, err));
    NB_TRY(by_input(t, &b->lin[NB_LIN_V], t->dv, t->dn, true, err));
    return back_norm(t, b->norm[NB_NORM_ATTN], t->x, t->tokens, t->hp->hidden, t->dn, d, true, err);
}
