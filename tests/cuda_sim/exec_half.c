/* f16, f16x2, bf16 and bf16x2, each result rounded once. */
#include "exec.h"

/* f32 has 24 bits, more than 2 * 11 + 1: rounding a f32 sum or product again is innocuous. */
#define HADD(a, b) sim_f2h((a) + (b))
#define HSUB(a, b) sim_f2h((a) - (b))
#define HMUL(a, b) sim_f2h((a) * (b))

enum { FTZ = 1, SAT = 2, RELU = 4 };

static inline uint32_t hz(uint32_t h) /* flush a subnormal */
{
    return h & 0x7c00u ? h : h & 0x8000u;
}
static inline uint32_t hpost(uint32_t h, uint32_t k) {
    bool nan = (h & 0x7fffu) > 0x7c00u, neg = (h & 0x8000u) != 0;
    if (k & FTZ)
        h = hz(h);
    if (k & SAT)
        h = nan || neg ? 0u : h > 0x3c00u ? 0x3c00u : h;
    if (k & RELU)
        h = nan ? 0x7fffu : neg ? 0u : h;
    return h;
}
static inline float hin(uint32_t h, uint32_t k) {
    return sim_h2f(k & FTZ ? hz(h & 0xffffu) : h & 0xffffu);
}

#define H1(E) E(sim_h2f(x), sim_h2f(y))
#define H2(E)                                                                                      \
    (E(sim_h2f(x & 0xffffu), sim_h2f(y & 0xffffu)) | E(sim_h2f(x >> 16), sim_h2f(y >> 16)) << 16)
#define HK1(E) hpost(E(hin(x, k), hin(y, k)), k)
#define HK2(E)                                                                                     \
    (hpost(E(hin(x, k), hin(y, k)), k) | hpost(E(hin(x >> 16, k), hin(y >> 16, k)), k) << 16)
#define HALF2(name, E)                                                                             \
    BIN(name##_f16, 32, 32, H1(E))                                                                 \
    BIN(name##_f16x2, 32, 32, H2(E))                                                               \
    EXEC(name##_f16_k) {                                                                           \
        SRC32(pa, a);                                                                              \
        SRC32(pb, b);                                                                              \
        DST32(pd);                                                                                 \
        const uint32_t k = in->imm;                                                                \
        LANES {                                                                                    \
            const uint32_t x = pa[i], y = pb[i];                                                   \
            uint32_t r_ = HK1(E);                                                                  \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
    }                                                                                              \
    EXEC(name##_f16x2_k) {                                                                         \
        SRC32(pa, a);                                                                              \
        SRC32(pb, b);                                                                              \
        DST32(pd);                                                                                 \
        const uint32_t k = in->imm;                                                                \
        LANES {                                                                                    \
            const uint32_t x = pa[i], y = pb[i];                                                   \
            uint32_t r_ = HK2(E);                                                                  \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
    }
HALF2(add, HADD)
HALF2(sub, HSUB)
HALF2(mul, HMUL)

#define FMA1 sim_hfma(sim_h2f(x), sim_h2f(y), sim_h2f(z))
#define FMA2                                                                                       \
    (sim_hfma(sim_h2f(x & 0xffffu), sim_h2f(y & 0xffffu), sim_h2f(z & 0xffffu)) |                  \
     sim_hfma(sim_h2f(x >> 16), sim_h2f(y >> 16), sim_h2f(z >> 16)) << 16)
TRI(fma_f16, 32, 32, FMA1)
TRI(fma_f16x2, 32, 32, FMA2)
TRI(fma_f16_k, 32, 32, hpost(sim_hfma(hin(x, in->imm), hin(y, in->imm), hin(z, in->imm)), in->imm))
TRI(fma_f16x2_k, 32, 32,
    hpost(sim_hfma(hin(x, in->imm), hin(y, in->imm), hin(z, in->imm)), in->imm) |
        hpost(sim_hfma(hin(x >> 16, in->imm), hin(y >> 16, in->imm), hin(z >> 16, in->imm)),
              in->imm)
            << 16)

/* min and max on bit patterns of 16-bit floats; inf is the pattern of infinity */
static inline uint32_t mm16(uint32_t x, uint32_t y, bool min, bool nanprop, uint32_t inf) {
    bool nx = (x & 0x7fffu) > inf, ny = (y & 0x7fffu) > inf;
    int32_t a = x & 0x8000u ? -(int32_t)(x & 0x7fffu) : (int32_t)x;
    int32_t b = y & 0x8000u ? -(int32_t)(y & 0x7fffu) : (int32_t)y;
    uint32_t r = a < b ? (min ? x : y) : b < a ? (min ? y : x) : min ? (x | y) : (x & y);
    r = nx ? y : ny ? x : r;
    return (nx && ny) || (nanprop && (nx || ny)) ? 0x7fffu : r;
}
#define MM1(mn, np, inf) mm16(x, y, mn, np, inf)
#define MM2(mn, np, inf)                                                                           \
    (mm16(x & 0xffffu, y & 0xffffu, mn, np, inf) | mm16(x >> 16, y >> 16, mn, np, inf) << 16)
BIN(min_f16, 32, 32, MM1(1, 0, 0x7c00u))
BIN(max_f16, 32, 32, MM1(0, 0, 0x7c00u))
BIN(min_nan_f16, 32, 32, MM1(1, 1, 0x7c00u))
BIN(max_nan_f16, 32, 32, MM1(0, 1, 0x7c00u))
BIN(min_f16x2, 32, 32, MM2(1, 0, 0x7c00u))
BIN(max_f16x2, 32, 32, MM2(0, 0, 0x7c00u))
BIN(min_nan_f16x2, 32, 32, MM2(1, 1, 0x7c00u))
BIN(max_nan_f16x2, 32, 32, MM2(0, 1, 0x7c00u))
BIN(min_bf16, 32, 32, MM1(1, 0, 0x7f80u))
BIN(max_bf16, 32, 32, MM1(0, 0, 0x7f80u))
BIN(min_nan_bf16, 32, 32, MM1(1, 1, 0x7f80u))
BIN(max_nan_bf16, 32, 32, MM1(0, 1, 0x7f80u))
BIN(min_bf16x2, 32, 32, MM2(1, 0, 0x7f80u))
BIN(max_bf16x2, 32, 32, MM2(0, 0, 0x7f80u))
BIN(min_nan_bf16x2, 32, 32, MM2(1, 1, 0x7f80u))
BIN(max_nan_bf16x2, 32, 32, MM2(0, 1, 0x7f80u))
UN(abs_h, 32, 32, x & 0x7fffu)
UN(abs_h2, 32, 32, x & 0x7fff7fffu)
UN(neg_h, 32, 32, x ^ 0x8000u)
UN(neg_h2, 32, 32, x ^ 0x80008000u)

/* ---- bf16 ---- */

#define BADD(a, b) sim_f2bf((a) + (b))
#define BSUB(a, b) sim_f2bf((a) - (b))
#define BMUL(a, b) sim_f2bf((a) * (b))
#define B1(E)      E(sim_bf2f(x), sim_bf2f(y))
#define B2(E)                                                                                      \
    (E(sim_bf2f(x & 0xffffu), sim_bf2f(y & 0xffffu)) | E(sim_bf2f(x >> 16), sim_bf2f(y >> 16))     \
                                                           << 16)
BIN(add_bf16, 32, 32, B1(BADD))
BIN(sub_bf16, 32, 32, B1(BSUB))
BIN(mul_bf16, 32, 32, B1(BMUL))
BIN(add_bf16x2, 32, 32, B2(BADD))
BIN(sub_bf16x2, 32, 32, B2(BSUB))
BIN(mul_bf16x2, 32, 32, B2(BMUL))

/* The product is exact in double; the sum goes to f32 by rounding to odd, then to bf16. */
static inline uint32_t bfma(float a, float b, float c) {
    double p = (double)a * (double)b, s = p + (double)c;
    double bb = s - p, err = (p - (s - bb)) + ((double)c - bb);
    float f = (float)s;
    double diff = (s - (double)f) + err;
    uint32_t u = sim_b(f);
    uint32_t up = ((diff < 0.0) ^ (u >> 31)) ? 0xffffffffu : 1u;
    bool fix = (diff < 0.0 || diff > 0.0) && !(u & 1u) && (u & 0x7f800000u) != 0x7f800000u;
    /* a zero that stands for a tiny value: take the smallest of the value's sign */
    if (fix && !(u & 0x7fffffffu))
        return sim_f2bf(sim_f((diff < 0.0 ? 0x80000000u : 0u) | 1u));
    return sim_f2bf(sim_f(fix ? u + up : u));
}
TRI(fma_bf16, 32, 32, bfma(sim_bf2f(x), sim_bf2f(y), sim_bf2f(z)))
TRI(fma_bf16x2, 32, 32,
    bfma(sim_bf2f(x & 0xffffu), sim_bf2f(y & 0xffffu), sim_bf2f(z & 0xffffu)) |
        bfma(sim_bf2f(x >> 16), sim_bf2f(y >> 16), sim_bf2f(z >> 16)) << 16)
static inline uint32_t brelu(uint32_t h) {
    return (h & 0x7fffu) > 0x7f80u ? 0x7fffu : h & 0x8000u ? 0u : h;
}
TRI(fma_relu_bf16, 32, 32, brelu(bfma(sim_bf2f(x), sim_bf2f(y), sim_bf2f(z))))
TRI(fma_relu_bf16x2, 32, 32,
    brelu(bfma(sim_bf2f(x & 0xffffu), sim_bf2f(y & 0xffffu), sim_bf2f(z & 0xffffu))) |
        brelu(bfma(sim_bf2f(x >> 16), sim_bf2f(y >> 16), sim_bf2f(z >> 16))) << 16)

#define R(op, sig, fn)                                                                             \
    { op, sig, fn, CL_F16, 0, CTL_NONE }
#define K(op, sig, fn, k)                                                                          \
    { op, sig, fn, CL_F16, k, CTL_NONE }
#define B(op, sig, fn)                                                                             \
    { op, sig, fn, CL_BF16, 0, CTL_NONE }
#define HOP(op, f)                                                                                 \
    R(op ".f16", "hhh", f##_f16), R(op ".rn.f16", "hhh", f##_f16),                                 \
        R(op ".f16x2", "www", f##_f16x2), R(op ".rn.f16x2", "www", f##_f16x2),                     \
        K(op ".ftz.f16", "hhh", f##_f16_k, FTZ), K(op ".ftz.f16x2", "www", f##_f16x2_k, FTZ),      \
        K(op ".sat.f16", "hhh", f##_f16_k, SAT), K(op ".sat.f16x2", "www", f##_f16x2_k, SAT),      \
        K(op ".rn.sat.f16", "hhh", f##_f16_k, SAT),                                                \
        K(op ".rn.sat.f16x2", "www", f##_f16x2_k, SAT),                                            \
        K(op ".ftz.sat.f16", "hhh", f##_f16_k, FTZ | SAT),                                         \
        K(op ".ftz.sat.f16x2", "www", f##_f16x2_k, FTZ | SAT)

const sim_op sim_ops_half[] = {HOP("add", add),
                               HOP("sub", sub),
                               HOP("mul", mul),
                               R("fma.rn.f16", "hhhh", fma_f16),
                               R("fma.rn.f16x2", "wwww", fma_f16x2),
                               K("fma.rn.ftz.f16", "hhhh", fma_f16_k, FTZ),
                               K("fma.rn.ftz.f16x2", "wwww", fma_f16x2_k, FTZ),
                               K("fma.rn.sat.f16", "hhhh", fma_f16_k, SAT),
                               K("fma.rn.sat.f16x2", "wwww", fma_f16x2_k, SAT),
                               K("fma.rn.ftz.sat.f16", "hhhh", fma_f16_k, FTZ | SAT),
                               K("fma.rn.ftz.sat.f16x2", "wwww", fma_f16x2_k, FTZ | SAT),
                               K("fma.rn.relu.f16", "hhhh", fma_f16_k, RELU),
                               K("fma.rn.relu.f16x2", "wwww", fma_f16x2_k, RELU),
                               R("min.f16", "hhh", min_f16),
                               R("max.f16", "hhh", max_f16),
                               R("min.NaN.f16", "hhh", min_nan_f16),
                               R("max.NaN.f16", "hhh", max_nan_f16),
                               R("min.f16x2", "www", min_f16x2),
                               R("max.f16x2", "www", max_f16x2),
                               R("min.NaN.f16x2", "www", min_nan_f16x2),
                               R("max.NaN.f16x2", "www", max_nan_f16x2),
                               R("abs.f16", "hh", abs_h),
                               R("abs.f16x2", "ww", abs_h2),
                               R("neg.f16", "hh", neg_h),
                               R("neg.f16x2", "ww", neg_h2),
                               {0}};

const sim_op sim_ops_bf16[] = {B("add.bf16", "hhh", add_bf16),
                               B("add.rn.bf16", "hhh", add_bf16),
                               B("sub.bf16", "hhh", sub_bf16),
                               B("sub.rn.bf16", "hhh", sub_bf16),
                               B("mul.bf16", "hhh", mul_bf16),
                               B("mul.rn.bf16", "hhh", mul_bf16),
                               B("add.bf16x2", "www", add_bf16x2),
                               B("add.rn.bf16x2", "www", add_bf16x2),
                               B("sub.bf16x2", "www", sub_bf16x2),
                               B("sub.rn.bf16x2", "www", sub_bf16x2),
                               B("mul.bf16x2", "www", mul_bf16x2),
                               B("mul.rn.bf16x2", "www", mul_bf16x2),
                               B("fma.rn.bf16", "hhhh", fma_bf16),
                               B("fma.rn.bf16x2", "wwww", fma_bf16x2),
                               B("fma.rn.relu.bf16", "hhhh", fma_relu_bf16),
                               B("fma.rn.relu.bf16x2", "wwww", fma_relu_bf16x2),
                               B("min.bf16", "hhh", min_bf16),
                               B("max.bf16", "hhh", max_bf16),
                               B("min.NaN.bf16", "hhh", min_nan_bf16),
                               B("max.NaN.bf16", "hhh", max_nan_bf16),
                               B("min.bf16x2", "www", min_bf16x2),
                               B("max.bf16x2", "www", max_bf16x2),
                               B("min.NaN.bf16x2", "www", min_nan_bf16x2),
                               B("max.NaN.bf16x2", "www", max_nan_bf16x2),
                               B("abs.bf16", "hh", abs_h),
                               B("abs.bf16x2", "ww", abs_h2),
                               B("neg.bf16", "hh", neg_h),
                               B("neg.bf16x2", "ww", neg_h2),
                               {0}};
