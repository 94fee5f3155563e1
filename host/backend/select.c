/* Which device, and which row of kernels.def serves an operation on it. */
#include "host/backend/backend.h"

#include <string.h>

#include "host/base/size.h"
#include "host/base/str.h"

/* A CPU row's function takes its own argument struct; the table's takes any. */
#define NB_CPU_ROW(op, name, needs, err)                                                                               \
    nb_status nb__cpu_##name(nb_pool *pool, const struct nb_##op##_args *args, nb_err *e);                             \
    static nb_status call_##name(nb_pool *pool, const void *args, nb_err *e) {                                         \
        return nb__cpu_##name(pool, args, e);                                                                          \
    }
#include "kernels/kernels.def"

static const nb_kernel kernel_rows[] = {
#define NB_CPU_ROW(op_, name_, needs_, err_) {NB_OP_##op_, NB_CPU, #name_, needs_, err_, call_##name_},
#define NB_CUDA_ROW(op_, name_, cc_, err_) {NB_OP_##op_, NB_CUDA, #name_, cc_, err_, NULL},
#define NB_OPENCL_ROW(op_, name_, needs_, err_) {NB_OP_##op_, NB_OPENCL, #name_, needs_, err_, NULL},
#include "kernels/kernels.def"
};

static const char *const op_names[] = {
#define NB_OP(op) #op,
#include "kernels/kernels.def"
};

static const nb_backend *const backends[] = {
    &nb__backend_cpu,
    &nb__backend_cuda,
    &nb__backend_opencl,
};

const nb_kernel *nb_kernels(size_t *count) {
    *count = sizeof kernel_rows / sizeof kernel_rows[0];
    return kernel_rows;
}

const char *nb_op_name(nb_op op) {
    return op_names[op];
}

const nb_backend *const *nb_backends(size_t *count) {
    *count = sizeof backends / sizeof backends[0];
    return backends;
}

/* The first glob of a comma-separated list, and the rest of the list. One that is too long for any row's name matches none. */
static const char *next_glob(const char *filter, char pattern[128]) {
    size_t len = strcspn(filter, ",");
    pattern[0] = 0;
    if (len < 128) {
        memcpy(pattern, filter, len);
        pattern[len] = 0;
    }
    return filter + len + (filter[len] == ',');
}

/* Is the row's name in the list? */
static bool filtered(const char *filter, const char *name) {
    char pattern[128];
    while (filter && *filter) {
        filter = next_glob(filter, pattern);
        if (nb_glob(pattern, name))
            return true;
    }
    return false;
}

static bool names_a_row(const char *pattern) {
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++)
        if (nb_glob(pattern, rows[i].name))
            return true;
    return false;
}

/* Who leaves kernels out is after a fault: a glob that leaves out nothing would acquit the kernel that was meant. It is no error, as
 * what exists depends on the processor that a build is for, and one script may serve several. */
static void tell_unmatched(const char *filter, const nb_log *log) {
    char pattern[128];
    while (filter && *filter) {
        const char *at = filter;
        filter = next_glob(filter, pattern);
        if (!names_a_row(pattern))
            nb_logf(log, NB_LOG_WARN, "no kernel of this build is called \"%.*s\", so nothing is left out by it; `nibble verify` lists them",
                    (int)strcspn(at, ","), at);
    }
}

static void choose_rows(nb_device *device, const char *filter) {
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        const nb_kernel *row = &rows[i];
        if (!device->chosen[row->op] && row->backend == device->backend->id && !filtered(filter, row->name) &&
            (!device->backend->wants || device->backend->wants(device, row)) && device->backend->can_run(device, row))
            device->chosen[row->op] = row;
    }
}

static nb_status open_on(const nb_backend *backend, const char *spec, const nb_device_options *options,
                         nb_device **out, nb_err *err) {
    nb_device *device;
    nb_pool *pool;
    NB_TRY(nb_pool_new(options->threads, &pool, err));
    nb_status status = backend->open(spec, options, &device, err);
    if (status != NB_OK) {
        nb_pool_free(pool);
        return status;
    }
    device->backend = backend;
    device->pool = pool;
    device->log = options->log;
    if (device->units == 0)
        device->units = nb_pool_threads(pool);
    choose_rows(device, options->kernel_filter);
    *out = device;
    return NB_OK;
}

static const nb_backend *find_backend(const char *name, size_t len) {
    size_t count;
    const nb_backend *const *all = nb_backends(&count);
    for (size_t i = 0; i < count; i++)
        if (strlen(all[i]->name) == len && !memcmp(all[i]->name, name, len))
            return all[i];
    return NULL;
}

/* CUDA where a device is there and can be opened, else the CPU; what stood in the way is said. */
static nb_status open_auto(const nb_device_options *options, nb_device **out, nb_err *err) {
    const nb_backend *cuda = find_backend("cuda", 4);
    size_t count = 0;
    char why[256] = "";
    nb_err reason = {0};
    if (cuda && cuda->list(NULL, 0, &count, why, NULL) == NB_OK && count > 0) {
        if (open_on(cuda, NULL, options, out, &reason) == NB_OK)
            return NB_OK;
        nb_logf(&options->log, NB_LOG_WARN, "CUDA is not used, the CPU is: %s", reason.text);
    }
    return open_on(&nb__backend_cpu, NULL, options, out, err);
}

nb_status nb_device_open(const char *spec, const nb_device_options *options, nb_device **out, nb_err *err) {
    tell_unmatched(options->kernel_filter, &options->log);
    if (!strcmp(spec, "auto"))
        return open_auto(options, out, err);
    size_t len = strcspn(spec, ":");
    const nb_backend *backend = find_backend(spec, len);
    bool known = backend || (len == 4 && !memcmp(spec, "cuda", 4)) || (len == 6 && !memcmp(spec, "opencl", 6));
    if (!known)
        return nb_fail_at(err, NB_E_USAGE, NULL, spec, "no such device; expected auto, cpu, cuda[:N] or opencl[:N]");
    if (!backend)
        return nb_fail_at(err, NB_E_DEVICE, NULL, spec, "this build has no such backend; see `nibble devices`");
    return open_on(backend, spec[len] ? spec + len + 1 : NULL, options, out, err);
}

void nb_device_close(nb_device *device) {
    if (!device)
        return;
    nb_pool *pool = device->pool;
    device->backend->close(device);
    nb_pool_free(pool);
}

nb_status nb_launch_row(nb_stream *stream, const nb_kernel *kernel, const void *args, nb_err *err) {
    return stream->device->backend->launch(stream, kernel, args, err);
}

nb_status nb_launch(nb_stream *stream, nb_op op, const void *args, nb_err *err) {
    const nb_kernel *kernel = stream->device->chosen[op];
    if (!kernel)
        return nb_fail(err, NB_E_UNSUPPORTED, "no kernel for the operation %s runs on the device %s", nb_op_name(op),
                       stream->device->backend->name);
    return nb_launch_row(stream, kernel, args, err);
}

nb_status nb_alloc(nb_device *device, size_t bytes, nb_mem *out, nb_err *err) {
    return device->backend->alloc(device, bytes, out, err);
}

nb_status nb_alloc_array(nb_device *device, size_t count, size_t size, nb_mem *out, nb_err *err) {
    size_t bytes;
    if (!nb_mul(count, size, &bytes))
        return nb_fail_memory(err, SIZE_MAX, "a device buffer");
    return nb_alloc(device, bytes, out, err);
}

void nb_release(nb_device *device, nb_mem *mem) {
    if (mem->base)
        device->backend->free(device, *mem);
    *mem = (nb_mem){0};
}

nb_status nb_stream_new(nb_device *device, nb_stream **out, nb_err *err) {
    return device->backend->stream_new(device, out, err);
}

void nb_stream_free(nb_stream *stream) {
    if (stream)
        stream->device->backend->stream_free(stream);
}

nb_status nb_sync(nb_stream *stream, nb_err *err) {
    return stream->device->backend->stream_sync(stream, err);
}

nb_status nb_upload(nb_stream *stream, nb_mem dst, const void *src, size_t bytes, nb_err *err) {
    return stream->device->backend->upload(stream, dst, src, bytes, err);
}

nb_status nb_download(nb_stream *stream, void *dst, nb_mem src, size_t bytes, nb_err *err) {
    return stream->device->backend->download(stream, dst, src, bytes, err);
}

nb_status nb_copy(nb_stream *stream, nb_mem dst, nb_mem src, size_t bytes, nb_err *err) {
    return stream->device->backend->copy(stream, dst, src, bytes, err);
}

nb_status nb_fill(nb_stream *stream, nb_mem dst, uint8_t value, size_t bytes, nb_err *err) {
    return stream->device->backend->fill(stream, dst, value, bytes, err);
}
