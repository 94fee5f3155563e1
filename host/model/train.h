/* A block forward with what its gradient needs kept, and back to the gradients of its linears' weights and of its input. */
#ifndef NB_TRAIN_H
#define NB_TRAIN_H

#include "host/base/random.h"
#include "host/model/model.h"

typedef struct nb_trainer nb_trainer;

/* Buffers for `sequences` sequences of `length` tokens. */
nb_status nb_trainer_new(const nb_model *model, nb_stream *stream, size_t sequences, size_t length, nb_trainer **out, nb_err *err);
void nb_trainer_free(nb_trainer *t); /* NULL is fine */
/* Device bytes that nb_trainer_new takes for `tokens` tokens; SIZE_MAX where they do not fit. */
size_t nb_trainer_bytes(const nb_hparams *hp, size_t tokens);

/* *out = the block's output for x, both f32 [sequences * length, hidden]; x is read again by nb_trainer_back. The block's
 * linears must be dense. */
nb_status nb_trainer_forward(nb_trainer *t, const nb_block *block, nb_mem x, nb_mem *out, nb_err *err);

/* Given d = gradient by the output (overwritten), grads[lin] = gradient by the weight, f32 [n,k], for each lin whose buffer is
 * there. After nb_trainer_forward with the same block. */
nb_status nb_trainer_back(nb_trainer *t, const nb_block *block, nb_mem d, const nb_mem grads[NB_LIN_COUNT], nb_err *err);
/* From here on nb_trainer_back adds d^T d, d [tokens, n] the gradient by a linear's output, to grams[lin], f32 [n,n], where that is there,
 * and writes each token's |d|^2 to squares[lin], f32 [tokens], where that is. The arrays are the caller's; NULL: no more. */
void nb_trainer_set_grams(nb_trainer *t, const nb_mem grams[NB_LIN_COUNT], const nb_mem squares[NB_LIN_COUNT]);

/* The way on to the blocks before: right after nb_trainer_back, with the same block and d, which becomes the gradient by x. */
nb_status nb_trainer_back_input(nb_trainer *t, const nb_block *block, nb_mem d, nb_err *err);

/* ---- the top of the model (train_head.c) ---- */

/* Final norm and head, for the KL divergence of a model's predictions to those of its original. */
typedef struct nb_head_trainer nb_head_trainer;

nb_status nb_head_trainer_new(const nb_model *model, nb_stream *stream, nb_head_trainer **out, nb_err *err);
void nb_head_trainer_free(nb_head_trainer *t); /* NULL is fine */
/* Device bytes of nb_head_trainer_new; SIZE_MAX where they do not fit. */
size_t nb_head_trainer_bytes(const nb_hparams *hp);

/* *kl = sum over tokens of KL(softmax(logits of exact) || softmax(logits of x)), both f32 [tokens, hidden], the last block's
 * outputs. d, where it is there: the gradient by x of factor times that sum. Waits for the stream. */
nb_status nb_head_trainer_kl(nb_head_trainer *t, nb_mem x, nb_mem exact, size_t tokens, float factor, nb_mem d, double *kl,
                             nb_err *err);

/* d = gradient by x of the sum over tokens of -log p(y), y drawn from the model's own predictions. */
nb_status nb_head_trainer_sample(nb_head_trainer *t, nb_mem x, size_t tokens, nb_random *random, nb_mem d, nb_err *err);

#endif
