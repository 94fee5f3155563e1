/* The awq scheme: the order of nibbles, round trips, limits, settings. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "host/scheme/scheme.h"

typedef struct packed {
    nb_packed_tensor t[NB_SCHEME_MAX_TENSORS];
    size_t count, clamped;
    nb_view views[NB_SCHEME_MAX_TENSORS];
    char names[NB_SCHEME_MAX_TENSORS][64];
} packed;

static nb_err err;

static const nb_scheme *awq(void) {
    return nb_scheme_by_name("awq");
}

static const nb_view *find(void *ctx, const char *name) {
    packed *p = ctx;
    for (size_t i = 0; i < p->count; i++)
        if (!strcmp(p->names[i], name))
            return &p->views[i];
    return NULL;
}

static const uint32_t *data_of(packed *p, const char *suffix, size_t rows, size_t cols) {
    for (size_t i = 0; i < p->count; i++)
        if (!strcmp(p->t[i].suffix, suffix)) {
            cr_assert(p->t[i].dims[0] == rows && p->t[i].dims[1] == cols, "%s [%zu, %zu]", suffix, p->t[i].dims[0], p->t[i].dims[1]);
            return p->t[i].data;
        }
    cr_assert(0, "no %s", suffix);
    return NULL;
}

static void do_pack(const nb_scheme_config *config, const nb_qtensor *q, packed *p) {
    *p = (packed){0};
    cr_assert_eq(awq()->pack(config, q, p->t, &p->count, &p->clamped, &err), NB_OK, "%s", err.text);
    for (size_t i = 0; i < p->count; i++) {
        nb_packed_tensor *t = &p->t[i];
        snprintf(p->names[i], sizeof p->names[i], "p.%s", t->suffix);
        p->views[i] = (nb_view){p->names[i], t->dtype, t->ndim, {t->dims[0], t->dims[1]}, t->data, t->bytes, 0, "mem"};
    }
}

static nb_scheme_config config_of(int64_t group) {
    return (nb_scheme_config){.format = "awq", .bits = 4, .group_size = group, .damp = -1};
}

static nb_qtensor random_tensor(size_t n, size_t k, size_t group, uint64_t seed) {
    nb_random r = nb_random_seed(seed);
    nb_qtensor q;
    cr_assert_eq(nb_qtensor_new(n, k, 4, group, false, false, &q, &err), NB_OK);
    q.scale_type = NB_F16;
    for (size_t i = 0; i < n * k; i++)
        q.codes[i] = (uint8_t)nb_random_below(&r, 16);
    for (size_t i = 0; i < n * q.groups; i++) {
        q.scales[i] = (float)(1 + nb_random_below(&r, 2000)) / 4096.0f;
        q.zeros[i] = (float)nb_random_below(&r, 16);
    }
    return q;
}

/* Outputs 0..7 with codes 0..7 at column 1, zero points 8..15: the documented order 0 2 4 6 1 3 5 7 from the low nibble up. */
Test(awq_scheme, words_are_as_documented) {
    nb_qtensor q = random_tensor(8, 2, 2, 1);
    nb_scheme_config c = config_of(2);
    packed p;
    for (size_t i = 0; i < 8; i++) {
        q.codes[i * 2] = 15;
        q.codes[i * 2 + 1] = (uint8_t)i;
        q.zeros[i] = (float)(8 + i);
        q.scales[i] = (float)(1 + i) * 0.5f;
    }
    do_pack(&c, &q, &p);
    const uint32_t *words = data_of(&p, "qweight", 2, 1);
    cr_assert_eq(words[0], 0xffffffffu);
    cr_assert_eq(words[1], 0x75316420u, "%08x", words[1]);
    cr_assert_eq(data_of(&p, "qzeros", 1, 1)[0], 0xfdb9ecA8u);
    const uint16_t *scales = (const uint16_t *)data_of(&p, "scales", 1, 8);
    for (size_t i = 0; i < 8; i++)
        cr_assert_eq(nb_f16_to_f32(scales[i]), q.scales[i]);
    cr_assert_eq(p.count, 3, "no g_idx");
    nb_packed_tensors_free(p.t, p.count);
    nb_qtensor_free(&q);
}

Test(awq_scheme, what_is_packed_is_read_back) {
    static const size_t shapes[][3] = {{8, 1, 1}, {16, 64, 32}, {24, 96, 32}, {64, 128, 128}, {8, 40, 8}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        size_t n = shapes[s][0], k = shapes[s][1], group = shapes[s][2];
        nb_qtensor q = random_tensor(n, k, group, s), back;
        nb_scheme_config c = config_of((int64_t)group);
        packed p;
        do_pack(&c, &q, &p);
        cr_assert(awq()->has(find, &p, "p") && !awq()->has(find, &p, "q"));
        cr_assert_eq(awq()->read(&c, find, &p, "p", n, k, &back, &err), NB_OK, "%s", err.text);
        cr_assert(!memcmp(back.codes, q.codes, n * k) && !memcmp(back.scales, q.scales, n * q.groups * 4) &&
                  !memcmp(back.zeros, q.zeros, n * q.groups * 4));
        cr_assert(back.group_size == group && !back.g_idx && p.clamped == 0);
        cr_assert_eq(awq()->read(&c, find, &p, "p", n + 8, k, &q, &err), NB_E_INPUT, "another shape is refused");
        nb_qtensor_free(&back);
        nb_qtensor_free(&q);
        nb_packed_tensors_free(p.t, p.count);
    }
}

Test(awq_scheme, refuses_what_it_cannot_hold) {
    nb_scheme_config c = config_of(32), channel = config_of(-1), act = config_of(32);
    act.desc_act = true;
    cr_assert_eq(awq()->accepts(&c, 64, 64, 4, 32, false, &err), NB_OK);
    cr_assert_eq(awq()->accepts(&c, 64, 64, 4, 32, true, &err), NB_OK);
    cr_assert_eq(awq()->accepts(&c, 64, 64, 3, 32, false, &err), NB_E_UNSUPPORTED);
    cr_assert_eq(awq()->accepts(&c, 60, 64, 4, 32, false, &err), NB_E_UNSUPPORTED);
    cr_assert_eq(awq()->accepts(&c, 64, 80, 4, 32, false, &err), NB_E_UNSUPPORTED);
    cr_assert_eq(awq()->accepts(&c, 64, 64, 4, 64, false, &err), NB_E_UNSUPPORTED);
    cr_assert_eq(awq()->accepts(&channel, 64, 64, 4, 64, false, &err), NB_E_UNSUPPORTED);
    cr_assert_eq(awq()->accepts(&act, 64, 64, 4, 32, false, &err), NB_E_UNSUPPORTED);
    nb_qtensor q = random_tensor(8, 32, 32, 4);
    packed p = {0};
    q.zeros[3] = 2.5f;
    cr_assert_eq(awq()->pack(&c, &q, p.t, &p.count, &p.clamped, &err), NB_E_UNSUPPORTED);
    q.zeros[3] = 2.0f;
    q.codes[9] = 16;
    cr_assert_eq(awq()->pack(&c, &q, p.t, &p.count, &p.clamped, &err), NB_E_USAGE);
    nb_qtensor_free(&q);
}

static nb_status parse(const char *text, nb_scheme_config *c, bool *mine) {
    json_t *doc = json_loads(text, 0, NULL);
    cr_assert_not_null(doc);
    nb_status status = awq()->parse(doc, c, mine, &err);
    json_decref(doc);
    return status;
}

Test(awq_scheme, settings_are_read_in_both_spellings) {
    nb_scheme_config c;
    bool mine;
    cr_assert_eq(parse("{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":64,\"zero_point\":true,\"version\":\"gemm\"}", &c, &mine), NB_OK);
    cr_assert(mine && c.group_size == 64 && c.bits == 4 && !c.symmetric);
    cr_assert_eq(parse("{\"quant_method\":\"awq\",\"w_bit\":4,\"q_group_size\":128,\"zero_point\":true,\"version\":\"GEMM\"}", &c, &mine), NB_OK);
    cr_assert(mine && c.group_size == 128);
    cr_assert_eq(parse("{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":64}", &c, &mine), NB_OK);
    cr_assert_not(mine);
    cr_assert_eq(parse("{\"quant_method\":\"awq\",\"bits\":3,\"group_size\":64}", &c, &mine), NB_E_UNSUPPORTED);
    cr_assert_eq(parse("{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":0}", &c, &mine), NB_E_INPUT);
    cr_assert_eq(parse("{\"quant_method\":\"awq\",\"bits\":4}", &c, &mine), NB_E_INPUT);
    cr_assert_eq(parse("{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":64,\"version\":\"gemv\"}", &c, &mine), NB_E_UNSUPPORTED);
}

Test(awq_scheme, settings_name_the_modules_left_alone) {
    nb_scheme_config c = config_of(32), back;
    json_t *rules = json_pack("{s:{}, s:{}}", "-:model\\.layers\\.0\\.mlp\\.up_proj$", "-:model\\.layers\\.1\\.mlp\\.up_proj$"), *doc;
    bool mine;
    cr_assert_eq(awq()->emit(&c, &doc, &err), NB_OK);
    cr_assert(json_is_null(json_object_get(doc, "modules_to_not_convert")));
    cr_assert_eq(awq()->parse(doc, &back, &mine, &err), NB_OK);
    cr_assert(mine && back.group_size == 32);
    json_decref(doc);
    c.dynamic = rules;
    cr_assert_eq(awq()->emit(&c, &doc, &err), NB_OK);
    const json_t *names = json_object_get(doc, "modules_to_not_convert");
    cr_assert_eq(json_array_size(names), 2);
    cr_assert_str_eq(json_string_value(json_array_get(names, 0)), "model.layers.0.mlp.up_proj");
    json_decref(doc);
    json_decref(rules);
}
