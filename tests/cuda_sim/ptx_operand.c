/* Words, numbers, scopes, operands and instructions of PTX. */
#include "ptx_parser.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void ptx__bad(parser *ps, const char *fmt, ...) {
    char buf[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    snprintf(ps->m->err, sizeof ps->m->err, "PTX line %d: %s near '%.*s'", ps->lx.tok_line, buf,
             (int)(ps->lx.n > 40 ? 40 : ps->lx.n), ps->lx.s);
    longjmp(ps->fail, 1);
}

unsigned ptx_type_bits(ptx_type t) {
    static const uint8_t bits[] = {0,  1,  8,  16, 32, 64, 128, 8,  16, 32, 64, 8, 16, 32,
                                   64, 16, 32, 16, 32, 32, 32,  64, 32, 32, 8,  8, 16, 16};
    return bits[t];
}

ptx_type ptx_type_of(const char *s, size_t n) {
    static const char *const names[] = {
        "",    "pred", "b8",    "b16",   "b32",  "b64",  "b128",   "u8",    "u16",    "u32",
        "u64", "s8",   "s16",   "s32",   "s64",  "f16",  "f16x2",  "bf16",  "bf16x2", "tf32",
        "f32", "f64",  "u16x2", "s16x2", "e4m3", "e5m2", "e4m3x2", "e5m2x2"};
    for (int i = 1; i < (int)(sizeof names / sizeof names[0]); i++)
        if (strlen(names[i]) == n && !memcmp(names[i], s, n))
            return (ptx_type)i;
    return TY_NONE;
}

bool ptx__is_punct(const parser *ps, char c) {
    return ps->lx.tok == TK_PUNCT && ps->lx.s[0] == c;
}

bool ptx__is_word(const parser *ps, const char *w) {
    return ps->lx.tok == TK_WORD && ps->lx.n == strlen(w) && !memcmp(ps->lx.s, w, ps->lx.n);
}

bool ptx__accept(parser *ps, char c) {
    if (!ptx__is_punct(ps, c))
        return false;
    ptx_next(&ps->lx);
    return true;
}

void ptx__expect(parser *ps, char c) {
    if (!ptx__accept(ps, c))
        ptx__bad(ps, "'%c' expected", c);
}

static unsigned hash_name(const char *s, size_t n) {
    unsigned h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)s[i]) * 16777619u;
    return h;
}

/* Labels are found outwards from the instruction's scope: keep the parents. */
static void func_scope(parser *ps, const scope *s) {
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

void ptx__scope_push(parser *ps, unsigned hash) {
    scope *s = ptx_alloc(&ps->m->arena, sizeof *s);
    s->tab = ptx_alloc(&ps->m->arena, hash * sizeof *s->tab);
    s->hash = hash;
    s->up = ps->sc;
    s->id = ps->next_scope++;
    ps->sc = s;
    if (ps->f)
        func_scope(ps, s);
}

scope_name *ptx__scope_add(parser *ps, const char *name, size_t n) {
    scope_name *e = ptx_alloc(&ps->m->arena, sizeof *e);
    unsigned h = hash_name(name, n) % ps->sc->hash;
    e->name = name;
    e->len = n;
    e->reg = -1;
    e->next = ps->sc->tab[h];
    ps->sc->tab[h] = e;
    return e;
}

static scope_name *scope_find1(const scope *s, const char *name, size_t n, bool range) {
    for (scope_name *e = s->tab[hash_name(name, n) % s->hash]; e; e = e->next)
        if (e->len == n && !memcmp(e->name, name, n) && (e->count > 0) == range)
            return e;
    return NULL;
}

/* Register number for a name, -1 when it is none; *var is set when it is a variable. */
static int32_t lookup(const parser *ps, const char *s, size_t n, ptx_var **var) {
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

uint64_t ptx__number(parser *ps) {
    bool neg = false;
    while (ptx__is_punct(ps, '-') || ptx__is_punct(ps, '+')) {
        neg ^= ps->lx.s[0] == '-';
        ptx_next(&ps->lx);
    }
    if (ps->lx.tok != TK_NUM)
        ptx__bad(ps, "number expected");
    uint64_t v = strtoull(ps->lx.s, NULL, 0);
    ptx_next(&ps->lx);
    return neg ? 0 - v : v;
}

bool ptx__float_literal(const parser *ps, uint64_t *bits, unsigned *w) {
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

/* ---- instructions ---- */

static void operand(parser *ps, ptx_operand *o);

static void operand_list(parser *ps, ptx_operand *o, char close) {
    ptx_operand tmp[64];
    int n = 0;
    while (!ptx__is_punct(ps, close)) {
        if (n == 64)
            ptx__bad(ps, "too many elements");
        operand(ps, &tmp[n++]);
        if (!ptx__accept(ps, ','))
            break;
    }
    ptx__expect(ps, close);
    o->v = ptx_alloc(&ps->m->arena, (size_t)(n ? n : 1) * sizeof *o->v);
    memcpy(o->v, tmp, (size_t)n * sizeof *o->v);
    o->nv = n;
}

static void name_operand(parser *ps, ptx_operand *o) {
    const char *s = ps->lx.s;
    size_t n = ps->lx.n;
    ptx_var *var = NULL;
    int32_t r = lookup(ps, s, n, &var);
    ptx_next(&ps->lx);
    if (r >= 0) {
        o->kind = OP_REG;
        o->reg = r;
    } else if (n == 7 && !memcmp(s, "WARP_SZ", 7)) {
        o->kind = OP_IMM;
        o->imm = 32;
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

static void address(parser *ps, ptx_operand *o) {
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
            ptx__bad(ps, "unknown register in address");
        }
        if (ptx__is_punct(ps, '+') || ptx__is_punct(ps, '-'))
            o->imm = ptx__number(ps);
    } else {
        o->imm = ptx__number(ps);
    }
    ptx__expect(ps, ']');
}

static void operand(parser *ps, ptx_operand *o) {
    memset(o, 0, sizeof *o);
    o->reg = -1;
    if (ptx__accept(ps, '!')) {
        operand(ps, o);
        o->neg = true;
        return;
    }
    if (ptx__accept(ps, '{')) {
        o->kind = OP_VEC;
        operand_list(ps, o, '}');
        return;
    }
    if (ptx__accept(ps, '(')) {
        o->kind = OP_LIST;
        operand_list(ps, o, ')');
        return;
    }
    if (ptx__accept(ps, '[')) {
        address(ps, o);
        return;
    }
    if (ptx__float_literal(ps, &o->imm, &o->fbits)) {
        o->kind = OP_FLT;
        ptx_next(&ps->lx);
        return;
    }
    if (ptx__is_punct(ps, '-')) {
        const ptx_lexer save = ps->lx;
        ptx_next(&ps->lx);
        if (ps->lx.tok == TK_WORD) {
            name_operand(ps, o);
            o->neg = true;
            return;
        }
        ps->lx = save;
    }
    if (ps->lx.tok == TK_NUM || ptx__is_punct(ps, '-') || ptx__is_punct(ps, '+')) {
        o->kind = OP_IMM;
        o->imm = ptx__number(ps);
        return;
    }
    if (ps->lx.tok != TK_WORD)
        ptx__bad(ps, "operand expected");
    name_operand(ps, o);
    if (o->kind == OP_SYM && (ptx__is_punct(ps, '+') || ptx__is_punct(ps, '-')) && o->var)
        o->imm = ptx__number(ps);
    if (ptx__accept(ps, '|')) { /* d|p */
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

static void split_opcode(parser *ps, ptx_insn *in, const char *s, size_t n) {
    char *t = ptx_strndup(&ps->m->arena, s, n);
    in->op = ptx_strndup(&ps->m->arena, s, n);
    for (char *q = t; *q;) {
        char *dot = strchr(q, '.');
        if (in->nparts == PTX_MAX_PARTS)
            ptx__bad(ps, "too many modifiers");
        in->part[in->nparts++] = q;
        if (!dot)
            break;
        *dot = 0;
        q = dot + 1;
    }
}

void ptx__instruction(parser *ps) {
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
    if (ptx__accept(ps, '@')) {
        in->gneg = ptx__accept(ps, '!');
        ptx_var *v = NULL;
        in->guard = ps->lx.tok == TK_WORD ? lookup(ps, ps->lx.s, ps->lx.n, &v) : -1;
        if (in->guard < 0 || f->regs[in->guard].type != TY_PRED)
            ptx__bad(ps, "unknown guard predicate");
        ptx_next(&ps->lx);
    }
    if (ps->lx.tok != TK_WORD)
        ptx__bad(ps, "instruction expected");
    in->line = ps->lx.tok_line;
    in->loc_file = ps->loc_file;
    in->loc_line = ps->loc_line;
    in->scope = (int)ps->sc->id;
    split_opcode(ps, in, ps->lx.s, ps->lx.n);
    ptx_next(&ps->lx);
    while (!ptx__is_punct(ps, ';')) {
        if (in->nopd == PTX_MAX_OPS)
            ptx__bad(ps, "too many operands");
        operand(ps, &in->opd[in->nopd++]);
        if (!ptx__accept(ps, ','))
            break;
    }
    in->text_len = (int)(ps->lx.s - in->text);
    if (!ptx__accept(ps, ';'))
        ptx__bad(ps, "';' expected");
    f->ninsns++;
}
