/* cvt in all its modes. Common pairs have vector loops; the rest goes lane by lane through double,
 * which holds every source value exactly, and one rounding routine for every target format. */
#include "decode.h"
#include "exec.h"

typedef enum { RND_NE, RND_Z, RND_M, RND_P, RND_NA } rnd;
enum { CV_FTZ = 8, CV_SAT = 16, CV_RELU = 32, CV_FINITE = 64 };

/* imm: dtype | stype << 8 | rounding << 16 | flags << 16 */
#define DT(imm)     ((ptx_type)((imm)&255u))
#define ST(imm)     ((ptx_type)((imm) >> 8 & 255u))
#define RM(imm)     ((rnd)((imm) >> 16 & 7u))
#define HAS(imm, f) (((imm) >> 16 & (f)) != 0)

static bool is_float(ptx_type t) {
    return t == TY_F16 || t == TY_BF16 || t == TY_F32 || t == TY_F64 || t == TY_TF32 ||
           t == TY_E4M3 || t == TY_E5M2;
}
static bool is_signed(ptx_type t) {
    return t >= TY_S8 && t <= TY_S64;
}

static double round_int(double v, rnd r) {
    switch (r) {
    case RND_NE:
        return nearbyint(v);
    case RND_Z:
        return trunc(v);
    case RND_M:
        return floor(v);
    case RND_P:
        return ceil(v);
    default:
        return round(v);
    }
}

typedef struct fmt {
    int mant, emin, emax; /* explicit mantissa bits, exponents of the least and greatest normal */
    bool inf;
} fmt;
static fmt format_of(ptx_type t) {
    switch (t) {
    case TY_F16:
        return (fmt){10, -14, 15, true};
    case TY_BF16:
        return (fmt){7, -126, 127, true};
    case TY_TF32:
        return (fmt){10, -126, 127, true};
    case TY_E4M3:
        return (fmt){3, -6, 8, false};
    case TY_E5M2:
        return (fmt){2, -14, 15, true};
    default:
        return (fmt){23, -126, 127, true};
    }
}

/* Bits of v in a format: sign, exponent, mantissa. v is finite. Overflow by IEEE rules. */
static uint32_t encode(double v, ptx_type t, rnd r, bool finite) {
    const fmt f = format_of(t);
    const int ebias = 1 - f.emin, ebits = t == TY_E4M3 ? 4 : t == TY_F16 || t == TY_E5M2 ? 5 : 8;
    const uint32_t sign = signbit(v) ? 1u << (f.mant + ebits) : 0u;
    double a = fabs(v);
    if (a == 0.0)
        return sign;
    int e = ilogb(a);
    if (e < f.emin)
        e = f.emin;
    double q = ldexp(a, f.mant - e); /* exact */
    rnd m = r == RND_M ? (sign ? RND_P : RND_Z) : r == RND_P ? (sign ? RND_Z : RND_P) : r;
    double n = m == RND_P    ? ceil(q)
               : m == RND_Z  ? floor(q)
               : m == RND_NA ? floor(q + 0.5)
                             : nearbyint(q);
    if (n >= ldexp(2.0, f.mant)) {
        n = ldexp(1.0, f.mant);
        e++;
    }
    const uint32_t maxfin =
        t == TY_E4M3 ? 0x7eu : (((uint32_t)(f.emax + ebias) + 1) << f.mant) - 1u;
    const uint32_t inf = t == TY_E4M3 ? 0x7fu : maxfin + 1u;
    uint32_t body;
    if (n < ldexp(1.0, f.mant))
        body = (uint32_t)n;
    else
        body = (uint32_t)(e + ebias) << f.mant | ((uint32_t)n & ((1u << f.mant) - 1u));
    if (e > f.emax || body > maxfin)
        body = finite || m == RND_Z ? maxfin : inf;
    return sign | body;
}

static double decode_f8(uint32_t b, ptx_type t) {
    const fmt f = format_of(t);
    uint32_t mag = b & 127u, man = mag & ((1u << f.mant) - 1u), ex = mag >> f.mant;
    double v = ex ? ldexp((double)(man | 1u << f.mant), (int)ex - 1 + f.emin - f.mant)
                  : ldexp((double)man, f.emin - f.mant);
    if (t == TY_E4M3 && mag == 0x7f)
        v = NAN;
    if (t == TY_E5M2 && ex == 31)
        v = man ? NAN : INFINITY;
    return b & 128u ? -v : v;
}

static double src_float(uint64_t bits, ptx_type t, bool ftz) {
    switch (t) {
    case TY_F16:
        return (double)sim_h2f((uint32_t)bits & 0xffffu);
    case TY_BF16:
        return (double)sim_bf2f((uint32_t)bits & 0xffffu);
    case TY_F32:
        return (double)sim_f(ftz ? sim_ftz((uint32_t)bits) : (uint32_t)bits);
    case TY_E4M3:
    case TY_E5M2:
        return decode_f8((uint32_t)bits, t);
    default:
        return sim_d(bits);
    }
}

static uint64_t canonical_nan(ptx_type t) {
    return t == TY_F64                    ? 0xfff8000000000000ull
           : t == TY_F32 || t == TY_TF32  ? 0x7fffffffu
           : t == TY_E4M3 || t == TY_E5M2 ? 0x7fu
                                          : 0x7fffu;
}

static uint64_t to_float(double v, ptx_type t, uint32_t imm) {
    rnd r = RM(imm);
    if (HAS(imm, CV_RELU) && v < 0.0)
        v = 0.0;
    if (HAS(imm, CV_SAT))
        v = v > 1.0 ? 1.0 : v > 0.0 ? v : 0.0;
    if (v != v)
        return canonical_nan(t);
    if (t == TY_F64)
        return sim_bd(v);
    bool fin = HAS(imm, CV_FINITE);
    if (isinf(v)) {
        double top = t == TY_E4M3 ? 448.0 : 57344.0;
        if (fin)
            return encode(copysign(top, v), t, RND_NE, true);
        const fmt f = format_of(t);
        int ebits = t == TY_F16 || t == TY_E5M2 ? 5 : 8;
        uint32_t inf = (signbit(v) ? 1u << (f.mant + ebits) : 0u) | ((1u << ebits) - 1u) << f.mant;
        return t == TY_TF32 ? inf << 13 : inf;
    }
    if (t == TY_TF32)
        return (uint64_t)encode(v, t, r, fin) << 13;
    uint32_t b = encode(v, t, r, fin);
    return HAS(imm, CV_FTZ) && t == TY_F32 ? sim_ftz(b) : b;
}

static uint64_t float_to_int(double v, ptx_type t, rnd r) {
    unsigned n = ptx_type_bits(t);
    if (v != v)
        return 0;
    v = round_int(v, r);
    if (is_signed(t)) {
        double lim = ldexp(1.0, (int)n - 1);
        if (v >= lim)
            return (1ull << (n - 1)) - 1;
        if (v < -lim)
            return ~0ull << (n - 1);
        return (uint64_t)(int64_t)v;
    }
    double lim = ldexp(1.0, (int)n);
    if (v < 0.0)
        return 0;
    if (v >= lim)
        return n == 64 ? ~0ull : (1ull << n) - 1;
    return (uint64_t)v;
}

static uint64_t extend(uint64_t v, ptx_type t) {
    switch (t) {
    case TY_S8:
        return (uint64_t)(int64_t)(int8_t)v;
    case TY_S16:
        return (uint64_t)(int64_t)(int16_t)v;
    case TY_S32:
        return (uint64_t)(int64_t)(int32_t)v;
    case TY_U8:
    case TY_B8:
        return (uint8_t)v;
    case TY_U16:
    case TY_B16:
        return (uint16_t)v;
    case TY_U32:
    case TY_B32:
        return (uint32_t)v;
    default:
        return v;
    }
}

/* 64-bit integers do not fit a double: keep the last bit sticky (rounding to odd at 2^-52). */
static double int_to_double(uint64_t v, bool neg) {
    int sh = 0;
    while (v >> sh >> 54)
        sh++;
    uint64_t top = v >> sh;
    if (sh && (v & ((1ull << sh) - 1)))
        top |= 1;
    while (top >> 53) {
        top = top >> 1 | (top & 1u);
        sh++;
    }
    double d = ldexp((double)top, sh);
    return neg ? -d : d;
}

static uint64_t int_saturate(uint64_t v, ptx_type st, ptx_type dt) {
    unsigned n = ptx_type_bits(dt);
    if (is_signed(st)) {
        int64_t s = (int64_t)v,
                lo = is_signed(dt) ? (n == 64 ? INT64_MIN : -((int64_t)1 << (n - 1))) : 0;
        int64_t hi = n == 64         ? INT64_MAX
                     : is_signed(dt) ? ((int64_t)1 << (n - 1)) - 1
                                     : ((int64_t)1 << n) - 1;
        return (uint64_t)(s < lo ? lo : s > hi ? hi : s);
    }
    uint64_t hi = is_signed(dt) ? (1ull << (n - 1)) - 1 : n == 64 ? ~0ull : (1ull << n) - 1;
    return v > hi ? hi : v;
}

static uint64_t convert(uint64_t bits, uint32_t imm) {
    const ptx_type dt = DT(imm), st = ST(imm);
    if (is_float(st)) {
        double v = src_float(bits, st, HAS(imm, CV_FTZ));
        if (!is_float(dt))
            return extend(float_to_int(v, dt, RM(imm)), dt);
        if (HAS(imm, 128))
            v = round_int(v, RM(imm));
        return to_float(v, dt, imm);
    }
    uint64_t v = extend(bits, st);
    if (is_float(dt)) {
        bool neg = is_signed(st) && (int64_t)v < 0;
        uint64_t a = neg ? 0 - v : v;
        if (dt == TY_F64)
            return sim_bd(RM(imm) == RND_NE ? (neg ? -(double)a : (double)a)
                                            : int_to_double(a, neg));
        return to_float(int_to_double(a, neg), dt, imm);
    }
    if (HAS(imm, CV_SAT))
        v = int_saturate(v, st, dt);
    return extend(v, dt);
}

static uint64_t src_bits(const sim_warp *w, int32_t o, bool wide, int i) {
    return wide ? sim_r64(w, o)[i] : sim_r32(w, o)[i];
}

/* vec: width of the destination register in bits, abits: of the source register */
EXEC(cvt_any) {
    for (int i = 0; i < SIM_LANES; i++) {
        if (!ON(m))
            continue;
        uint64_t v = convert(src_bits(w, in->a, in->abits == 64, i), in->imm);
        if (in->vec == 64)
            sim_w64(w, in->d)[i] = v;
        else
            sim_w32(w, in->d)[i] = in->vec == 16 ? (uint32_t)v & 0xffffu : (uint32_t)v;
    }
}
/* d = {a high, b low} */
EXEC(cvt_pack) {
    SRC32(pa, a);
    SRC32(pb, b);
    DST32(pd);
    const int sh = (int)ptx_type_bits(DT(in->imm));
    for (int i = 0; i < SIM_LANES; i++)
        if (ON(m))
            pd[i] = (uint32_t)(convert(pa[i], in->imm) << sh | convert(pb[i], in->imm));
}
/* pair to pair: f16x2 <-> e4m3x2, e5m2x2 */
EXEC(cvt_pair) {
    SRC32(pa, a);
    DST32(pd);
    const int dsh = (int)ptx_type_bits(DT(in->imm)), ssh = (int)ptx_type_bits(ST(in->imm));
    const uint32_t mask = (1u << ssh) - 1u;
    for (int i = 0; i < SIM_LANES; i++)
        if (ON(m))
            pd[i] = (uint32_t)(convert(pa[i] >> ssh & mask, in->imm) << dsh |
                               convert(pa[i] & mask, in->imm));
}

#define I2I(name, D, S, E) UN(name, D, S, E)
I2I(c_w_s8, 32, 32, (int32_t)(int8_t)x)
I2I(c_w_u8, 32, 32, (uint8_t)x)
I2I(c_w_s16, 32, 32, (int32_t)(int16_t)x)
I2I(c_w_u16, 32, 32, (uint16_t)x)
I2I(c_w_w, 32, 32, x)
I2I(c_w_x, 32, 64, (uint32_t)x)
I2I(c_x_s8, 64, 32, (int64_t)(int8_t)x)
I2I(c_x_u8, 64, 32, (uint8_t)x)
I2I(c_x_s16, 64, 32, (int64_t)(int16_t)x)
I2I(c_x_u16, 64, 32, (uint16_t)x)
I2I(c_x_s32, 64, 32, (int64_t)(int32_t)x)
I2I(c_x_u32, 64, 32, x)
I2I(c_x_x, 64, 64, x)
I2I(c_h_w, 32, 32, (uint16_t)x)
I2I(c_h_x, 32, 64, (uint16_t)x)
I2I(c_f_s32, 32, 32, sim_b((float)(int32_t)x))
I2I(c_f_u32, 32, 32, sim_b((float)x))
I2I(c_f_h, 32, 32, sim_bn(sim_h2f(x)))
I2I(c_h_f, 32, 32, sim_f2h(sim_f(x)))
I2I(c_f_bf, 32, 32, sim_bn(sim_bf2f(x)))
I2I(c_bf_f, 32, 32, sim_f2bf(sim_f(x)))
I2I(c_g_f, 64, 32, sim_bdn((double)sim_f(x)))
I2I(c_f_g, 32, 64, sim_bn((float)sim_d(x)))
/* saturating f32 -> s32/u32 towards zero */
I2I(c_s32_f, 32, 32,
    sim_f(x) >= 2147483648.0f   ? INT32_MAX
    : sim_f(x) < -2147483648.0f ? INT32_MIN
    : sim_f(x) == sim_f(x)      ? (int32_t)sim_f(x)
                                : 0)
BIN(c_h2_ff, 32, 32, sim_f2h(sim_f(x)) << 16 | sim_f2h(sim_f(y)))
BIN(c_b2_ff, 32, 32, sim_f2bf(sim_f(x)) << 16 | sim_f2bf(sim_f(y)))

static sim_fn int_fast(ptx_type dt, ptx_type st, unsigned dreg, unsigned sreg) {
    unsigned db = ptx_type_bits(dt), sb = ptx_type_bits(st);
    if (db != dreg || is_float(dt) || is_float(st) || db < 16)
        return NULL;
    bool s = is_signed(st);
    if (db == 16)
        return sb == 64 ? c_h_x : sb >= 16 ? c_h_w : NULL;
    if (sreg == 64 && sb < 64)
        return NULL;
    if (db == 32)
        return sb == 64   ? c_w_x
               : sb == 32 ? c_w_w
               : sb == 16 ? (s ? c_w_s16 : c_w_u16)
               : s        ? c_w_s8
                          : c_w_u8;
    return sb == 64   ? c_x_x
           : sb == 32 ? (s ? c_x_s32 : c_x_u32)
           : sb == 16 ? (s ? c_x_s16 : c_x_u16)
           : s        ? c_x_s8
                      : c_x_u8;
}

static sim_fn float_fast(ptx_type dt, ptx_type st, uint32_t imm) {
    rnd r = RM(imm);
    if (imm >> 16 & ~7u)
        return NULL;
    if (dt == TY_F32 && r == RND_NE) {
        return st == TY_S32    ? c_f_s32
               : st == TY_U32  ? c_f_u32
               : st == TY_F16  ? c_f_h
               : st == TY_BF16 ? c_f_bf
               : st == TY_F64  ? c_f_g
                               : NULL;
    }
    if (st == TY_F32)
        return dt == TY_F16 && r == RND_NE    ? c_h_f
               : dt == TY_BF16 && r == RND_NE ? c_bf_f
               : dt == TY_F64                 ? c_g_f
               : dt == TY_S32 && r == RND_Z   ? c_s32_f
                                              : NULL;
    return NULL;
}

static ptx_type unpair(ptx_type t) {
    return t == TY_F16X2    ? TY_F16
           : t == TY_BF16X2 ? TY_BF16
           : t == TY_E4M3X2 ? TY_E4M3
           : t == TY_E5M2X2 ? TY_E5M2
                            : t;
}

static uint32_t cvt_modes(sim_dec *d, const ptx_insn *in, ptx_type *dt, ptx_type *st) {
    uint32_t f = RND_NE;
    int ntype = 0;
    ptx_type ty[2] = {TY_NONE, TY_NONE};
    bool have = false, integral = false;
    for (int i = 1; i < in->nparts; i++) {
        const char *s = in->part[i];
        ptx_type t = ptx_type_of(s, strlen(s));
        static const char *const names[] = {"rn", "rz", "rm", "rp", "rna"};
        static const char *const inames[] = {"rni", "rzi", "rmi", "rpi"};
        bool hit = t != TY_NONE;
        if (hit && ntype < 2)
            ty[ntype++] = t;
        for (uint32_t k = 0; k < 5 && !hit; k++)
            if (!strcmp(s, names[k]))
                f |= k, hit = have = true;
        for (uint32_t k = 0; k < 4 && !hit; k++)
            if (!strcmp(s, inames[k]))
                f |= k, hit = have = integral = true;
        if (!hit && !strcmp(s, "ftz"))
            f |= CV_FTZ, hit = true;
        if (!hit && !strcmp(s, "sat"))
            f |= CV_SAT, hit = true;
        if (!hit && !strcmp(s, "satfinite"))
            f |= CV_FINITE, hit = true;
        if (!hit && !strcmp(s, "relu"))
            f |= CV_RELU, hit = true;
        if (!hit)
            dec_bad(d, "unknown modifier .%s of cvt", s);
    }
    if (ntype != 2)
        dec_bad(d, "cvt takes two types");
    *dt = ty[0], *st = ty[1];
    if (integral && is_float(ty[0]))
        f |= 128;
    if (!have && is_float(ty[1]) && !is_float(ty[0]))
        dec_bad(d, "cvt from float to integer without a rounding mode");
    return f;
}

static void dec_cvt(sim_dec *d, const ptx_insn *in) {
    ptx_type dt, st;
    uint32_t f = cvt_modes(d, in, &dt, &st);
    const ptx_type ed = unpair(dt), es = unpair(st);
    const uint32_t imm = (uint32_t)ed | (uint32_t)es << 8 | f << 16;
    if (ed == TY_E4M3 || es == TY_E4M3 || ed == TY_E5M2 || es == TY_E5M2)
        dec_need(d, 89, "an 8-bit float");
    sim_insn *s;
    int at = d->p->ncode;
    if (ed != dt && in->nopd == 3) {
        s = dec_emit(d, cvt_pack, CL_CVT);
        int32_t pd = dec_dst(d, &in->opd[0], ptx_type_bits(dt) == 32 ? 'w' : 'h');
        int32_t a = dec_src(d, &in->opd[1], 'f'), b = dec_src(d, &in->opd[2], 'f');
        s = &d->p->code[at];
        s->d = pd, s->a = a, s->b = b, s->imm = imm;
        if (f == RND_NE && st == TY_F32 && (dt == TY_F16X2 || dt == TY_BF16X2))
            s->fn = dt == TY_F16X2 ? c_h2_ff : c_b2_ff;
        return;
    }
    if (in->nopd != 2)
        dec_bad(d, "cvt takes two operands");
    s = dec_emit(d, ed != dt ? cvt_pair : cvt_any, CL_CVT);
    unsigned dr = ptx_type_bits(dec_reg_type(d, &in->opd[0]));
    ptx_type srt = dec_reg_type(d, &in->opd[1]);
    unsigned sr = srt != TY_NONE           ? ptx_type_bits(srt)
                  : ptx_type_bits(st) < 16 ? 16
                                           : ptx_type_bits(st);
    if (!dr || dr < ptx_type_bits(dt) || sr < ptx_type_bits(st))
        dec_bad(d, "cvt operand register too narrow");
    dr = dr < 16 ? 16 : dr;
    sr = sr < 16 ? 16 : sr;
    int32_t pd = dec_dst(d, &in->opd[0], dr == 64 ? 'x' : dr == 32 ? 'w' : 'h');
    int32_t pa = dec_src(d, &in->opd[1], sr == 64 ? 'x' : sr == 32 ? 'w' : 'h');
    s = &d->p->code[at];
    s->d = pd, s->a = pa, s->imm = imm, s->vec = (uint8_t)dr, s->abits = (uint8_t)sr;
    sim_fn fast = NULL;
    if (!(f & (CV_SAT | CV_FTZ)) && !is_float(dt) && !is_float(st))
        fast = int_fast(dt, st, dr, sr);
    else if (is_float(dt) || is_float(st))
        fast = ptx_type_bits(dt) == dr && ptx_type_bits(st) == sr ? float_fast(dt, st, imm) : NULL;
    if (fast && ed == dt)
        s->fn = fast;
}

/* cvt.pack.sat.u8.s32.b32 d, a, b, c: two saturated values above the halves of c */
EXEC(cvt_pack4) {
    SRC32(pa, a);
    SRC32(pb, b);
    SRC32(pc, c);
    DST32(pd);
    const unsigned n = ptx_type_bits(DT(in->imm));
    const uint32_t mask = (uint32_t)((1ull << n) - 1);
    for (int i = 0; i < SIM_LANES; i++) {
        if (!ON(m))
            continue;
        uint32_t hi = (uint32_t)int_saturate(extend(pa[i], TY_S32), TY_S32, DT(in->imm)) & mask;
        uint32_t lo = (uint32_t)int_saturate(extend(pb[i], TY_S32), TY_S32, DT(in->imm)) & mask;
        pd[i] = hi << n | lo | (n == 8 ? pc[i] << 16 : 0u);
    }
}
static void dec_cvt_any(sim_dec *d, const ptx_insn *in) {
    if (!ptx_has(in, "pack")) {
        dec_cvt(d, in);
        return;
    }
    ptx_type dt = in->nparts > 3 ? ptx_type_of(in->part[3], strlen(in->part[3])) : TY_NONE;
    if ((dt != TY_U8 && dt != TY_S8 && dt != TY_U16 && dt != TY_S16) || strcmp(in->part[2], "sat"))
        dec_bad(d, "unknown opcode %s", in->op);
    int at = d->p->ncode;
    dec_emit(d, cvt_pack4, CL_CVT);
    int32_t a = dec_src(d, &in->opd[1], 'w'), b = dec_src(d, &in->opd[2], 'w');
    int32_t c = in->nopd > 3 ? dec_src(d, &in->opd[3], 'w') : dec_const32(d, 0);
    sim_insn *s = &d->p->code[at];
    s->d = dec_dst(d, &in->opd[0], 'w');
    s->a = a, s->b = b, s->c = c, s->imm = (uint32_t)dt;
}

const sim_decoder sim_dec_cvt[] = {{"cvt", dec_cvt_any}, {0}};
