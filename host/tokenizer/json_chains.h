/* The chains of tokenizer.json. What is not supported is NB_E_UNSUPPORTED naming it. A null value is an empty chain. */
#ifndef NB_TOKENIZER_JSON_CHAINS_H
#define NB_TOKENIZER_JSON_CHAINS_H

#include "host/base/json.h"
#include "host/tokenizer/parts.h"

nb_status nb__json_normalizer(const json_t *v, nb__norm *norm, nb_err *err);
/* *byte_level: the chain ends in ByteLevel, so pieces are bytes. */
nb_status nb__json_pre_tokenizer(const json_t *v, nb__pre *pre, bool *byte_level, nb_err *err);
nb_status nb__json_decoder(const json_t *v, nb__dec *dec, nb_err *err);
/* Fills prefix and suffix; ids are checked against tok->size. */
nb_status nb__json_post_processor(const json_t *v, nb_tokenizer *tok, nb_err *err);

#endif
