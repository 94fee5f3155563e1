/* The gptq scheme: words, v1 and v2, round trips, limits. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/scheme/scheme.h"

/* A packed linear in memory, found by name. */
typedef struct packed {
    nb_packed_tensor t[NB_SCHEME_MAX_TENSORS];
    size_t count, clamped;
    nb_view views[NB_SCHEME_MAX_TENSORS];
    char names[NB_SCHEME_MAX_TENSORS][64];
    const char *hide; /* a suffix that is not found */
} packed;

static const nb_scheme *gptq(void) { return nb_scheme_by_name("gptq"); }

static const nb_view *find(void *ctx, const char *name) {
    packed *p = ctx;
    for (size_t i = 0; i < p->count; i++)
        if (!strcmp(p->names[i], name) && (!p->hide || strcmp(p->hide, p->t[i].suffix) != 0))
            return &p->views[i];
    return NULL;
}

static nb_view *view(packed *p, const char *suffix) {
    for (size_t i = 0; i < p->count; i++)
        if (!strcmp(p->t[i].suffix, suffix))
            return &p->views[i];
    cr_assert(0, "no %s", suffix);
    return NULL;
}

static uint32_t *words(packed *p, const char *suffix) { return (uint32_t *)(uintptr_t)view(p, suffix)->data; }

static void do_pack(const nb_scheme_config *config, const nb_qtensor *q, packed *p) {
    nb_err err = {0};
    *p = (packed){0};
    nb_status s = gptq()->pack(config, q, p->t, &p->count, &p->clamped, &err);
    cr_assert_eq(s, NB_OK, "%s", err.text);
    for (size_t i = 0; i < p->count; i++) {
        nb_packed_tensor *t = &p->t[i];
        snprintf(p->names[i], sizeof p->names[i], "p.%s", t->suffix);
        p->views[i] = (nb_view){p->names[i], t->dtype, t->ndim, {t->dims[0], t->dims[1]}, t->data, t->bytes, 0, "mem"};
    }
}

static nb_scheme_config config_of(unsigned bits, int64_t group, bool sym, const char *format) {
    nb_scheme_config c = {.bits = bits, .group_size = group, .symmetric = sym, .damp = -1};
    snprintf(c.format, sizeof c.format, "%s", format);
    return c;
}

/* Random codes, F16 scales, zero points in [low, 2^bits). */
static nb_qtensor random_tensor(size_t n, size_t k, unsigned bits, size_t group, bool sym, bool g_idx, unsigned low,
                                uint64_t seed) {
    nb_random r = nb_random_seed(seed);
    nb_qtensor q;
    cr_assert_eq(nb_qtensor_new(n, k, bits, group, sym, g_idx, &q, NULL), NB_OK);
    for (size_t i = 0; i < n * k; i++)
        q.codes[i] = (uint8_t)nb_random_below(&r, 1u << bits);
    for (size_t i = 0; i < n * q.groups; i++) {
        q.scales[i] = nb_f16_to_f32(nb_f32_to_f16(0.001f + nb_random_f32(&r)));
        q.zeros[i] = sym ? (float)(1u << (bits - 1)) : (float)(low + nb_random_below(&r, (1u << bits) - low));
    }
    for (size_t j = 0; g_idx && j < k; j++)
        q.g_idx[j] = nb_random_below(&r, (uint32_t)q.groups);
    return q;
}

static void check_same(const nb_qtensor *a, const nb_qtensor *b, const char *what) {
    cr_assert(a->n == b->n && a->k == b->k && a->bits == b->bits && a->groups == b->groups, "%s", what);
    cr_assert_eq(a->group_size, b->group_size, "%s", what);
    cr_assert_eq(memcmp(a->codes, b->codes, a->n * a->k), 0, "%s: codes", what);
    cr_assert_eq(memcmp(a->scales, b->scales, a->n * a->groups * sizeof(float)), 0, "%s: scales", what);
    cr_assert_eq(memcmp(a->zeros, b->zeros, a->n * a->groups * sizeof(float)), 0, "%s: zeros", what);
    cr_assert_eq(a->g_idx == NULL, b->g_idx == NULL, "%s: g_idx", what);
    if (a->g_idx)
        cr_assert_eq(memcmp(a->g_idx, b->g_idx, a->k * sizeof *a->g_idx), 0, "%s: g_idx", what);
}

/* unpack(pack(q)) = q for all widths, groups, formats, orders. */
Test(gptq, round_trip) {
    static const unsigned widths[] = {2, 3, 4, 8};
    static const int64_t groups[] = {-1, 32, 64, 96};
    uint64_t seed = 0;
    for (size_t w = 0; w < 4; w++)
        for (size_t g = 0; g < 4; g++)
            for (int sym = 0; sym < 2; sym++)
                for (int v1 = 0; v1 < 2; v1++)
                    for (int act = 0; act < 2; act++) {
                        enum { N = 96, K = 192 };
                        nb_scheme_config c = config_of(widths[w], groups[g], sym, v1 ? "gptq" : "gptq_v2");
                        c.desc_act = act;
                        size_t group = groups[g] < 0 ? K : (size_t)groups[g];
                        nb_qtensor q = random_tensor(N, K, widths[w], group, sym, act && group < K, (unsigned)v1, ++seed), back;
                        packed p;
                        nb_err err = {0};
                        char what[64];
                        snprintf(what, sizeof what, "%u bits, group %d, sym %d, v1 %d, act %d", widths[w], (int)groups[g],
                                 sym, v1, act);
                        do_pack(&c, &q, &p);
                        cr_assert_eq(p.clamped, 0, "%s", what);
                        cr_assert(gptq()->has(find, &p, "p"));
                        cr_assert_eq(gptq()->read(&c, find, &p, "p", N, K, &back, &err), NB_OK, "%s: %s", what, err.text);
                        check_same(&q, &back, what);
                        cr_assert_eq(back.symmetric, sym, "%s", what);
                        cr_assert_eq(back.scale_type, NB_F16);
                        nb_qtensor_free(&q);
                        nb_qtensor_free(&back);
                        nb_packed_tensors_free(p.t, p.count);
                    }
}

/* Words that were worked out by hand: formats 2.2 and 2.3. */
Test(gptq, golden_words_of_codes) {
    static const struct {
        unsigned bits;
        uint32_t want[3];
    } cases[] = {
        {2, {0xE4E4E4E4u, 0xE4E4E4E4u, 0}},
        {3, {0x88FAC688u, 0xC688FAC6u, 0xFAC688FAu}},
        {4, {0x76543210u, 0x76543210u, 0x76543210u}},
        {8, {0x03020100u, 0x07060504u, 0x03020100u}},
    };
    for (size_t c = 0; c < 4; c++) {
        unsigned bits = cases[c].bits;
        nb_scheme_config config = config_of(bits, -1, true, "gptq");
        nb_qtensor q = random_tensor(32, 32, bits, 32, true, false, 0, c);
        for (size_t i = 0; i < 32 * 32; i++)
            q.codes[i] = (uint8_t)(i % 32 % (bits == 2 ? 4 : 8));
        packed p;
        do_pack(&config, &q, &p);
        cr_assert_eq(view(&p, "qweight")->dims[0], bits);
        cr_assert_eq(view(&p, "qweight")->dims[1], 32);
        for (size_t w = 0; w < bits && w < (bits == 2 ? 2u : 3u); w++)
            for (size_t i = 0; i < 32; i++)
                cr_assert_eq(words(&p, "qweight")[w * 32 + i], cases[c].want[w], "%u bits, word %zu: %08x", bits, w,
                             words(&p, "qweight")[w * 32 + i]);
        nb_packed_tensors_free(p.t, p.count);
        nb_qtensor_free(&q);
    }
}

Test(gptq, golden_words_of_symmetric_zeros) {
    static const struct {
        unsigned bits;
        const char *format;
        uint32_t want[3];
    } cases[] = {
        {4, "gptq", {0x77777777u, 0x77777777u, 0x77777777u}},
        {4, "gptq_v2", {0x88888888u, 0x88888888u, 0x88888888u}},
        {8, "gptq", {0x7F7F7F7Fu, 0x7F7F7F7Fu, 0x7F7F7F7Fu}},
        {8, "gptq_v2", {0x80808080u, 0x80808080u, 0x80808080u}},
        {2, "gptq", {0x55555555u, 0x55555555u, 0}},
        {2, "gptq_v2", {0xAAAAAAAAu, 0xAAAAAAAAu, 0}},
        {3, "gptq", {0xDB6DB6DBu, 0xB6DB6DB6u, 0x6DB6DB6Du}},
        {3, "gptq_v2", {0x24924924u, 0x49249249u, 0x92492492u}},
    };
    for (size_t c = 0; c < 8; c++) {
        nb_scheme_config config = config_of(cases[c].bits, -1, true, cases[c].format);
        nb_qtensor q = random_tensor(32, 32, cases[c].bits, 32, true, false, 0, c);
        packed p;
        do_pack(&config, &q, &p);
        cr_assert_eq(view(&p, "qzeros")->dims[1], cases[c].bits);
        for (size_t w = 0; w < cases[c].bits && w < (cases[c].bits == 2 ? 2u : 3u); w++)
            cr_assert_eq(words(&p, "qzeros")[w], cases[c].want[w], "%u bits %s: %08x", cases[c].bits, cases[c].format,
                         words(&p, "qzeros")[w]);
        nb_packed_tensors_free(p.t, p.count);
        nb_qtensor_free(&q);
    }
}

/* Element by element where the tensors say it should stand. */
Test(gptq, layout_of_scales_zeros_and_g_idx) {
    enum { N = 32, K = 128, G = 32 };
    nb_scheme_config c = config_of(4, G, false, "gptq_v2");
    nb_qtensor q = random_tensor(N, K, 4, G, false, true, 0, 9);
    packed p;
    do_pack(&c, &q, &p);
    cr_assert_eq(p.count, 4);
    const uint16_t *scales = view(&p, "scales")->data;
    for (size_t g = 0; g < K / G; g++)
        for (size_t i = 0; i < N; i++) {
            cr_assert_eq(nb_f16_to_f32(scales[g * N + i]), q.scales[i * (K / G) + g]);
            uint32_t field = words(&p, "qzeros")[g * (N / 8) + i / 8] >> 4 * (i % 8) & 15;
            cr_assert_eq((float)field, q.zeros[i * (K / G) + g]);
        }
    for (size_t j = 0; j < K; j++) {
        cr_assert_eq(words(&p, "g_idx")[j], q.g_idx[j]);
        for (size_t i = 0; i < N; i++)
            cr_assert_eq(words(&p, "qweight")[j / 8 * N + i] >> 4 * (j % 8) & 15, q.codes[i * K + j]);
    }
    nb_packed_tensors_free(p.t, p.count);
    nb_qtensor_free(&q);
}

/* v1 cannot hold a zero point of 0: it becomes 1, codes rise with it, and only those at the top lose a step. */
Test(gptq, v1_clamps_zero_points_of_0) {
    enum { N = 32, K = 64, G = 32 };
    nb_scheme_config c = config_of(4, G, false, "gptq");
    for (int act = 0; act < 2; act++) {
        nb_qtensor q = random_tensor(N, K, 4, G, false, act, 0, 11), back;
        size_t zeros = 0, tops = 0;
        for (size_t i = 0; i < N * (K / G); i++)
            zeros += q.zeros[i] == 0;
        cr_assert_gt(zeros, 0);
        packed p;
        nb_err err = {0};
        do_pack(&c, &q, &p);
        cr_assert_eq(p.clamped, zeros);
        cr_assert_eq(gptq()->read(&c, find, &p, "p", N, K, &back, &err), NB_OK, "%s", err.text);
        for (size_t i = 0; i < N; i++) {
            float a[K], b[K];
            nb_qtensor_row(&q, i, a);
            nb_qtensor_row(&back, i, b);
            for (size_t j = 0; j < K; j++) {
                size_t g = q.g_idx ? q.g_idx[j] : j / G;
                float zero = q.zeros[i * (K / G) + g], scale = q.scales[i * (K / G) + g];
                bool top = zero == 0 && q.codes[i * K + j] == 15;
                cr_assert_eq(b[j], top ? 14 * scale : a[j]);
                tops += top;
            }
        }
        cr_assert_gt(tops, 0);
        nb_packed_tensors_free(p.t, p.count);
        nb_qtensor_free(&q);
        nb_qtensor_free(&back);
    }
}

/* The same tensor as v2 keeps its zero points of 0. */
Test(gptq, v2_keeps_zero_points_of_0) {
    nb_scheme_config c = config_of(4, 32, false, "gptq_v2");
    nb_qtensor q = random_tensor(32, 64, 4, 32, false, false, 0, 11), back;
    packed p;
    do_pack(&c, &q, &p);
    cr_assert_eq(p.clamped, 0);
    cr_assert_eq(gptq()->read(&c, find, &p, "p", 32, 64, &back, NULL), NB_OK);
    check_same(&q, &back, "v2");
    nb_packed_tensors_free(p.t, p.count);
    nb_qtensor_free(&q);
    nb_qtensor_free(&back);
}

/* A field that GPTQModel borrowed for: zero points 0 and 5 beside each other are 0x..4F in v1, not 0x..5F. */
Test(gptq, v1_zero_of_0_by_borrowing_is_read) {
    nb_scheme_config c = config_of(4, 32, false, "gptq");
    nb_qtensor q = random_tensor(32, 32, 4, 32, false, false, 1, 12), back;
    packed p;
    do_pack(&c, &q, &p);
    words(&p, "qzeros")[0] = 0x88888850u - 0x11111111u; /* zero points 0 5 8 8 8 8 8 8 */
    cr_assert_eq(gptq()->read(&c, find, &p, "p", 32, 32, &back, NULL), NB_OK);
    static const float want[8] = {0, 5, 8, 8, 8, 8, 8, 8};
    for (size_t i = 0; i < 8; i++)
        cr_assert_eq(back.zeros[i], want[i], "row %zu: %g", i, (double)back.zeros[i]);
    nb_packed_tensors_free(p.t, p.count);
    nb_qtensor_free(&q);
    nb_qtensor_free(&back);
}

/* Symmetric files with the wrong label: the content decides. */
Test(gptq, mislabelled_symmetric_files) {
    static const unsigned widths[] = {2, 3, 4, 8};
    for (size_t w = 0; w < 4; w++)
        for (int v1 = 0; v1 < 2; v1++) {
            nb_scheme_config written = config_of(widths[w], 32, true, v1 ? "gptq" : "gptq_v2");
            nb_scheme_config label = config_of(widths[w], 32, true, v1 ? "gptq_v2" : "gptq");
            nb_qtensor q = random_tensor(32, 64, widths[w], 32, true, false, 0, 13), back;
            packed p;
            do_pack(&written, &q, &p);
            cr_assert_eq(gptq()->read(&label, find, &p, "p", 32, 64, &back, NULL), NB_OK);
            check_same(&q, &back, "mislabelled");
            nb_qtensor_free(&back);
            /* for an asymmetric file the label is trusted: all zero points are one off */
            label.symmetric = false;
            cr_assert_eq(gptq()->read(&label, find, &p, "p", 32, 64, &back, NULL), NB_OK);
            cr_assert_eq(back.zeros[0], q.zeros[0] + (v1 ? -1.0f : 1.0f));
            nb_qtensor_free(&back);
            nb_packed_tensors_free(p.t, p.count);
            nb_qtensor_free(&q);
        }
}

Test(gptq, shapes_are_those_of_pack) {
    static const unsigned widths[] = {2, 3, 4, 8};
    for (size_t w = 0; w < 4; w++) {
        nb_scheme_config c = config_of(widths[w], 64, true, "gptq");
        nb_qtensor q = random_tensor(64, 192, widths[w], 64, true, false, 0, 14);
        nb_packed_tensor t[NB_SCHEME_MAX_TENSORS];
        size_t count;
        packed p;
        do_pack(&c, &q, &p);
        cr_assert_eq(gptq()->shapes(&c, 64, 192, widths[w], 64, t, &count, NULL), NB_OK);
        cr_assert_eq(count, p.count);
        for (size_t i = 0; i < count; i++) {
            cr_assert_str_eq(t[i].suffix, p.t[i].suffix);
            cr_assert(t[i].dtype == p.t[i].dtype && t[i].ndim == p.t[i].ndim && t[i].bytes == p.t[i].bytes);
            cr_assert(t[i].dims[0] == p.t[i].dims[0] && t[i].dims[1] == p.t[i].dims[1]);
            cr_assert_null(t[i].data);
        }
        nb_packed_tensors_free(p.t, p.count);
        nb_qtensor_free(&q);
    }
}

/* A short last group, only where the file is marked for it; also a group longer than the row. */
Test(gptq, ragged_groups) {
    static const int64_t sizes[] = {128, 40, 1024};
    for (size_t s = 0; s < 3; s++) {
        enum { N = 32, K = 192 };
        size_t group = sizes[s] > K ? K : (size_t)sizes[s];
        nb_scheme_config c = config_of(4, sizes[s], false, "gptq_v2"), back_config;
        c.ragged = true;
        nb_qtensor q = random_tensor(N, K, 4, group, false, false, 0, 15), back;
        packed p;
        nb_err err = {0};
        do_pack(&c, &q, &p);
        cr_assert_eq(view(&p, "scales")->dims[0], (K + group - 1) / group);
        cr_assert_eq(gptq()->read(&c, find, &p, "p", N, K, &back, &err), NB_OK, "%s", err.text);
        check_same(&q, &back, "ragged");
        nb_qtensor_free(&back);
        c.ragged = false;
        cr_assert_eq(gptq()->read(&c, find, &p, "p", N, K, &back, &err), NB_E_INPUT, "group size does not divide K");
        cr_assert(strstr(err.text, "does not divide"));
        json_t *doc;
        bool mine;
        c.ragged = true;
        cr_assert_eq(gptq()->emit(&c, &doc, NULL), NB_OK);
        cr_assert_eq(gptq()->parse(doc, &back_config, &mine, NULL), NB_OK);
        cr_assert(back_config.ragged);
        json_decref(doc);
        nb_packed_tensors_free(p.t, p.count);
        nb_qtensor_free(&q);
    }
}

Test(gptq, accepts_says_what_would_do) {
    nb_scheme_config c = config_of(4, 128, true, "gptq");
    nb_err err = {0};
    cr_assert_eq(gptq()->accepts(&c, 64, 256, 4, 128, true, &err), NB_OK);
    cr_assert_eq(gptq()->accepts(&c, 64, 576, 4, 128, true, &err), NB_E_UNSUPPORTED);
    cr_assert(strstr(err.text, "64 does"), "%s", err.text);
    cr_assert_eq(gptq()->accepts(&c, 64, 96, 4, 64, true, &err), NB_E_UNSUPPORTED);
    cr_assert(strstr(err.text, "32 does"), "%s", err.text);
    c.ragged = true;
    cr_assert_eq(gptq()->accepts(&c, 64, 576, 4, 128, true, &err), NB_OK);
    cr_assert_eq(gptq()->accepts(&c, 64, 256, 5, 128, true, &err), NB_E_UNSUPPORTED);
    cr_assert_eq(gptq()->accepts(&c, 64, 100, 4, 100, true, &err), NB_E_UNSUPPORTED);
    cr_assert(strstr(err.text, "multiples of 8"), "%s", err.text);
    cr_assert_eq(gptq()->accepts(&c, 48, 96, 3, 32, true, &err), NB_E_UNSUPPORTED);
    cr_assert(strstr(err.text, "multiples of 32"), "%s", err.text);
    cr_assert_eq(gptq()->accepts(&c, 48, 96, 4, 0, true, &err), NB_E_UNSUPPORTED);
}

/* What cannot be held exactly is refused, and leaves nothing behind. */
Test(gptq, pack_refuses_what_it_cannot_hold) {
    nb_scheme_config c = config_of(4, 32, false, "gptq_v2");
    nb_packed_tensor t[NB_SCHEME_MAX_TENSORS];
    size_t count, clamped;
    for (int fault = 0; fault < 7; fault++) {
        nb_qtensor q = random_tensor(32, 64, 4, 32, false, false, 0, 16);
        float book[16] = {0};
        nb_status want = NB_E_UNSUPPORTED;
        if (fault == 0)
            q.scales[5] = 0.1f; /* between two halves */
        if (fault == 1)
            q.scales[5] = NAN;
        if (fault == 2)
            q.scales[5] = 1e6f;
        if (fault == 3)
            q.zeros[5] = 16;
        if (fault == 4)
            q.zeros[5] = 2.5f;
        if (fault == 5)
            q.codebook = book;
        if (fault == 6) {
            q.codes[77] = 16;
            want = NB_E_USAGE;
        }
        nb_err err = {0};
        cr_expect_eq(gptq()->pack(&c, &q, t, &count, &clamped, &err), want, "fault %d: %s", fault, err.text);
        q.codebook = NULL;
        nb_qtensor_free(&q);
    }
}

/* Tensors that do not fit the config: each is refused with its name before anything is allocated for it. */
Test(gptq, n45_bad_tensors) {
    enum { N = 32, K = 64 };
    nb_scheme_config c = config_of(4, 32, true, "gptq");
    for (int fault = 0; fault < 12; fault++) {
        nb_qtensor q = random_tensor(N, K, 4, 32, true, true, 0, 17), back = {0};
        packed p;
        const char *text = "";
        size_t n = N, k = K;
        nb_scheme_config mine = c;
        do_pack(&c, &q, &p);
        switch (fault) {
        case 0: p.hide = "qweight", text = "no tensor qweight"; break;
        case 1: p.hide = "qzeros", text = "no tensor qzeros"; break;
        case 2: p.hide = "scales", text = "no tensor scales"; break;
        case 3: p.hide = "g_idx", mine.desc_act = true, text = "no tensor g_idx"; break;
        case 4: view(&p, "qweight")->dtype = NB_F16, text = "expected I32"; break;
        case 5: view(&p, "scales")->dtype = NB_I32, text = "expected F16"; break;
        case 6: view(&p, "qweight")->dims[0]--, text = "expected [8, 32]"; break;
        case 7: view(&p, "g_idx")->dims[0]--, text = "expected [64, 1]"; break;
        case 8: words(&p, "g_idx")[3] = 2, text = "group 2, there are 2"; break;
        case 9: words(&p, "g_idx")[3] = UINT32_MAX, text = "group -1"; break;
        case 10: ((uint16_t *)(uintptr_t)view(&p, "scales")->data)[7] = 0x7e00, text = "not finite"; break;
        case 11: mine.bits = 8, text = "expected [16, 32]"; break;
        }
        nb_err err = {0};
        cr_expect_eq(gptq()->read(&mine, find, &p, "p", n, k, &back, &err), NB_E_INPUT, "fault %d", fault);
        cr_expect(strstr(err.text, text), "fault %d: '%s'", fault, err.text);
        cr_expect(err.item[0], "fault %d: no tensor is named", fault);
        cr_expect_null(back.codes, "fault %d: the output must stay untouched", fault);
        nb_packed_tensors_free(p.t, p.count);
        nb_qtensor_free(&q);
    }
}

Test(schemes, by_name) {
    cr_assert_str_eq(nb_scheme_by_name("gptq")->name, "gptq");
    cr_assert_eq(nb_scheme_by_name("gptq_v2"), nb_scheme_by_name("gptq"));
    cr_assert_null(nb_scheme_by_name("gguf?"));
    size_t count = 0;
    for (; nb_schemes[count]; count++)
        cr_assert_eq(nb_scheme_by_name(nb_schemes[count]->name), nb_schemes[count]);
    cr_assert_gt(count, 0);
}
