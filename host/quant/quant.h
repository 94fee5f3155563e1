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
    nb_dtype scale_type; /* NB_F16 by default */
    nb_column_order order;
    double damp;         /* GPTQ: fraction of mean diag H added to it; 0.01 */
    double damp_step, damp_max; /* raised by damp_step (times 10 each further time) while H is not positive definite */
    size_t block;        /* GPTQ: columns in a block; 128 */
} nb_quant_options;

/* What a calibration pass has gathered for the input of a linear; NULL buffers where the method does not ask. */
typedef struct nb_quant_stats {
    nb_mem hessian; /* f32 [k,k], X^T X * (2 / rows); the method may overwrite it */
    size_t rows;    /* tokens that it stands for */
} nb_quant_stats;

typedef struct nb_quant_report {
    double damp_used;    /* GPTQ: after raising */
    unsigned damp_raised; /* how often */
    size_t dead_columns; /* columns that no token excites */
    double loss;         /* tr(E H E^T) / (n * k), E = W - Q, or the mean squared error where there is no H */
} nb_quant_report;

typedef struct nb_quantizer {
    const char *name;   /* as in --method */
    const char *about;  /* one line for --help */
    bool needs_hessian;
    /* Device bytes beside weight, statistics and codes. */
    size_t (*scratch)(size_t n, size_t k, const nb_quant_options *options);
    /* w: f32 [n,k] on the device, ld = k; overwritten. out: a new qtensor on the host, codes in stored column order. On return
     * w holds the dequantized weight, bit-equal to nb_qtensor_row. log gets one line for each thing out of the ordinary. */
    nb_status (*run)(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                     const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err);
} nb_quantizer;

/* NULL-terminated list of all methods. */
extern const nb_quantizer *const nb_quantizers[];
const nb_quantizer *nb_quantizer_by_name(const char *name);

#endif
