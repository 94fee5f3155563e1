/* The one internal form of a tokenizer. tokenizer.json and a GGUF vocabulary are both brought into it; nothing behind
 * it knows where it came from. */
#ifndef NB_TOKENIZER_PARTS_H
#define NB_TOKENIZER_PARTS_H

#include <jansson.h>
#include "host/tokenizer/added.h"
#include "host/tokenizer/bpe.h"
#include "host/tokenizer/steps.h"

enum { NB_TOK_SPECIAL = 1, NB_TOK_ADDED = 2 };

struct nb_tokenizer {
    nb_str text;          /* the texts of all tokens, one after the other; those of added ones as decoders see them */
    size_t *at;           /* [size + 1] */
    size_t size;
    uint8_t *flags;       /* [size] NB_TOK_ bits */
    nb__strmap by_content; /* every token -> id */
    nb_str contents;      /* what by_content and bpe.by_text point into */
    nb_str piece_bytes;   /* what bpe.by_bytes points into */
    nb__bpe bpe;
    nb__added_token *added;
    size_t n_added;
    nb__matcher raw, normalized; /* added tokens to find before and after normalizing */
    nb__norm norm;
    nb__pre pre;
    nb__dec dec;
    nb_ids prefix, suffix; /* what the post-processor adds */
    int32_t bos, eos;
};

/* A tokenizer as a loader describes it. Strings are borrowed. */
typedef struct nb__spec_added {
    nb_bytes content;
    nb__added_token flags;
} nb__spec_added;
typedef struct nb__spec {
    size_t size;
    nb_bytes *tokens;    /* [size] pieces of the model by id; data NULL where the id has none */
    size_t n_merges;
    nb_bytes *left, *right; /* [n_merges] by rank, or NULL */
    const float *scores; /* [size]: merges follow from the scores (left and right are NULL) */
    const int32_t *types; /* [size] with scores: only NB_TOKEN_NORMAL ones are made by merging */
    nb__spec_added *added;
    size_t n_added;
    bool byte_level, byte_fallback, fuse_unk, ignore_merges;
    int64_t unk;
    int64_t bos, eos; /* -1: none */
} nb__spec;

/* Checks the specification and fills tok->text .. tok->bpe and the added tokens. The chains must be there already. */
nb_status nb__build(nb_tokenizer *tok, const nb__spec *spec, nb_err *err);

/* From the text of a tokenizer.json; path names it in errors. BOS is what the post-processor puts in front. */
nb_status nb__tokenizer_from_text(const char *text, size_t len, const char *path, nb_tokenizer **out, nb_err *err);

/* Chain building. On failure the chain holds what was added before and can be freed. */
nb_status nb__norm_add(nb__norm *norm, nb__norm_kind kind, nb__norm_step **out, nb_err *err);
nb_status nb__pre_add(nb__pre *pre, nb__pre_kind kind, nb__pre_step **out, nb_err *err);
nb_status nb__dec_add(nb__dec *dec, nb__dec_kind kind, nb__dec_step **out, nb_err *err);
/* Split(pattern, Isolated) */
nb_status nb__pre_add_pattern(nb__pre *pre, const char *pattern, nb_err *err);
/* Replace U+2581 by a blank, ByteFallback, Fuse, and where `strip` Strip one blank in front: SentencePiece's decoder. */
nb_status nb__dec_add_spm(nb__dec *dec, bool strip, nb_err *err);

/* Sets the pre-tokenizer, the normalizer and ignore_merges that tokenizer.ggml.pre names. */
nb_status nb__preset_apply(nb_tokenizer *tok, const char *pre, bool *ignore_merges, nb_err *err);
/* The same pipeline as tokenizer.json states it: a normalizer (or null) and a Sequence without its ByteLevel step. */
/* The first name that stands for a tokenizer.json's normalizer and pre-tokenizer. */
nb_status nb__preset_detect(const json_t *normalizer, const json_t *pre_tokenizer, bool ignore_merges, const char **out, nb_err *err);
nb_status nb__preset_export(const char *pre, json_t **normalizer, json_t **pre_tokenizer, bool *ignore_merges, nb_err *err);

#define NB_MARK "\xE2\x96\x81" /* U+2581, the blank of SentencePiece */

#endif
