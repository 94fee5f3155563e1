/* Packed dequant-GEMM: prepares activations, cuts the work into tiles, writes the results. */
#include "kernels/cpu/qgemm.h"

#include <string.h>

#include "host/base/size.h"

/* Rows handled in one pass (this bounds the workspace), columns of a tile between two visits to the
 * next rows of X (B panels of 16 KiB and a row panel of 8 KiB stay in L1), and bytes of weights
 * that make a GEMV task worth its start. */
enum { PASS_ROWS = 512, CHUNK_COLUMNS = 1024, MIN_TASK_BYTES = 16 << 10, MAX_TASK_BYTES = 1 << 20 };

typedef struct run {
    const struct nb_qgemm_args *a;
    const nb__qisa *isa;
    nb__qlayout l;
    const uint32_t *map;
    const unsigned char *panels;
    bool i8, direct;   /* direct: X itself is the prepared form */
    size_t row0, rows; /* of this pass */
    size_t mr, row_panels;
    size_t panels_per_task, chunk_blocks;
    /* Workspace. */
    unsigned char *x;
    float *step, *group_sum;
    int32_t *minus_sum;
    char *per_worker;
    size_t worker_bytes, c_bytes;
} run;

static size_t rows_per_panel(size_t m) {
    return m <= 1 ? 1 : m <= 2 ? 2 : m <= 4 ? 4 : NB_QMR;
}

typedef struct work_sizes {
    size_t x, params, sums, c, worker, all;
} work_sizes;

/* Sizes of the parts of the workspace, each a multiple of 64 bytes. */
static bool work_size(const nb_qweight *w, const nb__qlayout *l, size_t m, bool i8,
                      unsigned workers, work_sizes *out) {
    size_t rows = nb_min(m, PASS_ROWS), mr = rows_per_panel(rows), x, params, sums, worker, all;
    rows = nb_ceil_div(rows, mr) * mr;
    work_sizes s = {.c = rows > NB_QMR ? rows * NB_PANEL * NB_QNR * sizeof(float) : 0};
    if (!nb_mul3(rows, l->kp, i8 ? 1 : sizeof(float), &x) || !nb_align(x, 64, &s.x) ||
        !nb_mul3(rows, l->blocks, i8 ? sizeof(float) : 0, &params) ||
        !nb_align(params, 64, &s.params) ||
        !nb_mul3(rows, l->groups, w->offsets ? sizeof(float) : 0, &sums) ||
        !nb_align(sums, 64, &s.sums) || !nb_mul(l->kp, sizeof(float), &worker) ||
        !nb_add(worker, w->k * sizeof(float), &worker) || !nb_add(worker, s.c, &worker) ||
        !nb_align(worker, 64, &s.worker) || !nb_mul(s.worker, workers, &all) ||
        !nb_add(all, s.x, &all) || !nb_add(all, 2 * s.params, &all) || !nb_add(all, s.sums, &all))
        return false;
    s.all = all;
    *out = s;
    return true;
}

bool nb__cpu_qgemm_workspace(const nb_qweight *w, size_t m, bool i8, unsigned workers,
                             size_t *out) {
    nb__qlayout l;
    work_sizes s;
    if (!nb__qlayout_make(w, &l) || !work_size(w, &l, m, i8, workers, &s))
        return false;
    *out = s.all;
    return true;
}

/* ---- activations ---- */

/* Row i of X in the packed order, kp floats; buf has room for kp + k. May return X itself. */
static const float *packed_row(const run *r, size_t i, float *buf) {
    const struct nb_qgemm_args *a = r->a;
    const nb_qweight *w = &a->w;
    size_t at = (r->row0 + i) * a->ldx;
    const float *src;
    if (a->x_type == NB_F32)
        src = nb_host_f32(a->x) + at;
    else {
        nb_to_f32(a->x_type, (const uint16_t *)nb_host(a->x) + at, w->k, buf + r->l.kp);
        src = buf + r->l.kp;
    }
    if (r->map) {
        for (size_t p = 0; p < r->l.kp; p++)
            buf[p] = r->map[p] == NB_NO_COLUMN ? 0.0f : src[r->map[p]];
        return buf;
    }
    if (r->l.kp == w->k)
        return src;
    size_t span = r->l.group_blocks * r->l.block;
    for (size_t g = 0; g < r->l.groups; g++) {
        size_t len = nb__group_columns(w, g), end = nb_min((g + 1) * span, r->l.kp);
        memcpy(buf + g * span, src + g * w->group, len * sizeof *buf);
        memset(buf + g * span + len, 0, (end - g * span - len) * sizeof *buf);
    }
    return buf;
}

/* Sum of the activations of each group, as the kernel will multiply them. */
static void group_sums(const run *r, const float *x, const float *step, const int32_t *minus_sum,
                       float *out) {
    size_t span = r->l.group_blocks * r->l.block;
    for (size_t g = 0; g < r->l.groups; g++) {
        float sum = 0.0f;
        if (r->i8)
            for (size_t b = g * r->l.group_blocks;
                 b < nb_min((g + 1) * r->l.group_blocks, r->l.blocks); b++)
                sum -= step[b * r->mr] * (float)minus_sum[b * r->mr];
        else
            for (size_t p = g * span; p < nb_min((g + 1) * span, r->l.kp); p++)
                sum += x[p];
        out[g * r->mr] = sum;
    }
}

/* Row r of a row panel of f32 activations is x[k][mr] at column r. */
static void interleave(const float *src, size_t kp, size_t mr, float *dst) {
    for (size_t p = 0; p < kp; p++)
        dst[p * mr] = src[p];
}

static void prepare_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    size_t mr = r->mr, blocks = r->l.blocks;
    float *buf = (float *)(void *)(r->per_worker + worker * r->worker_bytes + r->c_bytes);
    for (size_t i = 0; i < mr; i++) {
        size_t row = task * mr + i;
        const float *src = row < r->rows ? packed_row(r, row, buf) : NULL;
        if (!src)
            memset(buf, 0, r->l.kp * sizeof *buf);
        src = src ? src : buf;
        float *step = r->step + task * mr * blocks + i;
        int32_t *minus_sum = r->minus_sum + task * mr * blocks + i;
        if (r->i8) {
            int8_t *q = (int8_t *)r->x + task * mr * r->l.kp + 4 * i;
            for (size_t b = 0; b < blocks; b++)
                r->isa->quantize(src + b * r->l.block, r->l.block, mr, q + b * r->l.block * mr,
                                 step + b * mr, minus_sum + b * mr);
        } else if (!r->direct)
            interleave(src, r->l.kp, mr, (float *)(void *)r->x + task * mr * r->l.kp + i);
        if (r->a->w.offsets)
            group_sums(r, src, step, minus_sum, r->group_sum + task * mr * r->l.groups + i);
    }
}

/* ---- results ---- */

static void store_16(const struct nb_qgemm_args *a, size_t at, float v) {
    uint16_t *y = (uint16_t *)nb_host(a->y) + at;
    if (a->accumulate)
        v += a->y_type == NB_F16 ? nb_f16_to_f32(*y) : nb_bf16_to_f32(*y);
    *y = a->y_type == NB_F16 ? nb_f32_to_f16(v) : nb_f32_to_bf16(v);
}

static void store_row(float *y, const float *c, const float *bias, size_t cols, bool accumulate) {
    if (accumulate)
        for (size_t j = 0; j < cols; j++)
            y[j] += c[j] + (bias ? bias[j] : 0.0f);
    else if (bias)
        for (size_t j = 0; j < cols; j++)
            y[j] = c[j] + bias[j];
    else
        memcpy(y, c, cols * sizeof *y);
}

/* Rows [row, row + rows) of this pass and columns [col, col + cols) of Y from c. */
static void store(const run *r, size_t row, size_t rows, size_t col, size_t cols, const float *c,
                  size_t ldc) {
    const struct nb_qgemm_args *a = r->a;
    const float *bias = nb_host_f32(a->bias);
    for (size_t i = 0; i < rows; i++, c += ldc) {
        size_t at = (r->row0 + row + i) * a->ldy + col;
        if (a->y_type == NB_F32) {
            store_row(nb_host_f32(a->y) + at, c, bias ? bias + col : NULL, cols, a->accumulate);
            continue;
        }
        for (size_t j = 0; j < cols; j++)
            store_16(a, at + j, c[j] + (bias ? bias[col + j] : 0.0f));
    }
}

/* ---- tiles ---- */

static size_t log2_rows(size_t mr) {
    return mr == 1 ? 0 : mr == 2 ? 1 : mr == 4 ? 2 : 3;
}

static nb__qtile make_tile(const run *r, size_t panel, size_t row_panel) {
    const nb_qweight *w = &r->a->w;
    size_t x_bytes = r->mr * r->l.kp * (r->i8 ? 1 : sizeof(float));
    return (nb__qtile){
        .l = &r->l,
        .panel = r->panels + panel * r->l.panel_bytes,
        .blk1 = r->l.blocks,
        .scale_type = w->scale_type,
        .symmetric = w->symmetric,
        .offsets = w->offsets,
        .bits = w->bits,
        .x = r->direct ? (const unsigned char *)(nb_host_f32(r->a->x) + r->row0 * r->a->ldx)
                       : r->x + row_panel * x_bytes,
        .step = r->step + row_panel * r->mr * r->l.blocks,
        .minus_sum = r->minus_sum + row_panel * r->mr * r->l.blocks,
        .group_sum = r->group_sum + row_panel * r->mr * r->l.groups,
    };
}

/* A few rows of X: each panel of W is read once, from end to end. */
static void gemv_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    (void)worker;
    float c[NB_QMR * NB_PANEL]; /* NB_QNV is less than NB_QMR */
    size_t bits = nb__bits_index(r->a->w.bits);
    nb__qtile_fn *one = r->isa->one[log2_rows(r->mr)][bits], *many = r->mr == 1 ? r->isa->gemv[bits] : NULL;
    size_t last = nb_min((task + 1) * r->panels_per_task, r->l.panels), step;
    for (size_t p = task * r->panels_per_task; p < last; p += step) {
        nb__qtile t = make_tile(r, p, 0);
        step = many && last - p >= NB_QNV ? NB_QNV : 1;
        t.c = c;
        t.ldc = NB_PANEL;
        if (step == 1)
            one(&t);
        else
            many(&t);
        size_t col = p * NB_PANEL;
        store(r, 0, r->rows, col, nb_min(step * NB_PANEL, r->a->w.n - col), c, NB_PANEL);
    }
}

/* Two panels of W against all rows of the pass, in chunks of K; partial sums stay in the worker's
 * memory. */
static void gemm_task(void *arg, size_t task, unsigned worker) {
    const run *r = arg;
    size_t first = task * NB_QNR, panels = nb_min(NB_QNR, r->l.panels - first),
           bits = nb__bits_index(r->a->w.bits);
    float *c = (float *)(void *)(r->per_worker + worker * r->worker_bytes);
    enum { LDC = NB_PANEL * NB_QNR };
    for (size_t blk = 0; blk < r->l.blocks; blk += r->chunk_blocks)
        for (size_t i = 0; i < r->row_panels; i++) {
            nb__qtile t = make_tile(r, first, i);
            t.blk0 = blk;
            t.blk1 = nb_min(blk + r->chunk_blocks, r->l.blocks);
            t.ldc = LDC;
            t.load = blk > 0;
            t.c = c + i * r->mr * LDC;
            if (panels == 2 && r->isa->two[bits]) {
                r->isa->two[bits](&t);
                continue;
            }
            for (size_t p = 0; p < panels; p++, t.panel += r->l.panel_bytes, t.c += NB_PANEL)
                r->isa->one[log2_rows(r->mr)][bits](&t);
        }
    size_t col = first * NB_PANEL;
    store(r, 0, r->rows, col, nb_min(panels * NB_PANEL, r->a->w.n - col), c, LDC);
}

static void run_pass(nb_pool *pool, run *r) {
    if (r->row_panels == 1 && r->direct && !r->a->w.offsets)
        (void)0; /* nothing to prepare */
    else if (r->row_panels == 1)
        prepare_task(r, 0, 0);
    else
        nb_pool_run(pool, r->row_panels, prepare_task, r);
    if (r->rows <= NB_QMR)
        nb_pool_run(pool, nb_ceil_div(r->l.panels, r->panels_per_task), gemv_task, r);
    else
        nb_pool_run(pool, nb_ceil_div(r->l.panels, NB_QNR), gemm_task, r);
}

/* Chunks of K are whole groups where a group fits, so that a scale is applied once for each. */
static size_t chunk_blocks(const nb__qlayout *l) {
    size_t chunk = nb_max(CHUNK_COLUMNS / l->block, 1);
    return l->group_blocks < chunk ? chunk / l->group_blocks * l->group_blocks : chunk;
}

/* Two tasks a worker where that is not too large: what a task fetches ahead past its end is for nothing, and at the start of the next
 * nothing is under way; but the worker that wakes last should not keep the others waiting. */
static size_t panels_per_task(const nb__qlayout *l, unsigned workers) {
    size_t bytes = nb_max(nb_min(l->panels * l->panel_bytes / (2 * (size_t)workers), MAX_TASK_BYTES), MIN_TASK_BYTES);
    return nb_max(nb_ceil_div(bytes / l->panel_bytes, NB_QNV), 1) * NB_QNV;
}

nb_status nb__qgemm_run(nb_pool *pool, const nb__qisa *isa, const struct nb_qgemm_args *a, bool i8,
                        nb_err *err) {
    run r = {.a = a, .isa = isa, .i8 = i8};
    work_sizes s;
    if (a->m == 0 || a->w.n == 0)
        return NB_OK;
    if (!nb__qlayout_make(&a->w, &r.l) ||
        !work_size(&a->w, &r.l, a->m, i8, nb_pool_threads(pool), &s))
        return nb_fail(err, NB_E_USAGE,
                       "a packed weight of %zu x %zu, %u bits, group %zu is not possible", a->w.n,
                       a->w.k, a->w.bits, a->w.group);
    if (a->workspace.bytes < s.all)
        return nb_fail(err, NB_E_USAGE, "the workspace has %zu bytes, %zu are needed",
                       a->workspace.bytes, s.all);
    unsigned char *work = nb_host(a->workspace), *data = nb_host(a->w.data);
    r.map = a->w.act_order ? (const uint32_t *)(const void *)data : NULL;
    r.panels = data + r.l.map_bytes;
    r.panels_per_task = panels_per_task(&r.l, nb_pool_threads(pool));
    r.chunk_blocks = chunk_blocks(&r.l);
    r.x = work;
    r.step = (float *)(void *)(work + s.x);
    r.minus_sum = (int32_t *)(void *)(work + s.x + s.params);
    r.group_sum = (float *)(void *)(work + s.x + 2 * s.params);
    r.per_worker = (char *)work + s.x + 2 * s.params + s.sums;
    r.worker_bytes = s.worker;
    r.c_bytes = s.c;
    for (r.row0 = 0; r.row0 < a->m; r.row0 += r.rows) {
        r.rows = nb_min(a->m - r.row0, PASS_ROWS);
        r.mr = rows_per_panel(r.rows);
        r.row_panels = nb_ceil_div(r.rows, r.mr);
        r.direct = !i8 && r.rows == 1 && a->x_type == NB_F32 && !r.map && r.l.kp == a->w.k;
        run_pass(pool, &r);
    }
    return NB_OK;
}

nb_status nb__cpu_qgemm_plain(nb_pool *pool, const struct nb_qgemm_args *args, nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_plain, args, false, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_qgemm_avx2(nb_pool *pool, const struct nb_qgemm_args *args, nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_avx2, args, false, err);
}

nb_status nb__cpu_qgemm_avx512(nb_pool *pool, const struct nb_qgemm_args *args, nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_avx512, args, false, err);
}
#elif defined(__aarch64__)
nb_status nb__cpu_qgemm_neon(nb_pool *pool, const struct nb_qgemm_args *args, nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_neon, args, false, err);
}
#endif
