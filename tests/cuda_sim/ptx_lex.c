/* Tokens of PTX. An opcode with all its modifiers ("ld.global.L2::cache_hint.v4.u32") is one word.
 */
#include "ptx.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct ptx_block {
    struct ptx_block *next;
    size_t used, cap;
    _Alignas(16) uint8_t data[];
};

void *ptx_alloc(ptx_arena *a, size_t n) {
    n = (n + 15) & ~(size_t)15;
    if (!a->head || a->head->cap - a->head->used < n) {
        size_t cap = n > 65536 ? n : 65536;
        struct ptx_block *b = calloc(1, sizeof *b + cap);
        if (!b)
            abort();
        b->cap = cap;
        b->next = a->head;
        a->head = b;
    }
    void *p = a->head->data + a->head->used;
    a->head->used += n;
    return p;
}

char *ptx_strndup(ptx_arena *a, const char *s, size_t n) {
    char *d = ptx_alloc(a, n + 1);
    memcpy(d, s, n);
    d[n] = 0;
    return d;
}

void ptx_arena_free(ptx_arena *a) {
    while (a->head) {
        struct ptx_block *b = a->head;
        a->head = b->next;
        free(b);
    }
}

static bool word_char(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
}

void ptx_lex_init(ptx_lexer *lx, const char *text) {
    memset(lx, 0, sizeof *lx);
    lx->p = text;
    lx->line = 1;
    ptx_next(lx);
}

static void skip_space(ptx_lexer *lx) {
    for (;;) {
        char c = *lx->p;
        if (c == '\n') {
            lx->line++;
            lx->p++;
        } else if (c == ' ' || c == '\t' || c == '\r') {
            lx->p++;
        } else if (c == '/' && lx->p[1] == '/') {
            while (*lx->p && *lx->p != '\n')
                lx->p++;
        } else if (c == '/' && lx->p[1] == '*') {
            lx->p += 2;
            while (*lx->p && !(lx->p[0] == '*' && lx->p[1] == '/')) {
                lx->line += *lx->p == '\n';
                lx->p++;
            }
            if (*lx->p)
                lx->p += 2;
        } else {
            return;
        }
    }
}

void ptx_next(ptx_lexer *lx) {
    skip_space(lx);
    const char *p = lx->p;
    lx->s = p;
    lx->tok_line = lx->line;
    if (!*p) {
        lx->tok = TK_EOF;
        lx->n = 0;
        return;
    }
    if (isdigit((unsigned char)*p)) {
        while (isalnum((unsigned char)*p) || *p == '.')
            p++;
        lx->tok = TK_NUM;
    } else if (word_char(*p)) {
        const bool directive = *p++ == '.'; /* ".reg.b32" is two words, "ld.b32" one */
        while ((word_char(*p) && !(directive && *p == '.')) || (p[0] == ':' && p[1] == ':'))
            p += *p == ':' ? 2 : 1;
        lx->tok = TK_WORD;
    } else if (*p == '"') {
        p++;
        while (*p && *p != '"')
            p += (*p == '\\' && p[1]) ? 2 : 1;
        if (*p)
            p++;
        lx->tok = TK_STR;
    } else {
        p++;
        lx->tok = TK_PUNCT;
    }
    lx->n = (size_t)(p - lx->s);
    lx->p = p;
}
