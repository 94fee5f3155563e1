/* AWQ in a run: norms into which channel scales are folded. */
#ifndef NB_SMOOTH_H
#define NB_SMOOTH_H

#include "host/model/model.h"

/* Module name in the output ("model.layers.3.input_layernorm") of the norm before `tap`, the type in which the output
 * holds its weight, and what that is less than the weight (a GGUF holds it whole, as F32). */
nb_status nb_norm_in_output(const nb_model *model, size_t layer, nb_tap tap, bool gguf, char *name, size_t cap, nb_dtype *type,
                            float *offset, nb_err *err);

/* A block's norm weight to and from the host, f32 [hidden], whole; waits for the stream. */
nb_status nb_norm_download(nb_stream *stream, const nb_block *block, nb_tap tap, size_t hidden, float *out, nb_err *err);
nb_status nb_norm_upload(nb_stream *stream, nb_block *block, nb_tap tap, size_t hidden, const float *norm, nb_err *err);

/* The norm, less the offset of the output's files, as a tensor of a part file: suffix "weight". */
nb_status nb_norm_pack(const float *norm, size_t hidden, nb_dtype type, float offset, nb_packed_tensor *out, nb_err *err);

#endif
