#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/base/size.h"
#include "host/cli/verify.h"

enum { FILL = 0xA5 };

nb_status nb_guarded_new(nb_device *device, size_t bytes, size_t align, nb_guarded *out,
                         nb_err *err) {
    nb_guarded g = {.bytes = bytes};
    if (!device->unified) {
        NB_TRY(nb_alloc(device, bytes ? bytes : 1, &g.mem, err));
        *out = g;
        return NB_OK;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole;
    if (!nb_align(bytes, align, &g.room) || !nb_align(g.room + 64, page, &whole) ||
        !nb_add(whole, page, &g.map_bytes))
        return nb_fail_memory(err, bytes, "a guarded buffer");
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED)
        return nb_fail_memory(err, g.map_bytes, "a guarded buffer");
    memset(g.map, FILL, whole);
    if (mprotect((char *)g.map + whole, page, PROT_NONE) != 0) {
        munmap(g.map, g.map_bytes);
        return nb_fail(err, NB_E_FAILED, "a guard page could not be made");
    }
    g.mem = nb_mem_host((char *)g.map + whole - g.room, bytes);
    *out = g;
    return NB_OK;
}

bool nb_guarded_intact(const nb_guarded *g) {
    if (!g->map)
        return true;
    const unsigned char *start = g->map, *data = nb_host(g->mem);
    for (const unsigned char *p = start; p < data; p++)
        if (*p != FILL)
            return false;
    for (size_t i = g->bytes; i < g->room; i++)
        if (data[i] != FILL)
            return false;
    return true;
}

void nb_guarded_free(nb_device *device, nb_guarded *g) {
    if (g->map)
        munmap(g->map, g->map_bytes);
    else
        nb_release(device, &g->mem);
    *g = (nb_guarded){0};
}

bool nb_verify_count(nb_verify *v, double error, double bound) {
    if (bound > 0 && error / bound > v->worst)
        v->worst = error / bound;
    return error <= bound;
}

void nb_verify_wrong(nb_verify *v, const char *fmt, ...) {
    va_list args;
    if (v->wrong++ > 0)
        return;
    va_start(args, fmt);
    vsnprintf(v->first, sizeof v->first, fmt, args);
    va_end(args);
}
