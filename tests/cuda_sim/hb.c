/* Happens-before at the granularity of warps. Inside a CTA a matrix seen[v][r]: up to which tick of
 * the CTA's clock v is ordered after r. Between CTAs vectors over all warps of the grid, made only
 * where something is released: a release stores the warp's knowledge at an address, an acquire
 * joins it. */
#include "exec.h"

#include <stdlib.h>

#define TABLE     4096
#define MAX_WARPS 65536u

typedef struct released {
    struct released *next;
    uint64_t addr;
    sim_vc *vc;
} released;
struct sim_sync {
    released *tab[TABLE];
};

static sim_vc *vc_new(uint32_t n) {
    sim_vc *v = calloc(1, sizeof *v + (size_t)n * sizeof v->t[0]);
    if (!v)
        abort();
    v->refs = 1;
    v->n = n;
    return v;
}
static void vc_drop(sim_vc *v) {
    if (v && !--v->refs)
        free(v);
}
static sim_vc *vc_keep(sim_vc *v) {
    if (v)
        v->refs++;
    return v;
}
/* *dst = *dst joined with v; shares v where *dst knows nothing more. */
static void vc_join(sim_vc **dst, sim_vc *v) {
    if (!v || *dst == v)
        return;
    if (!*dst) {
        *dst = vc_keep(v);
        return;
    }
    sim_vc *d = *dst;
    if (d->refs > 1) {
        d = vc_new(v->n);
        memcpy(d->t, (*dst)->t, (size_t)v->n * sizeof v->t[0]);
        vc_drop(*dst);
        *dst = d;
    }
    for (uint32_t i = 0; i < v->n; i++)
        d->t[i] = v->t[i] > d->t[i] ? v->t[i] : d->t[i];
}

void sim_hb_begin(sim_launch *l) {
    uint64_t n = l->ncta * (uint64_t)l->warps_per_cta;
    l->vc_on = l->prog->communicates && n <= MAX_WARPS;
    l->nwarps_grid = (uint32_t)n;
    l->sync = l->vc_on ? calloc(1, sizeof *l->sync) : NULL;
    if (l->prog->communicates && !l->vc_on)
        sim_complain("%s: %llu warps, ordering between CTAs is not followed", l->prog->name,
                     (unsigned long long)n);
}

void sim_hb_end(sim_launch *l) {
    for (int i = 0; l->sync && i < TABLE; i++)
        while (l->sync->tab[i]) {
            released *r = l->sync->tab[i];
            l->sync->tab[i] = r->next;
            vc_drop(r->vc);
            free(r);
        }
    free(l->sync);
    l->sync = NULL;
}

void sim_hb_warp_end(sim_warp *w) {
    vc_drop(w->known), vc_drop(w->fence), vc_drop(w->pending);
    w->known = w->fence = w->pending = NULL;
}

bool sim_hb_ordered(const sim_warp *w, uint32_t gid, uint32_t ts) {
    const sim_cta *c = w->cta;
    const uint32_t first = (uint32_t)c->lin * (uint32_t)c->nwarps;
    if (gid - first < (uint32_t)c->nwarps)
        return ts <= c->seen[w->id][gid - first];
    if (w->run->l->prog->communicates && !w->run->l->vc_on)
        return true; /* said once in hb_begin */
    return w->known && gid < w->known->n && w->known->t[gid] >= ts;
}

/* What w knows now, its own past included. */
static sim_vc *snapshot(sim_warp *w) {
    sim_cta *c = w->cta;
    sim_vc *v = vc_new(w->run->l->nwarps_grid);
    if (w->known)
        memcpy(v->t, w->known->t, (size_t)v->n * sizeof v->t[0]);
    const uint32_t first = (uint32_t)c->lin * (uint32_t)c->nwarps;
    for (int i = 0; i < c->nwarps; i++)
        v->t[first + (uint32_t)i] = c->seen[w->id][i];
    v->t[w->gid] = c->clock;
    c->clock++; /* what comes later is not covered */
    return v;
}

static void learn(sim_warp *w, sim_vc *v) {
    sim_cta *c = w->cta;
    if (!v)
        return;
    vc_join(&w->known, v);
    const uint32_t first = (uint32_t)c->lin * (uint32_t)c->nwarps;
    for (int i = 0; i < c->nwarps; i++)
        if (i != w->id && v->t[first + (uint32_t)i] > c->seen[w->id][i])
            c->seen[w->id][i] = v->t[first + (uint32_t)i];
}

void sim_hb_barrier(sim_cta *c, uint32_t from, uint32_t to, bool full) {
    uint32_t know[SIM_MAX_WARPS] = {0};
    sim_vc *all = NULL;
    EACH_LANE(from, v) {
        for (int i = 0; i < c->nwarps; i++)
            know[i] = c->seen[v][i] > know[i] ? c->seen[v][i] : know[i];
        vc_join(&all, c->warp[v].known);
    }
    EACH_LANE(from, v) know[v] = c->clock;
    EACH_LANE(to, v) {
        for (int i = 0; i < c->nwarps; i++)
            c->seen[v][i] = know[i] > c->seen[v][i] ? know[i] : c->seen[v][i];
        c->warp[v].sync_ts = c->clock;
        if (all && c->warp[v].known != all) {
            vc_drop(c->warp[v].known);
            c->warp[v].known = vc_keep(all);
        }
    }
    vc_drop(all);
    if (full)
        c->full_ts = c->clock;
    c->clock++;
}

void sim_hb_warpsync(sim_warp *w) {
    w->sync_ts = w->cta->clock;
    w->cta->clock++;
}

/* Key of a synchronising address: shared memory has a place of its own in each CTA. */
uint64_t sim_hb_key(const sim_warp *w, uint64_t addr, int space) {
    if (space == SP_SHARED)
        return 1ull << 63 | w->cta->lin << 24 | (addr & 0xffffffu);
    if (addr - SIM_SHARED_BASE < SIM_WINDOW)
        return 1ull << 63 | w->cta->lin << 24 | (addr - SIM_SHARED_BASE);
    return addr;
}

static released *place(sim_launch *l, uint64_t addr, bool make) {
    released **q = &l->sync->tab[(addr >> 2) * 0x9e3779b97f4a7c15ull >> 52];
    while (*q && (*q)->addr != addr)
        q = &(*q)->next;
    if (!*q && make) {
        *q = calloc(1, sizeof **q);
        if (!*q)
            abort();
        (*q)->addr = addr;
    }
    return *q;
}

/* A strong write: with release it publishes what the warp knows, else what its last fence covered.
 * A read-modify-write continues the release sequence, a plain store ends it. */
void sim_hb_release(sim_warp *w, uint64_t addr, unsigned flags, bool rmw) {
    sim_launch *l = w->run->l;
    if (!l->vc_on)
        return;
    released *r = place(l, addr, true);
    if (!rmw) {
        vc_drop(r->vc);
        r->vc = NULL;
    }
    if (flags & MF_RELEASE) {
        sim_vc *v = snapshot(w);
        vc_join(&r->vc, v);
        vc_drop(v);
    } else {
        vc_join(&r->vc, w->fence);
    }
}

void sim_hb_acquire(sim_warp *w, uint64_t addr, unsigned flags) {
    sim_launch *l = w->run->l;
    if (!l->vc_on)
        return;
    released *r = place(l, addr, false);
    if (!r || !r->vc)
        return;
    if (flags & MF_ACQUIRE)
        learn(w, r->vc);
    else
        vc_join(&w->pending, r->vc); /* ordered once a fence follows */
}

void sim_hb_fence(sim_warp *w) {
    if (!w->run->l->vc_on)
        return;
    learn(w, w->pending);
    vc_drop(w->pending);
    w->pending = NULL;
    vc_drop(w->fence);
    w->fence = snapshot(w);
    w->sync_ts = w->cta->clock - 1;
}
