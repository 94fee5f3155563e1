/* Host memory. Nothing in the tree calls malloc directly, so that a test can make the n-th call fail. */
#ifndef NB_BASE_ALLOC_H
#define NB_BASE_ALLOC_H

#include "host/base/err.h"

/* count * size zeroed bytes, or NB_E_MEMORY naming `what`; a product that overflows counts as too much.
 * count * size == 0 gives a valid pointer. Free with nb_free. */
nb_status nb_calloc(size_t count, size_t size, const char *what, void *out_ptr, nb_err *err);

/* As nb_calloc, but not zeroed and aligned to 64 bytes. Free with nb_free. */
nb_status nb_alloc_aligned(size_t count, size_t size, const char *what, void *out_ptr, nb_err *err);

/* Resizes *ptr (a pointer to any object pointer, from nb_calloc or NULL) to count * size bytes; new bytes are
 * not zeroed. On failure *ptr stays as it was. */
nb_status nb_regrow(size_t count, size_t size, const char *what, void *ptr, nb_err *err);

/* A copy of s. */
nb_status nb_strdup(const char *s, char **out, nb_err *err);

/* NULL is fine. */
void nb_free(void *ptr);

#endif
