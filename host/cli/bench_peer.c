/* What users would take instead: f32 products of a BLAS found at run time. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/cli/bench.h"

/* cblas.h: row-major 101, no transposition 111, transposition 112. */
typedef void sgemv_fn(int order, int trans, int m, int n, float alpha, const float *a, int lda,
                      const float *x, int incx, float beta, float *y, int incy);
typedef void sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                      int lda, const float *b, int ldb, float beta, float *c, int ldc);
/* oneDNN 2.6 dnnl.h; row-major. */
typedef int dnnl_sgemm_fn(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                          float *c, int64_t ldc);
typedef void threads_fn(int count);

typedef struct peer {
    nb_bench_shape shape;
    sgemv_fn *sgemv;
    sgemm_fn *sgemm;
    dnnl_sgemm_fn *dnnl;
    float *x, *w, *y;
} peer;

static nb_status peer_run(void *state, size_t iteration, nb_err *err) {
    peer *p = state;
    const nb_bench_shape *s = &p->shape;
    int m = (int)s->m, n = (int)s->n, k = (int)s->k;
    const float *w = p->w + iteration % s->ring * s->n * s->k;
    (void)err;
    if (p->dnnl)
        p->dnnl('N', 'T', m, n, k, 1.0f, p->x, k, w, k, 0.0f, p->y, n);
    else if (s->m == 1)
        p->sgemv(101, 111, n, k, 1.0f, w, k, p->x, 1, 0.0f, p->y, 1);
    else
        p->sgemm(101, 111, 112, m, n, k, 1.0f, p->x, k, w, k, 0.0f, p->y, n);
    return NB_OK;
}

static void peer_free(void *state) {
    peer *p = state;
    nb_free(p->x);
    nb_free(p->w);
    nb_free(p->y);
    nb_free(p);
}

/* A function's address from a library, without a cast between object and function pointers. */
static bool symbol(void *library, const char *name, void *fn) {
    void *p = dlsym(library, name);
    memcpy(fn, &p, sizeof p);
    return p != NULL;
}

/* Debian's OpenBLAS takes Haswell kernels on processors that it does not know; a fair peer is one that uses AVX-512. A
 * caller's own OPENBLAS_CORETYPE is kept. The name of what was taken goes into core. */
static bool open_blas(peer *p, unsigned threads, char *core, size_t cap) {
    typedef char *core_fn(void);
    if (nb_cpu_features() & NB_NEED_AVX512)
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
    void *lib = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    threads_fn *set;
    core_fn *name;
    if (!lib || !symbol(lib, "cblas_sgemv", &p->sgemv) || !symbol(lib, "cblas_sgemm", &p->sgemm) ||
        !symbol(lib, "openblas_set_num_threads", &set))
        return false;
    set((int)threads);
    if (symbol(lib, "openblas_get_corename", &name))
        snprintf(core, cap, " %s", name());
    return true;
}

static bool open_dnnl(peer *p, unsigned threads) {
    void *omp = dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL),
         *lib = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    threads_fn *set;
    if (!lib || !omp || !symbol(lib, "dnnl_sgemm", &p->dnnl) ||
        !symbol(omp, "omp_set_num_threads", &set))
        return false;
    set((int)threads);
    return true;
}

static nb_status fill(size_t count, float **out, nb_err *err) {
    nb_random r = nb_random_seed(count);
    NB_TRY(nb_alloc_aligned(count, sizeof **out, "a matrix", out, err));
    for (size_t i = 0; i < count; i++)
        (*out)[i] = nb_random_f32(&r) - 0.5f;
    return NB_OK;
}

nb_status nb_bench_peer(const char *name, unsigned threads, const nb_bench_shape *shape,
                        nb_bench_item *out, nb_err *err) {
    peer *p;
    size_t weights;
    nb_status status;
    NB_TRY(nb_calloc(1, sizeof *p, "a peer", &p, err));
    p->shape = *shape;
    char core[32] = "";
    bool there = !strcmp(name, "openblas") ? open_blas(p, threads, core, sizeof core) : open_dnnl(p, threads);
    if (!there || !nb_mul3(shape->n, shape->k, shape->ring, &weights)) {
        nb_free(p);
        return nb_fail(err, NB_E_UNSUPPORTED, "%s is not installed", name);
    }
    NB_GO(fill(shape->m * shape->k, &p->x, err));
    NB_GO(fill(weights, &p->w, err));
    NB_GO(fill(shape->m * shape->n, &p->y, err));
    *out = (nb_bench_item){.op = "f32", .run = peer_run, .release = peer_free, .state = p};
    snprintf(out->name, sizeof out->name, "%s%s", name, core);
    out->bytes = 4.0 * (double)shape->n * (double)shape->k;
    out->flops = 2.0 * (double)shape->m * (double)shape->n * (double)shape->k;
out:
    if (status != NB_OK)
        peer_free(p);
    return status;
}
