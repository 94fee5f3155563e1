/* Threads upon threads, for ThreadSanitizer (under which Criterion does not start) and for plain runs: a pool shared by callers,
 * devices that come and go, and contexts of the public ABI, each used from several threads. Each result is compared with what one thread made. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nibble/nibble.h>
#include "host/backend/backend.h"
#include "host/base/pool.h"
#include "host/base/random.h"

enum { CALLERS = 3, ROUNDS = 60, M = 61, N = 75, K = 130 };

static atomic_int faults;

static void fault(const char *what) {
    fprintf(stderr, "stress: %s\n", what);
    atomic_fetch_add(&faults, 1);
}

static void need(nb_status status, const nb_err *err) {
    if (status == NB_OK)
        return;
    fprintf(stderr, "stress: %s\n", err->text);
    exit(1);
}

/* ---- a pool with several callers ---- */

typedef struct sum {
    nb_pool *pool;
    unsigned char seen[500];
} sum;

static void mark(void *arg, size_t task, unsigned worker) {
    sum *s = arg;
    unsigned char *scratch = nb_pool_scratch(s->pool, worker, 64 + task);
    if (scratch)
        memset(scratch, (int)task, 64 + task); /* two tasks on one worker's scratch at once would be a race */
    s->seen[task]++;
}

static void *pool_caller(void *arg) {
    sum s = {.pool = arg};
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t tasks = 1 + round * 7 % sizeof s.seen;
        memset(s.seen, 0, sizeof s.seen);
        nb_pool_run(s.pool, tasks, mark, &s);
        for (size_t i = 0; i < sizeof s.seen; i++)
            if (s.seen[i] != (i < tasks))
                fault("a task ran not once");
    }
    return NULL;
}

static void run_callers(void *(*fn)(void *), void *args, size_t stride) {
    pthread_t threads[CALLERS];
    for (size_t i = 0; i < CALLERS; i++)
        if (pthread_create(&threads[i], NULL, fn, (char *)args + i * stride) != 0)
            exit(1);
    for (size_t i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
}

static void stress_pool(void) {
    for (unsigned threads = 1; threads <= 4; threads++) {
        nb_err err;
        nb_pool *pool;
        need(nb_pool_new(threads, &pool, &err), &err);
        run_callers(pool_caller, pool, 0);
        nb_pool_free(pool);
    }
}

/* ---- devices ---- */

static float a[M * K], b[N * K], expected[M * N];

static void multiply(nb_device *device, unsigned rounds, float *c) {
    nb_err err;
    nb_stream *stream;
    struct nb_matmul_args args = {.m = M, .n = N, .k = K, .lda = K, .ldb = K, .ldc = N, .trans_b = true, .alpha = 1.0f};
    need(nb_stream_new(device, &stream, &err), &err);
    need(nb_alloc(device, sizeof a, &args.a, &err), &err);
    need(nb_alloc(device, sizeof b, &args.b, &err), &err);
    need(nb_alloc(device, sizeof expected, &args.c, &err), &err);
    for (unsigned i = 0; i < rounds; i++) {
        need(nb_upload(stream, args.a, a, sizeof a, &err), &err);
        need(nb_upload(stream, args.b, b, sizeof b, &err), &err);
        need(nb_fill(stream, args.c, 0, sizeof expected, &err), &err);
        need(nb_launch(stream, NB_OP_matmul, &args, &err), &err);
        need(nb_download(stream, c, args.c, sizeof expected, &err), &err);
        need(nb_sync(stream, &err), &err);
    }
    nb_release(device, &args.a);
    nb_release(device, &args.b);
    nb_release(device, &args.c);
    nb_stream_free(stream);
}

static nb_device *open_cpu(unsigned threads) {
    nb_device_options options = {.threads = threads};
    nb_device *device;
    nb_err err;
    need(nb_device_open("cpu", &options, &device, &err), &err);
    return device;
}

static void *shared_user(void *arg) {
    float c[M * N];
    multiply(*(nb_device **)arg, 8, c);
    if (memcmp(c, expected, sizeof c) != 0)
        fault("other bits on a shared device");
    return NULL;
}

static void *own_user(void *arg) {
    float c[M * N];
    (void)arg;
    for (unsigned i = 0; i < 6; i++) {
        nb_device *device = open_cpu(1 + i % 3);
        multiply(device, 2, c);
        nb_device_close(device);
        if (memcmp(c, expected, sizeof c) != 0)
            fault("other bits on a device of its own");
    }
    return NULL;
}

static void stress_devices(void) {
    nb_random random = nb_random_seed(3);
    for (size_t i = 0; i < M * K; i++)
        a[i] = nb_random_f32(&random) - 0.5f;
    for (size_t i = 0; i < N * K; i++)
        b[i] = nb_random_f32(&random) - 0.5f;
    nb_device *device = open_cpu(1);
    multiply(device, 1, expected);
    nb_device_close(device);
    run_callers(own_user, a, 0); /* opens devices before any other thread has: first uses of tables race here if they do */
    nb_device *shared[2] = {open_cpu(3), open_cpu(2)}, *uses[CALLERS];
    for (size_t i = 0; i < CALLERS; i++)
        uses[i] = shared[i % 2];
    run_callers(shared_user, uses, sizeof *uses);
    nb_device_close(shared[0]);
    nb_device_close(shared[1]);
}

/* ---- the public ABI: products and packing on contexts that threads share, and on those of their own ---- */

enum { GEMM_M = 9, GEMM_N = 77, GEMM_K = 200, GEMM_GROUP = 32, GEMM_GROUPS = (GEMM_K + GEMM_GROUP - 1) / GEMM_GROUP };

typedef struct weight {
    nb_weight_desc desc;
    nb_weight_source source;
    uint8_t codes[GEMM_N * GEMM_K], zeros[GEMM_N * GEMM_GROUPS];
    float scales[GEMM_N * GEMM_GROUPS], x[GEMM_M * GEMM_K];
    float exact[GEMM_M * GEMM_N], fast[GEMM_M * GEMM_N]; /* expected */
    void *packed;
    size_t bytes;
} weight;

static weight shared_weight;

static nb_ctx *open_ctx(unsigned threads) {
    nb_ctx_options o = {.size = sizeof o, .threads = threads};
    nb_ctx *ctx;
    nb_err err;
    need(nb_ctx_open(&o, &ctx, &err), &err);
    return ctx;
}

static void *pack_weight(nb_ctx *ctx, size_t *bytes) {
    const weight *w = &shared_weight;
    nb_err err;
    need(nb_weight_packed_size(ctx, &w->desc, bytes, &err), &err);
    void *packed = aligned_alloc(64, (*bytes + 63) / 64 * 64);
    if (!packed)
        exit(1);
    need(nb_weight_pack(ctx, &w->desc, &w->source, packed, *bytes, NULL, 0, &err), &err);
    return packed;
}

static void packed_product(nb_ctx *ctx, const void *packed, size_t bytes, nb_gemm_mode mode, float *y) {
    const weight *w = &shared_weight;
    nb_err err;
    size_t work;
    need(nb_gemm_workspace_size(ctx, &w->desc, GEMM_M, mode, &work, &err), &err);
    work = (work + 63) / 64 * 64;
    nb_gemm_args args = {.size = sizeof args, .mode = mode, .m = GEMM_M, .desc = &w->desc, .packed = packed,
                         .packed_bytes = bytes, .x = w->x, .ldx = GEMM_K, .y = y, .ldy = GEMM_N,
                         .workspace = aligned_alloc(64, work), .workspace_bytes = work};
    need(nb_gemm(ctx, &args, &err), &err);
    free(args.workspace);
}

/* Both modes on the weight that all share, packed by another thread, and on one packed here. */
static void use_context(nb_ctx *ctx) {
    const weight *w = &shared_weight;
    float y[GEMM_M * GEMM_N];
    size_t bytes;
    void *own = pack_weight(ctx, &bytes);
    if (bytes != w->bytes || memcmp(own, w->packed, bytes) != 0)
        fault("another packed weight");
    for (unsigned i = 0; i < 8; i++) {
        packed_product(ctx, i % 2 ? own : w->packed, bytes, NB_GEMM_EXACT, y);
        if (memcmp(y, w->exact, sizeof y) != 0)
            fault("other bits of an exact product");
        packed_product(ctx, i % 2 ? w->packed : own, bytes, NB_GEMM_FAST, y);
        if (memcmp(y, w->fast, sizeof y) != 0)
            fault("other bits of a fast product");
    }
    free(own);
}

static void *shared_context_user(void *arg) {
    use_context(*(nb_ctx **)arg);
    return NULL;
}

static void *own_context_user(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < 4; i++) {
        nb_ctx *ctx = open_ctx(1 + i % 3);
        use_context(ctx);
        nb_ctx_close(ctx);
    }
    return NULL;
}

static void stress_products(void) {
    weight *w = &shared_weight;
    nb_random random = nb_random_seed(11);
    w->desc = (nb_weight_desc){.n = GEMM_N, .k = GEMM_K, .bits = 4, .group_size = GEMM_GROUP, .scale_type = NB_FLOAT_F32};
    for (size_t i = 0; i < sizeof w->codes; i++)
        w->codes[i] = (uint8_t)nb_random_below(&random, 16);
    for (size_t i = 0; i < sizeof w->zeros; i++) {
        w->zeros[i] = (uint8_t)nb_random_below(&random, 16);
        w->scales[i] = nb_random_f32(&random);
    }
    for (size_t i = 0; i < GEMM_M * GEMM_K; i++)
        w->x[i] = nb_random_f32(&random) - 0.5f;
    w->source = (nb_weight_source){.layout = NB_LAYOUT_CANONICAL, .scale_type = NB_FLOAT_F32, .codes = w->codes,
                                   .scales = w->scales, .zeros = w->zeros, .codes_bytes = sizeof w->codes,
                                   .scales_bytes = sizeof w->scales, .zeros_bytes = sizeof w->zeros};
    nb_ctx *ctx = open_ctx(1);
    w->packed = pack_weight(ctx, &w->bytes);
    packed_product(ctx, w->packed, w->bytes, NB_GEMM_EXACT, w->exact);
    packed_product(ctx, w->packed, w->bytes, NB_GEMM_FAST, w->fast);
    nb_ctx_close(ctx);
    run_callers(own_context_user, w, 0);
    nb_ctx *contexts[2] = {open_ctx(3), open_ctx(2)}, *uses[CALLERS];
    for (size_t i = 0; i < CALLERS; i++)
        uses[i] = contexts[i % 2];
    run_callers(shared_context_user, uses, sizeof *uses);
    nb_ctx_close(contexts[0]);
    nb_ctx_close(contexts[1]);
    free(w->packed);
}

int main(void) {
    stress_pool();
    stress_devices();
    stress_products();
    printf("%d faults\n", atomic_load(&faults));
    return atomic_load(&faults) != 0;
}
