#include "host/base/hash.h"

#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

nb_status nb_hash_new(nb_hash **out, nb_err *err) {
    /* An nb_hash is xxhash's own state under an opaque name. */
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return nb_fail_memory(err, sizeof(XXH3_state_t), "a hash");
    XXH3_128bits_reset(state);
    *out = (nb_hash *)state;
    return NB_OK;
}

static XXH3_state_t *state_of(nb_hash *h) {
    return (XXH3_state_t *)h;
}

void nb_hash_add(nb_hash *h, const void *data, size_t bytes) {
    if (bytes)
        XXH3_128bits_update(state_of(h), data, bytes);
}

void nb_hash_add_str(nb_hash *h, const char *s) {
    nb_hash_add(h, s, strlen(s) + 1);
}

static void to_text(XXH128_hash_t v, char out[NB_HASH_TEXT]) {
    snprintf(out, NB_HASH_TEXT, "%016llx%016llx", (unsigned long long)v.high64, (unsigned long long)v.low64);
}

void nb_hash_text(const nb_hash *h, char out[NB_HASH_TEXT]) {
    to_text(XXH3_128bits_digest((const XXH3_state_t *)h), out);
}

void nb_hash_free(nb_hash *h) {
    if (h)
        XXH3_freeState(state_of(h));
}

void nb_hash_once(const void *data, size_t bytes, char out[NB_HASH_TEXT]) {
    to_text(XXH3_128bits(bytes ? data : "", bytes), out);
}
