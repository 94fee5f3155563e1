/* Half-quadratic quantization (HQQ): zero points that make the sum of |w - q|^0.7 small; needs no data. */
#include "host/quant/internal.h"
#include "host/quant/methods.h"

enum { ITERATIONS = 20 };

static nb_status round_by_halves(nb_stream *stream, const nb__quant_result *r, const nb_quant_stats *stats,
                                 const nb_quant_options *options, nb_err *err) {
    (void)stats;
    struct nb_hqq_args a = {.n = r->n, .k = r->k, .group = options->group_size, .w = r->w, .ldw = r->k, .bits = options->bits,
                            .iterations = ITERATIONS, .float_zeros = options->float_zeros, .scale_type = options->scale_type,
                            .codes = r->codes, .scales = r->scales, .zeros = r->zeros};
    if (options->symmetric)
        return nb_fail(err, NB_E_USAGE, "HQQ moves zero points: it is asymmetric");
    return nb_launch(stream, NB_OP_hqq, &a, err);
}

static nb_status hqq_run(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                         const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    NB_TRY(nb__quant_round(stream, w, n, k, stats, options, round_by_halves, out, report, err));
    out->float_zeros = options->float_zeros;
    return NB_OK;
}

const nb_quantizer nb__quantizer_hqq = {
    .name = "hqq",
    .about = "half-quadratic: zero points that make |w - q|^0.7 small; needs no calibration data; asymmetric",
    .needs_hessian = false,
    .own_scales = true,
    .scratch = nb__quant_round_scratch,
    .run = hqq_run,
};
