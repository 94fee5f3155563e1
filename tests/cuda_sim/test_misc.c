/* The rarer opcodes: 8-bit floats, packing, comparisons of pairs, cp.async forms, producers and
 * consumers at a named barrier, indexed branches, address spaces, hints, half atomics. */
#include "rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2048 };
typedef uint32_t u32;
typedef uint64_t u64;

static float f(u64 v) {
    float x;
    u32 b = (u32)v;
    memcpy(&x, &b, 4);
    return x;
}

/* ---- 8-bit floats, by search over all 256 values ---- */

static double f8(int b, int mant, int bias, bool inf) {
    int e = (b & 127) >> mant, m = b & ((1 << mant) - 1);
    double v = e ? ldexp(1.0 + ldexp(m, -mant), e - bias) : ldexp(m, 1 - bias - mant);
    if (inf && e == 31)
        v = m ? (double)NAN : (double)INFINITY;
    if (!inf && (b & 127) == 127)
        v = (double)NAN;
    return b & 128 ? -v : v;
}

/* Nearest, ties to the even code; overflow saturates (satfinite). */
static int to_f8(double x, int mant, int bias, bool inf) {
    int best = 0;
    const double top = inf ? 57344.0 : 448.0;
    if (isnan(x))
        return 0x7f;
    x = fabs(x) > top ? copysign(top, x) : x;
    for (int b = 0; b < 128; b++) {
        double v = f8(b, mant, bias, inf), w = f8(best, mant, bias, inf);
        if (!isfinite(v))
            continue;
        double dv = fabs(fabs(x) - v), dw = fabs(fabs(x) - w);
        if (dv < dw || (dv == dw && !(b & 1)))
            best = b;
    }
    return best | (signbit(x) ? 128 : 0);
}

Test(misc, eight_bit_floats) {
    static u64 a[N], b[N], o[N];
    rig_start(90, 0);
    rig_f32s(a, N, 1), rig_f32s(b, N, 2);
    for (int i = 0; i < N; i += 2) { /* most within range, many at midpoints */
        float x = (float)f8((int)(a[i] % 127), 3, 7, false),
              y = (float)f8((int)(a[i] % 127) + 1, 3, 7, false);
        float m = isnan(x) || isnan(y) ? 3.0f : (x + y) / 2;
        u32 v;
        memcpy(&v, &m, 4);
        a[i] = v ^ (u32)(b[i] & 0x80000000u);
    }
    static const struct {
        const char *to, *from;
        int mant, bias;
        bool inf;
    } k[] = {{"cvt.rn.satfinite.e4m3x2.f32", "cvt.rn.f16x2.e4m3x2", 3, 7, false},
             {"cvt.rn.satfinite.e5m2x2.f32", "cvt.rn.f16x2.e5m2x2", 2, 15, true}};
    for (int q = 0; q < 2; q++) {
        rig_case t = {k[q].to, "hww", NULL, 90, false}, u = {k[q].from, "wh", NULL, 90, false};
        rig_op(&t, a, b, NULL, o, N);
        for (int i = 0; i < N; i++) {
            u64 want = (u64)to_f8((double)f(a[i]), k[q].mant, k[q].bias, k[q].inf) << 8 |
                       (u64)to_f8((double)f(b[i]), k[q].mant, k[q].bias, k[q].inf);
            cr_assert_eq(o[i], want, "%s %g %g: %llx, expected %llx", k[q].to, (double)f(a[i]),
                         (double)f(b[i]), (unsigned long long)o[i], (unsigned long long)want);
        }
        for (int i = 0; i < N; i++)
            b[i] = (u64)(i & 255) | (u64)((i * 7) & 255) << 8;
        rig_op(&u, b, NULL, NULL, o, N);
        for (int i = 0; i < N; i++) {
            u64 want = rig_half(f8(i & 255, k[q].mant, k[q].bias, k[q].inf)) |
                       (u64)rig_half(f8((i * 7) & 255, k[q].mant, k[q].bias, k[q].inf)) << 16;
            cr_assert_eq(o[i], want, "%s %x", k[q].from, i);
        }
        rig_f32s(b, N, 3);
    }
}

/* ---- pairs ---- */

static u64 lanes2(u64 a, u64 b, int k) {
    u64 r = 0;
    for (int h = 0; h < 32; h += 16) {
        float x = rig_float((uint16_t)(a >> h)), y = rig_float((uint16_t)(b >> h));
        u64 v = k == 0   ? (x > y ? 0xffff : 0)
                : k == 1 ? (x < y || x > y ? 0x3c00u : 0)
                         : (x <= y ? 0x3c00u : 0);
        r |= v << h;
    }
    return r;
}

Test(misc, pairs_and_packing) {
    static u64 a[N], b[N], c[N], o[N];
    static const struct {
        const char *op;
        int k;
    } sets[] = {{"set.gt.u32.f16x2", 0}, {"set.ne.f16x2.f16x2", 1}, {"set.le.f16x2.f16x2", 2}};
    u64 s = 3;
    rig_start(90, 0);
    for (int i = 0; i < N; i++) {
        a[i] = (u32)rig_rand(&s), b[i] = i % 3 ? (u32)rig_rand(&s) : a[i] ^ (i % 2 ? 0x8000u : 0),
        c[i] = (u32)rig_rand(&s);
    }
    for (int k = 0; k < 3; k++) {
        rig_case t = {sets[k].op, "www", NULL, 80, true};
        rig_op(&t, a, b, NULL, o, N);
        for (int i = 0; i < N; i++)
            if (i % 3 != 1)
                cr_assert_eq(o[i], lanes2(a[i], b[i], sets[k].k), "%s %llx %llx", sets[k].op,
                             (unsigned long long)a[i], (unsigned long long)b[i]);
    }
    for (int i = 0; i < N; i++)
        a[i] = (u32)((int)(a[i] % 700) - 350), b[i] = (u32)((int)(b[i] % 700) - 350);
    rig_case p = {"cvt.pack.sat.u8.s32.b32", "wwww", NULL, 80, false};
    rig_op(&p, a, b, c, o, N);
    for (int i = 0; i < N; i++) {
        int x = (int)(u32)a[i], y = (int)(u32)b[i];
        u32 want = (u32)(x < 0     ? 0
                         : x > 255 ? 255
                                   : x)
                       << 8 |
                   (u32)(y < 0     ? 0
                         : y > 255 ? 255
                                   : y) |
                   (u32)c[i] << 16;
        cr_assert_eq(o[i], want);
    }
}

/* ---- whole kernels in PTX ---- */

#define DECL                                                                                       \
    ".reg .pred %p<6>; .reg .b16 %h<8>; .reg .b32 %r<40>; .reg .b64 %d<12>; .reg .f32 %f<4>; "     \
    ".shared .align 16 .b8 sm[4096];"
#define PRE                                                                                        \
    "ld.param.u64 %d0,[out]; ld.param.u64 %d1,[a]; ld.param.u64 %d2,[b]; ld.param.u64 %d3,[c]; "   \
    "mov.u32 %r0,%tid.x; mov.u32 %r1,sm;"                                                          \
    "mul.wide.u32 %d4,%r0,4; add.u64 %d5,%d1,%d4; ld.global.u32 %r2,[%d5]; add.u64 %d6,%d0,%d4;"
#define OUT "st.global.u32 [%d6],%r4;"

static void go(const char *body, const u32 *a, u32 *o, int n) {
    char text[4096];
    snprintf(text, sizeof text, "%s%s%s", PRE, body, OUT);
    rig_start(90, 1);
    CUfunction fn = rig_ptx(90, DECL, text);
    CUdeviceptr da = rig_upload(a, (size_t)n * 4), d = rig_alloc((size_t)n * 4), b = rig_alloc(64);
    OK(cuMemsetD8(d, 0, (size_t)n * 4));
    OK(cuMemsetD8(b, 0, 64));
    void *args[] = {&d, &da, &b, &b};
    CUresult r = rig_launch(fn, 1, (unsigned)n, 0, args);
    cr_assert_eq(r, CUDA_SUCCESS, "%s: %s", body, cuda_sim_finding());
    rig_download(o, d, (size_t)n * 4);
    cuda_sim_reset();
}

Test(misc, cp_async_forms) {
    static const struct {
        const char *copy;
        int words;
    } t[] = {{"cp.async.ca.shared.global [%r6],[%d5],4;", 4},
             {"cp.async.ca.shared.global.L2::128B [%r6],[%d5],4;", 4},
             {"mov.u32 %r7,2; cp.async.ca.shared.global [%r6],[%d5],4,%r7;", 2},
             {"mov.u32 %r7,0; cp.async.ca.shared.global [%r6],[%d5],4,%r7;", 0},
             {"createpolicy.fractional.L2::evict_first.b64 %d7,1.0; "
              "cp.async.ca.shared.global.L2::cache_hint [%r6],[%d5],4,%d7;",
              4},
             {"createpolicy.fractional.L2::evict_first.b64 %d7,1.0; mov.u32 %r7,1; "
              "cp.async.ca.shared.global.L2::cache_hint [%r6],[%d5],4,%r7,%d7;",
              1},
             {"setp.lt.u32 %p1,%r0,16; @%p1 cp.async.ca.shared.global [%r6],[%d5],4; @!%p1 "
              "st.shared.u32 [%r6],%r2;",
              4}};
    u32 a[64], o[64];
    u64 s = 5;
    for (int i = 0; i < 64; i++)
        a[i] = (u32)rig_rand(&s);
    for (size_t k = 0; k < sizeof t / sizeof *t; k++)
        for (int all = 0; all < 2; all++) {
            char body[600];
            snprintf(body, sizeof body,
                     "mad.lo.u32 %%r6,%%r0,4,%%r1; %s %s bar.sync 0; xor.b32 %%r8,%%r0,33; "
                     "mad.lo.u32 %%r8,%%r8,4,%%r1; ld.shared.u32 %%r4,[%%r8];",
                     t[k].copy,
                     all ? "cp.async.wait_all;" : "cp.async.commit_group; cp.async.wait_group 0;");
            go(body, a, o, 64);
            for (int i = 0; i < 64; i++) {
                u32 mask = t[k].words == 4 ? ~0u : (1u << 8 * t[k].words) - 1u;
                cr_assert_eq(o[i], a[i ^ 33] & mask, "%s thread %d", t[k].copy, i);
            }
        }
}

Test(misc, control_and_spaces) {
    u32 a[96], o[96];
    for (u32 i = 0; i < 96; i++)
        a[i] = i * 5 + 3;
    /* warps 1, 2 produce and arrive, warp 0 waits and consumes; then everybody meets */
    go("shr.u32 %r5,%r0,5; mad.lo.u32 %r6,%r0,4,%r1; mov.u32 %r4,%r2; setp.eq.u32 %p1,%r5,0; @%p1 "
       "bra C;\n"
       "st.shared.u32 [%r6],%r2; bar.arrive 1,96; bra E;\nC: bar.sync 1,96; ld.shared.u32 "
       "%r7,[%r6+128]; ld.shared.u32 %r8,[%r6+256]; add.u32 %r4,%r7,%r8;\nE: bar.sync 0;",
       a, o, 96);
    for (u32 i = 0; i < 96; i++)
        cr_assert_eq(o[i], i < 32 ? a[i + 32] + a[i + 64] : a[i]);
    /* indexed branch, lanes apart */
    go("rem.u32 %r5,%r0,3; mov.u32 %r4,0;\nT: .branchtargets A,B,D;\nbrx.idx %r5,T;\nA: add.u32 "
       "%r4,%r4,1;\nB: add.u32 %r4,%r4,10; bra F;\nD: mov.u32 %r4,500;\nF: nanosleep.u32 100;",
       a, o, 96);
    for (u32 i = 0; i < 96; i++)
        cr_assert_eq(o[i], i % 3 == 0 ? 11 : i % 3 == 1 ? 10 : 500);
    /* shared memory by its generic address, and what isspacep says of it */
    go("cvta.shared.u64 %d7,0; cvt.u64.u32 %d8,%r1; add.u64 %d7,%d7,%d8; mad.wide.u32 "
       "%d7,%r0,4,%d7; st.u32 [%d7],%r2; ld.u32 %r4,[%d7];"
       "isspacep.shared %p1,%d7; isspacep.global %p2,%d7; isspacep.global %p3,%d5; selp.u32 "
       "%r5,1000,0,%p1; selp.u32 %r6,2000,0,%p2; selp.u32 %r7,4000,0,%p3;"
       "add.u32 %r4,%r4,%r5; add.u32 %r4,%r4,%r6; add.u32 %r4,%r4,%r7; cvta.to.shared.u64 %d9,%d7; "
       "cvt.u32.u64 %r9,%d9; ld.shared.u32 %r10,[%r9]; add.u32 %r4,%r4,%r10;"
       "prefetch.global.L2 [%d5]; griddepcontrol.wait; griddepcontrol.launch_dependents;",
       a, o, 96);
    for (u32 i = 0; i < 96; i++)
        cr_assert_eq(o[i], 2 * a[i] + 5000);
    /* one lane elected, a clock that goes on, two predicates of one comparison */
    go("elect.sync %r5|%p1,-1; selp.u32 %r4,1,0,%p1; mov.u64 %d7,%clock64; mov.u64 %d8,%clock64; "
       "setp.gt.u64 %p2|%p3,%d8,%d7; @%p2 add.u32 %r4,%r4,16; @%p3 add.u32 %r4,%r4,32;",
       a, o, 96);
    for (u32 i = 0; i < 96; i++)
        cr_assert_eq(o[i], (i % 32 == 0) + 16u);
    u32 m[32], w[32];
    for (u32 i = 0; i < 32; i++)
        m[i] = (2 * i) | (2 * i + 1) << 16;
    go("movmatrix.sync.aligned.m8n8.trans.b16 %r4,%r2;", m, w, 32);
    for (u32 i = 0; i < 32; i++) { /* element (r, c) of the source is 8 r + c */
        u32 g = i / 4, t = i % 4;
        cr_assert_eq(w[i], (8 * (2 * t) + g) | (8 * (2 * t + 1) + g) << 16);
    }
}

Test(misc, other_atomics) {
    u32 a[64], o[64];
    for (u32 i = 0; i < 64; i++)
        a[i] = 0x3c003c00u; /* 1.0, 1.0 */
    go("red.global.add.noftz.f16x2 [%d2],%r2; bar.sync 0; ld.volatile.global.u32 %r4,[%d2];", a, o,
       64);
    cr_assert_eq(o[7], 0x54005400u); /* 64.0 */
    go("mov.b32 {%h1,%h2},%r2; atom.global.add.noftz.f16 %h3,[%d2],%h1; bar.sync 0; "
       "ld.volatile.global.u32 %r4,[%d2];",
       a, o, 64);
    cr_assert_eq(o[7], 0x5400u);
    for (u32 i = 0; i < 64; i++)
        a[i] = i;
    go("cvt.u64.u32 %d7,%r2; shl.b64 %d7,%d7,40; atom.global.max.u64 %d8,[%d2],%d7; bar.sync 0; "
       "ld.volatile.global.u64 %d9,[%d2]; shr.u64 %d9,%d9,40; cvt.u32.u64 %r4,%d9;",
       a, o, 64);
    cr_assert_eq(o[3], 63);
    go("mov.f32 %f1,0f3F000000; atom.acq_rel.gpu.global.add.f32 %f2,[%d2],%f1; bar.sync 0; "
       "ld.acquire.gpu.global.u32 %r4,[%d2];",
       a, o, 64);
    cr_assert_eq(o[3], 0x42000000u); /* 32.0 */
}

/* A watch dog ends what the proof of a spin cannot: the clock changes every time round. */
Test(misc, watchdog) {
    char text[2048];
    u32 a[32] = {0};
    snprintf(text, sizeof text, "%s%s%s", PRE,
             "L: mov.u64 %d7,%clock64; ld.volatile.global.u32 %r4,[%d2]; setp.eq.u32 %p1,%r4,0; "
             "@%p1 bra L;",
             OUT);
    cuda_sim_set("WATCHDOG", "3000000");
    rig_start(80, 1);
    CUfunction fn = rig_ptx(80, DECL, text);
    CUdeviceptr da = rig_upload(a, sizeof a);
    void *args[] = {&da, &da, &da, &da};
    cr_assert_eq(rig_launch(fn, 1, 32, 0, args), CUDA_ERROR_LAUNCH_TIMEOUT);
    cr_assert(strstr(cuda_sim_finding(), "watchdog"), "%s", cuda_sim_finding());
}

/* mul and add fuse unless they say .rn, or the option is off, or the product has another use. */
Test(misc, contraction) {
    static const struct {
        const char *body;
        int kind; /* 0 never fused, 1 a b + c, 2 c - a b */
    } t[] = {{"mul.f32 %f4,%f1,%f2; add.f32 %f5,%f4,%f3;", 1},
             {"mul.f32 %f4,%f1,%f2; add.f32 %f5,%f3,%f4;", 1},
             {"mul.f32 %f4,%f1,%f2; sub.f32 %f5,%f3,%f4;", 2},
             {"mul.rn.f32 %f4,%f1,%f2; add.rn.f32 %f5,%f4,%f3;", 0},
             {"mul.rn.f32 %f4,%f1,%f2; sub.rn.f32 %f5,%f3,%f4;", 0},
             {"mul.f32 %f4,%f1,%f2; add.rn.f32 %f5,%f4,%f3;", 0},
             {"mul.f32 %f4,%f1,%f2; add.f32 %f5,%f4,%f3; st.global.f32 [%d3],%f4;", 0},
             {"mul.f32 %f4,%f1,%f2; mov.f32 %f1,0f00000000; add.f32 %f5,%f4,%f3;", 0},
             {"mul.f32 %f4,%f1,%f2; bra M;\nM: add.f32 %f5,%f4,%f3;", 0}};
    const float a = 1.0f + 0x1p-12f, b = 1.0f - 0x1p-13f, c = -1.0f;
    for (int off = 0; off < 2; off++)
        for (size_t k = 0; k < sizeof t / sizeof *t; k++) {
            char text[1024];
            float in[3] = {a, b, t[k].kind == 2 || strstr(t[k].body, "sub") ? 1.0f : c}, o;
            cuda_sim_set("FMAD", off ? "0" : "1");
            rig_start(80, 0);
            snprintf(text, sizeof text,
                     "ld.param.u64 %%d0,[out]; ld.param.u64 %%d1,[a]; ld.param.u64 %%d3,[b];"
                     "ld.global.f32 %%f1,[%%d1]; ld.global.f32 %%f2,[%%d1+4]; ld.global.f32 "
                     "%%f3,[%%d1+8]; %s "
                     "st.global.f32 [%%d0],%%f5;",
                     t[k].body);
            CUfunction fn = rig_ptx(80, ".reg .f32 %f<6>; .reg .b64 %d<4>;", text);
            CUdeviceptr da = rig_upload(in, sizeof in), d = rig_alloc(4), s = rig_alloc(4);
            void *args[] = {&d, &da, &s, &s};
            OK(rig_launch(fn, 1, 1, 0, args));
            rig_download(&o, d, 4);
            const bool sub = strstr(t[k].body, "sub") != NULL;
            volatile float p = a * b;
            const float two = sub ? in[2] - p : p + in[2],
                        one = sub ? fmaf(-a, b, in[2]) : fmaf(a, b, in[2]);
            cr_assert_neq(one, two);
            cr_assert_eq(o, t[k].kind && !off ? one : two, "%s fmad %d: %a", t[k].body, !off,
                         (double)o);
            cuda_sim_reset();
        }
}
