/* quantization_config of the gptq scheme, its per-module rules, and bad inputs 39 and 40. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/json.h"
#include "host/scheme/scheme.h"

static json_t *json_of(const char *text) {
    json_t *doc = NULL;
    cr_assert_eq(nb_json_parse(text, strlen(text), "test", &doc, NULL), NB_OK, "%s", text);
    return doc;
}

#define Q "\"quant_method\":\"gptq\","
#define BG "\"bits\":4,\"group_size\":128,"

/* clang-format off */
static const struct {
    int number;
    const char *json;
    nb_status status;
    const char *item, *text;
} rows[] = {
    {39, "{" Q "\"bits\":4,\"group_size\":0}", NB_E_INPUT, "group_size", "is 0"},
    {39, "{" Q "\"bits\":4,\"group_size\":-2}", NB_E_INPUT, "group_size", "is -2"},
    {39, "{" Q "\"bits\":4,\"group_size\":9223372036854775807}", NB_E_INPUT, "group_size", "expected -1"},
    {39, "{" Q "\"bits\":4,\"group_size\":\"128\"}", NB_E_INPUT, "group_size", "a string"},
    {39, "{" Q "\"bits\":4,\"group_size\":-1}", NB_OK, "", ""},
    {40, "{" Q "\"bits\":5,\"group_size\":128}", NB_E_INPUT, "bits", "is 5, expected 2, 3, 4 or 8"},
    {40, "{" Q "\"bits\":0,\"group_size\":128}", NB_E_INPUT, "bits", "is 0"},
    {40, "{" Q "\"bits\":-4,\"group_size\":128}", NB_E_INPUT, "bits", "is -4"},
    {40, "{" Q "\"bits\":4.0,\"group_size\":128}", NB_E_INPUT, "bits", "expected an integer"},
    {40, "{" Q "\"bits\":4294967300,\"group_size\":128}", NB_E_INPUT, "bits", "4294967300"},
    {0, "{" Q "\"group_size\":128}", NB_E_INPUT, "quantization_config", "no bits"},
    {0, "{" Q "\"bits\":4}", NB_E_INPUT, "quantization_config", "no group_size"},
    {0, "{" Q BG "\"sym\":1}", NB_E_INPUT, "sym", "true or false"},
    {0, "{" Q BG "\"desc_act\":\"yes\"}", NB_E_INPUT, "desc_act", "true or false"},
    {0, "{" Q BG "\"checkpoint_format\":\"marlin\"}", NB_E_UNSUPPORTED, "checkpoint_format", "marlin"},
    {0, "{" Q BG "\"checkpoint_format\":\"gptq_p\"}", NB_E_UNSUPPORTED, "checkpoint_format", "gptq_p"},
    {0, "{" Q BG "\"checkpoint_format\":\"gptq\",\"format\":\"gptq_v2\"}", NB_E_INPUT, "checkpoint_format", "but format is"},
    {0, "{" Q BG "\"pack_dtype\":\"int16\"}", NB_E_UNSUPPORTED, "pack_dtype", "int16"},
    {0, "{" Q BG "\"dynamic\":[]}", NB_E_INPUT, "dynamic", "no object"},
    {0, "{" Q BG "\"dynamic\":null}", NB_OK, "", ""},
    {0, "{\"quant_method\":4}", NB_E_INPUT, "quant_method", "expected a string"},
    {0, "[]", NB_E_INPUT, "quantization_config", "no object"},
};
/* clang-format on */

Test(gptq_config, n39_n40_table) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *doc = json_of(rows[i].json);
        nb_scheme_config c = {.bits = 77};
        bool mine;
        nb_err err = {0};
        nb_status got = nb_scheme_by_name("gptq")->parse(doc, &c, &mine, &err);
        cr_expect_eq(got, rows[i].status, "%s: %d %s", rows[i].json, got, err.text);
        if (rows[i].status != NB_OK) {
            cr_expect_str_eq(err.item, rows[i].item, "%s", rows[i].json);
            cr_expect(strstr(err.text, rows[i].text), "%s: '%s'", rows[i].json, err.text);
            cr_expect_eq(c.bits, 77, "the output must stay untouched");
        }
        json_decref(doc);
    }
}

static nb_scheme_config parse_ok(const char *text, json_t **doc) {
    nb_scheme_config c;
    bool mine = false;
    nb_err err = {0};
    *doc = json_of(text);
    cr_assert_eq(nb_scheme_by_name("gptq")->parse(*doc, &c, &mine, &err), NB_OK, "%s", err.text);
    cr_assert(mine);
    return c;
}

Test(gptq_config, whose_is_it) {
    static const struct {
        const char *json;
        bool mine;
    } cases[] = {
        {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":64}", true},
        {"{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":64}", false},
        {"{\"quant_method\":\"compressed-tensors\"}", false},
        {"{}", false},
        {"{\"bits\":4,\"group_size\":64,\"desc_act\":false}", true}, /* AutoGPTQ's quantize_config.json */
        {"{\"w_bit\":4,\"q_group_size\":64,\"zero_point\":true}", false},
        {"{\"method\":\"gptq\",\"bits\":4,\"group_size\":64}", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *doc = json_of(cases[i].json);
        nb_scheme_config c;
        bool mine = !cases[i].mine;
        cr_expect_eq(nb_scheme_by_name("gptq")->parse(doc, &c, &mine, NULL), NB_OK);
        cr_expect_eq(mine, cases[i].mine, "%s", cases[i].json);
        json_decref(doc);
    }
}

Test(gptq_config, absent_keys_have_their_defaults) {
    json_t *doc;
    nb_scheme_config c = parse_ok("{\"quant_method\":\"gptq\",\"w_bit\":3,\"q_group_size\":-1}", &doc);
    cr_assert_eq(c.bits, 3);
    cr_assert_eq(c.group_size, -1);
    cr_assert(c.symmetric && !c.desc_act && !c.lm_head && !c.ragged);
    cr_assert_str_eq(c.format, "gptq");
    cr_assert_lt(c.damp, 0);
    cr_assert_null(c.dynamic);
    json_decref(doc);
}

Test(gptq_config, damping_at_the_top_or_in_meta) {
    json_t *doc;
    nb_scheme_config c = parse_ok("{" Q BG "\"damp_percent\":0.01,\"static_groups\":true,\"true_sequential\":false}", &doc);
    cr_assert(c.damp == 0.01 && c.static_groups && !c.true_sequential);
    json_decref(doc);
    c = parse_ok("{" Q BG "\"meta\":{\"damp_percent\":0.05,\"static_groups\":false,\"true_sequential\":true}}", &doc);
    cr_assert(c.damp == 0.05 && !c.static_groups && c.true_sequential);
    json_decref(doc);
}

/* GPTQModel refuses a damping that is not between 0 and 1, so such a one is not said. */
Test(gptq_config, damping_that_readers_refuse_is_left_out) {
    static const double cases[] = {-1, 0, 0.32, 1};
    for (int i = 0; i < 4; i++) {
        nb_scheme_config c = {.format = "gptq", .bits = 4, .group_size = 128, .symmetric = true, .damp = cases[i]};
        json_t *doc = NULL;
        cr_assert_eq(nb_scheme_by_name("gptq")->emit(&c, &doc, NULL), NB_OK);
        json_t *damp = json_object_get(json_object_get(doc, "meta"), "damp_percent");
        cr_expect_eq(damp != NULL, i == 2, "%g", cases[i]);
        cr_expect(!damp || json_number_value(damp) == cases[i]);
        json_decref(doc);
    }
}

/* parse(emit(c)) = c for every field. */
Test(gptq_config, round_trip) {
    for (unsigned mask = 0; mask < 64; mask++) {
        json_t *rules = json_of("{\"-:a\":{},\"+:b\":{\"bits\":8}}"), *doc;
        nb_scheme_config c = {.bits = mask & 1 ? 3 : 4, .group_size = mask & 2 ? -1 : 64, .symmetric = mask & 4,
                              .desc_act = mask & 8, .lm_head = mask & 16, .ragged = mask & 32, .damp = mask & 1 ? -1 : 0.05,
                              .true_sequential = mask & 2, .static_groups = mask & 4, .dynamic = mask & 8 ? rules : NULL};
        nb_scheme_config back;
        bool mine;
        strcpy(c.format, mask & 1 ? "gptq" : "gptq_v2");
        cr_assert_eq(nb_scheme_by_name("gptq")->emit(&c, &doc, NULL), NB_OK);
        cr_assert_eq(nb_scheme_by_name("gptq")->parse(doc, &back, &mine, NULL), NB_OK);
        cr_assert(mine && back.bits == c.bits && back.group_size == c.group_size && back.symmetric == c.symmetric);
        cr_assert(back.desc_act == c.desc_act && back.lm_head == c.lm_head && back.ragged == c.ragged);
        cr_assert(back.damp == c.damp && back.true_sequential == c.true_sequential && back.static_groups == c.static_groups);
        cr_assert_str_eq(back.format, c.format);
        cr_assert_eq(back.dynamic != NULL, c.dynamic != NULL);
        cr_assert(!c.dynamic || json_equal(back.dynamic, c.dynamic));
        json_decref(doc);
        json_decref(rules);
    }
}

/* The keys that GPTQModel writes, and who wrote it. */
Test(gptq_config, keys_are_those_of_gptqmodel) {
    nb_scheme_config c = {.format = "gptq", .bits = 4, .group_size = 128, .symmetric = true, .damp = 0.05};
    json_t *doc, *want = json_of("{\"bits\":4,\"group_size\":128,\"desc_act\":false,\"sym\":true,\"lm_head\":false,"
                                 "\"quant_method\":\"gptq\",\"method\":\"gptq\",\"checkpoint_format\":\"gptq\","
                                 "\"format\":\"gptq\",\"pack_dtype\":\"int32\",\"meta\":{\"quantizer\":[\"nibble:" NB_VERSION_STRING
                                 "\"],\"damp_percent\":0.05,\"true_sequential\":false,\"static_groups\":false}}");
    cr_assert_eq(nb_scheme_by_name("gptq")->emit(&c, &doc, NULL), NB_OK);
    char *a = json_dumps(doc, 0), *b = json_dumps(want, 0);
    cr_assert_str_eq(a, b, "in this order");
    free(a), free(b);
    json_decref(doc);
    json_decref(want);
    c.bits = 5;
    cr_assert_neq(nb_scheme_by_name("gptq")->emit(&c, &doc, NULL), NB_OK);
}

/* First rule that matches at the start of the name wins. */
Test(dynamic, rules_in_order) {
    static const char text[] =
        "{" Q BG "\"sym\":true,\"dynamic\":{"
        "\"-:.*\\\\.layers\\\\.0\\\\..*\":{},"
        "\"+:.*\\\\.(?:q|k)_proj\":{\"bits\":8,\"group_size\":64},"
        "\".*\\\\.q_proj\":{\"bits\":2},"
        "\"layers\":{\"bits\":2},"
        "\".*down_proj$\":{\"sym\":false,\"desc_act\":true},"
        "\".*lm_head\":false}}";
    static const struct {
        const char *module;
        bool skip;
        unsigned bits;
        int64_t group;
        bool sym, act;
    } cases[] = {
        {"model.layers.0.self_attn.q_proj", true, 4, 128, true, false},
        {"model.layers.1.self_attn.q_proj", false, 8, 64, true, false},
        {"model.layers.1.self_attn.k_proj", false, 8, 64, true, false},
        {"model.layers.10.self_attn.v_proj", false, 4, 128, true, false}, /* "layers" is not at the start */
        {"layers.10.self_attn.v_proj", false, 2, 128, true, false},
        {"model.layers.1.mlp.down_proj", false, 4, 128, false, true},
        {"model.layers.1.mlp.down_proj2", false, 4, 128, true, false},
        {"lm_head", true, 4, 128, true, false},
    };
    json_t *doc;
    nb_scheme_config c = parse_ok(text, &doc), out;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool skip;
        nb_err err = {0};
        cr_assert_eq(nb_scheme_for_module(&c, cases[i].module, &out, &skip, &err), NB_OK, "%s", err.text);
        cr_expect_eq(skip, cases[i].skip, "%s", cases[i].module);
        cr_expect_eq(out.bits, cases[i].bits, "%s", cases[i].module);
        cr_expect_eq(out.group_size, cases[i].group, "%s", cases[i].module);
        cr_expect_eq(out.symmetric, cases[i].sym, "%s", cases[i].module);
        cr_expect_eq(out.desc_act, cases[i].act, "%s", cases[i].module);
    }
    json_decref(doc);
}

Test(dynamic, bad_rules) {
    static const struct {
        const char *rules, *text;
    } cases[] = {
        {"{\"-:(\":{}}", "no regular expression"},
        {"{\".*\":{\"bits\":5}}", "is 5"},
        {"{\".*\":{\"bits\":\"4\"}}", "expected an integer"},
        {"{\".*\":{\"group_size\":0}}", "is 0"},
        {"{\".*\":7}", "no object"},
        {"{\"(a*)*(a*)*(a*)*b\":{}}", "too long"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[256];
        json_t *doc;
        bool skip;
        nb_err err = {0};
        snprintf(text, sizeof text, "{" Q BG "\"dynamic\":%s}", cases[i].rules);
        nb_scheme_config c = parse_ok(text, &doc), out;
        cr_expect_eq(nb_scheme_for_module(&c, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &out, &skip, &err), NB_E_INPUT,
                     "%s", cases[i].rules);
        cr_expect(strstr(err.text, cases[i].text), "%s: '%s'", cases[i].rules, err.text);
        json_decref(doc);
    }
}
