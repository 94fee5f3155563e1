/* A model that can be run block by block on a device. Weights stay in their file until a block is loaded; a loaded block
 * holds device memory for one block only. Linears may be quantized: they are then packed weights. */
#ifndef NB_MODEL_H
#define NB_MODEL_H

#include "host/backend/backend.h"
#include "host/model/arch.h"
#include "host/scheme/scheme.h"
#include "host/tensor/qtensor.h"

typedef struct nb_model nb_model;

/* Opens the model at path: containers, hyperparameters, quantization settings where it has them. All tensors that the
 * family needs are looked up and their shapes checked. */
nb_status nb_model_open(const char *path, nb_model **out, nb_err *err);
void nb_model_close(nb_model *model);

const nb_hparams *nb_model_hparams(const nb_model *model);
const nb_ckpt *nb_model_ckpt(const nb_model *model);
/* NULL where the checkpoint is not quantized (GGUF block types do not count). */
const nb_scheme_config *nb_model_scheme(const nb_model *model);

/* Row of a GGUF of this family that holds row `row` of q or k in HF order; where the family permutes them. */
size_t nb_gguf_row(const nb_hparams *hp, size_t row);
/* factors [head_dim / 2]: GGUF's divisors that stand for Llama-3's rotation. */
void nb_rope_factors(const nb_hparams *hp, float *factors);
/* The other way: Llama-3's parameters that give the factors, into hp, whose head_dim and rope_theta are read. false: there are none, or fewer than two
 * frequencies lie between its bounds. */
bool nb_rope_solve(nb_hparams *hp, const float *factors);

/* The tensor that holds a linear's dense weight in its file; NULL where the linear is quantized. */
const nb_view *nb_model_linear_view(const nb_model *model, size_t layer, nb_lin lin);

/* The table of embeddings as it lies in its file. */
const nb_view *nb_model_embeddings(const nb_model *model);

/* The f32 weight of a linear in HF row order (a GGUF q/k permutation is undone), into out[n*k]; a quantized one is
 * dequantized. NaN or infinity is NB_E_INPUT naming the tensor. */
nb_status nb_model_weight_f32(const nb_model *model, size_t layer, nb_lin lin, float *out, nb_err *err);
/* Is the linear quantized in the checkpoint? Then reads it. */
bool nb_model_is_quantized(const nb_model *model, size_t layer, nb_lin lin);
nb_status nb_model_qtensor(const nb_model *model, size_t layer, nb_lin lin, nb_qtensor *out, nb_err *err);

/* ---- blocks (block.c) ---- */

/* A linear on a device: exactly one of a dense weight (any type that the device's `linear` reads) and a quantized one. */
typedef struct nb_linear {
    size_t n, k;
    nb_mem w;         /* dense: w_type [n,k] */
    nb_dtype w_type;
    bool owned;       /* free w with the block (false: it lies in the mapped file) */
    bool quantized;
    struct nb_packed *packed; /* quantized: the packed weight that inference kernels read */
} nb_linear;

/* Linears that read the same input, as one: its rows are theirs one after another. */
typedef enum nb_joint { NB_JOINT_QKV, NB_JOINT_GATE_UP, NB_JOINT_COUNT } nb_joint;

typedef struct nb_block {
    size_t layer;
    nb_linear lin[NB_LIN_COUNT];
    nb_linear joint[NB_JOINT_COUNT]; /* where `packed` is set, it stands for its linears, which are then empty */
    nb_mem norm[NB_NORM_COUNT]; /* f32 [hidden], q and k [head_dim], whole weights (the family's offset is in them); absent where
                                 * the family has none */
} nb_block;

nb_status nb_block_load(const nb_model *model, nb_stream *stream, size_t layer, nb_block *out, nb_err *err);
/* The same for running alone: packed linears that read one input are joined where one packed weight can hold them. A joined
 * block goes through nb_forward_block; its linears cannot be replaced. */
nb_status nb_block_load_joined(const nb_model *model, nb_stream *stream, size_t layer, nb_block *out, nb_err *err);
void nb_block_free(nb_device *device, nb_block *block);
/* Replaces one linear's weight by f32 values on the device (takes over w). */
void nb_block_set_dense(nb_device *device, nb_block *block, nb_lin lin, nb_mem w);

#endif
