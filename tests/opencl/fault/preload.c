/* Loaded before the command: OpenCL with a fault in it. The command's dlopen of libOpenCL.so.1 gets this library, which stands
 * before the real one and has a few of its functions. NB_CL_FAULT says what fails:
 *   launch:N:CODE  the N-th kernel launch and every call after it, as on a device that is lost
 *   buffer:N:CODE  the N-th buffer
 *   source         kernels have an error in their source
 *   binary         the driver takes no binary
 *   extensions     the list of a device's extensions begins with 6 KiB of others */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

static atomic_int launches, buffers;
static atomic_bool lost;

static void *real(const char *name) {
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        abort();
    return f;
}

#define REAL(name) __typeof__(&name) real_##name = (__typeof__(&name))real(#name)

void *dlopen(const char *file, int flags) {
    void *(*real_dlopen)(const char *, int) = (void *(*)(const char *, int))real("dlopen");
    Dl_info self;
    if (file && !strcmp(file, "libOpenCL.so.1") && dladdr((void *)&launches, &self))
        file = self.dli_fname;
    return real_dlopen(file, flags);
}

/* The code that the n-th call of a kind ends with; 0 where it goes through. */
static int fault(const char *kind, int n) {
    const char *text = getenv("NB_CL_FAULT");
    int at = 0, code = 0;
    char name[16];
    if (text && sscanf(text, "%15[a-z]:%d:%d", name, &at, &code) == 3 && !strcmp(name, kind) && n == at)
        return code;
    return 0;
}

static bool asked(const char *kind) {
    const char *text = getenv("NB_CL_FAULT");
    return text && !strcmp(text, kind);
}

static int loss(void) {
    const char *text = getenv("NB_CL_FAULT");
    return text && atomic_load(&lost) ? atoi(strrchr(text, ':') + 1) : 0;
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset, const size_t *global,
                              const size_t *local, cl_uint count, const cl_event *list, cl_event *event) {
    REAL(clEnqueueNDRangeKernel);
    int code = fault("launch", atomic_fetch_add(&launches, 1) + 1);
    if (code)
        atomic_store(&lost, true);
    code = loss();
    return code ? code : real_clEnqueueNDRangeKernel(queue, kernel, dims, offset, global, local, count, list, event);
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem mem, cl_bool wait, size_t offset, size_t size, void *to, cl_uint count,
                           const cl_event *list, cl_event *event) {
    REAL(clEnqueueReadBuffer);
    int code = loss();
    return code ? code : real_clEnqueueReadBuffer(queue, mem, wait, offset, size, to, count, list, event);
}

cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem mem, cl_bool wait, size_t offset, size_t size, const void *from,
                            cl_uint count, const cl_event *list, cl_event *event) {
    REAL(clEnqueueWriteBuffer);
    int code = loss();
    return code ? code : real_clEnqueueWriteBuffer(queue, mem, wait, offset, size, from, count, list, event);
}

cl_int clFinish(cl_command_queue queue) {
    REAL(clFinish);
    cl_int code = real_clFinish(queue);
    return loss() ? loss() : code;
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *code) {
    REAL(clCreateBuffer);
    int failure = fault("buffer", atomic_fetch_add(&buffers, 1) + 1);
    if (!failure)
        return real_clCreateBuffer(context, flags, size, host, code);
    if (code)
        *code = failure;
    return NULL;
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *value, size_t *bytes) {
    enum { MORE = 6144 };
    REAL(clGetDeviceInfo);
    if (what != CL_DEVICE_EXTENSIONS || !asked("extensions"))
        return real_clGetDeviceInfo(device, what, size, value, bytes);
    size_t some = 0;
    cl_int code = real_clGetDeviceInfo(device, what, 0, NULL, &some);
    if (bytes)
        *bytes = some + MORE;
    if (code != CL_SUCCESS || !value)
        return code;
    if (size < some + MORE)
        return CL_INVALID_VALUE;
    for (size_t i = 0; i < MORE; i += 8)
        memcpy((char *)value + i, "cl_none ", 8);
    return real_clGetDeviceInfo(device, what, some, (char *)value + MORE, NULL);
}

/* The last "kernel void" of the text becomes "kernel vxid". */
cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **texts, const size_t *lengths, cl_int *code) {
    REAL(clCreateProgramWithSource);
    if (!asked("source"))
        return real_clCreateProgramWithSource(context, count, texts, lengths, code);
    char *text = malloc(lengths[0] + 1), *at = NULL;
    if (!text)
        abort();
    memcpy(text, texts[0], lengths[0]);
    text[lengths[0]] = 0;
    for (char *next = text; (next = strstr(next, "kernel void")); next++)
        at = next;
    if (at)
        at[8] = 'x';
    const char *changed = text;
    cl_program p = real_clCreateProgramWithSource(context, 1, &changed, lengths, code);
    free(text);
    return p;
}

cl_program clCreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id *devices, const size_t *lengths,
                                     const unsigned char **binaries, cl_int *status, cl_int *code) {
    REAL(clCreateProgramWithBinary);
    if (!asked("binary"))
        return real_clCreateProgramWithBinary(context, count, devices, lengths, binaries, status, code);
    if (code)
        *code = CL_INVALID_BINARY;
    return NULL;
}
