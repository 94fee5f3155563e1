/* Learned rounding of one linear: Cheng et al., "Optimize Weight Rounding via Signed Gradient Descent for the Quantization of
 * LLMs" (AutoRound), arXiv 2309.05516. Offsets of weights and ends of grids move by signed gradient steps; kernels/ops.h,
 * learned_round, has the formulas. Whoever has a loss drives it: nb_learned_weight, gradient by the weight, nb_learned_step. */
#ifndef NB_LEARNED_H
#define NB_LEARNED_H

#include "host/quant/quant.h"

typedef struct nb_learned nb_learned;

/* Begins at q (whole zero points, no g_idx): its codes are what offsets of zero give. w [n,k] (host) is the weight; where q's
 * codes are not those of rounding w, the value that is rounded stays within a step of w's side of q, so that a code can move to
 * either neighbour, and sooner to the one where w lies. */
nb_status nb_learned_new(nb_stream *stream, const nb_qtensor *q, const float *w, nb_learned **out, nb_err *err);
void nb_learned_free(nb_learned *l); /* NULL is fine */
/* Device bytes of nb_learned_new. */
size_t nb_learned_bytes(size_t n, size_t k, size_t group_size);

/* The dequantized weight f32 [n,k] at the present offsets, on the device; it belongs to l. Where to put its gradient. */
nb_status nb_learned_weight(nb_learned *l, nb_mem *w, nb_err *err);
nb_mem nb_learned_gradient(const nb_learned *l);

/* One step of length `step` against the gradient that stands in nb_learned_gradient. */
nb_status nb_learned_step(nb_learned *l, float step, nb_err *err);

/* The tensor at the present offsets. */
nb_status nb_learned_result(nb_learned *l, nb_qtensor *out, nb_err *err);

#endif
