/* One warp: lanes at the least pc run, a converged warp takes the short way. */
#include "exec.h"

#include <stdlib.h>

uint64_t sim_random(uint64_t *s) {
    uint64_t z = (*s += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Picks the runnable lanes at the least pc, or (rotate) at the next pc above `above`. */
static void select_lanes(sim_warp *w, uint32_t above, bool rotate) {
    const uint32_t run = w->live & ~w->blocked & ~w->parked;
    uint32_t best = UINT32_MAX, next = UINT32_MAX;
    EACH_LANE(run, l) {
        uint32_t p = w->lane_pc[l];
        if (rotate && p <= above)
            continue;
        if (p < best) {
            next = best;
            best = p;
        } else if (p > best && p < next) {
            next = p;
        }
    }
    w->active = 0;
    w->limit = UINT32_MAX;
    if (best == UINT32_MAX) {
        if (rotate && run)
            select_lanes(w, 0, false);
        return;
    }
    EACH_LANE(run, l) w->active |= (uint32_t)(w->lane_pc[l] == best) << l;
    w->pc = best;
    w->diverged = w->active != w->live;
    if (w->diverged && !rotate)
        w->limit = next;
}

void sim_warp_reselect(sim_warp *w) {
    select_lanes(w, 0, false);
}

static void save_pcs(sim_warp *w, uint32_t lanes, uint32_t pc) {
    EACH_LANE(lanes, l) w->lane_pc[l] = pc;
}

/* The active lanes stand at w->pc; some other lanes may now come first. */
static void yield_lanes(sim_warp *w) {
    save_pcs(w, w->active, w->pc);
    if (++w->spin > 2048) { /* lanes above wait for a lane that spins below, or the reverse */
        w->spin = 0;
        select_lanes(w, w->pc, true);
    } else {
        select_lanes(w, 0, false);
    }
}

/* ---- proof that a warp spins: the same state again with no memory changed in between ---- */

static uint64_t hash_state(const sim_warp *w) {
    const sim_program *p = w->run->l->prog;
    uint64_t h = w->pc * 0x9e3779b97f4a7c15ull ^ w->active ^ (uint64_t)w->cc << 32;
    const uint64_t *q = (const uint64_t *)(const void *)w->r;
    for (int i = 0; i < p->nslots / 2; i++)
        h = (h ^ q[i]) * 0xff51afd7ed558ccdull, h ^= h >> 29;
    for (int i = 3; i < p->npreds; i++)
        h = (h ^ w->p[i]) * 0xff51afd7ed558ccdull, h ^= h >> 29;
    return h;
}

static void watch_spin(sim_warp *w) {
    sim_runner *r = w->run;
    if (r->steps - r->progress < 1000000 || !w->last_ld || (++w->spin_visit & 15u))
        return; /* a loop that reads nothing waits for nobody */
    if (w->spin_epoch != r->progress) {
        w->spin_epoch = r->progress;
        w->cycling = false;
        w->spin_power = 1;
        w->spin_len = 0;
        w->spin_hash = hash_state(w);
        return;
    }
    if (w->cycling)
        return;
    uint64_t h = hash_state(w);
    if (h == w->spin_hash) {
        w->cycling = true;
    } else if (++w->spin_len == w->spin_power) { /* Brent */
        w->spin_power *= 2;
        w->spin_len = 0;
        w->spin_hash = h;
    }
}

/* ---- control ---- */

static void branch(sim_warp *w, const sim_insn *in, uint32_t taken, uint32_t target) {
    (void)in;
    const bool back = target <= w->pc;
    if (taken == w->active) {
        w->pc = target;
    } else if (taken) {
        save_pcs(w, taken, target);
        save_pcs(w, w->active & ~taken, w->pc + 1);
        w->diverged = true;
        select_lanes(w, 0, false);
        if (back)
            watch_spin(w);
        return;
    } else {
        w->pc++;
        if (w->pc < w->limit)
            return;
    }
    if (w->diverged)
        yield_lanes(w);
    if (back && taken)
        watch_spin(w);
}

static void branch_indexed(sim_warp *w, const sim_insn *in, uint32_t m) {
    const uint32_t *idx = sim_r32(w, in->a);
    EACH_LANE(m, l) {
        if (idx[l] >= in->imm)
            sim_fault(w, in, (int)l, idx[l], SIM_ERR_FAILED, "branch index out of range");
        w->lane_pc[l] = (uint32_t)in->ext[idx[l]];
    }
    save_pcs(w, w->active & ~m, w->pc + 1);
    w->diverged = true;
    select_lanes(w, 0, false);
}

static void exit_lanes(sim_warp *w, uint32_t m) {
    sim_cta *c = w->cta;
    save_pcs(w, w->active & ~m, w->pc + 1);
    w->live &= ~m;
    c->live_lanes -= (uint32_t)__builtin_popcount(m);
    w->run->progress = w->run->steps;
    if (!w->live) {
        w->done = true;
        w->active = 0;
        c->live_warps--;
        if (w->run->strict)
            sim_hb_warp_end(w);
    } else {
        w->diverged = true;
        select_lanes(w, 0, false);
    }
    for (int b = 0; b < SIM_BARRIERS; b++)
        if (c->bar[b].warps)
            sim_barrier_check(c, b);
}

static void call(sim_warp *w, const sim_insn *in, uint32_t m) {
    EACH_LANE(m, l) {
        if (w->sp[l] == SIM_CALL_DEPTH)
            sim_fault(w, in, (int)l, 0, SIM_ERR_FAILED, "call stack too deep");
        w->ret[w->sp[l]++][l] = w->pc + 1;
    }
    branch(w, in, m, (uint32_t)in->off);
}

static void ret(sim_warp *w, uint32_t m) {
    EACH_LANE(m, l) w->lane_pc[l] = w->ret[--w->sp[l]][l];
    save_pcs(w, w->active & ~m, w->pc + 1);
    w->diverged = true;
    select_lanes(w, 0, false);
}

static void barrier(sim_warp *w, const sim_insn *in, uint32_t m) {
    const uint32_t rest = w->active & ~m;
    save_pcs(w, w->active, w->pc + 1);
    w->diverged = true;
    w->active = rest;
    if (in->imm != 1)
        w->blocked |= m;
    sim_barrier_arrive(w, in, m);
    select_lanes(w, 0, false);
}

static uint32_t member_mask(const sim_warp *w, const sim_insn *in, uint32_t m) {
    const int32_t slot = in->member == 1   ? in->a
                         : in->member == 2 ? in->b
                         : in->member == 3 ? in->c
                                           : in->e;
    return in->member ? sim_r32(w, slot)[__builtin_ctz(m)] : w->live;
}

/* Runs a warp-wide instruction once every lane that its mask names has come to it. */
static void converge(sim_warp *w, const sim_insn *in, uint32_t m) {
    uint32_t parked = 0;
    EACH_LANE(w->parked, l) parked |= (uint32_t)(w->lane_pc[l] == w->pc) << l;
    const uint32_t all = m | parked, mask = member_mask(w, in, m);
    if (w->run->strict) {
        if (m & ~mask)
            sim_fault(w, in, __builtin_ctz(m & ~mask), mask, SIM_ERR_FAILED,
                      "lane is not in the member mask %08x of the instruction it executes", mask);
        const uint32_t gone = mask & ~w->live;
        if (in->member && gone && in->cls != CL_BARRIER)
            sim_fault(w, in, __builtin_ctz(gone), mask, SIM_ERR_FAILED,
                      "member mask %08x names a lane that has exited or does not exist", mask);
    }
    if (mask & w->live & ~all) { /* park until the others come */
        const uint32_t rest = w->active & ~m;
        save_pcs(w, m, w->pc);
        save_pcs(w, rest, w->pc + 1);
        w->parked |= m;
        w->diverged = true;
        select_lanes(w, 0, false);
        return;
    }
    if (parked) {
        w->parked &= ~parked;
        save_pcs(w, w->active & ~m, w->pc + 1);
        in->fn(w, in, all);
        save_pcs(w, all, w->pc + 1);
        select_lanes(w, 0, false);
        return;
    }
    in->fn(w, in, m);
    w->pc++;
    if (w->pc >= w->limit)
        yield_lanes(w);
}

/* True when the slice ends. */
static bool control(sim_warp *w, const sim_insn *in, uint32_t m) {
    if (!m && in->ctl != CTL_BRA) {
        w->pc++;
        if (w->pc >= w->limit)
            yield_lanes(w);
        return false;
    }
    switch (in->ctl) {
    case CTL_BRA:
        branch(w, in, m, (uint32_t)in->off);
        return false;
    case CTL_BRX:
        branch_indexed(w, in, m);
        return false;
    case CTL_EXIT:
        exit_lanes(w, m);
        return w->done;
    case CTL_RET:
        ret(w, m);
        return false;
    case CTL_CALL:
        call(w, in, m);
        return false;
    case CTL_BAR:
        barrier(w, in, m);
        return false;
    case CTL_SYNC:
        converge(w, in, m);
        return false;
    case CTL_YIELD:
        w->pc++;
        if (w->pc >= w->limit)
            yield_lanes(w);
        return true;
    default:
        sim_fault(w, in, __builtin_ctz(m), 0, SIM_ERR_ILLEGAL, "trap");
    }
}

sim_run_state sim_warp_run(sim_warp *w, int budget) {
    sim_runner *r = w->run;
    const sim_insn *const code = r->l->prog->code;
    sim_opstat *const stat = r->stat;
    int left = budget;
    bool stop = false;
    while (left-- > 0 && w->active && !stop) {
        const uint32_t pc = w->pc;
        const sim_insn *in = code + pc;
        uint32_t m = w->active;
        if (in->guard >= 0)
            m &= in->gneg ? ~w->p[in->guard] : w->p[in->guard];
        stat[pc].n++;
        stat[pc].lanes += (unsigned)__builtin_popcount(m);
        if (in->ctl == CTL_NONE) {
            if (m)
                in->fn(w, in, m);
            w->pc = pc + 1;
            if (w->pc >= w->limit)
                yield_lanes(w);
        } else {
            r->steps += (uint64_t)(budget - left);
            w->steps += (uint64_t)(budget - left);
            budget = left;
            stop = control(w, in, m);
        }
    }
    if (left < 0)
        left = 0;
    r->steps += (uint64_t)(budget - left);
    w->steps += (uint64_t)(budget - left);
    return w->done ? RUN_DONE : w->active ? RUN_SLICE : RUN_BLOCKED;
}
