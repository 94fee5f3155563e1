/* Checks of gradients and of learned rounding. */
#include <stdio.h>

#include "host/base/size.h"
#include "host/cli/verify.h"

#define FAULTS(...) .faults = (const nb_arg_fault[]){__VA_ARGS__, {NULL, NULL}}
#define LAST_OF(op, member)                                                                                            \
    static void op##_last_##member(nb_any_args *a) {                                                                   \
        a->op.member -= a->op.member > 0;                                                                              \
    }

typedef struct dims {
    size_t rows, k;
} dims;

static const dims shapes[] = {{1, 1}, {1, 31}, {3, 32}, {33, 33}, {17, 16}, {65, 17}, {2, 257}, {0, 5}, {16, 576}, {300, 63}, {64, 1536}};
enum { SHAPES = NB_COUNT_OF(shapes), SHAPES_NOW = SHAPES - 2 };
#define CASES .cases = SHAPES_NOW * NB_FILL_COUNT, .full_cases = (SHAPES - SHAPES_NOW) * NB_FILL_COUNT

static dims describe(nb_case *c, size_t index, nb_filling *fill) {
    dims d = shapes[index / NB_FILL_COUNT];
    *fill = (nb_filling)(index % NB_FILL_COUNT);
    snprintf(c->text, sizeof c->text, "rows %zu columns %zu, %s", d.rows, d.k, nb_filling_name(*fill));
    return d;
}

/* ---- rmsnorm_back ---- */

static nb_status make_rmsnorm_back(nb_case *c, size_t index, nb_err *err) {
    struct nb_rmsnorm_back_args *a = &c->args.rmsnorm_back;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    *a = (struct nb_rmsnorm_back_args){.rows = d.rows, .k = d.k, .ldx = d.k + index % 3, .ldd = d.k + index % 2, .lddx = d.k + index % 4};
    a->eps = index % 5 ? 1e-5f : 0.25f;
    a->offset = index % 3 ? 0.0f : 1.0f;
    a->accumulate = index % 2;
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->x, d.rows, d.k, a->ldx, fill, "x", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->weight, 1, d.k, d.k, NB_FILL_RANDOM, "weight", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->d, d.rows, d.k, a->ldd, NB_FILL_RANDOM, "d", NULL, err));
    return nb_case_floats(c, NB_ROLE_BOUNDED, &a->dx, d.rows, d.k, a->lddx, NB_FILL_RANDOM, "dx", NULL, err);
}

LAST_OF(rmsnorm_back, rows)
static void rmsnorm_back_assign(nb_any_args *a) {
    a->rmsnorm_back.accumulate = !a->rmsnorm_back.accumulate;
}
static void rmsnorm_back_offset(nb_any_args *a) {
    a->rmsnorm_back.offset += 0.5f;
}
static void rmsnorm_back_eps(nb_any_args *a) {
    a->rmsnorm_back.eps *= 4;
}
NB_CHECK_ORACLE(rmsnorm_back)
const nb_check nb_check_rmsnorm_back = {
    CASES,
    .make = make_rmsnorm_back,
    .oracle = oracle_rmsnorm_back,
    FAULTS({"without the last row", rmsnorm_back_last_rows}, {"added where it should not be, or not where it should", rmsnorm_back_assign},
           {"another offset", rmsnorm_back_offset}, {"another eps", rmsnorm_back_eps}),
};

/* ---- glu_back ---- */

static nb_status make_glu_back(nb_case *c, size_t index, nb_err *err) {
    struct nb_glu_back_args *a = &c->args.glu_back;
    nb_filling fill;
    float *gate = NULL;
    dims d = describe(c, index, &fill);
    *a = (struct nb_glu_back_args){.rows = d.rows, .n = d.k, .act = index % 2 ? NB_GLU_GELU_TANH : NB_GLU_SILU};
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->gate, d.rows, d.k, d.k, fill, "gate", &gate, err));
    for (size_t i = 0; i < d.rows * d.k; i++)
        gate[i] = fill == NB_FILL_HUGE && (gate[i] > 1e4f || gate[i] < -1e4f) ? gate[i] / 1e4f : 8 * gate[i];
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->up, d.rows, d.k, d.k, NB_FILL_RANDOM, "up", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->d, d.rows, d.k, d.k, NB_FILL_RANDOM, "d", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->dgate, NB_F32, d.rows, d.k, d.k, "dgate", NULL, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->dup, NB_F32, d.rows, d.k, d.k, "dup", NULL, err);
}

LAST_OF(glu_back, rows)
static void glu_back_act(nb_any_args *a) {
    a->glu_back.act = a->glu_back.act == NB_GLU_SILU ? NB_GLU_GELU_TANH : NB_GLU_SILU;
}
static void glu_back_exchanged(nb_any_args *a) {
    nb_mem up = a->glu_back.up;
    a->glu_back.up = a->glu_back.gate;
    a->glu_back.gate = up;
}
NB_CHECK_ORACLE(glu_back)
const nb_check nb_check_glu_back = {
    CASES,
    .make = make_glu_back,
    .oracle = oracle_glu_back,
    FAULTS({"without the last row", glu_back_last_rows}, {"the other activation", glu_back_act}, {"gate and up exchanged", glu_back_exchanged}),
};

/* ---- attention_back ---- */

typedef struct heads {
    size_t sequences, length, heads, kv_heads, head_dim, window;
} heads;

static const heads attentions[] = {{1, 1, 1, 1, 2, 0}, {2, 5, 4, 2, 6, 0}, {1, 33, 3, 1, 18, 0}, {2, 17, 2, 2, 16, 4}, {3, 8, 6, 3, 20, 8},
                                   {1, 70, 9, 3, 64, 0}, {1, 40, 4, 1, 256, 16}, {1, 100, 4, 2, 18, 33}, {2, 130, 9, 3, 64, 50}};
enum { ATTENTIONS = NB_COUNT_OF(attentions), ATTENTIONS_NOW = ATTENTIONS - 1 };

static nb_status make_attention_back(nb_case *c, size_t index, nb_err *err) {
    struct nb_attention_back_args *a = &c->args.attention_back;
    heads s = attentions[index];
    size_t rows = s.sequences * s.length, q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    snprintf(c->text, sizeof c->text, "%zu sequences of %zu, %zu heads, %zu of keys, of %zu, window %zu", s.sequences, s.length, s.heads,
             s.kv_heads, s.head_dim, s.window);
    *a = (struct nb_attention_back_args){.sequences = s.sequences, .length = s.length, .heads = s.heads, .kv_heads = s.kv_heads,
                                         .head_dim = s.head_dim, .window = s.window, .scale = 0.7f};
    a->ldq = q + index % 3, a->ldkv = kv + index % 2, a->ldo = q + index % 4;
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->q, rows, q, a->ldq, NB_FILL_RANDOM, "q", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->k, rows, kv, a->ldkv, NB_FILL_RANDOM, "k", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->v, rows, kv, a->ldkv, NB_FILL_RANDOM, "v", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->out, rows, q, a->ldo, NB_FILL_RANDOM, "out", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->d, rows, q, a->ldo, NB_FILL_RANDOM, "d", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->dq, NB_F32, rows, q, a->ldq, "dq", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->dk, NB_F32, rows, kv, a->ldkv, "dk", NULL, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->dv, NB_F32, rows, kv, a->ldkv, "dv", NULL, err);
}

LAST_OF(attention_back, window)
static void attention_back_scale(nb_any_args *a) {
    a->attention_back.scale *= 1.01f;
}
static void attention_back_out(nb_any_args *a) {
    a->attention_back.out = a->attention_back.d;
}
static void attention_back_values(nb_any_args *a) {
    a->attention_back.v = a->attention_back.k;
}
NB_CHECK_ORACLE(attention_back)
const nb_check nb_check_attention_back = {
    .cases = ATTENTIONS_NOW,
    .full_cases = ATTENTIONS - ATTENTIONS_NOW,
    .make = make_attention_back,
    .oracle = oracle_attention_back,
    FAULTS({"a key too few in the window", attention_back_last_window}, {"another scale", attention_back_scale},
           {"d for out", attention_back_out}, {"keys for values", attention_back_values}),
};

/* ---- learned rounding ---- */

typedef struct matrix {
    size_t n, k, group;
} matrix;

static const matrix matrices[] = {{1, 1, 1}, {5, 40, 16}, {17, 65, 32}, {8, 130, 128}, {9, 31, 31}, {0, 16, 8}, {64, 576, 64}};
enum { MATRICES = NB_COUNT_OF(matrices), MATRICES_NOW = MATRICES - 1, FORMS = 6 };
#define ROUND_CASES .cases = MATRICES_NOW * FORMS, .full_cases = (MATRICES - MATRICES_NOW) * FORMS

/* What both steps read. Weights reach past the grid, so that some are clamped. */
static nb_status add_learned(nb_case *c, struct nb_learned_round_args *a, size_t index, nb_err *err) {
    static const nb_dtype types[] = {NB_F16, NB_F32, NB_BF16};
    matrix m = matrices[index / FORMS];
    size_t params = m.n * nb_ceil_div(m.k, m.group);
    float *s = NULL, *z = NULL, *alpha = NULL, *beta = NULL, *v = NULL;
    *a = (struct nb_learned_round_args){.n = m.n, .k = m.k, .group = m.group, .bits = 2 + (unsigned)(index % 4), .symmetric = index % 2};
    a->scale_type = types[index % 3];
    snprintf(c->text, sizeof c->text, "n %zu k %zu, %u bits, group %zu, %s", m.n, m.k, a->bits, m.group, a->symmetric ? "symmetric" : "zeros");
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->b, m.n, m.k, m.k, NB_FILL_RANDOM, "b", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->v, m.n, m.k, m.k, NB_FILL_RANDOM, "v", &v, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->scale0, 1, params, params, NB_FILL_RANDOM, "scale0", &s, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->zero0, 1, params, params, NB_FILL_RANDOM, "zero0", &z, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->alpha, 1, params, params, NB_FILL_RANDOM, "alpha", &alpha, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->beta, 1, params, params, NB_FILL_RANDOM, "beta", &beta, err));
    for (size_t i = 0; i < params; i++) {
        s[i] = (0.8f + 0.3f * s[i]) / (float)(1u << a->bits);
        z[i] = a->symmetric ? (float)(1u << (a->bits - 1)) : (float)nb_random_below(&c->random, 1u << a->bits);
        alpha[i] = 1 + 0.5f * alpha[i];
        beta[i] = 1 + 0.5f * beta[i];
        s[i] = a->symmetric && i % 3 == 1 ? -s[i] : s[i];
    }
    return NB_OK;
}

static nb_status make_learned_round(nb_case *c, size_t index, nb_err *err) {
    struct nb_learned_round_args *a = &c->args.learned_round;
    NB_TRY(add_learned(c, a, index, err));
    size_t groups = nb_ceil_div(a->k, a->group);
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->w, NB_F32, a->n, a->k, a->k, "w", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->codes, NB_U8, a->n, a->k, a->k, "codes", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_EXACT, &a->scales, NB_F32, a->n, groups, groups, "scales", NULL, err));
    return nb_case_add(c, NB_ROLE_EXACT, &a->zeros, NB_F32, a->n, groups, groups, "zeros", NULL, err);
}

LAST_OF(learned_round, n)
static void learned_round_no_offsets(nb_any_args *a) {
    a->learned_round.v = a->learned_round.b;
}
static void learned_round_ends(nb_any_args *a) {
    a->learned_round.alpha = a->learned_round.beta;
}
static void learned_round_symmetric(nb_any_args *a) {
    a->learned_round.symmetric = !a->learned_round.symmetric;
}
NB_CHECK_ORACLE(learned_round)
const nb_check nb_check_learned_round = {
    ROUND_CASES,
    .make = make_learned_round,
    .oracle = oracle_learned_round,
    FAULTS({"without the last row", learned_round_last_n}, {"other offsets", learned_round_no_offsets},
           {"the other end", learned_round_ends}, {"symmetric exchanged", learned_round_symmetric}),
};

static nb_status make_learned_back(nb_case *c, size_t index, nb_err *err) {
    struct nb_learned_back_args *a = &c->args.learned_back;
    uint8_t *codes = NULL;
    NB_TRY(add_learned(c, &a->f, index, err));
    size_t groups = nb_ceil_div(a->f.k, a->f.group);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->f.codes, NB_U8, a->f.n, a->f.k, a->f.k, "codes", &codes, err));
    for (size_t i = 0; i < a->f.n * a->f.k; i++)
        codes[i] = (uint8_t)nb_random_below(&c->random, 1u << a->f.bits);
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->g, a->f.n, a->f.k, a->f.k, NB_FILL_RANDOM, "g", NULL, err));
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->dalpha, NB_F32, a->f.n, groups, groups, "dalpha", NULL, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->dbeta, NB_F32, a->f.n, groups, groups, "dbeta", NULL, err);
}

static void learned_back_last_n(nb_any_args *a) {
    a->learned_back.f.n -= a->learned_back.f.n > 0;
}
static void learned_back_offsets(nb_any_args *a) {
    a->learned_back.f.v = a->learned_back.f.b;
}
static void learned_back_ends(nb_any_args *a) {
    a->learned_back.f.alpha = a->learned_back.f.beta;
}
NB_CHECK_ORACLE(learned_back)
const nb_check nb_check_learned_back = {
    ROUND_CASES,
    .make = make_learned_back,
    .oracle = oracle_learned_back,
    FAULTS({"without the last row", learned_back_last_n}, {"other offsets", learned_back_offsets}, {"the other end", learned_back_ends}),
};

/* ---- sign_step ---- */

static nb_status make_sign_step(nb_case *c, size_t index, nb_err *err) {
    struct nb_sign_step_args *a = &c->args.sign_step;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    *a = (struct nb_sign_step_args){.rows = d.rows, .k = d.k, .step = 0.07f, .low = -0.5f, .high = 0.5f};
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->x, d.rows, d.k, d.k, NB_FILL_RANDOM, "x", NULL, err));
    return nb_case_floats(c, NB_ROLE_IN, &a->g, d.rows, d.k, d.k, fill, "g", NULL, err);
}

LAST_OF(sign_step, rows)
static void sign_step_length(nb_any_args *a) {
    a->sign_step.step *= 2;
}
static void sign_step_ends(nb_any_args *a) {
    a->sign_step.low = a->sign_step.high = 0.0f;
}
NB_CHECK_ORACLE(sign_step)
const nb_check nb_check_sign_step = {
    CASES,
    .make = make_sign_step,
    .oracle = oracle_sign_step,
    FAULTS({"without the last row", sign_step_last_rows}, {"twice the step", sign_step_length}, {"other ends", sign_step_ends}),
};

/* ---- learned scales ---- */

static nb_status make_scale_back(nb_case *c, size_t index, nb_err *err) {
    struct nb_scale_back_args *a = &c->args.scale_back;
    matrix m = matrices[index / FORMS];
    size_t params = m.n * nb_ceil_div(m.k, m.group);
    uint8_t *codes = NULL;
    float *z = NULL;
    *a = (struct nb_scale_back_args){.rows = m.n, .k = m.k, .group = m.group};
    snprintf(c->text, sizeof c->text, "n %zu k %zu, group %zu", m.n, m.k, m.group);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->codes, NB_U8, m.n, m.k, m.k, "codes", &codes, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->scale0, 1, params, params, NB_FILL_RANDOM, "scale0", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->zeros, 1, params, params, NB_FILL_RANDOM, "zeros", &z, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->g, m.n, m.k, m.k, (nb_filling)(index % NB_FILL_COUNT), "g", NULL, err));
    for (size_t i = 0; i < m.n * m.k; i++)
        codes[i] = (uint8_t)nb_random_below(&c->random, 256);
    for (size_t i = 0; i < params; i++) /* whole ones, and such as are not */
        z[i] = index % 2 ? 128 + 100 * z[i] : (float)nb_random_below(&c->random, 256);
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->d, NB_F32, 1, params, params, "d", NULL, err);
}

LAST_OF(scale_back, rows)
static void scale_back_zeros(nb_any_args *a) {
    a->scale_back.zeros = a->scale_back.scale0;
}
static void scale_back_scales(nb_any_args *a) {
    a->scale_back.scale0 = a->scale_back.zeros;
}
NB_CHECK_ORACLE(scale_back)
const nb_check nb_check_scale_back = {
    ROUND_CASES,
    .make = make_scale_back,
    .oracle = oracle_scale_back,
    FAULTS({"without the last row", scale_back_last_rows}, {"other zero points", scale_back_zeros}, {"other scales", scale_back_scales}),
};

static nb_status make_scale_step(nb_case *c, size_t index, nb_err *err) {
    static const nb_dtype types[] = {NB_F16, NB_F32, NB_BF16};
    struct nb_scale_step_args *a = &c->args.scale_step;
    nb_filling fill;
    float *f = NULL, *v = NULL;
    dims d = describe(c, index, &fill);
    *a = (struct nb_scale_step_args){.rows = d.rows, .k = d.k, .step = 0.07f, .beta1 = 0.9f, .beta2 = 0.99f, .fix1 = 1.7f,
                                     .fix2 = 3.1f, .eps = 1e-12f, .low = 0.75f, .high = 1.25f, .scale_type = types[index % 3]};
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->f, d.rows, d.k, d.k, NB_FILL_RANDOM, "f", &f, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->m, d.rows, d.k, d.k, NB_FILL_RANDOM, "m", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_EXACT, &a->v, d.rows, d.k, d.k, NB_FILL_RANDOM, "v", &v, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->d, d.rows, d.k, d.k, fill, "d", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->scale0, d.rows, d.k, d.k, NB_FILL_RANDOM, "scale0", NULL, err));
    for (size_t i = 0; i < d.rows * d.k; i++) {
        f[i] += 1.0f;
        v[i] += 0.5f;
    }
    return nb_case_add(c, NB_ROLE_EXACT, &a->scales, NB_F32, d.rows, d.k, d.k, "scales", NULL, err);
}

LAST_OF(scale_step, rows)
static void scale_step_length(nb_any_args *a) {
    a->scale_step.step *= 2;
}
static void scale_step_second(nb_any_args *a) {
    a->scale_step.beta2 = a->scale_step.beta1;
}
static void scale_step_ends(nb_any_args *a) {
    a->scale_step.low = a->scale_step.high;
}
NB_CHECK_ORACLE(scale_step)
const nb_check nb_check_scale_step = {
    CASES,
    .make = make_scale_step,
    .oracle = oracle_scale_step,
    FAULTS({"without the last row", scale_step_last_rows}, {"twice the step", scale_step_length},
           {"the other memory", scale_step_second}, {"other ends", scale_step_ends}),
};

/* ---- kl_back ---- */

static nb_status make_kl_back(nb_case *c, size_t index, nb_err *err) {
    struct nb_kl_back_args *a = &c->args.kl_back;
    nb_filling fill;
    float *x = NULL;
    dims d = describe(c, index, &fill);
    *a = (struct nb_kl_back_args){.rows = d.rows, .n = d.k, .ldl = d.k + index % 3, .ldr = d.k + index % 2, .ldd = d.k + index % 4,
                                  .factor = 0.3f};
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->logits, d.rows, d.k, a->ldl, fill, "logits", &x, err));
    for (size_t i = 0; i < d.rows; i++)
        for (size_t j = 0; j < d.k && fill == NB_FILL_RANDOM; j++)
            x[i * a->ldl + j] *= 30.0f;
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->reference, d.rows, d.k, a->ldr, NB_FILL_RANDOM, "reference", NULL, err));
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->d, NB_F32, d.rows, d.k, a->ldd, "d", NULL, err);
}

LAST_OF(kl_back, rows)
LAST_OF(kl_back, n)
static void kl_back_factor(nb_any_args *a) {
    a->kl_back.factor *= 1.001f;
}
static void kl_back_itself(nb_any_args *a) {
    a->kl_back.reference = a->kl_back.logits;
    a->kl_back.ldr = a->kl_back.ldl;
}
NB_CHECK_ORACLE(kl_back)
const nb_check nb_check_kl_back = {
    CASES,
    .make = make_kl_back,
    .oracle = oracle_kl_back,
    FAULTS({"without the last row", kl_back_last_rows}, {"without the last column", kl_back_last_n}, {"another factor", kl_back_factor},
           {"logits for their reference", kl_back_itself}),
};
