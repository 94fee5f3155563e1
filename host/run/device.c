/* A device with memory of its own: what a run needs of it, and the next block's weights on their way while the present block is in
 * work. */
#include "host/run/impl.h"

enum { FORWARD_ROWS = 4096 };

size_t nb__run_forward_rows(const nb_run *r) {
    return nb_min(r->options->samples * r->options->seq_len, nb_max(FORWARD_ROWS, r->options->seq_len));
}

/* ---- memory ---- */

/* What one block needs at most. */
typedef struct block_need {
    uint64_t stored; /* its weights as they lie in the file, and its norms */
    uint64_t most;   /* with all that works on it beside the activations */
} block_need;

static uint64_t stored_bytes(const nb_run *r, const nb_plan_item *it) {
    const nb_view *v = nb_model_linear_view(r->model, it->layer, it->lin);
    return v ? v->bytes : 4 * (uint64_t)it->n * it->k;
}

/* Beside the weights of the block, while linear `it` is in work: its own f32 weight, the method's scratch and the statistics. */
static uint64_t linear_need(const nb_run *r, const nb_plan_item *it) {
    nb_quant_options o = nb__run_quant_options(r, it);
    uint64_t need = 4 * (uint64_t)it->n * it->k + r->plan->method->scratch(it->n, it->k, &o);
    if (r->plan->needs_data)
        need += 4 * (uint64_t)it->k * it->k * (r->plan->asym > 0 ? 2 : 1) + 12 * (uint64_t)it->k;
    return need;
}

/* Beside the weights of the block, in a search for the channel scales of a tap with these linears. */
static uint64_t search_need(const nb_run *r, size_t layer, nb_tap tap) {
    const nb_family *family = nb_model_hparams(r->model)->family;
    uint64_t need = 0, most = 0, k = 0;
    for (int l = 0; l < NB_LIN_COUNT; l++)
        if (family->lins[l].tap == tap) {
            const nb_plan_item *it = nb__run_item(r, layer, (nb_lin)l);
            if (it->skip)
                return 0; /* its tap has no search (nb__run_can_smooth) */
            uint64_t elems = (uint64_t)it->n * it->k, groups = (uint64_t)it->n * nb_ceil_div(it->k, it->group_size);
            need += 4 * elems;
            most = nb_max(most, 13 * elems + 8 * groups + 4 * (uint64_t)it->n);
            k = it->k;
        }
    return need + most + 4 * k * k * (r->plan->asym > 0 ? 3 : 2) + 20 * k;
}

static block_need need_of_block(const nb_run *r, size_t layer) {
    const nb_hparams *hp = nb_model_hparams(r->model);
    uint64_t norms = 24 * (uint64_t)hp->hidden, stored = norms, wide = norms, working = 0;
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        const nb_plan_item *it = nb__run_item(r, layer, (nb_lin)l);
        stored += stored_bytes(r, it);
        wide += it->skip ? stored_bytes(r, it) : nb_max(stored_bytes(r, it), 4 * (uint64_t)it->n * it->k);
        working = it->skip ? working : nb_max(working, linear_need(r, it));
    }
    for (nb_tap tap = NB_TAP_ATTN_IN; r->plan->smooth && tap < NB_TAP_COUNT; tap++)
        working = nb_max(working, search_need(r, layer, tap));
    if (!r->plan->needs_data)
        return (block_need){.stored = stored, .most = working};
    return (block_need){.stored = stored, .most = wide + working + (r->plan->asym > 0 ? stored : 0)};
}

/* Activations of the calibration batch, and what a forward pass keeps. */
static uint64_t activations(const nb_run *r) {
    const nb_hparams *hp = nb_model_hparams(r->model);
    size_t tokens = r->options->samples * r->options->seq_len, streams = r->plan->asym > 0 ? 2 : 1;
    uint64_t positions = nb_max(r->options->seq_len, 256);
    if (!r->plan->needs_data)
        return 0;
    return streams * (4 * (uint64_t)tokens * hp->hidden + nb_forward_stage_bytes(hp, tokens)) +
           nb_forward_bytes(hp, nb__run_forward_rows(r)) + 4 * (uint64_t)hp->hidden + 8 * positions * hp->head_dim;
}

nb_status nb__run_check_memory(nb_run *r, nb_err *err) {
    nb_device_info info;
    uint64_t most = 0, stored = 0, room = r->options->device_memory;
    if (r->device->unified)
        return NB_OK;
    for (size_t layer = 0; layer < nb_model_hparams(r->model)->layers; layer++) {
        block_need b = need_of_block(r, layer);
        most = nb_max(most, b.most);
        stored = nb_max(stored, b.stored);
    }
    uint64_t table = r->plan->needs_data ? nb_model_embeddings(r->model)->bytes : 0;
    uint64_t need = activations(r) + nb_max(most, table) + r->device->overhead, ahead = stored * (r->plan->asym > 0 ? 2 : 1);
    NB_TRY(r->device->backend->info(r->device, &info, err));
    if (room == 0 || room > info.memory_free)
        room = info.memory_free;
    if (need > room)
        return nb_fail_at(err, NB_E_MEMORY, NULL, "--device-memory",
                          "this run needs %.1f MB of the device's memory, %.1f MB may be taken; fewer --samples or a smaller --seq-len "
                          "need less", 1e-6 * (double)need, 1e-6 * (double)room);
    r->prefetch.enabled = r->plan->needs_data && need + ahead <= room;
    nb_logf(&r->hooks->log, NB_LOG_DEBUG, "device memory: %.1f MB at most%s", 1e-6 * (double)(need + (r->prefetch.enabled ? ahead : 0)),
            r->prefetch.enabled ? ", with the next block's weights" : "");
    return NB_OK;
}

/* ---- the next block's weights ---- */

static void *fetch(void *arg) {
    nb__prefetch *p = arg;
    p->status = NB_OK;
    for (p->copies = 0; p->copies < p->wanted && p->status == NB_OK; p->copies += p->status == NB_OK)
        p->status = nb_block_load(p->model, p->stream, p->layer, &p->blocks[p->copies], &p->err);
    return NULL;
}

static void begin(nb_run *r, size_t layer, size_t count) {
    nb__prefetch *p = &r->prefetch;
    if (!p->enabled || layer >= nb_model_hparams(r->model)->layers)
        return;
    if (!p->stream && nb_stream_new(r->device, &p->stream, NULL) != NB_OK) {
        p->enabled = false;
        return;
    }
    p->model = r->model;
    p->layer = layer;
    p->wanted = count;
    p->running = pthread_create(&p->thread, NULL, fetch, p) == 0;
}

/* Takes what was fetched, if it is that. */
static bool take(nb_run *r, size_t layer, nb_block *out, size_t count) {
    nb__prefetch *p = &r->prefetch;
    if (!p->running)
        return false;
    pthread_join(p->thread, NULL);
    p->running = false;
    if (p->status == NB_OK && p->layer == layer && p->copies == count) {
        for (size_t i = 0; i < count; i++)
            out[i] = p->blocks[i];
        return true;
    }
    for (size_t i = 0; i < p->copies; i++)
        nb_block_free(r->device, &p->blocks[i]);
    if (p->status != NB_OK && layer != SIZE_MAX)
        nb_logf(&r->hooks->log, NB_LOG_WARN, "block %zu could not be loaded ahead, it is loaded again: %s", p->layer + 1, p->err.text);
    return false;
}

/* A fetch that failed is tried again here, and its error, if it comes again, is the run's. */
nb_status nb__run_load(nb_run *r, size_t layer, nb_block *out, size_t count, nb_err *err) {
    if (!take(r, layer, out, count))
        for (size_t i = 0; i < count; i++) {
            nb_status status = nb_block_load(r->model, r->stream, layer, &out[i], err);
            for (size_t done = 0; status != NB_OK && done < i; done++)
                nb_block_free(r->device, &out[done]);
            NB_TRY(status);
        }
    begin(r, layer + 1, count);
    return NB_OK;
}

void nb__run_prefetch_stop(nb_run *r) {
    nb_block none[2];
    take(r, SIZE_MAX, none, 0);
    nb_stream_free(r->prefetch.stream);
    r->prefetch.stream = NULL;
}
