#include "kernels/cpu/sgemm.h"

#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

/* KC floats of a B panel (32 wide) fill most of a 48 KiB L1, MC x KC of A a fraction of a 1 MiB L2; a tile's packed B comes
 * from L2 or L3 once for each MC rows. MC is a multiple of all row widths (14, 6, 4), as tiles are of MC. */
enum { KC = 512, MC = 168 };

/* Products with more rows than FEW_ROWS pack B once, in slabs of columns that all workers then read; a task is a block of MC
 * rows, cut in columns too where blocks are few. With few rows each task packs its own part of B. */
enum { FEW_ROWS = 2 * MC, SLAB = 2048, PANELS_PER_TASK = 4, MANY_BLOCKS = 32, MIN_SPLIT = 256 };

/* Tiles of C where rows are few, from the largest down; the first that gives MANY tasks is taken, so that packing is spread over many products
 * and there still is work for many workers. Depends on the shape alone. */
enum { MANY = 16 };
static const struct {
    size_t m, n;
} tile_sizes[] = {{336, 1024}, {336, 512}, {168, 512}, {168, 256}};

typedef struct run {
    const nb__sgemm_isa *isa;
    const nb__sgemm_job *job;
    nb_pool *pool;
    size_t tile_m, tile_n, tiles_m, k_chunk;
    /* Where B is packed once for all workers: the present slab of columns and chunk of k. */
    float *shared; /* [slab][ks], by panels */
    size_t j0, cols, k0, ks;
} run;

/* Equal tiles, as large as the chosen size allows. */
static void choose_tiles(run *r) {
    const nb__sgemm_job *job = r->job;
    enum { N_SIZES = sizeof tile_sizes / sizeof *tile_sizes };
    size_t i = 0;
    while (i + 1 < N_SIZES && nb_ceil_div(job->m, tile_sizes[i].m) * nb_ceil_div(job->n, tile_sizes[i].n) < MANY)
        i++;
    r->tile_m = nb__round_up(nb_ceil_div(job->m, nb_ceil_div(job->m, tile_sizes[i].m)), r->isa->mr);
    r->tile_n = nb__round_up(nb_ceil_div(job->n, nb_ceil_div(job->n, tile_sizes[i].n)), r->isa->nr);
    r->tiles_m = nb_ceil_div(job->m, r->tile_m);
}

/* Scratch of a worker, in floats: an A block, a B block, rows. */
static size_t a_floats(const run *r) {
    return nb__round_up(MC, r->isa->mr) * r->k_chunk;
}

static size_t b_floats(const run *r) {
    return r->tile_n * r->k_chunk;
}

static void pack_block(nb__pack_fn *pack, const void *operand, size_t row, size_t rows, size_t k0, size_t ks, size_t width,
                       float *scratch, float *dst) {
    for (size_t r = 0; r < rows; r += width, dst += width * ks)
        pack(operand, row + r, nb_min(width, rows - r), k0, ks, width, scratch, dst);
}

/* beta * C, before the first chunk of k is added; not needed where beta is 0 or 1. */
static void scale_tile(const nb__sgemm_job *job, size_t i0, size_t rows, size_t j0, size_t cols) {
    for (size_t i = i0; i < i0 + rows; i++)
        for (size_t j = j0; j < j0 + cols; j++)
            job->c[i * job->ldc + j] *= job->beta;
}

static void add_bias(const nb__sgemm_job *job, size_t i0, size_t rows, size_t j0, size_t cols) {
    for (size_t i = i0; i < i0 + rows; i++)
        for (size_t j = j0; j < j0 + cols; j++)
            job->c[i * job->ldc + j] += job->bias[j];
}

/* All register tiles of one A block against one B block. */
static void block_product(const run *r, const float *pa, const float *pb, size_t i0, size_t rows, size_t j0, size_t cols,
                          size_t ks, bool load) {
    const nb__sgemm_isa *isa = r->isa;
    const nb__sgemm_job *job = r->job;
    for (size_t j = 0; j < cols; j += isa->nr)
        for (size_t i = 0; i < rows; i += isa->mr)
            isa->tile(ks, pa + i * ks, pb + j * ks, job->c + (i0 + i) * job->ldc + j0 + j, job->ldc,
                      nb_min(isa->mr, rows - i), nb_min(isa->nr, cols - j), job->alpha, load);
}

static void tile_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    const nb__sgemm_job *job = r->job;
    size_t i0 = task % r->tiles_m * r->tile_m, j0 = task / r->tiles_m * r->tile_n;
    size_t rows = nb_min(r->tile_m, job->m - i0), cols = nb_min(r->tile_n, job->n - j0);
    if (job->lower && j0 >= i0 + rows)
        return;
    float *pa = nb_pool_scratch(r->pool, worker, 0), *pb = pa + a_floats(r), *row = pb + b_floats(r);
    if (job->beta != 0.0f && job->beta != 1.0f)
        scale_tile(job, i0, rows, j0, cols);
    for (size_t k0 = 0; k0 < job->k; k0 += r->k_chunk) {
        size_t ks = nb_min(r->k_chunk, job->k - k0);
        pack_block(job->pack_b, job->b, j0, cols, k0, ks, r->isa->nr, row, pb);
        for (size_t i = 0; i < rows; i += MC) {
            size_t block = nb_min(MC, rows - i);
            pack_block(job->pack_a, job->a, i0 + i, block, k0, ks, r->isa->mr, row, pa);
            block_product(r, pa, pb, i0 + i, block, j0, cols, ks, k0 > 0 || job->beta != 0.0f);
        }
    }
    if (job->bias)
        add_bias(job, i0, rows, j0, cols);
}

/* k == 0: the product is empty. */
static void run_empty(const nb__sgemm_job *job) {
    for (size_t i = 0; i < job->m; i++)
        for (size_t j = 0; j < job->n; j++) {
            float *c = &job->c[i * job->ldc + j];
            *c = (job->beta != 0.0f ? *c * job->beta : 0.0f) + (job->bias ? job->bias[j] : 0.0f);
        }
}

/* ---- B packed once ---- */

static void shared_pack_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    size_t step = PANELS_PER_TASK * r->isa->nr, j = task * step;
    pack_block(r->job->pack_b, r->job->b, r->j0 + j, nb_min(step, r->cols - j), r->k0, r->ks, r->isa->nr,
               nb_pool_scratch(r->pool, worker, 0), r->shared + j * r->ks);
}

static void shared_product_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    const nb__sgemm_job *job = r->job;
    size_t i0 = task % r->tiles_m * MC, j = task / r->tiles_m * r->tile_n, j0 = r->j0 + j;
    size_t rows = nb_min(MC, job->m - i0), cols = nb_min(r->tile_n, r->cols - j);
    if (job->lower && j0 >= i0 + rows)
        return;
    float *pa = nb_pool_scratch(r->pool, worker, 0), *row = pa + a_floats(r);
    if (r->k0 == 0 && job->beta != 0.0f && job->beta != 1.0f)
        scale_tile(job, i0, rows, j0, cols);
    pack_block(job->pack_a, job->a, i0, rows, r->k0, r->ks, r->isa->mr, row, pa);
    block_product(r, pa, r->shared + j * r->ks, i0, rows, j0, cols, r->ks, r->k0 > 0 || job->beta != 0.0f);
    if (job->bias && r->k0 + r->ks == job->k)
        add_bias(job, i0, rows, j0, cols);
}

static nb_status run_shared(run *r, nb_err *err) {
    const nb__sgemm_job *job = r->job;
    size_t slab = nb__round_up(nb_ceil_div(job->n, nb_ceil_div(job->n, SLAB)), r->isa->nr);
    r->tiles_m = nb_ceil_div(job->m, MC);
    size_t splits = nb_max(nb_min(nb_ceil_div(MANY_BLOCKS, r->tiles_m), slab / MIN_SPLIT), 1);
    r->tile_n = nb__round_up(nb_ceil_div(slab, splits), r->isa->nr);
    NB_TRY(nb_alloc_aligned(slab * r->k_chunk, sizeof(float), "a packed operand", &r->shared, err));
    for (r->j0 = 0; r->j0 < job->n; r->j0 += slab) {
        r->cols = nb_min(slab, job->n - r->j0);
        for (r->k0 = 0; r->k0 < job->k; r->k0 += r->ks) {
            r->ks = nb_min(r->k_chunk, job->k - r->k0);
            nb_pool_run(r->pool, nb_ceil_div(r->cols, PANELS_PER_TASK * r->isa->nr), shared_pack_task, r);
            nb_pool_run(r->pool, r->tiles_m * nb_ceil_div(r->cols, r->tile_n), shared_product_task, r);
        }
    }
    nb_free(r->shared);
    return NB_OK;
}

nb_status nb__sgemm_run(nb_pool *pool, const nb__sgemm_isa *isa, const nb__sgemm_job *job, nb_err *err) {
    if (job->m == 0 || job->n == 0)
        return NB_OK;
    if (job->k == 0) {
        run_empty(job);
        return NB_OK;
    }
    run r = {.isa = isa, .job = job, .pool = pool};
    bool few = job->m <= FEW_ROWS;
    choose_tiles(&r);
    r.k_chunk = nb_ceil_div(job->k, nb_ceil_div(job->k, KC));
    size_t rows = nb_max(NB_PACK_ROWS * (r.k_chunk + NB_PACK_SLACK), job->k);
    size_t floats = a_floats(&r) + (few ? b_floats(&r) : 0) + rows, bytes;
    if (!nb_mul(floats, sizeof(float), &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a matrix product");
    NB_TRY(nb_pool_reserve(pool, bytes, err));
    if (!few)
        return run_shared(&r, err);
    nb_pool_run(pool, r.tiles_m * nb_ceil_div(job->n, r.tile_n), tile_task, &r);
    return NB_OK;
}
