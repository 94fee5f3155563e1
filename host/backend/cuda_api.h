/* What of the CUDA driver API and of cuBLAS this backend calls: our own prototypes, so that neither toolkit nor driver is
 * needed to build or to start. Names carry the version that the driver exports (cuda.h's renaming does not reach dlsym). */
#ifndef NB_BACKEND_CUDA_API_H
#define NB_BACKEND_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

#include "host/base/err.h"

typedef int nb__cu_result;
typedef int nb__cu_device;
typedef uint64_t nb__cu_ptr;
typedef struct nb__cu_context_ *nb__cu_context;
typedef struct nb__cu_module_ *nb__cu_module;
typedef struct nb__cu_function_ *nb__cu_function;
typedef struct nb__cu_stream_ *nb__cu_stream;
typedef struct nb__cu_event_ *nb__cu_event;

enum {
    NB_CU_OUT_OF_MEMORY = 2,
    NB_CU_NO_DEVICE = 100,
    NB_CU_NO_BINARY = 209,
    NB_CU_INVALID_PTX = 218,
    NB_CU_PTX_VERSION = 222
};

enum { /* of a device */
    NB_CU_MULTIPROCESSORS = 16,
    NB_CU_CC_MAJOR = 75,
    NB_CU_CC_MINOR = 76
};

/* X(field, symbol, arguments) */
#define NB_CU_FUNCTIONS(X)                                                                         \
    X(init, "cuInit", (unsigned))                                                                  \
    X(driver_version, "cuDriverGetVersion", (int *))                                               \
    X(error_name, "cuGetErrorName", (nb__cu_result, const char **))                                \
    X(error_string, "cuGetErrorString", (nb__cu_result, const char **))                            \
    X(device_count, "cuDeviceGetCount", (int *))                                                   \
    X(device_get, "cuDeviceGet", (nb__cu_device *, int))                                           \
    X(device_name, "cuDeviceGetName", (char *, int, nb__cu_device))                                \
    X(device_attribute, "cuDeviceGetAttribute", (int *, int, nb__cu_device))                       \
    X(device_memory, "cuDeviceTotalMem_v2", (size_t *, nb__cu_device))                             \
    X(primary_retain, "cuDevicePrimaryCtxRetain", (nb__cu_context *, nb__cu_device))               \
    X(primary_release, "cuDevicePrimaryCtxRelease_v2", (nb__cu_device))                            \
    X(context_push, "cuCtxPushCurrent_v2", (nb__cu_context))                                       \
    X(context_pop, "cuCtxPopCurrent_v2", (nb__cu_context *))                                       \
    X(context_current, "cuCtxGetCurrent", (nb__cu_context *))                                      \
    X(context_device, "cuCtxGetDevice", (nb__cu_device *))                                         \
    X(module_load, "cuModuleLoadDataEx", (nb__cu_module *, const void *, unsigned, int *, void **)) \
    X(module_unload, "cuModuleUnload", (nb__cu_module))                                            \
    X(module_function, "cuModuleGetFunction", (nb__cu_function *, nb__cu_module, const char *))    \
    X(function_load, "cuFuncLoad", (nb__cu_function))                                              \
    X(function_set, "cuFuncSetAttribute", (nb__cu_function, int, int))                             \
    X(occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor", (int *, nb__cu_function, int, size_t)) \
    X(mem_info, "cuMemGetInfo_v2", (size_t *, size_t *))                                           \
    X(mem_alloc, "cuMemAlloc_v2", (nb__cu_ptr *, size_t))                                          \
    X(mem_free, "cuMemFree_v2", (nb__cu_ptr))                                                      \
    X(host_alloc, "cuMemHostAlloc", (void **, size_t, unsigned))                                   \
    X(host_free, "cuMemFreeHost", (void *))                                                        \
    X(upload, "cuMemcpyHtoDAsync_v2", (nb__cu_ptr, const void *, size_t, nb__cu_stream))           \
    X(download, "cuMemcpyDtoHAsync_v2", (void *, nb__cu_ptr, size_t, nb__cu_stream))               \
    X(copy, "cuMemcpyDtoDAsync_v2", (nb__cu_ptr, nb__cu_ptr, size_t, nb__cu_stream))               \
    X(fill, "cuMemsetD8Async", (nb__cu_ptr, unsigned char, size_t, nb__cu_stream))                 \
    X(stream_new, "cuStreamCreate", (nb__cu_stream *, unsigned))                                   \
    X(stream_free, "cuStreamDestroy_v2", (nb__cu_stream))                                          \
    X(stream_sync, "cuStreamSynchronize", (nb__cu_stream))                                         \
    X(stream_wait, "cuStreamWaitEvent", (nb__cu_stream, nb__cu_event, unsigned))                   \
    X(event_new, "cuEventCreate", (nb__cu_event *, unsigned))                                      \
    X(event_free, "cuEventDestroy_v2", (nb__cu_event))                                             \
    X(event_record, "cuEventRecord", (nb__cu_event, nb__cu_stream))                                \
    X(event_sync, "cuEventSynchronize", (nb__cu_event))                                            \
    X(event_elapsed, "cuEventElapsedTime", (float *, nb__cu_event, nb__cu_event))                  \
    X(launch, "cuLaunchKernel",                                                                    \
      (nb__cu_function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,      \
       nb__cu_stream, void **, void **))

typedef struct nb__cu_api {
#define NB_CU_FIELD(field, symbol, args) nb__cu_result(*field) args;
    NB_CU_FUNCTIONS(NB_CU_FIELD)
#undef NB_CU_FIELD
} nb__cu_api;

/* The driver, loaded and initialised once in the process; NULL where there is none, with the reason in why [cap]. */
const nb__cu_api *nb__cu_load(char *why, size_t cap);

/* ---- cuBLAS ---- */

typedef int nb__blas_result;
typedef struct nb__blas_handle_ *nb__blas_handle;

enum { NB_BLAS_N = 0, NB_BLAS_T = 1, NB_BLAS_UPPER = 1, NB_BLAS_PEDANTIC = 2, NB_BLAS_NO_ATOMICS = 0 };

#define NB_BLAS_FUNCTIONS(X)                                                                       \
    X(create, "cublasCreate_v2", (nb__blas_handle *))                                              \
    X(destroy, "cublasDestroy_v2", (nb__blas_handle))                                              \
    X(set_stream, "cublasSetStream_v2", (nb__blas_handle, nb__cu_stream))                          \
    X(set_workspace, "cublasSetWorkspace_v2", (nb__blas_handle, void *, size_t))                   \
    X(set_math, "cublasSetMathMode", (nb__blas_handle, int))                                       \
    X(set_atomics, "cublasSetAtomicsMode", (nb__blas_handle, int))                                 \
    X(sgemm, "cublasSgemm_v2",                                                                     \
      (nb__blas_handle, int, int, int, int, int, const float *, const float *, int, const float *, \
       int, const float *, float *, int))                                                          \
    X(ssyrk, "cublasSsyrk_v2",                                                                     \
      (nb__blas_handle, int, int, int, int, const float *, const float *, int, const float *,      \
       float *, int))

typedef struct nb__blas_api {
#define NB_BLAS_FIELD(field, symbol, args) nb__blas_result(*field) args;
    NB_BLAS_FUNCTIONS(NB_BLAS_FIELD)
#undef NB_BLAS_FIELD
    const char *library; /* its name */
} nb__blas_api;

/* cuBLAS, loaded once in the process; NULL where there is none. */
const nb__blas_api *nb__blas_load(void);

#endif
