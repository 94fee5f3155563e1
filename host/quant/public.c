/* include/nibble/quantize.h: quantizers on a caller's arrays. */
#include <string.h>

#include "host/base/size.h"
#include "host/quant/quant.h"

/* Rows of X that are on a device at once where it does not read host memory. */
enum { CHUNK_ROWS = 4096 };

/* A later version that adds fields accepts the sizes of the versions before it. */
static bool known_size(size_t size, size_t ours) {
    return size == ours;
}

nb_status nb_quantize_options_init(nb_quantize_options *options, size_t size) {
    if (!options || !known_size(size, sizeof *options))
        return NB_E_USAGE;
    *options = (nb_quantize_options){.size = size,
                                     .method = "gptq",
                                     .device = "cpu",
                                     .bits = 4,
                                     .group_size = 128,
                                     .order = NB_ORDER_GROUP_AWARE,
                                     .scale_type = NB_FLOAT_F16,
                                     .damp = 0.01,
                                     .damp_step = 0.01,
                                     .damp_max = 1.0};
    return NB_OK;
}

static nb_status check(const nb_quantize_options *o, const nb_quantize_input *in, const nb_quantize_output *out, nb_err *err) {
    if (!o || !in || !out)
        return nb_fail(err, NB_E_USAGE, "options, input and output must be given");
    if (!known_size(o->size, sizeof *o) || !known_size(in->size, sizeof *in) || !known_size(out->size, sizeof *out))
        return nb_fail(err, NB_E_USAGE, "the size of a struct is not the library's (version %s): options %zu of %zu, input %zu "
                       "of %zu, output %zu of %zu", nb_version(), o->size, sizeof *o, in->size, sizeof *in, out->size,
                       sizeof *out);
    if (!in->weight || !out->codes || !out->scales || (!out->zeros && !o->symmetric))
        return nb_fail(err, NB_E_USAGE, "weight, codes, scales and (unless symmetric) zeros must be given");
    if (!out->g_idx && o->order == NB_ORDER_ACT)
        return nb_fail(err, NB_E_USAGE, "act order needs g_idx");
    if (in->ldw != 0 && in->ldw < in->k)
        return nb_fail(err, NB_E_USAGE, "rows of %zu columns cannot be %zu apart", in->k, in->ldw);
    if (in->hessian && in->x)
        return nb_fail(err, NB_E_USAGE, "both hessian and x are given, expected one");
    if (in->x && in->rows == 0)
        return nb_fail(err, NB_E_USAGE, "x has no rows");
    return NB_OK;
}

static nb_status translate(const nb_quantize_options *o, size_t k, const nb_quantizer **method, nb_quant_options *out,
                           nb_err *err) {
    static const nb_dtype types[] = {[NB_FLOAT_F32] = NB_F32, [NB_FLOAT_F16] = NB_F16, [NB_FLOAT_BF16] = NB_BF16};
    if ((unsigned)o->scale_type > NB_FLOAT_BF16)
        return nb_fail(err, NB_E_USAGE, "type of scales %u, expected 0 to %d", (unsigned)o->scale_type, NB_FLOAT_BF16);
    *method = o->method ? nb_quantizer_by_name(o->method) : NULL;
    if (!*method)
        return nb_fail(err, NB_E_USAGE, "no method \"%s\"", o->method ? o->method : "");
    *out = nb_quant_defaults(k);
    out->bits = o->bits;
    out->group_size = o->group_size == 0 ? k : o->group_size;
    out->symmetric = o->symmetric != 0;
    out->order = o->order;
    out->scale_type = types[o->scale_type];
    out->scales = o->scales;
    out->damp = o->damp;
    out->damp_step = o->damp_step;
    out->damp_max = o->damp_max;
    return NB_OK;
}

static nb_status load_weight(nb_stream *stream, const nb_quantize_input *in, nb_mem *out, nb_err *err) {
    size_t ld = in->ldw ? in->ldw : in->k, elems;
    if (!nb_mul(in->n, in->k, &elems))
        return nb_fail_memory(err, SIZE_MAX, "a weight");
    NB_TRY(nb_alloc_array(stream->device, elems, sizeof(float), out, err));
    if (ld == in->k)
        return nb_upload(stream, *out, in->weight, elems * sizeof(float), err);
    for (size_t i = 0; i < in->n; i++)
        NB_TRY(nb_upload(stream, nb_mem_at(*out, i * in->k * sizeof(float)), in->weight + i * ld, in->k * sizeof(float), err));
    return NB_OK;
}

/* H += X^T X * 2 / rows, chunk by chunk through `room`, or in place where the device reads host memory. */
static nb_status accumulate(nb_stream *stream, const nb_quantize_input *in, nb_mem room, nb_mem h, nb_err *err) {
    for (size_t r = 0; r < in->rows; r += CHUNK_ROWS) {
        size_t rows = nb_min(CHUNK_ROWS, in->rows - r), bytes = rows * in->k * sizeof(float);
        const float *x = in->x + r * in->k;
        if (room.base)
            NB_TRY(nb_upload(stream, room, x, bytes, err));
        struct nb_hessian_args a = {.rows = rows, .k = in->k, .x = room.base ? room : nb_mem_host(x, bytes), .ldx = in->k,
                                    .h = h, .ldh = in->k, .scale = (float)(2.0 / (double)in->rows),
                                    .mirror = r + rows == in->rows};
        NB_TRY(nb_launch(stream, NB_OP_hessian, &a, err));
    }
    return nb_sync(stream, err);
}

static nb_status load_hessian(nb_stream *stream, const nb_quantize_input *in, nb_mem *out, nb_err *err) {
    size_t square, elems;
    if (!nb_mul(in->k, in->k, &square) || !nb_mul(in->rows, in->k, &elems))
        return nb_fail_memory(err, SIZE_MAX, "a Hessian");
    NB_TRY(nb_alloc_array(stream->device, square, sizeof(float), out, err));
    if (in->hessian)
        return nb_upload(stream, *out, in->hessian, square * sizeof(float), err);
    NB_TRY(nb_fill(stream, *out, 0, square * sizeof(float), err));
    nb_mem room = {0};
    if (!stream->device->unified)
        NB_TRY(nb_alloc_array(stream->device, nb_min(CHUNK_ROWS, in->rows) * in->k, sizeof(float), &room, err));
    nb_status status = accumulate(stream, in, room, *out, err);
    nb_release(stream->device, &room);
    return status;
}

static void store(const nb_qtensor *q, const nb_quant_report *report, nb_quantize_output *out) {
    memcpy(out->codes, q->codes, q->n * q->k);
    memcpy(out->scales, q->scales, q->n * q->groups * sizeof *out->scales);
    if (out->zeros)
        memcpy(out->zeros, q->zeros, q->n * q->groups * sizeof *out->zeros);
    for (size_t j = 0; out->g_idx && j < q->k; j++)
        out->g_idx[j] = q->g_idx ? q->g_idx[j] : (uint32_t)(j / q->group_size);
    out->damp_used = report->damp_used;
    out->damp_raised = report->damp_raised;
    out->dead_columns = report->dead_columns;
    out->loss = report->loss;
}

static nb_status run(nb_stream *stream, const nb_quantizer *method, const nb_quant_options *options,
                     const nb_quantize_input *in, nb_quantize_output *out, nb_err *err) {
    nb_mem w = {0};
    nb_quant_stats stats = {.rows = in->rows};
    nb_quant_report report = {0};
    nb_qtensor q = {0};
    nb_status status;
    NB_GO(load_weight(stream, in, &w, err));
    if (method->needs_hessian && (in->hessian || in->x))
        NB_GO(load_hessian(stream, in, &stats.hessian, err));
    NB_GO(method->run(stream, w, in->n, in->k, &stats, options, &q, &report, err));
    if (out->dequantized)
        NB_GO(nb_download(stream, out->dequantized, w, in->n * in->k * sizeof(float), err));
    NB_GO(nb_sync(stream, err));
    store(&q, &report, out);
out:
    nb_qtensor_free(&q);
    nb_release(stream->device, &w);
    nb_release(stream->device, &stats.hessian);
    return status;
}

nb_status nb_quantize_matrix(const nb_quantize_options *options, const nb_quantize_input *input, nb_quantize_output *output,
                             nb_err *err) {
    const nb_quantizer *method;
    nb_quant_options settings;
    nb_device *device = NULL;
    nb_stream *stream = NULL;
    NB_TRY(check(options, input, output, err));
    NB_TRY(translate(options, input->k, &method, &settings, err));
    nb_device_options device_options = {.threads = options->threads};
    NB_TRY(nb_device_open(options->device ? options->device : "cpu", &device_options, &device, err));
    nb_status status;
    NB_GO(nb_stream_new(device, &stream, err));
    NB_GO(run(stream, method, &settings, input, output, err));
out:
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}
