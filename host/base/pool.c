#include "host/base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

enum { MAX_THREADS = 1024, SPIN = 2000 };

typedef struct worker {
    nb_pool *pool;
    pthread_t thread;
    void *scratch;
    size_t scratch_bytes;
    unsigned id;
} worker;

/* A run is a generation and the number of its tasks that nobody has claimed, in one word: who takes one from it by a compare
 * and exchange owns a task of just that run, which cannot end before the task is done. So a worker that sleeps or is not
 * scheduled holds nobody up: the others do its part. */
typedef _Atomic uint64_t run_word;

struct nb_pool {
    unsigned n;
    nb_parallel outer; /* run is NULL for a pool with threads of its own */
    pthread_mutex_t run_lock, lock;
    pthread_cond_t wake, idle;
    /* Of the present run; read by who owns a task of it. */
    nb_task_fn *fn;
    void *arg;
    size_t first, n_tasks;
    run_word run;
    atomic_size_t left;   /* tasks that are not known to be done */
    atomic_uint sleepers; /* workers that wait for `wake` */
    atomic_bool waits;    /* the caller waits for `idle` */
    atomic_bool stop;
    uint32_t generation;
    unsigned started;
    worker *workers;
};

/* Takes the next task of the present run; false where none is left. */
static bool claim(nb_pool *p, size_t *unclaimed) {
    uint64_t run = atomic_load_explicit(&p->run, memory_order_relaxed);
    while ((uint32_t)run != 0)
        if (atomic_compare_exchange_weak_explicit(&p->run, &run, run - 1, memory_order_acquire, memory_order_relaxed)) {
            *unclaimed = (uint32_t)run;
            return true;
        }
    return false;
}

/* Does tasks while there are any; true where the run's last ones are done with these. */
static bool work(nb_pool *p, unsigned id) {
    size_t done = 0, unclaimed;
    for (; claim(p, &unclaimed); done++)
        p->fn(p->arg, p->first + (p->n_tasks - unclaimed), id);
    return done && atomic_fetch_sub(&p->left, done) == done;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static bool has_tasks(nb_pool *p) {
    return (uint32_t)atomic_load(&p->run) != 0;
}

/* Waits for tasks: a short spin, as the next layer's kernel usually follows at once, then sleep. False at the end. */
static bool wait_for_tasks(nb_pool *p) {
    for (int i = 0; i < SPIN; i++) {
        if ((uint32_t)atomic_load_explicit(&p->run, memory_order_relaxed) != 0)
            return true;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (!atomic_load(&p->stop) && !has_tasks(p))
        pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
    return !atomic_load(&p->stop);
}

static void *worker_main(void *arg) {
    worker *w = arg;
    nb_pool *p = w->pool;
    while (wait_for_tasks(p))
        if (work(p, w->id) && atomic_load(&p->waits)) {
            pthread_mutex_lock(&p->lock);
            pthread_cond_signal(&p->idle);
            pthread_mutex_unlock(&p->lock);
        }
    return NULL;
}

/* ---- making and ending ---- */

static size_t head_bytes(void) {
    return (sizeof(nb_pool) + 63) & ~(size_t)63;
}

size_t nb_pool_bytes(unsigned workers) {
    return head_bytes() + workers * sizeof(worker);
}

unsigned nb_pool_online(void) {
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)nb_min((size_t)online, MAX_THREADS) : 1;
}

/* A pool without threads in mem, zeroed. */
static nb_pool *pool_init(void *mem, unsigned n) {
    nb_pool *p = mem;
    memset(mem, 0, nb_pool_bytes(n));
    p->workers = (worker *)(void *)((char *)mem + head_bytes());
    p->n = n;
    p->started = 1;
    pthread_mutex_init(&p->run_lock, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->idle, NULL);
    for (unsigned i = 0; i < n; i++) {
        p->workers[i].pool = p;
        p->workers[i].id = i;
    }
    return p;
}

void nb_pool_end(nb_pool *p) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 1; i < p->started; i++)
        pthread_join(p->workers[i].thread, NULL);
    for (unsigned i = 0; i < p->n; i++)
        nb_free(p->workers[i].scratch);
    pthread_cond_destroy(&p->idle);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->run_lock);
}

nb_status nb_pool_start(void *mem, unsigned threads, nb_pool **out, nb_err *err) {
    nb_pool *p = pool_init(mem, threads);
    for (; p->started < threads; p->started++) {
        worker *w = &p->workers[p->started];
        if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            unsigned got = p->started;
            nb_pool_end(p);
            return nb_fail(err, NB_E_MEMORY, "thread %u of %u could not be started: no memory or too many threads", got, threads);
        }
    }
    *out = p;
    return NB_OK;
}

nb_status nb_pool_check(unsigned threads, nb_err *err) {
    if (threads > MAX_THREADS)
        return nb_fail(err, NB_E_USAGE, "%u threads asked for, at most %d are possible", threads, MAX_THREADS);
    return NB_OK;
}

nb_status nb_pool_new(unsigned threads, nb_pool **out, nb_err *err) {
    void *mem;
    if (threads == 0)
        threads = nb_pool_online();
    NB_TRY(nb_pool_check(threads, err));
    NB_TRY(nb_alloc_aligned(nb_pool_bytes(threads), 1, "a thread pool", &mem, err));
    nb_status status = nb_pool_start(mem, threads, out, err);
    if (status != NB_OK)
        nb_free(mem);
    return status;
}

nb_status nb_pool_wrap_at(void *mem, const nb_parallel *parallel, nb_pool **out, nb_err *err) {
    if (!parallel->run || parallel->n_workers == 0 || parallel->n_workers > MAX_THREADS)
        return nb_fail(err, NB_E_USAGE, "a caller's pool needs a run function and 1 to %d workers", MAX_THREADS);
    *out = pool_init(mem, parallel->n_workers);
    (*out)->outer = *parallel;
    return NB_OK;
}

nb_status nb_pool_wrap(const nb_parallel *parallel, nb_pool **out, nb_err *err) {
    void *mem;
    unsigned n = parallel->n_workers <= MAX_THREADS ? parallel->n_workers : 0;
    NB_TRY(nb_alloc_aligned(nb_pool_bytes(n), 1, "a thread pool", &mem, err));
    nb_status status = nb_pool_wrap_at(mem, parallel, out, err);
    if (status != NB_OK)
        nb_free(mem);
    return status;
}

void nb_pool_free(nb_pool *p) {
    if (!p)
        return;
    nb_pool_end(p);
    nb_free(p);
}

/* Tasks [first, first + n_tasks) by all workers. */
static void run_threads(nb_pool *p, size_t first, uint32_t n_tasks, nb_task_fn *fn, void *arg) {
    p->fn = fn;
    p->arg = arg;
    p->first = first;
    p->n_tasks = n_tasks;
    atomic_store(&p->left, n_tasks);
    atomic_store(&p->run, (uint64_t)++p->generation << 32 | n_tasks);
    if (atomic_load(&p->sleepers)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    work(p, 0);
    for (int i = 0; i < SPIN && atomic_load(&p->left); i++)
        relax();
    if (!atomic_load(&p->left))
        return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->waits, true);
    while (atomic_load(&p->left))
        pthread_cond_wait(&p->idle, &p->lock);
    atomic_store(&p->waits, false);
    pthread_mutex_unlock(&p->lock);
}

void nb_pool_run(nb_pool *p, size_t n_tasks, nb_task_fn *fn, void *arg) {
    if (n_tasks == 0)
        return;
    pthread_mutex_lock(&p->run_lock);
    if (p->outer.run)
        p->outer.run(p->outer.ctx, n_tasks, fn, arg);
    else if (n_tasks == 1 || p->n == 1)
        for (size_t i = 0; i < n_tasks; i++)
            fn(arg, i, 0);
    else
        for (size_t at = 0; at < n_tasks; at += UINT32_MAX)
            run_threads(p, at, (uint32_t)nb_min(n_tasks - at, UINT32_MAX), fn, arg);
    pthread_mutex_unlock(&p->run_lock);
}

unsigned nb_pool_threads(const nb_pool *p) {
    return p->n;
}

void *nb_pool_scratch(nb_pool *p, unsigned id, size_t bytes) {
    worker *w = &p->workers[id];
    if (w->scratch_bytes < bytes) {
        void *grown;
        if (nb_alloc_aligned(bytes, 1, "scratch", &grown, NULL) != NB_OK)
            return NULL;
        nb_free(w->scratch);
        w->scratch = grown;
        w->scratch_bytes = bytes;
    }
    return w->scratch;
}

nb_status nb_pool_reserve(nb_pool *p, size_t bytes, nb_err *err) {
    nb_status status = NB_OK;
    pthread_mutex_lock(&p->run_lock);
    for (unsigned i = 0; i < p->n && status == NB_OK; i++)
        if (!nb_pool_scratch(p, i, bytes))
            status = nb_fail_memory(err, bytes, "a worker's scratch");
    pthread_mutex_unlock(&p->run_lock);
    return status;
}
