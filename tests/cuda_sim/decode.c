/* Syntax tree -> predecoded instructions of one kernel with all the functions it calls. */
#include "decode.h"
#include "exec.h"

#include <stdarg.h>
#include <stdlib.h>

static const sim_op *const op_tables[] = {sim_ops_int,  sim_ops_bits, sim_ops_float, sim_ops_half,
                                          sim_ops_bf16, sim_ops_sfu,  sim_ops_warp,  sim_ops_misc,
                                          sim_ops_simd, sim_ops_round};
static const sim_decoder *const dec_tables[] = {
    sim_dec_ctl, sim_dec_mem, sim_dec_cvt, sim_dec_setp, sim_dec_atom, sim_dec_mma, sim_dec_video};
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

void dec_bad(sim_dec *d, const char *fmt, ...) {
    char buf[256], where[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    const ptx_insn *in = d->in;
    if (!in) {
        snprintf(d->err, sizeof d->err, "%s: %s", d->f ? d->f->name : "?", buf);
    } else {
        const char *file =
            in->loc_file > 0 && in->loc_file < d->m->ptx->nfiles && d->m->ptx->files[in->loc_file]
                ? d->m->ptx->files[in->loc_file]
                : "?";
        snprintf(where, sizeof where, "%.100s, PTX line %d (%.150s:%d)", d->f->name, in->line, file,
                 in->loc_line);
        snprintf(d->err, sizeof d->err, "%s: %s: '%.*s'", where, buf,
                 in->text_len > 160 ? 160 : in->text_len, in->text);
    }
    longjmp(d->fail, 1);
}

void dec_need(sim_dec *d, int cc, const char *what) {
    if (d->m->ptx->target < cc)
        dec_bad(d, "%s needs .target sm_%d", what, cc);
}

sim_insn *dec_emit(sim_dec *d, sim_fn fn, sim_class cls) {
    sim_program *p = d->p;
    if (p->ncode == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 256;
        p->code = realloc(p->code, (size_t)p->cap * sizeof *p->code);
        if (!p->code)
            abort();
    }
    sim_insn *s = &p->code[p->ncode++];
    memset(s, 0, sizeof *s);
    s->fn = fn;
    s->cls = (uint8_t)cls;
    s->guard = -1;
    s->src = d->in;
    if (d->in->guard >= 0) {
        s->guard = (int16_t)(d->f->regs[d->in->guard].slot + (int)d->f->basep);
        s->gneg = d->in->gneg;
    }
    return s;
}

int32_t *dec_ext(sim_dec *d, int n) {
    return ptx_alloc(&d->m->ptx->arena, (size_t)n * sizeof(int32_t));
}

/* ---- constants ---- */

static int32_t pool_add(sim_dec *d, const uint64_t v, int words) {
    sim_program *p = d->p;
    for (int k = 0; k + words <= p->npool; k++) { /* a vector of equal values, same width */
        const uint32_t *q = p->pool + (size_t)k * 32;
        if (words == 1 && q[0] == (uint32_t)v && q[31] == (uint32_t)v && q[1] == (uint32_t)v)
            return ~(k * 32);
        if (words == 2 && q[0] == (uint32_t)v && q[1] == (uint32_t)(v >> 32) &&
            q[62] == (uint32_t)v && q[63] == (uint32_t)(v >> 32) && q[2] == q[0] && q[3] == q[1])
            return ~(k * 32);
    }
    if (p->npool + words > p->cap_pool) {
        int cap = p->cap_pool ? p->cap_pool * 2 : 64;
        uint32_t *n = aligned_alloc(64, (size_t)cap * 128);
        if (!n)
            abort();
        if (p->pool)
            memcpy(n, p->pool, (size_t)p->npool * 128);
        free(p->pool);
        p->pool = n;
        p->cap_pool = cap;
    }
    int at = p->npool * 32;
    for (int i = 0; i < 32; i++) {
        if (words == 1)
            p->pool[at + i] = (uint32_t)v;
        else
            memcpy(&p->pool[at + 2 * i], &v, 8);
    }
    p->npool += words;
    return ~at;
}

int32_t dec_const32(sim_dec *d, uint32_t v) {
    return pool_add(d, v, 1);
}
int32_t dec_const64(sim_dec *d, uint64_t v) {
    return pool_add(d, v, 2);
}

/* ---- operands ---- */

char dec_kind_of(ptx_type t) {
    unsigned b = ptx_type_bits(t);
    return b == 1 ? 'p' : b <= 16 ? 'h' : b == 32 ? 'w' : 'x';
}

ptx_type dec_type(const ptx_insn *in) {
    for (int i = in->nparts - 1; i > 0; i--) {
        ptx_type t = ptx_type_of(in->part[i], strlen(in->part[i]));
        if (t != TY_NONE)
            return t;
    }
    return TY_NONE;
}

ptx_type dec_reg_type(const sim_dec *d, const ptx_operand *o) {
    return o->kind == OP_REG ? d->f->regs[o->reg].type : TY_NONE;
}

static int32_t reg_slot(sim_dec *d, int reg, char kind) {
    const ptx_reg *r = &d->f->regs[reg];
    unsigned bits = ptx_type_bits(r->type);
    char have = dec_kind_of(r->type);
    if (kind == 'f')
        kind = 'w';
    if (kind == 'g')
        kind = 'x';
    if (have != kind)
        dec_bad(d, "register %s has %u bits where the instruction takes another width", r->name,
                bits);
    if (r->slot < 0)
        dec_bad(d, "register %s was not allocated", r->name);
    if (kind == 'p')
        return r->slot + (int32_t)d->f->basep;
    if (kind == 'x')
        return d->base64 + (r->slot + (int32_t)d->f->base64) * 64;
    return d->base32 + (r->slot + (int32_t)d->f->base32) * 32;
}

static const char *const sreg_names[] = {"%tid.x",
                                         "%tid.y",
                                         "%tid.z",
                                         "%ntid.x",
                                         "%ntid.y",
                                         "%ntid.z",
                                         "%ctaid.x",
                                         "%ctaid.y",
                                         "%ctaid.z",
                                         "%nctaid.x",
                                         "%nctaid.y",
                                         "%nctaid.z",
                                         "%laneid",
                                         "%warpid",
                                         "%nwarpid",
                                         "%smid",
                                         "%nsmid",
                                         "%lanemask_eq",
                                         "%lanemask_le",
                                         "%lanemask_lt",
                                         "%lanemask_ge",
                                         "%lanemask_gt",
                                         "%dynamic_smem_size",
                                         "%total_smem_size",
                                         "%aggr_smem_size",
                                         "%gridid",
                                         "%cluster_ctaid.x",
                                         "%cluster_nctaid.x",
                                         "%cluster_ctarank",
                                         "%cluster_nctarank",
                                         "%envreg1",
                                         "%envreg2",
                                         NULL};

static int32_t sreg_slot(sim_dec *d, const ptx_operand *o) {
    sim_program *p = d->p;
    int id = 0;
    while (sreg_names[id] && strcmp(sreg_names[id], o->name))
        id++;
    if (!sreg_names[id])
        dec_bad(d, "special register %s is not supported", o->name);
    for (int i = 0; i < p->nsregs; i++)
        if (p->sreg[i].id == id)
            return p->sreg[i].slot;
    p->sreg[p->nsregs].id = id;
    p->sreg[p->nsregs].slot = d->base32 + 32 * d->nfunc32++;
    return p->sreg[p->nsregs++].slot;
}

static uint64_t var_address(sim_dec *d, const ptx_operand *o) {
    const ptx_var *v = o->var;
    if (!v)
        dec_bad(d, "'%s' is not a variable", o->name);
    if (v->alias)
        v = v->alias;
    return v->addr + o->imm;
}

uint64_t dec_imm(sim_dec *d, const ptx_operand *o) {
    if (o->kind != OP_IMM && o->kind != OP_FLT)
        dec_bad(d, "literal expected");
    return o->imm;
}

static uint64_t flt_bits(const ptx_operand *o, char kind) {
    if (kind == 'g' && o->fbits == 32)
        return sim_bd((double)sim_f((uint32_t)o->imm));
    if (kind == 'f' && o->fbits == 64)
        return sim_b((float)sim_d(o->imm));
    return o->imm;
}

int32_t dec_src(sim_dec *d, const ptx_operand *o, char kind) {
    uint64_t v;
    switch (o->kind) {
    case OP_REG:
        return reg_slot(d, o->reg, kind);
    case OP_SREG:
        if (kind == 'p' || kind == 'x')
            dec_bad(d, "special register of another width");
        return sreg_slot(d, o);
    case OP_IMM:
        v = o->imm;
        break;
    case OP_FLT:
        v = flt_bits(o, kind);
        break;
    case OP_SYM:
        v = var_address(d, o);
        break;
    default:
        dec_bad(d, "operand of an unexpected kind");
    }
    if (kind == 'p') /* predicate constants: 0 never, 1 always */
        return v ? 1 : 0;
    return kind == 'x' || kind == 'g' ? dec_const64(d, v)
           : kind == 'h'              ? dec_const32(d, (uint32_t)v & 0xffffu)
                                      : dec_const32(d, (uint32_t)v);
}

int32_t dec_dst(sim_dec *d, const ptx_operand *o, char kind) {
    if (o->kind == OP_SINK)
        return kind == 'p' ? 2 : d->scratch;
    if (o->kind != OP_REG)
        dec_bad(d, "destination is not a register");
    return reg_slot(d, o->reg, kind);
}

void dec_address(sim_dec *d, sim_insn *s, const ptx_operand *o, ptx_space space) {
    if (o->kind != OP_ADDR)
        dec_bad(d, "address expected");
    s->space = (uint8_t)space;
    s->off = (int32_t)o->imm;
    s->abits = 64;
    if (o->reg >= 0) {
        ptx_type t = d->f->regs[o->reg].type;
        s->abits = (uint8_t)ptx_type_bits(t);
        if (s->abits != 32 && s->abits != 64)
            dec_bad(d, "address register of %d bits", s->abits);
        s->a = reg_slot(d, o->reg, s->abits == 32 ? 'w' : 'x');
    } else {
        ptx_operand sym = *o;
        sym.imm = 0;
        if (o->name && o->var && space == SP_GENERIC && o->var->space == SP_SHARED)
            s->a = dec_const64(d, var_address(d, &sym) + SIM_SHARED_BASE);
        else if (o->name && o->var && space == SP_GENERIC && o->var->space == SP_LOCAL)
            s->a = dec_const64(d, var_address(d, &sym) + SIM_LOCAL_BASE);
        else
            s->a = dec_const64(d, o->name ? var_address(d, &sym) : 0);
    }
    if ((int64_t)s->off != (int64_t)o->imm)
        dec_bad(d, "address offset out of range");
}

/* ---- table-driven instructions ---- */

static const sim_op *find_op(const char *name) {
    enum { SIZE = 8192 };
    static const sim_op *tab[SIZE];
    static bool ready;
    if (!ready) {
        for (size_t t = 0; t < COUNT(op_tables); t++)
            for (const sim_op *o = op_tables[t]; o->op; o++) {
                unsigned h = 5381;
                for (const char *c = o->op; *c; c++)
                    h = h * 33 + (uint8_t)*c;
                while (tab[h % SIZE])
                    h++;
                tab[h % SIZE] = o;
            }
        ready = true;
    }
    unsigned h = 5381;
    for (const char *c = name; *c; c++)
        h = h * 33 + (uint8_t)*c;
    for (; tab[h % SIZE]; h++)
        if (!strcmp(tab[h % SIZE]->op, name))
            return tab[h % SIZE];
    return NULL;
}

static void table_insn(sim_dec *d, const ptx_insn *in, const sim_op *o) {
    sim_insn *s = dec_emit(d, o->fn, o->cls);
    int at = d->p->ncode - 1, k = 0;
    int32_t slot[5] = {0};
    s->imm = o->imm;
    s->ctl = (uint8_t)o->ctl;
    s->off = 2; /* scratch predicate for an absent |p */
    const char *sig = o->sig;
    uint32_t lit = 0, neg = 0;
    bool have_lit = false;
    int member = 0; /* operand that holds the member mask of a warp-wide instruction */
    int32_t pair = 2;
    for (int i = 0; *sig; i++, sig++) {
        if (i >= in->nopd)
            dec_bad(d, "too few operands");
        const ptx_operand *op = &in->opd[i];
        if (sig[1] == '|') {
            char kind = *sig++;
            if (op->kind == OP_PAIR) {
                pair = dec_dst(d, &op->v[1], 'p');
                op = &op->v[0];
            }
            slot[k++] = dec_dst(d, op, kind);
        } else if (*sig == 'i') {
            lit = (uint32_t)dec_imm(d, op);
            have_lit = true;
        } else if (i == 0) {
            slot[k++] = dec_dst(d, op, *sig);
        } else {
            if (op->neg && *sig != 'p')
                dec_bad(d, "negated operand");
            neg |= (uint32_t)op->neg << (k & 7);
            member = *sig == 'm' ? k : member;
            slot[k++] = dec_src(d, op, *sig == 'm' ? 'w' : *sig);
        }
        if (!sig[1] && i + 1 != in->nopd)
            dec_bad(d, "too many operands");
    }
    s = &d->p->code[at];
    s->d = slot[0], s->a = slot[1], s->b = slot[2], s->c = slot[3], s->e = slot[4];
    s->neg = (uint8_t)neg;
    s->off = pair;
    s->member = (uint8_t)member;
    if (have_lit)
        s->imm = lit;
}

static void one_insn(sim_dec *d, const ptx_insn *in) {
    d->in = in;
    const sim_op *o = find_op(in->op);
    if (o) {
        table_insn(d, in, o);
        return;
    }
    for (size_t t = 0; t < COUNT(dec_tables); t++)
        for (const sim_decoder *c = dec_tables[t]; c->mnemonic; c++)
            if (ptx_is(in, c->mnemonic)) {
                c->fn(d, in);
                return;
            }
    dec_bad(d, "unknown opcode %s", in->op);
}

/* ---- kernels and functions ---- */

typedef struct reach {
    ptx_func *f[256];
    int n;
} reach;

static ptx_func *callee_of(sim_dec *d, const ptx_insn *in, const ptx_operand **rets,
                           const ptx_operand **args) {
    *rets = *args = NULL;
    int k = 0;
    if (in->nopd > 1 && in->opd[0].kind == OP_LIST)
        *rets = &in->opd[k++];
    if (k >= in->nopd || in->opd[k].kind != OP_SYM)
        dec_bad(d, "indirect calls are not supported");
    ptx_func *f = ptx_find_func(d->m->ptx, in->opd[k].name);
    if (!f || !f->has_body)
        dec_bad(d, "call of %s, which has no body in this module", in->opd[k].name);
    k++;
    if (k < in->nopd && in->opd[k].kind == OP_LIST)
        *args = &in->opd[k];
    return f;
}

static void bind(sim_dec *d, const ptx_operand *list, ptx_var *formal) {
    int n = list ? list->nv : 0;
    for (int i = 0; i < n; i++, formal = formal->next) {
        if (!formal || !list->v[i].var)
            dec_bad(d, "call arguments do not match");
        if (list->v[i].var->size != formal->size)
            dec_bad(d, "argument %s has another size than parameter %s", list->v[i].var->name,
                    formal->name);
        list->v[i].var->alias = formal;
    }
    if (formal)
        dec_bad(d, "too few call arguments");
}

/* Depth first; a cycle would need a stack of register files. */
static void collect(sim_dec *d, reach *r, ptx_func *f, int depth) {
    if (f->mark || depth >= SIM_CALL_DEPTH)
        dec_bad(d, "recursion through %s is not supported", f->name);
    for (int i = 0; i < r->n; i++)
        if (r->f[i] == f)
            return;
    f->mark = true;
    ptx_func *keep = d->f;
    const ptx_insn *keep_in = d->in;
    d->f = f;
    for (int i = 0; i < f->ninsns; i++)
        if (ptx_is(&f->insns[i], "call")) {
            const ptx_operand *rets, *args;
            d->in = &f->insns[i];
            ptx_func *g = callee_of(d, d->in, &rets, &args);
            bind(d, rets, g->rets);
            bind(d, args, g->params);
            collect(d, r, g, depth + 1);
        }
    d->f = keep;
    d->in = keep_in;
    f->mark = false;
    if (r->n == 256)
        dec_bad(d, "too many functions");
    r->f[r->n++] = f;
}

static uint64_t place(uint64_t *at, const ptx_var *v) {
    *at = (*at + v->align - 1) & ~(uint64_t)(v->align - 1);
    uint64_t a = *at;
    *at += v->size;
    return a;
}

static bool mentions(const reach *r, const ptx_var *v) {
    for (int k = 0; k < r->n; k++)
        for (int i = 0; i < r->f[k]->ninsns; i++)
            for (int j = 0; j < r->f[k]->insns[i].nopd; j++)
                if (r->f[k]->insns[i].opd[j].var == v)
                    return true;
    return false;
}

static void layout(sim_dec *d, reach *r) {
    uint64_t shared = 0, local = 0, dyn_align = 16;
    uint32_t n32 = 0, n64 = 1, np = 3; /* predicates 0, 1: constants, 2: scratch */
    for (int k = 0; k < r->n; k++) {
        ptx_func *f = r->f[k];
        if (sim_opt.fmad)
            fuse(d->m->ptx, f);
        regalloc(d->m->ptx, f);
        f->base32 = n32, f->base64 = n64, f->basep = np;
        n32 += (uint32_t)f->n32, n64 += (uint32_t)f->n64, np += (uint32_t)f->np;
        for (ptx_var *v = f->vars; v; v = v->next) {
            if (v->space == SP_SHARED)
                v->addr = place(&shared, v);
            else if (v->space == SP_LOCAL || (v->space == SP_PARAM && !v->alias))
                v->addr = place(&local, v);
        }
        if (!f->is_entry) {
            for (ptx_var *v = f->params; v; v = v->next)
                v->addr = place(&local, v);
            for (ptx_var *v = f->rets; v; v = v->next)
                v->addr = place(&local, v);
        }
    }
    for (ptx_var *v = d->m->ptx->vars; v; v = v->next)
        if (v->space == SP_SHARED && !v->is_extern && mentions(r, v))
            v->addr = place(&shared, v);
    for (ptx_var *v = d->m->ptx->vars; v; v = v->next)
        if (v->space == SP_SHARED && v->is_extern && v->align > dyn_align && mentions(r, v))
            dyn_align = v->align;
    if (shared)
        shared = (shared + dyn_align - 1) & ~(dyn_align - 1);
    for (ptx_var *v = d->m->ptx->vars; v; v = v->next)
        if (v->space == SP_SHARED && v->is_extern)
            v->addr = shared;
    if (local > (1u << 20))
        dec_bad(d, "local memory of %llu bytes a thread", (unsigned long long)local);
    d->p->static_shared = (uint32_t)shared;
    d->p->local_bytes = (uint32_t)((local + 15) & ~15ull);
    d->base64 = 0;
    d->scratch = 0;
    d->base32 = (int32_t)n64 * 64;
    d->nfunc32 = (int)n32;
    d->npred = (int)np;
}

static bool deleted(const sim_program *p, const ptx_insn *in, const char *mode) {
    return sim_opt.delete_line == in->line && !strcmp(sim_opt.delete_mode, mode) &&
           (!*sim_opt.delete_kernel || !strcmp(sim_opt.delete_kernel, p->name));
}

/* The mutation checker asks for a weaker access: the ordering word becomes relaxed. */
static void weaken(sim_dec *d, ptx_insn *in) {
    static const char *const strong[] = {"acquire", "release", "acq_rel", "volatile"};
    char op[256] = "";
    for (int i = 0; i < in->nparts; i++) {
        for (int k = 0; k < 4; k++)
            if (!strcmp(in->part[i], strong[k]))
                in->part[i] = "relaxed";
        snprintf(op + strlen(op), sizeof op - strlen(op), "%s%s", i ? "." : "", in->part[i]);
    }
    in->op = ptx_strndup(&d->m->ptx->arena, op, strlen(op));
}

static void decode_func(sim_dec *d, ptx_func *f) {
    d->f = f;
    f->start = ptx_alloc(&d->m->ptx->arena, (size_t)(f->ninsns + 1) * sizeof(int));
    for (int i = 0; i < f->ninsns; i++) {
        f->start[i] = d->p->ncode;
        if (f->insns[i].dead || deleted(d->p, &f->insns[i], "delete"))
            continue;
        if (deleted(d->p, &f->insns[i], "weaken"))
            weaken(d, &f->insns[i]);
        one_insn(d, &f->insns[i]);
    }
    f->start[f->ninsns] = d->p->ncode;
    /* Falling off the end returns. */
    if (f->ninsns) {
        d->in = &f->insns[f->ninsns - 1];
        sim_insn *s = dec_emit(d, NULL, CL_BRANCH);
        s->ctl = f->is_entry ? CTL_EXIT : CTL_RET;
        s->guard = -1;
    }
}

static void resolve(sim_dec *d, reach *r) {
    for (int i = 0; i < d->p->ncode; i++) {
        sim_insn *s = &d->p->code[i];
        d->in = s->src;
        for (int k = 0; k < r->n; k++)
            if (s->src >= r->f[k]->insns && s->src < r->f[k]->insns + r->f[k]->ninsns)
                d->f = r->f[k];
        if (s->ctl == CTL_BRA) {
            int t =
                ptx_find_label(d->f, s->src->opd[0].name ? s->src->opd[0].name : "", s->src->scope);
            if (t < 0)
                dec_bad(d, "unknown label");
            s->off = d->f->start[t];
        } else if (s->ctl == CTL_CALL) {
            const ptx_operand *rets, *args;
            s->off = callee_of(d, s->src, &rets, &args)->start[0];
        } else if (s->ctl == CTL_BRX) {
            const ptx_list *l = NULL;
            for (int k = 0; k < d->f->nlists; k++)
                if (s->src->opd[1].name && !strcmp(d->f->lists[k].name, s->src->opd[1].name))
                    l = &d->f->lists[k];
            if (!l)
                dec_bad(d, "unknown branch target list");
            s->ext = dec_ext(d, l->n);
            s->imm = (uint32_t)l->n;
            for (int k = 0; k < l->n; k++) {
                int t = ptx_find_label(d->f, l->label[k], s->src->scope);
                if (t < 0)
                    dec_bad(d, "unknown label %s", l->label[k]);
                s->ext[k] = d->f->start[t];
            }
        }
    }
}

static bool is_communication(const sim_insn *s) {
    bool global = s->space == SP_GLOBAL || s->space == SP_GENERIC;
    if (s->cls == CL_ATOM)
        return global;
    if (s->cls == CL_FENCE)
        return true;
    return global && (s->flags & MF_STRONG);
}

/* ptxas needs more than the peak of the live words: addresses of its own, pipelining. An estimate.
 */
static int estimate_regs(const reach *r) {
    const ptx_func *e = r->f[r->n - 1];
    int words = 0;
    for (int k = 0; k < r->n; k++)
        words += r->f[k]->pressure;
    int n = (words + 8 + 7) & ~7, top = 255;
    long threads = (long)e->maxntid[0] * e->maxntid[1] * e->maxntid[2];
    if (!threads)
        threads = (long)e->reqntid[0] * e->reqntid[1] * e->reqntid[2];
    if (threads) {
        long ctas = e->minnctapersm > 0 ? e->minnctapersm : 1;
        int fit = (int)(65536 / (((threads + 31) / 32 * 32) * ctas)) & ~7;
        top = fit < top ? fit : top;
    }
    if (e->maxnreg && e->maxnreg < top)
        top = e->maxnreg;
    n = n > top ? top : n;
    return n < 16 ? 16 : n;
}

static bool decode_all(sim_dec *d, reach *r) {
    sim_program *p = d->p;
    if (setjmp(d->fail))
        return false;
    if (p->param_bytes > 4096)
        dec_bad(d, "parameters of %u bytes", p->param_bytes);
    collect(d, r, d->f, 0);
    layout(d, r);
    decode_func(d, r->f[r->n - 1]); /* the kernel first: its pc 0 is the entry */
    for (int k = 0; k < r->n - 1; k++)
        decode_func(d, r->f[k]);
    resolve(d, r);
    return true;
}

sim_program *sim_decode(sim_module *m, ptx_func *f, char *err, size_t errlen) {
    sim_dec *d = calloc(1, sizeof *d);
    sim_program *p = calloc(1, sizeof *p);
    reach *r = calloc(1, sizeof *r);
    if (!d || !p || !r)
        abort();
    d->p = p;
    d->m = m;
    d->f = f;
    p->name = f->name;
    p->entry = f;
    p->mod = m;
    p->param_bytes = (uint32_t)f->param_bytes;
    if (!decode_all(d, r)) {
        snprintf(err, errlen, "%s", d->err);
        sim_program_free(p);
        p = NULL;
    } else {
        p->nslots = (d->base32 + d->nfunc32 * 32 + 63) & ~63;
        p->npreds = d->npred;
        p->nregs = estimate_regs(r);
        for (int i = 0; i < p->ncode; i++) {
            p->communicates |= is_communication(&p->code[i]);
            p->partial_bars |= p->code[i].ctl == CTL_BAR && p->code[i].b != 0;
        }
    }
    free(d);
    free(r);
    return p;
}

void sim_program_free(sim_program *p) {
    if (!p)
        return;
    free(p->code);
    free(p->pool);
    free(p);
}
