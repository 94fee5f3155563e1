#include "host/run/learn.h"

#include <math.h>

#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/model/train.h"
#include "host/quant/learned.h"

typedef struct learn {
    const nb_learn_job *job;
    nb_stream *stream;
    nb_device *device;
    size_t hidden, rows; /* rows: tokens of a batch */
    nb_trainer *trainer;
    nb_learned *linears[NB_LIN_COUNT]; /* NULL: left alone */
    nb_block block;                    /* norms of the caller's, linears of ours */
    nb_mem plain[NB_LIN_COUNT];        /* weights that are left alone, f32 */
    nb_mem x, d, sums;                 /* f32 [rows,hidden] twice, [rows] */
    float *host_sums;
} learn;

size_t nb_learn_bytes(const nb_hparams *hp, const size_t groups[NB_LIN_COUNT], size_t batch, size_t length) {
    size_t tokens, total = 0, x;
    if (!nb_mul(batch, length, &tokens) || !nb_mul3(tokens, hp->hidden, 2 * sizeof(float), &x))
        return SIZE_MAX;
    size_t parts[NB_LIN_COUNT + 2] = {x, nb_trainer_bytes(hp, tokens)};
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        size_t n, k;
        nb_lin_shape(hp, (nb_lin)l, &n, &k);
        parts[l + 2] = nb_learned_bytes(n, k, groups[l] ? groups[l] : k);
    }
    for (size_t i = 0; i < NB_LIN_COUNT + 2; i++)
        if (!nb_add(total, parts[i], &total))
            return SIZE_MAX;
    return total;
}

static nb_status load_linear(learn *s, int lin, const nb_qtensor *q, nb_err *err) {
    nb_linear *l = &s->block.lin[lin];
    float *host;
    nb_status status;
    nb_lin_shape(nb_model_hparams(s->job->model), (nb_lin)lin, &l->n, &l->k);
    l->w_type = NB_F32;
    NB_TRY(nb_calloc(l->n * l->k, sizeof *host, "a weight", &host, err));
    NB_GO(nb_model_weight_f32(s->job->model, s->block.layer, (nb_lin)lin, host, err));
    if (q->n) {
        NB_GO(nb_learned_new(s->stream, q, host, &s->linears[lin], err));
    } else {
        NB_GO(nb_alloc_array(s->device, l->n * l->k, sizeof *host, &s->plain[lin], err));
        NB_GO(nb_upload(s->stream, s->plain[lin], host, l->n * l->k * sizeof *host, err));
        NB_GO(nb_sync(s->stream, err));
        l->w = s->plain[lin];
    }
out:
    nb_free(host);
    return status;
}

static nb_status setup(learn *s, const nb_block *block, const nb_qtensor *q, nb_err *err) {
    const nb_learn_job *job = s->job;
    s->block = *block;
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        s->block.lin[l] = (nb_linear){0};
        NB_TRY(load_linear(s, l, &q[l], err));
    }
    NB_TRY(nb_trainer_new(job->model, s->stream, job->batch, job->length, &s->trainer, err));
    NB_TRY(nb_alloc_array(s->device, s->rows * s->hidden, sizeof(float), &s->x, err));
    NB_TRY(nb_alloc_array(s->device, s->rows * s->hidden, sizeof(float), &s->d, err));
    NB_TRY(nb_alloc_array(s->device, s->rows, sizeof(float), &s->sums, err));
    return nb_calloc(s->rows, sizeof(float), "sums of rows", &s->host_sums, err);
}

static void release(learn *s) {
    nb_trainer_free(s->trainer);
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        nb_learned_free(s->linears[l]);
        nb_release(s->device, &s->plain[l]);
    }
    nb_release(s->device, &s->x);
    nb_release(s->device, &s->d);
    nb_release(s->device, &s->sums);
    nb_free(s->host_sums);
}

/* Windows of the calibration into the batch: inputs into x, targets into d. */
static nb_status load_batch(learn *s, const size_t *windows, nb_err *err) {
    size_t bytes = s->job->length * s->hidden * sizeof(float);
    for (size_t i = 0; i < s->job->batch; i++) {
        NB_TRY(nb_copy(s->stream, nb_mem_at(s->x, i * bytes), nb_mem_at(s->job->input, windows[i] * bytes), bytes, err));
        NB_TRY(nb_copy(s->stream, nb_mem_at(s->d, i * bytes), nb_mem_at(s->job->target, windows[i] * bytes), bytes, err));
    }
    return NB_OK;
}

static nb_status round_weights(learn *s, nb_err *err) {
    for (int l = 0; l < NB_LIN_COUNT; l++)
        if (s->linears[l])
            NB_TRY(nb_learned_weight(s->linears[l], &s->block.lin[l].w, err));
    return NB_OK;
}

/* d := output - target, for the batch that is loaded. It is half the gradient of the squared error, and only signs matter. */
static nb_status forward(learn *s, nb_err *err) {
    nb_mem out;
    NB_TRY(nb_trainer_forward(s->trainer, &s->block, s->x, &out, err));
    struct nb_subtract_args a = {.rows = s->rows, .k = s->hidden, .x = out, .ldx = s->hidden, .y = s->d, .ldy = s->hidden};
    return nb_launch(s->stream, NB_OP_subtract, &a, err);
}

/* Mean squared error over all windows; the last batch goes back so as to be whole, and counts its new windows only. */
static nb_status whole_loss(learn *s, size_t *windows, double *loss, nb_err *err) {
    const nb_learn_job *job = s->job;
    double sum = 0.0;
    NB_TRY(round_weights(s, err));
    for (size_t done = 0; done < job->samples; done += job->batch) {
        size_t first = nb_min(done, job->samples - job->batch);
        for (size_t i = 0; i < job->batch; i++)
            windows[i] = first + i;
        NB_TRY(load_batch(s, windows, err));
        NB_TRY(forward(s, err));
        struct nb_row_dot_args dot = {.rows = s->rows, .k = s->hidden, .a = s->d, .lda = s->hidden, .b = s->d,
                                      .ldb = s->hidden, .out = s->sums};
        NB_TRY(nb_launch(s->stream, NB_OP_row_dot, &dot, err));
        NB_TRY(nb_download(s->stream, s->host_sums, s->sums, s->rows * sizeof(float), err));
        NB_TRY(nb_sync(s->stream, err));
        for (size_t i = (done - first) * job->length; i < s->rows; i++)
            sum += (double)s->host_sums[i];
    }
    *loss = sum / ((double)job->samples * (double)job->length * (double)s->hidden);
    return NB_OK;
}

static nb_status iterate(learn *s, size_t *windows, nb_err *err) {
    const nb_learn_job *job = s->job;
    nb_random random = nb_random_seed(job->seed + 0x9e3779b9u * (s->block.layer + 1));
    double rate = job->rate > 0.0 ? job->rate : 1.0 / (double)job->iterations;
    nb_mem grads[NB_LIN_COUNT] = {0};
    for (int l = 0; l < NB_LIN_COUNT; l++)
        if (s->linears[l])
            grads[l] = nb_learned_gradient(s->linears[l]);
    for (size_t it = 0; it < job->iterations; it++) {
        float step = (float)(rate * (1.0 - (double)it / (double)job->iterations));
        for (size_t i = 0; i < job->batch; i++)
            windows[i] = nb_random_below(&random, (uint32_t)job->samples);
        NB_TRY(round_weights(s, err));
        NB_TRY(load_batch(s, windows, err));
        NB_TRY(forward(s, err));
        NB_TRY(nb_trainer_back(s->trainer, &s->block, s->d, grads, err));
        for (int l = 0; l < NB_LIN_COUNT; l++)
            if (s->linears[l])
                NB_TRY(nb_learned_step(s->linears[l], step, err));
    }
    return NB_OK;
}

static nb_status take_results(learn *s, nb_qtensor *q, nb_err *err) {
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        nb_qtensor learned;
        if (!s->linears[l])
            continue;
        NB_TRY(nb_learned_result(s->linears[l], &learned, err));
        nb_qtensor_free(&q[l]);
        q[l] = learned;
    }
    return NB_OK;
}

nb_status nb_learn_block(const nb_learn_job *asked, const nb_block *block, nb_qtensor q[NB_LIN_COUNT], nb_learn_report *report,
                         nb_err *err) {
    nb_learn_job job = *asked;
    job.batch = nb_min(nb_max(job.batch, 1), job.samples);
    learn s = {.job = &job, .stream = job.stream, .device = job.stream->device, .rows = job.batch * job.length,
               .hidden = nb_model_hparams(job.model)->hidden};
    nb_learn_report made = {0};
    size_t *windows = NULL;
    nb_status status;
    NB_GO(nb_calloc(job.batch, sizeof *windows, "a batch", &windows, err));
    NB_GO(setup(&s, block, q, err));
    NB_GO(whole_loss(&s, windows, &made.before, err));
    if (!isfinite(made.before)) {
        status = nb_fail(err, NB_E_INPUT, "the block's output on the calibration text holds NaN or infinity");
        goto out;
    }
    NB_GO(iterate(&s, windows, err));
    NB_GO(whole_loss(&s, windows, &made.after, err));
    made.kept = made.after < made.before;
    if (made.kept)
        NB_GO(take_results(&s, q, err));
    *report = made;
out:
    nb_free(windows);
    release(&s);
    return status;
}
