/* Recursive-descent parser of PTX: declarations, bodies, modules. */
#include "ptx_parser.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- declarations ---- */

static ptx_space space_word(const parser *ps) {
    if (ptx__is_word(ps, ".global"))
        return SP_GLOBAL;
    if (ptx__is_word(ps, ".shared"))
        return SP_SHARED;
    if (ptx__is_word(ps, ".local"))
        return SP_LOCAL;
    if (ptx__is_word(ps, ".const"))
        return SP_CONST;
    if (ptx__is_word(ps, ".param"))
        return SP_PARAM;
    return SP_NONE;
}

static void add_reg(parser *ps, const char *name, ptx_type t) {
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

static void reg_decl(parser *ps) {
    ptx_next(&ps->lx); /* .reg */
    if (ptx__is_word(ps, ".v2") || ptx__is_word(ps, ".v4"))
        ptx__bad(ps, "vector registers are not supported");
    ptx_type t = ps->lx.tok == TK_WORD ? ptx_type_of(ps->lx.s + 1, ps->lx.n - 1) : TY_NONE;
    if (t == TY_NONE)
        ptx__bad(ps, "register type expected");
    ptx_next(&ps->lx);
    do {
        if (ps->lx.tok != TK_WORD)
            ptx__bad(ps, "register name expected");
        const char *name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
        scope_name *e = ptx__scope_add(ps, name, ps->lx.n);
        ptx_next(&ps->lx);
        e->reg = ps->f->nregs;
        if (ptx__accept(ps, '<')) {
            uint64_t n = ptx__number(ps);
            if (n == 0 || n > 1000000)
                ptx__bad(ps, "register count out of range");
            e->count = (int32_t)n;
            ptx__expect(ps, '>');
            for (int32_t i = 0; i < e->count; i++)
                add_reg(ps, name, t);
        } else {
            add_reg(ps, name, t);
        }
    } while (ptx__accept(ps, ','));
    ptx__expect(ps, ';');
}

static void put_init(parser *ps, ptx_var *v, size_t at, size_t esz) {
    uint64_t bits = 0;
    unsigned w = 0;
    if (ptx__float_literal(ps, &bits, &w)) {
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
        r->generic = ptx__is_word(ps, "generic");
        if (r->generic) {
            ptx_next(&ps->lx);
            ptx__expect(ps, '(');
        }
        r->name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
        r->at = at;
        ptx_next(&ps->lx);
        if (r->generic)
            ptx__expect(ps, ')');
        if (ptx__is_punct(ps, '+') || ptx__is_punct(ps, '-'))
            r->add = (int64_t)ptx__number(ps);
        r->next = v->relocs;
        v->relocs = r;
    } else {
        bits = ptx__number(ps);
    }
    if (at + esz > v->size)
        ptx__bad(ps, "too many initialisers for %s", v->name);
    memcpy(v->init + at, &bits, esz > 8 ? 8 : esz);
}

static void init_list(parser *ps, ptx_var *v, size_t *at, size_t esz) {
    if (ptx__accept(ps, '{')) {
        if (!ptx__is_punct(ps, '}'))
            do {
                init_list(ps, v, at, esz);
            } while (ptx__accept(ps, ','));
        ptx__expect(ps, '}');
    } else {
        put_init(ps, v, *at, esz);
        *at += esz;
    }
}

/* One variable or parameter from after the space word up to (not including) what ends it. */
static ptx_var *var_decl(parser *ps, ptx_space sp) {
    ptx_var *v = ptx_alloc(&ps->m->arena, sizeof *v);
    size_t vec = 1;
    v->space = sp;
    v->line = ps->lx.tok_line;
    v->align = 0;
    for (;;) {
        if (ptx__is_word(ps, ".align")) {
            ptx_next(&ps->lx);
            v->align = ptx__number(ps);
        } else if (ptx__is_word(ps, ".ptr") || ptx__is_word(ps, ".global") ||
                   ptx__is_word(ps, ".shared") || ptx__is_word(ps, ".const") ||
                   ptx__is_word(ps, ".local")) {
            ptx_next(&ps->lx);
        } else if (ptx__is_word(ps, ".v2") || ptx__is_word(ps, ".v4")) {
            vec = (size_t)(ps->lx.s[2] - '0');
            ptx_next(&ps->lx);
        } else if (ps->lx.tok == TK_WORD && ps->lx.s[0] == '.') {
            v->type = ptx_type_of(ps->lx.s + 1, ps->lx.n - 1);
            if (v->type == TY_NONE)
                ptx__bad(ps, "type expected");
            ptx_next(&ps->lx);
        } else {
            break;
        }
    }
    if (ps->lx.tok != TK_WORD || v->type == TY_NONE)
        ptx__bad(ps, "variable name expected");
    v->name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
    size_t nlen = ps->lx.n;
    ptx_next(&ps->lx);
    size_t esz = ptx_type_bits(v->type) / 8;
    if (v->align < esz * vec)
        v->align = v->align ? v->align : esz * vec;
    if (v->align == 0 || (v->align & (v->align - 1)))
        ptx__bad(ps, "alignment of %s is not a power of two", v->name);
    v->size = esz * vec;
    bool unsized = false;
    while (ptx__accept(ps, '[')) {
        if (ptx__is_punct(ps, ']')) {
            unsized = true;
        } else if (__builtin_mul_overflow(v->size, ptx__number(ps), &v->size) ||
                   v->size > (1ull << 40)) {
            ptx__bad(ps, "size of %s overflows", v->name);
        }
        ptx__expect(ps, ']');
    }
    if (unsized)
        v->size = 0;
    if (ptx__accept(ps, '=')) {
        size_t at = 0;
        v->init = ptx_alloc(&ps->m->arena, v->size + 8);
        init_list(ps, v, &at, esz);
    }
    scope_name *e = ptx__scope_add(ps, v->name, nlen);
    e->var = v;
    return v;
}

static void append_var(ptx_var **list, ptx_var *v) {
    while (*list)
        list = &(*list)->next;
    *list = v;
}

/* Variables of a space, comma separated, to the ';'. */
static void var_decls(parser *ps, ptx_space sp, bool ext, ptx_var **list) {
    ptx_next(&ps->lx);
    const ptx_lexer start = ps->lx;
    (void)start;
    ptx_var *v = var_decl(ps, sp);
    v->is_extern = ext;
    append_var(list, v);
    ptx__expect(ps, ';');
}

static void add_label(parser *ps, const char *s, size_t n) {
    ptx_func *f = ps->f;
    if (f->nlabels == f->cap_labels) {
        int cap = f->cap_labels ? f->cap_labels * 2 : 64;
        ptx_label *a = ptx_alloc(&ps->m->arena, (size_t)cap * sizeof *a);
        if (f->nlabels)
            memcpy(a, f->labels, (size_t)f->nlabels * sizeof *a);
        f->labels = a;
        f->cap_labels = cap;
    }
    f->labels[f->nlabels++] = (ptx_label){
        .name = ptx_strndup(&ps->m->arena, s, n), .at = f->ninsns, .scope = (int)ps->sc->id};
}

static void loc_directive(parser *ps) {
    ptx_next(&ps->lx);
    ps->loc_file = (int)ptx__number(ps);
    ps->loc_line = (int)ptx__number(ps);
    (void)ptx__number(ps);
    while (ptx__accept(ps, ',')) { /* function_name $L..., inlined_at f l c */
        bool inl = ptx__is_word(ps, "inlined_at");
        ptx_next(&ps->lx);
        if (inl) {
            /* The outermost place is the line of the kernel: more use than a header's. */
            ps->loc_file = (int)ptx__number(ps);
            ps->loc_line = (int)ptx__number(ps);
            (void)ptx__number(ps);
        } else {
            ptx_next(&ps->lx);
        }
        if (ptx__is_punct(ps, '+'))
            (void)ptx__number(ps);
    }
}

static void skip_statement(parser *ps) {
    while (ps->lx.tok != TK_EOF && !ptx__is_punct(ps, ';'))
        ptx_next(&ps->lx);
    ptx__expect(ps, ';');
}

static void branch_targets(parser *ps, const char *name) {
    ptx_func *f = ps->f;
    ptx_list *l = ptx_alloc(&ps->m->arena, (size_t)(f->nlists + 1) * sizeof *l);
    const char *lab[1024];
    int n = 0;
    ptx_next(&ps->lx);
    do {
        if (n == 1024)
            ptx__bad(ps, "too many branch targets");
        lab[n++] = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
        ptx_next(&ps->lx);
    } while (ptx__accept(ps, ','));
    ptx__expect(ps, ';');
    if (f->nlists)
        memcpy(l, f->lists, (size_t)f->nlists * sizeof *l);
    l[f->nlists].name = name;
    l[f->nlists].label = ptx_alloc(&ps->m->arena, (size_t)n * sizeof *lab);
    memcpy(l[f->nlists].label, lab, (size_t)n * sizeof *lab);
    l[f->nlists].n = n;
    f->lists = l;
    f->nlists++;
}

static void body(parser *ps) {
    ptx__scope_push(ps, 16);
    ptx__expect(ps, '{');
    while (!ptx__is_punct(ps, '}')) {
        ptx_space sp = space_word(ps);
        if (ps->lx.tok == TK_EOF) {
            ptx__bad(ps, "unexpected end of file");
        } else if (ptx__is_punct(ps, '{')) {
            body(ps);
        } else if (ptx__is_word(ps, ".reg")) {
            reg_decl(ps);
        } else if (sp != SP_NONE) {
            var_decls(ps, sp, false, &ps->f->vars);
        } else if (ptx__is_word(ps, ".loc")) {
            loc_directive(ps);
        } else if (ptx__is_word(ps, ".pragma")) {
            skip_statement(ps);
        } else if (ptx__is_punct(ps, '@') || ptx__is_punct(ps, ';')) {
            if (!ptx__accept(ps, ';'))
                ptx__instruction(ps);
        } else if (ps->lx.tok == TK_WORD && ps->lx.s[0] != '.') {
            if (*ps->lx.p == ':') {
                const char *s = ps->lx.s;
                size_t n = ps->lx.n;
                ptx_next(&ps->lx);
                ptx_next(&ps->lx);
                if (ptx__is_word(ps, ".branchtargets")) {
                    branch_targets(ps, ptx_strndup(&ps->m->arena, s, n));
                } else if (ptx__is_word(ps, ".callprototype") || ptx__is_word(ps, ".calltargets")) {
                    ptx__bad(ps, "indirect calls are not supported");
                } else {
                    add_label(ps, s, n);
                }
            } else {
                ptx__instruction(ps);
            }
        } else {
            ptx__bad(ps, "statement not understood");
        }
    }
    ptx__expect(ps, '}');
    ps->sc = ps->sc->up;
}

/* ---- module level ---- */

static ptx_var *param_list(parser *ps) {
    ptx_var *list = NULL;
    ptx__expect(ps, '(');
    while (!ptx__is_punct(ps, ')')) {
        if (!ptx__is_word(ps, ".param"))
            ptx__bad(ps, ".param expected (register parameters are not supported)");
        ptx_next(&ps->lx);
        ptx_var *v = var_decl(ps, SP_PARAM);
        v->is_func_param = !ps->f->is_entry;
        append_var(&list, v);
        if (!ptx__accept(ps, ','))
            break;
    }
    ptx__expect(ps, ')');
    return list;
}

static void perf_directives(parser *ps, ptx_func *f) {
    while (ps->lx.tok == TK_WORD && ps->lx.s[0] == '.') {
        int *dst = ptx__is_word(ps, ".maxntid")   ? f->maxntid
                   : ptx__is_word(ps, ".reqntid") ? f->reqntid
                                                  : NULL;
        if (dst) {
            ptx_next(&ps->lx);
            dst[0] = dst[1] = dst[2] = 1;
            for (int i = 0; i < 3; i++) {
                dst[i] = (int)ptx__number(ps);
                if (!ptx__accept(ps, ','))
                    break;
            }
        } else if (ptx__is_word(ps, ".minnctapersm")) {
            ptx_next(&ps->lx);
            f->minnctapersm = (int)ptx__number(ps);
        } else if (ptx__is_word(ps, ".maxnreg")) {
            ptx_next(&ps->lx);
            f->maxnreg = (int)ptx__number(ps);
        } else if (ptx__is_word(ps, ".pragma")) {
            skip_statement(ps);
        } else if (ptx__is_word(ps, ".noreturn")) {
            ptx_next(&ps->lx);
        } else {
            ptx__bad(ps, "directive not understood");
        }
    }
}

static void function(parser *ps, bool entry) {
    ptx_func *f = ptx_alloc(&ps->m->arena, sizeof *f);
    f->is_entry = entry;
    f->line = ps->lx.tok_line;
    ps->f = f;
    ptx__scope_push(ps, 256);
    ptx_next(&ps->lx);
    if (!entry && ptx__is_punct(ps, '('))
        f->rets = param_list(ps);
    f->name = ptx_strndup(&ps->m->arena, ps->lx.s, ps->lx.n);
    ptx_next(&ps->lx);
    if (ptx__is_punct(ps, '('))
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
    if (ptx__is_punct(ps, '{')) {
        body(ps);
        f->has_body = true;
        ptx_func **q = &ps->m->funcs;
        while (*q)
            q = &(*q)->next;
        *q = f;
    } else {
        ptx__expect(ps, ';');
    }
    ps->sc = ps->sc->up;
    ps->f = NULL;
}

static void skip_section(parser *ps) {
    ptx_next(&ps->lx);
    while (!ptx__is_punct(ps, '{') && ps->lx.tok != TK_EOF)
        ptx_next(&ps->lx);
    while (!ptx__is_punct(ps, '}') && ps->lx.tok != TK_EOF)
        ptx_next(&ps->lx);
    ptx__expect(ps, '}');
}

static void file_directive(parser *ps) {
    ptx_next(&ps->lx);
    uint64_t k = ptx__number(ps);
    if (ps->lx.tok != TK_STR || k > 100000)
        ptx__bad(ps, ".file not understood");
    if ((int)k >= ps->m->nfiles) {
        const char **a = ptx_alloc(&ps->m->arena, (k + 16) * sizeof *a);
        if (ps->m->nfiles)
            memcpy(a, ps->m->files, (size_t)ps->m->nfiles * sizeof *a);
        ps->m->files = a;
        ps->m->nfiles = (int)k + 1;
    }
    ps->m->files[k] = ptx_strndup(&ps->m->arena, ps->lx.s + 1, ps->lx.n - 2);
    ptx_next(&ps->lx);
    while (ptx__accept(ps, ','))
        (void)ptx__number(ps);
}

static void header_line(parser *ps) {
    if (ptx__is_word(ps, ".version")) {
        ptx_next(&ps->lx);
        sscanf(ps->lx.s, "%d.%d", &ps->m->version_major, &ps->m->version_minor);
        ptx_next(&ps->lx);
    } else if (ptx__is_word(ps, ".target")) {
        ptx_next(&ps->lx);
        if (ps->lx.n < 4 || sscanf(ps->lx.s, "sm_%d", &ps->m->target) != 1)
            ptx__bad(ps, "target not understood");
        char last = ps->lx.s[ps->lx.n - 1];
        ps->m->arch_specific = last == 'a' || last == 'f';
        ptx_next(&ps->lx);
        while (ptx__accept(ps, ','))
            ptx_next(&ps->lx);
    } else { /* .address_size */
        ptx_next(&ps->lx);
        if (ptx__number(ps) != 64)
            ptx__bad(ps, "only 64-bit addresses are supported");
    }
}

static void module(parser *ps) {
    bool ext = false;
    while (ps->lx.tok != TK_EOF) {
        ptx_space sp = space_word(ps);
        if (ptx__is_word(ps, ".version") || ptx__is_word(ps, ".target") ||
            ptx__is_word(ps, ".address_size")) {
            header_line(ps);
        } else if (ptx__is_word(ps, ".visible") || ptx__is_word(ps, ".weak") ||
                   ptx__is_word(ps, ".common")) {
            ptx_next(&ps->lx);
        } else if (ptx__is_word(ps, ".extern")) {
            ext = true;
            ptx_next(&ps->lx);
        } else if (ptx__is_word(ps, ".entry") || ptx__is_word(ps, ".func")) {
            function(ps, ptx__is_word(ps, ".entry"));
            ext = false;
        } else if (sp != SP_NONE) {
            var_decls(ps, sp, ext, &ps->m->vars);
            ext = false;
        } else if (ptx__is_word(ps, ".file")) {
            file_directive(ps);
        } else if (ptx__is_word(ps, ".section")) {
            skip_section(ps);
        } else if (ptx__is_word(ps, ".loc")) {
            loc_directive(ps);
        } else if (ptx__is_word(ps, ".pragma") || ptx__is_word(ps, ".alias")) {
            skip_statement(ps);
        } else {
            ptx__bad(ps, "declaration not understood");
        }
    }
}

static bool guarded(parser *ps) {
    if (setjmp(ps->fail))
        return false;
    ptx__scope_push(ps, 1024);
    ptx_lex_init(&ps->lx, ps->m->text);
    module(ps);
    if (!ps->m->target)
        ptx__bad(ps, "no .target");
    return true;
}

ptx_module *ptx_parse(const char *text, char *err, size_t errlen) {
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

void ptx_free(ptx_module *m) {
    if (!m)
        return;
    ptx_arena_free(&m->arena);
    free(m);
}

ptx_func *ptx_find_func(ptx_module *m, const char *name) {
    for (ptx_func *f = m->funcs; f; f = f->next)
        if (!strcmp(f->name, name))
            return f;
    return NULL;
}

int ptx_find_label(const ptx_func *f, const char *name, int from) {
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

bool ptx_has(const ptx_insn *in, const char *part) {
    for (int i = 1; i < in->nparts; i++)
        if (!strcmp(in->part[i], part))
            return true;
    return false;
}

bool ptx_is(const ptx_insn *in, const char *mnemonic) {
    return !strcmp(in->part[0], mnemonic);
}
