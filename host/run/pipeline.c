#include "host/run/pipeline.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/base/file.h"
#include "host/base/str.h"
#include "host/run/calibration.h"
#include "host/run/impl.h"

double nb__run_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void nb__run_sample_memory(nb_run *r) {
    uint64_t m = nb_anon_memory();
    if (m > r->result->peak_memory)
        r->result->peak_memory = m;
}

void nb__run_forget_block(nb_run *r) {
    for (int l = 0; l < NB_LIN_COUNT; l++)
        nb_qtensor_free(&r->quantized[l]);
    for (size_t i = 0; i < r->n_tensors; i++)
        nb_free(r->tensors[i].data);
    memset(r->tensors, 0, sizeof r->tensors);
    r->n_tensors = 0;
    json_decref(r->report);
    r->report = NULL;
    r->loss_sum = 0;
    r->loss_count = 0;
}

static nb_status write_part(nb_run *r, size_t layer, nb_err *err) {
    char *path;
    double t0 = nb__run_now();
    NB_TRY(nb_journal_part(&r->journal, layer, &path, err));
    nb_status status = nb_output_part(path, r->tensors, r->prefixes, r->n_tensors, err);
    if (status == NB_OK)
        status = nb_journal_block(&r->journal, r->report, err);
    nb_free(path);
    r->result->write_seconds += nb__run_now() - t0;
    return status;
}

static void tell_progress(nb_run *r, size_t done, bool resumed) {
    nb_run_progress p = {.block = done, .blocks = nb_model_hparams(r->model)->layers, .seconds = nb__run_now() - r->started,
                         .loss = r->loss_count ? r->loss_sum / (double)r->loss_count : -1.0, .resumed = resumed,
                         .learned_before = -1.0, .learned_after = -1.0};
    if (r->plan->learn && !resumed) {
        p.learned_before = r->learned.before;
        p.learned_after = r->learned.after;
        p.learned_kept = r->learned.kept;
    }
    nb__run_sample_memory(r);
    if (r->hooks->progress)
        r->hooks->progress(r->hooks->ctx, &p);
}

static nb_status run_blocks(nb_run *r, nb_err *err) {
    size_t layers = nb_model_hparams(r->model)->layers;
    size_t done = r->journal.done;
    r->result->resumed_blocks = done;
    for (size_t layer = 0; layer < layers; layer++) {
        if (nb_run_stop_asked(r->hooks))
            return nb_fail(err, NB_E_INTERRUPTED, "stopped after block %zu of %zu; the same command with --resume goes on", layer,
                           layers);
        bool finished = layer < done;
        if (finished && done == layers && !nb__run_tune_pending(r))
            continue; /* only assembling is left */
        if (finished) {
            NB_TRY(nb__run_replay(r, layer, err));
        } else {
            r->report = r->plan->smooth ? json_pack("{s:I, s:[], s:[]}", "block", (json_int_t)layer, "linears", "awq")
                                           : json_pack("{s:I, s:[]}", "block", (json_int_t)layer, "linears");
            nb_status status = r->plan->two_sided ? nb__run_outputs(r, layer, err) : NB_OK;
            if (status == NB_OK)
                status = nb__run_block(r, layer, err);
            if (status == NB_OK)
                status = write_part(r, layer, err);
            if (status == NB_OK)
                tell_progress(r, layer + 1, false);
            nb__run_forget_block(r);
            NB_TRY(status);
        }
        if (finished)
            tell_progress(r, layer + 1, true);
    }
    return nb__run_tune_pending(r) ? nb__run_tune(r, err) : NB_OK;
}

nb_status nb__run_embed(nb_run *r, size_t first, size_t count, nb_mem out, nb_err *err) {
    size_t length = r->windows.seq_len, bytes = length * nb_model_hparams(r->model)->hidden * sizeof(float);
    for (size_t i = 0; i < count; i++)
        NB_TRY(nb_forward_embed(r->forward, r->windows.ids + (first + i) * length, length, nb_mem_at(out, i * bytes), err));
    return NB_OK;
}

static nb_status embed_windows(nb_run *r, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(r->model);
    size_t tokens = r->windows.samples * r->windows.seq_len;
    NB_TRY(nb_alloc_array(r->device, tokens, hp->hidden * sizeof(float), &r->hidden, err));
    NB_TRY(nb_alloc(r->device, nb_forward_stage_bytes(hp, tokens), &r->work, err));
    NB_TRY(nb_forward_new(r->model, r->stream, nb__run_forward_rows(r), &r->forward, err));
    NB_TRY(nb__run_embed(r, 0, r->windows.samples, r->hidden, err));
    if (r->plan->learn)
        NB_TRY(nb_alloc_array(r->device, tokens, hp->hidden * sizeof(float), &r->block_input, err));
    if (r->plan->asym > 0 || r->plan->learn || r->plan->tune) {
        NB_TRY(nb_alloc_array(r->device, tokens, hp->hidden * sizeof(float), &r->exact_hidden, err));
        NB_TRY(nb_alloc(r->device, nb_forward_stage_bytes(hp, tokens), &r->exact_work, err));
        NB_TRY(nb_copy(r->stream, r->exact_hidden, r->hidden, tokens * hp->hidden * sizeof(float), err));
    }
    NB_TRY(nb_sync(r->stream, err));
    nb_forward_drop_tables(r->forward);
    return NB_OK;
}

static nb_status fingerprint(nb_run *r, char out[NB_HASH_TEXT], nb_err *err) {
    const nb_run_options *o = r->options;
    char text[NB_HASH_TEXT] = "";
    nb_hash *h;
    nb_str s = {0};
    NB_TRY(nb_hash_new(&h, err));
    nb_status status = nb_ckpt_fingerprint(nb_model_ckpt(r->model), text, err);
    if (status == NB_OK) {
        nb_hash_add_str(h, text);
        if (r->plan->needs_data) {
            nb_windows_hash(&r->windows, text);
            nb_hash_add_str(h, text);
        }
        status = nb_str_addf(&s, err, "%s %s %s two-sided %d learn %zu %zu %a tune %zu %zu %a seed %llu bits %u group %lld sym %d order %d scales %d asym %a descent %u damp %a ragged %d shard %llu", NB_VERSION_STRING,
                             o->method, r->plan->config.format, r->plan->two_sided, r->plan->learn_steps, r->plan->learn_batch, r->plan->learn_rate,
                             r->plan->tune_steps, r->plan->tune_batch, r->plan->tune_rate,
                             r->plan->learn || r->plan->tune || r->plan->two_sided ? (unsigned long long)o->seed : 0ULL, o->bits, (long long)r->plan->group_size, o->symmetric,
                             (int)o->order, (int)r->plan->scales, r->plan->asym, o->descent, r->plan->damp, o->ragged, (unsigned long long)o->shard_bytes);
    }
    if (status == NB_OK) {
        nb_hash_add_str(h, s.data);
        for (size_t i = 0; i < o->n_overrides; i++)
            nb_hash_add_str(h, o->overrides[i].text);
        nb_hash_text(h, out);
    }
    nb_str_free(&s);
    nb_hash_free(h);
    return status;
}

static json_t *make_report(const nb_run *r) {
    json_t *tuned = r->journal.tune_report;
    return json_pack("{s:s, s:s, s:s, s:b, s:i, s:s, s:f, s:s, s:i, s:I, s:b, s:f, s:O*, s:O}", "nibble", NB_VERSION_STRING, "device", r->result->device,
                     "method", r->options->method, "two_sided", (int)r->plan->two_sided, "descent", (int)r->plan->descent, "scales",
                     nb_scale_rule_name(r->plan->scales), "asym_calib",
                     r->plan->asym, "format", r->plan->config.format, "bits", (int)r->options->bits, "group_size",
                     (json_int_t)r->plan->group_size, "symmetric", (int)r->options->symmetric, "bits_per_weight",
                     r->plan->bits_per_weight, "learned_scales", tuned, "blocks", r->journal.reports);
}

static void tell_clamped(const nb_run *r) {
    if (r->result->zeros_clamped)
        nb_logf(&r->hooks->log, NB_LOG_WARN, "%zu zero points were raised to 1, as format %s cannot hold 0; gptq_v2 can",
                r->result->zeros_clamped, r->plan->config.format);
}

static nb_status finish(nb_run *r, const char *work, nb_err *err) {
    char *final_dir = NULL;
    nb_status status;
    double t0 = nb__run_now();
    r->result->report = make_report(r);
    if (!r->result->report)
        return nb_fail_memory(err, 0, "the report");
    NB_GO(nb_path_join(work, "out", &final_dir, err));
    NB_GO(nb_dir_remove(final_dir, err)); /* a folder or a file, of an earlier attempt */
    if (r->plan->gguf) {
        NB_GO(nb_output_gguf(r->model, r->plan, &r->journal, r->result->report, final_dir, &r->result->file_bytes, err));
    } else {
        NB_GO(nb_dir_make(final_dir, err));
        NB_GO(nb_output_assemble(r->model, r->plan, r->options, &r->journal, final_dir, &r->result->file_bytes, err));
        NB_GO(nb_hf_files(r->model, r->plan, r->result->report, final_dir, err));
    }
    NB_GO(nb__run_put_in_place(r, work, final_dir, err));
out:
    nb_free(final_dir);
    r->result->write_seconds += nb__run_now() - t0;
    return status;
}

/* What ends every run of this kind is said before work begins: a method without kernels on the device, a vocabulary that the
 * output cannot hold. */
static nb_status check_method(const nb_run *r, nb_err *err) {
    const nb_plan *plan = r->plan;
    nb_op need = plan->learn ? NB_OP_learned_round : !strcmp(plan->method->name, "hqq") ? NB_OP_hqq : NB_OP_rtn;
    const char *device = r->device->backend->name;
    if (plan->two_sided && !nb_device_has_gradients(r->device))
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "--two-sided", "needs gradients, which the device %s does not compute yet; --device "
                          "cpu does it", device);
    if (!r->device->chosen[need] || (plan->tune && !nb_device_has_gradients(r->device)))
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "--method", "%s does not run on the device %s yet; --device cpu does it",
                          plan->method_name, device);
    return plan->gguf ? nb_output_gguf_check(r->model, plan, r->options->out, err) : nb_hf_check(r->model, err);
}

nb_status nb_run_recipe(const nb_run_options *options, char *out, size_t cap, nb_err *err) {
    nb_str work = {0};
    nb_status status = nb_str_addf(&work, err, "%s.partial", options->out);
    if (status == NB_OK)
        status = nb_journal_recipe(work.data, out, cap, err);
    nb_str_free(&work);
    return status;
}

/* The device, as the report and the journal name it: kernels that are left out make it another one. */
static void name_device(nb_run *r) {
    char *text = r->result->device;
    size_t cap = sizeof r->result->device;
    nb_device_text(r->device, text, cap);
    if (r->options->kernel_filter)
        snprintf(text + strlen(text), cap - strlen(text), ", without %s", r->options->kernel_filter);
}

static nb_status prepare(nb_run *r, const char *work, nb_err *err) {
    char print[NB_HASH_TEXT];
    nb_device_options d = {.threads = r->options->threads, .kernel_filter = r->options->kernel_filter,
                           .memory_limit = r->options->device_memory, .cache_dir = r->options->cache_dir, .log = r->hooks->log};
    NB_TRY(nb_device_open(r->options->device, &d, &r->device, err));
    NB_TRY(nb_stream_new(r->device, &r->stream, err));
    NB_TRY(check_method(r, err));
    NB_TRY(nb__run_check_memory(r, err));
    name_device(r);
    if (r->plan->needs_data)
        NB_TRY(nb_calibration_windows(r->model, r->stream, r->options, r->hooks, &r->windows, err));
    NB_TRY(nb__run_check_disk(r, work, err));
    NB_TRY(fingerprint(r, print, err));
    NB_TRY(nb_journal_open(work, print, r->result->device, r->options->recipe, r->options->resume, r->options->allow_device_change,
                           &r->journal, err));
    if (r->plan->needs_data && (r->journal.done < nb_model_hparams(r->model)->layers || nb__run_tune_pending(r)))
        NB_TRY(embed_windows(r, err));
    return NB_OK;
}

/* A device that fails in the middle costs the block in work, no more. */
static void tell_kept(const nb_run *r, nb_status status) {
    if ((status == NB_E_DEVICE || status == NB_E_MEMORY) && r->journal.done > 0)
        nb_logf(&r->hooks->log, NB_LOG_WARN, "%zu finished blocks are kept; the same command with --resume goes on", r->journal.done);
}

nb_status nb_run_quantize(const nb_model *model, const nb_plan *plan, const nb_run_options *options,
                          const nb_run_hooks *hooks, nb_run_result *out, nb_err *err) {
    nb_run r = {.model = model, .plan = plan, .options = options, .hooks = hooks, .result = out, .started = nb__run_now(), .lock = -1};
    nb_str work = {0};
    nb_status status;
    *out = (nb_run_result){0};
    NB_GO(nb_str_addf(&work, err, "%s.partial", options->out));
    NB_GO(nb__run_check_place(&r, work.data, plan->gguf, err));
    NB_GO(prepare(&r, work.data, err));
    NB_GO(run_blocks(&r, err));
    tell_clamped(&r);
    NB_GO(finish(&r, work.data, err));
out:
    tell_kept(&r, status);
    nb__run_prefetch_stop(&r);
    if (r.lock >= 0 && status != NB_OK)
        nb_dir_remove_empty(work.data); /* where nothing was begun */
    nb_lock_release(r.lock);
    nb_str_free(&work);
    nb__run_forget_block(&r);
    nb_forward_free(r.forward);
    if (r.device) {
        nb__run_outputs_free(&r);
        nb_release(r.device, &r.work);
        nb_release(r.device, &r.hidden);
        nb_release(r.device, &r.block_input);
        nb_release(r.device, &r.exact_work);
        nb_release(r.device, &r.exact_hidden);
    }
    nb_windows_free(&r.windows);
    nb_journal_close(&r.journal);
    nb_stream_free(r.stream);
    nb_device_close(r.device);
    out->seconds = nb__run_now() - r.started;
    out->other_seconds =
        out->seconds - out->forward_seconds - out->statistics_seconds - out->solve_seconds - out->write_seconds;
    return status;
}

void nb_run_result_free(nb_run_result *result) {
    json_decref(result->report);
    *result = (nb_run_result){0};
}

