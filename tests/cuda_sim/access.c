#include "access.h"

static _Noreturn void global_fault(sim_warp *w, const sim_insn *in, int lane, uint64_t addr,
                                   unsigned n, unsigned how) {
    char why[160];
    const char *verb = how & ACC_WRITE ? "write" : "read";
    if (addr & (n - 1))
        sim_fault(w, in, lane, addr, SIM_ERR_MISALIGNED, "misaligned global %s of %u bytes", verb,
                  n);
    sim_mem_find(addr, n, why, sizeof why);
    sim_fault(w, in, lane, addr, SIM_ERR_ADDRESS, "global %s of %u bytes, %s", verb, n, why);
}

static void check_valid(sim_warp *w, const sim_insn *in, uint32_t l, uint64_t shown,
                        const uint8_t *v, unsigned n, const char *space) {
    for (unsigned k = 0; k < n; k++)
        if (!v[k])
            sim_fault(w, in, (int)l, shown + k, SIM_ERR_FAILED, "read of uninitialised %s memory",
                      space);
}

static void strict_global(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                          unsigned n, unsigned how) {
    const bool write = (how & ACC_WRITE) != 0, strong = (how & ACC_STRONG) != 0;
    EACH_LANE(m, l) {
        if (how & ACC_READ)
            check_valid(w, in, l, addr[l], sim_mem.valid + (addr[l] - SIM_DEV_BASE), n, "global");
        sim_global_access(w, in, SIM_CHECK, (int)l, addr[l], n, write, strong);
    }
    EACH_LANE(m, l) {
        if (write)
            memset(sim_mem.valid + (addr[l] - SIM_DEV_BASE), 1, n);
        sim_global_access(w, in, SIM_NOTE, (int)l, addr[l], n, write, strong);
    }
}

static void strict_shared(sim_warp *w, const sim_insn *in, uint32_t m, const uint32_t *off,
                          unsigned n, unsigned how) {
    sim_cta *c = w->cta;
    const bool write = (how & ACC_WRITE) != 0, strong = (how & ACC_STRONG) != 0;
    EACH_LANE(m, l) {
        for (unsigned k = 0; k < n; k++)
            if (c->spend[off[l] + k])
                sim_fault(w, in, (int)l, off[l] + k, SIM_ERR_FAILED,
                          "%s shared memory that a cp.async still writes: wait missing",
                          write ? "write to" : "read of");
        if (how & ACC_READ)
            check_valid(w, in, l, off[l], c->svalid + off[l], n, "shared");
        sim_shared_access(w, in, SIM_CHECK, (int)l, off[l], n, write, strong);
    }
    EACH_LANE(m, l) {
        if (write)
            memset(c->svalid + off[l], 1, n);
        sim_shared_access(w, in, SIM_NOTE, (int)l, off[l], n, write, strong);
    }
}

void sim_access_global(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                       unsigned n, unsigned how, uint8_t **ptr) {
    sim_runner *r = w->run;
    uint64_t lo = ~0ull, hi = 0, al = 0;
    uint8_t *const arena = sim_mem.arena;
    for (int i = 0; i < SIM_LANES; i++) {
        uint64_t a = addr[i];
        uint64_t on = ON(m) ? ~0ull : 0ull;
        lo = (a | ~on) < lo ? (a | ~on) : lo;
        hi = (a & on) > hi ? (a & on) : hi;
        al |= a & on;
        ptr[i] = arena + (a - SIM_DEV_BASE);
    }
    if (lo < r->alloc_lo || hi + n > r->alloc_hi || (al & (n - 1))) {
        EACH_LANE(m, l) {
            const sim_alloc *a = addr[l] & (n - 1) ? NULL : sim_mem_find(addr[l], n, NULL, 0);
            if (!a)
                global_fault(w, in, (int)l, addr[l], n, how);
            r->alloc_lo = a->lo;
            r->alloc_hi = a->lo + a->size;
        }
    }
    if (!(how & ACC_QUIET))
        sim_count_global(w, in, m, addr, n);
    if (r->strict)
        strict_global(w, in, m, addr, n, how);
    if (how & ACC_WRITE)
        r->progress = r->steps;
}

void sim_access_shared(sim_warp *w, const sim_insn *in, uint32_t m, const uint32_t *off, unsigned n,
                       unsigned how, uint8_t **ptr) {
    sim_cta *c = w->cta;
    const uint32_t size = c->smem_size;
    uint32_t bad = 0;
    for (int i = 0; i < SIM_LANES; i++) {
        uint32_t a = off[i], on = ON(m) ? ~0u : 0u;
        bad |= ((a & (n - 1)) | (uint32_t)(a > size) | (uint32_t)(size - a < n)) & on;
        ptr[i] = c->smem + a;
    }
    if (bad) {
        EACH_LANE(m, l) {
            const char *verb = how & ACC_WRITE ? "write" : "read";
            if (off[l] & (n - 1))
                sim_fault(w, in, (int)l, off[l], SIM_ERR_MISALIGNED,
                          "misaligned shared %s of %u bytes", verb, n);
            if (off[l] > size || size - off[l] < n)
                sim_fault(w, in, (int)l, off[l], SIM_ERR_ADDRESS,
                          "shared %s of %u bytes out of bounds: the CTA has %u bytes", verb, n,
                          size);
        }
    }
    if (!(how & ACC_QUIET))
        sim_count_shared(w, in, m, off, n);
    if (w->run->strict)
        strict_shared(w, in, m, off, n, how);
    if (how & ACC_WRITE)
        w->run->progress = w->run->steps;
}

static void access_local(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                         unsigned n, unsigned how, uint8_t **ptr) {
    const uint64_t size = w->run->l->prog->local_bytes;
    EACH_LANE(m, l) {
        uint64_t a = addr[l];
        if (a & (n - 1))
            sim_fault(w, in, (int)l, a, SIM_ERR_MISALIGNED, "misaligned local access of %u bytes",
                      n);
        if (a > size || size - a < n)
            sim_fault(w, in, (int)l, a, SIM_ERR_ADDRESS,
                      "local access of %u bytes out of bounds: the thread has %llu bytes", n,
                      (unsigned long long)size);
        ptr[l] = w->local + l * size + a;
        if (w->run->strict) {
            uint8_t *v = w->local_valid + l * size + a;
            if (how & ACC_READ)
                check_valid(w, in, l, a, v, n, "local");
            if (how & ACC_WRITE)
                memset(v, 1, n);
        }
    }
}

static void access_param(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                         unsigned n, unsigned how, uint8_t **ptr) {
    const uint64_t size = w->run->l->prog->param_bytes;
    EACH_LANE(m, l) {
        uint64_t a = addr[l];
        if ((how & ACC_WRITE) || a > size || size - a < n || (a & (n - 1)))
            sim_fault(w, in, (int)l, a, SIM_ERR_ADDRESS,
                      "bad access to the kernel parameters (%llu bytes)", (unsigned long long)size);
        ptr[l] = w->run->l->params + a;
    }
}

void sim_addresses(const sim_warp *w, const sim_insn *in, uint64_t *addr) {
    const int64_t off = in->off;
    if (in->abits == 32) {
        const uint32_t *a = sim_r32(w, in->a);
        for (int i = 0; i < SIM_LANES; i++)
            addr[i] = (uint32_t)(a[i] + (uint32_t)off);
    } else {
        const uint64_t *a = sim_r64(w, in->a);
        for (int i = 0; i < SIM_LANES; i++)
            addr[i] = a[i] + (uint64_t)off;
    }
}

static void access_generic(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                           unsigned n, unsigned how, uint8_t **ptr) {
    uint32_t shared = 0, local = 0, param = 0;
    EACH_LANE(m, l) {
        param |= (uint32_t)(addr[l] - SIM_PARAM_BASE < SIM_WINDOW) << l;
        shared |= (uint32_t)(addr[l] - SIM_SHARED_BASE < SIM_WINDOW) << l;
        local |= (uint32_t)(addr[l] - SIM_LOCAL_BASE < SIM_WINDOW) << l;
    }
    uint8_t *q[SIM_LANES];
    if (shared) {
        uint32_t off[SIM_LANES];
        for (int i = 0; i < SIM_LANES; i++)
            off[i] = (uint32_t)(addr[i] - SIM_SHARED_BASE);
        sim_access_shared(w, in, shared, off, n, how, q);
        EACH_LANE(shared, l) ptr[l] = q[l];
    }
    if (local) {
        uint64_t off[SIM_LANES];
        for (int i = 0; i < SIM_LANES; i++)
            off[i] = addr[i] - SIM_LOCAL_BASE;
        access_local(w, in, local, off, n, how, ptr);
    }
    if (param) {
        uint64_t off[SIM_LANES];
        for (int i = 0; i < SIM_LANES; i++)
            off[i] = addr[i] - SIM_PARAM_BASE;
        access_param(w, in, param, off, n, how, ptr);
    }
    if (m & ~(shared | local | param)) {
        uint32_t g = m & ~(shared | local | param);
        sim_access_global(w, in, g, addr, n, how, q);
        EACH_LANE(g, l) ptr[l] = q[l];
    }
}

void sim_access(sim_warp *w, const sim_insn *in, uint32_t m, unsigned n, unsigned how,
                uint8_t **ptr) {
    uint64_t addr[SIM_LANES];
    if (in->space == SP_SHARED) {
        uint32_t off[SIM_LANES];
        if (in->abits == 32) {
            const uint32_t *a = sim_r32(w, in->a);
            LANES off[i] = a[i] + (uint32_t)in->off;
        } else {
            const uint64_t *a = sim_r64(w, in->a);
            LANES off[i] = (uint32_t)(a[i] + (uint64_t)(int64_t)in->off);
        }
        w->last_addr = off[__builtin_ctz(m)];
        w->last_ld = in;
        sim_access_shared(w, in, m, off, n, how, ptr);
        return;
    }
    sim_addresses(w, in, addr);
    w->last_addr = addr[__builtin_ctz(m)];
    w->last_ld = in;
    switch (in->space) {
    case SP_GLOBAL:
        sim_access_global(w, in, m, addr, n, how, ptr);
        break;
    case SP_CONST:
        sim_access_global(w, in, m, addr, n, how | ACC_QUIET, ptr);
        break;
    case SP_LOCAL:
        access_local(w, in, m, addr, n, how, ptr);
        break;
    case SP_PARAM:
        access_param(w, in, m, addr, n, how, ptr);
        break;
    default:
        access_generic(w, in, m, addr, n, how, ptr);
        break;
    }
}
