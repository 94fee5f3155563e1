/* Private to host/scheme. A format is one file: it defines an nb_scheme here and a row in schemes.c. */
#ifndef NB_SCHEME_IMPL_H
#define NB_SCHEME_IMPL_H

#include "host/scheme/scheme.h"

extern const nb_scheme nb__scheme_gptq, nb__scheme_awq, nb__scheme_ggml;

/* Bits and group sizes that a GPTQ config may name; NB_E_INPUT otherwise. */
nb_status nb__gptq_check_bits(int64_t bits, nb_err *err);
nb_status nb__gptq_check_group(int64_t group_size, nb_err *err);

/* The `parse` and `emit` of the gptq scheme (gptq_config.c). */
nb_status nb__gptq_parse(const json_t *quantization_config, nb_scheme_config *out, bool *mine, nb_err *err);
nb_status nb__gptq_emit(const nb_scheme_config *config, json_t **out, nb_err *err);

/* ---- parts.c: tensors of a linear ---- */

typedef struct nb__parts {
    nb_scheme_find_fn *find;
    void *ctx;
    const char *prefix;
    nb_err *err;
} nb__parts;

/* PREFIX.suffix, or NULL. */
const nb_view *nb__find_part(const nb__parts *s, const char *suffix);
/* Finds one that must be there and checks its kind of dtype and its shape. */
nb_status nb__check_part(const nb__parts *s, const char *suffix, bool floats, unsigned ndim, size_t rows, size_t cols,
                         const nb_view **out);
/* Scales [G, N] of any float type, finite, into q; and from q, which must be exact in F16. */
nb_status nb__read_scales(const nb__parts *s, const nb_view *v, nb_qtensor *q);
nb_status nb__pack_scales(const nb_qtensor *q, uint16_t *out, nb_err *err);
/* The zero point of row i, group g, an integer of q's bits, or a fault. */
nb_status nb__zero_of(const nb_qtensor *q, size_t i, size_t g, uint8_t *out, nb_err *err);
nb_status nb__check_codes(const nb_qtensor *q, nb_err *err);
/* Dtype, shape and bytes, without data. */
void nb__describe_part(nb_packed_tensor *t, const char *suffix, nb_dtype dtype, unsigned ndim, size_t rows, size_t cols);

#endif
