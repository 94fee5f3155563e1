/* What decoders share. */
#ifndef CUDA_SIM_DECODE_H
#define CUDA_SIM_DECODE_H

#include "sim.h"

struct sim_dec {
    sim_program *p;
    sim_module *m;
    ptx_func *f; /* function being decoded */
    const ptx_insn *in;
    int32_t base64, base32, scratch;
    int nfunc32; /* vectors of 32 bits in use */
    int npred;
    char err[1024];
    jmp_buf fail;
};

_Noreturn void dec_bad(sim_dec *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends an instruction with the guard of the statement under way. */
sim_insn *dec_emit(sim_dec *d, sim_fn fn, sim_class cls);
/* Operand kinds: h 16, w 32, x 64 bits, f / g float literals of 32 / 64 bits, p predicate, i
 * literal. */
int32_t dec_src(sim_dec *d, const ptx_operand *o, char kind);
int32_t dec_dst(sim_dec *d, const ptx_operand *o, char kind);
char dec_kind_of(ptx_type t); /* 'h', 'w', 'x' or 'p' by width */
int32_t dec_const32(sim_dec *d, uint32_t v);
int32_t dec_const64(sim_dec *d, uint64_t v);
uint64_t dec_imm(sim_dec *d, const ptx_operand *o);
/* Type of the register of an operand, TY_NONE when it is no register. */
ptx_type dec_reg_type(const sim_dec *d, const ptx_operand *o);
/* The last part that names a type. */
ptx_type dec_type(const ptx_insn *in);
/* Fills the address fields a, off, abits, space of a memory instruction. */
void dec_address(sim_dec *d, sim_insn *s, const ptx_operand *o, ptx_space space);
int32_t *dec_ext(sim_dec *d, int n);
void dec_need(sim_dec *d, int cc, const char *what);
void regalloc(ptx_module *m, ptx_func *f);
void fuse(ptx_module *m, ptx_func *f);
bool ptx_defines(const ptx_insn *in); /* is operand 0 written */

#endif
