/* What was lost: perplexity, KL divergence and agreement to a reference. */
#ifndef NB_EVAL_H
#define NB_EVAL_H

#include "host/base/file.h"
#include "host/base/log.h"
#include "host/model/forward.h"
#include "host/tokenizer/tokenizer.h"

typedef enum nb_protocol { NB_PROTOCOL_HF, NB_PROTOCOL_LLAMACPP } nb_protocol;

typedef struct nb_eval_options {
    size_t seq_len;      /* window; 1024 */
    size_t max_tokens;   /* stop after so many tokens of text; 0 = all */
    nb_protocol protocol;
    nb_gemm_mode mode;        /* of the model's packed weights and head; the reference always runs as it is stored, in f32 */
    nb_embeddings embeddings;
    /* Called after each batch of windows; may be NULL. Returning false stops with NB_E_INTERRUPTED. */
    bool (*progress)(void *ctx, size_t done, size_t total, double seconds);
    bool (*stop)(void *ctx); /* asked between blocks; true stops likewise. May be NULL */
    void *ctx;
} nb_eval_options;

typedef struct nb_eval_result {
    double perplexity, nll; /* nll: mean over targets, nats */
    size_t tokens;          /* targets */
    size_t windows;
    double seconds;
    bool has_reference;
    double kl_mean;         /* mean over targets of KL(reference || model), nats */
    double top1_agreement;  /* share of targets where both have the same most likely token */
} nb_eval_result;

/* Non-overlapping windows of seq_len over ids (BOS in front of each window only where bos >= 0), mean over the L-1 targets of
 * each; a last short window is dropped. Runs block by block over all windows of a batch, so that weights are read once a
 * batch. reference may be NULL. Both models must have one vocabulary. With llama.cpp's protocol BOS stands in the place of each window's
 * first id, and ids begin with it, as that tool has them. NB_E_INPUT where predictions are NaN or infinite. */
nb_status nb_eval_run(const nb_model *model, const nb_model *reference, nb_stream *stream, const int32_t *ids, size_t count,
                      int32_t bos, const nb_eval_options *options, nb_eval_result *out, nb_err *err);

/* Writes the logits of ids[count], one sequence from its start, to out: raw little-endian f32 [count, vocab]. Of options, mode and
 * embeddings count. */
nb_status nb_eval_logits(const nb_model *model, nb_stream *stream, const int32_t *ids, size_t count, const nb_eval_options *options,
                         nb_out *out, nb_err *err);

#endif
