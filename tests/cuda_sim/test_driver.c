/* The driver API around the interpreter, options, faults, and the cuBLAS stand-in. */
#include "rig.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 512 };

static CUfunction adder(CUmodule *m) {
    *m = rig_load("basic", 80);
    return rig_function(*m, "add");
}

Test(driver, symbols) {
    static const char *const names[] = {"cuInit",
                                        "cuDriverGetVersion",
                                        "cuDeviceGetCount",
                                        "cuDeviceGet",
                                        "cuDeviceGetName",
                                        "cuDeviceGetAttribute",
                                        "cuDeviceTotalMem_v2",
                                        "cuGetErrorName",
                                        "cuGetErrorString",
                                        "cuGetProcAddress",
                                        "cuGetProcAddress_v2",
                                        "cuDevicePrimaryCtxRetain",
                                        "cuDevicePrimaryCtxRelease_v2",
                                        "cuDevicePrimaryCtxReset_v2",
                                        "cuCtxSetCurrent",
                                        "cuCtxGetCurrent",
                                        "cuCtxPushCurrent_v2",
                                        "cuCtxPopCurrent_v2",
                                        "cuCtxSynchronize",
                                        "cuCtxGetDevice",
                                        "cuModuleLoadData",
                                        "cuModuleLoadDataEx",
                                        "cuModuleUnload",
                                        "cuModuleGetFunction",
                                        "cuModuleGetGlobal_v2",
                                        "cuFuncSetAttribute",
                                        "cuFuncLoad",
                                        "cuFuncGetAttribute",
                                        "cuOccupancyMaxActiveBlocksPerMultiprocessor",
                                        "cuMemAlloc_v2",
                                        "cuMemFree_v2",
                                        "cuMemAllocHost_v2",
                                        "cuMemHostAlloc",
                                        "cuMemFreeHost",
                                        "cuMemGetInfo_v2",
                                        "cuMemAllocAsync",
                                        "cuMemFreeAsync",
                                        "cuPointerGetAttribute",
                                        "cuMemcpyHtoD_v2",
                                        "cuMemcpyDtoH_v2",
                                        "cuMemcpyDtoD_v2",
                                        "cuMemcpyHtoDAsync_v2",
                                        "cuMemcpyDtoHAsync_v2",
                                        "cuMemcpyDtoDAsync_v2",
                                        "cuMemsetD8_v2",
                                        "cuMemsetD32_v2",
                                        "cuMemsetD8Async",
                                        "cuMemsetD32Async",
                                        "cuStreamCreate",
                                        "cuStreamDestroy_v2",
                                        "cuStreamSynchronize",
                                        "cuStreamQuery",
                                        "cuStreamWaitEvent",
                                        "cuStreamBeginCapture_v2",
                                        "cuStreamEndCapture",
                                        "cuStreamIsCapturing",
                                        "cuGraphInstantiateWithFlags",
                                        "cuGraphLaunch",
                                        "cuGraphExecDestroy",
                                        "cuGraphDestroy",
                                        "cuEventCreate",
                                        "cuEventRecord",
                                        "cuEventSynchronize",
                                        "cuEventQuery",
                                        "cuEventElapsedTime",
                                        "cuEventElapsedTime_v2",
                                        "cuEventDestroy_v2",
                                        "cuLaunchKernel",
                                        "cuLaunchKernelEx",
                                        "cuLaunchCooperativeKernel"};
    void *h = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    cr_assert(h);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        cr_expect(dlsym(h, names[i]), "%s", names[i]);
    void *p = NULL;
    CUdriverProcAddressQueryResult st;
    OK(cuGetProcAddress("cuMemAlloc", &p, 12000, 0, &st));
    cr_assert(p == dlsym(h, "cuMemAlloc_v2"));
    cr_assert_eq(cuGetProcAddress("cuNoSuchThing", &p, 12000, 0, &st), CUDA_ERROR_NOT_FOUND);
}

Test(driver, needs_init_and_context) {
    CUdeviceptr p;
    int n;
    cr_assert_eq(cuDeviceGetCount(&n), CUDA_ERROR_NOT_INITIALIZED);
    OK(cuInit(0));
    OK(cuDeviceGetCount(&n));
    cr_assert_eq(n, 1);
    cr_assert_eq(cuMemAlloc(&p, 16), CUDA_ERROR_INVALID_CONTEXT);
    rig_start(86, 1);
    OK(cuDeviceGetAttribute(&n, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0));
    cr_assert_eq(n, 6);
    CUmodule m;
    /* a cubin, and PTX for a newer device */
    cr_assert_eq(cuModuleLoadData(&m, "\x7f"
                                      "ELF....."),
                 CUDA_ERROR_NO_BINARY_FOR_GPU);
    char *t = rig_text("basic", 90);
    cr_assert_eq(cuModuleLoadData(&m, t), CUDA_ERROR_NO_BINARY_FOR_GPU);
    free(t);
    cr_assert_eq(cuModuleLoadData(&m, "not ptx"), CUDA_ERROR_INVALID_PTX);
    m = rig_load("zoo", 80);
    size_t size;
    float v[4];
    OK(cuModuleGetGlobal(&p, &size, m, "gtable"));
    cr_assert_eq(size, 16);
    rig_download(v, p, 16);
    cr_assert_eq(v[3], 0.0625f);
    CUfunction f;
    cr_assert_eq(cuModuleGetFunction(&f, m, "nobody"), CUDA_ERROR_NOT_FOUND);
}

Test(driver, memory) {
    CUdeviceptr p, q;
    size_t free0, free1, total, n;
    CUdeviceptr base;
    unsigned type;
    char buf[64];
    cuda_sim_set("MEMORY", "1M");
    rig_start(80, 1);
    OK(cuMemGetInfo(&free0, &total));
    cr_assert_eq(total, 1u << 20);
    cr_assert_eq(cuMemAlloc(&p, (1u << 20) + 1), CUDA_ERROR_OUT_OF_MEMORY);
    for (int k = 0; k < 64; k++) { /* addresses come back when the arena is used up */
        OK(cuMemAlloc(&p, 1000000));
        cr_assert_eq(cuMemAlloc(&q, 100000), CUDA_ERROR_OUT_OF_MEMORY);
        OK(cuMemFree(p));
    }
    cr_assert_eq(cuMemFree(p), CUDA_ERROR_INVALID_VALUE);
    OK(cuMemAlloc(&p, 100));
    OK(cuMemGetInfo(&free1, &total));
    cr_assert_eq(free1, free0 - 100);
    cr_assert_eq(p % 256, 0);
    OK(cuMemGetAddressRange(&base, &n, p + 40));
    cr_assert(base == p && n == 100);
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, p + 99));
    cr_assert_eq(type, CU_MEMORYTYPE_DEVICE);
    cr_assert_eq(
        cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)buf),
        CUDA_ERROR_INVALID_VALUE);
    cr_assert_eq(cuMemcpyHtoD(p + 50, buf, 51), CUDA_ERROR_INVALID_VALUE);
    cr_assert_eq(cuMemcpyDtoH(buf, p - 1, 4), CUDA_ERROR_INVALID_VALUE);
    cr_assert_eq(cuMemsetD32(p, 0, 26), CUDA_ERROR_INVALID_VALUE);
    OK(cuMemsetD16(p, 0xabcd, 50));
    OK(cuMemcpyDtoH(buf, p + 10, 2));
    cr_assert_eq((unsigned char)buf[0], 0xcd);
    void *host;
    OK(cuMemAllocHost(&host, 4096));
    OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                             (CUdeviceptr)(uintptr_t)host));
    cr_assert_eq(type, CU_MEMORYTYPE_HOST);
    OK(cuMemFreeHost(host));
    cr_assert_eq(cuMemFreeHost(host), CUDA_ERROR_INVALID_VALUE);
}

Test(driver, capture_and_graph) {
    float a[N], b[N], o[N];
    CUmodule m;
    CUstream s;
    CUgraph g;
    CUgraphExec e;
    CUstreamCaptureStatus st;
    rig_start(80, 1);
    CUfunction f = adder(&m);
    for (int i = 0; i < N; i++)
        a[i] = (float)i, b[i] = 1.0f;
    CUdeviceptr da = rig_alloc(sizeof a), db = rig_upload(b, sizeof b), d = rig_alloc(sizeof o);
    OK(cuMemsetD32(d, 0, N));
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    int n = N;
    void *args[] = {&d, &da, &db, &n};
    OK(cuMemcpyHtoDAsync(da, a, sizeof a, s));
    OK(cuLaunchKernel(f, 4, 1, 1, 128, 1, 1, 0, s, args, NULL));
    OK(cuLaunchKernel(f, 4, 1, 1, 128, 1, 1, 0, s, args, NULL));
    n = 1; /* arguments are taken when captured */
    OK(cuMemcpyDtoHAsync(o, d, sizeof o, s));
    OK(cuStreamIsCapturing(s, &st));
    cr_assert_eq(st, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    CUdeviceptr x;
    cr_assert_eq(cuMemAlloc(&x, 16), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    OK(cuStreamEndCapture(s, &g));
    OK(cuMemcpyDtoH(o, d, sizeof o));
    cr_assert_eq(o[5], 0.0f, "nothing runs while captured");
    OK(cuGraphInstantiate(&e, g, 0));
    OK(cuGraphDestroy(g));
    for (int k = 0; k < 2; k++) {
        a[7] = (float)k + 100.0f;
        OK(cuGraphLaunch(e, s));
        OK(cuStreamSynchronize(s));
        cr_assert_eq(o[7], a[7] + 1.0f);
        cr_assert_eq(o[N - 1], (float)N);
    }
    OK(cuGraphExecDestroy(e));
    /* a synchronisation inside a capture spoils it */
    OK(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_RELAXED));
    cr_assert_eq(cuStreamSynchronize(s), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    cr_assert_eq(cuStreamEndCapture(s, &g), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    OK(cuStreamDestroy(s));
}

/* A kernel is loaded when it is first asked for, which a capture forbids; a loaded one may be asked for again. */
Test(driver, loading_inside_a_capture) {
    CUmodule m, other;
    CUstream s;
    CUgraph g;
    CUfunction f, again, all[64];
    CUfunctionLoadingState state;
    unsigned n;
    rig_start(80, 1);
    f = adder(&m);
    OK(cuModuleLoad(&other, SIM_PTX_DIR "/basic.80.ptx"));
    OK(cuModuleGetFunctionCount(&n, other));
    cr_assert(n > 0 && n <= 64);
    OK(cuModuleEnumerateFunctions(all, n, other));
    OK(cuFuncIsLoaded(&state, all[0]));
    cr_assert_eq(state, CU_FUNCTION_LOADING_STATE_UNLOADED);
    CUdeviceptr d = rig_alloc(4 * N);
    int count = N;
    void *args[] = {&d, &d, &d, &count};
    OK(cuMemsetD32(d, 0, N));
    OK(cuStreamCreate(&s, CU_STREAM_NON_BLOCKING));
    OK(cuStreamBeginCapture(s, CU_STREAM_CAPTURE_MODE_GLOBAL));
    const char *name;
    for (unsigned i = 0; i < n; i++) {
        OK(cuFuncGetName(&name, all[i]));
        cr_assert_eq(cuModuleGetFunction(&again, other, name), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        cr_assert_eq(cuFuncLoad(all[i]), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    OK(cuFuncGetName(&name, f));
    OK(cuModuleGetFunction(&again, m, name));
    OK(cuLaunchKernel(f, 4, 1, 1, 128, 1, 1, 0, s, args, NULL));
    OK(cuStreamEndCapture(s, &g));
    OK(cuGraphDestroy(g));
    OK(cuFuncLoad(all[0]));
    OK(cuFuncIsLoaded(&state, all[0]));
    cr_assert_eq(state, CU_FUNCTION_LOADING_STATE_LOADED);
    OK(cuStreamDestroy(s));
}

Test(driver, events_and_launch_forms) {
    float a[N] = {1}, o[N], ms;
    CUmodule m;
    CUevent e[2], never;
    int n = N;
    rig_start(80, 1);
    CUfunction f = adder(&m);
    CUdeviceptr da = rig_upload(a, sizeof a), d = rig_alloc(sizeof o);
    OK(cuEventCreate(&e[0], 0));
    OK(cuEventCreate(&e[1], 0));
    OK(cuEventCreate(&never, 0));
    OK(cuEventRecord(e[0], NULL));
    struct {
        CUdeviceptr o, a, b;
        int n;
    } packed = {d, da, da, N};
    size_t size = sizeof packed;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size,
                     CU_LAUNCH_PARAM_END};
    OK(cuLaunchKernel(f, 4, 1, 1, 128, 1, 1, 0, NULL, NULL, extra));
    OK(cuEventRecord(e[1], NULL));
    OK(cuEventSynchronize(e[1]));
    OK(cuEventElapsedTime(&ms, e[0], e[1]));
    cr_assert(ms > 0 && ms < 10000);
    cr_assert_neq(cuEventElapsedTime(&ms, e[0], never), CUDA_SUCCESS);
    rig_download(o, d, sizeof o);
    cr_assert_eq(o[0], 2.0f);
    CUlaunchAttribute at = {.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE, .value.cooperative = 1};
    CUlaunchConfig c = {.gridDimX = 4,
                        .gridDimY = 1,
                        .gridDimZ = 1,
                        .blockDimX = 128,
                        .blockDimY = 1,
                        .blockDimZ = 1,
                        .attrs = &at,
                        .numAttrs = 1};
    void *args[] = {&d, &da, &da, &n};
    OK(cuLaunchKernelEx(&c, f, args, NULL));
    c.gridDimX = 100000;
    cr_assert_eq(cuLaunchKernelEx(&c, f, args, NULL), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    int occ;
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&occ, f, 1024, 0));
    cr_assert_eq(occ, 2); /* 2048 threads an SM of sm_80 */
    OK(cuOccupancyMaxActiveBlocksPerMultiprocessor(&occ, f, 32, 40000));
    cr_assert_eq(occ, 4); /* 164 KiB over 40 000 + 1024 bytes */
    OK(cuEventDestroy(e[0]));
    OK(cuEventDestroy(e[1]));
    OK(cuEventDestroy(never));
    OK(cuModuleUnload(m));
    cr_assert_eq(rig_launch(f, 1, 32, 0, args), CUDA_ERROR_INVALID_HANDLE);
}

Test(driver, faults) {
    CUdeviceptr p;
    CUmodule m;
    char b[16] = {0};
    rig_start(80, 1);
    CUfunction f = adder(&m);
    CUdeviceptr d = rig_upload(b, 16);
    int n = 1;
    void *args[] = {&d, &d, &d, &n};
    cuda_sim_set("FAULT", "alloc:3");
    for (int i = 1; i <= 5; i++)
        cr_assert_eq(cuMemAlloc(&p, 16), i == 3 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS);
    cuda_sim_set("FAULT", "copy:2");
    for (int i = 1; i <= 4; i++)
        cr_assert_eq(cuMemcpyHtoD(d, b, 16) != CUDA_SUCCESS, i == 2);
    cuda_sim_set("FAULT", "launch:2");
    for (int i = 1; i <= 3; i++)
        cr_assert_eq(rig_launch(f, 1, 32, 0, args),
                     i == 2 ? CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES : CUDA_SUCCESS);
    cuda_sim_set("FAULT", "lost:3");
    for (int i = 1; i <= 5; i++)
        cr_assert_eq(cuCtxSynchronize(), i >= 3 ? CUDA_ERROR_DEVICE_UNAVAILABLE : CUDA_SUCCESS);
}

/* Plain mode spreads CTAs over threads: same bytes, same counters. */
Test(driver, threads_do_not_matter) {
    enum { M = 20000 };
    static float a[M], o[2][M];
    char json[2][4096];
    for (int i = 0; i < M; i++)
        a[i] = (float)(i % 777) * 0.01f;
    for (int k = 0; k < 2; k++) {
        rig_start(80, 0);
        cuda_sim_set("THREADS", k ? "4" : "1");
        CUfunction f = rig_function(rig_load("basic", 80), "slow_math");
        CUdeviceptr da = rig_upload(a, sizeof a), d = rig_alloc(sizeof a);
        int n = M;
        void *args[] = {&d, &da, &n};
        OK(rig_launch(f, (M + 127) / 128, 128, 0, args));
        rig_download(o[k], d, sizeof a);
        snprintf(json[k], sizeof json[k], "%s", cuda_sim_report());
        cuda_sim_reset();
    }
    cr_assert(!memcmp(o[0], o[1], sizeof o[0]));
    cr_assert_str_eq(json[0], json[1]);
}

typedef struct share {
    CUfunction f;
    CUcontext c;
    int bad;
} share;

static void *use_device(void *arg) {
    share *s = arg;
    s->bad = cuCtxSetCurrent(s->c) != CUDA_SUCCESS;
    for (int k = 0; k < 30; k++) {
        float a[64], o[64];
        CUdeviceptr d, e;
        int n = 64;
        for (int i = 0; i < 64; i++)
            a[i] = (float)(i * k);
        s->bad |=
            cuMemAlloc(&d, sizeof a) || cuMemAlloc(&e, sizeof a) || cuMemcpyHtoD(d, a, sizeof a);
        void *args[] = {&e, &d, &d, &n};
        s->bad |= cuLaunchKernel(s->f, 1, 1, 1, 64, 1, 1, 0, NULL, args, NULL) ||
                  cuMemcpyDtoH(o, e, sizeof o);
        for (int i = 0; i < 64; i++)
            s->bad |= o[i] < 2 * a[i] || o[i] > 2 * a[i];
        s->bad |= cuMemFree(d) || cuMemFree(e);
    }
    return NULL;
}

Test(driver, threads_of_the_caller) {
    pthread_t t[4];
    share s[4];
    CUmodule m;
    rig_start(80, 1);
    CUfunction f = adder(&m);
    for (int i = 0; i < 4; i++) {
        s[i] = (share){.f = f};
        OK(cuCtxGetCurrent(&s[i].c));
        cr_assert(!pthread_create(&t[i], NULL, use_device, &s[i]));
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        cr_assert(!s[i].bad);
    }
}

Test(driver, report_file) {
    char path[64], text[8192];
    snprintf(path, sizeof path, "report-%ld.json", (long)getpid());
    cuda_sim_set("REPORT", path);
    rig_start(80, 1);
    CUmodule m;
    CUfunction f = adder(&m);
    CUdeviceptr d = rig_alloc(256);
    OK(cuMemsetD8(d, 0, 256));
    int n = 32;
    void *args[] = {&d, &d, &d, &n};
    for (int k = 0; k < 3; k++)
        OK(rig_launch(f, 1, 32, 0, args));
    FILE *r = fopen(path, "r");
    cr_assert(r);
    size_t k = fread(text, 1, sizeof text - 1, r);
    text[k] = 0;
    fclose(r);
    remove(path);
    int found = 0;
    for (const char *p = text; (p = strstr(p, "\"kernel\": \"add\"")) != NULL; p++)
        found++;
    cr_assert_eq(found, 3, "%s", text);
    cr_assert(text[0] == '[' && text[k - 2] == ']');
}

/* ---- cuBLAS ---- */

extern int cublasCreate_v2(void **), cublasDestroy_v2(void *), cublasSetStream_v2(void *, CUstream);
extern int cublasSgemm_v2(void *, int, int, int, int, int, const float *, const float *, int,
                          const float *, int, const float *, float *, int);
extern int cublasGemmEx(void *, int, int, int, int, int, const void *, const void *, int, int,
                        const void *, int, int, const void *, void *, int, int, int, int);
extern int cublasSsyrk_v2(void *, int, int, int, int, const float *, const float *, int,
                          const float *, float *, int);
extern int cublasStrsm_v2(void *, int, int, int, int, int, int, const float *, const float *, int,
                          float *, int);
#define DEV(p) ((float *)(uintptr_t)(p))

Test(driver, cublas) {
    enum { M = 9, P = 7, K = 13, LD = 16 };
    float a[LD * LD], b[LD * LD], c[LD * LD], r[LD * LD], alpha = 1.5f, beta = -0.5f;
    uint64_t s = 1;
    void *h;
    rig_start(80, 1);
    for (int i = 0; i < LD * LD; i++) {
        a[i] = (float)(int)(rig_rand(&s) % 9) - 4.0f, b[i] = (float)(int)(rig_rand(&s) % 9) - 4.0f,
        c[i] = (float)(int)(rig_rand(&s) % 9);
    }
    CUdeviceptr da = rig_upload(a, sizeof a), db = rig_upload(b, sizeof b),
                dc = rig_alloc(sizeof c);
    cr_assert_eq(cublasCreate_v2(&h), 0);
    for (int ta = 0; ta < 2; ta++)
        for (int tb = 0; tb < 2; tb++) {
            OK(cuMemcpyHtoD(dc, c, sizeof c));
            cr_assert_eq(cublasSgemm_v2(h, ta, tb, M, P, K, &alpha, DEV(da), LD, DEV(db), LD, &beta,
                                        DEV(dc), LD),
                         0);
            rig_download(r, dc, sizeof r);
            for (int j = 0; j < P; j++)
                for (int i = 0; i < M; i++) {
                    float t = 0; /* small integers: exact */
                    for (int k = 0; k < K; k++)
                        t += (ta ? a[i * LD + k] : a[k * LD + i]) *
                             (tb ? b[k * LD + j] : b[j * LD + k]);
                    cr_assert_eq(r[j * LD + i], alpha * t + beta * c[j * LD + i]);
                }
        }
    OK(cuMemcpyHtoD(dc, c, sizeof c));
    cr_assert_eq(cublasSsyrk_v2(h, 0, 1, M, K, &alpha, DEV(da), LD, &beta, DEV(dc), LD), 0);
    rig_download(r, dc, sizeof r);
    for (int j = 0; j < M; j++)
        for (int i = 0; i < M; i++) {
            float t = 0;
            for (int k = 0; k < K; k++)
                t += a[i * LD + k] * a[j * LD + k];
            cr_assert_eq(r[j * LD + i], i >= j ? alpha * t + beta * c[j * LD + i] : c[j * LD + i]);
        }
    float l[LD * LD] = {0};
    for (int j = 0; j < M; j++)
        for (int i = 0; i < M; i++)
            l[j * LD + i] = i == j ? 3.0f + (float)i : 0.1f * a[j * LD + i];
    CUdeviceptr dl = rig_upload(l, sizeof l);
    for (int side = 0; side < 2; side++)
        for (int uplo = 0; uplo < 2; uplo++)
            for (int tr = 0; tr < 2; tr++) {
                OK(cuMemcpyHtoD(dc, c, sizeof c));
                cr_assert_eq(cublasStrsm_v2(h, side, uplo, tr, 0, side ? P : M, side ? M : P,
                                            &alpha, DEV(dl), LD, DEV(dc), LD),
                             0);
                rig_download(r, dc, sizeof r);
                for (int j = 0; j < (side ? M : P); j++)
                    for (int i = 0; i < (side ? P : M); i++) {
                        double t = 0;
                        for (int k = 0; k < M; k++) {
                            int x = side ? k : i, y = side ? j : k; /* op(A)[x][y] */
                            int row = tr ? y : x, col = tr ? x : y;
                            double v = (uplo == 0 ? row >= col : row <= col)
                                           ? (double)l[col * LD + row]
                                           : 0.0;
                            t += v * (double)(side ? r[k * LD + i] : r[j * LD + k]);
                        }
                        cr_assert(fabs(t - 1.5 * (double)c[j * LD + i]) < 1e-4,
                                  "side %d uplo %d trans %d", side, uplo, tr);
                    }
            }
    uint16_t ha[LD * LD], hb[LD * LD];
    for (int i = 0; i < LD * LD; i++)
        ha[i] = rig_half((double)a[i]), hb[i] = rig_half((double)b[i]);
    CUdeviceptr dha = rig_upload(ha, sizeof ha), dhb = rig_upload(hb, sizeof hb);
    float one = 1, zero = 0;
    CUdeviceptr fresh = rig_alloc(sizeof c); /* beta 0: C need not be initialised */
    cr_assert_eq(cublasGemmEx(h, 0, 0, M, P, K, &one, DEV(dha), 2, LD, DEV(dhb), 2, LD, &zero,
                              DEV(fresh), 0, LD, 68, -1),
                 0);
    rig_download(r, fresh, sizeof r);
    for (int j = 0; j < P; j++)
        for (int i = 0; i < M; i++) {
            float t = 0;
            for (int k = 0; k < K; k++)
                t += a[k * LD + i] * b[j * LD + k];
            cr_assert_eq(r[j * LD + i], t);
        }
    /* past the end of an allocation, and uninitialised input */
    cr_assert_neq(cublasSgemm_v2(h, 0, 0, M, P, K, &alpha, DEV(da + 400), LD, DEV(db), LD, &beta,
                                 DEV(dc), LD),
                  0);
    CUdeviceptr junk = rig_alloc(sizeof c);
    cr_assert_neq(
        cublasSgemm_v2(h, 0, 0, M, P, K, &alpha, DEV(junk), LD, DEV(db), LD, &beta, DEV(dc), LD),
        0);
    /* inside a capture it becomes a node */
    CUstream st;
    CUgraph g;
    CUgraphExec e;
    OK(cuMemcpyHtoD(dc, c, sizeof c));
    OK(cuStreamCreate(&st, CU_STREAM_NON_BLOCKING));
    cublasSetStream_v2(h, st);
    OK(cuStreamBeginCapture(st, CU_STREAM_CAPTURE_MODE_RELAXED));
    cr_assert_eq(
        cublasSgemm_v2(h, 0, 0, M, P, K, &alpha, DEV(da), LD, DEV(db), LD, &beta, DEV(dc), LD), 0);
    OK(cuStreamEndCapture(st, &g));
    rig_download(r, dc, sizeof r);
    cr_assert_eq(r[0], c[0]);
    OK(cuGraphInstantiate(&e, g, 0));
    OK(cuGraphLaunch(e, st));
    rig_download(r, dc, sizeof r);
    cr_assert_neq(r[0], c[0]);
    OK(cuGraphExecDestroy(e));
    OK(cuGraphDestroy(g));
    OK(cuStreamDestroy(st));
    cr_assert_eq(cublasDestroy_v2(h), 0);
}
