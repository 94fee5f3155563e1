/* Launchers of operations on OpenCL: nb__cl_<op> for each operation with an NB_OPENCL_ROW, in host/backend/opencl_ops*.c. */
#ifndef NB_BACKEND_OPENCL_OPS_H
#define NB_BACKEND_OPENCL_OPS_H

#include "host/backend/opencl.h"

#define NB_OPENCL_ROW(op, name, needs, err) nb__cl_op nb__cl_##op;
#include "kernels/kernels.def"

/* A grid of work-items over a matrix: global id 0 runs over columns (past the last one too), id 1 over rows. */
nb__cl_grid nb__cl_over(size_t rows, size_t cols);

#endif
