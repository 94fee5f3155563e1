/* Perplexity, KL divergence and agreement. A batch of windows goes through the model block by block, so that its weights are
 * read once a batch; logits exist for a chunk of rows only. */
#include "host/eval/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

/* Tokens in a batch: hidden states of both models and work for a chunk of rows; a head's chunk of logits. */
enum { BATCH_TOKENS = 32768, CHUNK_TOKENS = 4096, LOGIT_FLOATS = 1 << 24, MIN_LOGIT_ROWS = 28, MAX_LOGIT_ROWS = 504 };

/* One of the two models, with the state of the present batch. */
typedef struct side {
    const nb_model *model;
    nb_forward *forward;
    nb_mem hidden; /* f32 [batch tokens, hidden] */
    nb_mem logits; /* f32 [logit_rows, vocab] */
} side;

typedef struct job {
    nb_stream *stream;
    nb_device *device;
    side sides[2];
    size_t n_sides;
    size_t seq_len, windows, batch, logit_rows; /* batch: windows at once */
    size_t first_target;            /* targets are places [first_target, seq_len) of a window */
    const int32_t *ids;
    int32_t bos;
    bool bos_replaces;
    const nb_eval_options *options;
    int32_t *tokens; /* [batch, seq_len] */
    nb_mem targets, nll, kl, agree; /* [logit_rows] */
    double *h_nll, *h_kl;
    int32_t *h_agree;
    double nll_sum, kl_sum;
    size_t agreed, done;
} job;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Ids of the text that a window takes. A BOS stands in front of them, or, in llama.cpp's tool, in the place of the first. */
static size_t window_step(const job *j) {
    return j->bos >= 0 && !j->bos_replaces ? j->seq_len - 1 : j->seq_len;
}

static void fill_tokens(job *j, size_t first, size_t count) {
    size_t step = window_step(j);
    for (size_t w = 0; w < count; w++) {
        int32_t *row = j->tokens + w * j->seq_len;
        memcpy(row + (j->seq_len - step), j->ids + (first + w) * step, step * sizeof *row);
        if (j->bos >= 0)
            row[0] = j->bos;
    }
}

/* Hidden states after the last block of `count` windows. */
static nb_status run_blocks(job *j, side *s, size_t count, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(s->model);
    size_t chunk = nb_max(CHUNK_TOKENS / j->seq_len, 1);
    NB_TRY(nb_forward_embed(s->forward, j->tokens, count * j->seq_len, s->hidden, err));
    for (size_t layer = 0; layer < hp->layers; layer++) {
        nb_block block;
        if (j->options->stop && j->options->stop(j->options->ctx))
            return nb_fail(err, NB_E_INTERRUPTED, "stopped before all windows were through");
        NB_TRY(nb_block_load_joined(s->model, j->stream, layer, &block, err));
        nb_status status = NB_OK;
        for (size_t w = 0; w < count && status == NB_OK; w += chunk)
            status = nb_forward_block(s->forward, &block, nb_mem_at(s->hidden, w * j->seq_len * hp->hidden * sizeof(float)),
                                      nb_min(chunk, count - w), j->seq_len, NULL, 0, err);
        if (status == NB_OK)
            status = nb_sync(j->stream, err);
        nb_block_free(j->device, &block);
        NB_TRY(status);
    }
    return NB_OK;
}

/* Statistics of rows [at, at + rows) of window w: row t predicts the token at t + 1. */
static nb_status run_logits(job *j, size_t w, size_t at, size_t rows, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(j->sides[0].model);
    for (size_t i = 0; i < j->n_sides; i++) {
        side *s = &j->sides[i];
        size_t hidden = nb_model_hparams(s->model)->hidden;
        NB_TRY(nb_forward_logits(s->forward, nb_mem_at(s->hidden, (w * j->seq_len + at) * hidden * sizeof(float)), rows,
                                 s->logits, err));
    }
    NB_TRY(nb_upload(j->stream, j->targets, j->tokens + w * j->seq_len + at + 1, rows * sizeof(int32_t), err));
    struct nb_logit_stats_args a = {.rows = rows, .n = hp->vocab, .logits = j->sides[0].logits,
                                    .reference = j->n_sides > 1 ? j->sides[1].logits : (nb_mem){0}, .ldl = hp->vocab,
                                    .ldr = hp->vocab, .targets = j->targets, .nll = j->nll, .kl = j->kl, .agree = j->agree};
    NB_TRY(nb_launch(j->stream, NB_OP_logit_stats, &a, err));
    NB_TRY(nb_download(j->stream, j->h_nll, j->nll, rows * sizeof(double), err));
    NB_TRY(nb_download(j->stream, j->h_kl, j->kl, rows * sizeof(double), err));
    NB_TRY(nb_download(j->stream, j->h_agree, j->agree, rows * sizeof(int32_t), err));
    NB_TRY(nb_sync(j->stream, err));
    for (size_t i = 0; i < rows; i++) {
        j->nll_sum += j->h_nll[i];
        if (j->n_sides > 1) {
            j->kl_sum += j->h_kl[i];
            j->agreed += j->h_agree[i] != 0;
        }
    }
    j->done += rows;
    return NB_OK;
}

static nb_status run_batch(job *j, size_t first, size_t count, nb_err *err) {
    fill_tokens(j, first, count);
    for (size_t i = 0; i < j->n_sides; i++)
        NB_TRY(run_blocks(j, &j->sides[i], count, err));
    for (size_t w = 0; w < count; w++)
        for (size_t t = j->first_target - 1; t + 1 < j->seq_len; t += j->logit_rows)
            NB_TRY(run_logits(j, w, t, nb_min(j->logit_rows, j->seq_len - 1 - t), err));
    return NB_OK;
}

static nb_status setup_side(job *j, side *s, const nb_model *model, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(model);
    size_t tokens = j->batch * j->seq_len, rows = nb_max(CHUNK_TOKENS / j->seq_len, 1) * j->seq_len, floats;
    s->model = model;
    NB_TRY(nb_forward_new(model, j->stream, nb_min(rows, tokens), &s->forward, err));
    if (!nb_mul(tokens, hp->hidden, &floats))
        return nb_fail_memory(err, SIZE_MAX, "hidden states");
    NB_TRY(nb_alloc_array(j->device, floats, sizeof(float), &s->hidden, err));
    return nb_alloc_array(j->device, j->logit_rows * hp->vocab, sizeof(float), &s->logits, err);
}

static nb_status setup(job *j, const nb_model *model, const nb_model *reference, const nb_eval_options *options,
                       nb_err *err) {
    size_t tokens;
    if (!nb_mul(j->batch, j->seq_len, &tokens))
        return nb_fail_memory(err, SIZE_MAX, "windows");
    NB_TRY(nb_calloc(tokens, sizeof *j->tokens, "windows", &j->tokens, err));
    NB_TRY(nb_calloc(j->logit_rows, sizeof *j->h_nll, "statistics", &j->h_nll, err));
    NB_TRY(nb_calloc(j->logit_rows, sizeof *j->h_kl, "statistics", &j->h_kl, err));
    NB_TRY(nb_calloc(j->logit_rows, sizeof *j->h_agree, "statistics", &j->h_agree, err));
    NB_TRY(nb_alloc_array(j->device, j->logit_rows, sizeof(int32_t), &j->targets, err));
    NB_TRY(nb_alloc_array(j->device, j->logit_rows, sizeof(double), &j->nll, err));
    NB_TRY(nb_alloc_array(j->device, j->logit_rows, sizeof(double), &j->kl, err));
    NB_TRY(nb_alloc_array(j->device, j->logit_rows, sizeof(int32_t), &j->agree, err));
    NB_TRY(setup_side(j, &j->sides[0], model, err));
    j->n_sides = 1;
    nb_forward_set_mode(j->sides[0].forward, options->mode);
    NB_TRY(nb_forward_set_embeddings(j->sides[0].forward, options->embeddings, err));
    if (!reference)
        return NB_OK;
    j->n_sides = 2;
    return setup_side(j, &j->sides[1], reference, err);
}

static void teardown(job *j) {
    for (size_t i = 0; i < 2; i++) {
        nb_forward_free(j->sides[i].forward);
        nb_release(j->device, &j->sides[i].hidden);
        nb_release(j->device, &j->sides[i].logits);
    }
    nb_release(j->device, &j->targets);
    nb_release(j->device, &j->nll);
    nb_release(j->device, &j->kl);
    nb_release(j->device, &j->agree);
    nb_free(j->tokens);
    nb_free(j->h_nll);
    nb_free(j->h_kl);
    nb_free(j->h_agree);
}

static nb_status check(const job *j, const nb_model *model, const nb_model *reference, size_t count, nb_err *err) {
    size_t vocab = nb_model_hparams(model)->vocab;
    if (reference && nb_model_hparams(reference)->vocab != vocab)
        return nb_fail(err, NB_E_INPUT, "the reference has a vocabulary of %zu, the model of %zu",
                       nb_model_hparams(reference)->vocab, vocab);
    if (j->windows == 0)
        return nb_fail_at(err, NB_E_INPUT, NULL, "--seq-len", "a window takes %zu tokens of text, but there are %zu", window_step(j), count);
    return NB_OK;
}

static nb_status run(job *j, const nb_eval_options *options, double start, nb_err *err) {
    for (size_t w = 0; w < j->windows; w += j->batch) {
        size_t count = nb_min(j->batch, j->windows - w);
        NB_TRY(run_batch(j, w, count, err));
        if (options->progress && !options->progress(options->ctx, w + count, j->windows, now() - start))
            return nb_fail(err, NB_E_INTERRUPTED, "stopped after %zu of %zu windows", w + count, j->windows);
    }
    return NB_OK;
}

nb_status nb_eval_run(const nb_model *model, const nb_model *reference, nb_stream *stream, const int32_t *ids, size_t count,
                      int32_t bos, const nb_eval_options *options, nb_eval_result *out, nb_err *err) {
    double start = now();
    job j = {.stream = stream, .device = stream->device, .ids = ids, .bos = bos, .seq_len = options->seq_len, .options = options};
    if (j.seq_len < 4)
        return nb_fail(err, NB_E_USAGE, "windows of %zu tokens, expected at least 4", j.seq_len);
    if (options->max_tokens)
        count = nb_min(count, options->max_tokens);
    size_t fits = LOGIT_FLOATS / nb_model_hparams(model)->vocab / MIN_LOGIT_ROWS * MIN_LOGIT_ROWS;
    j.logit_rows = nb_min(nb_max(fits, MIN_LOGIT_ROWS), MAX_LOGIT_ROWS);
    j.bos_replaces = options->protocol == NB_PROTOCOL_LLAMACPP;
    /* llama.cpp's tool scores the predictions of places [n/2, n - 1), that is targets from n/2 + 1 on. */
    j.first_target = options->protocol == NB_PROTOCOL_LLAMACPP ? j.seq_len / 2 + 1 : 1;
    j.windows = count / window_step(&j);
    j.batch = nb_min(nb_max(BATCH_TOKENS / j.seq_len, 1), j.windows);
    NB_TRY(check(&j, model, reference, count, err));
    nb_status status = setup(&j, model, reference, options, err);
    if (status == NB_OK)
        status = run(&j, options, start, err);
    if (status == NB_OK && (!isfinite(j.nll_sum) || !isfinite(j.kl_sum)))
        status = nb_fail(err, NB_E_INPUT, "the model's predictions on this text hold NaN or infinity");
    if (status == NB_OK)
        *out = (nb_eval_result){.nll = j.nll_sum / (double)j.done, .perplexity = exp(j.nll_sum / (double)j.done),
                                .tokens = j.done, .windows = j.windows, .seconds = now() - start,
                                .has_reference = reference != NULL,
                                .kl_mean = reference ? j.kl_sum / (double)j.done : 0.0,
                                .top1_agreement = reference ? (double)j.agreed / (double)j.done : 0.0};
    teardown(&j);
    return status;
}
