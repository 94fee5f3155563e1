/* Whole kernels made by nvcc for compute_75, 80 and 90 against plain C, strict checks on. */
#include "rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int archs[] = {75, 80, 90};
#define EACH_ARCH(a) for (int ai_ = 0, a = archs[0]; ai_ < 3; ai_++, a = archs[ai_ < 3 ? ai_ : 0])
enum { N = 1000 };

static void floats(float *a, int n, float scale, uint64_t seed) {
    for (int i = 0; i < n; i++)
        a[i] = scale * ((float)(rig_rand(&seed) >> 40) / 8388608.0f - 1.0f);
}

Test(basic, vector_add) {
    float a[N], b[N], o[N];
    floats(a, N, 3.0f, 1);
    floats(b, N, 100.0f, 2);
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "add");
        CUdeviceptr da = rig_upload(a, sizeof a), db = rig_upload(b, sizeof b),
                    dout = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&dout, &da, &db, &n};
        OK(rig_launch(f, 8, 128, 0, args));
        rig_download(o, dout, sizeof o);
        for (int i = 0; i < N; i++)
            cr_assert_eq(o[i], a[i] + b[i], "sm_%d element %d", arch, i);
        cuda_sim_reset();
    }
}

Test(basic, block_sum) {
    float a[N], o[4];
    for (int i = 0; i < N; i++)
        a[i] = (float)(i % 17);
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "block_sum");
        CUdeviceptr da = rig_upload(a, sizeof a), dout = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&dout, &da, &n};
        OK(rig_launch(f, 4, 256, 0, args));
        rig_download(o, dout, sizeof o);
        for (int b = 0; b < 4; b++) {
            float s = 0;
            for (int i = 256 * b; i < 256 * b + 256 && i < N; i++)
                s += a[i];
            cr_assert_eq(o[b], s);
        }
        cuda_sim_reset();
    }
}

static float poly(float x, int n) {
    float r = 0;
    for (int i = 0; i < n; i++)
        r = fmaf(r, x, (float)i);
    return r;
}

Test(basic, calls_diverge) {
    float a[N], o[N];
    int calls[N];
    floats(a, N, 1.0f, 3);
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "with_call");
        CUdeviceptr da = rig_upload(a, sizeof a), dout = rig_alloc(sizeof o),
                    dc = rig_alloc(sizeof calls);
        int n = N;
        void *args[] = {&dout, &da, &dc, &n};
        OK(rig_launch(f, 8, 128, 0, args));
        rig_download(o, dout, sizeof o);
        rig_download(calls, dc, sizeof calls);
        for (int i = 0; i < N; i++) {
            float r = poly(a[i], 3 + i % 4);
            if (i % 3 == 0)
                r += poly(r, 2);
            cr_assert_eq(o[i], r, "sm_%d element %d: %g %g", arch, i, (double)o[i], (double)r);
            cr_assert_eq(calls[i], 3 + i % 4 + (i % 3 == 0 ? 2 : 0));
        }
        cuda_sim_reset();
    }
}

/* libdevice promises 2 ulp or better for each of the eight terms. */
Test(basic, slow_math) {
    float a[N], o[N];
    floats(a, N, 10.0f, 4);
    for (int i = 0; i < N; i += 7)
        a[i] *= 1e7f; /* Payne-Hanek reduction */
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "slow_math");
        CUdeviceptr da = rig_upload(a, sizeof a), dout = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&dout, &da, &n};
        OK(rig_launch(f, 8, 128, 0, args));
        rig_download(o, dout, sizeof o);
        for (int i = 0; i < N; i++) {
            double x = (double)a[i], y = fabs(x);
            double t[8] = {sin(x),
                           2.0 * cos(x),
                           pow((double)(fabsf(a[i]) + 0.5f), (double)0.3f),
                           exp(-y),
                           tanh(x),
                           log1p(y),
                           erf(x),
                           1.0 / sqrt((double)(fabsf(a[i]) + 1.0f))};
            double sum = 0, mag = 0;
            for (int k = 0; k < 8; k++) {
                sum += t[k];
                mag += fabs(t[k]);
            }
            /* each term to 4 ulp and seven roundings of partial sums */
            cr_assert(fabs((double)o[i] - sum) <= mag * 11.0 * 0x1p-24 * 2, "sm_%d x %g: %.9g %.9g",
                      arch, x, (double)o[i], sum);
        }
        cuda_sim_reset();
    }
}

Test(basic, int_math) {
    int a[N], b[N], o[4 * N];
    uint64_t s = 5;
    for (int i = 0; i < N; i++) {
        a[i] = (int)rig_rand(&s);
        b[i] = (int)(rig_rand(&s) >> (i % 40));
        if (b[i] == -1)
            b[i] = 1;
    }
    b[3] = 0;
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "int_math");
        CUdeviceptr da = rig_upload(a, sizeof a), db = rig_upload(b, sizeof b),
                    dout = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&dout, &da, &db, &n};
        OK(rig_launch(f, 8, 128, 0, args));
        rig_download(o, dout, sizeof o);
        for (int i = 0; i < N; i++) {
            int x = a[i], y = b[i];
            long long q = (long long)x * y;
            unsigned rev = 0, ux = (unsigned)x;
            for (int k = 0; k < 32; k++)
                rev |= (ux >> k & 1u) << (31 - k);
            cr_assert_eq(o[4 * i], y ? x / y : 0);
            cr_assert_eq(o[4 * i + 1], y ? x % y : 0);
            cr_assert_eq(o[4 * i + 2], (int)(q / 1000003));
            int want =
                (int)((unsigned)((unsigned long long)q % 97u) + (unsigned)__builtin_popcount(ux) +
                      (unsigned)(y ? __builtin_clz((unsigned)y) : 32) + rev +
                      (unsigned)__builtin_ffs(y));
            cr_assert_eq(o[4 * i + 3], want, "sm_%d %d %d", arch, x, y);
        }
        cuda_sim_reset();
    }
}

Test(basic, double_math) {
    double a[N], o[N];
    uint64_t s = 6;
    for (int i = 0; i < N; i++)
        a[i] = ((double)(rig_rand(&s) >> 11) * 0x1p-53 - 0.5) * (i % 9 ? 8.0 : 1e6);
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "double_math");
        CUdeviceptr da = rig_upload(a, sizeof a), dout = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&dout, &da, &n};
        OK(rig_launch(f, 8, 128, 0, args));
        rig_download(o, dout, sizeof o);
        for (int i = 0; i < N; i++) {
            double x = a[i], y = fabs(x);
            double t = sqrt(y) / (1.0 + x * x) + exp(-y) + log(y + 1.0) + sin(x);
            cr_assert(fabs(o[i] - t) <= 1e-14 * (2.0 + log(y + 1.0)), "sm_%d x %g: %.17g %.17g",
                      arch, x, o[i], t);
        }
        cuda_sim_reset();
    }
}

Test(basic, histogram) {
    enum { M = 5000 };
    unsigned char x[M];
    unsigned h[256], want[256] = {0};
    uint64_t s = 7;
    for (int i = 0; i < M; i++) {
        x[i] = (unsigned char)(rig_rand(&s) % 61);
        want[x[i]]++;
    }
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("basic", arch), "histogram");
        CUdeviceptr dx = rig_upload(x, sizeof x), dh = rig_alloc(sizeof h);
        OK(cuMemsetD32(dh, 0, 256));
        int n = M;
        void *args[] = {&dh, &dx, &n};
        OK(rig_launch(f, 6, 96, 0, args));
        rig_download(h, dh, sizeof h);
        cr_assert(!memcmp(h, want, sizeof h));
        cuda_sim_reset();
    }
}
