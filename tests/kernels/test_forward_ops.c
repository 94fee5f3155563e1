#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/base/random.h"
#include "kernels/cpu/vmath.h"

#define U 0x1p-24

enum { ROOM = 1 << 18 };
static float in1[ROOM], in2[ROOM], in3[ROOM], out[ROOM], first[ROOM];
static double want[ROOM], bound[ROOM];

static void fill(float *p, size_t count, uint64_t seed, float scale) {
    nb_random r = nb_random_seed(seed);
    for (size_t i = 0; i < count; i++)
        p[i] = scale * (nb_random_f32(&r) - 0.5f);
}

/* Runs every row of op that this processor has, with 1 to 3 threads: results lie in the bound and have the same bits
 * whatever the number of threads. `before` is what the output buffer holds at first. */
static void run_rows(nb_op op, const void *args, const float *before, size_t count) {
    size_t n_rows, ran = 0;
    const nb_kernel *rows = nb_kernels(&n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i].op != op || rows[i].backend != NB_CPU || rows[i].needs & ~nb_cpu_features())
            continue;
        ran++;
        for (unsigned threads = 1; threads <= 3; threads++) {
            nb_device_options options = {.threads = threads};
            nb_device *device;
            nb_stream *stream;
            cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
            cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
            memcpy(out, before, count * sizeof *out);
            cr_assert_eq(nb_launch_row(stream, &rows[i], args, NULL), NB_OK);
            for (size_t j = 0; j < count; j++)
                cr_assert_leq(fabs((double)out[j] - want[j]), bound[j], "%s at %zu: %.9g, expected %.9g", rows[i].name, j,
                              (double)out[j], want[j]);
            if (threads == 1)
                memcpy(first, out, count * sizeof *out);
            cr_assert(!memcmp(first, out, count * sizeof *out), "%s: bits differ with %u threads", rows[i].name, threads);
            nb_stream_free(stream);
            nb_device_close(device);
        }
    }
    cr_assert_gt(ran, 0);
}

#define MEM(p) nb_mem_host(p, sizeof p)

/* Every 97th float in the range where exp is normal, against expl. */
Test(vmath, exp_to_two_ulp) {
    double worst = 0;
    for (uint32_t u = 0; u < 0x42b0be00u; u += 97)
        for (uint32_t sign = 0; sign < 2; sign++) {
            float x = nb__from_bits(u | sign << 31);
            if (x < -87.33f || x > 88.37f)
                continue;
            double e = (double)expl((long double)x);
            double err = fabs((double)nb__exp(x) - e) / e;
            worst = err > worst ? err : worst;
        }
    cr_assert_leq(worst, 2 * 0x1p-23, "%.3g ulp", worst / 0x1p-23);
    cr_assert_gt(worst, 0);
}

Test(vmath, exp_outside_its_range) {
    cr_assert_eq(nb__exp(-88.0f), 0.0f);
    cr_assert_eq(nb__exp(-INFINITY), 0.0f);
    cr_assert_eq(nb__exp(0.0f), 1.0f);
    cr_assert(isnan(nb__exp(NAN)));
    cr_assert(nb__exp(1000.0f) > 2.3e38f && nb__exp(INFINITY) == nb__exp(1000.0f));
}

Test(embed, rows_of_a_half_table_scaled) {
    enum { V = 37, K = 40, ROWS = 131 };
    static uint16_t table[V * K];
    static int32_t ids[ROWS];
    nb_random r = nb_random_seed(1);
    fill(in1, V * K, 2, 3.0f);
    nb_f16_from_f32(in1, V * K, table);
    for (size_t i = 0; i < ROWS; i++)
        ids[i] = (int32_t)nb_random_below(&r, V);
    for (size_t i = 0; i < ROWS * K; i++) {
        want[i] = (double)(1.5f * nb_f16_to_f32(table[(size_t)ids[i / K] * K + i % K]));
        bound[i] = 0;
    }
    struct nb_embed_args a = {.rows = ROWS, .k = K, .ids = MEM(ids), .table = MEM(table), .out = MEM(out), .ldo = K,
                              .w_type = NB_F16, .scale = 1.5f};
    run_rows(NB_OP_embed, &a, in3, ROWS * K);
}

/* One rounding each of the inverse root, of the weight plus its offset, and of two products. */
Test(rmsnorm, four_roundings) {
    static const size_t widths[] = {1, 15, 16, 64, 577};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        size_t k = widths[w], rows = 35, ld = k + 3;
        fill(in1, rows * ld, 3, 20.0f);
        fill(in2, k, 4, 2.0f);
        memset(out, 0, sizeof out);
        memset(in3, 0, sizeof in3);
        for (size_t i = 0; i < rows; i++) {
            double sum = 0;
            for (size_t j = 0; j < k; j++)
                sum += (double)in1[i * ld + j] * (double)in1[i * ld + j];
            double inverse = 1.0 / sqrt(sum / (double)k + 1e-5);
            for (size_t j = 0; j < ld; j++) {
                want[i * ld + j] = j < k ? (double)in1[i * ld + j] * inverse * ((double)in2[j] + 1.0) : 0;
                bound[i * ld + j] = 4.01 * U * fabs(want[i * ld + j]);
            }
        }
        struct nb_rmsnorm_args a = {.rows = rows, .k = k, .x = MEM(in1), .weight = MEM(in2), .y = MEM(out), .ldx = ld,
                                    .ldy = ld, .eps = 1e-5f, .offset = 1.0f};
        for (size_t i = 0; i < rows * ld; i++)
            bound[i] += fabs(want[i]) * 1e-9; /* eps itself is a float */
        run_rows(NB_OP_rmsnorm, &a, in3, rows * ld);
    }
}

Test(rope, three_roundings_and_positions_of_sequences) {
    enum { HEADS = 3, LENGTH = 7, ROWS = 21, PAST = 5 };
    static const size_t dims[] = {2, 16, 22, 64};
    for (size_t t = 0; t < sizeof dims / sizeof *dims; t++) {
        size_t hd = dims[t], half = hd / 2, ld = HEADS * hd + 1;
        fill(in1, ROWS * ld, 5, 4.0f);
        for (size_t p = 0; p < PAST + LENGTH; p++)
            for (size_t j = 0; j < half; j++) {
                in2[p * half + j] = (float)cos((double)p * pow(1e4, -2.0 * (double)j / (double)hd));
                in3[p * half + j] = (float)sin((double)p * pow(1e4, -2.0 * (double)j / (double)hd));
            }
        for (size_t i = 0; i < ROWS * ld; i++) {
            want[i] = (double)in1[i];
            bound[i] = 0;
        }
        for (size_t i = 0; i < ROWS; i++)
            for (size_t h = 0; h < HEADS; h++)
                for (size_t j = 0; j < half; j++) {
                    size_t at = i * ld + h * hd + j, p = (PAST + i % LENGTH) * half + j;
                    double a = (double)in1[at], b = (double)in1[at + half], c = (double)in2[p], s = (double)in3[p];
                    want[at] = a * c - b * s;
                    want[at + half] = b * c + a * s;
                    bound[at] = 2.01 * U * (fabs(a * c) + fabs(b * s));
                    bound[at + half] = 2.01 * U * (fabs(b * c) + fabs(a * s));
                }
        struct nb_rope_args a = {.rows = ROWS, .length = LENGTH, .past = PAST, .heads = HEADS, .head_dim = hd, .x = MEM(out),
                                 .ldx = ld, .cos = MEM(in2), .sin = MEM(in3)};
        run_rows(NB_OP_rope, &a, in1, ROWS * ld);
    }
}

/* silu: exp to 4 u, one more each for 1 + e, the quotient and the product; gelu: z to a relative 5 u, which exp turns into
 * |z| 5 u. */
Test(glu, both_activations) {
    enum { ROWS = 37, N = 45 };
    fill(in1, ROWS * N, 6, 40.0f);
    fill(in2, ROWS * N, 7, 3.0f);
    for (int act = NB_GLU_SILU; act <= NB_GLU_GELU_TANH; act++) {
        for (size_t i = 0; i < ROWS * N; i++) {
            double x = (double)in1[i], z = act == NB_GLU_SILU ? x : 2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
            want[i] = x / (1 + exp(-z)) * (double)in2[i];
            bound[i] = (8 + (act == NB_GLU_SILU ? 0 : 6 * fabs(z))) * U * fabs(want[i]) + 1e-34;
        }
        struct nb_glu_args a = {.rows = ROWS, .n = N, .gate = MEM(out), .up = MEM(in2), .out = MEM(out), .ldg = N, .ldu = N,
                                .ldo = N, .act = (nb_glu_act)act};
        run_rows(NB_OP_glu, &a, in1, ROWS * N);
    }
}

Test(add, is_exact) {
    enum { ROWS = 70, N = 19 };
    fill(in1, ROWS * N, 8, 2.0f);
    fill(in2, ROWS * N, 9, 2.0f);
    for (size_t i = 0; i < ROWS * N; i++) {
        want[i] = (double)(in1[i] + in2[i]);
        bound[i] = 0;
    }
    struct nb_add_args a = {.rows = ROWS, .n = N, .x = MEM(in2), .y = MEM(out), .ldx = N, .ldy = N};
    run_rows(NB_OP_add, &a, in1, ROWS * N);
}

/* One query and head in double. A score is off by at most delta = scale gamma_d sum|q||k| (+ u|s|), which changes each weight
 * by a factor of exp(2 delta); weights and sums carry the exponential's 4 u, a subtraction's rounding of |s| and gamma of the
 * number of keys. */
static void attention_oracle(const struct nb_attention_args *a, size_t row, size_t head) {
    static double s[4096];
    size_t hd = a->head_dim, seq = row / a->length, pos = a->past + row % a->length, n = pos + 1;
    size_t from = a->window && n > a->window ? n - a->window : 0, at = seq * a->kv_stride + head / (a->heads / a->kv_heads) * hd;
    double max = -INFINITY, sum = 0, delta = 0, range = 0;
    for (size_t j = from; j < n; j++) {
        double mag = 0;
        s[j] = 0;
        for (size_t d = 0; d < hd; d++) {
            double t = (double)in1[row * a->ldq + head * hd + d] * (double)in2[at + j * a->ldkv + d];
            s[j] += t;
            mag += fabs(t);
        }
        s[j] *= (double)a->scale;
        delta = fmax(delta, (double)a->scale * (double)(hd + 2) * U * mag);
        range = fmax(range, fabs(s[j]));
        max = fmax(max, s[j]);
    }
    for (size_t j = from; j < n; j++)
        sum += s[j] = exp(s[j] - max);
    for (size_t d = 0; d < hd; d++) {
        double v = 0, mag = 0;
        for (size_t j = from; j < n; j++) {
            double t = s[j] / sum * (double)in3[at + j * a->ldkv + d];
            v += t;
            mag += fabs(t);
        }
        want[row * a->ldo + head * hd + d] = v;
        bound[row * a->ldo + head * hd + d] = (2 * delta + (2 * range + 2 * (double)(n - from) + 20) * U) * mag + 1e-30;
    }
}

static void check_attention(struct nb_attention_args a) {
    size_t rows = a.sequences * a.length;
    a.q = MEM(in1), a.k = MEM(in2), a.v = MEM(in3), a.out = MEM(out);
    a.ldq = a.ldo = a.heads * a.head_dim;
    a.ldkv = a.kv_heads * a.head_dim + 2;
    a.kv_stride = a.ldkv * (a.past + a.length + 1);
    a.scale = 1.0f / sqrtf((float)a.head_dim);
    cr_assert_leq(rows * a.ldq, ROOM);
    cr_assert_leq(a.sequences * a.kv_stride, ROOM);
    fill(in1, rows * a.ldq, 10, 4.0f);
    fill(in2, a.sequences * a.kv_stride, 11, 4.0f);
    fill(in3, a.sequences * a.kv_stride, 12, 2.0f);
    for (size_t i = 0; i < rows; i++)
        for (size_t h = 0; h < a.heads; h++)
            attention_oracle(&a, i, h);
    static float before[ROOM];
    run_rows(NB_OP_attention, &a, before, rows * a.ldq);
}

Test(attention, prompts) {
    check_attention((struct nb_attention_args){.sequences = 1, .length = 5, .heads = 1, .kv_heads = 1, .head_dim = 4});
    check_attention((struct nb_attention_args){.sequences = 3, .length = 67, .heads = 6, .kv_heads = 2, .head_dim = 16});
    check_attention((struct nb_attention_args){.sequences = 2, .length = 130, .heads = 3, .kv_heads = 1, .head_dim = 64});
    check_attention((struct nb_attention_args){.sequences = 1, .length = 600, .heads = 4, .kv_heads = 2, .head_dim = 20});
}

Test(attention, after_a_past) {
    check_attention((struct nb_attention_args){.sequences = 2, .length = 1, .past = 0, .heads = 4, .kv_heads = 2, .head_dim = 8});
    check_attention((struct nb_attention_args){.sequences = 5, .length = 1, .past = 300, .heads = 4, .kv_heads = 2, .head_dim = 32});
    check_attention((struct nb_attention_args){.sequences = 2, .length = 3, .past = 9, .heads = 4, .kv_heads = 4, .head_dim = 32});
    check_attention((struct nb_attention_args){.sequences = 2, .length = 40, .past = 270, .heads = 4, .kv_heads = 2, .head_dim = 32});
}

Test(attention, windows) {
    check_attention((struct nb_attention_args){.sequences = 1, .length = 700, .heads = 2, .kv_heads = 1, .head_dim = 16, .window = 33});
    check_attention((struct nb_attention_args){.sequences = 2, .length = 1, .past = 99, .heads = 2, .kv_heads = 1, .head_dim = 16, .window = 10});
}

typedef struct stats {
    double nll[8], kl[8];
    int32_t agree[8];
} stats;

/* Exponentials to 4 u and a rounding of the difference, sums in double: nll to (4 + range) u, kl to (8 + 2 range) u times the
 * mean of |r - x - its mean| plus that. */
Test(logit_stats, against_double) {
    enum { ROWS = 5, N = 1003 };
    static const int32_t targets[ROWS] = {0, 17, N - 1, 500, -1};
    static stats got;
    fill(in1, ROWS * N, 13, 30.0f);
    fill(in2, ROWS * N, 14, 2.0f);
    for (size_t i = 0; i < ROWS * N; i++)
        in2[i] += in1[i];
    in2[3] = in1[3] = 40.0f; /* row 0 agrees */
    in2[N + 3] = 40.0f, in1[N + 4] = 40.0f;
    size_t n_rows;
    const nb_kernel *rows = nb_kernels(&n_rows);
    nb_device_options options = {.threads = 2};
    nb_device *device;
    nb_stream *stream;
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    for (size_t k = 0; k < n_rows; k++) {
        if (rows[k].op != NB_OP_logit_stats || rows[k].backend != NB_CPU || rows[k].needs & ~nb_cpu_features())
            continue;
        memset(&got, 0xff, sizeof got);
        struct nb_logit_stats_args a = {.rows = ROWS, .n = N, .logits = MEM(in1), .reference = MEM(in2), .ldl = N, .ldr = N,
                                        .targets = MEM(targets), .nll = MEM(got.nll), .kl = MEM(got.kl), .agree = MEM(got.agree)};
        cr_assert_eq(nb_launch_row(stream, &rows[k], &a, NULL), NB_OK);
        double all = 0;
        for (size_t i = 0; i < ROWS; i++) {
            const float *x = in1 + i * N, *r = in2 + i * N;
            double zx = 0, zr = 0, kl = 0, mean = 0;
            for (size_t j = 0; j < N; j++) {
                zx += exp((double)x[j]);
                zr += exp((double)r[j]);
            }
            for (size_t j = 0; j < N; j++) {
                double p = exp((double)r[j]) / zr, d = (double)r[j] - log(zr) - ((double)x[j] - log(zx));
                kl += p * d;
                mean += p * fabs(d);
            }
            double nll = targets[i] < 0 ? 0 : log(zx) - (double)x[targets[i]];
            cr_assert_leq(fabs(got.nll[i] - nll), (4 + 60) * U, "%s nll", rows[k].name);
            cr_assert_leq(fabs(got.kl[i] - kl), (4 + 60) * U * 2 * (1 + mean), "%s kl", rows[k].name);
            all += kl;
        }
        cr_assert_gt(all, 0.1);
        cr_assert(got.agree[0] == 1 && got.agree[1] == 0);
        a.reference = a.logits;
        cr_assert_eq(nb_launch_row(stream, &rows[k], &a, NULL), NB_OK);
        for (size_t i = 0; i < ROWS; i++)
            cr_assert(fabs(got.kl[i]) < 1e-12 && got.agree[i] == 1, "a model agrees with itself");
    }
    nb_stream_free(stream);
    nb_device_close(device);
}
