/* A block's training pass: its output is that of the forward pass, and its gradients those of central differences. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "host/model/train.h"
#include "run.h"

enum { SEQUENCES = 2, LENGTH = 11, TOKENS = SEQUENCES * LENGTH };

typedef struct rig {
    machine m;
    nb_model *model;
    nb_block block;
    nb_trainer *trainer;
    float *x, *d; /* f32 [TOKENS, hidden]: input, and weights of the outputs in the loss */
    size_t count;
} rig;

static void rig_open(rig *r, const char *name, size_t layer) {
    nb_random random = nb_random_seed(5);
    r->m = machine_open(2);
    r->model = model_open(golden_path(name));
    r->count = TOKENS * nb_model_hparams(r->model)->hidden;
    r->x = malloc(r->count * sizeof *r->x);
    r->d = malloc(r->count * sizeof *r->d);
    for (size_t i = 0; i < r->count; i++) {
        r->x[i] = 2.0f * nb_random_f32(&random) - 1.0f;
        r->d[i] = 2.0f * nb_random_f32(&random) - 1.0f;
    }
    cr_assert_eq(nb_block_load(r->model, r->m.stream, layer, &r->block, NULL), NB_OK);
    cr_assert_eq(nb_trainer_new(r->model, r->m.stream, SEQUENCES, LENGTH, &r->trainer, NULL), NB_OK);
}

static void rig_close(rig *r) {
    nb_trainer_free(r->trainer);
    nb_block_free(r->m.device, &r->block);
    nb_model_close(r->model);
    machine_close(&r->m);
    free(r->x);
    free(r->d);
}

/* Weights as our own floats, so that they can be moved. */
static void own_weights(rig *r) {
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        size_t count = r->block.lin[l].n * r->block.lin[l].k;
        nb_mem w;
        cr_assert_eq(nb_alloc_array(r->m.device, count, sizeof(float), &w, NULL), NB_OK);
        cr_assert_eq(nb_model_weight_f32(r->model, r->block.layer, (nb_lin)l, nb_host(w), NULL), NB_OK);
        nb_block_set_dense(r->m.device, &r->block, (nb_lin)l, w);
    }
}

static const float *forward(rig *r) {
    nb_mem out;
    cr_assert_eq(nb_trainer_forward(r->trainer, &r->block, nb_mem_host(r->x, r->count * 4), &out, NULL), NB_OK);
    return nb_host(out);
}

static double loss(rig *r) {
    const float *out = forward(r);
    double sum = 0;
    for (size_t i = 0; i < r->count; i++)
        sum += (double)out[i] * (double)r->d[i];
    return sum;
}

static const char *const models[] = {"models/llama-tied-f32", "models/llama-tied-f16", "models/llama-untied-bf16", "models/gemma3-bf16"};
enum { MODELS = sizeof models / sizeof *models };

Test(train, output_is_that_of_the_forward_pass) {
    for (int i = 0; i < MODELS; i++) {
        rig r;
        nb_forward *f;
        rig_open(&r, models[i], 1);
        const float *out = forward(&r);
        cr_assert_eq(nb_forward_new(r.model, r.m.stream, TOKENS, &f, NULL), NB_OK);
        cr_assert_eq(nb_forward_block(f, &r.block, nb_mem_host(r.x, r.count * 4), SEQUENCES, LENGTH, NULL, 0, NULL), NB_OK);
        cr_assert(!memcmp(out, r.x, r.count * 4), "%s", models[i]);
        nb_forward_free(f);
        rig_close(&r);
    }
}

/* Derivative of the loss along `way` by central difference. */
static double slope(rig *r, float *w, const float *from, const float *way, size_t count, float h) {
    for (size_t i = 0; i < count; i++)
        w[i] = from[i] + h * way[i];
    double high = loss(r);
    for (size_t i = 0; i < count; i++)
        w[i] = from[i] - h * way[i];
    return (high - loss(r)) / (2 * (double)h);
}

/* Along a random direction and along a few single weights of each linear. The loss is a sum of some 700 outputs in f32, each
 * good to 1e-6 of about 1: 3e-5 in all; divided by a step that moves it by 0.02 and more, 2e-3 of the derivative. */
static void check_linear(rig *r, int lin, const nb_mem *grads) {
    size_t count = r->block.lin[lin].n * r->block.lin[lin].k;
    float *w = nb_host(r->block.lin[lin].w), *keep = malloc(count * sizeof *keep), *way = malloc(count * sizeof *way);
    const float *g = nb_host(grads[lin]);
    nb_random random = nb_random_seed(9 + (uint64_t)lin);
    memcpy(keep, w, count * sizeof *keep);
    for (int trial = 0; trial < 4; trial++) {
        double want = 0, norm = 0;
        for (size_t i = 0; i < count; i++) { /* half along the gradient, so that there is something to see */
            norm += (double)g[i] * (double)g[i];
            way[i] = g[i];
        }
        cr_assert_gt(norm, 1e-8, "linear %d has no gradient", lin);
        for (size_t i = 0; i < count; i++) {
            way[i] = way[i] / (float)sqrt(norm) + 2.0f * (nb_random_f32(&random) - 0.5f) / sqrtf((float)count);
            want += (double)way[i] * (double)g[i];
        }
        /* the difference's error in h^2 cancels between two steps */
        double got = (4 * slope(r, w, keep, way, count, 0.01f) - slope(r, w, keep, way, count, 0.02f)) / 3;
        memcpy(w, keep, count * sizeof *keep);
        cr_assert_float_eq(got, want, 5e-3 * sqrt(norm), "linear %d: %g by differences, %g by the gradient", lin, got, want);
    }
    free(keep);
    free(way);
}

Test(train, gradients_are_those_of_differences) {
    for (int i = 0; i < MODELS; i++) {
        rig r;
        nb_mem grads[NB_LIN_COUNT];
        rig_open(&r, models[i], 0);
        own_weights(&r);
        for (int l = 0; l < NB_LIN_COUNT; l++)
            cr_assert_eq(nb_alloc_array(r.m.device, r.block.lin[l].n * r.block.lin[l].k, sizeof(float), &grads[l], NULL), NB_OK);
        float *d = malloc(r.count * sizeof *d);
        memcpy(d, r.d, r.count * sizeof *d);
        forward(&r);
        cr_assert_eq(nb_trainer_back(r.trainer, &r.block, nb_mem_host(d, r.count * 4), grads, NULL), NB_OK);
        for (int l = 0; l < NB_LIN_COUNT; l++)
            check_linear(&r, l, grads);
        for (int l = 0; l < NB_LIN_COUNT; l++)
            nb_release(r.m.device, &grads[l]);
        free(d);
        rig_close(&r);
    }
}

/* The gradient by the block's input, through attention, norms and both ways around them, along directions of the input. */
Test(train, gradient_by_the_input_is_that_of_differences) {
    static const nb_mem none[NB_LIN_COUNT];
    for (int i = 0; i < MODELS; i++) {
        rig r;
        rig_open(&r, models[i], 0);
        own_weights(&r);
        float *d = malloc(r.count * sizeof *d), *keep = malloc(r.count * sizeof *keep), *way = malloc(r.count * sizeof *way);
        nb_random random = nb_random_seed(31);
        memcpy(d, r.d, r.count * sizeof *d);
        memcpy(keep, r.x, r.count * sizeof *keep);
        forward(&r);
        cr_assert_eq(nb_trainer_back(r.trainer, &r.block, nb_mem_host(d, r.count * 4), none, NULL), NB_OK);
        cr_assert_eq(nb_trainer_back_input(r.trainer, &r.block, nb_mem_host(d, r.count * 4), NULL), NB_OK);
        for (int trial = 0; trial < 4; trial++) {
            double want = 0, norm = 0;
            for (size_t j = 0; j < r.count; j++)
                norm += (double)d[j] * (double)d[j];
            for (size_t j = 0; j < r.count; j++) {
                way[j] = d[j] / (float)sqrt(norm) + 2.0f * (nb_random_f32(&random) - 0.5f) / sqrtf((float)r.count);
                want += (double)way[j] * (double)d[j];
            }
            double got = (4 * slope(&r, r.x, keep, way, r.count, 0.01f) - slope(&r, r.x, keep, way, r.count, 0.02f)) / 3;
            memcpy(r.x, keep, r.count * sizeof *keep);
            cr_assert_float_eq(got, want, 5e-3 * sqrt(norm), "%s: %g by differences, %g by the gradient", models[i], got, want);
        }
        free(d);
        free(keep);
        free(way);
        rig_close(&r);
    }
}

/* ---- the top of the model ---- */

/* Divergence of predictions and its gradient by the last block's output; a model does not diverge from itself. */
Test(train, divergence_and_its_gradient) {
    for (int i = 0; i < MODELS; i++) {
        rig r;
        nb_head_trainer *head;
        double kl, high, low;
        rig_open(&r, models[i], 0);
        float *d = calloc(r.count, sizeof *d), *x = malloc(r.count * sizeof *x);
        nb_mem exact = nb_mem_host(r.x, r.count * 4), moved = nb_mem_host(x, r.count * 4), grad = nb_mem_host(d, r.count * 4);
        cr_assert_eq(nb_head_trainer_new(r.model, r.m.stream, &head, NULL), NB_OK);
        cr_assert_eq(nb_head_trainer_kl(head, exact, exact, TOKENS, 1.0f, grad, &kl, NULL), NB_OK);
        cr_assert_float_eq(kl, 0, 1e-9);
        for (size_t j = 0; j < r.count; j++)
            cr_assert_eq(d[j], 0.0f);
        for (size_t j = 0; j < r.count; j++)
            x[j] = r.x[j] + 0.3f * r.d[j];
        cr_assert_eq(nb_head_trainer_kl(head, moved, exact, TOKENS, 0.5f, grad, &kl, NULL), NB_OK);
        double norm = 0;
        for (size_t j = 0; j < r.count; j++)
            norm += 4 * (double)d[j] * (double)d[j]; /* the factor was a half */
        cr_assert_gt(norm, 1e-6);
        /* Along the gradient the divergence rises by its length. */
        float *way = malloc(r.count * sizeof *way), h = 0.02f;
        for (size_t j = 0; j < r.count; j++)
            way[j] = 2 * d[j] / (float)sqrt(norm);
        for (size_t j = 0; j < r.count; j++)
            x[j] += h * way[j];
        cr_assert_eq(nb_head_trainer_kl(head, moved, exact, TOKENS, 1.0f, (nb_mem){0}, &high, NULL), NB_OK);
        for (size_t j = 0; j < r.count; j++)
            x[j] -= 2 * h * way[j];
        cr_assert_eq(nb_head_trainer_kl(head, moved, exact, TOKENS, 1.0f, (nb_mem){0}, &low, NULL), NB_OK);
        double got = (high - low) / (2 * (double)h);
        cr_assert_float_eq(got, sqrt(norm), 0.01 * sqrt(norm), "%s: %g by differences, %g by the gradient", models[i], got, sqrt(norm));
        nb_head_trainer_free(head);
        free(d);
        free(x);
        free(way);
        rig_close(&r);
    }
}

/* Tokens drawn from the predictions: the same for one seed, others for another; gradients of -log p average to zero over draws. */
Test(train, gradients_of_drawn_tokens) {
    enum { DRAWS = 400 };
    rig r;
    nb_head_trainer *head;
    rig_open(&r, models[0], 0);
    float *d = malloc(r.count * sizeof *d), *again = malloc(r.count * sizeof *again);
    double *mean = calloc(r.count, sizeof *mean), square = 0, rest = 0;
    nb_mem x = nb_mem_host(r.x, r.count * 4), grad = nb_mem_host(d, r.count * 4);
    nb_random random = nb_random_seed(3), same = nb_random_seed(3);
    cr_assert_eq(nb_head_trainer_new(r.model, r.m.stream, &head, NULL), NB_OK);
    for (int i = 0; i < DRAWS; i++) {
        cr_assert_eq(nb_head_trainer_sample(head, x, TOKENS, &random, grad, NULL), NB_OK);
        for (size_t j = 0; j < r.count; j++) {
            mean[j] += (double)d[j] / DRAWS;
            square += (double)d[j] * (double)d[j] / DRAWS;
        }
    }
    for (size_t j = 0; j < r.count; j++)
        rest += mean[j] * mean[j];
    /* of independent draws of mean zero 1 / DRAWS of the square is left */
    cr_assert_lt(rest, 2 * square / DRAWS, "%g of %g", rest, square);
    cr_assert_gt(rest, 0.5 * square / DRAWS, "%g of %g", rest, square);
    random = nb_random_seed(3);
    cr_assert_eq(nb_head_trainer_sample(head, x, TOKENS, &random, grad, NULL), NB_OK);
    cr_assert_eq(nb_head_trainer_sample(head, x, TOKENS, &same, nb_mem_host(again, r.count * 4), NULL), NB_OK);
    cr_assert(!memcmp(d, again, r.count * 4));
    cr_assert_eq(nb_head_trainer_sample(head, x, TOKENS, &random, grad, NULL), NB_OK);
    cr_assert(memcmp(d, again, r.count * 4) != 0);
    nb_head_trainer_free(head);
    free(d);
    free(again);
    free(mean);
    rig_close(&r);
}

/* Of down, whose outputs go to the residual stream; and the gradient's length at each token. */
Test(train, covariance_of_output_gradients) {
    static const nb_mem none[NB_LIN_COUNT];
    rig r;
    nb_mem grams[NB_LIN_COUNT] = {0}, squares[NB_LIN_COUNT] = {0};
    rig_open(&r, models[0], 0);
    own_weights(&r);
    size_t n = r.block.lin[NB_LIN_DOWN].n;
    cr_assert_eq(nb_alloc_array(r.m.device, n * n, sizeof(float), &grams[NB_LIN_DOWN], NULL), NB_OK);
    cr_assert_eq(nb_fill(r.m.stream, grams[NB_LIN_DOWN], 0, n * n * 4, NULL), NB_OK);
    cr_assert_eq(nb_alloc_array(r.m.device, TOKENS, sizeof(float), &squares[NB_LIN_DOWN], NULL), NB_OK);
    nb_trainer_set_grams(r.trainer, grams, squares);
    for (int pass = 1; pass <= 2; pass++) { /* added up */
        float *d = malloc(r.count * sizeof *d);
        const float *g = nb_host(grams[NB_LIN_DOWN]);
        memcpy(d, r.d, r.count * sizeof *d);
        forward(&r);
        cr_assert_eq(nb_trainer_back(r.trainer, &r.block, nb_mem_host(d, r.count * 4), none, NULL), NB_OK);
        for (size_t i = 0; i < n; i++) /* without a norm behind it, down's outputs have the gradients of the block's: r.d */
            for (size_t j = 0; j < n; j++) {
                double want = 0;
                for (size_t t = 0; t < TOKENS; t++)
                    want += pass * (double)r.d[t * n + i] * (double)r.d[t * n + j];
                cr_assert_float_eq(g[i * n + j], want, 1e-4, "%zu, %zu: %g, expected %g", i, j, (double)g[i * n + j], want);
            }
        for (size_t t = 0; t < TOKENS; t++) { /* not added up */
            double want = 0;
            for (size_t i = 0; i < n; i++)
                want += (double)r.d[t * n + i] * (double)r.d[t * n + i];
            cr_assert_float_eq(((float *)nb_host(squares[NB_LIN_DOWN]))[t], want, 1e-4, "token %zu", t);
        }
        free(d);
    }
    nb_release(r.m.device, &squares[NB_LIN_DOWN]);
    nb_release(r.m.device, &grams[NB_LIN_DOWN]);
    rig_close(&r);
}
