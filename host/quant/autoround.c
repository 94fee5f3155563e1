/* Learned rounding of one matrix by itself: signed gradient steps (AutoRound, arXiv 2309.05516) on the error of its own output,
 * tr(E H E^T), from rounding to nearest. Its gradient by Q is 2 (Q - W) H. A run on a model learns whole blocks instead
 * (host/run/learn.c). The state of least error is kept. */
#include <math.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/quant/internal.h"
#include "host/quant/learned.h"
#include "host/quant/methods.h"

typedef struct descent {
    nb_stream *stream;
    size_t n, k;
    nb_mem w, h, e, rows; /* f32 [n,k], [k,k], [n,k], [n] */
    nb_learned *learned;
} descent;

static size_t autoround_scratch(size_t n, size_t k, const nb_quant_options *o) {
    return nb_max(nb_learned_bytes(n, k, o->group_size), nb__quantizer_rtn.scratch(n, k, o)) + n * k * sizeof(float) +
           n * sizeof(float);
}

/* Gradient into its place; *loss = tr(E H E^T). e = Q - W. */
static nb_status evaluate(const descent *d, double *loss, nb_err *err) {
    size_t n = d->n, k = d->k;
    nb_mem q, g = nb_learned_gradient(d->learned);
    NB_TRY(nb_learned_weight(d->learned, &q, err));
    NB_TRY(nb_copy(d->stream, d->e, d->w, n * k * sizeof(float), err));
    struct nb_subtract_args less = {.rows = n, .k = k, .x = q, .ldx = k, .y = d->e, .ldy = k};
    struct nb_matmul_args by_h = {.m = n, .n = k, .k = k, .a = d->e, .lda = k, .b = d->h, .ldb = k, .c = g, .ldc = k, .alpha = 1.0f};
    struct nb_row_dot_args dot = {.rows = n, .k = k, .a = d->e, .lda = k, .b = g, .ldb = k, .out = d->rows};
    NB_TRY(nb_launch(d->stream, NB_OP_subtract, &less, err));
    NB_TRY(nb_launch(d->stream, NB_OP_matmul, &by_h, err));
    NB_TRY(nb_launch(d->stream, NB_OP_row_dot, &dot, err));
    return nb__quant_sum(d->stream, d->rows, n, loss, err);
}

/* *best becomes the tensor of least error. */
static nb_status iterate(const descent *d, const nb_quant_options *o, nb_qtensor *best, double *least, nb_err *err) {
    double rate = o->rate > 0.0 ? o->rate : 1.0 / (double)o->iterations, loss;
    for (unsigned i = 0; i <= o->iterations; i++) {
        nb_qtensor q;
        NB_TRY(evaluate(d, &loss, err));
        if (!isfinite(loss) && i == 0)
            return nb_fail(err, NB_E_INPUT, "the statistics hold NaN or infinity");
        if (i == 0 || loss < *least) {
            NB_TRY(nb_learned_result(d->learned, &q, err));
            nb_qtensor_free(best);
            *best = q;
            *least = loss;
        }
        if (i < o->iterations)
            NB_TRY(nb_learned_step(d->learned, (float)(rate * (1.0 - (double)i / (double)o->iterations)), err));
    }
    return NB_OK;
}

/* w takes what q says. */
static nb_status upload(const descent *d, const nb_qtensor *q, float *room, nb_err *err) {
    for (size_t i = 0; i < d->n; i++)
        nb_qtensor_row(q, i, room + i * d->k);
    NB_TRY(nb_upload(d->stream, d->w, room, d->n * d->k * sizeof *room, err));
    return nb_sync(d->stream, err);
}

static nb_status autoround_run(nb_stream *stream, nb_mem w, size_t n, size_t k, const nb_quant_stats *stats,
                               const nb_quant_options *options, nb_qtensor *out, nb_quant_report *report, nb_err *err) {
    descent d = {.stream = stream, .n = n, .k = k, .w = w};
    nb_device *device = stream->device;
    nb_quant_report made = {0};
    nb_qtensor q = {0};
    float *host = NULL;
    nb_status status;
    NB_TRY(nb__quant_check(n, k, options, err));
    if (!stats || !stats->hessian.base)
        return nb_fail(err, NB_E_USAGE, "learned rounding needs the Hessian of calibration inputs");
    if (options->iterations == 0)
        return nb_fail(err, NB_E_USAGE, "learned rounding of 0 iterations");
    d.h = stats->hessian;
    NB_GO(nb_calloc(n * k, sizeof *host, "a weight", &host, err)); /* n k floats are there already: no overflow */
    NB_GO(nb_alloc_array(device, n * k, sizeof(float), &d.e, err));
    NB_GO(nb_alloc_array(device, n, sizeof(float), &d.rows, err));
    NB_GO(nb_download(stream, host, w, n * k * sizeof *host, err));
    NB_GO(nb_sync(stream, err));
    NB_GO(nb__quantizer_rtn.run(stream, w, n, k, stats, options, &q, &made, err));
    NB_GO(nb_learned_new(stream, &q, host, &d.learned, err));
    NB_GO(nb_upload(stream, w, host, n * k * sizeof *host, err));
    NB_GO(iterate(&d, options, &q, &made.loss, err));
    NB_GO(upload(&d, &q, host, err));
    made.loss /= (double)n * (double)k;
    *report = made;
    *out = q;
    q = (nb_qtensor){0};
out:
    nb_qtensor_free(&q);
    nb_learned_free(d.learned);
    nb_release(device, &d.e);
    nb_release(device, &d.rows);
    nb_free(host);
    return status;
}

const nb_quantizer nb__quantizer_autoround = {
    .name = "autoround",
    .about = "learned rounding: signed gradient steps on rounding and ranges (arXiv 2309.05516)",
    .needs_hessian = true,
    .scratch = autoround_scratch,
    .run = autoround_run,
};
