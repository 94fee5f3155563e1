/* Kernels of the kinds that inference uses, against plain C. */
#include "rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int archs[] = {75, 80, 90};
#define EACH_ARCH(a) for (int ai_ = 0, a = archs[0]; ai_ < 3; ai_++, a = archs[ai_ < 3 ? ai_ : 0])
enum { N = 512 };

static void floats(float *a, int n, float scale, uint64_t seed) {
    for (int i = 0; i < n; i++)
        a[i] = scale * ((float)(rig_rand(&seed) >> 40) / 8388608.0f - 1.0f);
}

Test(zoo, dequant4_exact) {
    uint32_t q[N], o[4 * N];
    uint16_t sc[N / 16], z[N / 16];
    uint64_t s = 1;
    for (int i = 0; i < N; i++)
        q[i] = (uint32_t)rig_rand(&s);
    for (int i = 0; i < N / 16; i++) {
        sc[i] = rig_half(0.01 * (double)(i + 1));
        z[i] = rig_half((double)(i % 16));
    }
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUfunction f = rig_function(rig_load("zoo", arch), "dequant4");
        CUdeviceptr dq = rig_upload(q, sizeof q), ds = rig_upload(sc, sizeof sc),
                    dz = rig_upload(z, sizeof z);
        CUdeviceptr d = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&d, &dq, &ds, &dz, &n};
        OK(rig_launch(f, 4, 128, 0, args));
        rig_download(o, d, sizeof o);
        for (int i = 0; i < N; i++)
            for (int k = 0; k < 4; k++)
                for (int h = 0; h < 2; h++) {
                    double v =
                        (double)(q[i] >> (4 * k + 16 * h) & 15u) - (double)rig_float(z[i / 16]);
                    uint16_t want = rig_half(v * (double)rig_float(sc[i / 16]));
                    cr_assert_eq((o[4 * i + k] >> 16 * h & 0xffffu), want, "sm_%d %d %d %d", arch,
                                 i, k, h);
                }
        cuda_sim_reset();
    }
}

Test(zoo, norms_and_softmax) {
    enum { R = 3, C = 300 };
    float x[R * C], g[C], o[R * C];
    floats(x, R * C, 4.0f, 2);
    floats(g, C, 1.0f, 3);
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUmodule m = rig_load("zoo", arch);
        CUdeviceptr dx = rig_upload(x, sizeof x), dg = rig_upload(g, sizeof g),
                    d = rig_alloc(sizeof o);
        int n = C;
        float eps = 1e-5f;
        void *args[] = {&d, &dx, &dg, &n, &eps};
        OK(rig_launch(rig_function(m, "rmsnorm"), R, 128, 0, args));
        rig_download(o, d, sizeof o);
        for (int r = 0; r < R; r++) {
            double s = 0;
            for (int i = 0; i < C; i++)
                s += (double)x[r * C + i] * (double)x[r * C + i];
            for (int i = 0; i < C; i++) {
                double t = (double)x[r * C + i] * (double)g[i] / sqrt(s / C + (double)eps);
                cr_assert(fabs((double)o[r * C + i] - t) <= 40 * 0x1p-24 * fabs(t) + 1e-30);
            }
        }
        void *sargs[] = {&d, &dx, &n};
        OK(rig_launch(rig_function(m, "softmax"), R, 32, 0, sargs));
        rig_download(o, d, sizeof o);
        for (int r = 0; r < R; r++) {
            double mx = -1e30, s = 0;
            for (int i = 0; i < C; i++)
                mx = fmax(mx, (double)x[r * C + i]);
            for (int i = 0; i < C; i++)
                s += exp((double)x[r * C + i] - mx);
            for (int i = 0; i < C; i++) {
                double t = exp((double)x[r * C + i] - mx) / s;
                cr_assert(fabs((double)o[r * C + i] - t) <= 64 * 0x1p-23 * t, "%g %g",
                          (double)o[r * C + i], t);
            }
        }
        cuda_sim_reset();
    }
}

Test(zoo, rope_and_solve) {
    enum { H = 32, S = 100 };
    float x[2 * H], o[2 * H], *L = calloc(S * S, 4), b[S], y[S];
    floats(x, 2 * H, 1.0f, 5);
    floats(L, S * S, 0.1f, 6);
    floats(b, S, 1.0f, 7);
    for (int i = 0; i < S; i++)
        L[i * S + i] = 2.0f + (float)i * 0.01f;
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUmodule m = rig_load("zoo", arch);
        CUdeviceptr dx = rig_upload(x, sizeof x), d = rig_alloc(sizeof o);
        int half = H, pos = 1234, n = S;
        float base = 10000.0f;
        void *args[] = {&d, &dx, &half, &base, &pos};
        OK(rig_launch(rig_function(m, "rope"), 1, 32, 0, args));
        rig_download(o, d, sizeof o);
        for (int i = 0; i < H; i++) {
            double a = pos * pow((double)base, -(double)i / H);
            double t = (double)x[i] * cos(a) - (double)x[i + H] * sin(a);
            cr_assert(fabs((double)o[i] - t) < 4e-4, "%d %g %g", i, (double)o[i],
                      t); /* angle to 2 ulp of 1234 */
        }
        CUdeviceptr dL = rig_upload(L, S * S * 4), db = rig_upload(b, sizeof b),
                    dy = rig_alloc(sizeof y);
        void *sargs[] = {&dy, &dL, &db, &n};
        OK(rig_launch(rig_function(m, "solve"), 1, 128, 128 * 4, sargs));
        rig_download(y, dy, sizeof y);
        float r[S];
        memcpy(r, b, sizeof r);
        for (int j = 0; j < S; j++) {
            float v = r[j] / L[j * S + j];
            cr_assert_eq(y[j], v, "sm_%d column %d", arch, j);
            for (int i = j + 1; i < S; i++)
                r[i] = fmaf(-L[i * S + j], v, r[i]); /* fused as ptxas does */
        }
        cuda_sim_reset();
    }
    free(L);
}

Test(zoo, sums_across_the_grid) {
    float x[3000], total, want = 0;
    for (int i = 0; i < 3000; i++) {
        x[i] = (float)(i % 7);
        want += x[i];
    }
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUmodule m = rig_load("zoo", arch);
        CUdeviceptr dx = rig_upload(x, sizeof x), dt = rig_alloc(4), dp = rig_alloc(64 * 4),
                    dk = rig_alloc(4);
        int n = 3000;
        OK(cuMemsetD32(dk, 0, 1));
        void *largs[] = {&dt, &dp, &dk, &dx, &n};
        for (int k = 0; k < 2; k++) {
            OK(rig_launch(rig_function(m, "last_block"), 40, 32, 0, largs));
            rig_download(&total, dt, 4);
            cr_assert_eq(total, want);
        }
        void *gargs[] = {&dt, &dp, &dx, &n};
        OK(cuLaunchCooperativeKernel(rig_function(m, "grid_sum"), 13, 1, 1, 32, 1, 1, 0, NULL,
                                     gargs));
        rig_download(&total, dt, 4);
        cr_assert_eq(total, want);
        cr_assert_eq(cuLaunchCooperativeKernel(rig_function(m, "grid_sum"), 4096, 1, 1, 32, 1, 1, 0,
                                               NULL, gargs),
                     CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
        cuda_sim_reset();
    }
}

Test(zoo, spaces) {
    struct {
        float scale[3];
        int n;
        CUdeviceptr x;
    } p = {{1.5f, -2.0f, 0.25f}, 11, 0};
    signed char k[4] = {5, 1, 2, -3};
    short h = -7;
    float x[8], o[64];
    static const float ct[4] = {1, 2, 4, 8}, gt[4] = {0.5f, 0.25f, 0.125f, 0.0625f};
    floats(x, 8, 1.0f, 9);
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        p.x = rig_upload(x, sizeof x);
        CUdeviceptr d = rig_alloc(sizeof o);
        void *args[] = {&d, &p, k, &h};
        OK(rig_launch(rig_function(rig_load("zoo", arch), "spaces"), 1, 64, 0, args));
        rig_download(o, d, sizeof o);
        for (int i = 0; i < 64; i++) {
            float local[8], s = 0;
            for (int j = 0; j < 8; j++)
                local[(j + i) % 8] = x[j] * p.scale[j % 3];
            for (int j = 0; j < p.n; j++)
                s += local[(i * j) % 8] * ct[j % 4] + gt[(i + j) % 4];
            float want = s + 5.0f + 3.0f - 7.0f;
            cr_assert(fabsf(o[i] - want) <= 1e-5f, "sm_%d %d: %g %g", arch, i, (double)o[i],
                      (double)want);
        }
        void *pargs[] = {&d, &p};
        OK(rig_launch(rig_function(rig_load("zoo", arch), "param_array"), 1, 64, 0, pargs));
        rig_download(o, d, sizeof o);
        for (int i = 0; i < 64; i++)
            cr_assert_eq(o[i], p.scale[i % 3] + 11.0f);
        cuda_sim_reset();
    }
}

static int switches(int x) {
    int r = 0;
    for (int t = 0; t < (x & 7); t++) {
        switch ((x + t) & 7) {
        case 0:
            r += 3 * t;
            break;
        case 1:
            r ^= x;
            break;
        case 2:
            r -= t;
            break;
        case 3:
            r = (int)((unsigned)r * 7u + 1u);
            break;
        case 4:
            r = (int)((unsigned)r << 1);
            break;
        case 5:
            r += x >> 2;
            break;
        case 6:
            if (r & 1)
                continue;
            r /= 3;
            break;
        default:
            r = -r;
            break;
        }
    }
    return r;
}

Test(zoo, divergence_and_warp_votes) {
    int a[N], o[N], count;
    unsigned groups[N];
    uint64_t s = 11;
    for (int i = 0; i < N; i++)
        a[i] = (int)(rig_rand(&s) % 2001) - 1000;
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUmodule m = rig_load("zoo", arch);
        CUdeviceptr da = rig_upload(a, sizeof a), d = rig_alloc(sizeof o),
                    dg = rig_alloc(sizeof groups), dc = rig_alloc(4);
        int n = N;
        void *args[] = {&d, &da, &n};
        OK(rig_launch(rig_function(m, "switches"), 4, 128, 0, args));
        rig_download(o, d, sizeof o);
        for (int i = 0; i < N; i++)
            cr_assert_eq(o[i], switches(a[i]), "sm_%d %d", arch, a[i]);
        OK(cuMemsetD32(dc, 0, 1));
        void *cargs[] = {&d, &dg, &dc, &da, &n};
        OK(rig_launch(rig_function(m, "compact"), 4, 128, 0, cargs));
        rig_download(&count, dc, 4);
        rig_download(groups, dg, sizeof groups);
        rig_download(o, d, sizeof(int) * (size_t)count);
        long long sum = 0, want = 0;
        int positive = 0;
        for (int i = 0; i < N; i++) {
            positive += a[i] > 0;
            want += a[i] > 0 ? a[i] : 0;
            unsigned g = 0;
            for (int l = 0; l < 32; l++)
                g |= (unsigned)((a[i / 32 * 32 + l] & 3) == (a[i] & 3)) << l;
            cr_assert_eq(groups[i], g);
        }
        for (int i = 0; i < count; i++)
            sum += o[i];
        cr_assert_eq(count, positive);
        cr_assert_eq(sum, want);
        cuda_sim_reset();
    }
}

Test(zoo, gemv_s8) {
    enum { R = 5, W = 70 };
    int w[R * W], x[W], o[R];
    uint64_t s = 13;
    for (int i = 0; i < R * W; i++)
        w[i] = (int)rig_rand(&s);
    for (int i = 0; i < W; i++)
        x[i] = (int)rig_rand(&s);
    EACH_ARCH(arch) {
        rig_start(arch, 1);
        CUdeviceptr dw = rig_upload(w, sizeof w), dx = rig_upload(x, sizeof x),
                    d = rig_alloc(sizeof o);
        int words = W;
        void *args[] = {&d, &dw, &dx, &words};
        OK(rig_launch(rig_function(rig_load("zoo", arch), "gemv_s8"), R, 32, 0, args));
        rig_download(o, d, sizeof o);
        for (int r = 0; r < R; r++) {
            int t = 0;
            for (int i = 0; i < W; i++)
                for (int k = 0; k < 4; k++)
                    t += (int)(int8_t)(w[r * W + i] >> 8 * k) * (int)(int8_t)(x[i] >> 8 * k);
            cr_assert_eq(o[r], t);
        }
        cuda_sim_reset();
    }
}

Test(zoo, bf16_ops) {
    float a[N], b[N], o[N];
    floats(a, N, 5.0f, 15);
    floats(b, N, 5.0f, 16);
    static const int two[] = {80, 90};
    for (int k = 0; k < 2; k++) {
        rig_start(two[k], 1);
        CUdeviceptr da = rig_upload(a, sizeof a), db = rig_upload(b, sizeof b),
                    d = rig_alloc(sizeof o);
        int n = N;
        void *args[] = {&d, &da, &db, &n};
        OK(rig_launch(rig_function(rig_load("zoo", two[k]), "bf16_ops"), 4, 128, 0, args));
        rig_download(o, d, sizeof o);
        for (int i = 0; i < N; i++) {
            float x = rig_bf16_round((double)a[i]), y = rig_bf16_round((double)b[i]);
            float sum = rig_bf16_round((double)x + (double)y);
            float f =
                rig_bf16_round((double)x * (double)y + (double)sum); /* exact in double here */
            float want = f + rig_bf16_round((double)x * (double)y) + fmaxf(x, y);
            cr_assert_eq(o[i], want, "sm_%d %g %g: %g %g", two[k], (double)x, (double)y,
                         (double)o[i], (double)want);
        }
        cuda_sim_reset();
    }
}

/* Everything in intrinsics.cu is known; the math kernel runs clean and gives the same on every
 * target. */
Test(zoo, intrinsics) {
    enum { T = 32 };
    float a[T], o[3][T];
    double d[3][T];
    floats(a, T, 0.9f, 21);
    for (int k = 0; k < 3; k++) {
        rig_start(archs[k], 1);
        CUmodule m = rig_load("intrinsics", archs[k]);
        for (int i = 0; i < T; i++)
            d[k][i] = 0.1 + i * 0.37;
        CUdeviceptr da = rig_upload(a, sizeof a), dd = rig_upload(d[k], sizeof d[k]),
                    dout = rig_alloc(sizeof o[k]);
        int n = 3;
        void *args[] = {&dout, &da, &dd, &n};
        OK(rig_launch(rig_function(m, "m1"), 1, T, 0, args));
        rig_download(o[k], dout, sizeof o[k]);
        rig_download(d[k], dd, sizeof d[k]);
        cr_assert(!memcmp(o[k], o[0], sizeof o[0]) && !memcmp(d[k], d[0], sizeof d[0]), "sm_%d",
                  archs[k]);
        cuda_sim_reset();
    }
}
