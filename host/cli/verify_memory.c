#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/cli/verify.h"

/* Bytes before and after data that cannot stand at the end of a page. */
enum { MARGIN = 256 };

static nb_status guard_pages(size_t bytes, size_t align, nb_guarded *out, nb_err *err) {
    nb_guarded g = {.bytes = bytes};
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole;
    if (!nb_align(bytes, align, &g.room) || !nb_align(g.room + 64, page, &whole) ||
        !nb_add(whole, page, &g.map_bytes))
        return nb_fail_memory(err, bytes, "a guarded buffer");
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED)
        return nb_fail_memory(err, g.map_bytes, "a guarded buffer");
    memset(g.map, NB_GUARD, whole);
    if (mprotect((char *)g.map + whole, page, PROT_NONE) != 0) {
        munmap(g.map, g.map_bytes);
        return nb_fail(err, NB_E_FAILED, "a guard page could not be made");
    }
    g.mem = nb_mem_host((char *)g.map + whole - g.room, bytes);
    *out = g;
    return NB_OK;
}

nb_status nb_guarded_new(nb_stream *stream, size_t bytes, size_t align, nb_guarded *out, nb_err *err) {
    nb_guarded g = {.bytes = bytes};
    size_t all;
    if (stream->device->unified)
        return guard_pages(bytes, align, out, err);
    /* Off by one element where it is of a small type and the size says so: kernels may not count on more. */
    size_t skew = align < 64 && bytes / align % 3 == 0 ? nb_max(align, 4) : 0;
    if (!nb_add(bytes, 2 * MARGIN + skew, &all))
        return nb_fail_memory(err, bytes, "a guarded buffer");
    NB_TRY(nb_alloc(stream->device, all, &g.all, err));
    nb_status status = nb_fill(stream, g.all, NB_GUARD, all, err);
    if (status != NB_OK) {
        nb_release(stream->device, &g.all);
        return status;
    }
    g.room = all;
    g.mem = nb_mem_at(g.all, MARGIN + skew);
    g.mem.bytes = bytes;
    *out = g;
    return NB_OK;
}

static bool untouched(const unsigned char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != NB_GUARD)
            return false;
    return true;
}

nb_status nb_guarded_read(nb_stream *stream, const nb_guarded *g, void *data, bool *intact, nb_err *err) {
    if (g->map) {
        const unsigned char *at = nb_host(g->mem);
        NB_TRY(nb_sync(stream, err));
        if (data && g->bytes)
            memcpy(data, at, g->bytes);
        *intact = untouched(g->map, (size_t)(at - (const unsigned char *)g->map)) &&
                  untouched(at + g->bytes, g->room - g->bytes);
        return NB_OK;
    }
    unsigned char *image;
    size_t first = g->mem.offset - g->all.offset;
    NB_TRY(nb_calloc(g->room, 1, "a guarded buffer", &image, err));
    nb_status status = nb_download(stream, image, g->all, g->room, err);
    if (status == NB_OK)
        status = nb_sync(stream, err);
    if (status == NB_OK && data && g->bytes)
        memcpy(data, image + first, g->bytes);
    *intact = status == NB_OK && untouched(image, first) &&
              untouched(image + first + g->bytes, g->room - first - g->bytes);
    nb_free(image);
    return status;
}

void nb_guarded_free(nb_stream *stream, nb_guarded *g) {
    if (g->map)
        munmap(g->map, g->map_bytes);
    else
        nb_release(stream->device, &g->all);
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
