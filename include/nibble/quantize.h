/* nibble: quantization of one weight matrix for pipelines that bring their own model. */
#ifndef NIBBLE_QUANTIZE_H
#define NIBBLE_QUANTIZE_H

#include <nibble/packed.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Order in which GPTQ visits columns, and how they form groups (arXiv 2210.17323 and what followed). */
typedef enum nb_column_order {
    NB_ORDER_STORED = 0,      /* as stored */
    NB_ORDER_ACT = 1,         /* by falling diag H, groups in that order: g_idx is a permutation's */
    NB_ORDER_ACT_STATIC = 2,  /* by falling diag H, group parameters fixed before: g_idx = k / g */
    NB_ORDER_GROUP_AWARE = 3  /* groups by importance, columns by importance inside: g_idx = k / g */
} nb_column_order;

/* How the scale and zero point of a group of columns are found. */
typedef enum nb_scale_rule {
    NB_SCALES_MINMAX = 0, /* by the range of its weights */
    NB_SCALES_SEARCH = 1  /* of a grid of shrunk ranges, those of least squared error, weighted by diag H where the input has a
                             Hessian or x: AWQ's clip search for rtn. hqq has its own */
} nb_scale_rule;

/* How to quantize. Set it up with nb_quantize_options_init, then change fields. */
typedef struct nb_quantize_options {
    size_t size;              /* sizeof(nb_quantize_options) as the caller was compiled */
    const char *method;       /* "gptq"; "rtn", rounding to nearest; "hqq", half-quadratic; "autoround", learned rounding */
    const char *device;       /* "cpu", "auto", "cuda", "cuda:1", "opencl", ... */
    unsigned threads;         /* CPU: workers; 0 = one per processor. Results do not depend on it */
    unsigned bits;            /* 2..8 */
    size_t group_size;        /* 1..k columns that share a scale; 0 = all of a row. The last group may be short */
    int symmetric;            /* nonzero: zero point 2^(bits-1) everywhere */
    nb_column_order order;    /* gptq */
    nb_float_type scale_type; /* scales are exact in it */
    double damp;              /* gptq: this fraction of the mean of diag H is added to diag H; of few tokens
                                 more is better: 655 / tokens below 65536 (docs/quality.md) */
    double damp_step;         /* while H + damping is not positive definite: damp + step, damp + 10 step, ... */
    double damp_max;          /* ... up to this */
    double output_damp;       /* gptq with `output`: this fraction of the mean of its diagonal is added to it, ten times as much again while it is
                                 not positive definite; 0.25; of few tokens more: 4096 / tokens, from 0.25 to 4 (docs/quality.md) */
    nb_scale_rule scales;     /* NB_SCALES_MINMAX unless set; NB_SCALES_SEARCH is better for gptq, and for rtn with a Hessian or x; worse for
                                 rtn without */
    int either_sign;          /* symmetric, NB_SCALES_SEARCH: scales may be negative, where the reader multiplies by them (GGUF's Q4_0); 0 unless set */
    double asym_calib;        /* gptq: part of asymmetric calibration, 0 (none, unless set) to 1; needs cross or x_original */
    unsigned descent;         /* gptq: sweeps of coordinate descent at the end, which never raise a row's error; 0 unless set */
    int float_zeros;          /* hqq: zero points need not be whole; 0 unless set */
    unsigned iterations;      /* autoround: steps */
    double rate;              /* autoround: length of the first step, which falls to 0; 0: 1 / iterations */
} nb_quantize_options;

/* What to quantize. Zero-initialise, then set size and fields. All is only read. */
typedef struct nb_quantize_input {
    size_t size;          /* sizeof(nb_quantize_input) */
    size_t n, k;          /* output rows, input columns */
    const float *weight;  /* [n,k], finite */
    size_t ldw;           /* floats from row to row, at least k; 0 = k */
    const float *hessian; /* gptq, autoround; rtn weighs NB_SCALES_SEARCH by it; hqq does not look: [k,k], X^T X * 2 / rows of calibration
                             inputs X, symmetric; NULL where x is given */
    const float *x;       /* ... or [rows,k] calibration inputs themselves, row-major without gaps; NULL where hessian is */
    size_t rows;
    const float *cross;      /* optional, with hessian: [k,k], Xo^T X * 2 / rows, Xo the inputs that the same rows had in the
                                original model; for asym_calib (arXiv 2504.02692) */
    const float *x_original; /* optional, with x: Xo itself, [rows,k] */
    const float *output;     /* optional, gptq: [n,n], the covariance of the loss's gradients by the linear's outputs, symmetric, at any
                                scale: rows then make up for each other's errors too (arXiv 2505.22988); all zero: rows stay independent.
                                Not with NB_ORDER_ACT */
} nb_quantize_input;

/* Where the result goes: the caller's memory. Zero-initialise, then set size and pointers. */
typedef struct nb_quantize_output {
    size_t size;        /* sizeof(nb_quantize_output) */
    uint8_t *codes;     /* [n,k], one byte a code, stored column order */
    float *scales;      /* [n,groups], groups = ceil(k / group_size) */
    float *zeros;       /* [n,groups], whole numbers but for float_zeros; may be NULL where symmetric */
    uint32_t *g_idx;    /* [k]: group of each column; may be NULL but for NB_ORDER_ACT */
    float *dequantized; /* [n,k] without gaps: (codes - zero) * scale, one rounding; may be NULL */
    /* filled: */
    double damp_used;   /* gptq: after raising */
    unsigned damp_raised; /* how often it was raised, and that of `output`; say so to the user */
    size_t dead_columns;  /* gptq: columns with H[j][j] = 0; their codes are their zero points */
    double loss;        /* gptq, autoround: tr(E H E^T) / (n k), E = weight - dequantized (target - dequantized with
                           asym_calib; with output the target of a row also has the errors of rows before it); rtn, hqq: mean squared error */
} nb_quantize_output;

/* Defaults: gptq on the CPU, all processors, 4 bits, groups of 128, asymmetric, F16 scales, NB_ORDER_GROUP_AWARE, damping
 * 0.01, step 0.01, up to 1, of outputs 0.25; 200 iterations. size is sizeof(nb_quantize_options). */
NB_API nb_status nb_quantize_options_init(nb_quantize_options *options, size_t size);

/* Quantizes one weight matrix.
 *
 * Thread-safe; keeps no state. On failure what output points to is unspecified, its report fields are as they were, and
 * err (may be NULL) says why: NB_E_USAGE a setting, size or missing pointer; NB_E_INPUT NaN or infinity in what the method
 * reads of input, or values so large that they make it; NB_E_FAILED a Hessian that no damping up to damp_max makes positive definite, or
 * an `output` that none does; NB_E_MEMORY; NB_E_DEVICE no such device; NB_E_UNSUPPORTED the device has no kernels for the method
 * (autoround: CPU only).
 * Bytes of device memory beside the arguments: rtn, hqq about 5 n k; gptq 4 (2 n k + 2 k^2), and 4 (2 n k + k^2) for asym_calib, 9 n k
 * for descent, 4 (3 n^2 + 2 n k) for output; autoround 28 n k. */
NB_API nb_status nb_quantize_matrix(const nb_quantize_options *options, const nb_quantize_input *input,
                                    nb_quantize_output *output, nb_err *err);

/* Channel scales for linears with one input (AWQ, arXiv 2306.00978): quantize weight * s (columns) in place of weight, and divide
 * the input by s where it is made: its Hessian is then H[i][j] / (s[i] s[j]). s [k] has the least error of s = (mean |x|)^alpha, alpha = 0,
 * 0.1, ... 0.7, after rounding to nearest by the rule options->scales (as method "rtn" does with that Hessian); it is all 1 where nothing
 * is gained. All inputs have the same k; statistics are those of the first, whose x or hessian must be there (from a Hessian, the root of
 * its diagonal stands for mean |x|). s is divided by sqrt(max s * min s), kept in 1e-4 to 1e4, and 1 in channels that are always 0.
 * *alpha may be NULL. Thread-safe; keeps no state. NB_E_USAGE, NB_E_INPUT (NaN or infinity),
 * NB_E_MEMORY, NB_E_DEVICE; s is then unspecified. */
NB_API nb_status nb_quantize_channels(const nb_quantize_options *options, const nb_quantize_input *inputs, size_t count, float *s,
                                      double *alpha, nb_err *err);

#ifdef __cplusplus
}
#endif
#endif
