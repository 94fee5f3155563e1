/* Packed products on a GPU beside f16 cuBLAS, in one run.
 *
 *     bench_qgemm [N K [GROUP [BITS [ROUNDS]]]]        8192 8192 128 4 50
 *
 * For 1..128 rows of X: microseconds of each by the device's own clock, bytes of W a second, and how many times faster than
 * cuBLAS (f16, sums in f32) the packed product is. Weights change from call to call, so that no cache holds them. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "host/backend/cuda.h"
#include "host/backend/packed.h"
#include "host/base/random.h"

enum { COPIES = 8, MAX_M = 128, OP_N = 0, OP_T = 1, R_16F = 2, COMPUTE_32F = 68, DEFAULT_ALGORITHM = -1 };

typedef int gemm_ex(nb__blas_handle, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int,
                    const void *, void *, int, int, int, int);

typedef struct bench {
    nb_device *device;
    nb_stream *stream;
    size_t n, k, group, rounds;
    unsigned bits;
    nb_packed *packed;
    size_t packed_bytes;
    nb_mem copies[COPIES], dense[COPIES], x, y, work;
    nb__blas_handle blas;
    gemm_ex *dense_gemm;
} bench;

static void must(nb_status status, const nb_err *err) {
    if (status == NB_OK)
        return;
    fprintf(stderr, "bench_qgemm: %s\n", err->text);
    exit(1);
}

static void fill_half(bench *b, nb_mem to, size_t count, nb_random *r) {
    nb_err err = {0};
    uint16_t *h = malloc(count * sizeof *h);
    if (!h)
        exit(1);
    for (size_t i = 0; i < count; i++)
        h[i] = nb_f32_to_f16(nb_random_f32(r) - 0.5f);
    must(nb_upload(b->stream, to, h, count * sizeof *h, &err), &err);
    must(nb_sync(b->stream, &err), &err);
    free(h);
}

static void make_weights(bench *b) {
    nb_err err = {0};
    nb_qtensor q;
    nb_random r = nb_random_seed(1);
    must(nb_qtensor_new(b->n, b->k, b->bits, b->group, true, false, &q, &err), &err);
    for (size_t i = 0; i < q.n * q.k; i++)
        q.codes[i] = (uint8_t)(nb_random_u32(&r) & ((1u << b->bits) - 1u));
    for (size_t i = 0; i < q.n * q.groups; i++) {
        q.scales[i] = nb_f16_to_f32(nb_f32_to_f16(0.01f + nb_random_f32(&r)));
        q.zeros[i] = (float)(1u << (b->bits - 1));
    }
    q.scale_type = NB_F16;
    must(nb_packed_new(b->stream, &q, &b->packed, &err), &err);
    nb_qtensor_free(&q);
    b->packed_bytes = b->packed->w.data.bytes;
    for (int i = 0; i < COPIES; i++) {
        must(nb_alloc(b->device, b->packed_bytes, &b->copies[i], &err), &err);
        must(nb_copy(b->stream, b->copies[i], b->packed->w.data, b->packed_bytes, &err), &err);
        must(nb_alloc(b->device, b->n * b->k * 2, &b->dense[i], &err), &err);
    }
    fill_half(b, b->dense[0], b->n * b->k, &r);
    for (int i = 1; i < COPIES; i++)
        must(nb_copy(b->stream, b->dense[i], b->dense[0], b->n * b->k * 2, &err), &err);
    must(nb_alloc(b->device, MAX_M * b->k * 2, &b->x, &err), &err);
    must(nb_alloc(b->device, MAX_M * b->n * 2, &b->y, &err), &err);
    fill_half(b, b->x, MAX_M * b->k, &r);
}

static void packed_call(bench *b, size_t m, size_t turn) {
    nb_err err = {0};
    struct nb_qgemm_args a = {.m = m,
                              .w = b->packed->w,
                              .x = b->x,
                              .y = b->y,
                              .workspace = b->work,
                              .ldx = b->k,
                              .ldy = b->n,
                              .x_type = NB_F16,
                              .y_type = NB_F16};
    a.w.data = b->copies[turn % COPIES];
    must(nb_launch(b->stream, NB_OP_qgemm, &a, &err), &err);
}

static void dense_call(bench *b, size_t m, size_t turn) {
    const float one = 1.0f, zero = 0.0f;
    int n = (int)b->n, k = (int)b->k;
    int r = b->dense_gemm(b->blas, OP_T, OP_N, n, (int)m, k, &one, (void *)(uintptr_t)nb__cuda_at(b->dense[turn % COPIES]), R_16F, k,
                          (void *)(uintptr_t)nb__cuda_at(b->x), R_16F, k, &zero, (void *)(uintptr_t)nb__cuda_at(b->y), R_16F, n,
                          COMPUTE_32F, DEFAULT_ALGORITHM);
    if (r != 0) {
        fprintf(stderr, "bench_qgemm: cublasGemmEx answers %d\n", r);
        exit(1);
    }
}

/* Seconds of one call. */
static double time_of(bench *b, void (*call)(bench *, size_t, size_t), size_t m) {
    const nb_backend *be = b->device->backend;
    nb_event *from, *to;
    nb_err err = {0};
    double seconds;
    for (size_t i = 0; i < 3; i++)
        call(b, m, i);
    must(be->event_new(b->stream, &from, &err), &err);
    for (size_t i = 0; i < b->rounds; i++)
        call(b, m, i);
    must(be->event_new(b->stream, &to, &err), &err);
    must(nb_sync(b->stream, &err), &err);
    must(be->event_elapsed(from, to, &seconds, &err), &err);
    be->event_free(from);
    be->event_free(to);
    return seconds / (double)b->rounds;
}

static void open_blas(bench *b) {
    nb_err err = {0};
    const nb__blas_api *api = nb__blas_load();
    void *lib = api ? dlopen(api->library, RTLD_NOW) : NULL;
    void *symbol = lib ? dlsym(lib, "cublasGemmEx") : NULL;
    if (!symbol) {
        fprintf(stderr, "no cuBLAS: packed products alone\n");
        return;
    }
    *(void **)&b->dense_gemm = symbol;
    must(nb__cuda_enter(nb__cuda_device_of(b->stream), &err), &err);
    must(nb__cuda_blas(b->stream, &b->blas, &err), &err);
}

static size_t number(int argc, char **argv, int i, size_t otherwise) {
    return argc > i ? (size_t)strtoull(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    static const size_t rows[] = {1, 2, 4, 8, 16, 32, 64, 128};
    bench b = {.n = number(argc, argv, 1, 8192),
               .k = number(argc, argv, 2, 8192),
               .group = number(argc, argv, 3, 128),
               .bits = (unsigned)number(argc, argv, 4, 4),
               .rounds = number(argc, argv, 5, 50)};
    nb_device_options options = {0};
    nb_device_info info;
    nb_err err = {0};
    size_t work;
    must(nb_device_open("cuda", &options, &b.device, &err), &err);
    must(nb_stream_new(b.device, &b.stream, &err), &err);
    must(b.device->backend->info(b.device, &info, &err), &err);
    make_weights(&b);
    must(nb_packed_workspace(b.packed, MAX_M, NB_GEMM_EXACT, &work, &err), &err);
    must(nb_alloc(b.device, work ? work : 1, &b.work, &err), &err);
    open_blas(&b);
    printf("%s: N %zu, K %zu, %u bits, groups of %zu, %zu rounds\n", info.model, b.n, b.k, b.bits, b.group, b.rounds);
    printf("%6s %12s %10s %12s %10s\n", "rows", "packed us", "GB/s", "cuBLAS us", "times");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double ours = time_of(&b, packed_call, rows[i]), theirs = b.dense_gemm ? time_of(&b, dense_call, rows[i]) : 0;
        printf("%6zu %12.2f %10.1f %12.2f %10.2f\n", rows[i], ours * 1e6, (double)b.packed_bytes / ours * 1e-9, theirs * 1e6,
               theirs / ours);
    }
    return 0;
}
