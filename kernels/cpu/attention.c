/* Causal attention with grouped heads.
 *
 * A task is a block of queries of one sequence and one key head, with all query heads that read it. Queries lie across
 * vector lanes: scores come out of the register tile of sgemm as S[key][query], so that the softmax runs down columns
 * without any sum across lanes, and S is at once the packed right operand of O[dim][query] += V^T S. One or a few queries
 * (decoding) go row by row instead. */
#include <math.h>

#include "kernels/cpu/sgemm.h"
#include "kernels/cpu/vmath.h"

/* KEYS is a multiple of all tile heights (14, 6, 4). */
enum { KEYS = 252, PANELS = 2, MAX_NR = 32, FEW_QUERIES = 4 };

/* Below any score; a difference of two of them is 0, not NaN. */
#define LOWEST (-1e30f)

typedef struct run {
    const struct nb_attention_args *a;
    const nb__sgemm_isa *isa;
    nb_pool *pool;
    size_t blocks, group;
} run;

/* A panel: up to nr queries of one head, of which the first stands at `pos` in its sequence. */
typedef struct panel {
    float *q; /* packed [head_dim][nr] */
    float *o; /* [head_dim][nr] */
    float max[MAX_NR], sum[MAX_NR];
    size_t pos, count, row, head;
} panel;

/* Floats of scratch: packed K and V tiles, scores, and q and o of each panel. */
static size_t scratch_floats(const run *r) {
    size_t hd = r->a->head_dim, nr = r->isa->nr;
    return KEYS * hd + KEYS * nb__round_up(hd, r->isa->mr) + KEYS * nr + r->group * PANELS * 2 * hd * nr;
}

/* Keys that query position pos sees: [first, pos]. */
NB_BODY size_t first_key(const struct nb_attention_args *a, size_t pos) {
    return a->window && pos + 1 > a->window ? pos + 1 - a->window : 0;
}

NB_BODY void mask_scores(const struct nb_attention_args *a, const panel *p, float *s, size_t key0, size_t keys, size_t nr) {
    for (size_t i = 0; i < keys; i++)
        for (size_t l = 0; l < p->count; l++) {
            size_t pos = p->pos + l, key = key0 + i;
            if (key > pos || key < first_key(a, pos))
                s[i * nr + l] = -INFINITY;
        }
}

/* Turns scores into exp(score - max) with the new maximum, and rescales what was summed before. */
NB_BODY void softmax_step(panel *p, float *restrict s, size_t keys, size_t hd, const size_t nr) {
    float max[MAX_NR], sum[MAX_NR], keep[MAX_NR];
    NB_LANES
    for (size_t l = 0; l < nr; l++)
        max[l] = p->max[l];
    nb__column_max(s, keys, nr, nr, max);
    NB_LANES
    for (size_t l = 0; l < nr; l++) {
        keep[l] = nb__exp(p->max[l] - max[l]);
        p->max[l] = max[l];
        sum[l] = 0.0f;
    }
    nb__column_exp(s, keys, nr, nr, max, sum);
    NB_LANES
    for (size_t l = 0; l < nr; l++)
        p->sum[l] = p->sum[l] * keep[l] + sum[l];
    float *restrict o = p->o;
    for (size_t d = 0; d < hd; d++)
        NB_LANES
        for (size_t l = 0; l < nr; l++)
            o[d * nr + l] *= keep[l];
}

NB_BODY void panel_step(const run *r, panel *p, const float *pk, const float *pv, float *s, size_t key0, size_t keys,
                        const size_t nr) {
    const struct nb_attention_args *a = r->a;
    const nb__sgemm_isa *isa = r->isa;
    size_t hd = a->head_dim;
    for (size_t i = 0; i < keys; i += isa->mr)
        isa->tile(hd, pk + i * hd, p->q, s + i * nr, nr, nb_min(isa->mr, keys - i), nr, a->scale, false);
    if (key0 + keys > p->pos + 1 || key0 < first_key(a, p->pos + p->count - 1))
        mask_scores(a, p, s, key0, keys, nr);
    softmax_step(p, s, keys, hd, nr);
    for (size_t d = 0; d < hd; d += isa->mr)
        isa->tile(keys, pv + d * keys, s, p->o + d * nr, nr, nb_min(isa->mr, hd - d), nr, 1.0f, true);
}

static void panel_open(const run *r, panel *p, float *room) {
    const struct nb_attention_args *a = r->a;
    size_t nr = r->isa->nr, hd = a->head_dim;
    nb__f32_operand q = {nb_host_f32(a->q) + p->row * a->ldq + p->head * hd, a->ldq};
    p->q = room;
    p->o = room + hd * nr;
    nb__pack_panels(r->isa->pack_rows, &q, p->count, hd, nr, p->q);
    memset(p->o, 0, hd * nr * sizeof *p->o);
    for (size_t l = 0; l < nr; l++) {
        p->max[l] = LOWEST;
        p->sum[l] = 0.0f;
    }
}

static void panel_close(const run *r, const panel *p) {
    const struct nb_attention_args *a = r->a;
    size_t nr = r->isa->nr;
    for (size_t l = 0; l < p->count; l++) {
        float *out = nb_host_f32(a->out) + (p->row + l) * a->ldo + p->head * a->head_dim;
        for (size_t d = 0; d < a->head_dim; d++)
            out[d] = p->o[d * nr + l] / p->sum[l];
    }
}

/* Tasks with the most keys come first. */
NB_BODY void block_body(const run *r, size_t task, unsigned worker, const size_t nr) {
    const struct nb_attention_args *a = r->a;
    size_t hd = a->head_dim, per_block = PANELS * nr;
    size_t block = r->blocks - 1 - task / (a->sequences * a->kv_heads), rest = task % (a->sequences * a->kv_heads);
    size_t seq = rest / a->kv_heads, kvh = rest % a->kv_heads, first = block * per_block;
    size_t queries = nb_min(per_block, a->length - first), n_panels = nb_ceil_div(queries, nr);
    float *pk = nb_pool_scratch(r->pool, worker, 0), *pv = pk + KEYS * hd, *s = pv + KEYS * nb__round_up(hd, r->isa->mr);
    float *room = s + KEYS * nr;
    size_t keys_end = a->past + first + queries;
    for (size_t key0 = first_key(a, a->past + first) / KEYS * KEYS, start = key0; key0 < keys_end; key0 += KEYS) {
        size_t keys = nb_min(KEYS, keys_end - key0), at = seq * a->kv_stride + key0 * a->ldkv + kvh * hd;
        nb__f32_operand k = {nb_host_f32(a->k) + at, a->ldkv}, v = {nb_host_f32(a->v) + at, a->ldkv};
        nb__pack_panels(r->isa->pack_rows, &k, keys, hd, r->isa->mr, pk);
        nb__pack_panels(nb__pack_f32_cols, &v, hd, keys, r->isa->mr, pv);
        for (size_t g = 0; g < r->group; g++)
            for (size_t i = 0; i < n_panels; i++) {
                panel *p = (panel *)(void *)room + (g * PANELS + i);
                if (key0 == start) {
                    *p = (panel){.pos = a->past + first + i * nr, .count = nb_min(nr, queries - i * nr)};
                    p->row = seq * a->length + first + i * nr;
                    p->head = kvh * r->group + g;
                    panel_open(r, p, (float *)(void *)((panel *)(void *)room + r->group * PANELS) +
                                         (g * PANELS + i) * 2 * hd * nr);
                }
                if (key0 < p->pos + p->count)
                    panel_step(r, p, pk, pv, s, key0, keys, nr);
            }
    }
    for (size_t i = 0; i < r->group * PANELS; i++)
        if (i % PANELS < n_panels)
            panel_close(r, (panel *)(void *)room + i);
}

/* ---- one query, one head ---- */

/* out[d] += sum_i s[i] v[i][d], in rising i. */
NB_BODY void add_values(const float *s, const float *v, size_t keys, size_t ld, size_t hd, float *restrict out) {
    size_t i = 0;
    for (; i + 4 <= keys; i += 4) {
        const float *a = v + i * ld, *b = a + ld, *c = b + ld, *e = c + ld;
        float sa = s[i], sb = s[i + 1], sc = s[i + 2], se = s[i + 3];
        for (size_t d = 0; d < hd; d++)
            out[d] = (((out[d] + sa * a[d]) + sb * b[d]) + sc * c[d]) + se * e[d];
    }
    for (; i < keys; i++)
        for (size_t d = 0; d < hd; d++)
            out[d] += s[i] * v[i * ld + d];
}

/* s[i] = exp(s[i] - max); returns their sum. */
NB_BODY float exponentials(float *restrict s, size_t keys, float max) {
    enum { LANES = 16 };
    float part[LANES] = {0}, sum = 0.0f;
    size_t i = 0;
    for (; i + LANES <= keys; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            s[i + l] = nb__exp(s[i + l] - max);
            part[l] += s[i + l];
        }
    for (; i < keys; i++)
        sum += s[i] = nb__exp(s[i] - max);
    for (size_t l = 0; l < LANES; l++)
        sum += part[l];
    return sum;
}

NB_BODY void query_body(const run *r, size_t task, unsigned worker) {
    const struct nb_attention_args *a = r->a;
    size_t hd = a->head_dim, row = task / a->heads, head = task % a->heads, seq = row / a->length;
    size_t pos = a->past + row % a->length, key0 = first_key(a, pos), keys = pos + 1 - key0;
    size_t at = seq * a->kv_stride + key0 * a->ldkv + head / r->group * hd;
    const float *q = nb_host_f32(a->q) + row * a->ldq + head * hd;
    const float *k = nb_host_f32(a->k) + at, *v = nb_host_f32(a->v) + at;
    float *restrict out = nb_host_f32(a->out) + row * a->ldo + head * hd;
    float *restrict s = nb_pool_scratch(r->pool, worker, 0), max = LOWEST;
    for (size_t i = 0; i < keys; i++) {
        s[i] = a->scale * r->isa->dot(q, k + i * a->ldkv, hd);
        max = s[i] > max ? s[i] : max;
    }
    float sum = exponentials(s, keys, max);
    memset(out, 0, hd * sizeof *out);
    add_values(s, v, keys, a->ldkv, hd, out);
    for (size_t d = 0; d < hd; d++)
        out[d] /= sum;
}

static nb_status attend(nb_pool *pool, const nb__sgemm_isa *isa, const struct nb_attention_args *a, nb_task_fn *block_task,
                        nb_task_fn *query_task, nb_err *err) {
    run r = {.a = a, .isa = isa, .pool = pool, .group = a->heads / a->kv_heads};
    size_t bytes, tasks;
    if (a->length <= FEW_QUERIES) {
        if (!nb_mul(a->past + a->length, sizeof(float), &bytes) ||
            !nb_mul3(a->sequences, a->length, a->heads, &tasks))
            return nb_fail_memory(err, SIZE_MAX, "attention");
        NB_TRY(nb_pool_reserve(pool, bytes, err));
        nb_pool_run(pool, tasks, query_task, &r);
        return NB_OK;
    }
    r.blocks = nb_ceil_div(a->length, PANELS * isa->nr);
    if (!nb_mul3(a->sequences, a->kv_heads, r.blocks, &tasks))
        return nb_fail_memory(err, SIZE_MAX, "attention");
    bytes = scratch_floats(&r) * sizeof(float) + r.group * PANELS * sizeof(panel);
    NB_TRY(nb_pool_reserve(pool, bytes, err));
    nb_pool_run(pool, tasks, block_task, &r);
    return NB_OK;
}

#define ATTENTION_VARIANT(isa, target, nr)                                                                             \
    target static void block_##isa(void *arg, size_t task, unsigned worker) {                                          \
        block_body(arg, task, worker, nr);                                                                             \
    }                                                                                                                  \
    target static void query_##isa(void *arg, size_t task, unsigned worker) {                                          \
        query_body(arg, task, worker);                                                                                 \
    }                                                                                                                  \
    nb_status nb__cpu_attention_##isa(nb_pool *pool, const struct nb_attention_args *args, nb_err *err) {              \
        return attend(pool, &nb__sgemm_##isa, args, block_##isa, query_##isa, err);                                    \
    }

ATTENTION_VARIANT(plain, NB_TARGET_PLAIN, 8)
#if defined(__x86_64__)
ATTENTION_VARIANT(avx2, NB_TARGET_AVX2, 16)
ATTENTION_VARIANT(avx512, NB_TARGET_AVX512, 32)
#endif
