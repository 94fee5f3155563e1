/* Speed of the GPTQ solver's parts against the machine's matrix product:
 *   peak        matmul of 2048^3
 *   hessian     16384 rows, counted as rows * k^2 FLOP (one triangle)
 *   factor      L^-1 of the damped Hessian, counted as 2/3 k^3 FLOP: 1/3 for Cholesky, 1/3 for the triangular inverse
 *   solve       blocks and their spreading, counted as n * k^2 FLOP
 *   whole       a run of the quantizer, with transfers, order, factorization and solve
 * Each figure is the best of several runs. usage: bench_gptq [threads ...], default 1 2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/base/random.h"
#include "host/quant/internal.h"

static nb_device *device;
static nb_stream *stream;
static double peak;

static void must(nb_status status, const nb_err *err) {
    if (status != NB_OK) {
        fprintf(stderr, "bench_gptq: %s\n", err->text);
        exit(nb_status_exit_code(status));
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static nb_mem buffer(size_t floats) {
    nb_err err = {0};
    nb_mem m;
    must(nb_alloc_array(device, floats, sizeof(float), &m, &err), &err);
    return m;
}

static void upload_noise(nb_mem m, size_t count, uint64_t seed) {
    nb_err err = {0};
    float *host = malloc(count * sizeof *host);
    nb_random r = nb_random_seed(seed);
    for (size_t i = 0; host && i < count; i++)
        host[i] = nb_random_f32(&r) - 0.5f;
    must(host ? nb_upload(stream, m, host, count * sizeof *host, &err) : NB_E_MEMORY, &err);
    must(nb_sync(stream, &err), &err);
    free(host);
}

static void row(const char *what, size_t n, size_t k, double seconds, double flop) {
    double gflops = flop / seconds * 1e-9;
    printf("%-8s %6zu %6zu %9.4f s %8.1f GFLOP/s %5.2f of peak\n", what, n, k, seconds, gflops,
           peak > 0.0 ? gflops / peak : 1.0);
    fflush(stdout);
}

static void bench_peak(void) {
    enum { S = 2048 };
    nb_err err = {0};
    nb_mem a = buffer(S * S), b = buffer(S * S), c = buffer(S * S);
    upload_noise(a, S * S, 1);
    upload_noise(b, S * S, 2);
    struct nb_matmul_args g = {.m = S, .n = S, .k = S, .a = a, .b = b, .c = c, .lda = S, .ldb = S, .ldc = S,
                               .trans_b = true, .alpha = 1.0f};
    double best = 1e30;
    for (int i = 0; i < 7; i++) {
        double t = now();
        must(nb_launch(stream, NB_OP_matmul, &g, &err), &err);
        must(nb_sync(stream, &err), &err);
        best = now() - t < best ? now() - t : best;
    }
    peak = 2.0 * S * S * S / best * 1e-9;
    row("peak", S, S, best, 2.0 * S * S * S);
    nb_release(device, &a);
    nb_release(device, &b);
    nb_release(device, &c);
}

/* h := X^T X * 2 / rows of noise. */
static nb_mem bench_hessian(size_t k, int runs, bool print) {
    enum { ROWS = 16384 };
    nb_err err = {0};
    nb_mem x = buffer(ROWS * k), h = buffer(k * k);
    upload_noise(x, ROWS * k, 3);
    struct nb_hessian_args a = {.rows = ROWS, .k = k, .x = x, .ldx = k, .h = h, .ldh = k, .scale = 2.0f / ROWS, .mirror = true};
    double best = 1e30;
    for (int i = 0; i < runs; i++) {
        must(nb_fill(stream, h, 0, k * k * sizeof(float), &err), &err);
        double t = now();
        must(nb_launch(stream, NB_OP_hessian, &a, &err), &err);
        must(nb_sync(stream, &err), &err);
        best = now() - t < best ? now() - t : best;
    }
    if (print)
        row("hessian", ROWS, k, best, (double)ROWS * (double)k * (double)k);
    nb_release(device, &x);
    return h;
}

static void bench_factor(nb_mem h, size_t k, int runs) {
    nb_err err = {0};
    nb_mem f = buffer(k * k), temp = buffer(nb__factor_temp(k)), status = buffer(8), perm = buffer(k);
    struct nb_gptq_status seen = {.mean = 0.1f};
    uint32_t *order = malloc(k * sizeof *order);
    for (uint32_t j = 0; order && j < k; j++)
        order[j] = j;
    must(order ? nb_upload(stream, perm, order, k * sizeof *order, &err) : NB_E_MEMORY, &err);
    must(nb_upload(stream, status, &seen, sizeof seen, &err), &err);
    struct nb_hessian_order_args a = {.k = k, .h = h, .ldh = k, .perm = perm, .damp = 0.01f, .f = f, .ldf = k,
                                      .status = status};
    double best = 1e30;
    for (int i = 0; i < runs; i++) {
        must(nb_launch(stream, NB_OP_hessian_order, &a, &err), &err);
        must(nb_sync(stream, &err), &err);
        double t = now();
        must(nb__inverse_factor(stream, f, k, temp, status, &err), &err);
        must(nb_sync(stream, &err), &err);
        best = now() - t < best ? now() - t : best;
    }
    row("factor", k, k, best, 2.0 / 3.0 * (double)k * (double)k * (double)k);
    free(order);
    nb_release(device, &f);
    nb_release(device, &temp);
    nb_release(device, &status);
    nb_release(device, &perm);
}

static void bench_whole(nb_mem h, size_t n, size_t k, int runs) {
    nb_err err = {0};
    const nb_quantizer *gptq = nb_quantizer_by_name("gptq");
    nb_mem w = buffer(n * k);
    nb_quant_options o = nb_quant_defaults(k);
    o.group_size = 64;
    nb_quant_stats stats = {.hessian = h, .rows = 16384};
    nb_quant_report best = {.solve_seconds = 1e30};
    double whole = 1e30;
    for (int i = 0; i < runs; i++) {
        nb_quant_report report;
        nb_qtensor q;
        upload_noise(w, n * k, 4);
        double t = now();
        must(gptq->run(stream, w, n, k, &stats, &o, &q, &report, &err), &err);
        whole = now() - t < whole ? now() - t : whole;
        best = report.solve_seconds < best.solve_seconds ? report : best;
        nb_qtensor_free(&q);
    }
    double flop = (double)n * (double)k * (double)k;
    row("solve", n, k, best.solve_seconds, flop);
    row("whole", n, k, whole, flop + 2.0 / 3.0 * (double)k * (double)k * (double)k);
    nb_release(device, &w);
}

static void bench_threads(unsigned threads) {
    static const size_t sizes[] = {576, 1536, 4096};
    static const size_t shapes[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {4096, 4096}};
    nb_err err = {0};
    nb_device_options options = {.threads = threads};
    must(nb_device_open("cpu", &options, &device, &err), &err);
    must(nb_stream_new(device, &stream, &err), &err);
    printf("%u threads\n", threads);
    peak = 0.0;
    bench_peak();
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t k = sizes[s];
        nb_mem h = bench_hessian(k, k > 2000 ? 2 : 5, true);
        bench_factor(h, k, k > 2000 ? 3 : 7);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            if (shapes[i][1] == k)
                bench_whole(h, shapes[i][0], k, k > 2000 ? 3 : 7);
        nb_release(device, &h);
    }
    nb_stream_free(stream);
    nb_device_close(device);
}

int main(int argc, char **argv) {
    if (argc == 1) {
        bench_threads(1);
        bench_threads(2);
    }
    for (int i = 1; i < argc; i++)
        bench_threads((unsigned)strtoul(argv[i], NULL, 10));
    return 0;
}
