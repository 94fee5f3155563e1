/* Activation-aware channel scales: Lin et al., "AWQ: Activation-aware Weight Quantization", arXiv 2306.00978, section 3.2. The
 * columns of linears with one input are multiplied by s, and the input, where it is made (a norm's weight), divided by it. */
#ifndef NB_AWQ_H
#define NB_AWQ_H

#include "host/quant/quant.h"

/* A linear that shares the input. */
typedef struct nb_awq_linear {
    nb_mem w; /* f32 [n,k]; only read */
    size_t n;
    nb_quant_options options;
} nb_awq_linear;

typedef struct nb_awq_report {
    double alpha;         /* s = magnitude^alpha; 0: nothing gained, all 1 */
    double before, after; /* sum of tr(E H E^T) after rounding to nearest, with s = 1 and with s */
} nb_awq_report;

enum { NB_AWQ_ALPHAS = 8 }; /* 0, 0.1, ..., 0.7 */

/* Finds s [k] (host), of alphas in rising order the first of least error tr(E H E^T), E = Q(W s) / s - W, Q rounding to
 * nearest by each linear's options (with searched scales: weighted by H / s^2). s is divided by sqrt(max s * min s), and 1 in
 * channels of no magnitude. h: f32 [k,k]; magnitude: host [k], mean |x| of each channel. NB_E_INPUT: no alpha has a
 * finite error. Waits for the stream. */
nb_status nb_awq_search(nb_stream *stream, const nb_awq_linear *linears, size_t count, size_t k, nb_mem h,
                        const float *magnitude, float *s, nb_awq_report *report, nb_err *err);

/* Folds s [k] into a norm's weight as the file will hold it: norm := norm / s, of which the file holds what is above `offset` (1
 * in gemma, else 0) rounded to `type`, and s := what that divides by exactly, old norm / new norm; 1 where either is zero or not
 * finite. */
void nb_awq_fold(float *norm, float *s, size_t k, nb_dtype type, float offset);

#endif
