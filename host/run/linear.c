/* One matrix of a run: up to the device, quantized, packed, and back as the file says it. */
#include "host/run/impl.h"

#include <math.h>
#include <string.h>

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
nb_status nb__run_upload(nb_run *r, const nb_qtensor *q, nb_mem w, nb_err *err) {
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
    if (o && rep->output_damp_used > 0.0)
        json_object_set_new(o, "output_damp", json_real(rep->output_damp_used));
    if (o && rep->damp_raised)
        json_object_set_new(o, "damp_raised", json_integer((json_int_t)rep->damp_raised));
    if (o && rep->dead_columns)
        json_object_set_new(o, "dead_columns", json_integer((json_int_t)rep->dead_columns));
    if (o && clamped)
        json_object_set_new(o, "zeros_clamped", json_integer((json_int_t)clamped));
    return o;
}

static void tell_report(nb_run *r, const nb_plan_item *it, const nb_quant_report *rep, size_t clamped) {
    const nb_log *log = &r->hooks->log;
    if (r->output_side && rep->output_damp_used == 0.0)
        nb_logf(log, NB_LOG_WARN, "%s: the gradients by its outputs are all zero; its rows are taken for independent", it->name);
    if (rep->damp_raised)
        nb_logf(log, NB_LOG_WARN, "%s: the Hessian is not positive definite; damping raised %u times, to %g", it->name,
                rep->damp_raised, rep->damp_used);
    if (rep->output_damp_raised)
        nb_logf(log, NB_LOG_WARN, "%s: the covariance of gradients is not positive definite; its damping raised %u times, to %g", it->name,
                rep->output_damp_raised, rep->output_damp_used);
    if (rep->dead_columns)
        nb_logf(log, NB_LOG_INFO, "%s: %zu of %zu inputs are never used by the calibration text", it->name,
                rep->dead_columns, it->k);
    if (clamped)
        nb_logf(log, NB_LOG_INFO, "%s: %zu zero points raised to 1", it->name, clamped);
}

/* Packs q. Where the format could not hold it exactly, what it does hold is read back and put on the device, so that the
 * following layers see what the file says. */
nb_status nb__run_keep(nb_run *r, const nb_plan_item *it, nb_qtensor *q, nb_mem w, size_t *clamped, nb_err *err) {
    nb_packed_tensor *t = &r->tensors[r->n_tensors];
    size_t count = 0;
    NB_TRY(r->plan->scheme->pack(&r->plan->config, q, t, &count, clamped, err));
    for (size_t i = 0; i < count; i++)
        r->prefixes[r->n_tensors + i] = it->name;
    r->n_tensors += count;
    if (!*clamped && (q->symmetric || !r->plan->scheme->rounds_offsets))
        return NB_OK;
    packed_find find = {.tensors = t, .count = count, .prefix = it->name};
    nb_qtensor back;
    nb_scheme_config config = r->plan->config;
    config.bits = it->bits;
    config.group_size = it->group_size == it->k ? -1 : (int64_t)it->group_size;
    NB_TRY(r->plan->scheme->read(&config, find_packed, &find, it->name, it->n, it->k, &back, err));
    nb_qtensor_free(q);
    *q = back;
    return nb__run_upload(r, q, w, err);
}

/* A scale divided by s as its type holds it; false where it does not. */
static bool divided(const nb_qtensor *q, float scale, float s, float *out) {
    float x = scale / s;
    *out = q->scale_type == NB_F16 ? nb_f16_to_f32(nb_f32_to_f16(x)) : q->scale_type == NB_BF16 ? nb_bf16_to_f32(nb_f32_to_bf16(x)) : x;
    return isfinite(*out) && fabsf(*out) >= (q->scale_type == NB_F16 ? 0x1p-14f : 0x1p-126f);
}

nb_status nb__run_divide_rows(nb_run *r, nb_block *block, nb_lin lin, float *s, nb_err *err) {
    const nb_plan_item *it = nb__run_item(r, block->layer, lin);
    nb_qtensor *q = &r->quantized[lin];
    size_t end = r->n_tensors, clamped = 0;
    float x;
    nb_mem w;
    for (size_t i = 0; i < q->n; i++) {
        for (size_t g = 0; g < q->groups; g++)
            s[i] = divided(q, q->scales[i * q->groups + g], s[i], &x) ? s[i] : 1.0f;
        for (size_t g = 0; g < q->groups && s[i] != 1.0f; g++)
            divided(q, q->scales[i * q->groups + g], s[i], &q->scales[i * q->groups + g]);
    }
    for (size_t i = r->packed_at[lin]; i < end && r->prefixes[i] == it->name; i++) {
        nb_free(r->tensors[i].data);
        r->tensors[i].data = NULL;
    }
    NB_TRY(nb_alloc_array(r->device, it->n * it->k, sizeof(float), &w, err));
    nb_status status = nb__run_upload(r, q, w, err);
    r->n_tensors = r->packed_at[lin];
    if (status == NB_OK)
        status = nb__run_keep(r, it, q, w, &clamped, err);
    r->n_tensors = end;
    nb_block_set_dense(r->device, block, lin, w);
    return nb_err_at(err, status, NULL, it->name);
}

nb_quant_options nb__run_quant_options(const nb_run *r, const nb_plan_item *it) {
    return (nb_quant_options){.bits = it->bits,
                              .group_size = it->group_size,
                              .symmetric = r->options->symmetric,
                              .either_sign = r->plan->gguf,
                              .float_zeros = r->plan->gguf && !strcmp(r->plan->method->name, "hqq"),
                              .scale_type = NB_F16,
                              .order = r->options->order,
                              .scales = r->plan->scales,
                              .asym = r->plan->asym,
                              .descent = r->options->descent,
                              .damp = r->plan->damp,
                              .damp_step = r->plan->damp > 0 ? r->plan->damp : 0.01,
                              .output_damp = r->plan->output_damp,
                              .damp_max = 1.0,
                              .block = 128};
}

/* The weight of a linear as f32 on the device. */
nb_status nb__run_weight(nb_run *r, const nb_plan_item *it, nb_mem *out, nb_err *err) {
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
nb_status nb__run_scale_matrix(nb_run *r, nb_mem m, size_t rows, size_t k, nb_mem row, nb_mem col, nb_err *err) {
    struct nb_scale_matrix_args a = {.rows = rows, .k = k, .x = m, .ldx = k, .y = m, .ldy = k, .row = row, .col = col};
    return nb_launch(r->stream, NB_OP_scale_matrix, &a, err);
}

/* Quantizes one linear; its dequantized weight is left in *w_out, which the caller owns. */
nb_status nb__run_linear(nb_run *r, const nb_plan_item *it, const nb_quant_stats *stats, nb_mem *w_out, nb_err *err) {
    nb_mem w = {0};
    nb_qtensor q = {0};
    nb_quant_report rep = {0};
    nb_quant_options qo = nb__run_quant_options(r, it);
    nb_quant_stats own = *stats;
    size_t clamped = 0;
    nb_status status;
    double t0 = nb__run_now();
    if (r->output_side)
        own.output = r->output_side[(it->layer - r->outputs_first) * NB_LIN_COUNT + (size_t)it->lin];
    NB_GO(nb__run_weight(r, it, &w, err));
    if (r->channel_scale.base)
        NB_GO(nb__run_scale_matrix(r, w, it->n, it->k, (nb_mem){0}, r->channel_scale, err));
    NB_GO(r->plan->method->run(r->stream, w, it->n, it->k, &own, &qo, &q, &rep, err));
    if (r->plan->learn) { /* packed when the block has been learned */
        r->quantized[it->lin] = q;
        q = (nb_qtensor){0};
    } else {
        r->packed_at[it->lin] = r->n_tensors;
        NB_GO(nb__run_keep(r, it, &q, w, &clamped, err));
        if (r->plan->smooth) {
            r->quantized[it->lin] = q;
            q = (nb_qtensor){0};
        }
    }
    nb__run_sample_memory(r);
    tell_report(r, it, &rep, clamped);
    r->result->zeros_clamped += clamped;
    if (!isfinite(rep.loss)) {
        status = nb_fail(err, NB_E_INPUT, "the error is NaN or infinite");
        goto out;
    }
    if (json_array_append_new(json_object_get(r->report, "linears"), linear_report(it, r->plan->method, &rep, clamped)) != 0) {
        status = nb_fail_memory(err, 0, "a report");
        goto out;
    }
    r->loss_sum += rep.loss;
    r->loss_count++;
    *w_out = w;
    w = (nb_mem){0};
out:
    r->result->solve_seconds += nb__run_now() - t0;
    nb_qtensor_free(&q);
    nb_release(r->device, &w);
    return nb_err_at(err, status, NULL, it->name);
}
