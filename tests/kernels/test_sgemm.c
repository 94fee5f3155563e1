#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/base/random.h"

/* Shapes on both sides of the ways to cut the work: few rows (each task packs its own part of B) and many (B packed once, in
 * slabs of 2048 columns and chunks of 512 of k). Weights in f16: their conversion is exact, so the bound is that of the sum. */
static void check_shape(size_t m, size_t n, size_t k) {
    float *x = malloc(m * k * sizeof *x), *w = malloc(n * k * sizeof *w), *y = malloc(m * n * sizeof *y);
    float *first = malloc(m * n * sizeof *first);
    uint16_t *w16 = malloc(n * k * sizeof *w16);
    nb_random r = nb_random_seed(m + n + k);
    cr_assert(x && w && y && first && w16);
    for (size_t i = 0; i < m * k; i++)
        x[i] = nb_random_f32(&r) - 0.5f;
    for (size_t i = 0; i < n * k; i++)
        w[i] = nb_random_f32(&r) - 0.5f;
    nb_f16_from_f32(w, n * k, w16);
    nb_to_f32(NB_F16, w16, n * k, w);
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].op != NB_OP_linear || rows[i].backend != NB_CPU || rows[i].needs & ~nb_cpu_features())
            continue;
        for (unsigned threads = 1; threads <= 3; threads += 2) {
            nb_device_options options = {.threads = threads};
            nb_device *device;
            nb_stream *stream;
            cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
            cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
            for (size_t j = 0; j < m * n; j++)
                y[j] = 0.25f;
            struct nb_linear_args a = {.m = m, .n = n, .k = k, .x = nb_mem_host(x, 0), .w = nb_mem_host(w16, 0), .y = nb_mem_host(y, 0),
                                       .ldx = k, .ldy = n, .w_type = NB_F16, .accumulate = true};
            cr_assert_eq(nb_launch_row(stream, &rows[i], &a, NULL), NB_OK);
            if (threads == 1)
                memcpy(first, y, m * n * sizeof *y);
            cr_assert(!memcmp(first, y, m * n * sizeof *y), "%s: bits differ with %u threads", rows[i].name, threads);
            nb_stream_free(stream);
            nb_device_close(device);
        }
        for (size_t t = 0; t < 4000; t++) { /* outputs at random, and the corners */
            size_t p = t < 2 ? t * (m - 1) : nb_random_below(&r, (uint32_t)m), q = t < 2 ? t * (n - 1) : nb_random_below(&r, (uint32_t)n);
            double sum = 0.25, mag = 0.25;
            for (size_t l = 0; l < k; l++) {
                double v = (double)x[p * k + l] * (double)w[q * k + l];
                sum += v;
                mag += fabs(v);
            }
            cr_assert_leq(fabs((double)y[p * n + q] - sum), (double)(k + 4) * 0x1p-24 * mag, "%s %zu %zu %zu at %zu,%zu",
                          rows[i].name, m, n, k, p, q);
        }
    }
    free(x);
    free(w);
    free(y);
    free(first);
    free(w16);
}

Test(sgemm, few_rows) {
    check_shape(4, 1100, 33);
    check_shape(336, 300, 513);
}

Test(sgemm, many_rows_slabs_and_chunks) {
    check_shape(337, 2100, 40);
    check_shape(700, 65, 1030);
}
