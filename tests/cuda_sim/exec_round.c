/* Directed rounding by the host's own rounding modes. Built with -frounding-math. */
#include "exec.h"

#include <fenv.h>

/* imm: mode in bits 0..1 (rz, rm, rp), bit 2: ftz */
static void mode(uint32_t imm) {
    static const int modes[] = {FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD, FE_TONEAREST};
    fesetround(modes[imm & 3u]);
}

#define LOOP32(EXPR)                                                                               \
    DST32(pd);                                                                                     \
    mode(in->imm);                                                                                 \
    for (int i = 0; i < SIM_LANES; i++) {                                                          \
        if (!ON(m))                                                                                \
            continue;                                                                              \
        uint32_t xb = pa[i], yb = pb[i], zb = pc[i];                                               \
        if (in->imm & 4u)                                                                          \
            xb = sim_ftz(xb), yb = sim_ftz(yb), zb = sim_ftz(zb);                                  \
        volatile float x = sim_f(xb), y = sim_f(yb), z = sim_f(zb);                                \
        (void)y, (void)z;                                                                          \
        volatile float r = (EXPR);                                                                 \
        uint32_t b = sim_bn(r);                                                                    \
        pd[i] = in->imm & 4u ? sim_ftz(b) : b;                                                     \
    }                                                                                              \
    fesetround(FE_TONEAREST);
#define LOOP64(EXPR)                                                                               \
    DST64(pd);                                                                                     \
    mode(in->imm);                                                                                 \
    for (int i = 0; i < SIM_LANES; i++) {                                                          \
        if (!ON(m))                                                                                \
            continue;                                                                              \
        volatile double x = sim_d(pa[i]), y = sim_d(pb[i]), z = sim_d(pc[i]);                      \
        (void)y, (void)z;                                                                          \
        volatile double r = (EXPR);                                                                \
        pd[i] = sim_bdn(r);                                                                        \
    }                                                                                              \
    fesetround(FE_TONEAREST);
#define D1(W, name, EXPR)                                                                          \
    EXEC(name) {                                                                                   \
        SRC##W(pa, a);                                                                             \
        SRC##W(pb, a);                                                                             \
        SRC##W(pc, a);                                                                             \
        LOOP##W(EXPR)                                                                              \
    }
#define D2(W, name, EXPR)                                                                          \
    EXEC(name) {                                                                                   \
        SRC##W(pa, a);                                                                             \
        SRC##W(pb, b);                                                                             \
        SRC##W(pc, a);                                                                             \
        LOOP##W(EXPR)                                                                              \
    }
#define D3(W, name, EXPR)                                                                          \
    EXEC(name) {                                                                                   \
        SRC##W(pa, a);                                                                             \
        SRC##W(pb, b);                                                                             \
        SRC##W(pc, c);                                                                             \
        LOOP##W(EXPR)                                                                              \
    }
D2(32, add32, x + y)
D2(32, sub32, x - y)
D2(32, mul32, x *y)
D2(32, div32, x / y)
D3(32, fma32, fmaf(x, y, z))
D1(32, rcp32, 1.0f / x)
D1(32, sqrt32, sqrtf(x))
D2(64, add64, x + y)
D2(64, sub64, x - y)
D2(64, mul64, x *y)
D2(64, div64, x / y)
D3(64, fma64, fma(x, y, z))
D1(64, rcp64, 1.0 / x)
D1(64, sqrt64, sqrt(x))

#define M(op, f, s32, s64, mm, k)                                                                  \
    {op "." mm ".f32", s32, f##32, CL_F32, k, CTL_NONE},                                           \
        {op "." mm ".ftz.f32", s32, f##32, CL_F32, k | 4, CTL_NONE}, {                             \
        op "." mm ".f64", s64, f##64, CL_F64, k, CTL_NONE                                          \
    }
#define MODES(op, f, s32, s64)                                                                     \
    M(op, f, s32, s64, "rz", 0), M(op, f, s32, s64, "rm", 1), M(op, f, s32, s64, "rp", 2)

const sim_op sim_ops_round[] = {MODES("add", add, "fff", "ggg"),
                                MODES("sub", sub, "fff", "ggg"),
                                MODES("mul", mul, "fff", "ggg"),
                                MODES("div", div, "fff", "ggg"),
                                MODES("fma", fma, "ffff", "gggg"),
                                MODES("mad", fma, "ffff", "gggg"),
                                MODES("rcp", rcp, "ff", "gg"),
                                MODES("sqrt", sqrt, "ff", "gg"),
                                {0}};
