/* Liveness and linear-scan allocation: keeps a warp's register file in the cache, and its peak is
 * the register estimate behind the occupancy. One interval a register, over statement numbers. */
#include "decode.h"

#include <stdlib.h>
#include <string.h>

static const char *const no_dst[] = {"st",
                                     "red",
                                     "bra",
                                     "brx",
                                     "bar",
                                     "barrier",
                                     "membar",
                                     "fence",
                                     "ret",
                                     "exit",
                                     "call",
                                     "prefetch",
                                     "prefetchu",
                                     "trap",
                                     "brkpt",
                                     "nanosleep",
                                     "cp",
                                     "stmatrix",
                                     "griddepcontrol",
                                     "applypriority",
                                     "discard",
                                     "pmevent",
                                     "setmaxnreg",
                                     "mbarrier",
                                     NULL};

bool ptx_defines(const ptx_insn *in) {
    if (!in->nopd || in->dead)
        return false;
    if ((ptx_is(in, "bar") || ptx_is(in, "barrier")) && ptx_has(in, "red"))
        return true;
    for (int i = 0; no_dst[i]; i++)
        if (ptx_is(in, no_dst[i]))
            return false;
    return true;
}

typedef void (*visit)(void *ctx, int reg, bool def);

static void walk(const ptx_operand *o, bool def, visit v, void *ctx) {
    switch (o->kind) {
    case OP_REG:
        v(ctx, o->reg, def);
        break;
    case OP_ADDR:
        if (o->reg >= 0)
            v(ctx, o->reg, false);
        break;
    case OP_VEC:
    case OP_PAIR:
    case OP_LIST:
        for (int i = 0; i < o->nv; i++)
            walk(&o->v[i], def, v, ctx);
        break;
    default:
        break;
    }
}

static void each_reg(const ptx_insn *in, visit v, void *ctx) {
    if (in->dead)
        return;
    bool def = ptx_defines(in);
    for (int i = 0; i < in->nopd; i++)
        walk(&in->opd[i], def && i == 0, v, ctx);
    if (in->guard >= 0)
        v(ctx, in->guard, false);
}

typedef struct live {
    ptx_func *f;
    int nw; /* words of a bit set */
    uint64_t *in, *use, *def, *tmp;
    int *start, *end, nblk;
    int (*succ)[2];
    uint8_t *many; /* block ends in brx */
    int *blk_of;
    int *lo, *hi;
    int at;
    bool guarded;
    int b;
} live;

static void visit_usedef(void *ctx, int r, bool def) {
    live *L = ctx;
    uint64_t *set = (def ? L->def : L->use) + (size_t)L->b * (size_t)L->nw;
    uint64_t bit = 1ull << (r & 63);
    if (def ? L->guarded : (L->def[(size_t)L->b * (size_t)L->nw + (size_t)(r >> 6)] & bit) != 0)
        return;
    set[r >> 6] |= bit;
}

static void visit_range(void *ctx, int r, bool def) {
    live *L = ctx;
    (void)def;
    if (L->at < L->lo[r])
        L->lo[r] = L->at;
    if (L->at > L->hi[r])
        L->hi[r] = L->at;
}

static bool ends_block(const ptx_insn *in) {
    return ptx_is(in, "bra") || ptx_is(in, "brx") || ptx_is(in, "ret") || ptx_is(in, "exit") ||
           ptx_is(in, "trap");
}

static void blocks(live *L) {
    ptx_func *f = L->f;
    int n = f->ninsns;
    uint8_t *lead = calloc((size_t)n + 2, 1);
    lead[0] = 1;
    for (int i = 0; i < f->nlabels; i++)
        lead[f->labels[i].at] = 1;
    for (int i = 0; i < n; i++)
        if (ends_block(&f->insns[i]))
            lead[i + 1] = 1;
    for (int i = 0; i < n; i++) {
        if (lead[i]) {
            if (L->nblk)
                L->end[L->nblk - 1] = i;
            L->start[L->nblk++] = i;
        }
        L->blk_of[i] = L->nblk - 1;
    }
    L->blk_of[n] = -1;
    if (L->nblk)
        L->end[L->nblk - 1] = n;
    for (int b = 0; b < L->nblk; b++) {
        const ptx_insn *last = &f->insns[L->end[b] - 1];
        bool fall = last->guard >= 0 || !ends_block(last);
        L->succ[b][0] = fall ? L->blk_of[L->end[b]] : -1;
        L->succ[b][1] = -1;
        if (ptx_is(last, "bra") && last->nopd) {
            int t = ptx_find_label(f, last->opd[0].name ? last->opd[0].name : "", last->scope);
            if (t >= 0)
                L->succ[b][1] = L->blk_of[t];
        }
        L->many[b] = ptx_is(last, "brx");
    }
    free(lead);
}

static void join_succ(const live *L, int b, uint64_t *out) {
    memset(out, 0, (size_t)L->nw * 8);
    for (int s = 0; s < 2; s++)
        if (L->succ[b][s] >= 0)
            for (int k = 0; k < L->nw; k++)
                out[k] |= L->in[(size_t)L->succ[b][s] * (size_t)L->nw + (size_t)k];
    if (L->many[b]) /* an indexed branch may go to any label */
        for (int i = 0; i < L->f->nlabels; i++) {
            int t = L->blk_of[L->f->labels[i].at];
            for (int k = 0; t >= 0 && k < L->nw; k++)
                out[k] |= L->in[(size_t)t * (size_t)L->nw + (size_t)k];
        }
}

static void solve(live *L) {
    bool changed = true;
    while (changed) {
        changed = false;
        for (int b = L->nblk - 1; b >= 0; b--) {
            join_succ(L, b, L->tmp);
            for (int k = 0; k < L->nw; k++) {
                size_t at = (size_t)b * (size_t)L->nw + (size_t)k;
                uint64_t v = L->use[at] | (L->tmp[k] & ~L->def[at]);
                changed |= v != L->in[at];
                L->in[at] = v;
            }
        }
    }
    for (int b = 0; b < L->nblk; b++) {
        join_succ(L, b, L->tmp);
        for (int r = 0; r < L->f->nregs; r++) {
            uint64_t bit = 1ull << (r & 63);
            if (L->in[(size_t)b * (size_t)L->nw + (size_t)(r >> 6)] & bit) {
                L->at = L->start[b];
                visit_range(L, r, false);
            }
            if (L->tmp[r >> 6] & bit) {
                L->at = L->end[b] - 1;
                visit_range(L, r, false);
            }
        }
    }
}

static const int *sort_lo;
static int by_lo(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return sort_lo[x] != sort_lo[y] ? (sort_lo[x] < sort_lo[y] ? -1 : 1) : (x < y ? -1 : 1);
}

static int width_class(ptx_type t) {
    return t == TY_PRED ? 2 : ptx_type_bits(t) == 64 ? 1 : 0;
}

static void assign(live *L) {
    ptx_func *f = L->f;
    int *order = calloc((size_t)f->nregs + 1, sizeof *order), n = 0;
    int *busy[3], top[3] = {0, 0, 0};
    for (int c = 0; c < 3; c++)
        busy[c] = calloc((size_t)f->nregs + 1, sizeof(int)); /* end of the slot's interval */
    for (int r = 0; r < f->nregs; r++)
        if (L->hi[r] >= 0)
            order[n++] = r;
    sort_lo = L->lo;
    qsort(order, (size_t)n, sizeof *order, by_lo);
    int *live_w = calloc((size_t)f->ninsns + 2, sizeof(int));
    for (int k = 0; k < n; k++) {
        int r = order[k], c = width_class(f->regs[r].type), s = 0;
        while (s < top[c] && busy[c][s] >= L->lo[r])
            s++;
        if (s == top[c])
            top[c]++;
        busy[c][s] = L->hi[r];
        f->regs[r].slot = s;
        if (c < 2) {
            live_w[L->lo[r]] += 1 + c;
            live_w[L->hi[r] + 1] -= 1 + c;
        }
    }
    int cur = 0;
    f->pressure = 0;
    for (int i = 0; i < f->ninsns; i++) {
        cur += live_w[i];
        f->pressure = cur > f->pressure ? cur : f->pressure;
    }
    f->n32 = top[0];
    f->n64 = top[1];
    f->np = top[2];
    for (int c = 0; c < 3; c++)
        free(busy[c]);
    free(order);
    free(live_w);
}

void regalloc(ptx_module *m, ptx_func *f) {
    (void)m;
    if (f->allocated)
        return;
    size_t n = (size_t)f->ninsns + 2;
    live L = {.f = f, .nw = (f->nregs + 63) / 64 + 1};
    size_t nr = (size_t)f->nregs + 1;
    L.start = calloc(n, sizeof(int));
    L.end = calloc(n, sizeof(int));
    L.blk_of = calloc(n, sizeof(int));
    L.succ = calloc(n, sizeof *L.succ);
    L.many = calloc(n, 1);
    L.lo = malloc(nr * sizeof(int));
    L.hi = malloc(nr * sizeof(int));
    for (size_t r = 0; r < nr; r++) {
        L.lo[r] = 1 << 30;
        L.hi[r] = -1;
    }
    blocks(&L);
    size_t bits = (size_t)(L.nblk + 1) * (size_t)L.nw;
    L.in = calloc(bits, 8);
    L.use = calloc(bits, 8);
    L.def = calloc(bits, 8);
    L.tmp = calloc((size_t)L.nw, 8);
    for (L.b = 0; L.b < L.nblk; L.b++)
        for (L.at = L.start[L.b]; L.at < L.end[L.b]; L.at++) {
            const ptx_insn *in = &f->insns[L.at];
            L.guarded = in->guard >= 0;
            /* uses first: an operand read and written by one statement is live before it */
            bool def = ptx_defines(in);
            if (in->dead)
                continue;
            for (int i = def ? 1 : 0; i < in->nopd; i++)
                walk(&in->opd[i], false, visit_usedef, &L);
            if (in->guard >= 0)
                visit_usedef(&L, in->guard, false);
            if (def)
                walk(&in->opd[0], true, visit_usedef, &L);
            each_reg(in, visit_range, &L);
        }
    solve(&L);
    assign(&L);
    f->allocated = true;
    free(L.start), free(L.end), free(L.blk_of), free(L.succ), free(L.many), free(L.lo), free(L.hi);
    free(L.in), free(L.use), free(L.def), free(L.tmp);
}
