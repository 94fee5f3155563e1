/* Byte pair encoding of one piece (Sennrich et al. 2016, arXiv 1508.07909): the pair of neighbours with the least
 * rank is joined, the leftmost of equals, until no pair has a rank. */
#ifndef NB_TOKENIZER_BPE_H
#define NB_TOKENIZER_BPE_H

#include "host/tokenizer/map.h"
#include "host/tokenizer/tokenizer.h"

typedef struct nb__bpe {
    nb__strmap by_text;   /* piece -> id, as the file writes it */
    nb__strmap by_bytes;  /* the same, by the bytes that the text stands for; byte-level with ignore_merges only */
    nb__pairmap merges;
    int32_t byte_id[256]; /* the token of one byte, -1 where there is none: byte-level, or byte fallback */
    bool byte_level;      /* pieces are bytes; otherwise characters */
    bool byte_fallback;   /* characters that are no token become bytes */
    bool fuse_unk, ignore_merges;
    bool cut;             /* no merge joins anything to a mark that follows it: pieces may be cut in front of marks */
    nb_bytes mark;        /* U+2581 */
    int32_t unk;          /* NB_UNK_NONE, NB_UNK_MISSING (named, but not a token) or an id */
} nb__bpe;

enum { NB_UNK_NONE = -1, NB_UNK_MISSING = -2 };

typedef struct nb__symbol {
    int32_t id; /* -1: joined to its left neighbour */
    uint32_t prev, next;
} nb__symbol;
typedef struct nb__pair {
    int32_t rank;
    uint32_t at; /* the left symbol */
    int32_t id;  /* what the pair becomes */
} nb__pair;

enum { NB_CACHE_KEY = 24, NB_CACHE_IDS = 6, NB_CACHE_SLOTS = 8192 };
/* What a short piece became. */
typedef struct nb__cached {
    uint8_t len, count; /* len 0: free */
    char key[NB_CACHE_KEY];
    int32_t ids[NB_CACHE_IDS];
} nb__cached;

/* What one thread needs. Zero-initialise. */
typedef struct nb__bpe_scratch {
    nb__symbol *symbols;
    size_t count, room;
    nb__pair *heap;
    size_t heap_count, heap_room;
    nb__cached *cache; /* NULL: none */
    uint64_t joins;    /* merges done, for tests of the effort */
    uint64_t pops;
} nb__bpe_scratch;
void nb__bpe_scratch_free(nb__bpe_scratch *scratch);
/* Makes the cache, worth it for texts of some size. */
nb_status nb__bpe_use_cache(nb__bpe_scratch *scratch, nb_err *err);

/* Appends the ids of piece[len] (well-formed UTF-8). O(n log n). */
nb_status nb__bpe_encode(const nb__bpe *bpe, nb__bpe_scratch *scratch, const char *piece, size_t len, nb_ids *out,
                         nb_err *err);
void nb__bpe_free(nb__bpe *bpe);

#endif
