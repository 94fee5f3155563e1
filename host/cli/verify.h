/* Parts of `nibble verify`: rows of kernels.def against the oracles. */
#ifndef NB_CLI_VERIFY_H
#define NB_CLI_VERIFY_H

#include "host/backend/backend.h"

/* A kernel's fault, put in on purpose by tests: the packed bytes are changed so that a right kernel
 * computes what one with this fault would. */
typedef enum nb_fault {
    NB_FAULT_NONE,
    NB_FAULT_CODE_ORDER, /* codes of a word in the wrong order (4 bits: nibbles swapped) */
    NB_FAULT_SCALE,      /* each group takes the next group's scale */
    NB_FAULT_ZERO,       /* zero points one too high */
    NB_FAULT_LAST_GROUP, /* the last group is left out */
    NB_FAULT_COUNT
} nb_fault;

typedef struct nb_verify {
    nb_stream *stream;
    bool full;
    size_t every; /* only each so-manieth weight; 0 or 1: all (for slow emulators) */
    nb_fault fault;
    /* Results of the row under test. */
    size_t cases, wrong;
    double worst;    /* largest error / bound */
    char first[320]; /* the first wrong case, in words */
} nb_verify;

/* Counts one output: an error of `error` where `bound` is allowed. True where it is inside. NaN
 * never is. */
bool nb_verify_count(nb_verify *v, double error, double bound);
/* Notes a wrong case. */
void nb_verify_wrong(nb_verify *v, const char *fmt, ...) NB_PRINTF(2, 3);

/* Walks all cases of one row; what was found is in v. Fails only where a case could not be run. */
typedef nb_status nb_verify_fn(nb_verify *v, const nb_kernel *row, nb_err *err);
nb_verify_fn nb_verify_packed, nb_verify_product, nb_verify_codes;

/* The check of an operation, or NULL where there is none here. */
nb_verify_fn *nb_verify_of(nb_op op);

/* ---- guarded memory (verify_memory.c) ---- */

/* A buffer of the device whose last byte is the last of a page; on the CPU the next page cannot be
 * touched, and bytes before and (up to a multiple of `align`) after are checked. Filled with 0xA5.
 */
typedef struct nb_guarded {
    nb_mem mem;
    void *map;
    size_t map_bytes, bytes, room; /* room: bytes up to the guard page */
} nb_guarded;

nb_status nb_guarded_new(nb_device *device, size_t bytes, size_t align, nb_guarded *out,
                         nb_err *err);
/* Are the bytes around it as they were? */
bool nb_guarded_intact(const nb_guarded *g);
void nb_guarded_free(nb_device *device, nb_guarded *g);

#endif
