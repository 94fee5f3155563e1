/* Patterns by Oniguruma, set as Hugging Face tokenizers sets it: no options, the default syntax, UTF-8. A search that
 * backtracks too long or too deep is an error that names the pattern. */
#ifndef NB_TOKENIZER_REGEX_H
#define NB_TOKENIZER_REGEX_H

#include <stdbool.h>
#include "host/base/err.h"

typedef struct nb__regex nb__regex;

/* NB_E_INPUT where the pattern is not one. */
nb_status nb__regex_new(const char *pattern, size_t len, nb__regex **out, nb_err *err);
void nb__regex_free(nb__regex *regex);

/* What one thread needs for searching. Zero-initialise. */
typedef struct nb__regex_scratch {
    void *region, *param;
} nb__regex_scratch;
void nb__regex_scratch_free(nb__regex_scratch *scratch);

/* The first match in text[len] (well-formed UTF-8) that begins at `from` or later; lookbehind sees the text before. */
nb_status nb__regex_find(const nb__regex *regex, nb__regex_scratch *scratch, const char *text, size_t len, size_t from,
                         bool *found, size_t *start, size_t *end, nb_err *err);

#endif
