/* quantization_config of GPTQ checkpoints, as GPTQModel, AutoGPTQ, Transformers and vLLM write and read it. */
#include <stdio.h>
#include <string.h>

#include "host/base/json.h"
#include "host/scheme/impl.h"

nb_status nb__gptq_check_bits(int64_t bits, nb_err *err) {
    if (bits == 2 || bits == 3 || bits == 4 || bits == 8)
        return NB_OK;
    return nb_fail_at(err, NB_E_INPUT, NULL, "bits", "is %lld, expected 2, 3, 4 or 8", (long long)bits);
}

nb_status nb__gptq_check_group(int64_t group_size, nb_err *err) {
    if (group_size == -1 || (group_size > 0 && group_size <= INT32_MAX))
        return NB_OK;
    return nb_fail_at(err, NB_E_INPUT, NULL, "group_size", "is %lld, expected -1 or a positive size", (long long)group_size);
}

/* AutoGPTQ's quantize_config.json has no quant_method; its three settings tell it apart. */
static nb_status is_gptq(const json_t *doc, bool *mine, nb_err *err) {
    const char *method = NULL;
    NB_TRY(nb_json_get_str(doc, "quant_method", &method, err));
    if (!method)
        NB_TRY(nb_json_get_str(doc, "method", &method, err));
    *mine = method ? !strcmp(method, "gptq")
                   : json_object_get(doc, "bits") && json_object_get(doc, "group_size") && json_object_get(doc, "desc_act");
    return NB_OK;
}

static nb_status parse_format(const json_t *doc, nb_scheme_config *c, nb_err *err) {
    const char *a = NULL, *b = NULL, *pack = NULL;
    NB_TRY(nb_json_get_str(doc, "checkpoint_format", &a, err));
    NB_TRY(nb_json_get_str(doc, "format", &b, err));
    if (a && b && strcmp(a, b) != 0)
        return nb_fail_at(err, NB_E_INPUT, NULL, "checkpoint_format", "is '%.30s', but format is '%.30s'", a, b);
    const char *format = a ? a : b ? b : "gptq";
    if (strcmp(format, "gptq") != 0 && strcmp(format, "gptq_v2") != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "checkpoint_format", "'%.30s' is not read, gptq and gptq_v2 are",
                          format);
    snprintf(c->format, sizeof c->format, "%s", format);
    NB_TRY(nb_json_get_str(doc, "pack_dtype", &pack, err));
    if (pack && strcmp(pack, "int32") != 0)
        return nb_fail_at(err, NB_E_UNSUPPORTED, NULL, "pack_dtype", "'%.30s' is not read, int32 is", pack);
    return NB_OK;
}

/* An integer that must be there, under one of two names. */
static nb_status required_int(const json_t *doc, const char *key, const char *alias, int64_t *out, nb_err *err) {
    const json_t *v = json_object_get(doc, key);
    const char *name = key;
    if (!v || json_is_null(v))
        key = alias;
    v = json_object_get(doc, key);
    if (!v || json_is_null(v))
        return nb_fail_at(err, NB_E_INPUT, NULL, "quantization_config", "has no %s", name);
    return nb_json_get_int(doc, key, INT64_MIN, INT64_MAX, out, err);
}

/* For the record only: top level in AutoGPTQ, inside meta in GPTQModel. */
static nb_status parse_record(const json_t *doc, nb_scheme_config *c, nb_err *err) {
    NB_TRY(nb_json_get_number(doc, "damp_percent", &c->damp, err));
    NB_TRY(nb_json_get_bool(doc, "true_sequential", &c->true_sequential, err));
    return nb_json_get_bool(doc, "static_groups", &c->static_groups, err);
}

nb_status nb__gptq_parse(const json_t *doc, nb_scheme_config *out, bool *mine, nb_err *err) {
    nb_scheme_config c = {.symmetric = true, .damp = -1, .true_sequential = true};
    int64_t bits = 0, group = 0;
    *mine = false;
    if (!json_is_object(doc))
        return nb_fail_at(err, NB_E_INPUT, NULL, "quantization_config", "is no object");
    NB_TRY(is_gptq(doc, mine, err));
    if (!*mine)
        return NB_OK;
    NB_TRY(parse_format(doc, &c, err));
    NB_TRY(required_int(doc, "bits", "w_bit", &bits, err));
    NB_TRY(required_int(doc, "group_size", "q_group_size", &group, err));
    NB_TRY(nb__gptq_check_bits(bits, err));
    NB_TRY(nb__gptq_check_group(group, err));
    c.bits = (unsigned)bits;
    c.group_size = group;
    NB_TRY(nb_json_get_bool(doc, "sym", &c.symmetric, err));
    NB_TRY(nb_json_get_bool(doc, "desc_act", &c.desc_act, err));
    NB_TRY(nb_json_get_bool(doc, "lm_head", &c.lm_head, err));
    const json_t *meta = json_object_get(doc, "meta"), *dynamic = json_object_get(doc, "dynamic");
    NB_TRY(parse_record(doc, &c, err));
    if (json_is_object(meta)) {
        NB_TRY(parse_record(meta, &c, err));
        NB_TRY(nb_json_get_bool(meta, "ragged", &c.ragged, err));
    }
    if (dynamic && !json_is_null(dynamic)) {
        if (!json_is_object(dynamic))
            return nb_fail_at(err, NB_E_INPUT, NULL, "dynamic", "is no object");
        if (json_object_size(dynamic))
            c.dynamic = dynamic;
    }
    *out = c;
    return NB_OK;
}

static json_t *emit_meta(const nb_scheme_config *c) {
    json_t *meta = json_pack("{s:[s]}", "quantizer", "nibble:" NB_VERSION_STRING);
    int bad = !meta;
    if (c->damp > 0 && c->damp < 1) /* GPTQModel refuses others */
        bad |= json_object_set_new(meta, "damp_percent", json_real(c->damp));
    bad |= json_object_set_new(meta, "true_sequential", json_boolean(c->true_sequential));
    bad |= json_object_set_new(meta, "static_groups", json_boolean(c->static_groups));
    if (c->ragged)
        bad |= json_object_set_new(meta, "ragged", json_true());
    if (!bad)
        return meta;
    json_decref(meta);
    return NULL;
}

nb_status nb__gptq_emit(const nb_scheme_config *c, json_t **out, nb_err *err) {
    NB_TRY(nb__gptq_check_bits(c->bits, err));
    NB_TRY(nb__gptq_check_group(c->group_size, err));
    json_t *meta = emit_meta(c);
    json_t *doc = !meta ? NULL
                        : json_pack("{s:i, s:I, s:b, s:b, s:b, s:s, s:s, s:s, s:s, s:s}", "bits", (int)c->bits, "group_size",
                                    (json_int_t)c->group_size, "desc_act", c->desc_act, "sym", c->symmetric, "lm_head",
                                    c->lm_head, "quant_method", "gptq", "method", "gptq", "checkpoint_format", c->format,
                                    "format", c->format, "pack_dtype", "int32");
    int bad = !doc;
    if (doc && c->dynamic)
        bad |= json_object_set_new(doc, "dynamic", json_deep_copy(c->dynamic));
    if (doc)
        bad |= json_object_set(doc, "meta", meta);
    json_decref(meta);
    if (bad) {
        json_decref(doc);
        return nb_fail_memory(err, 0, "a quantization_config");
    }
    *out = doc;
    return NB_OK;
}
