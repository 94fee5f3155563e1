/* What a linear's outputs mean to the model's loss: the covariance of the gradients by them, over the calibration windows, in the original
 * model; for GPTQ with feedback over rows (host/quant/twosided.c). The loss is -log p of tokens drawn from the model's own predictions:
 * the covariance is then of the Fisher information, the curvature of the KL divergence to them (K-FAC, arXiv 1503.05671). */
#include "host/model/train.h"
#include "host/run/impl.h"

enum { TOKENS = 4096 }; /* that go through a block at once */

typedef struct gather {
    nb_run *r;
    const nb_hparams *hp;
    size_t batch, rows, bytes; /* windows at once, their tokens, bytes of their activations */
    nb_trainer *trainer;
    nb_head_trainer *head;
    nb_mem states, d; /* f32 [layers + 1, rows, hidden], [rows, hidden] */
    nb_random random;
} gather;

uint64_t nb__run_outputs_bytes(const nb_plan *plan, const nb_hparams *hp, size_t samples, size_t length) {
    size_t rows = nb_min(nb_max(TOKENS / length, 1), samples) * length;
    uint64_t bytes = 4 * (uint64_t)rows * hp->hidden * (hp->layers + 2) + nb_trainer_bytes(hp, rows) + nb_head_trainer_bytes(hp);
    for (size_t i = 0; i < plan->count; i++)
        bytes += plan->items[i].skip ? 0 : 4 * (uint64_t)plan->items[i].n * plan->items[i].n;
    return bytes;
}

static nb_status setup(gather *g, nb_err *err) {
    nb_run *r = g->r;
    NB_TRY(nb_calloc(r->plan->count, sizeof *r->output_side, "covariances of gradients", &r->output_side, err));
    for (size_t i = 0; i < r->plan->count; i++) {
        const nb_plan_item *it = &r->plan->items[i];
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

static nb_status step_back(gather *g, size_t layer, nb_block *block, nb_err *err) {
    static const nb_mem none[NB_LIN_COUNT];
    nb_mem out;
    NB_TRY(load_block(g, layer, block, err));
    nb_trainer_set_grams(g->trainer, g->r->output_side + layer * NB_LIN_COUNT);
    NB_TRY(nb_trainer_forward(g->trainer, block, nb_mem_at(g->states, layer * g->bytes), &out, err));
    NB_TRY(nb_trainer_back(g->trainer, block, g->d, none, err));
    NB_TRY(nb_trainer_back_input(g->trainer, block, g->d, err));
    return nb_sync(g->r->stream, err);
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
    NB_TRY(nb__run_embed(r, first, g->rows / r->windows.seq_len, g->states, err));
    for (size_t layer = 0; layer < layers; layer++)
        NB_TRY(on_block(g, layer, step_forward, err));
    NB_TRY(nb_head_trainer_sample(g->head, nb_mem_at(g->states, layers * g->bytes), g->rows, &g->random, g->d, err));
    for (size_t layer = layers; layer-- > 0;)
        NB_TRY(on_block(g, layer, step_back, err));
    return NB_OK;
}

static bool stopped(const nb_run *r) {
    return r->hooks->stop && r->hooks->stop(r->hooks->ctx);
}

static void tell(const nb_run *r, size_t done, double seconds) {
    nb_run_progress p = {.seconds = seconds, .loss = -1.0, .learned_before = -1.0, .learned_after = -1.0, .stage = "gradients,",
                         .unit = "window", .step = done, .steps = r->windows.samples};
    if (r->hooks->progress)
        r->hooks->progress(r->hooks->ctx, &p);
}

nb_status nb__run_outputs(nb_run *r, nb_err *err) {
    gather g = {.r = r, .hp = nb_model_hparams(r->model), .random = nb_random_seed(r->options->seed)};
    nb_status status;
    double t0 = nb__run_now();
    g.batch = nb_min(nb_max(TOKENS / r->windows.seq_len, 1), r->windows.samples);
    g.rows = g.batch * r->windows.seq_len;
    g.bytes = g.rows * g.hp->hidden * sizeof(float);
    NB_GO(setup(&g, err));
    for (size_t at = 0; at + g.batch <= r->windows.samples; at += g.batch) { /* a last batch that is not whole is left out */
        if (stopped(r)) {
            status = nb_fail(err, NB_E_INTERRUPTED, "stopped before the first block; the same command begins anew");
            goto out;
        }
        NB_GO(on_batch(&g, at, err));
        tell(r, at + g.batch, nb__run_now() - t0);
    }
    nb__run_sample_memory(r);
out:
    nb_trainer_free(g.trainer);
    nb_head_trainer_free(g.head);
    nb_release(r->device, &g.states);
    nb_release(r->device, &g.d);
    r->result->statistics_seconds += nb__run_now() - t0;
    return status;
}

void nb__run_outputs_free(nb_run *r) {
    for (size_t i = 0; r->output_side && i < r->plan->count; i++)
        nb_release(r->device, &r->output_side[i]);
    nb_free(r->output_side);
    r->output_side = NULL;
}
