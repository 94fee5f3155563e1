/* ld, st, cvta, isspacep, prefetch, mov. */
#include "access.h"
#include "decode.h"

/* ---- loads ---- */

#define LOAD(T, D, CAST)                                                                           \
    for (int k = 0; k < in->vec; k++) {                                                            \
        uint##D##_t *d = sim_w##D(w, in->ext[k]);                                                  \
        for (int i = 0; i < SIM_LANES; i++) {                                                      \
            if (!ON(m))                                                                            \
                continue;                                                                          \
            T v;                                                                                   \
            memcpy(&v, ptr[i] + (size_t)k * sizeof v, sizeof v);                                   \
            d[i] = (uint##D##_t)(CAST)v;                                                           \
        }                                                                                          \
    }

/* A whole warp that reads 128 consecutive bytes, or one word. */
static bool load_fast(sim_warp *w, const sim_insn *in, uint32_t m, uint8_t **ptr) {
    if (m != SIM_FULL || in->vec != 1 || in->bytes != 4 || in->imm == 64)
        return false;
    uint64_t bad = 0;
    for (int i = 0; i < SIM_LANES; i++)
        bad |= (uint64_t)(ptr[i] - ptr[0]) ^ (uint64_t)i * 4;
    if (bad)
        return false;
    memcpy(sim_w32(w, in->ext[0]), ptr[0], 128);
    return true;
}

static void load(sim_warp *w, const sim_insn *in, uint32_t m, uint8_t **ptr) {
    if (load_fast(w, in, m, ptr))
        return;
    const bool wide = in->imm == 64, sg = in->flags & MF_SIGNED;
    switch (in->bytes) {
    case 1:
        if (wide) {
            if (sg) {
                LOAD(int8_t, 64, int64_t)
            } else {
                LOAD(uint8_t, 64, uint64_t)
            }
        } else if (in->imm == 16) {
            if (sg) {
                LOAD(int8_t, 32, uint16_t)
            } else {
                LOAD(uint8_t, 32, uint32_t)
            }
        } else {
            if (sg) {
                LOAD(int8_t, 32, int32_t)
            } else {
                LOAD(uint8_t, 32, uint32_t)
            }
        }
        break;
    case 2:
        if (wide) {
            if (sg) {
                LOAD(int16_t, 64, int64_t)
            } else {
                LOAD(uint16_t, 64, uint64_t)
            }
        } else if (in->imm == 16) {
            LOAD(uint16_t, 32, uint32_t)
        } else {
            if (sg) {
                LOAD(int16_t, 32, int32_t)
            } else {
                LOAD(uint16_t, 32, uint32_t)
            }
        }
        break;
    case 4:
        if (wide) {
            if (sg) {
                LOAD(int32_t, 64, int64_t)
            } else {
                LOAD(uint32_t, 64, uint64_t)
            }
        } else {
            LOAD(uint32_t, 32, uint32_t)
        }
        break;
    default:
        LOAD(uint64_t, 64, uint64_t)
    }
}

EXEC(ld) {
    uint8_t *ptr[SIM_LANES];
    sim_access(w, in, m, (unsigned)in->bytes * in->vec,
               ACC_READ | (in->flags & MF_STRONG ? ACC_STRONG : 0u), ptr);
    load(w, in, m, ptr);
    if (w->run->strict && (in->flags & MF_STRONG)) {
        uint64_t addr[SIM_LANES];
        sim_addresses(w, in, addr);
        EACH_LANE(m, l) sim_hb_acquire(w, sim_hb_key(w, addr[l], in->space), in->flags);
    }
}

/* Kernel parameters: uniform, and checked when decoded. */
EXEC(ld_param) {
    const uint8_t *p = w->run->l->params + in->off;
    for (int k = 0; k < in->vec; k++) {
        uint64_t v = 0;
        memcpy(&v, p + (size_t)k * in->bytes, in->bytes);
        if (in->flags & MF_SIGNED) {
            int sh = 64 - 8 * in->bytes;
            v = (uint64_t)((int64_t)(v << sh) >> sh);
        }
        if (in->imm == 64) {
            uint64_t *d = sim_w64(w, in->ext[k]);
            LANES d[i] = ON(m) ? v : d[i];
        } else {
            uint32_t *d = sim_w32(w, in->ext[k]), x = (uint32_t)v & (in->imm == 16 ? 0xffffu : ~0u);
            LANES d[i] = ON(m) ? x : d[i];
        }
    }
}

/* ---- stores ---- */

#define STORE(T, D)                                                                                \
    for (int k = 0; k < in->vec; k++) {                                                            \
        const uint##D##_t *s = sim_r##D(w, in->ext[k]);                                            \
        for (int i = 0; i < SIM_LANES; i++) {                                                      \
            if (!ON(m))                                                                            \
                continue;                                                                          \
            T v = (T)s[i];                                                                         \
            memcpy(ptr[i] + (size_t)k * sizeof v, &v, sizeof v);                                   \
        }                                                                                          \
    }

/* Lanes of one instruction that write different values to one place: the winner is undefined. */
static void check_duplicates(sim_warp *w, const sim_insn *in, uint32_t m, uint8_t **ptr) {
    for (int k = 0; k < in->vec; k++)
        EACH_LANE(m, l) {
            uint64_t v = in->imm == 64 ? sim_r64(w, in->ext[k])[l] : sim_r32(w, in->ext[k])[l];
            if (memcmp(ptr[l] + (size_t)k * in->bytes, &v, in->bytes))
                sim_fault(w, in, (int)l, (uint64_t)in->off, SIM_ERR_FAILED,
                          "race: lanes of one store write different values to one address");
        }
}

EXEC(st) {
    uint8_t *ptr[SIM_LANES];
    uint64_t addr[SIM_LANES];
    const bool strong = (in->flags & MF_STRONG) != 0;
    sim_access(w, in, m, (unsigned)in->bytes * in->vec, ACC_WRITE | (strong ? ACC_STRONG : 0u),
               ptr);
    if (w->run->strict && strong) {
        sim_addresses(w, in, addr);
        EACH_LANE(m, l) sim_hb_release(w, sim_hb_key(w, addr[l], in->space), in->flags, false);
    }
    switch (in->bytes) {
    case 1:
        if (in->imm == 64) {
            STORE(uint8_t, 64)
        } else {
            STORE(uint8_t, 32)
        }
        break;
    case 2:
        if (in->imm == 64) {
            STORE(uint16_t, 64)
        } else {
            STORE(uint16_t, 32)
        }
        break;
    case 4:
        if (in->imm == 64) {
            STORE(uint32_t, 64)
        } else {
            STORE(uint32_t, 32)
        }
        break;
    default:
        STORE(uint64_t, 64)
    }
    if (w->run->strict && in->space != SP_LOCAL)
        check_duplicates(w, in, m, ptr);
}

/* ---- decoding of ld and st ---- */

typedef struct ldst {
    ptx_space space;
    ptx_type type;
    int vec;
    uint16_t flags;
    bool hint;
} ldst;

static bool cache_word(const char *s) {
    static const char *const words[] = {"ca",
                                        "cg",
                                        "cs",
                                        "lu",
                                        "cv",
                                        "wb",
                                        "wt",
                                        "weak",
                                        "L1::evict_last",
                                        "L1::evict_normal",
                                        "L1::evict_first",
                                        "L1::evict_unchanged",
                                        "L1::no_allocate",
                                        "L2::evict_last",
                                        "L2::evict_normal",
                                        "L2::evict_first",
                                        "L2::64B",
                                        "L2::128B",
                                        "L2::256B",
                                        "unified",
                                        NULL};
    for (int i = 0; words[i]; i++)
        if (!strcmp(words[i], s))
            return true;
    return false;
}

static ldst parse_ldst(sim_dec *d, const ptx_insn *in) {
    ldst x = {.space = SP_GENERIC, .vec = 1};
    for (int i = 1; i < in->nparts; i++) {
        const char *s = in->part[i];
        ptx_type t = ptx_type_of(s, strlen(s));
        if (t != TY_NONE)
            x.type = t;
        else if (!strcmp(s, "global"))
            x.space = SP_GLOBAL;
        else if (!strcmp(s, "shared") || !strcmp(s, "shared::cta"))
            x.space = SP_SHARED;
        else if (!strcmp(s, "local"))
            x.space = SP_LOCAL;
        else if (!strcmp(s, "const"))
            x.space = SP_CONST;
        else if (!strcmp(s, "param") || !strcmp(s, "param::entry") || !strcmp(s, "param::func"))
            x.space = SP_PARAM;
        else if (!strcmp(s, "v2") || !strcmp(s, "v4") || !strcmp(s, "v8"))
            x.vec = s[1] - '0';
        else if (!strcmp(s, "volatile"))
            x.flags |= MF_VOLATILE;
        else if (!strcmp(s, "relaxed"))
            x.flags |= MF_RELAXED;
        else if (!strcmp(s, "acquire"))
            x.flags |= MF_ACQUIRE;
        else if (!strcmp(s, "release"))
            x.flags |= MF_RELEASE;
        else if (!strcmp(s, "nc"))
            x.flags |= MF_NC;
        else if (!strcmp(s, "gpu") || !strcmp(s, "sys"))
            x.flags |= MF_SYSGPU;
        else if (!strcmp(s, "L2::cache_hint"))
            x.hint = true;
        else if (strcmp(s, "cta") && !cache_word(s))
            dec_bad(d, "unknown modifier .%s", s);
    }
    if (x.flags & MF_VOLATILE)
        x.flags |= MF_SYSGPU;
    if (x.type == TY_NONE || x.type == TY_PRED || ptx_type_bits(x.type) > 64)
        dec_bad(d, "unknown opcode %s", in->op);
    return x;
}

static sim_class mem_class(ptx_space s, bool load) {
    switch (s) {
    case SP_GLOBAL:
        return load ? CL_LD_GLOBAL : CL_ST_GLOBAL;
    case SP_SHARED:
        return load ? CL_LD_SHARED : CL_ST_SHARED;
    case SP_LOCAL:
        return CL_LOCAL;
    case SP_PARAM:
    case SP_CONST:
        return CL_PARAM;
    default:
        return CL_GENERIC;
    }
}

static int element(const ptx_operand *o, int k, const ptx_operand **e) {
    if (o->kind == OP_VEC) {
        *e = k < o->nv ? &o->v[k] : NULL;
        return o->nv;
    }
    *e = o;
    return 1;
}

static void dec_ldst(sim_dec *d, const ptx_insn *in) {
    const bool is_ld = ptx_is(in, "ld") || ptx_is(in, "ldu");
    ldst x = parse_ldst(d, in);
    if (in->nopd != 2 + x.hint)
        dec_bad(d, "wrong number of operands");
    const ptx_operand *mem = &in->opd[is_ld ? 1 : 0], *val = &in->opd[is_ld ? 0 : 1], *e;
    if (mem->kind != OP_ADDR)
        dec_bad(d, "address expected");
    const ptx_var *v = mem->var && mem->var->alias ? mem->var->alias : mem->var;
    if (x.space == SP_PARAM && v && v->is_func_param)
        x.space = SP_LOCAL; /* parameters of device functions live in the frame */
    else if (x.space == SP_PARAM && v && v->space == SP_PARAM && !d->f->is_entry)
        x.space = SP_LOCAL;
    if (v && x.space != SP_GENERIC && v->space != x.space && v->space != SP_PARAM)
        dec_bad(d, "%s lies in another space", v->name);
    if (element(val, 0, &e) != x.vec)
        dec_bad(d, "vector length does not match");
    const unsigned bits = ptx_type_bits(x.type);
    int at = d->p->ncode;
    dec_emit(d, is_ld ? ld : st, mem_class(x.space, is_ld));
    int32_t *ext = dec_ext(d, x.vec);
    unsigned rbits = 0;
    for (int k = 0; k < x.vec; k++) {
        element(val, k, &e);
        ptx_type rt = dec_reg_type(d, e);
        unsigned b = rt == TY_NONE            ? (bits < 16 ? 16 : bits)
                     : ptx_type_bits(rt) < 16 ? 16
                                              : ptx_type_bits(rt);
        if (b < bits || (rbits && rbits != b))
            dec_bad(d, "register width does not fit the access");
        rbits = b;
        char kind = b == 64 ? 'x' : b == 32 ? 'w' : 'h';
        ext[k] = is_ld ? dec_dst(d, e, kind)
                       : dec_src(d, e,
                                 bits == 32 && kind == 'w' ? 'f'
                                 : bits == 64              ? 'g'
                                                           : kind);
    }
    sim_insn *s = &d->p->code[at];
    dec_address(d, s, mem, x.space);
    s = &d->p->code[at];
    s->ext = ext;
    s->vec = (uint8_t)x.vec;
    s->bytes = (uint8_t)(bits / 8);
    s->imm = rbits;
    s->flags = x.flags;
    if (x.type >= TY_S8 && x.type <= TY_S64)
        s->flags |= MF_SIGNED;
    if (is_ld && x.space == SP_PARAM && mem->name && mem->reg < 0) {
        uint64_t a = v->addr + mem->imm;
        if (a + (uint64_t)s->bytes * (uint64_t)x.vec > d->p->param_bytes)
            dec_bad(d, "read past the parameters");
        s->off = (int32_t)a;
        s->fn = ld_param;
    }
}

/* ---- mov ---- */

UN(mov32, 32, 32, x)
UN(mov64, 64, 64, x)

/* Pack {a, b, ...} into one register, unpack one into several. vec elements of `bytes`. */
EXEC(pack) {
    for (int i = 0; i < SIM_LANES; i++) {
        if (!ON(m))
            continue;
        uint64_t v = 0;
        for (int k = 0; k < in->vec; k++) {
            uint64_t e = in->bytes == 8 ? sim_r64(w, in->ext[k])[i] : sim_r32(w, in->ext[k])[i];
            v |= (in->bytes == 2   ? e & 0xffffu
                  : in->bytes == 1 ? e & 0xffu
                                   : e)
                 << (8 * in->bytes * k);
        }
        if (in->bytes * in->vec == 8)
            sim_w64(w, in->d)[i] = v;
        else
            sim_w32(w, in->d)[i] = (uint32_t)v;
    }
}
EXEC(pack_hh) {
    const uint32_t *a = sim_r32(w, in->ext[0]), *b = sim_r32(w, in->ext[1]);
    DST32(pd);
    LANES {
        uint32_t r_ = (a[i] & 0xffffu) | b[i] << 16;
        pd[i] = ON(m) ? r_ : pd[i];
    }
}
EXEC(unpack) {
    uint64_t src[SIM_LANES];
    if (in->bytes * in->vec == 8)
        memcpy(src, sim_r64(w, in->a), sizeof src);
    else
        for (int i = 0; i < SIM_LANES; i++)
            src[i] = sim_r32(w, in->a)[i];
    for (int k = 0; k < in->vec; k++) {
        uint32_t *d = sim_w32(w, in->ext[k]), mask = in->bytes == 4   ? ~0u
                                                     : in->bytes == 2 ? 0xffffu
                                                                      : 0xffu;
        const int sh = 8 * in->bytes * k;
        LANES d[i] = ON(m) ? (uint32_t)(src[i] >> sh) & mask : d[i];
    }
}
/* imm: 0 %clock, 1 %clock64, 2 %globaltimer: the warp's own instruction count */
EXEC(clock_reg) {
    w->steps++; /* the count is brought up to date at branches only: two readings must differ */
    for (int i = 0; i < SIM_LANES; i++) {
        if (!ON(m))
            continue;
        if (in->vec == 64)
            sim_w64(w, in->d)[i] = w->steps;
        else
            sim_w32(w, in->d)[i] = (uint32_t)w->steps;
    }
}

static void dec_pack(sim_dec *d, const ptx_insn *in, ptx_type t) {
    const bool packing = in->opd[1].kind == OP_VEC;
    const ptx_operand *v = &in->opd[packing ? 1 : 0], *s1 = &in->opd[packing ? 0 : 1];
    unsigned bits = ptx_type_bits(t);
    if (v->nv < 2 || v->nv > 8 || bits % (8u * (unsigned)v->nv))
        dec_bad(d, "mov between a register and a vector that does not fit");
    unsigned eb = bits / (unsigned)v->nv;
    int at = d->p->ncode;
    dec_emit(d, packing ? pack : unpack, CL_MOV);
    int32_t *ext = dec_ext(d, v->nv);
    char ek = eb == 32 ? 'w' : eb == 64 ? 'x' : 'h';
    if (eb == 64)
        dec_bad(d, "128-bit mov is not supported");
    for (int k = 0; k < v->nv; k++)
        ext[k] = packing ? dec_src(d, &v->v[k], ek) : dec_dst(d, &v->v[k], ek);
    int32_t one = packing ? dec_dst(d, s1, dec_kind_of(t)) : dec_src(d, s1, dec_kind_of(t));
    sim_insn *s = &d->p->code[at];
    s->ext = ext;
    s->vec = (uint8_t)v->nv;
    s->bytes = (uint8_t)(eb / 8);
    s->d = one;
    s->a = one;
    if (packing && eb == 16 && v->nv == 2)
        s->fn = pack_hh;
}

static void dec_mov(sim_dec *d, const ptx_insn *in) {
    ptx_type t = dec_type(in);
    if (in->nparts != 2 || in->nopd != 2 || t == TY_NONE)
        dec_bad(d, "unknown opcode %s", in->op);
    if (in->opd[0].kind == OP_VEC || in->opd[1].kind == OP_VEC) {
        dec_pack(d, in, t);
        return;
    }
    const ptx_operand *o = &in->opd[1];
    char k = dec_kind_of(t);
    int at = d->p->ncode;
    bool timer =
        o->kind == OP_SREG && (!strncmp(o->name, "%clock", 6) || !strcmp(o->name, "%globaltimer"));
    dec_emit(d, timer ? clock_reg : k == 'x' ? mov64 : mov32, CL_MOV);
    int32_t dd = dec_dst(d, &in->opd[0], k), a = 0;
    if (!timer) {
        if (o->kind == OP_SYM && !o->var)
            dec_bad(d, "address of '%s' is not supported", o->name);
        const ptx_var *v = o->var && o->var->alias ? o->var->alias : o->var;
        if (o->kind == OP_SYM && v->space == SP_PARAM && (v->is_func_param || !d->f->is_entry))
            dec_bad(d, "address of a function parameter is not supported");
        a = t == TY_F32 ? dec_src(d, o, 'f') : t == TY_F64 ? dec_src(d, o, 'g') : dec_src(d, o, k);
    }
    sim_insn *s = &d->p->code[at];
    s->d = dd, s->a = a;
    s->vec = k == 'x' ? 64 : 32;
}

/* ---- address spaces ---- */

EXEC(add_base) /* imm: 1 add, 2 subtract the window base; b: the base as a constant */
{
    SRC64(pa, a);
    SRC64(pb, b);
    DST64(pd);
    const bool add = in->imm == 1;
    LANES {
        uint64_t r_ = add ? pa[i] + pb[i] : pa[i] - pb[i];
        pd[i] = ON(m) ? r_ : pd[i];
    }
}
static uint64_t window(sim_dec *d, const ptx_insn *in) {
    return ptx_has(in, "shared") || ptx_has(in, "shared::cta") ? SIM_SHARED_BASE
           : ptx_has(in, "local")                              ? SIM_LOCAL_BASE
           : ptx_has(in, "global") || ptx_has(in, "const")     ? 0
           : ptx_has(in, "param") || ptx_has(in, "param::entry")
               ? SIM_PARAM_BASE
               : (dec_bad(d, "unknown opcode %s", in->op), 0ull);
}
static void dec_cvta(sim_dec *d, const ptx_insn *in) {
    uint64_t base = window(d, in);
    if (dec_type(in) != TY_U64)
        dec_bad(d, "cvta of 32 bits is not supported");
    int at = d->p->ncode;
    dec_emit(d, add_base, CL_MOV);
    int32_t dd = dec_dst(d, &in->opd[0], 'x'), a = dec_src(d, &in->opd[1], 'x'),
            b = dec_const64(d, base);
    sim_insn *s = &d->p->code[at];
    s->d = dd, s->a = a, s->b = b;
    s->imm = ptx_has(in, "to") ? 2 : 1;
}
EXEC(isspacep) {
    SRC64(pa, a);
    uint32_t r = 0;
    for (int i = 0; i < SIM_LANES; i++) {
        bool sh = pa[i] - SIM_SHARED_BASE < SIM_WINDOW, lo = pa[i] - SIM_LOCAL_BASE < SIM_WINDOW;
        bool hit = in->imm == SP_SHARED  ? sh
                   : in->imm == SP_LOCAL ? lo
                                         : in->imm == SP_GLOBAL && !sh && !lo;
        r |= (uint32_t)hit << i;
    }
    sim_set_pred(w, in->d, r, m);
}
static void dec_isspacep(sim_dec *d, const ptx_insn *in) {
    ptx_space s = ptx_has(in, "shared") || ptx_has(in, "shared::cta") ? SP_SHARED
                  : ptx_has(in, "local")                              ? SP_LOCAL
                  : ptx_has(in, "global")                             ? SP_GLOBAL
                  : ptx_has(in, "const")                              ? SP_CONST
                                                                      : SP_NONE;
    if (s == SP_NONE)
        dec_bad(d, "unknown opcode %s", in->op);
    int at = d->p->ncode;
    dec_emit(d, isspacep, CL_PRED);
    int32_t p = dec_dst(d, &in->opd[0], 'p'), a = dec_src(d, &in->opd[1], 'x');
    d->p->code[at].d = p, d->p->code[at].a = a, d->p->code[at].imm = s;
}

/* Hints: the operands are read for form only. */
EXEC(nothing) {
    (void)w, (void)in, (void)m;
}
EXEC(policy) {
    DST64(pd);
    LANES pd[i] = ON(m) ? 0x14f0000000000000ull : pd[i];
}
static void dec_hint(sim_dec *d, const ptx_insn *in) {
    if (ptx_is(in, "createpolicy")) {
        if (!ptx_has(in, "fractional") && !ptx_has(in, "range") && !ptx_has(in, "cvt"))
            dec_bad(d, "unknown opcode %s", in->op);
        int at = d->p->ncode;
        dec_emit(d, policy, CL_OTHER);
        d->p->code[at].d = dec_dst(d, &in->opd[0], 'x');
        return;
    }
    dec_emit(d, nothing, CL_OTHER);
}

const sim_decoder sim_dec_mem[] = {{"ld", dec_ldst},           {"ldu", dec_ldst},
                                   {"st", dec_ldst},           {"mov", dec_mov},
                                   {"cvta", dec_cvta},         {"isspacep", dec_isspacep},
                                   {"prefetch", dec_hint},     {"prefetchu", dec_hint},
                                   {"createpolicy", dec_hint}, {"applypriority", dec_hint},
                                   {"discard", dec_hint},      {"griddepcontrol", dec_hint},
                                   {"pmevent", dec_hint},      {0}};
