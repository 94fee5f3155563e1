/* The files beside the weights of a Hugging Face directory. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/json.h"
#include "host/base/str.h"
#include "host/run/output.h"
#include "host/tokenizer/export.h"

/* rope_scaling of config.json, or null. GGUF's per-frequency factors have no place in it unless they are Llama-3's. */
static nb_status rope_scaling(const nb_hparams *hp, json_t **out, nb_err *err) {
    if (hp->rope_scaling == NB_ROPE_FACTORS && !hp->rope_original_context)
        return nb_fail(err, NB_E_UNSUPPORTED, "rope_freqs.weight of this GGUF is not Llama 3's and cannot be written to a config.json; quantize the "
                       "Hugging Face original, or write a GGUF (--format gguf)");
    if (hp->rope_scaling == NB_ROPE_NONE)
        *out = json_null();
    else if (hp->rope_scaling == NB_ROPE_LINEAR)
        *out = json_pack("{s:s, s:f}", "rope_type", "linear", "factor", hp->rope_factor);
    else
        *out = json_pack("{s:s, s:f, s:f, s:f, s:I}", "rope_type", "llama3", "factor", hp->rope_factor, "low_freq_factor",
                         hp->rope_low_freq, "high_freq_factor", hp->rope_high_freq, "original_max_position_embeddings",
                         (json_int_t)hp->rope_original_context);
    return *out ? NB_OK : nb_fail_memory(err, 0, "config.json");
}

/* What config.json of a family with local layers says besides, in the way that old and new versions of Transformers read. */
static int add_windows(json_t *c, const nb_hparams *hp) {
    json_t *types = json_array();
    int bad = !types;
    for (size_t i = 0; i < hp->layers; i++)
        bad |= json_array_append_new(types, json_string(nb_layer_is_local(hp, i) ? "sliding_attention" : "full_attention"));
    bad |= json_object_set_new(c, "attn_logit_softcapping", json_null());
    bad |= json_object_set_new(c, "final_logit_softcapping", json_null());
    bad |= json_object_set_new(c, "layer_types", types);
    bad |= json_object_set_new(c, "query_pre_attn_scalar", json_integer(llround(1.0 / (hp->attn_scale * hp->attn_scale))));
    bad |= json_object_set_new(c, "rope_local_base_freq", json_real(hp->rope_local_theta));
    bad |= json_object_set_new(c, "sliding_window", json_integer((json_int_t)hp->window));
    bad |= json_object_set_new(c, "sliding_window_pattern", json_integer((json_int_t)hp->window_pattern));
    return bad;
}

/* config.json of a model that came as GGUF; key order as Transformers writes it. */
static nb_status config_from_hparams(const nb_model *model, json_t **out, nb_err *err) {
    const nb_hparams *hp = nb_model_hparams(model);
    const nb_vocab *vocab;
    json_t *scaling = NULL;
    NB_TRY(nb_ckpt_vocab(nb_model_ckpt(model), &vocab, err));
    NB_TRY(rope_scaling(hp, &scaling, err));
    json_t *c = json_pack("{s:[s], s:b, s:f, s:I, s:s, s:I, s:f, s:I, s:I, s:b, s:s, s:I, s:I, s:I, s:f, s:o, s:f, s:b, s:s, s:b, s:I}",
                          "architectures", hp->family->architecture, "attention_bias", 0, "attention_dropout", 0.0, "head_dim",
                          (json_int_t)hp->head_dim, hp->family->act_key, hp->family->hidden_act, "hidden_size", (json_int_t)hp->hidden,
                          "initializer_range", 0.02, "intermediate_size", (json_int_t)hp->intermediate,
                          "max_position_embeddings", (json_int_t)hp->context, "mlp_bias", 0, "model_type", hp->family->hf,
                          "num_attention_heads", (json_int_t)hp->heads, "num_hidden_layers", (json_int_t)hp->layers,
                          "num_key_value_heads", (json_int_t)hp->kv_heads, "rms_norm_eps", hp->norm_eps, "rope_scaling", scaling,
                          "rope_theta", hp->rope_theta, "tie_word_embeddings", (int)hp->tied, "torch_dtype", hp->family->dtype,
                          "use_cache", 1, "vocab_size", (json_int_t)hp->vocab);
    if (!c)
        return nb_fail_memory(err, 0, "config.json");
    int bad = hp->window ? add_windows(c, hp) : 0;
    if (vocab->bos >= 0)
        bad |= json_object_set_new(c, "bos_token_id", json_integer(vocab->bos));
    if (vocab->eos >= 0)
        bad |= json_object_set_new(c, "eos_token_id", json_integer(vocab->eos));
    if (vocab->pad >= 0)
        bad |= json_object_set_new(c, "pad_token_id", json_integer(vocab->pad));
    if (bad) {
        json_decref(c);
        return nb_fail_memory(err, 0, "config.json");
    }
    *out = c;
    return NB_OK;
}

/* name with regex characters escaped, after `prefix`, before '$'. */
static nb_status exact_regex(const char *prefix, const char *name, nb_str *out, nb_err *err) {
    NB_TRY(nb_str_addf(out, err, "%s", prefix));
    for (; *name; name++)
        NB_TRY(nb_str_addf(out, err, *name == '.' ? "\\%c" : "%c", *name));
    return nb_str_addf(out, err, "$");
}

/* `dynamic` of GPTQModel: one exact entry for each module that differs from the run's settings. NULL where none does. */
static nb_status dynamic_rules(const nb_plan *plan, json_t **out, nb_err *err) {
    json_t *rules = json_object();
    int bad = !rules;
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        int64_t group = plan->group_size < 0 ? (int64_t)it->k : plan->group_size;
        bool differs = !it->skip && (it->bits != plan->config.bits || (int64_t)it->group_size != group);
        nb_str key = {0};
        if (!it->skip && !differs)
            continue;
        nb_status status = exact_regex(it->skip ? "-:" : "+:", it->name, &key, err);
        if (status == NB_OK)
            bad |= json_object_set_new(rules, key.data,
                                       it->skip ? json_object()
                                                : json_pack("{s:i, s:I}", "bits", (int)it->bits, "group_size",
                                                            it->group_size == it->k ? (json_int_t)-1
                                                                                    : (json_int_t)it->group_size));
        nb_str_free(&key);
        if (status != NB_OK) {
            json_decref(rules);
            return status;
        }
    }
    if (bad) {
        json_decref(rules);
        return nb_fail_memory(err, 0, "a quantization_config");
    }
    if (!json_object_size(rules)) {
        json_decref(rules);
        rules = NULL;
    }
    *out = rules;
    return NB_OK;
}

/* "layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj": what Transformers matches at the end of a module's name. */
static const char *below_model(const char *name) {
    return nb_starts_with(name, "model.") ? name + strlen("model.") : name;
}

/* Transformers and Optimum do not read `dynamic`. Where modules are left alone they need the names of all that are not. */
static nb_status add_module_list(const nb_plan *plan, json_t *config, nb_err *err) {
    json_t *names = json_array(), *groups = json_array();
    int bad = !names || !groups;
    size_t skipped = 0;
    for (size_t i = 0; i < plan->count; i++) {
        skipped += plan->items[i].skip;
        if (!plan->items[i].skip)
            bad |= json_array_append_new(names, json_string(below_model(plan->items[i].name)));
    }
    bad |= json_array_append(groups, names);
    if (skipped)
        bad |= json_object_set(config, "modules_in_block_to_quantize", groups);
    json_decref(names);
    json_decref(groups);
    return bad ? nb_fail_memory(err, 0, "a quantization_config") : NB_OK;
}

static nb_status quantization_config(const nb_plan *plan, json_t **out, nb_err *err) {
    nb_scheme_config config = plan->config;
    json_t *rules = NULL, *made = NULL;
    NB_TRY(dynamic_rules(plan, &rules, err));
    config.dynamic = rules;
    nb_status status = plan->scheme->emit(&config, &made, err);
    json_decref(rules);
    if (status == NB_OK)
        status = strcmp(plan->scheme->name, "gptq") == 0 ? add_module_list(plan, made, err) : NB_OK;
    if (status == NB_OK)
        *out = made;
    else
        json_decref(made);
    return status;
}

/* config.json for the output: the model's own where it has one, else made from its hyperparameters; with quantization_config
 * where any linear is quantized. A new reference. */
static nb_status hf_config(const nb_model *model, const nb_plan *plan, json_t **out, nb_err *err) {
    const json_t *own = nb_ckpt_config(nb_model_ckpt(model));
    json_t *config, *quant;
    if (own)
        config = json_deep_copy(own);
    else
        NB_TRY(config_from_hparams(model, &config, err));
    if (!config)
        return nb_fail_memory(err, 0, "config.json");
    if (plan->weights) {
        nb_status status = quantization_config(plan, &quant, err);
        if (status != NB_OK) {
            json_decref(config);
            return status;
        }
        if (json_object_set_new(config, "quantization_config", quant) != 0) {
            json_decref(config);
            return nb_fail_memory(err, 0, "config.json");
        }
    }
    *out = config;
    return NB_OK;
}

static nb_status write_json_in(const char *dir, const char *name, const json_t *value, nb_err *err) {
    char *path;
    NB_TRY(nb_path_join(dir, name, &path, err));
    nb_status status = nb_json_write(path, value, err);
    nb_free(path);
    return status;
}

/* Weights and what this run writes itself are not carried over; nor are sub-folders and hidden files. */
static bool carried(const char *name) {
    static const char *const not_these[] = {"*.safetensors", "*.safetensors.index.json", "*.bin", "*.bin.index.json", "*.pt",
                                            "*.pth", "*.gguf", "*.h5", "*.msgpack", "*.onnx", "config.json",
                                            "quantize_config.json", "quantization_report.json", "*.partial", ".*"};
    for (size_t i = 0; i < sizeof not_these / sizeof *not_these; i++)
        if (nb_glob(not_these[i], name))
            return false;
    return true;
}

/* Copies what is carried into `to`; NULL: only looks whether it could. */
static nb_status carry_files(const char *from, const char *to, nb_err *err) {
    char **names;
    size_t count;
    NB_TRY(nb_dir_list(from, &names, &count, err));
    nb_status status = NB_OK;
    for (size_t i = 0; i < count && status == NB_OK; i++) {
        char *a = NULL, *b = NULL;
        if (!carried(names[i]))
            continue;
        status = nb_path_join(from, names[i], &a, err);
        bool folder = status == NB_OK && nb_path_is_dir(a);
        if (status == NB_OK && to)
            status = nb_path_join(to, names[i], &b, err);
        if (status == NB_OK && !folder)
            status = to ? nb_file_copy(a, b, err) : nb_file_readable(a, err);
        nb_free(a);
        nb_free(b);
    }
    nb_names_free(names, count);
    return status;
}

/* Tokenizer and generation files into `dir`; NULL: only looks whether it could. */
static nb_status beside_files(const nb_model *model, const char *dir, nb_err *err) {
    const nb_ckpt *ckpt = nb_model_ckpt(model);
    const nb_vocab *vocab;
    if (nb_ckpt_kind_of(ckpt) == NB_CKPT_HF)
        return carry_files(nb_ckpt_path(ckpt), dir, err);
    NB_TRY(nb_ckpt_vocab(ckpt, &vocab, err));
    return dir ? nb_tokenizer_export(vocab, dir, err) : nb_tokenizer_export_check(vocab, err);
}

nb_status nb_hf_check(const nb_model *model, nb_err *err) {
    json_t *config = NULL;
    if (nb_ckpt_kind_of(nb_model_ckpt(model)) == NB_CKPT_GGUF)
        NB_TRY(config_from_hparams(model, &config, err));
    json_decref(config);
    return beside_files(model, NULL, err);
}

nb_status nb_hf_files(const nb_model *model, const nb_plan *plan, const json_t *report, const char *dir, nb_err *err) {
    json_t *config = NULL, *quant = NULL;
    nb_status status;
    NB_GO(beside_files(model, dir, err));
    NB_GO(hf_config(model, plan, &config, err));
    NB_GO(write_json_in(dir, "config.json", config, err));
    quant = json_object_get(config, "quantization_config");
    if (quant)
        NB_GO(write_json_in(dir, "quantize_config.json", quant, err));
    NB_GO(write_json_in(dir, "quantization_report.json", report, err));
out:
    json_decref(config);
    return status;
}
