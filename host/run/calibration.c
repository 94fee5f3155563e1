#include "host/run/calibration.h"

#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/model/generate.h"

nb_status nb_model_tokenizer(const nb_model *model, nb_tokenizer **out, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    const nb_vocab *vocab;
    char *path;
    if (nb_ckpt_kind_of(ckpt) == NB_CKPT_GGUF) {
        NB_TRY(nb_ckpt_vocab(ckpt, &vocab, err));
        return nb_tokenizer_from_vocab(vocab, nb_ckpt_path(ckpt), out, err);
    }
    NB_TRY(nb_path_join(nb_ckpt_path(ckpt), "tokenizer.json", &path, err));
    nb_status status = nb_tokenizer_from_json(path, out, err);
    nb_free(path);
    return status;
}

static nb_status add_stops(const json_t *settings, nb_ids *out, nb_err *err) {
    const json_t *v = json_object_get(settings, "eos_token_id"), *one;
    size_t i;
    if (json_is_integer(v))
        return nb_ids_add(out, (int32_t)json_integer_value(v), err);
    json_array_foreach (v, i, one)
        if (json_is_integer(one))
            NB_TRY(nb_ids_add(out, (int32_t)json_integer_value(one), err));
    return NB_OK;
}

nb_status nb_model_stops(const nb_model *model, const nb_tokenizer *tok, nb_ids *out, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    const nb_vocab *vocab;
    NB_TRY(nb_ids_add(out, nb_tokenizer_eos(tok), err));
    if (nb_ckpt_kind_of(ckpt) == NB_CKPT_GGUF) {
        NB_TRY(nb_ckpt_vocab(ckpt, &vocab, err));
        return nb_ids_add(out, (int32_t)vocab->eot, err);
    }
    NB_TRY(add_stops(nb_ckpt_config(ckpt), out, err));
    return add_stops(nb_ckpt_generation_config(ckpt), out, err);
}

static nb_status check_ids(const nb_model *model, const nb_windows *w, const char *path, nb_err *err) {
    size_t vocab = nb_model_hparams(model)->vocab;
    for (size_t i = 0; i < w->samples * w->seq_len; i++)
        if (w->ids[i] < 0 || (size_t)w->ids[i] >= vocab)
            return nb_fail_at(err, NB_E_INPUT, path, NULL, "token id %d is outside of the model's vocabulary of %zu", w->ids[i],
                              vocab);
    return NB_OK;
}

typedef struct own_text {
    const nb_run_hooks *hooks;
    size_t told; /* tenths of the work that were announced */
} own_text;

static bool on_token(void *ctx, size_t done, size_t total) {
    own_text *t = ctx;
    if (10 * done / total > t->told) {
        t->told = 10 * done / total;
        nb_logf(&t->hooks->log, NB_LOG_INFO, "writing calibration text: %zu of %zu tokens", done, total);
    }
    return !nb_run_stop_asked(t->hooks);
}

/* Text that the model writes itself: `samples` sequences, many at once. */
static nb_status write_own(const nb_model *model, nb_stream *stream, const nb_run_options *o, const nb_run_hooks *hooks,
                           nb_windows *out, nb_err *err) {
    nb_tokenizer *tok;
    nb_windows w = {.samples = o->samples, .seq_len = o->seq_len};
    own_text told = {.hooks = hooks};
    NB_TRY(nb_model_tokenizer(model, &tok, err));
    nb_batch_options bo = {.sequences = w.samples, .length = w.seq_len, .bos = nb_tokenizer_bos(tok),
                           .sampling = nb_sampling_for_calibration(o->seed), .progress = on_token, .ctx = &told};
    nb_tokenizer_free(tok);
    nb_logf(&hooks->log, NB_LOG_WARN, "no calibration text given: the model writes %zu sequences of %zu tokens itself; real text "
                                      "(--calib FILE) is better", w.samples, w.seq_len);
    NB_TRY(nb_calloc(w.samples * w.seq_len, sizeof *w.ids, "calibration tokens", &w.ids, err));
    nb_status status = nb_generate_batch(model, stream, &bo, w.ids, err);
    if (status != NB_OK) {
        nb_windows_free(&w);
        return status;
    }
    *out = w;
    return NB_OK;
}

nb_status nb_calibration_windows(const nb_model *model, nb_stream *stream, const nb_run_options *o, const nb_run_hooks *hooks,
                                 nb_windows *out, nb_err *err) {
    nb_calib_options co = {.samples = o->samples, .seq_len = o->seq_len, .seed = o->seed};
    nb_tokenizer *tok;
    nb_windows w;
    if (o->seq_len > nb_model_hparams(model)->context)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--seq-len", "is %zu, the model's context is %zu", o->seq_len,
                          nb_model_hparams(model)->context);
    if (!strcmp(o->calib, "self"))
        return write_own(model, stream, o, hooks, out, err);
    NB_TRY(nb_model_tokenizer(model, &tok, err));
    nb_status status = nb_calib_file(tok, o->calib, &co, &w, err);
    nb_tokenizer_free(tok);
    NB_TRY(status);
    nb_text_tell_replaced(&hooks->log, o->calib, w.replaced);
    status = check_ids(model, &w, o->calib, err);
    if (status != NB_OK) {
        nb_windows_free(&w);
        return status;
    }
    *out = w;
    return NB_OK;
}
