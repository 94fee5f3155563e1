/* The one quantizer interface. A method takes a weight and statistics in device buffers and settings, launches operations
 * of kernels.def on a stream, and gives a canonical quantized tensor: it runs on every backend and never sees files. One
 * file a method. */
#ifndef NB_QUANT_H
#define NB_QUANT_H

#include <nibble/quantize.h>
#include "host/backend/backend.h"
#include "host/tensor/qtensor.h"

typedef struct nb_quant_options {
    unsigned bits;
    size_t group_size; /* 1..k */
    bool symmetric;
    bool either_sign;    /* symmetric scales may be negative (searched ones): formats whose readers multiply by them */
    nb_dtype scale_type; /* NB_F16 by default */
    nb_column_order order;
    nb_scale_rule scales;
    double damp;         /* GPTQ: fraction of mean diag H added to it; 0.01 */
    double output_damp;  /* GPTQ with stats->output: the same of G; 0.25. Raised tenfold while G is not positive definite */
    double damp_step, damp_max; /* raised by damp_step (times 10 each further time) while H is not positive definite */
    double asym; /* GPTQ: part of the asymmetric calibration's change of the target, 0..1; needs stats->cross. 0: none */
    bool float_zeros;    /* HQQ: zero points are real numbers, for formats that hold them */
    unsigned descent;    /* GPTQ: sweeps of coordinate descent over codes, scales and zeros at the end; 0: none */
    unsigned iterations; /* learned rounding of one matrix: steps */
    double rate;         /* ... length of the first, which falls to 0; 0: 1 / iterations */
    size_t block;        /* GPTQ: columns in a block, 1..1024; 128. Changes nothing but rounding and speed */
} nb_quant_options;

/* 4 bits, groups of 128 (of k where k is less), asymmetric, F16 scales, group-aware order, damping 0.01, raised by 0.01, 0.1,
 * ... up to 1. */
nb_quant_options nb_quant_defaults(size_t k);

/* Damping of H and of G for statistics of so many tokens. Few tokens give a covariance whose small eigenvalues are noise, and GPTQ moves
 * its errors just there; the best shrinkage falls with the number of samples (Ledoit and Wolf 2004). Both fall as 1 / tokens, from 0.5
 * and 4 at the most to what is in use elsewhere (H) or was measured (docs/quality.md). */
double nb_damp_for(size_t tokens);
double nb_output_damp_for(size_t tokens);

/* What runs of one method on linears with the same input may share, as GPTQ its factor of the Hessian: owned by the caller,
 * NULL before the first run. A run that finds one made with other statistics buffers or settings replaces it. */
typedef struct nb_quant_cache nb_quant_cache;
void nb_quant_cache_free(nb_device *device, nb_quant_cache **cache); /* NULL inside is fine */

/* What a calibration pass has gathered for the input of a linear; NULL buffers where the method does not ask. */
typedef struct nb_quant_stats {
    nb_mem hessian; /* f32 [k,k], X^T X * (2 / rows), both triangles; left as it is, so that linears with one input share it */
    nb_mem cross;   /* f32 [k,k], optional: Xo^T X * 2 / rows, Xo the inputs of the same linear in the original model */
    nb_mem output;  /* f32 [n,n], optional: covariance of the loss's gradients by the linear's outputs, both triangles: GPTQ's rows make up
                     * for each other's errors */
    size_t rows;    /* tokens that they stand for */
    nb_quant_cache **cache; /* optional. The buffers above may not change between runs that share one */
} nb_quant_stats;

typedef struct nb_quant_report {
    double damp_used;    /* GPTQ: after raising */
    unsigned damp_raised; /* how often */
    double output_damp_used; /* GPTQ with stats->output: of G, after raising; else 0 */
    unsigned output_damp_raised;
    size_t dead_columns; /* columns that no token excites */
    double loss;         /* GPTQ: tr(E H E^T) / (n * k), E = W - Q (its target - Q with asym); rtn: the mean squared error */
    double factor_seconds, solve_seconds; /* GPTQ: on the stream, by its events; factor with all raises of the damping */
} nb_quant_report;

typedef struct nb_quantizer {
    const char *name;   /* as in --method */
    const char *about;  /* one line for --help */
    bool needs_hessian;
    bool weighs; /* ... or, without that: reads one, if it is there, to weigh the search of scales */
    bool own_scales; /* finds scales and zero points itself: nb_quant_options.scales says nothing to it */
    /* Device bytes beside weight, statistics and codes. */
    size_t (*scratch)(size_t n, size_t k, const nb_quant_options *options);
    /* w: f32 [n,k] on the device, ld = k; overwritten. out: a new qtensor on the host, codes in stored column order. On return
     * w holds the dequantized weight, bit-equal to nb_qtensor_row; on failure it may hold anything. The device's log gets one
     * line for each thing out of the ordinary. Statuses: NB_E_USAGE settings outside their domain, NB_E_INPUT NaN or infinity
     * in w or the statistics, NB_E_FAILED a Hessian that no damping makes positive definite, NB_E_MEMORY, NB_E_DEVICE. None
     * names the tensor: the caller does, by nb_err_at. */
    nb_status (*run)(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                     const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err);
} nb_quantizer;

/* NULL-terminated list of all methods. */
extern const nb_quantizer *const nb_quantizers[];
const nb_quantizer *nb_quantizer_by_name(const char *name);

const char *nb_scale_rule_name(nb_scale_rule rule); /* "minmax" or "search" */

#endif
