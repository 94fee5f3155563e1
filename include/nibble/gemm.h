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

/* How activations are multiplied. The caller chooses; nothing is changed silently. */
typedef enum nb_gemm_mode {
    /* f32 arithmetic on the CPU. |y - exact| <= gamma_K * sum|x||w|, gamma_K = (K + 8) u / (1 - (K + 8) u), u = 2^-24. */
    NB_GEMM_EXACT = 0,
    /* X is rounded to 8 bits by blocks of 16 or 32 columns, with step = max|x| / 127 of the block; sums inside a block are
     * exact. Adds sum|w| * step / 2 to the bound. Blocks below 2^-100 count as zero. */
    NB_GEMM_FAST = 1
} nb_gemm_mode;

#ifdef __cplusplus
}
#endif
#endif
