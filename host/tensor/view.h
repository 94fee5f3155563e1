/* A borrowed view of a tensor in a file or in memory. */
#ifndef NB_TENSOR_VIEW_H
#define NB_TENSOR_VIEW_H

#include "host/tensor/dtype.h"

enum { NB_MAX_DIMS = 4 };

/* dims are row-major: dims[ndim - 1] is the fastest. A linear layer is [N, K] in every container (GGUF's reversed
 * order is turned round by its reader). data may be unaligned. */
typedef struct nb_view {
    const char *name; /* borrowed */
    nb_dtype dtype;
    unsigned ndim;
    size_t dims[NB_MAX_DIMS];
    const void *data;
    size_t bytes;
    size_t offset;    /* of data in its file */
    const char *path; /* of that file; borrowed */
} nb_view;

/* Product of dims; views hold only shapes for which it fits. */
static inline size_t nb_view_count(const nb_view *v) {
    size_t count = 1;
    for (unsigned i = 0; i < v->ndim; i++)
        count *= v->dims[i];
    return count;
}

#endif
