/* Channel scales: the search against every alpha tried in double, and what folding keeps. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "host/quant/awq.h"
#include "tests/quant/naive.h"

enum { K = 48, N1 = 24, N2 = 10 };

/* tr(E H E^T), E = Q(W s) / s - W, by the rtn method on the host's own numbers. */
static double error_with(const float *w, size_t n, const float *h, const float *s, const nb_quant_options *o) {
    float *ws = must_alloc(n * K, 4), *deq = must_alloc(n * K, 4), *hs = must_alloc(K * K, 4);
    for (size_t i = 0; i < n * K; i++)
        ws[i] = w[i] * s[i % K];
    for (size_t i = 0; i < K * K; i++)
        hs[i] = (float)((double)h[i] / ((double)s[i / K] * (double)s[i % K]));
    nb_qtensor q = must_run("rtn", ws, o->scales == NB_SCALES_SEARCH ? hs : NULL, n, K, o, deq, NULL);
    for (size_t i = 0; i < n * K; i++)
        deq[i] = (float)((double)deq[i] / (double)s[i % K]);
    double error = quad_loss(w, deq, h, n, K);
    nb_qtensor_free(&q);
    free(ws);
    free(deq);
    free(hs);
    return error;
}

static void scales_of(const float *magnitude, double alpha, float *s) {
    double low = INFINITY, high = 0;
    for (size_t j = 0; j < K; j++)
        if (magnitude[j] > 0.0f) {
            low = fmin(low, pow((double)magnitude[j], alpha));
            high = fmax(high, pow((double)magnitude[j], alpha));
        }
    for (size_t j = 0; j < K; j++)
        s[j] = magnitude[j] > 0.0f ? (float)(pow((double)magnitude[j], alpha) / sqrt(low * high)) : 1.0f;
}

static nb_awq_report search(const float *w1, const float *w2, const float *h, const float *magnitude, const nb_quant_options *o,
                            float *s) {
    nb_device_options device_options = {.threads = 2};
    nb_device *device;
    nb_stream *stream;
    nb_awq_report report;
    nb_awq_linear lins[2] = {{.n = N1, .options = *o}, {.n = N2, .options = *o}};
    nb_mem dh = {0};
    cr_assert_eq(nb_device_open("cpu", &device_options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    cr_assert_eq(nb_alloc(device, N1 * K * 4, &lins[0].w, NULL), NB_OK);
    cr_assert_eq(nb_alloc(device, N2 * K * 4, &lins[1].w, NULL), NB_OK);
    cr_assert_eq(nb_alloc(device, K * K * 4, &dh, NULL), NB_OK);
    cr_assert_eq(nb_upload(stream, lins[0].w, w1, N1 * K * 4, NULL), NB_OK);
    cr_assert_eq(nb_upload(stream, lins[1].w, w2, N2 * K * 4, NULL), NB_OK);
    cr_assert_eq(nb_upload(stream, dh, h, K * K * 4, NULL), NB_OK);
    cr_assert_eq(nb_awq_search(stream, lins, 2, K, dh, magnitude, s, &report, NULL), NB_OK);
    nb_release(device, &lins[0].w);
    nb_release(device, &lins[1].w);
    nb_release(device, &dh);
    nb_stream_free(stream);
    nb_device_close(device);
    return report;
}

/* A reported error is the one that s gives and the least of all alphas. Products of 48 terms in f32 are good to 48 u = 3e-6 of
 * sum |terms|, and cancellation in tr(E H E^T) loses a factor of some ten; 1e-3 also covers a code that rounds the other way
 * as H / (s s^T) is rounded at other places (one of 1632 codes). */
static void check_search(uint64_t seed, nb_scale_rule rule, bool symmetric) {
    float *w1 = must_alloc(N1 * K, 4), *w2 = must_alloc(N2 * K, 4), *h = must_alloc(K * K, 4), s[K], tried[K], magnitude[K];
    make_weight(w1, N1, K, seed);
    make_weight(w2, N2, K, seed + 1);
    make_hessian(h, K, 300, seed + 2);
    for (size_t j = 0; j < K; j++)
        magnitude[j] = j == 5 ? 0.0f : sqrtf(h[j * (K + 1)]) + 0.001f;
    nb_quant_options o = nb_quant_defaults(K);
    o.group_size = 16;
    o.scales = rule;
    o.symmetric = symmetric;
    nb_awq_report report = search(w1, w2, h, magnitude, &o, s);
    double least = INFINITY;
    for (int i = 0; i < NB_AWQ_ALPHAS; i++) {
        scales_of(magnitude, i / 10.0, tried);
        double error = error_with(w1, N1, h, tried, &o) + error_with(w2, N2, h, tried, &o);
        least = fmin(least, error);
        if (i == 0)
            cr_assert_float_eq(report.before, error, 1e-3 * error, "%g, expected %g", report.before, error);
        if (fabs(i / 10.0 - report.alpha) < 1e-9)
            for (size_t j = 0; j < K; j++)
                cr_assert_float_eq(s[j], tried[j], 1e-5f * tried[j]);
    }
    cr_assert_float_eq(report.after, least, 1e-3 * least, "%g, least %g", report.after, least);
    cr_assert_leq(report.after, report.before);
    free(w1);
    free(w2);
    free(h);
}

Test(awq, finds_the_best_alpha) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        check_search(seed, NB_SCALES_MINMAX, seed & 1);
        check_search(seed, NB_SCALES_SEARCH, !(seed & 1));
    }
}

/* new norm * s = old norm, with the new norm exact in the file's type. */
Test(awq, folding_keeps_the_product) {
    static const nb_dtype types[] = {NB_F32, NB_F16, NB_BF16};
    nb_random r = nb_random_seed(8);
    for (int t = 0; t < 3; t++) {
        float norm[64], s[64], old[64], asked[64];
        for (int j = 0; j < 64; j++) {
            old[j] = norm[j] = j == 3 ? 0.0f : j == 4 ? -0.7f : 0.05f + nb_random_f32(&r);
            asked[j] = s[j] = j == 6 ? 1e-9f : 0.2f + 4.0f * nb_random_f32(&r);
        }
        if (types[t] == NB_F16)
            old[6] = norm[6] = 1e4f; /* 1e13 does not fit */
        nb_awq_fold(norm, s, 64, types[t], 0.0f);
        for (int j = 0; j < 64; j++) {
            uint16_t half = types[t] == NB_F16 ? nb_f32_to_f16(norm[j]) : nb_f32_to_bf16(norm[j]);
            float held = types[t] == NB_F32 ? norm[j] : types[t] == NB_F16 ? nb_f16_to_f32(half) : nb_bf16_to_f32(half);
            bool kept = j == 3 || (j == 6 && types[t] == NB_F16);
            if (kept)
                cr_assert(norm[j] == old[j] && s[j] == 1.0f);
            else
                cr_assert_float_eq(norm[j] * s[j], old[j], 1.2e-7f * fabsf(old[j]));
            cr_assert(kept || held == norm[j], "%d: not exact", j);
            cr_assert(kept || fabsf(s[j] / asked[j] - 1.0f) <= 0.005f, "%d: %g for %g", j, (double)s[j], (double)asked[j]);
        }
    }
}

/* Gemma's files hold norms less 1: what the file holds and 1 is the new norm, and new norm * s the old one. */
Test(awq, folding_into_a_norm_with_an_offset) {
    nb_random r = nb_random_seed(9);
    float norm[64], s[64], old[64], asked[64];
    for (int j = 0; j < 64; j++) {
        old[j] = norm[j] = 0.05f + 2.0f * nb_random_f32(&r);
        asked[j] = s[j] = 0.2f + 4.0f * nb_random_f32(&r);
    }
    nb_awq_fold(norm, s, 64, NB_BF16, 1.0f);
    for (int j = 0; j < 64; j++) {
        float held = nb_bf16_to_f32(nb_f32_to_bf16(norm[j] - 1.0f));
        cr_assert_eq(held + 1.0f, norm[j], "%d: %a is not what the file gives", j, (double)norm[j]);
        cr_assert_float_eq(norm[j] * s[j], old[j], 1.2e-7f * old[j]);
        /* bfloat16 has 8 bits: 2^-8 of what is stored; and three roundings to float of values up to 11 */
        float want = old[j] / asked[j];
        cr_assert_leq(fabsf(want - norm[j]), 0x1p-8f * fabsf(want - 1.0f) + 0x1.8p-23f * (want + 1.0f));
    }
}
