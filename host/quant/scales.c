#include "host/quant/scales.h"

#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

/* Adam's memories; a run has some hundred steps, so the second is shorter than the usual 0.999. */
#define BETA1 0.9
#define BETA2 0.99
#define EPS 1e-12f
/* How far a factor may go. */
#define LEAST 0.5f
#define MOST 2.0f

struct nb_scales {
    nb_stream *stream;
    nb_device *device;
    size_t n, k, group, groups;
    nb_dtype scale_type;
    unsigned steps; /* taken */
    nb_mem codes;   /* u8 [n,k] */
    nb_mem scale0, zeros, scales, f, m, v, d; /* f32 [n,groups] */
};

enum { VECTORS = 7 };

size_t nb_scales_bytes(size_t n, size_t k, size_t group_size) {
    size_t codes, params;
    if (!nb_mul(n, k, &codes) || !nb_mul3(n, nb_ceil_div(k, group_size), VECTORS * sizeof(float), &params) || params > SIZE_MAX - codes)
        return SIZE_MAX;
    return codes + params;
}

static nb_status setup(nb_scales *s, const nb_qtensor *q, nb_err *err) {
    size_t params = s->n * s->groups, bytes = params * sizeof(float);
    nb_mem *vectors[VECTORS] = {&s->scale0, &s->zeros, &s->scales, &s->f, &s->m, &s->v, &s->d};
    float *ones;
    nb_status status;
    NB_TRY(nb_alloc_array(s->device, s->n, s->k, &s->codes, err));
    for (size_t i = 0; i < VECTORS; i++)
        NB_TRY(nb_alloc_array(s->device, params, sizeof(float), vectors[i], err));
    NB_TRY(nb_calloc(params, sizeof *ones, "factors of scales", &ones, err));
    for (size_t i = 0; i < params; i++)
        ones[i] = 1.0f;
    NB_GO(nb_upload(s->stream, s->codes, q->codes, s->n * s->k, err));
    NB_GO(nb_upload(s->stream, s->scale0, q->scales, bytes, err));
    NB_GO(nb_upload(s->stream, s->scales, q->scales, bytes, err));
    NB_GO(nb_upload(s->stream, s->zeros, q->zeros, bytes, err));
    NB_GO(nb_upload(s->stream, s->f, ones, bytes, err));
    NB_GO(nb_fill(s->stream, s->m, 0, bytes, err));
    NB_GO(nb_fill(s->stream, s->v, 0, bytes, err));
    NB_GO(nb_sync(s->stream, err));
out:
    nb_free(ones);
    return status;
}

nb_status nb_scales_new(nb_stream *stream, const nb_qtensor *q, nb_scales **out, nb_err *err) {
    nb_scales *s;
    if (q->g_idx || q->codebook)
        return nb_fail(err, NB_E_USAGE, "learned scales take groups of neighbouring columns");
    NB_TRY(nb_calloc(1, sizeof *s, "learned scales", &s, err));
    *s = (nb_scales){.stream = stream, .device = stream->device, .n = q->n, .k = q->k, .group = q->group_size, .groups = q->groups,
                     .scale_type = q->scale_type};
    nb_status status = setup(s, q, err);
    if (status != NB_OK) {
        nb_scales_free(s);
        return status;
    }
    *out = s;
    return NB_OK;
}

void nb_scales_free(nb_scales *s) {
    if (!s)
        return;
    nb_mem *all[] = {&s->codes, &s->scale0, &s->zeros, &s->scales, &s->f, &s->m, &s->v, &s->d};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nb_release(s->device, all[i]);
    nb_free(s);
}

nb_status nb_scales_weight(nb_scales *s, nb_mem w, nb_err *err) {
    struct nb_dequant_args a = {.n = s->n, .k = s->k, .group = s->group, .codes = s->codes, .scales = s->scales, .zeros = s->zeros,
                                .w = w, .ldw = s->k};
    return nb_launch(s->stream, NB_OP_dequant, &a, err);
}

nb_status nb_scales_step(nb_scales *s, nb_mem g, double rate, nb_err *err) {
    double t = ++s->steps;
    struct nb_scale_back_args back = {.rows = s->n, .k = s->k, .group = s->group, .codes = s->codes, .scale0 = s->scale0,
                                      .zeros = s->zeros, .g = g, .d = s->d};
    struct nb_scale_step_args step = {.rows = s->n, .k = s->groups, .f = s->f, .m = s->m, .v = s->v, .d = s->d, .scale0 = s->scale0,
                                      .scales = s->scales, .step = (float)rate, .beta1 = (float)BETA1, .beta2 = (float)BETA2,
                                      .fix1 = (float)(1.0 / (1.0 - pow(BETA1, t))), .fix2 = (float)(1.0 / (1.0 - pow(BETA2, t))),
                                      .eps = EPS, .low = LEAST, .high = MOST, .scale_type = s->scale_type};
    NB_TRY(nb_launch(s->stream, NB_OP_scale_back, &back, err));
    return nb_launch(s->stream, NB_OP_scale_step, &step, err);
}

nb_status nb_scales_result(nb_scales *s, nb_qtensor *q, nb_err *err) {
    if (q->n != s->n || q->groups != s->groups)
        return nb_fail(err, NB_E_USAGE, "learned scales of another shape");
    NB_TRY(nb_download(s->stream, q->scales, s->scales, s->n * s->groups * sizeof(float), err));
    return nb_sync(s->stream, err);
}
