/* What all methods begin and end with. */
#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/quant/internal.h"

enum { MAX_BLOCK = 1024, MAX_DESCENT = 1000 };

nb_status nb__quant_check(size_t n, size_t k, const nb_quant_options *o, nb_err *err) {
    if (n == 0 || k == 0 || k > UINT32_MAX)
        return nb_fail(err, NB_E_USAGE, "a matrix of %zu x %zu cannot be quantized", n, k);
    if (o->bits < 2 || o->bits > 8)
        return nb_fail(err, NB_E_USAGE, "%u bits, expected 2 to 8", o->bits);
    if (o->group_size == 0 || o->group_size > k)
        return nb_fail(err, NB_E_USAGE, "group size %zu, expected 1 to %zu", o->group_size, k);
    if (o->scale_type != NB_F16 && o->scale_type != NB_BF16 && o->scale_type != NB_F32)
        return nb_fail(err, NB_E_USAGE, "scales of type %u, expected F16, BF16 or F32", (unsigned)o->scale_type);
    if ((unsigned)o->order > NB_ORDER_GROUP_AWARE)
        return nb_fail(err, NB_E_USAGE, "column order %u, expected 0 to %d", (unsigned)o->order, NB_ORDER_GROUP_AWARE);
    if ((unsigned)o->scales > NB_SCALES_SEARCH)
        return nb_fail(err, NB_E_USAGE, "rule of scales %u, expected 0 or 1", (unsigned)o->scales);
    if (!(o->output_damp >= 0.0) || o->output_damp > 1e3)
        return nb_fail(err, NB_E_USAGE, "damping %g of rows, expected 0 to 1000", o->output_damp);
    if (!(o->damp >= 0.0) || !(o->damp_step >= 0.0) || !(o->damp_max >= 0.0) || o->damp_max > 1e6 || o->damp > 1e6)
        return nb_fail(err, NB_E_USAGE, "damping %g, step %g, up to %g: expected 0 to 1e6", o->damp, o->damp_step,
                       o->damp_max);
    if (!(o->asym >= 0.0 && o->asym <= 1.0))
        return nb_fail(err, NB_E_USAGE, "part %g of asymmetric calibration, expected 0 to 1", o->asym);
    if (o->descent > MAX_DESCENT)
        return nb_fail(err, NB_E_USAGE, "%u sweeps of coordinate descent, expected 0 to %d", o->descent, MAX_DESCENT);
    if (!(o->rate >= 0.0 && o->rate <= 1.0))
        return nb_fail(err, NB_E_USAGE, "steps of learned rounding of %g, expected 0 to 1", o->rate);
    if (o->block == 0 || o->block > MAX_BLOCK)
        return nb_fail(err, NB_E_USAGE, "a block of %zu columns, expected 1 to %d", o->block, MAX_BLOCK);
    return NB_OK;
}

nb_status nb__quant_params(nb_stream *stream, nb_mem w, size_t n, size_t k, nb_mem h, const nb_quant_options *o, nb_mem scales,
                           nb_mem zeros, nb_err *err) {
    struct nb_group_range_args range = {.n = n, .k = k, .group = o->group_size, .w = w, .ldw = k, .bits = o->bits,
                                        .symmetric = o->symmetric, .scale_type = o->scale_type, .scales = scales,
                                        .zeros = zeros};
    struct nb_group_search_args search = {.n = n, .k = k, .group = o->group_size, .w = w, .ldw = k, .h = h, .ldh = k,
                                          .bits = o->bits, .symmetric = o->symmetric, .either_sign = o->either_sign,
                                          .scale_type = o->scale_type,
                                          .scales = scales, .zeros = zeros};
    if (o->scales == NB_SCALES_SEARCH)
        return nb_launch(stream, NB_OP_group_search, &search, err);
    return nb_launch(stream, NB_OP_group_range, &range, err);
}

nb_status nb__quant_sum(nb_stream *stream, nb_mem rows, size_t n, double *sum, nb_err *err) {
    float *host;
    nb_status status = NB_OK;
    NB_TRY(nb_calloc(n, sizeof *host, "row sums", &host, err));
    NB_GO(nb_download(stream, host, rows, n * sizeof *host, err));
    NB_GO(nb_sync(stream, err));
    *sum = 0.0;
    for (size_t i = 0; i < n; i++)
        *sum += (double)host[i];
out:
    nb_free(host);
    return status;
}

nb_status nb__quant_finish(nb_stream *stream, const nb__quant_result *r, const nb_quant_options *options, nb_mem rows,
                           double *error, nb_qtensor *out, nb_err *err) {
    nb_qtensor q = {0};
    nb_status status;
    NB_GO(nb_qtensor_new(r->n, r->k, options->bits, options->group_size, options->symmetric, r->g_idx.base != NULL, &q, err));
    q.scale_type = options->scale_type;
    struct nb_quant_error_args sum = {.n = r->n, .k = r->k, .group = options->group_size, .w = r->w, .ldw = r->k,
                                      .codes = r->codes, .scales = r->scales, .zeros = r->zeros, .g_idx = r->g_idx,
                                      .error = rows};
    NB_GO(nb_launch(stream, NB_OP_quant_error, &sum, err));
    struct nb_dequant_args back = {.n = r->n, .k = r->k, .group = options->group_size, .codes = r->codes,
                                   .scales = r->scales, .zeros = r->zeros, .g_idx = r->g_idx, .w = r->w, .ldw = r->k};
    NB_GO(nb_launch(stream, NB_OP_dequant, &back, err));
    NB_GO(nb_download(stream, q.codes, r->codes, r->n * r->k, err));
    NB_GO(nb_download(stream, q.scales, r->scales, r->n * q.groups * sizeof(float), err));
    NB_GO(nb_download(stream, q.zeros, r->zeros, r->n * q.groups * sizeof(float), err));
    if (q.g_idx)
        NB_GO(nb_download(stream, q.g_idx, r->g_idx, r->k * sizeof(uint32_t), err));
    NB_GO(nb__quant_sum(stream, rows, r->n, error, err));
    *out = q;
    q = (nb_qtensor){0};
out:
    nb_qtensor_free(&q);
    return status;
}

nb_status nb__quant_round(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                          const nb_quant_options *options, nb__quant_round_fn *round, nb_qtensor *out, nb_quant_report *report,
                          nb_err *err) {
    NB_TRY(nb__quant_check(n, k, options, err));
    nb_device *device = stream->device;
    nb__quant_result r = {.n = n, .k = k, .w = w};
    nb_mem rows = {0};
    nb_qtensor q = {0};
    double error;
    size_t params;
    nb_status status;
    if (!nb_mul3(n, nb_ceil_div(k, options->group_size), sizeof(float), &params))
        return nb_fail_memory(err, SIZE_MAX, "group parameters");
    NB_GO(nb_alloc_array(device, n, k, &r.codes, err));
    NB_GO(nb_alloc(device, params, &r.scales, err));
    NB_GO(nb_alloc(device, params, &r.zeros, err));
    NB_GO(nb_alloc_array(device, n, sizeof(float), &rows, err));
    NB_GO(round(stream, &r, stats, options, err));
    NB_GO(nb__quant_finish(stream, &r, options, rows, &error, &q, err));
    if (!isfinite(error)) {
        status = nb_fail(err, NB_E_INPUT, "the weight holds NaN or infinity");
        goto out;
    }
    *report = (nb_quant_report){.loss = error / ((double)n * (double)k)};
    *out = q;
    q = (nb_qtensor){0};
out:
    nb_qtensor_free(&q);
    nb_release(device, &r.codes);
    nb_release(device, &r.scales);
    nb_release(device, &r.zeros);
    nb_release(device, &rows);
    return status;
}

size_t nb__quant_round_scratch(size_t n, size_t k, const nb_quant_options *options) {
    return n * k + n * nb_ceil_div(k, options->group_size) * 2 * sizeof(float) + n * sizeof(float);
}
