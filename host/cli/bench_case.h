/* What makers of bench cases share. */
#ifndef NB_CLI_BENCH_CASE_H
#define NB_CLI_BENCH_CASE_H

#include "host/cli/bench.h"

/* A count of bytes or operations, of sizes whose product may not fit a size. */
#define TIMES(a, b) ((double)(a) * (double)(b))

enum { NB_BENCH_BUFFERS = 16 };

typedef struct nb_bench_case {
    nb_stream *stream;
    const nb_kernel *row;
    nb_bench_shape shape;
    nb_mem buffers[NB_BENCH_BUFFERS]; /* owned */
    size_t count;
    size_t weight_bytes;    /* of one copy in the ring */
    nb_mem fresh, in_place; /* where given, in_place is set to fresh before each run */
    size_t in_place_bytes;
    double bytes, flops; /* of one run, by the operation's model: what it must read and write, and compute, at least */
    union {
#define NB_OP(op) struct nb_##op##_args op;
#include "kernels/kernels.def"
    } args;
} nb_bench_case;

/* Fills args, bytes and flops from the shape. */
typedef nb_status nb_bench_maker(nb_bench_case *c, nb_err *err);
#define NB_OP(op) nb_bench_maker nb_bench_make_##op;
#include "kernels/kernels.def"

void nb_bench_case_free(void *state);
/* Buffers of the device that the case owns: zeros; a copy of data; floats in [-1/2, 1/2); the indices i / div; a matrix [k,k]
 * with a diagonal of k, all else in [-1/2, 1/2), which has a Cholesky factor. */
nb_status nb_bench_zeros(nb_bench_case *c, size_t count, size_t size, nb_mem *out, nb_err *err);
nb_status nb_bench_put(nb_bench_case *c, const void *data, size_t bytes, nb_mem *out, nb_err *err);
nb_status nb_bench_floats(nb_bench_case *c, size_t count, nb_mem *out, nb_err *err);
nb_status nb_bench_indices(nb_bench_case *c, size_t count, size_t div, nb_mem *out, nb_err *err);
nb_status nb_bench_dominant(nb_bench_case *c, size_t k, nb_mem *out, nb_err *err);


#endif
