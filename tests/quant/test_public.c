/* Only what a program that links the library sees. */
#include <criterion/criterion.h>
#include <math.h>
#include <nibble/nibble.h>
#include <pthread.h>
#include <string.h>

enum { N = 48, K = 80, ROWS = 400, GROUP = 32, GROUPS = 3 };
static float w[N * K], x[ROWS * K], h[K * K];

typedef struct result {
    uint8_t codes[N * K];
    float scales[N * GROUPS], zeros[N * GROUPS], back[N * K];
    uint32_t g_idx[K];
    nb_quantize_output out;
} result;

static double noise(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) / (double)(1 << 24) - 0.5;
}

static void make(void) {
    uint64_t state = 1;
    for (size_t i = 0; i < N * K; i++)
        w[i] = (float)(0.1 * (noise(&state) + noise(&state)));
    for (size_t r = 0; r < ROWS; r++) {
        double common = noise(&state);
        for (size_t j = 0; j < K; j++)
            x[r * K + j] = (float)((0.3 + (double)(j % 7)) * (common + 0.4 * noise(&state)));
    }
    for (size_t i = 0; i < K; i++)
        for (size_t j = 0; j < K; j++) {
            double sum = 0.0;
            for (size_t r = 0; r < ROWS; r++)
                sum += (double)x[r * K + i] * (double)x[r * K + j];
            h[i * K + j] = (float)(sum * 2.0 / ROWS);
        }
}

static nb_quantize_options defaults(void) {
    nb_quantize_options o;
    cr_assert_eq(nb_quantize_options_init(&o, sizeof o), NB_OK);
    o.group_size = GROUP;
    return o;
}

static nb_quantize_input input(void) {
    return (nb_quantize_input){.size = sizeof(nb_quantize_input), .n = N, .k = K, .weight = w, .hessian = h};
}

static nb_status run(const nb_quantize_options *o, const nb_quantize_input *in, result *r, nb_err *err) {
    r->out = (nb_quantize_output){.size = sizeof r->out, .codes = r->codes, .scales = r->scales, .zeros = r->zeros,
                                  .g_idx = r->g_idx, .dequantized = r->back};
    return nb_quantize_matrix(o, in, &r->out, err);
}

static double loss(const float *q) {
    double sum = 0.0;
    for (size_t r = 0; r < N; r++)
        for (size_t i = 0; i < K; i++)
            for (size_t j = 0; j < K; j++)
                sum += (double)(w[r * K + i] - q[r * K + i]) * (double)h[i * K + j] * (double)(w[r * K + j] - q[r * K + j]);
    return sum / (N * K);
}

TestSuite(public_quantize, .init = make);

Test(public_quantize, gptq_beats_rtn_and_tells_its_loss) {
    static result rtn, gptq;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    cr_assert_eq(run(&o, &in, &gptq, NULL), NB_OK);
    o.method = "rtn";
    in.hessian = NULL;
    cr_assert_eq(run(&o, &in, &rtn, NULL), NB_OK);
    cr_assert_lt(loss(gptq.back), 0.7 * loss(rtn.back));
    cr_assert_float_eq(gptq.out.loss, loss(gptq.back), 5e-3 * gptq.out.loss);
    cr_assert_eq(gptq.out.damp_used, 0.01);
    cr_assert_eq(gptq.out.damp_raised, 0);
    for (size_t i = 0; i < N * K; i++) {
        size_t at = i / K * GROUPS + gptq.g_idx[i % K];
        cr_assert_eq(gptq.back[i], ((float)gptq.codes[i] - gptq.zeros[at]) * gptq.scales[at]);
    }
}

/* H made from x by the library differs from ours in rounding only. */
Test(public_quantize, inputs_instead_of_a_hessian) {
    static result a, b;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    cr_assert_eq(run(&o, &in, &a, NULL), NB_OK);
    in.hessian = NULL;
    in.x = x;
    in.rows = ROWS;
    cr_assert_eq(run(&o, &in, &b, NULL), NB_OK);
    size_t differ = 0;
    for (size_t i = 0; i < N * K; i++)
        differ += a.codes[i] != b.codes[i];
    cr_assert_leq(differ, N * K / 20);
    cr_assert_float_eq(a.out.loss, b.out.loss, 0.01 * a.out.loss);
}

Test(public_quantize, rows_may_lie_apart) {
    static result a, b;
    static float wide[N * (K + 3)];
    for (size_t i = 0; i < N; i++)
        memcpy(wide + i * (K + 3), w + i * K, K * sizeof *w);
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    cr_assert_eq(run(&o, &in, &a, NULL), NB_OK);
    in.weight = wide;
    in.ldw = K + 3;
    cr_assert_eq(run(&o, &in, &b, NULL), NB_OK);
    cr_assert(!memcmp(a.codes, b.codes, sizeof a.codes));
}

static void *one_thread(void *arg) {
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    o.threads = 2;
    return run(&o, &in, arg, NULL) == NB_OK ? arg : NULL;
}

Test(public_quantize, calls_at_the_same_time_give_the_same_bytes) {
    static result r[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, one_thread, &r[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *done;
        cr_assert_eq(pthread_join(threads[i], &done), 0);
        cr_assert_not_null(done);
        cr_assert(!memcmp(r[0].codes, r[i].codes, sizeof r[0].codes));
    }
}

Test(public_quantize, per_channel_symmetric_without_optional_outputs) {
    static result r;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    o.group_size = 0;
    o.symmetric = 1;
    r.out = (nb_quantize_output){.size = sizeof r.out, .codes = r.codes, .scales = r.scales};
    cr_assert_eq(nb_quantize_matrix(&o, &in, &r.out, NULL), NB_OK);
    cr_assert_gt(r.scales[N - 1], 0.0f);
}

Test(public_quantize, misuse_is_a_status_with_a_reason) {
    static result r;
    static float cross[K * K];
    for (int i = 0; i < 17; i++) {
        nb_quantize_options o = defaults();
        nb_quantize_input in = input();
        nb_err err = {0};
        nb_status want = NB_E_USAGE;
        float bad = w[5];
        r.out = (nb_quantize_output){.size = sizeof r.out, .codes = r.codes, .scales = r.scales, .zeros = r.zeros};
        switch (i) {
        case 0: o.size = 8; break;
        case 1: in.size--; break;
        case 2: r.out.size = 0; break;
        case 3: in.weight = NULL; break;
        case 4: r.out.codes = NULL; break;
        case 5: r.out.zeros = NULL; break;
        case 6: o.order = NB_ORDER_ACT; break;
        case 7: in.ldw = K - 1; break;
        case 8: in.x = x; break;
        case 9: in.hessian = NULL; break;
        case 10: o.method = "gtpq"; break;
        case 11: o.bits = 1; break;
        case 12: o.group_size = K + 1; break;
        case 13: o.device = "npu"; break;
        case 14: w[5] = NAN; want = NB_E_INPUT; break;
        case 15: /* in what makes the target */
            memcpy(cross, in.hessian, sizeof cross);
            cross[7] = NAN;
            in.cross = cross;
            o.asym_calib = 0.5;
            want = NB_E_INPUT;
            break;
        default: w[5] = 1e30f; want = NB_E_INPUT; break; /* whose error is past F32's range */
        }
        cr_assert_eq(nb_quantize_matrix(&o, &in, &r.out, &err), want, "case %d: %s", i, err.text);
        cr_assert_neq(err.text[0], 0, "case %d", i);
        w[5] = bad;
    }
    cr_assert_eq(nb_quantize_options_init(NULL, 0), NB_E_USAGE);
}

Test(public_quantize, searched_scales_lose_less) {
    static result range, found;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    cr_assert_eq(o.scales, NB_SCALES_MINMAX);
    cr_assert_eq(run(&o, &in, &range, NULL), NB_OK);
    o.scales = NB_SCALES_SEARCH;
    cr_assert_eq(run(&o, &in, &found, NULL), NB_OK);
    cr_assert_lt(loss(found.back), 0.95 * loss(range.back));
    o.method = "rtn"; /* never worse, group by group, where all columns weigh the same */
    in.hessian = NULL;
    cr_assert_eq(run(&o, &in, &found, NULL), NB_OK);
    o.scales = NB_SCALES_MINMAX;
    cr_assert_eq(run(&o, &in, &range, NULL), NB_OK);
    cr_assert_lt(found.out.loss, range.out.loss);
    o.scales = (nb_scale_rule)2;
    cr_assert_eq(run(&o, &in, &found, NULL), NB_E_USAGE);
}

/* All methods, and what refines them, on one matrix. */
Test(public_quantize, every_method) {
    static result rtn, got, best;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    o.bits = 3;
    o.method = "rtn";
    cr_assert_eq(run(&o, &in, &rtn, NULL), NB_OK);
    static const char *const methods[] = {"gptq", "autoround"};
    for (int i = 0; i < 2; i++) {
        o.method = methods[i];
        cr_assert_eq(run(&o, &in, &got, NULL), NB_OK);
        cr_assert_lt(loss(got.back), 0.8 * loss(rtn.back), "%s: %g, rounding %g", methods[i], loss(got.back), loss(rtn.back));
        cr_assert_float_eq(got.out.loss, loss(got.back), 5e-3 * got.out.loss);
    }
    o.method = "gptq";
    cr_assert_eq(run(&o, &in, &got, NULL), NB_OK);
    o.descent = 4;
    cr_assert_eq(run(&o, &in, &best, NULL), NB_OK);
    cr_assert_lt(loss(best.back), loss(got.back));
    o.method = "hqq";
    o.float_zeros = 1;
    in.hessian = NULL;
    cr_assert_eq(run(&o, &in, &got, NULL), NB_OK);
    size_t whole = 0;
    for (size_t i = 0; i < N * GROUPS; i++)
        whole += got.zeros[i] == nearbyintf(got.zeros[i]);
    cr_assert_lt(whole, N * GROUPS / 2);
}

/* Outputs of independent meaning change nothing; correlated ones change codes. */
Test(public_quantize, covariance_of_outputs) {
    static result plain, same, other;
    static float g[N * N];
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    for (size_t i = 0; i < N; i++)
        g[i * N + i] = 3.0f;
    cr_assert_eq(run(&o, &in, &plain, NULL), NB_OK);
    in.output = g;
    cr_assert_eq(run(&o, &in, &same, NULL), NB_OK);
    cr_assert(!memcmp(plain.codes, same.codes, sizeof plain.codes));
    for (size_t i = 0; i < N * N; i++)
        g[i] = i % (N + 1) ? 1.0f : 2.0f;
    cr_assert_eq(run(&o, &in, &other, NULL), NB_OK);
    cr_assert(memcmp(plain.codes, other.codes, sizeof plain.codes), "rows of the second batch see the first's errors");
    o.output_damp = 4.0;
    cr_assert_eq(run(&o, &in, &same, NULL), NB_OK);
    cr_assert(memcmp(same.codes, other.codes, sizeof same.codes), "less of them with more damping");
    o.output_damp = -1.0;
    cr_assert_eq(run(&o, &in, &same, NULL), NB_E_USAGE);
    o.output_damp = 0.25;
    o.order = NB_ORDER_ACT;
    cr_assert_eq(run(&o, &in, &other, NULL), NB_E_USAGE);
    o = defaults();
    o.method = "rtn";
    cr_assert_eq(run(&o, &in, &other, NULL), NB_E_USAGE);
}

/* With Xo = 2 X the target is nearly W + asym W: the damping takes some of it. */
Test(public_quantize, asymmetric_calibration) {
    static result a, b, twice;
    static float xo[ROWS * K], cross[K * K], w2[N * K];
    for (size_t i = 0; i < ROWS * K; i++)
        xo[i] = 2.0f * x[i];
    for (size_t i = 0; i < K * K; i++)
        cross[i] = 2.0f * h[i];
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    o.asym_calib = 1.0;
    o.bits = 8;
    o.damp = 1e-5;
    in.cross = cross;
    cr_assert_eq(run(&o, &in, &a, NULL), NB_OK);
    in.hessian = in.cross = NULL;
    cr_assert_eq(run(&o, &in, &b, NULL), NB_E_USAGE);
    in.x = x;
    in.x_original = xo;
    in.rows = ROWS;
    cr_assert_eq(run(&o, &in, &b, NULL), NB_OK);
    o.asym_calib = 0.0;
    in = input();
    for (size_t i = 0; i < N * K; i++)
        w2[i] = 2.0f * w[i];
    in.weight = w2;
    cr_assert_eq(run(&o, &in, &twice, NULL), NB_OK);
    double off = 0, off_x = 0, size = 0;
    for (size_t i = 0; i < N * K; i++) {
        off += fabs((double)a.back[i] - (double)twice.back[i]);
        off_x += fabs((double)b.back[i] - (double)twice.back[i]);
        size += fabs((double)w2[i]);
    }
    cr_assert_lt(off, 0.03 * size, "%g of %g", off, size);
    cr_assert_lt(off_x, 0.03 * size, "%g of %g", off_x, size);
}

/* A symmetric grid has one code more on one side of zero: with scales of either sign that may be either. Each group's error, weighted by diag H,
 * is the least of more candidates. */
Test(public_quantize, scales_of_either_sign) {
    static result one, both;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    o.method = "rtn";
    o.symmetric = 1;
    o.scales = NB_SCALES_SEARCH;
    cr_assert_eq(run(&o, &in, &one, NULL), NB_OK);
    o.either_sign = 1;
    cr_assert_eq(run(&o, &in, &both, NULL), NB_OK);
    size_t negative = 0;
    for (size_t i = 0; i < N * GROUPS; i++) {
        double error[2] = {0};
        size_t from = i % GROUPS * GROUP, to = from + GROUP < K ? from + GROUP : K;
        for (size_t j = from; j < to; j++)
            for (int e = 0; e < 2; e++) {
                double off = (double)w[i / GROUPS * K + j] - (double)(e ? &both : &one)->back[i / GROUPS * K + j];
                error[e] += off * off * (double)h[j * (K + 1)];
            }
        cr_assert_gt(one.scales[i], 0.0f);
        cr_assert_leq(error[1], error[0] * (1 + 1e-5), "group %zu: %g of %g", i, error[1], error[0]); /* f32 sums of 32 */
        negative += both.scales[i] < 0.0f;
    }
    cr_assert(negative > 0 && negative < N * GROUPS, "%zu", negative);
}

/* Error of rounding w * s with the Hessian that it has then. */
static double scaled_loss(const nb_quantize_options *o, const float *s, bool hessian) {
    static result scaled;
    static float ws[N * K], hs[K * K];
    nb_quantize_input in = input();
    for (size_t i = 0; i < N * K; i++)
        ws[i] = w[i] * s[i % K];
    for (size_t i = 0; i < K * K; i++)
        hs[i] = h[i] / (s[i / K] * s[i % K]);
    in.weight = ws;
    in.hessian = hessian ? hs : NULL;
    cr_assert_eq(run(o, &in, &scaled, NULL), NB_OK);
    for (size_t i = 0; i < N * K; i++)
        scaled.back[i] /= s[i % K];
    return loss(scaled.back);
}

/* AWQ with its clip search: rounding has the error that the channels were chosen for. Without the Hessian the search clips what matters. */
Test(public_quantize, channel_scales_and_clip_search) {
    float s[K], ones[K];
    double alpha = -1;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    for (size_t i = 0; i < K; i++)
        ones[i] = 1.0f;
    o.method = "rtn";
    o.scales = NB_SCALES_SEARCH;
    cr_assert_eq(nb_quantize_channels(&o, &in, 1, s, &alpha, NULL), NB_OK);
    cr_assert_gt(alpha, 0.0);
    double weighted = scaled_loss(&o, s, true);
    cr_assert_lt(weighted, scaled_loss(&o, ones, true));
    cr_assert_lt(weighted, scaled_loss(&o, s, false));
    o.scales = NB_SCALES_MINMAX;
    cr_assert_lt(weighted, scaled_loss(&o, s, true));
}

Test(public_quantize, channel_scales) {
    static result plain, scaled;
    static float ws[N * K], hs[K * K], s[K];
    double alpha = -1;
    nb_quantize_options o = defaults();
    nb_quantize_input in = input();
    o.method = "rtn";
    cr_assert_eq(nb_quantize_channels(&o, &in, 1, s, &alpha, NULL), NB_OK);
    cr_assert_gt(alpha, 0.0);
    for (size_t i = 0; i < N * K; i++)
        ws[i] = w[i] * s[i % K];
    for (size_t i = 0; i < K * K; i++)
        hs[i] = h[i] / (s[i / K] * s[i % K]);
    cr_assert_eq(run(&o, &in, &plain, NULL), NB_OK);
    in.weight = ws;
    in.hessian = hs;
    cr_assert_eq(run(&o, &in, &scaled, NULL), NB_OK);
    for (size_t i = 0; i < N * K; i++)
        scaled.back[i] /= s[i % K];
    cr_assert_lt(loss(scaled.back), loss(plain.back));
    in = input();
    in.x = x;
    in.rows = ROWS;
    cr_assert_eq(nb_quantize_channels(&o, &in, 1, s, NULL, NULL), NB_E_USAGE, "both hessian and x");
    in.hessian = NULL;
    cr_assert_eq(nb_quantize_channels(&o, &in, 1, s, &alpha, NULL), NB_OK);
    cr_assert_gt(alpha, 0.0);
    in.cross = h; /* which goes with a Hessian: nobody looks at it here */
    cr_assert_eq(nb_quantize_channels(&o, &in, 1, s, &alpha, NULL), NB_OK);
    memcpy(hs, h, sizeof hs);
    hs[3] = NAN;
    in = input();
    in.hessian = hs;
    cr_assert_eq(nb_quantize_channels(&o, &in, 1, s, NULL, NULL), NB_E_INPUT);
    cr_assert_eq(nb_quantize_channels(&o, &in, 0, s, NULL, NULL), NB_E_USAGE);
}
