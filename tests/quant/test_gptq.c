#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "tests/quant/naive.h"

static const nb_column_order orders[] = {NB_ORDER_STORED, NB_ORDER_ACT, NB_ORDER_ACT_STATIC, NB_ORDER_GROUP_AWARE};
static const unsigned widths[] = {2, 3, 4, 5, 8};

/* The solver's weights are off by about sqrt(k) u cond(L) of what errors feed to them (sqrt: Higham and Mary, 10.1137/18M1226312), here
 * 10 * 6e-8 * 100 * 16 < 1e-3 steps: k < 10^2, cond(L)^2 <= 1 + k / damp < 10^4, and more than 16 steps go past the grid's ends only. */
#define SLACK 1e-3

typedef struct problem {
    size_t n, k;
    float *w, *h, *deq;
} problem;

static problem make(size_t n, size_t k, size_t rows, uint64_t seed) {
    problem p = {n, k, must_alloc(n * k, 4), must_alloc(k * k, 4), must_alloc(n * k, 4)};
    make_weight(p.w, n, k, seed);
    make_hessian(p.h, k, rows, seed + 1000);
    return p;
}

static void drop(problem *p) {
    free(p->w);
    free(p->h);
    free(p->deq);
}

static nb_quant_options settings(size_t k, unsigned bits, size_t group, bool symmetric, nb_column_order order) {
    nb_quant_options o = nb_quant_defaults(k);
    o.bits = bits;
    o.group_size = group;
    o.symmetric = symmetric;
    o.order = order;
    return o;
}

static void check_against_naive(size_t n, size_t k, size_t group, unsigned bits, bool symmetric, nb_column_order order,
                                size_t block) {
    problem p = make(n, k, 2 * k + 7, k * 31 + group);
    nb_quant_options o = settings(k, bits, group, symmetric, order);
    o.block = block;
    nb_quant_report report;
    nb_qtensor q = must_run("gptq", p.w, p.h, n, k, &o, p.deq, &report);
    naive_result r = naive_gptq(p.w, p.h, n, k, &o, 0.01);
    size_t ties = naive_ties(&q, &r, &o, SLACK);
    cr_assert_leq(ties * 10, n + 9, "%zu of %zu rows have ties", ties, n);
    for (size_t j = 0; j < k; j++)
        cr_assert_eq(q.g_idx ? q.g_idx[j] : j / group, r.group[j]);
    cr_assert_eq(q.g_idx != NULL, order == NB_ORDER_ACT);
    naive_free(&r);
    nb_qtensor_free(&q);
    drop(&p);
}

Test(gptq, equals_the_textbook_in_stored_order) {
    for (size_t b = 0; b < sizeof widths / sizeof *widths; b++)
        for (int symmetric = 0; symmetric < 2; symmetric++)
            check_against_naive(37, 64, 16, widths[b], symmetric, NB_ORDER_STORED, 128);
}

Test(gptq, equals_the_textbook_in_act_order) {
    for (size_t b = 0; b < sizeof widths / sizeof *widths; b++)
        for (int symmetric = 0; symmetric < 2; symmetric++)
            check_against_naive(37, 64, 16, widths[b], symmetric, NB_ORDER_ACT, 128);
}

Test(gptq, equals_the_textbook_with_static_groups) {
    for (size_t b = 0; b < sizeof widths / sizeof *widths; b++)
        for (int symmetric = 0; symmetric < 2; symmetric++)
            check_against_naive(37, 64, 16, widths[b], symmetric, NB_ORDER_ACT_STATIC, 128);
}

Test(gptq, equals_the_textbook_in_group_aware_order) {
    for (size_t b = 0; b < sizeof widths / sizeof *widths; b++)
        for (int symmetric = 0; symmetric < 2; symmetric++)
            check_against_naive(37, 64, 16, widths[b], symmetric, NB_ORDER_GROUP_AWARE, 128);
}

Test(gptq, equals_the_textbook_with_a_short_last_group) {
    for (size_t i = 0; i < 4; i++) {
        check_against_naive(17, 33, 16, 4, false, orders[i], 128);
        check_against_naive(7, 75, 32, 3, true, orders[i], 128);
        check_against_naive(1, 5, 3, 4, false, orders[i], 128);
    }
}

Test(gptq, equals_the_textbook_where_groups_cross_blocks) {
    for (size_t i = 0; i < 4; i++) {
        check_against_naive(33, 90, 30, 4, false, orders[i], 16); /* a group of two blocks */
        check_against_naive(33, 90, 12, 4, false, orders[i], 32); /* blocks cut at 24 */
        check_against_naive(9, 90, 90, 4, true, orders[i], 16);   /* per channel */
        check_against_naive(9, 50, 1, 4, true, orders[i], 7);
    }
}

Test(gptq, the_block_size_changes_rounding_only) {
    problem p = make(40, 96, 300, 5);
    static const size_t blocks[] = {1, 8, 31, 64, 1024};
    for (size_t i = 0; i < 4; i++) {
        nb_quant_options o = settings(p.k, 4, 24, false, orders[i]);
        nb_quant_report first, report;
        nb_qtensor a = must_run("gptq", p.w, p.h, p.n, p.k, &o, NULL, &first);
        for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++) {
            o.block = blocks[b];
            nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, NULL, &report);
            size_t differ = 0;
            for (size_t j = 0; j < p.n * p.k; j++)
                differ += q.codes[j] != a.codes[j];
            cr_assert_leq(differ * 50, p.n * p.k, "order %zu block %zu: %zu codes", i, blocks[b], differ);
            cr_assert_float_eq(report.loss, first.loss, 0.01 * first.loss);
            nb_qtensor_free(&q);
        }
        nb_qtensor_free(&a);
    }
    drop(&p);
}

/* The reported loss is tr(E H E^T) / (n k), told from the errors of the solve alone. */
Test(gptq, reports_the_loss_of_its_result) {
    problem p = make(24, 70, 400, 9);
    for (size_t i = 0; i < 4; i++)
        for (size_t b = 0; b < sizeof widths / sizeof *widths; b++) {
            nb_quant_options o = settings(p.k, widths[b], 32, b & 1, orders[i]);
            nb_quant_report report;
            nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, p.deq, &report);
            double want = quad_loss(p.w, p.deq, p.h, p.n, p.k) / (double)(p.n * p.k);
            cr_assert_float_eq(report.loss, want, 2e-3 * want, "order %zu bits %u: %g, in double %g", i, widths[b],
                               report.loss, want);
            nb_qtensor_free(&q);
        }
    drop(&p);
}

Test(gptq, beats_rounding_on_correlated_inputs) {
    static const size_t groups[] = {8, 32, 50, 100};
    problem p = make(32, 100, 500, 11);
    for (size_t i = 0; i < 4; i++)
        for (size_t b = 0; b < sizeof widths / sizeof *widths; b++)
            for (size_t g = 0; g < 4; g++)
                for (int symmetric = 0; symmetric < 2; symmetric++) {
                    nb_quant_options o = settings(p.k, widths[b], groups[g], symmetric, orders[i]);
                    nb_qtensor q = must_run("rtn", p.w, NULL, p.n, p.k, &o, p.deq, NULL);
                    double rtn = quad_loss(p.w, p.deq, p.h, p.n, p.k);
                    nb_qtensor_free(&q);
                    q = must_run("gptq", p.w, p.h, p.n, p.k, &o, p.deq, NULL);
                    double gptq = quad_loss(p.w, p.deq, p.h, p.n, p.k);
                    nb_qtensor_free(&q);
                    cr_assert_lt(gptq, rtn, "order %zu bits %u group %zu sym %d: %g against %g", i, widths[b], groups[g],
                                 symmetric, gptq, rtn);
                }
    drop(&p);
}

/* w is bit-equal to nb_qtensor_row, scales are exact in their type, codes are in range. */
Test(gptq, leaves_the_dequantized_weight) {
    static const size_t shapes[][2] = {{1, 5}, {7, 33}, {17, 576}, {1, 576}, {33, 1}, {64, 64}};
    static const nb_dtype types[] = {NB_F16, NB_BF16, NB_F32};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        problem p = make(shapes[s][0], shapes[s][1], 40, s);
        float *row = must_alloc(p.k, 4);
        for (size_t i = 0; i < 4; i++) {
            nb_quant_options o = settings(p.k, widths[s % 5], p.k < 32 ? p.k : 32, s & 1, orders[i]);
            o.scale_type = types[(s + i) % 3];
            nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, p.deq, NULL);
            cr_assert_eq(q.scale_type, o.scale_type);
            for (size_t r = 0; r < p.n; r++) {
                nb_qtensor_row(&q, r, row);
                cr_assert(!memcmp(row, p.deq + r * p.k, p.k * 4), "row %zu", r);
            }
            for (size_t j = 0; j < p.n * p.k; j++)
                cr_assert_lt(q.codes[j], 1u << o.bits);
            for (size_t j = 0; j < p.n * q.groups; j++) {
                float sc = q.scales[j];
                cr_assert(o.scale_type == NB_F32 || sc == (o.scale_type == NB_F16 ? nb_f16_to_f32(nb_f32_to_f16(sc))
                                                                                  : nb_bf16_to_f32(nb_f32_to_bf16(sc))));
            }
            nb_qtensor_free(&q);
        }
        free(row);
        drop(&p);
    }
}

static bool same(const nb_qtensor *a, const nb_qtensor *b) {
    return !memcmp(a->codes, b->codes, a->n * a->k) && !memcmp(a->scales, b->scales, a->n * a->groups * 4) &&
           !memcmp(a->zeros, b->zeros, a->n * a->groups * 4);
}

Test(gptq, threads_do_not_change_bits) {
    static const unsigned threads[] = {2, 3, 8};
    problem p = make(150, 600, 700, 13);
    float *other = must_alloc(p.n * p.k, 4);
    for (size_t i = 0; i < 4; i++) {
        nb_quant_options o = settings(p.k, 4, 64, false, orders[i]);
        nb_quant_report a_report, b_report;
        nb_qtensor a, b;
        cr_assert_eq(run_method("gptq", 1, NULL, p.w, p.h, p.n, p.k, &o, &a, p.deq, &a_report, NULL), NB_OK);
        for (size_t t = 0; t < 3; t++) {
            cr_assert_eq(run_method("gptq", threads[t], NULL, p.w, p.h, p.n, p.k, &o, &b, other, &b_report, NULL), NB_OK);
            cr_assert(same(&a, &b), "order %zu, %u threads", i, threads[t]);
            cr_assert(!memcmp(p.deq, other, p.n * p.k * 4));
            cr_assert_eq(a_report.loss, b_report.loss);
            nb_qtensor_free(&b);
        }
        nb_qtensor_free(&a);
    }
    free(other);
    drop(&p);
}

/* Products of matrices differ in rounding from one instruction set to another; the result may differ only so much. */
Test(gptq, instruction_sets_agree) {
    problem p = make(64, 192, 700, 17);
    static const char *const filters[] = {"*_avx512", "*_avx512,*_avx2"};
    nb_quant_options o = settings(p.k, 4, 64, false, NB_ORDER_GROUP_AWARE);
    nb_quant_report a_report, b_report;
    nb_qtensor a = must_run("gptq", p.w, p.h, p.n, p.k, &o, NULL, &a_report), b;
    for (size_t f = 0; f < 2; f++) {
        cr_assert_eq(run_method("gptq", 2, filters[f], p.w, p.h, p.n, p.k, &o, &b, NULL, &b_report, NULL), NB_OK);
        size_t differ = 0;
        for (size_t j = 0; j < p.n * p.k; j++)
            differ += a.codes[j] != b.codes[j];
        cr_assert_leq(differ * 50, p.n * p.k, "%s: %zu codes differ", filters[f], differ);
        cr_assert_float_eq(a_report.loss, b_report.loss, 0.01 * a_report.loss);
        nb_qtensor_free(&b);
    }
    nb_qtensor_free(&a);
    drop(&p);
}

Test(gptq, one_group_of_all_columns_makes_group_aware_order_act_order) {
    problem p = make(20, 77, 200, 19);
    nb_quant_options o = settings(p.k, 4, p.k, false, NB_ORDER_GROUP_AWARE);
    nb_qtensor a = must_run("gptq", p.w, p.h, p.n, p.k, &o, NULL, NULL);
    o.order = NB_ORDER_ACT;
    nb_qtensor b = must_run("gptq", p.w, p.h, p.n, p.k, &o, NULL, NULL);
    cr_assert(same(&a, &b));
    for (size_t j = 0; j < p.k; j++)
        cr_assert_eq(b.g_idx[j], 0);
    nb_qtensor_free(&a);
    nb_qtensor_free(&b);
    drop(&p);
}

/* With a diagonal Hessian of equal elements nothing is spread and all orders are the stored one: plain rounding. */
Test(gptq, an_even_diagonal_hessian_is_plain_rounding_in_every_order) {
    problem p = make(20, 77, 200, 23);
    for (size_t j = 0; j < p.k * p.k; j++)
        p.h[j] = j % (p.k + 1) == 0 ? 0.75f : 0.0f;
    nb_quant_options o = settings(p.k, 4, 16, false, NB_ORDER_STORED);
    nb_qtensor rtn = must_run("rtn", p.w, NULL, p.n, p.k, &o, NULL, NULL);
    for (size_t i = 0; i < 4; i++) {
        o.order = orders[i];
        nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, NULL, NULL);
        cr_assert(same(&q, &rtn), "order %zu", i);
        for (size_t j = 0; q.g_idx && j < p.k; j++)
            cr_assert_eq(q.g_idx[j], j / 16);
        nb_qtensor_free(&q);
    }
    nb_qtensor_free(&rtn);
    drop(&p);
}

/* A diagonal Hessian with unlike elements: act order visits columns by it, and g_idx says so. */
Test(gptq, act_order_follows_the_diagonal) {
    problem p = make(3, 12, 50, 29);
    for (size_t j = 0; j < p.k * p.k; j++)
        p.h[j] = j % (p.k + 1) == 0 ? 1.0f + (float)(j / (p.k + 1) * 5 % 12) : 0.0f; /* column j has rank 11 - 5j % 12 */
    nb_quant_options o = settings(p.k, 4, 5, false, NB_ORDER_ACT);
    nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, NULL, NULL);
    for (size_t j = 0; j < p.k; j++)
        cr_assert_eq(q.g_idx[j], (11 - 5 * j % 12) / 5, "column %zu", j);
    nb_qtensor_free(&q);
    drop(&p);
}

/* What a row's loss is at least, by the damped Hessian of inverse `inverse`, once its first `count` visited columns have the errors e and
 * the columns behind may take any real value: e ((H^-1)_VV)^-1 e^T, V the visited columns. */
static double least_loss(const double *inverse, const size_t *visit, const double *e, size_t k, size_t count) {
    double part[16], loss = 0.0;
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < count; b++)
            part[a * count + b] = inverse[visit[a] * k + visit[b]];
    naive_invert(part, count);
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < count; b++)
            loss += e[a] * part[a * count + b] * e[b];
    return loss;
}

/* GPTQ need not find the best codes of all: it is greedy, as Babai's nearest plane is (arXiv 2507.18553). What defines it, clipped codes
 * or not: given the codes of the columns before, no code of a column has a lesser least_loss than its own. All codes of each column of a
 * tiny row tried, in double. Weights off by d steps choose the other code within d of the middle of two, where it costs
 * (1/2 + d)^2 / (1/2 - d)^2 = 1 + 8 d times as much at the most; d = k u cond(L) of up to 10 steps that errors feed to them,
 * 4 * 6e-8 * sqrt(1 + 4 / 0.01) * 10 = 5e-5. */
Test(gptq, no_code_of_a_column_is_better_than_its_own) {
    enum { K = 4, CODES = 4 };
    for (uint64_t seed = 0; seed < 40; seed++) {
        problem p = make(1, K, 30, seed);
        nb_quant_options o = settings(K, 2, K, false, orders[seed % 4]);
        nb_qtensor q = must_run("gptq", p.w, p.h, 1, K, &o, p.deq, NULL);
        naive_result order = naive_gptq(p.w, p.h, 1, K, &o, o.damp); /* for its order alone */
        double inverse[K * K], e[K];
        naive_damped_inverse(inverse, p.h, K, o.damp);
        for (size_t at = 0; at < K; at++) {
            size_t c = order.visit[at];
            double loss[CODES];
            for (unsigned code = 0; code < CODES; code++) {
                e[at] = (double)p.w[c] - ((double)code - (double)q.zeros[0]) * (double)q.scales[0];
                loss[code] = least_loss(inverse, order.visit, e, K, at + 1);
            }
            for (unsigned code = 0; code < CODES; code++)
                cr_assert_leq(loss[q.codes[c]], loss[code] * (1.0 + 8 * 5e-5), "seed %u column %zu: %u is better than %u",
                              (unsigned)seed, c, code, q.codes[c]);
            e[at] = (double)p.w[c] - (double)p.deq[c];
        }
        naive_free(&order);
        nb_qtensor_free(&q);
        drop(&p);
    }
}

/* Where the Hessian is diagonal greedy is best: no codes of a tiny row, all of them tried, have less loss than GPTQ's. Quotients w / scale are
 * rounded to F32, by d = 3 * 6e-8 of a step: a tie costs 8 d as above. */
Test(gptq, brute_force_over_all_codes) {
    enum { K = 4, CODES = 256 };
    for (uint64_t seed = 0; seed < 20; seed++) {
        problem p = make(1, K, 30, seed);
        for (size_t j = 0; j < K * K; j++)
            p.h[j] = j % (K + 1) == 0 ? p.h[j] : 0.0f;
        nb_quant_options o = settings(K, 2, K, false, orders[seed % 4]);
        nb_qtensor q = must_run("gptq", p.w, p.h, 1, K, &o, p.deq, NULL);
        double best = INFINITY, own = quad_loss(p.w, p.deq, p.h, 1, K);
        for (unsigned all = 0; all < CODES; all++) {
            float v[K];
            for (unsigned j = 0; j < K; j++)
                v[j] = ((float)(all >> (2 * j) & 3u) - q.zeros[0]) * q.scales[0];
            best = fmin(best, quad_loss(p.w, v, p.h, 1, K));
        }
        cr_assert_leq(own, best * (1.0 + 8 * 1.8e-7), "seed %u: %g, the best %g", (unsigned)seed, own, best);
        nb_qtensor_free(&q);
        drop(&p);
    }
}

/* ---- inputs out of the ordinary ---- */

Test(gptq, dead_columns_are_counted_and_quantized_to_zero) {
    problem p = make(10, 40, 100, 31);
    static const size_t dead[] = {0, 7, 8, 39};
    for (size_t d = 0; d < 4; d++)
        for (size_t j = 0; j < p.k; j++)
            p.h[dead[d] * p.k + j] = p.h[j * p.k + dead[d]] = 0.0f;
    for (size_t i = 0; i < 4; i++) {
        nb_quant_options o = settings(p.k, 4, 16, false, orders[i]);
        nb_quant_report report;
        nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, p.deq, &report);
        cr_assert_eq(report.dead_columns, 4);
        cr_assert_eq(report.damp_raised, 0);
        for (size_t r = 0; r < p.n; r++)
            for (size_t d = 0; d < 4; d++)
                cr_assert_eq(p.deq[r * p.k + dead[d]], 0.0f);
        naive_result naive = naive_gptq(p.w, p.h, p.n, p.k, &o, 0.01);
        cr_assert_leq(naive_ties(&q, &naive, &o, SLACK), 1);
        naive_free(&naive);
        nb_qtensor_free(&q);
    }
    drop(&p);
}

Test(gptq, all_columns_dead) {
    problem p = make(3, 20, 30, 33);
    memset(p.h, 0, p.k * p.k * 4);
    nb_quant_options o = settings(p.k, 4, 8, false, NB_ORDER_GROUP_AWARE);
    nb_quant_report report;
    nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, p.deq, &report);
    cr_assert_eq(report.dead_columns, 20);
    for (size_t j = 0; j < p.n * p.k; j++)
        cr_assert_eq(p.deq[j], 0.0f);
    nb_qtensor_free(&q);
    drop(&p);
}

/* Identical calibration lines: rank one, so the second pivot is 0 or rounding noise without damping. */
static void rank_one(problem *p) {
    for (size_t i = 0; i < p->k; i++)
        for (size_t j = 0; j < p->k; j++)
            p->h[i * p->k + j] = (float)(1u << (i % 3)) * (float)(1u << (j % 3));
}

Test(gptq, damping_is_raised_and_reported) {
    problem p = make(8, 48, 100, 35);
    rank_one(&p);
    nb_quant_options o = settings(p.k, 4, 16, false, NB_ORDER_GROUP_AWARE);
    o.damp = 0.0;
    nb_quant_report report;
    nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, p.deq, &report);
    cr_assert_geq(report.damp_raised, 1);
    cr_assert_float_eq(report.damp_used, 0.01, 1e-12);
    nb_qtensor_free(&q);
    drop(&p);
}

Test(gptq, the_default_damping_serves_identical_lines) {
    problem p = make(8, 300, 100, 37);
    rank_one(&p);
    nb_quant_options o = settings(p.k, 4, 50, false, NB_ORDER_GROUP_AWARE);
    nb_quant_report report;
    nb_qtensor q = must_run("gptq", p.w, p.h, p.n, p.k, &o, p.deq, &report);
    cr_assert_eq(report.damp_raised, 0);
    cr_assert_eq(report.damp_used, 0.01);
    nb_qtensor_free(&q);
    drop(&p);
}

Test(gptq, a_hessian_that_no_damping_mends_is_an_error) {
    problem p = make(8, 48, 100, 39);
    p.h[1] = p.h[p.k] = 1e6f; /* not semidefinite */
    nb_quant_options o = settings(p.k, 4, 16, false, NB_ORDER_STORED);
    nb_qtensor q;
    nb_quant_report report;
    nb_err err = {0};
    cr_assert_eq(run_method("gptq", 2, NULL, p.w, p.h, p.n, p.k, &o, &q, NULL, &report, &err), NB_E_FAILED);
    cr_assert_not_null(strstr(err.text, "not positive definite"));
    cr_assert_not_null(strstr(err.text, "3 times"), "%s", err.text); /* 0.01, 0.02, 0.11; 1.01 is past the limit of 1 */
    drop(&p);
}

Test(gptq, nan_and_infinity_are_errors) {
    problem p = make(8, 48, 100, 41);
    nb_quant_options o = settings(p.k, 4, 16, false, NB_ORDER_GROUP_AWARE);
    nb_qtensor q;
    nb_quant_report report;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        nb_err err = {0};
        float was = p.h[47];
        p.h[47] = bad[i];
        cr_assert_eq(run_method("gptq", 2, NULL, p.w, p.h, p.n, p.k, &o, &q, NULL, &report, &err), NB_E_INPUT);
        cr_assert_not_null(strstr(err.text, "Hessian"));
        p.h[47] = was;
        was = p.w[100];
        p.w[100] = bad[i];
        cr_assert_eq(run_method("gptq", 2, NULL, p.w, p.h, p.n, p.k, &o, &q, NULL, &report, &err), NB_E_INPUT);
        cr_assert_not_null(strstr(err.text, "weight"));
        cr_assert_eq(run_method("rtn", 2, NULL, p.w, NULL, p.n, p.k, &o, &q, NULL, &report, &err), NB_E_INPUT);
        p.w[100] = was;
    }
    drop(&p);
}

Test(gptq, settings_outside_their_domain_are_refused) {
    problem p = make(2, 8, 10, 43);
    for (int i = 0; i < 9; i++) {
        nb_quant_options o = nb_quant_defaults(p.k);
        switch (i) {
        case 0: o.bits = 1; break;
        case 1: o.bits = 9; break;
        case 2: o.group_size = 0; break;
        case 3: o.group_size = 9; break;
        case 4: o.scale_type = NB_Q4_0; break;
        case 5: o.damp = NAN; break;
        case 6: o.damp = -1; break;
        case 7: o.block = 0; break;
        default: o.order = (nb_column_order)7; break;
        }
        nb_qtensor q;
        nb_quant_report report;
        nb_err err = {0};
        cr_assert_eq(run_method("gptq", 1, NULL, p.w, p.h, p.n, p.k, &o, &q, NULL, &report, &err), NB_E_USAGE, "case %d", i);
        cr_assert_eq(run_method("rtn", 1, NULL, p.w, NULL, p.n, p.k, &o, &q, NULL, &report, &err), NB_E_USAGE, "case %d", i);
        cr_assert_neq(err.text[0], 0);
    }
    nb_quant_options o = nb_quant_defaults(p.k);
    nb_qtensor q;
    nb_quant_report report;
    cr_assert_eq(run_method("gptq", 1, NULL, p.w, NULL, p.n, p.k, &o, &q, NULL, &report, NULL), NB_E_USAGE);
    drop(&p);
}

Test(gptq, random_shapes_round_trip) {
    nb_random r = nb_random_seed(77);
    for (int i = 0; i < 60; i++) {
        size_t n = 1 + nb_random_below(&r, 40), k = 1 + nb_random_below(&r, 150);
        problem p = make(n, k, 1 + nb_random_below(&r, 200), (uint64_t)i);
        nb_quant_options o = settings(k, 2 + nb_random_below(&r, 7), 1 + nb_random_below(&r, (uint32_t)k),
                                      nb_random_below(&r, 2), orders[nb_random_below(&r, 4)]);
        o.block = 1 + nb_random_below(&r, 100);
        nb_quant_report report;
        nb_qtensor q = must_run("gptq", p.w, p.h, n, k, &o, p.deq, &report);
        float *row = must_alloc(k, 4);
        for (size_t j = 0; j < n; j++) {
            nb_qtensor_row(&q, j, row);
            cr_assert(!memcmp(row, p.deq + j * k, k * 4));
        }
        double own = quad_loss(p.w, p.deq, p.h, n, k) / (double)(n * k);
        cr_assert_float_eq(report.loss, own, 2e-3 * own + 1e-12, "%zu x %zu: %g, is %g", n, k, report.loss, own);
        free(row);
        nb_qtensor_free(&q);
        drop(&p);
    }
}

/* ---- sharing ---- */

static nb_qtensor run_shared(nb_stream *stream, const problem *p, nb_mem h, const nb_quant_options *o, nb_quant_cache **cache,
                             nb_quant_report *report) {
    nb_qtensor q;
    memcpy(p->deq, p->w, p->n * p->k * 4); /* host memory serves the CPU as it is */
    nb_quant_stats stats = {.hessian = h, .rows = 1, .cache = cache};
    cr_assert_eq(nb_quantizer_by_name("gptq")->run(stream, nb_mem_host(p->deq, 0), p->n, p->k, &stats, o, &q, report, NULL), NB_OK);
    return q;
}

Test(gptq, linears_with_one_input_share_its_factor) {
    nb_device_options device_options = {.threads = 2};
    nb_device *device;
    nb_stream *stream;
    cr_assert_eq(nb_device_open("cpu", &device_options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    problem q = make(20, 90, 200, 51), k = make(5, 90, 200, 52);
    rank_one(&q);
    nb_mem h = nb_mem_host(q.h, 0);
    nb_quant_cache *cache = NULL, *made;
    nb_quant_report first, report, again;
    for (size_t i = 0; i < 4; i++) {
        nb_quant_options o = settings(q.k, 4, 32, false, orders[i]);
        o.damp = 0.0;
        nb_qtensor a = run_shared(stream, &q, h, &o, &cache, &first);
        cr_assert_not_null(cache);
        made = cache;
        o.bits = 3;
        nb_qtensor b = run_shared(stream, &k, h, &o, &cache, &report), c = run_shared(stream, &k, h, &o, NULL, &again);
        cr_assert_eq(cache, made, "the factor serves other bits");
        cr_assert(same(&b, &c), "order %zu", i);
        cr_assert_eq(report.loss, again.loss);
        cr_assert(report.damp_raised == 1 && again.damp_raised == 1 && first.damp_raised == 1);
        o.damp = 0.02; /* another factor: the cache is replaced */
        nb_qtensor d = run_shared(stream, &k, h, &o, &cache, &report), e = run_shared(stream, &k, h, &o, NULL, &again);
        cr_assert(same(&d, &e));
        cr_assert_eq(report.damp_used, 0.02);
        nb_qtensor *all[] = {&a, &b, &c, &d, &e};
        for (size_t t = 0; t < 5; t++)
            nb_qtensor_free(all[t]);
    }
    nb_quant_cache_free(device, &cache);
    cr_assert_null(cache);
    nb_quant_cache_free(device, &cache);
    nb_stream_free(stream);
    nb_device_close(device);
    drop(&q);
    drop(&k);
}
