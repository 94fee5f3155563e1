#include "host/run/smooth.h"

#include <stdio.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

nb_status nb_norm_in_output(const nb_model *model, size_t layer, nb_tap tap, bool gguf, char *name, size_t cap, nb_dtype *type,
                            float *offset, nb_err *err) {
    const nb_family *f = nb_model_hparams(model)->family;
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    const nb_norm_row *row = &f->norms[tap == NB_TAP_ATTN_IN ? NB_NORM_ATTN : NB_NORM_MLP];
    char full[192];
    snprintf(name, cap, "model.layers.%zu.%s", layer, row->hf);
    if (nb_ckpt_kind_of(ckpt) == NB_CKPT_GGUF)
        snprintf(full, sizeof full, "blk.%zu.%s.weight", layer, row->gguf);
    else
        snprintf(full, sizeof full, "%s.weight", name);
    const nb_view *v = nb_ckpt_find(ckpt, full);
    if (!v)
        return nb_fail(err, NB_E_INPUT, "there is no tensor %s", full);
    *offset = gguf ? 0.0f : (float)f->norm_offset;
    *type = gguf ? NB_F32 : nb_dtype_get(v->dtype)->block_elems == 1 ? v->dtype : NB_F16;
    if (*type != NB_F32 && *type != NB_F16 && *type != NB_BF16)
        return nb_fail(err, NB_E_UNSUPPORTED, "%s is of type %s; AWQ folds into F32, F16 and BF16 only", full,
                       nb_dtype_get(v->dtype)->name);
    return NB_OK;
}

static nb_mem norm_of(const nb_block *b, nb_tap tap) {
    return b->norm[tap == NB_TAP_ATTN_IN ? NB_NORM_ATTN : NB_NORM_MLP];
}

nb_status nb_norm_download(nb_stream *stream, const nb_block *block, nb_tap tap, size_t hidden, float *out, nb_err *err) {
    NB_TRY(nb_download(stream, out, norm_of(block, tap), hidden * sizeof *out, err));
    return nb_sync(stream, err);
}

nb_status nb_norm_upload(nb_stream *stream, nb_block *block, nb_tap tap, size_t hidden, const float *norm, nb_err *err) {
    NB_TRY(nb_upload(stream, norm_of(block, tap), norm, hidden * sizeof *norm, err));
    return nb_sync(stream, err);
}

nb_status nb_norm_pack(const float *norm, size_t hidden, nb_dtype type, float offset, nb_packed_tensor *out, nb_err *err) {
    nb_packed_tensor t = {.suffix = "weight", .dtype = type, .ndim = 1, .dims = {hidden}};
    t.bytes = hidden * (type == NB_F32 ? sizeof(float) : sizeof(uint16_t));
    float *stored;
    NB_TRY(nb_calloc(hidden, sizeof *stored, "a norm", &stored, err));
    nb_status status = nb_calloc(hidden, t.bytes / hidden, "a norm", &t.data, err);
    for (size_t i = 0; i < hidden; i++)
        stored[i] = norm[i] - offset;
    if (status == NB_OK)
        nb_from_f32(type, stored, hidden, t.data);
    nb_free(stored);
    if (status == NB_OK)
        *out = t;
    return status;
}
