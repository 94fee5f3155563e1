/* Integer, logic and bit-field instructions against scalar C, every lane mask pattern included. */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2048 };
typedef uint64_t u64;
typedef int64_t s64;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint16_t u16;
typedef int16_t s16;
__extension__ typedef __int128 s128;
__extension__ typedef unsigned __int128 u128;
typedef u64 (*ref)(u64, u64, u64);
#define F(name, expr)                                                                              \
    static u64 name(u64 a, u64 b, u64 c) {                                                         \
        (void)a, (void)b, (void)c;                                                                 \
        return (u64)(expr);                                                                        \
    }

F(add16, (u16)(a + b))
F(add32, (u32)(a + b))
F(add64, a + b)
F(sub16, (u16)(a - b))
F(sub32, (u32)(a - b)) F(sub64, a - b) F(mul16, (u16)((u32)(u16)a *(u16)b))
    F(mul32, (u32)((u32)a *(u32)b)) F(mul64, a *b) F(hiu16, (u16)((u32)(u16)a *(u16)b >> 16))
        F(his16, (u16)((s32)(s16)a *(s16)b >> 16)) F(hiu32, (u64)(u32)a *(u32)b >> 32)
            F(his32, (u32)((s64)(s32)a *(s32)b >> 32)) F(hiu64, (u128)a *b >> 64)
                F(his64, (u128)((s128)(s64)a *(s64)b) >> 64) F(wu16, (u32)(u16)a *(u16)b)
                    F(ws16, (u32)((s32)(s16)a *(s16)b)) F(wu32, (u64)(u32)a *(u32)b)
                        F(ws32, (s64)(s32)a *(s32)b) F(mad32, (u32)((u32)a *(u32)b + (u32)c))
                            F(mad64, a *b + c) F(mad16, (u16)((u32)(u16)a *(u16)b + c))
                                F(madwu, (u64)(u32)a *(u32)b + c)
                                    F(madws, (u64)((s64)(s32)a *(s32)b) + c)
                                        F(madhiu, (u32)(((u64)(u32)a * (u32)b >> 32) + c))
                                            F(madhis, (u32)((u64)((s64)(s32)a *(s32)b >> 32) + c))
                                                F(m24u,
                                                  (u32)((a & 0xffffff) * (b & 0xffffff))) static s32
    s24(u64 v) {
    v &= 0xffffff;
    return (s32)(v & 0x800000 ? (s64)v - 0x1000000 : (s64)v);
}
F(m24s, (u32)((s64)s24(a) * s24(b)))
F(mad24s, (u32)((s64)s24(a) * s24(b) + (s64)c))
F(sadu, (u32)(((u32)a > (u32)b ? (u32)a - (u32)b : (u32)b - (u32)a) + (u32)c))
F(sads, (u32)((u64)llabs((s64)(s32)a - (s32)b) + (u32)c))
F(divu32, (u32)b ? (u32)a / (u32)b : 0xffffffffu)
F(divs32, (u32)(!(u32)b ? -1 : (s64)(s32)a / (s32)b))
F(remu32, (u32)b ? (u32)a % (u32)b : (u32)a)
F(rems32, (u32)(!(u32)b ? (s32)a : (s64)(s32)a % (s32)b))
F(divu64, b ? a / b : ~0ull) F(divs64, !b ? ~0ull : (u64)((s128)(s64)a / (s64)b))
    F(remu64, b ? a % b : a) F(rems64, !b ? a : (u64)((s128)(s64)a % (s64)b))
        F(divs16, (u16)((s16)b ? (s16)a / (s16)b : -1)) F(remu16, (u16)b ? (u16)a % (u16)b : (u16)a)
            F(mins32, (s32)a < (s32)b ? (u32)a : (u32)b)
                F(minu32, (u32)a < (u32)b ? (u32)a : (u32)b) F(maxs64, (s64)a > (s64)b ? a : b)
                    F(maxu64, a > b ? a : b) F(maxs16, (s16)a > (s16)b ? (u16)a : (u16)b)
                        F(mins16, (s16)a < (s16)b ? (u16)a : (u16)b)
                            F(maxu16, (u16)a > (u16)b ? (u16)a : (u16)b)
                                F(abs32, (s32)a < 0 ? (u32)(0 - a) : (u32)a)
                                    F(abs64, (s64)a < 0 ? 0 - a : a) F(neg32, (u32)(0 - a))
                                        F(neg64, 0 - a) static u64 sat(s128 v) {
    return (u32)(v > INT32_MAX ? INT32_MAX : v < INT32_MIN ? INT32_MIN : (s32)v);
}
F(adds, sat((s128)(s32)a + (s32)b))
F(subs, sat((s128)(s32)a - (s32)b)) static u64 dot(u64 a, u64 b, u64 c, int sa, int sb) {
    s64 s = (s32)c;
    for (int k = 0; k < 4; k++) {
        u32 x = (u32)(a >> 8 * k) & 255, y = (u32)(b >> 8 * k) & 255;
        s += (sa && x > 127 ? (s64)x - 256 : (s64)x) * (sb && y > 127 ? (s64)y - 256 : (s64)y);
    }
    return (u32)s;
}
F(dpss, dot(a, b, c, 1, 1))
F(dpuu, dot(a, b, c, 0, 0))
F(dpus, dot(a, b, c, 0, 1))
F(dpsu, dot(a, b, c, 1, 0)) static u64 dot2(u64 a, u64 b, u64 c, int hi) {
    s64 s = (s32)c;
    for (int k = 0; k < 2; k++)
        s += (s64)(s16)(a >> 16 * k) * (int8_t)(b >> (8 * k + 16 * hi));
    return (u32)s;
}
F(dp2l, dot2(a, b, c, 0))
F(dp2h, dot2(a, b, c, 1))
/* logic and shifts */
F(and32, (u32)(a &b))
F(or64, a | b)
F(xor16, (u16)(a ^ b))
F(not32, (u32)~a) F(not64, ~a) F(not16, (u16)~a) F(cnot, (u32)a == 0)
    F(shl32, (u32)b > 31 ? 0 : (u32)((u32)a << (u32)b))
        F(shru32, (u32)b > 31 ? 0 : (u32)a >> (u32)b)
            F(shrs32, (u32)((s64)(s32)a >> ((u32)b > 31 ? 31 : (u32)b)))
                F(shl64, (u32)b > 63 ? 0 : a << (u32)b) F(shru64, (u32)b > 63 ? 0 : a >> (u32)b)
                    F(shrs64, (s64)a >> ((u32)b > 63 ? 63 : (u32)b))
                        F(shl16, (u32)b > 15 ? 0 : (u16)((u32)(u16)a << (u32)b))
                            F(shrs16, (u16)((s16)a >> ((u32)b > 15 ? 15 : (u32)b)))
                                F(shflw, (u32)(((a & 0xffffffff) | b << 32) << (c & 31) >> 32))
                                    F(shflc, (u32)((u128)((a & 0xffffffff) | b << 32)
                                                       << ((u32)c > 32 ? 32 : (u32)c) >>
                                                   32))
                                        F(shfrw, (u32)(((a & 0xffffffff) | b << 32) >> (c & 31)))
                                            F(shfrc, (u32)(((a & 0xffffffff) | b << 32) >>
                                                           ((u32)c > 32 ? 32 : (u32)c))) static u64
    lop(u64 a, u64 b, u64 c, unsigned t) {
    u64 r = 0;
    for (int k = 0; k < 32; k++)
        r |= (u64)(t >> ((a >> k & 1) * 4 + (b >> k & 1) * 2 + (c >> k & 1)) & 1) << k;
    return r;
}
F(lop_ea, lop(a, b, c, 0xea))
F(lop_96, lop(a, b, c, 0x96))
F(lop_1b, lop(a, b, c, 0x1b)) F(lop_40, lop(a, b, c, 0x40)) static u64 perm(u64 a, u64 b, u64 c) {
    unsigned char in[8], out[4];
    memcpy(in, &a, 4), memcpy(in + 4, &b, 4);
    for (int k = 0; k < 4; k++) {
        unsigned s = (unsigned)(c >> 4 * k) & 15;
        out[k] = s & 8 ? (in[s & 7] & 128 ? 255 : 0) : in[s & 7];
    }
    u32 r;
    memcpy(&r, out, 4);
    return r;
}
F(prmt, perm(a, b, c))
F(f4e, perm(a, b, 0x3210 + 0x1111 * (c & 3))) static u64 rc8(u64 a, u64 b, u64 c) {
    (void)b;
    u32 x = (u32)(a >> 8 * (c & 3)) & 255;
    return x * 0x01010101u;
}
static u64 bfe(u64 a, u64 b, u64 c, int sg, int w) {
    unsigned pos = b & 255, len = c & 255,
             top = pos + len - 1 < (unsigned)w - 1 ? pos + len - 1 : (unsigned)w - 1;
    u64 r = 0, fill = sg && len && (a >> top & 1);
    for (unsigned k = 0; k < (unsigned)w; k++)
        r |= (k < len && pos + k < (unsigned)w ? a >> (pos + k) & 1 : fill) << k;
    return r;
}
F(bfeu, bfe(a & 0xffffffff, b, c, 0, 32))
F(bfes, bfe(a & 0xffffffff, b, c, 1, 32))
F(bfeu64, bfe(a, b, c, 0, 64))
F(bfes64, bfe(a, b, c, 1, 64))
/* bfi with position 5 + length from c: the tail holds fixed numbers */
static u64 bfi_5_9(u64 a, u64 b, u64 c) {
    (void)c;
    u64 m = 0x1ff << 5;
    return (u32)((b & ~m) | (a << 5 & m));
}
static u64 rev(u64 a, int w) {
    u64 r = 0;
    for (int k = 0; k < w; k++)
        r |= (a >> k & 1) << (w - 1 - k);
    return r;
}
static u64 high(u64 a, int w) {
    int k = w - 1;
    while (k >= 0 && !(a >> k & 1))
        k--;
    return (u32)k;
}
F(brev32, rev(a, 32))
F(brev64, rev(a, 64))
F(bfindu, high((u32)a, 32))
F(bfinds, high((s32)a < 0 ? (u32)~a : (u32)a, 32))
F(bfindu64, high(a, 64)) F(bfindsh, (u32)a ? 31 - high((u32)a, 32) : 0xffffffffu)
    F(clz32, 31 - (s64)(s32)high((u32)a, 32)) F(clz64, 63 - (s64)(s32)high(a, 64)) static u64
    pop(u64 a) {
    u64 r = 0;
    for (; a; a >>= 1)
        r += a & 1;
    return r;
}
F(popc32, pop((u32)a))
F(popc64, pop(a))
F(selp, (u32)c ? (u32)a : (u32)b)
F(selp64, (u32)c ? a : b)
F(slct, (s32)c >= 0 ? (u32)a : (u32)b) F(pand, (u32)a && (u32)b) F(por, (u32)a || (u32)b)
    F(pxor, !(u32)a != !(u32)b) F(pnot, !(u32)a)
        F(szs, (u32)(!(b & 31) ? 0 : (s64)((u64)(u32)a << (64 - (b & 31))) >> (64 - (b & 31))))
            F(szu, (u32)(!(b & 31) ? 0 : ((u64)(u32)a << (64 - (b & 31))) >> (64 - (b & 31))))
                F(bmskw, (u32)(((1ull << (b & 31)) - 1) << (a & 31)))
    /* comparisons */
    F(eq32, (u32)a == (u32)b) F(lts32, (s32)a < (s32)b) F(ltu32, (u32)a < (u32)b)
        F(ges64, (s64)a >= (s64)b) F(gtu64, a > b) F(les16, (s16)a <= (s16)b)
            F(neb16, (u16)a != (u16)b) F(lou32, (u32)a < (u32)b) F(hsu32, (u32)a >= (u32)b)
                F(ltand, (s32)a < (s32)b && (u32)c) F(geor, (s32)a >= (s32)b || (u32)c)
                    F(nexor, ((u32)a != (u32)b) != !!(u32)c)
                        F(set32, (s32)a < (s32)b ? 0xffffffffu : 0)
    /* rarities of the SIMD intrinsics */
    static u64 absdiff4(u64 a, u64 b, u64 c) {
    (void)c;
    u64 r = 0;
    for (int k = 0; k < 32; k += 8)
        r |= (u64)llabs((s64)(a >> k & 255) - (s64)(b >> k & 255)) << k;
    return r;
}
static u64 addss4(u64 a, u64 b, u64 c) {
    (void)c;
    u64 r = 0;
    for (int k = 0; k < 32; k += 8) {
        int v = (int8_t)(a >> k) + (int8_t)(b >> k);
        r |= (u64)(uint8_t)(v > 127 ? 127 : v < -128 ? -128 : v) << k;
    }
    return r;
}
static u64 sad4(u64 a, u64 b, u64 c) {
    u64 d = absdiff4(a, b, 0);
    return (u32)((u32)c + (d & 255) + (d >> 8 & 255) + (d >> 16 & 255) + (d >> 24 & 255));
}
static u64 fns3(u64 a, u64 b, u64 c) { /* tail: base 2, third set bit */
    (void)b, (void)c;
    int n = 0;
    for (int k = 2; k < 32; k++)
        if ((a >> k & 1) && ++n == 3)
            return (u64)k;
    return 0xffffffffu;
}
F(relu, (s32)a > (s32)b ? ((s32)a > 0 ? (u32)a : 0) : ((s32)b > 0 ? (u32)b : 0))
/* packed halves */
F(add2, (u16)(a + b) | (u64)(u16)((a >> 16) + (b >> 16)) << 16)
F(mins2, ((s16)a < (s16)b ? (u16)a : (u16)b) |
             (u64)((s16)(a >> 16) < (s16)(b >> 16) ? (u16)(a >> 16) : (u16)(b >> 16)) << 16)
F(mov32, (u32)a)
F(mov64, a)

static const struct {
    const char *op, *sig, *tail;
    ref f;
    int target;
} ops[] = {
    {"add.u16", "hhh", 0, add16, 0},
    {"add.s32", "www", 0, add32, 0},
    {"add.s64", "xxx", 0, add64, 0},
    {"sub.s16", "hhh", 0, sub16, 0},
    {"sub.u32", "www", 0, sub32, 0},
    {"sub.s64", "xxx", 0, sub64, 0},
    {"mul.lo.u16", "hhh", 0, mul16, 0},
    {"mul.lo.s32", "www", 0, mul32, 0},
    {"mul.lo.s64", "xxx", 0, mul64, 0},
    {"mul.hi.u16", "hhh", 0, hiu16, 0},
    {"mul.hi.s16", "hhh", 0, his16, 0},
    {"mul.hi.u32", "www", 0, hiu32, 0},
    {"mul.hi.s32", "www", 0, his32, 0},
    {"mul.hi.u64", "xxx", 0, hiu64, 0},
    {"mul.hi.s64", "xxx", 0, his64, 0},
    {"mul.wide.u16", "whh", 0, wu16, 0},
    {"mul.wide.s16", "whh", 0, ws16, 0},
    {"mul.wide.u32", "xww", 0, wu32, 0},
    {"mul.wide.s32", "xww", 0, ws32, 0},
    {"mad.lo.s32", "wwww", 0, mad32, 0},
    {"mad.lo.s64", "xxxx", 0, mad64, 0},
    {"mad.lo.u16", "hhhh", 0, mad16, 0},
    {"mad.wide.u32", "xwwx", 0, madwu, 0},
    {"mad.wide.s32", "xwwx", 0, madws, 0},
    {"mad.hi.u32", "wwww", 0, madhiu, 0},
    {"mad.hi.s32", "wwww", 0, madhis, 0},
    {"mul24.lo.u32", "www", 0, m24u, 0},
    {"mul24.lo.s32", "www", 0, m24s, 0},
    {"mad24.lo.s32", "wwww", 0, mad24s, 0},
    {"sad.u32", "wwww", 0, sadu, 0},
    {"sad.s32", "wwww", 0, sads, 0},
    {"div.u32", "www", 0, divu32, 0},
    {"div.s32", "www", 0, divs32, 0},
    {"rem.u32", "www", 0, remu32, 0},
    {"rem.s32", "www", 0, rems32, 0},
    {"div.u64", "xxx", 0, divu64, 0},
    {"div.s64", "xxx", 0, divs64, 0},
    {"rem.u64", "xxx", 0, remu64, 0},
    {"rem.s64", "xxx", 0, rems64, 0},
    {"div.s16", "hhh", 0, divs16, 0},
    {"rem.u16", "hhh", 0, remu16, 0},
    {"min.s32", "www", 0, mins32, 0},
    {"min.u32", "www", 0, minu32, 0},
    {"max.s64", "xxx", 0, maxs64, 0},
    {"max.u64", "xxx", 0, maxu64, 0},
    {"max.s16", "hhh", 0, maxs16, 0},
    {"min.s16", "hhh", 0, mins16, 0},
    {"max.u16", "hhh", 0, maxu16, 0},
    {"abs.s32", "ww", 0, abs32, 0},
    {"abs.s64", "xx", 0, abs64, 0},
    {"neg.s32", "ww", 0, neg32, 0},
    {"neg.s64", "xx", 0, neg64, 0},
    {"add.sat.s32", "www", 0, adds, 0},
    {"sub.sat.s32", "www", 0, subs, 0},
    {"dp4a.s32.s32", "wwww", 0, dpss, 0},
    {"dp4a.u32.u32", "wwww", 0, dpuu, 0},
    {"dp4a.u32.s32", "wwww", 0, dpus, 0},
    {"dp4a.s32.u32", "wwww", 0, dpsu, 0},
    {"dp2a.lo.s32.s32", "wwww", 0, dp2l, 0},
    {"dp2a.hi.s32.s32", "wwww", 0, dp2h, 0},
    {"and.b32", "www", 0, and32, 0},
    {"or.b64", "xxx", 0, or64, 0},
    {"xor.b16", "hhh", 0, xor16, 0},
    {"not.b32", "ww", 0, not32, 0},
    {"not.b64", "xx", 0, not64, 0},
    {"not.b16", "hh", 0, not16, 0},
    {"cnot.b32", "ww", 0, cnot, 0},
    {"shl.b32", "www", 0, shl32, 0},
    {"shr.u32", "www", 0, shru32, 0},
    {"shr.s32", "www", 0, shrs32, 0},
    {"shl.b64", "xxw", 0, shl64, 0},
    {"shr.u64", "xxw", 0, shru64, 0},
    {"shr.s64", "xxw", 0, shrs64, 0},
    {"shl.b16", "hhw", 0, shl16, 0},
    {"shr.s16", "hhw", 0, shrs16, 0},
    {"shf.l.wrap.b32", "wwww", 0, shflw, 0},
    {"shf.l.clamp.b32", "wwww", 0, shflc, 0},
    {"shf.r.wrap.b32", "wwww", 0, shfrw, 0},
    {"shf.r.clamp.b32", "wwww", 0, shfrc, 0},
    {"lop3.b32", "wwww", ",0xea", lop_ea, 0},
    {"lop3.b32", "wwww", ",0x96", lop_96, 0},
    {"lop3.b32", "wwww", ",0x1b", lop_1b, 0},
    {"lop3.b32", "wwww", ",0x40", lop_40, 0},
    {"prmt.b32", "wwww", 0, prmt, 0},
    {"prmt.b32.f4e", "wwww", 0, f4e, 0},
    {"prmt.b32.rc8", "wwww", 0, rc8, 0},
    {"bfe.u32", "wwww", 0, bfeu, 0},
    {"bfe.s32", "wwww", 0, bfes, 0},
    {"bfe.u64", "xxww", 0, bfeu64, 0},
    {"bfe.s64", "xxww", 0, bfes64, 0},
    {"bfi.b32", "www", ",5,9", bfi_5_9, 0},
    {"brev.b32", "ww", 0, brev32, 0},
    {"brev.b64", "xx", 0, brev64, 0},
    {"bfind.u32", "ww", 0, bfindu, 0},
    {"bfind.s32", "ww", 0, bfinds, 0},
    {"bfind.u64", "wx", 0, bfindu64, 0},
    {"bfind.shiftamt.u32", "ww", 0, bfindsh, 0},
    {"clz.b32", "ww", 0, clz32, 0},
    {"clz.b64", "wx", 0, clz64, 0},
    {"popc.b32", "ww", 0, popc32, 0},
    {"popc.b64", "wx", 0, popc64, 0},
    {"selp.b32", "wwwp", 0, selp, 0},
    {"selp.b64", "xxxp", 0, selp64, 0},
    {"slct.b32.s32", "wwww", 0, slct, 0},
    {"and.pred", "ppp", 0, pand, 0},
    {"or.pred", "ppp", 0, por, 0},
    {"xor.pred", "ppp", 0, pxor, 0},
    {"not.pred", "pp", 0, pnot, 0},
    {"szext.wrap.s32", "www", 0, szs, 0},
    {"szext.wrap.u32", "www", 0, szu, 0},
    {"bmsk.wrap.b32", "www", 0, bmskw, 0},
    {"setp.eq.b32", "pww", 0, eq32, 0},
    {"setp.lt.s32", "pww", 0, lts32, 0},
    {"setp.lt.u32", "pww", 0, ltu32, 0},
    {"setp.ge.s64", "pxx", 0, ges64, 0},
    {"setp.gt.u64", "pxx", 0, gtu64, 0},
    {"setp.le.s16", "phh", 0, les16, 0},
    {"setp.ne.b16", "phh", 0, neb16, 0},
    {"setp.lo.u32", "pww", 0, lou32, 0},
    {"setp.hs.u32", "pww", 0, hsu32, 0},
    {"setp.lt.and.s32", "pwwp", 0, ltand, 0},
    {"setp.ge.or.s32", "pwwp", 0, geor, 0},
    {"setp.ne.xor.b32", "pwwp", 0, nexor, 0},
    {"set.lt.u32.s32", "www", 0, set32, 0},
    {"add.s16x2", "www", 0, add2, 90},
    {"min.s16x2", "www", 0, mins2, 90},
    {"vabsdiff4.u32.u32.u32", "wwww", 0, absdiff4, 0},
    {"vadd4.s32.s32.s32.sat", "wwww", 0, addss4, 0},
    {"vabsdiff4.u32.u32.u32.add", "wwww", 0, sad4, 0},
    {"fns.b32", "ww", ",2,3", fns3, 0},
    {"max.s32.relu", "www", 0, relu, 90},
    {"mov.b32", "ww", 0, mov32, 0},
    {"mov.b64", "xx", 0, mov64, 0},
};

static u64 cut(u64 v, char kind) {
    return kind == 'h' ? (u16)v : kind == 'w' ? (u32)v : kind == 'p' ? (v & 1) : v;
}

Test(int, every_instruction) {
    static u64 a[N], b[N], c[N], o[N];
    rig_start(90, 0);
    rig_ints(a, N, 1);
    rig_ints(b, N, 2);
    rig_ints(c, N, 3);
    for (int i = 0; i < N; i += 4)
        b[i] = a[i]; /* equal operands */
    for (int i = 1; i < N; i += 5)
        b[i] &= 127, c[i] &= 63; /* counts and positions in range */
    for (size_t k = 0; k < sizeof ops / sizeof ops[0]; k++)
        for (int masked = 0; masked < 2; masked++) {
            rig_case t = {ops[k].op, ops[k].sig, ops[k].tail, ops[k].target, masked};
            rig_op(&t, a, b, c, o, N);
            const char d = ops[k].sig[0];
            for (int i = 0; i < N; i++) {
                u64 keep = d == 'p' ? 0 : cut(RIG_KEEP, d);
                u64 want = masked && i % 3 == 1 ? keep : cut(ops[k].f(a[i], b[i], c[i]), d);
                cr_assert_eq(o[i], want, "%s%s a %llx b %llx c %llx: %llx, expected %llx",
                             ops[k].op, masked ? " masked" : "", (unsigned long long)a[i],
                             (unsigned long long)b[i], (unsigned long long)c[i],
                             (unsigned long long)o[i], (unsigned long long)want);
            }
        }
}

/* 128-bit sums, differences and products through the carry flag. */
Test(int, carry_chains) {
    static u64 a[N], b[N], c[N], o[N];
    static const char *const decl = ".reg .b32 %r<20>; .reg .b64 %d<10>;";
    static const char *const pre = "ld.param.u64 %d0,[out]; ld.param.u64 %d1,[a]; ld.param.u64 "
                                   "%d2,[b]; ld.param.u64 %d3,[c]; mov.u32 %r0,%ctaid.x;"
                                   "mov.u32 %r1,%tid.x; mad.lo.u32 %r0,%r0,128,%r1; mul.wide.u32 "
                                   "%d4,%r0,8; add.u64 %d0,%d0,%d4; add.u64 %d1,%d1,%d4;"
                                   "add.u64 %d2,%d2,%d4; add.u64 %d3,%d3,%d4; ld.global.v2.b32 "
                                   "{%r2,%r3},[%d1]; ld.global.v2.b32 {%r4,%r5},[%d2];"
                                   "ld.global.v2.b32 {%r6,%r7},[%d3];";
    static const char *const body[] = {
        /* (a + b) + (c high added with both carries) */
        "add.cc.u32 %r8,%r2,%r4; addc.cc.u32 %r9,%r3,%r5; addc.u32 %r10,%r6,0; xor.b32 "
        "%r9,%r9,%r10; st.global.v2.b32 [%d0],{%r8,%r9};",
        "sub.cc.u32 %r8,%r2,%r4; subc.cc.u32 %r9,%r3,%r5; subc.u32 %r10,%r6,0; xor.b32 "
        "%r9,%r9,%r10; st.global.v2.b32 [%d0],{%r8,%r9};",
        /* low 64 bits of a * b + c from 32-bit parts */
        ("mad.lo.cc.u32 %r8,%r2,%r4,%r6; madc.hi.u32 %r9,%r2,%r4,%r7; mad.lo.u32 %r9,%r3,%r4,%r9; "
         "mad.lo.u32 %r9,%r2,%r5,%r9;"
         "st.global.v2.b32 [%d0],{%r8,%r9};")};
    rig_ints(a, N, 11), rig_ints(b, N, 12), rig_ints(c, N, 13);
    for (int k = 0; k < 3; k++) {
        char text[2048];
        rig_start(80, 0);
        strcpy(text, pre);
        strcat(text, body[k]);
        CUfunction f = rig_ptx(80, decl, text);
        CUdeviceptr da = rig_upload(a, sizeof a), db = rig_upload(b, sizeof b),
                    dc = rig_upload(c, sizeof c), d = rig_alloc(sizeof o);
        void *args[] = {&d, &da, &db, &dc};
        OK(rig_launch(f, N / 128, 128, 0, args));
        rig_download(o, d, sizeof o);
        for (int i = 0; i < N; i++) {
            u128 s = k == 0 ? (u128)a[i] + b[i] : (u128)a[i] - b[i];
            u32 over = (u32)((u32)c[i] + (k == 0 ? (u32)(s >> 64) : (u32)(s >> 64 ? -1 : 0)));
            u64 want = k == 2 ? a[i] * b[i] + c[i] : ((u64)s ^ (u64)over << 32);
            cr_assert_eq(o[i], want, "chain %d %llx %llx", k, (unsigned long long)a[i],
                         (unsigned long long)b[i]);
        }
        cuda_sim_reset();
    }
}

Test(int, unknown_opcodes_are_errors) {
    static const char *const bad[] = {
        "frobnicate.u32 %r0,%r0;",
        "add.f8 %r0,%r0,%r0;",
        "wgmma.fence.sync.aligned;",
        "ld.global.v3.u32 {%r0,%r0,%r0},[%d0];",
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r0},{%r0},{%r0},{%r0};",
        "add.s32 %r0,%r0;",
        "add.s32 %r0,%d0,%r0;",
        "bra NOWHERE;",
        "call nobody;",
        "cvt.s32.f32 %r0,%r0;",
        "mov.u32 %r0,%nosuch;",
        "setp.frob.s32 %p0,%r0,%r0;",
        "ld.global.u32.frob %r0,[%d0];",
        "cp.async.bulk.commit_group;"};
    rig_start(80, 0);
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        char text[600], log[512] = "";
        CUmodule m;
        CUjit_option o[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
        void *v[] = {log, (void *)(uintptr_t)sizeof log};
        snprintf(text, sizeof text,
                 ".version 8.5\n.target sm_80\n.address_size 64\n.file 1 \"src.cu\"\n.visible "
                 ".entry k()\n{\n.reg .pred %%p<2>; .reg .b32 %%r<2>; .reg .b64 %%d<2>;\n"
                 ".loc 1 77 3\n%s\nret;\n}\n",
                 bad[k]);
        cr_assert_eq(cuModuleLoadDataEx(&m, text, 2, o, v), CUDA_ERROR_INVALID_PTX, "%s", bad[k]);
        cr_assert(strstr(log, "line 9"), "%s: %s", bad[k], log);
        cr_assert(strstr(log, "src.cu:77") && strstr(log, bad[k][0] == 'a' ? "add" : ""), "%s: %s",
                  bad[k], log);
    }
}
