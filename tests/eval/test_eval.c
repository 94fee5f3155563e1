#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/eval/eval.h"
#include "tests/model/run.h"

enum { IDS = 260 };
static int32_t ids[IDS];

static void fill_ids(size_t vocab) {
    uint32_t state = 99;
    for (size_t i = 0; i < IDS; i++)
        ids[i] = (int32_t)((state = state * 1664525u + 1013904223u) >> 8) % (int32_t)vocab;
}

static void log_softmax(const float *x, size_t n, double *out) {
    double sum = 0, max = -INFINITY;
    for (size_t j = 0; j < n; j++)
        max = fmax(max, (double)x[j]);
    for (size_t j = 0; j < n; j++)
        sum += exp((double)x[j] - max);
    for (size_t j = 0; j < n; j++)
        out[j] = (double)x[j] - max - log(sum);
}

static size_t argmax(const float *x, size_t n) {
    size_t top = 0;
    for (size_t j = 1; j < n; j++)
        top = x[j] > x[top] ? j : top;
    return top;
}

/* The same figures by whole logits and double. Positions `first` .. length - 1 of each window are targets. */
static nb_eval_result by_hand(machine *m, const nb_model *model, const nb_model *reference, const int32_t *windows, size_t count,
                              size_t length, size_t first) {
    size_t vocab = nb_model_hparams(model)->vocab;
    double *p = malloc(vocab * sizeof *p), *q = malloc(vocab * sizeof *q), nll = 0, kl = 0, agree = 0;
    float *a = run_logits(m, model, windows, count, length), *b = run_logits(m, reference, windows, count, length);
    size_t targets = 0;
    for (size_t w = 0; w < count; w++)
        for (size_t t = first; t < length; t++, targets++) {
            const float *x = a + (w * length + t - 1) * vocab, *r = b + (w * length + t - 1) * vocab;
            log_softmax(x, vocab, q);
            log_softmax(r, vocab, p);
            nll -= q[windows[w * length + t]];
            for (size_t j = 0; j < vocab; j++)
                kl += exp(p[j]) * (p[j] - q[j]);
            agree += argmax(x, vocab) == argmax(r, vocab);
        }
    free(a);
    free(b);
    free(p);
    free(q);
    double n = (double)targets;
    return (nb_eval_result){.nll = nll / n, .kl_mean = kl / n, .top1_agreement = agree / n, .tokens = targets};
}

/* Logits of these models are below 32: their f32 rounding moves a log-probability by less than 1e-5. */
static void expect_same(const nb_eval_result *got, const nb_eval_result *want) {
    cr_assert_eq(got->tokens, want->tokens);
    cr_assert_leq(fabs(got->nll - want->nll), 1e-5, "%.9g, expected %.9g", got->nll, want->nll);
    cr_assert_leq(fabs(got->perplexity - exp(got->nll)), 1e-9 * got->perplexity);
    cr_assert_leq(fabs(got->kl_mean - want->kl_mean), 1e-5, "%.9g, expected %.9g", got->kl_mean, want->kl_mean);
    cr_assert_leq(fabs(got->top1_agreement - want->top1_agreement), 1e-12);
}

typedef struct pair {
    machine m;
    nb_model *model, *reference;
} pair;

static pair pair_open(unsigned threads) {
    pair p = {.m = machine_open(threads)};
    p.model = model_open(golden_path("gguf/llama-untied-mix.gguf"));
    p.reference = model_open(golden_path("models/llama-untied-bf16"));
    fill_ids(nb_model_hparams(p.model)->vocab);
    return p;
}

static void pair_close(pair *p) {
    nb_model_close(p->model);
    nb_model_close(p->reference);
    machine_close(&p->m);
}

Test(eval, nll_kl_and_agreement_by_whole_logits) {
    pair p = pair_open(2);
    nb_eval_options o = {.seq_len = 60};
    nb_eval_result got;
    nb_err err = {0};
    cr_assert_eq(nb_eval_run(p.model, p.reference, p.m.stream, ids, IDS, -1, &o, &got, &err), NB_OK, "%s", err.text);
    cr_assert_eq(got.windows, 4); /* the last 20 ids are dropped */
    nb_eval_result want = by_hand(&p.m, p.model, p.reference, ids, 4, 60, 1);
    expect_same(&got, &want);
    cr_assert(got.has_reference && got.kl_mean > 1e-4 && got.top1_agreement < 1.0);
    nb_eval_result alone;
    cr_assert_eq(nb_eval_run(p.model, NULL, p.m.stream, ids, IDS, -1, &o, &alone, &err), NB_OK);
    cr_assert(alone.nll == got.nll && !alone.has_reference);
    pair_close(&p);
}

Test(eval, a_bos_stands_in_front_of_each_window) {
    pair p = pair_open(1);
    int32_t windows[2 * 50];
    nb_eval_options o = {.seq_len = 50, .max_tokens = 98};
    nb_eval_result got;
    for (size_t w = 0; w < 2; w++) {
        windows[w * 50] = 7;
        memcpy(windows + w * 50 + 1, ids + w * 49, 49 * sizeof *ids);
    }
    cr_assert_eq(nb_eval_run(p.model, p.reference, p.m.stream, ids, IDS, 7, &o, &got, NULL), NB_OK);
    cr_assert_eq(got.windows, 2);
    nb_eval_result want = by_hand(&p.m, p.model, p.reference, windows, 2, 50, 1);
    expect_same(&got, &want);
    pair_close(&p);
}

Test(eval, llama_cpp_scores_second_halves_and_overwrites_the_first_token) {
    pair p = pair_open(1);
    int32_t windows[5 * 52];
    nb_eval_options o = {.seq_len = 52, .protocol = NB_PROTOCOL_LLAMACPP};
    nb_eval_result got;
    memcpy(windows, ids, sizeof windows);
    for (size_t w = 0; w < 5; w++)
        windows[w * 52] = 3;
    cr_assert_eq(nb_eval_run(p.model, p.reference, p.m.stream, ids, IDS, 3, &o, &got, NULL), NB_OK);
    cr_assert_eq(got.tokens, 5 * (52 - 26 - 1));
    nb_eval_result want = by_hand(&p.m, p.model, p.reference, windows, 5, 52, 27);
    expect_same(&got, &want);
    pair_close(&p);
}

Test(eval, a_model_has_no_divergence_from_itself_and_threads_change_no_bit) {
    nb_eval_result first = {0};
    for (unsigned threads = 1; threads <= 3; threads++) {
        pair p = pair_open(threads);
        nb_eval_options o = {.seq_len = 64};
        nb_eval_result got;
        cr_assert_eq(nb_eval_run(p.model, p.model, p.m.stream, ids, IDS, -1, &o, &got, NULL), NB_OK);
        cr_assert(fabs(got.kl_mean) < 1e-12 && got.top1_agreement == 1.0);
        if (threads == 1)
            first = got;
        cr_assert(got.nll == first.nll);
        pair_close(&p);
    }
}

static bool stop(void *ctx, size_t done, size_t total, double seconds) {
    *(size_t *)ctx = done;
    return total == 0 || seconds < 0;
}

Test(eval, refusals_and_interruption) {
    pair p = pair_open(1);
    size_t seen = 0;
    nb_eval_options o = {.seq_len = 2};
    nb_eval_result got;
    nb_err err = {0};
    cr_assert_eq(nb_eval_run(p.model, NULL, p.m.stream, ids, IDS, -1, &o, &got, &err), NB_E_USAGE);
    o.seq_len = IDS + 1;
    cr_assert_eq(nb_eval_run(p.model, NULL, p.m.stream, ids, IDS, -1, &o, &got, &err), NB_E_INPUT);
    cr_assert(strstr(err.text, "261 tokens") && strstr(err.text, "are 260"));
    o.seq_len = 100;
    o.progress = stop;
    o.ctx = &seen;
    cr_assert_eq(nb_eval_run(p.model, NULL, p.m.stream, ids, IDS, -1, &o, &got, &err), NB_E_INTERRUPTED);
    cr_assert_eq(seen, 2);
    pair_close(&p);
}

/* Transformers in f32 on the F16 rounding of this model: 25.5528 over five windows (tests/golden/reference_figures.json);
 * on the GGUF's own values 25.552438. Two windows here, by the file's per-window figures. */
Test(eval, smollm2_perplexity, .timeout = 120) {
    const char *path = large_model("SmolLM2-135M-Instruct.Q4_1.gguf"), *text = getenv("NIBBLE_TEST_IDS");
    nb_map map;
    if (!path || !text || nb_map_open(text, &map, NULL) != NB_OK) {
        fprintf(stderr, "not run: NIBBLE_TEST_IDS names no file of i32 ids of the evaluation text\n");
        return;
    }
    machine m = machine_open(2);
    nb_model *model = model_open(path);
    nb_eval_options o = {.seq_len = 1024, .max_tokens = 2048};
    nb_eval_result got;
    cr_assert_eq(nb_eval_run(model, NULL, m.stream, (const int32_t *)(const void *)map.data, map.size / 4, -1, &o, &got, NULL), NB_OK);
    cr_assert_leq(fabs(got.nll - (3.080551 + 3.359079) / 2), 1e-4, "%.6f", got.nll);
    nb_map_close(&map);
    nb_model_close(model);
    machine_close(&m);
}
