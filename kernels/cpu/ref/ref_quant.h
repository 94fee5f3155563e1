/* What the oracles of quantization share. */
#ifndef NB_KERNELS_REF_QUANT_H
#define NB_KERNELS_REF_QUANT_H

#include "kernels/ops.h"

/* Columns of a group that an oracle of the search takes at most. */
enum { NB_REF_MOST_COLUMNS = 4096 };

typedef struct nb_ref_grid {
    unsigned bits;
    bool symmetric;
    nb_dtype scale_type;
    bool either_sign;
} nb_ref_grid;

/* A scale as the file will hold it: not below the type's least normal number, nor for F16 above 65504. */
float nb_ref_round_scale(float scale, nb_dtype type);
/* Scale and zero point of `count` weights, `stride` apart: by the rule of struct nb_group_range_args, and by that of struct
 * nb_group_search_args with the weights' factors h[count] or NULL. */
void nb_ref_range(const float *w, size_t stride, size_t count, const nb_ref_grid *grid, float *scale, float *zero);
void nb_ref_search(const float *w, size_t stride, size_t count, const float *h, const nb_ref_grid *grid, float *scale,
                   float *zero);
/* clamp(round(w / scale) + zero, 0, 2^bits - 1) */
float nb_ref_code(float w, float scale, float zero, unsigned bits);

#endif
