/* Operations of kernels.def on random data, for timing. */
#include <stdio.h>
#include <string.h>

#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/cli/bench.h"
#include "host/cli/bench_case.h"

void nb_bench_case_free(void *state) {
    nb_bench_case *c = state;
    for (size_t i = 0; i < c->count; i++)
        nb_release(c->stream->device, &c->buffers[i]);
    nb_free(c);
}

static nb_status case_run(void *state, size_t iteration, nb_err *err) {
    nb_bench_case *c = state;
    if (c->fresh.base) /* an operation in place that must not see what it made */
        NB_TRY(nb_copy(c->stream, c->in_place, c->fresh, c->in_place_bytes, err));
    if (c->row->op == NB_OP_qgemm || c->row->op == NB_OP_qgemm_i8) {
        struct nb_qgemm_i8_args args = c->args.qgemm_i8;
        args.g.w.data = nb_mem_at(args.g.w.data, iteration % c->shape.ring * c->weight_bytes);
        NB_TRY(nb_launch_row(c->stream, c->row,
                             c->row->op == NB_OP_qgemm ? (const void *)&args.g : &args, err));
    } else {
        NB_TRY(nb_launch_row(c->stream, c->row, &c->args, err));
    }
    return NB_OK;
}

static nb_status case_wait(void *state, nb_err *err) {
    return nb_sync(((nb_bench_case *)state)->stream, err);
}

nb_status nb_bench_zeros(nb_bench_case *c, size_t count, size_t size, nb_mem *out, nb_err *err) {
    if (c->count == NB_BENCH_BUFFERS)
        return nb_fail(err, NB_E_FAILED, "a bench case with more than %d buffers", NB_BENCH_BUFFERS);
    NB_TRY(nb_alloc_array(c->stream->device, nb_max(count, 1), size, out, err));
    c->buffers[c->count++] = *out;
    return nb_fill(c->stream, *out, 0, count * size, err);
}

nb_status nb_bench_put(nb_bench_case *c, const void *data, size_t bytes, nb_mem *out, nb_err *err) {
    NB_TRY(nb_bench_zeros(c, bytes, 1, out, err));
    NB_TRY(nb_upload(c->stream, *out, data, bytes, err));
    return nb_sync(c->stream, err); /* data is the caller's, for now */
}

nb_status nb_bench_floats(nb_bench_case *c, size_t count, nb_mem *out, nb_err *err) {
    float *host;
    nb_random r = nb_random_seed(count);
    NB_TRY(nb_calloc(count, sizeof *host, "random numbers", &host, err));
    for (size_t i = 0; i < count; i++)
        host[i] = nb_random_f32(&r) - 0.5f;
    nb_status status = nb_bench_put(c, host, count * sizeof *host, out, err);
    nb_free(host);
    return status;
}

nb_status nb_bench_indices(nb_bench_case *c, size_t count, size_t div, nb_mem *out, nb_err *err) {
    uint32_t *host;
    NB_TRY(nb_calloc(count, sizeof *host, "indices", &host, err));
    for (size_t i = 0; i < count; i++)
        host[i] = (uint32_t)(i / div);
    nb_status status = nb_bench_put(c, host, count * sizeof *host, out, err);
    nb_free(host);
    return status;
}

nb_status nb_bench_dominant(nb_bench_case *c, size_t k, nb_mem *out, nb_err *err) {
    float *host;
    nb_random r = nb_random_seed(k);
    NB_TRY(nb_calloc(k * k, sizeof *host, "a matrix", &host, err));
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            host[i * k + j] = i == j ? (float)k : nb_random_f32(&r) - 0.5f;
    nb_status status = nb_bench_put(c, host, k * k * sizeof *host, out, err);
    nb_free(host);
    return status;
}

/* A packed symmetric weight with f16 scales; any bytes are codes, and scales of about 1/100 are put
 * among them. */
static nb_status make_packed(nb_bench_case *c, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    nb_qtensor q;
    nb_packed *p;
    size_t work;
    struct nb_qgemm_args *a = &c->args.qgemm_i8.g;
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
    NB_GO(nb_bench_zeros(c, s->ring, c->weight_bytes, &a->w.data, err));
    for (size_t i = 0; i < s->ring; i++)
        NB_GO(nb_copy(c->stream, nb_mem_at(a->w.data, i * c->weight_bytes), p->w.data,
                      c->weight_bytes, err));
    NB_GO(nb_bench_floats(c, s->m * s->k, &a->x, err));
    NB_GO(nb_bench_zeros(c, s->m * s->n, sizeof(float), &a->y, err));
    NB_GO(nb_packed_workspace(p, s->m, mode, &work, err));
    NB_GO(nb_bench_zeros(c, work, 1, &a->workspace, err));
    c->bytes = (double)c->weight_bytes;
    c->flops = 2.0 * (double)s->m * (double)s->n * (double)s->k;
out:
    nb_packed_free(p);
    return status;
}

#define MAKE(op) [NB_OP_##op] = nb_bench_make_##op

/* clang-format off */
static nb_bench_maker *const makers[NB_OP_COUNT] = {
    MAKE(matmul), MAKE(linear),
    MAKE(group_range), MAKE(group_search), MAKE(rtn), MAKE(dequant), MAKE(quant_error),
    MAKE(hessian), MAKE(hessian_check), MAKE(column_order), MAKE(hessian_order), MAKE(chol_inverse),
    MAKE(copy_matrix), MAKE(reverse), MAKE(transpose), MAKE(gptq_block),
    MAKE(abs_mean), MAKE(scale_matrix), MAKE(subtract), MAKE(row_dot),
    MAKE(descent_block), MAKE(keep_rows), MAKE(hqq),
    MAKE(embed), MAKE(rmsnorm), MAKE(rope), MAKE(attention), MAKE(glu), MAKE(add), MAKE(logit_stats),
    MAKE(learned_round), MAKE(learned_back), MAKE(sign_step), MAKE(rmsnorm_back), MAKE(attention_back), MAKE(glu_back),
    MAKE(scale_back), MAKE(scale_step), MAKE(kl_back),
    [NB_OP_qgemm] = make_packed, [NB_OP_qgemm_i8] = make_packed,
};
/* clang-format on */

nb_status nb_bench_row(nb_stream *stream, const nb_kernel *row, const nb_bench_shape *shape,
                       nb_bench_item *out, nb_err *err) {
    nb_bench_case *c;
    if (!makers[row->op])
        return nb_fail(err, NB_E_UNSUPPORTED, "the operation %s has no bench case",
                       nb_op_name(row->op));
    NB_TRY(nb_calloc(1, sizeof *c, "a bench case", &c, err));
    c->stream = stream;
    c->row = row;
    c->shape = *shape;
    nb_status status = makers[row->op](c, err);
    if (status == NB_OK)
        status = nb_sync(stream, err);
    if (status != NB_OK) {
        nb_bench_case_free(c);
        return status;
    }
    *out = (nb_bench_item){.run = case_run,
                           .wait = case_wait,
                           .release = nb_bench_case_free,
                           .state = c,
                           .bytes = c->bytes,
                           .flops = c->flops,
                           .integer = row->err.act == NB_INT8_ROUND};
    snprintf(out->name, sizeof out->name, "%s", row->name);
    snprintf(out->op, sizeof out->op, "%s", nb_op_name(row->op));
    return NB_OK;
}
