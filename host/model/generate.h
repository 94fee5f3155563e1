/* Text from a model: one prompt with a stream of tokens, or many sequences decoded at once. */
#ifndef NB_GENERATE_H
#define NB_GENERATE_H

#include "host/base/random.h"
#include "host/model/forward.h"

/* The largest top_k; top_p below 1 looks at no more tokens than this. */
enum { NB_TOP_K_MAX = 1024 };

typedef struct nb_sampling {
    double temperature; /* 0: the most likely token, always */
    size_t top_k;       /* draw from the k most likely tokens only; 0: all */
    double top_p;       /* and from the fewest of them that hold this share of their probability; 1: all */
    uint64_t seed;      /* the same seed gives the same text on the same kernels */
} nb_sampling;

typedef struct nb_generate_options {
    size_t max_tokens;
    nb_sampling sampling;
    const int32_t *stops; /* [n_stops]: stop at any of these tokens */
    size_t n_stops;
    nb_gemm_mode mode; /* of packed weights */
    nb_embeddings embeddings;
    /* Each new token, not the prompt's; returning false stops without a fault. May be NULL. */
    bool (*token)(void *ctx, int32_t id);
    void *ctx;
} nb_generate_options;

typedef struct nb_generate_result {
    size_t prompt_tokens, tokens; /* tokens: new ones, the stop counted */
    double prompt_seconds, decode_seconds; /* until the first token; for the others */
    bool ended;                   /* by a stop */
} nb_generate_result;

/* Continues prompt[count] (count > 0) by at most max_tokens, or until the model's context is full. */
nb_status nb_generate(const nb_model *model, nb_stream *stream, const int32_t *prompt, size_t count,
                      const nb_generate_options *options, nb_generate_result *out, nb_err *err);

typedef struct nb_batch_options {
    size_t sequences, length; /* ids to make */
    int32_t bos;              /* the first token of each; -1: one drawn from the vocabulary */
    nb_sampling sampling;     /* sequence i draws from a stream of its own, of seed and i */
    /* After each token of all sequences of a group; returning false stops with NB_E_INTERRUPTED. May be NULL. */
    bool (*progress)(void *ctx, size_t done, size_t total);
    void *ctx;
} nb_batch_options;

/* What calibration on a model's own text uses: temperature 1, top_k 50 (Fan et al. 2018, arXiv 1805.04833), top_p 1. Without
 * a cut a small model drifts into noise; with a temperature below 1 it repeats itself. */
nb_sampling nb_sampling_for_calibration(uint64_t seed);

/* out[sequences, length]: text that the model writes, up to 64 sequences at once. Goes on after an end of text. */
nb_status nb_generate_batch(const nb_model *model, nb_stream *stream, const nb_batch_options *options, int32_t *out,
                            nb_err *err);

typedef struct nb_speed_options {
    size_t prompt, tokens, past; /* tokens of a prompt; tokens decoded one by one, after `past` others */
    size_t samples;
    nb_gemm_mode mode;
    nb_embeddings embeddings;
} nb_speed_options;

/* How long a prompt of random tokens takes from an empty cache up to its last token's logits, and how long `tokens` steps of
 * decoding take (the most likely token each), in turns after one of each that is not counted: seconds [samples] of both.
 * Either count may be 0. */
nb_status nb_generate_time(const nb_model *model, nb_stream *stream, const nb_speed_options *options, double *prompt_seconds,
                           double *decode_seconds, nb_err *err);

/* Draws a token from logits[n]. NB_E_INPUT where a logit is NaN. */
nb_status nb_sample(const float *logits, size_t n, const nb_sampling *sampling, nb_random *random, int32_t *out, nb_err *err);

#endif
