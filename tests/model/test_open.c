#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/base/json.h"
#include "host/model/impl.h"
#include "run.h"

static char dir[64];

static void make_dir(void) {
    snprintf(dir, sizeof dir, "/tmp/nibble-test-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void drop_dir(void) {
    cr_assert_eq(nb_dir_remove(dir, NULL), NB_OK);
}

static const char *in_dir(const char *name) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* A tiny model with one key of config.json set to a JSON text, or removed where it is "". */
static void make_model_of(const char *base, const char *key, const char *value) {
    char from[1100], folder[1024];
    json_t *config;
    snprintf(folder, sizeof folder, "%s", golden_path(base));
    snprintf(from, sizeof from, "%s/model.safetensors", folder);
    cr_assert_eq(nb_file_copy(from, in_dir("model.safetensors"), NULL), NB_OK);
    snprintf(from, sizeof from, "%s/config.json", folder);
    cr_assert_eq(nb_json_read(from, 1 << 20, &config, NULL), NB_OK);
    if (*value)
        cr_assert_eq(json_object_set_new(config, key, json_loads(value, JSON_DECODE_ANY, NULL)), 0);
    else
        json_object_del(config, key);
    cr_assert_eq(nb_json_write(in_dir("config.json"), config, NULL), NB_OK);
    json_decref(config);
}

static void make_model(const char *key, const char *value) {
    make_model_of("models/llama-tied-f16", key, value);
}

/* Numbers are those of the table of bad inputs in the development notes. */
static const struct {
    const char *what, *key, *value;
    nb_status status;
    const char *says; /* part of the error's line */
} bad[] = {
    {"36 heads 0", "num_attention_heads", "0", NB_E_INPUT, "num_attention_heads"},
    {"37 hidden % heads", "num_attention_heads", "5", NB_E_INPUT, "multiple"},
    {"38 layers 1e9", "num_hidden_layers", "1000000000", NB_E_INPUT, "1000000000 layers"},
    {"38 layers beyond the tensors", "num_hidden_layers", "3", NB_E_INPUT, "model.layers.2."},
    {"layers negative", "num_hidden_layers", "-1", NB_E_INPUT, "num_hidden_layers"},
    {"layers missing", "num_hidden_layers", "", NB_E_INPUT, "num_hidden_layers"},
    {"hidden as text", "hidden_size", "\"64\"", NB_E_INPUT, "hidden_size"},
    {"hidden of other shape", "hidden_size", "128", NB_E_INPUT, "has shape [288,64], expected [288,128]"},
    {"hidden 2^53", "hidden_size", "9007199254740993", NB_E_INPUT, "hidden_size"},
    {"intermediate of other shape", "intermediate_size", "96", NB_E_INPUT, "mlp.gate_proj.weight"},
    {"kv heads do not divide", "num_key_value_heads", "3", NB_E_INPUT, "key-value heads"},
    {"kv heads of other shape", "num_key_value_heads", "4", NB_E_INPUT, "self_attn.k_proj.weight"},
    {"odd head_dim", "head_dim", "15", NB_E_INPUT, "odd"},
    {"vocabulary of other shape", "vocab_size", "300", NB_E_INPUT, "model.embed_tokens.weight"},
    {"untied without a head", "tie_word_embeddings", "false", NB_E_INPUT, "lm_head.weight"},
    {"eps 0", "rms_norm_eps", "0", NB_E_INPUT, "rms_norm_eps"},
    {"family missing", "model_type", "", NB_E_INPUT, "model_type"},
    {"family unknown", "model_type", "\"mamba\"", NB_E_UNSUPPORTED, "known: llama"},
    {"biases", "attention_bias", "true", NB_E_UNSUPPORTED, "attention_bias"},
    {"activation", "hidden_act", "\"relu\"", NB_E_UNSUPPORTED, "hidden_act"},
    {"rope kind", "rope_parameters", "{\"rope_type\":\"yarn\",\"factor\":2.0}", NB_E_UNSUPPORTED, "yarn"},
    {"rope factor", "rope_parameters", "{\"rope_type\":\"linear\",\"factor\":0.0}", NB_E_INPUT, "factor"},
    {"rope theta", "rope_parameters", "{\"rope_theta\":-1.0}", NB_E_INPUT, "rope_theta"},
    {"rope bands", "rope_parameters",
     "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":4.0,\"high_freq_factor\":4.0,"
     "\"original_max_position_embeddings\":64}",
     NB_E_INPUT, "high_freq_factor"},
    {"dtype", "dtype", "\"int4\"", NB_E_UNSUPPORTED, "int4"},
    {"quantization of another kind", "quantization_config", "{\"quant_method\":\"exl9\"}", NB_E_UNSUPPORTED, "exl9"},
};

static void expect_refused(const char *what, nb_status want, const char *says) {
    nb_model *model = NULL;
    nb_err err = {0};
    char line[1300];
    nb_status status = nb_model_open(dir, &model, &err);
    nb_err_line(&err, line, sizeof line);
    cr_expect_eq(status, want, "%s: status %d, %s", what, (int)status, line);
    cr_expect(strstr(line, says), "%s: %s", what, line);
    cr_expect(strstr(line, dir), "%s names no file: %s", what, line);
    cr_expect_null(model);
}

Test(model_open, bad_configurations, .init = make_dir, .fini = drop_dir) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_model(bad[i].key, bad[i].value);
        expect_refused(bad[i].what, bad[i].status, bad[i].says);
    }
}

Test(model_open, bad_configurations_of_gemma3, .init = make_dir, .fini = drop_dir) {
    static const struct {
        const char *key, *value;
        nb_status status;
        const char *says;
    } cases[] = {
        {"layer_types", "[\"sliding_attention\",\"full_attention\"]", NB_E_INPUT, "no list of 3"},
        {"layer_types", "[\"sliding_attention\",\"full_attention\",\"full_attention\"]", NB_E_UNSUPPORTED, "every 2 layers"},
        {"layer_types", "[\"chunked_attention\",\"full_attention\",\"full_attention\"]", NB_E_UNSUPPORTED, "chunked_attention"},
        {"layer_types", "[1,2,3]", NB_E_UNSUPPORTED, "layer_types"},
        {"sliding_window", "0", NB_E_INPUT, "sliding_window"},
        {"sliding_window", "", NB_E_INPUT, "sliding_window"},
        {"hidden_activation", "\"relu\"", NB_E_UNSUPPORTED, "hidden_activation"},
        {"final_logit_softcapping", "30.0", NB_E_UNSUPPORTED, "final_logit_softcapping"},
        {"use_bidirectional_attention", "true", NB_E_UNSUPPORTED, "use_bidirectional_attention"},
        {"query_pre_attn_scalar", "-1", NB_E_INPUT, "query_pre_attn_scalar"},
        {"head_dim", "32", NB_E_INPUT, "self_attn.q_norm.weight"},
        {"rope_parameters", "{\"sliding_attention\":{\"rope_type\":\"yarn\"}}", NB_E_UNSUPPORTED, "yarn"},
        {"rope_parameters", "{\"sliding_attention\":{\"rope_theta\":0}}", NB_E_INPUT, "rope_local_base_freq"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_model_of("models/gemma3-bf16", cases[i].key, cases[i].value);
        expect_refused(cases[i].key, cases[i].status, cases[i].says);
    }
}

/* The keys of older versions of Transformers. */
Test(model_open, gemma3_configurations_old_and_new, .init = make_dir, .fini = drop_dir) {
    make_model_of("models/gemma3-bf16", "layer_types", "");
    nb_model *model = model_open(dir);
    const nb_hparams *hp = nb_model_hparams(model);
    cr_assert(hp->window == 8 && hp->window_pattern == 6 && hp->tied);
    cr_assert_float_eq(hp->attn_scale, 1.0 / sqrt(24.0), 1e-12);
    cr_assert(hp->rope_theta == 1e6 && hp->rope_local_theta == 1e4 && hp->rope_scaling == NB_ROPE_LINEAR);
    nb_model_close(model);
    make_model_of("models/gemma3-bf16", "rope_parameters", "");
    json_t *config;
    cr_assert_eq(nb_json_read(in_dir("config.json"), 1 << 20, &config, NULL), NB_OK);
    json_object_set_new(config, "rope_local_base_freq", json_real(2e4));
    json_object_set_new(config, "rope_theta", json_real(3e5));
    json_object_set_new(config, "sliding_window_pattern", json_integer(2));
    json_object_del(config, "layer_types");
    cr_assert_eq(nb_json_write(in_dir("config.json"), config, NULL), NB_OK);
    json_decref(config);
    model = model_open(dir);
    hp = nb_model_hparams(model);
    cr_assert(hp->window_pattern == 2 && hp->rope_theta == 3e5 && hp->rope_local_theta == 2e4 && hp->rope_scaling == NB_ROPE_NONE);
    nb_model_close(model);
}

/* Overwrites one half of tensor `name` in the copy of the model. */
static void poison(const char *name, size_t element, uint16_t bits) {
    nb_ckpt *ckpt;
    cr_assert_eq(nb_ckpt_open(dir, &ckpt, NULL), NB_OK);
    const nb_view *v = nb_ckpt_find(ckpt, name);
    cr_assert(v && v->dtype == NB_F16);
    long at = (long)(v->offset + 2 * element);
    nb_ckpt_close(ckpt);
    FILE *f = fopen(in_dir("model.safetensors"), "r+b");
    cr_assert(f && fseek(f, at, SEEK_SET) == 0 && fwrite(&bits, 2, 1, f) == 1 && fclose(f) == 0);
}

Test(model_open, nan_and_infinite_weights_name_the_tensor, .init = make_dir, .fini = drop_dir) {
    static const struct {
        const char *tensor;
        uint16_t bits;
        const char *says;
    } cases[] = {{"model.layers.1.mlp.up_proj.weight", 0x7e00, "value 77 is NaN"},
                 {"model.layers.1.self_attn.q_proj.weight", 0xfc00, "value 77 is infinite"}};
    for (size_t i = 0; i < 2; i++) {
        machine m = machine_open(1);
        nb_err err = {0};
        nb_block b;
        size_t n, k;
        make_model("unused", "1");
        poison(cases[i].tensor, 77, cases[i].bits);
        nb_model *model = model_open(dir);
        cr_assert_eq(nb_block_load(model, m.stream, 0, &b, &err), NB_OK);
        nb_block_free(m.device, &b);
        cr_assert_eq(nb_block_load(model, m.stream, 1, &b, &err), NB_E_INPUT);
        cr_assert(!strcmp(err.item, cases[i].tensor) && strstr(err.text, cases[i].says), "%s: %s", err.item, err.text);
        nb_lin_shape(nb_model_hparams(model), NB_LIN_UP, &n, &k);
        float *w = malloc(n * k * sizeof *w);
        memset(&err, 0, sizeof err);
        cr_assert_eq(nb_model_weight_f32(model, 1, i ? NB_LIN_Q : NB_LIN_UP, w, &err), NB_E_INPUT);
        cr_assert(strstr(err.text, cases[i].says), "%s", err.text);
        free(w);
        nb_model_close(model);
        machine_close(&m);
    }
}

Test(model_open, a_nan_embedding_is_found_before_it_is_used, .init = make_dir, .fini = drop_dir) {
    machine m = machine_open(1);
    nb_forward *f;
    nb_err err = {0};
    make_model("unused", "1");
    poison("model.embed_tokens.weight", 1000, 0x7e00);
    nb_model *model = model_open(dir);
    cr_assert_eq(nb_forward_new(model, m.stream, 4, &f, &err), NB_E_INPUT);
    cr_assert_str_eq(err.item, "model.embed_tokens.weight");
    nb_model_close(model);
    machine_close(&m);
}

/* The same weights in both containers: q and k come out in one order. */
Test(model_open, gguf_and_hf_give_one_weight) {
    nb_model *hf = model_open(golden_path("models/llama-tied-f16"));
    nb_model *gguf = model_open(golden_path("gguf/llama-tied-f16.gguf"));
    const nb_hparams *a = nb_model_hparams(hf), *b = nb_model_hparams(gguf);
    cr_assert(a->hidden == b->hidden && a->layers == b->layers && a->heads == b->heads && a->kv_heads == b->kv_heads);
    cr_assert(a->head_dim == b->head_dim && a->vocab == b->vocab && a->tied == b->tied && a->context == b->context);
    for (size_t l = 0; l < a->layers; l++)
        for (nb_lin lin = 0; lin < NB_LIN_COUNT; lin++) {
            size_t n, k;
            nb_lin_shape(a, lin, &n, &k);
            float *x = malloc(n * k * sizeof *x), *y = malloc(n * k * sizeof *y);
            cr_assert_eq(nb_model_weight_f32(hf, l, lin, x, NULL), NB_OK);
            cr_assert_eq(nb_model_weight_f32(gguf, l, lin, y, NULL), NB_OK);
            cr_assert(!memcmp(x, y, n * k * sizeof *x), "layer %zu linear %d", l, (int)lin);
            free(x);
            free(y);
        }
    nb_model_close(hf);
    nb_model_close(gguf);
}

Test(model_open, names) {
    nb_model *model = model_open(golden_path("models/llama-tied-f16"));
    char name[64];
    nb_lin_name(nb_model_hparams(model), 3, NB_LIN_UP, name, sizeof name);
    cr_assert_str_eq(name, "model.layers.3.mlp.up_proj");
    cr_assert(!nb_model_is_quantized(model, 0, NB_LIN_Q) && !nb_model_scheme(model));
    nb_qtensor q;
    cr_assert_eq(nb_model_qtensor(model, 0, NB_LIN_Q, &q, NULL), NB_E_USAGE);
    nb_model_close(model);
    model = model_open(golden_path("gptq/w4-sym-g32"));
    cr_assert(nb_model_is_quantized(model, 0, NB_LIN_Q) && nb_model_scheme(model)->bits == 4);
    nb_model_close(model);
}

/* Llama 3.1's own numbers: theta 5e5, heads of 128, factor 8, bands 1 and 4 of 8192: what is shorter than 2048 stays, what is
 * longer than 8192 is stretched by 8. */
Test(rope, llama3_and_linear_scaling) {
    nb_hparams hp = {.head_dim = 128, .rope_theta = 5e5, .rope_scaling = NB_ROPE_LLAMA3, .rope_factor = 8, .rope_low_freq = 1,
                     .rope_high_freq = 4, .rope_original_context = 8192};
    double f[64], plain[64];
    nb__rope_inv_freq(&hp, NULL, f);
    hp.rope_scaling = NB_ROPE_NONE;
    nb__rope_inv_freq(&hp, NULL, plain);
    size_t kept = 0, stretched = 0, between = 0;
    for (size_t i = 0; i < 64; i++) {
        double length = 2 * M_PI / plain[i], ratio = f[i] / plain[i];
        cr_assert_leq(fabs(plain[i] - pow(5e5, -(double)i / 64)), 1e-15);
        if (length < 2048)
            kept += ratio == 1.0;
        else if (length > 8192)
            stretched += fabs(ratio - 0.125) < 1e-15;
        else
            between += ratio > 0.125 && ratio < 1.0;
    }
    cr_assert_eq(kept + stretched + between, 64);
    cr_assert(kept == 29 && between == 6, "%zu kept, %zu between", kept, between);
    hp.rope_scaling = NB_ROPE_LINEAR;
    nb__rope_inv_freq(&hp, NULL, f);
    for (size_t i = 0; i < 64; i++)
        cr_assert_eq(f[i], plain[i] / 8);
}
