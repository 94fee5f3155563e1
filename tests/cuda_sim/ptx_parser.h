/* The parser's state and the routines that its two files share. */
#ifndef CUDA_SIM_PTX_PARSER_H
#define CUDA_SIM_PTX_PARSER_H

#include "ptx.h"

#include <setjmp.h>

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

/* Reports at the current token and leaves by longjmp. */
_Noreturn void ptx__bad(parser *ps, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool ptx__is_punct(const parser *ps, char c);
bool ptx__is_word(const parser *ps, const char *w);
bool ptx__accept(parser *ps, char c);
void ptx__expect(parser *ps, char c);
void ptx__scope_push(parser *ps, unsigned hash);
scope_name *ptx__scope_add(parser *ps, const char *name, size_t n);
uint64_t ptx__number(parser *ps);
bool ptx__float_literal(const parser *ps, uint64_t *bits, unsigned *w);
void ptx__instruction(parser *ps);

#endif
