/* What the files of model/ share. */
#ifndef NB_MODEL_IMPL_H
#define NB_MODEL_IMPL_H

#include <stdatomic.h>

#include "host/backend/packed.h"
#include "host/model/model.h"

enum { NB_NAME_CAP = 160 };

/* Tensors of one block; a linear is NULL where it is quantized. */
typedef struct nb__layer {
    const nb_view *norm[NB_NORM_COUNT], *lin[NB_LIN_COUNT];
    atomic_bool finite; /* its weights have been looked through */
} nb__layer;

struct nb_model {
    nb_ckpt *ckpt;
    nb_hparams hp;
    const nb_scheme *scheme; /* NULL where the checkpoint is not quantized */
    nb_scheme_config config;
    const nb_view *embed, *head, *final_norm;
    double *inv_freq[2]; /* [head_dim / 2], radians per position, of global and local layers; the latter NULL without a window */
    nb__layer *layers;
};

/* Full name of a tensor of layer `layer` ("model.layers.3.input_layernorm.weight", "blk.3.attn_norm.weight") from its name in
 * the family's row. */
void nb__layer_tensor_name(const nb_hparams *hp, nb_ckpt_kind kind, size_t layer, const char *hf, const char *gguf, char *out,
                           size_t cap);

/* Frequencies of rotary embedding with the model's scaling; factors [head_dim / 2] are GGUF's divisors, NULL elsewhere. */
void nb__rope_inv_freq(const nb_hparams *hp, const float *factors, double *out);

void nb__rope_local_freq(const nb_hparams *hp, double *out);

/* NB_E_INPUT naming the tensor where a value is NaN or infinite. */
nb_status nb__view_finite(const nb_view *view, nb_err *err);

nb_status nb__qtensor_finite(const nb_model *model, size_t layer, nb_lin lin, const nb_qtensor *q, nb_err *err);

/* A vector as f32 on the device, with `offset` added to each element; the caller releases it. */
nb_status nb__load_vector(nb_stream *stream, const nb_view *view, double offset, nb_mem *out, nb_err *err);

/* The table view [n,k] as a packed weight of 8 bits, groups of 32, symmetric, f16 scales. */
nb_status nb__head_q8(nb_stream *stream, const nb_view *view, nb_packed **out, nb_err *err);

/* Row of the file that holds row `row` of the HF order. */
size_t nb__file_row(const nb_model *model, nb_lin lin, size_t row);
/* Is the order of rows in the file another than HF's? */
bool nb__permuted(const nb_model *model, nb_lin lin);

#endif
