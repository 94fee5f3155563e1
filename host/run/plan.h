/* What a run will do, decided before any work: which linears, with which settings, what it will cost, and which engines
 * will take the result. */
#ifndef NB_PLAN_H
#define NB_PLAN_H

#include "host/model/model.h"
#include "host/quant/quant.h"

/* An override of --override PATTERN:key=value,...; PATTERN is a glob over module names, or re:REGEX (Perl's,
 * matching the whole name). The last override that matches a module and has the key wins. */
typedef struct nb_override {
    const char *text; /* as given; borrowed */
    char *pattern; /* a glob, or a regular expression for whole names */
    bool regex;
    bool has_skip, skip;
    bool has_bits, has_group;
    unsigned bits;
    int64_t group_size; /* -1: per channel */
    size_t hits;        /* modules that it matched */
} nb_override;

nb_status nb_override_parse(const char *text, nb_override *out, nb_err *err);
void nb_override_free(nb_override *o);

/* What the user asked for. Strings are borrowed. */
typedef struct nb_run_options {
    const char *model, *out;
    const char *method;      /* a name of nb_quantizers, "awq" or "awq+" and a name; "autoround", or a name and "+autoround" (without
                              * "awq"); each of these and "+tune"; "best" */
    const char *format;      /* a name of nb_schemes */
    const char *embeddings;  /* GGUF: "q8_0" (or NULL), "f16" */
    const char *checkpoint_format; /* GPTQ: "gptq", "gptq_v2", or NULL: v1 for symmetric, v2 for asymmetric */
    const char *calib;       /* a file, or "self" */
    const char *device;
    const char *kernel_filter;
    size_t device_memory;    /* CUDA, OpenCL: bytes of the device's memory that may be taken; 0: all that is free */
    const char *cache_dir;   /* of device programs, or NULL */
    unsigned bits;
    int64_t group_size;      /* 0: auto, -1: per channel */
    bool symmetric;
    nb_column_order order;
    const char *scales;      /* "minmax", "search"; NULL or "auto": search where there are statistics */
    double damp;             /* below 0: nb_damp_for the tokens of the calibration, for a third of them with two_sided */
    double asym_calib;       /* part of asymmetric calibration, 0..1; 0: off */
    size_t iterations, batch; /* learned rounding and learned scales: steps (of a block, of the whole model), windows in a step; 0: theirs */
    double rate;             /* ... length of the longest step; 0: theirs */
    bool two_sided;          /* GPTQ: feedback over rows too, by the gradients of the model's loss */
    uint64_t gradient_memory; /* ... bytes that covariances of gradients should take at most; more backward passes take less; 0: any */
    unsigned descent;        /* GPTQ: sweeps of coordinate descent at the end */
    size_t samples, seq_len;
    uint64_t seed;
    unsigned threads;
    const char *recipe;      /* what "best" stood for (nb_best_options), or NULL */
    bool ragged, resume, force, allow_device_change;
    uint64_t shard_bytes;    /* largest output file; 0: 5 GB */
    nb_override *overrides;
    size_t n_overrides;
} nb_run_options;

typedef struct nb_plan_item {
    size_t layer;
    nb_lin lin;
    char name[160];
    size_t n, k;
    bool skip;
    unsigned bits;
    size_t group_size; /* 1..k */
} nb_plan_item;

typedef struct nb_plan {
    nb_plan_item *items; /* layers x NB_LIN_COUNT, by layer */
    size_t count;
    int64_t group_size;  /* the run's own: -1 per channel, else > 0 */
    nb_scheme_config config;
    const nb_scheme *scheme;
    bool gguf;           /* the output is one GGUF file */
    nb_dtype embed_type; /* of embeddings and head in it */
    const nb_quantizer *method; /* of "awq+gptq" the second, of "awq" rounding to nearest */
    const char *method_name;    /* as asked for */
    bool smooth;         /* AWQ channel scales first */
    bool learn;          /* learned rounding of the whole block at last */
    bool two_sided;      /* GPTQ with feedback over rows */
    size_t gather_layers; /* ... blocks of which a backward pass adds up covariances; the result does not depend on it */
    unsigned descent;    /* GPTQ: sweeps of coordinate descent */
    bool tune;           /* learned scales of the whole model when all blocks are done */
    size_t learn_steps, learn_batch, tune_steps, tune_batch; /* 0 where there is none */
    double learn_rate, tune_rate;
    double asym;         /* part of asymmetric calibration; 0 where the method has none */
    double damp, output_damp; /* GPTQ's, of H and of G */
    bool needs_data;     /* a calibration pass */
    nb_scale_rule scales;
    uint64_t weights;        /* in the quantized linears */
    uint64_t packed_bytes;   /* of them, as written */
    uint64_t other_bytes;    /* of all other tensors, as written */
    double bits_per_weight;
    uint64_t peak_memory;    /* estimate of anonymous memory, bytes */
    double flop;             /* calibration forward, statistics and solve */
    char *notes;             /* lines on what engines will say; NULL where none */
} nb_plan;

/* Checks everything that can be checked before work: overrides that match nothing, group sizes that do not divide, what the
 * format can hold. */
nb_status nb_plan_make(const nb_model *model, const nb_run_options *options, nb_plan *out, nb_err *err);
void nb_plan_free(nb_plan *plan);

/* What "best" may take. */
typedef struct nb_best_limits {
    double seconds, flops; /* computing: so long at so many FLOP/s; seconds <= 0: any */
    uint64_t memory;       /* the device's, bytes; 0: not known */
    bool gradients;        /* the device has the kernels of a backward pass */
    char begun[32];        /* the recipe of the run that is to go on, "" if none is */
} nb_best_limits;

/* Where the method is "best", puts in its place what is recommended for these bits, this format and these limits, or what the run that
 * is to go on has begun with. */
nb_status nb_best_options(const nb_model *model, nb_run_options *o, const nb_best_limits *limits, nb_err *err);

/* Device bytes of two_sided (outputs.c): of the pass, and of the covariances of a block at the most. */
uint64_t nb__run_outputs_bytes(const nb_hparams *hp, size_t samples, size_t length);
uint64_t nb__run_covariance_bytes(const nb_plan *plan, const nb_hparams *hp);

typedef struct nb_machine {
    double flops;    /* FLOP/s of the dense product right now, by a short measurement; for time estimates */
    uint64_t memory; /* bytes; 0: not known */
    bool gradients;  /* has the kernels of a backward pass */
} nb_machine;

nb_status nb_measure_machine(const char *device, unsigned threads, nb_machine *out, nb_err *err);

#endif
