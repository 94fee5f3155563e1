/* PTX text -> syntax tree. No semantics beyond scopes, types and addresses of names. */
#ifndef CUDA_SIM_PTX_H
#define CUDA_SIM_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bump arena: everything of one module lives in one and is freed at once. */
typedef struct ptx_arena {
    struct ptx_block *head;
} ptx_arena;
void *ptx_alloc(ptx_arena *a, size_t n);
char *ptx_strndup(ptx_arena *a, const char *s, size_t n);
void ptx_arena_free(ptx_arena *a);

typedef enum {
    TY_NONE,
    TY_PRED,
    TY_B8,
    TY_B16,
    TY_B32,
    TY_B64,
    TY_B128,
    TY_U8,
    TY_U16,
    TY_U32,
    TY_U64,
    TY_S8,
    TY_S16,
    TY_S32,
    TY_S64,
    TY_F16,
    TY_F16X2,
    TY_BF16,
    TY_BF16X2,
    TY_TF32,
    TY_F32,
    TY_F64,
    TY_U16X2,
    TY_S16X2,
    TY_E4M3,
    TY_E5M2,
    TY_E4M3X2,
    TY_E5M2X2
} ptx_type;
unsigned ptx_type_bits(ptx_type t);
/* The type named by one dot-less token ("u32"), TY_NONE when it is not a type. */
ptx_type ptx_type_of(const char *s, size_t n);

typedef enum { SP_NONE, SP_GLOBAL, SP_SHARED, SP_LOCAL, SP_CONST, SP_PARAM, SP_GENERIC } ptx_space;

typedef struct ptx_reloc {
    struct ptx_reloc *next;
    size_t at;        /* byte offset inside the variable */
    const char *name; /* symbol whose address goes there */
    int64_t add;
    bool generic;
} ptx_reloc;

typedef struct ptx_var {
    struct ptx_var *next;
    const char *name;
    ptx_space space;
    ptx_type type;
    size_t size, align;
    bool is_extern; /* .extern .shared x[]: the dynamic shared memory */
    bool is_func_param;
    uint8_t *init; /* NULL: zero */
    ptx_reloc *relocs;
    uint64_t addr; /* offset in its space (global/const: device address), set by the linker */
    struct ptx_var *alias; /* call-site .param variable: the callee's parameter it stands for */
    int line;
} ptx_var;

typedef struct ptx_reg {
    const char *name;
    ptx_type type;
    int32_t slot; /* set by the allocator; predicates: bit-vector number */
} ptx_reg;

typedef enum {
    OP_REG,
    OP_IMM,
    OP_FLT,
    OP_SYM,
    OP_ADDR,
    OP_VEC,
    OP_SREG,
    OP_SINK,
    OP_PAIR,
    OP_LIST
} ptx_opkind;

typedef struct ptx_operand {
    ptx_opkind kind;
    bool neg;              /* !p for predicates, -x for registers */
    int32_t reg;           /* OP_REG, OP_ADDR base register; -1 none */
    uint64_t imm;          /* OP_IMM bits; OP_FLT: bits of the literal; OP_ADDR: offset */
    unsigned fbits;        /* OP_FLT: 32 or 64 */
    const char *name;      /* OP_SYM, OP_SREG, symbol base of OP_ADDR */
    ptx_var *var;          /* resolved variable of OP_SYM or OP_ADDR */
    struct ptx_operand *v; /* OP_VEC, OP_PAIR, OP_LIST elements */
    int nv;
} ptx_operand;

#define PTX_MAX_PARTS 20
#define PTX_MAX_OPS   10

typedef struct ptx_insn {
    const char *op;                  /* whole opcode, "ld.global.nc.v4.u32" */
    const char *part[PTX_MAX_PARTS]; /* "ld" "global" "nc" "v4" "u32" */
    int nparts;
    ptx_operand opd[PTX_MAX_OPS];
    int nopd;
    int32_t guard; /* predicate register or -1 */
    bool gneg;
    bool dead; /* fused into a later statement */
    int line;  /* line in the PTX text */
    int loc_file, loc_line, scope;
    const char *text; /* the statement itself, for messages */
    int text_len;
} ptx_insn;

typedef struct ptx_label {
    const char *name;
    int at; /* index of the instruction that follows */
    int scope;
} ptx_label;

typedef struct ptx_list { /* .branchtargets */
    const char *name;
    const char **label;
    int n;
} ptx_list;

typedef struct ptx_func {
    struct ptx_func *next;
    const char *name;
    bool is_entry, has_body;
    ptx_var *params, *rets; /* in order */
    size_t param_bytes;
    ptx_var *vars; /* .local, .shared and call .param declared inside */
    ptx_reg *regs;
    int nregs, cap_regs;
    ptx_insn *insns;
    int ninsns, cap_insns;
    ptx_label *labels;
    int nlabels, cap_labels;
    unsigned *scopes; /* pairs id, parent id */
    int nscopes, cap_scopes;
    ptx_list *lists;
    int nlists;
    int maxntid[3], reqntid[3];
    int minnctapersm, maxnreg;
    /* register allocation: vectors of 32 and 64 bits, predicates, peak live words */
    int n32, n64, np, pressure;
    bool allocated, mark, fused;
    uint32_t base32, base64, basep, local_at;
    int *start; /* first decoded instruction of each statement */
    int line;
} ptx_func;

typedef struct ptx_module {
    ptx_arena arena;
    const char *text;
    int version_major, version_minor, target;
    bool arch_specific; /* sm_90a */
    ptx_var *vars;
    ptx_func *funcs;
    const char **files;
    int nfiles;
    char err[512];
} ptx_module;

/* Parses `text` (kept by copy). Returns NULL on failure with the reason in err. */
ptx_module *ptx_parse(const char *text, char *err, size_t errlen);
void ptx_free(ptx_module *m);
ptx_func *ptx_find_func(ptx_module *m, const char *name);
int ptx_find_label(const ptx_func *f, const char *name, int scope);
bool ptx_has(const ptx_insn *in, const char *part);
bool ptx_is(const ptx_insn *in, const char *mnemonic);

/* Lexer, shared by the parser and the mutation tool. */
typedef enum { TK_EOF, TK_WORD, TK_NUM, TK_STR, TK_PUNCT } ptx_tok;
typedef struct ptx_lexer {
    const char *p;
    int line;
    ptx_tok tok;
    const char *s; /* token text */
    size_t n;
    int tok_line;
} ptx_lexer;
void ptx_lex_init(ptx_lexer *lx, const char *text);
void ptx_next(ptx_lexer *lx);

#endif
