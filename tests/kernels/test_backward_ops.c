/* Backward operations against central differences of a double-precision forward pass written here from ops.h. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/base/random.h"

static nb_stream *stream;
static nb_device *device;

static void open_device(void) {
    nb_device_options options = {.threads = 2};
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
}

static void close_device(void) {
    nb_stream_free(stream);
    nb_device_close(device);
}

TestSuite(backward_ops, .init = open_device, .fini = close_device);

/* Every row of the operation that this processor runs. */
static void launch_all(nb_op op, const void *args, float *got, size_t count, void (*check)(void *ctx), void *ctx) {
    size_t n, ran = 0;
    const nb_kernel *rows = nb_kernels(&n);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].op != op || rows[i].backend != NB_CPU || !device->backend->can_run(device, &rows[i]))
            continue;
        for (size_t j = 0; j < count; j++)
            got[j] = NAN;
        cr_assert_eq(nb_launch_row(stream, &rows[i], args, NULL), NB_OK);
        check(ctx);
        ran++;
    }
    cr_assert_gt(ran, 0);
}

static void fill(float *x, size_t count, nb_random *r, float size) {
    for (size_t i = 0; i < count; i++)
        x[i] = size * (2.0f * nb_random_f32(r) - 1.0f);
}

static nb_mem mem(const float *x, size_t count) {
    return nb_mem_host(x, count * sizeof *x);
}

/* A differentiable function of several inputs, of which `x` is moved; d weighs its outputs. */
typedef struct problem {
    float *x;
    size_t count;
    const float *got; /* gradient to be checked */
    double (*loss)(const void *self);
    const void *self;
    double tolerance; /* of the largest gradient: f32 sums, and h^2 of the difference */
} problem;

static void check_gradient(void *ctx) {
    const problem *p = ctx;
    double *want = calloc(p->count, sizeof *want), most = 0;
    for (size_t i = 0; i < p->count; i++) {
        float keep = p->x[i], h = 2e-3f;
        p->x[i] = keep + h;
        float up = p->x[i];
        double high = p->loss(p->self);
        p->x[i] = keep - h;
        double low = p->loss(p->self), step = (double)up - (double)p->x[i];
        p->x[i] = keep;
        want[i] = (high - low) / step;
        most = fmax(most, fabs(want[i]));
    }
    cr_assert_gt(most, 0.01);
    for (size_t i = 0; i < p->count; i++)
        cr_assert_float_eq(p->got[i], want[i], p->tolerance * most, "place %zu: %g, expected %g", i, (double)p->got[i], want[i]);
    free(want);
}

/* ---- rmsnorm ---- */

typedef struct norm_case {
    size_t rows, k;
    float *x, *weight, *d, *dx;
    float eps, offset;
} norm_case;

static double norm_loss(const void *self) {
    const norm_case *c = self;
    double loss = 0;
    for (size_t i = 0; i < c->rows; i++) {
        double mean = 0;
        for (size_t j = 0; j < c->k; j++)
            mean += (double)c->x[i * c->k + j] * (double)c->x[i * c->k + j] / (double)c->k;
        for (size_t j = 0; j < c->k; j++)
            loss += (double)c->d[i * c->k + j] * (double)c->x[i * c->k + j] / sqrt(mean + (double)c->eps) *
                    ((double)c->weight[j] + (double)c->offset);
    }
    return loss;
}

Test(backward_ops, rmsnorm) {
    static const size_t ks[] = {1, 7, 16, 37};
    nb_random r = nb_random_seed(1);
    for (size_t i = 0; i < 4; i++) {
        float x[3 * 37], weight[37], d[3 * 37], dx[3 * 37];
        size_t k = ks[i], count = 3 * k;
        norm_case c = {.rows = 3, .k = k, .x = x, .weight = weight, .d = d, .dx = dx, .eps = 0.3f, .offset = i & 1 ? 1.0f : 0.0f};
        fill(x, count, &r, 1.0f);
        fill(weight, k, &r, 1.0f);
        fill(d, count, &r, 1.0f);
        struct nb_rmsnorm_back_args a = {.rows = 3, .k = k, .x = mem(x, count), .weight = mem(weight, k), .d = mem(d, count),
                                         .dx = mem(dx, count), .ldx = k, .ldd = k, .lddx = k, .eps = c.eps, .offset = c.offset};
        problem p = {.x = x, .count = count, .got = dx, .loss = norm_loss, .self = &c, .tolerance = 2e-5};
        launch_all(NB_OP_rmsnorm_back, &a, dx, count, check_gradient, &p);
        float added[3 * 37];
        memcpy(added, d, sizeof added);
        a.dx = mem(added, count);
        a.accumulate = true;
        cr_assert_eq(nb_launch(stream, NB_OP_rmsnorm_back, &a, NULL), NB_OK);
        for (size_t j = 0; j < count; j++)
            cr_assert_float_eq(added[j], d[j] + dx[j], 1e-6f * (fabsf(d[j]) + fabsf(dx[j])));
    }
}

/* ---- glu ---- */

typedef struct glu_case {
    size_t count;
    float *gate, *up, *d;
    nb_glu_act act;
} glu_case;

static double glu_loss(const void *self) {
    const glu_case *c = self;
    double loss = 0;
    for (size_t i = 0; i < c->count; i++) {
        double x = (double)c->gate[i], t = sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
        double y = c->act == NB_GLU_SILU ? x / (1 + exp(-x)) : 0.5 * x * (1 + tanh(t));
        loss += (double)c->d[i] * y * (double)c->up[i];
    }
    return loss;
}

Test(backward_ops, glu) {
    enum { ROWS = 5, N = 21, COUNT = ROWS * N };
    nb_random r = nb_random_seed(2);
    float gate[COUNT], up[COUNT], d[COUNT], dgate[COUNT], dup[COUNT];
    for (int act = 0; act < 2; act++) {
        glu_case c = {.count = COUNT, .gate = gate, .up = up, .d = d, .act = (nb_glu_act)act};
        fill(gate, COUNT, &r, 4.0f);
        fill(up, COUNT, &r, 1.0f);
        fill(d, COUNT, &r, 1.0f);
        struct nb_glu_back_args a = {.rows = ROWS, .n = N, .gate = mem(gate, COUNT), .up = mem(up, COUNT), .d = mem(d, COUNT),
                                     .dgate = mem(dgate, COUNT), .dup = mem(dup, COUNT), .act = (nb_glu_act)act};
        problem by_gate = {.x = gate, .count = COUNT, .got = dgate, .loss = glu_loss, .self = &c, .tolerance = 1e-5};
        problem by_up = {.x = up, .count = COUNT, .got = dup, .loss = glu_loss, .self = &c, .tolerance = 1e-5};
        launch_all(NB_OP_glu_back, &a, dgate, COUNT, check_gradient, &by_gate);
        launch_all(NB_OP_glu_back, &a, dup, COUNT, check_gradient, &by_up);
        a.dgate = a.gate;
        a.dup = a.up;
        cr_assert_eq(nb_launch(stream, NB_OP_glu_back, &a, NULL), NB_OK);
        cr_assert(!memcmp(gate, dgate, sizeof gate) && !memcmp(up, dup, sizeof up));
    }
}

/* ---- attention ---- */

typedef struct attention_case {
    struct nb_attention_back_args a;
    float *q, *k, *v, *d;
} attention_case;

static double attention_forward(const attention_case *c, float *out) {
    const struct nb_attention_back_args *a = &c->a;
    size_t hd = a->head_dim, group = a->heads / a->kv_heads;
    double loss = 0, p[64], o;
    for (size_t row = 0; row < a->sequences * a->length; row++)
        for (size_t h = 0; h < a->heads; h++) {
            size_t pos = row % a->length, base = row - pos, first = a->window && pos + 1 > a->window ? pos + 1 - a->window : 0;
            double sum = 0;
            for (size_t j = first; j <= pos; j++) {
                double s = 0;
                for (size_t e = 0; e < hd; e++)
                    s += (double)c->q[row * a->ldq + h * hd + e] * (double)c->k[(base + j) * a->ldkv + h / group * hd + e];
                sum += p[j] = exp(s * (double)a->scale);
            }
            for (size_t e = 0; e < hd; e++) {
                o = 0;
                for (size_t j = first; j <= pos; j++)
                    o += p[j] / sum * (double)c->v[(base + j) * a->ldkv + h / group * hd + e];
                if (out)
                    out[row * a->ldo + h * hd + e] = (float)o;
                loss += o * (double)c->d[row * a->ldo + h * hd + e];
            }
        }
    return loss;
}

static double attention_loss(const void *self) {
    return attention_forward(self, NULL);
}

static void check_attention(size_t sequences, size_t length, size_t heads, size_t kv_heads, size_t hd, size_t window, nb_random *r) {
    size_t rows = sequences * length, qs = rows * heads * hd, ks = rows * kv_heads * hd;
    float *all = calloc(5 * qs + 4 * ks, sizeof *all), *q = all, *d = q + qs, *out = d + qs, *dq = out + qs;
    float *k = dq + 2 * qs, *v = k + ks, *dk = v + ks, *dv = dk + ks;
    fill(q, qs, r, 1.0f);
    fill(k, ks, r, 1.0f);
    fill(v, ks, r, 1.0f);
    fill(d, qs, r, 1.0f);
    attention_case c = {.q = q, .k = k, .v = v, .d = d};
    c.a = (struct nb_attention_back_args){.sequences = sequences, .length = length, .heads = heads, .kv_heads = kv_heads,
                                          .head_dim = hd, .q = mem(q, qs), .k = mem(k, ks), .v = mem(v, ks),
                                          .out = mem(out, qs), .d = mem(d, qs), .dq = mem(dq, qs), .dk = mem(dk, ks),
                                          .dv = mem(dv, ks), .ldq = heads * hd, .ldkv = kv_heads * hd, .ldo = heads * hd,
                                          .window = window, .scale = 0.7f};
    attention_forward(&c, out);
    problem by_q = {.x = q, .count = qs, .got = dq, .loss = attention_loss, .self = &c, .tolerance = 3e-5};
    problem by_k = {.x = k, .count = ks, .got = dk, .loss = attention_loss, .self = &c, .tolerance = 3e-5};
    problem by_v = {.x = v, .count = ks, .got = dv, .loss = attention_loss, .self = &c, .tolerance = 3e-5};
    launch_all(NB_OP_attention_back, &c.a, dq, qs, check_gradient, &by_q);
    launch_all(NB_OP_attention_back, &c.a, dk, ks, check_gradient, &by_k);
    launch_all(NB_OP_attention_back, &c.a, dv, ks, check_gradient, &by_v);
    free(all);
}

Test(backward_ops, attention) {
    nb_random r = nb_random_seed(3);
    check_attention(1, 3, 1, 1, 2, 0, &r);
    check_attention(2, 5, 4, 2, 6, 0, &r);
    check_attention(2, 4, 3, 1, 18, 0, &r);
    check_attention(1, 9, 2, 2, 4, 3, &r);
}

/* ---- learned rounding ---- */

typedef struct round_case {
    struct nb_learned_round_args f;
    float *b, *v, *scale0, *zero0, *alpha, *beta;
    double code_less[64], zero_less[8]; /* what rounding added, held fast: the function straight through it */
    bool clamped[64];
    uint8_t codes[64];
    const float *g;
    bool began;
} round_case;

/* With roundings replaced by adding what they added at the point of the gradient, the function is smooth. */
static double round_loss(const void *self) {
    round_case *c = (round_case *)(uintptr_t)self;
    const struct nb_learned_round_args *f = &c->f;
    size_t groups = (f->k + f->group - 1) / f->group;
    double top = (double)((1u << f->bits) - 1u), loss = 0;
    for (size_t i = 0; i < f->n * f->k; i++) {
        size_t p = i / f->k * groups + i % f->k / f->group;
        double s0 = (double)c->scale0[p], z0 = (double)c->zero0[p], low = -z0 * s0, high = (top - z0) * s0;
        double s = f->symmetric ? (double)c->alpha[p] * s0 : ((double)c->alpha[p] * high - (double)c->beta[p] * low) / top;
        double z = f->symmetric ? z0 : -(double)c->beta[p] * low / s;
        double x = (double)c->b[i] / s + (double)c->v[i];
        if (!c->began) {
            c->zero_less[p] = f->symmetric ? 0 : nearbyint(z) - z;
            double whole = nearbyint(x) + nearbyint(z);
            c->clamped[i] = whole < 0 || whole > top;
            c->codes[i] = (uint8_t)fmin(top, fmax(0, whole));
            c->code_less[i] = nearbyint(x) - x;
        }
        z += c->zero_less[p];
        double q = c->clamped[i] ? ((double)c->codes[i] - z) * s : (x + c->code_less[i]) * s;
        loss += (double)c->g[i] * q;
    }
    return loss;
}

static void check_round(bool symmetric, unsigned bits, uint64_t seed) {
    enum { N = 4, K = 14, GROUP = 7, GROUPS = 2, COUNT = N * K, P = N * GROUPS };
    nb_random r = nb_random_seed(seed);
    float b[COUNT], v[COUNT], s0[P], z0[P], alpha[P], beta[P], w[COUNT], scales[P], zeros[P], g[COUNT], dv[COUNT], da[P], db[P];
    uint8_t codes[COUNT];
    float top = (float)((1u << bits) - 1u);
    fill(b, COUNT, &r, 1.0f);
    fill(v, COUNT, &r, 0.45f);
    fill(g, COUNT, &r, 1.0f);
    for (size_t i = 0; i < P; i++) {
        s0[i] = (1.0f + 0.3f * nb_random_f32(&r)) / top; /* some values are clamped: the range is about +-0.5 */
        z0[i] = symmetric ? (float)(1u << (bits - 1)) : (float)(1 + nb_random_below(&r, (1u << bits) - 2));
        alpha[i] = 0.8f + 0.4f * nb_random_f32(&r);
        beta[i] = 0.8f + 0.4f * nb_random_f32(&r);
    }
    round_case c = {.b = b, .v = v, .scale0 = s0, .zero0 = z0, .alpha = alpha, .beta = beta, .g = g};
    c.f = (struct nb_learned_round_args){.n = N, .k = K, .group = GROUP, .b = mem(b, COUNT), .v = mem(v, COUNT),
                                         .scale0 = mem(s0, P), .zero0 = mem(z0, P), .alpha = mem(alpha, P), .beta = mem(beta, P),
                                         .bits = bits, .symmetric = symmetric, .scale_type = NB_F32, .w = mem(w, COUNT),
                                         .codes = nb_mem_host(codes, COUNT), .scales = mem(scales, P), .zeros = mem(zeros, P)};
    cr_assert_eq(nb_launch(stream, NB_OP_learned_round, &c.f, NULL), NB_OK);
    round_loss(&c);
    c.began = true;
    cr_assert(!memcmp(codes, c.codes, COUNT), "codes of the forward step");
    memcpy(dv, g, sizeof dv);
    struct nb_learned_back_args a = {.f = c.f, .g = mem(dv, COUNT), .dalpha = mem(da, P), .dbeta = mem(db, P)};
    cr_assert_eq(nb_launch(stream, NB_OP_learned_back, &a, NULL), NB_OK);
    problem by_v = {.x = v, .count = COUNT, .got = dv, .loss = round_loss, .self = &c, .tolerance = 1e-5};
    problem by_alpha = {.x = alpha, .count = P, .got = da, .loss = round_loss, .self = &c, .tolerance = 2e-5};
    problem by_beta = {.x = beta, .count = P, .got = db, .loss = round_loss, .self = &c, .tolerance = 2e-5};
    check_gradient(&by_v);
    check_gradient(&by_alpha);
    if (!symmetric)
        check_gradient(&by_beta);
    size_t clamped = 0;
    for (size_t i = 0; i < COUNT; i++)
        clamped += c.clamped[i];
    cr_assert(clamped > 0 && clamped < COUNT, "%zu of %d clamped", clamped, (int)COUNT);
}

Test(backward_ops, learned_rounding) {
    for (uint64_t seed = 0; seed < 12; seed++)
        check_round(seed & 1, 2 + (unsigned)(seed % 3), 40 + seed);
}

Test(backward_ops, sign_step) {
    float x[6] = {0.0f, 0.4f, -0.4f, 0.1f, 0.2f, 0.3f}, g[6] = {1.0f, -2.0f, 3.0f, 0.0f, NAN, -1e-30f};
    const float want[6] = {-0.25f, 0.5f, -0.5f, 0.1f, 0.2f, 0.5f};
    struct nb_sign_step_args a = {.rows = 2, .k = 3, .x = mem(x, 6), .g = mem(g, 6), .step = 0.25f, .low = -0.5f, .high = 0.5f};
    cr_assert_eq(nb_launch(stream, NB_OP_sign_step, &a, NULL), NB_OK);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(x[i], want[i], "place %d: %g", i, (double)x[i]);
}

/* ---- learned scales ---- */

enum { SCALE_N = 3, SCALE_K = 21, SCALE_GROUP = 8, SCALE_P = SCALE_N * 3 }; /* the last group is short */

typedef struct scale_case {
    const uint8_t *codes;
    float *f, *scale0, *zeros, *g;
} scale_case;

static double scale_loss(const void *self) {
    const scale_case *c = self;
    double loss = 0;
    for (size_t i = 0; i < (size_t)SCALE_N * SCALE_K; i++) {
        size_t p = i / SCALE_K * 3 + i % SCALE_K / SCALE_GROUP;
        loss += (double)c->g[i] * ((double)c->codes[i] - (double)c->zeros[p]) * (double)c->f[p] * (double)c->scale0[p];
    }
    return loss;
}

Test(backward_ops, scales) {
    nb_random r = nb_random_seed(8);
    uint8_t codes[SCALE_N * SCALE_K];
    float f[SCALE_P], scale0[SCALE_P], zeros[SCALE_P], g[SCALE_N * SCALE_K], d[SCALE_P];
    fill(scale0, SCALE_P, &r, 1.0f);
    fill(zeros, SCALE_P, &r, 8.0f);
    fill(g, SCALE_N * SCALE_K, &r, 1.0f);
    for (size_t i = 0; i < (size_t)SCALE_N * SCALE_K; i++)
        codes[i] = (uint8_t)nb_random_below(&r, 16);
    for (size_t i = 0; i < SCALE_P; i++)
        f[i] = 1.0f;
    scale_case c = {.codes = codes, .f = f, .scale0 = scale0, .zeros = zeros, .g = g};
    struct nb_scale_back_args a = {.rows = SCALE_N, .k = SCALE_K, .group = SCALE_GROUP, .codes = nb_mem_host(codes, sizeof codes),
                                   .scale0 = mem(scale0, SCALE_P), .zeros = mem(zeros, SCALE_P), .g = mem(g, SCALE_N * SCALE_K),
                                   .d = mem(d, SCALE_P)};
    problem by_factor = {.x = f, .count = SCALE_P, .got = d, .loss = scale_loss, .self = &c, .tolerance = 1e-5};
    launch_all(NB_OP_scale_back, &a, d, SCALE_P, check_gradient, &by_factor);
}

/* Adam's first step has the length of its rate whatever the gradient, later ones follow m and v; ends, sign and type of scales hold. */
Test(backward_ops, scale_step) {
    float f[4] = {1.0f, 1.0f, 1.0f, 1.24f}, m[4] = {0}, v[4] = {0}, d[4] = {3.0f, -1e-4f, 0.0f, -5.0f};
    float scale0[4] = {0.01f, -0.01f, 0.02f, 1.0f}, scales[4];
    struct nb_scale_step_args a = {.rows = 2, .k = 2, .f = mem(f, 4), .m = mem(m, 4), .v = mem(v, 4), .d = mem(d, 4),
                                   .scale0 = mem(scale0, 4), .scales = mem(scales, 4), .step = 0.0625f, .beta1 = 0.5f, .beta2 = 0.75f,
                                   .fix1 = 2.0f, .fix2 = 4.0f, .eps = 1e-12f, .low = 0.5f, .high = 1.25f, .scale_type = NB_F16};
    const float first[4] = {0.9375f, 1.0625f, 1.0f, 1.25f};
    cr_assert_eq(nb_launch(stream, NB_OP_scale_step, &a, NULL), NB_OK);
    for (int i = 0; i < 4; i++) {
        cr_assert_float_eq(f[i], first[i], 1e-6f, "place %d: %g", i, (double)f[i]);
        cr_assert_eq(scales[i], nb_f16_to_f32(nb_f32_to_f16(f[i] * scale0[i])));
    }
    /* With the gradient turned, m = 0.5 * 1.5 - 0.5 * 3 and v = 0.75 * 2.25 + 0.25 * 9 at the second. */
    d[0] = -3.0f;
    a.fix1 = 1.0f / 0.75f;
    a.fix2 = 1.0f / (1.0f - 0.5625f);
    cr_assert_eq(nb_launch(stream, NB_OP_scale_step, &a, NULL), NB_OK);
    double step = (0.75 - 1.5) * 4 / 3 / sqrt((1.6875 + 2.25) / 0.4375);
    cr_assert_float_eq(f[0], 0.9375 - 0.0625 * step, 1e-6, "%g", (double)f[0]);
}

/* ---- KL divergence ---- */

typedef struct kl_case {
    size_t rows, n;
    float *x, *r, factor;
} kl_case;

static double log_sum(const float *x, size_t n) {
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += exp((double)x[j]);
    return log(sum);
}

static double kl_loss(const void *self) {
    const kl_case *c = self;
    double loss = 0;
    for (size_t i = 0; i < c->rows; i++) {
        const float *x = c->x + i * c->n, *r = c->r + i * c->n;
        double lx = log_sum(x, c->n), lr = log_sum(r, c->n);
        for (size_t j = 0; j < c->n; j++)
            loss += (double)c->factor * exp((double)r[j] - lr) * ((double)r[j] - lr - (double)x[j] + lx);
    }
    return loss;
}

Test(backward_ops, kl) {
    enum { ROWS = 3, N = 37, COUNT = ROWS * N };
    nb_random random = nb_random_seed(9);
    float x[COUNT], r[COUNT], d[COUNT];
    fill(x, COUNT, &random, 3.0f);
    fill(r, COUNT, &random, 3.0f);
    kl_case c = {.rows = ROWS, .n = N, .x = x, .r = r, .factor = 0.7f};
    struct nb_kl_back_args a = {.rows = ROWS, .n = N, .logits = mem(x, COUNT), .reference = mem(r, COUNT), .d = mem(d, COUNT), .ldl = N,
                                .ldr = N, .ldd = N, .factor = c.factor};
    problem by_logits = {.x = x, .count = COUNT, .got = d, .loss = kl_loss, .self = &c, .tolerance = 1e-5};
    launch_all(NB_OP_kl_back, &a, d, COUNT, check_gradient, &by_logits);
    a.d = a.logits; /* in place */
    cr_assert_eq(nb_launch(stream, NB_OP_kl_back, &a, NULL), NB_OK);
    cr_assert(!memcmp(x, d, sizeof d));
}
