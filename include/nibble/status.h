/* nibble: status codes and the error record that goes with them. */
#ifndef NIBBLE_STATUS_H
#define NIBBLE_STATUS_H

#include <stdint.h>
#include <nibble/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Pinned: a value never changes its meaning. */
typedef enum nb_status {
    NB_OK = 0,
    NB_E_FAILED = 1,      /* an operation of the system failed: disk full, a write cut short */
    NB_E_USAGE = 2,       /* an argument is outside its domain */
    NB_E_INPUT = 3,       /* a file or other bytes from outside are not what they must be */
    NB_E_DEVICE = 4,      /* a device is missing, lost, or refused a launch */
    NB_E_MEMORY = 5,      /* host or device memory ran out */
    NB_E_CHECK = 6,       /* a check ran and found a difference */
    NB_E_UNSUPPORTED = 7, /* a legal request that this build, device or format cannot serve */
    NB_E_INTERRUPTED = 8  /* stopped on request; work done so far is kept and can be resumed */
} nb_status;

/* What went wrong, in one line, and where. A caller owns it, usually on the stack, zero-initialised.
 * Functions fill it only when they fail; each of them accepts NULL. */
typedef struct nb_err {
    nb_status status;
    uint64_t offset;  /* byte offset in the file where the fault lies; UINT64_MAX where none */
    char text[512];   /* what was found and what was expected */
    char path[512];   /* file, or "" */
    char item[160];   /* tensor, key or flag, or "" */
} nb_err;

/* Name of a status ("input", "memory", ...). Static storage; thread-safe. */
NB_API const char *nb_status_name(nb_status status);

/* Exit code of a command that ends with this status: 0 done, 1 failed, 2 usage or not supported, 3 bad input,
 * 4 device or memory, 5 a check failed, 130 interrupted and resumable. */
NB_API int nb_status_exit_code(nb_status status);

/* Writes err as one line, "path: item: text (at byte N)", into out[cap], always NUL-terminated where
 * cap > 0. Returns the length that the whole line has. */
NB_API int nb_err_line(const nb_err *err, char *out, unsigned cap);

#ifdef __cplusplus
}
#endif
#endif
