#include "host/run/gguf_meta.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/str.h"
#include "host/scheme/ggml.h"
#include "host/tokenizer/vocab_json.h"

/* ---- from a Hugging Face directory ---- */

typedef struct keys {
    nb_gguf_writer *w;
    const char *arch;
    nb_err *err;
} keys;

static nb_status put_size(const keys *k, const char *key, size_t v) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", k->arch, key);
    return nb_gguf_put_u32(k->w, name, (uint32_t)v, k->err);
}

static nb_status put_number(const keys *k, const char *key, double v) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", k->arch, key);
    return nb_gguf_put_f32(k->w, name, (float)v, k->err);
}

static nb_status put_rope(const keys *k, const nb_hparams *hp) {
    char name[96];
    NB_TRY(put_size(k, "rope.dimension_count", hp->head_dim));
    NB_TRY(put_number(k, "rope.freq_base", hp->rope_theta));
    if (hp->rope_scaling != NB_ROPE_LINEAR)
        return NB_OK; /* Llama-3's is a tensor */
    snprintf(name, sizeof name, "%s.rope.scaling.type", k->arch);
    NB_TRY(nb_gguf_put_str(k->w, name, "linear", k->err));
    return put_number(k, "rope.scaling.factor", hp->rope_factor);
}

static nb_status put_windows(const keys *k, const nb_hparams *hp) {
    enum { LAYERS_27B = 62 };
    double width = hp->layers == LAYERS_27B ? (double)hp->hidden / (double)hp->heads : (double)hp->head_dim;
    if (!hp->family->window_pattern)
        return NB_OK;
    if (fabs(hp->attn_scale * sqrt(width) - 1.0) > 1e-6)
        return nb_fail_at(k->err, NB_E_UNSUPPORTED, NULL, "query_pre_attn_scalar", "is %g; GGUF has no key for it, and llama.cpp takes %g",
                          1.0 / (hp->attn_scale * hp->attn_scale), width);
    if (!hp->window)
        return NB_OK;
    NB_TRY(put_size(k, "attention.sliding_window", hp->window));
    NB_TRY(put_size(k, "attention.sliding_window_pattern", hp->window_pattern ? hp->window_pattern : hp->layers + 1)); /* the latter: no layer is global */
    return put_number(k, "rope.freq_base_swa", hp->rope_local_theta);
}

static nb_status put_hparams(const keys *k, const nb_hparams *hp) {
    NB_TRY(put_size(k, "context_length", hp->context));
    NB_TRY(put_size(k, "embedding_length", hp->hidden));
    NB_TRY(put_size(k, "block_count", hp->layers));
    NB_TRY(put_size(k, "feed_forward_length", hp->intermediate));
    NB_TRY(put_size(k, "attention.head_count", hp->heads));
    NB_TRY(put_size(k, "attention.head_count_kv", hp->kv_heads));
    NB_TRY(put_size(k, "attention.key_length", hp->head_dim));
    NB_TRY(put_size(k, "attention.value_length", hp->head_dim));
    NB_TRY(put_size(k, "vocab_size", hp->vocab));
    NB_TRY(put_number(k, "attention.layer_norm_rms_epsilon", hp->norm_eps));
    NB_TRY(put_windows(k, hp));
    return put_rope(k, hp);
}

static nb_status put_id(const keys *k, const char *key, int64_t id) {
    return id >= 0 ? nb_gguf_put_u32(k->w, key, (uint32_t)id, k->err) : NB_OK;
}

static nb_status put_vocab(const keys *k, const nb_vocab *v) {
    bool spm = v->kind == NB_VOCAB_SPM;
    NB_TRY(nb_gguf_put_str(k->w, "tokenizer.ggml.model", spm ? "llama" : "gpt2", k->err));
    NB_TRY(nb_gguf_put_str(k->w, "tokenizer.ggml.pre", v->pre, k->err));
    NB_TRY(nb_gguf_put_strs(k->w, "tokenizer.ggml.tokens", v->tokens, v->size, k->err));
    NB_TRY(nb_gguf_put_i32s(k->w, "tokenizer.ggml.token_type", v->types, v->size, k->err));
    if (spm)
        NB_TRY(nb_gguf_put_f32s(k->w, "tokenizer.ggml.scores", v->scores, v->size, k->err));
    else
        NB_TRY(nb_gguf_put_strs(k->w, "tokenizer.ggml.merges", v->merges, v->n_merges, k->err));
    NB_TRY(put_id(k, "tokenizer.ggml.bos_token_id", v->bos));
    NB_TRY(put_id(k, "tokenizer.ggml.eos_token_id", v->eos));
    NB_TRY(put_id(k, "tokenizer.ggml.unknown_token_id", v->unk));
    NB_TRY(put_id(k, "tokenizer.ggml.padding_token_id", v->pad));
    NB_TRY(nb_gguf_put_bool(k->w, "tokenizer.ggml.add_bos_token", v->add_bos, k->err));
    NB_TRY(nb_gguf_put_bool(k->w, "tokenizer.ggml.add_eos_token", v->add_eos, k->err));
    NB_TRY(nb_gguf_put_bool(k->w, "tokenizer.ggml.add_space_prefix", v->add_space_prefix, k->err));
    return v->chat_template ? nb_gguf_put_str(k->w, "tokenizer.chat_template", v->chat_template, k->err) : NB_OK;
}

/* The last part of a path, without slashes at its end. */
static nb_status put_name(nb_gguf_writer *w, const char *path, nb_err *err) {
    char *name;
    NB_TRY(nb_strdup(path, &name, err));
    for (size_t len = strlen(name); len > 1 && name[len - 1] == '/'; len--)
        name[len - 1] = 0;
    const char *slash = strrchr(name, '/');
    nb_status status = nb_gguf_put_str(w, "general.name", slash ? slash + 1 : name, err);
    nb_free(name);
    return status;
}

static nb_status from_hf(nb_gguf_writer *w, const nb_model *model, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(model);
    const char *dir = nb_ckpt_path(nb_model_ckpt(model));
    keys k = {w, hp->family->gguf, err};
    nb_json_vocab *v;
    char *path;
    NB_TRY(nb_gguf_put_str(w, "general.architecture", hp->family->gguf, err));
    NB_TRY(nb_gguf_put_str(w, "general.type", "model", err));
    NB_TRY(put_name(w, dir, err));
    NB_TRY(put_hparams(&k, hp));
    NB_TRY(nb_path_join(dir, "tokenizer.json", &path, err));
    nb_status status = nb_vocab_from_json(path, nb_ckpt_config(nb_model_ckpt(model)), hp->vocab, &v, err);
    nb_free(path);
    NB_TRY(status);
    status = put_vocab(&k, nb_json_vocab_get(v));
    nb_json_vocab_free(v);
    return status;
}

/* ---- both ---- */

/* Not what says how a source was quantized or cut up, and what is written anew. */
static bool kept(const char *key) {
    static const char *const not_these[] = {"general.file_type", "general.quantization_version", "general.alignment", "quantize.*",
                                            "split.*", "nibble.*"};
    for (size_t i = 0; i < sizeof not_these / sizeof *not_these; i++)
        if (nb_glob(not_these[i], key))
            return false;
    return true;
}

/* llama.cpp's numbers of "mostly" types. */
static uint32_t file_type(const nb_plan *plan) {
    nb_dtype type = nb_ggml_type(plan->config.bits, plan->config.symmetric);
    return type == NB_Q8_0 ? 7 : type == NB_Q4_0 ? 2 : 3;
}

nb_status nb_gguf_metadata(nb_gguf_writer *w, const nb_model *model, const nb_plan *plan, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    if (nb_ckpt_kind_of(ckpt) == NB_CKPT_GGUF)
        NB_TRY(nb_gguf_copy_meta(w, ckpt, kept, err));
    else
        NB_TRY(from_hf(w, model, err));
    NB_TRY(nb_gguf_put_u32(w, "general.quantization_version", 2, err));
    return nb_gguf_put_u32(w, "general.file_type", file_type(plan), err);
}
