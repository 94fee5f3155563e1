/* What a linear's outputs mean to the model's loss: the covariance of the gradients by them, over the calibration windows, in the original
 * model; for GPTQ with feedback over rows (host/quant/twosided.c). And what each token's do: its input counts in a linear's Hessian by
 * the length of that gradient. In the closest product of two covariances (YAQA, arXiv 2505.22988) it is the length's square, but a few
 * tokens have most of that, and what is estimated from fewer tokens is worse (docs/quality.md). The loss is -log p of tokens drawn from
 * the model's own predictions: the covariance is then of the Fisher information, the curvature of the KL divergence to them (K-FAC, arXiv
 * 1503.05671). */
#include <math.h>

#include "host/model/train.h"
#include "host/run/impl.h"

enum { TOKENS = 4096 }; /* that go through a block at once, at the most where a window is shorter */

typedef struct gather {
    nb_run *r;
    const nb_hparams *hp;
    size_t batch, rows, bytes; /* windows at once, their tokens, bytes of their activations */
    size_t first;              /* token of the batch in work */
    nb_trainer *trainer;
    nb_head_trainer *head;
    nb_mem states, d; /* f32 [layers + 1, rows, hidden], [rows, hidden] */
    nb_mem squares;   /* f32 [NB_LIN_COUNT, rows]: |d|^2 of the block in work */
    float *weights;   /* [layers, NB_TAP_COUNT, tokens of all windows]: their sums over the linears of a tap */
    float *host;      /* [NB_LIN_COUNT, rows] */
    nb_random random;
} gather;

static size_t batch_of(size_t samples, size_t length) {
    return nb_min(nb_max(TOKENS / length, 1), samples);
}

uint64_t nb__run_outputs_bytes(const nb_hparams *hp, size_t samples, size_t length) {
    size_t rows = batch_of(samples, length) * length;
    return 4 * (uint64_t)rows * (hp->hidden * (hp->layers + 2) + 2 * NB_LIN_COUNT) + nb_trainer_bytes(hp, rows) +
           nb_head_trainer_bytes(hp) + 8 * (uint64_t)hp->layers * NB_TAP_COUNT * samples * length;
}

uint64_t nb__run_covariance_bytes(const nb_plan *plan, const nb_hparams *hp) {
    uint64_t most = 0;
    for (size_t layer = 0; layer < hp->layers; layer++) {
        uint64_t bytes = 0;
        for (int l = 0; l < NB_LIN_COUNT; l++) {
            const nb_plan_item *it = &plan->items[layer * NB_LIN_COUNT + (size_t)l];
            bytes += it->skip ? 0 : 4 * (uint64_t)it->n * it->n;
        }
        most = nb_max(most, bytes);
    }
    return most;
}

static size_t all_tokens(const gather *g) {
    return g->r->windows.samples * g->r->windows.seq_len;
}

static nb_status setup(gather *g, nb_err *err) {
    nb_run *r = g->r;
    size_t blocks = r->outputs_end - r->outputs_first, items = blocks * NB_LIN_COUNT;
    NB_TRY(nb_calloc(blocks * NB_TAP_COUNT * all_tokens(g), sizeof *g->weights, "weights of tokens", &g->weights, err));
    NB_TRY(nb_calloc(NB_LIN_COUNT * g->rows, sizeof *g->host, "weights of tokens", &g->host, err));
    NB_TRY(nb_alloc_array(r->device, NB_LIN_COUNT * g->rows, sizeof(float), &g->squares, err));
    NB_TRY(nb_calloc(items, sizeof *r->output_side, "covariances of gradients", &r->output_side, err));
    for (size_t i = 0; i < items; i++) {
        const nb_plan_item *it = &r->plan->items[r->outputs_first * NB_LIN_COUNT + i];
        if (it->skip)
            continue;
        NB_TRY(nb_alloc_array(r->device, it->n * it->n, sizeof(float), &r->output_side[i], err));
        NB_TRY(nb_fill(r->stream, r->output_side[i], 0, it->n * it->n * sizeof(float), err));
    }
    NB_TRY(nb_trainer_new(r->model, r->stream, g->batch, r->windows.seq_len, &g->trainer, err));
    NB_TRY(nb_head_trainer_new(r->model, r->stream, &g->head, err));
    NB_TRY(nb_alloc_array(r->device, g->hp->layers + 1, g->bytes, &g->states, err));
    return nb_alloc(r->device, g->bytes, &g->d, err);
}

/* The original's block, its weights in F32. */
static nb_status load_block(gather *g, size_t layer, nb_block *out, nb_err *err) {
    NB_TRY(nb_block_load(g->r->model, g->r->stream, layer, out, err));
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        nb_mem w;
        NB_TRY(nb__run_weight(g->r, nb__run_item(g->r, layer, (nb_lin)l), &w, err));
        nb_block_set_dense(g->r->device, out, (nb_lin)l, w);
    }
    return NB_OK;
}

static nb_status step_forward(gather *g, size_t layer, nb_block *block, nb_err *err) {
    nb_mem out;
    NB_TRY(load_block(g, layer, block, err));
    NB_TRY(nb_trainer_forward(g->trainer, block, nb_mem_at(g->states, layer * g->bytes), &out, err));
    NB_TRY(nb_copy(g->r->stream, nb_mem_at(g->states, (layer + 1) * g->bytes), out, g->bytes, err));
    return nb_sync(g->r->stream, err);
}

/* The weights of the batch's tokens at the taps of a block. */
static nb_status take_squares(gather *g, size_t layer, nb_err *err) {
    nb_stream *stream = g->r->stream;
    NB_TRY(nb_download(stream, g->host, g->squares, NB_LIN_COUNT * g->rows * sizeof *g->host, err));
    NB_TRY(nb_sync(stream, err));
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        float *to = g->weights + ((layer - g->r->outputs_first) * NB_TAP_COUNT + g->hp->family->lins[l].tap) * all_tokens(g) + g->first;
        for (size_t i = 0; i < g->rows && !nb__run_item(g->r, layer, (nb_lin)l)->skip; i++)
            to[i] += g->host[(size_t)l * g->rows + i];
    }
    return NB_OK;
}

static nb_status step_back(gather *g, size_t layer, nb_block *block, nb_err *err) {
    static const nb_mem none[NB_LIN_COUNT];
    nb_mem out, squares[NB_LIN_COUNT];
    bool ours = layer < g->r->outputs_end;
    for (size_t l = 0; l < NB_LIN_COUNT; l++)
        squares[l] = nb_mem_at(g->squares, l * g->rows * sizeof(float));
    NB_TRY(load_block(g, layer, block, err));
    if (ours)
        nb_trainer_set_grams(g->trainer, g->r->output_side + (layer - g->r->outputs_first) * NB_LIN_COUNT, squares);
    NB_TRY(nb_trainer_forward(g->trainer, block, nb_mem_at(g->states, layer * g->bytes), &out, err));
    NB_TRY(nb_trainer_back(g->trainer, block, g->d, none, err));
    nb_trainer_set_grams(g->trainer, NULL, NULL);
    NB_TRY(nb_trainer_back_input(g->trainer, block, g->d, err));
    return ours ? take_squares(g, layer, err) : nb_sync(g->r->stream, err);
}

typedef nb_status step_fn(gather *g, size_t layer, nb_block *block, nb_err *err);

static nb_status on_block(gather *g, size_t layer, step_fn *step, nb_err *err) {
    nb_block block = {0};
    nb_status status = step(g, layer, &block, err);
    nb_block_free(g->r->device, &block);
    return status;
}

static nb_status on_batch(gather *g, size_t first, nb_err *err) {
    nb_run *r = g->r;
    size_t layers = g->hp->layers;
    g->first = first * r->windows.seq_len;
    NB_TRY(nb__run_embed(r, first, g->rows / r->windows.seq_len, g->states, err));
    for (size_t layer = 0; layer < layers; layer++)
        NB_TRY(on_block(g, layer, step_forward, err));
    NB_TRY(nb_head_trainer_sample(g->head, nb_mem_at(g->states, layers * g->bytes), g->rows, &g->random, g->d, err));
    for (size_t layer = layers; layer-- > r->outputs_first;)
        NB_TRY(on_block(g, layer, step_back, err));
    return NB_OK;
}

/* Squares of lengths to the factors of inputs: roots of the lengths, the mean length at each tap taken for 1. */
static nb_status keep_factors(gather *g, nb_err *err) {
    nb_run *r = g->r;
    size_t tokens = all_tokens(g), places = (r->outputs_end - r->outputs_first) * NB_TAP_COUNT;
    for (size_t p = 0; p < places; p++) {
        float *w = g->weights + p * tokens;
        double sum = 0.0;
        for (size_t i = 0; i < tokens; i++)
            sum += sqrt((double)w[i]);
        for (size_t i = 0; i < tokens; i++)
            w[i] = sum > 0.0 ? (float)sqrt(sqrt((double)w[i]) * (double)tokens / sum) : 1.0f;
    }
    NB_TRY(nb_alloc_array(r->device, places * tokens, sizeof *g->weights, &r->token_factor, err));
    NB_TRY(nb_upload(r->stream, r->token_factor, g->weights, places * tokens * sizeof *g->weights, err));
    return nb_sync(r->stream, err);
}

/* The last batch may have fewer windows than those before it. */
static nb_status set_batch(gather *g, size_t count, nb_err *err) {
    if (g->batch == count)
        return NB_OK;
    nb_trainer_free(g->trainer);
    g->trainer = NULL;
    g->batch = count;
    g->rows = count * g->r->windows.seq_len;
    g->bytes = g->rows * g->hp->hidden * sizeof(float);
    return nb_trainer_new(g->r->model, g->r->stream, count, g->r->windows.seq_len, &g->trainer, err);
}

static void tell(const nb_run *r, size_t done, double seconds) {
    nb_run_progress p = {.seconds = seconds, .loss = -1.0, .learned_before = -1.0, .learned_after = -1.0, .stage = "gradients,",
                         .unit = "window", .step = done, .steps = r->windows.samples};
    if (r->hooks->progress)
        r->hooks->progress(r->hooks->ctx, &p);
}

nb_status nb__run_outputs(nb_run *r, size_t layer, nb_err *err) {
    gather g = {.r = r, .hp = nb_model_hparams(r->model), .random = nb_random_seed(r->options->seed)};
    nb_status status;
    double t0 = nb__run_now();
    if (layer < r->outputs_end)
        return NB_OK; /* the last pass has it */
    g.batch = batch_of(r->windows.samples, r->windows.seq_len);
    g.rows = g.batch * r->windows.seq_len;
    g.bytes = g.rows * g.hp->hidden * sizeof(float);
    nb__run_outputs_free(r);
    r->outputs_first = layer;
    r->outputs_end = nb_min(layer + r->plan->gather_layers, g.hp->layers);
    NB_GO(setup(&g, err));
    for (size_t at = 0; at < r->windows.samples; at += g.batch) {
        NB_GO(set_batch(&g, nb_min(g.batch, r->windows.samples - at), err));
        if (nb_run_stop_asked(r->hooks)) {
            status = nb_fail(err, NB_E_INTERRUPTED, "stopped before block %zu of %zu; the same command with --resume goes on", layer + 1,
                             g.hp->layers);
            goto out;
        }
        NB_GO(on_batch(&g, at, err));
        tell(r, at + g.batch, nb__run_now() - t0);
    }
    NB_GO(keep_factors(&g, err));
    nb_forward_drop_tables(r->forward);
    nb__run_sample_memory(r);
out:
    nb_trainer_free(g.trainer);
    nb_head_trainer_free(g.head);
    nb_release(r->device, &g.states);
    nb_release(r->device, &g.d);
    nb_release(r->device, &g.squares);
    nb_free(g.weights);
    nb_free(g.host);
    r->result->statistics_seconds += nb__run_now() - t0;
    return status;
}

void nb__run_outputs_free(nb_run *r) {
    for (size_t i = 0; r->output_side && i < (r->outputs_end - r->outputs_first) * NB_LIN_COUNT; i++)
        nb_release(r->device, &r->output_side[i]);
    nb_free(r->output_side);
    r->output_side = NULL;
    r->outputs_first = r->outputs_end = 0;
    nb_release(r->device, &r->token_factor);
}
