#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/quant/internal.h"
#include "tests/quant/naive.h"

/* X = L^-1 of f, in place, by the operations; the status word. */
static uint32_t factor(float *f, size_t k, unsigned threads, const char *filter) {
    nb_device_options options = {.threads = threads, .kernel_filter = filter};
    nb_device *device;
    nb_stream *stream;
    struct nb_gptq_status status = {0};
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    float *temp = must_alloc(nb__factor_temp(k), 4);
    cr_assert_eq(nb__inverse_factor(stream, nb_mem_host(f, 0), k, nb_mem_host(temp, 0), nb_mem_host(&status, sizeof status), NULL),
                 NB_OK);
    free(temp);
    nb_stream_free(stream);
    nb_device_close(device);
    return status.pivot;
}

/* l := x^-1 in double, both lower triangular. */
static double *invert_lower(const float *x, size_t k) {
    double *l = must_alloc(k * k, 8);
    for (size_t i = 0; i < k; i++) {
        for (size_t c = 0; c < i; c++)
            for (size_t j = 0; j <= c; j++)
                l[i * k + j] -= (double)x[i * k + c] * l[c * k + j];
        l[i * k + i] = 1.0;
        for (size_t j = 0; j <= i; j++)
            l[i * k + j] /= (double)x[i * k + i];
    }
    return l;
}

/* |L L^T - f| in the Frobenius norm, of |f|. */
static double residual(const float *x, const float *f, size_t k) {
    double *l = invert_lower(x, k), off = 0.0, all = 0.0;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = 0.0, want = (double)f[i * k + j];
            for (size_t c = 0; c <= j; c++)
                sum += l[i * k + c] * l[j * k + c];
            off += (i == j ? 1.0 : 2.0) * (sum - want) * (sum - want);
            all += (i == j ? 1.0 : 2.0) * want * want;
        }
    free(l);
    return sqrt(off / all);
}

static float *damped(size_t k, float damp) {
    float *f = must_alloc(k * k, 4), mean = 0.0f;
    make_hessian(f, k, 3 * k / 2 + 1, k);
    for (size_t j = 0; j < k; j++)
        mean += f[j * k + j] / (float)k;
    for (size_t j = 0; j < k; j++)
        f[j * k + j] += damp * mean;
    return f;
}

/* Each of the k sums has relative error (k + 2) u; the inverse of the diagonal part adds a factor of cond(L), at most
 * sqrt(k (1 + damp) / damp) by the trace. The bound is far from sharp (errors are random), so a real fault, which is of the
 * order of 1, stands out. */
Test(factor, residual_is_within_the_bound) {
    static const size_t sizes[] = {1, 5, 63, 64, 65, 128, 130, 192, 200, 333, 576};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        size_t k = sizes[s];
        const double damp = 0.01;
        float *f = damped(k, (float)damp), *x = must_alloc(k * k, 4);
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j <= i; j++)
                x[i * k + j] = f[i * k + j];
        cr_assert_eq(factor(x, k, 2, NULL), 0);
        double bound = (double)(k + 2) * 0x1p-24 * sqrt((double)k * (1.0 + damp) / damp);
        double r = residual(x, f, k);
        cr_assert_leq(r, bound, "k %zu: %g over %g", k, r, bound);
        cr_assert_leq(r, 1e-4, "k %zu: %g", k, r);
        for (size_t i = 0; i < k; i++)
            for (size_t j = i + 1; j < k; j++)
                cr_assert_eq(x[i * k + j], 0.0f, "k %zu: above the diagonal at %zu,%zu", k, i, j);
        free(f);
        free(x);
    }
}

Test(factor, threads_do_not_change_bits) {
    enum { K = 700 };
    static const unsigned threads[] = {2, 3, 8};
    float *a = damped(K, 0.01f), *b = must_alloc(K * K, 4), *f = must_alloc(K * K, 4);
    memcpy(f, a, K * K * 4);
    cr_assert_eq(factor(a, K, 1, NULL), 0);
    for (size_t t = 0; t < 3; t++) {
        memcpy(b, f, K * K * 4);
        cr_assert_eq(factor(b, K, threads[t], NULL), 0);
        cr_assert(!memcmp(a, b, K * K * 4), "%u threads", threads[t]);
    }
    free(a);
    free(b);
    free(f);
}

Test(factor, every_instruction_set_is_within_the_bound) {
    enum { K = 200 };
    static const char *const filters[] = {NULL, "*_avx512", "*_avx512,*_avx2"};
    for (size_t i = 0; i < 3; i++) {
        float *f = damped(K, 0.01f), *x = must_alloc(K * K, 4);
        memcpy(x, f, K * K * 4);
        cr_assert_eq(factor(x, K, 2, filters[i]), 0);
        cr_assert_leq(residual(x, f, K), 1e-4);
        free(f);
        free(x);
    }
}

/* The first pivot that fails is named, wherever it is. */
Test(factor, a_pivot_that_is_not_positive_is_named) {
    enum { K = 200 };
    static const size_t where[] = {0, 63, 64, 127, 150, 199};
    for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        float *f = must_alloc(K * K, 4);
        for (size_t j = 0; j < K; j++)
            f[j * K + j] = j == where[i] ? -1.0f : 2.0f;
        cr_assert_eq(factor(f, K, 2, NULL), where[i] + 1);
        free(f);
    }
}

/* U = J X J is the upper Cholesky factor of H^-1: U^T U H = 1. */
Test(factor, reversed_it_is_the_upper_factor_of_the_inverse) {
    enum { K = 70 };
    float *h = damped(K, 0.05f), *x = must_alloc(K * K, 4);
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j <= i; j++)
            x[i * K + j] = h[(K - 1 - i) * K + K - 1 - j];
    cr_assert_eq(factor(x, K, 2, NULL), 0);
    double *inverse = must_alloc(K * K, 8);
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++)
            for (size_t c = 0; c < K; c++) /* U[c][i] = x[K-1-c][K-1-i] */
                inverse[i * K + j] += (double)x[(K - 1 - c) * K + K - 1 - i] * (double)x[(K - 1 - c) * K + K - 1 - j];
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++) {
            double sum = 0.0;
            for (size_t c = 0; c < K; c++)
                sum += inverse[i * K + c] * (double)h[c * K + j];
            cr_assert_float_eq(sum, i == j, 2e-3, "%zu,%zu: %g", i, j, sum); /* K u cond(H), cond <= K / 0.05 */
        }
    free(h);
    free(x);
    free(inverse);
}
