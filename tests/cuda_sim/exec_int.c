/* Integer arithmetic. Registers of 16 bits are kept zero-extended in 32-bit lanes. */
#include "exec.h"

__extension__ typedef __int128 sim_i128;
__extension__ typedef unsigned __int128 sim_u128;

#define S16(x) ((int32_t)(int16_t)(x))
#define S32(x) ((int32_t)(x))
#define S64(x) ((int64_t)(x))
#define U16(x) ((uint32_t)(uint16_t)(x))

BIN(add16, 32, 32, U16(x + y))
BIN(add32, 32, 32, x + y)
BIN(add64, 64, 64, x + y)
BIN(sub16, 32, 32, U16(x - y))
BIN(sub32, 32, 32, x - y)
BIN(sub64, 64, 64, x - y)
BIN(mul16, 32, 32, U16(x *y))
BIN(mul32, 32, 32, x *y)
BIN(mul64, 64, 64, x *y)
BIN(mulhi_u16, 32, 32, (x * y) >> 16)
BIN(mulhi_s16, 32, 32, U16((uint32_t)(S16(x) * S16(y)) >> 16))
BIN(mulhi_u32, 32, 32, ((uint64_t)x * y) >> 32)
BIN(mulhi_s32, 32, 32, (uint64_t)((int64_t)S32(x) * S32(y)) >> 32)
BIN(mulhi_u64, 64, 64, ((sim_u128)x * y) >> 64)
BIN(mulhi_s64, 64, 64, (sim_u128)((sim_i128)S64(x) * S64(y)) >> 64)
BIN(mulw_u16, 32, 32, x *y)
BIN(mulw_s16, 32, 32, S16(x) * S16(y))
BIN(mulw_u32, 64, 32, (uint64_t)x *y)
BIN(mulw_s32, 64, 32, (int64_t)S32(x) * S32(y))
BIN(mul24_u32, 32, 32, (x & 0xffffffu) * (y & 0xffffffu))
BIN(mul24_s32, 32, 32, (uint32_t)(S32(x << 8) >> 8) * (uint32_t)(S32(y << 8) >> 8))
BIN(mul24hi_u32, 32, 32, ((uint64_t)(x & 0xffffffu) * (y & 0xffffffu)) >> 16)
TRI(mad16, 32, 32, U16(x *y + z))
TRI(mad32, 32, 32, x *y + z)
TRI(mad64, 64, 64, x *y + z)
TRI(madhi_u32, 32, 32, (((uint64_t)x * y) >> 32) + z)
TRI(madhi_s32, 32, 32, ((uint64_t)((int64_t)S32(x) * S32(y)) >> 32) + z)
TRI(madhi_u64, 64, 64, (uint64_t)(((sim_u128)x * y) >> 64) + z)
TRI(madhi_s64, 64, 64, (uint64_t)((sim_u128)((sim_i128)S64(x) * S64(y)) >> 64) + z)
TRI(madw_u16, 32, 32, x *y + z)
TRI(madw_s16, 32, 32, (uint32_t)(S16(x) * S16(y)) + z)
TRI(mad24_u32, 32, 32, (x & 0xffffffu) * (y & 0xffffffu) + z)
TRI(mad24_s32, 32, 32, (uint32_t)(S32(x << 8) >> 8) * (uint32_t)(S32(y << 8) >> 8) + z)
TRI(sad_u32, 32, 32, (x > y ? x - y : y - x) + z)
TRI(sad_s32, 32, 32, (S32(x) > S32(y) ? x - y : y - x) + z)
TRI(sad_u16, 32, 32, U16((x > y ? x - y : y - x) + z))
TRI(sad_s16, 32, 32, U16((S16(x) > S16(y) ? x - y : y - x) + z))
TRI(sad_u64, 64, 64, (x > y ? x - y : y - x) + z)
TRI(sad_s64, 64, 64, (S64(x) > S64(y) ? x - y : y - x) + z)

#define MADW(name, T)                                                                              \
    EXEC(name) {                                                                                   \
        SRC32(pa, a);                                                                              \
        SRC32(pb, b);                                                                              \
        SRC64(pc, c);                                                                              \
        DST64(pd);                                                                                 \
        LANES {                                                                                    \
            uint64_t r_ = (uint64_t)((T)pa[i] * (T)pb[i]) + pc[i];                                 \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
    }
#define SX32(x) (int64_t)(int32_t)(x)
MADW(madw_u32, uint64_t)
EXEC(madw_s32) {
    SRC32(pa, a);
    SRC32(pb, b);
    SRC64(pc, c);
    DST64(pd);
    LANES {
        uint64_t r_ = (uint64_t)(SX32(pa[i]) * SX32(pb[i])) + pc[i];
        pd[i] = ON(m) ? r_ : pd[i];
    }
}

static uint32_t sat32(int64_t v) {
    return (uint32_t)(int32_t)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : v);
}
BIN(addsat_s32, 32, 32, sat32((int64_t)S32(x) + S32(y)))
BIN(subsat_s32, 32, 32, sat32((int64_t)S32(x) - S32(y)))
TRI(madhisat_s32, 32, 32, sat32((((int64_t)S32(x) * S32(y)) >> 32) + S32(z)))

/* Division by zero gives all ones and leaves the dividend as remainder, as the hardware does. */
BIN(div_u16, 32, 32, y ? x / y : 0xffffu)
BIN(div_s16, 32, 32, U16(S16(y) ? S16(x) / S16(y) : -1))
BIN(div_u32, 32, 32, y ? x / y : 0xffffffffu)
BIN(div_s32, 32, 32, !y ? -1 : y == 0xffffffffu ? (int64_t)(0u - x) : (int64_t)(S32(x) / S32(y)))
BIN(div_u64, 64, 64, y ? x / y : ~0ull)
BIN(div_s64, 64, 64, !y ? ~0ull : y == ~0ull ? 0 - x : (uint64_t)(S64(x) / S64(y)))
BIN(rem_u16, 32, 32, y ? x % y : x)
BIN(rem_s16, 32, 32, U16(S16(y) ? S16(x) % S16(y) : S16(x)))
BIN(rem_u32, 32, 32, y ? x % y : x)
BIN(rem_s32, 32, 32, !y ? S32(x) : y == 0xffffffffu ? 0 : S32(x) % S32(y))
BIN(rem_u64, 64, 64, y ? x % y : x)
BIN(rem_s64, 64, 64, !y ? x : y == ~0ull ? 0 : (uint64_t)(S64(x) % S64(y)))

BIN(min_u16, 32, 32, x < y ? x : y)
BIN(min_s16, 32, 32, S16(x) < S16(y) ? x : y)
BIN(min_u32, 32, 32, x < y ? x : y)
BIN(min_s32, 32, 32, S32(x) < S32(y) ? x : y)
BIN(min_u64, 64, 64, x < y ? x : y)
BIN(min_s64, 64, 64, S64(x) < S64(y) ? x : y)
BIN(max_u16, 32, 32, x > y ? x : y)
BIN(max_s16, 32, 32, S16(x) > S16(y) ? x : y)
BIN(max_u32, 32, 32, x > y ? x : y)
BIN(max_s32, 32, 32, S32(x) > S32(y) ? x : y)
BIN(max_u64, 64, 64, x > y ? x : y)
BIN(max_s64, 64, 64, S64(x) > S64(y) ? x : y)
BIN(max_relu_s32, 32, 32, (S32(x) > S32(y) ? S32(x) : S32(y)) > 0 ? (S32(x) > S32(y) ? x : y) : 0u)
BIN(min_relu_s32, 32, 32, (S32(x) < S32(y) ? S32(x) : S32(y)) > 0 ? (S32(x) < S32(y) ? x : y) : 0u)
UN(abs_s16, 32, 32, U16(S16(x) < 0 ? -S16(x) : S16(x)))
UN(abs_s32, 32, 32, S32(x) < 0 ? 0u - x : x)
UN(abs_s64, 64, 64, S64(x) < 0 ? 0 - x : x)
UN(neg_s16, 32, 32, U16(0u - x))
UN(neg_s32, 32, 32, 0u - x)
UN(neg_s64, 64, 64, 0 - x)

/* ---- carry chains ---- */

#define CARRY(name, W, EXPR, OUT, SETS)                                                            \
    EXEC(name) {                                                                                   \
        SRC##W(pa, a);                                                                             \
        SRC##W(pb, b);                                                                             \
        DST##W(pd);                                                                                \
        uint32_t cc = 0;                                                                           \
        for (int i = 0; i < SIM_LANES; i++) {                                                      \
            const uint##W##_t x = pa[i], y = pb[i];                                                \
            const uint##W##_t ci = w->cc >> i & 1u;                                                \
            (void)ci;                                                                              \
            const uint##W##_t r_ = (uint##W##_t)(EXPR);                                            \
            cc |= (uint32_t)(OUT) << i;                                                            \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
        if (SETS)                                                                                  \
            w->cc = (w->cc & ~m) | (cc & m);                                                       \
    }
CARRY(addcc32, 32, x + y, r_ < x, 1)
CARRY(addc32, 32, x + y + ci, 0, 0)
CARRY(addccc32, 32, x + y + ci, r_ < x || (ci && r_ == x), 1)
CARRY(addcc64, 64, x + y, r_ < x, 1)
CARRY(addc64, 64, x + y + ci, 0, 0)
CARRY(addccc64, 64, x + y + ci, r_ < x || (ci && r_ == x), 1)
CARRY(subcc32, 32, x - y, x < y, 1)
CARRY(subc32, 32, x - y - ci, 0, 0)
CARRY(subccc32, 32, x - y - ci, x < y || (ci && x == y), 1)
CARRY(subcc64, 64, x - y, x < y, 1)
CARRY(subc64, 64, x - y - ci, 0, 0)
CARRY(subccc64, 64, x - y - ci, x < y || (ci && x == y), 1)

#define MADC(name, W, PROD, CIN, SETS)                                                             \
    EXEC(name) {                                                                                   \
        SRC##W(pa, a);                                                                             \
        SRC##W(pb, b);                                                                             \
        SRC##W(pc, c);                                                                             \
        DST##W(pd);                                                                                \
        uint32_t cc = 0;                                                                           \
        for (int i = 0; i < SIM_LANES; i++) {                                                      \
            const uint##W##_t x = pa[i], y = pb[i];                                                \
            const uint##W##_t q_ = (uint##W##_t)(PROD), ci = (CIN) ? (w->cc >> i & 1u) : 0;        \
            const uint##W##_t s_ = q_ + pc[i], r_ = s_ + ci;                                       \
            cc |= (uint32_t)(s_ < q_ || r_ < s_) << i;                                             \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
        if (SETS)                                                                                  \
            w->cc = (w->cc & ~m) | (cc & m);                                                       \
    }
#define HI32U(x, y) (((uint64_t)(x) * (y)) >> 32)
#define HI32S(x, y) ((uint64_t)((int64_t)S32(x) * S32(y)) >> 32)
#define HI64U(x, y) (((sim_u128)(x) * (y)) >> 64)
MADC(madlocc32, 32, x *y, 0, 1)
MADC(madclo32, 32, x *y, 1, 0)
MADC(madclocc32, 32, x *y, 1, 1)
MADC(madhiccu32, 32, HI32U(x, y), 0, 1)
MADC(madchiu32, 32, HI32U(x, y), 1, 0)
MADC(madchiccu32, 32, HI32U(x, y), 1, 1)
MADC(madhiccs32, 32, HI32S(x, y), 0, 1)
MADC(madchis32, 32, HI32S(x, y), 1, 0)
MADC(madlocc64, 64, x *y, 0, 1)
MADC(madclo64, 64, x *y, 1, 0)
MADC(madclocc64, 64, x *y, 1, 1)
MADC(madhiccu64, 64, HI64U(x, y), 0, 1)
MADC(madchiu64, 64, HI64U(x, y), 1, 0)
MADC(madchiccu64, 64, HI64U(x, y), 1, 1)

/* ---- dot products of bytes ---- */

static uint32_t dot4(uint32_t a, uint32_t b, bool sa, bool sb) {
    uint32_t s = 0;
    for (int k = 0; k < 32; k += 8) {
        int32_t x = sa ? (int8_t)(a >> k) : (int32_t)(a >> k & 255u);
        int32_t y = sb ? (int8_t)(b >> k) : (int32_t)(b >> k & 255u);
        s += (uint32_t)(x * y);
    }
    return s;
}
static uint32_t dot2(uint32_t a, uint32_t b, bool sa, bool sb, int hi) {
    uint32_t s = 0;
    for (int k = 0; k < 2; k++) {
        int32_t x = sa ? (int16_t)(a >> 16 * k) : (int32_t)(a >> 16 * k & 0xffffu);
        uint32_t q = b >> (8 * k + 16 * hi);
        int32_t y = sb ? (int8_t)q : (int32_t)(q & 255u);
        s += (uint32_t)(x * y);
    }
    return s;
}
TRI(dp4a_uu, 32, 32, dot4(x, y, 0, 0) + z)
TRI(dp4a_us, 32, 32, dot4(x, y, 0, 1) + z)
TRI(dp4a_su, 32, 32, dot4(x, y, 1, 0) + z)
TRI(dp4a_ss, 32, 32, dot4(x, y, 1, 1) + z)
TRI(dp2alo_uu, 32, 32, dot2(x, y, 0, 0, 0) + z)
TRI(dp2alo_us, 32, 32, dot2(x, y, 0, 1, 0) + z)
TRI(dp2alo_su, 32, 32, dot2(x, y, 1, 0, 0) + z)
TRI(dp2alo_ss, 32, 32, dot2(x, y, 1, 1, 0) + z)
TRI(dp2ahi_uu, 32, 32, dot2(x, y, 0, 0, 1) + z)
TRI(dp2ahi_us, 32, 32, dot2(x, y, 0, 1, 1) + z)
TRI(dp2ahi_su, 32, 32, dot2(x, y, 1, 0, 1) + z)
TRI(dp2ahi_ss, 32, 32, dot2(x, y, 1, 1, 1) + z)

#define R(op, sig, fn)                                                                             \
    { op, sig, fn, CL_INT, 0, CTL_NONE }
#define SAME(op, f16_, f32_, f64_)                                                                 \
    R(op ".u16", "hhh", f16_), R(op ".s16", "hhh", f16_), R(op ".u32", "www", f32_),               \
        R(op ".s32", "www", f32_), R(op ".u64", "xxx", f64_), R(op ".s64", "xxx", f64_)
#define SIX(op, f)                                                                                 \
    R(op ".u16", "hhh", f##_u16), R(op ".s16", "hhh", f##_s16), R(op ".u32", "www", f##_u32),      \
        R(op ".s32", "www", f##_s32), R(op ".u64", "xxx", f##_u64), R(op ".s64", "xxx", f##_s64)
#define CARR(op, f)                                                                                \
    R(op ".u32", "www", f##32), R(op ".s32", "www", f##32), R(op ".u64", "xxx", f##64),            \
        R(op ".s64", "xxx", f##64), R(op ".b32", "www", f##32), R(op ".b64", "xxx", f##64)

const sim_op sim_ops_int[] = {SAME("add", add16, add32, add64),
                              SAME("sub", sub16, sub32, sub64),
                              SAME("mul.lo", mul16, mul32, mul64),
                              SIX("mul.hi", mulhi),
                              R("mul.wide.u16", "whh", mulw_u16),
                              R("mul.wide.s16", "whh", mulw_s16),
                              R("mul.wide.u32", "xww", mulw_u32),
                              R("mul.wide.s32", "xww", mulw_s32),
                              R("mul24.lo.u32", "www", mul24_u32),
                              R("mul24.lo.s32", "www", mul24_s32),
                              R("mul24.hi.u32", "www", mul24hi_u32),
                              R("mad.lo.u16", "hhhh", mad16),
                              R("mad.lo.s16", "hhhh", mad16),
                              R("mad.lo.u32", "wwww", mad32),
                              R("mad.lo.s32", "wwww", mad32),
                              R("mad.lo.u64", "xxxx", mad64),
                              R("mad.lo.s64", "xxxx", mad64),
                              R("mad.hi.u32", "wwww", madhi_u32),
                              R("mad.hi.s32", "wwww", madhi_s32),
                              R("mad.hi.u64", "xxxx", madhi_u64),
                              R("mad.hi.s64", "xxxx", madhi_s64),
                              R("mad.hi.sat.s32", "wwww", madhisat_s32),
                              R("mad.wide.u16", "whhw", madw_u16),
                              R("mad.wide.s16", "whhw", madw_s16),
                              R("mad.wide.u32", "xwwx", madw_u32),
                              R("mad.wide.s32", "xwwx", madw_s32),
                              R("mad24.lo.u32", "wwww", mad24_u32),
                              R("mad24.lo.s32", "wwww", mad24_s32),
                              R("sad.u16", "hhhh", sad_u16),
                              R("sad.s16", "hhhh", sad_s16),
                              R("sad.u32", "wwww", sad_u32),
                              R("sad.s32", "wwww", sad_s32),
                              R("sad.u64", "xxxx", sad_u64),
                              R("sad.s64", "xxxx", sad_s64),
                              R("add.sat.s32", "www", addsat_s32),
                              R("sub.sat.s32", "www", subsat_s32),
                              SIX("div", div),
                              SIX("rem", rem),
                              SIX("min", min),
                              SIX("max", max),
                              R("max.s32.relu", "www", max_relu_s32),
                              R("min.s32.relu", "www", min_relu_s32),
                              R("abs.s16", "hh", abs_s16),
                              R("abs.s32", "ww", abs_s32),
                              R("abs.s64", "xx", abs_s64),
                              R("neg.s16", "hh", neg_s16),
                              R("neg.s32", "ww", neg_s32),
                              R("neg.s64", "xx", neg_s64),
                              CARR("add.cc", addcc),
                              CARR("addc", addc),
                              CARR("addc.cc", addccc),
                              CARR("sub.cc", subcc),
                              CARR("subc", subc),
                              CARR("subc.cc", subccc),
                              R("mad.lo.cc.u32", "wwww", madlocc32),
                              R("mad.lo.cc.s32", "wwww", madlocc32),
                              R("madc.lo.u32", "wwww", madclo32),
                              R("madc.lo.s32", "wwww", madclo32),
                              R("madc.lo.cc.u32", "wwww", madclocc32),
                              R("madc.lo.cc.s32", "wwww", madclocc32),
                              R("mad.hi.cc.u32", "wwww", madhiccu32),
                              R("mad.hi.cc.s32", "wwww", madhiccs32),
                              R("madc.hi.u32", "wwww", madchiu32),
                              R("madc.hi.s32", "wwww", madchis32),
                              R("madc.hi.cc.u32", "wwww", madchiccu32),
                              R("mad.lo.cc.u64", "xxxx", madlocc64),
                              R("madc.lo.u64", "xxxx", madclo64),
                              R("madc.lo.cc.u64", "xxxx", madclocc64),
                              R("mad.hi.cc.u64", "xxxx", madhiccu64),
                              R("madc.hi.u64", "xxxx", madchiu64),
                              R("madc.hi.cc.u64", "xxxx", madchiccu64),
                              R("dp4a.u32.u32", "wwww", dp4a_uu),
                              R("dp4a.u32.s32", "wwww", dp4a_us),
                              R("dp4a.s32.u32", "wwww", dp4a_su),
                              R("dp4a.s32.s32", "wwww", dp4a_ss),
                              R("dp2a.lo.u32.u32", "wwww", dp2alo_uu),
                              R("dp2a.lo.u32.s32", "wwww", dp2alo_us),
                              R("dp2a.lo.s32.u32", "wwww", dp2alo_su),
                              R("dp2a.lo.s32.s32", "wwww", dp2alo_ss),
                              R("dp2a.hi.u32.u32", "wwww", dp2ahi_uu),
                              R("dp2a.hi.u32.s32", "wwww", dp2ahi_us),
                              R("dp2a.hi.s32.u32", "wwww", dp2ahi_su),
                              R("dp2a.hi.s32.s32", "wwww", dp2ahi_ss),
                              {0}};
