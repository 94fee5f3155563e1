/* Channel scales of a run (AWQ, arXiv 2306.00978): searched at a tap, folded into what makes its input. That is a norm, or the
 * rows of a linear, as those of v for o and of up for down: it is quantized by then, so that the factor goes into its scales,
 * each rounded once more, and its codes stay. */

#include "host/quant/awq.h"
#include "host/run/impl.h"
#include "host/run/smooth.h"

bool nb__run_can_smooth(const nb_run *r, size_t layer, nb_tap tap) {
    const nb_family *family = nb_model_hparams(r->model)->family;
    size_t readers = 0;
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        const nb_lin_row *row = &family->lins[l];
        if (row->tap != tap)
            continue;
        bool rows = row->row_fold && !nb__run_item(r, layer, row->row_from)->skip;
        if ((!row->norm_fold && !rows) || nb__run_item(r, layer, (nb_lin)l)->skip)
            return false;
        readers++;
    }
    return readers > 0;
}

static nb_status channel_magnitude(nb_run *r, nb_mem x, size_t rows, size_t k, float *out, nb_err *err) {
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

static nb_status search_channels(nb_run *r, size_t layer, const nb_lin *lins, size_t count, nb_mem h, size_t k,
                                 const float *magnitude, float *s, nb_awq_report *report, nb_err *err) {
    nb_awq_linear linears[NB_LIN_COUNT] = {0};
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        const nb_plan_item *it = nb__run_item(r, layer, lins[i]);
        linears[i] = (nb_awq_linear){.n = it->n, .options = nb__run_quant_options(r, it)};
        status = nb__run_weight(r, it, &linears[i].w, err);
    }
    if (status == NB_OK)
        status = nb_awq_search(r->stream, linears, count, k, h, magnitude, s, report, err);
    for (size_t i = 0; i < count; i++)
        nb_release(r->device, &linears[i].w);
    return status;
}

/* s to the device, statistics as those of x / s. */
static nb_status scale_statistics(nb_run *r, const float *s, size_t k, nb_quant_stats *stats, nb_err *err) {
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
    NB_GO(nb__run_scale_matrix(r, stats->hessian, k, k, d, d, err));
    if (stats->cross.base)
        NB_GO(nb__run_scale_matrix(r, stats->cross, k, k, d, d, err));
    NB_GO(nb_sync(r->stream, err));
out:
    nb_release(r->device, &d);
    nb_free(inverse);
    return status;
}

/* The block's norm takes 1 / s, in the block, in the part file and in x. */
static nb_status fold_channels(nb_run *r, nb_block *block, nb_tap tap, nb_mem x, size_t rows, size_t k, float *s, nb_err *err) {
    float *norm = NULL;
    nb_dtype type;
    nb_status status;
    float offset;
    NB_TRY(nb_norm_in_output(r->model, block->layer, tap, r->plan->gguf, r->norm_names[tap], sizeof r->norm_names[tap], &type, &offset,
                             err));
    NB_GO(nb_calloc(k, sizeof *norm, "a norm", &norm, err));
    NB_GO(nb_norm_download(r->stream, block, tap, k, norm, err));
    nb_awq_fold(norm, s, k, type, offset);
    NB_GO(nb_norm_pack(norm, k, type, offset, &r->tensors[r->n_tensors], err));
    r->prefixes[r->n_tensors++] = r->norm_names[tap];
    NB_GO(nb_norm_upload(r->stream, block, tap, k, norm, err));
    NB_GO(nb_forward_norm(r->forward, block, tap, r->hidden, rows, x, err));
out:
    nb_free(norm);
    return status;
}

/* Heads of attention that read one key head share what is folded into its values: v [k] becomes their mean. */
static void share_heads(const nb_hparams *hp, nb_lin from, float *v) {
    size_t group = hp->heads / hp->kv_heads, hd = hp->head_dim;
    for (size_t kvh = 0; from == NB_LIN_V && kvh < hp->kv_heads; kvh++)
        for (size_t d = 0; d < hd; d++) {
            double mean = 0.0;
            for (size_t g = 0; g < group; g++)
                mean += (double)v[(kvh * group + g) * hd + d] / (double)group;
            for (size_t g = 0; g < group; g++)
                v[(kvh * group + g) * hd + d] = (float)mean;
        }
}

/* Row of `from` that makes input channel j. */
static size_t row_of(const nb_hparams *hp, nb_lin from, size_t j) {
    size_t hd = hp->head_dim;
    return from == NB_LIN_V ? j / hd / (hp->heads / hp->kv_heads) * hd + j % hd : j;
}

/* Rows of the linear before take 1 / s, and x is made anew from its tap on. */
static nb_status fold_rows(nb_run *r, nb_block *block, nb_tap tap, nb_lin from, nb_mem x, size_t rows, size_t k, float *s,
                           nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(r->model);
    nb_tap before = hp->family->lins[from].tap;
    float *of_rows;
    size_t ignored;
    nb_status status;
    NB_TRY(nb_calloc(block->lin[from].n, sizeof *of_rows, "channel scales", &of_rows, err));
    for (size_t j = 0; j < k; j++)
        of_rows[row_of(hp, from, j)] = s[j];
    NB_GO(nb__run_divide_rows(r, block, from, of_rows, err));
    for (size_t j = 0; j < k; j++)
        s[j] = of_rows[row_of(hp, from, j)];
    NB_GO(nb_forward_norm(r->forward, block, before, r->hidden, rows, r->tap_x[before], err));
    NB_GO(nb_forward_stage(r->forward, block, tap, r->hidden, r->work, r->windows.samples, r->windows.seq_len, &x, &ignored, err));
out:
    nb_free(of_rows);
    return status;
}

static nb_status fold(nb_run *r, nb_block *block, nb_tap tap, nb_lin lin, nb_mem x, size_t rows, size_t k, float *s, nb_err *err) {
    const nb_lin_row *row = &nb_model_hparams(r->model)->family->lins[lin];
    if (row->norm_fold)
        return fold_channels(r, block, tap, x, rows, k, s, err);
    return fold_rows(r, block, tap, row->row_from, x, rows, k, s, err);
}

/* Channel scales of a tap's linears; from here until the tap is done weights and statistics are in scaled channels. */
nb_status nb__run_smooth(nb_run *r, nb_block *block, nb_tap tap, const nb_lin *lins, size_t count, nb_mem x, size_t rows,
                            size_t k, nb_quant_stats *stats, nb_err *err) {
    const nb_lin_row *first = &nb_model_hparams(r->model)->family->lins[lins[0]];
    float *magnitude = NULL, *s = NULL;
    nb_awq_report report;
    nb_status status;
    double t0 = nb__run_now();
    NB_GO(nb_calloc(k, sizeof *magnitude, "channel magnitudes", &magnitude, err));
    NB_GO(nb_calloc(k, sizeof *s, "channel scales", &s, err));
    NB_GO(channel_magnitude(r, x, rows, k, magnitude, err));
    if (first->row_fold)
        share_heads(nb_model_hparams(r->model), first->row_from, magnitude);
    NB_GO(search_channels(r, block->layer, lins, count, stats->hessian, k, magnitude, s, &report, err));
    if (report.alpha > 0.0) {
        NB_GO(fold(r, block, tap, lins[0], x, rows, k, s, err));
        NB_GO(scale_statistics(r, s, k, stats, err));
    }
    if (json_array_append_new(json_object_get(r->report, "awq"),
                              json_pack("{s:s, s:f, s:f, s:f}", "first", nb__run_item(r, block->layer, lins[0])->name, "alpha",
                                        report.alpha, "before", report.before, "after", report.after)) != 0)
        status = nb_fail_memory(err, 0, "a report");
out:
    nb_free(magnitude);
    nb_free(s);
    r->result->solve_seconds += nb__run_now() - t0;
    return nb_err_at(err, status, NULL, nb__run_item(r, block->layer, lins[0])->name); /* the first of those with this input */
}
