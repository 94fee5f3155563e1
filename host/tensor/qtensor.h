/* The canonical quantized tensor: everything between a solver and a disk format or a kernel.
 *
 *     W[i][j] = (codes[i][j] - zeros[i][g(j)]) * scales[i][g(j)],  g(j) = g_idx ? g_idx[j] : j / group_size
 *
 * with a codebook: W[i][j] = codebook[codes[i][j]] * scales[i][g(j)]. Codes are a byte each and stand in the stored
 * column order. Disk formats and kernel packers read this struct; nothing else knows a bit layout. */
#ifndef NB_TENSOR_QTENSOR_H
#define NB_TENSOR_QTENSOR_H

#include <stdbool.h>
#include "host/tensor/dtype.h"

typedef struct nb_qtensor {
    size_t n, k;        /* output rows, input columns */
    unsigned bits;      /* 2..8 */
    size_t group_size;  /* 1..k; k = per channel */
    size_t groups;      /* ceil(k / group_size) */
    bool symmetric;     /* zeros are all 2^(bits-1) */
    bool float_zeros;   /* zeros are not integers (HQQ, Q4_1); formats with integer zeros refuse it */
    nb_dtype scale_type; /* NB_F16, NB_BF16 or NB_F32: the type in which scales are exact */
    uint8_t *codes;     /* [n, k] */
    float *scales;      /* [n, groups] */
    float *zeros;       /* [n, groups] */
    uint32_t *g_idx;    /* [k], or NULL for j / group_size */
    float *codebook;    /* [2^bits], or NULL */
} nb_qtensor;

/* Checks the settings and allocates codes, scales and zeros, zeroed; with_g_idx also g_idx. */
nb_status nb_qtensor_new(size_t n, size_t k, unsigned bits, size_t group_size, bool symmetric, bool with_g_idx,
                         nb_qtensor *out, nb_err *err);
void nb_qtensor_free(nb_qtensor *q);

/* Row i as float: out[k]. Each product is one rounding of (code - zero) * scale; code - zero is exact for integer
 * zeros. Thread-safe. */
void nb_qtensor_row(const nb_qtensor *q, size_t i, float *out);

/* Bits that the codes, scales and zero points (and g_idx) take together, per weight, as formats with `scale_type`
 * scales and `bits`-wide zero points store them. */
double nb_qtensor_bits_per_weight(const nb_qtensor *q);

#endif
