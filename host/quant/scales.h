/* Learned scales of one linear: codes and zero points stand fast, factors of the scales take steps of Adam (as in the second phase of
 * EfficientQAT, arXiv 2407.11062). kernels/ops.h, scale_back and scale_step, has the formulas. */
#ifndef NB_SCALES_H
#define NB_SCALES_H

#include "host/quant/quant.h"

typedef struct nb_scales nb_scales;

/* Begins at q (no g_idx, no codebook), which is only read. */
nb_status nb_scales_new(nb_stream *stream, const nb_qtensor *q, nb_scales **out, nb_err *err);
void nb_scales_free(nb_scales *s); /* NULL is fine */
/* Device bytes of nb_scales_new. */
size_t nb_scales_bytes(size_t n, size_t k, size_t group_size);

/* w (f32 [n,k], the caller's) = the dequantized weight with the present scales, rounded as they will be stored. */
nb_status nb_scales_weight(nb_scales *s, nb_mem w, nb_err *err);
/* A step of relative length `rate` against the gradient g (f32 [n,k]) by the weight. */
nb_status nb_scales_step(nb_scales *s, nb_mem g, double rate, nb_err *err);
/* q's scales become the present ones; q is the tensor that s began at, or one of its shape. Waits for the stream. */
nb_status nb_scales_result(nb_scales *s, nb_qtensor *q, nb_err *err);

#endif
