/* The CPU backend: device memory is host memory, a stream is the calling thread, a launch is a run on the pool. */
#include "host/backend/backend.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/base/str.h"

typedef struct cpu_device {
    nb_device base;
    unsigned features;
} cpu_device;

struct nb_event {
    double seconds;
};

#if defined(__x86_64__)
/* What neither compiler has a name for in __builtin_cpu_supports: F16C is leaf 1 ECX bit 29, AVX-VNNI leaf 7, subleaf 1,
 * EAX bit 4. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}

static bool has_avx_vnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

unsigned nb_cpu_features(void) {
    unsigned f = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        f |= NB_NEED_AVX2;
    if ((f & NB_NEED_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        f |= NB_NEED_AVX512;
    if ((f & NB_NEED_AVX512) && __builtin_cpu_supports("avx512vnni"))
        f |= NB_NEED_AVX512_VNNI;
    if ((f & NB_NEED_AVX2) && has_avx_vnni())
        f |= NB_NEED_AVX_VNNI;
#elif defined(__aarch64__)
    f |= NB_NEED_NEON;
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP)
        f |= NB_NEED_DOTPROD;
#endif
    return f;
}

static void cpu_model(char *out, size_t cap) {
    snprintf(out, cap, "unknown processor");
    FILE *f = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (colon && nb_starts_with(line, "model name")) {
            snprintf(out, cap, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
}

/* What a container may take (cgroup v2), where that is less than the machine has. */
static size_t container_limit(size_t all) {
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "r");
    unsigned long long bytes;
    if (f && fscanf(f, "%llu", &bytes) == 1 && bytes < all) /* or "max" */
        all = (size_t)bytes;
    if (f)
        fclose(f);
    return all;
}

static void cpu_fill_info(unsigned features, unsigned threads, nb_device_info *out) {
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "cpu");
    cpu_model(out->model, sizeof out->model);
    snprintf(out->detail, sizeof out->detail, "%u threads,%s%s%s%s%s%s", threads,
             features & NB_NEED_AVX2 ? " AVX2+FMA" : "", features & NB_NEED_AVX512 ? " AVX-512" : "",
             features & NB_NEED_AVX512_VNNI ? " AVX-512-VNNI" : "", features & NB_NEED_AVX_VNNI ? " AVX-VNNI" : "",
             features & NB_NEED_NEON ? " NEON" : "", features & NB_NEED_DOTPROD ? " dot product" : "");
    long page = sysconf(_SC_PAGESIZE), all = sysconf(_SC_PHYS_PAGES), free_pages = sysconf(_SC_AVPHYS_PAGES);
    if (page > 0 && all > 0)
        out->memory = container_limit((size_t)all * (size_t)page);
    if (page > 0 && free_pages > 0)
        out->memory_free = (size_t)free_pages * (size_t)page;
}

static nb_status cpu_list(nb_device_info *infos, size_t cap, size_t *count, char *why, nb_err *err) {
    (void)err;
    why[0] = 0;
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (cap > 0)
        cpu_fill_info(nb_cpu_features(), n > 0 ? (unsigned)n : 1, &infos[0]);
    *count = 1;
    return NB_OK;
}

static nb_status cpu_open(const char *spec, const nb_device_options *options, nb_device **out, nb_err *err) {
    if (spec)
        return nb_fail(err, NB_E_USAGE, "the cpu device takes no index, found \"%s\"", spec);
    cpu_device *d;
    (void)options;
    NB_TRY(nb_calloc(1, sizeof *d, "a device", &d, err));
    d->features = nb_cpu_features();
    d->base.unified = true;
    *out = &d->base;
    return NB_OK;
}

static void cpu_close(nb_device *device) {
    nb_free(device);
}

static nb_status cpu_info(nb_device *device, nb_device_info *out, nb_err *err) {
    (void)err;
    cpu_device *d = (cpu_device *)device;
    cpu_fill_info(d->features, nb_pool_threads(device->pool), out);
    return NB_OK;
}

/* Large buffers are mapped: buffers of a block come and go in many sizes, and from the heap they would leave holes that
 * aligned_alloc cannot fill again (glibc before 2.38 looks for size + alignment): 9 MB a block on a model of 135M. */
enum { MAPPED_FROM = 1 << 20, HUGE_PAGE = 2 << 20 };

/* Mapped at a multiple of the size of a huge page, and asks for such pages: a product streams through its weights, and
 * prefetches of the processor end at the end of a page. */
static void *map_large(size_t bytes) {
    size_t room, page = (size_t)sysconf(_SC_PAGESIZE);
    if (bytes < HUGE_PAGE || !nb_add(bytes, HUGE_PAGE, &room))
        return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return p;
    size_t front = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE, used = nb_ceil_div(bytes, page) * page;
    if (front)
        munmap(p, front);
    if (front + used < room)
        munmap(p + front + used, room - front - used);
    (void)madvise(p + front, used, MADV_HUGEPAGE);
    return p + front;
}

static nb_status cpu_alloc(nb_device *device, size_t bytes, nb_mem *out, nb_err *err) {
    (void)device;
    void *p;
    if (bytes < MAPPED_FROM) {
        NB_TRY(nb_alloc_aligned(bytes, 1, "a device buffer", &p, err));
    } else {
        p = map_large(bytes);
        if (p == MAP_FAILED)
            return nb_fail_memory(err, bytes, "a device buffer");
    }
    *out = (nb_mem){.base = p, .offset = 0, .bytes = bytes};
    return NB_OK;
}

static void cpu_free(nb_device *device, nb_mem mem) {
    (void)device;
    if (mem.bytes < MAPPED_FROM)
        nb_free(mem.base);
    else
        munmap(mem.base, mem.bytes);
}

static nb_status cpu_alloc_host(nb_device *device, size_t bytes, void **out, nb_err *err) {
    (void)device;
    return nb_alloc_aligned(bytes, 1, "a host buffer", out, err);
}

static void cpu_free_host(nb_device *device, void *ptr) {
    (void)device;
    nb_free(ptr);
}

static nb_status cpu_stream_new(nb_device *device, nb_stream **out, nb_err *err) {
    nb_stream *s;
    NB_TRY(nb_calloc(1, sizeof *s, "a stream", &s, err));
    s->device = device;
    *out = s;
    return NB_OK;
}

static void cpu_stream_free(nb_stream *stream) {
    nb_free(stream);
}

static nb_status cpu_stream_sync(nb_stream *stream, nb_err *err) {
    (void)stream, (void)err;
    return NB_OK;
}

static nb_status cpu_stream_wait(nb_stream *stream, nb_event *event, nb_err *err) {
    (void)stream, (void)event, (void)err;
    return NB_OK;
}

static nb_status cpu_event_new(nb_stream *stream, nb_event **out, nb_err *err) {
    (void)stream;
    nb_event *e;
    NB_TRY(nb_calloc(1, sizeof *e, "an event", &e, err));
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    e->seconds = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    *out = e;
    return NB_OK;
}

static nb_status cpu_event_elapsed(nb_event *from, nb_event *to, double *seconds, nb_err *err) {
    (void)err;
    *seconds = to->seconds - from->seconds;
    return NB_OK;
}

static void cpu_event_free(nb_event *event) {
    nb_free(event);
}

static nb_status cpu_upload(nb_stream *stream, nb_mem dst, const void *src, size_t bytes, nb_err *err) {
    (void)stream, (void)err;
    if (bytes)
        memcpy(nb_host(dst), src, bytes);
    return NB_OK;
}

static nb_status cpu_download(nb_stream *stream, void *dst, nb_mem src, size_t bytes, nb_err *err) {
    (void)stream, (void)err;
    if (bytes)
        memcpy(dst, nb_host(src), bytes);
    return NB_OK;
}

static nb_status cpu_copy(nb_stream *stream, nb_mem dst, nb_mem src, size_t bytes, nb_err *err) {
    (void)stream, (void)err;
    if (bytes)
        memmove(nb_host(dst), nb_host(src), bytes);
    return NB_OK;
}

static nb_status cpu_fill(nb_stream *stream, nb_mem dst, uint8_t value, size_t bytes, nb_err *err) {
    (void)stream, (void)err;
    if (bytes)
        memset(nb_host(dst), value, bytes);
    return NB_OK;
}

static bool cpu_can_run(nb_device *device, const nb_kernel *kernel) {
    return (kernel->needs & ~((cpu_device *)device)->features) == 0;
}

static nb_status cpu_launch(nb_stream *stream, const nb_kernel *kernel, const void *args, nb_err *err) {
    return kernel->cpu(stream->device->pool, args, err);
}

const nb_backend nb__backend_cpu = {
    .id = NB_CPU,
    .name = "cpu",
    .list = cpu_list,
    .open = cpu_open,
    .close = cpu_close,
    .info = cpu_info,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .alloc_host = cpu_alloc_host,
    .free_host = cpu_free_host,
    .stream_new = cpu_stream_new,
    .stream_free = cpu_stream_free,
    .stream_sync = cpu_stream_sync,
    .stream_wait = cpu_stream_wait,
    .event_new = cpu_event_new,
    .event_elapsed = cpu_event_elapsed,
    .event_free = cpu_event_free,
    .upload = cpu_upload,
    .download = cpu_download,
    .copy = cpu_copy,
    .fill = cpu_fill,
    .can_run = cpu_can_run,
    .launch = cpu_launch,
    .packer = &nb__packer_cpu,
};
