/* Statistics of the inputs of linears. */
#ifndef NB_CALIB_STATS_H
#define NB_CALIB_STATS_H

#include "host/backend/backend.h"

/* What flows into the linears of one tap, f32 [rows, k]. */
typedef struct nb_inputs {
    nb_mem x;
    nb_mem exact;  /* of the original model, or absent */
    nb_mem factor; /* f32 [rows]: what each token's x and exact are multiplied by, or absent */
    size_t rows, k;
} nb_inputs;

/* hessian = (2 / rows) X^T X, both triangles; where `exact` is there, cross = (2 / rows) exact^T X; rows of both multiplied by the
 * factors where there are any. Both f32 [k,k], the caller's to release, also after a failure. Done on return. */
nb_status nb_calib_statistics(nb_stream *stream, const nb_inputs *in, nb_mem *hessian, nb_mem *cross, nb_err *err);

#endif
