/* A launch: limits, occupancy, residency, host threads, deadlock. */
#define _POSIX_C_SOURCE 200809L
#include "exec.h"

#include <stdlib.h>
#include <time.h>

/* ---- device limits by compute capability ---- */

uint32_t sim_max_shared(void) /* per CTA with opt-in */
{
    switch (sim_opt.cc) {
    case 75:
        return 64 * 1024;
    case 80:
        return 163 * 1024;
    case 90:
    case 100:
        return 227 * 1024;
    default:
        return 99 * 1024;
    }
}

uint32_t sim_sm_shared(void) {
    switch (sim_opt.cc) {
    case 75:
        return 64 * 1024;
    case 80:
        return 164 * 1024;
    case 90:
    case 100:
        return 228 * 1024;
    default:
        return 100 * 1024;
    }
}

static int sm_threads(void) {
    return sim_opt.cc == 75                       ? 1024
           : sim_opt.cc == 80 || sim_opt.cc >= 90 ? (sim_opt.cc == 120 ? 1536 : 2048)
                                                  : 1536;
}

static int sm_ctas(void) {
    return sim_opt.cc == 75 || sim_opt.cc == 86    ? 16
           : sim_opt.cc == 89 || sim_opt.cc == 120 ? 24
                                                   : 32;
}

int sim_occupancy(const sim_program *p, int threads, uint32_t dyn) {
    int warps = (threads + 31) / 32;
    if (threads <= 0 || threads > 1024)
        return 0;
    int by_threads = sm_threads() / (warps * 32);
    int regs_warp = (p->nregs * 32 + 255) & ~255; /* allocated 256 at a time */
    int by_regs = 65536 / regs_warp / warps;
    uint32_t shared = p->static_shared + dyn + (sim_opt.cc >= 80 ? 1024 : 0);
    shared = (shared + 127) & ~127u;
    int by_shared = shared ? (int)(sim_sm_shared() / shared) : 1 << 20;
    int n = by_threads < by_regs ? by_threads : by_regs;
    n = by_shared < n ? by_shared : n;
    return n < sm_ctas() ? n : sm_ctas();
}

/* ---- running ---- */

static uint64_t take(sim_launch *l) {
    return __atomic_fetch_add(&l->next_cta, 1, __ATOMIC_RELAXED);
}

static void spin_report(sim_runner *r, const char *what) {
    const sim_launch *l = r->l;
    for (sim_cta *c = r->list; c; c = c->next)
        for (int i = 0; c->used && i < c->nwarps; i++) {
            sim_warp *w = &c->warp[i];
            if (w->done)
                continue;
            uint32_t lanes = w->live;
            uint32_t lane = (uint32_t)__builtin_ctz(w->active ? w->active : lanes);
            uint32_t pc = w->active ? w->pc : w->lane_pc[lane] - (w->blocked >> lane & 1u);
            uint64_t waiting = l->ncta > l->next_cta ? l->ncta - l->next_cta : 0;
            /* A spinning warp says more than one that waits for it. */
            if (!w->cycling && r->steps) {
                bool other = false;
                for (int k = 0; k < c->nwarps; k++)
                    other |= !c->warp[k].done && c->warp[k].cycling;
                if (other)
                    continue;
            }
            sim_fault(
                w, &l->prog->code[pc], (int)lane, w->cycling ? w->last_addr : 0, SIM_ERR_TIMEOUT,
                "%s: %s; %d CTAs are resident (%d SMs x %d), %llu CTAs wait for a place", what,
                w->cycling  ? "warp spins with unchanging state"
                : w->parked ? "lanes wait for lanes of their member mask that never come"
                            : "live lanes wait at a barrier that others never reach",
                r->nresident, sim_opt.sms, l->occupancy, (unsigned long long)waiting);
        }
}

void sim_deadlock(sim_runner *r) {
    spin_report(r, "deadlock");
}

static bool all_stuck(const sim_runner *r) {
    for (const sim_cta *c = r->list; c; c = c->next)
        for (int i = 0; c->used && i < c->nwarps; i++) {
            const sim_warp *w = &c->warp[i];
            if (!w->done && w->active && !(w->cycling && w->spin_epoch == r->progress))
                return false;
        }
    return true;
}

static void watch(sim_runner *r) {
    if (r->steps - r->progress < 1000000)
        return;
    if (all_stuck(r))
        sim_deadlock(r);
    if (r->steps - r->progress > sim_opt.watchdog)
        spin_report(r, "watchdog: no progress for too many instructions");
}

/* CTAs that cannot see each other: one after the other, on as many host threads as there are. */
static void run_independent(sim_runner *r) {
    sim_cta *c = r->list;
    for (uint64_t k; !r->l->failed && (k = take(r->l)) < r->l->ncta;) {
        sim_cta_start(r, c, k);
        r->progress = r->steps;
        while (c->live_warps && !r->l->failed) {
            if (!sim_cta_step(r, c))
                sim_deadlock(r);
            watch(r);
        }
        c->used = false;
    }
}

/* CTAs that communicate: one host thread, the resident ones in turn. */
static void run_resident(sim_runner *r) {
    sim_launch *l = r->l;
    int live = 0;
    for (sim_cta *c = r->list; c; c = c->next) {
        uint64_t k = take(l);
        if (k < l->ncta) {
            sim_cta_start(r, c, k);
            live++;
        }
    }
    while (live) {
        for (sim_cta *c = r->list; c; c = c->next) {
            if (!c->used)
                continue;
            r->nresident = live;
            if (!sim_cta_step(r, c))
                sim_deadlock(r);
            if (!c->live_warps) {
                c->used = false;
                live--;
                uint64_t k = take(l);
                if (k < l->ncta) {
                    sim_cta_start(r, c, k);
                    live++;
                }
            }
        }
        watch(r);
    }
}

static sim_runner *new_runner(sim_launch *l, int ctas) {
    sim_runner *r = calloc(1, sizeof *r);
    size_t n = (size_t)l->prog->ncode;
    if (!r)
        abort();
    r->l = l;
    r->strict = l->strict;
    r->alloc_lo = ~0ull;
    r->stat = calloc(n, sizeof *r->stat);
    r->mem = calloc(n, sizeof *r->mem);
    r->nresident = ctas;
    r->rng = sim_opt.seed;
    sim_cta **tail = &r->list;
    for (int i = 0; i < ctas; i++) {
        *tail = aligned_alloc(64, (sizeof **tail + 63) & ~(size_t)63);
        if (!*tail)
            abort();
        memset(*tail, 0, sizeof **tail);
        tail = &(*tail)->next;
    }
    if (sim_opt.seed && ctas > 1) { /* another order of the resident CTAs */
        uint64_t rng = sim_opt.seed;
        for (uint64_t k = sim_random(&rng) % (uint64_t)ctas; k; k--) {
            sim_cta *head = r->list, **t = &r->list;
            r->list = head->next;
            head->next = NULL;
            while (*t)
                t = &(*t)->next;
            *t = head;
        }
    }
    return r;
}

static void merge_and_free(sim_runner *r) {
    sim_launch *l = r->l;
    pthread_mutex_lock(&l->lock);
    for (int i = 0; i < l->prog->ncode; i++) {
        l->stat[i].n += r->stat[i].n;
        l->stat[i].lanes += r->stat[i].lanes;
        sim_memstat *d = &l->mem[i];
        const sim_memstat *s = &r->mem[i];
        d->greq += s->greq, d->sectors += s->sectors, d->sectors_ideal += s->sectors_ideal;
        d->gbytes += s->gbytes, d->sreq += s->sreq, d->waves += s->waves;
        d->waves_ideal += s->waves_ideal, d->sbytes += s->sbytes;
    }
    l->total += r->steps;
    pthread_mutex_unlock(&l->lock);
    while (r->list) {
        sim_cta *c = r->list;
        r->list = c->next;
        sim_cta_free(c);
        free(c);
    }
    free(r->stat);
    free(r->mem);
    free(r);
}

static void guarded(sim_runner *r) {
    if (!setjmp(r->fail)) {
        if (r->l->parallel)
            run_independent(r);
        else
            run_resident(r);
    }
}

static void *thread_main(void *arg) {
    guarded(arg);
    return NULL;
}

static void run_threads(sim_launch *l) {
    enum { MAX = 64 };
    pthread_t t[MAX];
    sim_runner *r[MAX] = {0};
    int n = l->parallel ? sim_opt.threads : 1;
    n = n > MAX ? MAX : n < 1 ? 1 : n;
    if ((uint64_t)n > l->ncta)
        n = (int)l->ncta;
    int resident = l->parallel ? 1 : l->resident;
    for (int i = 0; i < n; i++)
        r[i] = new_runner(l, resident);
    int made = 0;
    for (int i = 1; i < n; i++, made++)
        if (pthread_create(&t[i], NULL, thread_main, r[i]))
            break;
    guarded(r[0]);
    for (int i = 1; i <= made; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < n; i++)
        merge_and_free(r[i]);
}

int sim_run(sim_launch *l) {
    struct timespec a, b;
    static uint32_t serial;
    l->serial = ++serial;
    l->threads_per_cta = (int)(l->block[0] * l->block[1] * l->block[2]);
    l->warps_per_cta = (l->threads_per_cta + 31) / 32;
    l->ncta = (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
    l->occupancy = sim_occupancy(l->prog, l->threads_per_cta, l->dyn_shared);
    uint64_t places = (uint64_t)l->occupancy * (uint64_t)sim_opt.sms;
    l->resident = (int)(places < l->ncta ? places : l->ncta);
    l->parallel = !l->strict && !l->prog->communicates && !l->cooperative;
    l->stat = calloc((size_t)l->prog->ncode, sizeof *l->stat);
    l->mem = calloc((size_t)l->prog->ncode, sizeof *l->mem);
    if (!l->stat || !l->mem)
        abort();
    pthread_mutex_init(&l->lock, NULL);
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (l->strict)
        sim_hb_begin(l);
    run_threads(l);
    if (l->strict)
        sim_hb_end(l);
    clock_gettime(CLOCK_MONOTONIC, &b);
    l->seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    sim_report_launch(l);
    free(l->stat);
    free(l->mem);
    l->stat = NULL;
    l->mem = NULL;
    pthread_mutex_destroy(&l->lock);
    return l->error;
}
