/* Logic, shifts, bit fields, selection, and the packed 16-bit integers of sm_90. */
#include "exec.h"

#define S32(x) ((int32_t)(x))
#define S64(x) ((int64_t)(x))
#define U16(x) ((uint32_t)(uint16_t)(x))

BIN(and32, 32, 32, x &y)
BIN(or32, 32, 32, x | y)
BIN(xor32, 32, 32, x ^ y)
UN(not32, 32, 32, ~x)
UN(not16, 32, 32, U16(~x))
UN(cnot32, 32, 32, x == 0)
UN(cnot64, 64, 64, x == 0)
BIN(and64, 64, 64, x &y)
BIN(or64, 64, 64, x | y)
BIN(xor64, 64, 64, x ^ y)
UN(not64, 64, 64, ~x)

/* Shift counts clamp at the width. */
BIN(shl16, 32, 32, y > 15 ? 0 : U16(x << (y & 31)))
BIN(shl32, 32, 32, y > 31 ? 0 : x << (y & 31))
BIN(shr_u16, 32, 32, y > 15 ? 0 : x >> (y & 31))
BIN(shr_s16, 32, 32, U16((int32_t)(int16_t)x >> (y > 15 ? 15 : y)))
BIN(shr_u32, 32, 32, y > 31 ? 0 : x >> (y & 31))
BIN(shr_s32, 32, 32, S32(x) >> (y > 31 ? 31 : y))
#define SH64(name, E)                                                                              \
    EXEC(name) {                                                                                   \
        SRC64(pa, a);                                                                              \
        SRC32(pb, b);                                                                              \
        DST64(pd);                                                                                 \
        LANES {                                                                                    \
            const uint64_t x = pa[i];                                                              \
            const uint32_t y = pb[i];                                                              \
            const uint64_t r_ = (uint64_t)(E);                                                     \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
    }
SH64(shl64, y > 63 ? 0 : x << (y & 63))
SH64(shr_u64, y > 63 ? 0 : x >> (y & 63))
SH64(shr_s64, S64(x) >> (y > 63 ? 63 : y))

static uint32_t shf_l(uint32_t lo, uint32_t hi, uint32_t n) {
    return n == 0 ? hi : n >= 32 ? lo : hi << n | lo >> (32 - n);
}
static uint32_t shf_r(uint32_t lo, uint32_t hi, uint32_t n) {
    return n == 0 ? lo : n >= 32 ? hi : lo >> n | hi << (32 - n);
}
TRI(shf_l_wrap, 32, 32, shf_l(x, y, z & 31))
TRI(shf_l_clamp, 32, 32, shf_l(x, y, z > 32 ? 32 : z))
TRI(shf_r_wrap, 32, 32, shf_r(x, y, z & 31))
TRI(shf_r_clamp, 32, 32, shf_r(x, y, z > 32 ? 32 : z))

/* The table is the result for (a, b, c) = (F0, CC, AA): a sum of minterms, four at a time. */
static inline uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, const uint32_t t[8]) {
    uint32_t n00 = (t[0] & ~c) | (t[1] & c), n01 = (t[2] & ~c) | (t[3] & c);
    uint32_t n10 = (t[4] & ~c) | (t[5] & c), n11 = (t[6] & ~c) | (t[7] & c);
    return (~a & ((~b & n00) | (b & n01))) | (a & ((~b & n10) | (b & n11)));
}
EXEC(lop3_32) {
    SRC32(pa, a);
    SRC32(pb, b);
    SRC32(pc, c);
    DST32(pd);
    uint32_t t[8];
    for (int k = 0; k < 8; k++)
        t[k] = 0u - (in->imm >> k & 1u);
    LANES {
        uint32_t r_ = lop3(pa[i], pb[i], pc[i], t);
        pd[i] = ON(m) ? r_ : pd[i];
    }
}

static uint32_t prmt_byte(uint64_t ab, uint32_t sel) {
    uint32_t b = (uint32_t)(ab >> (8 * (sel & 7u))) & 255u;
    return sel & 8u ? (b & 128u ? 255u : 0u) : b;
}
static inline uint32_t prmt(uint32_t a, uint32_t b, uint32_t s) {
    uint64_t ab = (uint64_t)b << 32 | a;
    return prmt_byte(ab, s) | prmt_byte(ab, s >> 4) << 8 | prmt_byte(ab, s >> 8) << 16 |
           prmt_byte(ab, s >> 12) << 24;
}
static uint32_t prmt_mode(uint32_t a, uint32_t b, uint32_t c, int mode) {
    static const uint16_t sel[6][4] = {
        {0x3210, 0x4321, 0x5432, 0x6543}, /* f4e */
        {0x5670, 0x6701, 0x7012, 0x0123}, /* b4e */
        {0x0000, 0x1111, 0x2222, 0x3333}, /* rc8 */
        {0x3210, 0x3211, 0x3222, 0x3333}, /* ecl */
        {0x0000, 0x1110, 0x2210, 0x3210}, /* ecr */
        {0x1010, 0x3232, 0x1010, 0x3232}, /* rc16 */
    };
    return prmt(a, b, sel[mode][c & 3u]);
}
TRI(prmt32, 32, 32, prmt(x, y, z))
TRI(prmt_m, 32, 32, prmt_mode(x, y, z, (int)in->imm))

static uint32_t bfe_u(uint32_t a, uint32_t pos, uint32_t len) {
    pos &= 255u, len &= 255u;
    uint64_t v = pos > 31 ? 0 : a >> pos;
    return (uint32_t)(len > 31 ? v : v & ((1ull << len) - 1));
}
static uint32_t bfe_s(uint32_t a, uint32_t pos, uint32_t len) {
    pos &= 255u, len &= 255u;
    if (!len)
        return 0;
    uint32_t top = pos + len - 1 > 31 ? 31 : pos + len - 1;
    uint32_t sign = 0u - (a >> top & 1u);
    uint32_t d = sign;
    for (uint32_t k = 0; k < len && k < 32; k++)
        if (pos + k <= 31)
            d = (d & ~(1u << k)) | (a >> (pos + k) & 1u) << k;
    return d;
}
static uint32_t bfi(uint32_t a, uint32_t b, uint32_t pos, uint32_t len) {
    pos &= 255u, len &= 255u;
    uint64_t mask = len > 31 ? 0xffffffffull : (1ull << len) - 1;
    if (pos > 31)
        return b;
    mask = (mask << pos) & 0xffffffffull;
    return (b & ~(uint32_t)mask) | (uint32_t)(((uint64_t)a << pos) & mask);
}
TRI(bfe_u32, 32, 32, bfe_u(x, y, z))
TRI(bfe_s32, 32, 32, bfe_s(x, y, z))
static uint64_t bfe_w(uint64_t a, uint32_t pos, uint32_t len, bool sgn) {
    pos &= 255u, len &= 255u;
    if (!len)
        return 0;
    uint32_t top = pos + len - 1 > 63 ? 63 : pos + len - 1;
    uint64_t sign = sgn && (a >> top & 1u) ? ~0ull : 0;
    uint64_t v = pos > 63 ? sign : sgn ? (uint64_t)((int64_t)a >> pos) : a >> pos;
    return len > 63 ? v : (v & ((1ull << len) - 1)) | (sign & ~((1ull << len) - 1));
}
#define BFE64(name, s)                                                                             \
    EXEC(name) {                                                                                   \
        SRC64(pa, a);                                                                              \
        SRC32(pb, b);                                                                              \
        SRC32(pc, c);                                                                              \
        DST64(pd);                                                                                 \
        for (int i = 0; i < SIM_LANES; i++)                                                        \
            if (ON(m))                                                                             \
                pd[i] = bfe_w(pa[i], pb[i], pc[i], s);                                             \
    }
BFE64(bfe_u64, false)
BFE64(bfe_s64, true)
EXEC(bfi32) {
    SRC32(pa, a);
    SRC32(pb, b);
    SRC32(pc, c);
    SRC32(pe, e);
    DST32(pd);
    LANES {
        uint32_t r_ = bfi(pa[i], pb[i], pc[i], pe[i]);
        pd[i] = ON(m) ? r_ : pd[i];
    }
}
EXEC(bfi64) {
    SRC64(pa, a);
    SRC64(pb, b);
    SRC32(pc, c);
    SRC32(pe, e);
    DST64(pd);
    for (int i = 0; i < SIM_LANES; i++) {
        uint32_t pos = pc[i] & 255u, len = pe[i] & 255u;
        uint64_t mask = len > 63 ? ~0ull : (1ull << len) - 1;
        if (ON(m))
            pd[i] = pos > 63 ? pb[i] : (pb[i] & ~(mask << pos)) | ((pa[i] & mask) << pos);
    }
}
static uint32_t brev(uint32_t x) {
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}
UN(brev32, 32, 32, brev(x))
UN(brev64, 64, 64, (uint64_t)brev((uint32_t)x) << 32 | brev((uint32_t)(x >> 32)))
UN(popc32, 32, 32, __builtin_popcount(x))
UN(popc64, 32, 64, __builtin_popcountll(x))
UN(clz32, 32, 32, x ? __builtin_clz(x) : 32)
UN(clz64, 32, 64, x ? __builtin_clzll(x) : 64)
UN(bfind_u32, 32, 32, x ? 31 - __builtin_clz(x) : -1)
static uint32_t bfind_s(uint32_t x) {
    x = S32(x) < 0 ? ~x : x;
    return x ? 31u - (uint32_t)__builtin_clz(x) : ~0u;
}
UN(bfind_s32, 32, 32, bfind_s(x))
UN(bfindsh_u32, 32, 32, x ? __builtin_clz(x) : -1)
UN(bfindsh_s32, 32, 32, bfind_s(x) == ~0u ? ~0u : 31u - bfind_s(x))
UN(bfind_u64, 32, 64, x ? 63 - __builtin_clzll(x) : -1)
static uint32_t bfind_s64v(uint64_t x) {
    x = S64(x) < 0 ? ~x : x;
    return x ? 63u - (uint32_t)__builtin_clzll(x) : ~0u;
}
UN(bfind_s64, 32, 64, bfind_s64v(x))
UN(bfindsh_u64, 32, 64, x ? __builtin_clzll(x) : -1)
static uint32_t bmsk(uint32_t a, uint32_t b, bool clamp) {
    if (!clamp)
        a &= 31u, b &= 31u;
    if (a > 31)
        return 0;
    uint32_t n = b > 32 ? 32 : b;
    uint64_t v = ((1ull << n) - 1) << a;
    return (uint32_t)v;
}
BIN(bmsk_clamp, 32, 32, bmsk(x, y, true))
BIN(bmsk_wrap, 32, 32, bmsk(x, y, false))
static uint32_t szext(uint32_t a, uint32_t n, bool sgn, bool clamp) {
    n = clamp ? (n > 32 ? 32 : n) : (n & 31u);
    if (n == 0)
        return 0;
    if (n == 32)
        return a;
    uint32_t low = a & ((1u << n) - 1u);
    return sgn && (low >> (n - 1)) ? low | ~((1u << n) - 1u) : low;
}
BIN(szext_wu, 32, 32, szext(x, y, 0, 0))
BIN(szext_ws, 32, 32, szext(x, y, 1, 0))
BIN(szext_cu, 32, 32, szext(x, y, 0, 1))
BIN(szext_cs, 32, 32, szext(x, y, 1, 1))

/* fns: the place of the n-th set bit from base upwards (n > 0) or downwards (n < 0), -1 if none */
static uint32_t fns(uint32_t mask, uint32_t base, int32_t n) {
    int64_t step = n < 0 ? -1 : 1, left = n < 0 ? -(int64_t)n : n;
    if (n == 0)
        return base < 32 && (mask >> base & 1u) ? base : ~0u;
    for (int64_t k = base; k >= 0 && k < 32; k += step)
        if ((mask >> k & 1u) && --left == 0)
            return (uint32_t)k;
    return ~0u;
}
TRI(fns32, 32, 32, fns(x, y, (int32_t)z))

/* ---- predicates ---- */

static uint32_t pin(const sim_warp *w, const sim_insn *in, int32_t p, int k) {
    return in->neg >> k & 1u ? ~sim_pred(w, p) : sim_pred(w, p);
}
EXEC(and_p) {
    sim_set_pred(w, in->d, pin(w, in, in->a, 1) & pin(w, in, in->b, 2), m);
}
EXEC(or_p) {
    sim_set_pred(w, in->d, pin(w, in, in->a, 1) | pin(w, in, in->b, 2), m);
}
EXEC(xor_p) {
    sim_set_pred(w, in->d, pin(w, in, in->a, 1) ^ pin(w, in, in->b, 2), m);
}
EXEC(not_p) {
    sim_set_pred(w, in->d, ~pin(w, in, in->a, 1), m);
}
EXEC(mov_p) {
    sim_set_pred(w, in->d, pin(w, in, in->a, 1), m);
}
EXEC(selp32) {
    SRC32(pa, a);
    SRC32(pb, b);
    DST32(pd);
    uint32_t p = pin(w, in, in->c, 3);
    LANES {
        uint32_t r_ = ON(p) ? pa[i] : pb[i];
        pd[i] = ON(m) ? r_ : pd[i];
    }
}
EXEC(selp64) {
    SRC64(pa, a);
    SRC64(pb, b);
    DST64(pd);
    uint32_t p = pin(w, in, in->c, 3);
    LANES {
        uint64_t r_ = ON(p) ? pa[i] : pb[i];
        pd[i] = ON(m) ? r_ : pd[i];
    }
}
TRI(slct_s32, 32, 32, S32(z) >= 0 ? x : y)
TRI(slct_f32, 32, 32, sim_f(z) >= 0.0f ? x : y)
EXEC(slct64) {
    SRC64(pa, a);
    SRC64(pb, b);
    SRC32(pc, c);
    DST64(pd);
    LANES {
        uint64_t r_ = S32(pc[i]) >= 0 ? pa[i] : pb[i];
        pd[i] = ON(m) ? r_ : pd[i];
    }
}

/* ---- packed pairs of 16-bit integers ---- */

#define LO(x)      ((int32_t)(int16_t)(x))
#define HI(x)      ((int32_t)(int16_t)((x) >> 16))
#define PACK(l, h) (U16(l) | (uint32_t)(h) << 16)
#define MINI(a, b) ((a) < (b) ? (a) : (b))
#define MAXI(a, b) ((a) > (b) ? (a) : (b))
BIN(add16x2, 32, 32, PACK(x + y, (x >> 16) + (y >> 16)))
BIN(min_s16x2, 32, 32, PACK(MINI(LO(x), LO(y)), MINI(HI(x), HI(y))))
BIN(max_s16x2, 32, 32, PACK(MAXI(LO(x), LO(y)), MAXI(HI(x), HI(y))))
BIN(min_u16x2, 32, 32, PACK(MINI(U16(x), U16(y)), MINI(x >> 16, y >> 16)))
BIN(max_u16x2, 32, 32, PACK(MAXI(U16(x), U16(y)), MAXI(x >> 16, y >> 16)))

#define R(op, sig, fn)                                                                             \
    { op, sig, fn, CL_LOGIC, 0, CTL_NONE }
#define RI(op, sig, fn, k)                                                                         \
    { op, sig, fn, CL_LOGIC, k, CTL_NONE }
#define RP(op, sig, fn)                                                                            \
    { op, sig, fn, CL_PRED, 0, CTL_NONE }
#define SEL16(t) RP("selp." t, "hhhp", selp32)
#define SEL32(t) RP("selp." t, "wwwp", selp32)
#define SEL64(t) RP("selp." t, "xxxp", selp64)

const sim_op sim_ops_bits[] = {R("and.b16", "hhh", and32),
                               R("or.b16", "hhh", or32),
                               R("xor.b16", "hhh", xor32),
                               R("not.b16", "hh", not16),
                               R("and.b32", "www", and32),
                               R("or.b32", "www", or32),
                               R("xor.b32", "www", xor32),
                               R("not.b32", "ww", not32),
                               R("and.b64", "xxx", and64),
                               R("or.b64", "xxx", or64),
                               R("xor.b64", "xxx", xor64),
                               R("not.b64", "xx", not64),
                               R("cnot.b32", "ww", cnot32),
                               R("cnot.b16", "hh", cnot32),
                               R("cnot.b64", "xx", cnot64),
                               RP("and.pred", "ppp", and_p),
                               RP("or.pred", "ppp", or_p),
                               RP("xor.pred", "ppp", xor_p),
                               RP("not.pred", "pp", not_p),
                               RP("mov.pred", "pp", mov_p),
                               R("shl.b16", "hhw", shl16),
                               R("shl.b32", "www", shl32),
                               R("shl.b64", "xxw", shl64),
                               R("shr.u16", "hhw", shr_u16),
                               R("shr.b16", "hhw", shr_u16),
                               R("shr.s16", "hhw", shr_s16),
                               R("shr.u32", "www", shr_u32),
                               R("shr.b32", "www", shr_u32),
                               R("shr.s32", "www", shr_s32),
                               R("shr.u64", "xxw", shr_u64),
                               R("shr.b64", "xxw", shr_u64),
                               R("shr.s64", "xxw", shr_s64),
                               R("shf.l.wrap.b32", "wwww", shf_l_wrap),
                               R("shf.l.clamp.b32", "wwww", shf_l_clamp),
                               R("shf.r.wrap.b32", "wwww", shf_r_wrap),
                               R("shf.r.clamp.b32", "wwww", shf_r_clamp),
                               R("lop3.b32", "wwwwi", lop3_32),
                               R("prmt.b32", "wwww", prmt32),
                               RI("prmt.b32.f4e", "wwww", prmt_m, 0),
                               RI("prmt.b32.b4e", "wwww", prmt_m, 1),
                               RI("prmt.b32.rc8", "wwww", prmt_m, 2),
                               RI("prmt.b32.ecl", "wwww", prmt_m, 3),
                               RI("prmt.b32.ecr", "wwww", prmt_m, 4),
                               RI("prmt.b32.rc16", "wwww", prmt_m, 5),
                               R("bfe.u32", "wwww", bfe_u32),
                               R("bfe.s32", "wwww", bfe_s32),
                               R("bfe.u64", "xxww", bfe_u64),
                               R("bfe.s64", "xxww", bfe_s64),
                               R("bfi.b32", "wwwww", bfi32),
                               R("bfi.b64", "xxxww", bfi64),
                               R("fns.b32", "wwww", fns32),
                               R("brev.b32", "ww", brev32),
                               R("brev.b64", "xx", brev64),
                               R("popc.b32", "ww", popc32),
                               R("popc.b64", "wx", popc64),
                               R("clz.b32", "ww", clz32),
                               R("clz.b64", "wx", clz64),
                               R("bfind.u32", "ww", bfind_u32),
                               R("bfind.s32", "ww", bfind_s32),
                               R("bfind.shiftamt.u32", "ww", bfindsh_u32),
                               R("bfind.shiftamt.s32", "ww", bfindsh_s32),
                               R("bfind.u64", "wx", bfind_u64),
                               R("bfind.s64", "wx", bfind_s64),
                               R("bfind.shiftamt.u64", "wx", bfindsh_u64),
                               R("bmsk.clamp.b32", "www", bmsk_clamp),
                               R("bmsk.wrap.b32", "www", bmsk_wrap),
                               R("szext.wrap.u32", "www", szext_wu),
                               R("szext.wrap.s32", "www", szext_ws),
                               R("szext.clamp.u32", "www", szext_cu),
                               R("szext.clamp.s32", "www", szext_cs),
                               SEL16("b16"),
                               SEL16("u16"),
                               SEL16("s16"),
                               SEL16("f16"),
                               SEL32("b32"),
                               SEL32("u32"),
                               SEL32("s32"),
                               SEL32("f32"),
                               SEL64("b64"),
                               SEL64("u64"),
                               SEL64("s64"),
                               SEL64("f64"),
                               RP("slct.b32.s32", "wwww", slct_s32),
                               RP("slct.u32.s32", "wwww", slct_s32),
                               RP("slct.s32.s32", "wwww", slct_s32),
                               RP("slct.f32.s32", "wwww", slct_s32),
                               RP("slct.f32.f32", "wwww", slct_f32),
                               RP("slct.b32.f32", "wwww", slct_f32),
                               RP("slct.b64.s32", "xxxw", slct64),
                               RP("slct.u64.s32", "xxxw", slct64),
                               RP("slct.f64.s32", "xxxw", slct64),
                               {0}};

const sim_op sim_ops_simd[] = {R("add.u16x2", "www", add16x2),
                               R("add.s16x2", "www", add16x2),
                               R("min.s16x2", "www", min_s16x2),
                               R("max.s16x2", "www", max_s16x2),
                               R("min.u16x2", "www", min_u16x2),
                               R("max.u16x2", "www", max_u16x2),
                               {0}};
