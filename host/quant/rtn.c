/* Rounding to nearest: each group's scale and zero point by the range of its values, or searched, by the Hessian's diagonal where there
 * is one, else all columns alike. */
#include "host/quant/internal.h"
#include "host/quant/methods.h"

static nb_status round_to_nearest(nb_stream *stream, const nb__quant_result *r, const nb_quant_stats *stats,
                                  const nb_quant_options *options, nb_err *err) {
    struct nb_rtn_args rtn = {.n = r->n, .k = r->k, .group = options->group_size, .w = r->w, .ldw = r->k, .bits = options->bits,
                              .scales = r->scales, .zeros = r->zeros, .codes = r->codes};
    NB_TRY(nb__quant_params(stream, r->w, r->n, r->k, stats ? stats->hessian : (nb_mem){0}, options, r->scales, r->zeros, err));
    return nb_launch(stream, NB_OP_rtn, &rtn, err);
}

static nb_status rtn_run(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                         const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    return nb__quant_round(stream, w, n, k, stats, options, round_to_nearest, out, report, err);
}

const nb_quantizer nb__quantizer_rtn = {
    .name = "rtn",
    .about = "round to nearest; needs no calibration data",
    .needs_hessian = false,
    .weighs = true,
    .scratch = nb__quant_round_scratch,
    .run = rtn_run,
};
