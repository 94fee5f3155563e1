/* Devices: one interface over CPU, CUDA and OpenCL. An operation is launched on a stream; work on a stream runs in
 * order. Transfers and launches may return before they are done; nb_stream_sync waits. On the CPU all is done on
 * return. Functions on one device may be called from several threads, on one stream from one thread at a time. */
#ifndef NB_BACKEND_H
#define NB_BACKEND_H

#include "host/backend/packer.h"
#include "host/base/log.h"
#include "kernels/kernel.h"
#include "kernels/ops.h"

typedef struct nb_device nb_device;
typedef struct nb_stream nb_stream;
typedef struct nb_event nb_event;

typedef struct nb_device_options {
    unsigned threads;         /* CPU: workers; 0 = all processors */
    size_t memory_limit;      /* CUDA, OpenCL: bytes that may be allocated; 0 = all */
    const char *kernel_filter; /* comma-separated glob list of row names to leave out, or NULL */
    const char *cache_dir;     /* OpenCL: folder of program binaries; it is made if need be. NULL: none are kept */
    bool keep_binaries;       /* OpenCL: keep them even where the driver keeps what it has compiled by itself (PoCL) */
    void *native_context, *native_device; /* CUDA: a caller's CUcontext; OpenCL: cl_context, cl_device_id; else NULL */
    nb_log log;
} nb_device_options;

/* A caller's stream as the backend sees it, in the caller's memory: nothing is allocated, nothing to free. */
typedef struct nb_stream_room {
    _Alignas(16) unsigned char bytes[128];
} nb_stream_room;

typedef struct nb_device_info {
    char name[128];     /* "cpu", "cuda:0", "opencl:1" */
    char model[256];    /* what the hardware calls itself */
    char detail[1024];  /* driver, capability, extensions; one line */
    size_t memory;      /* bytes in all */
    size_t memory_free;
} nb_device_info;

/* What tuning chose. */
typedef struct nb_tuned {
    const char *name;
    unsigned value;
} nb_tuned;

/* A backend's functions. Entries marked optional may be NULL. */
typedef struct nb_backend {
    nb_backend_id id;
    const char *name;
    /* Devices that this machine has; fills at most cap entries and sets *count to the number there is. A missing
     * driver is NB_OK with no device, and a reason in `why` (cap 256). */
    nb_status (*list)(nb_device_info *infos, size_t cap, size_t *count, char *why, nb_err *err);
    /* spec is what stands after "cuda:" or "opencl:", or NULL. */
    nb_status (*open)(const char *spec, const nb_device_options *options, nb_device **out, nb_err *err);
    void (*close)(nb_device *device);
    nb_status (*info)(nb_device *device, nb_device_info *out, nb_err *err);
    nb_status (*alloc)(nb_device *device, size_t bytes, nb_mem *out, nb_err *err);
    void (*free)(nb_device *device, nb_mem mem);
    nb_status (*alloc_host)(nb_device *device, size_t bytes, void **out, nb_err *err); /* pinned where that exists */
    void (*free_host)(nb_device *device, void *ptr);
    nb_status (*stream_new)(nb_device *device, nb_stream **out, nb_err *err);
    /* Optional: a CUstream or cl_command_queue of the caller's, until the room goes. NULL: the driver's default stream, or
     * the device's own queue. */
    nb_status (*stream_wrap)(nb_device *device, void *native, nb_stream_room *room, nb_stream **out, nb_err *err);
    void (*stream_free)(nb_stream *stream);
    nb_status (*stream_sync)(nb_stream *stream, nb_err *err);
    nb_status (*stream_wait)(nb_stream *stream, nb_event *event, nb_err *err);
    nb_status (*event_new)(nb_stream *stream, nb_event **out, nb_err *err); /* marks this point of the stream */
    nb_status (*event_elapsed)(nb_event *from, nb_event *to, double *seconds, nb_err *err);
    void (*event_free)(nb_event *event);
    nb_status (*upload)(nb_stream *stream, nb_mem dst, const void *src, size_t bytes, nb_err *err);
    nb_status (*download)(nb_stream *stream, void *dst, nb_mem src, size_t bytes, nb_err *err);
    nb_status (*copy)(nb_stream *stream, nb_mem dst, nb_mem src, size_t bytes, nb_err *err);
    nb_status (*fill)(nb_stream *stream, nb_mem dst, uint8_t value, size_t bytes, nb_err *err);
    /* May this row run on this device? */
    bool (*can_run)(nb_device *device, const nb_kernel *kernel);
    /* Optional: of the rows that may run, is this one worth taking? Without it each is. */
    bool (*wants)(nb_device *device, const nb_kernel *kernel);
    nb_status (*launch)(nb_stream *stream, const nb_kernel *kernel, const void *args, nb_err *err);
    /* Optional: measures what can be chosen, takes the fastest from now on, and keeps it in the cache folder for devices
     * that are opened later. Fills at most cap entries and sets *count to the number there is. */
    nb_status (*tune)(nb_stream *stream, nb_tuned *out, size_t cap, size_t *count, nb_err *err);
    const nb_packer *packer; /* optional: no packed weights without it */
} nb_backend;

struct nb_device {
    const nb_backend *backend;
    const nb_kernel *chosen[NB_OP_COUNT]; /* the row that serves each operation; NULL where none can */
    nb_log log;
    /* Threads for host work beside kernels; on the CPU kernels run on them too. select.c makes and ends it. */
    nb_pool *pool;
    /* What works side by side: threads of the CPU, multiprocessors, compute units. */
    unsigned units;
    /* Bytes of its memory that a stream keeps for itself once it has multiplied matrices. */
    size_t overhead;
    /* Does the device read host memory in place? Then nb_mem_host may be passed to operations. */
    bool unified;
};

struct nb_stream {
    nb_device *device;
};

/* ---- select.c ---- */

/* Opens "auto", "cpu", "cuda", "cuda:1", "opencl", "opencl:0", "opencl:NAME". "auto" takes the first of CUDA and CPU
 * that is there and says so in the log; a named one that is missing is NB_E_DEVICE. */
nb_status nb_device_open(const char *spec, const nb_device_options *options, nb_device **out, nb_err *err);
void nb_device_close(nb_device *device);

/* All rows of kernels.def, in its order. */
const nb_kernel *nb_kernels(size_t *count);
const char *nb_op_name(nb_op op);
/* All backends of this build. */
const nb_backend *const *nb_backends(size_t *count);

/* Runs an operation by the row chosen for the device. args is its struct of ops.h. */
nb_status nb_launch(nb_stream *stream, nb_op op, const void *args, nb_err *err);
/* Runs one row, whatever was chosen; for verify and bench. */
nb_status nb_launch_row(nb_stream *stream, const nb_kernel *kernel, const void *args, nb_err *err);

/* Short forms over the table. */
nb_status nb_alloc(nb_device *device, size_t bytes, nb_mem *out, nb_err *err);
/* Allocates count * size bytes with a checked product. */
nb_status nb_alloc_array(nb_device *device, size_t count, size_t size, nb_mem *out, nb_err *err);
void nb_release(nb_device *device, nb_mem *mem); /* frees and clears; an absent one is fine */
nb_status nb_stream_new(nb_device *device, nb_stream **out, nb_err *err);
void nb_stream_free(nb_stream *stream); /* NULL is fine */
nb_status nb_sync(nb_stream *stream, nb_err *err);
nb_status nb_upload(nb_stream *stream, nb_mem dst, const void *src, size_t bytes, nb_err *err);
nb_status nb_download(nb_stream *stream, void *dst, nb_mem src, size_t bytes, nb_err *err);
nb_status nb_copy(nb_stream *stream, nb_mem dst, nb_mem src, size_t bytes, nb_err *err);
nb_status nb_fill(nb_stream *stream, nb_mem dst, uint8_t value, size_t bytes, nb_err *err);

/* ---- opencl.c, or opencl_none.c in a build without OpenCL ---- */

extern const nb_backend nb__backend_opencl;

/* ---- cpu.c ---- */

extern const nb_backend nb__backend_cpu;
extern const nb_backend nb__backend_cuda; /* cuda.c */
/* NB_NEED_* flags that this processor has. */
unsigned nb_cpu_features(void);

#endif
