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
