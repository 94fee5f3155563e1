#include "host/run/tune.h"

#include <math.h>

#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/model/train.h"

/* Part of the steps in which they grow to the full rate, from which they fall to 0 along a cosine. */
#define WARM_UP 0.05
/* Most windows, spread evenly, whose divergence before and after decides whether scales are kept. */
enum { JUDGES = 32 };

typedef struct tune {
    const nb_tune_job *job;
    nb_stream *stream;
    nb_device *device;
    const nb_hparams *hp;
    size_t rows, bytes; /* tokens of a batch, bytes of their activations */
    nb_trainer *trainer;
    nb_head_trainer *head;
    nb_mem states; /* f32 [layers + 1, rows, hidden]: what reaches each block, and what leaves the last */
    nb_mem d, target; /* f32 [rows, hidden] */
    nb_mem w[NB_LIN_COUNT], g[NB_LIN_COUNT]; /* f32 [n,k]: weights of the block in work, gradients by them */
    size_t *windows, *order, left; /* batch; all windows shuffled, how many of them are still to be drawn */
    nb_random random;
} tune;

size_t nb_tune_bytes(const nb_hparams *hp, size_t batch, size_t length) {
    size_t tokens, states, total = nb_head_trainer_bytes(hp);
    if (!nb_mul(batch, length, &tokens) || !nb_mul3(tokens, hp->hidden * sizeof(float), hp->layers + 3, &states) ||
        !nb_add(total, states, &total) || !nb_add(total, nb_trainer_bytes(hp, tokens), &total))
        return SIZE_MAX;
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        size_t n, k, bytes;
        nb_lin_shape(hp, (nb_lin)l, &n, &k);
        if (!nb_mul3(n, k, 2 * sizeof(float), &bytes) || !nb_add(total, bytes, &total))
            return SIZE_MAX;
    }
    return total;
}

static nb_status setup(tune *t, nb_err *err) {
    const nb_tune_job *job = t->job;
    if (nb_tune_bytes(t->hp, job->batch, job->length) == SIZE_MAX)
        return nb_fail_memory(err, SIZE_MAX, "learning scales");
    NB_TRY(nb_trainer_new(job->model, t->stream, job->batch, job->length, &t->trainer, err));
    NB_TRY(nb_head_trainer_new(job->model, t->stream, &t->head, err));
    NB_TRY(nb_alloc_array(t->device, t->hp->layers + 1, t->bytes, &t->states, err));
    NB_TRY(nb_alloc(t->device, t->bytes, &t->d, err));
    NB_TRY(nb_alloc(t->device, t->bytes, &t->target, err));
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        size_t n, k;
        nb_lin_shape(t->hp, (nb_lin)l, &n, &k);
        NB_TRY(nb_alloc_array(t->device, n * k, sizeof(float), &t->w[l], err));
        NB_TRY(nb_alloc_array(t->device, n * k, sizeof(float), &t->g[l], err));
    }
    NB_TRY(nb_calloc(job->batch, sizeof *t->windows, "a batch", &t->windows, err));
    return nb_calloc(job->samples, sizeof *t->order, "the order of windows", &t->order, err);
}

static void release(tune *t) {
    nb_trainer_free(t->trainer);
    nb_head_trainer_free(t->head);
    nb_release(t->device, &t->states);
    nb_release(t->device, &t->d);
    nb_release(t->device, &t->target);
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        nb_release(t->device, &t->w[l]);
        nb_release(t->device, &t->g[l]);
    }
    nb_free(t->windows);
    nb_free(t->order);
}

static nb_mem state(const tune *t, size_t layer) {
    return nb_mem_at(t->states, layer * t->bytes);
}

/* The block with its present weights, good until the next call. */
static nb_status take_block(tune *t, size_t layer, nb_block *out, nb_err *err) {
    const nb_tune_layer *l = &t->job->layers[layer];
    *out = l->block;
    for (int i = 0; i < NB_LIN_COUNT; i++) {
        if (!l->lins[i])
            continue;
        NB_TRY(nb_scales_weight(l->lins[i], t->w[i], err));
        out->lin[i] = (nb_linear){.w = t->w[i], .w_type = NB_F32};
        nb_lin_shape(t->hp, (nb_lin)i, &out->lin[i].n, &out->lin[i].k);
    }
    return NB_OK;
}

/* The batch's windows through all blocks. */
static nb_status forward(tune *t, nb_err *err) {
    size_t bytes = t->job->length * t->hp->hidden * sizeof(float);
    for (size_t i = 0; i < t->job->batch; i++) {
        NB_TRY(nb_copy(t->stream, nb_mem_at(t->states, i * bytes), nb_mem_at(t->job->input, t->windows[i] * bytes), bytes, err));
        NB_TRY(nb_copy(t->stream, nb_mem_at(t->target, i * bytes), nb_mem_at(t->job->target, t->windows[i] * bytes), bytes, err));
    }
    for (size_t layer = 0; layer < t->hp->layers; layer++) {
        nb_block block;
        nb_mem out;
        NB_TRY(take_block(t, layer, &block, err));
        NB_TRY(nb_trainer_forward(t->trainer, &block, state(t, layer), &out, err));
        NB_TRY(nb_copy(t->stream, state(t, layer + 1), out, t->bytes, err));
    }
    return NB_OK;
}

/* From the gradient by the last output, in d, down to the first block. Each block runs forward once more, for what its gradient
 * needs; its scales take their step when nothing reads its weights any more. */
static nb_status back(tune *t, double rate, nb_err *err) {
    for (size_t layer = t->hp->layers; layer-- > 0;) {
        const nb_tune_layer *l = &t->job->layers[layer];
        nb_mem out, grads[NB_LIN_COUNT] = {0};
        nb_block block;
        for (int i = 0; i < NB_LIN_COUNT; i++)
            if (l->lins[i])
                grads[i] = t->g[i];
        NB_TRY(take_block(t, layer, &block, err));
        NB_TRY(nb_trainer_forward(t->trainer, &block, state(t, layer), &out, err));
        NB_TRY(nb_trainer_back(t->trainer, &block, t->d, grads, err));
        if (layer > 0)
            NB_TRY(nb_trainer_back_input(t->trainer, &block, t->d, err));
        for (int i = 0; i < NB_LIN_COUNT; i++)
            if (l->lins[i])
                NB_TRY(nb_scales_step(l->lins[i], t->g[i], rate, err));
    }
    return NB_OK;
}

/* Mean divergence over the judging windows; the last batch goes back so as to be whole, and counts its new windows only. */
static nb_status judge(tune *t, double *loss, nb_err *err) {
    const nb_tune_job *job = t->job;
    size_t judges = nb_max(nb_min(job->samples, JUDGES), job->batch);
    double sum = 0.0, kl;
    for (size_t done = 0; done < judges; done += job->batch) {
        size_t first = nb_min(done, judges - job->batch), skip = (done - first) * job->length;
        size_t bytes = skip * t->hp->hidden * sizeof(float);
        if (job->progress && !job->progress(job->ctx, 0, -1.0))
            return nb_fail(err, NB_E_INTERRUPTED, "stopped while scales were learned");
        for (size_t i = 0; i < job->batch; i++)
            t->windows[i] = (first + i) * job->samples / judges;
        NB_TRY(forward(t, err));
        NB_TRY(nb_head_trainer_kl(t->head, nb_mem_at(state(t, t->hp->layers), bytes), nb_mem_at(t->target, bytes), t->rows - skip, 0.0f,
                                  (nb_mem){0}, &kl, err));
        sum += kl;
    }
    *loss = sum / ((double)judges * (double)job->length);
    return NB_OK;
}

/* Each window is drawn once before any is drawn again. */
static void draw(tune *t) {
    for (size_t i = 0; i < t->job->batch; i++) {
        if (t->left == 0) {
            t->left = t->job->samples;
            for (size_t w = 0; w < t->left; w++)
                t->order[w] = w;
        }
        size_t at = nb_random_below(&t->random, (uint32_t)t->left);
        t->windows[i] = t->order[at];
        t->order[at] = t->order[--t->left];
    }
}

static nb_status iterate(tune *t, nb_err *err) {
    const nb_tune_job *job = t->job;
    double steps = (double)job->steps, pi = 3.14159265358979323846, kl;
    for (size_t it = 0; it < job->steps; it++) {
        double warm = fmin(1.0, ((double)it + 1.0) / fmax(1.0, WARM_UP * steps));
        double rate = job->rate * warm * 0.5 * (1.0 + cos(pi * (double)it / steps));
        draw(t);
        NB_TRY(forward(t, err));
        NB_TRY(nb_head_trainer_kl(t->head, state(t, t->hp->layers), t->target, t->rows, 1.0f / (float)t->rows, t->d, &kl, err));
        NB_TRY(back(t, rate, err));
        NB_TRY(nb_sync(t->stream, err));
        if (job->progress && !job->progress(job->ctx, it + 1, kl / (double)t->rows))
            return nb_fail(err, NB_E_INTERRUPTED, "stopped while scales were learned");
    }
    return NB_OK;
}

nb_status nb_tune(const nb_tune_job *asked, nb_tune_report *report, nb_err *err) {
    nb_tune_job job = *asked;
    job.batch = nb_min(nb_max(job.batch, 1), job.samples);
    tune t = {.job = &job, .stream = job.stream, .device = job.stream->device, .hp = nb_model_hparams(job.model),
              .rows = job.batch * job.length, .random = nb_random_seed(job.seed)};
    nb_tune_report made = {0};
    nb_status status;
    t.bytes = t.rows * t.hp->hidden * sizeof(float);
    NB_GO(setup(&t, err));
    NB_GO(judge(&t, &made.before, err));
    if (!isfinite(made.before)) {
        status = nb_fail(err, NB_E_INPUT, "the model's predictions on the calibration text hold NaN or infinity");
        goto out;
    }
    NB_GO(iterate(&t, err));
    NB_GO(judge(&t, &made.after, err));
    made.kept = made.after < made.before;
    *report = made;
out:
    release(&t);
    return status;
}
