/* GPTQ with feedback over rows too. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/quant/naive.h"

enum { N = 112, K = 64, BATCH = 32 }; /* three batches of rows and a half */

typedef struct rig {
    nb_device *device;
    nb_stream *stream;
    float w[N * K], h[K * K], g[N * N], deq[N * K];
} rig;

static rig *rig_open(uint64_t seed) {
    rig *r = calloc(1, sizeof *r);
    nb_device_options options = {.threads = 2};
    cr_assert_eq(nb_device_open("cpu", &options, &r->device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(r->device, &r->stream, NULL), NB_OK);
    make_weight(r->w, N, K, seed);
    make_hessian(r->h, K, 300, seed + 1);
    make_hessian(r->g, N, 400, seed + 2);
    return r;
}

static void rig_close(rig *r) {
    nb_stream_free(r->stream);
    nb_device_close(r->device);
    free(r);
}

static nb_quant_report report; /* of the last run */

static nb_status run(rig *r, const nb_quant_options *o, const float *g, nb_qtensor *q, nb_err *err) {
    float *w = malloc(sizeof r->w);
    nb_quant_stats stats = {.hessian = nb_mem_host(r->h, sizeof r->h), .rows = 300};
    if (g)
        stats.output = nb_mem_host(g, sizeof r->g);
    memcpy(w, r->w, sizeof r->w);
    nb_status status = nb_quantizer_by_name("gptq")->run(r->stream, nb_mem_host(w, sizeof r->w), N, K, &stats, o, q, &report, err);
    memcpy(r->deq, w, sizeof r->w);
    free(w);
    return status;
}

/* tr(G E H E^T) */
static double two_sided_loss(const rig *r) {
    double *eh = calloc(N * K, sizeof *eh), sum = 0;
    for (size_t i = 0; i < N; i++)
        for (size_t c = 0; c < K; c++)
            for (size_t j = 0; j < K; j++)
                eh[i * K + j] += ((double)r->w[i * K + c] - (double)r->deq[i * K + c]) * (double)r->h[c * K + j];
    for (size_t i = 0; i < N; i++)
        for (size_t l = 0; l < N; l++)
            for (size_t j = 0; j < K; j++)
                sum += (double)r->g[i * N + l] * eh[l * K + j] * ((double)r->w[i * K + j] - (double)r->deq[i * K + j]);
    free(eh);
    return sum;
}

/* Outputs that do not depend on each other leave rows alone: whatever their weights, the tensor is GPTQ's, bit for bit. */
Test(two_sided, independent_outputs_change_nothing) {
    rig *r = rig_open(3);
    nb_quant_options o = nb_quant_defaults(K);
    nb_qtensor plain, both;
    o.group_size = 16;
    float *diagonal = calloc(N * N, sizeof *diagonal);
    for (size_t i = 0; i < N; i++)
        diagonal[i * N + i] = 0.1f + (float)(i * 37 % 11);
    cr_assert_eq(run(r, &o, NULL, &plain, NULL), NB_OK);
    for (int zero = 0; zero < 2; zero++) { /* as do outputs on which nothing depends */
        cr_assert_eq(run(r, &o, diagonal, &both, NULL), NB_OK);
        cr_assert(!memcmp(plain.codes, both.codes, N * K));
        cr_assert(!memcmp(plain.scales, both.scales, N * plain.groups * sizeof(float)));
        cr_assert(!memcmp(plain.zeros, both.zeros, N * plain.groups * sizeof(float)));
        for (size_t i = 0; i < N; i++) { /* and w is what the tensor says */
            float row[K];
            nb_qtensor_row(&both, i, row);
            cr_assert(!memcmp(row, r->deq + i * K, sizeof row), "row %zu", i);
        }
        nb_qtensor_free(&both);
        memset(diagonal, 0, N * N * sizeof *diagonal);
    }
    nb_qtensor_free(&plain);
    free(diagonal);
    rig_close(r);
}

/* G in double, damped. */
static double *damped_outputs(const rig *r, double damp) {
    double *g = must_alloc(N * N, sizeof *g), mean = 0;
    for (size_t i = 0; i < N; i++)
        mean += (double)r->g[i * (N + 1)] / N;
    for (size_t i = 0; i < N * N; i++)
        g[i] = (double)r->g[i] + (i % (N + 1) == 0 ? damp * mean : 0.0);
    return g;
}

/* Where the rows order[p .. end) should stand before they are rounded, those before them in `order` rounded with errors E = W - Q. While
 * all rows F from p on are free, tr(G E H E^T) is least where its derivative 2 (G_FF E_F + G_FP E_P) H is 0: they aim at
 * W_F - E_F = W_F + G_FF^-1 G_FP E_P. */
static void aim(const rig *r, const double *g, const size_t *order, size_t p, size_t end, float *target) {
    size_t rest = N - p;
    double *inverse = must_alloc(rest * rest, sizeof *inverse), *push = must_alloc(rest * K, sizeof *push);
    for (size_t a = 0; a < rest; a++) {
        for (size_t b = 0; b < rest; b++)
            inverse[a * rest + b] = g[order[p + a] * N + order[p + b]];
        for (size_t d = 0; d < p; d++)
            for (size_t j = 0; j < K; j++)
                push[a * K + j] += g[order[p + a] * N + order[d]] * ((double)r->w[order[d] * K + j] - (double)r->deq[order[d] * K + j]);
    }
    naive_invert(inverse, rest);
    for (size_t i = p; i < end; i++)
        for (size_t j = 0; j < K; j++) {
            double x = (double)r->w[order[i] * K + j];
            for (size_t a = 0; a < rest; a++)
                x += inverse[(i - p) * rest + a] * push[a * K + j];
            target[order[i] * K + j] = (float)x;
        }
    free(inverse);
    free(push);
}

/* Targets of all rows, each batch's from the errors that the run left in the batches before it; rows go by falling diagonal of G. */
static void aim_all(const rig *r, double damp, float *target) {
    double *g = damped_outputs(r, damp), diagonal[N];
    size_t order[N];
    for (size_t i = 0; i < N; i++) {
        diagonal[i] = (double)r->g[i * (N + 1)];
        order[i] = i;
    }
    naive_sort_falling(order, N, diagonal);
    for (size_t p = 0; p < N; p += BATCH)
        aim(r, g, order, p, p + BATCH < N ? p + BATCH : N, target);
    free(g);
}

/* How far F32 may put a weight from the textbook's, in steps: GPTQ's own 1e-3 (SLACK of test_gptq.c), and n u cond(L) of what was fed
 * to it, L L^T the damped G, whose eigenvalues are at most its trace n mean(diag) and at least damp mean(diag): cond(L)^2 <= 1 + n / damp. */
static double slack(const rig *r, const float *target, const nb_qtensor *q, double damp) {
    double most = 0;
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < K; j++)
            most = fmax(most, fabs((double)target[i * K + j] - (double)r->w[i * K + j]) / (double)q->scales[i * q->groups + j / q->group_size]);
    return 1e-3 + N * 0x1p-24 * sqrt(1 + N / damp) * most;
}

/* YAQA's feedback over rows (arXiv 2505.22988) by batches, in its closed form and in double: given the errors of the batches before it,
 * each batch is what the textbook's GPTQ makes of the rows that minimise tr(G E H E^T), all codes of it but for ties. So feedback goes from
 * each batch to every later one, whole. Few rows may have ties, as a row is not compared past one. */
Test(two_sided, equals_the_textbook) {
    for (int i = 0; i < 8; i++) {
        rig *r = rig_open(200 + 10 * (uint64_t)i);
        float *target = must_alloc(N * K, sizeof *target);
        nb_quant_options o = nb_quant_defaults(K);
        nb_qtensor q;
        o.group_size = 16;
        o.bits = i & 1 ? 3 : 4;
        o.symmetric = i & 2;
        o.output_damp = i & 4 ? 1.0 : 0.25;
        cr_assert_eq(run(r, &o, r->g, &q, NULL), NB_OK);
        cr_assert(report.output_damp_used == o.output_damp && report.damp_used == o.damp);
        aim_all(r, o.output_damp, target);
        naive_result naive = naive_gptq(target, r->h, N, K, &o, o.damp);
        size_t ties = naive_ties(&q, &naive, &o, slack(r, target, &q, o.output_damp));
        cr_assert_leq(ties * 10, N, "case %d: %zu of %d rows have ties", i, ties, N);
        naive_free(&naive);
        nb_qtensor_free(&q);
        free(target);
        rig_close(r);
    }
}

/* Correlated outputs: the error that both sides weigh falls, by a tenth at the least on average, though rows of a batch do not see
 * each other. */
Test(two_sided, lowers_the_error_of_both_sides) {
    double ratios = 0;
    enum { TRIALS = 8 };
    for (int i = 0; i < TRIALS; i++) {
        rig *r = rig_open(50 + 10 * (uint64_t)i);
        nb_quant_options o = nb_quant_defaults(K);
        nb_qtensor q;
        o.group_size = 16;
        o.bits = i & 1 ? 3 : 4;
        o.symmetric = i & 2;
        o.scales = i & 4 ? NB_SCALES_SEARCH : NB_SCALES_MINMAX;
        cr_assert_eq(run(r, &o, NULL, &q, NULL), NB_OK);
        double plain = two_sided_loss(r);
        nb_qtensor_free(&q);
        cr_assert_eq(run(r, &o, r->g, &q, NULL), NB_OK);
        double both = two_sided_loss(r);
        nb_qtensor_free(&q);
        cr_assert_lt(both, plain, "case %d: %g, without %g", i, both, plain);
        ratios += both / plain / TRIALS;
        rig_close(r);
    }
    cr_assert_lt(ratios, 0.9, "%g of GPTQ's error", ratios);
}

/* With a thousand times G's mean diagonal on it a row's error reaches others by less than a thousandth: few codes are not GPTQ's. */
Test(two_sided, damping_of_rows_holds_them_apart) {
    rig *r = rig_open(6);
    nb_quant_options o = nb_quant_defaults(K);
    nb_qtensor q[3];
    size_t differ[3] = {0};
    o.group_size = 16;
    for (int i = 0; i < 3; i++) {
        o.output_damp = i == 2 ? 1000.0 : nb_output_damp_for(16384);
        cr_assert_eq(run(r, &o, i ? r->g : NULL, &q[i], NULL), NB_OK);
        for (size_t j = 0; j < N * K; j++)
            differ[i] += q[i].codes[j] != q[0].codes[j];
    }
    cr_expect_gt(differ[1], N * K / 5, "%zu of %d", differ[1], N * K);
    cr_expect_lt(differ[2], N * K / 50, "%zu of %d", differ[2], N * K);
    for (int i = 0; i < 3; i++)
        nb_qtensor_free(&q[i]);
    rig_close(r);
}

/* A matrix that is no covariance: -5 beside a diagonal of 1, eigenvalues 1 - 5 (N - 1) and 6. The damping that helps is reported. */
Test(two_sided, raised_damping_is_reported) {
    rig *r = rig_open(6);
    nb_quant_options o = nb_quant_defaults(K);
    nb_qtensor q;
    o.group_size = 16;
    for (size_t i = 0; i < N * N; i++)
        r->g[i] = i % (N + 1) == 0 ? 1.0f : -5.0f;
    cr_assert_eq(run(r, &o, r->g, &q, NULL), NB_OK);
    cr_expect_gt(report.output_damp_used, 5.0 * (N - 1) - 1.0);
    cr_expect_eq(report.output_damp_raised, 4, "%u: 2.5, 25, 250, 1000", report.output_damp_raised);
    nb_qtensor_free(&q);
    rig_close(r);
}

Test(two_sided, bad_statistics_are_refused) {
    rig *r = rig_open(4);
    nb_quant_options o = nb_quant_defaults(K);
    nb_qtensor q;
    nb_err err = {0};
    o.group_size = 16;
    float *zeros = calloc(N * N, sizeof *zeros);
    for (int i = 0; i < 3; i++) {
        zeros[5 * N + 5] = i == 0 ? NAN : i == 1 ? -1.0f : 1.0f;
        zeros[5 * N + 6] = i == 2 ? INFINITY : 0.0f;
        cr_assert_eq(run(r, &o, zeros, &q, &err), NB_E_INPUT, "%d: %s", i, err.text);
    }
    o.order = NB_ORDER_ACT;
    cr_assert_eq(run(r, &o, r->g, &q, &err), NB_E_USAGE, "%s", err.text);
    o.order = NB_ORDER_GROUP_AWARE;
    o.output_damp = NAN;
    cr_assert_eq(run(r, &o, r->g, &q, &err), NB_E_USAGE, "%s", err.text);
    free(zeros);
    rig_close(r);
}
