/* Device memory: an arena of reserved address space, red zones between allocations, freed ranges
 * not reused while there is room, and (strict) a shadow of written bytes and of accesses. */
#define _GNU_SOURCE
#include "sim.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

sim_memory sim_mem = {.lock = PTHREAD_MUTEX_INITIALIZER};

#define GRAIN 256u
#define RED   256u

static void *reserve(uint64_t n) {
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

int sim_mem_init(void) {
    if (sim_mem.arena)
        return 0;
    uint64_t size = (sim_opt.memory * 2 + (64u << 20)) & ~(uint64_t)4095;
    sim_mem.arena = reserve(size);
    sim_mem.valid = reserve(size);
    if (!sim_mem.arena || !sim_mem.valid)
        return -1;
    sim_mem.arena_size = size;
    sim_mem.limit = sim_opt.memory;
    sim_mem.top = RED;
    return 0;
}

/* The records of accesses take eight times the arena's address space: only strict launches need
 * them. */
bool sim_mem_records(void) {
    if (!sim_mem.rec)
        sim_mem.rec = reserve(sim_mem.arena_size / 4 * sizeof(sim_grec));
    return sim_mem.rec != NULL;
}

static void forget(void *p, uint64_t n) {
    uintptr_t a = ((uintptr_t)p + 4095) & ~(uintptr_t)4095,
              b = ((uintptr_t)p + n) & ~(uintptr_t)4095;
    if (b > a)
        madvise((void *)a, b - a, MADV_DONTNEED);
}

/* Everything is freed: the context is gone. */
void sim_mem_reset(void) {
    pthread_mutex_lock(&sim_mem.lock);
    if (sim_mem.arena) {
        munmap(sim_mem.arena, sim_mem.arena_size);
        munmap(sim_mem.valid, sim_mem.arena_size);
        if (sim_mem.rec)
            munmap(sim_mem.rec, sim_mem.arena_size / 4 * sizeof(sim_grec));
    }
    free(sim_mem.a);
    sim_mem.arena = sim_mem.valid = NULL;
    sim_mem.rec = NULL;
    sim_mem.a = NULL;
    sim_mem.n = sim_mem.cap = 0;
    sim_mem.used = sim_mem.top = 0;
    pthread_mutex_unlock(&sim_mem.lock);
}

static size_t first_above(uint64_t addr) {
    size_t lo = 0, hi = sim_mem.n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (sim_mem.a[mid].lo <= addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool insert(uint64_t lo, uint64_t size, bool module) {
    if (sim_mem.n == sim_mem.cap) {
        size_t cap = sim_mem.cap ? sim_mem.cap * 2 : 64;
        sim_alloc *a = realloc(sim_mem.a, cap * sizeof *a);
        if (!a)
            return false;
        sim_mem.a = a;
        sim_mem.cap = cap;
    }
    size_t at = first_above(lo);
    memmove(sim_mem.a + at + 1, sim_mem.a + at, (sim_mem.n - at) * sizeof *sim_mem.a);
    sim_mem.a[at] =
        (sim_alloc){.lo = lo, .size = size, .module = module, .serial = ++sim_mem.serial};
    sim_mem.n++;
    return true;
}

/* The arena is used up: drop the freed ranges and take the first gap that fits. */
static uint64_t reuse(uint64_t need) {
    size_t k = 0;
    for (size_t i = 0; i < sim_mem.n; i++)
        if (!sim_mem.a[i].freed)
            sim_mem.a[k++] = sim_mem.a[i];
    sim_mem.n = k;
    uint64_t at = SIM_DEV_BASE + RED;
    for (size_t i = 0; i < k; i++) {
        if (sim_mem.a[i].lo - at >= need)
            return at;
        at = (sim_mem.a[i].lo + sim_mem.a[i].size + RED + GRAIN - 1) & ~(uint64_t)(GRAIN - 1);
    }
    return SIM_DEV_BASE + sim_mem.arena_size - at >= need ? at : 0;
}

uint64_t sim_mem_alloc(uint64_t size, bool module) {
    uint64_t addr = 0;
    pthread_mutex_lock(&sim_mem.lock);
    if (size && size <= sim_mem.limit && sim_mem.used <= sim_mem.limit - size) {
        uint64_t need = ((size + GRAIN - 1) & ~(uint64_t)(GRAIN - 1)) + RED;
        if (sim_mem.arena_size - sim_mem.top >= need) {
            addr = SIM_DEV_BASE + sim_mem.top;
            sim_mem.top += need;
        } else {
            addr = reuse(need);
        }
        if (addr && insert(addr, size, module))
            sim_mem.used += size;
        else
            addr = 0;
    }
    pthread_mutex_unlock(&sim_mem.lock);
    return addr;
}

bool sim_mem_free(uint64_t addr) {
    bool ok = false;
    pthread_mutex_lock(&sim_mem.lock);
    size_t at = first_above(addr);
    if (at > 0 && sim_mem.a[at - 1].lo == addr && !sim_mem.a[at - 1].freed) {
        sim_alloc *a = &sim_mem.a[at - 1];
        uint64_t off = addr - SIM_DEV_BASE;
        a->freed = true;
        sim_mem.used -= a->size;
        memset(sim_mem.valid + off, 0, a->size < 65536 ? a->size : 65536);
        if (a->size >= 65536) {
            memset(sim_mem.valid + off, 0, a->size);
            forget(sim_mem.valid + off, a->size);
        }
        forget(sim_mem.arena + off, a->size);
        ok = true;
    }
    pthread_mutex_unlock(&sim_mem.lock);
    return ok;
}

const sim_alloc *sim_mem_find(uint64_t addr, uint64_t n, char *why, size_t nwhy) {
    size_t at = first_above(addr);
    const sim_alloc *a = at > 0 ? &sim_mem.a[at - 1] : NULL;
    if (a && !a->freed && addr - a->lo <= a->size && n <= a->size - (addr - a->lo) &&
        (n || addr - a->lo < a->size))
        return a;
    if (!why)
        return NULL;
    if (addr < SIM_DEV_BASE || addr >= SIM_DEV_BASE + sim_mem.arena_size) {
        snprintf(why, nwhy, "no device memory there");
    } else if (a && a->freed && addr - a->lo < a->size) {
        snprintf(why, nwhy, "use after free: byte %llu of freed allocation #%u of %llu bytes",
                 (unsigned long long)(addr - a->lo), a->serial, (unsigned long long)a->size);
    } else if (a && addr - a->lo < a->size + RED + GRAIN) {
        snprintf(why, nwhy, "out of bounds: byte %llu of %sallocation #%u of %llu bytes",
                 (unsigned long long)(addr - a->lo), a->freed ? "freed " : "", a->serial,
                 (unsigned long long)a->size);
    } else if (at < sim_mem.n && sim_mem.a[at].lo - addr < RED + GRAIN) {
        snprintf(why, nwhy, "out of bounds: %llu bytes before allocation #%u of %llu bytes",
                 (unsigned long long)(sim_mem.a[at].lo - addr), sim_mem.a[at].serial,
                 (unsigned long long)sim_mem.a[at].size);
    } else {
        snprintf(why, nwhy, "no allocation there");
    }
    return NULL;
}

void sim_mem_mark(uint64_t addr, uint64_t n, int valid) {
    memset(sim_mem.valid + (addr - SIM_DEV_BASE), valid, n);
}
