/* Speed of the simulator: warp-instructions a second on one host thread, checks plain and strict.
 * Each kernel is hand-written PTX so that its mix is known: a loop of integer code, of packed f16
 * code, of both with shared and global memory, and the split-K GEMM of the rig (given as a PTX
 * file).
 *
 *   bench_cuda_sim [gemm.ptx]
 *
 * Prints one line a kernel: name, mode, warp-instructions, processor seconds (best of five),
 * millions a second. */
#define _POSIX_C_SOURCE 200809L
#include "cuda_sim.h"

#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void ok(CUresult r, const char *what) {
    if (r) {
        fprintf(stderr, "%s: error %d %s\n", what, (int)r, cuda_sim_finding());
        exit(1);
    }
}

static const char *const head =
    ".version 8.5\n.target sm_80\n.address_size 64\n"
    ".visible .entry k(.param .u64 out, .param .u64 in, .param .u32 n)\n{\n"
    ".reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<40>; .reg .b64 %rd<12>; .reg .f32 %f<8>;\n"
    ".shared .align 16 .b8 s[8192];\n"
    "ld.param.u64 %rd1,[out]; ld.param.u64 %rd2,[in]; ld.param.u32 %r1,[n];\n"
    "cvta.to.global.u64 %rd1,%rd1; cvta.to.global.u64 %rd2,%rd2;\n"
    "mov.u32 %r2,%tid.x; mov.u32 %r3,%ctaid.x; mad.lo.s32 %r4,%r3,256,%r2;\n"
    "mul.wide.u32 %rd3,%r4,4; add.s64 %rd4,%rd1,%rd3; add.s64 %rd5,%rd2,%rd3;\n"
    "ld.global.u32 %r5,[%rd5]; mov.u32 %r6,%r5; mov.u32 %r7,0x3c003c00; mov.u32 %r8,0; mov.u32 "
    "%r9,17;\n"
    "shl.b32 %r20,%r2,2; mov.u32 %r21,s; add.s32 %r20,%r20,%r21; st.shared.u32 [%r20],%r5;\nL:\n";
static const char *const tail = "add.s32 %r8,%r8,1; setp.lt.s32 %p1,%r8,%r1; @%p1 bra L;\n"
                                "st.global.u32 [%rd4],%r6;\nret;\n}\n";
static const struct {
    const char *name, *body;
} loops[] = {
    {"integer", "mad.lo.s32 %r10,%r6,%r9,%r8; xor.b32 %r11,%r10,%r6; shr.u32 %r12,%r11,3; add.s32 "
                "%r6,%r12,%r10;\n"
                "lop3.b32 %r13,%r6,%r10,%r11,0xea; and.b32 %r14,%r13,0xff; shl.b32 %r15,%r14,2; "
                "sub.s32 %r6,%r6,%r15;\n"
                "setp.gt.u32 %p2,%r6,%r13; selp.b32 %r6,%r6,%r13,%p2; prmt.b32 "
                "%r16,%r6,%r10,0x3210; add.s32 %r6,%r6,%r16;\n"},
    {"f16", "fma.rn.f16x2 %r10,%r6,%r7,%r7; lop3.b32 %r11,%r10,0x000f000f,0x64006400,0xea; "
            "sub.f16x2 %r12,%r11,%r7;\n"
            "mul.f16x2 %r13,%r12,%r7; add.f16x2 %r6,%r13,%r10; fma.rn.f16x2 %r14,%r6,%r7,%r12; "
            "fma.rn.f16x2 %r15,%r14,%r7,%r13;\n"
            "lop3.b32 %r16,%r15,0x00f000f0,0x64006400,0xea; fma.rn.f16x2 %r6,%r16,%r7,%r15; "
            "shr.u32 %r17,%r6,8; and.b32 %r6,%r17,0x3bff3bff;\n"},
    {"memory", "ld.shared.u32 %r10,[%r20]; add.s32 %r11,%r10,%r8; st.shared.u32 [%r20],%r11; "
               "ld.global.u32 %r12,[%rd5];\n"
               "xor.b32 %r6,%r6,%r12; mad.lo.s32 %r6,%r6,%r9,%r11; and.b32 %r13,%r6,15; add.s32 "
               "%r6,%r6,%r13;\n"},
    {"f32", "cvt.rn.f32.s32 %f1,%r6; fma.rn.f32 %f2,%f1,0f3F000000,0f3F800000; mul.f32 "
            "%f3,%f2,%f1; add.f32 %f4,%f3,%f2;\n"
            "max.f32 %f5,%f4,0f00000000; cvt.rzi.s32.f32 %r10,%f5; xor.b32 %r6,%r6,%r10; and.b32 "
            "%r6,%r6,1023;\n"},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static long long counter(const char *key) {
    char q[80];
    snprintf(q, sizeof q, "\"%s\": ", key);
    const char *p = strstr(cuda_sim_report(), q);
    return p ? strtoll(p + strlen(q), NULL, 10) : 0;
}

static void line(const char *name, const char *mode, CUfunction f, const unsigned *dim,
                 unsigned dyn, void **args) {
    double best = 1e30;
    for (int k = 0; k < 5; k++) {
        double t = now();
        ok(cuLaunchKernel(f, dim[0], dim[1], dim[2], dim[3], 1, 1, dyn, NULL, args, NULL), name);
        t = now() - t;
        best = t < best ? t : best;
    }
    long long n = counter("warp_instructions");
    printf("%-10s %-7s %12lld warp-instructions %8.3f s %8.1f M/s\n", name, mode, n, best,
           (double)n / best * 1e-6);
}

static void run_loop(int i, const char *mode, int n) {
    char text[8192];
    CUmodule m;
    CUfunction f;
    CUdeviceptr in, out;
    static int data[8 * 256];
    snprintf(text, sizeof text, "%s%s%s", head, loops[i].body, tail);
    for (int k = 0; k < 8 * 256; k++)
        data[k] = (int)((unsigned)k * 2654435u & 0x3bff3bffu);
    ok(cuModuleLoadData(&m, text), "load");
    ok(cuModuleGetFunction(&f, m, "k"), "function");
    ok(cuMemAlloc(&in, sizeof data), "alloc");
    ok(cuMemAlloc(&out, sizeof data), "alloc");
    ok(cuMemcpyHtoD(in, data, sizeof data), "copy");
    void *args[] = {&out, &in, &n};
    const unsigned dim[4] = {8, 1, 1, 256};
    line(loops[i].name, mode, f, dim, 0, args);
    cuMemFree(in), cuMemFree(out), cuModuleUnload(m);
}

static void run_gemm(const char *path, const char *mode, int slices) {
    enum { M = 128, N = 256, K = 512, DYN = 3 * (64 * 40 + 32 * 72) * 2 };
    CUmodule mod;
    CUfunction f;
    CUdeviceptr a, b, c, ws, lock;
    int m = M, n = N, k = K;
    ok(cuModuleLoad(&mod, path), path);
    ok(cuModuleGetFunction(&f, mod, "gemm"), "gemm");
    ok(cuMemAlloc(&a, M * K * 2), "alloc"), ok(cuMemAlloc(&b, K * N * 2), "alloc"),
        ok(cuMemAlloc(&c, M * N * 2), "alloc");
    ok(cuMemAlloc(&ws, M * N * 4), "alloc"), ok(cuMemAlloc(&lock, 64), "alloc");
    ok(cuMemsetD16(a, 0x3400, M * K), "set"), ok(cuMemsetD16(b, 0x3400, K * N), "set"),
        ok(cuMemsetD32(lock, 0, 16), "set");
    void *args[] = {&c, &a, &b, &ws, &lock, &m, &n, &k};
    const unsigned dim[4] = {N / 64, M / 64, (unsigned)slices, 128};
    line(slices > 1 ? "gemm k4" : "gemm", mode, f, dim, DYN, args);
}

int main(int argc, char **argv) {
    CUcontext x;
    cuda_sim_set("THREADS", "1");
    for (int strict = 0; strict < 2; strict++) {
        cuda_sim_set("STRICT", strict ? "1" : "0");
        ok(cuInit(0), "cuInit");
        ok(cuDevicePrimaryCtxRetain(&x, 0), "context");
        ok(cuCtxSetCurrent(x), "context");
        const char *mode = strict ? "strict" : "plain";
        for (int i = 0; i < (int)(sizeof loops / sizeof loops[0]); i++)
            run_loop(i, mode, strict ? 500 : 2000);
        for (int s = 1; argc > 1 && s <= 4; s += 3)
            run_gemm(argv[1], mode, s);
        cuda_sim_reset();
    }
    return 0;
}
