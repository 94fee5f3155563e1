/* Half-quadratic quantization (HQQ): zero points that make the sum of |w - q|^0.7 small; needs no data. */
#include <math.h>

#include "host/base/size.h"
#include "host/quant/internal.h"
#include "host/quant/methods.h"

enum { ITERATIONS = 20 };

static size_t hqq_scratch(size_t n, size_t k, const nb_quant_options *options) {
    return n * k + n * nb_ceil_div(k, options->group_size) * 2 * sizeof(float) + n * sizeof(float);
}

static nb_status hqq_run(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                         const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    (void)stats;
    NB_TRY(nb__quant_check(n, k, options, err));
    if (options->symmetric)
        return nb_fail(err, NB_E_USAGE, "HQQ moves zero points: it is asymmetric");
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
    struct nb_hqq_args a = {.n = n, .k = k, .group = options->group_size, .w = w, .ldw = k, .bits = options->bits,
                            .iterations = ITERATIONS, .float_zeros = options->float_zeros, .scale_type = options->scale_type,
                            .codes = r.codes, .scales = r.scales, .zeros = r.zeros};
    NB_GO(nb_launch(stream, NB_OP_hqq, &a, err));
    NB_GO(nb__quant_finish(stream, &r, options, rows, &error, &q, err));
    if (!isfinite(error)) {
        status = nb_fail(err, NB_E_INPUT, "the weight holds NaN or infinity");
        goto out;
    }
    q.float_zeros = options->float_zeros;
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

const nb_quantizer nb__quantizer_hqq = {
    .name = "hqq",
    .about = "half-quadratic: zero points that make |w - q|^0.7 small; needs no calibration data; asymmetric",
    .needs_hessian = false,
    .scratch = hqq_scratch,
    .run = hqq_run,
};
