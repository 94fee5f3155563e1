/* cp.async with its groups, ldmatrix, stmatrix, movmatrix. */
#include "access.h"
#include "decode.h"

#include <stdlib.h>

/* ---- cp.async ---- */

static void copy_later(sim_warp *w, const sim_insn *in, uint32_t lane, uint32_t dst,
                       const uint8_t *src, unsigned have) {
    sim_cta *c = w->cta;
    if (w->ncopy == w->cap_copy) {
        w->cap_copy = w->cap_copy ? w->cap_copy * 2 : 256;
        w->copy = realloc(w->copy, (size_t)w->cap_copy * sizeof *w->copy);
        if (!w->copy)
            abort();
    }
    sim_copy *k = &w->copy[w->ncopy++];
    *k = (sim_copy){
        .group = w->group[lane], .dst = dst, .lane = (uint8_t)lane, .size = in->bytes, .in = in};
    if (have)
        memcpy(k->data, src, have);
    memset(c->smem + dst, 0xa5, in->bytes); /* poison until the wait */
    memset(c->svalid + dst, 0, in->bytes);
    memset(c->spend + dst, 1, in->bytes);
}

/* imm: 0 no size operand, 1 size in c, 2 predicate in c (true: write zeros) */
static unsigned source_bytes(const sim_warp *w, const sim_insn *in, uint32_t l) {
    if (in->imm == 1) {
        uint32_t n = sim_r32(w, in->c)[l];
        return n > in->bytes ? in->bytes : n;
    }
    if (in->imm == 2 && ((sim_pred(w, in->c) >> l & 1u) != in->neg))
        return 0;
    return in->bytes;
}

EXEC(cp_async) {
    uint32_t off[SIM_LANES];
    uint64_t addr[SIM_LANES];
    uint8_t *dst[SIM_LANES], *src[SIM_LANES], *part[SIM_LANES];
    const uint64_t *a64 = sim_r64(w, in->e);
    const int64_t goff = in->ext[0];
    sim_addresses(w, in, addr);
    for (int i = 0; i < SIM_LANES; i++) {
        uint64_t a = addr[i];
        off[i] =
            (uint32_t)(in->abits == 64 && a - SIM_SHARED_BASE < SIM_WINDOW ? a - SIM_SHARED_BASE
                                                                           : a);
        addr[i] = a64[i] + (uint64_t)goff;
    }
    uint32_t full = 0;
    EACH_LANE(m, l) full |= (uint32_t)(source_bytes(w, in, l) == in->bytes) << l;
    if (full)
        sim_access_global(w, in, full, addr, in->bytes, ACC_READ, src);
    EACH_LANE(m & ~full, l) {
        unsigned n = source_bytes(w, in, l);
        if (addr[l] & (in->bytes - 1u))
            sim_fault(w, in, (int)l, addr[l], SIM_ERR_MISALIGNED, "misaligned cp.async source");
        for (unsigned k = 0; k < n; k++) {
            addr[l] += k ? 1 : 0;
            sim_access_global(w, in, 1u << l, addr, 1, ACC_READ | ACC_QUIET, part);
        }
        if (n) {
            addr[l] -= n - 1;
            src[l] = sim_host(addr[l]);
        }
    }
    sim_access_shared(w, in, m, off, in->bytes, ACC_WRITE, dst);
    EACH_LANE(m, l) {
        unsigned n = source_bytes(w, in, l);
        if (w->run->strict) {
            copy_later(w, in, l, off[l], n ? src[l] : NULL, n);
            continue;
        }
        if (n)
            memcpy(dst[l], src[l], n);
        if (n < in->bytes)
            memset(dst[l] + n, 0, in->bytes - n);
    }
}

EXEC(cp_commit) {
    (void)in;
    EACH_LANE(m, l) w->group[l]++;
}

/* Delivers the copies of the lanes in m but for the latest `keep` committed groups; keep < 0: all.
 */
void sim_deliver(sim_warp *w, uint32_t m, int keep) {
    sim_cta *c = w->cta;
    int n = 0;
    for (int i = 0; i < w->ncopy; i++) {
        sim_copy *k = &w->copy[i];
        bool done = m >> k->lane & 1u;
        if (keep >= 0)
            done = done && (int64_t)k->group < (int64_t)w->group[k->lane] - keep;
        if (!done) {
            w->copy[n++] = *k;
            continue;
        }
        memcpy(c->smem + k->dst, k->data, k->size);
        memset(c->svalid + k->dst, 1, k->size);
        memset(c->spend + k->dst, 0, k->size);
        sim_shared_access(w, k->in, SIM_CHECK, k->lane, k->dst, k->size, true, false);
        sim_shared_access(w, k->in, SIM_NOTE, k->lane, k->dst, k->size, true, false);
    }
    w->ncopy = n;
}

EXEC(cp_wait) /* imm: groups that may stay in flight; all ones: none, committed or not */
{
    if (w->run->strict)
        sim_deliver(w, m, in->imm == ~0u ? -1 : (int)in->imm);
}

static void dec_cp(sim_dec *d, const ptx_insn *in) {
    if (!ptx_has(in, "async") || ptx_has(in, "bulk") || ptx_has(in, "mbarrier") ||
        ptx_has(in, "reduce"))
        dec_bad(d, "unknown opcode %s", in->op);
    dec_need(d, 80, "cp.async");
    if (ptx_has(in, "commit_group")) {
        dec_emit(d, cp_commit, CL_CPASYNC);
        return;
    }
    if (ptx_has(in, "wait_all") || ptx_has(in, "wait_group")) {
        uint32_t n = ptx_has(in, "wait_all") ? ~0u : (uint32_t)dec_imm(d, &in->opd[0]);
        dec_emit(d, cp_wait, CL_CPASYNC)->imm = n;
        return;
    }
    bool hint = ptx_has(in, "L2::cache_hint");
    int rest = in->nopd - 3 - hint; /* 0: plain, 1: source size or predicate */
    if (rest < 0 || rest > 1 || !(ptx_has(in, "shared") || ptx_has(in, "shared::cta")))
        dec_bad(d, "cp.async operands not understood");
    uint64_t size = dec_imm(d, &in->opd[2]);
    if (size != 4 && size != 8 && size != 16)
        dec_bad(d, "cp.async of %llu bytes", (unsigned long long)size);
    if (ptx_has(in, "cg") && size != 16)
        dec_bad(d, "cp.async.cg takes 16 bytes");
    int at = d->p->ncode;
    dec_emit(d, cp_async, CL_CPASYNC);
    int32_t c = 0;
    uint32_t kind = 0;
    if (rest) {
        kind = dec_reg_type(d, &in->opd[3]) == TY_PRED ? 2 : 1;
        c = dec_src(d, &in->opd[3], kind == 2 ? 'p' : 'w');
    }
    sim_insn tmp = {0};
    dec_address(d, &tmp, &in->opd[1], SP_GLOBAL);
    if (tmp.abits != 64)
        dec_bad(d, "cp.async source address must have 64 bits");
    int32_t *ext = dec_ext(d, 1);
    ext[0] = tmp.off;
    sim_insn dst = {0};
    dec_address(d, &dst, &in->opd[0], SP_SHARED);
    sim_insn *s = &d->p->code[at];
    s->a = dst.a, s->off = dst.off, s->abits = dst.abits;
    s->space = SP_NONE;
    s->e = tmp.a, s->ext = ext, s->c = c, s->imm = kind, s->bytes = (uint8_t)size;
    s->neg = rest && in->opd[3].neg;
}

/* ---- matrices of 8x8 16-bit elements ---- */

static void row_offsets(sim_warp *w, const sim_insn *in, uint32_t *off) {
    uint64_t addr[SIM_LANES];
    sim_addresses(w, in, addr);
    for (int i = 0; i < 8 * in->vec; i++) {
        uint64_t a = addr[i];
        if (in->space == SP_GENERIC) {
            if (a - SIM_SHARED_BASE >= SIM_WINDOW)
                sim_fault(w, in, i, a, SIM_ERR_ADDRESS, "row address is not in shared memory");
            a -= SIM_SHARED_BASE;
        }
        off[i] = (uint32_t)a;
    }
}

static uint32_t row_mask(const sim_insn *in) {
    return in->vec == 4 ? SIM_FULL : (1u << (8 * in->vec)) - 1u;
}

static void need_warp(sim_warp *w, const sim_insn *in, uint32_t m) {
    if (m != SIM_FULL)
        sim_fault(w, in, -1, 0, SIM_ERR_FAILED, "needs all 32 lanes, has %08x", m);
}

EXEC(ldmatrix) {
    uint32_t off[SIM_LANES] = {0};
    uint8_t *ptr[SIM_LANES];
    need_warp(w, in, m);
    row_offsets(w, in, off);
    sim_access_shared(w, in, row_mask(in), off, 16, ACC_READ | ACC_QUIET, ptr);
    sim_count_rows(w, in, off, 8 * in->vec);
    for (int k = 0; k < in->vec; k++) {
        uint32_t *d = sim_w32(w, in->ext[k]);
        uint16_t t[8][8];
        for (int r = 0; r < 8; r++)
            memcpy(in->imm ? t[r] : (void *)(d + 4 * r), ptr[8 * k + r], 16);
        if (!in->imm)
            continue;
        for (int g = 0; g < 8; g++)
            for (int c = 0; c < 4; c++)
                d[4 * g + c] = t[2 * c][g] | (uint32_t)t[2 * c + 1][g] << 16;
    }
}

EXEC(stmatrix) {
    uint32_t off[SIM_LANES] = {0};
    uint8_t *ptr[SIM_LANES];
    need_warp(w, in, m);
    row_offsets(w, in, off);
    sim_access_shared(w, in, row_mask(in), off, 16, ACC_WRITE | ACC_QUIET, ptr);
    sim_count_rows(w, in, off, 8 * in->vec);
    for (int k = 0; k < in->vec; k++) {
        const uint32_t *s = sim_r32(w, in->ext[k]);
        for (int g = 0; g < 8; g++)
            for (int c = 0; c < 8; c++) {
                uint32_t v = in->imm ? s[4 * c + g / 2] >> (16 * (g & 1))
                                     : s[4 * g + c / 2] >> (16 * (c & 1));
                uint16_t h = (uint16_t)v;
                memcpy(ptr[8 * k + g] + 2 * c, &h, 2);
            }
    }
}

EXEC(movmatrix) {
    need_warp(w, in, m);
    uint16_t t[8][8];
    memcpy(t, sim_r32(w, in->a), sizeof t);
    DST32(d);
    for (int g = 0; g < 8; g++)
        for (int c = 0; c < 4; c++)
            d[4 * g + c] = t[2 * c][g] | (uint32_t)t[2 * c + 1][g] << 16;
}

static void dec_matrix(sim_dec *d, const ptx_insn *in) {
    const bool st = ptx_is(in, "stmatrix");
    if (ptx_is(in, "movmatrix")) {
        if (strcmp(in->op, "movmatrix.sync.aligned.m8n8.trans.b16"))
            dec_bad(d, "unknown opcode %s", in->op);
        int at = d->p->ncode;
        dec_emit(d, movmatrix, CL_WARP);
        int32_t dd = dec_dst(d, &in->opd[0], 'w'), a = dec_src(d, &in->opd[1], 'w');
        d->p->code[at].d = dd, d->p->code[at].a = a, d->p->code[at].ctl = CTL_SYNC;
        return;
    }
    int n = ptx_has(in, "x4") ? 4 : ptx_has(in, "x2") ? 2 : ptx_has(in, "x1") ? 1 : 0;
    if (!n || !ptx_has(in, "m8n8") || !ptx_has(in, "b16") || in->nopd != 2)
        dec_bad(d, "unknown opcode %s", in->op);
    if (st)
        dec_need(d, 90, "stmatrix");
    const ptx_operand *v = &in->opd[st ? 1 : 0], *mem = &in->opd[st ? 0 : 1];
    if (v->kind == OP_VEC ? v->nv != n : n != 1)
        dec_bad(d, "register list does not match .x%d", n);
    bool shared = ptx_has(in, "shared") || ptx_has(in, "shared::cta");
    int at = d->p->ncode;
    dec_emit(d, st ? stmatrix : ldmatrix, CL_LDMATRIX);
    int32_t *ext = dec_ext(d, n);
    for (int k = 0; k < n; k++) {
        const ptx_operand *e = v->kind == OP_VEC ? &v->v[k] : v;
        ext[k] = st ? dec_src(d, e, 'w') : dec_dst(d, e, 'w');
    }
    sim_insn *s = &d->p->code[at];
    dec_address(d, s, mem, shared ? SP_SHARED : SP_GENERIC);
    s = &d->p->code[at];
    s->ext = ext, s->vec = (uint8_t)n, s->imm = ptx_has(in, "trans"), s->bytes = 16;
    s->ctl = CTL_SYNC;
    s->flags = 0;
}

/* ---- atomics: one thread runs a launch whose CTAs communicate, so plain reads and writes do ----
 */

typedef enum { A_ADD, A_MIN, A_MAX, A_INC, A_DEC, A_AND, A_OR, A_XOR, A_EXCH, A_CAS } aop;
static const char *const aop_names[] = {"add", "min", "max", "inc",  "dec",
                                        "and", "or",  "xor", "exch", "cas"};

static uint32_t pair_add(uint32_t x, uint32_t y, ptx_type t) {
    if (t == TY_F16X2)
        return sim_f2h(sim_h2f(x & 0xffffu) + sim_h2f(y & 0xffffu)) |
               sim_f2h(sim_h2f(x >> 16) + sim_h2f(y >> 16)) << 16;
    return sim_f2bf(sim_bf2f(x & 0xffffu) + sim_bf2f(y & 0xffffu)) |
           sim_f2bf(sim_bf2f(x >> 16) + sim_bf2f(y >> 16)) << 16;
}

static uint64_t float_op(aop op, ptx_type t, uint64_t x, uint64_t y) {
    (void)op;
    uint32_t a = (uint32_t)x, b = (uint32_t)y;
    switch (t) {
    case TY_F32:
        return sim_bn(sim_f(a) + sim_f(b));
    case TY_F64:
        return sim_bdn(sim_d(x) + sim_d(y));
    case TY_F16:
        return sim_f2h(sim_h2f(a & 0xffffu) + sim_h2f(b & 0xffffu));
    case TY_BF16:
        return sim_f2bf(sim_bf2f(a & 0xffffu) + sim_bf2f(b & 0xffffu));
    default:
        return pair_add(a, b, t);
    }
}

static uint64_t atomic_op(aop op, ptx_type t, uint64_t x, uint64_t y, uint64_t z) {
    const bool s = t == TY_S32 || t == TY_S64;
    const int64_t sx = t == TY_S32 ? (int32_t)x : (int64_t)x,
                  sy = t == TY_S32 ? (int32_t)y : (int64_t)y;
    if (t >= TY_F16 && t <= TY_F64 && op == A_ADD)
        return float_op(op, t, x, y);
    switch (op) {
    case A_ADD:
        return x + y;
    case A_MIN:
        return s ? (sx < sy ? x : y) : (x < y ? x : y);
    case A_MAX:
        return s ? (sx > sy ? x : y) : (x > y ? x : y);
    case A_INC:
        return x >= y ? 0 : x + 1;
    case A_DEC:
        return x == 0 || x > y ? y : x - 1;
    case A_AND:
        return x & y;
    case A_OR:
        return x | y;
    case A_XOR:
        return x ^ y;
    case A_EXCH:
        return y;
    default:
        return x == y ? z : x;
    }
}

EXEC(atom) {
    uint8_t *ptr[SIM_LANES];
    uint64_t addr[SIM_LANES];
    const unsigned n = in->bytes;
    const bool wide = n == 8, has_d = in->vec;
    sim_runner *r = w->run;
    const uint64_t before = r->progress;
    sim_access(w, in, m, n, ACC_READ | ACC_WRITE | ACC_STRONG, ptr);
    r->progress = before;
    sim_addresses(w, in, addr);
    EACH_LANE(m, l) {
        uint64_t old = 0, y, z = 0;
        memcpy(&old, ptr[l], n);
        y = wide ? sim_r64(w, in->b)[l] : sim_r32(w, in->b)[l];
        if (in->imm == A_CAS)
            z = wide ? sim_r64(w, in->c)[l] : sim_r32(w, in->c)[l];
        uint64_t now = atomic_op((aop)in->imm, (ptx_type)in->neg, old, y, z);
        if (r->strict) {
            uint64_t key = sim_hb_key(w, addr[l], in->space);
            if (memcmp(&now, &old, n) || in->imm != A_CAS)
                sim_hb_release(w, key, in->flags, true);
            sim_hb_acquire(w, key, in->flags);
        }
        if (memcmp(&now, &old, n)) {
            memcpy(ptr[l], &now, n);
            r->progress = r->steps;
        }
        if (has_d && wide)
            sim_w64(w, in->d)[l] = old;
        else if (has_d)
            sim_w32(w, in->d)[l] = (uint32_t)old;
    }
}

static aop parse_atom(sim_dec *d, const ptx_insn *in, uint16_t *flags, ptx_space *sp, ptx_type *ty,
                      bool *hint) {
    int op = -1;
    for (int i = 1; i < in->nparts; i++) {
        const char *s = in->part[i];
        ptx_type t = ptx_type_of(s, strlen(s));
        int k = 0;
        while (k < 10 && strcmp(s, aop_names[k]))
            k++;
        if (k < 10)
            op = k;
        else if (t != TY_NONE)
            *ty = t;
        else if (!strcmp(s, "global"))
            *sp = SP_GLOBAL;
        else if (!strcmp(s, "shared") || !strcmp(s, "shared::cta"))
            *sp = SP_SHARED;
        else if (!strcmp(s, "acquire"))
            *flags |= MF_ACQUIRE;
        else if (!strcmp(s, "release"))
            *flags |= MF_RELEASE;
        else if (!strcmp(s, "acq_rel"))
            *flags |= MF_ACQUIRE | MF_RELEASE;
        else if (!strcmp(s, "L2::cache_hint"))
            *hint = true;
        else if (!strcmp(s, "gpu") || !strcmp(s, "sys"))
            *flags |= MF_SYSGPU;
        else if (strcmp(s, "relaxed") && strcmp(s, "cta") && strcmp(s, "noftz"))
            dec_bad(d, "unknown modifier .%s", s);
    }
    *flags |= MF_RELAXED;
    if (op < 0)
        dec_bad(d, "unknown opcode %s", in->op);
    return (aop)op;
}

static void dec_atom(sim_dec *d, const ptx_insn *in) {
    const bool red = ptx_is(in, "red");
    uint16_t flags = 0;
    ptx_space sp = SP_GENERIC;
    ptx_type ty = TY_NONE;
    bool hint = false;
    aop op = parse_atom(d, in, &flags, &sp, &ty, &hint);
    bool flt = ty >= TY_F16 && ty <= TY_F64;
    unsigned bits = ptx_type_bits(ty);
    if (bits < 16 || bits > 64 || (flt && op != A_ADD) || (bits == 16 && !flt && op != A_CAS))
        dec_bad(d, "unknown opcode %s", in->op);
    int k = red ? 0 : 1, want = k + 2 + (op == A_CAS) + hint;
    if (in->nopd != want)
        dec_bad(d, "wrong number of operands");
    int at = d->p->ncode;
    dec_emit(d, atom, CL_ATOM);
    char kind = ty == TY_F32 ? 'f' : ty == TY_F64 ? 'g' : dec_kind_of(ty);
    int32_t dd = red ? 0 : dec_dst(d, &in->opd[0], kind);
    int32_t b = dec_src(d, &in->opd[k + 1], kind),
            c = op == A_CAS ? dec_src(d, &in->opd[k + 2], kind) : 0;
    sim_insn *s = &d->p->code[at];
    dec_address(d, s, &in->opd[k], sp);
    s = &d->p->code[at];
    s->d = dd, s->b = b, s->c = c, s->imm = (uint32_t)op, s->flags = flags;
    s->neg = (uint8_t)ty, s->bytes = (uint8_t)(bits / 8), s->vec = !red;
}

const sim_decoder sim_dec_atom[] = {{"atom", dec_atom},
                                    {"red", dec_atom},
                                    {"cp", dec_cp},
                                    {"ldmatrix", dec_matrix},
                                    {"stmatrix", dec_matrix},
                                    {"movmatrix", dec_matrix},
                                    {0}};
