/* Asymmetric calibration: the target against its closed form in double, and what it is for. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "tests/quant/naive.h"

enum { N = 16, K = 48, ROWS = 400 };

typedef struct problem {
    float w[N * K], xo[ROWS * K], x[ROWS * K], h[K * K], cross[K * K]; /* xo: the original's inputs */
} problem;

static problem *make(uint64_t seed) {
    problem *p = must_alloc(1, sizeof *p);
    nb_random r = nb_random_seed(seed);
    make_weight(p->w, N, K, seed);
    for (size_t t = 0; t < ROWS; t++) {
        float common = nb_random_f32(&r) - 0.5f, drift = nb_random_f32(&r) - 0.5f;
        for (size_t j = 0; j < K; j++) {
            p->xo[t * K + j] = (0.2f + (float)(j % 7) * 0.3f) * (common + nb_random_f32(&r) - 0.5f);
            p->x[t * K + j] = 0.93f * p->xo[t * K + j] + 0.15f * drift * (float)(j % 3) + 0.05f * (nb_random_f32(&r) - 0.5f);
        }
    }
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++) {
            double h = 0, c = 0;
            for (size_t t = 0; t < ROWS; t++) {
                h += (double)p->x[t * K + i] * (double)p->x[t * K + j];
                c += (double)p->xo[t * K + i] * (double)p->x[t * K + j];
            }
            p->h[i * K + j] = (float)(h * 2.0 / ROWS);
            p->cross[i * K + j] = (float)(c * 2.0 / ROWS);
        }
    return p;
}

static nb_quant_options settings(double asym, nb_column_order order) {
    nb_quant_options o = nb_quant_defaults(K);
    o.group_size = 16;
    o.order = order;
    o.asym = asym;
    return o;
}

static nb_status run_cross(const problem *p, const nb_quant_options *o, nb_qtensor *q, float *deq) {
    nb_device_options device_options = {.threads = 2};
    nb_device *device;
    nb_stream *stream;
    nb_mem w = {0}, h = {0}, cross = {0};
    nb_quant_report report;
    cr_assert_eq(nb_device_open("cpu", &device_options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    cr_assert_eq(nb_alloc(device, sizeof p->w, &w, NULL), NB_OK);
    cr_assert_eq(nb_alloc(device, sizeof p->h, &h, NULL), NB_OK);
    cr_assert_eq(nb_alloc(device, sizeof p->cross, &cross, NULL), NB_OK);
    cr_assert_eq(nb_upload(stream, w, p->w, sizeof p->w, NULL), NB_OK);
    cr_assert_eq(nb_upload(stream, h, p->h, sizeof p->h, NULL), NB_OK);
    cr_assert_eq(nb_upload(stream, cross, p->cross, sizeof p->cross, NULL), NB_OK);
    nb_quant_stats stats = {.hessian = h, .cross = cross, .rows = ROWS};
    nb_status status = nb_quantizer_by_name("gptq")->run(stream, w, N, K, &stats, o, q, &report, NULL);
    if (status == NB_OK && deq)
        cr_assert_eq(nb_download(stream, deq, w, sizeof p->w, NULL), NB_OK);
    nb_sync(stream, NULL);
    nb_release(device, &w);
    nb_release(device, &h);
    nb_release(device, &cross);
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}

/* W + part W (C - H) (H + damp mean I)^-1 by elimination, rows of D = W (C - H) as right-hand sides (H is symmetric). */
static void closed_form(const problem *p, double part, double damp, float *out) {
    static double a[K][K + N];
    double mean = 0;
    for (size_t j = 0; j < K; j++)
        mean += (double)p->h[j * K + j] / K;
    for (size_t i = 0; i < K; i++) {
        for (size_t j = 0; j < K; j++)
            a[i][j] = (double)p->h[i * K + j] + (i == j ? damp * mean : 0.0);
        for (size_t r = 0; r < N; r++) {
            a[i][K + r] = 0;
            for (size_t l = 0; l < K; l++)
                a[i][K + r] += (double)p->w[r * K + l] * ((double)p->cross[l * K + i] - (double)p->h[l * K + i]);
        }
    }
    for (size_t c = 0; c < K; c++) /* positive definite: no pivoting */
        for (size_t i = 0; i < K; i++) {
            double f = a[i][c] / a[c][c];
            for (size_t j = c; i != c && j < K + N; j++)
                a[i][j] -= f * a[c][j];
        }
    for (size_t r = 0; r < N; r++)
        for (size_t j = 0; j < K; j++)
            out[r * K + j] = (float)((double)p->w[r * K + j] + part * a[j][K + r] / a[j][j]);
}

/* The solver rounds in f32, so that a code within about 1e-4 steps of a tie may go either way, one in some 10^4 of the 768,
 * and takes the rest of its row with it: at most one row may differ. */
static void check_target(double part, nb_column_order order) {
    problem *p = make(3 + order);
    float *target = must_alloc(N * K, 4);
    nb_quant_options o = settings(part, order), plain = settings(0.0, order);
    nb_qtensor got;
    closed_form(p, part, o.damp, target);
    nb_qtensor want = must_run("gptq", target, p->h, N, K, &plain, NULL, NULL);
    nb_qtensor without = must_run("gptq", p->w, p->h, N, K, &plain, NULL, NULL);
    cr_assert_eq(run_cross(p, &o, &got, NULL), NB_OK);
    size_t differ = 0, changed = 0;
    for (size_t i = 0; i < N; i++) {
        differ += memcmp(want.codes + i * K, got.codes + i * K, K) != 0;
        changed += memcmp(without.codes + i * K, got.codes + i * K, K) != 0;
    }
    cr_assert_leq(differ, 1, "part %g order %d: %zu rows differ", part, (int)order, differ);
    cr_assert_gt(changed, N / 2, "the target must matter");
    nb_qtensor_free(&want);
    nb_qtensor_free(&without);
    nb_qtensor_free(&got);
    free(target);
    free(p);
}

Test(asym, the_target_is_the_closed_form) {
    check_target(1.0, NB_ORDER_GROUP_AWARE);
    check_target(0.5, NB_ORDER_GROUP_AWARE);
    check_target(1.0, NB_ORDER_STORED);
    check_target(0.5, NB_ORDER_ACT);
    check_target(1.0, NB_ORDER_ACT_STATIC);
}

/* sum |W xo - Q x|^2. */
static double output_error(const problem *p, const float *q) {
    double sum = 0;
    for (size_t t = 0; t < ROWS; t++)
        for (size_t i = 0; i < N; i++) {
            double e = 0;
            for (size_t j = 0; j < K; j++)
                e += (double)p->w[i * K + j] * (double)p->xo[t * K + j] - (double)q[i * K + j] * (double)p->x[t * K + j];
            sum += e * e;
        }
    return sum;
}

Test(asym, brings_the_output_nearer_to_the_original) {
    for (uint64_t seed = 0; seed < 5; seed++) {
        problem *p = make(seed);
        float *deq = must_alloc(N * K, 4);
        double error[3];
        for (int i = 0; i < 3; i++) {
            nb_quant_options o = settings(0.5 * i, NB_ORDER_GROUP_AWARE);
            nb_qtensor q;
            cr_assert_eq(run_cross(p, &o, &q, deq), NB_OK);
            error[i] = output_error(p, deq);
            nb_qtensor_free(&q);
        }
        cr_assert(error[1] < error[0] && error[2] < error[1], "seed %d: %g %g %g", (int)seed, error[0], error[1], error[2]);
        free(deq);
        free(p);
    }
}

Test(asym, off_means_that_the_cross_term_is_not_looked_at) {
    problem *p = make(9);
    nb_quant_options o = settings(0.0, NB_ORDER_GROUP_AWARE);
    nb_qtensor want = must_run("gptq", p->w, p->h, N, K, &o, NULL, NULL), got;
    cr_assert_eq(run_cross(p, &o, &got, NULL), NB_OK);
    cr_assert(!memcmp(want.codes, got.codes, N * K) && !memcmp(want.scales, got.scales, N * K / 16 * 4));
    nb_qtensor_free(&want);
    nb_qtensor_free(&got);
    free(p);
}

Test(asym, a_part_outside_0_to_1_is_refused) {
    problem *p = make(1);
    static const double bad[] = {-0.1, 1.1, NAN};
    nb_qtensor q;
    for (int i = 0; i < 3; i++) {
        nb_quant_options o = settings(bad[i], NB_ORDER_GROUP_AWARE);
        cr_assert_eq(run_cross(p, &o, &q, NULL), NB_E_USAGE);
    }
    free(p);
}
