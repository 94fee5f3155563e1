/* JSON through jansson, with our errors. A json_t is reference-counted: json_decref when done. */
#ifndef NB_BASE_JSON_H
#define NB_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "host/base/err.h"

/* Parses text[len]; duplicate keys, invalid UTF-8 and trailing bytes are NB_E_INPUT. `path` goes into the error.
 * In a document with an integer past 64 bits, those past 2^53 are reals. */
nb_status nb_json_parse(const char *text, size_t len, const char *path, json_t **out, nb_err *err);
/* Reads and parses a file of at most `limit` bytes. */
nb_status nb_json_read(const char *path, size_t limit, json_t **out, nb_err *err);
/* Watches the JSON library's allocations from here on; nb_json_parse calls it too. */
void nb_json_watch(void);
/* value as text, with jansson's flags; free with nb_free. */
nb_status nb_json_text(const json_t *value, size_t flags, char **out, nb_err *err);
/* NB_E_MEMORY once an allocation of the JSON library has failed on this thread: a value built since may lack parts, so it is not
 * to be written. Such a failure is otherwise easy to miss, as each of many json_* calls may report it. */
nb_status nb_json_check(nb_err *err);
/* Writes value indented by two, keys in the order of insertion, with a newline at the end. */
nb_status nb_json_write(const char *path, const json_t *value, nb_err *err);

/* Typed look-ups in an object. An absent key (or null) leaves *out alone and gives NB_OK; another type or a value
 * out of [lo, hi] is NB_E_INPUT naming the key, what was found and what was expected. */
nb_status nb_json_get_int(const json_t *obj, const char *key, int64_t lo, int64_t hi, int64_t *out, nb_err *err);
nb_status nb_json_get_number(const json_t *obj, const char *key, double *out, nb_err *err);
nb_status nb_json_get_bool(const json_t *obj, const char *key, bool *out, nb_err *err);
/* *out borrows from obj. */
nb_status nb_json_get_str(const json_t *obj, const char *key, const char **out, nb_err *err);

#endif
