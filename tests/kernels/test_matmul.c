#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/base/alloc.h"
#include "host/base/random.h"

enum { MAX = 600 };
static float a[MAX * MAX], b[MAX * MAX], c[MAX * MAX + 64], first[MAX * MAX];

static void fill(float *p, size_t count, uint64_t seed) {
    nb_random r = nb_random_seed(seed);
    for (size_t i = 0; i < count; i++)
        p[i] = nb_random_f32(&r) - 0.5f;
}

/* |sum - exact| <= gamma_k * sum|a||b|, gamma_k = k u / (1 - k u), u = 2^-24, plus the product with alpha. */
static void check(const struct nb_matmul_args *g, float before) {
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            double sum = 0, mag = 0;
            for (size_t l = 0; l < g->k; l++) {
                double x = (double)(g->trans_a ? a[l * g->lda + i] : a[i * g->lda + l]);
                double y = (double)(g->trans_b ? b[j * g->ldb + l] : b[l * g->ldb + j]);
                sum += x * y;
                mag += fabs(x * y);
            }
            double want = (double)g->alpha * sum + (double)g->beta * (double)before;
            double bound = (double)(g->k + 4) * 0x1p-24 * (fabs((double)g->alpha) * mag + fabs((double)before)) * 1.001;
            cr_assert_leq(fabs((double)c[i * g->ldc + j] - want), bound, "m %zu n %zu k %zu at %zu,%zu", g->m, g->n, g->k,
                          i, j);
        }
}

static void run_rows(const struct nb_matmul_args *g) {
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].op != NB_OP_matmul || rows[i].backend != NB_CPU || rows[i].needs & ~nb_cpu_features())
            continue;
        for (unsigned threads = 1; threads <= 3; threads++) {
            nb_device_options options = {.threads = threads};
            nb_device *device;
            nb_stream *stream;
            cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
            cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
            for (size_t j = 0; j < MAX * MAX + 64; j++)
                c[j] = 3.0f;
            cr_assert_eq(nb_launch_row(stream, &rows[i], g, NULL), NB_OK);
            check(g, 3.0f);
            for (size_t r = 0; r < g->m; r++)
                for (size_t j = g->n; j < g->ldc && r + 1 < g->m; j++)
                    cr_assert_eq(c[r * g->ldc + j], 3.0f, "%s wrote past a row", rows[i].name);
            if (threads == 1)
                memcpy(first, c, sizeof first);
            else
                cr_assert(!memcmp(first, c, sizeof first), "%s: bits differ with %u threads", rows[i].name, threads);
            nb_stream_free(stream);
            nb_device_close(device);
        }
    }
}

Test(matmul, all_rows_agree_with_the_sum_in_double) {
    static const size_t shapes[][3] = {{1, 1, 1}, {14, 32, 8}, {15, 33, 257}, {6, 16, 256}, {5, 300, 31}, {520, 7, 40}};
    fill(a, MAX * MAX, 1);
    fill(b, MAX * MAX, 2);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int form = 0; form < 4; form++) {
            struct nb_matmul_args g = {.m = shapes[s][0], .n = shapes[s][1], .k = shapes[s][2], .lda = MAX, .ldb = MAX,
                                       .ldc = shapes[s][1] + 5, .trans_a = form & 1, .trans_b = form & 2,
                                       .alpha = form == 3 ? -1.0f : 1.0f, .beta = form == 0 ? 0.0f : form == 2 ? 0.5f : 1.0f};
            g.a = nb_mem_host(a, sizeof a);
            g.b = nb_mem_host(b, sizeof b);
            g.c = nb_mem_host(c, sizeof c);
            run_rows(&g);
        }
}

/* Y = X W^T with W in f16: the conversion is exact, so the bound is that of the f32 sum. */
Test(linear, stored_types_and_bias) {
    enum { M = 9, N = 45, K = 96 };
    static uint16_t w16[N * K];
    static float bias[N];
    fill(a, M * K, 3);
    fill(b, N * K, 4);
    fill(bias, N, 5);
    nb_f16_from_f32(b, N * K, w16);
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    nb_device_options options = {.threads = 2};
    nb_device *device;
    nb_stream *stream;
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].op != NB_OP_linear || rows[i].backend != NB_CPU || rows[i].needs & ~nb_cpu_features())
            continue;
        for (size_t m = 1; m <= M; m += 2) {
            struct nb_linear_args g = {.m = m, .n = N, .k = K, .ldx = K, .ldy = N, .w_type = NB_F16};
            g.x = nb_mem_host(a, sizeof a);
            g.w = nb_mem_host(w16, sizeof w16);
            g.bias = nb_mem_host(bias, sizeof bias);
            g.y = nb_mem_host(c, sizeof c);
            cr_assert_eq(nb_launch_row(stream, &rows[i], &g, NULL), NB_OK);
            for (size_t r = 0; r < m; r++)
                for (size_t j = 0; j < N; j++) {
                    double sum = (double)bias[j], mag = fabs(sum);
                    for (size_t l = 0; l < K; l++) {
                        double t = (double)a[r * K + l] * (double)nb_f16_to_f32(w16[j * K + l]);
                        sum += t;
                        mag += fabs(t);
                    }
                    cr_assert_leq(fabs((double)c[r * N + j] - sum), (K + 2) * 0x1p-24 * mag * 1.001);
                }
        }
    }
    nb_stream_free(stream);
    nb_device_close(device);
}

Test(linear, a_type_that_cannot_be_read_is_refused) {
    nb_device_options options = {.threads = 1};
    nb_device *device;
    nb_stream *stream;
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    struct nb_linear_args g = {.m = 1, .n = 1, .k = 100, .ldx = 100, .ldy = 1, .w_type = NB_Q4_K};
    nb_err err = {0};
    cr_assert_eq(nb_launch(stream, NB_OP_linear, &g, &err), NB_E_UNSUPPORTED);
    nb_stream_free(stream);
    nb_device_close(device);
}
