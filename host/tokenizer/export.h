/* A GGUF vocabulary as the tokenizer files of a Hugging Face directory. */
#ifndef NB_TOKENIZER_EXPORT_H
#define NB_TOKENIZER_EXPORT_H

#include "host/base/err.h"
#include "host/tensor/vocab.h"

/* Writes tokenizer.json and tokenizer_config.json (with the chat template), and generation_config.json, into dir. */
nb_status nb_tokenizer_export(const nb_vocab *vocab, const char *dir, nb_err *err);
/* Could it? NB_E_INPUT or NB_E_UNSUPPORTED says what is in the way. */
nb_status nb_tokenizer_export_check(const nb_vocab *vocab, nb_err *err);

#endif
