#include "host/quant/awq.h"

#include <math.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/quant/internal.h"

typedef struct search {
    nb_stream *stream;
    nb_device *device;
    const nb_awq_linear *linears;
    size_t count, k, max_n, max_groups;
    nb_mem h, scaled_h;       /* f32 [k,k]; the second is H / (s s^T) */
    nb_mem s, inverse;        /* f32 [k] */
    nb_mem w, e, eh;          /* f32 [max_n,k]: W s, E s, E H / s */
    nb_mem codes;             /* u8 [max_n,k] */
    nb_mem scales, zeros;     /* f32 [max_n,max_groups] */
    nb_mem rows;              /* f32 [max_n] */
    float *host_s, *host_inverse;
} search;

static nb_status allocate(search *a, nb_err *err) {
    size_t elems, square, params;
    for (size_t i = 0; i < a->count; i++) {
        a->max_n = nb_max(a->max_n, a->linears[i].n);
        a->max_groups = nb_max(a->max_groups, nb_ceil_div(a->k, a->linears[i].options.group_size));
    }
    if (!nb_mul(a->max_n, a->k, &elems) || !nb_mul(a->k, a->k, &square) || !nb_mul(a->max_n, a->max_groups, &params))
        return nb_fail_memory(err, SIZE_MAX, "a search of channel scales");
    const struct {
        nb_mem *mem;
        size_t count, size;
    } all[] = {{&a->scaled_h, square, 4}, {&a->s, a->k, 4},      {&a->inverse, a->k, 4}, {&a->w, elems, 4},
               {&a->e, elems, 4},         {&a->eh, elems, 4},    {&a->codes, elems, 1},  {&a->scales, params, 4},
               {&a->zeros, params, 4},    {&a->rows, a->max_n, 4}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        NB_TRY(nb_alloc_array(a->device, all[i].count, all[i].size, all[i].mem, err));
    NB_TRY(nb_calloc(a->k, sizeof(float), "channel scales", &a->host_s, err));
    return nb_calloc(a->k, sizeof(float), "channel scales", &a->host_inverse, err);
}

static void release(search *a) {
    nb_mem *all[] = {&a->scaled_h, &a->s, &a->inverse, &a->w, &a->e, &a->eh, &a->codes, &a->scales, &a->zeros, &a->rows};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        nb_release(a->device, all[i]);
    nb_free(a->host_s);
    nb_free(a->host_inverse);
}

/* s = magnitude^alpha, centred. */
static void make_scales(const search *a, const float *magnitude, double alpha) {
    double low = INFINITY, high = 0.0;
    for (size_t j = 0; j < a->k; j++) {
        double s = magnitude[j] > 0.0f ? pow((double)magnitude[j], alpha) : 1.0;
        a->host_s[j] = (float)s;
        if (magnitude[j] > 0.0f) {
            low = fmin(low, s);
            high = fmax(high, s);
        }
    }
    double centre = high > 0.0 ? sqrt(low) * sqrt(high) : 1.0;
    for (size_t j = 0; j < a->k; j++) {
        double s = magnitude[j] > 0.0f ? (double)a->host_s[j] / centre : 1.0;
        s = fmin(fmax(s, 1e-4), 1e4);
        a->host_s[j] = (float)s;
        a->host_inverse[j] = (float)(1.0 / s);
    }
}

/* tr(E H E^T) of one linear with the present s. */
static nb_status linear_error(const search *a, const nb_awq_linear *l, double *error, nb_err *err) {
    size_t n = l->n, k = a->k;
    struct nb_scale_matrix_args up = {.rows = n, .k = k, .x = l->w, .ldx = k, .y = a->w, .ldy = k, .col = a->s};
    NB_TRY(nb_launch(a->stream, NB_OP_scale_matrix, &up, err));
    NB_TRY(nb__quant_params(a->stream, a->w, n, k, a->scaled_h, &l->options, a->scales, a->zeros, err));
    struct nb_rtn_args rtn = {.n = n, .k = k, .group = l->options.group_size, .w = a->w, .ldw = k, .bits = l->options.bits,
                              .scales = a->scales, .zeros = a->zeros, .codes = a->codes};
    NB_TRY(nb_launch(a->stream, NB_OP_rtn, &rtn, err));
    struct nb_dequant_args back = {.n = n, .k = k, .group = l->options.group_size, .codes = a->codes, .scales = a->scales,
                                   .zeros = a->zeros, .w = a->e, .ldw = k};
    NB_TRY(nb_launch(a->stream, NB_OP_dequant, &back, err));
    struct nb_subtract_args subtract = {.rows = n, .k = k, .x = a->w, .ldx = k, .y = a->e, .ldy = k};
    NB_TRY(nb_launch(a->stream, NB_OP_subtract, &subtract, err));
    struct nb_matmul_args by_h = {.m = n, .n = k, .k = k, .a = a->e, .lda = k, .b = a->scaled_h, .ldb = k, .c = a->eh, .ldc = k,
                                  .alpha = 1.0f};
    NB_TRY(nb_launch(a->stream, NB_OP_matmul, &by_h, err));
    struct nb_row_dot_args dot = {.rows = n, .k = k, .a = a->e, .lda = k, .b = a->eh, .ldb = k, .out = a->rows};
    NB_TRY(nb_launch(a->stream, NB_OP_row_dot, &dot, err));
    return nb__quant_sum(a->stream, a->rows, n, error, err);
}

static nb_status try_alpha(const search *a, const float *magnitude, double alpha, double *error, nb_err *err) {
    make_scales(a, magnitude, alpha);
    NB_TRY(nb_upload(a->stream, a->s, a->host_s, a->k * sizeof(float), err));
    NB_TRY(nb_upload(a->stream, a->inverse, a->host_inverse, a->k * sizeof(float), err));
    struct nb_scale_matrix_args down = {.rows = a->k, .k = a->k, .x = a->h, .ldx = a->k, .y = a->scaled_h, .ldy = a->k,
                                        .row = a->inverse, .col = a->inverse};
    NB_TRY(nb_launch(a->stream, NB_OP_scale_matrix, &down, err));
    *error = 0.0;
    for (size_t i = 0; i < a->count; i++) {
        double one;
        NB_TRY(linear_error(a, &a->linears[i], &one, err));
        *error += one;
    }
    return NB_OK;
}

nb_status nb_awq_search(nb_stream *stream, const nb_awq_linear *linears, size_t count, size_t k, nb_mem h,
                        const float *magnitude, float *s, nb_awq_report *report, nb_err *err) {
    search a = {.stream = stream, .device = stream->device, .linears = linears, .count = count, .k = k, .h = h};
    nb_awq_report made = {0};
    nb_status status = NB_OK;
    for (size_t i = 0; i < count; i++)
        NB_TRY(nb__quant_check(linears[i].n, k, &linears[i].options, err));
    NB_GO(allocate(&a, err));
    for (int i = 0; i < NB_AWQ_ALPHAS; i++) {
        double alpha = (double)i / 10.0, error;
        NB_GO(try_alpha(&a, magnitude, alpha, &error, err));
        if (i > 0 && !(error < made.after))
            continue;
        made.alpha = alpha;
        made.after = error;
        if (i == 0)
            made.before = error;
        memcpy(s, a.host_s, k * sizeof *s);
    }
    if (!isfinite(made.after)) {
        status = nb_fail(err, NB_E_INPUT, "its inputs, its weights or those of another linear with the same input hold NaN or infinity, or are too large");
        goto out;
    }
    *report = made;
out:
    release(&a);
    return status;
}

static float round_to(float x, nb_dtype type) {
    if (type == NB_F16)
        return nb_f16_to_f32(nb_f32_to_f16(x));
    return type == NB_BF16 ? nb_bf16_to_f32(nb_f32_to_bf16(x)) : x;
}

void nb_awq_fold(float *norm, float *s, size_t k, nb_dtype type, float offset) {
    for (size_t j = 0; j < k; j++) {
        float folded = round_to(norm[j] / s[j] - offset, type) + offset, exact = norm[j] / folded;
        bool good = isfinite(exact) && exact > 0.0f && isfinite(folded);
        s[j] = good ? exact : 1.0f;
        norm[j] = good ? folded : norm[j];
    }
}
