/* Private to host/scheme. A format is one file: it defines an nb_scheme here and a row in schemes.c. */
#ifndef NB_SCHEME_IMPL_H
#define NB_SCHEME_IMPL_H

#include "host/scheme/scheme.h"

extern const nb_scheme nb__scheme_gptq;

/* Bits and group sizes that a GPTQ config may name; NB_E_INPUT otherwise. */
nb_status nb__gptq_check_bits(int64_t bits, nb_err *err);
nb_status nb__gptq_check_group(int64_t group_size, nb_err *err);

/* The `parse` and `emit` of the gptq scheme (gptq_config.c). */
nb_status nb__gptq_parse(const json_t *quantization_config, nb_scheme_config *out, bool *mine, nb_err *err);
nb_status nb__gptq_emit(const nb_scheme_config *config, json_t **out, nb_err *err);

#endif
