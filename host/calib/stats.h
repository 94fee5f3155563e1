/* Statistics of the inputs of a linear. */
#ifndef NB_CALIB_STATS_H
#define NB_CALIB_STATS_H

#include "host/backend/backend.h"

/* H[k,k] += (2 / total) X^T X for X f32 [rows, k], rows of `total` in all; both triangles are filled. H must hold a symmetric matrix,
 * zero at first. */
nb_status nb_calib_hessian(nb_stream *stream, nb_mem x, size_t rows, size_t k, size_t total, nb_mem h, nb_err *err);

/* cross[k,k] += (2 / total) Xo^T X, for the original model's inputs `exact` = Xo and X, f32 [rows, k] each; zero at first. */
nb_status nb_calib_cross(nb_stream *stream, nb_mem exact, nb_mem x, size_t rows, size_t k, size_t total, nb_mem cross, nb_err *err);

#endif
