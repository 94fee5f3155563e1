/* The dense product against libraries that a machine may have (oneDNN, OpenBLAS; opened at run time), on one thread and on
 * all, and whole forward passes of a model.
 *   bench_dense                      products, f32 and stored types
 *   bench_dense MODEL [SEQS LENGTH]  a calibration pass of MODEL (32 x 512 tokens), in seconds and GFLOP/s of its linears
 * One thread is timed by its processor time, so that other programs do not count; several by the clock. Best of several. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/base/random.h"
#include "host/model/forward.h"

typedef int dnnl_sgemm_fn(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                          const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
typedef void cblas_sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                            int ldb, float beta, float *c, int ldc);

static dnnl_sgemm_fn *dnnl;
static cblas_sgemm_fn *cblas;

static void must(nb_status status, const nb_err *err) {
    if (status != NB_OK) {
        fprintf(stderr, "bench_dense: %s %s %s\n", err->path, err->item, err->text);
        exit(nb_status_exit_code(status));
    }
}

static double now(unsigned threads) {
    struct timespec t;
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *symbol(const char *const *files, const char *name) {
    for (; *files; files++) {
        void *lib = dlopen(*files, RTLD_NOW | RTLD_LOCAL);
        void *at = lib ? dlsym(lib, name) : NULL;
        if (at)
            return at;
    }
    return NULL;
}

/* Both libraries on one thread. */
static void open_libraries(void) {
    static const char *const dnnl_files[] = {"libdnnl.so.2", "libdnnl.so.3", NULL};
    static const char *const blas_files[] = {"libopenblas.so.0", NULL}, *const omp_files[] = {"libgomp.so.1", NULL};
    void *at = symbol(dnnl_files, "dnnl_sgemm");
    memcpy(&dnnl, &at, sizeof at);
    at = symbol(blas_files, "cblas_sgemm");
    memcpy(&cblas, &at, sizeof at);
    void (*set)(int);
    at = symbol(omp_files, "omp_set_num_threads");
    memcpy(&set, &at, sizeof at);
    if (at)
        set(1);
    at = symbol(blas_files, "openblas_set_num_threads");
    memcpy(&set, &at, sizeof at);
    if (at)
        set(1);
}

typedef struct shape {
    size_t m, n, k;
} shape;

typedef struct buffers {
    float *x, *w, *y;
} buffers;

static float *noise(size_t count, uint64_t seed) {
    float *p = aligned_alloc(64, (count * sizeof *p + 63) / 64 * 64);
    nb_random r = nb_random_seed(seed);
    for (size_t i = 0; p && i < count; i++)
        p[i] = nb_random_f32(&r) - 0.5f;
    return p;
}

enum { OURS, DNNL, CBLAS };

static double time_one(int who, nb_stream *stream, unsigned threads, const shape *s, const buffers *b, nb_dtype type) {
    double best = 1e30, spent = 0;
    for (int i = 0; i < 15 && (i < 5 || spent < 1.0); i++) {
        double start = now(threads);
        if (who == DNNL)
            dnnl('N', 'T', (int64_t)s->m, (int64_t)s->n, (int64_t)s->k, 1.0f, b->x, (int64_t)s->k, b->w, (int64_t)s->k, 0.0f, b->y,
                 (int64_t)s->n);
        else if (who == CBLAS)
            cblas(101, 111, 112, (int)s->m, (int)s->n, (int)s->k, 1.0f, b->x, (int)s->k, b->w, (int)s->k, 0.0f, b->y, (int)s->n);
        else {
            nb_err err = {0};
            struct nb_linear_args a = {.m = s->m, .n = s->n, .k = s->k, .x = nb_mem_host(b->x, 0), .w = nb_mem_host(b->w, 0),
                                       .y = nb_mem_host(b->y, 0), .ldx = s->k, .ldy = s->n, .w_type = type};
            must(nb_launch(stream, NB_OP_linear, &a, &err), &err);
        }
        double took = now(threads) - start;
        spent += took;
        best = took < best ? took : best;
    }
    return 2e-9 * (double)s->m * (double)s->n * (double)s->k / best;
}

static void bench_products(unsigned threads) {
    static const shape shapes[] = {{2048, 2048, 2048}, {4096, 1536, 576}, {4096, 576, 1536}, {4096, 576, 576}, {4096, 192, 576},
                                   {4096, 4096, 4096}, {336, 49152, 576}, {32, 1536, 576}, {1, 1536, 576}, {1, 49152, 576}};
    static const nb_dtype types[] = {NB_F32, NB_F16, NB_BF16, NB_Q8_0, NB_Q4_1};
    nb_device_options o = {.threads = threads};
    nb_device *device;
    nb_stream *stream;
    nb_err err = {0};
    must(nb_device_open("cpu", &o, &device, &err), &err);
    must(nb_stream_new(device, &stream, &err), &err);
    printf("%u thread%s, GFLOP/s\n%-18s %8s %8s", threads, threads == 1 ? "" : "s", "m x n x k", "oneDNN", "OpenBLAS");
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        printf(" %8s", nb_dtype_get(types[t])->name);
    printf("\n");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        char name[64];
        buffers b = {noise(s->m * s->k, 1), noise(s->n * s->k, 2), noise(s->m * s->n, 3)};
        snprintf(name, sizeof name, "%zux%zux%zu", s->m, s->n, s->k);
        printf("%-18s", name);
        printf(" %8.1f", dnnl && threads == 1 ? time_one(DNNL, stream, threads, s, &b, NB_F32) : 0.0);
        printf(" %8.1f", cblas && threads == 1 ? time_one(CBLAS, stream, threads, s, &b, NB_F32) : 0.0);
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            printf(" %8.1f", time_one(OURS, stream, threads, s, &b, types[t]));
            fflush(stdout);
        }
        printf("\n");
        free(b.x);
        free(b.w);
        free(b.y);
    }
    nb_stream_free(stream);
    nb_device_close(device);
}

static nb_status no_tap(void *ctx, nb_tap tap, nb_mem x, size_t rows, size_t k, nb_block *block, nb_err *err) {
    (void)ctx, (void)tap, (void)x, (void)rows, (void)k, (void)block, (void)err;
    return NB_OK;
}

/* One calibration pass, all blocks, in stages. FLOP: two for each weight and token; attention is not counted. */
static void bench_model(const char *path, size_t sequences, size_t length, unsigned threads) {
    nb_device_options o = {.threads = threads};
    nb_device *device;
    nb_stream *stream;
    nb_model *model;
    nb_forward *f;
    nb_mem hidden, work;
    nb_err err = {0};
    must(nb_device_open("cpu", &o, &device, &err), &err);
    must(nb_stream_new(device, &stream, &err), &err);
    must(nb_model_open(path, &model, &err), &err);
    const nb_hparams *hp = nb_model_hparams(model);
    size_t tokens = sequences * length, rows = tokens < 8192 ? tokens : 8192 / length * length, weights = 0;
    int32_t *ids = calloc(tokens, sizeof *ids);
    nb_random r = nb_random_seed(1);
    for (size_t i = 0; ids && i < tokens; i++)
        ids[i] = (int32_t)nb_random_below(&r, (uint32_t)hp->vocab);
    must(nb_forward_new(model, stream, rows, &f, &err), &err);
    must(nb_alloc_array(device, tokens * hp->hidden, sizeof(float), &hidden, &err), &err);
    must(nb_alloc(device, nb_forward_stage_bytes(hp, tokens), &work, &err), &err);
    for (nb_lin lin = 0; lin < NB_LIN_COUNT; lin++) {
        size_t n, k;
        nb_lin_shape(hp, lin, &n, &k);
        weights += n * k * hp->layers;
    }
    double best = 1e30;
    for (int i = 0; i < 3; i++) {
        double start = now(threads);
        must(nb_forward_embed(f, ids, tokens, hidden, &err), &err);
        for (size_t l = 0; l < hp->layers; l++) {
            nb_block b;
            must(nb_block_load(model, stream, l, &b, &err), &err);
            must(nb_forward_stages(f, &b, hidden, work, sequences, length, no_tap, NULL, &err), &err);
            nb_block_free(device, &b);
        }
        double took = now(threads) - start;
        best = took < best ? took : best;
    }
    printf("calibration pass, %zu x %zu tokens, %u thread%s: %.2f s, %.1f GFLOP/s of linears\n", sequences, length, threads,
           threads == 1 ? "" : "s", best, 2e-9 * (double)tokens * (double)weights / best);
    nb_release(device, &hidden);
    nb_release(device, &work);
    nb_forward_free(f);
    nb_model_close(model);
    nb_stream_free(stream);
    nb_device_close(device);
    free(ids);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        size_t sequences = argc > 3 ? (size_t)strtoul(argv[2], NULL, 10) : 32, length = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 512;
        bench_model(argv[1], sequences, length, 1);
        bench_model(argv[1], sequences, length, 2);
        return 0;
    }
    open_libraries();
    bench_products(1);
    bench_products(2);
    return 0;
}
