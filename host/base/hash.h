/* XXH3 128-bit hashes, for journals and fingerprints (not for security). */
#ifndef NB_BASE_HASH_H
#define NB_BASE_HASH_H

#include "host/base/err.h"

enum { NB_HASH_TEXT = 33 }; /* 32 hex digits and a NUL */

typedef struct nb_hash nb_hash;

nb_status nb_hash_new(nb_hash **out, nb_err *err);
void nb_hash_add(nb_hash *hash, const void *data, size_t bytes);
/* Adds s with its NUL, so that "ab","c" and "a","bc" differ. */
void nb_hash_add_str(nb_hash *hash, const char *s);
void nb_hash_text(const nb_hash *hash, char out[NB_HASH_TEXT]);
void nb_hash_free(nb_hash *hash);

/* The hash of one buffer. */
void nb_hash_once(const void *data, size_t bytes, char out[NB_HASH_TEXT]);

#endif
