/* Keys and values of past tokens: for each layer f32 [sequences, context, kv_heads * head_dim], keys after rotation. */
#include "host/model/kv.h"

#include "host/base/alloc.h"
#include "host/base/size.h"

nb_status nb_kv_new(const nb_model *model, nb_stream *stream, size_t sequences, size_t context, nb_kv **out, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(model);
    size_t width = hp->kv_heads * hp->head_dim, floats, bytes, all;
    if (!nb_mul3(sequences, context, width, &floats) || !nb_mul(floats, sizeof(float), &bytes) ||
        !nb_mul3(bytes, 2, hp->layers, &all))
        return nb_fail_memory(err, SIZE_MAX, "a cache of keys and values");
    nb_kv *kv;
    NB_TRY(nb_calloc(1, sizeof *kv, "a cache of keys and values", &kv, err));
    kv->device = stream->device;
    kv->sequences = sequences;
    kv->context = context;
    kv->width = width;
    kv->layer_bytes = bytes;
    nb_status status = nb_alloc(stream->device, all, &kv->mem, err);
    if (status != NB_OK) {
        nb_free(kv);
        return status;
    }
    *out = kv;
    return NB_OK;
}

void nb_kv_free(nb_kv *kv) {
    if (!kv)
        return;
    nb_release(kv->device, &kv->mem);
    nb_free(kv);
}

/* What was stored is not read again: a call reads only what it and those before it at lower positions have appended. */
void nb_kv_reset(nb_kv *kv) {
    (void)kv;
}

nb_mem nb__kv_keys(const nb_kv *kv, size_t layer) {
    return nb_mem_at(kv->mem, 2 * layer * kv->layer_bytes);
}

nb_mem nb__kv_values(const nb_kv *kv, size_t layer) {
    return nb_mem_at(kv->mem, (2 * layer + 1) * kv->layer_bytes);
}
