/* The logits themselves, for comparing with other programs. */
#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/size.h"
#include "host/eval/eval.h"

enum { CHUNK_ROWS = 28 };

typedef struct job {
    nb_stream *stream;
    nb_device *device;
    const nb_model *model;
    size_t count; /* tokens */
    nb_forward *forward;
    nb_mem hidden, logits; /* f32 [count, hidden], [CHUNK_ROWS, vocab] */
    float *host;           /* [CHUNK_ROWS, vocab] */
} job;

static nb_status setup(job *j, const nb_eval_options *options, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(j->model);
    size_t floats;
    if (!nb_mul(CHUNK_ROWS, hp->vocab, &floats))
        return nb_fail_memory(err, SIZE_MAX, "logits");
    NB_TRY(nb_forward_new(j->model, j->stream, j->count, &j->forward, err));
    nb_forward_set_mode(j->forward, options->mode);
    NB_TRY(nb_forward_set_embeddings(j->forward, options->embeddings, err));
    NB_TRY(nb_alloc_array(j->device, j->count, hp->hidden * sizeof(float), &j->hidden, err));
    NB_TRY(nb_alloc_array(j->device, floats, sizeof(float), &j->logits, err));
    return nb_calloc(floats, sizeof *j->host, "logits", &j->host, err);
}

static nb_status run_blocks(job *j, const int32_t *ids, nb_err *err) {
    size_t layers = nb_model_hparams(j->model)->layers;
    NB_TRY(nb_forward_embed(j->forward, ids, j->count, j->hidden, err));
    for (size_t layer = 0; layer < layers; layer++) {
        nb_block block;
        NB_TRY(nb_block_load_joined(j->model, j->stream, layer, &block, err));
        nb_status status = nb_forward_block(j->forward, &block, j->hidden, 1, j->count, NULL, 0, err);
        if (status == NB_OK)
            status = nb_sync(j->stream, err);
        nb_block_free(j->device, &block);
        NB_TRY(status);
    }
    return NB_OK;
}

static nb_status write_rows(job *j, nb_out *out, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(j->model);
    for (size_t at = 0; at < j->count; at += CHUNK_ROWS) {
        size_t rows = nb_min(CHUNK_ROWS, j->count - at), bytes = rows * hp->vocab * sizeof(float);
        NB_TRY(nb_forward_logits(j->forward, nb_mem_at(j->hidden, at * hp->hidden * sizeof(float)), rows, j->logits, err));
        NB_TRY(nb_download(j->stream, j->host, j->logits, bytes, err));
        NB_TRY(nb_sync(j->stream, err));
        NB_TRY(nb_out_write(out, j->host, bytes, err));
    }
    return NB_OK;
}

nb_status nb_eval_logits(const nb_model *model, nb_stream *stream, const int32_t *ids, size_t count, const nb_eval_options *options,
                         nb_out *out, nb_err *err) {
    job j = {.stream = stream, .device = stream->device, .model = model, .count = count};
    nb_status status;
    NB_GO(setup(&j, options, err));
    NB_GO(run_blocks(&j, ids, err));
    NB_GO(write_rows(&j, out, err));
out:
    nb_free(j.host);
    nb_release(j.device, &j.logits);
    nb_release(j.device, &j.hidden);
    nb_forward_free(j.forward);
    return status;
}
