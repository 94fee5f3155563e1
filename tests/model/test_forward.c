#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/model/impl.h"
#include "run.h"

/* Logits against Transformers in f32: at each position max|difference| <= 1e-4 of max|logit|. Golden rows hold either the
 * whole vocabulary or the ids of `sample`. Returns the worst ratio. */
static double compare_prompt(machine *m, const nb_model *model, const golden *g, unsigned prompt) {
    char name[64];
    snprintf(name, sizeof name, "p%u.ids", prompt);
    const nb_view *ids = golden_find(g, name), *sample = golden_find(g, "sample");
    snprintf(name, sizeof name, "p%u.logits", prompt);
    const nb_view *logits = golden_find(g, name);
    snprintf(name, sizeof name, "p%u.maxabs", prompt);
    const nb_view *maxabs = golden_find(g, name);
    snprintf(name, sizeof name, "p%u.argmax", prompt);
    const nb_view *argmax = golden_find(g, name);
    size_t length = ids->dims[0], width = logits->dims[1], vocab = nb_model_hparams(model)->vocab;
    cr_assert(sample || width == vocab);
    float *got = run_logits(m, model, ids->data, 1, length);
    double worst = 0;
    for (size_t t = 0; t < length; t++) {
        const float *want = (const float *)logits->data + t * width;
        size_t top = 0;
        for (size_t j = 0; j < width; j++) {
            size_t id = sample ? (size_t)((const int32_t *)sample->data)[j] : j;
            double off = fabs((double)got[t * vocab + id] - (double)want[j]) / (double)((const float *)maxabs->data)[t];
            worst = off > worst ? off : worst;
        }
        for (size_t j = 0; j < vocab; j++)
            if (got[t * vocab + j] > got[t * vocab + top])
                top = j;
        cr_expect_eq((int32_t)top, ((const int32_t *)argmax->data)[t], "argmax at %zu", t);
    }
    free(got);
    return worst;
}

static void compare_model(const char *path, const char *logits) {
    machine m = machine_open(2);
    nb_model *model = model_open(path);
    golden g = golden_open(logits);
    char name[32];
    double worst = 0;
    unsigned prompts = 0;
    for (;; prompts++) {
        snprintf(name, sizeof name, "p%u.ids", prompts);
        if (!golden_find(&g, name))
            break;
        double off = compare_prompt(&m, model, &g, prompts);
        worst = off > worst ? off : worst;
    }
    cr_assert_gt(prompts, 0);
    cr_log_info("%s: %.2g of max|logit|", path, worst);
    fprintf(stderr, "%s: %.2g of max|logit|\n", path, worst);
    cr_assert_leq(worst, 1e-4);
    golden_close(&g);
    nb_model_close(model);
    machine_close(&m);
}

static void compare(const char *model, const char *logits) {
    char path[1024];
    snprintf(path, sizeof path, "%s", golden_path(model));
    compare_model(path, logits);
}

Test(forward, f32_tied_with_its_own_head_dim) {
    compare("models/llama-tied-f32", "logits/llama-tied-f32.safetensors");
}

Test(forward, f16_tied_new_style_config) {
    compare("models/llama-tied-f16", "logits/llama-tied-f16.safetensors");
}

Test(forward, bf16_untied_llama3_rope_in_shards) {
    compare("models/llama-untied-bf16", "logits/llama-untied-bf16.safetensors");
}

Test(forward, gguf_undoes_the_permutation_of_q_and_k) {
    compare("gguf/llama-tied-f16.gguf", "logits/llama-tied-f16.safetensors");
}

Test(forward, gguf_of_many_block_types_and_rope_factors) {
    compare("gguf/llama-untied-mix.gguf", "logits/llama-untied-mix.safetensors");
}

/* 40 tokens through layers that see 8, all, and 8: other windows give other logits (below). */
Test(forward, gemma3_with_windows_and_all_its_norms) {
    compare("models/gemma3-bf16", "logits/gemma3-bf16.safetensors");
    compare("gguf/gemma3-f16.gguf", "logits/gemma3-f16.safetensors");
}

/* The first token that two windows treat differently is the one at the place of the smaller. */
Test(forward, a_window_hides_what_is_before_it) {
    machine m = machine_open(1);
    nb_model *model = model_open(golden_path("models/gemma3-bf16"));
    nb_hparams *hp = (nb_hparams *)(uintptr_t)nb_model_hparams(model);
    int32_t ids[20];
    for (int i = 0; i < 20; i++)
        ids[i] = 5 + 7 * i;
    cr_assert_eq(hp->window, 8);
    cr_assert(nb_layer_is_local(hp, 0) && !nb_layer_is_local(hp, 1) && nb_layer_is_local(hp, 2));
    float *eight = run_logits(&m, model, ids, 1, 20);
    hp->window = 12;
    float *twelve = run_logits(&m, model, ids, 1, 20);
    cr_assert(!memcmp(eight, twelve, 8 * hp->vocab * sizeof *eight));
    cr_assert(memcmp(eight + 8 * hp->vocab, twelve + 8 * hp->vocab, hp->vocab * sizeof *eight));
    free(eight);
    free(twelve);
    nb_model_close(model);
    machine_close(&m);
}

/* Linears quantized by GPTQModel, decoded by our readers. */
Test(forward, gptq_checkpoints) {
    static const char *const names[] = {"w4-sym-g32", "w4-sym-g32-act", "w4-asym-g64-act-v2", "w4-asym-g32-v1-zero0",
                                        "w4-sym-channel-bf16", "w3-asym-g64-v2", "w2-sym-g32", "w8-sym-channel",
                                        "w4-sym-g32-dynamic"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char model[64], logits[96];
        snprintf(model, sizeof model, "gptq/%s", names[i]);
        snprintf(logits, sizeof logits, "gptq/%s/logits.safetensors", names[i]);
        compare(model, logits);
    }
}

Test(forward, smollm2) {
    const char *path = large_model("SmolLM2-135M-Instruct.Q4_1.gguf");
    if (path)
        compare_model(path, "logits/smollm2-135m-q4_1.safetensors");
}

/* The last eight positions of a text longer than the window. */
static void compare_long(const char *path, const char *logits) {
    machine m = machine_open(2);
    nb_model *model = model_open(path);
    golden g = golden_open(logits);
    const nb_view *ids = golden_find(&g, "long.ids"), *want = golden_find(&g, "long.logits");
    const nb_view *maxabs = golden_find(&g, "long.maxabs"), *sample = golden_find(&g, "sample");
    size_t length = ids->dims[0], tail = want->dims[0], width = want->dims[1], vocab = nb_model_hparams(model)->vocab;
    cr_assert_gt(length, nb_model_hparams(model)->window + 64);
    float *got = run_logits(&m, model, ids->data, 1, length);
    double worst = 0;
    for (size_t t = 0; t < tail; t++)
        for (size_t j = 0; j < width; j++) {
            size_t id = (size_t)((const int32_t *)sample->data)[j];
            double off = fabs((double)got[(length - tail + t) * vocab + id] - (double)((const float *)want->data)[t * width + j]);
            worst = fmax(worst, off / (double)((const float *)maxabs->data)[t]);
        }
    fprintf(stderr, "%s, %zu tokens: %.2g of max|logit|\n", path, length, worst);
    cr_assert_leq(worst, 1e-4);
    free(got);
    golden_close(&g);
    nb_model_close(model);
    machine_close(&m);
}

Test(forward, gemma3_270m) {
    char path[1024];
    const char *found = large_model("gemma-3-270m-q4_k_m.gguf");
    if (!found)
        return;
    snprintf(path, sizeof path, "%s", found);
    compare_model(path, "logits/gemma-3-270m-q4_k_m.safetensors");
    compare_long(path, "logits/gemma-3-270m-q4_k_m.safetensors");
}

/* ---- the three ways to run a block give the same ---- */

enum { SEQUENCES = 3, LENGTH = 37, ROWS = SEQUENCES * LENGTH };

static void random_ids(int32_t *ids, size_t count, size_t vocab) {
    uint32_t state = 12345;
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)((state = state * 1664525u + 1013904223u) >> 8) % (int32_t)vocab;
}

typedef struct seen {
    unsigned count;
    nb_tap taps[8];
    float first[8];
} seen;

static nb_status on_tap(void *ctx, nb_tap tap, nb_mem x, size_t rows, size_t k, nb_block *block, nb_err *err) {
    seen *s = ctx;
    size_t n, want;
    (void)err;
    nb_lin lin = tap == NB_TAP_ATTN_IN ? NB_LIN_Q : tap == NB_TAP_ATTN_OUT ? NB_LIN_O : tap == NB_TAP_MLP_IN ? NB_LIN_UP : NB_LIN_DOWN;
    n = block->lin[lin].n;
    want = block->lin[lin].k;
    cr_assert(n > 0 && rows == ROWS && k == want);
    s->first[s->count] = nb_host_f32(x)[(rows - 1) * k + k - 1];
    s->taps[s->count++] = tap;
    return NB_OK;
}

static void stages_equal_blocks(const char *name) {
    machine m = machine_open(2);
    nb_model *model = model_open(golden_path(name));
    const nb_hparams *hp = nb_model_hparams(model);
    int32_t ids[ROWS];
    random_ids(ids, ROWS, hp->vocab);
    nb_forward *f, *small;
    nb_mem a, b, work;
    nb_err err = {0};
    cr_assert_eq(nb_forward_new(model, m.stream, ROWS, &f, &err), NB_OK);
    cr_assert_eq(nb_forward_new(model, m.stream, 2 * LENGTH, &small, &err), NB_OK); /* two chunks */
    cr_assert_eq(nb_alloc(m.device, ROWS * hp->hidden * 4, &a, NULL), NB_OK);
    cr_assert_eq(nb_alloc(m.device, ROWS * hp->hidden * 4, &b, NULL), NB_OK);
    cr_assert_eq(nb_alloc(m.device, nb_forward_stage_bytes(hp, ROWS), &work, NULL), NB_OK);
    cr_assert_eq(nb_forward_embed(f, ids, ROWS, a, &err), NB_OK);
    cr_assert_eq(nb_forward_embed(small, ids, ROWS, b, &err), NB_OK);
    for (size_t l = 0; l < hp->layers; l++) {
        nb_block block;
        seen s = {0};
        cr_assert_eq(nb_block_load(model, m.stream, l, &block, &err), NB_OK);
        cr_assert_eq(nb_forward_block(f, &block, a, SEQUENCES, LENGTH, NULL, 0, &err), NB_OK);
        cr_assert_eq(nb_forward_stages(small, &block, b, work, SEQUENCES, LENGTH, on_tap, &s, &err), NB_OK);
        cr_assert_eq(s.count, 4);
        for (unsigned t = 0; t < 4; t++)
            cr_assert_eq(s.taps[t], (nb_tap)t);
        cr_assert(!memcmp(nb_host(a), nb_host(b), ROWS * hp->hidden * 4), "block %zu", l);
        nb_block_free(m.device, &block);
    }
    nb_release(m.device, &a);
    nb_release(m.device, &b);
    nb_release(m.device, &work);
    nb_forward_free(f);
    nb_forward_free(small);
    nb_model_close(model);
    machine_close(&m);
}

Test(forward, stages_give_the_bits_of_blocks) {
    stages_equal_blocks("models/llama-tied-f16");
    stages_equal_blocks("models/llama-tied-f32"); /* heads * head_dim > hidden */
    stages_equal_blocks("models/gemma3-bf16");
}

/* One call for all tokens, against calls of 1, 20, 1 ... tokens with a cache. The sums' orders differ (dot products for few
 * rows): the states agree to 1e-5 of their largest. */
static void cache_equals_whole(const char *name, size_t sequences, const size_t *steps, size_t n_steps) {
    machine m = machine_open(2);
    nb_model *model = model_open(golden_path(name));
    const nb_hparams *hp = nb_model_hparams(model);
    int32_t ids[ROWS], part[ROWS];
    size_t length = 0, h = hp->hidden, rows;
    for (size_t i = 0; i < n_steps; i++)
        length += steps[i];
    rows = sequences * length;
    cr_assert_leq(rows, ROWS);
    random_ids(ids, rows, hp->vocab);
    nb_forward *f;
    nb_kv *kv;
    nb_mem whole, some;
    cr_assert_eq(nb_forward_new(model, m.stream, rows, &f, NULL), NB_OK);
    cr_assert_eq(nb_kv_new(model, m.stream, sequences, length + 3, &kv, NULL), NB_OK);
    cr_assert_eq(nb_alloc(m.device, rows * h * 4, &whole, NULL), NB_OK);
    cr_assert_eq(nb_alloc(m.device, rows * h * 4, &some, NULL), NB_OK);
    cr_assert_eq(nb_forward_embed(f, ids, rows, whole, NULL), NB_OK);
    nb_block blocks[3];
    for (size_t l = 0; l < hp->layers; l++) {
        cr_assert_eq(nb_block_load(model, m.stream, l, &blocks[l], NULL), NB_OK);
        cr_assert_eq(nb_forward_block(f, &blocks[l], whole, sequences, length, NULL, 0, NULL), NB_OK);
    }
    float max = 0;
    for (size_t i = 0; i < rows * h; i++)
        max = fmaxf(max, fabsf(nb_host_f32(whole)[i]));
    for (size_t i = 0, past = 0; i < n_steps; past += steps[i++]) {
        for (size_t s = 0; s < sequences; s++)
            memcpy(part + s * steps[i], ids + s * length + past, steps[i] * sizeof *ids);
        cr_assert_eq(nb_forward_embed(f, part, sequences * steps[i], some, NULL), NB_OK);
        for (size_t l = 0; l < hp->layers; l++)
            cr_assert_eq(nb_forward_block(f, &blocks[l], some, sequences, steps[i], kv, past, NULL), NB_OK);
        for (size_t s = 0; s < sequences; s++)
            for (size_t j = 0; j < steps[i] * h; j++) {
                float x = nb_host_f32(some)[s * steps[i] * h + j], y = nb_host_f32(whole)[(s * length + past) * h + j];
                cr_assert_leq(fabsf(x - y), 1e-5f * max, "step %zu sequence %zu", i, s);
            }
    }
    nb_err err = {0};
    cr_assert_eq(nb_forward_block(f, &blocks[0], some, sequences, 4, kv, length, &err), NB_E_USAGE);
    for (size_t l = 0; l < hp->layers; l++)
        nb_block_free(m.device, &blocks[l]);
    nb_release(m.device, &whole);
    nb_release(m.device, &some);
    nb_kv_free(kv);
    nb_forward_free(f);
    nb_model_close(model);
    machine_close(&m);
}

Test(forward, a_cache_changes_nothing) {
    static const char *const names[] = {"models/llama-untied-bf16", "models/gemma3-bf16"};
    for (size_t i = 0; i < 2; i++) {
        cache_equals_whole(names[i], 1, (const size_t[]){1, 20, 1, 1, 7}, 5);
        cache_equals_whole(names[i], 3, (const size_t[]){9, 1, 1, 6, 1}, 5);
    }
}

/* Rows of q, k and v, and of gate and up, do not depend on what stands beside them: a joined block gives the same bits. */
static void joined_equals_single(const char *name, nb_gemm_mode mode, size_t sequences, const size_t *steps, size_t n_steps,
                                 bool cached) {
    machine m = machine_open(2);
    nb_model *model = model_open(golden_path(name));
    const nb_hparams *hp = nb_model_hparams(model);
    int32_t ids[ROWS];
    nb_forward *f;
    nb_mem hidden[2];
    nb_kv *kv[2] = {NULL, NULL};
    nb_block blocks[2][2];
    cr_assert_leq(hp->layers, 2);
    random_ids(ids, ROWS, hp->vocab);
    cr_assert_eq(nb_forward_new(model, m.stream, ROWS, &f, NULL), NB_OK);
    nb_forward_set_mode(f, mode);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(nb_alloc(m.device, ROWS * hp->hidden * 4, &hidden[i], NULL), NB_OK);
        if (cached)
            cr_assert_eq(nb_kv_new(model, m.stream, sequences, 40, &kv[i], NULL), NB_OK);
        for (size_t l = 0; l < hp->layers; l++)
            cr_assert_eq((i ? nb_block_load_joined : nb_block_load)(model, m.stream, l, &blocks[i][l], NULL), NB_OK);
    }
    for (nb_joint j = 0; j < NB_JOINT_COUNT; j++)
        cr_assert(blocks[1][0].joint[j].packed && !blocks[0][0].joint[j].packed);
    cr_assert(!blocks[1][0].lin[NB_LIN_K].packed && blocks[0][0].lin[NB_LIN_K].packed);
    for (size_t s = 0, past = 0; s < n_steps; past += cached ? steps[s] : 0, s++) {
        size_t rows = sequences * steps[s];
        for (size_t i = 0; i < 2; i++) {
            cr_assert_eq(nb_forward_embed(f, ids + past, rows, hidden[i], NULL), NB_OK);
            for (size_t l = 0; l < hp->layers; l++)
                cr_assert_eq(nb_forward_block(f, &blocks[i][l], hidden[i], sequences, steps[s], kv[i], past, NULL), NB_OK);
        }
        cr_assert(!memcmp(nb_host(hidden[0]), nb_host(hidden[1]), rows * hp->hidden * 4), "%s step %zu", name, s);
    }
    for (size_t i = 0; i < 2; i++) {
        for (size_t l = 0; l < hp->layers; l++)
            nb_block_free(m.device, &blocks[i][l]);
        nb_release(m.device, &hidden[i]);
        nb_kv_free(kv[i]);
    }
    nb_forward_free(f);
    nb_model_close(model);
    machine_close(&m);
}

Test(forward, joined_linears_give_the_bits_of_single_ones) {
    static const char *const names[] = {"gptq/w4-sym-g32", "gptq/w4-asym-g32-v1", "gptq/w3-sym-g32"};
    for (size_t i = 0; i < 3; i++)
        for (nb_gemm_mode mode = NB_GEMM_EXACT; mode <= NB_GEMM_FAST; mode++) {
            joined_equals_single(names[i], mode, 1, (const size_t[]){9, 1, 1, 12}, 4, true);
            joined_equals_single(names[i], mode, 2, (const size_t[]){5, 1, 3}, 3, true);
            joined_equals_single(names[i], mode, 3, (const size_t[]){7, 1}, 2, false);
        }
}

/* Bits of a group's scale: max|w| / 127 in f16, as head.c says. */
static float head_scale(const float *w, size_t count) {
    float max = 0.0f;
    for (size_t j = 0; j < count; j++)
        max = fmaxf(max, fabsf(w[j]));
    return nb_f16_to_f32(nb_f32_to_f16(max / 127.0f));
}

/* The 8-bit head is at most half a step of each weight away, |x| times that in the logit; in f32, with K = 64:
 * gamma_K sum|x||w| more on both sides. */
Test(forward, an_eight_bit_head_is_half_a_step_away) {
    enum { COUNT = 5 };
    machine m = machine_open(2);
    nb_model *model = model_open(golden_path("gptq/w4-sym-g32"));
    const nb_hparams *hp = nb_model_hparams(model);
    size_t k = hp->hidden, n = hp->vocab;
    nb_forward *f;
    nb_mem hidden, logits[3];
    float *x = malloc(k * sizeof *x), *w = malloc(k * sizeof *w), *gain = malloc(k * sizeof *gain);
    int32_t ids[COUNT] = {1, 7, 200, 3, 40};
    cr_assert_eq(nb_forward_new(model, m.stream, COUNT, &f, NULL), NB_OK);
    cr_assert_eq(nb_alloc(m.device, COUNT * k * 4, &hidden, NULL), NB_OK);
    cr_assert_eq(nb_forward_embed(f, ids, COUNT, hidden, NULL), NB_OK);
    for (size_t i = 0; i < 3; i++) { /* stored, 8 bits, stored again */
        cr_assert_eq(nb_alloc(m.device, COUNT * n * 4, &logits[i], NULL), NB_OK);
        cr_assert_eq(nb_forward_set_embeddings(f, i == 1 ? NB_EMBEDDINGS_Q8 : NB_EMBEDDINGS_STORED, NULL), NB_OK);
        cr_assert_eq(nb_forward_logits(f, hidden, COUNT, logits[i], NULL), NB_OK);
    }
    cr_assert(!memcmp(nb_host(logits[0]), nb_host(logits[2]), COUNT * n * 4));
    cr_assert(memcmp(nb_host(logits[0]), nb_host(logits[1]), COUNT * n * 4));
    nb_to_f32(model->final_norm->dtype, model->final_norm->data, k, gain);
    for (size_t r = 0; r < COUNT; r++) {
        const float *h = nb_host_f32(hidden) + r * k;
        double squares = 0;
        for (size_t j = 0; j < k; j++)
            squares += (double)h[j] * h[j];
        for (size_t j = 0; j < k; j++)
            x[j] = (float)(h[j] / sqrt(squares / (double)k + hp->norm_eps) * gain[j]);
        for (size_t t = 0; t < n; t++) {
            double bound = 0, gamma = (double)(k + 8) * 0x1p-24;
            nb_to_f32(model->head->dtype, (const char *)model->head->data + t * model->head->bytes / n, k, w);
            for (size_t j = 0; j < k; j++)
                bound += fabs((double)x[j]) *
                         (0.5 * (1 + 0x1p-20) * head_scale(w + j / 32 * 32, 32) + 2 * gamma * fabs((double)w[j]));
            float a = nb_host_f32(logits[0])[r * n + t], b = nb_host_f32(logits[1])[r * n + t];
            cr_assert_leq(fabs((double)a - b), bound, "row %zu token %zu: %g, %g", r, t, (double)a, (double)b);
        }
    }
    free(x);
    free(w);
    free(gain);
    for (size_t i = 0; i < 3; i++)
        nb_release(m.device, &logits[i]);
    nb_release(m.device, &hidden);
    nb_forward_free(f);
    nb_model_close(model);
    machine_close(&m);
}

Test(forward, refusals) {
    machine m = machine_open(1);
    nb_model *model = model_open(golden_path("models/llama-tied-f16"));
    nb_forward *f;
    nb_mem hidden;
    nb_err err = {0};
    cr_assert_eq(nb_forward_new(model, m.stream, 8, &f, NULL), NB_OK);
    cr_assert_eq(nb_alloc(m.device, 8 * nb_model_hparams(model)->hidden * 4, &hidden, NULL), NB_OK);
    int32_t high = (int32_t)nb_model_hparams(model)->vocab, low = -1;
    cr_assert_eq(nb_forward_embed(f, &high, 1, hidden, &err), NB_E_INPUT);
    cr_assert(strstr(err.text, "vocabulary"));
    cr_assert_eq(nb_forward_embed(f, &low, 1, hidden, &err), NB_E_INPUT);
    nb_block b;
    cr_assert_eq(nb_block_load(model, m.stream, 2, &b, &err), NB_E_USAGE);
    cr_assert_eq(nb_block_load(model, m.stream, 0, &b, &err), NB_OK);
    cr_assert_eq(nb_forward_block(f, &b, hidden, 3, 3, NULL, 0, &err), NB_E_USAGE);
    cr_assert_eq(nb_forward_block(f, &b, hidden, 1, 3, NULL, 1, &err), NB_E_USAGE);
    nb_block_free(m.device, &b);
    nb_release(m.device, &hidden);
    nb_forward_free(f);
    nb_model_close(model);
    machine_close(&m);
}
