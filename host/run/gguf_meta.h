/* Metadata of a GGUF output. */
#ifndef NB_RUN_GGUF_META_H
#define NB_RUN_GGUF_META_H

#include "host/run/plan.h"

/* Of a GGUF source its own, but for what the quantization changes; of a Hugging Face directory hyperparameters and vocabulary
 * as llama.cpp reads them. NB_E_UNSUPPORTED where it has no key for what the model needs. */
nb_status nb_gguf_metadata(nb_gguf_writer *w, const nb_model *model, const nb_plan *plan, nb_err *err);

#endif
