/* A GGUF vocabulary as the tokenizer files of a Hugging Face directory. */
#ifndef NB_TOKENIZER_EXPORT_H
#define NB_TOKENIZER_EXPORT_H

#include "host/base/err.h"
#include "host/tensor/vocab.h"

/* Writes tokenizer.json and tokenizer_config.json (with the chat template), and generation_config.json, into dir. */
nb_status nb_tokenizer_export(const nb_vocab *vocab, const char *dir, nb_err *err);

#endif
