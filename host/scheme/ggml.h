/* What else a writer of GGUF needs of its block types. */
#ifndef NB_SCHEME_GGML_H
#define NB_SCHEME_GGML_H

#include "host/tensor/dtype.h"

/* The block type that holds codes of these bits (4 or 8). */
nb_dtype nb_ggml_type(unsigned bits, bool symmetric);

/* count (a multiple of 32) floats as Q8_0, 34 bytes for each 32: the codes of ggml's own quantizer. */
void nb_ggml_q8_0(const float *x, size_t count, void *out);

#endif
