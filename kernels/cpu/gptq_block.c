/* GPTQ's step over a block of columns (arXiv 2210.17323, algorithm 1, the inner loop).
 *
 * A task takes LANES rows of W, which are columns of Wt, and copies the block into a tile [cols, LANES] in cache. Columns
 * go in short runs of STEPS: inside a run each column's error is spread at once, past it the whole run's together, with
 * the errors in registers. Each element still sees its subtractions in rising order, one rounding each, so the result is
 * that of the plain loop, bit for bit. A run ends where a group begins, as parameters need updated weights. */
#include <string.h>

#include "host/base/size.h"
#include "kernels/cpu/scale_search.h"

enum { LANES = NB_SEARCH_LANES, STEPS = 8 };

typedef struct block_isa {
    void (*range)(const float *tile, size_t ld, size_t count, float *min, float *max);
    void (*column)(const float *w, const float *scale, const float *zero, float top, float pivot, float *err,
                   float *loss, uint8_t *codes);
    void (*update_steps)(float *tile, size_t first, size_t last, const float *err, const float *u, size_t ldu);
    void (*update_one)(float *tile, size_t first, size_t last, const float *err, const float *u);
    const nb__search_isa *search;
} block_isa;

#define LANES_ISA 0
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/gptq_block_tmpl.h"

#if defined(__x86_64__)
#define LANES_ISA 1
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/gptq_block_tmpl.h"

#define LANES_ISA 2
#include "kernels/cpu/lanes.h"
#include "kernels/cpu/gptq_block_tmpl.h"
#endif

/* ---- what all variants share ---- */

typedef struct run {
    const struct nb_gptq_block_args *args;
    const block_isa *isa;
    nb_pool *pool;
} run;

/* One task's rows i0 .. i0 + lanes - 1 of W. Lanes past them hold zeros with scale 1. */
typedef struct rows {
    const run *run;
    size_t i0, lanes;
    float *tile;              /* [cols, LANES] */
    float *room;              /* of a search: [k] weights, [k, LANES] a group */
    float err[STEPS * LANES]; /* of the present run of columns */
    float scale[LANES], zero[LANES], loss[LANES];
    uint8_t codes[LANES];
} rows;

static bool begins_group(const struct nb_gptq_block_args *a, size_t p) {
    const uint32_t *group_of = nb_host(a->group_of);
    return p == 0 || group_of[p] != group_of[p - 1];
}

static void load_tile(rows *r) {
    const struct nb_gptq_block_args *a = r->run->args;
    const float *src = nb_host_f32(a->wt) + a->first * a->ldw + r->i0;
    if (r->lanes < LANES)
        memset(r->tile, 0, a->cols * LANES * sizeof *r->tile);
    for (size_t c = 0; c < a->cols; c++)
        memcpy(r->tile + c * LANES, src + c * a->ldw, r->lanes * sizeof *src);
}

static void load_params(rows *r, size_t group) {
    const struct nb_gptq_block_args *a = r->run->args;
    for (size_t l = 0; l < r->lanes; l++) {
        r->scale[l] = nb_host_f32(a->scales)[(r->i0 + l) * a->groups + group];
        r->zero[l] = nb_host_f32(a->zeros)[(r->i0 + l) * a->groups + group];
    }
}

/* Parameters of the group that begins at column c of the block, from its weights as they stand: those in the block from
 * the tile, those past it from Wt. */
static void range_params(rows *r, size_t c, size_t end) {
    const struct nb_gptq_block_args *a = r->run->args;
    size_t block_end = a->first + a->cols, inside = nb_min(end, block_end) - (a->first + c);
    float min[LANES], max[LANES];
    memcpy(min, r->tile + c * LANES, sizeof min);
    memcpy(max, min, sizeof max);
    r->run->isa->range(r->tile + c * LANES, LANES, inside, min, max);
    for (size_t p = block_end; p < end; p++) {
        const float *w = nb_host_f32(a->wt) + p * a->ldw + r->i0;
        for (size_t l = 0; l < r->lanes; l++) {
            min[l] = w[l] < min[l] ? w[l] : min[l];
            max[l] = w[l] > max[l] ? w[l] : max[l];
        }
    }
    for (size_t l = 0; l < r->lanes; l++)
        nb__cpu_range_params(min[l], max[l], a->bits, a->symmetric, a->scale_type, &r->scale[l], &r->zero[l]);
}

/* The same, searched. A group that goes past the block is first brought together in room. */
static void search_params(rows *r, size_t c, size_t end) {
    const struct nb_gptq_block_args *a = r->run->args;
    const uint32_t *perm = nb_host(a->perm);
    size_t first = a->first + c, block_end = a->first + a->cols, count = end - first;
    float *h = r->room, *group = r->room + a->k;
    nb__search_group g = {.w = r->tile + c * LANES, .h = h, .count = count, .bits = a->bits, .symmetric = a->symmetric,
                          .either_sign = a->either_sign, .scale_type = a->scale_type};
    for (size_t j = 0; j < count; j++)
        h[j] = nb_host_f32(a->h)[perm[first + j] * (a->ldh + 1)];
    if (end > block_end) {
        memset(group, 0, count * LANES * sizeof *group);
        memcpy(group, g.w, (block_end - first) * LANES * sizeof *group);
        for (size_t p = block_end; p < end; p++)
            memcpy(group + (p - first) * LANES, nb_host_f32(a->wt) + p * a->ldw + r->i0, r->lanes * sizeof *group);
        g.w = group;
    }
    nb__search_params(r->run->isa->search, &g, r->scale, r->zero);
}

static void find_params(rows *r, size_t c, size_t group) {
    const struct nb_gptq_block_args *a = r->run->args;
    const uint32_t *group_of = nb_host(a->group_of);
    size_t end = a->first + c;
    while (end < a->k && group_of[end] == group)
        end++;
    if (a->h.base)
        search_params(r, c, end);
    else
        range_params(r, c, end);
    for (size_t l = 0; l < r->lanes; l++) {
        size_t at = (r->i0 + l) * a->groups + group;
        nb_host_f32(a->scales)[at] = r->scale[l];
        nb_host_f32(a->zeros)[at] = r->zero[l];
    }
}

/* Columns c0 .. c1 - 1 of the block, at most STEPS; their errors are spread over the rest of the block. */
static void solve_run(rows *r, size_t c0, size_t c1) {
    const struct nb_gptq_block_args *a = r->run->args;
    const block_isa *isa = r->run->isa;
    const float *u = nb_host_f32(a->u) + a->first * a->ldu + a->first;
    float top = (float)((1u << a->bits) - 1u);
    for (size_t c = c0; c < c1; c++) {
        size_t p = a->first + c, group = ((const uint32_t *)nb_host(a->group_of))[p];
        if (begins_group(a, p) && !a->static_params)
            find_params(r, c, group);
        else if (c == 0 || begins_group(a, p))
            load_params(r, group);
        float *err = r->err + (c - c0) * LANES;
        isa->column(r->tile + c * LANES, r->scale, r->zero, top, u[c * a->ldu + c], err, r->loss, r->codes);
        memcpy((uint8_t *)nb_host(a->codes) + p * a->n + r->i0, r->codes, r->lanes);
        memcpy(nb_host_f32(a->err) + c * a->lderr + r->i0, err, r->lanes * sizeof *err);
        isa->update_one(r->tile, c + 1, c1, err, u + c * a->ldu);
    }
    if (c1 - c0 == STEPS)
        isa->update_steps(r->tile, c1, a->cols, r->err, u + c0 * a->ldu, a->ldu);
    else
        for (size_t c = c0; c < c1; c++)
            isa->update_one(r->tile, c1, a->cols, r->err + (c - c0) * LANES, u + c * a->ldu);
}

static void block_task(void *arg, size_t task, unsigned worker) {
    const run *shared = arg;
    const struct nb_gptq_block_args *a = shared->args;
    rows r = {.run = shared, .i0 = task * LANES, .tile = nb_pool_scratch(shared->pool, worker, 0)};
    r.room = r.tile + a->cols * LANES;
    r.lanes = nb_min(LANES, a->n - r.i0);
    for (size_t l = 0; l < LANES; l++)
        r.scale[l] = 1.0f;
    memcpy(r.loss, nb_host_f32(a->loss) + r.i0, r.lanes * sizeof *r.loss);
    load_tile(&r);
    for (size_t c0 = 0, c1; c0 < a->cols; c0 = c1) {
        for (c1 = c0 + 1; c1 < a->cols && c1 - c0 < STEPS; c1++)
            if (!a->static_params && begins_group(a, a->first + c1))
                break;
        solve_run(&r, c0, c1);
    }
    memcpy(nb_host_f32(a->loss) + r.i0, r.loss, r.lanes * sizeof *r.loss);
}

static nb_status gptq_block(nb_pool *pool, const block_isa *isa, const struct nb_gptq_block_args *a, nb_err *err) {
    run r = {.args = a, .isa = isa, .pool = pool};
    size_t bytes;
    if (!nb_mul(a->cols + (a->h.base ? a->k + nb_ceil_div(a->k, LANES) : 0), LANES * sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a block of columns");
    NB_TRY(nb_pool_reserve(pool, bytes, err));
    nb_pool_run(pool, nb_ceil_div(a->n, LANES), block_task, &r);
    return NB_OK;
}

nb_status nb__cpu_gptq_block_plain(nb_pool *pool, const struct nb_gptq_block_args *args, nb_err *err) {
    return gptq_block(pool, &isa_plain, args, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_gptq_block_avx2(nb_pool *pool, const struct nb_gptq_block_args *args, nb_err *err) {
    return gptq_block(pool, &isa_avx2, args, err);
}

nb_status nb__cpu_gptq_block_avx512(nb_pool *pool, const struct nb_gptq_block_args *args, nb_err *err) {
    return gptq_block(pool, &isa_avx512, args, err);
}
#endif
