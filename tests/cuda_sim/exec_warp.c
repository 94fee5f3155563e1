/* Exchange inside a warp, barriers, fences, control. The engine calls these with converged lanes.
 */
#include "decode.h"
#include "exec.h"

/* ---- shfl ---- */

typedef enum { SH_UP, SH_DOWN, SH_BFLY, SH_IDX } shkind;

EXEC(shfl) {
    uint32_t src[SIM_LANES], p = 0;
    memcpy(src, sim_r32(w, in->a), sizeof src);
    SRC32(pb, b);
    SRC32(pc, c);
    DST32(pd);
    uint32_t out[SIM_LANES] = {0};
    EACH_LANE(m, l) {
        uint32_t b = pb[l] & 31u, clamp = pc[l] & 31u, seg = pc[l] >> 8 & 31u;
        int lane = (int)l, max = (int)((l & seg) | (clamp & ~seg)), min = (int)(l & seg), j = lane;
        bool ok;
        switch ((shkind)in->imm) {
        case SH_UP:
            j = lane - (int)b;
            ok = j >= max;
            break;
        case SH_DOWN:
            j = lane + (int)b;
            ok = j <= max;
            break;
        case SH_BFLY:
            j = lane ^ (int)b;
            ok = j <= max;
            break;
        default:
            j = min | (int)(b & ~seg);
            ok = j <= max;
            break;
        }
        if (!ok)
            j = lane;
        if (w->run->strict && !(m >> j & 1u))
            sim_fault(w, in, lane, 0, SIM_ERR_FAILED,
                      "shfl reads lane %d, which does not take part", j);
        out[l] = src[j];
        p |= (uint32_t)ok << l;
    }
    EACH_LANE(m, l) pd[l] = out[l];
    sim_set_pred(w, in->off, p, m);
}

/* ---- vote, match, redux ---- */

static uint32_t vote_in(const sim_warp *w, const sim_insn *in, uint32_t m) {
    uint32_t p = sim_pred(w, in->a);
    return (in->neg & 2u ? ~p : p) & m;
}
EXEC(vote_all) {
    sim_set_pred(w, in->d, vote_in(w, in, m) == m ? m : 0, m);
}
EXEC(vote_any) {
    sim_set_pred(w, in->d, vote_in(w, in, m) ? m : 0, m);
}
EXEC(vote_uni) {
    uint32_t p = vote_in(w, in, m);
    sim_set_pred(w, in->d, p == m || !p ? m : 0, m);
}
EXEC(vote_ballot) {
    uint32_t p = vote_in(w, in, m);
    DST32(pd);
    LANES pd[i] = ON(m) ? p : pd[i];
}
EXEC(activemask) {
    DST32(pd);
    LANES pd[i] = ON(m) ? m : pd[i];
}
static uint64_t value(const sim_warp *w, const sim_insn *in, uint32_t l) {
    return in->imm == 64 ? sim_r64(w, in->a)[l] : sim_r32(w, in->a)[l];
}
EXEC(match_any) {
    uint32_t out[SIM_LANES] = {0};
    EACH_LANE(m, l) {
        for (uint32_t k = 0; k < SIM_LANES; k++)
            out[l] |= (uint32_t)((m >> k & 1u) && value(w, in, k) == value(w, in, l)) << k;
    }
    DST32(pd);
    EACH_LANE(m, l) pd[l] = out[l];
}
EXEC(match_all) {
    uint32_t first = (uint32_t)__builtin_ctz(m), same = 1;
    EACH_LANE(m, l) same &= value(w, in, l) == value(w, in, first);
    DST32(pd);
    LANES pd[i] = ON(m) ? (same ? m : 0u) : pd[i];
    sim_set_pred(w, in->off, same ? m : 0, m);
}
typedef enum { RX_ADD, RX_MINU, RX_MAXU, RX_MINS, RX_MAXS, RX_AND, RX_OR, RX_XOR } rxop;
EXEC(redux) {
    SRC32(pa, a);
    uint32_t v = pa[__builtin_ctz(m)];
    EACH_LANE(m & (m - 1), l) {
        uint32_t x = pa[l];
        switch ((rxop)in->imm) {
        case RX_ADD:
            v += x;
            break;
        case RX_MINU:
            v = x < v ? x : v;
            break;
        case RX_MAXU:
            v = x > v ? x : v;
            break;
        case RX_MINS:
            v = (int32_t)x < (int32_t)v ? x : v;
            break;
        case RX_MAXS:
            v = (int32_t)x > (int32_t)v ? x : v;
            break;
        case RX_AND:
            v &= x;
            break;
        case RX_OR:
            v |= x;
            break;
        default:
            v ^= x;
            break;
        }
    }
    DST32(pd);
    LANES pd[i] = ON(m) ? v : pd[i];
}
EXEC(elect) {
    uint32_t first = (uint32_t)__builtin_ctz(m);
    DST32(pd);
    LANES pd[i] = ON(m) ? first : pd[i];
    sim_set_pred(w, in->off, 1u << first, m);
}
EXEC(warp_sync) {
    (void)in, (void)m;
    if (w->run->strict)
        sim_hb_warpsync(w);
}

#define S(op, sig, fn, k)                                                                          \
    { op, sig, fn, CL_WARP, k, CTL_SYNC }
const sim_op sim_ops_warp[] = {S("shfl.sync.up.b32", "w|wwwm", shfl, SH_UP),
                               S("shfl.sync.down.b32", "w|wwwm", shfl, SH_DOWN),
                               S("shfl.sync.bfly.b32", "w|wwwm", shfl, SH_BFLY),
                               S("shfl.sync.idx.b32", "w|wwwm", shfl, SH_IDX),
                               S("vote.sync.all.pred", "ppm", vote_all, 0),
                               S("vote.sync.any.pred", "ppm", vote_any, 0),
                               S("vote.sync.uni.pred", "ppm", vote_uni, 0),
                               S("vote.sync.ballot.b32", "wpm", vote_ballot, 0),
                               S("match.any.sync.b32", "wwm", match_any, 32),
                               S("match.any.sync.b64", "wxm", match_any, 64),
                               S("match.all.sync.b32", "w|wm", match_all, 32),
                               S("match.all.sync.b64", "w|xm", match_all, 64),
                               S("redux.sync.add.u32", "wwm", redux, RX_ADD),
                               S("redux.sync.add.s32", "wwm", redux, RX_ADD),
                               S("redux.sync.min.u32", "wwm", redux, RX_MINU),
                               S("redux.sync.max.u32", "wwm", redux, RX_MAXU),
                               S("redux.sync.min.s32", "wwm", redux, RX_MINS),
                               S("redux.sync.max.s32", "wwm", redux, RX_MAXS),
                               S("redux.sync.and.b32", "wwm", redux, RX_AND),
                               S("redux.sync.or.b32", "wwm", redux, RX_OR),
                               S("redux.sync.xor.b32", "wwm", redux, RX_XOR),
                               S("elect.sync", "w|m", elect, 0),
                               {"activemask.b32", "w", activemask, CL_WARP, 0, CTL_NONE},
                               {0}};

/* ---- barriers, fences, control ---- */

EXEC(fence) {
    (void)in, (void)m;
    if (w->run->strict)
        sim_hb_fence(w);
}

static void barrier_kind(sim_dec *d, const ptx_insn *in, uint32_t *kind, int *k) {
    *k = 0;
    if (ptx_has(in, "arrive")) {
        *kind = 1;
    } else if (ptx_has(in, "red")) {
        *kind = ptx_has(in, "popc") ? 2 : ptx_has(in, "and") ? 3 : ptx_has(in, "or") ? 4 : 0;
        *k = 1;
        if (!*kind)
            dec_bad(d, "unknown opcode %s", in->op);
    } else if (ptx_has(in, "sync")) {
        *kind = 0;
    } else {
        dec_bad(d, "unknown opcode %s", in->op);
    }
}

static void dec_bar(sim_dec *d, const ptx_insn *in) {
    if (ptx_has(in, "warp")) { /* bar.warp.sync m */
        int at = d->p->ncode;
        dec_emit(d, warp_sync, CL_BARRIER)->ctl = CTL_SYNC;
        d->p->code[at].a = dec_src(d, &in->opd[0], 'w');
        d->p->code[at].member = 1;
        return;
    }
    if (ptx_has(in, "cluster"))
        dec_bad(d, "clusters are not supported");
    uint32_t kind = 0;
    int k = 0;
    barrier_kind(d, in, &kind, &k);
    int n = in->nopd - k - (kind >= 2);
    if (n < 1 || n > 2 || (kind == 1 && n != 2))
        dec_bad(d, "wrong number of operands");
    int at = d->p->ncode;
    dec_emit(d, NULL, CL_BARRIER)->ctl = CTL_BAR;
    int32_t dd = kind < 2 ? 0 : dec_dst(d, &in->opd[0], kind == 2 ? 'w' : 'p');
    int32_t a = dec_src(d, &in->opd[k], 'w'), b = n == 2 ? dec_src(d, &in->opd[k + 1], 'w') : 0;
    int32_t c = kind >= 2 ? dec_src(d, &in->opd[k + n], 'p') : 0;
    sim_insn *s = &d->p->code[at];
    s->d = dd, s->a = a, s->b = b, s->c = c, s->imm = kind;
    s->neg = kind >= 2 && in->opd[k + n].neg;
    /* bar is the aligned form; barrier is only with the word */
    s->flags = 0;
    s->vec = ptx_is(in, "bar") || ptx_has(in, "aligned");
}

static void dec_fence(sim_dec *d, const ptx_insn *in) {
    static const char *const ok[] = {"membar.gl",
                                     "membar.cta",
                                     "membar.sys",
                                     "fence.acq_rel.gpu",
                                     "fence.acq_rel.cta",
                                     "fence.acq_rel.sys",
                                     "fence.sc.gpu",
                                     "fence.sc.cta",
                                     "fence.sc.sys",
                                     "fence.acquire.gpu",
                                     "fence.release.gpu",
                                     "fence.acq_rel.cluster",
                                     NULL};
    for (int i = 0; ok[i]; i++)
        if (!strcmp(ok[i], in->op)) {
            dec_emit(d, fence, CL_FENCE);
            return;
        }
    dec_bad(d, "unknown opcode %s", in->op);
}

static void dec_control(sim_dec *d, const ptx_insn *in) {
    const char *m = in->part[0];
    sim_ctl c = !strcmp(m, "bra")         ? CTL_BRA
                : !strcmp(m, "brx")       ? CTL_BRX
                : !strcmp(m, "ret")       ? (d->f->is_entry ? CTL_EXIT : CTL_RET)
                : !strcmp(m, "exit")      ? CTL_EXIT
                : !strcmp(m, "call")      ? CTL_CALL
                : !strcmp(m, "nanosleep") ? CTL_YIELD
                                          : CTL_TRAP;
    int at = d->p->ncode;
    dec_emit(d, NULL, CL_BRANCH)->ctl = (uint8_t)c;
    if (c == CTL_BRX) {
        if (in->nopd != 2 || !ptx_has(in, "idx"))
            dec_bad(d, "unknown opcode %s", in->op);
        d->p->code[at].a = dec_src(d, &in->opd[0], 'w');
    }
}

const sim_decoder sim_dec_ctl[] = {{"bra", dec_control},
                                   {"brx", dec_control},
                                   {"ret", dec_control},
                                   {"exit", dec_control},
                                   {"call", dec_control},
                                   {"nanosleep", dec_control},
                                   {"trap", dec_control},
                                   {"brkpt", dec_control},
                                   {"bar", dec_bar},
                                   {"barrier", dec_bar},
                                   {"membar", dec_fence},
                                   {"fence", dec_fence},
                                   {0}};

const sim_op sim_ops_misc[] = {{0}};
