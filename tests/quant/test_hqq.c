/* HQQ against the PyPI package's numbers, and with whole zero points against the statement in double. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/ckpt/ckpt.h"
#include "tests/quant/naive.h"

static const void *tensor(const nb_ckpt *c, const char *what, const char *name, unsigned bits, size_t *rows) {
    char full[64];
    if (bits)
        snprintf(full, sizeof full, "%s.%s.%u", what, name, bits);
    else
        snprintf(full, sizeof full, "%s.%s", what, name);
    const nb_view *v = nb_ckpt_find(c, full);
    cr_assert_not_null(v, "%s", full);
    *rows = v->dims[0];
    return v->data;
}

/* sum |w - q| in double. */
static double sum_abs(const float *w, size_t count, double scale, double zero, double top) {
    double sum = 0;
    for (size_t j = 0; j < count; j++) {
        double c = fmin(top, fmax(0.0, nearbyint((double)w[j] / scale + zero)));
        sum += fabs((double)w[j] - (c - zero) * scale);
    }
    return sum;
}

/* The package sums errors in f32 and stops where they no longer fall: where they are alike to seven digits it may stop a step
 * sooner or later than we do. Zero points that differ must be as good as its own to 1e-6; where they agree (to 1e-4 of a code)
 * all codes must, but for ties, which rounded scales move by 1e-3 of a code at most. */
static void check_case(const nb_ckpt *c, const char *name, unsigned bits) {
    enum { K = 64 };
    size_t rows, ignored, other = 0;
    const float *w = tensor(c, "w", name, 0, &rows);
    const float *zero = tensor(c, "zero", name, bits, &ignored), *scale = tensor(c, "scale", name, bits, &ignored);
    const uint8_t *codes = tensor(c, "codes", name, bits, &ignored);
    nb_quant_options o = nb_quant_defaults(K);
    o.bits = bits;
    o.group_size = K;
    o.float_zeros = true;
    o.scale_type = NB_F32;
    nb_qtensor q = must_run("hqq", w, NULL, rows, K, &o, NULL, NULL);
    cr_assert(q.float_zeros);
    for (size_t i = 0; i < rows; i++) {
        cr_assert_float_eq(q.scales[i], scale[i], 3e-7f * scale[i]);
        if (fabsf(q.zeros[i] - zero[i]) > 1e-4f * fmaxf(1.0f, fabsf(zero[i]))) {
            double top = (double)((1u << bits) - 1u);
            double mine = sum_abs(w + i * K, K, (double)q.scales[i], (double)q.zeros[i], top);
            double theirs = sum_abs(w + i * K, K, (double)scale[i], (double)zero[i], top);
            cr_assert_leq(mine, theirs * (1 + 1e-6), "%s, %u bits, group %zu: %g, the package %g", name, bits, i, mine, theirs);
            other++;
            continue;
        }
        for (size_t j = 0; j < K; j++) {
            double exact = (double)w[i * K + j] / (double)scale[i] + (double)zero[i], tie = fabs(exact - floor(exact) - 0.5);
            cr_assert(q.codes[i * K + j] == codes[i * K + j] || tie < 1e-3, "%s, %u bits, group %zu, column %zu", name, bits, i, j);
        }
    }
    cr_assert_leq(other * 4, rows, "%s, %u bits: %zu of %zu zero points differ", name, bits, other, rows);
    nb_qtensor_free(&q);
}

Test(hqq, has_the_numbers_of_the_package) {
    static const char *const names[] = {"normal", "tails", "shifted"};
    static const unsigned bits[] = {2, 3, 4, 8};
    nb_ckpt *c;
    cr_assert_eq(nb_ckpt_open_part(NB_TEST_DATA "/golden/hqq/hqq.safetensors", &c, NULL), NB_OK);
    for (size_t i = 0; i < 3; i++)
        for (size_t b = 0; b < 4; b++)
            check_case(c, names[i], bits[b]);
    nb_ckpt_close(c);
}

/* Whole zero points, rounded inside the iteration, cannot move from those of the range: where nothing is clipped |c - (w - d) /
 * scale - zero| <= 1/2 for every w, and the mean rounds back. HQQ is then rounding to nearest, and says nothing else. */
Test(hqq, whole_zero_points_are_those_of_the_range) {
    enum { N = 40, K = 70 };
    float w[N * K], deq[N * K], plain[N * K];
    for (unsigned bits = 2; bits <= 4; bits++) {
        nb_quant_options o = nb_quant_defaults(K);
        o.group_size = 20;
        o.bits = bits;
        make_weight(w, N, K, bits);
        nb_qtensor q = must_run("hqq", w, NULL, N, K, &o, deq, NULL), r = must_run("rtn", w, NULL, N, K, &o, plain, NULL);
        size_t differ = 0;
        cr_assert_not(q.float_zeros);
        cr_assert(!memcmp(q.zeros, r.zeros, N * 4 * sizeof(float)) && !memcmp(q.scales, r.scales, N * 4 * sizeof(float)));
        for (size_t i = 0; i < N * K; i++) /* w * (1 / scale) in place of w / scale: a tie may go the other way */
            differ += q.codes[i] != r.codes[i];
        cr_assert_leq(differ, 2);
        o.float_zeros = true;
        nb_qtensor real = must_run("hqq", w, NULL, N, K, &o, deq, NULL);
        size_t whole = 0;
        for (size_t i = 0; i < N * real.groups; i++)
            whole += real.zeros[i] == nearbyintf(real.zeros[i]);
        cr_assert_lt(whole * 4, N * real.groups, "zero points that may be real are not");
        nb_qtensor_free(&q);
        nb_qtensor_free(&r);
        nb_qtensor_free(&real);
    }
}

Test(hqq, refuses_what_it_cannot_do) {
    float w[64] = {0}, deq[64];
    nb_qtensor q;
    nb_quant_report report;
    nb_err err = {0};
    nb_quant_options o = nb_quant_defaults(64);
    o.symmetric = true;
    cr_assert_eq(run_method("hqq", 1, NULL, w, NULL, 1, 64, &o, &q, NULL, &report, &err), NB_E_USAGE);
    o.symmetric = false;
    w[5] = NAN;
    cr_assert_eq(run_method("hqq", 1, NULL, w, NULL, 1, 64, &o, &q, NULL, &report, &err), NB_E_INPUT);
    for (int real = 0; real < 2; real++) { /* a group without range keeps its value */
        o.float_zeros = real;
        for (size_t j = 0; j < 64; j++)
            w[j] = real ? 0.25f : 0.0f;
        q = must_run("hqq", w, NULL, 1, 64, &o, deq, NULL);
        cr_assert_float_eq(deq[7], w[7], 1e-6f);
        nb_qtensor_free(&q);
    }
}
