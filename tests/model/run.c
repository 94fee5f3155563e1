#include "run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

machine machine_open(unsigned threads) {
    machine m;
    nb_device_options options = {.threads = threads};
    cr_assert_eq(nb_device_open("cpu", &options, &m.device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(m.device, &m.stream, NULL), NB_OK);
    return m;
}

void machine_close(machine *m) {
    nb_stream_free(m->stream);
    nb_device_close(m->device);
}

const char *golden_path(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/golden/%s", NB_TEST_DATA, name);
    return path;
}

const char *large_model(const char *name) {
    static char path[1024];
    const char *given = getenv("NIBBLE_TEST_MODEL"), *slash = given ? strrchr(given, '/') : NULL;
    snprintf(path, sizeof path, "models/%s", name);
    if (given && *given) /* it, or what lies beside it */
        snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash + 1 - given) : 0, given, name);
    if (nb_path_exists(path))
        return path;
    fprintf(stderr, "not run: no model at %s\n", path);
    return NULL;
}

golden golden_open(const char *name) {
    golden g = {0};
    nb_err err = {0};
    cr_assert_eq(nb_map_open(golden_path(name), &g.map, &err), NB_OK, "%s %s", err.path, err.text);
    cr_assert_eq(nb__st_parse(&g.map, &g.list, &err), NB_OK, "%s", err.text);
    return g;
}

const nb_view *golden_find(const golden *g, const char *name) {
    for (size_t i = 0; i < g->list.count; i++)
        if (!strcmp(g->list.items[i].name, name))
            return &g->list.items[i];
    return NULL;
}

void golden_close(golden *g) {
    nb__tensors_free(&g->list);
    nb_map_close(&g->map);
}

nb_model *model_open(const char *path) {
    nb_model *model;
    nb_err err = {0};
    cr_assert_eq(nb_model_open(path, &model, &err), NB_OK, "%s: %s: %s", err.path, err.item, err.text);
    return model;
}

float *run_logits(machine *m, const nb_model *model, const int32_t *ids, size_t sequences, size_t length) {
    const nb_hparams *hp = nb_model_hparams(model);
    size_t rows = sequences * length;
    nb_err err = {0};
    nb_forward *f;
    nb_mem hidden;
    float *logits = malloc(rows * hp->vocab * sizeof *logits);
    cr_assert_not_null(logits);
    cr_assert_eq(nb_forward_new(model, m->stream, rows, &f, &err), NB_OK, "%s", err.text);
    cr_assert_eq(nb_alloc(m->device, rows * hp->hidden * sizeof(float), &hidden, NULL), NB_OK);
    cr_assert_eq(nb_forward_embed(f, ids, rows, hidden, &err), NB_OK, "%s", err.text);
    for (size_t l = 0; l < hp->layers; l++) {
        nb_block b;
        cr_assert_eq(nb_block_load(model, m->stream, l, &b, &err), NB_OK, "%s %s", err.item, err.text);
        cr_assert_eq(nb_forward_block(f, &b, hidden, sequences, length, NULL, 0, &err), NB_OK, "%s", err.text);
        nb_block_free(m->device, &b);
    }
    cr_assert_eq(nb_forward_logits(f, hidden, rows, nb_mem_host(logits, rows * hp->vocab * sizeof *logits), &err), NB_OK);
    nb_release(m->device, &hidden);
    nb_forward_free(f);
    return logits;
}
