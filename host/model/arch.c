/* Families as rows of data, and hyperparameters from config.json or GGUF metadata. */
#include "host/model/arch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/json.h"
#include "host/base/str.h"
#include "host/model/impl.h"

/* clang-format off */
static const nb_lin_row llama_lins[NB_LIN_COUNT] = {
    [NB_LIN_Q]    = {"self_attn.q_proj", "attn_q",      NB_TAP_ATTN_IN,  .norm_fold = true},
    [NB_LIN_K]    = {"self_attn.k_proj", "attn_k",      NB_TAP_ATTN_IN,  .norm_fold = true},
    [NB_LIN_V]    = {"self_attn.v_proj", "attn_v",      NB_TAP_ATTN_IN,  .norm_fold = true},
    [NB_LIN_O]    = {"self_attn.o_proj", "attn_output", NB_TAP_ATTN_OUT, .row_fold = true, .row_from = NB_LIN_V},
    [NB_LIN_GATE] = {"mlp.gate_proj",    "ffn_gate",    NB_TAP_MLP_IN,   .norm_fold = true},
    [NB_LIN_UP]   = {"mlp.up_proj",      "ffn_up",      NB_TAP_MLP_IN,   .norm_fold = true},
    [NB_LIN_DOWN] = {"mlp.down_proj",    "ffn_down",    NB_TAP_MLP_OUT,  .row_fold = true, .row_from = NB_LIN_UP},
};

static const nb_family families[] = {
    {.hf = "llama", .gguf = "llama", .lins = llama_lins,
     .norms = {[NB_NORM_ATTN] = {"input_layernorm", "attn_norm"}, [NB_NORM_MLP] = {"post_attention_layernorm", "ffn_norm"}},
     .final_norm = "model.norm", .embed = "model.embed_tokens", .head = "lm_head",
     .gguf_final_norm = "output_norm", .gguf_embed = "token_embd", .gguf_head = "output",
     .gguf_permutes_qk = true, .act = NB_ACT_SILU, .act_key = "hidden_act", .hidden_act = "silu",
     .architecture = "LlamaForCausalLM", .dtype = "float16", .rope_theta = 1e4},
    /* bfloat16, as activations of this family leave the range of float16 (vLLM refuses it) */
    {.hf = "gemma3_text", .gguf = "gemma3", .lins = llama_lins,
     .norms = {[NB_NORM_ATTN] = {"input_layernorm", "attn_norm"}, [NB_NORM_MLP] = {"pre_feedforward_layernorm", "ffn_norm"},
               [NB_NORM_Q] = {"self_attn.q_norm", "attn_q_norm"}, [NB_NORM_K] = {"self_attn.k_norm", "attn_k_norm"},
               [NB_NORM_ATTN_OUT] = {"post_attention_layernorm", "post_attention_norm"},
               [NB_NORM_MLP_OUT] = {"post_feedforward_layernorm", "post_ffw_norm"}},
     .final_norm = "model.norm", .embed = "model.embed_tokens", .head = "lm_head",
     .gguf_final_norm = "output_norm", .gguf_embed = "token_embd", .gguf_head = "output",
     .act = NB_ACT_GELU_TANH, .act_key = "hidden_activation", .hidden_act = "gelu_pytorch_tanh",
     .architecture = "Gemma3ForCausalLM", .dtype = "bfloat16", .norm_offset = 1.0, .embed_scaled = true, .tied = true,
     .rope_theta = 1e6, .head_dim = 256, .window_pattern = 6},
};
/* clang-format on */

enum { N_FAMILIES = sizeof families / sizeof *families };

/* Bounds that keep every product of two sizes far from overflow. */
enum { MAX_SIZE = 1 << 24, MAX_VOCAB = 1 << 28, MAX_LAYERS = 1000000000 };

static nb_status find_family(const char *name, bool gguf, const nb_family **out, nb_err *err) {
    char known[128] = "";
    for (size_t i = 0; i < N_FAMILIES; i++) {
        const char *have = gguf ? families[i].gguf : families[i].hf;
        if (!strcmp(name, have)) {
            *out = &families[i];
            return NB_OK;
        }
        size_t len = strlen(known);
        snprintf(known + len, sizeof known - len, "%s%s", len ? ", " : "", have);
    }
    return nb_fail(err, NB_E_UNSUPPORTED, "models of the family \"%.64s\" are not supported; known: %s", name, known);
}

/* ---- config.json ---- */

static nb_status need_size(const json_t *config, const char *key, int64_t max, size_t *out, nb_err *err) {
    int64_t v = 0;
    NB_TRY(nb_json_get_int(config, key, 1, max, &v, err));
    if (v == 0)
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "is missing");
    *out = (size_t)v;
    return NB_OK;
}

static nb_status maybe_size(const json_t *config, const char *key, int64_t max, size_t fallback, size_t *out, nb_err *err) {
    int64_t v = (int64_t)fallback;
    NB_TRY(nb_json_get_int(config, key, 1, max, &v, err));
    *out = (size_t)v;
    return NB_OK;
}

static nb_status positive(const char *key, double v, nb_err *err) {
    if (!(v > 0.0) || !isfinite(v))
        return nb_fail_at(err, NB_E_INPUT, NULL, key, "is %g, expected a number above 0", v);
    return NB_OK;
}

static nb_status need_number(const json_t *config, const char *key, double *out, nb_err *err) {
    *out = 0.0;
    NB_TRY(nb_json_get_number(config, key, out, err));
    return positive(key, *out, err);
}

/* Rotation of local layers: "sliding_attention" inside of "rope_parameters" (newer), or "rope_local_base_freq" (older). */
static nb_status hf_local_rope(const json_t *config, const json_t *rope, nb_hparams *hp, nb_err *err) {
    const char *type = "default";
    hp->rope_local_theta = 1e4;
    NB_TRY(nb_json_get_number(config, "rope_local_base_freq", &hp->rope_local_theta, err));
    if (json_is_object(rope)) {
        NB_TRY(nb_json_get_number(rope, "rope_theta", &hp->rope_local_theta, err));
        NB_TRY(nb_json_get_str(rope, "rope_type", &type, err));
        if (strcmp(type, "default") != 0)
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "rope_type", "\"%.32s\" is not supported in sliding_attention", type);
    }
    return positive("rope_local_base_freq", hp->rope_local_theta, err);
}

/* Both styles: "rope_parameters" holds all of it (newer), or "rope_theta" stands beside "rope_scaling" (older). */
static nb_status hf_rope(const json_t *config, nb_hparams *hp, nb_err *err) {
    const json_t *rope = json_object_get(config, "rope_parameters"), *full = json_object_get(rope, "full_attention");
    if (hp->family->window_pattern)
        NB_TRY(hf_local_rope(config, json_object_get(rope, "sliding_attention"), hp, err));
    if (json_is_object(full))
        rope = full;
    if (!json_is_object(rope))
        rope = json_object_get(config, "rope_scaling");
    hp->rope_theta = hp->family->rope_theta;
    NB_TRY(nb_json_get_number(config, "rope_theta", &hp->rope_theta, err));
    if (json_is_object(rope)) {
        const char *type = "default";
        NB_TRY(nb_json_get_number(rope, "rope_theta", &hp->rope_theta, err));
        NB_TRY(nb_json_get_str(rope, "type", &type, err));
        NB_TRY(nb_json_get_str(rope, "rope_type", &type, err));
        if (!strcmp(type, "linear")) {
            hp->rope_scaling = NB_ROPE_LINEAR;
            NB_TRY(need_number(rope, "factor", &hp->rope_factor, err));
        } else if (!strcmp(type, "llama3")) {
            hp->rope_scaling = NB_ROPE_LLAMA3;
            NB_TRY(need_number(rope, "factor", &hp->rope_factor, err));
            NB_TRY(need_number(rope, "low_freq_factor", &hp->rope_low_freq, err));
            NB_TRY(need_number(rope, "high_freq_factor", &hp->rope_high_freq, err));
            NB_TRY(need_size(rope, "original_max_position_embeddings", MAX_VOCAB, &hp->rope_original_context, err));
            if (!(hp->rope_high_freq > hp->rope_low_freq))
                return nb_fail_at(err, NB_E_INPUT, NULL, "high_freq_factor", "is %g, expected more than low_freq_factor, %g",
                                  hp->rope_high_freq, hp->rope_low_freq);
        } else if (strcmp(type, "default") != 0) {
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "rope_type",
                              "\"%.32s\" is not supported; known: default, linear, llama3", type);
        }
    }
    return positive("rope_theta", hp->rope_theta, err);
}

static nb_status hf_dtype(const json_t *config, nb_hparams *hp, nb_err *err) {
    static const struct {
        const char *name;
        nb_dtype dtype;
    } types[] = {{"float32", NB_F32}, {"float16", NB_F16}, {"bfloat16", NB_BF16}};
    const char *name = "float32";
    NB_TRY(nb_json_get_str(config, "torch_dtype", &name, err));
    NB_TRY(nb_json_get_str(config, "dtype", &name, err));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(name, types[i].name)) {
            hp->dtype = types[i].dtype;
            return NB_OK;
        }
    return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "dtype", "\"%.32s\" is not one of float32, float16, bfloat16", name);
}

/* What a family's forward pass here does not do must not be asked for. */
static nb_status hf_refusals(const json_t *config, const nb_family *family, nb_err *err) {
    static const char *const biases[] = {"attention_bias", "mlp_bias"};
    static const char *const caps[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    bool both_ways = false;
    for (size_t i = 0; i < 2; i++) {
        const json_t *cap = json_object_get(config, caps[i]);
        if (cap && !json_is_null(cap))
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, caps[i], "capped logits are not supported");
    }
    NB_TRY(nb_json_get_bool(config, "use_bidirectional_attention", &both_ways, err));
    if (both_ways)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "use_bidirectional_attention", "only causal attention is supported");
    for (size_t i = 0; i < 2; i++) {
        bool on = false;
        NB_TRY(nb_json_get_bool(config, biases[i], &on, err));
        if (on)
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, biases[i], "linears with a bias are not supported");
    }
    const char *act = family->hidden_act;
    NB_TRY(nb_json_get_str(config, family->act_key, &act, err));
    if (strcmp(act, family->hidden_act) != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, family->act_key, "\"%.32s\" is not supported; expected %s", act,
                          family->hidden_act);
    return NB_OK;
}

/* "layer_types" as a pattern: the first global layer says where the others must be. */
static nb_status hf_layer_types(const json_t *types, nb_hparams *hp, nb_err *err) {
    if (!json_is_array(types) || json_array_size(types) != hp->layers)
        return nb_fail_at(err, NB_E_INPUT, NULL, "layer_types", "is no list of %zu names", hp->layers);
    hp->window_pattern = 0;
    for (size_t i = 0; i < hp->layers; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool full = type && !strcmp(type, "full_attention");
        if (!full && (!type || strcmp(type, "sliding_attention") != 0))
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "layer_types",
                              "\"%.32s\" is not supported; known: full_attention, sliding_attention", type ? type : "");
        if (full && !hp->window_pattern)
            hp->window_pattern = i + 1;
        if (full == nb_layer_is_local(hp, i))
            return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "layer_types", "full_attention does not come every %zu layers",
                              hp->window_pattern);
    }
    return NB_OK;
}

/* Sliding windows; a family without them has none, whatever the config says. */
static nb_status hf_windows(const json_t *config, nb_hparams *hp, nb_err *err) {
    if (!hp->family->window_pattern)
        return NB_OK;
    const json_t *types = json_object_get(config, "layer_types");
    NB_TRY(need_size(config, "sliding_window", MAX_LAYERS, &hp->window, err));
    NB_TRY(maybe_size(config, "_sliding_window_pattern", MAX_LAYERS, hp->family->window_pattern, &hp->window_pattern, err));
    NB_TRY(maybe_size(config, "sliding_window_pattern", MAX_LAYERS, hp->window_pattern, &hp->window_pattern, err));
    return types && !json_is_null(types) ? hf_layer_types(types, hp, err) : NB_OK;
}

/* Scale of q k^T: query_pre_attn_scalar^-0.5, which only gemma has; 0 stands for head_dim^-0.5. */
static nb_status hf_attn_scale(const json_t *config, nb_hparams *hp, nb_err *err) {
    double scalar = 0;
    NB_TRY(nb_json_get_number(config, "query_pre_attn_scalar", &scalar, err));
    if (!hp->family->window_pattern || scalar == 0)
        return NB_OK;
    NB_TRY(positive("query_pre_attn_scalar", scalar, err));
    hp->attn_scale = 1.0 / sqrt(scalar);
    return NB_OK;
}

static nb_status hf_read(const json_t *config, nb_hparams *hp, nb_err *err) {
    const char *type = NULL;
    NB_TRY(nb_json_get_str(config, "model_type", &type, err));
    if (!type)
        return nb_fail_at(err, NB_E_INPUT, NULL, "model_type", "is missing");
    NB_TRY(find_family(type, false, &hp->family, err));
    NB_TRY(hf_refusals(config, hp->family, err));
    hp->norm_offset = hp->family->norm_offset;
    hp->tied = hp->family->tied;
    NB_TRY(need_size(config, "hidden_size", MAX_SIZE, &hp->hidden, err));
    NB_TRY(need_size(config, "intermediate_size", MAX_SIZE, &hp->intermediate, err));
    NB_TRY(need_size(config, "num_hidden_layers", MAX_LAYERS, &hp->layers, err));
    NB_TRY(need_size(config, "num_attention_heads", MAX_SIZE, &hp->heads, err));
    NB_TRY(maybe_size(config, "num_key_value_heads", MAX_SIZE, hp->heads, &hp->kv_heads, err));
    NB_TRY(maybe_size(config, "head_dim", MAX_SIZE, hp->family->head_dim, &hp->head_dim, err));
    NB_TRY(need_size(config, "vocab_size", MAX_VOCAB, &hp->vocab, err));
    NB_TRY(maybe_size(config, "max_position_embeddings", MAX_LAYERS, 2048, &hp->context, err));
    NB_TRY(nb_json_get_bool(config, "tie_word_embeddings", &hp->tied, err));
    hp->norm_eps = 1e-6;
    NB_TRY(nb_json_get_number(config, "rms_norm_eps", &hp->norm_eps, err));
    NB_TRY(positive("rms_norm_eps", hp->norm_eps, err));
    NB_TRY(hf_dtype(config, hp, err));
    NB_TRY(hf_windows(config, hp, err));
    NB_TRY(hf_attn_scale(config, hp, err));
    return hf_rope(config, hp, err);
}

/* ---- GGUF metadata ---- */

static nb_status meta_size(const nb_ckpt *ckpt, const char *arch, const char *key, int64_t max, bool needed, size_t *out,
                           nb_err *err) {
    char name[NB_NAME_CAP];
    int64_t v = 0;
    bool found;
    snprintf(name, sizeof name, "%s.%s", arch, key);
    NB_TRY(nb_ckpt_meta_int(ckpt, name, 1, max, &v, &found, err));
    if (!found && needed)
        return nb_fail_at(err, NB_E_INPUT, NULL, name, "is missing");
    if (found)
        *out = (size_t)v;
    return NB_OK;
}

static nb_status meta_number(const nb_ckpt *ckpt, const char *arch, const char *key, double *out, bool *found, nb_err *err) {
    char name[NB_NAME_CAP];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    NB_TRY(nb_ckpt_meta_float(ckpt, name, out, found, err));
    return *found ? positive(name, *out, err) : NB_OK;
}

static nb_status gguf_rope(const nb_ckpt *ckpt, const char *arch, nb_hparams *hp, nb_err *err) {
    char name[NB_NAME_CAP];
    const char *type = "none";
    bool found;
    size_t dims = hp->head_dim;
    hp->rope_theta = hp->family->rope_theta;
    NB_TRY(meta_number(ckpt, arch, "rope.freq_base", &hp->rope_theta, &found, err));
    NB_TRY(meta_size(ckpt, arch, "rope.dimension_count", MAX_SIZE, false, &dims, err));
    snprintf(name, sizeof name, "%s.rope.scaling.type", arch);
    NB_TRY(nb_ckpt_meta_str(ckpt, name, &type, &found, err));
    if (dims != hp->head_dim)
        return nb_fail(err, NB_E_UNSUPPORTED, "%s.rope.dimension_count is %zu; only whole heads, %zu, are supported", arch,
                       dims, hp->head_dim);
    if (!strcmp(type, "linear")) {
        NB_TRY(meta_number(ckpt, arch, "rope.scaling.factor", &hp->rope_factor, &found, err));
        if (!found)
            return nb_fail(err, NB_E_INPUT, "%s.rope.scaling.factor is missing", arch);
        hp->rope_scaling = NB_ROPE_LINEAR;
    } else if (strcmp(type, "none") != 0) {
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, name, "\"%.32s\" is not supported; known: none, linear", type);
    }
    if (nb_ckpt_find(ckpt, "rope_freqs.weight"))
        hp->rope_scaling = NB_ROPE_FACTORS;
    return NB_OK;
}

/* The vocabulary is the embedding's rows where no key gives it. */
static nb_status gguf_vocab(const nb_ckpt *ckpt, const char *arch, nb_hparams *hp, nb_err *err) {
    char name[NB_NAME_CAP];
    snprintf(name, sizeof name, "%s.weight", hp->family->gguf_embed);
    const nb_view *embed = nb_ckpt_find(ckpt, name);
    if (embed && embed->ndim == 2 && embed->dims[0] <= MAX_VOCAB)
        hp->vocab = embed->dims[0];
    return meta_size(ckpt, arch, "vocab_size", MAX_VOCAB, hp->vocab == 0, &hp->vocab, err);
}

/* What llama.cpp knows of gemma3 without keys: the pattern, the rotation of local layers, and another scale of q k^T in the
 * model of 62 layers (27B). */
static nb_status gguf_windows(const nb_ckpt *ckpt, const char *arch, nb_hparams *hp, nb_err *err) {
    enum { LAYERS_27B = 62 };
    bool found;
    if (!hp->family->window_pattern)
        return NB_OK;
    double cap = 0;
    NB_TRY(meta_number(ckpt, arch, "final_logit_softcapping", &cap, &found, err));
    if (found)
        return nb_fail(err, NB_E_UNSUPPORTED, "%s.final_logit_softcapping: capped logits are not supported", arch);
    NB_TRY(meta_size(ckpt, arch, "attention.sliding_window", MAX_LAYERS, false, &hp->window, err));
    hp->window_pattern = hp->family->window_pattern;
    NB_TRY(meta_size(ckpt, arch, "attention.sliding_window_pattern", MAX_LAYERS, false, &hp->window_pattern, err));
    hp->rope_local_theta = 1e4;
    NB_TRY(meta_number(ckpt, arch, "rope.freq_base_swa", &hp->rope_local_theta, &found, err));
    if (hp->layers == LAYERS_27B)
        hp->attn_scale = 1.0 / sqrt((double)hp->hidden / (double)hp->heads);
    return NB_OK;
}

static nb_status gguf_read(const nb_ckpt *ckpt, nb_hparams *hp, nb_err *err) {
    const char *arch = NULL;
    char name[NB_NAME_CAP];
    bool found;
    int64_t file_type = 1;
    NB_TRY(nb_ckpt_meta_str(ckpt, "general.architecture", &arch, &found, err));
    if (!found)
        return nb_fail_at(err, NB_E_INPUT, NULL, "general.architecture", "is missing");
    NB_TRY(find_family(arch, true, &hp->family, err));
    NB_TRY(meta_size(ckpt, arch, "embedding_length", MAX_SIZE, true, &hp->hidden, err));
    NB_TRY(meta_size(ckpt, arch, "feed_forward_length", MAX_SIZE, true, &hp->intermediate, err));
    NB_TRY(meta_size(ckpt, arch, "block_count", MAX_LAYERS, true, &hp->layers, err));
    NB_TRY(meta_size(ckpt, arch, "attention.head_count", MAX_SIZE, true, &hp->heads, err));
    hp->kv_heads = hp->heads;
    NB_TRY(meta_size(ckpt, arch, "attention.head_count_kv", MAX_SIZE, false, &hp->kv_heads, err));
    NB_TRY(meta_size(ckpt, arch, "attention.key_length", MAX_SIZE, false, &hp->head_dim, err));
    hp->context = 2048;
    NB_TRY(meta_size(ckpt, arch, "context_length", MAX_LAYERS, false, &hp->context, err));
    NB_TRY(gguf_vocab(ckpt, arch, hp, err));
    NB_TRY(meta_number(ckpt, arch, "attention.layer_norm_rms_epsilon", &hp->norm_eps, &found, err));
    if (!found)
        return nb_fail(err, NB_E_INPUT, "%s.attention.layer_norm_rms_epsilon is missing", arch);
    if (hp->head_dim == 0 && hp->hidden % hp->heads == 0)
        hp->head_dim = hp->hidden / hp->heads;
    snprintf(name, sizeof name, "%s.weight", hp->family->gguf_head);
    hp->tied = nb_ckpt_find(ckpt, name) == NULL;
    NB_TRY(nb_ckpt_meta_int(ckpt, "general.file_type", 0, INT32_MAX, &file_type, &found, err));
    hp->dtype = file_type == 0 ? NB_F32 : file_type == 32 ? NB_BF16 : NB_F16;
    NB_TRY(gguf_windows(ckpt, arch, hp, err));
    return gguf_rope(ckpt, arch, hp, err);
}

/* ---- both ---- */

static nb_status check(const nb_ckpt *ckpt, nb_hparams *hp, nb_err *err) {
    if (hp->hidden % hp->heads != 0)
        return nb_fail(err, NB_E_INPUT, "hidden size %zu is no multiple of %zu attention heads", hp->hidden, hp->heads);
    if (hp->head_dim == 0)
        hp->head_dim = hp->hidden / hp->heads;
    if (hp->heads % hp->kv_heads != 0)
        return nb_fail(err, NB_E_INPUT, "%zu attention heads are no multiple of %zu key-value heads", hp->heads, hp->kv_heads);
    if (hp->head_dim % 2 != 0)
        return nb_fail(err, NB_E_INPUT, "head dimension %zu is odd; rotary embedding needs pairs", hp->head_dim);
    if (hp->heads > (size_t)MAX_SIZE / hp->head_dim)
        return nb_fail(err, NB_E_INPUT, "%zu heads of dimension %zu are more than %d columns", hp->heads, hp->head_dim, MAX_SIZE);
    if (hp->attn_scale == 0)
        hp->attn_scale = 1.0 / sqrt((double)hp->head_dim);
    hp->embed_scale = hp->family->embed_scaled ? sqrt((double)hp->hidden) : 1.0;
    char name[NB_NAME_CAP];
    nb__layer_tensor_name(hp, nb_ckpt_kind_of(ckpt), hp->layers - 1, hp->family->norms[NB_NORM_ATTN].hf,
                          hp->family->norms[NB_NORM_ATTN].gguf, name, sizeof name);
    if (hp->layers > nb_ckpt_count(ckpt) || !nb_ckpt_find(ckpt, name))
        return nb_fail(err, NB_E_INPUT, "the configuration says %zu layers, but there is no tensor %s", hp->layers, name);
    return NB_OK;
}

nb_status nb_hparams_read(const nb_ckpt *ckpt, nb_hparams *out, nb_err *err) {
    nb_hparams hp = {0};
    bool hf = nb_ckpt_kind_of(ckpt) == NB_CKPT_HF;
    nb_status status = hf ? hf_read(nb_ckpt_config(ckpt), &hp, err) : gguf_read(ckpt, &hp, err);
    if (status == NB_OK)
        status = check(ckpt, &hp, err);
    if (status != NB_OK) {
        char path[512];
        snprintf(path, sizeof path, "%.490s%s", nb_ckpt_path(ckpt), hf ? "/config.json" : "");
        return nb_err_at(err, status, path, NULL);
    }
    *out = hp;
    return NB_OK;
}

bool nb_layer_is_local(const nb_hparams *hp, size_t layer) {
    return hp->window && (!hp->window_pattern || (layer + 1) % hp->window_pattern != 0);
}

void nb_lin_shape(const nb_hparams *hp, nb_lin lin, size_t *n, size_t *k) {
    size_t q = hp->heads * hp->head_dim, kv = hp->kv_heads * hp->head_dim;
    const size_t shapes[NB_LIN_COUNT][2] = {
        [NB_LIN_Q] = {q, hp->hidden},
        [NB_LIN_K] = {kv, hp->hidden},
        [NB_LIN_V] = {kv, hp->hidden},
        [NB_LIN_O] = {hp->hidden, q},
        [NB_LIN_GATE] = {hp->intermediate, hp->hidden},
        [NB_LIN_UP] = {hp->intermediate, hp->hidden},
        [NB_LIN_DOWN] = {hp->hidden, hp->intermediate},
    };
    *n = shapes[lin][0];
    *k = shapes[lin][1];
}

void nb_lin_name(const nb_hparams *hp, size_t layer, nb_lin lin, char *out, size_t cap) {
    snprintf(out, cap, "model.layers.%zu.%s", layer, hp->family->lins[lin].hf);
}

void nb__layer_tensor_name(const nb_hparams *hp, nb_ckpt_kind kind, size_t layer, const char *hf, const char *gguf, char *out,
                           size_t cap) {
    (void)hp;
    if (kind == NB_CKPT_HF)
        snprintf(out, cap, "model.layers.%zu.%s.weight", layer, hf);
    else
        snprintf(out, cap, "blk.%zu.%s.weight", layer, gguf);
}
