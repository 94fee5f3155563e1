/* Options, device, contexts, errors. */
#define _GNU_SOURCE
#include "driver.h"

#include "cuda_sim.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

sim_options sim_opt;
static pthread_mutex_t drv_lock;
CUresult drv_sticky;
bool drv_ready;
static bool lost;
static uint64_t calls, fault_seen;
static struct CUctx_st primary = {.magic = MAGIC_CTX, .primary = true};
#define STACK 64
static _Thread_local struct CUctx_st *stack[STACK];
static _Thread_local int depth;
const char *sim_last_json(void);

/* ---- options ---- */

static uint64_t size_value(const char *v) {
    char *end;
    double x = strtod(v, &end);
    uint64_t unit = *end == 'K' || *end == 'k'   ? 1ull << 10
                    : *end == 'M' || *end == 'm' ? 1ull << 20
                    : *end == 'G' || *end == 'g' ? 1ull << 30
                                                 : 1;
    return (uint64_t)(x * (double)unit);
}

static void set_delete(const char *v) {
    const char *colon = strrchr(v, ':');
    memset(sim_opt.delete_kernel, 0, sizeof sim_opt.delete_kernel);
    snprintf(sim_opt.delete_mode, sizeof sim_opt.delete_mode, "delete");
    sim_opt.delete_line = 0;
    if (!*v)
        return;
    char buf[200];
    snprintf(buf, sizeof buf, "%s", v);
    char *c = strrchr(buf, ':');
    if (colon && c && (!strcmp(c + 1, "weaken") || !strcmp(c + 1, "delete"))) {
        snprintf(sim_opt.delete_mode, sizeof sim_opt.delete_mode, "%s", c + 1);
        *c = 0;
        c = strrchr(buf, ':');
    }
    sim_opt.delete_line = atoi(c ? c + 1 : buf);
    if (c) {
        *c = 0;
        snprintf(sim_opt.delete_kernel, sizeof sim_opt.delete_kernel, "%s", buf);
    }
}

static void set_fault(const char *v) {
    const char *colon = strchr(v, ':');
    sim_opt.fault_at = colon ? strtoull(colon + 1, NULL, 10) : 0;
    snprintf(sim_opt.fault_kind, sizeof sim_opt.fault_kind, "%.*s", colon ? (int)(colon - v) : 0,
             v);
    fault_seen = 0;
    calls = 0;
    lost = false;
}

SIM_API void cuda_sim_set(const char *name, const char *v) {
    if (!strcasecmp(name, "SMS"))
        sim_opt.sms = atoi(v) > 0 ? atoi(v) : 1;
    else if (!strcasecmp(name, "CC"))
        sim_opt.cc = atoi(v);
    else if (!strcasecmp(name, "SEED"))
        sim_opt.seed = strtoull(v, NULL, 0);
    else if (!strcasecmp(name, "FMAD"))
        sim_opt.fmad = atoi(v);
    else if (!strcasecmp(name, "SLICE")) /* instructions of a warp at a time; 0: by the seed */
        sim_opt.slice = atoi(v) > 0 ? atoi(v) : 0;
    else if (!strcasecmp(name, "STRICT"))
        sim_opt.strict = atoi(v);
    else if (!strcasecmp(name, "MEMORY"))
        sim_opt.memory = size_value(v);
    else if (!strcasecmp(name, "THREADS"))
        sim_opt.threads = atoi(v);
    else if (!strcasecmp(name, "WATCHDOG"))
        sim_opt.watchdog = strtoull(v, NULL, 0);
    else if (!strcasecmp(name, "REPORT"))
        snprintf(sim_opt.report, sizeof sim_opt.report, "%s", v);
    else if (!strcasecmp(name, "FAULT"))
        set_fault(v);
    else if (!strcasecmp(name, "DELETE"))
        set_delete(v);
    else
        sim_complain("unknown option %s", name);
}

void sim_options_read(void) {
    static const char *const names[] = {"SMS",      "CC",    "SEED", "STRICT", "MEMORY", "THREADS",
                                        "WATCHDOG", "SLICE", "FMAD", "REPORT", "FAULT",  "DELETE"};
    static bool read;
    if (read)
        return;
    read = true;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    sim_opt.sms = 4;
    sim_opt.cc = 80;
    sim_opt.strict = 1;
    sim_opt.fmad = 1;
    sim_opt.memory = 8ull << 30;
    sim_opt.threads = cpus > 0 ? (int)cpus : 1;
    sim_opt.watchdog = 400000000;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char var[64];
        snprintf(var, sizeof var, "CUDA_SIM_%s", names[i]);
        const char *v = getenv(var);
        if (v)
            cuda_sim_set(names[i], v);
    }
}

/* Options set before cuInit by a test must win over the defaults. */
__attribute__((constructor)) static void start(void) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&drv_lock, &a);
    pthread_mutexattr_destroy(&a);
    sim_options_read();
}

SIM_API const char *cuda_sim_report(void) {
    return sim_last_json();
}
SIM_API const char *cuda_sim_finding(void) {
    return sim_last_msg;
}
SIM_API void cuda_sim_reset(void) {
    drv_module_drop_all();
    drv_host_reset();
    sim_mem_reset();
    sim_last_msg[0] = 0;
    drv_sticky = CUDA_SUCCESS;
    lost = false;
    calls = fault_seen = 0;
    primary.refs = 0;
    depth = 0;
    if (drv_ready && sim_mem_init())
        drv_ready = false;
}

/* ---- entry ---- */

int drv_hold(void) {
    pthread_mutex_lock(&drv_lock);
    return 1;
}
void drv_leave(const int *held) {
    if (*held)
        pthread_mutex_unlock(&drv_lock);
}

double drv_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

CUresult drv_enter(bool need_ctx) {
    if (!drv_ready)
        return CUDA_ERROR_NOT_INITIALIZED;
    calls++;
    if (!strcmp(sim_opt.fault_kind, "lost") && calls >= sim_opt.fault_at)
        lost = true;
    if (lost)
        return CUDA_ERROR_DEVICE_UNAVAILABLE;
    if (need_ctx && (!depth || !stack[depth - 1]))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (need_ctx && drv_sticky)
        return drv_sticky;
    return CUDA_SUCCESS;
}

bool drv_fault(const char *kind) {
    if (strcmp(sim_opt.fault_kind, kind))
        return false;
    return ++fault_seen == sim_opt.fault_at;
}

CUresult cuInit(unsigned int flags) {
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    __attribute__((cleanup(drv_leave), unused)) const int held = drv_hold();
    if (!strcmp(sim_opt.fault_kind, "init"))
        return (CUresult)sim_opt.fault_at;
    if (!drv_ready && !sim_mem_init())
        drv_ready = true;
    return drv_ready ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuDriverGetVersion(int *v) {
    if (!v)
        return CUDA_ERROR_INVALID_VALUE;
    *v = CUDA_VERSION;
    return CUDA_SUCCESS;
}

/* ---- device ---- */

CUresult cuDeviceGetCount(int *n) {
    ENTER(false);
    if (!n)
        return CUDA_ERROR_INVALID_VALUE;
    *n = 1;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice *d, int i) {
    ENTER(false);
    if (!d)
        return CUDA_ERROR_INVALID_VALUE;
    if (i)
        return CUDA_ERROR_INVALID_DEVICE;
    *d = 0;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetName(char *s, int n, CUdevice d) {
    ENTER(false);
    if (d)
        return CUDA_ERROR_INVALID_DEVICE;
    if (!s || n <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(s, (size_t)n, "cuda_sim sm_%d x%d", sim_opt.cc, sim_opt.sms);
    return CUDA_SUCCESS;
}
CUresult cuDeviceTotalMem(size_t *n, CUdevice d) {
    ENTER(false);
    if (d)
        return CUDA_ERROR_INVALID_DEVICE;
    if (!n)
        return CUDA_ERROR_INVALID_VALUE;
    *n = sim_opt.memory;
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetUuid_v2(CUuuid *u, CUdevice d) {
    ENTER(false);
    if (d || !u)
        return CUDA_ERROR_INVALID_VALUE;
    memset(u, 0, sizeof *u);
    memcpy(u->bytes, "cuda_sim", 8);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) {
    ENTER(false);
    if (d)
        return CUDA_ERROR_INVALID_DEVICE;
    if (!v)
        return CUDA_ERROR_INVALID_VALUE;
    const int cc = sim_opt.cc;
    switch (a) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *v = 1024;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        *v = 1024;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        *v = 64;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        *v = 2147483647;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        *v = 65535;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        *v = 48 * 1024;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *v = (int)sim_max_shared();
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
        *v = (int)sim_sm_shared();
        break;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
        *v = cc >= 80 ? 1024 : 0;
        break;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
        *v = 65536;
        break;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        *v = 32;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
        *v = 65536;
        break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        *v = 1000000;
        break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
        *v = 1000000;
        break;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
        *v = 256;
        break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
        *v = 4 << 20;
        break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *v = sim_opt.sms;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
        *v = cc == 75 ? 1024 : cc == 80 || cc == 90 || cc == 100 ? 2048 : 1536;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
        *v = cc == 75 || cc == 86 ? 16 : cc == 89 || cc == 120 ? 24 : 32;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *v = cc / 10;
        break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *v = cc % 10;
        break;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
        *v = 1;
        break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        *v = 1;
        break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
    case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED:
    case CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT:
    case CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS:
    case CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
        *v = 0;
        break;
    default:
        sim_complain("cuDeviceGetAttribute(%d) is not known to the simulator", (int)a);
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

/* ---- contexts ---- */

static bool is_ctx(const struct CUctx_st *c) {
    return c && c->magic == MAGIC_CTX;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) {
    ENTER(false);
    if (d || !c)
        return CUDA_ERROR_INVALID_VALUE;
    primary.refs++;
    *c = &primary;
    return CUDA_SUCCESS;
}

static void context_gone(void) {
    drv_module_drop_all();
    drv_host_reset();
    sim_mem_reset();
    drv_sticky = CUDA_SUCCESS;
    if (sim_mem_init())
        drv_ready = false;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice d) {
    ENTER(false);
    if (d || primary.refs <= 0)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (--primary.refs == 0)
        context_gone();
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxReset(CUdevice d) {
    ENTER(false);
    if (d)
        return CUDA_ERROR_INVALID_DEVICE;
    context_gone();
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxSetFlags(CUdevice d, unsigned int f) {
    ENTER(false);
    primary.flags = f;
    return d ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned int *f, int *active) {
    ENTER(false);
    if (d || !f || !active)
        return CUDA_ERROR_INVALID_VALUE;
    *f = primary.flags;
    *active = primary.refs > 0;
    return CUDA_SUCCESS;
}
/* A context of one's own shares the only memory: enough for callers that make and destroy one. */
CUresult SIM_API cuCtxCreate_v2(CUcontext *c, unsigned int f, CUdevice d);
CUresult SIM_API cuCtxCreate_v2(CUcontext *c, unsigned int f, CUdevice d) {
    ENTER(false);
    if (d || !c || depth == STACK)
        return CUDA_ERROR_INVALID_VALUE;
    struct CUctx_st *n = calloc(1, sizeof *n);
    if (!n)
        return CUDA_ERROR_OUT_OF_MEMORY;
    n->magic = MAGIC_CTX;
    n->flags = f;
    n->refs = 1;
    stack[depth++] = n;
    *c = n;
    return CUDA_SUCCESS;
}
CUresult cuCtxCreate_v4(CUcontext *c, CUctxCreateParams *p, unsigned int f, CUdevice d) {
    (void)p;
    return cuCtxCreate_v2(c, f, d);
}
CUresult cuCtxDestroy(CUcontext c) {
    ENTER(false);
    if (!is_ctx(c) || c->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (depth && stack[depth - 1] == c)
        depth--;
    c->magic = 0;
    free(c);
    return CUDA_SUCCESS;
}
CUresult cuCtxSetCurrent(CUcontext c) {
    ENTER(false);
    if (c && !is_ctx(c))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!depth)
        depth = 1;
    stack[depth - 1] = c;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext *c) {
    ENTER(false);
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    *c = depth ? stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent(CUcontext c) {
    ENTER(false);
    if (!is_ctx(c) || depth == STACK)
        return CUDA_ERROR_INVALID_CONTEXT;
    stack[depth++] = c;
    return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent(CUcontext *c) {
    ENTER(false);
    if (!depth || !stack[depth - 1])
        return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (c)
        *c = stack[depth];
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice *d) {
    ENTER(true);
    if (!d)
        return CUDA_ERROR_INVALID_VALUE;
    *d = 0;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetFlags(unsigned int *f) {
    ENTER(true);
    if (!f)
        return CUDA_ERROR_INVALID_VALUE;
    *f = stack[depth - 1]->flags;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetApiVersion(CUcontext c, unsigned int *v) {
    ENTER(false);
    if (!v || (c && !is_ctx(c)))
        return CUDA_ERROR_INVALID_VALUE;
    *v = 13000;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    ENTER(true);
    if (least)
        *least = 0;
    if (greatest)
        *greatest = -5;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetLimit(size_t *v, CUlimit l) {
    ENTER(true);
    (void)l;
    if (!v)
        return CUDA_ERROR_INVALID_VALUE;
    *v = 1024;
    return CUDA_SUCCESS;
}
CUresult cuCtxSetLimit(CUlimit l, size_t v) {
    ENTER(true);
    (void)l, (void)v;
    return CUDA_SUCCESS;
}
CUresult cuCtxSynchronize(void) {
    ENTER(true);
    return drv_no_capture();
}

/* ---- error names ---- */

static const struct {
    CUresult e;
    const char *name, *text;
} errors[] = {
#define E(n, t)                                                                                    \
    { n, #n, t }
    E(CUDA_SUCCESS, "no error"),
    E(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    E(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    E(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    E(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    E(CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable"),
    E(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    E(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    E(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    E(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    E(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    E(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed"),
    E(CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
      "the provided PTX was compiled with an unsupported toolchain."),
    E(CUDA_ERROR_INVALID_SOURCE, "device kernel image is invalid"),
    E(CUDA_ERROR_FILE_NOT_FOUND, "file not found"),
    E(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    E(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    E(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    E(CUDA_ERROR_NOT_READY, "device not ready"),
    E(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    E(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    E(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated"),
    E(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed"),
    E(CUDA_ERROR_ILLEGAL_INSTRUCTION, "an illegal instruction was encountered"),
    E(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    E(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    E(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch"),
    E(CUDA_ERROR_NOT_PERMITTED, "operation not permitted"),
    E(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    E(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
      "operation failed due to a previous error during capture"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not initiated in this stream"),
    E(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "capturing stream has unjoined work"),
    E(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
      "operation would make the legacy stream depend on a capturing blocking stream"),
    E(CUDA_ERROR_UNKNOWN, "unknown error"),
#undef E
};

CUresult cuGetErrorName(CUresult e, const char **s) {
    for (size_t i = 0; s && i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].e == e) {
            *s = errors[i].name;
            return CUDA_SUCCESS;
        }
    if (s)
        *s = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGetErrorString(CUresult e, const char **s) {
    for (size_t i = 0; s && i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].e == e) {
            *s = errors[i].text;
            return CUDA_SUCCESS;
        }
    if (s)
        *s = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetProcAddress(const char *name, void **fn, int version, cuuint64_t flags,
                          CUdriverProcAddressQueryResult *status) {
    (void)flags;
    if (!name || !fn)
        return CUDA_ERROR_INVALID_VALUE;
    extern void *drv_symbol(const char *name, int version);
    *fn = drv_symbol(name, version);
    if (status)
        *status = *fn ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *fn ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
