/* One block of a run: its stages forward, and at each tap the linears that read it. */
#include <stdio.h>

#include "host/run/impl.h"

/* Statistics for the linears of a tap. */
static nb_status gather(nb_run *r, size_t layer, nb_tap tap, nb_mem x, nb_mem exact, size_t rows, size_t k, nb_quant_stats *out,
                        nb_err *err) {
    nb_inputs in = {.x = x, .exact = exact, .rows = rows, .k = k};
    double t0 = nb__run_now();
    if (r->token_factor.base)
        in.factor = nb_mem_at(r->token_factor, ((layer - r->outputs_first) * NB_TAP_COUNT + tap) * rows * sizeof(float));
    out->rows = rows;
    nb_status status = nb_calib_statistics(r->stream, &in, &out->hessian, &out->cross, err);
    r->result->statistics_seconds += nb__run_now() - t0;
    return status;
}

/* Linears of one tap share H, and what a method derives from it. */
static nb_status quantize_tap(nb_run *r, nb_block *block, const nb_lin *lins, size_t count, nb_quant_stats stats, nb_err *err) {
    nb_quant_cache *cache = NULL;
    stats.cache = &cache;
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        nb_mem w;
        status = nb__run_linear(r, nb__run_item(r, block->layer, lins[i]), &stats, &w, err);
        if (status == NB_OK)
            nb_block_set_dense(r->device, block, lins[i], w);
    }
    nb_quant_cache_free(r->device, &cache);
    return status;
}

/* Linears of this tap that the plan quantizes. */
static size_t planned_lins(const nb_run *r, size_t layer, nb_tap tap, nb_lin *out) {
    const nb_family *family = nb_model_hparams(r->model)->family;
    size_t count = 0;
    for (int l = 0; l < NB_LIN_COUNT; l++)
        if (family->lins[l].tap == tap && !nb__run_item(r, layer, (nb_lin)l)->skip)
            out[count++] = (nb_lin)l;
    return count;
}

static nb_status on_tap(nb_run *r, nb_tap tap, nb_mem x, nb_mem exact, size_t rows, size_t k, nb_block *block, nb_err *err) {
    nb_lin lins[NB_LIN_COUNT];
    nb_quant_stats stats = {0};
    size_t count = planned_lins(r, block->layer, tap, lins);
    if (!count)
        return NB_OK;
    nb_status status = gather(r, block->layer, tap, x, exact, rows, k, &stats, err);
    if (status == NB_OK && r->plan->smooth && nb__run_can_smooth(r, block->layer, tap))
        status = nb__run_smooth(r, block, tap, lins, count, x, rows, k, &stats, err);
    if (status == NB_OK)
        status = quantize_tap(r, block, lins, count, stats, err);
    nb_release(r->device, &r->channel_scale);
    nb_release(r->device, &stats.hessian);
    nb_release(r->device, &stats.cross);
    return status;
}

/* A method without statistics needs no forward pass. */
static nb_status quantize_block_plain(nb_run *r, size_t layer, nb_err *err) {
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        const nb_plan_item *it = nb__run_item(r, layer, (nb_lin)l);
        nb_quant_stats none = {0};
        nb_mem w;
        if (it->skip)
            continue;
        NB_TRY(nb__run_linear(r, it, &none, &w, err));
        nb_release(r->device, &w);
    }
    return NB_OK;
}

/* One step of the block in both streams; at the first tap of all they are still the same. */
static nb_status run_stage(nb_run *r, nb_block *block, nb_block *original, nb_tap tap, bool quantize, nb_err *err) {
    size_t samples = r->windows.samples, length = r->windows.seq_len, k;
    nb_mem x, exact = {0};
    if (original)
        NB_TRY(nb_forward_stage(r->forward, original, tap, r->exact_hidden, r->exact_work, samples, length, &exact, &k, err));
    NB_TRY(nb_forward_stage(r->forward, block, tap, r->hidden, r->work, samples, length, &x, &k, err));
    if (!quantize || tap == NB_TAP_COUNT)
        return NB_OK;
    r->tap_x[tap] = x;
    if ((block->layer == 0 && tap == NB_TAP_ATTN_IN) || r->plan->asym <= 0)
        exact = (nb_mem){0};
    return on_tap(r, tap, x, exact, samples * length, k, block, err);
}

/* What the taps did is counted by them. */
nb_status nb__run_stages(nb_run *r, nb_block *block, nb_block *original, bool quantize, nb_err *err) {
    double t0 = nb__run_now(), tapped = r->result->statistics_seconds + r->result->solve_seconds;
    nb_status status = NB_OK;
    for (int tap = 0; tap <= NB_TAP_COUNT && status == NB_OK; tap++) {
        if (quantize && nb_run_stop_asked(r->hooks))
            status = nb_fail(err, NB_E_INTERRUPTED, "stopped in block %zu of %zu; the same command with --resume goes on", block->layer + 1,
                             nb_model_hparams(r->model)->layers);
        else
            status = run_stage(r, block, original, (nb_tap)tap, quantize, err);
    }
    if (status == NB_OK)
        status = nb_sync(r->stream, err);
    r->result->forward_seconds += nb__run_now() - t0 - (r->result->statistics_seconds + r->result->solve_seconds - tapped);
    return status;
}

/* Learned tensors into the part file and into the block. */
static nb_status keep_learned(nb_run *r, nb_block *block, nb_err *err) {
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        const nb_plan_item *it = nb__run_item(r, block->layer, (nb_lin)l);
        nb_qtensor *q = &r->quantized[l];
        size_t clamped = 0;
        nb_mem w;
        if (it->skip)
            continue;
        NB_TRY(nb_alloc_array(r->device, it->n * it->k, sizeof(float), &w, err));
        nb_status status = nb__run_upload(r, q, w, err);
        if (status == NB_OK)
            status = nb__run_keep(r, it, q, w, &clamped, err);
        nb_block_set_dense(r->device, block, (nb_lin)l, w);
        NB_TRY(nb_err_at(err, status, NULL, it->name));
        r->result->zeros_clamped += clamped;
    }
    return NB_OK;
}

/* Learned rounding of the block that was just quantized, and its output anew. */
static nb_status learn_block(nb_run *r, nb_block *block, size_t bytes, nb_err *err) {
    char name[32];
    nb_learn_job job = {.model = r->model, .stream = r->stream, .input = r->block_input, .target = r->exact_hidden,
                        .samples = r->windows.samples, .length = r->windows.seq_len, .batch = r->plan->learn_batch,
                        .iterations = r->plan->learn_steps, .rate = r->plan->learn_rate, .seed = r->options->seed};
    double t0 = nb__run_now();
    nb_status status = nb_learn_block(&job, block, r->quantized, &r->learned, err);
    if (status != NB_OK) {
        snprintf(name, sizeof name, "model.layers.%zu", block->layer);
        return nb_err_at(err, status, NULL, name);
    }
    nb__run_sample_memory(r);
    NB_TRY(keep_learned(r, block, err));
    if (json_object_set_new(r->report, "learned", json_pack("{s:f, s:f, s:b}", "before", r->learned.before, "after",
                                                            r->learned.after, "kept", (int)r->learned.kept)) != 0)
        return nb_fail_memory(err, 0, "a report");
    r->result->solve_seconds += nb__run_now() - t0;
    NB_TRY(nb_copy(r->stream, r->hidden, r->block_input, bytes, err));
    return nb__run_stages(r, block, NULL, false, err);
}

nb_status nb__run_block(nb_run *r, size_t layer, nb_err *err) {
    if (!r->plan->needs_data)
        return quantize_block_plain(r, layer, err);
    size_t bytes = r->windows.samples * r->windows.seq_len * nb_model_hparams(r->model)->hidden * sizeof(float);
    nb_block blocks[2]; /* ours, and the original model's where it has a stream */
    size_t count = nb__run_has_original(r) ? 2 : 1;
    NB_TRY(nb__run_load(r, layer, blocks, count, err));
    nb_status status = r->plan->learn ? nb_copy(r->stream, r->block_input, r->hidden, bytes, err) : NB_OK;
    if (status == NB_OK)
        status = nb__run_stages(r, &blocks[0], count > 1 ? &blocks[1] : NULL, true, err);
    if (status == NB_OK && r->plan->learn)
        status = learn_block(r, &blocks[0], bytes, err);
    for (size_t i = 0; i < count; i++)
        nb_block_free(r->device, &blocks[i]);
    return status;
}
