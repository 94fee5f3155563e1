/* Second moments of a linear's input: the lower triangle of X^T X, half of the work of the whole product.
 *
 * A task computes one tile of H over all rows of X in chunks, by the register tiles of the f32 product; those wholly above
 * the diagonal are left out. Both operands are columns of X, which lie beside each other in memory, so packing is copying. */
#include <string.h>

#include "host/base/size.h"
#include "kernels/cpu/sgemm.h"

/* CHUNK: rows of X at a time; a panel of CHUNK x 32 floats lies in a first-level cache. SIDE: of a tile of H, about; it is
 * rounded to whole register tiles. Larger tiles pack less for each product, smaller ones are enough tasks where k is
 * small. SLAB: register tiles in a slab of packed rows, so that it and the packed columns stay in a second-level cache. */
enum { CHUNK = 256, SIDE_SMALL = 224, SIDE_LARGE = 448, LARGE_K = 2048, SLAB = 8, MIRROR = 64 };

typedef struct run {
    const struct nb_hessian_args *args;
    const nb__sgemm_isa *isa;
    nb_pool *pool;
    size_t side, tiles, chunk;
} run;

/* dst: panels of `width` columns, each [ks, width], of X's rows from x on; columns past the end are zero. Inlined for each
 * width, so that the copy is a few moves. */
static inline __attribute__((always_inline)) void pack_width(const float *x, size_t ldx, size_t cols, size_t ks, size_t width,
                                                             float *dst) {
    for (size_t kk = 0; kk < ks; kk++) {
        float *to = dst + kk * width;
        const float *from = x + kk * ldx;
        size_t c = 0;
        for (; c + width <= cols; c += width, to += ks * width)
            memcpy(to, from + c, width * sizeof *to);
        if (c < cols) {
            memset(to, 0, width * sizeof *to);
            memcpy(to, from + c, (cols - c) * sizeof *to);
        }
    }
}

static void pack(const float *x, size_t ldx, size_t cols, size_t ks, size_t width, float *dst) {
    switch (width) {
    case 4: pack_width(x, ldx, cols, ks, 4, dst); break;
    case 6: pack_width(x, ldx, cols, ks, 6, dst); break;
    case 8: pack_width(x, ldx, cols, ks, 8, dst); break;
    case 14: pack_width(x, ldx, cols, ks, 14, dst); break;
    case 16: pack_width(x, ldx, cols, ks, 16, dst); break;
    case 32: pack_width(x, ldx, cols, ks, 32, dst); break;
    default: pack_width(x, ldx, cols, ks, width, dst); break;
    }
}

/* H[i0 .. i0 + rows)[j0 .. j0 + cols) += scale * A^T B, but for register tiles wholly above the diagonal. */
static void slab_product(const run *r, const float *pa, const float *pb, size_t i0, size_t rows, size_t j0, size_t cols,
                         size_t ks) {
    const nb__sgemm_isa *isa = r->isa;
    const struct nb_hessian_args *a = r->args;
    for (size_t j = 0; j < cols; j += isa->nr)
        for (size_t i = 0; i < rows; i += isa->mr)
            if (j0 + j < i0 + i + isa->mr)
                isa->tile(ks, pa + i * ks, pb + j * ks, nb_host_f32(a->h) + (i0 + i) * a->ldh + j0 + j, a->ldh,
                          nb_min(isa->mr, rows - i), nb_min(isa->nr, cols - j), a->scale, true);
}

static void tile_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    const struct nb_hessian_args *a = r->args;
    size_t ti = 0, slab = SLAB * r->isa->mr;
    while (task > ti) /* row ti of the triangle has ti + 1 tiles */
        task -= ++ti;
    size_t i0 = ti * r->side, j0 = task * r->side, rows = nb_min(r->side, a->k - i0), cols = nb_min(r->side, a->k - j0);
    float *pb = nb_pool_scratch(r->pool, worker, 0), *pa = pb + r->side * r->chunk;
    for (size_t k0 = 0; k0 < a->rows; k0 += r->chunk) {
        size_t ks = nb_min(r->chunk, a->rows - k0);
        const float *x = nb_host_f32(a->x) + k0 * a->ldx;
        pack(x + j0, a->ldx, cols, ks, r->isa->nr, pb);
        for (size_t i = 0; i < rows; i += slab) {
            size_t part = nb_min(slab, rows - i);
            pack(x + i0 + i, a->ldx, part, ks, r->isa->mr, pa);
            slab_product(r, pa, pb, i0 + i, part, j0, cols, ks);
        }
    }
}

/* Copies one row of tiles of the lower triangle to above the diagonal, tile by tile, as either side of a large
 * transposition is strided. */
static void mirror_task(void *arg, size_t task, unsigned worker) {
    const struct nb_hessian_args *a = arg;
    (void)worker;
    float *h = nb_host_f32(a->h);
    size_t i0 = task * MIRROR, i1 = nb_min(i0 + MIRROR, a->k);
    for (size_t j0 = 0; j0 < i1; j0 += MIRROR)
        for (size_t i = i0; i < i1; i++) {
            size_t j1 = nb_min(j0 + MIRROR, i);
            for (size_t j = j0; j < j1; j++)
                h[j * a->ldh + i] = h[i * a->ldh + j];
        }
}

static nb_status hessian(nb_pool *pool, const nb__sgemm_isa *isa, const struct nb_hessian_args *a, nb_err *err) {
    if (a->rows > 0) {
        run r = {.args = a, .isa = isa, .pool = pool};
        size_t both = isa->mr * isa->nr; /* a multiple of either */
        while (both % 2 == 0 && both / 2 % isa->mr == 0 && both / 2 % isa->nr == 0)
            both /= 2;
        r.side = nb_ceil_div(a->k < LARGE_K ? SIDE_SMALL : SIDE_LARGE, both) * both;
        r.tiles = nb_ceil_div(a->k, r.side);
        r.chunk = nb_ceil_div(a->rows, nb_ceil_div(a->rows, CHUNK));
        NB_TRY(nb_pool_reserve(pool, (r.side + (SLAB + 1) * isa->mr) * r.chunk * sizeof(float), err));
        nb_pool_run(pool, r.tiles * (r.tiles + 1) / 2, tile_task, &r);
    }
    if (a->mirror)
        nb_pool_run(pool, nb_ceil_div(a->k, MIRROR), mirror_task, (void *)(uintptr_t)a);
    return NB_OK;
}

nb_status nb__cpu_hessian_plain(nb_pool *pool, const struct nb_hessian_args *args, nb_err *err) {
    return hessian(pool, &nb__sgemm_plain, args, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_hessian_avx2(nb_pool *pool, const struct nb_hessian_args *args, nb_err *err) {
    return hessian(pool, &nb__sgemm_avx2, args, err);
}

nb_status nb__cpu_hessian_avx512(nb_pool *pool, const struct nb_hessian_args *args, nb_err *err) {
    return hessian(pool, &nb__sgemm_avx512, args, err);
}
#endif
