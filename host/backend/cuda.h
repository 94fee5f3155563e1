/* What the files of the CUDA backend share. */
#ifndef NB_BACKEND_CUDA_H
#define NB_BACKEND_CUDA_H

#include <pthread.h>
#include <stdatomic.h>

#include "host/backend/backend.h"
#include "host/backend/cuda_api.h"

/* Embedded device code: PTX text (with a zero after it) or a cubin. The list ends with arch 0. */
typedef struct nb__cuda_image {
    unsigned arch; /* compute capability * 10 */
    int is_ptx;
    const unsigned char *data, *end;
} nb__cuda_image;
extern const nb__cuda_image nb__cuda_images[];

enum { NB_CUDA_MAX_FUNCTIONS = 512 };

/* What a stream keeps: cuBLAS's workspace (what NVIDIA recommends for Hopper and later, and before), and a weight's part as f32. */
enum { NB_CUDA_WORKSPACE_HOPPER = 32 << 20, NB_CUDA_WORKSPACE = 4 << 20, NB_CUDA_CONVERT = 32 << 20 };

typedef struct nb__cuda_device {
    nb_device base;
    const nb__cu_api *cu;
    const nb__blas_api *blas; /* NULL: products by our own kernel */
    nb__cu_device id;
    nb__cu_context context;
    bool primary; /* retained by us */
    nb__cu_module module;
    const nb__cuda_image *image; /* what module was made of */
    unsigned cc;
    size_t limit; /* bytes that may be allocated; 0: all */
    atomic_size_t used;
    pthread_mutex_t lock; /* of the list below */
    size_t functions;
    struct {
        const char *name;
        nb__cu_function function;
        unsigned shared; /* dynamic shared memory that it was given so far; 0: what all have */
    } function[NB_CUDA_MAX_FUNCTIONS];
} nb__cuda_device;

typedef struct nb__cuda_stream {
    nb_stream base;
    nb__cu_stream native;
    bool owned; /* made by us; a caller's, in its room, keeps nothing */
    nb__blas_handle blas; /* made on first use */
    nb_mem blas_workspace;
    nb_mem scratch; /* grows; work on a stream runs in order, so one is enough */
} nb__cuda_stream;

static inline nb__cuda_device *nb__cuda_device_of(nb_stream *stream) {
    return (nb__cuda_device *)stream->device;
}

/* The address of a place in device memory; 0 where it is absent. */
static inline uint64_t nb__cuda_at(nb_mem mem) {
    return mem.base ? (uint64_t)(uintptr_t)mem.base + mem.offset : 0;
}

/* Makes the device's context the thread's own until nb__cuda_leave; calls nest, and what was current before is current after. */
nb_status nb__cuda_enter(const nb__cuda_device *d, nb_err *err);
void nb__cuda_leave(const nb__cuda_device *d);

/* NB_OK for 0, else NB_E_MEMORY or NB_E_DEVICE with the driver's name for the error; `doing` says what was tried ("launching
 * rtn"). Answers of a driver that is too old say so. */
nb_status nb__cuda_check(const nb__cuda_device *d, nb__cu_result r, const char *doing, nb_err *err);

typedef struct nb__cuda_grid {
    unsigned x, y, z; /* CTAs */
    unsigned threads; /* in a CTA, along x */
    unsigned shared;  /* bytes of dynamic shared memory; above 48 KiB the kernel is allowed so many first */
} nb__cuda_grid;

/* Launches a kernel of the module with one parameter, the struct at params. Allocates nothing and waits for nothing. A grid
 * with no CTA is NB_OK. */
nb_status nb__cuda_run(nb_stream *stream, const char *kernel, nb__cuda_grid grid, const void *params, nb_err *err);

/* CTAs of `threads` for the elements of a matrix: x is the row, y cuts columns, of which a thread takes every
 * (y * threads)-th; params must say so too. NB_E_UNSUPPORTED past 2^31 rows or 2^32 columns. */
nb_status nb__cuda_rows_grid(size_t rows, size_t cols, unsigned threads, nb__cuda_grid *out, nb_err *err);

/* NB_E_UNSUPPORTED where the stream is a caller's. */
nb_status nb__cuda_must_own(const nb__cuda_stream *s, nb_err *err);

/* At least `bytes` of device memory that the stream keeps; what was there before is lost. Grows outside of stream capture only. */
nb_status nb__cuda_scratch(nb_stream *stream, size_t bytes, nb_mem *out, nb_err *err);

/* ---- cuda_cublas.c ---- */

/* The stream's handle with its workspace, made on first use. */
nb_status nb__cuda_blas(nb_stream *stream, nb__blas_handle *out, nb_err *err);
void nb__cuda_blas_free(nb__cuda_stream *s);

/* ---- cuda_ops_*.c: binding of arguments, one function a row ---- */

#define NB_CUDA_ROW(op, name, needs, err)                                                          \
    nb_status nb__cuda_##name(nb_stream *stream, const struct nb_##op##_args *args, nb_err *e);
#include "kernels/kernels.def"

#endif
