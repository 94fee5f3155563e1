/* The packed "video" instructions that the SIMD intrinsics still use: vadd2/4, vsub, vavrg,
 * vabsdiff, vmin, vmax, vset on bytes or halves of 32-bit registers, with .sat and .add, without
 * lane masks. */
#include "decode.h"
#include "exec.h"

typedef enum { V_ADD, V_SUB, V_AVRG, V_ABSDIFF, V_MIN, V_MAX, V_SET } vop;
static const char *const names[] = {"vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax", "vset"};
enum { F_DS = 1, F_AS = 2, F_BS = 4, F_SAT = 8, F_ADD = 16 };

static int32_t part(uint32_t v, int bits, int k, bool sgn) {
    uint32_t x = v >> (bits * k) & ((1u << bits) - 1u);
    return sgn && x >> (bits - 1) ? (int32_t)x - (1 << bits) : (int32_t)x;
}

static int32_t one(vop op, int32_t a, int32_t b, uint32_t cmp) {
    switch (op) {
    case V_ADD:
        return a + b;
    case V_SUB:
        return a - b;
    case V_AVRG:
        return (a + b + (a + b >= 0 ? 1 : 0)) >> 1; /* rounds halves away from zero */
    case V_ABSDIFF:
        return a > b ? a - b : b - a;
    case V_MIN:
        return a < b ? a : b;
    case V_MAX:
        return a > b ? a : b;
    default: {
        const bool r[] = {a == b, a != b, a<b, a <= b, a> b, a >= b};
        return r[cmp];
    }
    }
}

/* imm: operation | flags << 8 | comparison << 16; bytes: 1 or 2 */
EXEC(video) {
    SRC32(pa, a);
    SRC32(pb, b);
    SRC32(pc, c);
    DST32(pd);
    const vop op = (vop)(in->imm & 255u);
    const uint32_t fl = in->imm >> 8 & 255u;
    const int bits = 8 * in->bytes, n = 4 / in->bytes;
    for (int i = 0; i < SIM_LANES; i++) {
        uint32_t r = fl & F_ADD ? pc[i] : 0;
        if (!ON(m))
            continue;
        for (int k = 0; k < n; k++) {
            int32_t v = one(op, part(pa[i], bits, k, fl & F_AS), part(pb[i], bits, k, fl & F_BS),
                            in->imm >> 16);
            const int32_t hi = fl & F_DS ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
            const int32_t lo = fl & F_DS ? -(1 << (bits - 1)) : 0;
            if (fl & F_SAT)
                v = v > hi ? hi : v < lo ? lo : v;
            if (fl & F_ADD)
                r += (uint32_t)v;
            else
                r |= ((uint32_t)v & ((1u << bits) - 1u)) << (bits * k);
        }
        pd[i] = r;
    }
}

static void dec_video(sim_dec *d, const ptx_insn *in) {
    static const char *const cmps[] = {"eq", "ne", "lt", "le", "gt", "ge"};
    const size_t len = strlen(in->part[0]);
    uint32_t op = 0, fl = 0, cmp = 0;
    int nt = 0;
    while (strlen(names[op]) != len - 1 || strncmp(names[op], in->part[0], len - 1))
        op++;
    for (int i = 1; i < in->nparts; i++) {
        const char *s = in->part[i];
        ptx_type t = ptx_type_of(s, strlen(s));
        uint32_t k = 0;
        while (k < 6 && strcmp(s, cmps[k]))
            k++;
        if (t == TY_U32 || t == TY_S32) {
            /* vset has no type of its own for the destination */
            int which = op == V_SET ? nt + 1 : nt;
            fl |= t == TY_S32 ? 1u << which : 0;
            nt++;
        } else if (!strcmp(s, "sat")) {
            fl |= F_SAT;
        } else if (!strcmp(s, "add")) {
            fl |= F_ADD;
        } else if (op == V_SET && k < 6) {
            cmp = k;
        } else {
            dec_bad(d, "unknown modifier .%s", s);
        }
    }
    if (nt != (op == V_SET ? 2 : 3) || in->nopd != 4)
        dec_bad(d, "unknown opcode %s", in->op);
    int at = d->p->ncode;
    dec_emit(d, video, CL_INT);
    int32_t dd = dec_dst(d, &in->opd[0], 'w'), a = dec_src(d, &in->opd[1], 'w');
    int32_t b = dec_src(d, &in->opd[2], 'w'), c = dec_src(d, &in->opd[3], 'w');
    sim_insn *s = &d->p->code[at];
    s->d = dd, s->a = a, s->b = b, s->c = c;
    s->imm = op | fl << 8 | cmp << 16;
    s->bytes = in->part[0][len - 1] == '4' ? 1 : 2;
}

const sim_decoder sim_dec_video[] = {
    {"vadd2", dec_video},     {"vadd4", dec_video},     {"vsub2", dec_video},
    {"vsub4", dec_video},     {"vavrg2", dec_video},    {"vavrg4", dec_video},
    {"vabsdiff2", dec_video}, {"vabsdiff4", dec_video}, {"vmin2", dec_video},
    {"vmin4", dec_video},     {"vmax2", dec_video},     {"vmax4", dec_video},
    {"vset2", dec_video},     {"vset4", dec_video},     {0}};
