/* What ptxas does by default and PTX allows: a mul and the add or sub that alone uses it become one
 * fma, unless they say .rn (nvcc -fmad=false writes .rn). So kernels that promise bits without
 * contraction, but were compiled without that flag, show here what a device would give.
 * CUDA_SIM_FMAD=0 turns it off.
 *
 * Fused are d = a*b + c, c + a*b and c - a*b inside one basic block; a*b - c stays (ptxas fuses
 * it). */
#include "decode.h"

#include <stdlib.h>
#include <string.h>

typedef struct uses {
    int def, use;
} uses;

static void count(const ptx_operand *o, bool def, uses *u) {
    if (o->kind == OP_REG || (o->kind == OP_ADDR && o->reg >= 0)) {
        u[o->reg].def += def && o->kind == OP_REG;
        u[o->reg].use += !def || o->kind == OP_ADDR;
    }
    for (int i = 0; i < o->nv; i++)
        count(&o->v[i], def, u);
}

static bool reads(const ptx_operand *o, int reg) {
    if ((o->kind == OP_REG || o->kind == OP_ADDR) && o->reg == reg)
        return true;
    for (int i = 0; i < o->nv; i++)
        if (reads(&o->v[i], reg))
            return true;
    return false;
}

static bool writes(const ptx_insn *in, const ptx_operand *o) {
    return o->kind == OP_REG && ptx_defines(in) && reads(&in->opd[0], o->reg);
}

/* "mul.ftz.f32" and "add.ftz.f32": the same modifiers behind the mnemonic, no rounding, no .sat on
 * mul. */
static bool is_plain(const ptx_insn *in, const char *mnemonic) {
    static const char *const tails[] = {"f32", "ftz.f32", "f64", "f16", "f16x2", NULL};
    const size_t n = strlen(mnemonic);
    if (!ptx_is(in, mnemonic) || in->guard >= 0 || in->nopd != 3 || in->opd[0].kind != OP_REG)
        return false;
    for (int i = 0; tails[i]; i++)
        if (!strcmp(in->op + n + 1, tails[i]))
            return true;
    return false;
}

static void rename_op(ptx_module *m, ptx_insn *in, const char *mnemonic, const char *tail) {
    char op[64];
    int n = snprintf(op, sizeof op, "%s.%s", mnemonic, tail);
    in->op = ptx_strndup(&m->arena, op, (size_t)n);
    in->part[0] = !strncmp(mnemonic, "fma", 3) ? "fma" : mnemonic;
}

static bool is_label(const ptx_func *f, int at) {
    for (int i = 0; i < f->nlabels; i++)
        if (f->labels[i].at == at)
            return true;
    return false;
}

static void try_fuse(ptx_module *m, ptx_func *f, int i, const uses *u) {
    ptx_insn *mul = &f->insns[i];
    const int r = mul->opd[0].reg;
    if (u[r].def != 1 || u[r].use != 1)
        return;
    for (int j = i + 1; j < f->ninsns && j < i + 64 && !is_label(f, j); j++) {
        ptx_insn *in = &f->insns[j];
        bool here = in->guard == r;
        for (int k = 0; k < in->nopd; k++)
            here |= reads(&in->opd[k], r);
        if (here) {
            const char *tail = strchr(mul->op, '.') + 1;
            const bool add = is_plain(in, "add"), sub = is_plain(in, "sub");
            if ((!add && !sub) || strcmp(strchr(in->op, '.') + 1, tail))
                return;
            const bool second = in->opd[2].kind == OP_REG && in->opd[2].reg == r;
            if (sub && !second)
                return;
            const ptx_operand c = in->opd[second ? 1 : 2], a = mul->opd[1], b = mul->opd[2];
            if (sub && a.kind != OP_REG)
                return;
            in->opd[1] = sub ? in->opd[2] : a; /* c - a b: r becomes -a, and the fma takes it */
            in->opd[2] = b;
            in->opd[3] = c;
            in->nopd = 4;
            rename_op(m, in, "fma.rn", tail);
            if (sub) {
                rename_op(m, mul, "neg", tail);
                mul->nopd = 2;
            } else {
                mul->dead = true;
            }
            return;
        }
        if (writes(in, &mul->opd[1]) || writes(in, &mul->opd[2]) || ptx_is(in, "bra") ||
            ptx_is(in, "brx") || ptx_is(in, "ret") || ptx_is(in, "exit") || ptx_is(in, "call"))
            return;
    }
}

void fuse(ptx_module *m, ptx_func *f) {
    if (f->fused)
        return;
    f->fused = true;
    uses *u = calloc((size_t)f->nregs + 1, sizeof *u);
    if (!u)
        abort();
    for (int i = 0; i < f->ninsns; i++) {
        const ptx_insn *in = &f->insns[i];
        const bool def = ptx_defines(in);
        for (int k = 0; k < in->nopd; k++)
            count(&in->opd[k], def && k == 0, u);
        if (in->guard >= 0)
            u[in->guard].use++;
    }
    for (int i = 0; i < f->ninsns; i++)
        if (is_plain(&f->insns[i], "mul"))
            try_fuse(m, f, i, u);
    free(u);
}
