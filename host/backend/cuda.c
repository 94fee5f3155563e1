/* The CUDA backend on the driver API: devices, contexts, memory, streams, events. Kernels are launched by cuda_launch.c.
 *
 * The primary context is used, so that cuBLAS and a program's own CUDA code see the same memory, or the one that a caller gives. Every
 * call pushes the context and pops it: a caller's own stays current. */
#include "host/backend/cuda.h"
#include "host/backend/cuda_qgemm.h"

#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/base/str.h"

struct nb_event {
    nb__cuda_device *device;
    nb__cu_event native;
};

static nb__cuda_device *own(nb_device *device) {
    return (nb__cuda_device *)device;
}

static nb__cuda_stream *native(nb_stream *stream) {
    return (nb__cuda_stream *)stream;
}

/* ---- errors and contexts ---- */

static bool too_old(nb__cu_result r) {
    return r == NB_CU_NO_BINARY || r == NB_CU_INVALID_PTX || r == NB_CU_PTX_VERSION;
}

static nb_status fail(const nb__cu_api *cu, nb__cu_result r, const char *doing, nb_err *err) {
    const char *name = "unknown error", *text = "";
    int version = 0;
    cu->error_name(r, &name);
    cu->error_string(r, &text);
    if (too_old(r)) {
        cu->driver_version(&version);
        return nb_fail(err, NB_E_DEVICE,
                       "%s: %s (%d): the NVIDIA driver is too old for these kernels, or the GPU is (it needs compute capability 7.5); "
                       "R580 or later is wanted, found one for CUDA %d.%d",
                       doing, name, r, version / 1000, version % 1000 / 10);
    }
    return nb_fail(err, r == NB_CU_OUT_OF_MEMORY ? NB_E_MEMORY : NB_E_DEVICE, "%s: %s (%d), %s", doing, name, r, text);
}

nb_status nb__cuda_check(const nb__cuda_device *d, nb__cu_result r, const char *doing, nb_err *err) {
    return r == 0 ? NB_OK : fail(d->cu, r, doing, err);
}

nb_status nb__cuda_enter(const nb__cuda_device *d, nb_err *err) {
    return nb__cuda_check(d, d->cu->context_push(d->context), "taking the device's context", err);
}

void nb__cuda_leave(const nb__cuda_device *d) {
    nb__cu_context old;
    d->cu->context_pop(&old);
}

/* Runs one driver call in the device's context. */
#define IN_CONTEXT(d, call, doing, err)                                                                                \
    do {                                                                                                               \
        NB_TRY(nb__cuda_enter((d), (err)));                                                                            \
        nb__cu_result result_ = (call);                                                                                \
        nb__cuda_leave(d);                                                                                             \
        return nb__cuda_check((d), result_, (doing), (err));                                                           \
    } while (0)

/* ---- devices ---- */

static unsigned capability(const nb__cu_api *cu, nb__cu_device id) {
    int major = 0, minor = 0;
    cu->device_attribute(&major, NB_CU_CC_MAJOR, id);
    cu->device_attribute(&minor, NB_CU_CC_MINOR, id);
    return (unsigned)(10 * major + minor);
}

static void describe(const nb__cu_api *cu, int index, nb__cu_device id, nb_device_info *out) {
    int version = 0, sms = 0;
    unsigned cc = capability(cu, id);
    memset(out, 0, sizeof *out);
    cu->driver_version(&version);
    cu->device_attribute(&sms, NB_CU_MULTIPROCESSORS, id);
    cu->device_memory(&out->memory, id);
    out->memory_free = out->memory;
    snprintf(out->name, sizeof out->name, "cuda:%d", index);
    if (cu->device_name(out->model, (int)sizeof out->model, id) != 0)
        snprintf(out->model, sizeof out->model, "unknown GPU");
    const nb__blas_api *blas = nb__blas_load();
    snprintf(out->detail, sizeof out->detail, "compute capability %u.%u, %d multiprocessors, driver for CUDA %d.%d, %s", cc / 10,
             cc % 10, sms, version / 1000, version % 1000 / 10, blas ? blas->library : "no cuBLAS: own matrix product");
}

static nb_status cuda_list(nb_device_info *infos, size_t cap, size_t *count, char *why, nb_err *err) {
    const nb__cu_api *cu = nb__cu_load(why, 256);
    int found = 0;
    (void)err;
    *count = 0;
    if (!nb__cuda_images[0].arch) {
        snprintf(why, 256, "this build has no CUDA kernels: nvcc was not there when it was made");
        return NB_OK;
    }
    if (!cu)
        return NB_OK;
    nb__cu_result r = cu->device_count(&found);
    if (r != 0 || found <= 0) {
        const char *name = "no device";
        if (r != 0)
            cu->error_name(r, &name);
        snprintf(why, 256, "the NVIDIA driver has no device: %s (%d)", name, r);
        return NB_OK;
    }
    why[0] = 0;
    for (int i = 0; i < found && (size_t)i < cap; i++) {
        nb__cu_device id;
        memset(&infos[i], 0, sizeof infos[i]);
        snprintf(infos[i].name, sizeof infos[i].name, "cuda:%d", i);
        if (cu->device_get(&id, i) == 0)
            describe(cu, i, id, &infos[i]);
    }
    *count = (size_t)found;
    return NB_OK;
}

static nb_status parse_index(const char *spec, int *out, nb_err *err) {
    int index = 0;
    for (const char *p = spec; p && *p; p++) {
        if (*p < '0' || *p > '9' || index > 9999)
            return nb_fail(err, NB_E_USAGE, "a CUDA device is given by its number, found \"%s\"", spec);
        index = 10 * index + (*p - '0');
    }
    *out = index;
    return NB_OK;
}

static nb_status open_primary(nb__cuda_device *d, const char *spec, nb_err *err) {
    int index = 0, count = 0;
    NB_TRY(parse_index(spec, &index, err));
    NB_TRY(nb__cuda_check(d, d->cu->device_count(&count), "looking for devices", err));
    if (index >= count)
        return nb_fail(err, NB_E_DEVICE, "no CUDA device %d, the driver has %d", index, count);
    NB_TRY(nb__cuda_check(d, d->cu->device_get(&d->id, index), "looking for the device", err));
    NB_TRY(nb__cuda_check(d, d->cu->primary_retain(&d->context, d->id), "opening the device", err));
    d->primary = true;
    return NB_OK;
}

/* A caller's context as it is. Where the caller names a device, it is that one's. */
static nb_status open_given(nb__cuda_device *d, const char *spec, nb__cu_context context, nb_err *err) {
    int index = 0;
    nb__cu_device named;
    NB_TRY(parse_index(spec, &index, err));
    d->context = context;
    NB_TRY(nb__cuda_enter(d, err));
    nb__cu_result r = d->cu->context_device(&d->id);
    nb__cuda_leave(d);
    NB_TRY(nb__cuda_check(d, r, "looking for the context's device", err));
    if (spec && (d->cu->device_get(&named, index) != 0 || named != d->id))
        return nb_fail(err, NB_E_USAGE, "cuda:%d is asked for, and the given context is of cuda:%d", index, (int)d->id);
    return NB_OK;
}

/* Does the cubin run on this capability? The same major one, and no later minor one. */
static bool fits(const nb__cuda_image *image, unsigned cc) {
    return image->is_ptx ? image->arch <= cc : image->arch / 10 == cc / 10 && image->arch <= cc;
}

static const nb__cuda_image *best_image(unsigned cc, int is_ptx) {
    const nb__cuda_image *best = NULL;
    for (const nb__cuda_image *i = nb__cuda_images; i->arch; i++)
        if (i->is_ptx == is_ptx && fits(i, cc) && (!best || i->arch > best->arch))
            best = i;
    return best;
}

/* PTX, with what the driver's compiler says where it refuses. */
static nb_status load_ptx(nb__cuda_device *d, const nb__cuda_image *image, nb_err *err) {
    enum { ERROR_LOG = 5, ERROR_LOG_BYTES = 6, CAP = 1024 };
    char log[CAP] = "";
    int options[] = {ERROR_LOG, ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)CAP};
    char doing[300];
    nb__cu_result r = d->cu->module_load(&d->module, image->data, 2, options, values);
    log[CAP - 1] = 0;
    snprintf(doing, sizeof doing, "loading the kernels (PTX of compute_%u)%s%.*s", image->arch, log[0] ? ": " : "",
             (int)nb_min(strcspn(log, "\n"), 200), log);
    return nb__cuda_check(d, r, doing, err);
}

/* The best cubin; where the driver has none of it, the best PTX. Any other failure is one of the device. */
static nb_status load_module(nb__cuda_device *d, nb_err *err) {
    const nb__cuda_image *cubin = best_image(d->cc, 0), *ptx = best_image(d->cc, 1);
    if (!ptx)
        return nb_fail(err, NB_E_DEVICE, "the GPU has compute capability %u.%u, these kernels need 7.5", d->cc / 10, d->cc % 10);
    if (cubin) {
        nb__cu_result r = d->cu->module_load(&d->module, cubin->data, 0, NULL, NULL);
        d->image = cubin;
        if (r == 0 || !(too_old(r) || r == 200))
            return nb__cuda_check(d, r, "loading the kernels", err);
    }
    d->image = ptx;
    return load_ptx(d, ptx, err);
}

static nb_status find_function(nb__cuda_device *d, const char *name, unsigned shared, nb__cu_function *out, nb_err *err);

/* Drivers load a kernel when it is first asked for, or later; that allocates and waits, so a stream that is being captured must not meet
 * it. What may run on a caller's stream is loaded here. */
static nb_status load_packed(nb__cuda_device *d, nb_err *err) {
    nb__cu_function f;
    const char *name;
    for (size_t i = 0; nb__cuda_qkernel(i, d->image->arch, &name); i++) {
        if (!name)
            continue;
        NB_TRY(find_function(d, name, 0, &f, err));
        NB_TRY(nb__cuda_check(d, d->cu->function_load(f), "loading a kernel", err));
    }
    return NB_OK;
}

static nb_status open_module(nb__cuda_device *d, nb_err *err) {
    int sms = 0;
    d->cc = capability(d->cu, d->id);
    d->cu->device_attribute(&sms, NB_CU_MULTIPROCESSORS, d->id);
    d->base.units = sms > 0 ? (unsigned)sms : 1;
    NB_TRY(nb__cuda_enter(d, err));
    nb_status status = load_module(d, err);
    if (status == NB_OK)
        status = load_packed(d, err);
    nb__cuda_leave(d);
    return status;
}

static void cuda_close(nb_device *device) {
    nb__cuda_device *d = own(device);
    if (d->module && d->cu->context_push(d->context) == 0) {
        d->cu->module_unload(d->module);
        nb__cuda_leave(d);
    }
    if (d->primary)
        d->cu->primary_release(d->id);
    pthread_mutex_destroy(&d->lock);
    nb_free(d);
}

static nb_status cuda_open(const char *spec, const nb_device_options *options, nb_device **out, nb_err *err) {
    char why[256];
    const nb__cu_api *cu = nb__cu_load(why, sizeof why);
    nb__cuda_device *d;
    if (!nb__cuda_images[0].arch)
        return nb_fail(err, NB_E_DEVICE, "this build has no CUDA kernels: nvcc was not there when it was made");
    if (!cu)
        return nb_fail(err, NB_E_DEVICE, "%s", why);
    NB_TRY(nb_calloc(1, sizeof *d, "a device", &d, err));
    d->cu = cu;
    d->limit = options->memory_limit;
    pthread_mutex_init(&d->lock, NULL);
    nb_status status = options->native_context ? open_given(d, spec, options->native_context, err) : open_primary(d, spec, err);
    if (status == NB_OK)
        status = open_module(d, err);
    if (status != NB_OK) {
        cuda_close(&d->base);
        return status;
    }
    d->blas = nb__blas_load();
    d->base.overhead = NB_CUDA_CONVERT + (!d->blas ? 0 : d->cc >= 90 ? NB_CUDA_WORKSPACE_HOPPER : NB_CUDA_WORKSPACE);
    if (!d->blas)
        nb_logf(&options->log, NB_LOG_WARN, "no cuBLAS (libcublas.so.13, .12, .11): matrix products run by the plain kernel");
    nb_logf(&options->log, NB_LOG_DEBUG, "kernels: %s %u", d->image->is_ptx ? "PTX of compute" : "cubin of sm", d->image->arch);
    *out = &d->base;
    return NB_OK;
}

static nb_status cuda_info(nb_device *device, nb_device_info *out, nb_err *err) {
    nb__cuda_device *d = own(device);
    describe(d->cu, (int)d->id, d->id, out);
    NB_TRY(nb__cuda_enter(d, err));
    nb__cu_result r = d->cu->mem_info(&out->memory_free, &out->memory);
    nb__cuda_leave(d);
    return nb__cuda_check(d, r, "asking for the device's memory", err);
}

/* ---- memory ---- */

/* Counts bytes against the limit. */
static nb_status reserve(nb__cuda_device *d, size_t bytes, nb_err *err) {
    size_t used = atomic_fetch_add(&d->used, bytes);
    if (!d->limit || (used <= d->limit && bytes <= d->limit - used))
        return NB_OK;
    atomic_fetch_sub(&d->used, bytes);
    return nb_fail(err, NB_E_MEMORY, "%zu bytes of device memory, but %zu of the %zu that it may take are in use", bytes, used,
                   d->limit);
}

static nb_status cuda_alloc(nb_device *device, size_t bytes, nb_mem *out, nb_err *err) {
    nb__cuda_device *d = own(device);
    nb__cu_ptr p = 0;
    char doing[64];
    if (bytes == 0)
        bytes = 1;
    NB_TRY(reserve(d, bytes, err));
    snprintf(doing, sizeof doing, "allocating %zu bytes of device memory", bytes);
    nb_status status = nb__cuda_enter(d, err);
    if (status == NB_OK) {
        nb__cu_result r = d->cu->mem_alloc(&p, bytes);
        nb__cuda_leave(d);
        status = nb__cuda_check(d, r, doing, err);
    }
    if (status != NB_OK) {
        atomic_fetch_sub(&d->used, bytes);
        return status;
    }
    *out = (nb_mem){.base = (void *)(uintptr_t)p, .offset = 0, .bytes = bytes};
    return NB_OK;
}

/* cuMemFree waits for the device, so work that reads the memory is done. */
static void cuda_free(nb_device *device, nb_mem mem) {
    nb__cuda_device *d = own(device);
    atomic_fetch_sub(&d->used, mem.bytes);
    if (nb__cuda_enter(d, NULL) != NB_OK)
        return;
    d->cu->mem_free((nb__cu_ptr)(uintptr_t)mem.base);
    nb__cuda_leave(d);
}

static nb_status cuda_alloc_host(nb_device *device, size_t bytes, void **out, nb_err *err) {
    enum { PORTABLE = 1 }; /* pinned for all contexts */
    IN_CONTEXT(own(device), own(device)->cu->host_alloc(out, bytes ? bytes : 1, PORTABLE), "allocating pinned host memory", err);
}

static void cuda_free_host(nb_device *device, void *ptr) {
    if (!ptr || nb__cuda_enter(own(device), NULL) != NB_OK)
        return;
    own(device)->cu->host_free(ptr);
    nb__cuda_leave(own(device));
}

/* ---- streams and events ---- */

_Static_assert(sizeof(nb__cuda_stream) <= sizeof(nb_stream_room), "a stream fits in its room");

static nb_status cuda_stream_wrap(nb_device *device, void *handle, nb_stream_room *room, nb_stream **out, nb_err *err) {
    nb__cuda_stream *s = (nb__cuda_stream *)(void *)room->bytes;
    (void)err;
    *s = (nb__cuda_stream){.base = {.device = device}, .native = handle};
    *out = &s->base;
    return NB_OK;
}

static nb_status cuda_stream_new(nb_device *device, nb_stream **out, nb_err *err) {
    enum { NON_BLOCKING = 1 }; /* does not wait for the legacy stream 0 */
    nb__cuda_device *d = own(device);
    nb__cuda_stream *s;
    NB_TRY(nb_calloc(1, sizeof *s, "a stream", &s, err));
    s->base.device = device;
    s->owned = true;
    nb_status status = nb__cuda_enter(d, err);
    if (status == NB_OK) {
        nb__cu_result r = d->cu->stream_new(&s->native, NON_BLOCKING);
        nb__cuda_leave(d);
        status = nb__cuda_check(d, r, "making a stream", err);
    }
    if (status != NB_OK) {
        nb_free(s);
        return status;
    }
    *out = &s->base;
    return NB_OK;
}

static void cuda_stream_free(nb_stream *stream) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    nb__cuda_stream *s = native(stream);
    if (!s->owned)
        return;
    nb__cuda_blas_free(s);
    nb_release(stream->device, &s->scratch);
    if (nb__cuda_enter(d, NULL) == NB_OK) {
        d->cu->stream_free(s->native);
        nb__cuda_leave(d);
    }
    nb_free(s);
}

static nb_status cuda_stream_sync(nb_stream *stream, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    IN_CONTEXT(d, d->cu->stream_sync(native(stream)->native), "waiting for the device", err);
}

static nb_status cuda_stream_wait(nb_stream *stream, nb_event *event, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    IN_CONTEXT(d, d->cu->stream_wait(native(stream)->native, event->native, 0), "making a stream wait", err);
}

static void cuda_event_free(nb_event *event) {
    if (!event)
        return;
    if (event->native && nb__cuda_enter(event->device, NULL) == NB_OK) {
        event->device->cu->event_free(event->native);
        nb__cuda_leave(event->device);
    }
    nb_free(event);
}

static nb_status cuda_event_new(nb_stream *stream, nb_event **out, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    nb_event *e;
    NB_TRY(nb_calloc(1, sizeof *e, "an event", &e, err));
    e->device = d;
    nb_status status = nb__cuda_enter(d, err);
    if (status == NB_OK) {
        nb__cu_result r = d->cu->event_new(&e->native, 0);
        if (r == 0)
            r = d->cu->event_record(e->native, native(stream)->native);
        nb__cuda_leave(d);
        status = nb__cuda_check(d, r, "marking a place of a stream", err);
    }
    if (status == NB_OK)
        *out = e;
    else
        cuda_event_free(e);
    return status;
}

static nb_status cuda_event_elapsed(nb_event *from, nb_event *to, double *seconds, nb_err *err) {
    nb__cuda_device *d = to->device;
    float ms = 0.0f;
    NB_TRY(nb__cuda_enter(d, err));
    nb__cu_result r = d->cu->event_sync(to->native);
    if (r == 0)
        r = d->cu->event_elapsed(&ms, from->native, to->native);
    nb__cuda_leave(d);
    *seconds = 1e-3 * (double)ms;
    return nb__cuda_check(d, r, "reading a time", err);
}

/* ---- transfers ---- */

static nb_status cuda_upload(nb_stream *stream, nb_mem dst, const void *src, size_t bytes, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    if (bytes == 0)
        return NB_OK;
    IN_CONTEXT(d, d->cu->upload(nb__cuda_at(dst), src, bytes, native(stream)->native), "copying to the device", err);
}

static nb_status cuda_download(nb_stream *stream, void *dst, nb_mem src, size_t bytes, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    if (bytes == 0)
        return NB_OK;
    IN_CONTEXT(d, d->cu->download(dst, nb__cuda_at(src), bytes, native(stream)->native), "copying from the device", err);
}

static nb_status cuda_copy(nb_stream *stream, nb_mem dst, nb_mem src, size_t bytes, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    if (bytes == 0)
        return NB_OK;
    IN_CONTEXT(d, d->cu->copy(nb__cuda_at(dst), nb__cuda_at(src), bytes, native(stream)->native), "copying on the device", err);
}

static nb_status cuda_fill(nb_stream *stream, nb_mem dst, uint8_t value, size_t bytes, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    if (bytes == 0)
        return NB_OK;
    IN_CONTEXT(d, d->cu->fill(nb__cuda_at(dst), value, bytes, native(stream)->native), "filling device memory", err);
}

nb_status nb__cuda_must_own(const nb__cuda_stream *s, nb_err *err) {
    return s->owned ? NB_OK : nb_fail(err, NB_E_UNSUPPORTED, "this operation keeps memory with its stream, and does not run on a caller's");
}

nb_status nb__cuda_scratch(nb_stream *stream, size_t bytes, nb_mem *out, nb_err *err) {
    nb__cuda_stream *s = native(stream);
    NB_TRY(nb__cuda_must_own(s, err));
    if (bytes > s->scratch.bytes) {
        nb_release(stream->device, &s->scratch);
        NB_TRY(nb_alloc(stream->device, bytes, &s->scratch, err));
    }
    *out = s->scratch;
    return NB_OK;
}

/* ---- kernels ---- */

#define NB_CUDA_ROW(op, name, needs, err)                                                                              \
    static nb_status call_##name(nb_stream *stream, const void *args, nb_err *e) {                                     \
        return nb__cuda_##name(stream, args, e);                                                                       \
    }
#include "kernels/kernels.def"

typedef nb_status launcher(nb_stream *stream, const void *args, nb_err *err);

/* In the order of nb_kernels. */
static launcher *const launchers[] = {
#define NB_CPU_ROW(op, name, needs, err) NULL,
#define NB_CUDA_ROW(op, name, needs, err) call_##name,
#define NB_OPENCL_ROW(op, name, needs, err) NULL,
#include "kernels/kernels.def"
};

static bool cuda_can_run(nb_device *device, const nb_kernel *kernel) {
    nb__cuda_device *d = own(device);
    bool blas = (kernel->needs & NB_CUDA_NEEDS_BLAS) != 0;
    return (kernel->needs & ~(unsigned)NB_CUDA_NEEDS_BLAS) <= d->cc && (!blas || d->blas);
}

static nb_status cuda_launch(nb_stream *stream, const nb_kernel *kernel, const void *args, nb_err *err) {
    size_t count;
    return launchers[kernel - nb_kernels(&count)](stream, args, err);
}

/* A kernel that may have `shared` bytes of dynamic shared memory. The limit belongs to the function and only rises, so that launches from
 * several threads do not take it from each other. */
static nb_status find_function(nb__cuda_device *d, const char *name, unsigned shared, nb__cu_function *out, nb_err *err) {
    enum { MAX_DYNAMIC_SHARED = 8, STATIC_LIMIT = 48 * 1024 };
    char doing[128];
    nb_status status = NB_OK;
    pthread_mutex_lock(&d->lock);
    size_t i = 0;
    while (i < d->functions && d->function[i].name != name && strcmp(d->function[i].name, name) != 0)
        i++;
    if (i == d->functions) {
        snprintf(doing, sizeof doing, "looking for the kernel %.80s", name);
        nb__cu_result r = i < NB_CUDA_MAX_FUNCTIONS ? d->cu->module_function(out, d->module, name) : NB_CU_OUT_OF_MEMORY;
        status = nb__cuda_check(d, r, doing, err);
        if (status == NB_OK) {
            d->function[i].name = name;
            d->function[i].function = *out;
            d->functions++;
        }
    } else {
        *out = d->function[i].function;
    }
    if (status == NB_OK && shared > STATIC_LIMIT && shared > d->function[i].shared) {
        status = nb__cuda_check(d, d->cu->function_set(*out, MAX_DYNAMIC_SHARED, (int)shared), "asking for shared memory", err);
        if (status == NB_OK)
            d->function[i].shared = shared;
    }
    pthread_mutex_unlock(&d->lock);
    return status;
}

static nb__cu_result launch(const nb__cuda_device *d, nb__cu_function f, nb__cuda_grid g, nb__cu_stream stream, const void *params) {
    void *values[] = {(void *)(uintptr_t)params};
    return d->cu->launch(f, g.x, g.y, g.z, g.threads, 1, 1, g.shared, stream, values, NULL);
}

nb_status nb__cuda_run(nb_stream *stream, const char *kernel, nb__cuda_grid g, const void *params, nb_err *err) {
    nb__cuda_device *d = nb__cuda_device_of(stream);
    nb__cu_function f;
    char doing[128];
    if (g.x == 0 || g.y == 0 || g.z == 0)
        return NB_OK;
    snprintf(doing, sizeof doing, "launching the kernel %.80s", kernel);
    NB_TRY(nb__cuda_enter(d, err));
    nb_status status = find_function(d, kernel, g.shared, &f, err);
    if (status == NB_OK)
        status = nb__cuda_check(d, launch(d, f, g, native(stream)->native, params), doing, err);
    nb__cuda_leave(d);
    return status;
}

nb_status nb__cuda_rows_grid(size_t rows, size_t cols, unsigned threads, nb__cuda_grid *out, nb_err *err) {
    enum { PER_THREAD = 4, MAX_Y = 65535 };
    if (rows > INT32_MAX || cols > UINT32_MAX)
        return nb_fail(err, NB_E_UNSUPPORTED, "a matrix of %zu x %zu is too large for a CUDA kernel", rows, cols);
    size_t y = nb_min(nb_ceil_div(cols, (size_t)threads * PER_THREAD), MAX_Y);
    *out = (nb__cuda_grid){.x = (unsigned)rows, .y = (unsigned)y, .z = 1, .threads = threads};
    return NB_OK;
}

const nb_backend nb__backend_cuda = {
    .id = NB_CUDA,
    .name = "cuda",
    .list = cuda_list,
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .alloc_host = cuda_alloc_host,
    .free_host = cuda_free_host,
    .stream_new = cuda_stream_new,
    .stream_wrap = cuda_stream_wrap,
    .stream_free = cuda_stream_free,
    .stream_sync = cuda_stream_sync,
    .stream_wait = cuda_stream_wait,
    .event_new = cuda_event_new,
    .event_elapsed = cuda_event_elapsed,
    .event_free = cuda_event_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .can_run = cuda_can_run,
    .launch = cuda_launch,
    .packer = &nb__packer_cuda,
};
