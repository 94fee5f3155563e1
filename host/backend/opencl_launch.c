/* Arguments and geometry of one launch. */
#include <stdint.h>
#include <stdio.h>

#include "host/backend/opencl.h"

static cl_int set_arg(nb__cl_device *d, cl_kernel kernel, cl_uint *index, const nb__cl_arg *arg) {
    const nb__cl_api *api = d->api;
    cl_uint at = (*index)++;
    cl_uint narrow = (cl_uint)arg->size;
    cl_ulong wide = arg->kind == NB_CL_ARG_MEM ? arg->mem.offset : arg->size;
    cl_mem mem = arg->mem.base;
    switch (arg->kind) {
    case NB_CL_ARG_MEM: {
        cl_int code = api->clSetKernelArg(kernel, at, sizeof mem, mem ? (const void *)&mem : NULL);
        return code == CL_SUCCESS ? api->clSetKernelArg(kernel, (*index)++, sizeof wide, &wide) : code;
    }
    case NB_CL_ARG_U32: return api->clSetKernelArg(kernel, at, sizeof narrow, &narrow);
    case NB_CL_ARG_U64: return api->clSetKernelArg(kernel, at, sizeof wide, &wide);
    case NB_CL_ARG_F32: return api->clSetKernelArg(kernel, at, sizeof arg->real, &arg->real);
    case NB_CL_ARG_BASE: return api->clSetKernelArg(kernel, at, sizeof mem, mem ? (const void *)&mem : NULL);
    case NB_CL_ARG_STRUCT: return api->clSetKernelArg(kernel, at, arg->size, arg->bytes);
    case NB_CL_ARG_LOCAL: return api->clSetKernelArg(kernel, at, arg->size, NULL);
    }
    return CL_INVALID_ARG_VALUE;
}

static nb_status fail_launch(nb_err *err, cl_int code, const char *entry) {
    char what[160];
    snprintf(what, sizeof what, "launching the kernel %s", entry);
    return nb__cl_fail(err, code, what);
}

static nb_status launch_locked(nb_stream *stream, const nb_kernel *row, const nb__cl_call *call, const nb__cl_arg *args,
                               size_t count, nb_err *err) {
    nb__cl_device *d = nb__cl_device_of(stream);
    const nb__cl_grid *grid = &call->grid;
    nb__cl_kernel *kernel;
    NB_TRY(nb__cl_kernel_get(d, row, call->entry, call->defines, &kernel, err));
    size_t items = grid->items[0] * grid->items[1] * grid->items[2], global[3];
    if (items > kernel->max_group)
        return nb_fail(err, NB_E_UNSUPPORTED, "the kernel %s needs work-groups of %zu; the device allows %zu", call->entry, items,
                       kernel->max_group);
    cl_uint index = 0;
    for (size_t i = 0; i < count; i++) {
        cl_int code = set_arg(d, kernel->kernel, &index, &args[i]);
        if (code != CL_SUCCESS)
            return fail_launch(err, code, call->entry);
    }
    for (int i = 0; i < 3; i++)
        global[i] = grid->groups[i] * grid->items[i];
    cl_int code = d->api->clEnqueueNDRangeKernel(((nb__cl_stream *)stream)->queue, kernel->kernel, 3, NULL, global, grid->items, 0,
                                                 NULL, NULL);
    return code == CL_SUCCESS ? NB_OK : fail_launch(err, code, call->entry);
}

nb_status nb__cl_run(nb_stream *stream, const nb_kernel *row, const nb__cl_call *call, const nb__cl_arg *args, size_t count,
                     nb_err *err) {
    for (int i = 0; i < 3; i++)
        if (call->grid.groups[i] == 0)
            return NB_OK;
    for (size_t i = 0; i < count; i++)
        if (args[i].kind == NB_CL_ARG_U32 && args[i].size > UINT32_MAX)
            return nb_fail(err, NB_E_UNSUPPORTED, "a size of %zu; OpenCL kernels count to 2^32", args[i].size);
    nb__cl_device *d = nb__cl_device_of(stream);
    pthread_mutex_lock(&d->lock); /* arguments belong to the kernel until it is queued */
    nb_status status = launch_locked(stream, row, call, args, count, err);
    pthread_mutex_unlock(&d->lock);
    return status;
}
