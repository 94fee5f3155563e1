/* Packed products against the oracle in f64, inside the bound that the row's error model gives. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/cli/verify.h"
#include "kernels/cpu/qlayout.h"
#include "kernels/cpu/ref/qgemm_ref.h"

/* What the numbers are like. */
typedef enum filling {
    FILL_RANDOM,
    FILL_ZEROS,
    FILL_DENORMAL,
    FILL_LARGEST,
    FILL_HUGE_SCALE,
    FILL_CANCEL,
    FILL_COUNT
} filling;

static const char *const filling_names[] = {
    "random", "zeros", "denormals", "largest codes", "one huge scale", "codes at the zero point"};

/* Zero points: none stored, integers, integers with act-order, offsets. */
typedef enum form { FORM_SYMMETRIC, FORM_ZEROS, FORM_ACT_ORDER, FORM_OFFSETS, FORM_COUNT } form;

typedef struct weight_case {
    size_t n, k, group;
    unsigned bits;
    form form;
    filling fill;
} weight_case;

typedef struct packed_case {
    weight_case c;
    nb_qtensor q;
    float *offsets; /* as packed; or the zeros */
    nb_packed *packed;
    nb_guarded data; /* the packed bytes, guarded (and changed, where a fault is put in) */
    nb__qlayout l;
    uint32_t *map;
    nb_ref_weight ref;
} packed_case;

static void case_free(nb_verify *v, packed_case *p) {
    nb_guarded_free(v->stream, &p->data);
    nb_packed_free(p->packed);
    nb_qtensor_free(&p->q);
    nb_free(p->offsets);
    nb_free(p->map);
}

/* ---- weights ---- */

static void fill_codes(packed_case *p, nb_random *r) {
    nb_qtensor *q = &p->q;
    for (size_t i = 0; i < q->n * q->k; i++) {
        uint8_t top = (uint8_t)((1u << q->bits) - 1u);
        q->codes[i] = p->c.fill == FILL_LARGEST ? top : (uint8_t)(nb_random_u32(r) & top);
    }
    for (size_t i = 0; i < q->n && p->c.fill == FILL_CANCEL && !q->float_zeros; i++)
        for (size_t j = 0; j < q->k; j++)
            if (nb_random_below(r, 8)) {
                float zero = q->zeros[i * q->groups + (q->g_idx ? q->g_idx[j] : j / q->group_size)];
                q->codes[i * q->k + j] = (uint8_t)nb_min((size_t)zero, (1u << q->bits) - 1u);
            }
}

static void fill_params(packed_case *p, nb_random *r) {
    nb_qtensor *q = &p->q;
    for (size_t i = 0; i < q->n * q->groups; i++) {
        float s = 0.001f + nb_random_f32(r);
        if (p->c.fill == FILL_ZEROS && i % 3 == 0)
            s = 0.0f;
        if (p->c.fill == FILL_DENORMAL)
            s = 0x1p-24f * (float)(1 + nb_random_below(r, 30));
        if (p->c.fill == FILL_HUGE_SCALE && i == q->groups / 2)
            s = 65504.0f;
        q->scales[i] = nb_f16_to_f32(nb_f32_to_f16(nb_random_below(r, 5) ? s : -s));
        q->zeros[i] = p->c.form == FORM_SYMMETRIC ? (float)(1u << (q->bits - 1))
                      : q->float_zeros
                          ? nb_random_f32(r) * (float)(1u << q->bits)
                          : (float)nb_random_below(r, (1u << q->bits) + (q->bits == 8 ? 0 : 1));
    }
    /* Scale types in turn; f16 values are exact in f32, those of 8 bits of fraction in bf16. */
    q->scale_type = q->n % 2 ? NB_F16 : q->k % 2 ? NB_F32 : NB_BF16;
    for (size_t i = 0; i < q->n * q->groups && q->scale_type == NB_BF16; i++)
        q->scales[i] = nb_bf16_to_f32(nb_f32_to_bf16(q->scales[i]));
}

static void shuffle_groups(nb_qtensor *q, nb_random *r) {
    for (size_t j = 0; j < q->k; j++)
        q->g_idx[j] = (uint32_t)(j / q->group_size);
    for (size_t j = q->k; j > 1; j--) {
        size_t o = nb_random_below(r, (uint32_t)j);
        uint32_t t = q->g_idx[j - 1];
        q->g_idx[j - 1] = q->g_idx[o];
        q->g_idx[o] = t;
    }
}

/* ---- faults ---- */

static void swap_codes(unsigned char *p, size_t bytes, unsigned bits) {
    for (size_t i = 0; i < bytes; i++)
        p[i] = (unsigned char)(bits == 8 ? p[i ^ 1] : p[i] >> bits | p[i] << (8 - bits));
}

static void break_panel(const packed_case *p, nb_fault fault, unsigned char *panel) {
    const nb__qlayout *l = &p->l;
    size_t row = NB_PANEL * l->scale_bytes;
    switch (fault) {
    case NB_FAULT_CODE_ORDER:
        swap_codes(panel, l->blocks * l->block_bytes, p->c.bits == 3 ? 2 : p->c.bits);
        break;
    case NB_FAULT_SCALE:
        if (l->groups > 1)
            memmove(panel + l->scale_at, panel + l->scale_at + row, (l->groups - 1) * row);
        break;
    case NB_FAULT_ZERO:
        for (size_t i = 0;
             !p->packed->w.offsets && !p->packed->w.symmetric && i < l->groups * NB_PANEL; i++)
            panel[l->zero_at + i]++;
        break;
    case NB_FAULT_LAST_GROUP:
        memset(panel + l->scale_at + (l->groups - 1) * row, 0, row);
        if (p->packed->w.offsets)
            memset(panel + l->zero_at + (l->groups - 1) * NB_PANEL * 4, 0, NB_PANEL * 4);
        break;
    default:
        break;
    }
}

/* The CPU and OpenCL have the layout of kernels/cpu/qlayout.h. */
static bool layout_is_known(const nb_verify *v) {
    return v->stream->device->backend->id != NB_CUDA;
}

/* The same faults where the layout is not known here: a tensor that a right packer and kernel make the same of. */
static void break_tensor(nb_qtensor *q, nb_fault fault) {
    for (size_t i = 0; fault == NB_FAULT_CODE_ORDER && i + 1 < q->n * q->k; i += 2) {
        uint8_t t = q->codes[i];
        q->codes[i] = q->codes[i + 1];
        q->codes[i + 1] = t;
    }
    for (size_t i = 0; i < q->n; i++) {
        float *scales = q->scales + i * q->groups, *zeros = q->zeros + i * q->groups;
        if (fault == NB_FAULT_SCALE)
            memmove(scales, scales + 1, (q->groups - 1) * sizeof *scales);
        for (size_t g = 0; fault == NB_FAULT_ZERO && !q->symmetric && !q->float_zeros && g < q->groups; g++)
            zeros[g] += zeros[g] < 255.0f ? 1.0f : 0.0f;
        if (fault == NB_FAULT_LAST_GROUP)
            scales[q->groups - 1] = 0.0f;
    }
}

/* Packs the tensor, broken where the layout is not known here and a fault is asked for; the tensor itself stays as it is. */
static nb_status pack(nb_verify *v, packed_case *p, nb_err *err) {
    nb_qtensor broken;
    if (!v->fault || layout_is_known(v))
        return nb_packed_new(v->stream, &p->q, &p->packed, err);
    NB_TRY(nb_qtensor_new(p->q.n, p->q.k, p->q.bits, p->q.group_size, p->q.symmetric, p->q.g_idx != NULL, &broken, err));
    memcpy(broken.codes, p->q.codes, p->q.n * p->q.k);
    memcpy(broken.scales, p->q.scales, p->q.n * p->q.groups * sizeof *broken.scales);
    memcpy(broken.zeros, p->q.zeros, p->q.n * p->q.groups * sizeof *broken.zeros);
    if (broken.g_idx)
        memcpy(broken.g_idx, p->q.g_idx, p->q.k * sizeof *broken.g_idx);
    broken.scale_type = p->q.scale_type;
    broken.float_zeros = p->q.float_zeros;
    break_tensor(&broken, v->fault);
    nb_status status = nb_packed_new(v->stream, &broken, &p->packed, err);
    nb_qtensor_free(&broken);
    return status;
}

/* Breaks the packed bytes where they are, on the device. */
static nb_status break_weight(nb_verify *v, const packed_case *p, nb_err *err) {
    unsigned char *bytes;
    NB_TRY(nb_calloc(p->data.bytes, 1, "packed bytes", &bytes, err));
    nb_status status = nb_download(v->stream, bytes, p->data.mem, p->data.bytes, err);
    if (status == NB_OK)
        status = nb_sync(v->stream, err);
    for (size_t i = 0; i < p->l.panels && status == NB_OK; i++)
        break_panel(p, v->fault, bytes + p->l.map_bytes + i * p->l.panel_bytes);
    if (status == NB_OK)
        status = nb_upload(v->stream, p->data.mem, bytes, p->data.bytes, err);
    if (status == NB_OK)
        status = nb_sync(v->stream, err);
    nb_free(bytes);
    return status;
}

static nb_status case_new(nb_verify *v, const weight_case *c, packed_case *p, nb_err *err) {
    nb_random r = nb_random_seed(c->n * 7919 + c->k * 31 + c->group + c->bits);
    size_t group = c->group == 0 || c->group > c->k ? c->k : c->group;
    *p = (packed_case){.c = *c};
    NB_TRY(nb_qtensor_new(c->n, c->k, c->bits, group, c->form == FORM_SYMMETRIC,
                          c->form == FORM_ACT_ORDER, &p->q, err));
    nb_status status;
    p->q.float_zeros = c->form == FORM_OFFSETS;
    if (p->q.g_idx)
        shuffle_groups(&p->q, &r);
    fill_params(p, &r);
    fill_codes(p, &r);
    NB_GO(nb_calloc(c->n * p->q.groups, sizeof(float), "offsets", &p->offsets, err));
    for (size_t i = 0; i < c->n * p->q.groups; i++)
        p->offsets[i] = p->q.float_zeros ? -p->q.zeros[i] * p->q.scales[i] : p->q.zeros[i];
    p->ref = (nb_ref_weight){c->n,        c->k,       group,      p->q.groups,     p->q.codes,
                             p->q.scales, p->offsets, p->q.g_idx, p->q.float_zeros};
    NB_GO(pack(v, p, err));
    if (layout_is_known(v)) {
        nb__qlayout_make(&p->packed->w, &p->l);
        NB_GO(nb_calloc(p->l.kp, sizeof *p->map, "a map", &p->map, err));
        nb__qlayout_map(&p->packed->w, &p->l, p->packed->w.act_order ? p->q.g_idx : NULL, p->map);
    }
    NB_GO(nb_guarded_new(v->stream, p->packed->w.data.bytes, 64, &p->data, err));
    NB_GO(nb_copy(v->stream, p->data.mem, p->packed->w.data, p->data.bytes, err));
    if (v->fault && p->l.panels)
        NB_GO(break_weight(v, p, err));
out:
    if (status != NB_OK)
        case_free(v, p);
    return status;
}

/* ---- one product ---- */

static void fill_x(filling fill, size_t count, float *x, nb_random *r) {
    for (size_t i = 0; i < count; i++) {
        float f = nb_random_f32(r) - 0.5f;
        if (fill == FILL_ZEROS && i % 4)
            f = 0.0f;
        if (fill == FILL_DENORMAL)
            f = (float)((int)nb_random_below(r, 2001) - 1000) * 0x1p-149f;
        if (fill == FILL_LARGEST)
            f = i / 37 % 2 ? 1e4f : -1e4f; /* runs of one sign, so that nothing cancels early */
        if (fill == FILL_HUGE_SCALE && i % 97 == 0)
            f *= 1e6f;
        x[i] = f;
    }
}

/* How far each activation may lie from what is multiplied, as a step (twice the error): blocks of
 * 8-bit rows. What blocks another device has is not known here: there the largest of the row counts. */
static void steps(const packed_case *p, const float *x, double *step) {
    double most = 0;
    for (size_t j = 0; j < p->c.k; j++)
        most = fmax(most, fabs((double)x[j]));
    for (size_t j = 0; j < p->c.k; j++)
        step[j] = most < 0x1p-100 ? 2 * most : most / 127 * (1 + 0x1p-15);
    for (size_t b = 0; b < p->l.blocks; b++) {
        double max = 0;
        for (size_t i = b * p->l.block; i < (b + 1) * p->l.block; i++)
            if (p->map[i] != NB_NO_COLUMN)
                max = fmax(max, fabs((double)x[p->map[i]]));
        for (size_t i = b * p->l.block; i < (b + 1) * p->l.block; i++)
            if (p->map[i] != NB_NO_COLUMN)
                step[p->map[i]] = max < 0x1p-100 ? 2 * max : max / 127 * (1 + 0x1p-15);
    }
}

static double unit_of(nb_rounding r) {
    return r == NB_F16_ROUND ? 0x1p-11 : r == NB_BF16_ROUND ? 0x1p-8 : 0.0;
}

typedef struct product {
    size_t m, ldx, ldy, x_count, y_count;
    nb_dtype x_type, y_type;
    bool accumulate;
    nb_guarded x, y, bias, work;
    float *hx, *hbias;
    float *before;              /* what Y held, where accumulated */
    unsigned char *bytes, *got; /* X, and Y before and after, in their types */
    double *step;
    bool intact;
} product;

static size_t size_of(nb_dtype type) {
    return type == NB_F32 ? 4 : 2;
}

/* Rounds numbers to a type, in place and as its bytes. */
static void round_to(nb_dtype type, size_t count, float *x, unsigned char *bytes) {
    nb_from_f32(type, x, count, bytes);
    nb__to_f32_plain(type, bytes, count, x);
}

/* Reads Y back, and looks around every buffer. */
static nb_status read_back(nb_verify *v, const packed_case *p, product *t, nb_err *err) {
    const nb_guarded *all[] = {&t->y, &t->x, &t->bias, &t->work, &p->data};
    t->intact = true;
    for (size_t i = 0; i < NB_COUNT_OF(all); i++) {
        bool one;
        NB_TRY(nb_guarded_read(v->stream, all[i], i == 0 ? t->got : NULL, &one, err));
        t->intact = t->intact && one;
    }
    return NB_OK;
}

/* The bound of one output: (gamma_K + u_w) * sum|x||w|, the steps, what underflow may lose, and its rounding to Y's type.
 * `bias`: the magnitude of what is added. */
static double bound_of(const nb_kernel *row, const packed_case *p, nb_ref_sum s, double bias,
                       double largest, nb_dtype y_type) {
    double k = (double)p->c.k + 10, gamma = k * 0x1p-24 / (1 - k * 0x1p-24),
           act = row->err.act == NB_INT8_ROUND ? s.weights / 2 : 0;
    double tiny = k * 0x1p-149 * (1 + largest);
    double bound = (gamma + unit_of(row->err.weight)) * (s.magnitude + act + bias) + act + tiny;
    double out = y_type == NB_F16 ? 0x1p-11 : y_type == NB_BF16 ? 0x1p-8 : 0;
    return bound + out * (fabs(s.y) + bias + bound) + (y_type == NB_F16 ? 0x1p-25 : 0);
}

static void check_outputs(nb_verify *v, const nb_kernel *row, const packed_case *p,
                          const product *t) {
    double largest = 0;
    for (size_t i = 0; i < p->c.n * p->q.groups; i++)
        largest = fmax(largest, fabs((double)p->q.scales[i]));
    for (size_t i = 0; i < t->m; i++) {
        const float *x = t->hx + i * t->ldx;
        if (row->err.act == NB_INT8_ROUND)
            steps(p, x, t->step);
        for (size_t j = 0; j < p->c.n; j++) {
            nb_ref_sum s =
                nb_ref_dot(&p->ref, j, x, row->err.act == NB_INT8_ROUND ? t->step : NULL);
            size_t at = i * t->ldy + j;
            double bias = (double)t->hbias[j], before = t->accumulate ? (double)t->before[at] : 0;
            double want = s.y + bias + before;
            float got;
            nb__to_f32_plain(t->y_type, t->got + at * size_of(t->y_type), 1, &got);
            double bound = bound_of(row, p, s, fabs(bias) + fabs(before), largest, t->y_type);
            if (nb_verify_count(v, fabs((double)got - want), bound))
                continue;
            nb_verify_wrong(v,
                            "m %zu n %zu k %zu, %u bits, group %zu, form %d, %s, %s to %s: y[%zu][%zu] "
                            "is %.9g, not %.9g within %.3g",
                            t->m, p->c.n, p->c.k, p->c.bits, p->ref.group, p->c.form,
                            filling_names[p->c.fill], nb_dtype_get(t->x_type)->name,
                            nb_dtype_get(t->y_type)->name, i, j, (double)got, want, bound);
            return;
        }
        size_t row_bytes = t->ldy * size_of(t->y_type);
        for (size_t b = p->c.n * size_of(t->y_type); b < row_bytes && i + 1 < t->m; b++)
            if (t->got[i * row_bytes + b] != NB_GUARD) {
                nb_verify_wrong(v, "m %zu n %zu k %zu: written past row %zu of Y", t->m, p->c.n,
                                p->c.k, i);
                return;
            }
    }
    if (!t->intact)
        nb_verify_wrong(v, "m %zu n %zu k %zu, %u bits: written beyond a buffer", t->m, p->c.n,
                        p->c.k, p->c.bits);
}

/* Types of X and Y by turns, where nothing overflows 16 bits; every third product is added to what Y holds. */
static void choose_types(product *t, const packed_case *p) {
    static const nb_dtype types[] = {NB_F32, NB_F16, NB_BF16};
    bool small = p->c.fill == FILL_RANDOM || p->c.fill == FILL_ZEROS || p->c.fill == FILL_CANCEL;
    size_t turn = t->m + p->c.n + p->c.k / 3;
    t->x_type = small ? types[turn % 3] : NB_F32;
    t->y_type = small ? types[turn / 3 % 3] : NB_F32;
    t->accumulate = turn % 5 == 2;
}

static nb_status make_product(nb_verify *v, const packed_case *p, size_t work, product *t,
                              nb_err *err) {
    nb_random r = nb_random_seed(t->m + p->c.k);
    size_t x_bytes = t->x_count * size_of(t->x_type), y_bytes = t->y_count * size_of(t->y_type);
    NB_TRY(nb_guarded_new(v->stream, x_bytes, p->c.n % 3 ? size_of(t->x_type) : 16, &t->x, err));
    NB_TRY(nb_guarded_new(v->stream, y_bytes, size_of(t->y_type), &t->y, err));
    NB_TRY(nb_guarded_new(v->stream, p->c.n * 4, 4, &t->bias, err));
    NB_TRY(nb_guarded_new(v->stream, work, 64, &t->work, err));
    NB_TRY(nb_calloc(t->x_count, 4, "x", &t->hx, err));
    NB_TRY(nb_calloc(nb_max(t->x_count, t->y_count), 4, "x", &t->bytes, err));
    NB_TRY(nb_calloc(t->y_count, 4, "y", &t->got, err));
    NB_TRY(nb_calloc(t->y_count, 4, "y", &t->before, err));
    NB_TRY(nb_calloc(p->c.n, 4, "bias", &t->hbias, err));
    NB_TRY(nb_calloc(p->c.k, sizeof *t->step, "steps", &t->step, err));
    fill_x(p->c.fill, t->x_count, t->hx, &r);
    for (size_t i = 0; i < t->x_count; i++)
        if (i % t->ldx >= p->c.k)
            t->hx[i] = NAN; /* between rows */
    for (size_t j = 0; j < p->c.n && t->m % 2; j++)
        t->hbias[j] = p->c.fill == FILL_DENORMAL ? 0.0f : nb_random_f32(&r);
    if (t->accumulate) {
        fill_x(FILL_RANDOM, t->y_count, t->before, &r);
        round_to(t->y_type, t->y_count, t->before, t->bytes);
        for (size_t i = 0; i < t->m; i++) /* between rows stays what guards */
            NB_TRY(nb_upload(v->stream, nb_mem_at(t->y.mem, i * t->ldy * size_of(t->y_type)),
                             t->bytes + i * t->ldy * size_of(t->y_type),
                             p->c.n * size_of(t->y_type), err));
        NB_TRY(nb_sync(v->stream, err));
    }
    round_to(t->x_type, t->x_count, t->hx, t->bytes);
    NB_TRY(nb_upload(v->stream, t->x.mem, t->bytes, x_bytes, err));
    return nb_upload(v->stream, t->bias.mem, t->hbias, p->c.n * 4, err);
}

static nb_status run_product(nb_verify *v, const nb_kernel *row, const packed_case *p, size_t m,
                             nb_err *err) {
    /* Every third weight has rows that vectors can read. */
    size_t ldx = p->c.n % 3 ? p->c.k + 3 : nb_ceil_div(p->c.k, 8) * 8;
    product t = {.m = m, .ldx = ldx, .ldy = p->c.n + 5};
    size_t work;
    nb_gemm_mode mode = row->op == NB_OP_qgemm ? NB_GEMM_EXACT : NB_GEMM_FAST;
    nb_status status;
    t.x_count = m ? (m - 1) * t.ldx + p->c.k : 0;
    t.y_count = m ? (m - 1) * t.ldy + p->c.n : 0;
    choose_types(&t, p);
    NB_GO(nb_qgemm_workspace(v->stream->device, &p->packed->w, m, mode, &work, err));
    NB_GO(make_product(v, p, work, &t, err));
    struct nb_qgemm_i8_args args = {{.m = m,
                                     .w = p->packed->w,
                                     .x = t.x.mem,
                                     .y = t.y.mem,
                                     .workspace = t.work.mem,
                                     .ldx = t.ldx,
                                     .ldy = t.ldy,
                                     .x_type = t.x_type,
                                     .y_type = t.y_type,
                                     .accumulate = t.accumulate}};
    args.g.w.data = p->data.mem;
    if (m % 2)
        args.g.bias = t.bias.mem;
    NB_GO(nb_launch_row(v->stream, row, mode == NB_GEMM_FAST ? (const void *)&args : &args.g, err));
    NB_GO(read_back(v, p, &t, err));
    v->cases++;
    check_outputs(v, row, p, &t);
out:
    nb_guarded_free(v->stream, &t.x);
    nb_guarded_free(v->stream, &t.y);
    nb_guarded_free(v->stream, &t.bias);
    nb_guarded_free(v->stream, &t.work);
    nb_free(t.hx);
    nb_free(t.bytes);
    nb_free(t.got);
    nb_free(t.before);
    nb_free(t.hbias);
    nb_free(t.step);
    return status;
}

/* ---- the walk ---- */

typedef struct shape {
    size_t n, k;
    int full;
} shape;
typedef struct row_count {
    size_t m;
    int full;
} row_count;

static const shape shapes[] = {
#define NB_QSHAPE(n, k, full) {n, k, full},
#include "kernels/shapes.def"
};
static const size_t groups[] = {
#define NB_QGROUP(g) g,
#include "kernels/shapes.def"
};
static const row_count row_counts[] = {
#define NB_QROWS(m, full) {m, full},
#include "kernels/shapes.def"
};
enum {
    N_SHAPES = sizeof shapes / sizeof *shapes,
    N_GROUPS = sizeof groups / sizeof *groups,
    N_ROWS = sizeof row_counts / sizeof *row_counts
};

/* All row counts with --full; else two of them, another pair for each weight. */
static nb_status walk_rows(nb_verify *v, const nb_kernel *row, const packed_case *p, size_t turn,
                           nb_err *err) {
    size_t plain = 0, at = 0;
    for (size_t i = 0; i < N_ROWS; i++)
        plain += !row_counts[i].full;
    for (size_t i = 0; i < N_ROWS; i++) {
        if (row_counts[i].full && (!v->full || row_counts[i].m * p->c.n * p->c.k > (size_t)20e6))
            continue;
        bool now = v->full || at == turn % plain || at == (turn / plain + turn + 3) % plain;
        at += !row_counts[i].full;
        if (now)
            NB_TRY(run_product(v, row, p, row_counts[i].m, err));
    }
    return NB_OK;
}

static nb_status walk_weight(nb_verify *v, const nb_kernel *row, const weight_case *c, size_t turn,
                             nb_err *err) {
    packed_case p;
    NB_TRY(case_new(v, c, &p, err));
    nb_status status = walk_rows(v, row, &p, turn, err);
    case_free(v, &p);
    return status;
}

const nb_check nb_check_qgemm = {.walk = nb_verify_packed}, nb_check_qgemm_i8 = {.walk = nb_verify_packed};

nb_status nb_verify_packed(nb_verify *v, const nb_kernel *row, nb_err *err) {
    static const unsigned widths[] = {4, 8, 3, 2};
    size_t turn = 0;
    for (size_t b = 0; b < 4; b++)
        for (size_t g = 0; g < N_GROUPS; g++)
            for (size_t f = 0; f < FORM_COUNT; f++)
                for (size_t s = 0; s < N_SHAPES; s++, turn++) {
                    weight_case c = {shapes[s].n, shapes[s].k, groups[g],
                                     widths[b],   (form)f,     FILL_RANDOM};
                    if ((shapes[s].full && !v->full) || (groups[g] > c.k && g + 1 < N_GROUPS))
                        continue;
                    for (size_t x = 0; x < FILL_COUNT; x++) {
                        c.fill = (filling)x;
                        if (!nb_verify_takes(v, turn * FILL_COUNT + x))
                            continue;
                        NB_TRY(walk_weight(v, row, &c, turn + x, err));
                    }
                    if (v->fault && v->wrong)
                        return NB_OK;
                }
    return NB_OK;
}
