#include "host/tokenizer/map.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

/* A power of two with load at most one half. */
static nb_status slots_for(size_t count, size_t *out, nb_err *err) {
    size_t need, n = 16;
    if (!nb_mul(count, 2, &need))
        return nb_fail_memory(err, count, "a hash table");
    while (n < need) {
        if (!nb_mul(n, 2, &n))
            return nb_fail_memory(err, need, "a hash table");
    }
    *out = n;
    return NB_OK;
}

nb_status nb__strmap_init(nb__strmap *map, size_t count, nb_err *err) {
    size_t n = 0;
    NB_TRY(slots_for(count, &n, err));
    NB_TRY(nb_calloc(n, sizeof *map->slots, "a vocabulary", &map->slots, err));
    map->mask = n - 1;
    map->used = 0;
    return NB_OK;
}

void nb__strmap_free(nb__strmap *map) {
    nb_free(map->slots);
    *map = (nb__strmap){0};
}

static bool same(const nb__strmap_slot *s, uint32_t hash, const char *key, size_t len) {
    return s->hash == hash && s->key.len == len && memcmp(s->key.data, key, len) == 0;
}

bool nb__strmap_put(nb__strmap *map, nb_bytes key, int32_t value) {
    if (!key.data)
        key.data = "";
    uint32_t hash = (uint32_t)XXH3_64bits(key.data, key.len);
    size_t i = hash & map->mask;
    for (; map->slots[i].key.data; i = (i + 1) & map->mask)
        if (same(&map->slots[i], hash, key.data, key.len))
            return false;
    map->slots[i] = (nb__strmap_slot){key, hash, value};
    map->used++;
    return true;
}

int32_t nb__strmap_get(const nb__strmap *map, const char *key, size_t len) {
    if (!map->slots)
        return -1;
    uint32_t hash = (uint32_t)XXH3_64bits(key, len);
    for (size_t i = hash & map->mask; map->slots[i].key.data; i = (i + 1) & map->mask)
        if (same(&map->slots[i], hash, key, len))
            return map->slots[i].value;
    return -1;
}

nb_status nb__pairmap_init(nb__pairmap *map, size_t count, nb_err *err) {
    size_t n = 0;
    NB_TRY(slots_for(count, &n, err));
    NB_TRY(nb_calloc(n, sizeof *map->slots, "a table of merges", &map->slots, err));
    map->mask = n - 1;
    map->used = 0;
    for (size_t i = 0; i < n; i++)
        map->slots[i].key = NB_PAIR_FREE;
    return NB_OK;
}

void nb__pairmap_free(nb__pairmap *map) {
    nb_free(map->slots);
    *map = (nb__pairmap){0};
}

void nb__pairmap_put(nb__pairmap *map, int32_t left, int32_t right, int32_t rank, int32_t id) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = nb__pair_hash(key) & map->mask;
    while (map->slots[i].key != NB_PAIR_FREE && map->slots[i].key != key)
        i = (i + 1) & map->mask;
    map->used += map->slots[i].key == NB_PAIR_FREE;
    map->slots[i] = (nb__pair_slot){key, rank, id};
}
