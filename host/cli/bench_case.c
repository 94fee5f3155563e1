/* Operations of kernels.def on random data, for timing. */
#include <stdio.h>
#include <string.h>

#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/cli/bench.h"

enum { MAX_BUFFERS = 8 };

typedef struct bench_case {
    nb_stream *stream;
    const nb_kernel *row;
    nb_bench_shape shape;
    nb_mem buffers[MAX_BUFFERS];
    size_t count;
    size_t weight_bytes; /* of one copy in the ring */
    union {
        struct nb_qgemm_i8_args qgemm;
        struct nb_matmul_args matmul;
        struct nb_linear_args linear;
        struct nb_rtn_args rtn;
        struct nb_dequant_args dequant;
        struct nb_group_range_args range;
    } args;
} bench_case;

static void case_free(void *state) {
    bench_case *c = state;
    for (size_t i = 0; i < c->count; i++)
        nb_release(c->stream->device, &c->buffers[i]);
    nb_free(c);
}

static nb_status case_run(void *state, size_t iteration, nb_err *err) {
    bench_case *c = state;
    if (c->row->op == NB_OP_qgemm || c->row->op == NB_OP_qgemm_i8) {
        struct nb_qgemm_i8_args args = c->args.qgemm;
        args.g.w.data = nb_mem_at(args.g.w.data, iteration % c->shape.ring * c->weight_bytes);
        NB_TRY(nb_launch_row(c->stream, c->row,
                             c->row->op == NB_OP_qgemm ? (const void *)&args.g : &args, err));
    } else {
        NB_TRY(nb_launch_row(c->stream, c->row, &c->args, err));
    }
    return nb_sync(c->stream, err);
}

/* A device buffer that the case owns. */
static nb_status buffer(bench_case *c, size_t count, size_t size, nb_mem *out, nb_err *err) {
    NB_TRY(nb_alloc_array(c->stream->device, count, size, out, err));
    c->buffers[c->count++] = *out;
    return nb_fill(c->stream, *out, 0, count * size, err);
}

/* A device buffer of floats in [-1/2, 1/2). */
static nb_status floats(bench_case *c, size_t count, nb_mem *out, nb_err *err) {
    float *host;
    nb_random r = nb_random_seed(count);
    NB_TRY(buffer(c, count, sizeof *host, out, err));
    NB_TRY(nb_calloc(count, sizeof *host, "random numbers", &host, err));
    for (size_t i = 0; i < count; i++)
        host[i] = nb_random_f32(&r) - 0.5f;
    nb_status status = nb_upload(c->stream, *out, host, count * sizeof *host, err);
    nb_free(host);
    return status;
}

/* A packed symmetric weight with f16 scales; any bytes are codes, and scales of about 1/100 are put
 * among them. */
static nb_status packed_case(bench_case *c, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    nb_qtensor q;
    nb_packed *p;
    size_t work;
    struct nb_qgemm_args *a = &c->args.qgemm.g;
    nb_gemm_mode mode = c->row->op == NB_OP_qgemm ? NB_GEMM_EXACT : NB_GEMM_FAST;
    NB_TRY(nb_qtensor_new(s->n, s->k, s->bits, nb_min(s->group, s->k), true, false, &q, err));
    nb_random r = nb_random_seed(1);
    for (size_t i = 0; i < s->n * s->k; i++)
        q.codes[i] = (uint8_t)(nb_random_u32(&r) & ((1u << s->bits) - 1u));
    for (size_t i = 0; i < s->n * q.groups; i++) {
        q.scales[i] = nb_f16_to_f32(nb_f32_to_f16(0.01f * (1.0f + nb_random_f32(&r))));
        q.zeros[i] = (float)(1u << (s->bits - 1));
    }
    nb_status status = nb_packed_new(c->stream, &q, &p, err);
    nb_qtensor_free(&q);
    NB_TRY(status);
    *a = (struct nb_qgemm_args){
        .m = s->m, .w = p->w, .ldx = s->k, .ldy = s->n, .x_type = NB_F32, .y_type = NB_F32};
    c->weight_bytes = p->w.data.bytes;
    NB_GO(buffer(c, s->ring, c->weight_bytes, &a->w.data, err));
    for (size_t i = 0; i < s->ring; i++)
        NB_GO(nb_copy(c->stream, nb_mem_at(a->w.data, i * c->weight_bytes), p->w.data,
                      c->weight_bytes, err));
    NB_GO(floats(c, s->m * s->k, &a->x, err));
    NB_GO(buffer(c, s->m * s->n, sizeof(float), &a->y, err));
    NB_GO(nb_packed_workspace(p, s->m, mode, &work, err));
    NB_GO(buffer(c, work, 1, &a->workspace, err));
out:
    nb_packed_free(p);
    return status;
}

static nb_status matmul_case(bench_case *c, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    struct nb_matmul_args *a = &c->args.matmul;
    *a = (struct nb_matmul_args){.m = s->m,
                                 .n = s->n,
                                 .k = s->k,
                                 .lda = s->k,
                                 .ldb = s->k,
                                 .ldc = s->n,
                                 .trans_b = true,
                                 .alpha = 1.0f};
    NB_TRY(floats(c, s->m * s->k, &a->a, err));
    NB_TRY(floats(c, s->n * s->k, &a->b, err));
    return buffer(c, s->m * s->n, sizeof(float), &a->c, err);
}

static nb_status linear_case(bench_case *c, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    struct nb_linear_args *a = &c->args.linear;
    *a = (struct nb_linear_args){
        .m = s->m, .n = s->n, .k = s->k, .ldx = s->k, .ldy = s->n, .w_type = NB_F16};
    NB_TRY(floats(c, s->m * s->k, &a->x, err));
    NB_TRY(buffer(c, s->n * s->k, sizeof(uint16_t), &a->w, err));
    return buffer(c, s->m * s->n, sizeof(float), &a->y, err);
}

static nb_status rtn_case(bench_case *c, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    struct nb_rtn_args *a = &c->args.rtn;
    size_t groups = nb_ceil_div(s->k, s->group);
    *a =
        (struct nb_rtn_args){.n = s->n, .k = s->k, .group = s->group, .ldw = s->k, .bits = s->bits};
    NB_TRY(floats(c, s->n * s->k, &a->w, err));
    NB_TRY(floats(c, s->n * groups, &a->scales, err));
    NB_TRY(buffer(c, s->n * groups, sizeof(float), &a->zeros, err));
    return buffer(c, s->n, s->k, &a->codes, err);
}

static nb_status dequant_case(bench_case *c, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    struct nb_dequant_args *a = &c->args.dequant;
    size_t groups = nb_ceil_div(s->k, s->group);
    *a = (struct nb_dequant_args){.n = s->n, .k = s->k, .group = s->group, .ldw = s->k};
    NB_TRY(buffer(c, s->n, s->k, &a->codes, err));
    NB_TRY(floats(c, s->n * groups, &a->scales, err));
    NB_TRY(buffer(c, s->n * groups, sizeof(float), &a->zeros, err));
    return buffer(c, s->n * s->k, sizeof(float), &a->w, err);
}

static nb_status range_case(bench_case *c, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    struct nb_group_range_args *a = &c->args.range;
    size_t groups = nb_ceil_div(s->k, s->group);
    *a = (struct nb_group_range_args){.n = s->n,
                                      .k = s->k,
                                      .group = s->group,
                                      .ldw = s->k,
                                      .bits = s->bits,
                                      .scale_type = NB_F16};
    NB_TRY(floats(c, s->n * s->k, &a->w, err));
    NB_TRY(buffer(c, s->n * groups, sizeof(float), &a->scales, err));
    return buffer(c, s->n * groups, sizeof(float), &a->zeros, err);
}

nb_status nb_bench_row(nb_stream *stream, const nb_kernel *row, const nb_bench_shape *shape,
                       nb_bench_item *out, nb_err *err) {
    typedef nb_status maker(bench_case *, nb_err *);
    static maker *const makers[NB_OP_COUNT] = {
        [NB_OP_qgemm] = packed_case,      [NB_OP_qgemm_i8] = packed_case,
        [NB_OP_matmul] = matmul_case,     [NB_OP_linear] = linear_case,
        [NB_OP_rtn] = rtn_case,           [NB_OP_dequant] = dequant_case,
        [NB_OP_group_range] = range_case,
    };
    bench_case *c;
    if (!makers[row->op])
        return nb_fail(err, NB_E_UNSUPPORTED, "the operation %s has no bench case",
                       nb_op_name(row->op));
    NB_TRY(nb_calloc(1, sizeof *c, "a bench case", &c, err));
    c->stream = stream;
    c->row = row;
    c->shape = *shape;
    nb_status status = makers[row->op](c, err);
    if (status != NB_OK) {
        case_free(c);
        return status;
    }
    double weights = (double)shape->n * (double)shape->k;
    bool product = row->op == NB_OP_matmul || row->op == NB_OP_linear;
    *out = (nb_bench_item){.run = case_run, .release = case_free, .state = c};
    snprintf(out->name, sizeof out->name, "%s", row->name);
    snprintf(out->op, sizeof out->op, "%s", nb_op_name(row->op));
    if (c->weight_bytes)
        out->bytes = (double)c->weight_bytes;
    else
        out->bytes = weights * (row->op == NB_OP_linear                   ? 2
                                : row->op == NB_OP_group_range || product ? 4
                                                                          : 5);
    if (c->weight_bytes || product)
        out->flops = 2.0 * (double)shape->m * weights;
    return NB_OK;
}
