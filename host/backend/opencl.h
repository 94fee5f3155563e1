/* What the files of the OpenCL backend share: the loader's table, devices and streams, programs, and how a kernel is
 * launched. Private to host/backend. */
#ifndef NB_BACKEND_OPENCL_H
#define NB_BACKEND_OPENCL_H

#include <pthread.h>
#include <stdatomic.h>

#include "host/backend/backend.h"

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

/* ---- opencl_load.c ---- */

/* Functions that are called, all of OpenCL 1.2 or older. */
#define NB_CL_FUNCTIONS(X)                                                                                             \
    X(clGetPlatformIDs)                                                                                                \
    X(clGetPlatformInfo)                                                                                               \
    X(clGetDeviceIDs)                                                                                                  \
    X(clGetDeviceInfo)                                                                                                 \
    X(clCreateContext)                                                                                                 \
    X(clRetainContext)                                                                                                 \
    X(clReleaseContext)                                                                                                \
    X(clCreateCommandQueue)                                                                                            \
    X(clReleaseCommandQueue)                                                                                           \
    X(clCreateBuffer)                                                                                                  \
    X(clReleaseMemObject)                                                                                              \
    X(clGetMemObjectInfo)                                                                                              \
    X(clCreateProgramWithSource)                                                                                       \
    X(clCreateProgramWithBinary)                                                                                       \
    X(clBuildProgram)                                                                                                  \
    X(clGetProgramInfo)                                                                                                \
    X(clGetProgramBuildInfo)                                                                                           \
    X(clReleaseProgram)                                                                                                \
    X(clCreateKernel)                                                                                                  \
    X(clReleaseKernel)                                                                                                 \
    X(clSetKernelArg)                                                                                                  \
    X(clGetKernelWorkGroupInfo)                                                                                        \
    X(clEnqueueNDRangeKernel)                                                                                          \
    X(clEnqueueReadBuffer)                                                                                             \
    X(clEnqueueWriteBuffer)                                                                                            \
    X(clEnqueueCopyBuffer)                                                                                             \
    X(clEnqueueFillBuffer)                                                                                             \
    X(clEnqueueMarkerWithWaitList)                                                                                     \
    X(clEnqueueBarrierWithWaitList)                                                                                    \
    X(clWaitForEvents)                                                                                                 \
    X(clGetEventInfo)                                                                                                  \
    X(clGetEventProfilingInfo)                                                                                         \
    X(clReleaseEvent)                                                                                                  \
    X(clFlush)                                                                                                         \
    X(clFinish)

typedef struct nb__cl_api {
#define X(name) __typeof__(&name) name;
    NB_CL_FUNCTIONS(X)
#undef X
} nb__cl_api;

/* The table, loaded once a process; NULL with the reason in why (cap 256) where libOpenCL.so.1 cannot be had. */
const nb__cl_api *nb__cl_load(char *why);
/* Name of an error code: "CL_OUT_OF_RESOURCES". */
const char *nb__cl_error_name(cl_int code);
/* Fills err from an error code: NB_E_MEMORY for those that say so, else NB_E_DEVICE. `what` is what was tried. */
nb_status nb__cl_fail(nb_err *err, cl_int code, const char *what);

/* ---- opencl_devices.c ---- */

/* A device of the machine, in the order of platforms. */
typedef struct nb__cl_place {
    cl_platform_id platform;
    cl_device_id device;
} nb__cl_place;

enum { NB_CL_MAX_DEVICES = 64 };

/* All devices of all platforms; with none, the reason in why (cap 256). */
nb_status nb__cl_find(const nb__cl_api *api, nb__cl_place *places, size_t *count, char *why, nb_err *err);
/* A string of a device, "" where it cannot be had. */
void nb__cl_device_text(const nb__cl_api *api, cl_device_id device, cl_device_info what, char *out, size_t cap);
/* The same, whole and as it is; the caller frees it. NULL where it cannot be had. */
char *nb__cl_device_whole_text(const nb__cl_api *api, cl_device_id device, cl_device_info what);
void nb__cl_platform_text(const nb__cl_api *api, cl_platform_id platform, cl_platform_info what, char *out, size_t cap);
/* A number of a device; 0 where it cannot be had. Reads 4- and 8-byte values. */
size_t nb__cl_device_number(const nb__cl_api *api, cl_device_id device, cl_device_info what);
void nb__cl_describe(const nb__cl_api *api, const nb__cl_place *place, size_t index, nb_device_info *out);
/* The place that spec means: an index, or a part of the name of platform, vendor or device; NULL: the first GPU, else the
 * first device. */
nb_status nb__cl_choose(const nb__cl_api *api, const char *spec, nb__cl_place *out, size_t *index, nb_err *err);
/* NB_CL_* flags that the device has. */
unsigned nb__cl_features(const nb__cl_api *api, cl_device_id device);

/* ---- opencl_tune.c ---- */

/* What is chosen by measurement; the defaults are good guesses, never wrong. */
typedef struct nb__cl_tuning {
    unsigned wide_items; /* qgemm_wide: work-items of a group */
    unsigned slices;     /* qgemm_lanes: parts of K in a work-group */
    unsigned tile_from;  /* rows of X from which qgemm_tile is taken instead of qgemm_lanes; 0: never */
    unsigned clblast;    /* dense products by CLBlast: 1, by our own kernels: 0 */
} nb__cl_tuning;

/* Work-items of qgemm_lanes that share a panel's row of words; a group has `slices` times as many. */
enum { NB_CL_PANEL_ITEMS = 16 };

nb__cl_tuning nb__cl_tuning_default(size_t max_group);
struct nb__cl_device;
/* What is taken now: another thread may be tuning. */
nb__cl_tuning nb__cl_tuning_now(struct nb__cl_device *d);
nb_status nb__cl_tune(nb_stream *stream, nb_tuned *out, size_t cap, size_t *count, nb_err *err);

/* ---- opencl.c ---- */

typedef struct nb__cl_program {
    nb_op op;
    unsigned flags; /* of the row: what its source may use */
    char *defines;  /* compiler options beside those of the flags, or NULL */
    cl_program program;
    struct nb__cl_program *next;
} nb__cl_program;

typedef struct nb__cl_kernel {
    cl_program program;
    const char *entry; /* static storage */
    cl_kernel kernel;
    size_t max_group; /* work-items of a group */
    struct nb__cl_kernel *next;
} nb__cl_kernel;

typedef struct nb__cl_device {
    nb_device base;
    const nb__cl_api *api;
    nb__cl_place place;
    size_t index;
    cl_context context;
    unsigned features;
    size_t max_group, local_memory, max_alloc, memory, limit;
    size_t allocated;
    char *cache_dir; /* NULL: none */
    bool keep_binaries; /* of programs, in cache_dir */
    atomic_bool blast_failed; /* CLBlast is not tried again */
    nb__cl_tuning tuning;
    nb__cl_program *programs;
    nb__cl_kernel *kernels;
    cl_command_queue own_queue; /* of wrapped streams without a queue; made when it is first asked for */
    pthread_mutex_t lock;       /* programs, kernels and their arguments, allocated, own_queue */
} nb__cl_device;

typedef struct nb__cl_stream {
    nb_stream base;
    cl_command_queue queue;
    bool wrapped;   /* the caller's queue, in a room of his: it can own nothing */
    cl_mem scratch; /* of kernels; grows */
    size_t scratch_bytes;
} nb__cl_stream;

/* Takes what an earlier tuning of this device has found; the defaults stay where there is none. */
void nb__cl_tuning_load(nb__cl_device *d);

static inline nb__cl_device *nb__cl_device_of(nb_stream *stream) {
    return (nb__cl_device *)stream->device;
}

/* Device memory that the stream's kernels may use until the next operation of the stream asks for it. A caller's stream has
 * none: what runs there (qgemm) brings its workspace. */
nb_status nb__cl_scratch(nb_stream *stream, size_t bytes, nb_mem *out, nb_err *err);

/* ---- opencl_build.c ---- */

/* The kernel `entry` of the row's program (kernels/opencl/OP.cl built with the row's needs and `defines`, more compiler
 * options, or NULL), which is built on first use or taken from the cache. Called with the device's lock held. */
nb_status nb__cl_kernel_get(nb__cl_device *d, const nb_kernel *row, const char *entry, const char *defines, nb__cl_kernel **out,
                            nb_err *err);
void nb__cl_programs_free(nb__cl_device *d);
/* Makes a folder and its parents. */
nb_status nb__cl_make_folder(const char *path, nb_err *err);

/* Kernel sources, embedded by the build: kernels/layout.h and kernels/opencl/NAME.cl (name without the ending). */
typedef struct nb__cl_source {
    const char *name;
    const char *text;
} nb__cl_source;
extern const nb__cl_source nb__cl_sources[];
extern const size_t nb__cl_source_count;

/* ---- opencl_launch.c ---- */

typedef enum nb__cl_kind { NB_CL_ARG_MEM, NB_CL_ARG_U32, NB_CL_ARG_U64, NB_CL_ARG_F32, NB_CL_ARG_LOCAL, NB_CL_ARG_BASE, NB_CL_ARG_STRUCT } nb__cl_kind;

typedef struct nb__cl_arg {
    nb__cl_kind kind;
    nb_mem mem;
    size_t size; /* numbers, and bytes of local memory or of a struct */
    float real;
    const void *bytes;
} nb__cl_arg;

/* A buffer is two arguments of the kernel: a pointer (NULL where absent) and a ulong of bytes from there. */
#define NB_CL_MEM(m) ((nb__cl_arg){.kind = NB_CL_ARG_MEM, .mem = (m)})
/* A size as uint; a larger one is refused. */
#define NB_CL_U32(v) ((nb__cl_arg){.kind = NB_CL_ARG_U32, .size = (size_t)(v)})
#define NB_CL_U64(v) ((nb__cl_arg){.kind = NB_CL_ARG_U64, .size = (size_t)(v)})
#define NB_CL_F32(v) ((nb__cl_arg){.kind = NB_CL_ARG_F32, .real = (v)})
/* A buffer's pointer alone, and a struct by value. */
#define NB_CL_BASE(m) ((nb__cl_arg){.kind = NB_CL_ARG_BASE, .mem = (m)})
#define NB_CL_STRUCT(s) ((nb__cl_arg){.kind = NB_CL_ARG_STRUCT, .size = sizeof *(s), .bytes = (s)})
#define NB_CL_LOCAL(bytes) ((nb__cl_arg){.kind = NB_CL_ARG_LOCAL, .size = (bytes)})

/* Work-groups in each dimension and work-items of a group. A launch with no group does nothing. */
typedef struct nb__cl_grid {
    size_t groups[3], items[3];
} nb__cl_grid;

#define NB_CL_GRID1(g, l) ((nb__cl_grid){{(g), 1, 1}, {(l), 1, 1}})
#define NB_CL_GRID2(gx, gy, lx, ly) ((nb__cl_grid){{(gx), (gy), 1}, {(lx), (ly), 1}})
#define NB_CL_GRID3(gx, gy, gz, lx, ly, lz) ((nb__cl_grid){{(gx), (gy), (gz)}, {(lx), (ly), (lz)}})

/* Which kernel of the row's program, built with which options, over what. */
typedef struct nb__cl_call {
    const char *entry;   /* static storage */
    const char *defines; /* may be NULL: "-DTILE=8" */
    nb__cl_grid grid;
} nb__cl_call;

nb_status nb__cl_run(nb_stream *stream, const nb_kernel *row, const nb__cl_call *call, const nb__cl_arg *args, size_t count,
                     nb_err *err);
/* NB_CL_RUN(stream, row, err, ("entry", NULL, grid), args...). */
#define NB_CL_RUN(stream, row, err, call, ...)                                                                         \
    nb__cl_run(stream, row, &(const nb__cl_call)NB_CL_CALL call, (const nb__cl_arg[]){__VA_ARGS__},                    \
               sizeof((const nb__cl_arg[]){__VA_ARGS__}) / sizeof(nb__cl_arg), err)
#define NB_CL_CALL(entry_, defines_, ...) {.entry = (entry_), .defines = (defines_), .grid = __VA_ARGS__}

/* ---- opencl_qgemm.c ---- */

extern const nb_packer nb__packer_opencl;
/* Rows of a row panel for which there are kernels, up to a 0. */
extern const unsigned nb__cl_qgemm_rows[];
bool nb__cl_qgemm_workspace(const nb_qweight *w, size_t m, bool fast, unsigned units, size_t *bytes);

/* ---- opencl_ops.c and its like ---- */

/* How an operation is launched: which entries of the row's program, with which arguments. */
typedef nb_status nb__cl_op(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err);
/* The table of them; NULL where an operation has no launcher. */
nb__cl_op *nb__cl_op_of(nb_op op);

#endif
