/* Status forwarding and error text. Public types are in nibble/status.h. */
#ifndef NB_BASE_ERR_H
#define NB_BASE_ERR_H

#include <stddef.h>
#include <nibble/status.h>

#if defined(__GNUC__)
#define NB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define NB_PRINTF(fmt, args)
#endif

/* Forwards a failure to the caller. */
#define NB_TRY(call)                                                                                                   \
    do {                                                                                                               \
        nb_status nb_try_status_ = (call);                                                                             \
        if (nb_try_status_ != NB_OK)                                                                                   \
            return nb_try_status_;                                                                                     \
    } while (0)

/* Forwards a failure to the `out:` label of a function that holds resources in `status`. */
#define NB_GO(call)                                                                                                    \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != NB_OK)                                                                                           \
            goto out;                                                                                                  \
    } while (0)

/* Fills err (may be NULL) with a message and returns status, so that `return nb_fail(...)` works. Path and
 * item are cleared; add them with nb_err_at on the way up. */
nb_status nb_fail(nb_err *err, nb_status status, const char *fmt, ...) NB_PRINTF(3, 4);

/* nb_fail with the file and the tensor, key or flag (each may be NULL). */
nb_status nb_fail_at(nb_err *err, nb_status status, const char *path, const char *item, const char *fmt, ...)
    NB_PRINTF(5, 6);

/* Sets path and item where they are still empty, and returns err->status. For callers who know the name that
 * a callee does not. NULL arguments leave the field alone. */
nb_status nb_err_at(nb_err *err, nb_status status, const char *path, const char *item);

/* "out of memory: N bytes for WHAT". */
nb_status nb_fail_memory(nb_err *err, size_t bytes, const char *what);

#endif
