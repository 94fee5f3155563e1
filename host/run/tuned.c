/* Learned scales in a run: from the part files of all blocks, and into part files of their own. */
#include <stdio.h>
#include <string.h>

#include "host/run/impl.h"
#include "host/run/smooth.h"

/* What a linear has of a layer: learned scales, or where it is left alone its weight in F32. */
static nb_status load_linear(nb_run *r, const nb_ckpt *part, const nb_plan_item *it, nb_tune_layer *l, nb_err *err) {
    nb_mem w = {0};
    nb_qtensor q;
    if (it->skip) {
        NB_TRY(nb__run_weight(r, it, &w, err));
        nb_block_set_dense(r->device, &l->block, it->lin, w);
        return NB_OK;
    }
    nb_block_set_dense(r->device, &l->block, it->lin, w);
    NB_TRY(nb__run_part_linear(r, part, it, &q, err));
    nb_status status = nb_scales_new(r->stream, &q, &l->lins[it->lin], err);
    nb_qtensor_free(&q);
    return nb_err_at(err, status, NULL, it->name);
}

static nb_status load_layer(nb_run *r, size_t layer, nb_tune_layer *l, nb_err *err) {
    nb_ckpt *part = NULL;
    nb_status status;
    NB_TRY(nb_block_load(r->model, r->stream, layer, &l->block, err));
    NB_GO(nb_output_open_part(&r->journal, layer, &part, err));
    NB_GO(nb__run_part_norms(r, part, &l->block, err));
    for (int i = 0; i < NB_LIN_COUNT; i++)
        NB_GO(load_linear(r, part, nb__run_item(r, layer, (nb_lin)i), l, err));
out:
    nb_ckpt_close(part);
    return status;
}

/* A norm that the part file holds goes on as it is. */
static nb_status copy_norm(nb_run *r, const nb_ckpt *part, size_t layer, nb_tap tap, nb_err *err) {
    char full[192];
    nb_dtype type;
    float offset;
    nb_packed_tensor *t = &r->tensors[r->n_tensors];
    NB_TRY(nb_norm_in_output(r->model, layer, tap, r->plan->gguf, r->norm_names[tap], sizeof r->norm_names[tap], &type, &offset, err));
    snprintf(full, sizeof full, "%s.weight", r->norm_names[tap]);
    const nb_view *v = nb_ckpt_find(part, full);
    if (!v)
        return NB_OK;
    *t = (nb_packed_tensor){.suffix = "weight", .dtype = v->dtype, .ndim = 1, .dims = {nb_view_count(v)}, .bytes = v->bytes};
    NB_TRY(nb_calloc(v->bytes, 1, "a norm", &t->data, err));
    memcpy(t->data, v->data, v->bytes);
    r->prefixes[r->n_tensors++] = r->norm_names[tap];
    return NB_OK;
}

static nb_status pack_linear(nb_run *r, const nb_ckpt *part, const nb_plan_item *it, nb_scales *scales, nb_err *err) {
    size_t clamped = 0;
    nb_qtensor q;
    nb_mem w = {0};
    nb_status status;
    NB_TRY(nb__run_part_linear(r, part, it, &q, err));
    NB_GO(nb_scales_result(scales, &q, err));
    NB_GO(nb_alloc_array(r->device, it->n * it->k, sizeof(float), &w, err));
    NB_GO(nb__run_keep(r, it, &q, w, &clamped, err));
out:
    nb_release(r->device, &w);
    nb_qtensor_free(&q);
    return nb_err_at(err, status, NULL, it->name);
}

static nb_status write_layer(nb_run *r, size_t layer, const nb_tune_layer *l, nb_err *err) {
    nb_ckpt *part = NULL;
    char *path = NULL;
    nb_status status;
    NB_GO(nb_output_open_part(&r->journal, layer, &part, err));
    for (nb_tap tap = NB_TAP_ATTN_IN; r->plan->smooth && tap <= NB_TAP_MLP_IN; tap += NB_TAP_MLP_IN - NB_TAP_ATTN_IN)
        NB_GO(copy_norm(r, part, layer, tap, err));
    for (int i = 0; i < NB_LIN_COUNT; i++)
        if (l->lins[i])
            NB_GO(pack_linear(r, part, nb__run_item(r, layer, (nb_lin)i), l->lins[i], err));
    NB_GO(nb_journal_tuned_part(&r->journal, layer, &path, err));
    NB_GO(nb_output_part(path, r->tensors, r->prefixes, r->n_tensors, err));
out:
    nb__run_forget_block(r);
    nb_ckpt_close(part);
    nb_free(path);
    return status;
}

static bool on_step(void *ctx, size_t step, double kl) {
    nb_run *r = ctx;
    nb_run_progress p = {.block = r->journal.done, .blocks = r->journal.done, .seconds = nb__run_now() - r->tuning_since, .loss = kl,
                         .learned_before = -1.0, .learned_after = -1.0, .stage = "learning scales,", .unit = "step", .step = step, .steps = r->plan->tune_steps};
    nb__run_sample_memory(r);
    if (step && r->hooks->progress)
        r->hooks->progress(r->hooks->ctx, &p);
    return !nb_run_stop_asked(r->hooks);
}

/* Embeddings of all windows into r->hidden, which nothing else needs any more, nor the buffers of stages. */
static nb_status embed_again(nb_run *r, nb_err *err) {
    NB_TRY(nb__run_embed(r, 0, r->windows.samples, r->hidden, err));
    NB_TRY(nb_sync(r->stream, err));
    nb_forward_drop_tables(r->forward);
    nb_release(r->device, &r->work);
    nb_release(r->device, &r->exact_work);
    nb_release(r->device, &r->block_input);
    return NB_OK;
}

static nb_status learn_scales(nb_run *r, nb_tune_layer *layers, size_t count, nb_tune_report *report, nb_err *err) {
    nb_tune_job job = {.model = r->model, .stream = r->stream, .layers = layers, .input = r->hidden, .target = r->exact_hidden,
                       .samples = r->windows.samples, .length = r->windows.seq_len, .batch = r->plan->tune_batch,
                       .steps = r->plan->tune_steps, .rate = r->plan->tune_rate, .seed = r->options->seed, .progress = on_step, .ctx = r};
    NB_TRY(embed_again(r, err));
    for (size_t i = 0; i < count; i++)
        NB_TRY(load_layer(r, i, &layers[i], err));
    r->tuning_since = nb__run_now();
    NB_TRY(nb_tune(&job, report, err));
    for (size_t i = 0; i < count && report->kept; i++)
        NB_TRY(write_layer(r, i, &layers[i], err));
    return NB_OK;
}

nb_status nb__run_tune(nb_run *r, nb_err *err) {
    size_t count = nb_model_hparams(r->model)->layers;
    nb_tune_report report;
    nb_tune_layer *layers;
    double t0 = nb__run_now();
    NB_TRY(nb_calloc(count, sizeof *layers, "learned scales", &layers, err));
    nb_status status = learn_scales(r, layers, count, &report, err);
    for (size_t i = 0; i < count; i++) {
        nb_block_free(r->device, &layers[i].block);
        for (int l = 0; l < NB_LIN_COUNT; l++)
            nb_scales_free(layers[i].lins[l]);
    }
    nb_free(layers);
    NB_TRY(status);
    r->result->solve_seconds += nb__run_now() - t0;
    if (!report.kept)
        nb_logf(&r->hooks->log, NB_LOG_WARN, "learned scales gain nothing on the calibration text (%.4f nats to the original before, %.4f "
                                             "after); the scales stay what they were", report.before, report.after);
    json_t *o = json_pack("{s:I, s:f, s:f, s:b}", "steps", (json_int_t)r->plan->tune_steps, "kl_before", report.before, "kl_after",
                          report.after, "kept", (int)report.kept);
    status = o ? nb_journal_tuned(&r->journal, report.kept, o, err) : nb_fail_memory(err, 0, "a report");
    json_decref(o);
    return status;
}
