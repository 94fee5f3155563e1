/* A tokenizer.json as the vocabulary that a GGUF holds: the way back of export.h. */
#ifndef NB_TOKENIZER_VOCAB_JSON_H
#define NB_TOKENIZER_VOCAB_JSON_H

#include <jansson.h>
#include "host/base/err.h"
#include "host/tensor/vocab.h"

typedef struct nb_json_vocab nb_json_vocab;

/* From the file tokenizer.json at `path`; bos, eos and pad are those that `config` (config.json, or NULL) names, the chat template
 * is of the files beside it. Ids from the end of the vocabulary up to `size` become unused tokens [PADn]. Byte-level BPE must have
 * a pipeline that tokenizer.ggml.pre has a name for, SentencePiece-style BPE gets scores that fall with the rank of its merges;
 * anything else is NB_E_UNSUPPORTED. A Metaspace that puts no blank before a blank becomes one that always does, as in llama.cpp's
 * own conversion: ids differ for texts that begin with a blank. */
nb_status nb_vocab_from_json(const char *path, const json_t *config, size_t size, nb_json_vocab **out, nb_err *err);
/* Borrows from v. */
const nb_vocab *nb_json_vocab_get(const nb_json_vocab *v);
void nb_json_vocab_free(nb_json_vocab *v);

#endif
