/* Learned scales of a whole model: when all blocks are quantized, the scales of all groups are drawn together so that the model's
 * predictions are the original's (the second phase of EfficientQAT, arXiv 2407.11062; here against the original's own
 * distribution instead of the text's next token). Codes and zero points stand fast. */
#ifndef NB_TUNE_H
#define NB_TUNE_H

#include "host/model/model.h"
#include "host/quant/scales.h"

/* One block: norms as the output has them, and the linears that are left alone, dense in F32. The others are in lins. */
typedef struct nb_tune_layer {
    nb_block block;
    nb_scales *lins[NB_LIN_COUNT];
} nb_tune_layer;

typedef struct nb_tune_job {
    const nb_model *model;
    nb_stream *stream;
    nb_tune_layer *layers;
    nb_mem input;  /* f32 [samples * length, hidden]: embeddings */
    nb_mem target; /* as input: what the original model's last block puts out */
    size_t samples, length;
    size_t batch, steps; /* windows in a step; steps */
    double rate;         /* relative length of the longest step */
    uint64_t seed;       /* of the order of windows */
    /* After each step, with the mean KL divergence of its windows before it, and with 0 and -1 as judging goes on; false stops with
     * NB_E_INTERRUPTED. May be NULL. */
    bool (*progress)(void *ctx, size_t step, double kl);
    void *ctx;
} nb_tune_job;

typedef struct nb_tune_report {
    double before, after; /* mean KL divergence to the original, nats a token, over all windows or 32 that are spread over them */
    bool kept;            /* after is less; else the caller drops the learned scales */
} nb_tune_report;

nb_status nb_tune(const nb_tune_job *job, nb_tune_report *report, nb_err *err);

/* Device bytes of nb_tune beside its arguments; SIZE_MAX where they do not fit. */
size_t nb_tune_bytes(const nb_hparams *hp, size_t batch, size_t length);

#endif
