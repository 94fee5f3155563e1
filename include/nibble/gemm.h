/* nibble: packed dequant-GEMM for inference backends: Y[M,N] = X[M,K] * W[N,K]^T (+ bias[N]). */
#ifndef NIBBLE_GEMM_H
#define NIBBLE_GEMM_H

#include <nibble/packed.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A caller's thread pool. `run` calls task(arg, i, worker) once for each i in [0, n_tasks), from any of
 * its threads, with worker < n_workers and never two calls at once with the same worker, and returns when
 * all are done. */
typedef void nb_task_fn(void *arg, size_t task, unsigned worker);
typedef struct nb_parallel {
    void *ctx;
    unsigned n_workers;
    void (*run)(void *ctx, size_t n_tasks, nb_task_fn *task, void *arg);
} nb_parallel;

#ifdef __cplusplus
}
#endif
#endif
