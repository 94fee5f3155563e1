/* Modules, functions, launches. */
#define _GNU_SOURCE
#include "driver.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static struct CUmod_st *modules;

/* ---- modules ---- */

static void *option(CUjit_option want, unsigned n, CUjit_option *o, void **v) {
    for (unsigned i = 0; i < n; i++)
        if (o[i] == want)
            return v[i];
    return NULL;
}

static void jit_log(const char *text, unsigned n, CUjit_option *o, void **v) {
    char *buf = option(CU_JIT_ERROR_LOG_BUFFER, n, o, v);
    size_t size = (size_t)(uintptr_t)option(CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, n, o, v);
    if (buf && size)
        snprintf(buf, size, "%s", text);
}

/* A cubin or a fat binary: not for this device, so that the host goes on to its PTX. */
static bool is_binary(const unsigned char *p) {
    return (p[0] == 0x7f && p[1] == 'E' && p[2] == 'L' && p[3] == 'F') ||
           (p[0] == 0x50 && p[1] == 0xed && p[2] == 0x55 && p[3] == 0xba);
}

CUresult cuModuleLoadDataEx(CUmodule *mod, const void *image, unsigned int n, CUjit_option *o,
                            void **v) {
    ENTER(true);
    char err[1024];
    int too_new = 0;
    if (!mod || !image)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = drv_no_capture();
    if (r)
        return r;
    const unsigned char *p = image;
    if (p[0] && p[1] && p[2] && is_binary(p))
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (!strcmp(sim_opt.fault_kind, "module")) /* a driver that does not know this PTX */
        return (CUresult)sim_opt.fault_at;
    sim_module *m = sim_module_load(image, err, sizeof err, &too_new);
    if (!m) {
        if (!too_new)
            sim_complain("%s", err);
        snprintf(sim_last_msg, sizeof sim_last_msg, "%s", err);
        jit_log(err, n, o, v);
        return too_new ? CUDA_ERROR_NO_BINARY_FOR_GPU : CUDA_ERROR_INVALID_PTX;
    }
    struct CUmod_st *h = calloc(1, sizeof *h);
    if (!h) {
        sim_module_free(m);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    h->magic = MAGIC_MODULE;
    h->m = m;
    h->next = modules;
    modules = h;
    *mod = h;
    return CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule *mod, const void *image) {
    return cuModuleLoadDataEx(mod, image, 0, NULL, NULL);
}
CUresult cuModuleLoadFatBinary(CUmodule *mod, const void *image) {
    (void)mod, (void)image;
    ENTER(true);
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}
CUresult cuModuleLoad(CUmodule *mod, const char *path) {
    ENTER(true);
    FILE *f = path ? fopen(path, "rb") : NULL;
    if (!f)
        return CUDA_ERROR_FILE_NOT_FOUND;
    char *text = NULL;
    size_t n = 0, cap = 0;
    for (size_t got = 1; got;) {
        if (cap - n < 65536) {
            cap = cap * 2 + 131072;
            char *t = realloc(text, cap);
            if (!t) {
                free(text);
                fclose(f);
                return CUDA_ERROR_OUT_OF_MEMORY;
            }
            text = t;
        }
        got = fread(text + n, 1, cap - n - 1, f);
        n += got;
    }
    fclose(f);
    text[n] = 0;
    CUresult r = cuModuleLoadData(mod, text);
    free(text);
    return r;
}
CUresult cuModuleUnload(CUmodule h) {
    ENTER(true);
    for (struct CUmod_st **q = &modules; *q; q = &(*q)->next)
        if (*q == h) {
            *q = h->next;
            sim_module_free(h->m);
            h->magic = 0;
            free(h);
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_HANDLE;
}
void drv_module_drop_all(void) {
    while (modules) {
        struct CUmod_st *h = modules;
        modules = h->next;
        sim_module_free(h->m);
        free(h);
    }
}

static bool is_module(const struct CUmod_st *h) {
    for (const struct CUmod_st *m = modules; m; m = m->next)
        if (m == h)
            return true;
    return false;
}

/* Drivers load kernels when they are first asked for (CUDA_MODULE_LOADING=LAZY is their default): that may allocate and wait, which
 * a capture in the global mode forbids. */
static CUresult load(sim_program *p) {
    CUresult r = p->loaded ? CUDA_SUCCESS : drv_no_capture();
    p->loaded = p->loaded || r == CUDA_SUCCESS;
    return r;
}

CUresult cuModuleGetFunction(CUfunction *f, CUmodule h, const char *name) {
    ENTER(true);
    if (!f || !name)
        return CUDA_ERROR_INVALID_VALUE;
    if (!is_module(h))
        return CUDA_ERROR_INVALID_HANDLE;
    for (int i = 0; i < h->m->nprog; i++)
        if (!strcmp(h->m->prog[i]->name, name)) {
            CUresult r = load(h->m->prog[i]);
            if (r == CUDA_SUCCESS)
                *f = (CUfunction)(void *)h->m->prog[i];
            return r;
        }
    return CUDA_ERROR_NOT_FOUND;
}
CUresult cuModuleGetFunctionCount(unsigned int *n, CUmodule h) {
    ENTER(true);
    if (!n || !is_module(h))
        return CUDA_ERROR_INVALID_VALUE;
    *n = (unsigned)h->m->nprog;
    return CUDA_SUCCESS;
}
CUresult cuModuleEnumerateFunctions(CUfunction *f, unsigned int n, CUmodule h) {
    ENTER(true);
    if (!f || !is_module(h))
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < n && (int)i < h->m->nprog; i++)
        f[i] = (CUfunction)(void *)h->m->prog[i];
    return CUDA_SUCCESS;
}
CUresult cuModuleGetGlobal(CUdeviceptr *p, size_t *n, CUmodule h, const char *name) {
    ENTER(true);
    if (!name || !is_module(h))
        return CUDA_ERROR_INVALID_VALUE;
    for (ptx_var *v = h->m->ptx->vars; v; v = v->next)
        if ((v->space == SP_GLOBAL || v->space == SP_CONST) && !strcmp(v->name, name)) {
            if (p)
                *p = v->addr;
            if (n)
                *n = v->size;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

/* ---- functions ---- */

static sim_program *program(CUfunction f) {
    for (const struct CUmod_st *m = modules; m; m = m->next)
        for (int i = 0; i < m->m->nprog; i++)
            if ((void *)m->m->prog[i] == (void *)f)
                return m->m->prog[i];
    return NULL;
}

static int max_threads(const sim_program *p) {
    const ptx_func *e = p->entry;
    long n = e->maxntid[0]   ? (long)e->maxntid[0] * e->maxntid[1] * e->maxntid[2]
             : e->reqntid[0] ? (long)e->reqntid[0] * e->reqntid[1] * e->reqntid[2]
                             : 1024;
    int by_regs = 65536 / ((p->nregs * 32 + 255) & ~255) * 32;
    n = n < by_regs ? n : by_regs;
    return n < 1024 ? (int)n : 1024;
}

CUresult cuFuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f) {
    ENTER(true);
    sim_program *p = program(f);
    if (!p || !v)
        return p ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    switch (a) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *v = max_threads(p);
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *v = (int)p->static_shared;
        break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *v = 0;
        break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *v = (int)p->local_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *v = p->nregs;
        break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *v = p->mod->ptx->target;
        break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *v = sim_opt.cc;
        break;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
        *v = 0;
        break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *v = p->max_dyn_shared ? p->max_dyn_shared : 48 * 1024 - (int)p->static_shared;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *v = p->carveout;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction f, CUfunction_attribute a, int v) {
    ENTER(true);
    sim_program *p = program(f);
    if (!p)
        return CUDA_ERROR_INVALID_HANDLE;
    if (a == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
        if (v < 0 || (uint32_t)v + p->static_shared > sim_max_shared())
            return CUDA_ERROR_INVALID_VALUE;
        p->max_dyn_shared = v;
    } else if (a == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) {
        if (v < -1 || v > 100)
            return CUDA_ERROR_INVALID_VALUE;
        p->carveout = v;
    } else {
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}
CUresult cuFuncLoad(CUfunction f) {
    ENTER(true);
    sim_program *p = program(f);
    return p ? load(p) : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction f) {
    ENTER(true);
    const sim_program *p = program(f);
    if (!p || !state)
        return p ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    *state = p->loaded ? CU_FUNCTION_LOADING_STATE_LOADED : CU_FUNCTION_LOADING_STATE_UNLOADED;
    return CUDA_SUCCESS;
}
CUresult cuFuncSetCacheConfig(CUfunction f, CUfunc_cache c) {
    ENTER(true);
    (void)c;
    return program(f) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuFuncGetName(const char **name, CUfunction f) {
    ENTER(true);
    sim_program *p = program(f);
    if (!p || !name)
        return CUDA_ERROR_INVALID_HANDLE;
    *name = p->name;
    return CUDA_SUCCESS;
}
CUresult cuFuncGetParamInfo(CUfunction f, size_t i, size_t *off, size_t *size) {
    ENTER(true);
    sim_program *p = program(f);
    if (!p)
        return CUDA_ERROR_INVALID_HANDLE;
    for (const ptx_var *v = p->entry->params; v; v = v->next)
        if (i-- == 0) {
            if (off)
                *off = v->addr;
            if (size)
                *size = v->size;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_VALUE;
}

static uint32_t dynamic_limit(const sim_program *p) {
    return p->max_dyn_shared              ? (uint32_t)p->max_dyn_shared
           : p->static_shared < 48 * 1024 ? 48 * 1024 - p->static_shared
                                          : 0;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int threads,
                                                     size_t dyn) {
    ENTER(true);
    sim_program *p = program(f);
    if (!p || !n || threads <= 0)
        return p ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    *n = dyn > dynamic_limit(p) || threads > max_threads(p)
             ? 0
             : sim_occupancy(p, threads, (uint32_t)dyn);
    return CUDA_SUCCESS;
}
CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, CUfunction f, int threads,
                                                              size_t dyn, unsigned int flags) {
    (void)flags;
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(n, f, threads, dyn);
}
CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction f,
                                          CUoccupancyB2DSize size, size_t dyn, int limit) {
    ENTER(true);
    sim_program *p = program(f);
    if (!p || !grid || !block)
        return CUDA_ERROR_INVALID_VALUE;
    int best = 0;
    int top = limit > 0 && limit < max_threads(p) ? limit : max_threads(p);
    for (int t = 32; t <= top; t += 32) {
        int n = sim_occupancy(p, t, (uint32_t)(size ? size(t) : dyn));
        if (n * t >= best) {
            best = n * t;
            *block = t;
            *grid = n * sim_opt.sms;
        }
    }
    return best ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- launches ---- */

CUresult drv_launch(const sim_node *n) {
    if (!program((CUfunction)(void *)n->prog))
        return CUDA_ERROR_INVALID_HANDLE; /* its module was unloaded since it was captured */
    if (sim_opt.strict && !sim_mem_records())
        return CUDA_ERROR_OUT_OF_MEMORY;
    sim_launch *l = calloc(1, sizeof *l);
    if (!l)
        return CUDA_ERROR_OUT_OF_MEMORY;
    l->prog = n->prog;
    memcpy(l->grid, n->grid, sizeof l->grid);
    memcpy(l->block, n->block, sizeof l->block);
    l->dyn_shared = n->dyn;
    l->cooperative = n->cooperative;
    l->strict = sim_opt.strict != 0;
    memcpy(l->params, n->params, sizeof l->params);
    if (l->cooperative) {
        l->grid_ws = sim_mem_alloc(1024, true);
        if (l->grid_ws) {
            memset(sim_host(l->grid_ws), 0, 1024);
            sim_mem_mark(l->grid_ws, 1024, 1);
        }
    }
    int e = sim_run(l);
    if (l->grid_ws)
        sim_mem_free(l->grid_ws);
    free(l);
    if (e)
        drv_sticky = (CUresult)e;
    return (CUresult)e;
}

static CUresult refuse(const sim_program *p, CUresult e, const char *fmt, unsigned long long a,
                       unsigned long long b) {
    char what[200];
    snprintf(what, sizeof what, fmt, a, b);
    snprintf(sim_last_msg, sizeof sim_last_msg, "kernel %s: %s", p->name, what);
    sim_complain("%s", sim_last_msg);
    return e;
}

static CUresult check_limits(const sim_node *n) {
    const sim_program *p = n->prog;
    uint64_t threads = (uint64_t)n->block[0] * n->block[1] * n->block[2];
    const int *req = p->entry->reqntid;
    for (int i = 0; i < 3; i++)
        if (!n->grid[i] || !n->block[i] || n->grid[i] > (i ? 65535u : 2147483647u) ||
            n->block[i] > (i == 2 ? 64u : 1024u))
            return refuse(p, CUDA_ERROR_INVALID_VALUE,
                          "grid or block dimension %llu is out of range (%llu)", (unsigned)i,
                          i < 3 ? n->grid[i] : 0);
    if (threads > 1024)
        return refuse(p, CUDA_ERROR_INVALID_VALUE, "%llu threads in a block, at most %llu", threads,
                      1024);
    if (threads > (uint64_t)max_threads(p))
        return refuse(p, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "%llu threads in a block, the kernel takes %llu", threads,
                      (unsigned long long)max_threads(p));
    if (req[0] && (n->block[0] != (unsigned)req[0] || n->block[1] != (unsigned)req[1] ||
                   n->block[2] != (unsigned)req[2]))
        return refuse(p, CUDA_ERROR_INVALID_VALUE,
                      "block of %llu threads, .reqntid says otherwise (%llu)", threads,
                      (unsigned long long)req[0]);
    if (n->dyn > dynamic_limit(p))
        return refuse(p, CUDA_ERROR_INVALID_VALUE,
                      "%llu bytes of dynamic shared memory, the function's limit is %llu", n->dyn,
                      dynamic_limit(p));
    int occ = sim_occupancy(p, (int)threads, n->dyn);
    if (occ < 1)
        return refuse(p, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                      "no SM can hold one block (%llu threads, %llu bytes)", threads,
                      n->dyn + p->static_shared);
    uint64_t ctas = (uint64_t)n->grid[0] * n->grid[1] * n->grid[2];
    if (n->cooperative && ctas > (uint64_t)occ * (uint64_t)sim_opt.sms)
        return refuse(p, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
                      "cooperative grid of %llu blocks, %llu fit", ctas,
                      (unsigned long long)occ * (unsigned long long)sim_opt.sms);
    return CUDA_SUCCESS;
}

static CUresult gather(sim_node *n, void **params, void **extra) {
    const ptx_func *e = n->prog->entry;
    if (params) {
        int i = 0;
        for (const ptx_var *v = e->params; v; v = v->next, i++) {
            if (!params[i])
                return CUDA_ERROR_INVALID_VALUE;
            memcpy(n->params + v->addr, params[i], v->size);
        }
        return CUDA_SUCCESS;
    }
    if (!extra)
        return e->params ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    const void *buf = NULL;
    size_t size = 0;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buf = extra[1];
        else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
            size = *(size_t *)extra[1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (size < e->param_bytes || size > sizeof n->params || !buf)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(n->params, buf, size);
    return CUDA_SUCCESS;
}

static CUresult launch(CUfunction f, const unsigned *dim, unsigned dyn, CUstream s, void **params,
                       void **extra, bool cooperative) {
    ENTER(true);
    sim_node n = {.kind = NODE_KERNEL, .prog = program(f), .dyn = dyn, .cooperative = cooperative};
    if (!n.prog)
        return CUDA_ERROR_INVALID_HANDLE;
    memcpy(n.grid, dim, sizeof n.grid);
    memcpy(n.block, dim + 3, sizeof n.block);
    CUresult r = check_limits(&n);
    if (!r)
        r = load(program(f));
    if (!r)
        r = gather(&n, params, extra);
    if (!r && drv_fault("launch"))
        r = CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    return r ? r : drv_submit(s, &n);
}

CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                        unsigned int bx, unsigned int by, unsigned int bz, unsigned int dyn,
                        CUstream s, void **params, void **extra) {
    const unsigned dim[6] = {gx, gy, gz, bx, by, bz};
    return launch(f, dim, dyn, s, params, extra, false);
}
CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                                   unsigned int bx, unsigned int by, unsigned int bz,
                                   unsigned int dyn, CUstream s, void **params) {
    const unsigned dim[6] = {gx, gy, gz, bx, by, bz};
    return launch(f, dim, dyn, s, params, NULL, true);
}
CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **params, void **extra) {
    ENTER(true);
    bool coop = false;
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < c->numAttrs; i++) {
        const CUlaunchAttribute *a = &c->attrs[i];
        if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE)
            coop = a->value.cooperative != 0;
        else if (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION &&
                 (a->value.clusterDim.x > 1 || a->value.clusterDim.y > 1 ||
                  a->value.clusterDim.z > 1))
            return CUDA_ERROR_NOT_SUPPORTED;
    }
    const unsigned dim[6] = {c->gridDimX,  c->gridDimY,  c->gridDimZ,
                             c->blockDimX, c->blockDimY, c->blockDimZ};
    return launch(f, dim, c->sharedMemBytes, c->hStream, params, extra, coop);
}

/* ---- symbols by name ---- */

void *drv_symbol(const char *name, int version);
void *drv_symbol(const char *name, int version) {
    static const char *const suffix[] = {"_v4", "_v3", "_v2", ""};
    Dl_info info;
    (void)version;
    if (!dladdr((void *)(uintptr_t)&drv_symbol, &info))
        return NULL;
    void *self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    void *p = NULL;
    if (!strcmp(name, "cuCtxCreate") && version < 13000)
        name = "cuCtxCreate_v2";
    if (!strcmp(name, "cuGraphInstantiate"))
        name = version >= 12000 ? "cuGraphInstantiateWithFlags" : "cuGraphInstantiate_v2";
    for (int i = 0; self && !p && i < 4; i++) {
        char full[160];
        snprintf(full, sizeof full, "%s%s", name, suffix[i]);
        p = dlsym(self, full);
    }
    if (self)
        dlclose(self);
    return p;
}
#undef cuGetProcAddress
CUresult SIM_API cuGetProcAddress(const char *name, void **fn, int version, cuuint64_t flags);
CUresult SIM_API cuGetProcAddress(const char *name, void **fn, int version, cuuint64_t flags) {
    return cuGetProcAddress_v2(name, fn, version, flags, NULL);
}
