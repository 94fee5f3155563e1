/* Checks of the forward pass. */
#include <math.h>
#include <stdio.h>

#include "host/cli/verify.h"

#define FAULTS(...) .faults = (const nb_arg_fault[]){__VA_ARGS__, {NULL, NULL}}
#define LAST_OF(op, member)                                                                                            \
    static void op##_last_##member(nb_any_args *a) {                                                                   \
        a->op.member -= a->op.member > 0;                                                                              \
    }

typedef struct dims {
    size_t rows, k;
} dims;

/* Around vectors of 16, warps of 32, blocks of 256 and 1024, tasks of 2 and 16 rows. */
static const dims shapes[] = {{1, 1},   {1, 15},   {3, 16},    {17, 17},  {16, 64},   {33, 31},  {2, 255},
                              {5, 257}, {1, 1024}, {35, 577},  {0, 9},    {3, 2049},  {64, 128}, {1, 49152},
                              {300, 96}, {129, 1000}};
enum { SHAPES = NB_COUNT_OF(shapes), SHAPES_NOW = SHAPES - 3 };
#define CASES .cases = SHAPES_NOW * NB_FILL_COUNT, .full_cases = (SHAPES - SHAPES_NOW) * NB_FILL_COUNT

static dims describe(nb_case *c, size_t index, nb_filling *fill) {
    dims d = shapes[index / NB_FILL_COUNT];
    *fill = (nb_filling)(index % NB_FILL_COUNT);
    snprintf(c->text, sizeof c->text, "rows %zu columns %zu, %s", d.rows, d.k, nb_filling_name(*fill));
    return d;
}

/* ---- embed ---- */

enum { VOCAB = 37 };

static nb_status make_embed(nb_case *c, size_t index, nb_err *err) {
    static const nb_dtype types[] = {NB_F16, NB_F32, NB_BF16, NB_Q8_0, NB_Q4_1, NB_Q6_K};
    nb_dtype type = types[index / 2 % NB_COUNT_OF(types)];
    struct nb_embed_args *a = &c->args.embed;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    const nb_dtype_info *t = nb_dtype_get(type);
    int32_t *ids = NULL;
    unsigned char *table = NULL;
    d.k = (d.k + t->block_elems - 1) / t->block_elems * t->block_elems;
    size_t blocks = VOCAB * d.k / t->block_elems, bytes = blocks * t->block_bytes;
    *a = (struct nb_embed_args){.rows = d.rows, .k = d.k, .ldo = d.k + index % 3, .w_type = type};
    a->scale = index % 2 ? 1.0f : 22.627417f;
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->ids, NB_I32, 1, d.rows, d.rows, "ids", &ids, err));
    for (size_t i = 0; i < d.rows; i++)
        ids[i] = i == 0 ? VOCAB - 1 : (int32_t)nb_random_below(&c->random, VOCAB);
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->table, NB_U8, 1, bytes, bytes, "table", &table, err));
    nb_case_stored(c, type, blocks, table);
    return nb_case_add(c, NB_ROLE_EXACT, &a->out, NB_F32, d.rows, d.k, a->ldo, "out", NULL, err);
}

LAST_OF(embed, rows)
static void embed_scale(nb_any_args *a) {
    a->embed.scale = 1.0f;
}
static void embed_type(nb_any_args *a) {
    a->embed.w_type = a->embed.w_type == NB_F16 ? NB_BF16 : NB_F16;
}
NB_CHECK_ORACLE(embed)
const nb_check nb_check_embed = {
    CASES,
    .make = make_embed,
    .oracle = oracle_embed,
    FAULTS({"without the last row", embed_last_rows}, {"without the scale", embed_scale}, {"another type", embed_type}),
};

/* ---- rmsnorm: in place or not ---- */

static nb_status make_rmsnorm(nb_case *c, size_t index, nb_err *err) {
    struct nb_rmsnorm_args *a = &c->args.rmsnorm;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    bool in_place = index % 3 == 1;
    *a = (struct nb_rmsnorm_args){.rows = d.rows, .k = d.k, .ldx = d.k + index % 5, .eps = 1e-5f};
    a->ldy = in_place ? a->ldx : d.k + index % 2;
    a->offset = index % 2 ? 1.0f : 0.0f;
    NB_TRY(nb_case_floats(c, in_place ? NB_ROLE_BOUNDED : NB_ROLE_IN, &a->x, d.rows, d.k, a->ldx, fill, "x", NULL, err));
    if (in_place)
        nb_case_alias(c, &a->y);
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->weight, 1, d.k, d.k, NB_FILL_RANDOM, "weight", NULL, err));
    return in_place ? NB_OK : nb_case_add(c, NB_ROLE_BOUNDED, &a->y, NB_F32, d.rows, d.k, a->ldy, "y", NULL, err);
}

LAST_OF(rmsnorm, rows)
LAST_OF(rmsnorm, k)
static void rmsnorm_eps(nb_any_args *a) {
    a->rmsnorm.eps = 1e-6f;
}
static void rmsnorm_offset(nb_any_args *a) {
    a->rmsnorm.offset = 0.0f;
}
NB_CHECK_ORACLE(rmsnorm)
const nb_check nb_check_rmsnorm = {
    CASES,
    .make = make_rmsnorm,
    .oracle = oracle_rmsnorm,
    FAULTS({"without the last row", rmsnorm_last_rows}, {"without the last column", rmsnorm_last_k},
           {"another eps", rmsnorm_eps}, {"without the offset", rmsnorm_offset}),
};

/* ---- rope ---- */

typedef struct rope_dims {
    size_t sequences, length, past, heads, head_dim;
} rope_dims;

static const rope_dims ropes[] = {{1, 1, 0, 1, 2},  {3, 7, 5, 3, 16},  {3, 7, 5, 3, 22},   {1, 1, 99, 9, 64}, {2, 33, 0, 2, 128},
                                  {5, 1, 3, 4, 32}, {1, 130, 7, 1, 6}, {0, 1, 0, 2, 8}, {2, 300, 20, 6, 64}};
enum { ROPES = NB_COUNT_OF(ropes), ROPES_NOW = ROPES - 1 };

static nb_status make_rope(nb_case *c, size_t index, nb_err *err) {
    struct nb_rope_args *a = &c->args.rope;
    rope_dims d = ropes[index / NB_FILL_COUNT];
    nb_filling fill = (nb_filling)(index % NB_FILL_COUNT);
    size_t rows = d.sequences * d.length, half = d.head_dim / 2, count = (d.past + d.length + 1) * half;
    float *cosines = NULL, *sines = NULL;
    *a = (struct nb_rope_args){.rows = rows, .length = d.length, .past = d.past, .heads = d.heads, .head_dim = d.head_dim};
    a->ldx = d.heads * d.head_dim + index % 3;
    snprintf(c->text, sizeof c->text, "%zu sequences of %zu after %zu, %zu heads of %zu, %s", d.sequences, d.length, d.past,
             d.heads, d.head_dim, nb_filling_name(fill));
    NB_TRY(nb_case_floats(c, NB_ROLE_BOUNDED, &a->x, rows, d.heads * d.head_dim, a->ldx, fill, "x", NULL, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->cos, 1, count, count, NB_FILL_RANDOM, "cos", &cosines, err));
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->sin, 1, count, count, NB_FILL_RANDOM, "sin", &sines, err));
    for (size_t i = 0; i < count; i++) {
        double angle = (double)(i / half) * pow(1e4, -2.0 * (double)(i % half) / (double)d.head_dim);
        cosines[i] = (float)cos(angle);
        sines[i] = (float)sin(angle);
    }
    return NB_OK;
}

LAST_OF(rope, rows)
LAST_OF(rope, heads)
static void rope_position(nb_any_args *a) {
    a->rope.past++;
}
static void rope_sequences(nb_any_args *a) { /* one sequence of all rows */
    if (a->rope.rows == 2 * a->rope.length && a->rope.past >= a->rope.rows)
        a->rope.length = a->rope.rows;
    else
        a->rope.length -= a->rope.length > 1;
}
static void rope_exchanged(nb_any_args *a) {
    nb_mem cosines = a->rope.cos;
    a->rope.cos = a->rope.sin;
    a->rope.sin = cosines;
}
NB_CHECK_ORACLE(rope)
const nb_check nb_check_rope = {
    .cases = ROPES_NOW * NB_FILL_COUNT,
    .full_cases = (ROPES - ROPES_NOW) * NB_FILL_COUNT,
    .make = make_rope,
    .oracle = oracle_rope,
    FAULTS({"without the last row", rope_last_rows}, {"without the last head", rope_last_heads},
           {"the next position", rope_position}, {"sequences of another length", rope_sequences},
           {"sine and cosine exchanged", rope_exchanged}),
};

/* ---- attention ---- */

static const struct nb_attention_args attentions[] = {
    {.sequences = 1, .length = 1, .heads = 1, .kv_heads = 1, .head_dim = 4},
    {.sequences = 1, .length = 5, .heads = 1, .kv_heads = 1, .head_dim = 4},
    {.sequences = 3, .length = 67, .heads = 6, .kv_heads = 2, .head_dim = 16},
    {.sequences = 2, .length = 65, .heads = 3, .kv_heads = 1, .head_dim = 64},
    {.sequences = 2, .length = 1, .heads = 4, .kv_heads = 2, .head_dim = 8},
    {.sequences = 5, .length = 1, .past = 300, .heads = 4, .kv_heads = 2, .head_dim = 32},
    {.sequences = 2, .length = 3, .past = 9, .heads = 4, .kv_heads = 4, .head_dim = 32},
    {.sequences = 2, .length = 40, .past = 270, .heads = 4, .kv_heads = 2, .head_dim = 32},
    {.sequences = 1, .length = 300, .heads = 2, .kv_heads = 1, .head_dim = 16, .window = 33},
    {.sequences = 2, .length = 1, .past = 99, .heads = 2, .kv_heads = 1, .head_dim = 16, .window = 10},
    {.sequences = 1, .length = 32, .heads = 9, .kv_heads = 3, .head_dim = 64},
    {.sequences = 1, .length = 33, .past = 31, .heads = 2, .kv_heads = 2, .head_dim = 128, .window = 64},
    {.sequences = 1, .length = 2, .past = 253, .heads = 3, .kv_heads = 1, .head_dim = 20},
    {.sequences = 1, .length = 16, .past = 1, .heads = 2, .kv_heads = 1, .head_dim = 96},
    {.sequences = 1, .length = 20, .past = 20, .heads = 2, .kv_heads = 1, .head_dim = 256},
    {.sequences = 0, .length = 4, .heads = 2, .kv_heads = 1, .head_dim = 16},
    {.sequences = 1, .length = 600, .heads = 4, .kv_heads = 2, .head_dim = 20},
    {.sequences = 1, .length = 700, .heads = 2, .kv_heads = 1, .head_dim = 64, .window = 33},
    {.sequences = 2, .length = 1, .past = 4000, .heads = 8, .kv_heads = 1, .head_dim = 64},
};
enum { ATTENTIONS = NB_COUNT_OF(attentions), ATTENTIONS_NOW = ATTENTIONS - 3, ATTENTION_FILLINGS = 3 };

/* Fillings: numbers up to 2; zeros (all keys alike); large ones, where one key has all the weight. What stands after the last
 * key of a sequence is NaN. */
static nb_status make_attention(nb_case *c, size_t index, nb_err *err) {
    struct nb_attention_args *a = &c->args.attention;
    size_t fill = index % ATTENTION_FILLINGS;
    float by = fill == 0 ? 4.0f : fill == 1 ? 1.0f : 60.0f, *q = NULL, *k = NULL, *v = NULL;
    *a = attentions[index / ATTENTION_FILLINGS];
    size_t rows = a->sequences * a->length, width = a->heads * a->head_dim, kv = a->kv_heads * a->head_dim;
    size_t keys = a->past + a->length;
    a->ldq = width + index % 2;
    a->ldo = width + index % 3;
    a->ldkv = kv + 2 * (index % 2);
    a->kv_stride = a->ldkv * (keys + 1);
    a->scale = 1.0f / sqrtf((float)a->head_dim);
    snprintf(c->text, sizeof c->text, "%zu sequences of %zu after %zu, %zu heads on %zu of %zu, window %zu, values up to %g",
             a->sequences, a->length, a->past, a->heads, a->kv_heads, a->head_dim, a->window, (double)by / 2);
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->q, rows, width, a->ldq, fill == 1 ? NB_FILL_ZEROS : NB_FILL_RANDOM, "q", &q, err));
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->k, NB_F32, a->sequences, a->kv_stride, a->kv_stride, "k", &k, err));
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->v, NB_F32, a->sequences, a->kv_stride, a->kv_stride, "v", &v, err));
    for (size_t s = 0; s < a->sequences; s++) {
        nb_case_fill(c, k + s * a->kv_stride, keys, kv, a->ldkv, NB_FILL_RANDOM);
        nb_case_fill(c, v + s * a->kv_stride, keys, kv, a->ldkv, NB_FILL_RANDOM);
    }
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < width; j++)
            q[i * a->ldq + j] *= by;
    return nb_case_add(c, NB_ROLE_BOUNDED, &a->out, NB_F32, rows, width, a->ldo, "out", NULL, err);
}

LAST_OF(attention, sequences)
static void attention_next_key(nb_any_args *a) { /* one key less, and another first one */
    if (a->attention.past > 0)
        a->attention.past--;
}
static void attention_window(nb_any_args *a) {
    a->attention.window += a->attention.window > 0;
}
static void attention_no_window(nb_any_args *a) {
    a->attention.window = 0;
}
static void attention_scale(nb_any_args *a) {
    a->attention.scale *= 1.001f;
}
static void attention_heads(nb_any_args *a) { /* one key head for all */
    a->attention.kv_heads = 1;
}
static void attention_values(nb_any_args *a) {
    a->attention.v = a->attention.k;
}
NB_CHECK_ORACLE(attention)
const nb_check nb_check_attention = {
    .cases = ATTENTIONS_NOW * ATTENTION_FILLINGS,
    .full_cases = (ATTENTIONS - ATTENTIONS_NOW) * ATTENTION_FILLINGS,
    .make = make_attention,
    .oracle = oracle_attention,
    FAULTS({"without the last sequence", attention_last_sequences}, {"without the last key", attention_next_key},
           {"a window one too wide", attention_window}, {"without the window", attention_no_window},
           {"another scale", attention_scale}, {"the first key head for all", attention_heads},
           {"keys for values", attention_values}),
};

/* ---- glu: in place or not, both activations ---- */

static nb_status make_glu(nb_case *c, size_t index, nb_err *err) {
    struct nb_glu_args *a = &c->args.glu;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    bool in_place = index % 3 == 1;
    float *gate = NULL;
    *a = (struct nb_glu_args){.rows = d.rows, .n = d.k, .ldg = d.k + index % 5, .ldu = d.k + index % 2};
    a->ldo = in_place ? a->ldg : d.k + index % 3;
    a->act = index / 2 % 2 ? NB_GLU_GELU_TANH : NB_GLU_SILU;
    NB_TRY(nb_case_floats(c, in_place ? NB_ROLE_BOUNDED : NB_ROLE_IN, &a->gate, d.rows, d.k, a->ldg, fill, "gate", &gate, err));
    if (in_place)
        nb_case_alias(c, &a->out);
    /* Most up to 4, some up to 200, where exponentials leave their range. */
    for (size_t i = 0; i < d.rows && fill == NB_FILL_RANDOM; i++)
        for (size_t j = 0; j < d.k; j++)
            gate[i * a->ldg + j] *= nb_random_below(&c->random, 9) ? 8.0f : 400.0f;
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->up, d.rows, d.k, a->ldu, NB_FILL_RANDOM, "up", NULL, err));
    return in_place ? NB_OK : nb_case_add(c, NB_ROLE_BOUNDED, &a->out, NB_F32, d.rows, d.k, a->ldo, "out", NULL, err);
}

LAST_OF(glu, rows)
LAST_OF(glu, n)
static void glu_act(nb_any_args *a) {
    a->glu.act = a->glu.act == NB_GLU_SILU ? NB_GLU_GELU_TANH : NB_GLU_SILU;
}
static void glu_exchanged(nb_any_args *a) {
    nb_mem gate = a->glu.gate;
    if (a->glu.ldg == a->glu.ldu) {
        a->glu.gate = a->glu.up;
        a->glu.up = gate;
    }
}
NB_CHECK_ORACLE(glu)
const nb_check nb_check_glu = {
    CASES,
    .make = make_glu,
    .oracle = oracle_glu,
    FAULTS({"without the last row", glu_last_rows}, {"without the last column", glu_last_n},
           {"the other activation", glu_act}, {"gate and up exchanged", glu_exchanged}),
};

/* ---- logit_stats ---- */

static nb_status make_logit_stats(nb_case *c, size_t index, nb_err *err) {
    struct nb_logit_stats_args *a = &c->args.logit_stats;
    nb_filling fill;
    dims d = describe(c, index, &fill);
    float *x = NULL, *r = NULL;
    int32_t *targets = NULL;
    *a = (struct nb_logit_stats_args){.rows = d.rows, .n = d.k, .ldl = d.k + index % 3, .ldr = d.k + index % 2};
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->logits, d.rows, d.k, a->ldl, fill, "logits", &x, err));
    NB_TRY(nb_case_add(c, NB_ROLE_IN, &a->targets, NB_I32, 1, d.rows, d.rows, "targets", &targets, err));
    for (size_t i = 0; i < d.rows; i++) {
        targets[i] = i % 5 == 4 ? -1 : i % 5 == 3 ? (int32_t)d.k - 1 : (int32_t)nb_random_below(&c->random, (uint32_t)d.k);
        for (size_t j = 0; j < d.k && fill == NB_FILL_RANDOM; j++)
            x[i * a->ldl + j] *= 30.0f;
    }
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->nll, NB_F64, 1, d.rows, d.rows, "nll", NULL, err));
    if (index % 5 == 2)
        return NB_OK;
    NB_TRY(nb_case_floats(c, NB_ROLE_IN, &a->reference, d.rows, d.k, a->ldr, NB_FILL_RANDOM, "reference", &r, err));
    for (size_t i = 0; i < d.rows; i++) /* a row in three agrees, one has its maximum twice */
        for (size_t j = 0; j < d.k; j++) {
            float near = x[i * a->ldl + j] + r[i * a->ldr + j] / (i % 3 ? 1 : 64);
            r[i * a->ldr + j] = i % 3 == 1 ? 20 * r[i * a->ldr + j] : i % 6 == 2 ? 1.0f : near;
        }
    NB_TRY(nb_case_add(c, NB_ROLE_BOUNDED, &a->kl, NB_F64, 1, d.rows, d.rows, "kl", NULL, err));
    return nb_case_add(c, NB_ROLE_EXACT, &a->agree, NB_I32, 1, d.rows, d.rows, "agree", NULL, err);
}

LAST_OF(logit_stats, rows)
LAST_OF(logit_stats, n)
static void logit_stats_itself(nb_any_args *a) {
    if (a->logit_stats.reference.base) {
        a->logit_stats.reference = a->logit_stats.logits;
        a->logit_stats.ldr = a->logit_stats.ldl;
    }
}
static void logit_stats_exchanged(nb_any_args *a) {
    nb_mem logits = a->logit_stats.logits;
    if (a->logit_stats.reference.base && a->logit_stats.ldl == a->logit_stats.ldr) {
        a->logit_stats.logits = a->logit_stats.reference;
        a->logit_stats.reference = logits;
    }
}
NB_CHECK_ORACLE(logit_stats)
const nb_check nb_check_logit_stats = {
    CASES,
    .make = make_logit_stats,
    .oracle = oracle_logit_stats,
    FAULTS({"without the last row", logit_stats_last_rows}, {"without the last column", logit_stats_last_n},
           {"logits for their reference", logit_stats_itself}, {"logits and reference exchanged", logit_stats_exchanged}),
};
