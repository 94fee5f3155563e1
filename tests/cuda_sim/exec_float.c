/* f32 and f64, rounded to nearest; the directed modes are in exec_round.c. */
#include "exec.h"

static inline uint32_t sat_f32(float f) {
    return f > 1.0f ? 0x3f800000u : f > 0.0f ? sim_b(f) : 0u;
}

/* plain, .ftz, .sat and .ftz.sat of one operation on floats p, q, s */
#define FVAR(KIND, name, E)                                                                        \
    KIND(name, 32, 32, FIN_##KIND(E, , sim_bn))                                                    \
    KIND(name##_ftz, 32, 32, FIN_##KIND(E, sim_ftz, FZ))                                           \
    KIND(name##_sat, 32, 32, FIN_##KIND(E, , sat_f32))                                             \
    KIND(name##_ftz_sat, 32, 32, FIN_##KIND(E, sim_ftz, sat_f32))
#define FZ(v)                sim_ftz(sim_bn(v))
#define FIN_UN(E, in_, out)  out(E(sim_f(in_(x))))
#define FIN_BIN(E, in_, out) out(E(sim_f(in_(x)), sim_f(in_(y))))
#define FIN_TRI(E, in_, out) out(E(sim_f(in_(x)), sim_f(in_(y)), sim_f(in_(z))))

#define E_ADD(a, b)    ((a) + (b))
#define E_SUB(a, b)    ((a) - (b))
#define E_MUL(a, b)    ((a) * (b))
#define E_DIV(a, b)    ((a) / (b))
#define E_FMA(a, b, c) fmaf(a, b, c)
#define E_SQRT(a)      sqrtf(a)
#define E_RCP(a)       (1.0f / (a))
FVAR(BIN, add_f32, E_ADD)
FVAR(BIN, sub_f32, E_SUB)
FVAR(BIN, mul_f32, E_MUL)
FVAR(TRI, fma_f32, E_FMA)
BIN(div_f32, 32, 32, sim_bn(sim_f(x) / sim_f(y)))
BIN(div_f32_ftz, 32, 32, FZ(sim_f(sim_ftz(x)) / sim_f(sim_ftz(y))))
/* div.approx: |y| in 2^126 .. 2^128 gives zero (or NaN for an infinite x). */
BIN(div_approx, 32, 32,
    sim_bn(fabsf(sim_f(y)) > 0x1p126f && fabsf(sim_f(y)) < INFINITY
               ? sim_f(x) * copysignf(0.0f, sim_f(y))
               : sim_f(x) / sim_f(y)))
BIN(div_approx_ftz, 32, 32,
    sim_ftz(sim_bn(fabsf(sim_f(y)) > 0x1p126f && fabsf(sim_f(y)) < INFINITY
                       ? sim_f(sim_ftz(x)) * copysignf(0.0f, sim_f(y))
                       : sim_f(sim_ftz(x)) / sim_f(sim_ftz(y)))))
UN(rcp_f32, 32, 32, sim_bn(1.0f / sim_f(x)))
UN(rcp_f32_ftz, 32, 32, FZ(1.0f / sim_f(sim_ftz(x))))
UN(sqrt_f32, 32, 32, sim_bn(sqrtf(sim_f(x))))
UN(sqrt_f32_ftz, 32, 32, FZ(sqrtf(sim_f(sim_ftz(x)))))
UN(rsqrt_f32, 32, 32, sim_bn((float)(1.0 / sqrt((double)sim_f(x)))))
UN(rsqrt_f32_ftz, 32, 32, FZ((float)(1.0 / sqrt((double)sim_f(sim_ftz(x))))))
UN(abs_f32, 32, 32, x & 0x7fffffffu)
UN(abs_f32_ftz, 32, 32, sim_ftz(x) & 0x7fffffffu)
UN(neg_f32, 32, 32, x ^ 0x80000000u)
UN(neg_f32_ftz, 32, 32, sim_ftz(x) ^ 0x80000000u)
BIN(copysign_f32, 32, 32, (x & 0x80000000u) | (y & 0x7fffffffu))

static inline bool nan32(uint32_t x) {
    return (x & 0x7fffffffu) > 0x7f800000u;
}
static inline uint32_t min32(uint32_t x, uint32_t y) {
    float a = sim_f(x), b = sim_f(y);
    uint32_t r = a < b ? x : b < a ? y : (x | y);
    r = nan32(x) ? y : nan32(y) ? x : r;
    return nan32(x) && nan32(y) ? 0x7fffffffu : r;
}
static inline uint32_t max32(uint32_t x, uint32_t y) {
    float a = sim_f(x), b = sim_f(y);
    uint32_t r = a > b ? x : b > a ? y : (x & y);
    r = nan32(x) ? y : nan32(y) ? x : r;
    return nan32(x) && nan32(y) ? 0x7fffffffu : r;
}
BIN(min_f32, 32, 32, min32(x, y))
BIN(max_f32, 32, 32, max32(x, y))
BIN(min_f32_ftz, 32, 32, min32(sim_ftz(x), sim_ftz(y)))
BIN(max_f32_ftz, 32, 32, max32(sim_ftz(x), sim_ftz(y)))
BIN(min_f32_nan, 32, 32, nan32(x) || nan32(y) ? 0x7fffffffu : min32(x, y))
BIN(max_f32_nan, 32, 32, nan32(x) || nan32(y) ? 0x7fffffffu : max32(x, y))
BIN(min_f32_ftz_nan, 32, 32, nan32(x) || nan32(y) ? 0x7fffffffu : min32(sim_ftz(x), sim_ftz(y)))
BIN(max_f32_ftz_nan, 32, 32, nan32(x) || nan32(y) ? 0x7fffffffu : max32(sim_ftz(x), sim_ftz(y)))

/* ---- f64 ---- */

BIN(add_f64, 64, 64, sim_bdn(sim_d(x) + sim_d(y)))
BIN(sub_f64, 64, 64, sim_bdn(sim_d(x) - sim_d(y)))
BIN(mul_f64, 64, 64, sim_bdn(sim_d(x) * sim_d(y)))
BIN(div_f64, 64, 64, sim_bdn(sim_d(x) / sim_d(y)))
TRI(fma_f64, 64, 64, sim_bdn(fma(sim_d(x), sim_d(y), sim_d(z))))
UN(rcp_f64, 64, 64, sim_bdn(1.0 / sim_d(x)))
UN(sqrt_f64, 64, 64, sim_bdn(sqrt(sim_d(x))))
UN(rsqrt_f64, 64, 64, sim_bdn(1.0 / sqrt(sim_d(x))))
UN(abs_f64, 64, 64, x & 0x7fffffffffffffffull)
UN(neg_f64, 64, 64, x ^ 0x8000000000000000ull)
BIN(copysign_f64, 64, 64, (x & 0x8000000000000000ull) | (y & 0x7fffffffffffffffull))
/* The approximations of f64 read and write the upper word only. */
UN(rcp_f64_approx, 64, 64, sim_bdn(1.0 / sim_d(x & 0xffffffff00000000ull)) & 0xffffffff00000000ull)
UN(rsqrt_f64_approx, 64, 64,
   sim_bdn(1.0 / sqrt(sim_d(x & 0xffffffff00000000ull))) & 0xffffffff00000000ull)
static inline uint64_t minmax64(uint64_t x, uint64_t y, bool min) {
    double a = sim_d(x), b = sim_d(y);
    if (a != a)
        return b != b ? 0xfff8000000000000ull : y;
    if (b != b)
        return x;
    if (a == b)
        return min ? x | y : x & y;
    return (a < b) == min ? x : y;
}
BIN(min_f64, 64, 64, minmax64(x, y, true))
BIN(max_f64, 64, 64, minmax64(x, y, false))

/* testp: imm 0 finite, 1 infinite, 2 number, 3 notanumber, 4 normal, 5 subnormal */
static bool testp(double v, bool sub, uint32_t kind) {
    switch (kind) {
    case 0:
        return isfinite(v);
    case 1:
        return isinf(v);
    case 2:
        return !isnan(v);
    case 3:
        return isnan(v);
    case 4:
        return isfinite(v) && !sub && v != 0.0;
    default:
        return sub && v != 0.0;
    }
}
EXEC(testp_f32) {
    SRC32(pa, a);
    uint32_t r = 0;
    for (int i = 0; i < SIM_LANES; i++)
        r |= (uint32_t)testp((double)sim_f(pa[i]), !(pa[i] & 0x7f800000u), in->imm) << i;
    sim_set_pred(w, in->d, r, m);
}
EXEC(testp_f64) {
    SRC64(pa, a);
    uint32_t r = 0;
    for (int i = 0; i < SIM_LANES; i++)
        r |= (uint32_t)testp(sim_d(pa[i]), !(pa[i] & 0x7ff0000000000000ull), in->imm) << i;
    sim_set_pred(w, in->d, r, m);
}

#define R(op, sig, fn)                                                                             \
    { op, sig, fn, CL_F32, 0, CTL_NONE }
#define D(op, sig, fn)                                                                             \
    { op, sig, fn, CL_F64, 0, CTL_NONE }
#define S(op, sig, fn)                                                                             \
    { op, sig, fn, CL_SFU, 0, CTL_NONE }
#define ARITH(op, sig, f)                                                                          \
    R(op ".f32", sig, f), R(op ".ftz.f32", sig, f##_ftz), R(op ".sat.f32", sig, f##_sat),          \
        R(op ".ftz.sat.f32", sig, f##_ftz_sat)
#define FT(op, sig, f) R(op ".f32", sig, f), R(op ".ftz.f32", sig, f##_ftz)
#define SF(op, sig, f) S(op ".f32", sig, f), S(op ".ftz.f32", sig, f##_ftz)
#define TP(k, n)                                                                                   \
    {"testp." n ".f32", "pf", testp_f32, CL_PRED, k, CTL_NONE}, {                                  \
        "testp." n ".f64", "pg", testp_f64, CL_PRED, k, CTL_NONE                                   \
    }

const sim_op sim_ops_float[] = {ARITH("add", "fff", add_f32),
                                ARITH("add.rn", "fff", add_f32),
                                ARITH("sub", "fff", sub_f32),
                                ARITH("sub.rn", "fff", sub_f32),
                                ARITH("mul", "fff", mul_f32),
                                ARITH("mul.rn", "fff", mul_f32),
                                ARITH("fma.rn", "ffff", fma_f32),
                                ARITH("mad.rn", "ffff", fma_f32),
                                FT("div.rn", "fff", div_f32),
                                SF("div.full", "fff", div_f32),
                                S("div.approx.f32", "fff", div_approx),
                                S("div.approx.ftz.f32", "fff", div_approx_ftz),
                                FT("rcp.rn", "ff", rcp_f32),
                                SF("rcp.approx", "ff", rcp_f32),
                                FT("sqrt.rn", "ff", sqrt_f32),
                                SF("sqrt.approx", "ff", sqrt_f32),
                                SF("rsqrt.approx", "ff", rsqrt_f32),
                                FT("abs", "ff", abs_f32),
                                FT("neg", "ff", neg_f32),
                                R("copysign.f32", "fff", copysign_f32),
                                FT("min", "fff", min_f32),
                                FT("max", "fff", max_f32),
                                R("min.NaN.f32", "fff", min_f32_nan),
                                R("max.NaN.f32", "fff", max_f32_nan),
                                R("min.ftz.NaN.f32", "fff", min_f32_ftz_nan),
                                R("max.ftz.NaN.f32", "fff", max_f32_ftz_nan),
                                D("add.f64", "ggg", add_f64),
                                D("add.rn.f64", "ggg", add_f64),
                                D("sub.f64", "ggg", sub_f64),
                                D("sub.rn.f64", "ggg", sub_f64),
                                D("mul.f64", "ggg", mul_f64),
                                D("mul.rn.f64", "ggg", mul_f64),
                                D("fma.rn.f64", "gggg", fma_f64),
                                D("mad.rn.f64", "gggg", fma_f64),
                                D("div.rn.f64", "ggg", div_f64),
                                D("rcp.rn.f64", "gg", rcp_f64),
                                D("sqrt.rn.f64", "gg", sqrt_f64),
                                D("rsqrt.approx.f64", "gg", rsqrt_f64),
                                D("rcp.approx.ftz.f64", "gg", rcp_f64_approx),
                                D("rsqrt.approx.ftz.f64", "gg", rsqrt_f64_approx),
                                D("abs.f64", "gg", abs_f64),
                                D("neg.f64", "gg", neg_f64),
                                D("min.f64", "ggg", min_f64),
                                D("max.f64", "ggg", max_f64),
                                D("copysign.f64", "ggg", copysign_f64),
                                TP(0, "finite"),
                                TP(1, "infinite"),
                                TP(2, "number"),
                                TP(3, "notanumber"),
                                TP(4, "normal"),
                                TP(5, "subnormal"),
                                {0}};

/* ---- approximate functions: correctly rounded or nearly so, inside the documented error ---- */

UN(ex2, 32, 32, sim_bn(exp2f(sim_f(x))))
UN(ex2_ftz, 32, 32, FZ(exp2f(sim_f(sim_ftz(x)))))
UN(lg2, 32, 32, sim_bn(log2f(sim_f(x))))
UN(lg2_ftz, 32, 32, FZ(log2f(sim_f(sim_ftz(x)))))
UN(sin_, 32, 32, sim_bn((float)sin((double)sim_f(x))))
UN(sin_ftz, 32, 32, FZ((float)sin((double)sim_f(sim_ftz(x)))))
UN(cos_, 32, 32, sim_bn((float)cos((double)sim_f(x))))
UN(cos_ftz, 32, 32, FZ((float)cos((double)sim_f(sim_ftz(x)))))
UN(tanh_, 32, 32, sim_bn((float)tanh((double)sim_f(x))))
#define H2(fn, x) (sim_f2h(fn(sim_h2f((x)&0xffffu))) | sim_f2h(fn(sim_h2f((x) >> 16))) << 16)
#define B2(fn, x) (sim_f2bf(fn(sim_bf2f((x)&0xffffu))) | sim_f2bf(fn(sim_bf2f((x) >> 16))) << 16)
UN(ex2_f16, 32, 32, sim_f2h(exp2f(sim_h2f(x))))
UN(ex2_f16x2, 32, 32, H2(exp2f, x))
UN(tanh_f16, 32, 32, sim_f2h(tanhf(sim_h2f(x))))
UN(tanh_f16x2, 32, 32, H2(tanhf, x))
UN(ex2_bf16, 32, 32, sim_f2bf(exp2f(sim_bf2f(x))))
UN(ex2_bf16x2, 32, 32, B2(exp2f, x))
UN(tanh_bf16, 32, 32, sim_f2bf(tanhf(sim_bf2f(x))))
UN(tanh_bf16x2, 32, 32, B2(tanhf, x))

const sim_op sim_ops_sfu[] = {S("ex2.approx.f32", "ff", ex2),
                              S("ex2.approx.ftz.f32", "ff", ex2_ftz),
                              S("lg2.approx.f32", "ff", lg2),
                              S("lg2.approx.ftz.f32", "ff", lg2_ftz),
                              S("sin.approx.f32", "ff", sin_),
                              S("sin.approx.ftz.f32", "ff", sin_ftz),
                              S("cos.approx.f32", "ff", cos_),
                              S("cos.approx.ftz.f32", "ff", cos_ftz),
                              S("tanh.approx.f32", "ff", tanh_),
                              S("ex2.approx.f16", "hh", ex2_f16),
                              S("ex2.approx.f16x2", "ww", ex2_f16x2),
                              S("ex2.approx.ftz.f16", "hh", ex2_f16),
                              S("tanh.approx.f16", "hh", tanh_f16),
                              S("tanh.approx.f16x2", "ww", tanh_f16x2),
                              S("ex2.approx.ftz.bf16", "hh", ex2_bf16),
                              S("ex2.approx.ftz.bf16x2", "ww", ex2_bf16x2),
                              S("tanh.approx.bf16", "hh", tanh_bf16),
                              S("tanh.approx.bf16x2", "ww", tanh_bf16x2),
                              {0}};
