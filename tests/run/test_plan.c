#include <criterion/criterion.h>
#include <string.h>

#include "host/run/plan.h"

static nb_err err;

Test(override, forms) {
    nb_override o;
    cr_assert_eq(nb_override_parse("*.down_proj:bits=8,group-size=32", &o, NULL), NB_OK);
    cr_assert(!strcmp(o.pattern, "*.down_proj") && o.has_bits && o.bits == 8 && o.has_group && o.group_size == 32 && !o.has_skip);
    nb_override_free(&o);
    cr_assert_eq(nb_override_parse("re:model\\.layers\\.[01]\\..*:skip", &o, NULL), NB_OK);
    cr_assert(o.regex && !strcmp(o.pattern, "(?:model\\.layers\\.[01]\\..*)\\z") && o.has_skip && o.skip);
    nb_override_free(&o);
    cr_assert_eq(nb_override_parse("x:skip=false,bits=8", &o, NULL), NB_OK);
    cr_assert(o.has_skip && !o.skip && o.bits == 8);
    nb_override_free(&o);
    cr_assert_eq(nb_override_parse("x:group_size=-1", &o, NULL), NB_OK);
    cr_assert_eq(o.group_size, -1);
    nb_override_free(&o);
}

Test(override, bad_forms_are_usage_errors) {
    static const char *const bad[] = {"", "x", ":skip", "x:", "x:bits", "x:bits=5", "x:bits=4x", "x:group-size=0", "x:colour=3",
                                      "re:(:skip", "x:bits=99999999999999999999", "x:skip=1", "x:skip=yes", "x:skip=,bits=4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nb_override o;
        cr_assert_eq(nb_override_parse(bad[i], &o, &err), NB_E_USAGE, "\"%s\"", bad[i]);
    }
}

static nb_model *open_tiny(const char *name) {
    static char path[512];
    nb_model *model;
    snprintf(path, sizeof path, "%s/golden/models/%s", NB_TEST_DATA, name);
    cr_assert_eq(nb_model_open(path, &model, &err), NB_OK, "%s", err.text);
    return model;
}

static nb_run_options options(void) {
    return (nb_run_options){.model = "in", .out = "out", .method = "gptq", .format = "gptq", .calib = "self", .device = "cpu",
                            .bits = 4, .symmetric = true, .order = NB_ORDER_GROUP_AWARE, .damp = 0.01, .samples = 4,
                            .seq_len = 32};
}

/* hidden 64, intermediate 128: 64 is the largest of 128, 64, 32 that divides both. */
Test(plan, auto_group_divides_every_k) {
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_plan plan;
    cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_OK, "%s", err.text);
    cr_assert_eq(plan.group_size, 64);
    cr_assert_eq(plan.count, 2 * NB_LIN_COUNT);
    /* symmetric 4-bit, group 64: codes 4, scale 16/64, packed zeros 4/64 bits, and a g_idx of 32 bits per input */
    cr_assert_gt(plan.bits_per_weight, 4.0 + 20.0 / 64);
    cr_assert_lt(plan.bits_per_weight, 4.0 + 20.0 / 64 + 32.0 / 32);
    nb_plan_free(&plan);
    nb_model_close(model);
}

/* 1 / tokens below 65536 (16384 for rows), and no more than half of the diagonal, which is as much as readers take with ease. */
Test(plan, damping_goes_by_the_tokens) {
    cr_assert_float_eq(nb_damp_for(1000000), 0.01, 1e-12);
    cr_assert_float_eq(nb_damp_for(65536), 0.01, 1e-12);
    cr_assert_float_eq(nb_damp_for(16384), 0.04, 1e-12);
    cr_assert_float_eq(nb_damp_for(2048), 0.32, 1e-12);
    cr_assert_float_eq(nb_damp_for(128), 0.5, 1e-12);
    cr_assert_float_eq(nb_output_damp_for(65536), 0.25, 1e-12);
    cr_assert_float_eq(nb_output_damp_for(2048), 2.0, 1e-12);
    cr_assert_float_eq(nb_output_damp_for(0), 4.0, 1e-12);
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_plan plan;
    o.samples = 16;
    o.seq_len = 128;
    for (int asked = 0; asked < 3; asked++) { /* tokens of unlike weight are as few as a third of them */
        o.damp = asked == 1 ? 0.02 : -1.0;
        o.two_sided = asked == 2;
        o.samples = asked == 2 ? 48 : 16;
        cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_OK, "%s", err.text);
        cr_assert_float_eq(plan.damp, asked == 1 ? 0.02 : 0.32, 1e-12);
        cr_assert_float_eq(plan.config.damp, plan.damp, 1e-12);
        nb_plan_free(&plan);
    }
    nb_model_close(model);
}

Test(plan, a_group_that_does_not_divide_is_refused_with_sizes_that_do) {
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_plan plan;
    o.group_size = 128;
    cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_E_USAGE);
    cr_assert_not_null(strstr(err.item, "model.layers.0."));
    cr_assert_not_null(strstr(err.text, "K = 64"));
    cr_assert_not_null(strstr(err.text, "16, 32, 64"));
    nb_model_close(model);
}

Test(plan, overrides_apply_in_order_and_must_match) {
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_override ov[3];
    nb_plan plan;
    cr_assert_eq(nb_override_parse("*:bits=8", &ov[0], NULL), NB_OK);
    cr_assert_eq(nb_override_parse("re:.*layers\\.1\\.mlp\\..*:bits=3,group-size=32", &ov[1], NULL), NB_OK);
    cr_assert_eq(nb_override_parse("model.layers.0.self_attn.q_proj:skip", &ov[2], NULL), NB_OK);
    o.overrides = ov;
    o.n_overrides = 3;
    cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_OK, "%s", err.text);
    for (size_t i = 0; i < plan.count; i++) {
        const nb_plan_item *it = &plan.items[i];
        bool mlp1 = it->layer == 1 && it->lin >= NB_LIN_GATE;
        cr_assert_eq(it->bits, mlp1 ? 3 : 8, "%s", it->name);
        cr_assert(it->skip || it->group_size == (mlp1 ? 32u : 64u), "%s: %zu", it->name, it->group_size);
        cr_assert_eq(it->skip, it->layer == 0 && it->lin == NB_LIN_Q);
    }
    nb_plan_free(&plan);
    nb_override_free(&ov[2]);
    cr_assert_eq(nb_override_parse("model.layers.9.*:skip", &ov[2], NULL), NB_OK);
    cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_E_USAGE);
    cr_assert_not_null(strstr(err.text, "matches no module"));
    for (int i = 0; i < 3; i++)
        nb_override_free(&ov[i]);
    nb_model_close(model);
}

/* A regular expression means the whole name, by whichever of its alternatives reaches the end. */
Test(plan, a_regex_matches_whole_names) {
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_override ov;
    nb_plan plan;
    cr_assert_eq(nb_override_parse("re:.*\\.(up|up_proj|down_pro):bits=8", &ov, NULL), NB_OK);
    o.overrides = &ov;
    o.n_overrides = 1;
    cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_OK, "%s", err.text);
    for (size_t i = 0; i < plan.count; i++)
        cr_assert_eq(plan.items[i].bits, plan.items[i].lin == NB_LIN_UP ? 8 : 4, "%s", plan.items[i].name);
    nb_plan_free(&plan);
    nb_override_free(&ov);
    nb_model_close(model);
}

static char *notes(const char *override, int64_t group_size) {
    static char text[2000];
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_override ov;
    nb_plan plan;
    o.group_size = group_size;
    if (override) {
        cr_assert_eq(nb_override_parse(override, &ov, &err), NB_OK);
        o.overrides = &ov;
        o.n_overrides = 1;
    }
    cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_OK, "%s", err.text);
    snprintf(text, sizeof text, "%s", plan.notes ? plan.notes : "");
    nb_plan_free(&plan);
    nb_model_close(model);
    if (override)
        nb_override_free(&ov);
    return text;
}

/* docs/readers.md: what each of these does in GPTQModel 7.7 and Transformers 5.23. */
Test(plan, notes_say_which_readers_take_the_file) {
    static const char own[] = "GPTQModel's own loader", power[] = "no power of two";
    cr_assert_null(strstr(notes(NULL, 32), own));
    cr_assert_null(strstr(notes("*.up_proj:skip", 32), own));
    cr_assert_not_null(strstr(notes("*.up_proj:bits=8", 32), own));
    cr_assert_not_null(strstr(notes("*.up_proj:group-size=-1", 32), own));
    cr_assert_null(strstr(notes(NULL, -1), power));
    cr_assert_null(strstr(notes(NULL, 16), power));
    cr_assert_not_null(strstr(notes(NULL, 8), power));
    cr_assert_null(strstr(notes("*.up_proj:group-size=-1", 32), power));
}

static nb_best_limits anything(void) {
    return (nb_best_limits){.gradients = true};
}

/* Without limits the first recipe, with no time to spend rounding to nearest; more time never gives a cheaper one. */
Test(plan, best_goes_by_bits_and_budget) {
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_best_limits limits = anything();
    cr_assert_eq(nb_best_options(model, &o, &limits, &err), NB_OK);
    cr_assert_str_eq(o.method, "gptq", "only best is replaced");
    cr_assert_null(o.recipe);
    cr_assert_not(o.two_sided);
    double last = -1;
    for (unsigned bits = 3; bits <= 4; bits++) {
        o = options();
        o.bits = bits;
        o.method = "best";
        limits = anything();
        cr_assert_eq(nb_best_options(model, &o, &limits, &err), NB_OK);
        cr_assert_str_eq(o.method, "awq+gptq");
        cr_assert(o.two_sided);
        cr_assert_gt(o.asym_calib, 0.0);
        last = -1;
        for (double seconds = 1e-9; seconds < 1e3; seconds *= 1.5) {
            nb_plan plan;
            o = options();
            o.bits = bits;
            o.method = "best";
            limits.seconds = seconds;
            limits.flops = 1e9;
            cr_assert_eq(nb_best_options(model, &o, &limits, &err), NB_OK);
            cr_assert_eq(nb_plan_make(model, &o, &plan, &err), NB_OK);
            cr_assert_leq(plan.flop / 1e9, seconds);
            cr_assert_geq(plan.flop, last);
            if (last < 0)
                cr_assert_str_eq(o.method, "rtn");
            last = plan.flop;
            nb_plan_free(&plan);
        }
        cr_assert(o.two_sided, "there was time enough");
    }
    nb_model_close(model);
}

/* A device without gradients, an order that does not go with feedback over rows, or too little memory give the next recipe; a run
 * that goes on keeps its own. */
Test(plan, best_goes_by_device_order_and_memory) {
    nb_model *model = open_tiny("llama-tied-f16");
    for (int i = 0; i < 8; i++) {
        nb_run_options o = options();
        nb_best_limits limits = anything();
        o.method = "best";
        o.bits = i & 1 ? 3 : 4;
        limits.gradients = i / 2 != 0;
        o.order = i / 2 == 1 ? NB_ORDER_ACT : NB_ORDER_GROUP_AWARE;
        limits.memory = i / 2 == 2 ? 1 : 0;
        if (i / 2 == 3)
            strcpy(limits.begun, "gptq");
        cr_assert_eq(nb_best_options(model, &o, &limits, &err), NB_OK);
        cr_assert_str_eq(o.method, "gptq", "%d", i);
        cr_assert_not(o.two_sided, "%d", i);
        cr_assert_eq(o.descent, i / 2 == 3 || o.bits == 4 ? 0 : 2, "%d", i);
        cr_assert_gt(o.asym_calib, 0.0);
    }
    nb_model_close(model);
}

/* Less memory for covariances of gradients: fewer blocks in a pass, more computing. */
Test(plan, gradients_within_memory) {
    nb_model *model = open_tiny("llama-tied-f16");
    nb_run_options o = options();
    nb_plan all, one;
    o.two_sided = true;
    cr_assert_eq(nb_plan_make(model, &o, &all, &err), NB_OK, "%s", err.text);
    o.gradient_memory = 1;
    cr_assert_eq(nb_plan_make(model, &o, &one, &err), NB_OK, "%s", err.text);
    cr_assert_eq(all.gather_layers, 2);
    cr_assert_eq(one.gather_layers, 1);
    cr_assert_gt(one.flop, all.flop);
    /* the tiny model's outputs: q 64, k and v 32, o 64, gate and up 128, down 64 */
    uint64_t block = 4 * (3 * 64 * 64 + 2 * 32 * 32 + 2 * 128 * 128);
    cr_assert_eq(all.peak_memory - one.peak_memory, block, "%llu", (unsigned long long)(all.peak_memory - one.peak_memory));
    nb_plan_free(&all);
    nb_plan_free(&one);
    nb_model_close(model);
}
