/* Text to token ids and back: byte-level BPE and SentencePiece-style BPE. Equal, id for id, to the Hugging Face
 * `tokenizers` package for the pre-tokenizers that the table in pretok.c names. */
#ifndef NB_TOKENIZER_H
#define NB_TOKENIZER_H

#include "host/base/err.h"
#include "host/base/str.h"
#include "host/tensor/vocab.h"

typedef struct nb_tokenizer nb_tokenizer;

/* From tokenizer.json (tokenizer_config.json beside it names bos and eos where it is there). */
nb_status nb_tokenizer_from_json(const char *path, nb_tokenizer **out, nb_err *err);
/* From a GGUF vocabulary, which is copied. path names the file in errors. */
nb_status nb_tokenizer_from_vocab(const nb_vocab *vocab, const char *path, nb_tokenizer **out, nb_err *err);
void nb_tokenizer_free(nb_tokenizer *tok);

/* A growing list of ids. Zero-initialise; free with nb_ids_free. */
typedef struct nb_ids {
    int32_t *data;
    size_t len, room;
} nb_ids;
nb_status nb_ids_add(nb_ids *ids, int32_t id, nb_err *err);
void nb_ids_free(nb_ids *ids);

/* Appends the ids of text[len] (any bytes; invalid UTF-8 is replaced as documented in utf8.h). with_special adds what the
 * post-processor adds (BOS where the model uses it). Added tokens in the text are found and become their ids. Thread-safe. */
nb_status nb_tokenize(const nb_tokenizer *tok, const char *text, size_t len, bool with_special, nb_ids *out, nb_err *err);

/* Appends the text of ids to out; special tokens are left out on request. Bytes that are not UTF-8 become U+FFFD. */
nb_status nb_detokenize(const nb_tokenizer *tok, const int32_t *ids, size_t count, bool skip_special, nb_str *out, nb_err *err);
/* For streaming: the raw bytes of one token, which may be part of a character. `first`: it begins the text. */
nb_status nb_token_bytes(const nb_tokenizer *tok, int32_t id, bool first, nb_str *out, nb_err *err);

size_t nb_tokenizer_size(const nb_tokenizer *tok); /* ids are below it */
int32_t nb_tokenizer_bos(const nb_tokenizer *tok); /* -1 where there is none */
int32_t nb_tokenizer_eos(const nb_tokenizer *tok);
bool nb_tokenizer_adds_bos(const nb_tokenizer *tok); /* does with_special put BOS in front? */
bool nb_tokenizer_is_special(const nb_tokenizer *tok, int32_t id);
/* -1 where no token has that content. */
int32_t nb_tokenizer_find(const nb_tokenizer *tok, const char *content);

#endif
