/* The order in which GPTQ visits columns. */
#include <nibble/quantize.h>
#include <stdlib.h>

#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

/* Sorted by falling group_key, then rising group, then falling key, then rising index: a total order, so that any sort
 * gives the same result. */
typedef struct entry {
    float group_key, key;
    uint32_t group, index;
} entry;

static int compare(const void *pa, const void *pb) {
    const entry *a = pa, *b = pb;
    if (a->group_key != b->group_key)
        return a->group_key > b->group_key ? -1 : 1;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    if (a->key != b->key)
        return a->key > b->key ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static float diagonal(const struct nb_column_order_args *a, size_t j) {
    float d = nb_host_f32(a->h)[j * a->ldh + j];
    return d == d ? d : -1.0f;
}

static void fill_entries(const struct nb_column_order_args *a, entry *e) {
    for (size_t j = 0; j < a->k; j++) {
        bool by_key = a->order != NB_ORDER_STORED;
        e[j] = (entry){.key = by_key ? diagonal(a, j) : 0.0f, .index = (uint32_t)j};
    }
    if (a->order != NB_ORDER_GROUP_AWARE)
        return;
    for (size_t first = 0; first < a->k; first += a->group) {
        size_t last = nb_min(first + a->group, a->k);
        float top = e[first].key;
        for (size_t j = first; j < last; j++)
            top = e[j].key > top ? e[j].key : top;
        for (size_t j = first; j < last; j++) {
            e[j].group_key = top;
            e[j].group = (uint32_t)(first / a->group);
        }
    }
}

typedef struct run {
    const struct nb_column_order_args *args;
    nb_pool *pool;
    size_t bytes;
} run;

static void order_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    const struct nb_column_order_args *a = r->args;
    entry *e = nb_pool_scratch(r->pool, worker, r->bytes);
    uint32_t *perm = nb_host(a->perm), *group_of = nb_host(a->group_of), *g_idx = nb_host(a->g_idx);
    (void)task;
    fill_entries(a, e);
    qsort(e, a->k, sizeof *e, compare);
    for (size_t p = 0; p < a->k; p++) {
        perm[p] = e[p].index;
        group_of[p] = (uint32_t)((a->order == NB_ORDER_ACT ? p : perm[p]) / a->group);
        if (g_idx)
            g_idx[perm[p]] = group_of[p];
    }
}

nb_status nb__cpu_column_order_plain(nb_pool *pool, const struct nb_column_order_args *a, nb_err *err) {
    size_t bytes;
    if (!nb_mul(a->k, sizeof(entry), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a column order");
    NB_TRY(nb_pool_reserve(pool, bytes, err));
    run r = {.args = a, .pool = pool, .bytes = bytes};
    nb_pool_run(pool, 1, order_task, &r); /* scratch is a task's */
    return NB_OK;
}
