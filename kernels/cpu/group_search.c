/* Scales and zero points of stored groups, searched. */
#include "host/base/size.h"
#include "kernels/cpu/scale_search.h"

enum { LANES = NB_SEARCH_LANES };

typedef struct run {
    const struct nb_group_search_args *args;
    const nb__search_isa *isa;
    nb_pool *pool;
} run;

/* The group's columns as rows of a tile; lanes past the last row hold zeros. */
static void load_group(const struct nb_group_search_args *a, size_t i0, size_t lanes, size_t first, size_t count, float *tile,
                       float *h) {
    for (size_t j = 0; j < count; j++) {
        for (size_t l = 0; l < LANES; l++)
            tile[j * LANES + l] = l < lanes ? nb_host_f32(a->w)[(i0 + l) * a->ldw + first + j] : 0.0f;
        h[j] = a->h.base ? nb_host_f32(a->h)[(first + j) * (a->ldh + 1)] : 1.0f;
    }
}

static void search_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    const struct nb_group_search_args *a = r->args;
    size_t groups = nb_ceil_div(a->k, a->group), i0 = task * LANES, lanes = nb_min(LANES, a->n - i0);
    float *tile = nb_pool_scratch(r->pool, worker, 0), *h = tile + nb_min(a->group, a->k) * LANES;
    float scale[LANES], zero[LANES];
    nb__search_group g = {.w = tile, .h = h, .bits = a->bits, .symmetric = a->symmetric, .either_sign = a->either_sign,
                         .scale_type = a->scale_type};
    for (size_t at = 0; at < groups; at++) {
        size_t first = at * a->group;
        g.count = nb_min(a->group, a->k - first);
        load_group(a, i0, lanes, first, g.count, tile, h);
        nb__search_params(r->isa, &g, scale, zero);
        for (size_t l = 0; l < lanes; l++) {
            nb_host_f32(a->scales)[(i0 + l) * groups + at] = scale[l];
            nb_host_f32(a->zeros)[(i0 + l) * groups + at] = zero[l];
        }
    }
}

static nb_status group_search(nb_pool *pool, const nb__search_isa *isa, const struct nb_group_search_args *a, nb_err *err) {
    run r = {.args = a, .isa = isa, .pool = pool};
    size_t bytes;
    if (!nb_mul(nb_min(a->group, a->k), (LANES + 1) * sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a group of columns");
    NB_TRY(nb_pool_reserve(pool, bytes, err));
    nb_pool_run(pool, nb_ceil_div(a->n, LANES), search_task, &r);
    return NB_OK;
}

nb_status nb__cpu_group_search_plain(nb_pool *pool, const struct nb_group_search_args *args, nb_err *err) {
    return group_search(pool, &nb__search_plain, args, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_group_search_avx2(nb_pool *pool, const struct nb_group_search_args *args, nb_err *err) {
    return group_search(pool, &nb__search_avx2, args, err);
}

nb_status nb__cpu_group_search_avx512(nb_pool *pool, const struct nb_group_search_args *args, nb_err *err) {
    return group_search(pool, &nb__search_avx512, args, err);
}
#endif
