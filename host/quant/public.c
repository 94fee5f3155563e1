/* include/nibble/quantize.h: quantizers on a caller's arrays. */
#include <math.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/quant/awq.h"

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
                                     .damp_max = 1.0,
                                     .output_damp = nb_quant_defaults(1).output_damp,
                                     .iterations = 200};
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
    if ((in->cross && !in->hessian) || (in->x_original && !in->x))
        return nb_fail(err, NB_E_USAGE, "cross goes with hessian, and x_original with x");
    if (o->asym_calib != 0.0 && !in->cross && !in->x_original)
        return nb_fail(err, NB_E_USAGE, "asymmetric calibration needs cross or x_original");
    if (in->output && (!o->method || strcmp(o->method, "gptq") != 0 || o->order == NB_ORDER_ACT))
        return nb_fail(err, NB_E_USAGE, "output goes with gptq, and not with act order");
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
    out->output_damp = o->output_damp;
    out->either_sign = o->either_sign != 0;
    out->asym = o->asym_calib;
    out->descent = o->descent;
    out->float_zeros = o->float_zeros != 0;
    out->iterations = o->iterations;
    out->rate = o->rate;
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

/* A caller's rows r .. of x, on the device: where it reads host memory in place, else in `room`. */
static nb_status stage(nb_stream *stream, const float *x, size_t elems, nb_mem room, nb_mem *out, nb_err *err) {
    size_t bytes = elems * sizeof *x;
    *out = room.base ? room : nb_mem_host(x, bytes);
    return room.base ? nb_upload(stream, room, x, bytes, err) : NB_OK;
}

/* H += X^T X * 2 / rows, and where c is there C += Xo^T X * 2 / rows, chunk by chunk. */
static nb_status accumulate(nb_stream *stream, const nb_quantize_input *in, nb_mem rooms[2], nb_mem h, nb_mem c, nb_err *err) {
    size_t k = in->k;
    float scale = (float)(2.0 / (double)in->rows);
    for (size_t r = 0; r < in->rows; r += CHUNK_ROWS) {
        size_t rows = nb_min(CHUNK_ROWS, in->rows - r);
        nb_mem x, original;
        NB_TRY(stage(stream, in->x + r * k, rows * k, rooms[0], &x, err));
        struct nb_hessian_args a = {.rows = rows, .k = k, .x = x, .ldx = k, .h = h, .ldh = k, .scale = scale,
                                    .mirror = r + rows == in->rows};
        NB_TRY(nb_launch(stream, NB_OP_hessian, &a, err));
        if (!c.base)
            continue;
        NB_TRY(stage(stream, in->x_original + r * k, rows * k, rooms[1], &original, err));
        struct nb_matmul_args m = {.m = k, .n = k, .k = rows, .a = original, .lda = k, .trans_a = true, .b = x, .ldb = k, .c = c,
                                   .ldc = k, .alpha = scale, .beta = r ? 1.0f : 0.0f};
        NB_TRY(nb_launch(stream, NB_OP_matmul, &m, err));
    }
    return nb_sync(stream, err);
}

static nb_status from_inputs(nb_stream *stream, const nb_quantize_input *in, nb_quant_stats *out, nb_err *err) {
    size_t room = nb_min(CHUNK_ROWS, in->rows) * in->k;
    nb_mem rooms[2] = {{0}, {0}};
    nb_status status;
    NB_GO(nb_fill(stream, out->hessian, 0, in->k * in->k * sizeof(float), err));
    for (int i = 0; i < 2 && !stream->device->unified; i++)
        NB_GO(nb_alloc_array(stream->device, room, sizeof(float), &rooms[i], err));
    NB_GO(accumulate(stream, in, rooms, out->hessian, out->cross, err));
out:
    nb_release(stream->device, &rooms[0]);
    nb_release(stream->device, &rooms[1]);
    return status;
}

static nb_status load_statistics(nb_stream *stream, const nb_quantize_input *in, nb_quant_stats *out, nb_err *err) {
    size_t square, elems;
    if (!nb_mul(in->k, in->k, &square) || !nb_mul(in->rows, in->k, &elems))
        return nb_fail_memory(err, SIZE_MAX, "a Hessian");
    if (in->output) {
        size_t outputs;
        if (!nb_mul(in->n, in->n, &outputs))
            return nb_fail_memory(err, SIZE_MAX, "a covariance of outputs");
        NB_TRY(nb_alloc_array(stream->device, outputs, sizeof(float), &out->output, err));
        NB_TRY(nb_upload(stream, out->output, in->output, outputs * sizeof(float), err));
    }
    NB_TRY(nb_alloc_array(stream->device, square, sizeof(float), &out->hessian, err));
    if (in->cross || in->x_original)
        NB_TRY(nb_alloc_array(stream->device, square, sizeof(float), &out->cross, err));
    if (in->x)
        return from_inputs(stream, in, out, err);
    NB_TRY(nb_upload(stream, out->hessian, in->hessian, square * sizeof(float), err));
    return in->cross ? nb_upload(stream, out->cross, in->cross, square * sizeof(float), err) : NB_OK;
}

static void store(const nb_qtensor *q, const nb_quant_report *report, nb_quantize_output *out) {
    memcpy(out->codes, q->codes, q->n * q->k);
    memcpy(out->scales, q->scales, q->n * q->groups * sizeof *out->scales);
    if (out->zeros)
        memcpy(out->zeros, q->zeros, q->n * q->groups * sizeof *out->zeros);
    for (size_t j = 0; out->g_idx && j < q->k; j++)
        out->g_idx[j] = q->g_idx ? q->g_idx[j] : (uint32_t)(j / q->group_size);
    out->damp_used = report->damp_used;
    out->damp_raised = report->damp_raised + report->output_damp_raised;
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
    bool reads = method->needs_hessian || (method->weighs && options->scales == NB_SCALES_SEARCH);
    if (reads && (in->hessian || in->x))
        NB_GO(load_statistics(stream, in, &stats, err));
    NB_GO(method->run(stream, w, in->n, in->k, &stats, options, &q, &report, err));
    if (out->dequantized)
        NB_GO(nb_download(stream, out->dequantized, w, in->n * in->k * sizeof(float), err));
    NB_GO(nb_sync(stream, err));
    store(&q, &report, out);
out:
    nb_qtensor_free(&q);
    nb_release(stream->device, &w);
    nb_release(stream->device, &stats.hessian);
    nb_release(stream->device, &stats.cross);
    nb_release(stream->device, &stats.output);
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

/* ---- channel scales ---- */

/* Mean |x| of each channel, or the root of the Hessian's diagonal in its place. */
static void magnitudes(const nb_quantize_input *in, float *out) {
    for (size_t j = 0; j < in->k; j++) {
        double sum = 0.0;
        for (size_t r = 0; in->x && r < in->rows; r++)
            sum += (double)fabsf(in->x[r * in->k + j]);
        out[j] = in->x ? (float)(sum / (double)in->rows) : sqrtf(fmaxf(0.0f, in->hessian[j * (in->k + 1)]));
    }
}

static nb_status search_channels(nb_stream *stream, const nb_quant_options *options, const nb_quantize_input *in, size_t count,
                                 float *s, double *alpha, nb_err *err) {
    nb_awq_linear *linears = NULL;
    nb_quant_stats stats = {0};
    nb_awq_report report;
    float *magnitude = NULL;
    nb_status status;
    NB_TRY(nb_calloc(count, sizeof *linears, "linears", &linears, err));
    NB_GO(nb_calloc(in->k, sizeof *magnitude, "channel magnitudes", &magnitude, err));
    for (size_t i = 0; i < count; i++) {
        linears[i] = (nb_awq_linear){.n = in[i].n, .options = *options};
        NB_GO(load_weight(stream, &in[i], &linears[i].w, err));
    }
    nb_quantize_input inputs = in[0]; /* nothing else matters to channels */
    inputs.cross = inputs.x_original = inputs.output = NULL;
    NB_GO(load_statistics(stream, &inputs, &stats, err));
    magnitudes(in, magnitude);
    NB_GO(nb_awq_search(stream, linears, count, in->k, stats.hessian, magnitude, s, &report, err));
    if (alpha)
        *alpha = report.alpha;
out:
    for (size_t i = 0; i < count; i++)
        nb_release(stream->device, &linears[i].w);
    nb_release(stream->device, &stats.hessian);
    nb_release(stream->device, &stats.cross);
    nb_release(stream->device, &stats.output);
    nb_free(linears);
    nb_free(magnitude);
    return status;
}

static nb_status check_channels(const nb_quantize_options *o, const nb_quantize_input *in, size_t count, const float *s,
                                nb_err *err) {
    if (!o || !in || !s || count == 0)
        return nb_fail(err, NB_E_USAGE, "options, at least one input, and s must be given");
    for (size_t i = 0; i < count; i++)
        if (!known_size(o->size, sizeof *o) || !known_size(in[i].size, sizeof *in) || !in[i].weight || in[i].k != in->k ||
            (in[i].ldw != 0 && in[i].ldw < in[i].k))
            return nb_fail(err, NB_E_USAGE, "input %zu: struct size, weight, k or ldw is not as it must be", i);
    if (!in->hessian == !in->x || (in->x && in->rows == 0))
        return nb_fail(err, NB_E_USAGE, "the first input needs either a Hessian or rows of x");
    return NB_OK;
}

nb_status nb_quantize_channels(const nb_quantize_options *options, const nb_quantize_input *inputs, size_t count, float *s,
                               double *alpha, nb_err *err) {
    const nb_quantizer *method;
    nb_quant_options settings;
    nb_device *device = NULL;
    nb_stream *stream = NULL;
    NB_TRY(check_channels(options, inputs, count, s, err));
    NB_TRY(translate(options, inputs->k, &method, &settings, err));
    nb_device_options device_options = {.threads = options->threads};
    NB_TRY(nb_device_open(options->device ? options->device : "cpu", &device_options, &device, err));
    nb_status status;
    NB_GO(nb_stream_new(device, &stream, err));
    NB_GO(search_channels(stream, &settings, inputs, count, s, alpha, err));
out:
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}
