/* Learned rounding of one block in a run: the block's output for its quantized inputs is drawn to what the original model has
 * there (AutoRound, arXiv 2309.05516). */
#ifndef NB_LEARN_H
#define NB_LEARN_H

#include "host/model/model.h"

typedef struct nb_learn_job {
    const nb_model *model;
    nb_stream *stream;
    nb_mem input;  /* f32 [samples * length, hidden]: what reaches the block in the quantized model */
    nb_mem target; /* as input: what the block should put out */
    size_t samples, length;
    size_t batch;      /* windows in a step */
    size_t iterations;
    double rate;       /* length of the first step, which falls to 0; 0: 1 / iterations */
    uint64_t seed;     /* of the draw of windows */
} nb_learn_job;

typedef struct nb_learn_report {
    double before, after; /* mean squared error of the block's output over all windows */
    bool kept;            /* what was learned is better, and was taken */
} nb_learn_report;

/* q: the block's quantized linears, n = 0 where one is left alone; replaced by what was learned where that is better. The
 * block's norms are read, its linears are not. */
nb_status nb_learn_block(const nb_learn_job *job, const nb_block *block, nb_qtensor q[NB_LIN_COUNT], nb_learn_report *report,
                         nb_err *err);

/* Device bytes of a job beside its arguments; SIZE_MAX where they do not fit. */
size_t nb_learn_bytes(const nb_hparams *hp, const size_t groups[NB_LIN_COUNT], size_t batch, size_t length);

#endif
