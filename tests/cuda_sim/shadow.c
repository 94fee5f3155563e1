/* Races. Shared and global memory have a record for each 4-byte word: the last writer, the readers
 * since, and when, in the CTA's clock, which advances at every synchronisation. An access is
 * ordered after another one when the warp has seen the other warp's clock go past it (hb.c).
 *
 * A record holds one writer with a byte mask: bytes of one word written by several warps lose all
 * but the last writer. That can miss a race on sub-word data; it never invents one. */
#include "exec.h"

#define MANY 32u /* several lanes */

static void race(sim_warp *w, const sim_insn *in, int lane, uint64_t addr, const char *kind,
                 const char *space, uint32_t warp, uint32_t other) {
    char who[64];
    if (other < MANY)
        snprintf(who, sizeof who, "warp %u lane %u", warp, other);
    else
        snprintf(who, sizeof who, "warp %u", warp);
    sim_fault(w, in, lane, addr, SIM_ERR_FAILED, "%s race in %s memory with %s", kind, space, who);
}

static unsigned byte_mask(uint32_t off, unsigned n) {
    if (n >= 4)
        return 15u;
    return ((1u << n) - 1u) << (off & 3u);
}

/* Unordered access of another lane of this warp? Lanes are ordered by bar.warp.sync only. */
static bool lane_conflict(const sim_warp *w, uint32_t other, uint32_t ts, int lane, unsigned n) {
    if (ts <= w->sync_ts)
        return false;
    return other == MANY ? n >= 4 : other != (uint32_t)lane;
}

static void shared_check(sim_warp *w, const sim_insn *in, int lane, uint32_t off, unsigned n,
                         unsigned bm, bool write, bool atomic) {
    sim_cta *c = w->cta;
    sim_srec *s = &c->srec[off >> 2];
    const bool was_atomic = s->wbm & 0x80u;
    if ((s->wbm & bm) && !(atomic && was_atomic)) {
        if (s->wwarp != w->id) {
            if (s->wts > c->seen[w->id][s->wwarp])
                race(w, in, lane, off, write ? "write-after-write" : "read-after-write", "shared",
                     s->wwarp, s->wlane);
        } else if (lane_conflict(w, s->wlane, s->wts, lane, n)) {
            race(w, in, lane, off, write ? "write-after-write" : "read-after-write",
                 "shared (lanes without bar.warp.sync)", s->wwarp, s->wlane);
        }
    }
    if (s->rts <= c->full_ts)
        s->rmask = 0; /* a barrier of the whole CTA came since */
    if (write && s->rmask) {
        uint32_t others = s->rmask & ~(1u << w->id);
        EACH_LANE(others, v) {
            if (s->rts > c->seen[w->id][v])
                race(w, in, lane, off, "write-after-read", "shared", v, MANY);
        }
        if ((s->rmask >> w->id & 1u) && !others && s->rlane != MANY && s->rlane != (uint32_t)lane &&
            s->rts > w->sync_ts)
            race(w, in, lane, off, "write-after-read", "shared (lanes without bar.warp.sync)",
                 w->id, s->rlane);
    }
}

static void shared_note(sim_warp *w, int lane, uint32_t off, unsigned bm, bool write, bool atomic) {
    sim_cta *c = w->cta;
    sim_srec *s = &c->srec[off >> 2];
    if (write) {
        const bool same = s->wwarp == w->id && s->wts == c->clock && (s->wbm & 15u);
        s->wlane = same && s->wlane != lane ? MANY : (uint8_t)lane;
        s->wbm = (uint8_t)((same ? s->wbm & 15u : 0u) | bm | (atomic ? 0x80u : 0u));
        s->wwarp = w->id;
        s->wts = c->clock;
        if (!same || !atomic)
            s->rmask = 0;
    } else if (!atomic) {
        s->rlane = s->rmask && (s->rlane != lane || s->rmask != 1u << w->id) ? MANY : (uint8_t)lane;
        s->rmask |= 1u << w->id;
        s->rts = c->clock;
    }
}

void sim_shared_access(sim_warp *w, const sim_insn *in, sim_phase ph, int lane, uint32_t off,
                       unsigned n, bool write, bool atomic) {
    for (uint32_t o = off & ~3u; o < off + n; o += 4)
        if (ph == SIM_CHECK)
            shared_check(w, in, lane, o, n, byte_mask(off, n), write, atomic);
        else
            shared_note(w, lane, o, byte_mask(off, n), write, atomic);
}

static bool known_before(const sim_warp *w, uint32_t id, uint32_t ts) {
    return sim_hb_ordered(w, id - 1, ts);
}

static void global_race(sim_warp *w, const sim_insn *in, int lane, uint64_t addr, const char *kind,
                        uint32_t id) {
    const uint32_t per = (uint32_t)w->cta->nwarps, g = id - 1;
    if (g / per == w->cta->lin)
        sim_fault(w, in, lane, addr, SIM_ERR_FAILED,
                  "%s race in global memory with warp %u of the same CTA", kind, g % per);
    sim_fault(w, in, lane, addr, SIM_ERR_FAILED,
              "%s race in global memory with CTA %u warp %u: no acquire/release between", kind,
              g / per, g % per);
}

static sim_grec *record(const sim_warp *w, uint64_t addr) {
    sim_grec *s = &sim_mem.rec[(addr - SIM_DEV_BASE) >> 2];
    if (s->launch != w->run->l->serial) {
        memset(s, 0, sizeof *s);
        s->launch = w->run->l->serial;
    }
    return s;
}

static void global_check(sim_warp *w, const sim_insn *in, int lane, uint64_t addr, unsigned n,
                         unsigned bm, bool write, bool strong) {
    const sim_grec *s = record(w, addr);
    const uint32_t me = w->gid + 1;
    const bool was_strong = s->strong & 1u;
    if (s->wid && (s->wbm & bm)) {
        if ((in->flags & MF_NC) && !write)
            sim_fault(w, in, lane, addr, SIM_ERR_FAILED,
                      "ld.global.nc of data that this launch has written");
        if (!(strong && was_strong)) {
            const char *kind = write ? "write-after-write" : "read-after-write";
            if (s->wid != me && !known_before(w, s->wid, s->wts))
                global_race(w, in, lane, addr, kind, s->wid);
            if (s->wid == me && lane_conflict(w, s->wlane, s->wts, lane, n))
                sim_fault(
                    w, in, lane, addr, SIM_ERR_FAILED,
                    "%s race in global memory between lanes of one warp without bar.warp.sync",
                    kind);
        }
    }
    for (int k = 0; write && k < 2; k++)
        if (s->rid[k] && s->rid[k] != me && !known_before(w, s->rid[k], s->rts[k]))
            global_race(w, in, lane, addr, "write-after-read", s->rid[k]);
}

static void global_note(sim_warp *w, const sim_insn *in, int lane, uint64_t addr, unsigned bm,
                        bool write, bool strong) {
    sim_grec *s = record(w, addr);
    const uint32_t me = w->gid + 1;
    uint32_t now = w->cta->clock;
    /* A relaxed write behind a fence is the tail of a release: who acquires it is after the write
     * too. */
    if (write && strong && w->fence && w->fence->t[w->gid] < now && !(in->flags & MF_RELEASE))
        now = w->fence->t[w->gid];
    if (write) {
        const bool same = s->wid == me && s->wts == now;
        s->wlane = same && s->wlane != lane ? MANY : (uint8_t)lane;
        s->wbm = (uint8_t)((same ? s->wbm : 0u) | bm);
        s->wid = me;
        s->wts = now;
        s->strong = strong;
        s->rid[0] = s->rid[1] = 0;
    } else if (!strong && !(in->flags & MF_NC)) {
        /* the two latest readers of different CTAs, at least */
        const uint32_t per = (uint32_t)w->cta->nwarps;
        int k = s->rid[0] == me || !s->rid[0]           ? 0
                : s->rid[1] == me || !s->rid[1]         ? 1
                : (s->rid[0] - 1) / per == w->gid / per ? 0
                                                        : 1;
        s->rid[k] = me;
        s->rts[k] = now;
    } else if (in->flags & MF_NC) {
        s->rid[0] = me;
        s->rts[0] = now;
    }
}

void sim_global_access(sim_warp *w, const sim_insn *in, sim_phase ph, int lane, uint64_t addr,
                       unsigned n, bool write, bool strong) {
    for (uint64_t a = addr & ~3ull; a < addr + n; a += 4)
        if (ph == SIM_CHECK)
            global_check(w, in, lane, a, n, byte_mask((uint32_t)addr, n), write, strong);
        else
            global_note(w, in, lane, a, byte_mask((uint32_t)addr, n), write, strong);
}
