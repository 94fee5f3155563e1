/* Allocation and copies. A copy checks that its device range lies in one live allocation. */
#include "driver.h"

#include "cuda_sim.h"

#include <stdlib.h>
#include <string.h>

typedef struct host_block {
    struct host_block *next;
    void *p;
    size_t n;
    bool registered;
} host_block;
static host_block *host_list;

void drv_host_reset(void) {
    while (host_list) {
        host_block *b = host_list;
        host_list = b->next;
        if (!b->registered)
            free(b->p);
        free(b);
    }
}

CUresult cuMemAlloc(CUdeviceptr *p, size_t n) {
    ENTER(true);
    CUresult r = drv_no_capture();
    if (r)
        return r;
    if (!p || !n)
        return CUDA_ERROR_INVALID_VALUE;
    if (drv_fault("alloc"))
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t a = sim_mem_alloc(n, false);
    if (!a)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *p = a;
    return CUDA_SUCCESS;
}

CUresult cuMemFree(CUdeviceptr p) {
    ENTER(true);
    CUresult r = drv_no_capture();
    if (r || !p)
        return r;
    if (sim_mem_free(p))
        return CUDA_SUCCESS;
    sim_complain("cuMemFree(0x%llx): not the start of a live allocation", (unsigned long long)p);
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemAllocAsync(CUdeviceptr *p, size_t n, CUstream s) {
    struct CUstream_st *st;
    CUresult r = drv_stream(s, &st);
    if (r)
        return r;
    if (drv_capturing(st))
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return cuMemAlloc(p, n);
}
CUresult cuMemFreeAsync(CUdeviceptr p, CUstream s) {
    struct CUstream_st *st;
    CUresult r = drv_stream(s, &st);
    if (r)
        return r;
    if (drv_capturing(st))
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return cuMemFree(p);
}

CUresult cuMemGetInfo(size_t *free_, size_t *total) {
    ENTER(true);
    if (free_)
        *free_ = sim_mem.limit - sim_mem.used;
    if (total)
        *total = sim_mem.limit;
    return CUDA_SUCCESS;
}

CUresult cuMemGetAddressRange(CUdeviceptr *base, size_t *n, CUdeviceptr p) {
    ENTER(true);
    const sim_alloc *a = sim_mem_find(p, 1, NULL, 0);
    if (!a)
        return CUDA_ERROR_NOT_FOUND;
    if (base)
        *base = a->lo;
    if (n)
        *n = a->size;
    return CUDA_SUCCESS;
}

/* ---- host memory ---- */

static CUresult host_add(void *p, size_t n, bool registered) {
    host_block *b = calloc(1, sizeof *b);
    if (!b)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *b = (host_block){.next = host_list, .p = p, .n = n, .registered = registered};
    host_list = b;
    return CUDA_SUCCESS;
}
static CUresult host_remove(void *p, bool registered) {
    for (host_block **q = &host_list; *q; q = &(*q)->next)
        if ((*q)->p == p && (*q)->registered == registered) {
            host_block *b = *q;
            *q = b->next;
            if (!registered)
                free(b->p);
            free(b);
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemHostAlloc(void **p, size_t n, unsigned int flags) {
    ENTER(true);
    (void)flags;
    if (!p || !n)
        return CUDA_ERROR_INVALID_VALUE;
    if (drv_fault("alloc"))
        return CUDA_ERROR_OUT_OF_MEMORY;
    void *q = n > SIZE_MAX - 4096 ? NULL : aligned_alloc(4096, (n + 4095) & ~(size_t)4095);
    if (!q)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (host_add(q, n, false)) {
        free(q);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *p = q;
    return CUDA_SUCCESS;
}
CUresult cuMemAllocHost(void **p, size_t n) {
    return cuMemHostAlloc(p, n, 0);
}
CUresult cuMemFreeHost(void *p) {
    ENTER(true);
    return p ? host_remove(p, false) : CUDA_SUCCESS;
}
CUresult cuMemHostRegister(void *p, size_t n, unsigned int flags) {
    ENTER(true);
    (void)flags;
    return p && n ? host_add(p, n, true) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuMemHostUnregister(void *p) {
    ENTER(true);
    return host_remove(p, true);
}

CUresult cuPointerGetAttribute(void *out, CUpointer_attribute at, CUdeviceptr p) {
    ENTER(true);
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    const sim_alloc *a = sim_mem_find(p, 1, NULL, 0);
    const host_block *h = host_list;
    while (h && (p < (uintptr_t)h->p || p >= (uintptr_t)h->p + h->n))
        h = h->next;
    if (!a && !h)
        return CUDA_ERROR_INVALID_VALUE;
    switch (at) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)out = a ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)out = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned *)out = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(uint64_t *)out = a ? a->lo : (uintptr_t)h->p;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)out = a ? a->size : h->n;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        if (!a)
            return CUDA_ERROR_INVALID_VALUE;
        *(uint64_t *)out = p;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        return cuCtxGetCurrent(out);
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

/* ---- copies ---- */

static CUresult range(uint64_t p, size_t n, const char *what) {
    char why[160];
    if (sim_mem_find(p, n, why, sizeof why))
        return CUDA_SUCCESS;
    sim_complain("%s of %zu bytes at 0x%llx: %s", what, n, (unsigned long long)p, why);
    return CUDA_ERROR_INVALID_VALUE;
}

SIM_API void *cuda_sim_range(CUdeviceptr p, size_t n, int access) {
    if (range(p, n, "library access"))
        return NULL;
    uint8_t *v = sim_mem.valid + (p - SIM_DEV_BASE);
    if ((access & 1) && sim_opt.strict) {
        const uint8_t *bad = memchr(v, 0, n);
        if (bad) {
            sim_complain("library read of uninitialised device memory at 0x%llx",
                         (unsigned long long)(p + (uint64_t)(bad - v)));
            return NULL;
        }
    }
    if (access & 2)
        memset(v, 1, n);
    return sim_host(p);
}

/* Checks the ranges when called, as a driver does; how: 0 HtoD, 1 DtoH, 2 DtoD. */
static CUresult check_copy(const sim_node *n) {
    CUresult r = CUDA_SUCCESS;
    if ((n->how == 0 && !n->src) || (n->how == 1 && !n->dst))
        return CUDA_ERROR_INVALID_VALUE;
    if (n->how != 1)
        r = range(n->d, n->n, "copy to device memory");
    if (!r && n->how != 0)
        r = range(n->s, n->n, "copy from device memory");
    return r;
}

CUresult drv_copy(const sim_node *n) {
    CUresult r = check_copy(n);
    if (r)
        return r;
    if (n->how == 0) {
        memcpy(sim_host(n->d), n->src, n->n);
        sim_mem_mark(n->d, n->n, 1);
    } else if (n->how == 1) {
        memcpy(n->dst, sim_host(n->s), n->n);
    } else {
        memmove(sim_host(n->d), sim_host(n->s), n->n);
        memmove(sim_mem.valid + (n->d - SIM_DEV_BASE), sim_mem.valid + (n->s - SIM_DEV_BASE), n->n);
    }
    return CUDA_SUCCESS;
}

CUresult drv_set(const sim_node *n) {
    CUresult r = range(n->d, n->n * (size_t)n->how, "memset");
    if (r)
        return r;
    if (n->d % (unsigned)n->how)
        return CUDA_ERROR_INVALID_VALUE;
    uint8_t *p = sim_host(n->d);
    for (size_t i = 0; i < n->n; i++)
        memcpy(p + i * (size_t)n->how, &n->value, (size_t)n->how);
    sim_mem_mark(n->d, n->n * (size_t)n->how, 1);
    return CUDA_SUCCESS;
}

static CUresult copy(sim_node *n, CUstream s, bool async) {
    ENTER(true);
    n->kind = NODE_COPY;
    if (!n->n)
        return CUDA_SUCCESS;
    CUresult r = async ? CUDA_SUCCESS : drv_no_capture();
    if (!r && drv_fault("copy"))
        return CUDA_ERROR_UNKNOWN;
    if (!r)
        r = check_copy(n);
    return r ? r : drv_submit(s, n);
}

CUresult cuMemcpyHtoD(CUdeviceptr d, const void *s, size_t n) {
    sim_node k = {.d = d, .src = s, .n = n, .how = 0};
    return copy(&k, NULL, false);
}
CUresult cuMemcpyDtoH(void *d, CUdeviceptr s, size_t n) {
    sim_node k = {.dst = d, .s = s, .n = n, .how = 1};
    return copy(&k, NULL, false);
}
CUresult cuMemcpyDtoD(CUdeviceptr d, CUdeviceptr s, size_t n) {
    sim_node k = {.d = d, .s = s, .n = n, .how = 2};
    return copy(&k, NULL, false);
}
CUresult cuMemcpyHtoDAsync(CUdeviceptr d, const void *s, size_t n, CUstream st) {
    sim_node k = {.d = d, .src = s, .n = n, .how = 0};
    return copy(&k, st, true);
}
CUresult cuMemcpyDtoHAsync(void *d, CUdeviceptr s, size_t n, CUstream st) {
    sim_node k = {.dst = d, .s = s, .n = n, .how = 1};
    return copy(&k, st, true);
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream st) {
    sim_node k = {.d = d, .s = s, .n = n, .how = 2};
    return copy(&k, st, true);
}

static bool on_device(CUdeviceptr p) {
    return p >= SIM_DEV_BASE && p < SIM_DEV_BASE + sim_mem.arena_size;
}
static CUresult copy_any(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream st, bool async) {
    sim_node k = {.n = n};
    if (!on_device(d) && !on_device(s))
        return CUDA_ERROR_INVALID_VALUE;
    k.how = on_device(d) ? (on_device(s) ? 2 : 0) : 1;
    k.d = d, k.s = s;
    k.src = (const void *)(uintptr_t)s;
    k.dst = (void *)(uintptr_t)d;
    return copy(&k, st, async);
}
CUresult cuMemcpy(CUdeviceptr d, CUdeviceptr s, size_t n) {
    return copy_any(d, s, n, NULL, false);
}
CUresult cuMemcpyAsync(CUdeviceptr d, CUdeviceptr s, size_t n, CUstream st) {
    return copy_any(d, s, n, st, true);
}

static CUresult set(CUdeviceptr d, uint32_t v, size_t n, int bytes, CUstream st, bool async) {
    ENTER(true);
    sim_node k = {.kind = NODE_SET, .d = d, .value = v, .n = n, .how = bytes};
    if (!n)
        return CUDA_SUCCESS;
    CUresult r = async ? CUDA_SUCCESS : drv_no_capture();
    if (!r && n > SIZE_MAX / 4)
        return CUDA_ERROR_INVALID_VALUE;
    if (!r)
        r = range(d, n * (size_t)bytes, "memset");
    return r ? r : drv_submit(st, &k);
}
CUresult cuMemsetD8(CUdeviceptr d, unsigned char v, size_t n) {
    return set(d, v, n, 1, NULL, false);
}
CUresult cuMemsetD16(CUdeviceptr d, unsigned short v, size_t n) {
    return set(d, v, n, 2, NULL, false);
}
CUresult cuMemsetD32(CUdeviceptr d, unsigned int v, size_t n) {
    return set(d, v, n, 4, NULL, false);
}
CUresult cuMemsetD8Async(CUdeviceptr d, unsigned char v, size_t n, CUstream s) {
    return set(d, v, n, 1, s, true);
}
CUresult cuMemsetD16Async(CUdeviceptr d, unsigned short v, size_t n, CUstream s) {
    return set(d, v, n, 2, s, true);
}
CUresult cuMemsetD32Async(CUdeviceptr d, unsigned int v, size_t n, CUstream s) {
    return set(d, v, n, 4, s, true);
}
