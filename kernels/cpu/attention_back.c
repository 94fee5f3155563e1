/* Gradient of causal attention.
 *
 * A task is one sequence and one key head, with all query heads that read it: K and V are packed once. Queries go in blocks
 * that lie across vector lanes, as in the forward pass: S[key][query] = K q^T comes out of the register tile of sgemm, the
 * softmax runs down its columns, and P and dS are operands of the products that make dv, dk and dq. Probabilities are made
 * anew, so that nothing but the forward pass's inputs and output is kept; a block of queries holds the scores of all its keys. */
#include <math.h>

#include "kernels/cpu/sgemm.h"
#include "kernels/cpu/vmath.h"

/* QUERIES is a multiple of all tile widths (8, 16, 32). */
enum { QUERIES = 32 };

typedef struct run {
    const struct nb_attention_back_args *a;
    const nb__sgemm_isa *isa;
    nb_pool *pool;
} run;

/* Scratch of a worker: panels of rows (`_rows`, packed along head_dim) and of columns (`_cols`, packed along keys or queries). */
typedef struct room {
    float *k_rows, *v_rows, *k_cols;          /* of the whole sequence */
    float *q_rows, *d_rows, *q_cols, *d_cols; /* of a block of queries */
    float *s, *ds;                            /* [key][QUERIES]: scores, then P; dP, then dS */
    float *left;                              /* P or dS as a left operand */
} room;

/* A block of queries of one head, and the keys that they see, from a whole tile on. */
typedef struct block {
    size_t pos, count, first, keys;
    size_t q, out, kv; /* its first query in q and dq, in out and d; its first key in k, v, dk and dv */
} block;

static float *take(float **next, size_t floats) {
    float *at = *next;
    *next += floats;
    return at;
}

/* Floats of room for each key and for each query of a block. */
static size_t floats_by_key(const run *r) {
    size_t hd = r->a->head_dim;
    return 2 * hd + nb__round_up(hd, r->isa->nr) + 2 * QUERIES + nb__round_up(QUERIES, r->isa->mr);
}

static size_t floats_by_query(const run *r) {
    size_t hd = r->a->head_dim;
    return 2 * hd + 2 * nb__round_up(hd, r->isa->nr);
}

static room lay_out(const run *r, float *next) {
    size_t hd = r->a->head_dim, dims = nb__round_up(hd, r->isa->nr), keys = nb__round_up(r->a->length, r->isa->mr);
    return (room){.k_rows = take(&next, keys * hd),
                  .v_rows = take(&next, keys * hd),
                  .k_cols = take(&next, keys * dims),
                  .q_rows = take(&next, QUERIES * hd),
                  .d_rows = take(&next, QUERIES * hd),
                  .q_cols = take(&next, QUERIES * dims),
                  .d_cols = take(&next, QUERIES * dims),
                  .s = take(&next, keys * QUERIES),
                  .ds = take(&next, keys * QUERIES),
                  .left = take(&next, keys * nb__round_up(QUERIES, r->isa->mr))};
}

/* C[rows,cols] (ldc) = alpha * A B^T, added to C where `load`. Panels of A lie mr * ks floats apart, those of B `apart`. */
static void product(const run *r, const float *pa, const float *pb, size_t apart, size_t ks, float *c, size_t ldc, size_t rows,
                    size_t cols, float alpha, bool load) {
    const nb__sgemm_isa *isa = r->isa;
    for (size_t j = 0; j < cols; j += isa->nr, pb += apart)
        for (size_t i = 0; i < rows; i += isa->mr)
            isa->tile(ks, pa + i * ks, pb, c + i * ldc + j, ldc, nb_min(isa->mr, rows - i), nb_min(isa->nr, cols - j), alpha,
                      load);
}

static size_t first_key(const struct nb_attention_back_args *a, size_t pos) {
    return a->window && pos + 1 > a->window ? pos + 1 - a->window : 0;
}

static void mask_scores(const run *r, const block *b, float *s) {
    for (size_t i = 0; i < b->keys; i++) {
        size_t key = b->first + i;
        if (key <= b->pos && key >= first_key(r->a, b->pos + b->count - 1))
            continue;
        for (size_t l = 0; l < b->count; l++)
            if (key > b->pos + l || key < first_key(r->a, b->pos + l))
                s[i * QUERIES + l] = -INFINITY;
    }
}

/* Scores of nr queries to probabilities, down the columns. */
NB_BODY void softmax(float *restrict s, size_t keys, const size_t nr) {
    float max[QUERIES], sum[QUERIES];
    NB_LANES
    for (size_t l = 0; l < nr; l++) {
        max[l] = s[l];
        sum[l] = 0.0f;
    }
    nb__column_max(s + QUERIES, keys - 1, QUERIES, nr, max);
    nb__column_exp(s, keys, QUERIES, nr, max, sum);
    for (size_t i = 0; i < keys; i++)
        NB_LANES
        for (size_t l = 0; l < nr; l++)
            s[i * QUERIES + l] /= sum[l];
}

/* dP to dS = scale P (dP - own), own[l] = d_l . out_l. */
NB_BODY void score_gradients(const float *restrict p, float *restrict ds, const float *own, float scale, size_t keys,
                             const size_t nr) {
    for (size_t i = 0; i < keys; i++)
        NB_LANES
        for (size_t l = 0; l < nr; l++)
            ds[i * QUERIES + l] = scale * p[i * QUERIES + l] * (ds[i * QUERIES + l] - own[l]);
}

NB_BODY void block_back(const run *r, const room *m, const block *b, const size_t nr) {
    const struct nb_attention_back_args *a = r->a;
    const nb__sgemm_isa *isa = r->isa;
    size_t hd = a->head_dim, mr = isa->mr;
    nb__f32_operand q = {nb_host_f32(a->q) + b->q, a->ldq}, d = {nb_host_f32(a->d) + b->out, a->ldo};
    nb__f32_operand s = {m->s, QUERIES}, ds = {m->ds, QUERIES};
    nb__pack_panels(isa->pack_rows, &q, b->count, hd, nr, m->q_rows);
    nb__pack_panels(isa->pack_rows, &d, b->count, hd, nr, m->d_rows);
    nb__pack_panels(nb__pack_f32_cols, &q, hd, b->count, nr, m->q_cols);
    nb__pack_panels(nb__pack_f32_cols, &d, hd, b->count, nr, m->d_cols);

    size_t lanes = nb__round_up(b->count, nr);
    float own[QUERIES] = {0};
    for (size_t l = 0; l < b->count; l++)
        own[l] = isa->dot(d.data + l * d.ld, nb_host_f32(a->out) + b->out + l * a->ldo, hd);
    product(r, m->k_rows + b->first * hd, m->q_rows, hd * nr, hd, m->s, QUERIES, b->keys, lanes, a->scale, false);
    product(r, m->v_rows + b->first * hd, m->d_rows, hd * nr, hd, m->ds, QUERIES, b->keys, lanes, 1.0f, false);
    mask_scores(r, b, m->s);
    for (size_t l = 0; l < lanes; l += nr) {
        softmax(m->s + l, b->keys, nr);
        score_gradients(m->s + l, m->ds + l, own + l, a->scale, b->keys, nr);
    }

    nb__pack_panels(isa->pack_rows, &s, b->keys, b->count, mr, m->left);
    product(r, m->left, m->d_cols, b->count * nr, b->count, nb_host_f32(a->dv) + b->kv, a->ldkv, b->keys, hd, 1.0f, true);
    nb__pack_panels(isa->pack_rows, &ds, b->keys, b->count, mr, m->left);
    product(r, m->left, m->q_cols, b->count * nr, b->count, nb_host_f32(a->dk) + b->kv, a->ldkv, b->keys, hd, 1.0f, true);
    nb__pack_panels(nb__pack_f32_cols, &ds, b->count, b->keys, mr, m->left);
    product(r, m->left, m->k_cols + b->first * nr, a->length * nr, b->keys, nb_host_f32(a->dq) + b->q, a->ldq, b->count, hd, 1.0f,
            false);
}

NB_BODY void head_body(const run *r, size_t task, unsigned worker, const size_t nr) {
    const struct nb_attention_back_args *a = r->a;
    size_t seq = task / a->kv_heads, kvh = task % a->kv_heads, group = a->heads / a->kv_heads, hd = a->head_dim;
    size_t row0 = seq * a->length, kv = row0 * a->ldkv + kvh * hd;
    room m = lay_out(r, nb_pool_scratch(r->pool, worker, 0));
    nb__f32_operand k = {nb_host_f32(a->k) + kv, a->ldkv}, v = {nb_host_f32(a->v) + kv, a->ldkv};
    nb__pack_panels(r->isa->pack_rows, &k, a->length, hd, r->isa->mr, m.k_rows);
    nb__pack_panels(r->isa->pack_rows, &v, a->length, hd, r->isa->mr, m.v_rows);
    nb__pack_panels(nb__pack_f32_cols, &k, hd, a->length, nr, m.k_cols);
    for (size_t j = 0; j < a->length; j++) {
        memset(nb_host_f32(a->dk) + kv + j * a->ldkv, 0, hd * sizeof(float));
        memset(nb_host_f32(a->dv) + kv + j * a->ldkv, 0, hd * sizeof(float));
    }
    for (size_t pos = 0; pos < a->length; pos += QUERIES)
        for (size_t g = 0; g < group; g++) {
            size_t head = (kvh * group + g) * hd;
            block b = {.pos = pos, .count = nb_min(QUERIES, a->length - pos), .first = first_key(a, pos) / r->isa->mr * r->isa->mr};
            b.keys = pos + b.count - b.first;
            b.q = (row0 + pos) * a->ldq + head;
            b.out = (row0 + pos) * a->ldo + head;
            b.kv = kv + b.first * a->ldkv;
            block_back(r, &m, &b, nr);
        }
}

static nb_status run_all(nb_pool *pool, const nb__sgemm_isa *isa, const struct nb_attention_back_args *a, nb_task_fn *task,
                         nb_err *err) {
    run r = {.a = a, .isa = isa, .pool = pool};
    size_t floats, bytes;
    if (!nb_mul(nb__round_up(a->length, isa->mr), floats_by_key(&r), &floats) ||
        !nb_add(floats, QUERIES * floats_by_query(&r), &floats) || !nb_mul(floats, sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "attention");
    NB_TRY(nb_pool_reserve(pool, bytes, err));
    nb_pool_run(pool, a->sequences * a->kv_heads, task, &r);
    return NB_OK;
}

#define VARIANT(isa, target, nr)                                                                                       \
    target static void head_##isa(void *arg, size_t task, unsigned worker) {                                           \
        head_body(arg, task, worker, nr);                                                                              \
    }                                                                                                                  \
    nb_status nb__cpu_attention_back_##isa(nb_pool *pool, const struct nb_attention_back_args *args, nb_err *err) {    \
        return run_all(pool, &nb__sgemm_##isa, args, head_##isa, err);                                                 \
    }

VARIANT(plain, NB_TARGET_PLAIN, 8)
#if defined(__x86_64__)
VARIANT(avx2, NB_TARGET_AVX2, 16)
VARIANT(avx512, NB_TARGET_AVX512, 32)
#endif
