#include "host/run/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/calib/calib.h"
#include "host/calib/stats.h"
#include "host/model/forward.h"
#include "host/run/calibration.h"
#include "host/quant/awq.h"
#include "host/run/output.h"
#include "host/run/smooth.h"

enum { FORWARD_ROWS = 4096 }; /* tokens that a step of the forward pass handles at once */
enum { MAX_TENSORS = NB_LIN_COUNT * NB_SCHEME_MAX_TENSORS + NB_TAP_COUNT };

typedef struct run {
    const nb_model *model;
    const nb_plan *plan;
    const nb_run_options *options;
    const nb_run_hooks *hooks;
    nb_run_result *result;
    nb_device *device;
    nb_stream *stream;
    nb_windows windows;
    nb_forward *forward;
    nb_mem hidden, work;
    nb_mem exact_hidden, exact_work; /* of the original model, where the calibration is asymmetric */
    nb_journal journal;
    double started;
    /* of the block in work */
    nb_qtensor quantized[NB_LIN_COUNT];
    nb_packed_tensor tensors[MAX_TENSORS];
    const char *prefixes[MAX_TENSORS];
    char norm_names[NB_TAP_COUNT][160];
    nb_mem channel_scale; /* f32 [k] of the tap in work; absent: all 1 */
    size_t n_tensors;
    json_t *report;
    double loss_sum;
    size_t loss_count;
} run;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sample_memory(run *r) {
    uint64_t m = nb_anon_memory();
    if (m > r->result->peak_memory)
        r->result->peak_memory = m;
}

static const nb_plan_item *item_of(const run *r, size_t layer, nb_lin lin) {
    return &r->plan->items[layer * NB_LIN_COUNT + (size_t)lin];
}

/* ---- one linear ---- */

/* Views of packed tensors, for reading them back through the scheme, which keeps several at once. */
typedef struct packed_find {
    const nb_packed_tensor *tensors;
    size_t count;
    const char *prefix;
    nb_view views[NB_SCHEME_MAX_TENSORS];
} packed_find;

static const nb_view *find_packed(void *ctx, const char *name) {
    packed_find *f = ctx;
    size_t len = strlen(f->prefix);
    if (strncmp(name, f->prefix, len) != 0 || name[len] != '.')
        return NULL;
    for (size_t i = 0; i < f->count; i++) {
        const nb_packed_tensor *t = &f->tensors[i];
        if (strcmp(t->suffix, name + len + 1) != 0)
            continue;
        f->views[i] = (nb_view){.name = name, .dtype = t->dtype, .ndim = t->ndim, .data = t->data, .bytes = t->bytes, .path = ""};
        memcpy(f->views[i].dims, t->dims, sizeof t->dims);
        return &f->views[i];
    }
    return NULL;
}

/* Dequantizes q into the device buffer w. */
static nb_status upload_dequantized(run *r, const nb_qtensor *q, nb_mem w, nb_err *err) {
    float *host;
    NB_TRY(nb_calloc(q->n * q->k, sizeof *host, "a dequantized weight", &host, err));
    for (size_t i = 0; i < q->n; i++)
        nb_qtensor_row(q, i, host + i * q->k);
    nb_status status = nb_upload(r->stream, w, host, q->n * q->k * sizeof *host, err);
    if (status == NB_OK)
        status = nb_sync(r->stream, err);
    nb_free(host);
    return status;
}

static json_t *linear_report(const nb_plan_item *it, const nb_quantizer *method, const nb_quant_report *rep, size_t clamped) {
    json_t *o = json_pack("{s:s, s:i, s:I, s:f}", "name", it->name, "bits", (int)it->bits, "group_size",
                          (json_int_t)it->group_size, "loss", rep->loss);
    if (o && method->needs_hessian)
        json_object_set_new(o, "damp", json_real(rep->damp_used));
    if (o && rep->damp_raised)
        json_object_set_new(o, "damp_raised", json_integer((json_int_t)rep->damp_raised));
    if (o && rep->dead_columns)
        json_object_set_new(o, "dead_columns", json_integer((json_int_t)rep->dead_columns));
    if (o && clamped)
        json_object_set_new(o, "zeros_clamped", json_integer((json_int_t)clamped));
    return o;
}

static void tell_report(run *r, const nb_plan_item *it, const nb_quant_report *rep, size_t clamped) {
    const nb_log *log = &r->hooks->log;
    if (rep->damp_raised)
        nb_logf(log, NB_LOG_WARN, "%s: the Hessian is not positive definite; damping raised %u times, to %g", it->name,
                rep->damp_raised, rep->damp_used);
    if (rep->dead_columns)
        nb_logf(log, NB_LOG_INFO, "%s: %zu of %zu inputs are never used by the calibration text", it->name,
                rep->dead_columns, it->k);
    if (clamped)
        nb_logf(log, NB_LOG_INFO, "%s: %zu zero points raised to 1", it->name, clamped);
}

/* Packs q. Where the format could not hold it exactly, what it does hold is read back and put on the device, so that the
 * following layers see what the file says. */
static nb_status keep_packed(run *r, const nb_plan_item *it, nb_qtensor *q, nb_mem w, size_t *clamped, nb_err *err) {
    nb_packed_tensor *t = &r->tensors[r->n_tensors];
    size_t count = 0;
    NB_TRY(r->plan->scheme->pack(&r->plan->config, q, t, &count, clamped, err));
    for (size_t i = 0; i < count; i++)
        r->prefixes[r->n_tensors + i] = it->name;
    r->n_tensors += count;
    if (!*clamped)
        return NB_OK;
    packed_find find = {.tensors = t, .count = count, .prefix = it->name};
    nb_qtensor back;
    nb_scheme_config config = r->plan->config;
    config.bits = it->bits;
    config.group_size = it->group_size == it->k ? -1 : (int64_t)it->group_size;
    NB_TRY(r->plan->scheme->read(&config, find_packed, &find, it->name, it->n, it->k, &back, err));
    nb_status status = upload_dequantized(r, &back, w, err);
    nb_qtensor_free(&back);
    return status;
}

static nb_quant_options options_for(const run *r, const nb_plan_item *it) {
    return (nb_quant_options){.bits = it->bits,
                              .group_size = it->group_size,
                              .symmetric = r->options->symmetric,
                              .scale_type = NB_F16,
                              .order = r->options->order,
                              .scales = r->plan->scales,
                              .asym = r->plan->asym,
                              .damp = r->options->damp,
                              .damp_step = r->options->damp > 0 ? r->options->damp : 0.01,
                              .damp_max = 1.0,
                              .block = 128};
}

/* The weight of a linear as f32 on the device. */
static nb_status upload_weight(run *r, const nb_plan_item *it, nb_mem *out, nb_err *err) {
    float *host = NULL;
    nb_mem w = {0};
    nb_status status;
    NB_GO(nb_calloc(it->n * it->k, sizeof *host, "a weight", &host, err));
    NB_GO(nb_model_weight_f32(r->model, it->layer, it->lin, host, err));
    NB_GO(nb_alloc_array(r->device, it->n * it->k, sizeof *host, &w, err));
    NB_GO(nb_upload(r->stream, w, host, it->n * it->k * sizeof *host, err));
    NB_GO(nb_sync(r->stream, err));
    *out = w;
out:
    if (status != NB_OK)
        nb_release(r->device, &w);
    nb_free(host);
    return status;
}

/* Rows and columns of m [rows,k] times factors, in place. */
static nb_status scale_matrix(run *r, nb_mem m, size_t rows, size_t k, nb_mem row, nb_mem col, nb_err *err) {
    struct nb_scale_matrix_args a = {.rows = rows, .k = k, .x = m, .ldx = k, .y = m, .ldy = k, .row = row, .col = col};
    return nb_launch(r->stream, NB_OP_scale_matrix, &a, err);
}

/* Quantizes one linear; its dequantized weight is left in *w_out, which the caller owns. */
static nb_status quantize_linear(run *r, const nb_plan_item *it, const nb_quant_stats *stats, nb_mem *w_out, nb_err *err) {
    nb_mem w = {0};
    nb_qtensor q = {0};
    nb_quant_report rep = {0};
    nb_quant_options qo = options_for(r, it);
    size_t clamped = 0;
    nb_status status;
    double t0 = now();
    NB_GO(upload_weight(r, it, &w, err));
    if (r->channel_scale.base)
        NB_GO(scale_matrix(r, w, it->n, it->k, (nb_mem){0}, r->channel_scale, err));
    NB_GO(r->plan->method->run(r->stream, w, it->n, it->k, stats, &qo, &q, &rep, err));
    NB_GO(keep_packed(r, it, &q, w, &clamped, err));
    sample_memory(r);
    tell_report(r, it, &rep, clamped);
    r->result->zeros_clamped += clamped;
    if (json_array_append_new(json_object_get(r->report, "linears"), linear_report(it, r->plan->method, &rep, clamped)) != 0) {
        status = nb_fail_memory(err, 0, "a report");
        goto out;
    }
    r->loss_sum += rep.loss;
    r->loss_count++;
    *w_out = w;
    w = (nb_mem){0};
out:
    r->result->solve_seconds += now() - t0;
    nb_qtensor_free(&q);
    nb_release(r->device, &w);
    return nb_err_at(err, status, NULL, it->name);
}

/* ---- one block ---- */

/* hessian = (2 / rows) X^T X for the linears of a tap, and with the original model's inputs `exact` cross = (2 / rows)
 * exact^T X. */
static nb_status gather(run *r, nb_mem x, nb_mem exact, size_t rows, size_t k, nb_quant_stats *out, nb_err *err) {
    nb_status status;
    double t0 = now();
    NB_GO(nb_alloc_array(r->device, k * k, sizeof(float), &out->hessian, err));
    NB_GO(nb_fill(r->stream, out->hessian, 0, k * k * sizeof(float), err));
    NB_GO(nb_calib_hessian(r->stream, x, rows, k, out->hessian, err));
    if (exact.base) {
        NB_GO(nb_alloc_array(r->device, k * k, sizeof(float), &out->cross, err));
        NB_GO(nb_calib_cross(r->stream, exact, x, rows, k, out->cross, err));
    }
    NB_GO(nb_sync(r->stream, err));
    out->rows = rows;
out:
    r->result->statistics_seconds += now() - t0;
    return status;
}

/* Linears of one tap share H, and what a method derives from it. */
static nb_status quantize_tap(run *r, nb_block *block, const nb_lin *lins, size_t count, nb_quant_stats stats, nb_err *err) {
    nb_quant_cache *cache = NULL;
    stats.cache = &cache;
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        nb_mem w;
        status = quantize_linear(r, item_of(r, block->layer, lins[i]), &stats, &w, err);
        if (status == NB_OK)
            nb_block_set_dense(r->device, block, lins[i], w);
    }
    nb_quant_cache_free(r->device, &cache);
    return status;
}

/* Linears of this tap that the plan quantizes. */
static size_t planned_lins(const run *r, size_t layer, nb_tap tap, nb_lin *out) {
    const nb_family *family = nb_model_hparams(r->model)->family;
    size_t count = 0;
    for (int l = 0; l < NB_LIN_COUNT; l++)
        if (family->lins[l].tap == tap && !item_of(r, layer, (nb_lin)l)->skip)
            out[count++] = (nb_lin)l;
    return count;
}

/* ---- AWQ ---- */

/* Only where all that reads the norm is quantized can a factor go into it. */
static bool can_smooth(const run *r, size_t layer, nb_tap tap) {
    const nb_family *family = nb_model_hparams(r->model)->family;
    size_t readers = 0;
    for (int l = 0; l < NB_LIN_COUNT; l++)
        if (family->lins[l].tap == tap) {
            if (!family->lins[l].norm_fold || item_of(r, layer, (nb_lin)l)->skip)
                return false;
            readers++;
        }
    return readers > 0;
}

static nb_status channel_magnitude(run *r, nb_mem x, size_t rows, size_t k, float *out, nb_err *err) {
    nb_mem mean = {0};
    NB_TRY(nb_alloc_array(r->device, k, sizeof(float), &mean, err));
    struct nb_abs_mean_args a = {.rows = rows, .k = k, .x = x, .ldx = k, .out = mean};
    nb_status status = nb_launch(r->stream, NB_OP_abs_mean, &a, err);
    if (status == NB_OK)
        status = nb_download(r->stream, out, mean, k * sizeof(float), err);
    if (status == NB_OK)
        status = nb_sync(r->stream, err);
    nb_release(r->device, &mean);
    return status;
}

static nb_status search_channels(run *r, size_t layer, const nb_lin *lins, size_t count, nb_mem h, size_t k,
                                 const float *magnitude, float *s, nb_awq_report *report, nb_err *err) {
    nb_awq_linear linears[NB_LIN_COUNT] = {0};
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        const nb_plan_item *it = item_of(r, layer, lins[i]);
        linears[i] = (nb_awq_linear){.n = it->n, .options = options_for(r, it)};
        status = upload_weight(r, it, &linears[i].w, err);
    }
    if (status == NB_OK)
        status = nb_awq_search(r->stream, linears, count, k, h, magnitude, s, report, err);
    for (size_t i = 0; i < count; i++)
        nb_release(r->device, &linears[i].w);
    return status;
}

/* s to the device, statistics as those of x / s. */
static nb_status scale_statistics(run *r, const float *s, size_t k, nb_quant_stats *stats, nb_err *err) {
    float *inverse = NULL;
    nb_mem d = {0};
    nb_status status;
    NB_GO(nb_calloc(k, sizeof *inverse, "channel scales", &inverse, err));
    for (size_t j = 0; j < k; j++)
        inverse[j] = 1.0f / s[j];
    NB_GO(nb_alloc_array(r->device, k, sizeof(float), &d, err));
    NB_GO(nb_alloc_array(r->device, k, sizeof(float), &r->channel_scale, err));
    NB_GO(nb_upload(r->stream, d, inverse, k * sizeof(float), err));
    NB_GO(nb_upload(r->stream, r->channel_scale, s, k * sizeof(float), err));
    NB_GO(scale_matrix(r, stats->hessian, k, k, d, d, err));
    if (stats->cross.base)
        NB_GO(scale_matrix(r, stats->cross, k, k, d, d, err));
    NB_GO(nb_sync(r->stream, err));
out:
    nb_release(r->device, &d);
    nb_free(inverse);
    return status;
}

/* The block's norm takes 1 / s, in the block, in the part file and in x. */
static nb_status fold_channels(run *r, nb_block *block, nb_tap tap, nb_mem x, size_t rows, size_t k, float *s, nb_err *err) {
    float *norm = NULL;
    nb_dtype type;
    nb_status status;
    NB_TRY(nb_norm_in_output(r->model, block->layer, tap, r->norm_names[tap], sizeof r->norm_names[tap], &type, err));
    NB_GO(nb_calloc(k, sizeof *norm, "a norm", &norm, err));
    NB_GO(nb_norm_download(r->stream, block, tap, k, norm, err));
    nb_awq_fold(norm, s, k, type);
    NB_GO(nb_norm_pack(norm, k, type, &r->tensors[r->n_tensors], err));
    r->prefixes[r->n_tensors++] = r->norm_names[tap];
    NB_GO(nb_norm_upload(r->stream, block, tap, k, norm, err));
    NB_GO(nb_forward_norm(r->forward, block, tap, r->hidden, rows, x, err));
out:
    nb_free(norm);
    return status;
}

/* Channel scales of a tap's linears; from here until the tap is done weights and statistics are in scaled channels. */
static nb_status smooth_tap(run *r, nb_block *block, nb_tap tap, const nb_lin *lins, size_t count, nb_mem x, size_t rows,
                            size_t k, nb_quant_stats *stats, nb_err *err) {
    float *magnitude = NULL, *s = NULL;
    nb_awq_report report;
    nb_status status;
    double t0 = now();
    NB_GO(nb_calloc(k, sizeof *magnitude, "channel magnitudes", &magnitude, err));
    NB_GO(nb_calloc(k, sizeof *s, "channel scales", &s, err));
    NB_GO(channel_magnitude(r, x, rows, k, magnitude, err));
    NB_GO(search_channels(r, block->layer, lins, count, stats->hessian, k, magnitude, s, &report, err));
    if (report.alpha > 0.0) {
        NB_GO(fold_channels(r, block, tap, x, rows, k, s, err));
        NB_GO(scale_statistics(r, s, k, stats, err));
    }
    json_array_append_new(json_object_get(r->report, "awq"),
                          json_pack("{s:s, s:f, s:f, s:f}", "first", item_of(r, block->layer, lins[0])->name, "alpha", report.alpha,
                                    "before", report.before, "after", report.after));
out:
    nb_free(magnitude);
    nb_free(s);
    r->result->solve_seconds += now() - t0;
    return status;
}

static nb_status on_tap(run *r, nb_tap tap, nb_mem x, nb_mem exact, size_t rows, size_t k, nb_block *block, nb_err *err) {
    nb_lin lins[NB_LIN_COUNT];
    nb_quant_stats stats = {0};
    size_t count = planned_lins(r, block->layer, tap, lins);
    if (!count)
        return NB_OK;
    nb_status status = gather(r, x, exact, rows, k, &stats, err);
    if (status == NB_OK && r->plan->smooth && can_smooth(r, block->layer, tap))
        status = smooth_tap(r, block, tap, lins, count, x, rows, k, &stats, err);
    if (status == NB_OK)
        status = quantize_tap(r, block, lins, count, stats, err);
    nb_release(r->device, &r->channel_scale);
    nb_release(r->device, &stats.hessian);
    nb_release(r->device, &stats.cross);
    return status;
}

static void forget_block(run *r) {
    for (size_t i = 0; i < r->n_tensors; i++)
        nb_free(r->tensors[i].data);
    memset(r->tensors, 0, sizeof r->tensors);
    r->n_tensors = 0;
    json_decref(r->report);
    r->report = NULL;
    r->loss_sum = 0;
    r->loss_count = 0;
}

/* A method without statistics needs no forward pass. */
static nb_status quantize_block_plain(run *r, size_t layer, nb_err *err) {
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        const nb_plan_item *it = item_of(r, layer, (nb_lin)l);
        nb_quant_stats none = {0};
        nb_mem w;
        if (it->skip)
            continue;
        NB_TRY(quantize_linear(r, it, &none, &w, err));
        nb_release(r->device, &w);
    }
    return NB_OK;
}

/* One step of the block in both streams; at the first tap of all they are still the same. */
static nb_status run_stage(run *r, nb_block *block, nb_block *original, nb_tap tap, bool quantize, nb_err *err) {
    size_t samples = r->windows.samples, length = r->windows.seq_len, k;
    nb_mem x, exact = {0};
    if (original)
        NB_TRY(nb_forward_stage(r->forward, original, tap, r->exact_hidden, r->exact_work, samples, length, &exact, &k, err));
    NB_TRY(nb_forward_stage(r->forward, block, tap, r->hidden, r->work, samples, length, &x, &k, err));
    if (!quantize || tap == NB_TAP_COUNT)
        return NB_OK;
    if (block->layer == 0 && tap == NB_TAP_ATTN_IN)
        exact = (nb_mem){0};
    return on_tap(r, tap, x, exact, samples * length, k, block, err);
}

/* The stages of one block; what the taps did is counted by them. The original's block goes along where it has a stream. */
static nb_status run_stages(run *r, nb_block *block, bool quantize, nb_err *err) {
    double t0 = now(), tapped = r->result->statistics_seconds + r->result->solve_seconds;
    nb_block copy = {0}, *original = NULL;
    nb_status status = NB_OK;
    if (r->exact_hidden.base) {
        NB_TRY(nb_block_load(r->model, r->stream, block->layer, &copy, err));
        original = &copy;
    }
    for (int tap = 0; tap <= NB_TAP_COUNT && status == NB_OK; tap++)
        status = run_stage(r, block, original, (nb_tap)tap, quantize, err);
    if (status == NB_OK)
        status = nb_sync(r->stream, err);
    if (original)
        nb_block_free(r->device, original);
    r->result->forward_seconds += now() - t0 - (r->result->statistics_seconds + r->result->solve_seconds - tapped);
    return status;
}

static nb_status quantize_block(run *r, size_t layer, nb_err *err) {
    if (!r->plan->needs_data)
        return quantize_block_plain(r, layer, err);
    nb_block block;
    NB_TRY(nb_block_load(r->model, r->stream, layer, &block, err));
    nb_status status = run_stages(r, &block, true, err);
    nb_block_free(r->device, &block);
    return status;
}

static nb_status write_part(run *r, size_t layer, nb_err *err) {
    char *path;
    double t0 = now();
    NB_TRY(nb_journal_part(&r->journal, layer, &path, err));
    nb_status status = nb_output_part(path, r->tensors, r->prefixes, r->n_tensors, err);
    if (status == NB_OK)
        status = nb_journal_block(&r->journal, r->report, err);
    nb_free(path);
    r->result->write_seconds += now() - t0;
    return status;
}

/* ---- resume ---- */

static const nb_view *find_in_ckpt(void *ctx, const char *name) {
    return nb_ckpt_find(ctx, name);
}

/* Norms that the part file holds are those with channel scales in them. */
static nb_status restore_norm(run *r, nb_block *block, nb_tap tap, const nb_ckpt *part, nb_err *err) {
    char name[176], full[192];
    nb_dtype type;
    float *norm = NULL;
    size_t k = nb_model_hparams(r->model)->hidden;
    NB_TRY(nb_norm_in_output(r->model, block->layer, tap, name, sizeof name, &type, err));
    snprintf(full, sizeof full, "%s.weight", name);
    const nb_view *v = nb_ckpt_find(part, full);
    if (!v)
        return NB_OK;
    if (v->dtype != type || nb_view_count(v) != k)
        return nb_fail_at(err, NB_E_INPUT, v->path, full, "is not of the shape and type of this run");
    NB_TRY(nb_calloc(k, sizeof *norm, "a norm", &norm, err));
    nb_to_f32(v->dtype, v->data, k, norm);
    nb_status status = nb_norm_upload(r->stream, block, tap, k, norm, err);
    nb_free(norm);
    return status;
}

/* Puts the finished block's quantized weights in place of the model's. */
static nb_status restore_weights(run *r, nb_block *block, const nb_ckpt *part, nb_err *err) {
    if (r->plan->smooth) {
        NB_TRY(restore_norm(r, block, NB_TAP_ATTN_IN, part, err));
        NB_TRY(restore_norm(r, block, NB_TAP_MLP_IN, part, err));
    }
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        const nb_plan_item *it = item_of(r, block->layer, (nb_lin)l);
        nb_qtensor q;
        nb_mem w;
        if (it->skip)
            continue;
        nb_scheme_config config = r->plan->config;
        config.bits = it->bits;
        config.group_size = it->group_size == it->k ? -1 : (int64_t)it->group_size;
        NB_TRY(r->plan->scheme->read(&config, find_in_ckpt, (void *)(uintptr_t)part, it->name, it->n, it->k, &q, err));
        nb_status status = nb_alloc_array(r->device, it->n * it->k, sizeof(float), &w, err);
        if (status == NB_OK) {
            status = upload_dequantized(r, &q, w, err);
            nb_block_set_dense(r->device, block, (nb_lin)l, w);
        }
        nb_qtensor_free(&q);
        NB_TRY(status);
    }
    return NB_OK;
}

/* Runs a finished block forward with its quantized weights, so that the next one sees the inputs that it would have seen. */
static nb_status replay_block(run *r, size_t layer, nb_err *err) {
    nb_block block;
    nb_ckpt *part = NULL;
    char *path = NULL;
    nb_status status;
    if (!r->plan->needs_data)
        return NB_OK;
    NB_TRY(nb_block_load(r->model, r->stream, layer, &block, err));
    NB_GO(nb_journal_part(&r->journal, layer, &path, err));
    NB_GO(nb_ckpt_open_part(path, &part, err));
    NB_GO(restore_weights(r, &block, part, err));
    NB_GO(run_stages(r, &block, false, err));
out:
    nb_ckpt_close(part);
    nb_free(path);
    nb_block_free(r->device, &block);
    return status;
}

/* ---- the run ---- */

static void tell_progress(run *r, size_t done, bool resumed) {
    nb_run_progress p = {.block = done, .blocks = nb_model_hparams(r->model)->layers, .seconds = now() - r->started,
                         .loss = r->loss_count ? r->loss_sum / (double)r->loss_count : -1.0, .resumed = resumed};
    sample_memory(r);
    if (r->hooks->progress)
        r->hooks->progress(r->hooks->ctx, &p);
}

static nb_status run_blocks(run *r, nb_err *err) {
    size_t layers = nb_model_hparams(r->model)->layers;
    size_t done = r->journal.done;
    r->result->resumed_blocks = done;
    for (size_t layer = 0; layer < layers; layer++) {
        if (r->hooks->stop && r->hooks->stop(r->hooks->ctx))
            return nb_fail(err, NB_E_INTERRUPTED, "stopped after block %zu of %zu; the same command with --resume goes on", layer,
                           layers);
        bool finished = layer < done;
        if (finished && done == layers)
            continue; /* only assembling is left */
        if (finished) {
            NB_TRY(replay_block(r, layer, err));
        } else {
            r->report = r->plan->smooth ? json_pack("{s:I, s:[], s:[]}", "block", (json_int_t)layer, "linears", "awq")
                                           : json_pack("{s:I, s:[]}", "block", (json_int_t)layer, "linears");
            nb_status status = quantize_block(r, layer, err);
            if (status == NB_OK)
                status = write_part(r, layer, err);
            if (status == NB_OK)
                tell_progress(r, layer + 1, false);
            forget_block(r);
            NB_TRY(status);
        }
        if (finished)
            tell_progress(r, layer + 1, true);
    }
    return NB_OK;
}

static nb_status embed_windows(run *r, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(r->model);
    size_t tokens = r->windows.samples * r->windows.seq_len;
    NB_TRY(nb_alloc_array(r->device, tokens, hp->hidden * sizeof(float), &r->hidden, err));
    NB_TRY(nb_alloc(r->device, nb_forward_stage_bytes(hp, tokens), &r->work, err));
    NB_TRY(nb_forward_new(r->model, r->stream, nb_min(tokens, nb_max(FORWARD_ROWS, r->windows.seq_len)), &r->forward, err));
    for (size_t at = 0; at < tokens; at += r->windows.seq_len)
        NB_TRY(nb_forward_embed(r->forward, r->windows.ids + at, r->windows.seq_len,
                                nb_mem_at(r->hidden, at * hp->hidden * sizeof(float)), err));
    if (r->plan->asym > 0) {
        NB_TRY(nb_alloc_array(r->device, tokens, hp->hidden * sizeof(float), &r->exact_hidden, err));
        NB_TRY(nb_alloc(r->device, nb_forward_stage_bytes(hp, tokens), &r->exact_work, err));
        NB_TRY(nb_copy(r->stream, r->exact_hidden, r->hidden, tokens * hp->hidden * sizeof(float), err));
    }
    return nb_sync(r->stream, err);
}

static nb_status fingerprint(run *r, char out[NB_HASH_TEXT], nb_err *err) {
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
        status = nb_str_addf(&s, err, "%s %s %s bits %u group %lld sym %d order %d scales %d asym %a damp %a ragged %d shard %llu", NB_VERSION_STRING,
                             o->method, r->plan->config.format, o->bits, (long long)r->plan->group_size, o->symmetric,
                             (int)o->order, (int)r->plan->scales, r->plan->asym, o->damp, o->ragged, (unsigned long long)o->shard_bytes);
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

/* The folder in which the output will stand must be there. */
static nb_status check_parent(const char *path, nb_err *err) {
    char *parent;
    NB_TRY(nb_strdup(path, &parent, err));
    char *slash = strrchr(parent, '/');
    if (slash)
        *(slash == parent ? slash + 1 : slash) = 0;
    nb_status status = !slash || nb_path_is_dir(parent) ? NB_OK
                                                        : nb_fail_at(err, NB_E_USAGE, path, "--output",
                                                                     "the folder %.200s does not exist; make it first", parent);
    nb_free(parent);
    return status;
}

static nb_status check_output(const nb_run_options *o, bool *already, nb_err *err) {
    *already = false;
    NB_TRY(check_parent(o->out, err));
    if (nb_path_same(o->model, o->out))
        return nb_fail_at(err, NB_E_USAGE, o->out, "--output", "is the input model itself");
    if (!nb_path_exists(o->out))
        return NB_OK;
    if (!nb_path_is_dir(o->out))
        return nb_fail_at(err, NB_E_USAGE, o->out, "--output", "exists and is not a folder");
    if (!o->force && !o->resume)
        return nb_fail_at(err, NB_E_USAGE, o->out, "--output", "exists; --force replaces it");
    *already = true;
    return NB_OK;
}

static nb_status check_disk(const run *r, const char *work, nb_err *err) {
    uint64_t room, need = 2 * r->plan->packed_bytes + r->plan->other_bytes;
    NB_TRY(nb_disk_free(work, &room, err));
    if (room < need)
        return nb_fail_at(err, NB_E_FAILED, work, NULL, "the disk has %.2f GB free, this run needs %.2f GB", 1e-9 * (double)room,
                          1e-9 * (double)need);
    return NB_OK;
}

/* Removes a folder after the output is in place: the run has succeeded, whatever comes of this. */
static void tidy(const run *r, const char *path) {
    nb_err err = {0};
    char line[1400];
    if (nb_dir_remove(path, &err) == NB_OK)
        return;
    nb_err_line(&err, line, sizeof line);
    nb_logf(&r->hooks->log, NB_LOG_WARN, "a folder that is no longer needed stays: %s", line);
}

/* The output folder takes its final name by one rename; an old one is moved aside first and removed after. */
static nb_status put_in_place(const run *r, const char *final_dir, const char *work, nb_err *err) {
    const char *out = r->options->out;
    nb_str old = {0};
    nb_status status = nb_str_addf(&old, err, "%s.replaced", out);
    if (status == NB_OK && nb_path_exists(out)) {
        status = nb_dir_remove(old.data, err);
        if (status == NB_OK)
            status = nb_file_rename(out, old.data, err);
    }
    if (status == NB_OK)
        status = nb_file_rename(final_dir, out, err);
    if (status == NB_OK) {
        tidy(r, old.data);
        tidy(r, work);
    }
    nb_str_free(&old);
    return status;
}

static json_t *make_report(const run *r) {
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:s, s:i, s:I, s:b, s:f, s:O}", "nibble", NB_VERSION_STRING, "device", r->result->device,
                     "method", r->options->method, "scales", nb_scale_rule_name(r->plan->scales), "asym_calib",
                     r->plan->asym, "format", r->plan->config.format, "bits", (int)r->options->bits, "group_size",
                     (json_int_t)r->plan->group_size, "symmetric", (int)r->options->symmetric, "bits_per_weight",
                     r->plan->bits_per_weight, "blocks", r->journal.reports);
}

static void tell_clamped(const run *r) {
    if (r->result->zeros_clamped)
        nb_logf(&r->hooks->log, NB_LOG_WARN, "%zu zero points were raised to 1, as format %s cannot hold 0; gptq_v2 can",
                r->result->zeros_clamped, r->plan->config.format);
}

static nb_status finish(run *r, const char *work, nb_err *err) {
    char *final_dir = NULL;
    nb_status status;
    double t0 = now();
    r->result->report = make_report(r);
    if (!r->result->report)
        return nb_fail_memory(err, 0, "the report");
    NB_GO(nb_path_join(work, "out", &final_dir, err));
    NB_GO(nb_dir_remove(final_dir, err));
    NB_GO(nb_dir_make(final_dir, err));
    NB_GO(nb_output_assemble(r->model, r->plan, r->options, &r->journal, final_dir, &r->result->file_bytes, err));
    NB_GO(nb_hf_files(r->model, r->plan, r->result->report, final_dir, err));
    NB_GO(put_in_place(r, final_dir, work, err));
out:
    nb_free(final_dir);
    r->result->write_seconds += now() - t0;
    return status;
}

static nb_status prepare(run *r, const char *work, nb_err *err) {
    char print[NB_HASH_TEXT];
    nb_device_options d = {.threads = r->options->threads, .kernel_filter = r->options->kernel_filter,
                           .cache_dir = r->options->cache_dir, .log = r->hooks->log};
    NB_TRY(nb_device_open(r->options->device, &d, &r->device, err));
    NB_TRY(nb_stream_new(r->device, &r->stream, err));
    nb_device_text(r->device, r->result->device, sizeof r->result->device);
    if (r->plan->needs_data)
        NB_TRY(nb_calibration_windows(r->model, r->stream, r->options, r->hooks, &r->windows, err));
    NB_TRY(check_disk(r, work, err));
    NB_TRY(fingerprint(r, print, err));
    NB_TRY(nb_journal_open(work, print, r->result->device, r->options->resume, r->options->allow_device_change, &r->journal,
                           err));
    if (r->plan->needs_data && r->journal.done < nb_model_hparams(r->model)->layers)
        NB_TRY(embed_windows(r, err));
    return NB_OK;
}

nb_status nb_run_quantize(const nb_model *model, const nb_plan *plan, const nb_run_options *options,
                          const nb_run_hooks *hooks, nb_run_result *out, nb_err *err) {
    run r = {.model = model, .plan = plan, .options = options, .hooks = hooks, .result = out, .started = now()};
    nb_str work = {0};
    nb_status status;
    bool already;
    *out = (nb_run_result){0};
    NB_GO(check_output(options, &already, err));
    NB_GO(nb_str_addf(&work, err, "%s.partial", options->out));
    if (already && options->resume && !options->force && !nb_path_exists(work.data)) {
        status = nb_fail_at(err, NB_E_USAGE, options->out, "--resume", "is whole already; there is nothing to resume");
        goto out;
    }
    NB_GO(prepare(&r, work.data, err));
    NB_GO(run_blocks(&r, err));
    tell_clamped(&r);
    NB_GO(finish(&r, work.data, err));
out:
    nb_str_free(&work);
    forget_block(&r);
    nb_forward_free(r.forward);
    if (r.device) {
        nb_release(r.device, &r.work);
        nb_release(r.device, &r.hidden);
        nb_release(r.device, &r.exact_work);
        nb_release(r.device, &r.exact_hidden);
    }
    nb_windows_free(&r.windows);
    nb_journal_close(&r.journal);
    nb_stream_free(r.stream);
    nb_device_close(r.device);
    out->seconds = now() - r.started;
    out->other_seconds =
        out->seconds - out->forward_seconds - out->statistics_seconds - out->solve_seconds - out->write_seconds;
    return status;
}

void nb_run_result_free(nb_run_result *result) {
    json_decref(result->report);
    *result = (nb_run_result){0};
}
