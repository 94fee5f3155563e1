#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/model/generate.h"
#include "run.h"

/* ---- sampling ---- */

static int32_t draw(const float *logits, size_t n, nb_sampling s, nb_random *r) {
    int32_t id;
    cr_assert_eq(nb_sample(logits, n, &s, r, &id, NULL), NB_OK);
    return id;
}

Test(sample, temperature_zero_takes_the_first_of_the_largest) {
    const float logits[] = {1, 5, 2, 5, -3};
    nb_random r = nb_random_seed(1);
    cr_assert_eq(draw(logits, 5, (nb_sampling){.temperature = 0}, &r), 1);
}

/* Shares of many draws against the probabilities: 5 standard deviations. */
static void check_shares(const float *logits, size_t n, nb_sampling s, const double *want) {
    enum { DRAWS = 40000 };
    size_t seen[64] = {0};
    nb_random r = nb_random_seed(7);
    for (size_t i = 0; i < DRAWS; i++)
        seen[draw(logits, n, s, &r)]++;
    for (size_t i = 0; i < n; i++) {
        double share = (double)seen[i] / DRAWS, deviation = sqrt(want[i] * (1 - want[i]) / DRAWS);
        cr_assert_leq(fabs(share - want[i]), 5 * deviation, "token %zu: %.4f, expected %.4f", i, share, want[i]);
    }
}

Test(sample, shares_follow_the_distribution) {
    const float logits[] = {0.0f, 0.693147181f, 1.38629436f, -1e9f}; /* 1 : 2 : 4 : 0 */
    check_shares(logits, 4, (nb_sampling){.temperature = 1, .top_p = 1}, (const double[]){1 / 7.0, 2 / 7.0, 4 / 7.0, 0});
    check_shares(logits, 4, (nb_sampling){.temperature = 0.5, .top_p = 1}, (const double[]){1 / 21.0, 4 / 21.0, 16 / 21.0, 0});
    check_shares(logits, 4, (nb_sampling){.temperature = 1, .top_k = 2, .top_p = 1}, (const double[]){0, 1 / 3.0, 2 / 3.0, 0});
    check_shares(logits, 4, (nb_sampling){.temperature = 1, .top_k = 4, .top_p = 1}, (const double[]){1 / 7.0, 2 / 7.0, 4 / 7.0, 0});
    check_shares(logits, 4, (nb_sampling){.temperature = 1, .top_p = 0.5}, (const double[]){0, 0, 1, 0});
    check_shares(logits, 4, (nb_sampling){.temperature = 1, .top_p = 0.8}, (const double[]){0, 1 / 3.0, 2 / 3.0, 0});
}

Test(sample, top_k_of_many_equals_sorting) {
    enum { N = 5000 };
    static float logits[N];
    nb_random r = nb_random_seed(3);
    for (size_t i = 0; i < N; i++)
        logits[i] = nb_random_f32(&r);
    for (size_t i = 0; i < 3; i++)
        logits[1000 * i + 17] = 40.0f; /* the three largest by far, equal */
    size_t seen[3] = {0};
    for (size_t i = 0; i < 3000; i++) {
        int32_t id = draw(logits, N, (nb_sampling){.temperature = 1, .top_k = 3, .top_p = 1}, &r);
        cr_assert(id % 1000 == 17 && id < 3000);
        seen[id / 1000]++;
    }
    for (size_t i = 0; i < 3; i++)
        cr_assert(seen[i] > 800 && seen[i] < 1200);
}

Test(sample, nan_is_an_error) {
    const float logits[] = {1, NAN};
    nb_random r = nb_random_seed(1);
    nb_sampling s = {.temperature = 1};
    int32_t id;
    nb_err err = {0};
    cr_assert_eq(nb_sample(logits, 2, &s, &r, &id, &err), NB_E_INPUT);
    cr_assert(strstr(err.text, "token 1"));
}

/* ---- generation ---- */

typedef struct taken {
    int32_t ids[64];
    size_t count, stop_at;
} taken;

static bool take(void *ctx, int32_t id) {
    taken *t = ctx;
    t->ids[t->count++] = id;
    return t->count != t->stop_at;
}

/* Greedy continuations of Transformers; where its margin between the two best tokens is under 1e-3 either may come and the rest
 * is not compared. */
static void greedy_equals_golden(const char *path, const char *file) {
    machine m = machine_open(2);
    nb_model *model = model_open(path);
    golden g = golden_open(file);
    size_t compared = 0;
    for (unsigned p = 0;; p++) {
        char name[32];
        snprintf(name, sizeof name, "p%u.ids", p);
        const nb_view *ids = golden_find(&g, name);
        snprintf(name, sizeof name, "p%u.greedy", p);
        const nb_view *greedy = golden_find(&g, name);
        snprintf(name, sizeof name, "p%u.margin", p);
        const nb_view *margin = golden_find(&g, name);
        if (!ids)
            break;
        taken t = {.stop_at = 99};
        nb_generate_options o = {.max_tokens = 32, .token = take, .ctx = &t};
        nb_generate_result r;
        nb_err err = {0};
        cr_assert_eq(nb_generate(model, m.stream, ids->data, ids->dims[0], &o, &r, &err), NB_OK, "%s", err.text);
        cr_assert(r.tokens == t.count && r.prompt_tokens == ids->dims[0]);
        for (size_t i = 0; i < t.count && ((const float *)margin->data)[i] > 1e-3f; i++, compared++)
            cr_assert_eq(t.ids[i], ((const int32_t *)greedy->data)[i], "%s prompt %u token %zu", path, p, i);
    }
    cr_assert_gt(compared, 30);
    golden_close(&g);
    nb_model_close(model);
    machine_close(&m);
}

Test(generate, greedy_text_of_transformers) {
    greedy_equals_golden(golden_path("models/llama-tied-f16"), "logits/llama-tied-f16.safetensors");
}

Test(generate, greedy_text_of_transformers_gguf) {
    greedy_equals_golden(golden_path("gguf/llama-untied-mix.gguf"), "logits/llama-untied-mix.safetensors");
}

Test(generate, greedy_text_of_transformers_smollm2) {
    const char *path = large_model("SmolLM2-135M-Instruct.Q4_1.gguf");
    if (path)
        greedy_equals_golden(path, "logits/smollm2-135m-q4_1.safetensors");
}

static const int32_t prompt[] = {5, 9, 100, 42};

Test(generate, stops_at_eos_at_the_context_and_on_request) {
    machine m = machine_open(1);
    nb_model *model = model_open(golden_path("models/llama-tied-f16"));
    taken t = {.stop_at = 99};
    nb_generate_options o = {.max_tokens = 20, .token = take, .ctx = &t};
    nb_generate_result r;
    cr_assert_eq(nb_generate(model, m.stream, prompt, 4, &o, &r, NULL), NB_OK);
    cr_assert(r.tokens == 20 && !r.ended);
    size_t first = 0;
    while (t.ids[first] != t.ids[6])
        first++;
    int32_t stops[] = {t.ids[6], -1};
    o.stops = stops;
    o.n_stops = 2;
    t.count = 0;
    cr_assert_eq(nb_generate(model, m.stream, prompt, 4, &o, &r, NULL), NB_OK);
    cr_assert(r.ended && r.tokens == first + 1);
    o.n_stops = 0;
    t = (taken){.stop_at = 3};
    cr_assert_eq(nb_generate(model, m.stream, prompt, 4, &o, &r, NULL), NB_OK);
    cr_assert(r.tokens == 3 && !r.ended);
    cr_assert_eq(nb_generate(model, m.stream, prompt, 0, &o, &r, NULL), NB_E_USAGE);
    cr_assert_eq(nb_generate(model, m.stream, prompt, nb_model_hparams(model)->context, &o, &r, NULL), NB_E_USAGE);
    nb_model_close(model);
    machine_close(&m);
}

Test(generate, seeds) {
    machine m = machine_open(2);
    nb_model *model = model_open(golden_path("models/llama-tied-f16"));
    taken t[3] = {{.stop_at = 99}, {.stop_at = 99}, {.stop_at = 99}};
    for (size_t i = 0; i < 3; i++) {
        nb_generate_options o = {.max_tokens = 32, .token = take, .ctx = &t[i],
                                 .sampling = {.temperature = 1, .top_p = 1, .seed = i / 2}};
        nb_generate_result r;
        cr_assert_eq(nb_generate(model, m.stream, prompt, 4, &o, &r, NULL), NB_OK);
    }
    cr_assert(!memcmp(t[0].ids, t[1].ids, 32 * sizeof(int32_t)));
    cr_assert(memcmp(t[0].ids, t[2].ids, 32 * sizeof(int32_t)));
    nb_model_close(model);
    machine_close(&m);
}

/* ---- many sequences ---- */

enum { SEQ = 70, LEN = 12 };
static int32_t batch[SEQ * LEN], again[SEQ * LEN];

static bool stop_soon(void *ctx, size_t done, size_t total) {
    (void)ctx;
    return done < total / 2;
}

Test(batch, same_with_any_threads_and_sequences_differ) {
    for (unsigned threads = 1; threads <= 3; threads++) {
        machine m = machine_open(threads);
        nb_model *model = model_open(golden_path("models/llama-tied-f16"));
        nb_batch_options o = {.sequences = SEQ, .length = LEN, .bos = -1, .sampling = nb_sampling_for_calibration(5)};
        cr_assert_eq(nb_generate_batch(model, m.stream, &o, threads == 1 ? batch : again, NULL), NB_OK);
        if (threads > 1)
            cr_assert(!memcmp(batch, again, sizeof batch));
        nb_model_close(model);
        machine_close(&m);
    }
    size_t same = 0;
    for (size_t i = 0; i < SEQ; i++) {
        for (size_t t = 0; t < LEN; t++)
            cr_assert(batch[i * LEN + t] >= 0 && batch[i * LEN + t] < 288);
        same += i > 0 && !memcmp(batch, batch + i * LEN, LEN * sizeof *batch);
    }
    cr_assert_eq(same, 0);
}

/* Greedy, so that each sequence of a batch is what one prompt of BOS gives. */
Test(batch, a_sequence_is_what_it_is_alone) {
    machine m = machine_open(2);
    nb_model *model = model_open(golden_path("models/llama-tied-f16"));
    nb_batch_options o = {.sequences = 5, .length = LEN, .bos = 1};
    nb_err err = {0};
    cr_assert_eq(nb_generate_batch(model, m.stream, &o, batch, NULL), NB_OK);
    taken t = {.stop_at = 99};
    int32_t bos = 1;
    nb_generate_options g = {.max_tokens = LEN - 1, .token = take, .ctx = &t};
    nb_generate_result r;
    cr_assert_eq(nb_generate(model, m.stream, &bos, 1, &g, &r, NULL), NB_OK);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_eq(batch[i * LEN], 1);
        cr_assert(!memcmp(batch + i * LEN + 1, t.ids, (LEN - 1) * sizeof *batch), "sequence %zu", i);
    }
    o.progress = stop_soon;
    cr_assert_eq(nb_generate_batch(model, m.stream, &o, batch, &err), NB_E_INTERRUPTED);
    o.length = nb_model_hparams(model)->context + 1;
    cr_assert_eq(nb_generate_batch(model, m.stream, &o, batch, &err), NB_E_USAGE);
    nb_model_close(model);
    machine_close(&m);
}
