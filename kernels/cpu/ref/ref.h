/* The oracles: what each operation of kernels.def means, in scalar C that is written to be read. They take the operation's
 * own arguments (ops.h) with host memory, and share no code with the kernels. There are two kinds.
 *
 * Of operations that must give the same bits everywhere the oracle writes the outputs, in f32, one rounding for each
 * operation that ops.h names. Of the others it computes in f64 and leaves the outputs alone: out[i].y and out[i].bound,
 * both [rows, cols] without padding, take what the i-th bounded output should be and how far a kernel may lie from it.
 * Bounds are arithmetic: u = 2^-24 is the unit roundoff of f32, gamma(n) = n u / (1 - n u) (Higham, Accuracy and Stability
 * of Numerical Algorithms, 3.1), and each function says how often it counts a rounding. Infinity: anything will do. */
#ifndef NB_KERNELS_REF_H
#define NB_KERNELS_REF_H

#include "kernels/kernel.h"
#include "kernels/ops.h"

typedef struct nb_ref_out {
    double *y, *bound;
} nb_ref_out;

#define NB_OP(op) void nb_ref_##op(const struct nb_##op##_args *a, const nb_error_model *e, const nb_ref_out *out);
#include "kernels/kernels.def"

#define NB_U 0x1p-24

/* n roundings to f32. */
static inline double nb_ref_gamma(double n) {
    return n * NB_U / (1 - n * NB_U);
}

/* Half a step of a type to which operands are rounded before they are multiplied; 0 where they are not. */
static inline double nb_ref_unit(nb_rounding r) {
    return r == NB_F16_ROUND ? 0x1p-11 : r == NB_BF16_ROUND ? 0x1p-8 : 0.0;
}

#endif
