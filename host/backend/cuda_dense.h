/* Products of matrices by cuBLAS or by our own kernel: what the two have in common. */
#ifndef NB_BACKEND_CUDA_DENSE_H
#define NB_BACKEND_CUDA_DENSE_H

#include "host/backend/cuda.h"

typedef nb_status nb__cuda_product(nb_stream *stream, const struct nb_matmul_args *args, nb_err *err);

/* A linear in chunks of rows of W, each converted to f32 in the stream's scratch, then multiplied. */
nb_status nb__cuda_linear(nb_stream *stream, const struct nb_linear_args *args, nb__cuda_product *product, nb_err *err);

/* H += scale X^T X, lower triangle, of `rows` rows at x. */
typedef nb_status nb__cuda_moments(nb_stream *stream, const struct nb_hessian_args *args, nb_mem x, size_t rows, nb_err *err);

/* In chunks of at most 256 rows, then mirrored where asked. */
nb_status nb__cuda_hessian(nb_stream *stream, const struct nb_hessian_args *args, nb__cuda_moments *moments, nb_err *err);

#endif
