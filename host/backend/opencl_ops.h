/* Launchers of operations on OpenCL: nb__cl_<op> for each operation with an NB_OPENCL_ROW, in host/backend/opencl_ops*.c. */
#ifndef NB_BACKEND_OPENCL_OPS_H
#define NB_BACKEND_OPENCL_OPS_H

#include "host/backend/opencl.h"

#define NB_OPENCL_ROW(op, name, needs, err) nb__cl_op nb__cl_##op;
#include "kernels/kernels.def"

/* A grid of work-items over a matrix: global id 0 runs over columns (past the last one too), id 1 over rows. */
nb__cl_grid nb__cl_over(size_t rows, size_t cols);
/* Floats that a work-item takes side by side, as in kernels/opencl/lanes.cl, and a grid of them over a matrix. */
static inline size_t nb__cl_lanes(const nb_kernel *row) {
    return row->needs & NB_CL_CPU ? 16 : 1;
}
nb__cl_grid nb__cl_over_lanes(const nb_kernel *row, size_t rows, size_t cols);
/* Work-items that share a row of a matrix (a power of two), and bytes of a wide sum of one. */
static inline size_t nb__cl_row_items(const nb_kernel *row) {
    return row->needs & NB_CL_CPU ? 1 : 64;
}
enum { NB_CL_WIDE = 8 };

/* ---- opencl_blast.c ---- */

/* Is CLBlast installed? It is loaded when this is first asked. */
bool nb__cl_blast_found(void);
/* matmul by CLBlast; what it does not do, by the device's own row. */
nb_status nb__cl_blast_matmul(nb_stream *stream, const struct nb_matmul_args *a, nb_err *err);
/* Times a product both ways: is CLBlast, where it is installed, right and faster? */
nb_status nb__cl_blast_tune(nb_stream *stream, unsigned *take, nb_err *err);

/* A stored type for kernels/opencl/weight_types.cl: a compiler option (or NULL) and its number there. */
nb_status nb__cl_weight_type(nb_dtype type, const char **define, unsigned *number, nb_err *err);

#endif
