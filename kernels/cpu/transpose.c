/* Transposition with a permutation of the columns that are read, or of those that are written. */
#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

/* A task makes TILE rows of dst; inside it, TILE columns at a time, so that both sides stay in cache. */
enum { TILE = 32 };

/* dst_row(c)[at(r)] = src[r][column(c)]. */
#define TRANSPOSE_TILES(type)                                                                                          \
    do {                                                                                                               \
        const type *src = nb_host(a->src);                                                                             \
        type *dst = nb_host(a->dst);                                                                                   \
        for (size_t r0 = 0; r0 < a->rows; r0 += TILE)                                                                  \
            for (size_t c = c0; c < c1; c++) {                                                                         \
                size_t column = from ? from[c] : c, r1 = nb_min(r0 + TILE, a->rows);                                   \
                for (size_t r = r0; r < r1; r++)                                                                       \
                    dst[c * a->ldd + (to ? to[r] : r)] = src[r * a->lds + column];                                     \
            }                                                                                                          \
    } while (0)

static void transpose_task(void *arg, size_t task, unsigned worker) {
    const struct nb_transpose_args *a = arg;
    const uint32_t *from = nb_host(a->from), *to = nb_host(a->to);
    size_t c0 = task * TILE, c1 = nb_min(c0 + TILE, a->cols);
    (void)worker;
    if (a->elem == 1)
        TRANSPOSE_TILES(uint8_t);
    else
        TRANSPOSE_TILES(uint32_t);
}

nb_status nb__cpu_transpose_plain(nb_pool *pool, const struct nb_transpose_args *a, nb_err *err) {
    if ((a->elem != 1 && a->elem != 4) || (a->from.base && a->to.base))
        return nb_fail(err, NB_E_USAGE, "a transposition of %u-byte elements with %s", a->elem,
                       a->from.base && a->to.base ? "two permutations" : "one permutation at most");
    nb_pool_run(pool, nb_ceil_div(a->cols, TILE), transpose_task, (void *)(uintptr_t)a);
    return NB_OK;
}
