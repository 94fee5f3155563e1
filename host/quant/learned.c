#include "host/quant/learned.h"

#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

/* How far offsets of weights may go, in steps, and the ends of a grid. */
#define OFFSET 0.5f
#define LEAST_END 0.5f
#define MOST_END 1.5f
/* In steps: values as near as that to their code are rounded to it; others stand so far from it. */
#define NEAREST 0.499f
#define ELSEWHERE 0.25f

struct nb_learned {
    nb_stream *stream;
    nb_device *device;
    size_t n, k, group, groups;
    unsigned bits;
    bool symmetric;
    nb_dtype scale_type;
    nb_mem b, v, w, g;                          /* f32 [n,k] */
    nb_mem scale0, zero0, alpha, beta, scales, zeros, dalpha, dbeta; /* f32 [n,groups] */
    nb_mem codes;                               /* u8 [n,k] */
};

enum { MATRICES = 4, VECTORS = 8 };

size_t nb_learned_bytes(size_t n, size_t k, size_t group_size) {
    size_t elems, params;
    if (!nb_mul3(n, k, MATRICES * sizeof(float) + 1, &elems) ||
        !nb_mul3(n, nb_ceil_div(k, group_size), VECTORS * sizeof(float), &params) || params > SIZE_MAX - elems)
        return SIZE_MAX;
    return elems + params;
}

static nb_status allocate(nb_learned *l, nb_err *err) {
    nb_mem *matrices[MATRICES] = {&l->b, &l->v, &l->w, &l->g};
    nb_mem *vectors[VECTORS] = {&l->scale0, &l->zero0, &l->alpha, &l->beta, &l->scales, &l->zeros, &l->dalpha, &l->dbeta};
    if (nb_learned_bytes(l->n, l->k, l->group) == SIZE_MAX)
        return nb_fail_memory(err, SIZE_MAX, "learned rounding");
    for (int i = 0; i < MATRICES; i++)
        NB_TRY(nb_alloc_array(l->device, l->n * l->k, sizeof(float), matrices[i], err));
    for (int i = 0; i < VECTORS; i++)
        NB_TRY(nb_alloc_array(l->device, l->n * l->groups, sizeof(float), vectors[i], err));
    return nb_alloc_array(l->device, l->n, l->k, &l->codes, err);
}

/* What is rounded: w where q is its nearest code or it lies past the grid's end; else a value on w's side of q. */
static void base_values(const nb_qtensor *q, const float *w, float *b) {
    float top = (float)((1u << q->bits) - 1u);
    for (size_t i = 0; i < q->n; i++)
        for (size_t j = 0; j < q->k; j++) {
            size_t at = i * q->k + j, p = i * q->groups + j / q->group_size;
            float scale = q->scales[p], code = (float)q->codes[at], value = (code - q->zeros[p]) * scale, e = w[at] - value;
            bool low = code == 0.0f && e / scale < 0.0f, high = code == top && e / scale > 0.0f;
            b[at] = low || high || fabsf(e / scale) <= NEAREST ? w[at] : value + copysignf(ELSEWHERE * scale, e);
        }
}

static nb_status start(nb_learned *l, const nb_qtensor *q, const float *w, nb_err *err) {
    size_t params = l->n * l->groups * sizeof(float), elems = l->n * l->k * sizeof(float);
    float *host, *ones = NULL;
    nb_status status;
    NB_TRY(nb_calloc(l->n * l->k, sizeof *host, "a weight", &host, err));
    NB_GO(nb_calloc(l->n * l->groups, sizeof *ones, "ends of grids", &ones, err));
    base_values(q, w, host);
    for (size_t i = 0; i < l->n * l->groups; i++)
        ones[i] = 1.0f;
    NB_GO(nb_upload(l->stream, l->b, host, elems, err));
    NB_GO(nb_fill(l->stream, l->v, 0, elems, err));
    NB_GO(nb_upload(l->stream, l->scale0, q->scales, params, err));
    NB_GO(nb_upload(l->stream, l->zero0, q->zeros, params, err));
    NB_GO(nb_upload(l->stream, l->alpha, ones, params, err));
    NB_GO(nb_upload(l->stream, l->beta, ones, params, err));
    NB_GO(nb_sync(l->stream, err));
out:
    nb_free(host);
    nb_free(ones);
    return status;
}

nb_status nb_learned_new(nb_stream *stream, const nb_qtensor *q, const float *w, nb_learned **out, nb_err *err) {
    nb_learned *l;
    if (q->g_idx || q->codebook || q->float_zeros)
        return nb_fail(err, NB_E_USAGE, "learned rounding takes whole zero points and groups of neighbouring columns");
    NB_TRY(nb_calloc(1, sizeof *l, "learned rounding", &l, err));
    *l = (nb_learned){.stream = stream, .device = stream->device, .n = q->n, .k = q->k, .group = q->group_size,
                      .groups = q->groups, .bits = q->bits, .symmetric = q->symmetric, .scale_type = q->scale_type};
    nb_status status = allocate(l, err);
    if (status == NB_OK)
        status = start(l, q, w, err);
    if (status != NB_OK) {
        nb_learned_free(l);
        return status;
    }
    *out = l;
    return NB_OK;
}

void nb_learned_free(nb_learned *l) {
    if (!l)
        return;
    nb_mem *all[] = {&l->b,      &l->v,      &l->w,     &l->g,      &l->scale0, &l->zero0, &l->alpha,
                     &l->beta,   &l->scales, &l->zeros, &l->dalpha, &l->dbeta,  &l->codes};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nb_release(l->device, all[i]);
    nb_free(l);
}

static struct nb_learned_round_args forward_args(const nb_learned *l) {
    return (struct nb_learned_round_args){.n = l->n, .k = l->k, .group = l->group, .b = l->b, .v = l->v, .scale0 = l->scale0,
                                          .zero0 = l->zero0, .alpha = l->alpha, .beta = l->beta, .bits = l->bits,
                                          .symmetric = l->symmetric, .scale_type = l->scale_type, .w = l->w,
                                          .codes = l->codes, .scales = l->scales, .zeros = l->zeros};
}

nb_status nb_learned_weight(nb_learned *l, nb_mem *w, nb_err *err) {
    struct nb_learned_round_args a = forward_args(l);
    *w = l->w;
    return nb_launch(l->stream, NB_OP_learned_round, &a, err);
}

nb_mem nb_learned_gradient(const nb_learned *l) {
    return l->g;
}

static nb_status sign_step(nb_learned *l, nb_mem x, nb_mem g, size_t cols, float step, float low, float high, nb_err *err) {
    struct nb_sign_step_args a = {.rows = l->n, .k = cols, .x = x, .g = g, .step = step, .low = low, .high = high};
    return nb_launch(l->stream, NB_OP_sign_step, &a, err);
}

nb_status nb_learned_step(nb_learned *l, float step, nb_err *err) {
    struct nb_learned_back_args a = {.f = forward_args(l), .g = l->g, .dalpha = l->dalpha, .dbeta = l->dbeta};
    NB_TRY(nb_launch(l->stream, NB_OP_learned_back, &a, err));
    NB_TRY(sign_step(l, l->v, l->g, l->k, step, -OFFSET, OFFSET, err));
    NB_TRY(sign_step(l, l->alpha, l->dalpha, l->groups, step, LEAST_END, MOST_END, err));
    return sign_step(l, l->beta, l->dbeta, l->groups, step, LEAST_END, MOST_END, err);
}

nb_status nb_learned_result(nb_learned *l, nb_qtensor *out, nb_err *err) {
    nb_qtensor q = {0};
    nb_mem w;
    nb_status status;
    NB_TRY(nb_learned_weight(l, &w, err));
    NB_GO(nb_qtensor_new(l->n, l->k, l->bits, l->group, l->symmetric, false, &q, err));
    q.scale_type = l->scale_type;
    NB_GO(nb_download(l->stream, q.codes, l->codes, l->n * l->k, err));
    NB_GO(nb_download(l->stream, q.scales, l->scales, l->n * l->groups * sizeof(float), err));
    NB_GO(nb_download(l->stream, q.zeros, l->zeros, l->n * l->groups * sizeof(float), err));
    NB_GO(nb_sync(l->stream, err));
    *out = q;
    q = (nb_qtensor){0};
out:
    nb_qtensor_free(&q);
    return status;
}
