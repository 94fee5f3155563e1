/* Parts of `nibble verify`: rows of kernels.def against the oracles, on any device. */
#ifndef NB_CLI_VERIFY_H
#define NB_CLI_VERIFY_H

#include "host/backend/backend.h"
#include "host/base/random.h"
#include "kernels/cpu/ref/ref.h"

/* Faults put in on purpose, by tests, to see that a check can fail. Those of packed weights change the packed bytes so that
 * a right kernel computes what one with this fault would. Of the others, NB_FAULT_ARGS + i runs the kernel with arguments
 * changed by the i-th fault of its check (nb_check), and the rest change what came back. */
typedef enum nb_fault {
    NB_FAULT_NONE,
    NB_FAULT_CODE_ORDER, /* codes of a word in the wrong order (4 bits: nibbles swapped) */
    NB_FAULT_SCALE,      /* each group takes the next group's scale */
    NB_FAULT_ZERO,       /* zero points one too high */
    NB_FAULT_LAST_GROUP, /* the last group is left out */
    NB_FAULT_COUNT,
    NB_FAULT_NOT_RUN, /* the kernel does nothing */
    NB_FAULT_ELEMENT, /* one element of an output is off, by a bit where it must be exact, else by 1.5 bounds */
    NB_FAULT_OVERRUN, /* a byte after an output is written */
    NB_FAULT_PADDING, /* a byte between the rows of an output is written */
    NB_FAULT_INPUT,   /* an input is written */
    NB_FAULT_ARGS     /* and all above */
} nb_fault;

typedef struct nb_verify {
    nb_stream *stream;
    bool full;
    size_t every; /* about one case in so many; 0 or 1: all (for slow emulators) */
    nb_fault fault;
    /* Results of the row under test. */
    size_t cases, wrong;
    size_t spoiled;  /* arrays that a fault has changed */
    double worst;    /* largest error / bound */
    char first[400]; /* the first wrong case, in words */
} nb_verify;

/* Is case `index` one of those? Scattered, so that no filling or form is left out because it comes every so often as well. */
static inline bool nb_verify_takes(const nb_verify *v, size_t index) {
    return v->every < 2 || (((uint32_t)index * 2654435761u) >> 8) % v->every == 0;
}

/* Counts one output: an error of `error` where `bound` is allowed. True where it is inside. NaN
 * never is. */
bool nb_verify_count(nb_verify *v, double error, double bound);
/* Notes a wrong case. */
void nb_verify_wrong(nb_verify *v, const char *fmt, ...) NB_PRINTF(2, 3);

/* Checks one row of any operation; what was found is in v. Fails only where a case could not be run, with NB_E_UNSUPPORTED
 * where there is no check. */
nb_status nb_verify_row(nb_verify *v, const nb_kernel *row, nb_err *err);

/* ---- rows shared by processes (verify_share.c) ---- */

typedef enum nb_row_result { NB_ROW_SKIPPED, NB_ROW_UNCHECKED, NB_ROW_PASSED, NB_ROW_FAILED } nb_row_result;

/* What was found of a row of kernels.def. */
typedef struct nb_row_found {
    size_t row; /* its number */
    nb_row_result result;
    size_t cases, wrong;
    double worst, seconds; /* largest error / bound */
    char why[512];
} nb_row_found;

/* Gives the number of the next row to check; false where there is none. */
typedef bool nb_next_row_fn(void *from, size_t *row);
typedef void nb_found_fn(void *to, const nb_row_found *found);
/* Checks the rows that `next` gives, and hands over what it finds. */
typedef nb_status nb_rows_fn(void *ctx, nb_next_row_fn *next, void *from, nb_found_fn *found, void *to, nb_err *err);

/* Runs `work` in so many processes, which share the rows [0, rows) from the last (packed products, which take longest) to the
 * first; `found` is called here, as results come in. A process that ends in the midst of a row has failed it; where all have
 * ended before the rows did, that is an error. */
nb_status nb_verify_share(unsigned processes, size_t rows, nb_rows_fn *work, void *ctx, nb_found_fn *found, void *to, nb_err *err);

/* ---- guarded memory (verify_memory.c) ---- */

/* A buffer of the device between bytes of NB_GUARD, all of it filled with them: as floats they are NaN, so what is read
 * beyond the data shows in results. On a unified device the data ends (up to a multiple of `align`) at a page that cannot
 * be touched; on others it stands inside a larger buffer, now and then at an address that is aligned to `align` only. */
enum { NB_GUARD = 0xFF };

typedef struct nb_guarded {
    nb_mem mem;
    nb_mem all; /* where not unified */
    void *map;  /* where unified */
    size_t map_bytes, bytes, room; /* room: bytes up to the guard page */
} nb_guarded;

nb_status nb_guarded_new(nb_stream *stream, size_t bytes, size_t align, nb_guarded *out, nb_err *err);
/* Waits for the stream, reads the data back (where `data` is given), and says whether the bytes around it are as they were. */
nb_status nb_guarded_read(nb_stream *stream, const nb_guarded *g, void *data, bool *intact, nb_err *err);
void nb_guarded_free(nb_stream *stream, nb_guarded *g);

/* ---- cases (verify_case.c) ---- */

/* Arguments of any operation. */
typedef union nb_any_args {
#define NB_OP(op) struct nb_##op##_args op;
#include "kernels/kernels.def"
} nb_any_args;

typedef enum nb_role {
    NB_ROLE_IN,      /* must come back as it was */
    NB_ROLE_EXACT,   /* must be what the oracle makes of it, bit for bit, padding included */
    NB_ROLE_BOUNDED, /* must lie within the oracle's bounds */
    NB_ROLE_SCRATCH
} nb_role;

/* One array of a case: `rows` rows of `cols` elements, `ld` apart, here and on the device. */
typedef struct nb_case_array {
    const char *name;
    nb_role role;
    nb_dtype type;
    size_t rows, cols, ld, size, bytes; /* size: of an element */
    nb_guarded device;
    nb_mem *fields[2];    /* members of the arguments that name it; the second where it is used in place */
    unsigned char *host;  /* before the run */
    unsigned char *want;  /* NB_ROLE_EXACT: after the oracle has run on it */
    unsigned char *back;  /* after the run */
    double *y, *bound;    /* NB_ROLE_BOUNDED: [rows, cols] */
    bool intact;
} nb_case_array;

enum { NB_CASE_ARRAYS = 12 };

typedef struct nb_case {
    nb_verify *v;
    const nb_kernel *row;
    nb_random random; /* seeded by the case's number */
    nb_any_args args;
    nb_case_array arrays[NB_CASE_ARRAYS];
    size_t count;
    char text[160]; /* the case in words */
} nb_case;

/* What random numbers are like. */
typedef enum nb_filling {
    NB_FILL_RANDOM,   /* in [-1/2, 1/2) */
    NB_FILL_ZEROS,    /* three of four are zero */
    NB_FILL_DENORMAL, /* all denormal */
    NB_FILL_HUGE,     /* now and then one is a million times larger */
    NB_FILL_COUNT
} nb_filling;

const char *nb_filling_name(nb_filling fill);

/* Adds an array that `field`, a member of c->args, names; *host (may be NULL) is its memory here, filled with NB_GUARD, for
 * the maker of the case to fill. Where ld is above cols, rows are padded. */
nb_status nb_case_add(nb_case *c, nb_role role, nb_mem *field, nb_dtype type, size_t rows, size_t cols, size_t ld,
                      const char *name, void *host, nb_err *err);
/* The same for floats, filled at once. */
nb_status nb_case_floats(nb_case *c, nb_role role, nb_mem *field, size_t rows, size_t cols, size_t ld, nb_filling fill,
                         const char *name, float **host, nb_err *err);
/* The array that was added last is named by this member as well (in place). */
void nb_case_alias(nb_case *c, nb_mem *field);
void nb_case_fill(nb_case *c, float *p, size_t rows, size_t cols, size_t ld, nb_filling fill);

/* Random blocks of a stored type, any that nb_to_f32 reads; the largest value of each is between 2^-6 and 64. */
void nb_case_stored(nb_case *c, nb_dtype type, size_t blocks, unsigned char *p);

/* ---- the table (verify_table.c) ---- */

/* A fault of arguments that stands for a wrong kernel: it leaves out the last column, takes another group's scale... */
typedef struct nb_arg_fault {
    const char *name;
    void (*apply)(nb_any_args *args);
} nb_arg_fault;

/* The check of one operation. */
typedef struct nb_check {
    size_t cases, full_cases;                                 /* full_cases: those with --full as well */
    nb_status (*make)(nb_case *c, size_t index, nb_err *err); /* shapes, inputs, arguments */
    void (*oracle)(const nb_any_args *args, const nb_error_model *e, const nb_ref_out *out);
    const nb_arg_fault *faults; /* up to one without a name */
    nb_status (*walk)(nb_verify *v, const nb_kernel *row, nb_err *err); /* instead of all above */
} nb_check;

/* The check of an operation, or NULL where there is none. */
const nb_check *nb_check_of(nb_op op);

/* The oracle of an operation as nb_check has it. */
#define NB_CHECK_ORACLE(op)                                                                                            \
    static void oracle_##op(const nb_any_args *args, const nb_error_model *e, const nb_ref_out *out) {                 \
        nb_ref_##op(&args->op, e, out);                                                                                \
    }

#define NB_COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* qgemm and qgemm_i8 walk weights, each with several row counts. */
nb_status nb_verify_packed(nb_verify *v, const nb_kernel *row, nb_err *err);

#endif
