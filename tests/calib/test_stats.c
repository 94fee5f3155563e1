/* Statistics of inputs against sums in double precision. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "host/base/random.h"
#include "host/calib/stats.h"

enum { ROWS = 5000, K = 12 }; /* more rows than are multiplied at once, and no multiple of them */

static float *numbers(size_t count, nb_random *random) {
    float *out = malloc(count * sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i] = 2.0f * nb_random_f32(random) - 1.0f;
    return out;
}

/* (2 / rows) sum_t f_t^2 a_ti b_tj and the sum of its terms' sizes. */
static double wanted(const float *a, const float *b, const float *f, size_t i, size_t j, double *size) {
    double sum = 0;
    *size = 0;
    for (size_t t = 0; t < ROWS; t++) {
        double factor = f ? (double)f[t] : 1.0, term = factor * (double)a[t * K + i] * factor * (double)b[t * K + j];
        sum += term;
        *size += fabs(term);
    }
    *size *= 2.0 / ROWS;
    return sum * 2.0 / ROWS;
}

/* Each of the inputs is rounded once more where there are factors, and terms are added in f32 in chunks of 256 (hessian) or in some
 * order (matmul): (rows + 4) u of the terms' sizes bounds both. */
static void check(const float *got, const float *a, const float *b, const float *f, const char *name) {
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++) {
            double size, want = wanted(a, b, f, i, j, &size);
            cr_assert_float_eq((double)got[i * K + j], want, (ROWS + 4) * 0x1p-24 * size, "%s %zu, %zu", name, i, j);
        }
}

Test(stats, hessian_and_cross_with_and_without_factors) {
    nb_device_options none = {0};
    nb_random random = nb_random_seed(1);
    float *x = numbers(ROWS * K, &random), *exact = numbers(ROWS * K, &random), *factor = numbers(ROWS, &random);
    nb_device *device;
    nb_stream *stream;
    cr_assert_eq(nb_device_open("cpu", &none, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    for (int with = 0; with < 4; with++) {
        nb_inputs in = {.x = nb_mem_host(x, ROWS * K * 4), .rows = ROWS, .k = K};
        nb_mem hessian = {0}, cross = {0};
        const float *f = with & 1 ? factor : NULL;
        if (with & 1)
            in.factor = nb_mem_host(factor, ROWS * 4);
        if (with & 2)
            in.exact = nb_mem_host(exact, ROWS * K * 4);
        cr_assert_eq(nb_calib_statistics(stream, &in, &hessian, &cross, NULL), NB_OK);
        check(nb_host(hessian), x, x, f, "hessian");
        cr_assert_eq(cross.base != NULL, (with & 2) != 0);
        if (with & 2)
            check(nb_host(cross), exact, x, f, "cross");
        nb_release(device, &hessian);
        nb_release(device, &cross);
    }
    nb_stream_free(stream);
    nb_device_close(device);
    free(x);
    free(exact);
    free(factor);
}
