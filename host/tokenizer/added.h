/* Added tokens: pieces of text that are one token wherever they stand. The longest at the leftmost place wins. */
#ifndef NB_TOKENIZER_ADDED_H
#define NB_TOKENIZER_ADDED_H

#include "host/tokenizer/map.h"

typedef struct nb__added_token {
    int32_t id;
    bool single_word; /* counts only where no word character stands beside it */
    bool lstrip, rstrip; /* takes the blanks before and behind it along */
    bool normalized;  /* looked for in the normalized text */
    bool special;
} nb__added_token;

/* Tokens to look for in one kind of text: a trie over bytes. */
typedef struct nb__matcher {
    nb__pairmap edges; /* (node, byte) -> node; node 0 is the root */
    int32_t *token;    /* [nodes] index of the added token that ends there, or -1 */
    size_t nodes, room;
    bool first[256];   /* bytes that begin a token */
    bool any;
} nb__matcher;

/* Room for contents of `bytes` in all. */
nb_status nb__matcher_init(nb__matcher *m, size_t bytes, nb_err *err);
void nb__matcher_add(nb__matcher *m, const char *content, size_t len, int32_t index);
void nb__matcher_free(nb__matcher *m);

/* The next added token in text[len] at or after *from, not touching text before `done`. Returns its index, or -1;
 * [*start, *end) with the blanks it takes along, *from where to look on. */
int32_t nb__matcher_next(const nb__matcher *m, const nb__added_token *tokens, const char *text, size_t len, size_t done,
                         size_t *from, size_t *start, size_t *end);

#endif
