#include "host/base/alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/size.h"

/* The out-parameter is a void* that points to some T*: memcpy stores the pointer without an alias. */
static void store(void *out_ptr, void *p) {
    memcpy(out_ptr, &p, sizeof p);
}

nb_status nb_calloc(size_t count, size_t size, const char *what, void *out_ptr, nb_err *err) {
    size_t bytes;
    if (!nb_mul(count, size, &bytes))
        return nb_fail_memory(err, SIZE_MAX, what);
    void *p = calloc(bytes ? bytes : 1, 1);
    if (!p)
        return nb_fail_memory(err, bytes, what);
    store(out_ptr, p);
    return NB_OK;
}

nb_status nb_alloc_aligned(size_t count, size_t size, const char *what, void *out_ptr, nb_err *err) {
    size_t bytes, padded;
    if (!nb_mul(count, size, &bytes) || !nb_align(bytes ? bytes : 1, 64, &padded))
        return nb_fail_memory(err, SIZE_MAX, what);
    void *p = aligned_alloc(64, padded);
    if (!p)
        return nb_fail_memory(err, bytes, what);
    store(out_ptr, p);
    return NB_OK;
}

nb_status nb_regrow(size_t count, size_t size, const char *what, void *ptr, nb_err *err) {
    size_t bytes;
    if (!nb_mul(count, size, &bytes))
        return nb_fail_memory(err, SIZE_MAX, what);
    void *old;
    memcpy(&old, ptr, sizeof old);
    void *p = realloc(old, bytes ? bytes : 1);
    if (!p)
        return nb_fail_memory(err, bytes, what);
    store(ptr, p);
    return NB_OK;
}

nb_status nb_strdup(const char *s, char **out, nb_err *err) {
    size_t len = strlen(s) + 1;
    char *p = NULL;
    NB_TRY(nb_calloc(len, 1, "a string", &p, err));
    memcpy(p, s, len);
    *out = p;
    return NB_OK;
}

void nb_free(void *ptr) {
    free(ptr);
}
