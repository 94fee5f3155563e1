/* What quantizers share. */
#ifndef NB_QUANT_INTERNAL_H
#define NB_QUANT_INTERNAL_H

#include "host/quant/quant.h"

/* Bits, group size, order, damping, block and type of scales are in their domains. */
nb_status nb__quant_check(size_t n, size_t k, const nb_quant_options *options, nb_err *err);

/* Scales and zeros f32 [n,groups] of the stored groups of w [n,k] by the options' rule; h [k,k] (only its diagonal is read)
 * may be absent. */
nb_status nb__quant_params(nb_stream *stream, nb_mem w, size_t n, size_t k, nb_mem h, const nb_quant_options *options,
                           nb_mem scales, nb_mem zeros, nb_err *err);

/* What a method leaves on the device. */
typedef struct nb__quant_result {
    size_t n, k;
    nb_mem w;             /* f32 [n,k]: the weight that was quantized */
    nb_mem codes;         /* u8 [n,k], stored column order */
    nb_mem scales, zeros; /* f32 [n, groups] */
    nb_mem g_idx;         /* u32 [k], or absent */
} nb__quant_result;

/* Makes the canonical tensor: *error = sum (w - q)^2 (NaN or infinite where w is), w := the dequantized weight, codes and
 * parameters to the host. `rows` is room for f32 [n] on the device. The one place that waits for the stream at the end. */
nb_status nb__quant_finish(nb_stream *stream, const nb__quant_result *r, const nb_quant_options *options, nb_mem rows,
                           double *error, nb_qtensor *out, nb_err *err);

/* A method that rounds all columns at once, in their stored order: checks the settings, makes room for codes, scales and zeros,
 * has `round` launch what fills them, and finishes. Its arguments are those of nb_quantizer.run. */
typedef nb_status nb__quant_round_fn(nb_stream *stream, const nb__quant_result *r, const nb_quant_stats *stats,
                                     const nb_quant_options *options, nb_err *err);
nb_status nb__quant_round(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                          const nb_quant_options *options, nb__quant_round_fn *round, nb_qtensor *out, nb_quant_report *report,
                          nb_err *err);
/* Device bytes that it takes. */
size_t nb__quant_round_scratch(size_t n, size_t k, const nb_quant_options *options);

/* options->descent sweeps of coordinate descent over r's codes, scales and zeros against h (f32 [k,k]), for the weight r->w:
 * no row's e H e^T gets worse. *after: their sum. Waits for the stream. */
nb_status nb__quant_descend(nb_stream *stream, const nb__quant_result *r, nb_mem h, const nb_quant_options *options,
                            double *after, nb_err *err);
/* Device bytes that it takes. */
size_t nb__descent_scratch(size_t n, size_t k, const nb_quant_options *options);

/* Sum of f32 [n] on the device, in f64 on the host; waits for the stream. */
nb_status nb__quant_sum(nb_stream *stream, nb_mem rows, size_t n, double *sum, nb_err *err);

/* GPTQ with stats->output (twosided.c); arguments as of nb_quantizer.run. */
nb_status nb__gptq_two_sided(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                             const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err);
/* w := what GPTQ quantizes in its place: with asymmetric calibration its target, and without the inputs that no token excites. What the
 * Hessian gives is left in *cache. */
nb_status nb__gptq_target(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats, const nb_quant_options *options,
                          nb_quant_cache **cache, nb_err *err);

/* X = L^-1 for f = L L^T, in place: f is f32 [k,k] with ld = k, lower triangle in, zeros above out. With J the reversal and
 * f = J H J, U = J X J is the upper Cholesky factor of H^-1: H = R R^T with R = J L J upper triangular, so H^-1 =
 * R^-T R^-1 and U = R^-1. One factorization and one triangular inverse, by products of matrices but for diagonal blocks of
 * NB_CHOL_BLOCK: 2/3 k^3 FLOP. temp: nb__factor_temp(k) floats. A pivot that is not positive stands in status->pivot.
 *
 * Rounding: L21 = A21 * X11^T uses the inverse of the diagonal part, so the residual |L L^T - f| grows with the condition of
 * L11 (at most sqrt(cond f)) instead of 1 as in a triangular solve. Damping keeps cond f below about k / damp. */
nb_status nb__inverse_factor(nb_stream *stream, nb_mem f, size_t k, nb_mem temp, nb_mem status, nb_err *err);
size_t nb__factor_temp(size_t k);

#endif
