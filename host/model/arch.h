/* Model families as data, and a model's hyperparameters. A family is a row of the table in arch.c. */
#ifndef NB_ARCH_H
#define NB_ARCH_H

#include "host/ckpt/ckpt.h"

/* Linears of a block, in the order in which their statistics are taken (true-sequential). */
typedef enum nb_lin { NB_LIN_Q, NB_LIN_K, NB_LIN_V, NB_LIN_O, NB_LIN_GATE, NB_LIN_UP, NB_LIN_DOWN, NB_LIN_COUNT } nb_lin;

/* Points of a block where inputs of linears are tapped; linears with one tap share statistics and are quantized as one
 * step: {q,k,v}, {o}, {gate,up}, {down}. */
typedef enum nb_tap { NB_TAP_ATTN_IN, NB_TAP_ATTN_OUT, NB_TAP_MLP_IN, NB_TAP_MLP_OUT, NB_TAP_COUNT } nb_tap;

typedef struct nb_lin_row {
    const char *hf;   /* after "model.layers.N.": "self_attn.q_proj" */
    const char *gguf; /* after "blk.N.": "attn_q" */
    nb_tap tap;
    bool norm_fold;   /* its input comes straight from a norm, whose weight may take a factor of each channel */
    bool row_fold;    /* its input is linear in the output of ... */
    nb_lin row_from;  /* ... this one, whose rows may take the factor; heads of attention share those of their key head */
} nb_lin_row;

/* Norms of a block. A family has those that its row names; the first two always. */
typedef enum nb_norm {
    NB_NORM_ATTN,     /* before attention */
    NB_NORM_MLP,      /* before the MLP */
    NB_NORM_Q,        /* of each query head, before rotation; over head_dim, as the next */
    NB_NORM_K,        /* of each key head */
    NB_NORM_ATTN_OUT, /* of what attention adds to the residual stream */
    NB_NORM_MLP_OUT,  /* of what the MLP adds */
    NB_NORM_COUNT
} nb_norm;

typedef struct nb_norm_row {
    const char *hf, *gguf; /* after "model.layers.N." and "blk.N."; NULL: the family has no such norm */
} nb_norm_row;

typedef enum nb_act { NB_ACT_SILU, NB_ACT_GELU_TANH } nb_act;

typedef enum nb_rope_scaling { NB_ROPE_NONE, NB_ROPE_LINEAR, NB_ROPE_LLAMA3, NB_ROPE_FACTORS } nb_rope_scaling;

typedef struct nb_family {
    const char *hf;   /* model_type */
    const char *gguf; /* general.architecture */
    const nb_lin_row *lins; /* [NB_LIN_COUNT] */
    nb_norm_row norms[NB_NORM_COUNT];
    const char *final_norm, *embed, *head; /* HF names */
    const char *gguf_final_norm, *gguf_embed, *gguf_head;
    bool gguf_permutes_qk; /* rows of q and k are interleaved in GGUF (llama) */
    nb_act act;
    const char *act_key, *hidden_act; /* the activation in config.json: "hidden_act", "silu" */
    const char *architecture;         /* architectures[0] of config.json: "LlamaForCausalLM" */
    const char *dtype;                /* in the config.json of an output whose source is GGUF */
    double norm_offset;               /* HF files hold norm weights less this; GGUF files hold them whole */
    bool embed_scaled;                /* embeddings times sqrt(hidden) */
    bool tied;                        /* where config.json does not say; likewise the next three */
    double rope_theta;
    size_t head_dim;                  /* 0: hidden / heads */
    size_t window_pattern;            /* every so-manieth layer sees the whole past, the others a window; 0: all do */
} nb_family;

typedef struct nb_hparams {
    const nb_family *family;
    size_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, context;
    bool tied;
    double norm_eps, rope_theta;
    double norm_offset; /* of the file: a norm's weight is what stands there and this */
    double embed_scale; /* embeddings are multiplied by it */
    double attn_scale;  /* of q k^T */
    size_t window;      /* keys that a local layer sees; 0: no layer is local */
    size_t window_pattern;    /* layer i is global where (i + 1) % pattern == 0; 0: all are local */
    double rope_local_theta;  /* of local layers, without scaling */
    nb_rope_scaling rope_scaling;
    double rope_factor, rope_low_freq, rope_high_freq;
    size_t rope_original_context; /* with NB_ROPE_FACTORS: 0 where no parameters of Llama-3's rotation give these factors */
    nb_dtype dtype; /* of the checkpoint's weights, as its config states it */
} nb_hparams;

/* Reads and checks hyperparameters (heads > 0, hidden % heads, layers against the tensors that are there, sizes that
 * fit). An unknown family is NB_E_UNSUPPORTED naming it and the known ones. */
nb_status nb_hparams_read(const nb_ckpt *ckpt, nb_hparams *out, nb_err *err);

/* Does the layer see a window of the past only? */
bool nb_layer_is_local(const nb_hparams *hp, size_t layer);
/* Shape [n,k] of a linear. */
void nb_lin_shape(const nb_hparams *hp, nb_lin lin, size_t *n, size_t *k);
/* HF name without ".weight": "model.layers.3.mlp.up_proj", into out[cap]. */
void nb_lin_name(const nb_hparams *hp, size_t layer, nb_lin lin, char *out, size_t cap);

#endif
