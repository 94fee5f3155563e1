/* A vocabulary as a container holds it: a plain struct that ckpt/ fills and tokenizer/ reads, as neither includes
 * the other. */
#ifndef NB_TENSOR_VOCAB_H
#define NB_TENSOR_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum nb_vocab_kind { NB_VOCAB_BPE, NB_VOCAB_SPM } nb_vocab_kind;

/* Token types as GGUF numbers them. */
enum { NB_TOKEN_NORMAL = 1, NB_TOKEN_UNKNOWN, NB_TOKEN_CONTROL, NB_TOKEN_USER, NB_TOKEN_UNUSED, NB_TOKEN_BYTE };

/* Borrowed strings, not NUL-terminated. */
typedef struct nb_bytes {
    const char *data;
    size_t len;
} nb_bytes;

typedef struct nb_vocab {
    nb_vocab_kind kind;
    const char *pre;         /* name of the pre-tokenizer ("smollm", "llama-bpe", ...), "" where none is named */
    size_t size;
    nb_bytes *tokens;        /* [size], by id */
    int32_t *types;          /* [size] or NULL */
    float *scores;           /* [size] or NULL (SPM) */
    size_t n_merges;
    nb_bytes *merges;        /* [n_merges] "left right" (BPE) */
    int64_t bos, eos, unk, pad, eot; /* ids, -1 where absent */
    bool add_bos, add_eos, add_space_prefix;
    const char *chat_template; /* or NULL */
} nb_vocab;

#endif
