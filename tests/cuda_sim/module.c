/* PTX text -> module: global variables in device memory, all kernels decoded. */
#include "decode.h"
#include "exec.h"

#include <stdlib.h>

static bool place_var(sim_module *m, ptx_var *v) {
    uint64_t size = v->size ? v->size : 1;
    v->addr = sim_mem_alloc(size, true);
    if (!v->addr)
        return false;
    m->allocs[m->nallocs++] = v->addr;
    if (v->init)
        memcpy(sim_host(v->addr), v->init, v->size);
    else
        memset(sim_host(v->addr), 0, v->size); /* .global and .const start as zeros */
    sim_mem_mark(v->addr, size, 1);
    return true;
}

static bool relocate(sim_module *m, char *err, size_t errlen) {
    for (ptx_var *v = m->ptx->vars; v; v = v->next)
        for (ptx_reloc *r = v->relocs; r; r = r->next) {
            const ptx_var *t = m->ptx->vars;
            while (t && strcmp(t->name, r->name))
                t = t->next;
            if (!t || (t->space != SP_GLOBAL && t->space != SP_CONST)) {
                snprintf(err, errlen, "PTX line %d: initialiser of %s refers to %s", v->line,
                         v->name, r->name);
                return false;
            }
            uint64_t a = t->addr + (uint64_t)r->add;
            memcpy(sim_host(v->addr) + r->at, &a, 8);
        }
    return true;
}

void sim_module_free(sim_module *m) {
    if (!m)
        return;
    for (int i = 0; i < m->nallocs; i++)
        if (sim_mem.arena)
            sim_mem_free(m->allocs[i]);
    for (int i = 0; i < m->nprog; i++)
        sim_program_free(m->prog[i]);
    free(m->prog);
    free(m->allocs);
    ptx_free(m->ptx);
    free(m);
}

sim_module *sim_module_load(const char *text, char *err, size_t errlen, int *too_new) {
    sim_module *m = calloc(1, sizeof *m);
    int nvars = 0, nfuncs = 0;
    *too_new = 0;
    if (!m)
        abort();
    m->ptx = ptx_parse(text, err, errlen);
    if (!m->ptx)
        goto fail;
    if (m->ptx->target > sim_opt.cc) {
        snprintf(err, errlen, "PTX for sm_%d on a device of compute capability %d", m->ptx->target,
                 sim_opt.cc);
        *too_new = 1;
        goto fail;
    }
    if (m->ptx->arch_specific && m->ptx->target != sim_opt.cc) {
        snprintf(err, errlen, "PTX for sm_%da runs on that architecture only", m->ptx->target);
        *too_new = 1;
        goto fail;
    }
    for (ptx_var *v = m->ptx->vars; v; v = v->next)
        nvars++;
    for (ptx_func *f = m->ptx->funcs; f; f = f->next)
        nfuncs += f->is_entry;
    m->allocs = calloc((size_t)nvars + 1, sizeof *m->allocs);
    m->prog = calloc((size_t)nfuncs + 1, sizeof *m->prog);
    if (!m->allocs || !m->prog)
        abort();
    for (ptx_var *v = m->ptx->vars; v; v = v->next)
        if ((v->space == SP_GLOBAL || v->space == SP_CONST) && !place_var(m, v)) {
            snprintf(err, errlen, "no device memory for %s", v->name);
            goto fail;
        }
    if (!relocate(m, err, errlen))
        goto fail;
    for (ptx_func *f = m->ptx->funcs; f; f = f->next) {
        if (!f->is_entry)
            continue;
        m->prog[m->nprog] = sim_decode(m, f, err, errlen);
        if (!m->prog[m->nprog])
            goto fail;
        m->nprog++;
    }
    return m;
fail:
    sim_module_free(m);
    return NULL;
}
