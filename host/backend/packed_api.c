/* The public ABI of packed weights: contexts, packing, products. */
#include <stdatomic.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/tensor/repack.h"
#include "kernels/cpu/qgemm.h"

enum { MODES = NB_GEMM_FAST + 1, ALIGN = 64 };

struct nb_ctx {
    nb_allocator allocator;
    nb_pool *pool;
    const nb_kernel *rows[MODES];
};

/* ---- memory ---- */

static void *default_alloc(void *ctx, size_t bytes, size_t align) {
    void *p;
    (void)ctx, (void)align; /* nb_alloc_aligned gives 64, and no more is asked for */
    return nb_alloc_aligned(bytes, 1, "memory", &p, NULL) == NB_OK ? p : NULL;
}

static void default_release(void *ctx, void *ptr) {
    (void)ctx;
    nb_free(ptr);
}

static nb_status take(const nb_allocator *a, size_t bytes, const char *what, void **out,
                      nb_err *err) {
    void *p = a->alloc(a->ctx, bytes, ALIGN);
    if (!p)
        return nb_fail_memory(err, bytes, what);
    *out = p;
    return NB_OK;
}

/* ---- contexts ---- */

static const nb_kernel *best_row(nb_op op) {
    size_t count;
    unsigned features = nb_cpu_features();
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++)
        if (rows[i].op == op && rows[i].backend == NB_CPU && !(rows[i].needs & ~features))
            return &rows[i];
    return NULL;
}

static nb_status check_options(const nb_ctx_options *o, nb_err *err) {
    if (o->size != sizeof *o)
        return nb_fail(err, NB_E_USAGE, "nb_ctx_options.size is %zu, expected %zu", o->size,
                       sizeof *o);
    if (o->device && strcmp(o->device, "cpu") != 0)
        return nb_fail_at(err, NB_E_DEVICE, NULL, o->device,
                          "this library serves packed weights on \"cpu\" only");
    if (o->parallel && o->threads)
        return nb_fail(err, NB_E_USAGE, "both a caller's pool and %u threads are asked for",
                       o->threads);
    if (o->allocator && (!o->allocator->alloc || !o->allocator->release))
        return nb_fail(err, NB_E_USAGE, "an allocator needs both its functions");
    if (o->parallel && (!o->parallel->run || o->parallel->n_workers == 0))
        return nb_fail(err, NB_E_USAGE,
                       "a caller's pool needs a run function and at least one worker");
    return nb_pool_check(o->parallel ? o->parallel->n_workers : o->threads, err);
}

nb_status nb_ctx_open(const nb_ctx_options *options, nb_ctx **out, nb_err *err) {
    nb_ctx_options o = {.size = sizeof o};
    nb_allocator allocator = {NULL, default_alloc, default_release};
    void *mem = NULL;
    if (options) {
        NB_TRY(check_options(options, err));
        o = *options;
    }
    if (o.allocator)
        allocator = *o.allocator;
    unsigned workers = o.parallel  ? o.parallel->n_workers
                       : o.threads ? o.threads
                                   : nb_pool_online();
    size_t head = (sizeof(nb_ctx) + ALIGN - 1) / ALIGN * ALIGN;
    NB_TRY(take(&allocator, head + nb_pool_bytes(workers), "a context", &mem, err));
    nb_ctx *ctx = mem;
    *ctx =
        (nb_ctx){.allocator = allocator, .rows = {best_row(NB_OP_qgemm), best_row(NB_OP_qgemm_i8)}};
    void *pool = (char *)mem + head;
    nb_status status = o.parallel ? nb_pool_wrap_at(pool, o.parallel, &ctx->pool, err)
                                  : nb_pool_start(pool, workers, &ctx->pool, err);
    if (status != NB_OK) {
        allocator.release(allocator.ctx, mem);
        return status;
    }
    *out = ctx;
    return NB_OK;
}

void nb_ctx_close(nb_ctx *ctx) {
    if (!ctx)
        return;
    nb_allocator allocator = ctx->allocator;
    nb_pool_end(ctx->pool);
    allocator.release(allocator.ctx, ctx);
}

static nb_status check_mode(nb_gemm_mode mode, nb_err *err) {
    if ((unsigned)mode >= MODES)
        return nb_fail(err, NB_E_USAGE, "mode %u is not known", (unsigned)mode);
    return NB_OK;
}

nb_status nb_ctx_kernel(const nb_ctx *ctx, nb_gemm_mode mode, const char **name, nb_err *err) {
    NB_TRY(check_mode(mode, err));
    *name = ctx->rows[mode]->name;
    return NB_OK;
}

/* ---- descriptions ---- */

static nb_status to_dtype(nb_float_type type, nb_dtype *out, nb_err *err) {
    static const nb_dtype types[] = {NB_F32, NB_F16, NB_BF16};
    if ((unsigned)type > NB_FLOAT_BF16)
        return nb_fail(err, NB_E_USAGE, "float type %u is not known", (unsigned)type);
    *out = types[type];
    return NB_OK;
}

/* The description as kernels take it, and its layout. */
static nb_status describe(const nb_weight_desc *d, nb_qweight *w, nb__qlayout *l, nb_err *err) {
    if (d->bits != 2 && d->bits != 3 && d->bits != 4 && d->bits != 8)
        return nb_fail(err, NB_E_USAGE, "%u bits, expected 2, 3, 4 or 8", d->bits);
    if (d->k == 0 || d->group_size == 0 || d->group_size > d->k ||
        (d->group_size < 16 && d->group_size != d->k))
        return nb_fail(err, NB_E_USAGE,
                       "groups of %zu in %zu columns, expected 16 to %zu, or all columns",
                       d->group_size, d->k, d->k);
    if (d->symmetric && d->offsets)
        return nb_fail(err, NB_E_USAGE, "a weight is symmetric or has offsets, not both");
    *w = (nb_qweight){.n = d->n,
                      .k = d->k,
                      .group = d->group_size,
                      .bits = d->bits,
                      .symmetric = d->symmetric != 0,
                      .offsets = d->offsets != 0,
                      .act_order = d->act_order != 0};
    NB_TRY(to_dtype(d->scale_type, &w->scale_type, err));
    return nb__qlayout_make(w, l) ? NB_OK : nb_fail_memory(err, SIZE_MAX, "a packed weight");
}

nb_status nb_weight_packed_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t *bytes,
                                nb_err *err) {
    nb_qweight w;
    nb__qlayout l;
    (void)ctx;
    NB_TRY(describe(desc, &w, &l, err));
    *bytes = l.bytes;
    return NB_OK;
}

/* ---- packing ---- */

typedef struct panel_memory {
    size_t codes, params,
        all; /* bytes: a panel's codes, its scales (and as many for zeros), both for a worker */
} panel_memory;

static bool panel_size(const nb_qweight *w, const nb__qlayout *l, panel_memory *out) {
    size_t codes, params;
    if (!nb_mul(w->k, NB_PANEL, &codes) || !nb_align(codes, ALIGN, &out->codes) ||
        !nb_mul(l->groups, NB_PANEL * sizeof(float), &params) ||
        !nb_align(params, ALIGN, &out->params) || !nb_mul(out->params, 2, &params))
        return false;
    return nb_add(out->codes, params, &out->all);
}

nb_status nb_weight_scratch_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t *bytes,
                                 nb_err *err) {
    nb_qweight w;
    nb__qlayout l;
    panel_memory one;
    size_t all;
    NB_TRY(describe(desc, &w, &l, err));
    if (!panel_size(&w, &l, &one) || !nb_mul(one.all, nb_pool_threads(ctx->pool), &all))
        return nb_fail_memory(err, SIZE_MAX, "scratch");
    *bytes = all;
    return NB_OK;
}

typedef struct pack_run {
    const nb_weight_desc *desc;
    const nb_weight_source *source;
    const nb_qweight *w;
    const nb__qlayout *l;
    const uint32_t *map;
    panel_memory size;
    char *scratch;
    unsigned char *panels;
    atomic_bool bad_zero;
} pack_run;

static void pack_task(void *arg, size_t p, unsigned worker) {
    pack_run *r = arg;
    char *mem = r->scratch + worker * r->size.all;
    uint8_t *codes = (uint8_t *)mem;
    float *scales = (float *)(void *)(mem + r->size.codes),
          *zeros = (float *)(void *)(mem + r->size.codes + r->size.params);
    size_t row = p * NB_PANEL, rows = nb_min(NB_PANEL, r->w->n - row);
    if (!nb_repack_rows(r->desc, r->source, row, rows, codes, scales, zeros))
        atomic_store_explicit(&r->bad_zero, true, memory_order_relaxed);
    for (size_t i = 0; i < rows * r->w->k; i++)
        codes[i] &= (uint8_t)((1u << r->w->bits) - 1u);
    nb__qpanel_pack(r->w, r->l, r->map, rows, codes, scales, zeros,
                    r->panels + p * r->l->panel_bytes);
}

static nb_status check_memory(const char *what, const void *p, size_t found, size_t want,
                              nb_err *err) {
    if (want && (!p || (uintptr_t)p % ALIGN))
        return nb_fail_at(err, NB_E_USAGE, NULL, what, "is missing or not aligned to %d bytes",
                          ALIGN);
    if (found < want)
        return nb_fail_at(err, NB_E_USAGE, NULL, what, "has %zu bytes, %zu are needed", found,
                          want);
    return NB_OK;
}

nb_status nb_weight_pack(nb_ctx *ctx, const nb_weight_desc *desc, const nb_weight_source *source,
                         void *packed, size_t packed_bytes, void *scratch, size_t scratch_bytes,
                         nb_err *err) {
    nb_qweight w;
    nb__qlayout l;
    size_t want;
    void *own = NULL;
    NB_TRY(describe(desc, &w, &l, err));
    NB_TRY(nb_repack_check(desc, source, err));
    NB_TRY(check_memory("packed", packed, packed_bytes, l.bytes, err));
    NB_TRY(nb_weight_scratch_size(ctx, desc, &want, err));
    if (scratch)
        NB_TRY(check_memory("scratch", scratch, scratch_bytes, want, err));
    pack_run r = {.desc = desc,
                  .source = source,
                  .w = &w,
                  .l = &l,
                  .panels = (unsigned char *)packed + l.map_bytes};
    if (w.act_order) {
        if (!nb__qlayout_map(&w, &l, source->g_idx, packed))
            return nb_fail_at(err, NB_E_INPUT, NULL, "g_idx",
                              "names a group above %zu, or gives one more than %zu columns",
                              l.groups - 1, w.group);
        r.map = packed;
    }
    if (!scratch)
        NB_TRY(take(&ctx->allocator, want, "scratch", &own, err));
    r.scratch = scratch ? scratch : own;
    panel_size(&w, &l, &r.size);
    nb_pool_run(ctx->pool, l.panels, pack_task, &r);
    if (own)
        ctx->allocator.release(ctx->allocator.ctx, own);
    if (atomic_load(&r.bad_zero))
        return nb_fail_at(err, NB_E_INPUT, NULL, "zeros", "hold a zero point above 255");
    return NB_OK;
}

/* Rows one by one: exact, and in no hurry. */
static void unpack_row(const nb_qweight *w, const nb__qlayout *l, const uint32_t *map,
                       const unsigned char *panel, size_t r, size_t row, uint8_t *codes,
                       void *scales, void *zeros) {
    for (size_t p = 0; codes && p < l->kp; p++) {
        size_t j = nb__qpanel_column(w, l, map, p);
        if (j != NB_NO_COLUMN)
            codes[row * w->k + j] = (uint8_t)nb__qpanel_code(w, l, panel, r, p);
    }
    for (size_t g = 0; g < l->groups; g++) {
        size_t from = g * NB_PANEL + r, to = row * l->groups + g;
        if (scales)
            memcpy((char *)scales + to * l->scale_bytes,
                   panel + l->scale_at + from * l->scale_bytes, l->scale_bytes);
        if (zeros && w->offsets)
            memcpy((float *)zeros + to, panel + l->zero_at + 4 * from, sizeof(float));
        else if (zeros)
            ((uint8_t *)zeros)[to] =
                w->symmetric ? (uint8_t)(1u << (w->bits - 1)) : panel[l->zero_at + from];
    }
}

nb_status nb_weight_unpack(nb_ctx *ctx, const nb_weight_desc *desc, const void *packed,
                           size_t packed_bytes, uint8_t *codes, void *scales, void *zeros,
                           int32_t *g_idx, nb_err *err) {
    nb_qweight w;
    nb__qlayout l;
    (void)ctx;
    NB_TRY(describe(desc, &w, &l, err));
    NB_TRY(check_memory("packed", packed, packed_bytes, l.bytes, err));
    const uint32_t *map = w.act_order ? packed : NULL;
    const unsigned char *panels = (const unsigned char *)packed + l.map_bytes;
    for (size_t i = 0; i < w.n; i++)
        unpack_row(&w, &l, map, panels + i / NB_PANEL * l.panel_bytes, i % NB_PANEL, i, codes,
                   scales, zeros);
    for (size_t p = 0; g_idx && p < l.kp; p++) {
        size_t j = nb__qpanel_column(&w, &l, map, p);
        if (j < w.k)
            g_idx[j] = (int32_t)(p / (l.group_blocks * l.block));
    }
    return NB_OK;
}

/* ---- products ---- */

nb_status nb_gemm_workspace_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t m,
                                 nb_gemm_mode mode, size_t *bytes, nb_err *err) {
    nb_qweight w;
    nb__qlayout l;
    NB_TRY(check_mode(mode, err));
    NB_TRY(describe(desc, &w, &l, err));
    if (!nb__cpu_qgemm_workspace(&w, m, mode == NB_GEMM_FAST, nb_pool_threads(ctx->pool), bytes))
        return nb_fail_memory(err, SIZE_MAX, "a workspace");
    return NB_OK;
}

nb_status nb_gemm(nb_ctx *ctx, const nb_gemm_args *a, nb_err *err) {
    struct nb_qgemm_i8_args args = {
        {.m = a->m, .ldx = a->ldx, .ldy = a->ldy, .accumulate = a->accumulate != 0}};
    struct nb_qgemm_args *g = &args.g;
    nb__qlayout l;
    if (a->size != sizeof *a)
        return nb_fail(err, NB_E_USAGE, "nb_gemm_args.size is %zu, expected %zu", a->size,
                       sizeof *a);
    NB_TRY(check_mode(a->mode, err));
    NB_TRY(describe(a->desc, &g->w, &l, err));
    NB_TRY(to_dtype(a->x_type, &g->x_type, err));
    NB_TRY(to_dtype(a->y_type, &g->y_type, err));
    if (a->m == 0 || g->w.n == 0)
        return NB_OK;
    if (a->ldx < g->w.k || a->ldy < g->w.n)
        return nb_fail(err, NB_E_USAGE, "ldx %zu and ldy %zu, expected at least %zu and %zu",
                       a->ldx, a->ldy, g->w.k, g->w.n);
    if (!a->x || !a->y)
        return nb_fail(err, NB_E_USAGE, "X or Y is missing");
    NB_TRY(check_memory("packed", a->packed, a->packed_bytes, l.bytes, err));
    if ((uintptr_t)a->workspace % ALIGN)
        return nb_fail_at(err, NB_E_USAGE, NULL, "workspace", "is not aligned to %d bytes", ALIGN);
    g->w.data = nb_mem_host(a->packed, a->packed_bytes);
    g->x = nb_mem_host(a->x, 0);
    g->y = nb_mem_host(a->y, 0);
    g->bias = nb_mem_host(a->bias, 0);
    g->workspace = nb_mem_host(a->workspace, a->workspace ? a->workspace_bytes : 0);
    const nb_kernel *row = ctx->rows[a->mode];
    return row->cpu(ctx->pool, a->mode == NB_GEMM_FAST ? (const void *)&args : g, err);
}
