/* Disk formats of quantized weights: names, packing and config JSON. A scheme reads tensors by a look-up and writes
 * to a sink, so that it knows no container. One file a format. */
#ifndef NB_SCHEME_H
#define NB_SCHEME_H

#include <jansson.h>
#include "host/tensor/qtensor.h"
#include "host/tensor/view.h"

/* Settings of a whole checkpoint as its quantization_config states them. */
typedef struct nb_scheme_config {
    char format[24];      /* "gptq", "gptq_v2", "awq", "gguf" */
    unsigned bits;
    int64_t group_size;   /* -1: per channel */
    bool symmetric;
    bool desc_act;        /* g_idx is not k / group_size */
    bool lm_head;         /* is the head quantized? */
    bool ragged;          /* a short last group is allowed; not loadable by GPTQModel */
    double damp;          /* for the record; < 0: leave out */
    bool true_sequential, static_groups;
    const json_t *dynamic; /* borrowed: per-module overrides as in GPTQModel, or NULL */
} nb_scheme_config;

/* A tensor of the packed form of one linear, owned by the caller. */
typedef struct nb_packed_tensor {
    char suffix[24]; /* "qweight", "scales", ... : the full name is PREFIX.suffix */
    nb_dtype dtype;
    unsigned ndim;
    size_t dims[2];
    void *data;      /* nb_free */
    size_t bytes;
} nb_packed_tensor;

enum { NB_SCHEME_MAX_TENSORS = 6 };

typedef const nb_view *nb_scheme_find_fn(void *ctx, const char *name);

typedef struct nb_scheme {
    const char *name; /* as in --format and quantization_config */
    bool rounds_offsets; /* of an asymmetric tensor it holds -zero * scale, rounded: read back what was packed */
    /* Is this config of this scheme, and what does it say? NB_E_INPUT for one that is of this scheme but broken. */
    nb_status (*parse)(const json_t *quantization_config, nb_scheme_config *out, bool *mine, nb_err *err);
    /* New object for config.json. */
    nb_status (*emit)(const nb_scheme_config *config, json_t **out, nb_err *err);
    /* Does linear `prefix` ("model.layers.0.self_attn.q_proj") have a quantized form here? */
    bool (*has)(nb_scheme_find_fn *find, void *ctx, const char *prefix);
    /* Reads the linear of shape [n,k]; all of its tensors' dtypes and shapes are checked first. */
    nb_status (*read)(const nb_scheme_config *config, nb_scheme_find_fn *find, void *ctx, const char *prefix, size_t n,
                      size_t k, nb_qtensor *out, nb_err *err);
    /* Shapes that `pack` will give, without data; for declaring before packing. */
    nb_status (*shapes)(const nb_scheme_config *config, size_t n, size_t k, unsigned bits, size_t group_size,
                        nb_packed_tensor *out, size_t *count, nb_err *err);
    /* Packs q into new tensors. *clamped counts zero points that the format could not hold (GPTQ v1: zero 0). */
    nb_status (*pack)(const nb_scheme_config *config, const nb_qtensor *q, nb_packed_tensor *out, size_t *count,
                      size_t *clamped, nb_err *err);
    /* Can the format hold q's settings? NB_E_UNSUPPORTED says what it cannot and what would do. */
    nb_status (*accepts)(const nb_scheme_config *config, size_t n, size_t k, unsigned bits, size_t group_size, bool symmetric,
                         nb_err *err);
} nb_scheme;

/* NULL-terminated list of all formats. */
extern const nb_scheme *const nb_schemes[];
/* NULL where no format has that name. "gptq_v2" is gptq with its checkpoint format set. */
const nb_scheme *nb_scheme_by_name(const char *name);
/* The settings of one linear: config with the first of its `dynamic` rules that matches at the start of `module`
 * applied. *skip: a rule says that it is not quantized. A rule that cannot be read is NB_E_INPUT. The `read` of a
 * scheme does this itself. */
nb_status nb_scheme_for_module(const nb_scheme_config *config, const char *module, nb_scheme_config *out, bool *skip,
                               nb_err *err);
void nb_packed_tensors_free(nb_packed_tensor *tensors, size_t count);

#endif
