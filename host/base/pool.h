/* A small thread pool. Work is cut into tasks by shape alone, never by the number of threads, so that results
 * do not depend on it. */
#ifndef NB_BASE_POOL_H
#define NB_BASE_POOL_H

#include <nibble/gemm.h>
#include "host/base/err.h"

typedef struct nb_pool nb_pool;

/* A pool of `threads` workers, the calling thread counted in (0: one per online processor). */
nb_status nb_pool_new(unsigned threads, nb_pool **out, nb_err *err);

/* A pool that runs its tasks on a caller's threads. *parallel is copied; its ctx must outlive the pool. */
nb_status nb_pool_wrap(const nb_parallel *parallel, nb_pool **out, nb_err *err);

void nb_pool_free(nb_pool *pool);

/* The same in memory of the caller's, nb_pool_bytes(workers) bytes aligned to 64: nb_pool_start with threads of its own (1
 * and more), nb_pool_wrap_at over a caller's; nb_pool_end ends it and leaves the memory alone. */
size_t nb_pool_bytes(unsigned workers);
nb_status nb_pool_start(void *mem, unsigned threads, nb_pool **out, nb_err *err);
nb_status nb_pool_wrap_at(void *mem, const nb_parallel *parallel, nb_pool **out, nb_err *err);
void nb_pool_end(nb_pool *pool);
/* Online processors, and whether a pool may have so many threads. */
unsigned nb_pool_online(void);
nb_status nb_pool_check(unsigned threads, nb_err *err);

/* Calls fn(arg, task, worker) for each task in [0, n_tasks) and returns when all are done. Tasks are claimed in
 * rising order; worker is in [0, nb_pool_threads). One run at a time: a second caller waits. fn must not call
 * nb_pool_run on the same pool. */
void nb_pool_run(nb_pool *pool, size_t n_tasks, nb_task_fn *fn, void *arg);

unsigned nb_pool_threads(const nb_pool *pool);

/* At least `bytes` of 64-byte aligned memory that belongs to `worker` until the pool is freed; contents are not
 * kept from one task to the next. NULL where memory runs out. Call it from inside a task with its own worker,
 * or ahead of a run with nb_pool_reserve. */
void *nb_pool_scratch(nb_pool *pool, unsigned worker, size_t bytes);

/* Makes each worker's scratch at least `bytes`, so that nb_pool_scratch up to it cannot fail. */
nb_status nb_pool_reserve(nb_pool *pool, size_t bytes, nb_err *err);

#endif
