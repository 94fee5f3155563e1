/* The OpenCL backend: a device is a context on one device, device memory a cl_mem with a byte offset, a stream an in-order
 * queue with profiling. What waits for the device: stream_sync, event_elapsed, close, and transfers to and
 * from the host. */
#include "host/backend/opencl_ops.h"

#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

struct nb_event {
    nb__cl_device *device;
    cl_event event;
};

static nb_status opencl_list(nb_device_info *infos, size_t cap, size_t *count, char *why, nb_err *err) {
    why[0] = 0;
    *count = 0;
    const nb__cl_api *api = nb__cl_load(why);
    if (!api)
        return NB_OK;
    nb__cl_place places[NB_CL_MAX_DEVICES];
    NB_TRY(nb__cl_find(api, places, count, why, err));
    for (size_t i = 0; i < *count && i < cap; i++)
        nb__cl_describe(api, &places[i], i, &infos[i]);
    return NB_OK;
}

/* ---- devices ---- */

static void opencl_close(nb_device *device) {
    nb__cl_device *d = (nb__cl_device *)device;
    nb__cl_programs_free(d);
    if (d->own_queue) {
        d->api->clFinish(d->own_queue);
        d->api->clReleaseCommandQueue(d->own_queue);
    }
    if (d->context)
        d->api->clReleaseContext(d->context);
    pthread_mutex_destroy(&d->lock);
    nb_free(d->cache_dir);
    nb_free(d);
}

/* What kernels need to know of the device, asked once. */
static void read_limits(nb__cl_device *d, const nb_device_options *options) {
    cl_device_id id = d->place.device;
    d->features = nb__cl_features(d->api, id);
    d->max_group = nb__cl_device_number(d->api, id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    d->local_memory = nb__cl_device_number(d->api, id, CL_DEVICE_LOCAL_MEM_SIZE);
    d->base.units = (unsigned)nb__cl_device_number(d->api, id, CL_DEVICE_MAX_COMPUTE_UNITS);
    d->max_alloc = nb__cl_device_number(d->api, id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    d->memory = nb__cl_device_number(d->api, id, CL_DEVICE_GLOBAL_MEM_SIZE);
    d->tuning = nb__cl_tuning_default(d->max_group);
    d->limit = options->memory_limit ? nb_min(options->memory_limit, d->memory) : d->memory;
}

/* Things that would make every kernel wrong or every launch fail. */
static nb_status check_device(const nb__cl_device *d, nb_err *err) {
    char version[128];
    unsigned major = 0, minor = 0;
    cl_device_id id = d->place.device;
    nb__cl_device_text(d->api, id, CL_DEVICE_VERSION, version, sizeof version);
    if (sscanf(version, "OpenCL %u.%u", &major, &minor) != 2 || major < 1 || (major == 1 && minor < 2))
        return nb_fail(err, NB_E_DEVICE, "the device speaks \"%s\"; OpenCL 1.2 is needed", version);
    if (!nb__cl_device_number(d->api, id, CL_DEVICE_AVAILABLE))
        return nb_fail(err, NB_E_DEVICE, "the device says that it is not available");
    if (!nb__cl_device_number(d->api, id, CL_DEVICE_COMPILER_AVAILABLE))
        return nb_fail(err, NB_E_DEVICE, "the device's driver has no compiler");
    if (!nb__cl_device_number(d->api, id, CL_DEVICE_ENDIAN_LITTLE))
        return nb_fail(err, NB_E_DEVICE, "the device is big-endian");
    return NB_OK;
}

/* PoCL compiles a kernel when it is first launched, for its work-group, and keeps that by source and device. Asked for a binary
 * it compiles every kernel of the program once more in a general form, which takes longer than all the rest of a first run. */
static bool keeps_kernels(const nb__cl_device *d) {
    char platform[128];
    nb__cl_platform_text(d->api, d->place.platform, CL_PLATFORM_NAME, platform, sizeof platform);
    return !strcmp(platform, "Portable Computing Language");
}

static nb_status open_device(nb__cl_device *d, const nb_device_options *options, nb_err *err) {
    read_limits(d, options);
    NB_TRY(check_device(d, err));
    if (options->cache_dir)
        NB_TRY(nb_strdup(options->cache_dir, &d->cache_dir, err));
    d->keep_binaries = d->cache_dir && (options->keep_binaries || !keeps_kernels(d));
    nb__cl_tuning_load(d);
    if (options->native_context) {
        cl_int code = d->api->clRetainContext(options->native_context);
        if (code != CL_SUCCESS)
            return nb__cl_fail(err, code, "using the caller's context");
        d->context = options->native_context;
        return NB_OK;
    }
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)d->place.platform, 0};
    cl_int code;
    d->context = d->api->clCreateContext(properties, 1, &d->place.device, NULL, NULL, &code);
    if (code != CL_SUCCESS || !d->context) {
        d->context = NULL;
        return nb__cl_fail(err, code, "making a context");
    }
    return NB_OK;
}

/* The place of a caller's cl_device_id. */
static nb_status find_native(const nb__cl_api *api, void *native, nb__cl_place *out, size_t *index, nb_err *err) {
    nb__cl_place places[NB_CL_MAX_DEVICES];
    size_t count;
    char why[256] = "";
    NB_TRY(nb__cl_find(api, places, &count, why, err));
    for (size_t i = 0; i < count; i++)
        if (places[i].device == native) {
            *out = places[i];
            *index = i;
            return NB_OK;
        }
    return nb_fail_at(err, NB_E_USAGE, NULL, "opencl", "native_device is no cl_device_id of this machine");
}

static nb_status opencl_open(const char *spec, const nb_device_options *options, nb_device **out, nb_err *err) {
    char why[256] = "";
    const nb__cl_api *api = nb__cl_load(why);
    if (!api)
        return nb_fail_at(err, NB_E_DEVICE, NULL, "opencl", "%s", why);
    nb__cl_place place;
    size_t index;
    if (options->native_context)
        NB_TRY(find_native(api, options->native_device, &place, &index, err));
    else
        NB_TRY(nb__cl_choose(api, spec, &place, &index, err));
    nb__cl_device *d;
    NB_TRY(nb_calloc(1, sizeof *d, "a device", &d, err));
    pthread_mutex_init(&d->lock, NULL);
    d->api = api;
    d->place = place;
    d->index = index;
    d->base.log = options->log;
    nb_status status = open_device(d, options, err);
    if (status != NB_OK) {
        opencl_close(&d->base);
        char name[32];
        snprintf(name, sizeof name, "opencl:%zu", index);
        return nb_err_at(err, status, NULL, name);
    }
    *out = &d->base;
    return NB_OK;
}

static nb_status opencl_info(nb_device *device, nb_device_info *out, nb_err *err) {
    (void)err;
    nb__cl_device *d = (nb__cl_device *)device;
    nb__cl_describe(d->api, &d->place, d->index, out);
    pthread_mutex_lock(&d->lock);
    out->memory = d->limit;
    out->memory_free = d->limit > d->allocated ? d->limit - d->allocated : 0;
    pthread_mutex_unlock(&d->lock);
    return NB_OK;
}

/* ---- memory ---- */

static nb_status reserve(nb__cl_device *d, size_t bytes, nb_err *err) {
    pthread_mutex_lock(&d->lock);
    size_t used = d->allocated;
    bool fits = bytes <= d->limit && used <= d->limit - bytes;
    if (fits)
        d->allocated += bytes;
    pthread_mutex_unlock(&d->lock);
    if (!fits)
        return nb_fail(err, NB_E_MEMORY, "out of device memory: %zu bytes more than the %zu in use, of %zu", bytes, used,
                       d->limit);
    return NB_OK;
}

static void give_back(nb__cl_device *d, size_t bytes) {
    pthread_mutex_lock(&d->lock);
    d->allocated -= nb_min(bytes, d->allocated);
    pthread_mutex_unlock(&d->lock);
}

static nb_status opencl_alloc(nb_device *device, size_t bytes, nb_mem *out, nb_err *err) {
    nb__cl_device *d = (nb__cl_device *)device;
    size_t room = bytes ? bytes : 1; /* an empty buffer is an error in OpenCL */
    if (d->max_alloc && room > d->max_alloc)
        return nb_fail(err, NB_E_MEMORY, "out of device memory: a buffer of %zu bytes; the device allows %zu", bytes,
                       d->max_alloc);
    NB_TRY(reserve(d, room, err));
    cl_int code;
    cl_mem mem = d->api->clCreateBuffer(d->context, CL_MEM_READ_WRITE, room, NULL, &code);
    if (code != CL_SUCCESS || !mem) {
        give_back(d, room);
        return nb__cl_fail(err, code, "making a buffer");
    }
    *out = (nb_mem){.base = mem, .offset = 0, .bytes = bytes};
    return NB_OK;
}

static void opencl_free(nb_device *device, nb_mem mem) {
    nb__cl_device *d = (nb__cl_device *)device;
    size_t bytes = 0;
    if (d->api->clGetMemObjectInfo(mem.base, CL_MEM_SIZE, sizeof bytes, &bytes, NULL) == CL_SUCCESS)
        give_back(d, bytes);
    d->api->clReleaseMemObject(mem.base);
}

static nb_status opencl_alloc_host(nb_device *device, size_t bytes, void **out, nb_err *err) {
    (void)device;
    return nb_alloc_aligned(bytes, 1, "a host buffer", out, err);
}

static void opencl_free_host(nb_device *device, void *ptr) {
    (void)device;
    nb_free(ptr);
}

/* ---- streams and events ---- */

static cl_command_queue queue_of(nb_stream *stream) {
    return ((nb__cl_stream *)stream)->queue;
}

static nb_status make_queue(nb__cl_device *d, cl_command_queue *out, nb_err *err) {
    cl_int code;
    *out = d->api->clCreateCommandQueue(d->context, d->place.device, CL_QUEUE_PROFILING_ENABLE, &code);
    if (code == CL_SUCCESS && *out)
        return NB_OK;
    *out = NULL;
    return nb__cl_fail(err, code, "making a queue");
}

static nb_status opencl_stream_new(nb_device *device, nb_stream **out, nb_err *err) {
    nb__cl_stream *s;
    NB_TRY(nb_calloc(1, sizeof *s, "a stream", &s, err));
    s->base.device = device;
    nb_status status = make_queue((nb__cl_device *)device, &s->queue, err);
    if (status != NB_OK) {
        nb_free(s);
        return status;
    }
    *out = &s->base;
    return NB_OK;
}

static nb_status opencl_stream_wrap(nb_device *device, void *native, nb_stream_room *room, nb_stream **out, nb_err *err) {
    _Static_assert(sizeof(nb__cl_stream) <= sizeof(nb_stream_room), "a stream fits the caller's room");
    nb__cl_device *d = (nb__cl_device *)device;
    nb_status status = NB_OK;
    pthread_mutex_lock(&d->lock);
    if (!native && !d->own_queue)
        status = make_queue(d, &d->own_queue, err);
    pthread_mutex_unlock(&d->lock);
    if (status != NB_OK)
        return status;
    nb__cl_stream *s = (nb__cl_stream *)(void *)room->bytes;
    *s = (nb__cl_stream){.base.device = device, .queue = native ? native : d->own_queue, .wrapped = true};
    *out = &s->base;
    return NB_OK;
}

static void opencl_stream_free(nb_stream *stream) {
    nb__cl_stream *s = (nb__cl_stream *)stream;
    nb__cl_device *d = nb__cl_device_of(stream);
    if (s->wrapped)
        return;
    d->api->clFinish(s->queue);
    if (s->scratch) {
        d->api->clReleaseMemObject(s->scratch);
        give_back(d, s->scratch_bytes);
    }
    d->api->clReleaseCommandQueue(s->queue);
    nb_free(s);
}

static nb_status opencl_stream_sync(nb_stream *stream, nb_err *err) {
    cl_int code = nb__cl_device_of(stream)->api->clFinish(queue_of(stream));
    return code == CL_SUCCESS ? NB_OK : nb__cl_fail(err, code, "waiting for its work");
}

static nb_status opencl_stream_wait(nb_stream *stream, nb_event *event, nb_err *err) {
    const nb__cl_api *api = event->device->api;
    cl_int code = api->clEnqueueBarrierWithWaitList(queue_of(stream), 1, &event->event, NULL);
    return code == CL_SUCCESS ? NB_OK : nb__cl_fail(err, code, "waiting for an event");
}

static nb_status opencl_event_new(nb_stream *stream, nb_event **out, nb_err *err) {
    nb__cl_device *d = nb__cl_device_of(stream);
    nb_event *e;
    NB_TRY(nb_calloc(1, sizeof *e, "an event", &e, err));
    e->device = d;
    cl_int code = d->api->clEnqueueMarkerWithWaitList(queue_of(stream), 0, NULL, &e->event);
    if (code == CL_SUCCESS)
        code = d->api->clFlush(queue_of(stream)); /* another stream may wait for it */
    if (code != CL_SUCCESS) {
        if (e->event)
            d->api->clReleaseEvent(e->event);
        nb_free(e);
        return nb__cl_fail(err, code, "marking an event");
    }
    *out = e;
    return NB_OK;
}

static nb_status event_end(nb_event *e, cl_ulong *nanoseconds, nb_err *err) {
    cl_int code = e->device->api->clWaitForEvents(1, &e->event);
    if (code == CL_SUCCESS)
        code = e->device->api->clGetEventProfilingInfo(e->event, CL_PROFILING_COMMAND_END, sizeof *nanoseconds, nanoseconds, NULL);
    return code == CL_SUCCESS ? NB_OK : nb__cl_fail(err, code, "reading an event's time");
}

static nb_status opencl_event_elapsed(nb_event *from, nb_event *to, double *seconds, nb_err *err) {
    cl_ulong begin, end;
    NB_TRY(event_end(from, &begin, err));
    NB_TRY(event_end(to, &end, err));
    *seconds = 1e-9 * ((double)end - (double)begin);
    return NB_OK;
}

static void opencl_event_free(nb_event *event) {
    if (!event)
        return;
    event->device->api->clReleaseEvent(event->event);
    nb_free(event);
}

nb_status nb__cl_scratch(nb_stream *stream, size_t bytes, nb_mem *out, nb_err *err) {
    nb__cl_stream *s = (nb__cl_stream *)stream;
    nb__cl_device *d = nb__cl_device_of(stream);
    if (s->wrapped)
        return nb_fail(err, NB_E_UNSUPPORTED, "this operation needs scratch memory, which a caller's queue has not");
    if (bytes > s->scratch_bytes) {
        if (s->scratch) { /* a queued kernel that uses it keeps it alive */
            d->api->clReleaseMemObject(s->scratch);
            give_back(d, s->scratch_bytes);
        }
        s->scratch = NULL;
        s->scratch_bytes = 0;
        nb_mem mem;
        NB_TRY(opencl_alloc(stream->device, bytes, &mem, err));
        s->scratch = mem.base;
        s->scratch_bytes = bytes;
    }
    *out = (nb_mem){.base = s->scratch, .offset = 0, .bytes = s->scratch_bytes};
    return NB_OK;
}

/* ---- transfers ----
 * To and from host memory they wait: whoever fails on the way to stream_sync may then free what he copies from. */

static nb_status opencl_upload(nb_stream *stream, nb_mem dst, const void *src, size_t bytes, nb_err *err) {
    const nb__cl_api *api = nb__cl_device_of(stream)->api;
    cl_int code = bytes ? api->clEnqueueWriteBuffer(queue_of(stream), dst.base, CL_TRUE, dst.offset, bytes, src, 0, NULL, NULL)
                        : CL_SUCCESS;
    return code == CL_SUCCESS ? NB_OK : nb__cl_fail(err, code, "an upload");
}

static nb_status opencl_download(nb_stream *stream, void *dst, nb_mem src, size_t bytes, nb_err *err) {
    const nb__cl_api *api = nb__cl_device_of(stream)->api;
    cl_int code = bytes ? api->clEnqueueReadBuffer(queue_of(stream), src.base, CL_TRUE, src.offset, bytes, dst, 0, NULL, NULL)
                        : CL_SUCCESS;
    return code == CL_SUCCESS ? NB_OK : nb__cl_fail(err, code, "a download");
}

static nb_status opencl_copy(nb_stream *stream, nb_mem dst, nb_mem src, size_t bytes, nb_err *err) {
    const nb__cl_api *api = nb__cl_device_of(stream)->api;
    cl_int code = bytes ? api->clEnqueueCopyBuffer(queue_of(stream), src.base, dst.base, src.offset, dst.offset, bytes, 0, NULL, NULL)
                        : CL_SUCCESS;
    return code == CL_SUCCESS ? NB_OK : nb__cl_fail(err, code, "a copy");
}

static nb_status opencl_fill(nb_stream *stream, nb_mem dst, uint8_t value, size_t bytes, nb_err *err) {
    const nb__cl_api *api = nb__cl_device_of(stream)->api;
    cl_int code = bytes ? api->clEnqueueFillBuffer(queue_of(stream), dst.base, &value, 1, dst.offset, bytes, 0, NULL, NULL)
                        : CL_SUCCESS;
    return code == CL_SUCCESS ? NB_OK : nb__cl_fail(err, code, "a fill");
}

/* ---- kernels ---- */

static bool opencl_can_run(nb_device *device, const nb_kernel *kernel) {
    unsigned missing = kernel->needs & ~((nb__cl_device *)device)->features;
    if (missing == NB_CL_BLAST)
        return nb__cl_blast_found();
    return missing == 0 && nb__cl_op_of(kernel->op) != NULL;
}

/* CLBlast is not so much as looked for unless it was found faster. */
static bool opencl_wants(nb_device *device, const nb_kernel *kernel) {
    return !(kernel->needs & NB_CL_BLAST) || ((nb__cl_device *)device)->tuning.clblast;
}

static nb_status opencl_launch(nb_stream *stream, const nb_kernel *kernel, const void *args, nb_err *err) {
    return nb__cl_op_of(kernel->op)(stream, kernel, args, err);
}

const nb_backend nb__backend_opencl = {
    .id = NB_OPENCL,
    .name = "opencl",
    .list = opencl_list,
    .open = opencl_open,
    .close = opencl_close,
    .info = opencl_info,
    .alloc = opencl_alloc,
    .free = opencl_free,
    .alloc_host = opencl_alloc_host,
    .free_host = opencl_free_host,
    .stream_new = opencl_stream_new,
    .stream_wrap = opencl_stream_wrap,
    .stream_free = opencl_stream_free,
    .stream_sync = opencl_stream_sync,
    .stream_wait = opencl_stream_wait,
    .event_new = opencl_event_new,
    .event_elapsed = opencl_event_elapsed,
    .event_free = opencl_event_free,
    .upload = opencl_upload,
    .download = opencl_download,
    .copy = opencl_copy,
    .fill = opencl_fill,
    .can_run = opencl_can_run,
    .wants = opencl_wants,
    .launch = opencl_launch,
    .tune = nb__cl_tune,
    .packer = &nb__packer_opencl,
};
