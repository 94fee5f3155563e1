/* Packed products on OpenCL: the layout is that of the CPU (kernels/cpu/qlayout.h), copied to the device; the kernels are in
 * kernels/opencl/qgemm.cl. Activations are prepared in the caller's workspace, pass by pass of rows. */
#include <stdio.h>

#include "host/backend/opencl_ops.h"
#include "host/base/size.h"
#include "kernels/cpu/qlayout.h"

/* Rows in one pass (this bounds the workspace), rows of X in the largest row panel, work-items that prepare a row together,
 * rows and columns of qgemm_tile. */
enum { PASS_ROWS = 512, MAX_MR = 8, PREPARE_ITEMS = 64, BLOCK_ITEMS = 32, TILE = 64, ALIGN = 64 };

typedef struct run {
    nb_stream *stream;
    const nb_kernel *row;
    const struct nb_qgemm_args *a;
    nb__cl_tuning tuning;
    nb__qlayout l;
    size_t row0, rows, mr, row_panels; /* of this pass */
    bool i8, wide, half; /* half: X is f16 and stays so */
    nb_mem x, steps, sums; /* as prepared */
    char defines[128];
} run;

typedef struct work_sizes {
    size_t x, params, all; /* bytes: activations; steps (and as many for sums) */
} work_sizes;

/* Panels of 4 rows are for the products that are waited for: each kernel takes drivers a good part of a second to build. */
static size_t rows_per_panel(size_t m, bool i8) {
    return m <= 1 ? 1 : m <= 4 && !i8 ? 4 : MAX_MR;
}

/* The kernel of an operation for row panels of mr rows. */
static const char *entry_of(const char *const names[3], size_t mr) {
    return names[mr == 1 ? 0 : mr == 4 ? 1 : 2];
}

const unsigned nb__cl_qgemm_rows[] = {1, 4, MAX_MR, 0};
static const char *const prepare_names[] = {"qgemm_prepare_1", "qgemm_prepare_4", "qgemm_prepare_8"};
static const char *const wide_names[] = {"qgemm_wide_1", "qgemm_wide_4", "qgemm_wide_8"};
static const char *const lanes_names[] = {"qgemm_lanes_1", "qgemm_lanes_4", "qgemm_lanes_8"};

static bool work_size(const nb__qlayout *l, size_t m, bool i8, work_sizes *out) {
    size_t rows = nb_min(m, PASS_ROWS), mr = rows_per_panel(rows, i8), x, params, both, all;
    rows = nb_ceil_div(rows, mr) * mr;
    if (!nb_mul3(rows, l->kp, sizeof(float), &x) || !nb_align(x, ALIGN, &out->x) ||
        !nb_mul3(rows, l->blocks, i8 ? sizeof(float) : 0, &params) || !nb_align(params, ALIGN, &out->params) ||
        !nb_mul(out->params, 2, &both) || !nb_add(out->x, both, &all))
        return false;
    out->all = all;
    return true;
}

bool nb__cl_qgemm_workspace(const nb_qweight *w, size_t m, bool fast, unsigned units, size_t *bytes) {
    nb__qlayout l;
    work_sizes s;
    (void)units;
    if (!nb__qlayout_make(w, &l) || !work_size(&l, m, fast, &s))
        return false;
    *bytes = s.all;
    return true;
}

/* The kernels' numbers of types and forms. */
static unsigned type_number(nb_dtype type) {
    return type == NB_F32 ? 0 : type == NB_F16 ? 1 : 2;
}

static unsigned form_number(const nb_qweight *w) {
    return w->offsets ? 2 : w->symmetric ? 0 : 1;
}

/* X itself serves where it is one row of what the kernel reads, in the packed order. */
static bool is_direct(const run *r) {
    const struct nb_qgemm_args *a = r->a;
    return !r->i8 && r->rows == 1 && (a->x_type == NB_F32 || r->half) && !a->w.act_order && r->l.kp == a->w.k;
}

#define WEIGHT_SHAPE(r)                                                                                                \
    NB_CL_U32((r)->l.group_blocks *(r)->l.block), NB_CL_U32((r)->l.block), NB_CL_U32((r)->l.kp)

static const char *prepare_defines(const run *r) {
    return r->i8 ? "-DBITS=0 -DI8=1" : r->half ? "-DBITS=0 -DI8=0 -DX_HALF=1" : "-DBITS=0 -DI8=0";
}

static nb_status prepare(run *r, nb_err *err) {
    const struct nb_qgemm_args *a = r->a;
    const nb_qweight *w = &a->w;
    if (is_direct(r)) {
        r->x = nb_mem_at(a->x, r->row0 * a->ldx * (r->half ? 2 : sizeof(float)));
        return NB_OK;
    }
    nb__cl_grid grid = r->i8 ? NB_CL_GRID2(nb_ceil_div(r->l.blocks, BLOCK_ITEMS), r->row_panels * r->mr, BLOCK_ITEMS, 1)
                             : NB_CL_GRID2(nb_ceil_div(r->l.kp, PREPARE_ITEMS), r->row_panels, PREPARE_ITEMS, 1);
    const nb__cl_arg args[] = {NB_CL_MEM(a->x), NB_CL_U64(a->ldx), NB_CL_U32(type_number(a->x_type)), NB_CL_MEM(w->data),
                               NB_CL_U32(w->act_order), NB_CL_U32(w->k), NB_CL_U32(w->group), WEIGHT_SHAPE(r),
                               NB_CL_U32(r->row0), NB_CL_U32(r->rows), NB_CL_MEM(r->x), NB_CL_MEM(r->steps),
                               NB_CL_MEM(r->sums)};
    const nb__cl_call call = {entry_of(prepare_names, r->mr), prepare_defines(r), grid};
    return nb__cl_run(r->stream, r->row, &call, args, sizeof args / sizeof *args, err);
}

/* As in kernels/opencl/qgemm.cl. */
typedef struct product {
    cl_ulong w_at, x_at, steps_at, sums_at, y_at, bias_at, panel_bytes, scale_at, zero_at, ldy;
    cl_uint n, groups, span, block, kp, scale_type, form, y_type, accumulate, row0, rows, unused;
} product;
_Static_assert(sizeof(product) == 10 * 8 + 12 * 4, "a product has no holes");

static product product_of(const run *r) {
    const struct nb_qgemm_args *a = r->a;
    const nb__qlayout *l = &r->l;
    return (product){
        .w_at = a->w.data.offset + l->map_bytes,
        .x_at = r->x.offset,
        .steps_at = r->steps.offset,
        .sums_at = r->sums.offset,
        .y_at = a->y.offset,
        .bias_at = a->bias.offset,
        .panel_bytes = l->panel_bytes,
        .scale_at = l->scale_at,
        .zero_at = l->zero_at,
        .ldy = a->ldy,
        .n = (cl_uint)a->w.n,
        .groups = (cl_uint)l->groups,
        .span = (cl_uint)(l->group_blocks * l->block),
        .block = (cl_uint)l->block,
        .kp = (cl_uint)l->kp,
        .scale_type = type_number(a->w.scale_type),
        .form = form_number(&a->w),
        .y_type = type_number(a->y_type),
        .accumulate = a->accumulate,
        .row0 = (cl_uint)r->row0,
        .rows = (cl_uint)r->rows,
    };
}

static nb_status multiply(const run *r, nb_err *err) {
    const struct nb_qgemm_args *a = r->a;
    const nb__qlayout *l = &r->l;
    const nb__cl_tuning *t = &r->tuning;
    bool tile = !r->wide && !r->i8 && r->mr == MAX_MR && t->tile_from && r->rows >= t->tile_from;
    nb__cl_call call = {tile ? "qgemm_tile" : entry_of(r->wide ? wide_names : lanes_names, r->mr), r->defines, {{0}, {0}}};
    if (tile)
        call.grid = NB_CL_GRID2(nb_ceil_div(a->w.n, TILE), nb_ceil_div(r->rows, TILE), 16, 16);
    else if (r->wide)
        call.grid = NB_CL_GRID2(nb_ceil_div(nb_ceil_div(l->panels, r->mr == MAX_MR ? 2 : 1), t->wide_items), r->row_panels,
                                t->wide_items, 1);
    else
        call.grid = NB_CL_GRID2(l->panels, r->row_panels, NB_PANEL, t->slices);
    const product p = product_of(r);
    const nb__cl_arg args[] = {NB_CL_BASE(a->w.data), NB_CL_BASE(r->x), NB_CL_BASE(r->steps), NB_CL_BASE(r->sums),
                               NB_CL_BASE(a->y), NB_CL_BASE(a->bias), NB_CL_STRUCT(&p)};
    return nb__cl_run(r->stream, r->row, &call, args, sizeof args / sizeof *args, err);
}

static nb_status run_pass(run *r, nb_err *err) {
    r->mr = rows_per_panel(r->rows, r->i8);
    r->row_panels = nb_ceil_div(r->rows, r->mr);
    snprintf(r->defines, sizeof r->defines, "-DBITS=%u -DI8=%d -DSLICES=%u%s", r->a->w.bits, r->i8, r->tuning.slices,
             r->half ? " -DX_HALF=1" : "");
    NB_TRY(prepare(r, err));
    return multiply(r, err);
}

static nb_status qgemm(nb_stream *stream, const nb_kernel *row, const struct nb_qgemm_args *a, bool i8, nb_err *err) {
    run r = {.stream = stream, .row = row, .a = a, .i8 = i8, .wide = row->needs & NB_CL_CPU};
    work_sizes s;
    r.half = row->needs & NB_CL_FP16 && a->x_type == NB_F16 && !i8;
    r.tuning = nb__cl_tuning_now(nb__cl_device_of(stream));
    if (a->m == 0 || a->w.n == 0)
        return NB_OK;
    if (!nb__qlayout_make(&a->w, &r.l) || !work_size(&r.l, a->m, i8, &s))
        return nb_fail(err, NB_E_USAGE, "a packed weight of %zu x %zu, %u bits, group %zu is not possible", a->w.n, a->w.k,
                       a->w.bits, a->w.group);
    if (r.l.kp > UINT32_MAX || a->w.n > UINT32_MAX || a->m > UINT32_MAX)
        return nb_fail(err, NB_E_UNSUPPORTED, "a product of %zu x %zu x %zu; OpenCL kernels count to 2^32", a->m, a->w.n, a->w.k);
    if (a->workspace.bytes < s.all)
        return nb_fail(err, NB_E_USAGE, "the workspace has %zu bytes, %zu are needed", a->workspace.bytes, s.all);
    for (r.row0 = 0; r.row0 < a->m; r.row0 += r.rows) {
        r.rows = nb_min(a->m - r.row0, PASS_ROWS);
        r.x = a->workspace;
        if (i8) {
            r.steps = nb_mem_at(a->workspace, s.x);
            r.sums = nb_mem_at(a->workspace, s.x + s.params);
        }
        NB_TRY(run_pass(&r, err));
    }
    return NB_OK;
}

nb_status nb__cl_qgemm(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    return qgemm(stream, row, args, false, err);
}

nb_status nb__cl_qgemm_i8(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    return qgemm(stream, row, &((const struct nb_qgemm_i8_args *)args)->g, true, err);
}

const nb_packer nb__packer_opencl = {
    .panel = NB_PANEL,
    .size = nb__panels_size,
    .begin = nb__panels_begin,
    .pack = nb__panels_pack,
    .unpack = nb__panels_unpack,
    .columns = nb__panels_columns,
    .workspace = nb__cl_qgemm_workspace,
};
