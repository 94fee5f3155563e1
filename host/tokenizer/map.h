/* Two hash tables with open addressing: byte strings to ids, and pairs of ids to merges. Filled once, then read by
 * any number of threads. */
#ifndef NB_TOKENIZER_MAP_H
#define NB_TOKENIZER_MAP_H

#include <stdbool.h>
#include <stdint.h>
#include "host/base/err.h"
#include "host/tensor/vocab.h"

typedef struct nb__strmap_slot {
    nb_bytes key; /* borrowed; data NULL where the slot is free */
    uint32_t hash;
    int32_t value;
} nb__strmap_slot;

typedef struct nb__strmap {
    nb__strmap_slot *slots;
    size_t mask, used; /* slots = mask + 1 */
} nb__strmap;

/* Room for `count` keys. */
nb_status nb__strmap_init(nb__strmap *map, size_t count, nb_err *err);
void nb__strmap_free(nb__strmap *map);
/* The keys are borrowed. False where the key is already there (nothing changes). No more than `count` keys. */
bool nb__strmap_put(nb__strmap *map, nb_bytes key, int32_t value);
/* -1 where the key is not there. */
int32_t nb__strmap_get(const nb__strmap *map, const char *key, size_t len);

typedef struct nb__pair_slot {
    uint64_t key; /* left << 32 | right; NB_PAIR_FREE where free */
    int32_t rank, id;
} nb__pair_slot;

typedef struct nb__pairmap {
    nb__pair_slot *slots;
    size_t mask, used;
} nb__pairmap;

nb_status nb__pairmap_init(nb__pairmap *map, size_t count, nb_err *err);
void nb__pairmap_free(nb__pairmap *map);
/* A later put of the same pair replaces the first. */
void nb__pairmap_put(nb__pairmap *map, int32_t left, int32_t right, int32_t rank, int32_t id);

static inline size_t nb__pair_hash(uint64_t key) {
    key *= UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(key ^ key >> 32);
}

#define NB_PAIR_FREE UINT64_MAX

/* NULL where there is none. */
static inline const nb__pair_slot *nb__pairmap_get(const nb__pairmap *map, int32_t left, int32_t right) {
    if (!map->slots)
        return NULL;
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = nb__pair_hash(key) & map->mask;; i = (i + 1) & map->mask) {
        if (map->slots[i].key == key)
            return &map->slots[i];
        if (map->slots[i].key == NB_PAIR_FREE)
            return NULL;
    }
}

#endif
