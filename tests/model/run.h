/* What tests of models share: opening, running whole passes, reading golden tensors. */
#ifndef TESTS_MODEL_RUN_H
#define TESTS_MODEL_RUN_H

#include "host/base/file.h"
#include "host/ckpt/impl.h"
#include "host/model/forward.h"

typedef struct machine {
    nb_device *device;
    nb_stream *stream;
} machine;

machine machine_open(unsigned threads);
void machine_close(machine *m);

/* A path under tests/golden. */
const char *golden_path(const char *name);
/* A large file: the one of that name beside NIBBLE_TEST_MODEL, or build/models/NAME, or NULL after saying so. */
const char *large_model(const char *name);

/* All tensors of one safetensors file. */
typedef struct golden {
    nb_map map;
    nb__tensors list;
} golden;
golden golden_open(const char *name);
const nb_view *golden_find(const golden *g, const char *name);
void golden_close(golden *g);

nb_model *model_open(const char *path);

/* Logits of sequences x length ids, [sequences * length, vocab]; malloc'ed. */
float *run_logits(machine *m, const nb_model *model, const int32_t *ids, size_t sequences, size_t length);

#endif
