/* Growing strings and glob patterns. */
#ifndef NB_BASE_STR_H
#define NB_BASE_STR_H

#include <stdbool.h>
#include "host/base/err.h"

/* A growing byte string, zero-initialised; data is NUL-terminated once anything was added. Free with nb_str_free. */
typedef struct nb_str {
    char *data;
    size_t len, room;
} nb_str;

nb_status nb_str_add(nb_str *s, const void *bytes, size_t len, nb_err *err);
nb_status nb_str_addf(nb_str *s, nb_err *err, const char *fmt, ...) NB_PRINTF(3, 4);
void nb_str_free(nb_str *s);

/* Does name match pattern ('*' any run of characters, '?' any one character)? */
bool nb_glob(const char *pattern, const char *name);

bool nb_starts_with(const char *s, const char *prefix);
bool nb_ends_with(const char *s, const char *suffix);

#endif
