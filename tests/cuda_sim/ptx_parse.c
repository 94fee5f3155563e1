/* Recursive-descent parser of PTX modules. */
#include "ptx.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct scope_name {
    struct scope_name *next;
    const char *name;
    size_t len;
    int32_t reg;   /* first register of a range, or the register */
    int32_t count; /* > 0: a range name<count> */
    ptx_var *var;
} scope_name;

typedef struct scope {
    struct scope *up;
    unsigned hash, id;
    scope_name **tab;
} scope;

typedef struct parser {
    ptx_lexer lx;
    ptx_module *m;
    ptx_func *f;
    scope *sc;
    unsigned next_scope;
    ptx_var **var_tail;
    int loc_file, loc_line;
    jmp_buf fail;
} parser;

static _Noreturn void bad(parser *ps, const char *fmt, ...)
{
    char buf[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    snprintf(ps->m->err, sizeof ps->m->err, "PTX line %d: %s near '%.*s'", ps->lx.tok_line, buf,
             (int)(ps->lx.n > 40 ? 40 : ps->lx.n), ps->lx.s);
    longjmp(ps->fail, 1);
}

unsigned ptx_type_bits(ptx_type t)
{
    static const uint8_t bits[] = {0,  1,  8,  16, 32, 64, 128, 8,  16, 32, 64, 8,  16, 32,
                                   64, 16, 32, 16, 32, 32, 32,  64, 32, 32, 8,  8,  16, 16};
    return bits[t];
}

ptx_type ptx_type_of(const char *s, size_t n)
{
    static const char *const names[] = {"",    "pred", "b8",   "b16",    "b32",  "b64", "b128",
                                        "u8",  "u16",  "u32",  "u64",    "s8",   "s16", "s32",
                                        "s64", "f16",  "f16x2", "bf16",  "bf16x2", "tf32", "f32",
                                        "f64", "u16x2", "s16x2", "e4m3", "e5m2", "e4m3x2", "e5m2x2"};
    for (int i = 1; i < (int)(sizeof names / sizeof names[0]); i++)
        if (strlen(names[i]) == n && !memcmp(names[i], s, n))
            return (ptx_type)i;
    return TY_NONE;
}

static bool is_punct(const parser *ps, char c)
{
    return ps->lx.tok == TK_PUNCT && ps->lx.s[0] == c;
}

static bool is_word(const parser *ps, const char *w)
{
    return ps->lx.tok == TK_WORD && ps->lx.n == strlen(w) && !memcmp(ps->lx.s, w, ps->lx.n);
}

static bool accept(parser *ps, char c)
{
    if (!is_punct(ps, c))
        return false;
    ptx_next(&ps->lx);
    return true;
}

static void expect(parser *ps, char c)
{
    if (!accept(ps, c))
        bad(ps, "'%c' expected", c);
}

static unsigned hash_name(const char *s, size_t n)
{
    unsigned h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)s[i]) * 16777619u;
    return h;
}

/* Labels are found outwards from the instruction's scope: keep the parents. */
static void func_scope(parser *ps, const scope *s)
{
    ptx_func *f = ps->f;
    if (f->nscopes == f->cap_scopes) {
        int cap = f->cap_scopes ? f->cap_scopes * 2 : 64;
        unsigned *a = ptx_alloc(&ps->m->arena, (size_t)cap * 2 * sizeof *a);
        if (f->nscopes)
            memcpy(a, f->scopes, (size_t)f->nscopes * 2 * sizeof *a);
        f->scopes = a;
        f->cap_scopes = cap;
    }
    f->scopes[2 * f->nscopes] = s->id;
    f->scopes[2 * f->nscopes + 1] = s->up ? s->up->id : 0;
    f->nscopes++;
}

static void scope_push(parser *ps, unsigned hash)
{
    scope *s = ptx_alloc(&ps->m->arena, sizeof *s);
    s->tab = ptx_alloc(&ps->m->arena, hash * sizeof *s->tab);
    s->hash = hash;
    s->up = ps->sc;
    s->id = ps->next_scope++;
    ps->sc = s;
    if (ps->f)
        func_scope(ps, s);
}

static scope_name *scope_add(parser *ps, const char *name, size_t n)
{
    scope_name *e = ptx_alloc(&ps->m->arena, sizeof *e);
    unsigned h = hash_name(name, n) % ps->sc->hash;
    e->name = name;
    e->len = n;
    e->reg = -1;
    e->next = ps->sc->tab[h];
    ps->sc->tab[h] = e;
    return e;
}

static scope_name *scope_find1(const scope *s, const char *name, size_t n, bool range)
{
    for (scope_name *e = s->tab[hash_name(name, n) % s->hash]; e; e = e->next)
        if (e->len == n && !memcmp(e->name, name, n) && (e->count > 0) == range)
            return e;
    return NULL;
}

/* Register number for a name, -1 when it is none; *var is set when it is a variable. */
static int32_t lookup(const parser *ps, const char *s, size_t n, ptx_var **var)
{
    size_t d = n;
    while (d > 0 && isdigit((unsigned char)s[d - 1]))
        d--;
    if (d < n - 1 && s[d] == '0' && n - d > 1)
        d = n;
    for (const scope *c = ps->sc; c; c = c->up) {
        scope_name *e = scope_find1(c, s, n, false);
        if (e) {
            if (e->var)
                *var = e->var;
            return e->reg;
        }
        if (d < n && n - d < 9 && (e = scope_find1(c, s, d, true)) != NULL) {
            int32_t k = (int32_t)strtol(s + d, NULL, 10);
            if (k < e->count)
                return e->reg + k;
        }
    }
    return -1;
}

static uint64_t number(parser *ps)
{
    bool neg = false;
    while (is_punct(ps, '-') || is_punct(ps, '+')) {
        neg ^= ps->lx.s[0] == '-';
        ptx_next(&ps->lx);
    }
    if (ps->lx.tok != TK_NUM)
        bad(ps, "number expected");
    uint64_t v = strtoull(ps->lx.s, NULL, 0);
    ptx_next(&ps->lx);
    return neg ? 0 - v : v;
}

static bool float_literal(const parser *ps, uint64_t *bits, unsigned *w)
{
    const char *s = ps->lx.s;
    if (ps->lx.tok != TK_NUM)
        return false;
    if (s[0] == '0' && (s[1] == 'f' || s[1] == 'F' || s[1] == 'd' || s[1] == 'D')) {
        char t[20] = {0};
        *w = (s[1] == 'f' || s[1] == 'F') ? 32 : 64;
        memcpy(t, s + 2, ps->lx.n - 2 > 16 ? 16 : ps->lx.n - 2);
        *bits = strtoull(t, NULL, 16);
        return true;
    }
    if (memchr(s, '.', ps->lx.n)) {
        double d = strtod(s, NULL);
        *w = 64;
        memcpy(bits, &d, 8);
        return true;
    }
    return false;
}

/* ---- declarations ---- */

static ptx_space space_word(const parser *ps)
{
    if (is_word(ps, ".global"))
        return SP_GLOBAL;
    if (is_word(ps, ".shared"))
        return SP_SHARED;
    if (is_word(ps, ".local"))
        return SP_LOCAL;
    if (is_word(ps, ".const"))
        return SP_CONST;
    if (is_word(ps, ".param"))
        return SP_PARAM;
    return SP_NONE;
}

static void add_reg(parser *ps, const char *name, ptx_type t)
{
    ptx_func *f = ps->f;
    if (f->nregs == f->cap_regs) {
        int cap = f->cap_regs ? f->cap_regs * 2 : 256;
        ptx_reg *r = ptx_alloc(&ps->m->arena, (size_t)cap * sizeof *r);
        if (f->nregs)
            memcpy(r, f->regs, (size_t)f->nregs * sizeof *r);
        f->regs = r;
        f->cap_regs = cap;
    }
    f->regs[f->nregs++] = (ptx_reg){.name = name, .type = t, .slot = -1};
}

static void reg_decl(parser *ps)
{
    ptx_next(&ps->lx); /* .reg */
    if (is_word(ps, ".v2") || is_word(ps, ".v4"))
        bad(ps, "vector registers are not supported");
    ptx_type t = ps->lx.tok == TK_WORD ? ptx_type_of(ps->lx.s + 1, ps->lx.n - 1) : TY_NONE;
    if (t == TY_NONE)
        bad(ps, "register type expected");
    ptx_next(&ps->lx);
    do {
        if (ps->lx.tok != TK_WORD)
            bad(ps, "register name expected");
        const char *name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
        scope_name *e = scope_add(ps, name, ps->lx.n);
        ptx_next(&ps->lx);
        e->reg = ps->f->nregs;
        if (accept(ps, '<')) {
            uint64_t n = number(ps);
            if (n == 0 || n > 1000000)
                bad(ps, "register count out of range");
            e->count = (int32_t)n;
            expect(ps, '>');
            for (int32_t i = 0; i < e->count; i++)
                add_reg(ps, name, t);
        } else {
            add_reg(ps, name, t);
        }
    } while (accept(ps, ','));
    expect(ps, ';');
}

static void put_init(parser *ps, ptx_var *v, size_t at, size_t esz)
{
    uint64_t bits = 0;
    unsigned w = 0;
    if (float_literal(ps, &bits, &w)) {
        if (w == 64 && esz == 4) {
            double d;
            memcpy(&d, &bits, 8);
            float f = (float)d;
            uint32_t b;
            memcpy(&b, &f, 4);
            bits = b;
        }
        ptx_next(&ps->lx);
    } else if (ps->lx.tok == TK_WORD) {
        ptx_reloc *r = ptx_alloc(&ps->m->arena, sizeof *r);
        r->generic = is_word(ps, "generic");
        if (r->generic) {
            ptx_next(&ps->lx);
            expect(ps, '(');
        }
        r->name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
        r->at = at;
        ptx_next(&ps->lx);
        if (r->generic)
            expect(ps, ')');
        if (is_punct(ps, '+') || is_punct(ps, '-'))
            r->add = (int64_t)number(ps);
        r->next = v->relocs;
        v->relocs = r;
    } else {
        bits = number(ps);
    }
    if (at + esz > v->size)
        bad(ps, "too many initialisers for %s", v->name);
    memcpy(v->init + at, &bits, esz > 8 ? 8 : esz);
}

static void init_list(parser *ps, ptx_var *v, size_t *at, size_t esz)
{
    if (accept(ps, '{')) {
        if (!is_punct(ps, '}'))
            do {
                init_list(ps, v, at, esz);
            } while (accept(ps, ','));
        expect(ps, '}');
    } else {
        put_init(ps, v, *at, esz);
        *at += esz;
    }
}

/* One variable or parameter from after the space word up to (not including) what ends it. */
static ptx_var *var_decl(parser *ps, ptx_space sp)
{
    ptx_var *v = ptx_alloc(&ps->m->arena, sizeof *v);
    size_t vec = 1;
    v->space = sp;
    v->line = ps->lx.tok_line;
    v->align = 0;
    for (;;) {
        if (is_word(ps, ".align")) {
            ptx_next(&ps->lx);
            v->align = number(ps);
        } else if (is_word(ps, ".ptr") || is_word(ps, ".global") || is_word(ps, ".shared") ||
                   is_word(ps, ".const") || is_word(ps, ".local")) {
            ptx_next(&ps->lx);
        } else if (is_word(ps, ".v2") || is_word(ps, ".v4")) {
            vec = (size_t)(ps->lx.s[2] - '0');
            ptx_next(&ps->lx);
        } else if (ps->lx.tok == TK_WORD && ps->lx.s[0] == '.') {
            v->type = ptx_type_of(ps->lx.s + 1, ps->lx.n - 1);
            if (v->type == TY_NONE)
                bad(ps, "type expected");
            ptx_next(&ps->lx);
        } else {
            break;
        }
    }
    if (ps->lx.tok != TK_WORD || v->type == TY_NONE)
        bad(ps, "variable name expected");
    v->name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
    size_t nlen = ps->lx.n;
    ptx_next(&ps->lx);
    size_t esz = ptx_type_bits(v->type) / 8;
    if (v->align < esz * vec)
        v->align = v->align ? v->align : esz * vec;
    if (v->align == 0 || (v->align & (v->align - 1)))
        bad(ps, "alignment of %s is not a power of two", v->name);
    v->size = esz * vec;
    bool unsized = false;
    while (accept(ps, '[')) {
        if (is_punct(ps, ']')) {
            unsized = true;
        } else if (__builtin_mul_overflow(v->size, number(ps), &v->size) || v->size > (1ull << 40)) {
            bad(ps, "size of %s overflows", v->name);
        }
        expect(ps, ']');
    }
    if (unsized)
        v->size = 0;
    if (accept(ps, '=')) {
        size_t at = 0;
        v->init = ptx_alloc(&ps->m->arena, v->size + 8);
        init_list(ps, v, &at, esz);
    }
    scope_name *e = scope_add(ps, v->name, nlen);
    e->var = v;
    return v;
}

static void append_var(ptx_var **list, ptx_var *v)
{
    while (*list)
        list = &(*list)->next;
    *list = v;
}

/* Variables of a space, comma separated, to the ';'. */
static void var_decls(parser *ps, ptx_space sp, bool ext, ptx_var **list)
{
    ptx_next(&ps->lx);
    const ptx_lexer start = ps->lx;
    (void)start;
    ptx_var *v = var_decl(ps, sp);
    v->is_extern = ext;
    append_var(list, v);
    expect(ps, ';');
}

/* ---- instructions ---- */

static void operand(parser *ps, ptx_operand *o);

static void operand_list(parser *ps, ptx_operand *o, char close)
{
    ptx_operand tmp[64];
    int n = 0;
    while (!is_punct(ps, close)) {
        if (n == 64)
            bad(ps, "too many elements");
        operand(ps, &tmp[n++]);
        if (!accept(ps, ','))
            break;
    }
    expect(ps, close);
    o->v = ptx_alloc(&ps->m->arena, (size_t)(n ? n : 1) * sizeof *o->v);
    memcpy(o->v, tmp, (size_t)n * sizeof *o->v);
    o->nv = n;
}

static void name_operand(parser *ps, ptx_operand *o)
{
    const char *s = ps->lx.s;
    size_t n = ps->lx.n;
    ptx_var *var = NULL;
    int32_t r = lookup(ps, s, n, &var);
    ptx_next(&ps->lx);
    if (r >= 0) {
        o->kind = OP_REG;
        o->reg = r;
    } else if (n == 1 && s[0] == '_') {
        o->kind = OP_SINK;
    } else if (s[0] == '%') {
        o->kind = OP_SREG;
        o->name = ptx_strndup(&ps->m->arena, s, n);
    } else {
        o->kind = OP_SYM;
        o->name = ptx_strndup(&ps->m->arena, s, n);
        o->var = var;
    }
}

static void address(parser *ps, ptx_operand *o)
{
    o->kind = OP_ADDR;
    if (ps->lx.tok == TK_WORD) {
        ptx_operand b = {.reg = -1};
        name_operand(ps, &b);
        if (b.kind == OP_REG) {
            o->reg = b.reg;
        } else if (b.kind == OP_SYM) {
            o->name = b.name;
            o->var = b.var;
        } else {
            bad(ps, "unknown register in address");
        }
        if (is_punct(ps, '+') || is_punct(ps, '-'))
            o->imm = number(ps);
    } else {
        o->imm = number(ps);
    }
    expect(ps, ']');
}

static void operand(parser *ps, ptx_operand *o)
{
    memset(o, 0, sizeof *o);
    o->reg = -1;
    if (accept(ps, '!')) {
        operand(ps, o);
        o->neg = true;
        return;
    }
    if (accept(ps, '{')) {
        o->kind = OP_VEC;
        operand_list(ps, o, '}');
        return;
    }
    if (accept(ps, '(')) {
        o->kind = OP_LIST;
        operand_list(ps, o, ')');
        return;
    }
    if (accept(ps, '[')) {
        address(ps, o);
        return;
    }
    if (float_literal(ps, &o->imm, &o->fbits)) {
        o->kind = OP_FLT;
        ptx_next(&ps->lx);
        return;
    }
    if (is_punct(ps, '-')) {
        const ptx_lexer save = ps->lx;
        ptx_next(&ps->lx);
        if (ps->lx.tok == TK_WORD) {
            name_operand(ps, o);
            o->neg = true;
            return;
        }
        ps->lx = save;
    }
    if (ps->lx.tok == TK_NUM || is_punct(ps, '-') || is_punct(ps, '+')) {
        o->kind = OP_IMM;
        o->imm = number(ps);
        return;
    }
    if (ps->lx.tok != TK_WORD)
        bad(ps, "operand expected");
    name_operand(ps, o);
    if (o->kind == OP_SYM && (is_punct(ps, '+') || is_punct(ps, '-')) && o->var)
        o->imm = number(ps);
    if (accept(ps, '|')) { /* d|p */
        ptx_operand *v = ptx_alloc(&ps->m->arena, 2 * sizeof *v);
        v[0] = *o;
        operand(ps, &v[1]);
        memset(o, 0, sizeof *o);
        o->kind = OP_PAIR;
        o->reg = -1;
        o->v = v;
        o->nv = 2;
    }
}

static void split_opcode(parser *ps, ptx_insn *in, const char *s, size_t n)
{
    char *t = ptx_strndup(&ps->m->arena, s, n);
    in->op = ptx_strndup(&ps->m->arena, s, n);
    for (char *q = t; *q;) {
        char *dot = strchr(q, '.');
        if (in->nparts == PTX_MAX_PARTS)
            bad(ps, "too many modifiers");
        in->part[in->nparts++] = q;
        if (!dot)
            break;
        *dot = 0;
        q = dot + 1;
    }
}

static void instruction(parser *ps)
{
    ptx_func *f = ps->f;
    if (f->ninsns == f->cap_insns) {
        int cap = f->cap_insns ? f->cap_insns * 2 : 256;
        ptx_insn *a = ptx_alloc(&ps->m->arena, (size_t)cap * sizeof *a);
        if (f->ninsns)
            memcpy(a, f->insns, (size_t)f->ninsns * sizeof *a);
        f->insns = a;
        f->cap_insns = cap;
    }
    ptx_insn *in = &f->insns[f->ninsns];
    memset(in, 0, sizeof *in);
    in->guard = -1;
    in->text = ps->lx.s;
    in->line = ps->lx.tok_line;
    if (accept(ps, '@')) {
        in->gneg = accept(ps, '!');
        ptx_var *v = NULL;
        in->guard = ps->lx.tok == TK_WORD ? lookup(ps, ps->lx.s, ps->lx.n, &v) : -1;
        if (in->guard < 0 || f->regs[in->guard].type != TY_PRED)
            bad(ps, "unknown guard predicate");
        ptx_next(&ps->lx);
    }
    if (ps->lx.tok != TK_WORD)
        bad(ps, "instruction expected");
    in->line = ps->lx.tok_line;
    in->loc_file = ps->loc_file;
    in->loc_line = ps->loc_line;
    in->scope = (int)ps->sc->id;
    split_opcode(ps, in, ps->lx.s, ps->lx.n);
    ptx_next(&ps->lx);
    while (!is_punct(ps, ';')) {
        if (in->nopd == PTX_MAX_OPS)
            bad(ps, "too many operands");
        operand(ps, &in->opd[in->nopd++]);
        if (!accept(ps, ','))
            break;
    }
    in->text_len = (int)(ps->lx.s - in->text);
    if (!accept(ps, ';'))
        bad(ps, "';' expected");
    f->ninsns++;
}

static void add_label(parser *ps, const char *s, size_t n)
{
    ptx_func *f = ps->f;
    if (f->nlabels == f->cap_labels) {
        int cap = f->cap_labels ? f->cap_labels * 2 : 64;
        ptx_label *a = ptx_alloc(&ps->m->arena, (size_t)cap * sizeof *a);
        if (f->nlabels)
            memcpy(a, f->labels, (size_t)f->nlabels * sizeof *a);
        f->labels = a;
        f->cap_labels = cap;
    }
    f->labels[f->nlabels++] = (ptx_label){.name = ptx_strndup(&ps->m->arena, s, n), .at = f->ninsns, .scope = (int)ps->sc->id};
}

static void loc_directive(parser *ps)
{
    ptx_next(&ps->lx);
    ps->loc_file = (int)number(ps);
    ps->loc_line = (int)number(ps);
    (void)number(ps);
    while (accept(ps, ',')) { /* function_name $L..., inlined_at f l c */
        bool inl = is_word(ps, "inlined_at");
        ptx_next(&ps->lx);
        if (inl) {
            /* The outermost place is the line of the kernel: more use than a header's. */
            ps->loc_file = (int)number(ps);
            ps->loc_line = (int)number(ps);
            (void)number(ps);
        } else {
            ptx_next(&ps->lx);
        }
        if (is_punct(ps, '+'))
            (void)number(ps);
    }
}

static void skip_statement(parser *ps)
{
    while (ps->lx.tok != TK_EOF && !is_punct(ps, ';'))
        ptx_next(&ps->lx);
    expect(ps, ';');
}

static void branch_targets(parser *ps, const char *name)
{
    ptx_func *f = ps->f;
    ptx_list *l = ptx_alloc(&ps->m->arena, (size_t)(f->nlists + 1) * sizeof *l);
    const char *lab[1024];
    int n = 0;
    ptx_next(&ps->lx);
    do {
        if (n == 1024)
            bad(ps, "too many branch targets");
        lab[n++] = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
        ptx_next(&ps->lx);
    } while (accept(ps, ','));
    expect(ps, ';');
    if (f->nlists)
        memcpy(l, f->lists, (size_t)f->nlists * sizeof *l);
    l[f->nlists].name = name;
    l[f->nlists].label = ptx_alloc(&ps->m->arena, (size_t)n * sizeof *lab);
    memcpy(l[f->nlists].label, lab, (size_t)n * sizeof *lab);
    l[f->nlists].n = n;
    f->lists = l;
    f->nlists++;
}

static void body(parser *ps)
{
    scope_push(ps, 16);
    expect(ps, '{');
    while (!is_punct(ps, '}')) {
        ptx_space sp = space_word(ps);
        if (ps->lx.tok == TK_EOF) {
            bad(ps, "unexpected end of file");
        } else if (is_punct(ps, '{')) {
            body(ps);
        } else if (is_word(ps, ".reg")) {
            reg_decl(ps);
        } else if (sp != SP_NONE) {
            var_decls(ps, sp, false, &ps->f->vars);
        } else if (is_word(ps, ".loc")) {
            loc_directive(ps);
        } else if (is_word(ps, ".pragma")) {
            skip_statement(ps);
        } else if (is_punct(ps, '@') || is_punct(ps, ';')) {
            if (!accept(ps, ';'))
                instruction(ps);
        } else if (ps->lx.tok == TK_WORD && ps->lx.s[0] != '.') {
            if (*ps->lx.p == ':') {
                const char *s = ps->lx.s;
                size_t n = ps->lx.n;
                ptx_next(&ps->lx);
                ptx_next(&ps->lx);
                if (is_word(ps, ".branchtargets")) {
                    branch_targets(ps, ptx_strndup(&ps->m->arena, s, n));
                } else if (is_word(ps, ".callprototype") || is_word(ps, ".calltargets")) {
                    bad(ps, "indirect calls are not supported");
                } else {
                    add_label(ps, s, n);
                }
            } else {
                instruction(ps);
            }
        } else {
            bad(ps, "statement not understood");
        }
    }
    expect(ps, '}');
    ps->sc = ps->sc->up;
}

/* ---- module level ---- */

static ptx_var *param_list(parser *ps)
{
    ptx_var *list = NULL;
    expect(ps, '(');
    while (!is_punct(ps, ')')) {
        if (!is_word(ps, ".param"))
            bad(ps, ".param expected (register parameters are not supported)");
        ptx_next(&ps->lx);
        ptx_var *v = var_decl(ps, SP_PARAM);
        v->is_func_param = !ps->f->is_entry;
        append_var(&list, v);
        if (!accept(ps, ','))
            break;
    }
    expect(ps, ')');
    return list;
}

static void perf_directives(parser *ps, ptx_func *f)
{
    while (ps->lx.tok == TK_WORD && ps->lx.s[0] == '.') {
        int *dst = is_word(ps, ".maxntid")   ? f->maxntid
                   : is_word(ps, ".reqntid") ? f->reqntid
                                             : NULL;
        if (dst) {
            ptx_next(&ps->lx);
            dst[0] = dst[1] = dst[2] = 1;
            for (int i = 0; i < 3; i++) {
                dst[i] = (int)number(ps);
                if (!accept(ps, ','))
                    break;
            }
        } else if (is_word(ps, ".minnctapersm")) {
            ptx_next(&ps->lx);
            f->minnctapersm = (int)number(ps);
        } else if (is_word(ps, ".maxnreg")) {
            ptx_next(&ps->lx);
            f->maxnreg = (int)number(ps);
        } else if (is_word(ps, ".pragma")) {
            skip_statement(ps);
        } else if (is_word(ps, ".noreturn")) {
            ptx_next(&ps->lx);
        } else {
            bad(ps, "directive not understood");
        }
    }
}

static void function(parser *ps, bool entry)
{
    ptx_func *f = ptx_alloc(&ps->m->arena, sizeof *f);
    f->is_entry = entry;
    f->line = ps->lx.tok_line;
    ps->f = f;
    scope_push(ps, 256);
    ptx_next(&ps->lx);
    if (!entry && is_punct(ps, '('))
        f->rets = param_list(ps);
    f->name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
    ptx_next(&ps->lx);
    if (is_punct(ps, '('))
        f->params = param_list(ps);
    size_t at = 0;
    for (ptx_var *v = f->params; entry && v; v = v->next) {
        at = (at + v->align - 1) & ~(v->align - 1);
        v->addr = at;
        at += v->size;
    }
    f->param_bytes = at;
    perf_directives(ps, f);
    ps->loc_file = ps->loc_line = 0;
    if (is_punct(ps, '{')) {
        body(ps);
        f->has_body = true;
        ptx_func **q = &ps->m->funcs;
        while (*q)
            q = &(*q)->next;
        *q = f;
    } else {
        expect(ps, ';');
    }
    ps->sc = ps->sc->up;
    ps->f = NULL;
}

static void skip_section(parser *ps)
{
    ptx_next(&ps->lx);
    while (!is_punct(ps, '{') && ps->lx.tok != TK_EOF)
        ptx_next(&ps->lx);
    while (!is_punct(ps, '}') && ps->lx.tok != TK_EOF)
        ptx_next(&ps->lx);
    expect(ps, '}');
}

static void file_directive(parser *ps)
{
    ptx_next(&ps->lx);
    uint64_t k = number(ps);
    if (ps->lx.tok != TK_STR || k > 100000)
        bad(ps, ".file not understood");
    if ((int)k >= ps->m->nfiles) {
        const char **a = ptx_alloc(&ps->m->arena, (k + 16) * sizeof *a);
        if (ps->m->nfiles)
            memcpy(a, ps->m->files, (size_t)ps->m->nfiles * sizeof *a);
        ps->m->files = a;
        ps->m->nfiles = (int)k + 1;
    }
    ps->m->files[k] = ptx_strndup(&ps->m->arena, ps->lx.s + 1, ps->lx.n - 2);
    ptx_next(&ps->lx);
    while (accept(ps, ','))
        (void)number(ps);
}

static void header_line(parser *ps)
{
    if (is_word(ps, ".version")) {
        ptx_next(&ps->lx);
        sscanf(ps->lx.s, "%d.%d", &ps->m->version_major, &ps->m->version_minor);
        ptx_next(&ps->lx);
    } else if (is_word(ps, ".target")) {
        ptx_next(&ps->lx);
        if (ps->lx.n < 4 || sscanf(ps->lx.s, "sm_%d", &ps->m->target) != 1)
            bad(ps, "target not understood");
        char last = ps->lx.s[ps->lx.n - 1];
        ps->m->arch_specific = last == 'a' || last == 'f';
        ptx_next(&ps->lx);
        while (accept(ps, ','))
            ptx_next(&ps->lx);
    } else { /* .address_size */
        ptx_next(&ps->lx);
        if (number(ps) != 64)
            bad(ps, "only 64-bit addresses are supported");
    }
}

static void module(parser *ps)
{
    bool ext = false;
    while (ps->lx.tok != TK_EOF) {
        ptx_space sp = space_word(ps);
        if (is_word(ps, ".version") || is_word(ps, ".target") || is_word(ps, ".address_size")) {
            header_line(ps);
        } else if (is_word(ps, ".visible") || is_word(ps, ".weak") || is_word(ps, ".common")) {
            ptx_next(&ps->lx);
        } else if (is_word(ps, ".extern")) {
            ext = true;
            ptx_next(&ps->lx);
        } else if (is_word(ps, ".entry") || is_word(ps, ".func")) {
            function(ps, is_word(ps, ".entry"));
            ext = false;
        } else if (sp != SP_NONE) {
            var_decls(ps, sp, ext, &ps->m->vars);
            ext = false;
        } else if (is_word(ps, ".file")) {
            file_directive(ps);
        } else if (is_word(ps, ".section")) {
            skip_section(ps);
        } else if (is_word(ps, ".loc")) {
            loc_directive(ps);
        } else if (is_word(ps, ".pragma") || is_word(ps, ".alias")) {
            skip_statement(ps);
        } else {
            bad(ps, "declaration not understood");
        }
    }
}

static bool guarded(parser *ps)
{
    if (setjmp(ps->fail))
        return false;
    scope_push(ps, 1024);
    ptx_lex_init(&ps->lx, ps->m->text);
    module(ps);
    if (!ps->m->target)
        bad(ps, "no .target");
    return true;
}

ptx_module *ptx_parse(const char *text, char *err, size_t errlen)
{
    ptx_module *m = calloc(1, sizeof *m);
    parser *ps = calloc(1, sizeof *ps);
    if (!m || !ps)
        abort();
    ps->m = m;
    m->text = ptx_strndup(&m->arena, text, strlen(text));
    bool ok = guarded(ps);
    free(ps);
    if (ok)
        return m;
    snprintf(err, errlen, "%s", m->err);
    ptx_free(m);
    return NULL;
}

void ptx_free(ptx_module *m)
{
    if (!m)
        return;
    ptx_arena_free(&m->arena);
    free(m);
}

ptx_func *ptx_find_func(ptx_module *m, const char *name)
{
    for (ptx_func *f = m->funcs; f; f = f->next)
        if (!strcmp(f->name, name))
            return f;
    return NULL;
}

int ptx_find_label(const ptx_func *f, const char *name, int from)
{
    for (;;) {
        for (int i = 0; i < f->nlabels; i++)
            if (f->labels[i].scope == from && !strcmp(f->labels[i].name, name))
                return f->labels[i].at;
        int up = -1;
        for (int i = 0; i < f->nscopes; i++)
            if ((int)f->scopes[2 * i] == from)
                up = (int)f->scopes[2 * i + 1];
        if (up < 0)
            return -1;
        from = up;
    }
}

bool ptx_has(const ptx_insn *in, const char *part)
{
    for (int i = 1; i < in->nparts; i++)
        if (!strcmp(in->part[i], part))
            return true;
    return false;
}

bool ptx_is(const ptx_insn *in, const char *mnemonic)
{
    return !strcmp(in->part[0], mnemonic);
}
