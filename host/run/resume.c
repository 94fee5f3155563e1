/* Blocks that an earlier run has done: their weights come from its part files. */
#include <stdio.h>

#include "host/run/impl.h"
#include "host/run/smooth.h"

static const nb_view *find_in_ckpt(void *ctx, const char *name) {
    return nb_ckpt_find(ctx, name);
}

static nb_status restore_norm(nb_run *r, nb_block *block, nb_tap tap, const nb_ckpt *part, nb_err *err) {
    char name[176], full[192];
    nb_dtype type;
    float *norm = NULL, offset;
    size_t k = nb_model_hparams(r->model)->hidden;
    NB_TRY(nb_norm_in_output(r->model, block->layer, tap, r->plan->gguf, name, sizeof name, &type, &offset, err));
    snprintf(full, sizeof full, "%s.weight", name);
    const nb_view *v = nb_ckpt_find(part, full);
    if (!v)
        return NB_OK;
    if (v->dtype != type || nb_view_count(v) != k)
        return nb_fail_at(err, NB_E_INPUT, v->path, full, "is not of the shape and type of this run");
    NB_TRY(nb_calloc(k, sizeof *norm, "a norm", &norm, err));
    nb_to_f32(v->dtype, v->data, k, norm);
    for (size_t i = 0; i < k; i++)
        norm[i] += offset;
    nb_status status = nb_norm_upload(r->stream, block, tap, k, norm, err);
    nb_free(norm);
    return status;
}

nb_status nb__run_part_norms(nb_run *r, const nb_ckpt *part, nb_block *block, nb_err *err) {
    if (!r->plan->smooth)
        return NB_OK;
    NB_TRY(restore_norm(r, block, NB_TAP_ATTN_IN, part, err));
    return restore_norm(r, block, NB_TAP_MLP_IN, part, err);
}

nb_status nb__run_part_linear(const nb_run *r, const nb_ckpt *part, const nb_plan_item *it, nb_qtensor *out, nb_err *err) {
    nb_scheme_config config = r->plan->config;
    config.bits = it->bits;
    config.group_size = it->group_size == it->k ? -1 : (int64_t)it->group_size;
    return r->plan->scheme->read(&config, find_in_ckpt, (void *)(uintptr_t)part, it->name, it->n, it->k, out, err);
}

/* Puts the finished block's quantized weights in place of the model's. */
static nb_status restore_weights(nb_run *r, nb_block *block, const nb_ckpt *part, nb_err *err) {
    NB_TRY(nb__run_part_norms(r, part, block, err));
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        const nb_plan_item *it = nb__run_item(r, block->layer, (nb_lin)l);
        nb_qtensor q;
        nb_mem w;
        if (it->skip)
            continue;
        NB_TRY(nb__run_part_linear(r, part, it, &q, err));
        nb_status status = nb_alloc_array(r->device, it->n * it->k, sizeof(float), &w, err);
        if (status == NB_OK) {
            status = nb__run_upload(r, &q, w, err);
            nb_block_set_dense(r->device, block, (nb_lin)l, w);
        }
        nb_qtensor_free(&q);
        NB_TRY(status);
    }
    return NB_OK;
}

nb_status nb__run_replay(nb_run *r, size_t layer, nb_err *err) {
    nb_block blocks[2]; /* ours, and the original model's where it has a stream */
    size_t count = nb__run_has_original(r) ? 2 : 1;
    nb_ckpt *part = NULL;
    nb_status status;
    if (!r->plan->needs_data)
        return NB_OK;
    NB_TRY(nb__run_load(r, layer, blocks, count, err));
    NB_GO(nb_output_open_part(&r->journal, layer, &part, err));
    NB_GO(restore_weights(r, &blocks[0], part, err));
    NB_GO(nb__run_stages(r, &blocks[0], count > 1 ? &blocks[1] : NULL, false, err));
out:
    nb_ckpt_close(part);
    for (size_t i = 0; i < count; i++)
        nb_block_free(r->device, &blocks[i]);
    return status;
}
