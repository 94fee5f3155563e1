/* Parts of `nibble bench`: things to time, and what was measured. */
#ifndef NB_CLI_BENCH_H
#define NB_CLI_BENCH_H

#include "host/backend/backend.h"
#include "host/cli/opt.h"
#include "host/model/generate.h"

/* One thing that is timed: a row of kernels.def, a BLAS, or the read bandwidth, on one shape. */
typedef struct nb_bench_item {
    char name[64];
    char op[32];
    nb_status (*run)(void *state, size_t iteration, nb_err *err); /* one operation; a device may still be at it afterwards */
    nb_status (*wait)(void *state, nb_err *err);                  /* until all are done; NULL where `run` waits */
    void (*release)(void *state);
    void *state;
    double bytes; /* that one operation must read and write; of packed products and BLAS the weight alone */
    double flops; /* of one operation; 0 where it moves data or compares it */
    bool integer; /* flops are of 8-bit integers: the f32 peak is no bound */
} nb_bench_item;

typedef struct nb_bench_shape {
    size_t m, n, k, group;
    unsigned bits;
    size_t ring; /* copies of the weight that are used in turn */
} nb_bench_shape;

/* A row's operation on random data. NB_E_UNSUPPORTED where the operation has no bench case or not
 * for this shape. */
nb_status nb_bench_row(nb_stream *stream, const nb_kernel *row, const nb_bench_shape *shape,
                       nb_bench_item *out, nb_err *err);

/* Reading `bytes` of memory with all workers of the device's pool, as fast as loads go; `copies`
 * such areas in turn. On other devices than the CPU a copy of them, whose bytes count twice. */
nb_status nb_bench_read(nb_stream *stream, size_t bytes, size_t copies, nb_bench_item *out,
                        nb_err *err);

/* Multiplications and additions of f32 in registers, on all workers. NB_E_UNSUPPORTED on other devices than the CPU. */
nb_status nb_bench_peak(nb_stream *stream, nb_bench_item *out, nb_err *err);

/* f32 Y = X W^T by a BLAS that is found at run time: "openblas" or "onednn". NB_E_UNSUPPORTED where
 * it is not installed. */
nb_status nb_bench_peer(const char *peer, unsigned threads, const nb_bench_shape *shape,
                        nb_bench_item *out, nb_err *err);

/* ---- a whole model (bench_model.c) ---- */

typedef struct nb_bench_model_options {
    const char *path, *device;
    const nb_opt_list *threads; /* none: all processors */
    nb_speed_options speed;
    bool json;
} nb_bench_model_options;

/* Times the prompt and decoding of a model, and prints a table or JSON. */
nb_status nb_bench_model(const nb_bench_model_options *options, nb_err *err);

/* ---- results (bench_report.c) ---- */

typedef struct nb_bench_result {
    char name[64], op[32], device[128];
    nb_bench_shape shape;
    unsigned threads;
    size_t samples, repeats;
    double min, median,
        spread; /* seconds an operation; spread is (90th - 10th percentile) / median */
    double bytes, flops;
    double share; /* of the roof: the longer of what the measured bandwidth allows for `bytes` and the measured peak for `flops`,
                     in the same turns; 0 where not measured */
} nb_bench_result;

typedef struct nb_bench_results {
    nb_bench_result *items;
    size_t count, room;
} nb_bench_results;

nb_status nb_bench_add(nb_bench_results *r, const nb_bench_result *one, nb_err *err);
void nb_bench_print_head(void);
void nb_bench_print(const nb_bench_result *r);
/* Writes all results as JSON to stdout. */
nb_status nb_bench_json(const nb_bench_results *r, const nb_device_info *info, nb_err *err);
/* Prints how the figures of two result files compare. */
nb_status nb_bench_compare(const char *before, const char *after, nb_err *err);

#endif
