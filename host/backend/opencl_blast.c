/* CLBlast, where it is installed (libclblast.so.1, by dlopen) and tuning has found it faster than our own dense product, which is
 * the default. It runs on the caller's queue. What it cannot do, and a device on which it has failed, goes to our own row. */
#include <dlfcn.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "host/backend/opencl_ops.h"
#include "host/base/alloc.h"
#include "host/base/random.h"

/* clblast_c.h: CLBlastSgemm; layouts and transpositions have BLAS's numbers, 0 is success. */
typedef int sgemm_fn(int layout, int trans_a, int trans_b, size_t m, size_t n, size_t k, float alpha, cl_mem a, size_t a_offset,
                     size_t lda, cl_mem b, size_t b_offset, size_t ldb, float beta, cl_mem c, size_t c_offset, size_t ldc,
                     cl_command_queue *queue, cl_event *event);
enum { ROW_MAJOR = 101, AS_STORED = 111, TRANSPOSED = 112 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static sgemm_fn *sgemm;

static void load(void) {
    void *library = dlopen("libclblast.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library)
        *(void **)&sgemm = dlsym(library, "CLBlastSgemm");
}

bool nb__cl_blast_found(void) {
    pthread_once(&once, load);
    return sgemm != NULL;
}

/* The first row of matmul that the device can run without CLBlast. */
static const nb_kernel *own_row(const nb__cl_device *d) {
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].backend == NB_OPENCL && rows[i].op == NB_OP_matmul && (rows[i].needs & ~d->features) == 0)
            return &rows[i];
    return NULL;
}

/* Offsets are counted in floats there, and dimensions may not be 0. Of products of which half is not wanted ours makes half. */
static bool can_multiply(const nb__cl_device *d, const struct nb_matmul_args *a) {
    return !d->blast_failed && a->m && a->n && a->k && !a->lower && a->a.offset % 4 == 0 && a->b.offset % 4 == 0 && a->c.offset % 4 == 0;
}

nb_status nb__cl_blast_matmul(nb_stream *stream, const struct nb_matmul_args *a, nb_err *err) {
    nb__cl_device *d = nb__cl_device_of(stream);
    if (nb__cl_blast_found() && can_multiply(d, a)) {
        int code = sgemm(ROW_MAJOR, a->trans_a ? TRANSPOSED : AS_STORED, a->trans_b ? TRANSPOSED : AS_STORED, a->m, a->n, a->k,
                         a->alpha, a->a.base, a->a.offset / 4, a->lda, a->b.base, a->b.offset / 4, a->ldb, a->beta, a->c.base,
                         a->c.offset / 4, a->ldc, &((nb__cl_stream *)stream)->queue, NULL);
        if (code == 0)
            return NB_OK;
        nb_logf(&d->base.log, NB_LOG_WARN, "CLBlast fails with %d on %zu x %zu x %zu; nibble's own kernels do the rest", code, a->m,
                a->n, a->k);
        d->blast_failed = true;
    }
    return nb__cl_matmul(stream, own_row(d), a, err);
}

/* ---- which of the two is faster ---- */

enum { M = 512, N = 1536, K = 576, ROUNDS = 5 };

typedef struct race {
    nb_stream *stream;
    nb_mem a, b, c;
    float *host; /* of either operand, then of results: [2][M * N] */
} race;

static nb_status race_new(nb_stream *stream, race *r, nb_err *err) {
    nb_random random = nb_random_seed(2);
    *r = (race){.stream = stream};
    NB_TRY(nb_calloc(2 * (size_t)M * N, sizeof(float), "matrices to time", &r->host, err));
    NB_TRY(nb_alloc_array(stream->device, (size_t)M * K, sizeof(float), &r->a, err));
    NB_TRY(nb_alloc_array(stream->device, (size_t)N * K, sizeof(float), &r->b, err));
    NB_TRY(nb_alloc_array(stream->device, (size_t)M * N, sizeof(float), &r->c, err));
    for (size_t i = 0; i < (size_t)N * K; i++)
        r->host[i] = nb_random_f32(&random) - 0.5f;
    NB_TRY(nb_upload(stream, r->a, r->host, (size_t)M * K * sizeof(float), err));
    return nb_upload(stream, r->b, r->host, (size_t)N * K * sizeof(float), err);
}

static void race_free(race *r) {
    nb_release(r->stream->device, &r->a);
    nb_release(r->stream->device, &r->b);
    nb_release(r->stream->device, &r->c);
    nb_free(r->host);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of some, after one that builds; the result is in `out`. */
static nb_status run_one(race *r, bool blast, float *out, double *seconds, nb_err *err) {
    struct nb_matmul_args a = {.m = M, .n = N, .k = K, .a = r->a, .b = r->b, .c = r->c, .lda = K, .ldb = K, .ldc = N,
                               .trans_b = true, .alpha = 1.0f};
    nb__cl_device *d = nb__cl_device_of(r->stream);
    for (int i = 0; i <= ROUNDS; i++) {
        double start = now();
        NB_TRY(blast ? nb__cl_blast_matmul(r->stream, &a, err) : nb__cl_matmul(r->stream, own_row(d), &a, err));
        NB_TRY(nb_sync(r->stream, err));
        double taken = now() - start;
        *seconds = i <= 1 || taken < *seconds ? taken : *seconds;
    }
    NB_TRY(nb_download(r->stream, out, r->c, (size_t)M * N * sizeof(float), err));
    return nb_sync(r->stream, err);
}

/* Sums of K products below 1/4, each with K roundings at most: two of them lie within 2 gamma_K K / 4. */
static bool agree(const float *x, const float *y) {
    float bound = 2.0f * (float)K * 0x1p-24f * (float)K / 4.0f;
    for (size_t i = 0; i < (size_t)M * N; i++)
        if (!(fabsf(x[i] - y[i]) <= bound))
            return false;
    return true;
}

static nb_status compare(race *r, unsigned *take, nb_err *err) {
    nb__cl_device *d = nb__cl_device_of(r->stream);
    float *ours = r->host, *its = r->host + (size_t)M * N;
    double own, blast;
    NB_TRY(run_one(r, false, ours, &own, err));
    NB_TRY(nb_fill(r->stream, r->c, 0xff, (size_t)M * N * sizeof(float), err)); /* NaN: what is not written shows */
    NB_TRY(run_one(r, true, its, &blast, err));
    bool right = agree(ours, its);
    nb_logf(&d->base.log, NB_LOG_INFO, "dense product of %d x %d x %d: own kernel %.0f us, CLBlast %.0f us%s%s", M, N, K, own * 1e6,
            blast * 1e6, d->blast_failed ? ", which failed" : "", right ? "" : " with other results");
    if (!right)
        nb_logf(&d->base.log, NB_LOG_WARN, "CLBlast multiplies wrongly on this device; it is not used");
    *take = right && !d->blast_failed && blast < own;
    return NB_OK;
}

nb_status nb__cl_blast_tune(nb_stream *stream, unsigned *take, nb_err *err) {
    race r;
    *take = 0;
    if (!nb__cl_blast_found())
        return NB_OK;
    nb_status status = race_new(stream, &r, err);
    if (status == NB_OK)
        status = compare(&r, take, err);
    nb_sync(stream, NULL);
    race_free(&r);
    return status;
}
