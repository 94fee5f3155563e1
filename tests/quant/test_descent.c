/* Coordinate descent: never worse, and at its end no coordinate can be bettered, by brute force. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/quant/naive.h"

enum { N = 12, K = 48 };

typedef struct made {
    nb_qtensor q;
    float deq[N * K];
    nb_quant_report report;
} made;

static made solve(const float *w, const float *h, nb_quant_options o, unsigned sweeps) {
    made m;
    o.descent = sweeps;
    m.q = must_run("gptq", w, h, N, K, &o, m.deq, &m.report);
    return m;
}

/* Rows of tr(E H E^T) fall; the reported loss is that of the codes. f32 products of 48 terms with cancellation: 1e-4 of it. */
static void check_falls(uint64_t seed, nb_quant_options o) {
    float w[N * K], h[K * K];
    make_weight(w, N, K, seed);
    make_hessian(h, K, 200, seed + 1);
    double last[N], first = 0, sum = 0;
    for (unsigned sweeps = 0; sweeps <= 4; sweeps++) {
        made m = solve(w, h, o, sweeps);
        sum = 0;
        for (size_t i = 0; i < N; i++) {
            double loss = quad_loss(w + i * K, m.deq + i * K, h, 1, K);
            sum += loss;
            if (sweeps)
                cr_assert_leq(loss, last[i] * (1 + 1e-5) + 1e-12, "seed %u, sweep %u, row %zu: %g after %g", (unsigned)seed,
                              sweeps, i, loss, last[i]);
            last[i] = loss;
        }
        first = sweeps ? first : sum;
        cr_assert_float_eq(m.report.loss * N * K, sum, 1e-4 * sum);
        nb_qtensor_free(&m.q);
    }
    cr_assert_lt(sum, first, "four sweeps gained nothing: %g of %g", sum, first);
}

Test(descent, rows_never_get_worse) {
    static const size_t groups[] = {16, 24, 48, 20};
    for (uint64_t seed = 0; seed < 24; seed++) {
        nb_quant_options o = nb_quant_defaults(K);
        o.bits = 2 + (unsigned)(seed % 3);
        o.group_size = groups[seed / 3 % 4];
        o.symmetric = seed & 1;
        o.order = (nb_column_order)(seed / 4 % 4);
        o.scales = seed & 2 ? NB_SCALES_SEARCH : NB_SCALES_MINMAX;
        check_falls(seed, o);
    }
}

/* At the end no code can be changed for the better, whatever its new value; dead columns keep their zero point. */
Test(descent, ends_where_no_code_can_be_bettered) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        float w[N * K], h[K * K], row[K];
        nb_quant_options o = nb_quant_defaults(K);
        o.group_size = 16;
        o.bits = seed & 1 ? 3 : 2;
        o.symmetric = seed & 2;
        make_weight(w, N, K, seed + 50);
        make_hessian(h, K, 200, seed + 51);
        for (size_t j = 0; j < K; j++)
            h[7 * K + j] = h[j * K + 7] = 0.0f;
        made m = solve(w, h, o, 200);
        for (size_t i = 0; i < N; i++) {
            cr_assert_float_eq(m.deq[i * K + 7], 0.0f, 0.0f);
            w[i * K + 7] = 0.0f; /* as the solver takes it */
            double loss = quad_loss(w + i * K, m.deq + i * K, h, 1, K);
            for (size_t j = 0; j < K; j++)
                for (unsigned code = 0; code < 1u << o.bits; code++) {
                    size_t g = i * m.q.groups + j / o.group_size;
                    memcpy(row, m.deq + i * K, sizeof row);
                    row[j] = ((float)code - m.q.zeros[g]) * m.q.scales[g];
                    double other = quad_loss(w + i * K, row, h, 1, K);
                    cr_assert_geq(other, loss * (1 - 1e-5), "seed %u, row %zu, column %zu: code %u has %g, not %g",
                                  (unsigned)seed, i, j, code, other, loss);
                }
        }
        nb_qtensor_free(&m.q);
    }
}

/* With three columns the least error over all codes, scales of F16 near the range's and zeros can be found by trying them all.
 * Descent ends in a local minimum: most rows must reach the least, and none may pass it. */
Test(descent, reaches_the_optimum_of_small_rows) {
    enum { ROWS = 24, COLS = 3, CODES = 4 };
    float w[ROWS * COLS], deq[ROWS * COLS];
    const float h[COLS * COLS] = {2.0f, 0.5f, -0.3f, 0.5f, 1.0f, 0.2f, -0.3f, 0.2f, 3.0f};
    make_weight(w, ROWS, COLS, 9);
    nb_quant_options o = nb_quant_defaults(COLS);
    o.bits = 2;
    o.group_size = COLS;
    o.descent = 50;
    nb_qtensor q = must_run("gptq", w, h, ROWS, COLS, &o, deq, NULL);
    size_t reached = 0;
    for (size_t i = 0; i < ROWS; i++) {
        double got = quad_loss(w + i * COLS, deq + i * COLS, h, 1, COLS), least = INFINITY;
        for (unsigned all = 0; all < CODES * CODES * CODES * CODES; all++) {
            double c[COLS], chc = 0, chw = 0, whw = 0, zero = all % CODES;
            for (size_t j = 0; j < COLS; j++)
                c[j] = (double)(all >> 2 * (j + 1) & 3) - zero;
            for (size_t a = 0; a < COLS; a++)
                for (size_t b = 0; b < COLS; b++) {
                    double wa = (double)w[i * COLS + a], wb = (double)w[i * COLS + b], hab = (double)h[a * COLS + b];
                    chc += c[a] * hab * c[b];
                    chw += c[a] * hab * wb;
                    whw += wa * hab * wb;
                }
            if (chc > 0 && chw > 0)
                least = fmin(least, whw - chw * chw / chc);
        }
        cr_assert_geq(got, least * (1 - 1e-4) - 1e-9, "row %zu: %g below the least, %g", i, got, least);
        reached += got <= least + 1e-3 * quad_loss(w + i * COLS, (float[COLS]){0}, h, 1, COLS);
    }
    cr_assert_geq(reached, ROWS / 2, "%zu of %d rows reached the least error", reached, ROWS);
    nb_qtensor_free(&q);
}

/* All rows of kernels.def give the same bits. */
Test(descent, kernels_agree) {
    float w[N * K], h[K * K], a[N * K], b[N * K];
    nb_quant_options o = nb_quant_defaults(K);
    nb_quant_report report;
    o.group_size = 16;
    o.descent = 3;
    make_weight(w, N, K, 77);
    make_hessian(h, K, 200, 78);
    nb_qtensor p, q;
    cr_assert_eq(run_method("gptq", 1, NULL, w, h, N, K, &o, &p, a, &report, NULL), NB_OK);
    cr_assert_eq(run_method("gptq", 2, "descent_block_avx*", w, h, N, K, &o, &q, b, &report, NULL), NB_OK);
    cr_assert(!memcmp(p.codes, q.codes, N * K) && !memcmp(a, b, sizeof a));
    nb_qtensor_free(&p);
    nb_qtensor_free(&q);
}
