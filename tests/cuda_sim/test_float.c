/* f32, f64, f16 and bf16 arithmetic: results are compared bit by bit with correctly rounded scalar
 * C. */
#include "rig.h"

#include <criterion/criterion.h>
#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 8192 };
typedef uint64_t u64;
typedef uint32_t u32;
__extension__ typedef __float128 quad;

static float f(u64 v) {
    float x;
    u32 b = (u32)v;
    memcpy(&x, &b, 4);
    return x;
}
static u64 fb(float x) {
    u32 b;
    memcpy(&b, &x, 4);
    return x != x ? 0x7fffffffu : b;
}
static double d(u64 v) {
    double x;
    memcpy(&x, &v, 8);
    return x;
}
static u64 db(double x) {
    u64 b;
    memcpy(&b, &x, 8);
    return x != x ? 0xfff8000000000000ull : b;
}
static float z(float x) {
    return fpclassify(x) == FP_SUBNORMAL ? copysignf(0.0f, x) : x;
}
static float sat(float x) {
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}

typedef u64 (*ref)(u64, u64, u64);
#define F(name, expr)                                                                              \
    static u64 name(u64 a, u64 b, u64 c) {                                                         \
        volatile float x = f(a), y = f(b), w = f(c);                                               \
        (void)x, (void)y, (void)w;                                                                 \
        volatile float r = (expr);                                                                 \
        return fb(r);                                                                              \
    }
#define D(name, expr)                                                                              \
    static u64 name(u64 a, u64 b, u64 c) {                                                         \
        volatile double x = d(a), y = d(b), w = d(c);                                              \
        (void)x, (void)y, (void)w;                                                                 \
        volatile double r = (expr);                                                                \
        return db(r);                                                                              \
    }
static float minf(float x, float y) {
    return isnan(x) ? y : isnan(y) ? x : x == y ? (signbit(x) ? x : y) : x < y ? x : y;
}
static float maxf(float x, float y) {
    return isnan(x) ? y : isnan(y) ? x : x == y ? (signbit(x) ? y : x) : x > y ? x : y;
}
F(add, x + y)
F(sub, x - y)
F(mul, x *y)
F(divi, x / y)
F(fma_, fmaf(x, y, w)) F(rcp, 1.0f / x) F(root, sqrtf(x)) F(addz, z(z(x) + z(y)))
    F(mulz, z(z(x) * z(y))) F(fmaz, z(fmaf(z(x), z(y), z(w)))) F(adds, sat(x + y))
        F(fmas, sat(fmaf(x, y, w))) F(mn, minf(x, y)) F(mx, maxf(x, y))
            F(mnn, isnan(x) || isnan(y) ? NAN : minf(x, y)) F(divz, z(z(x) / z(y))) D(dadd, x + y)
                D(dsub, x - y) D(dmul, x *y) D(ddiv, x / y) D(dfma, fma(x, y, w)) D(drcp, 1.0 / x)
                    D(droot, sqrt(x)) static u64 absf(u64 a, u64 b, u64 c) {
    (void)b, (void)c;
    return a & 0x7fffffffu;
}
static u64 negf_(u64 a, u64 b, u64 c) {
    (void)b, (void)c;
    return (u32)a ^ 0x80000000u;
}
static u64 copys(u64 a, u64 b, u64 c) {
    (void)c;
    return (a & 0x80000000u) | (b & 0x7fffffffu);
}
#define P(name, expr)                                                                              \
    static u64 name(u64 a, u64 b, u64 c) {                                                         \
        float x = f(a), y = f(b);                                                                  \
        (void)c, (void)y;                                                                          \
        return (u64)(expr);                                                                        \
    }
P(eq, x == y)
P(ne, x<y || x> y)
P(lt, x < y)
P(ge, x >= y)
P(equ, !(x < y || x > y)) P(neu, x != y) P(ltu, !(x >= y)) P(leu, !(x > y)) P(gtu, !(x <= y))
    P(geu, !(x < y)) P(num, !isnan(x) && !isnan(y)) P(nan_, isnan(x) || isnan(y))
        P(fin, isfinite(x)) P(sub_, fpclassify(x) == FP_SUBNORMAL)

            typedef struct row {
    const char *op, *sig;
    ref fn;
    int mode;
} row;
static const row f32s[] = {
    {"add.f32", "www", add, 0},
    {"add.rn.f32", "www", add, 0},
    {"sub.f32", "www", sub, 0},
    {"mul.f32", "www", mul, 0},
    {"div.rn.f32", "www", divi, 0},
    {"fma.rn.f32", "wwww", fma_, 0},
    {"rcp.rn.f32", "ww", rcp, 0},
    {"sqrt.rn.f32", "ww", root, 0},
    {"add.ftz.f32", "www", addz, 0},
    {"mul.ftz.f32", "www", mulz, 0},
    {"fma.rn.ftz.f32", "wwww", fmaz, 0},
    {"div.rn.ftz.f32", "www", divz, 0},
    {"add.sat.f32", "www", adds, 0},
    {"fma.rn.sat.f32", "wwww", fmas, 0},
    {"min.f32", "www", mn, 0},
    {"max.f32", "www", mx, 0},
    {"min.NaN.f32", "www", mnn, 0},
    {"abs.f32", "ww", absf, 0},
    {"neg.f32", "ww", negf_, 0},
    {"copysign.f32", "www", copys, 0},
    {"add.rz.f32", "www", add, FE_TOWARDZERO},
    {"add.rm.f32", "www", add, FE_DOWNWARD},
    {"add.rp.f32", "www", add, FE_UPWARD},
    {"mul.rz.f32", "www", mul, FE_TOWARDZERO},
    {"mul.rp.f32", "www", mul, FE_UPWARD},
    {"fma.rm.f32", "wwww", fma_, FE_DOWNWARD},
    {"fma.rz.f32", "wwww", fma_, FE_TOWARDZERO},
    {"div.rp.f32", "www", divi, FE_UPWARD},
    {"sqrt.rm.f32", "ww", root, FE_DOWNWARD},
    {"rcp.rz.f32", "ww", rcp, FE_TOWARDZERO},
    {"setp.eq.f32", "pww", eq, 0},
    {"setp.ne.f32", "pww", ne, 0},
    {"setp.lt.f32", "pww", lt, 0},
    {"setp.ge.f32", "pww", ge, 0},
    {"setp.equ.f32", "pww", equ, 0},
    {"setp.neu.f32", "pww", neu, 0},
    {"setp.ltu.f32", "pww", ltu, 0},
    {"setp.leu.f32", "pww", leu, 0},
    {"setp.gtu.f32", "pww", gtu, 0},
    {"setp.geu.f32", "pww", geu, 0},
    {"setp.num.f32", "pww", num, 0},
    {"setp.nan.f32", "pww", nan_, 0},
    {"testp.finite.f32", "pw", fin, 0},
    {"testp.subnormal.f32", "pw", sub_, 0},
};
static const row f64s[] = {
    {"add.f64", "xxx", dadd, 0},
    {"sub.rn.f64", "xxx", dsub, 0},
    {"mul.f64", "xxx", dmul, 0},
    {"div.rn.f64", "xxx", ddiv, 0},
    {"fma.rn.f64", "xxxx", dfma, 0},
    {"rcp.rn.f64", "xx", drcp, 0},
    {"sqrt.rn.f64", "xx", droot, 0},
    {"add.rz.f64", "xxx", dadd, FE_TOWARDZERO},
    {"mul.rm.f64", "xxx", dmul, FE_DOWNWARD},
    {"fma.rp.f64", "xxxx", dfma, FE_UPWARD},
    {"div.rz.f64", "xxx", ddiv, FE_TOWARDZERO},
};

static void rows(const row *r, size_t n, const u64 *a, const u64 *b, const u64 *c) {
    static u64 o[N];
    for (size_t k = 0; k < n; k++) {
        rig_case t = {r[k].op, r[k].sig, NULL, 80, true};
        rig_op(&t, a, b, c, o, N);
        for (int i = 0; i < N; i++) {
            if (i % 3 == 1)
                continue;
            fesetround(r[k].mode ? r[k].mode : FE_TONEAREST);
            u64 want = r[k].fn(a[i], b[i], c[i]);
            fesetround(FE_TONEAREST);
            cr_assert_eq(o[i], want, "%s a %llx b %llx c %llx: %llx, expected %llx", r[k].op,
                         (unsigned long long)a[i], (unsigned long long)b[i],
                         (unsigned long long)c[i], (unsigned long long)o[i],
                         (unsigned long long)want);
        }
    }
}

Test(real, f32_and_f64) {
    static u64 a[N], b[N], c[N];
    rig_start(80, 0);
    rig_f32s(a, N, 1), rig_f32s(b, N, 2), rig_f32s(c, N, 3);
    for (int i = 0; i < N; i += 6)
        c[i] = fb(-f(a[i]) * f(b[i])); /* cancellation shows a product rounded too early */
    rows(f32s, sizeof f32s / sizeof *f32s, a, b, c);
    rig_f64s(a, N, 4), rig_f64s(b, N, 5), rig_f64s(c, N, 6);
    for (int i = 0; i < N; i += 6)
        c[i] = db(-d(a[i]) * d(b[i]));
    rows(f64s, sizeof f64s / sizeof *f64s, a, b, c);
}

/* The PTX manual's bounds: ex2 2^-22 relative, lg2 absolute 2^-22 near 1, sin/cos 2^-20.9 absolute
 * in
 * [-pi, pi], rsqrt 2^-22.9, rcp 1 ulp, div.approx 2 ulp, tanh 2^-11 relative. */
Test(real, approximate_functions) {
    static u64 a[N], b[N], o[N];
    static const struct {
        const char *op;
        int k;
        double rel, abs;
    } ops[] = {{"ex2.approx.f32", 0, 0x1p-22, 0x1p-149}, {"lg2.approx.f32", 1, 0x1p-22, 0x1p-22},
               {"sin.approx.f32", 2, 0, 0x1p-20},        {"cos.approx.f32", 3, 0, 0x1p-20},
               {"rsqrt.approx.f32", 4, 0x1p-22, 0},      {"rcp.approx.f32", 5, 0x1p-23, 0},
               {"sqrt.approx.f32", 6, 0x1p-22, 0},       {"tanh.approx.f32", 7, 0x1p-11, 0}};
    rig_start(80, 0);
    u64 s = 9;
    for (int i = 0; i < N; i++) {
        float x = (float)((double)(rig_rand(&s) >> 11) * 0x1p-53);
        a[i] = fb((x - 0.5f) * 6.28f);
        b[i] = fb(x * 100.0f + 0.001f);
    }
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        const u64 *in = ops[k].k == 1 || (ops[k].k >= 4 && ops[k].k < 7) ? b : a;
        rig_case t = {ops[k].op, "ww", NULL, 80, false};
        rig_op(&t, in, NULL, NULL, o, N);
        for (int i = 0; i < N; i++) {
            double x = (double)f(in[i]);
            const double w[] = {exp2(x), x > 0 ? log2(x) : 0, sin(x), cos(x), 1 / sqrt(fabs(x)),
                                1 / x,   sqrt(fabs(x)),       tanh(x)};
            double want = w[ops[k].k];
            cr_assert(fabs((double)f(o[i]) - want) <= ops[k].rel * fabs(want) + ops[k].abs,
                      "%s(%g): %g %g", ops[k].op, x, (double)f(o[i]), want);
        }
    }
}

/* ---- 16-bit floats ---- */

/* Exact sum, then to double by rounding to odd, so that one rounding remains. */
static double odd(quad v) {
    double r = (double)v;
    u64 b;
    if ((quad)r == v || !isfinite(r))
        return r;
    memcpy(&b, &r, 8);
    return b & 1 ? r : nextafter(r, (quad)r < v ? (double)INFINITY : -(double)INFINITY);
}

static u32 half_op(int k, u32 a, u32 b, u32 c) {
    double x = (double)rig_float((uint16_t)a), y = (double)rig_float((uint16_t)b),
           w = (double)rig_float((uint16_t)c);
    switch (k) {
    case 0:
        return rig_half(x + y);
    case 1:
        return rig_half(x - y);
    case 2:
        return rig_half(x * y);
    default:
        return rig_half(isfinite(x) && isfinite(y) && isfinite(w) ? odd((quad)x * (quad)y + (quad)w)
                                                                  : x * y + w);
    }
}

/* Every f16 as the first operand, against operands of every exponent: 4 million results an
 * operation. */
Test(real, f16_exhaustive, .timeout = 280) {
    enum { M = 65536 * 16 };
    static const char *const names[] = {"add", "sub", "mul", "fma.rn"};
    u64 *a = malloc(M * 8), *b = malloc(M * 8), *c = malloc(M * 8), *o = malloc(M * 8), s = 5;
    cr_assert(a && b && c && o);
    rig_start(80, 0);
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < M; i++) { /* two halves each: two results */
            u32 lo = (u32)i & 0xffff, r = (u32)rig_rand(&s), q = (u32)(rig_rand(&s) >> 16);
            a[i] = lo | (0xffff - lo) << 16;
            b[i] = r;
            if (i % 4 == 1)
                b[i] = (r & 0x83ff83ffu) | (lo & 0x7c00u) |
                       ((0xffff - lo) & 0x7c00u) << 16; /* same exponent */
            c[i] = q;
            if (i % 4 == 2) /* near the negated product, and one unit beside it */
                c[i] = ((half_op(2, lo, (u32)b[i] & 0xffff, 0) ^ 0x8000u) + q % 3 - 1) & 0xffff;
            if (i % 4 == 3) /* a product that lies just beside a midpoint of c */
                b[i] = ((u32)q & 0x8000u) |
                       (((u32)((q >> 10 & 31) > 12 ? (q >> 10 & 31) - 11 : 1) << 10) & 0x7c00u) |
                       (q & 3u);
        }
        char op[40];
        snprintf(op, sizeof op, "%s.f16x2", names[k]);
        rig_case t = {op, k == 3 ? "wwww" : "www", NULL, 80, false};
        rig_op(&t, a, b, c, o, M);
        for (int i = 0; i < M; i++)
            for (int h = 0; h < 32; h += 16) {
                u32 want = half_op(k, (u32)(a[i] >> h) & 0xffff, (u32)(b[i] >> h) & 0xffff,
                                   (u32)(c[i] >> h) & 0xffff);
                u32 got = (u32)(o[i] >> h) & 0xffff;
                if (got != want)
                    cr_assert_fail("%s %llx %llx %llx half %d: %x, expected %x", op,
                                   (unsigned long long)a[i], (unsigned long long)b[i],
                                   (unsigned long long)c[i], h, got, want);
            }
    }
    free(a), free(b), free(c), free(o);
}

Test(real, f16_scalar_and_modes) {
    static u64 a[N], b[N], c[N], o[N];
    u64 s = 21;
    rig_start(80, 0);
    for (int i = 0; i < N; i++) {
        a[i] = rig_rand(&s) & 0xffff, b[i] = rig_rand(&s) & 0xffff, c[i] = rig_rand(&s) & 0xffff;
        if (i % 3 == 0)
            a[i] = (a[i] & 0x83ff) | 0x3800, b[i] = (b[i] & 0x83ff) | 0x3400,
            c[i] = (c[i] & 0x83ff) | 0x3000;
    }
    static const struct {
        const char *op, *sig;
        int k, sat, relu;
    } ops[] = {{"add.f16", "hhh", 0, 0, 0},         {"sub.rn.f16", "hhh", 1, 0, 0},
               {"mul.f16", "hhh", 2, 0, 0},         {"fma.rn.f16", "hhhh", 3, 0, 0},
               {"add.sat.f16", "hhh", 0, 1, 0},     {"fma.rn.sat.f16", "hhhh", 3, 1, 0},
               {"fma.rn.relu.f16", "hhhh", 3, 0, 1}};
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        rig_case t = {ops[k].op, ops[k].sig, NULL, 80, false};
        rig_op(&t, a, b, c, o, N);
        for (int i = 0; i < N; i++) {
            u32 w = half_op(ops[k].k, (u32)a[i], (u32)b[i], (u32)c[i]);
            double v = (double)rig_float((uint16_t)w);
            if (ops[k].sat)
                w = isnan(v) || v <= 0 ? 0 : v > 1 ? 0x3c00 : w;
            if (ops[k].relu)
                w = isnan(v) ? 0x7fff : w & 0x8000 ? 0 : w;
            cr_assert_eq(o[i], w, "%s %llx %llx %llx: %llx, expected %x", ops[k].op,
                         (unsigned long long)a[i], (unsigned long long)b[i],
                         (unsigned long long)c[i], (unsigned long long)o[i], w);
        }
    }
    static const char *const mm[] = {"min.f16", "max.f16"};
    for (int k = 0; k < 2; k++) {
        rig_case t = {mm[k], "hhh", NULL, 80, false};
        rig_op(&t, a, b, NULL, o, N);
        for (int i = 0; i < N; i++) {
            float x = rig_float((uint16_t)a[i]), y = rig_float((uint16_t)b[i]);
            u64 want = isnan(x) && isnan(y) ? 0x7fff
                       : isnan(x)           ? b[i]
                       : isnan(y)           ? a[i]
                                            : rig_half((double)(k ? maxf(x, y) : minf(x, y)));
            cr_assert_eq(o[i], want, "%s %g %g", mm[k], (double)x, (double)y);
        }
    }
}

static u32 bits_bf(double v) {
    float x = rig_bf16_round(v);
    u32 b;
    memcpy(&b, &x, 4);
    return isnan(v) ? 0x7fff : b >> 16;
}

Test(real, bf16) {
    static u64 a[N], b[N], c[N], o[N];
    static const struct {
        const char *op, *sig;
        int k, target;
    } ops[] = {{"add.bf16", "hhh", 0, 90},
               {"sub.bf16", "hhh", 1, 90},
               {"mul.bf16", "hhh", 2, 90},
               {"fma.rn.bf16", "hhhh", 3, 80}};
    u64 s = 33;
    rig_start(90, 0);
    for (int i = 0; i < N; i++) {
        /* exponents within 2^-40 .. 2^40: the products and sums are exact in quad */
        u64 r = rig_rand(&s);
        a[i] = (r & 0x807f) | (u64)(100 + r / 65536 % 50) << 7;
        b[i] = (r >> 20 & 0x807f) | (u64)(100 + (r >> 40) % 50) << 7;
        c[i] = (r >> 33 & 0x807f) | (u64)(80 + (r >> 48) % 90) << 7;
        if (i % 4 == 0) /* the product is near half a unit of c */
            c[i] = (c[i] & 0x807f) | ((a[i] >> 7 & 255) + (b[i] >> 7 & 255) - 127 + 7 + r % 3) << 7;
    }
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++)
        for (int two = 0; two < 2; two++) {
            char op[40];
            snprintf(op, sizeof op, "%s%s", ops[k].op, two ? "x2" : "");
            char sig[8];
            for (int i = 0; i <= (int)strlen(ops[k].sig); i++)
                sig[i] = ops[k].sig[i] && two ? 'w' : ops[k].sig[i];
            rig_case t = {op, sig, NULL, ops[k].target, false};
            rig_op(&t, a, b, c, o, N);
            for (int i = 0; i < N; i++) {
                double x = (double)f(a[i] << 16), y = (double)f(b[i] << 16),
                       w = (double)f(c[i] << 16);
                double v = ops[k].k == 0   ? x + y
                           : ops[k].k == 1 ? x - y
                           : ops[k].k == 2 ? x * y
                                           : odd((quad)x * (quad)y + (quad)w);
                cr_assert_eq(o[i] & 0xffff, bits_bf(v), "%s %g %g %g: %llx, expected %x", op, x, y,
                             w, (unsigned long long)o[i], bits_bf(v));
            }
        }
}

/* ---- conversions ---- */

Test(real, f16_conversions_all_values) {
    enum { M = 65536 };
    u64 *a = malloc(M * 4 * 8), *o = malloc(M * 4 * 8);
    rig_start(80, 0);
    for (int i = 0; i < M; i++)
        a[i] = (u64)i;
    rig_case up = {"cvt.f32.f16", "wh", NULL, 80, false},
             up64 = {"cvt.f64.f16", "xh", NULL, 80, false};
    rig_op(&up, a, NULL, NULL, o, M);
    for (int i = 0; i < M; i++)
        cr_assert_eq(o[i], fb(rig_float((uint16_t)i)), "f16 %x", i);
    rig_op(&up64, a, NULL, NULL, o, M);
    for (int i = 0; i < M; i++)
        cr_assert_eq(o[i], db((double)rig_float((uint16_t)i)), "f16 %x", i);
    /* back: every f16, every midpoint of neighbours, and both sides of each midpoint */
    for (int i = 0; i < M; i++) {
        float x = rig_float((uint16_t)i),
              y = rig_float((uint16_t)((i & 0x7fff) < 0x7c00 ? i + 1 : i));
        float mid = isinf(y) ? copysignf(65520.0f, x) : (x + y) * 0.5f;
        a[4 * i] = fb(x), a[4 * i + 1] = fb(mid);
        a[4 * i + 2] = fb(nextafterf(mid, INFINITY)), a[4 * i + 3] = fb(nextafterf(mid, -INFINITY));
    }
    rig_case down = {"cvt.rn.f16.f32", "hw", NULL, 80, false};
    rig_op(&down, a, NULL, NULL, o, M * 4);
    for (int i = 0; i < M * 4; i++)
        cr_assert_eq(o[i], rig_half((double)f(a[i])), "f32 %llx: %llx", (unsigned long long)a[i],
                     (unsigned long long)o[i]);
    rig_case pack = {"cvt.rn.f16x2.f32", "www", NULL, 80, false};
    u64 *b = malloc(M * 8);
    for (int i = 0; i < M; i++)
        b[i] = a[(i * 7 + 3) % (4 * M)];
    rig_op(&pack, a, b, NULL, o, M);
    for (int i = 0; i < M; i++)
        cr_assert_eq(o[i], (u64)rig_half((double)f(a[i])) << 16 | rig_half((double)f(b[i])),
                     "first operand is the high half");
    free(a), free(b), free(o);
}

static double round_mode(double v, int m) {
    fesetround(m);
    volatile double x = v;
    double r = nearbyint(x);
    fesetround(FE_TONEAREST);
    return r;
}
static u64 to_int(double v, int m, int bits, int sg) {
    if (isnan(v))
        return 0;
    v = round_mode(v, m);
    double hi = ldexp(1.0, bits - sg), lo = sg ? -hi : 0.0;
    u64 r = v >= hi  ? (sg           ? (1ull << (bits - 1)) - 1
                        : bits == 64 ? ~0ull
                                     : (1ull << bits) - 1)
            : v < lo ? (sg ? ~0ull << (bits - 1) : 0)
            : sg     ? (u64)(int64_t)v
                     : (u64)v;
    return bits == 64 ? r : r & ((1ull << bits) - 1);
}

Test(real, conversions) {
    static u64 a[N], o[N], q[N];
    static const struct {
        const char *mode;
        int m;
    } modes[] = {
        {"rni", FE_TONEAREST}, {"rzi", FE_TOWARDZERO}, {"rmi", FE_DOWNWARD}, {"rpi", FE_UPWARD}};
    static const struct {
        const char *name, *sig;
        int bits, sg;
    } ints[] = {{"s32", "ww", 32, 1}, {"u32", "ww", 32, 0}, {"s64", "xw", 64, 1},
                {"u64", "xw", 64, 0}, {"s16", "hw", 16, 1}, {"u16", "hw", 16, 0},
                {"u8", "ww", 8, 0}};
    char op[60];
    rig_start(90, 0);
    rig_f32s(a, N, 41);
    for (int i = 0; i < N; i += 3)
        a[i] = fb((float)((int)(a[i] % 2001) - 1000) * 0.25f);
    for (int k = 0; k < 7; k++)
        for (int m = 0; m < 4; m++) {
            snprintf(op, sizeof op, "cvt.%s.%s.f32", modes[m].mode, ints[k].name);
            rig_case t = {op, ints[k].sig, NULL, 80, false};
            rig_op(&t, a, NULL, NULL, o, N);
            for (int i = 0; i < N; i++) {
                u64 want = to_int((double)f(a[i]), modes[m].m, ints[k].bits, ints[k].sg);
                cr_assert_eq(o[i], want, "%s %g: %llx %llx", op, (double)f(a[i]),
                             (unsigned long long)o[i], (unsigned long long)want);
            }
        }
    static const struct {
        const char *mode;
        int m;
    } fm[] = {{"rn", FE_TONEAREST}, {"rz", FE_TOWARDZERO}, {"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}};
    rig_ints(q, N, 42);
    for (int m = 0; m < 4; m++) {
        snprintf(op, sizeof op, "cvt.%s.f32.s32", fm[m].mode);
        rig_case t = {op, "ww", NULL, 80, false};
        rig_op(&t, q, NULL, NULL, o, N);
        fesetround(fm[m].m);
        for (int i = 0; i < N; i++) {
            volatile int x = (int)(u32)q[i];
            volatile float w = (float)x;
            cr_assert_eq(o[i], fb(w), "%s %d", op, x);
        }
        fesetround(FE_TONEAREST);
        snprintf(op, sizeof op, "cvt.%s.f32.u64", fm[m].mode);
        rig_case t64 = {op, "wx", NULL, 80, false};
        rig_op(&t64, q, NULL, NULL, o, N);
        fesetround(fm[m].m);
        for (int i = 0; i < N; i++) {
            volatile long double x = (long double)q[i];
            volatile float w = (float)x;
            cr_assert_eq(o[i], fb(w), "%s %llx", op, (unsigned long long)q[i]);
        }
        fesetround(FE_TONEAREST);
        snprintf(op, sizeof op, "cvt.%s.f32.f64", fm[m].mode);
        rig_case td = {op, "wx", NULL, 80, false};
        u64 v[N];
        for (int i = 0; i < N; i++)
            v[i] = i % 2 ? db((double)f(a[i]) * 1.00000001) : q[i];
        rig_op(&td, v, NULL, NULL, o, N);
        fesetround(fm[m].m);
        for (int i = 0; i < N; i++) {
            volatile double x = d(v[i]);
            volatile float w = (float)x;
            cr_assert_eq(o[i], fb(w), "%s %a: %llx", op, x, (unsigned long long)o[i]);
        }
        fesetround(FE_TONEAREST);
    }
    rig_case b = {"cvt.rn.bf16.f32", "hw", NULL, 90, false},
             tf = {"cvt.rna.tf32.f32", "ww", NULL, 80, false};
    rig_op(&b, a, NULL, NULL, o, N);
    for (int i = 0; i < N; i++)
        cr_assert_eq(o[i], bits_bf((double)f(a[i])), "bf16 of %g", (double)f(a[i]));
    rig_op(&tf, a, NULL, NULL, o, N);
    for (int i = 0; i < N; i++) {
        u32 x = (u32)a[i], w = (x & 0x7f800000u) == 0x7f800000u
                                   ? x
                                   : (x + 0x1000u) & 0xffffe000u; /* ties away: add half, cut */
        if (isnan(f(x)))
            w = 0x7fffffffu;
        cr_assert_eq(o[i], w, "tf32 of %x: %llx %x", x, (unsigned long long)o[i], w);
    }
    static const struct {
        const char *op, *sig;
        int from, sg, to;
    } ext[] = {{"cvt.s32.s8", "ww", 8, 1, 32},   {"cvt.u32.u8", "wh", 8, 0, 32},
               {"cvt.s64.s32", "xw", 32, 1, 64}, {"cvt.u64.u32", "xw", 32, 0, 64},
               {"cvt.u32.u16", "wh", 16, 0, 32}, {"cvt.s32.s16", "wh", 16, 1, 32},
               {"cvt.u16.u32", "hw", 32, 0, 16}, {"cvt.u32.u64", "wx", 64, 0, 32},
               {"cvt.s64.s16", "xh", 16, 1, 64}};
    for (size_t k = 0; k < sizeof ext / sizeof *ext; k++) {
        rig_case t = {ext[k].op, ext[k].sig, NULL, 80, false};
        rig_op(&t, q, NULL, NULL, o, N);
        for (int i = 0; i < N; i++) {
            u64 v = ext[k].from == 64 ? q[i] : q[i] & ((1ull << ext[k].from) - 1);
            if (ext[k].sg && v >> (ext[k].from - 1))
                v |= ~0ull << (ext[k].from - 1);
            v = ext[k].to == 64 ? v : v & ((1ull << ext[k].to) - 1);
            cr_assert_eq(o[i], v, "%s %llx", ext[k].op, (unsigned long long)q[i]);
        }
    }
}
