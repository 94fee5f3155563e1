/* A CTA: its memory and registers, its barriers, one turn of all its warps. */
#include "exec.h"

#include <stdlib.h>

static void *aligned_zero(size_t n) {
    n = (n + 63) & ~(size_t)63;
    void *p = aligned_alloc(64, n ? n : 64);
    if (!p)
        abort();
    memset(p, 0, n);
    return p;
}

static void buffers(sim_runner *r, sim_cta *c) {
    const sim_launch *l = r->l;
    const sim_program *p = l->prog;
    const size_t nw = (size_t)l->warps_per_cta;
    c->nwarps = l->warps_per_cta;
    c->smem_size = p->static_shared + l->dyn_shared;
    c->warp = aligned_zero(nw * sizeof *c->warp);
    c->regs = aligned_zero(nw * (size_t)p->nslots * 4);
    c->preds = aligned_zero(nw * (size_t)p->npreds * 4);
    c->smem = aligned_zero((size_t)c->smem_size + 64);
    c->local = aligned_zero(nw * 32 * (size_t)p->local_bytes);
    if (l->strict) {
        c->local_valid = aligned_zero(nw * 32 * (size_t)p->local_bytes);
        c->svalid = aligned_zero((size_t)c->smem_size + 64);
        c->spend = aligned_zero((size_t)c->smem_size + 64);
        c->srec = aligned_zero(((size_t)c->smem_size / 4 + 16) * sizeof *c->srec);
    }
}

void sim_cta_free(sim_cta *c) {
    for (int i = 0; c->warp && i < c->nwarps; i++) {
        sim_hb_warp_end(&c->warp[i]); /* left behind when a finding ended the launch */
        free(c->warp[i].copy);
    }
    free(c->warp), free(c->regs), free(c->preds), free(c->smem), free(c->local),
        free(c->local_valid);
    free(c->svalid), free(c->spend), free(c->srec);
    memset(c, 0, sizeof *c);
}

static uint32_t special(const sim_warp *w, int id, uint32_t lane) {
    const sim_launch *l = w->run->l;
    const sim_cta *c = w->cta;
    const uint32_t t = (uint32_t)w->id * 32 + lane;
    switch (id) {
    case 0:
        return t % l->block[0];
    case 1:
        return t / l->block[0] % l->block[1];
    case 2:
        return t / l->block[0] / l->block[1];
    case 3:
    case 4:
    case 5:
        return l->block[id - 3];
    case 6:
    case 7:
    case 8:
        return c->idx[id - 6];
    case 9:
    case 10:
    case 11:
        return l->grid[id - 9];
    case 12:
        return lane;
    case 13:
        return w->id;
    case 14:
        return (uint32_t)l->warps_per_cta;
    case 15:
        return (uint32_t)(c->lin % (uint64_t)sim_opt.sms);
    case 16:
        return (uint32_t)sim_opt.sms;
    case 17:
        return 1u << lane;
    case 18:
        return (2u << lane) - 1u;
    case 19:
        return (1u << lane) - 1u;
    case 20:
        return ~0u << lane;
    case 21:
        return ~((2u << lane) - 1u);
    case 22:
        return l->dyn_shared;
    case 23:
    case 24:
        return l->prog->static_shared + l->dyn_shared;
    case 25:
        return l->serial;
    case 27:
    case 29:
        return 1;
    case 30:
        return (uint32_t)(l->grid_ws >> 32); /* cooperative groups' grid workspace */
    case 31:
        return (uint32_t)l->grid_ws;
    default:
        return 0;
    }
}

static void start_warp(sim_runner *r, sim_cta *c, int i) {
    const sim_program *p = r->l->prog;
    sim_warp *w = &c->warp[i];
    sim_copy *copy = w->copy;
    int cap = w->cap_copy;
    memset(w, 0, sizeof *w);
    w->copy = copy;
    w->cap_copy = cap;
    w->cta = c;
    w->run = r;
    w->id = (uint8_t)i;
    w->gid = (uint32_t)(c->lin * (uint64_t)c->nwarps + (uint64_t)i);
    w->r = c->regs + (size_t)i * (size_t)p->nslots;
    w->p = c->preds + (size_t)i * (size_t)p->npreds;
    w->pool = p->pool;
    w->local = c->local + (size_t)i * 32 * p->local_bytes;
    w->local_valid = c->local_valid ? c->local_valid + (size_t)i * 32 * p->local_bytes : NULL;
    w->p[0] = 0;
    w->p[1] = SIM_FULL;
    w->limit = UINT32_MAX;
    int lanes = r->l->threads_per_cta - 32 * i;
    w->live = lanes >= 32 ? SIM_FULL : (1u << lanes) - 1u;
    w->active = w->live;
    for (int k = 0; k < p->nsregs; k++)
        for (uint32_t l = 0; l < 32; l++)
            w->r[p->sreg[k].slot + (int)l] = special(w, p->sreg[k].id, l);
}

void sim_cta_start(sim_runner *r, sim_cta *c, uint64_t lin) {
    const sim_launch *l = r->l;
    const sim_program *p = l->prog;
    if (!c->warp)
        buffers(r, c);
    c->lin = lin;
    c->idx[0] = (uint32_t)(lin % l->grid[0]);
    c->idx[1] = (uint32_t)(lin / l->grid[0] % l->grid[1]);
    c->idx[2] = (uint32_t)(lin / l->grid[0] / l->grid[1]);
    c->live_warps = c->nwarps;
    c->live_lanes = (uint32_t)l->threads_per_cta;
    c->used = true;
    c->rng = sim_opt.seed * 0x9e3779b97f4a7c15ull + lin + 1;
    memset(c->bar, 0, sizeof c->bar);
    if (l->strict) {
        memset(c->local_valid, 0, (size_t)c->nwarps * 32 * p->local_bytes);
        memset(c->svalid, 0, (size_t)c->smem_size + 64);
        memset(c->spend, 0, (size_t)c->smem_size + 64);
        memset(c->srec, 0, ((size_t)c->smem_size / 4 + 16) * sizeof *c->srec);
        memset(c->seen, 0, sizeof c->seen);
        c->clock = 1;
        c->full_ts = 0;
        memset(c->smem, 0xa5, c->smem_size);
    }
    for (int i = 0; i < c->nwarps; i++)
        start_warp(r, c, i);
}

bool sim_cta_step(sim_runner *r, sim_cta *c) {
    bool any = false;
    int first = sim_opt.seed ? (int)(sim_random(&c->rng) % (uint64_t)c->nwarps) : 0;
    for (int k = 0; k < c->nwarps; k++) {
        sim_warp *w = &c->warp[(first + k) % c->nwarps];
        if (w->done || !w->active)
            continue;
        int budget = sim_opt.slice  ? sim_opt.slice
                     : sim_opt.seed ? 16 + (int)(sim_random(&c->rng) % 512)
                                    : 256;
        sim_warp_run(w, budget);
        any = true;
    }
    (void)r;
    return any;
}

/* ---- barriers ---- */

static void reduce(sim_cta *c, sim_barrier *b, int i) {
    sim_warp *w = &c->warp[i];
    const uint32_t m = b->lanes[i];
    if (b->red_kind[i] == 2) {
        for (int l = 0; l < 32; l++)
            if (m >> l & 1u)
                w->r[b->red_dst[i] + l] = b->red_count;
    } else if (b->red_kind[i] == 3) {
        sim_set_pred(w, b->red_dst[i], b->red_and ? 0 : m, m);
    } else if (b->red_kind[i] == 4) {
        sim_set_pred(w, b->red_dst[i], b->red_or ? m : 0, m);
    }
}

void sim_barrier_check(sim_cta *c, int id) {
    sim_barrier *b = &c->bar[id];
    if (b->expected ? b->arrived < b->expected : b->arrived < c->live_lanes)
        return;
    if (!b->warps && !b->expected)
        return;
    sim_runner *r = c->warp[0].run;
    if (r->strict)
        sim_hb_barrier(c, b->joined, b->warps, !b->expected);
    for (int i = 0; i < c->nwarps; i++) {
        if (!(b->warps >> i & 1u))
            continue;
        sim_warp *w = &c->warp[i];
        reduce(c, b, i);
        w->blocked &= ~b->lanes[i];
        if (!w->active)
            sim_warp_reselect(w);
    }
    r->progress = r->steps;
    memset(b, 0, sizeof *b);
}

static void first_line(sim_barrier *b, sim_warp *w, const sim_insn *in, uint32_t count) {
    if (b->joined && b->expected != count)
        sim_fault(w, in, -1, 0, SIM_ERR_FAILED,
                  "barrier waits for %u threads, this instruction says %u", b->expected, count);
    if (w->run->strict && b->joined && !count && b->line != (uint32_t)in->src->line)
        sim_fault(w, in, -1, 0, SIM_ERR_FAILED,
                  "warps of the CTA wait at different barriers: this one and PTX line %u", b->line);
    b->expected = count;
    b->line = (uint32_t)in->src->line;
}

void sim_barrier_arrive(sim_warp *w, const sim_insn *in, uint32_t m) {
    sim_cta *c = w->cta;
    const uint32_t lane = (uint32_t)__builtin_ctz(m), id = sim_r32(w, in->a)[lane];
    const uint32_t count = in->b ? sim_r32(w, in->b)[lane] : 0;
    if (id >= SIM_BARRIERS)
        sim_fault(w, in, (int)lane, id, SIM_ERR_FAILED, "barrier number out of range");
    if (in->b && (!count || count % 32))
        sim_fault(w, in, (int)lane, count, SIM_ERR_FAILED,
                  "barrier thread count is not a multiple of 32");
    if (w->run->strict && in->vec && m != w->live)
        sim_fault(
            w, in, __builtin_ctz(w->live & ~m), id, SIM_ERR_FAILED,
            "barrier reached by lanes %08x while live lanes %08x of the warp are on another path",
            m, w->live & ~m);
    sim_barrier *b = &c->bar[id];
    first_line(b, w, in, count);
    b->joined |= 1u << w->id;
    b->arrived += count && in->vec ? 32 : (uint32_t)__builtin_popcount(m);
    if (in->imm != 1) {
        b->warps |= 1u << w->id;
        b->lanes[w->id] |= m;
    }
    if (in->imm >= 2) {
        uint32_t p = sim_pred(w, in->c);
        p = (in->neg ? ~p : p) & m;
        b->red_and |= p != m; /* some lane is false */
        b->red_or |= p != 0;
        b->red_count += (uint32_t)__builtin_popcount(p);
        b->red_dst[w->id] = in->d;
        b->red_kind[w->id] = (uint8_t)in->imm;
    }
    sim_barrier_check(c, (int)id);
}
