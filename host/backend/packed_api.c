/* The public ABI of packed weights: contexts, packing, products. */
#include <stdatomic.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/tensor/repack.h"

enum { MODES = NB_GEMM_FAST + 1, ALIGN = 64 };

struct nb_ctx {
    nb_allocator allocator;
    nb_pool *pool;     /* packs; on the CPU it multiplies as well */
    nb_device *device; /* NULL on the CPU, where nothing but the pool is needed */
    const nb_packer *packer;
    unsigned units;
    const nb_kernel *rows[MODES]; /* NULL: the device has no kernel of this mode */
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

static bool is_cpu(const nb_ctx_options *o) {
    return !o->device || strcmp(o->device, "cpu") == 0;
}

static nb_status check_options(const nb_ctx_options *o, nb_err *err) {
    if (o->size != sizeof *o)
        return nb_fail(err, NB_E_USAGE, "nb_ctx_options.size is %zu, expected %zu", o->size,
                       sizeof *o);
    if (is_cpu(o) && (o->native_context || o->native_device))
        return nb_fail(err, NB_E_USAGE, "a native context is given, and no device that has one");
    if (o->native_device && !o->native_context)
        return nb_fail(err, NB_E_USAGE, "a native device is given without its context");
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

static nb_status use_cpu(nb_ctx *ctx, unsigned workers) {
    ctx->packer = &nb__packer_cpu;
    ctx->units = workers;
    ctx->rows[NB_GEMM_EXACT] = best_row(NB_OP_qgemm);
    ctx->rows[NB_GEMM_FAST] = best_row(NB_OP_qgemm_i8);
    return NB_OK;
}

static nb_status use_device(nb_ctx *ctx, const nb_ctx_options *o, nb_err *err) {
    nb_device_options options = {.threads = 1, .native_context = o->native_context, .native_device = o->native_device};
    NB_TRY(nb_device_open(o->device, &options, &ctx->device, err));
    if (!ctx->device->backend->stream_wrap)
        return nb_fail_at(err, NB_E_USAGE, NULL, o->device, "is no GPU here; name the device, \"cpu\" or another");
    ctx->packer = ctx->device->backend->packer;
    ctx->units = ctx->device->units;
    ctx->rows[NB_GEMM_EXACT] = ctx->device->chosen[NB_OP_qgemm];
    ctx->rows[NB_GEMM_FAST] = ctx->device->chosen[NB_OP_qgemm_i8];
    if (!ctx->packer || !ctx->rows[NB_GEMM_EXACT])
        return nb_fail_at(err, NB_E_DEVICE, NULL, o->device, "no kernel for packed weights runs on this device");
    return NB_OK;
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
    *ctx = (nb_ctx){.allocator = allocator};
    nb_status status = is_cpu(&o) ? use_cpu(ctx, workers) : use_device(ctx, &o, err);
    void *pool = (char *)mem + head;
    if (status == NB_OK)
        status = o.parallel ? nb_pool_wrap_at(pool, o.parallel, &ctx->pool, err)
                            : nb_pool_start(pool, workers, &ctx->pool, err);
    if (status != NB_OK) {
        nb_device_close(ctx->device);
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
    nb_device_close(ctx->device);
    nb_pool_end(ctx->pool);
    allocator.release(allocator.ctx, ctx);
}

static nb_status check_mode(const nb_ctx *ctx, nb_gemm_mode mode, nb_err *err) {
    if ((unsigned)mode >= MODES)
        return nb_fail(err, NB_E_USAGE, "mode %u is not known", (unsigned)mode);
    if (!ctx->rows[mode])
        return nb_fail(err, NB_E_UNSUPPORTED, "no kernel for mode %u runs on this device", (unsigned)mode);
    return NB_OK;
}

nb_status nb_ctx_kernel(const nb_ctx *ctx, nb_gemm_mode mode, const char **name, nb_err *err) {
    NB_TRY(check_mode(ctx, mode, err));
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

/* The description as kernels take it, and the bytes of it packed. */
static nb_status describe(const nb_ctx *ctx, const nb_weight_desc *d, nb_qweight *w, size_t *bytes, nb_err *err) {
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
    return ctx->packer->size(w, bytes) ? NB_OK : nb_fail_memory(err, SIZE_MAX, "a packed weight");
}

nb_status nb_weight_packed_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t *bytes,
                                nb_err *err) {
    nb_qweight w;
    return describe(ctx, desc, &w, bytes, err);
}

/* ---- packing ---- */

typedef struct panel_memory {
    size_t codes, params,
        all; /* bytes: a panel's codes, its scales (and as many for zeros), both for a worker */
} panel_memory;

static bool panel_size(const nb_packer *packer, const nb_qweight *w, panel_memory *out) {
    size_t codes, params;
    if (!nb_mul(w->k, packer->panel, &codes) || !nb_align(codes, ALIGN, &out->codes) ||
        !nb_mul(nb__qweight_groups(w), packer->panel * sizeof(float), &params) ||
        !nb_align(params, ALIGN, &out->params) || !nb_mul(out->params, 2, &params))
        return false;
    return nb_add(out->codes, params, &out->all);
}

nb_status nb_weight_scratch_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t *bytes,
                                 nb_err *err) {
    nb_qweight w;
    panel_memory one;
    size_t all;
    NB_TRY(describe(ctx, desc, &w, &all, err));
    if (!panel_size(ctx->packer, &w, &one) || !nb_mul(one.all, nb_pool_threads(ctx->pool), &all))
        return nb_fail_memory(err, SIZE_MAX, "scratch");
    *bytes = all;
    return NB_OK;
}

typedef struct pack_run {
    const nb_packer *packer;
    const nb_weight_desc *desc;
    const nb_weight_source *source;
    const nb_qweight *w;
    panel_memory size;
    char *scratch;
    void *packed;
    atomic_bool bad_zero;
} pack_run;

static void pack_task(void *arg, size_t p, unsigned worker) {
    pack_run *r = arg;
    char *mem = r->scratch + worker * r->size.all;
    uint8_t *codes = (uint8_t *)mem;
    float *scales = (float *)(void *)(mem + r->size.codes),
          *zeros = (float *)(void *)(mem + r->size.codes + r->size.params);
    size_t row = p * r->packer->panel, rows = nb_min(r->packer->panel, r->w->n - row);
    if (!nb_repack_rows(r->desc, r->source, row, rows, codes, scales, zeros))
        atomic_store_explicit(&r->bad_zero, true, memory_order_relaxed);
    for (size_t i = 0; i < rows * r->w->k; i++)
        codes[i] &= (uint8_t)((1u << r->w->bits) - 1u);
    r->packer->pack(r->w, p, rows, codes, scales, zeros, r->packed);
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
    size_t bytes, want;
    void *own = NULL;
    NB_TRY(describe(ctx, desc, &w, &bytes, err));
    NB_TRY(nb_repack_check(desc, source, err));
    NB_TRY(check_memory("packed", packed, packed_bytes, bytes, err));
    NB_TRY(nb_weight_scratch_size(ctx, desc, &want, err));
    if (scratch)
        NB_TRY(check_memory("scratch", scratch, scratch_bytes, want, err));
    if (!ctx->packer->begin(&w, w.act_order ? source->g_idx : NULL, packed))
        return nb_fail_at(err, NB_E_INPUT, NULL, "g_idx",
                          "names a group above %zu, or gives one more than %zu columns",
                          nb__qweight_groups(&w) - 1, w.group);
    if (!scratch)
        NB_TRY(take(&ctx->allocator, want, "scratch", &own, err));
    pack_run r = {.packer = ctx->packer,
                  .desc = desc,
                  .source = source,
                  .w = &w,
                  .scratch = scratch ? scratch : own,
                  .packed = packed};
    panel_size(ctx->packer, &w, &r.size);
    nb_pool_run(ctx->pool, nb_ceil_div(w.n, ctx->packer->panel), pack_task, &r);
    if (own)
        ctx->allocator.release(ctx->allocator.ctx, own);
    if (atomic_load(&r.bad_zero))
        return nb_fail_at(err, NB_E_INPUT, NULL, "zeros", "hold a zero point above 255");
    return NB_OK;
}

/* Scales (exact in scale_type) and zero points of one row, as the caller holds them. */
static void store_params(const nb_qweight *w, size_t row, const float *s, const float *z, void *scales, void *zeros) {
    size_t groups = nb__qweight_groups(w), first = row * groups;
    if (scales)
        nb_from_f32(w->scale_type, s, groups, (char *)scales + first * (w->scale_type == NB_F32 ? 4 : 2));
    for (size_t g = 0; zeros && g < groups; g++) {
        if (w->offsets)
            ((float *)zeros)[first + g] = z[g];
        else
            ((uint8_t *)zeros)[first + g] = (uint8_t)z[g];
    }
}

nb_status nb_weight_unpack(nb_ctx *ctx, const nb_weight_desc *desc, const void *packed,
                           size_t packed_bytes, uint8_t *codes, void *scales, void *zeros,
                           int32_t *g_idx, nb_err *err) {
    nb_qweight w;
    panel_memory one;
    size_t bytes;
    void *row = NULL;
    NB_TRY(describe(ctx, desc, &w, &bytes, err));
    NB_TRY(check_memory("packed", packed, packed_bytes, bytes, err));
    if (!panel_size(ctx->packer, &w, &one))
        return nb_fail_memory(err, SIZE_MAX, "scratch");
    NB_TRY(take(&ctx->allocator, one.all, "scratch", &row, err));
    float *s = (float *)(void *)((char *)row + one.codes), *z = (float *)(void *)((char *)s + one.params);
    for (size_t i = 0; i < w.n; i++) {
        ctx->packer->unpack(&w, packed, i, codes ? codes + i * w.k : row, s, z);
        store_params(&w, i, s, z, scales, zeros);
    }
    if (g_idx)
        ctx->packer->columns(&w, packed, g_idx);
    ctx->allocator.release(ctx->allocator.ctx, row);
    return NB_OK;
}

/* ---- products ---- */

nb_status nb_gemm_workspace_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t m,
                                 nb_gemm_mode mode, size_t *bytes, nb_err *err) {
    nb_qweight w;
    size_t packed;
    NB_TRY(check_mode(ctx, mode, err));
    NB_TRY(describe(ctx, desc, &w, &packed, err));
    if (!ctx->packer->workspace(&w, m, mode == NB_GEMM_FAST, ctx->units, bytes))
        return nb_fail_memory(err, SIZE_MAX, "a workspace");
    return NB_OK;
}

/* A caller's memory: a place in host memory, or a handle of the device's with an offset. */
static nb_mem memory(const void *base, size_t offset, size_t bytes) {
    return (nb_mem){.base = (void *)(uintptr_t)base, .offset = base ? offset : 0, .bytes = bytes};
}

static nb_status launch(nb_ctx *ctx, const nb_gemm_args *a, const void *args, nb_err *err) {
    const nb_kernel *row = ctx->rows[a->mode];
    nb_stream_room room;
    nb_stream *stream;
    if (!ctx->device)
        return row->cpu(ctx->pool, args, err);
    NB_TRY(ctx->device->backend->stream_wrap(ctx->device, a->stream, &room, &stream, err));
    return nb_launch_row(stream, row, args, err);
}

/* Places of host memory are checked; what a device's handle means only its driver knows. */
static nb_status check_places(const nb_ctx *ctx, const nb_gemm_args *a, size_t packed, nb_err *err) {
    if (!a->x || !a->y)
        return nb_fail(err, NB_E_USAGE, "X or Y is missing");
    if (ctx->device && (!a->packed || a->packed_bytes < packed))
        return nb_fail_at(err, NB_E_USAGE, NULL, "packed", "is missing, or has %zu bytes where %zu are needed",
                          a->packed_bytes, packed);
    if (ctx->device)
        return NB_OK;
    if (a->x_offset || a->y_offset || a->bias_offset || a->packed_offset || a->workspace_offset)
        return nb_fail(err, NB_E_USAGE, "offsets are for buffers of devices, not for host memory");
    NB_TRY(check_memory("packed", a->packed, a->packed_bytes, packed, err));
    if ((uintptr_t)a->workspace % ALIGN)
        return nb_fail_at(err, NB_E_USAGE, NULL, "workspace", "is not aligned to %d bytes", ALIGN);
    return NB_OK;
}

nb_status nb_gemm(nb_ctx *ctx, const nb_gemm_args *a, nb_err *err) {
    struct nb_qgemm_i8_args args = {
        {.m = a->m, .ldx = a->ldx, .ldy = a->ldy, .accumulate = a->accumulate != 0}};
    struct nb_qgemm_args *g = &args.g;
    size_t packed;
    if (a->size != sizeof *a)
        return nb_fail(err, NB_E_USAGE, "nb_gemm_args.size is %zu, expected %zu", a->size,
                       sizeof *a);
    NB_TRY(check_mode(ctx, a->mode, err));
    NB_TRY(describe(ctx, a->desc, &g->w, &packed, err));
    NB_TRY(to_dtype(a->x_type, &g->x_type, err));
    NB_TRY(to_dtype(a->y_type, &g->y_type, err));
    if (a->m == 0 || g->w.n == 0)
        return NB_OK;
    if (a->ldx < g->w.k || a->ldy < g->w.n)
        return nb_fail(err, NB_E_USAGE, "ldx %zu and ldy %zu, expected at least %zu and %zu",
                       a->ldx, a->ldy, g->w.k, g->w.n);
    NB_TRY(check_places(ctx, a, packed, err));
    g->w.data = memory(a->packed, a->packed_offset, a->packed_bytes);
    g->x = memory(a->x, a->x_offset, 0);
    g->y = memory(a->y, a->y_offset, 0);
    g->bias = memory(a->bias, a->bias_offset, 0);
    g->workspace = memory(a->workspace, a->workspace_offset, a->workspace ? a->workspace_bytes : 0);
    return launch(ctx, a, a->mode == NB_GEMM_FAST ? (const void *)&args : g, err);
}

nb_status nb_ctx_sync(nb_ctx *ctx, void *stream, nb_err *err) {
    nb_stream_room room;
    nb_stream *wrapped;
    if (!ctx->device)
        return NB_OK;
    NB_TRY(ctx->device->backend->stream_wrap(ctx->device, stream, &room, &wrapped, err));
    return nb_sync(wrapped, err);
}
