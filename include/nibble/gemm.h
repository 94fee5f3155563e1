/* nibble: packed dequant-GEMM for inference backends: Y[M,N] = X[M,K] * W[N,K]^T (+ bias[N]).
 *
 *     nb_ctx *ctx;
 *     nb_ctx_open(NULL, &ctx, &err);
 *     nb_weight_packed_size(ctx, &desc, &bytes, &err);        once per weight: size it,
 *     nb_weight_pack(ctx, &desc, &source, packed, bytes, NULL, 0, &err);       and pack it
 *     nb_gemm_workspace_size(ctx, &desc, m_max, mode, &work_bytes, &err);
 *     nb_gemm(ctx, &(nb_gemm_args){...}, &err);               as often as wanted
 *     nb_ctx_close(ctx);
 *
 * The library keeps no global state, never prints and never exits. All functions may be called from several threads; calls
 * on one context that use its threads take turns. Every function returns NB_OK or a status and fills *err (may be NULL). */
#ifndef NIBBLE_GEMM_H
#define NIBBLE_GEMM_H

#include <stdint.h>
#include <nibble/packed.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A caller's thread pool. `run` calls task(arg, i, worker) once for each i in [0, n_tasks), from any of
 * its threads, with worker < n_workers and never two calls at once with the same worker, and returns when
 * all are done. */
typedef void nb_task_fn(void *arg, size_t task, unsigned worker);
typedef struct nb_parallel {
    void *ctx;
    unsigned n_workers;
    void (*run)(void *ctx, size_t n_tasks, nb_task_fn *task, void *arg);
} nb_parallel;

/* A caller's memory. alloc returns `bytes` bytes aligned to `align` (a power of two), or NULL. */
typedef struct nb_allocator {
    void *ctx;
    void *(*alloc)(void *ctx, size_t bytes, size_t align);
    void (*release)(void *ctx, void *ptr);
} nb_allocator;

/* A device and what runs on it. Opaque. */
typedef struct nb_ctx nb_ctx;

/* Zero-initialise, set `size` to sizeof(nb_ctx_options), then what is wanted. */
typedef struct nb_ctx_options {
    size_t size;
    const char *device;            /* NULL or "cpu"; "cuda", "cuda:1", "opencl", "opencl:0", "opencl:NAME" */
    unsigned threads;              /* workers of a pool of the context's own; 0: one per processor. On a GPU they only pack */
    const nb_parallel *parallel;   /* or the caller's pool, copied; its ctx outlives the context. `threads` must then be 0 */
    const nb_allocator *allocator; /* for all memory that the context takes, copied; NULL: the C library's. What stands for
                                    * a GPU's driver (handles, modules) is the C library's in any case */
    void *native_context;          /* CUDA: the CUcontext to use, of the device that is named ("cuda": of any); NULL: the device's
                                    * primary one. OpenCL: a cl_context */
    void *native_device;           /* OpenCL: the cl_device_id, with a cl_context */
} nb_ctx_options;

/* Opens a context; options may be NULL. NB_E_DEVICE: no such device. NB_E_MEMORY, NB_E_USAGE. */
NB_API nb_status nb_ctx_open(const nb_ctx_options *options, nb_ctx **out, nb_err *err);
/* Ends its threads and frees its memory; what is given to it (pools, native contexts) stays. NULL is fine. */
NB_API void nb_ctx_close(nb_ctx *ctx);

/* How activations are multiplied. The caller chooses; nothing is changed silently. */
typedef enum nb_gemm_mode {
    /* f32 arithmetic on the CPU. |y - exact| <= gamma_K * sum|x||w|, gamma_K = (K + 8) u / (1 - (K + 8) u), u = 2^-24;
     * with offsets |w| stands for |q s| + |offset|. */
    NB_GEMM_EXACT = 0,
    /* X is rounded to 8 bits by blocks of 16 or 32 columns, with step = max|x| / 127 of the block; sums inside a block are
     * exact. Adds sum|w| * step / 2 to the bound. Blocks whose values are all below 2^-100 count as zero; a NaN or infinity
     * makes its row of Y NaN. CUDA rounds f32 X only: f16 and bf16 X are multiplied as they are, which is faster there and inside the
     * bound (an infinity then gives infinities too). CUDA has this mode from compute capability 8.0 on. */
    NB_GEMM_FAST = 1
} nb_gemm_mode;

/* Name of the kernel variant that serves `mode` on this context ("qgemm_avx512"). Static storage. NB_E_UNSUPPORTED: the device has no
 * kernel of this mode; so in all that take a mode. */
NB_API nb_status nb_ctx_kernel(const nb_ctx *ctx, nb_gemm_mode mode, const char **name, nb_err *err);

/* Bytes of a packed weight. NB_E_USAGE: a field of desc is outside its domain; NB_E_MEMORY: the size overflows. */
NB_API nb_status nb_weight_packed_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t *bytes, nb_err *err);

/* Bytes of scratch that nb_weight_pack needs. */
NB_API nb_status nb_weight_scratch_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t *bytes, nb_err *err);

/* Packs a weight into packed[packed_bytes], 64-byte aligned host memory, on the context's threads. For a GPU copy those
 * bytes to memory of the device, aligned to 256 bytes, any way you like. scratch may be NULL: the context's
 * allocator is then used for the time of the call. NB_E_INPUT: a buffer of the source is missing or too short, a zero point or g_idx is
 * outside its domain, or g_idx gives a group more than group_size columns. NB_E_USAGE: a field of desc, packed or scratch (missing,
 * too short, not aligned). */
NB_API nb_status nb_weight_pack(nb_ctx *ctx, const nb_weight_desc *desc, const nb_weight_source *source, void *packed,
                                size_t packed_bytes, void *scratch, size_t scratch_bytes, nb_err *err);

/* The way back from host memory, exactly: codes u8 [n,k], scales [n,groups] of desc->scale_type, zeros u8 [n,groups] (or f32 offsets),
 * g_idx i32 [k]. Any output may be NULL. Takes scratch from the context's allocator for the time of the call. NB_E_USAGE as above. */
NB_API nb_status nb_weight_unpack(nb_ctx *ctx, const nb_weight_desc *desc, const void *packed, size_t packed_bytes,
                                  uint8_t *codes, void *scales, void *zeros, int32_t *g_idx, nb_err *err);

/* Bytes of workspace for nb_gemm with up to m rows. */
NB_API nb_status nb_gemm_workspace_size(const nb_ctx *ctx, const nb_weight_desc *desc, size_t m, nb_gemm_mode mode,
                                        size_t *bytes, nb_err *err);

/* Zero-initialise, set `size` to sizeof(nb_gemm_args). Matrices are row-major; X, Y and packed may not overlap. */
typedef struct nb_gemm_args {
    size_t size;
    nb_gemm_mode mode;
    size_t m; /* 0 and more */
    const nb_weight_desc *desc;
    const void *packed;
    size_t packed_bytes;
    const void *x; /* x_type [m,k], rows ldx elements apart */
    nb_float_type x_type;
    size_t ldx;
    void *y; /* y_type [m,n], rows ldy elements apart */
    nb_float_type y_type;
    size_t ldy;
    const void *bias; /* f32 [n] or NULL */
    int accumulate;    /* nonzero: Y += */
    void *workspace;   /* 64-byte aligned; used by this call alone until it returns (on a GPU: until it is done) */
    size_t workspace_bytes;
    /* On a GPU x, y, packed, bias and workspace are the device's: CUdeviceptr cast to a pointer, or cl_mem, with these
     * offsets in bytes; on the CPU offsets are 0. */
    size_t x_offset, y_offset, packed_offset, bias_offset, workspace_offset;
    /* The CUstream or cl_command_queue (in order) to run on. NULL: the default stream of CUDA; OpenCL: the context's own. */
    void *stream;
} nb_gemm_args;

/* The product. It allocates no memory; results do not depend on the number of threads. On the CPU it is done on return. On
 * a GPU it is launched: it neither waits nor allocates, but for the first product of a form (width, mode, few or many rows) with OpenCL,
 * which builds its program. So a CUDA graph can capture it, in any mode and from the first call on, as
 * nb_ctx_open has loaded the kernels; a replay reads X, W and bias and uses the workspace where they were, and takes what
 * lies there then. nb_ctx_sync inside a capture is an error of the driver (900), and spoils the capture; nb_ctx_open and nb_ctx_close are
 * not for the time of a capture. NB_E_USAGE: a field of args or desc, a buffer missing or too short. */
NB_API nb_status nb_gemm(nb_ctx *ctx, const nb_gemm_args *args, nb_err *err);

/* Waits until all that was launched on this stream (as in nb_gemm_args) is done. On the CPU it returns at once. */
NB_API nb_status nb_ctx_sync(nb_ctx *ctx, void *stream, nb_err *err);

#ifdef __cplusplus
}
#endif
#endif
