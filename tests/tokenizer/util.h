/* What the tests of this room share. */
#ifndef NB_TEST_TOKENIZER_UTIL_H
#define NB_TEST_TOKENIZER_UTIL_H

#include <criterion/criterion.h>
#include "host/base/json.h"
#include "host/base/str.h"
#include "host/tokenizer/tokenizer.h"

/* Stops the test with the error's line unless status is NB_OK. */
void need(nb_status status, const nb_err *err, const char *what);

/* NB_TEST_DATA/golden/tok/NAME.SUFFIX */
const char *golden_path(const char *name, const char *suffix);
nb_tokenizer *golden_tokenizer(const char *name);
json_t *golden_json(const char *name, const char *suffix);

/* The bytes of a hex string. Free with nb_str_free. */
nb_str from_hex(const char *hex);

/* ids of text, without what the post-processor adds. */
nb_ids ids_of(const nb_tokenizer *tok, const char *text, size_t len);

/* Stops the test where ids differ from the JSON list of integers. */
void check_ids(const nb_ids *ids, const json_t *expected, const char *what);

/* A tokenizer from the text of a tokenizer.json: written to a temporary file and read. */
nb_status tokenizer_of_text(const char *json, nb_tokenizer **out, nb_err *err);

/* The same with a tokenizer_config.json beside it (NULL: none). */
nb_status tokenizer_with_config(const char *json, const char *config, nb_tokenizer **out, nb_err *err);

/* A GGUF vocabulary made from a byte-level tokenizer.json; free with vocab_free. */
typedef struct made_vocab {
    nb_vocab v;
    nb_str text;
    json_t *doc;
} made_vocab;
made_vocab vocab_of_json(const char *path, const char *pre);
void vocab_free(made_vocab *m);

#endif
