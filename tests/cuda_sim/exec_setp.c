/* setp and set: comparisons into predicates or registers. */
#include "decode.h"
#include "exec.h"

typedef enum {
    C_EQ,
    C_NE,
    C_LT,
    C_LE,
    C_GT,
    C_GE,
    C_EQU,
    C_NEU,
    C_LTU,
    C_LEU,
    C_GTU,
    C_GEU,
    C_NUM,
    C_NAN
} cmp;
static const char *const cmp_names[] = {"eq",  "ne",  "lt",  "le",  "gt",  "ge",  "equ",
                                        "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
typedef enum { B_NONE, B_AND, B_OR, B_XOR } boolop;

/* imm: comparison | boolop << 8 | type << 16; flags bit 0: ftz */

#define CMP_LOOP(T, LOAD, OPR)                                                                     \
    LANES {                                                                                        \
        T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                        \
        t[i] = (x OPR y) ? 1u : 0u;                                                                \
    }
#define CMP_INT(T, LOAD)                                                                           \
    switch (c) {                                                                                   \
    case C_EQ:                                                                                     \
        CMP_LOOP(T, LOAD, ==) break;                                                               \
    case C_NE:                                                                                     \
        CMP_LOOP(T, LOAD, !=) break;                                                               \
    case C_LT:                                                                                     \
        CMP_LOOP(T, LOAD, <) break;                                                                \
    case C_LE:                                                                                     \
        CMP_LOOP(T, LOAD, <=) break;                                                               \
    case C_GT:                                                                                     \
        CMP_LOOP(T, LOAD, >) break;                                                                \
    default:                                                                                       \
        CMP_LOOP(T, LOAD, >=) break;                                                               \
    }
#define AS_S32(v) ((int32_t)(v))
#define AS_S64(v) ((int64_t)(v))
#define AS_S16(v) ((int32_t)(int16_t)(v))
#define SAME(v)   (v)

/* Unordered comparisons are the negations of the opposite ordered ones. */
#define CMP_FLT(T, LOAD)                                                                           \
    switch (c) {                                                                                   \
    case C_EQ:                                                                                     \
        CMP_LOOP(T, LOAD, ==) break;                                                               \
    case C_NE:                                                                                     \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t)(x < y || x > y);                                                     \
        }                                                                                          \
        break;                                                                                     \
    case C_LT:                                                                                     \
        CMP_LOOP(T, LOAD, <) break;                                                                \
    case C_LE:                                                                                     \
        CMP_LOOP(T, LOAD, <=) break;                                                               \
    case C_GT:                                                                                     \
        CMP_LOOP(T, LOAD, >) break;                                                                \
    case C_GE:                                                                                     \
        CMP_LOOP(T, LOAD, >=) break;                                                               \
    case C_EQU:                                                                                    \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t) !(x < y || x > y);                                                   \
        }                                                                                          \
        break;                                                                                     \
    case C_NEU:                                                                                    \
        CMP_LOOP(T, LOAD, !=) break;                                                               \
    case C_LTU:                                                                                    \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t) !(x >= y);                                                           \
        }                                                                                          \
        break;                                                                                     \
    case C_LEU:                                                                                    \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t) !(x > y);                                                            \
        }                                                                                          \
        break;                                                                                     \
    case C_GTU:                                                                                    \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t) !(x <= y);                                                           \
        }                                                                                          \
        break;                                                                                     \
    case C_GEU:                                                                                    \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t) !(x < y);                                                            \
        }                                                                                          \
        break;                                                                                     \
    case C_NUM:                                                                                    \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t)(x == x && y == y);                                                   \
        }                                                                                          \
        break;                                                                                     \
    default:                                                                                       \
        LANES {                                                                                    \
            T x = LOAD(pa[i]), y = LOAD(pb[i]);                                                    \
            t[i] = (uint32_t)(x != x || y != y);                                                   \
        }                                                                                          \
        break;                                                                                     \
    }
#define F_FTZ(v) sim_f(sim_ftz(v))
#define F_LO(v)  sim_h2f((v)&0xffffu)
#define F_HI(v)  sim_h2f((v) >> 16)
#define BF_LO(v) sim_bf2f((v)&0xffffu)
#define BF_HI(v) sim_bf2f((v) >> 16)

static uint32_t compare(const sim_warp *w, const sim_insn *in, bool high) {
    const cmp c = (cmp)(in->imm & 255u);
    const ptx_type ty = (ptx_type)(in->imm >> 16);
    uint32_t t[SIM_LANES];
    if (ptx_type_bits(ty) == 64) {
        SRC64(pa, a);
        SRC64(pb, b);
        if (ty == TY_F64) {
            CMP_FLT(double, sim_d)
        } else if (ty == TY_S64) {
            CMP_INT(int64_t, AS_S64)
        } else {
            CMP_INT(uint64_t, SAME)
        }
        return sim_mask_of(t);
    }
    SRC32(pa, a);
    SRC32(pb, b);
    switch (ty) {
    case TY_S32:
        CMP_INT(int32_t, AS_S32) break;
    case TY_S16:
        CMP_INT(int32_t, AS_S16) break;
    case TY_F32:
        if (in->flags & 1u) {
            CMP_FLT(float, F_FTZ)
        } else {
            CMP_FLT(float, sim_f)
        }
        break;
    case TY_F16:
    case TY_F16X2:
        if (high) {
            CMP_FLT(float, F_HI)
        } else {
            CMP_FLT(float, F_LO)
        }
        break;
    case TY_BF16:
    case TY_BF16X2:
        if (high) {
            CMP_FLT(float, BF_HI)
        } else {
            CMP_FLT(float, BF_LO)
        }
        break;
    default:
        CMP_INT(uint32_t, SAME) break;
    }
    return sim_mask_of(t);
}

static uint32_t combine(uint32_t r, uint32_t p, uint32_t op) {
    return op == B_AND ? r & p : op == B_OR ? r | p : op == B_XOR ? r ^ p : r;
}

static uint32_t third(const sim_warp *w, const sim_insn *in) {
    uint32_t p = sim_pred(w, in->c);
    return in->neg ? ~p : p;
}

EXEC(setp_any) {
    uint32_t op = in->imm >> 8 & 255u, p = op ? third(w, in) : 0, r = compare(w, in, false);
    ptx_type ty = (ptx_type)(in->imm >> 16);
    uint32_t q = ty == TY_F16X2 || ty == TY_BF16X2 ? compare(w, in, true) : ~r;
    sim_set_pred(w, in->d, combine(r, p, op), m);
    sim_set_pred(w, in->e, combine(q, p, op), m);
}
EXEC(setp_u32_plain) {
    sim_set_pred(w, in->d, compare(w, in, false), m);
}

/* set: all ones or zero for integers, 1.0 or 0.0 for floats; vec: destination type */
EXEC(set_any) {
    uint32_t op = in->imm >> 8 & 255u, p = op ? third(w, in) : 0;
    uint32_t r = combine(compare(w, in, false), p, op);
    ptx_type ty = (ptx_type)(in->imm >> 16), dt = (ptx_type)in->vec;
    DST32(pd);
    bool two = ty == TY_F16X2 || ty == TY_BF16X2;
    uint32_t hi = two ? combine(compare(w, in, true), p, op) : 0;
    uint32_t one = dt == TY_F32                       ? 0x3f800000u
                   : dt == TY_F16 || dt == TY_F16X2   ? 0x3c00u
                   : dt == TY_BF16 || dt == TY_BF16X2 ? 0x3f80u
                   : ptx_type_bits(dt) == 16 || two   ? 0xffffu
                                                      : 0xffffffffu;
    for (int i = 0; i < SIM_LANES; i++)
        if (ON(m))
            pd[i] = (ON(r) ? one : 0u) | (ON(hi) ? one << 16 : 0u);
}

static cmp find_cmp(sim_dec *d, const char *s, bool is_float) {
    static const struct {
        const char *n;
        cmp c;
    } uns[] = {{"lo", C_LT}, {"ls", C_LE}, {"hi", C_GT}, {"hs", C_GE}};
    for (int k = 0; k < 4; k++)
        if (!strcmp(s, uns[k].n))
            return uns[k].c;
    for (int k = 0; k < (is_float ? 14 : 6); k++)
        if (!strcmp(s, cmp_names[k]))
            return (cmp)k;
    dec_bad(d, "unknown comparison .%s", s);
}

static void dec_set(sim_dec *d, const ptx_insn *in) {
    bool setp = ptx_is(in, "setp");
    uint32_t op = B_NONE;
    bool ftz = false;
    ptx_type t[2] = {TY_NONE, TY_NONE};
    int nt = 0;
    for (int i = 2; i < in->nparts; i++) {
        const char *s = in->part[i];
        ptx_type ty = ptx_type_of(s, strlen(s));
        if (ty != TY_NONE && nt < 2)
            t[nt++] = ty;
        else if (!strcmp(s, "and"))
            op = B_AND;
        else if (!strcmp(s, "or"))
            op = B_OR;
        else if (!strcmp(s, "xor"))
            op = B_XOR;
        else if (!strcmp(s, "ftz"))
            ftz = true;
        else
            dec_bad(d, "unknown modifier .%s", s);
    }
    if (nt != (setp ? 1 : 2) || in->nopd != (op ? 4 : 3))
        dec_bad(d, "setp/set: wrong number of types or operands");
    ptx_type ty = t[nt - 1];
    bool flt = ty >= TY_F16 && ty <= TY_F64;
    cmp c = find_cmp(d, in->part[1], flt);
    char k = dec_kind_of(ty);
    k = ty == TY_F32 ? 'f' : ty == TY_F64 ? 'g' : k;
    int at = d->p->ncode;
    dec_emit(d, setp ? setp_any : set_any, CL_PRED);
    int32_t e = 2, dd;
    const ptx_operand *o = &in->opd[0];
    if (setp) {
        if (o->kind == OP_PAIR) {
            e = dec_dst(d, &o->v[1], 'p');
            o = &o->v[0];
        }
        dd = dec_dst(d, o, 'p');
    } else {
        if (ptx_type_bits(t[0]) > 32)
            dec_bad(d, "set to 64 bits is not supported");
        dd = dec_dst(d, o, dec_kind_of(t[0]));
    }
    int32_t a = dec_src(d, &in->opd[1], k), b = dec_src(d, &in->opd[2], k);
    int32_t p = op ? dec_src(d, &in->opd[3], 'p') : 0;
    sim_insn *s = &d->p->code[at];
    s->d = dd, s->e = e, s->a = a, s->b = b, s->c = p;
    s->neg = op && in->opd[3].neg;
    s->imm = (uint32_t)c | op << 8 | (uint32_t)ty << 16;
    s->flags = ftz;
    s->vec = (uint8_t)t[0];
    if (setp && !op && e == 2)
        s->fn = setp_u32_plain;
}

const sim_decoder sim_dec_setp[] = {{"setp", dec_set}, {"set", dec_set}, {0}};
