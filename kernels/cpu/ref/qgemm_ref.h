/* The oracle of packed products: f64, from canonical codes, one loop. It knows no packed layout. */
#ifndef NB_KERNELS_REF_QGEMM_H
#define NB_KERNELS_REF_QGEMM_H

#include <stddef.h>
#include <stdint.h>

/* W[i][j] = (codes[i][j] - zeros[i][g(j)]) * scales[i][g(j)], or codes * scales + zeros where
 * `offsets`; g(j) = g_idx ? g_idx[j] : j / group. */
typedef struct nb_ref_weight {
    size_t n, k, group, groups;
    const uint8_t *codes;        /* [n, k] */
    const float *scales, *zeros; /* [n, groups] */
    const uint32_t *g_idx;       /* [k] or NULL */
    int offsets;
} nb_ref_weight;

/* What an error bound is made of, for one output. */
typedef struct nb_ref_sum {
    double y;         /* sum of x * w */
    double magnitude; /* sum of |x| |w|; with offsets, of |x| (|q s| + |offset|) */
    double weights;   /* sum of |w| * step of the activation's block; 0 where no steps are given */
} nb_ref_sum;

/* Row i of W times x[k]. step[k], the step to which each activation is rounded, may be NULL. */
nb_ref_sum nb_ref_dot(const nb_ref_weight *w, size_t i, const float *x, const double *step);

#endif
