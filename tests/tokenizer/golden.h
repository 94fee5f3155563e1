/* Checking against NAME.expected.json (tests/golden/README.md). */
#ifndef NB_TEST_TOKENIZER_GOLDEN_H
#define NB_TEST_TOKENIZER_GOLDEN_H

#include "tests/tokenizer/util.h"

/* Ids of all cases of NAME.expected.json; with decoding also the texts, the decode cases and the prefix. */
void check_all(const nb_tokenizer *tok, const char *name, bool decoding);

#endif
