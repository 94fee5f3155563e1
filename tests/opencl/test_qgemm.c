/* Packed products on OpenCL: broken kernels are caught, and the public ABI runs on a caller's context, queue and buffers.
 * Without a device every test is skipped, and says so. */
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#if __has_include(<CL/cl.h>) /* else the build has no backend either */
#include <CL/cl.h>
#endif
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <nibble/gemm.h>
#include "host/cli/verify.h"

#define OK(call) cr_assert_eq((call), NB_OK, "%s: %s", #call, err.text)

static nb_device *open_or_skip(void) {
    nb_device *device = NULL;
    nb_err err = {0};
    nb_device_options options = {.threads = 1, .cache_dir = "opencl-test-cache"};
    if (nb_device_open("opencl", &options, &device, &err) != NB_OK)
        cr_skip("no OpenCL device: %s", err.text);
    return device;
}

static bool is_packed(const nb_kernel *row) {
    return row->backend == NB_OPENCL && (row->op == NB_OP_qgemm || row->op == NB_OP_qgemm_i8);
}

/* Each row of the device with each fault of packed weights. */
Test(qgemm, every_fault_of_every_variant_is_caught, .timeout = 600) {
    nb_device *device = open_or_skip();
    nb_stream *stream;
    nb_err err = {0};
    size_t count, seen = 0;
    const nb_kernel *rows = nb_kernels(&count);
    OK(nb_stream_new(device, &stream, &err));
    for (size_t i = 0; i < count; i++) {
        if (!is_packed(&rows[i]) || !device->backend->can_run(device, &rows[i]))
            continue;
        seen++;
        for (int fault = NB_FAULT_NONE + 1; fault < NB_FAULT_COUNT; fault++) {
            nb_verify v = {.stream = stream, .fault = (nb_fault)fault, .every = 7};
            OK(nb_verify_packed(&v, &rows[i], &err));
            cr_expect_gt(v.wrong, 0, "%s with fault %d passed %zu cases", rows[i].name, fault, v.cases);
        }
    }
    cr_expect_geq(seen, 2);
    nb_stream_free(stream);
    nb_device_close(device);
}

/* ---- the public ABI ---- */

#ifdef CL_VERSION_1_2

/* The driver's functions that a caller needs. */
typedef struct driver {
    __typeof__(&clGetPlatformIDs) platforms;
    __typeof__(&clGetDeviceIDs) devices;
    __typeof__(&clCreateContext) context;
    __typeof__(&clCreateCommandQueue) queue;
    __typeof__(&clCreateBuffer) buffer;
    __typeof__(&clEnqueueWriteBuffer) write;
    __typeof__(&clEnqueueReadBuffer) read;
    __typeof__(&clReleaseMemObject) free_buffer;
    __typeof__(&clReleaseCommandQueue) free_queue;
    __typeof__(&clReleaseContext) free_context;
} driver;

static bool load(driver *d) {
    void *lib = dlopen("libOpenCL.so.1", RTLD_NOW);
    if (!lib)
        return false;
    *(void **)&d->platforms = dlsym(lib, "clGetPlatformIDs");
    *(void **)&d->devices = dlsym(lib, "clGetDeviceIDs");
    *(void **)&d->context = dlsym(lib, "clCreateContext");
    *(void **)&d->queue = dlsym(lib, "clCreateCommandQueue");
    *(void **)&d->buffer = dlsym(lib, "clCreateBuffer");
    *(void **)&d->write = dlsym(lib, "clEnqueueWriteBuffer");
    *(void **)&d->read = dlsym(lib, "clEnqueueReadBuffer");
    *(void **)&d->free_buffer = dlsym(lib, "clReleaseMemObject");
    *(void **)&d->free_queue = dlsym(lib, "clReleaseCommandQueue");
    *(void **)&d->free_context = dlsym(lib, "clReleaseContext");
    return true;
}

enum { N = 37, K = 96, M = 11, GROUP = 32, GROUPS = K / GROUP, SKIP = 128 };

/* A weight with zero points, rows of X in f32, a bias; want[M][N] in double. */
typedef struct weight_case {
    uint8_t codes[N * K], zeros[N * GROUPS];
    float scales[N * GROUPS], x[M * K], bias[N];
    double want[M * N];
} weight_case;

static void fill(weight_case *c) {
    for (size_t i = 0; i < N * K; i++)
        c->codes[i] = (uint8_t)(i * 7 % 13);
    for (size_t i = 0; i < N * GROUPS; i++) {
        c->zeros[i] = (uint8_t)(i * 5 % 16);
        c->scales[i] = 0.125f * (float)(1 + i % 5);
    }
    for (size_t i = 0; i < M * K; i++)
        c->x[i] = (float)(i * 11 % 17) * 0.25f - 2.0f;
    for (size_t j = 0; j < N; j++)
        c->bias[j] = (float)j;
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            double sum = c->bias[j];
            for (size_t k = 0; k < K; k++)
                sum += (double)c->x[i * K + k] * ((double)c->codes[j * K + k] - c->zeros[j * GROUPS + k / GROUP]) *
                       (double)c->scales[j * GROUPS + k / GROUP];
            c->want[i * N + j] = sum;
        }
}

/* All of X, bias, packed bytes, workspace and Y in one buffer of the caller's, each at an offset. Values are multiples of
 * 1/32 with sums below 2^19, so that results are exact in any order. */
Test(qgemm, the_abi_runs_on_a_callers_context_and_queue, .timeout = 300) {
    static weight_case c;
    static float got[M * N];
    driver d;
    cl_platform_id platform;
    cl_device_id id;
    cl_int code;
    nb_err err = {0};
    nb_ctx *ctx;
    size_t packed_bytes, work_bytes;
    nb_device_close(open_or_skip());
    cr_assert(load(&d));
    cr_assert_eq(d.platforms(1, &platform, NULL), CL_SUCCESS);
    cr_assert_eq(d.devices(platform, CL_DEVICE_TYPE_ALL, 1, &id, NULL), CL_SUCCESS);
    cl_context context = d.context(NULL, 1, &id, NULL, NULL, &code);
    cl_command_queue queue = d.queue(context, id, 0, &code);
    fill(&c);
    nb_ctx_options options = {.size = sizeof options, .device = "opencl", .threads = 1, .native_context = context, .native_device = id};
    OK(nb_ctx_open(&options, &ctx, &err));
    nb_weight_desc desc = {.n = N, .k = K, .bits = 4, .group_size = GROUP, .scale_type = NB_FLOAT_F32};
    nb_weight_source source = {NB_LAYOUT_CANONICAL, NB_FLOAT_F32, c.codes, c.scales, c.zeros, NULL,
                               sizeof c.codes, sizeof c.scales, sizeof c.zeros, 0};
    OK(nb_weight_packed_size(ctx, &desc, &packed_bytes, &err));
    OK(nb_gemm_workspace_size(ctx, &desc, M, NB_GEMM_EXACT, &work_bytes, &err));
    void *packed = aligned_alloc(64, (packed_bytes + 63) / 64 * 64);
    OK(nb_weight_pack(ctx, &desc, &source, packed, packed_bytes, NULL, 0, &err));
    size_t at_packed = 256, at_work = at_packed + (packed_bytes + 255) / 256 * 256, at_x = at_work + (work_bytes + 255) / 256 * 256 + 4,
           at_bias = at_x + sizeof c.x, at_y = at_bias + sizeof c.bias + SKIP, all = at_y + sizeof got;
    cl_mem mem = d.buffer(context, CL_MEM_READ_WRITE, all, NULL, &code);
    cr_assert_eq(code, CL_SUCCESS);
    d.write(queue, mem, CL_TRUE, at_packed, packed_bytes, packed, 0, NULL, NULL);
    d.write(queue, mem, CL_TRUE, at_x, sizeof c.x, c.x, 0, NULL, NULL);
    d.write(queue, mem, CL_TRUE, at_bias, sizeof c.bias, c.bias, 0, NULL, NULL);
    nb_gemm_args args = {.size = sizeof args, .m = M, .desc = &desc, .packed = mem, .packed_bytes = packed_bytes, .x = mem, .ldx = K,
                         .y = mem, .ldy = N, .bias = mem, .workspace = mem, .workspace_bytes = work_bytes, .x_offset = at_x,
                         .y_offset = at_y, .packed_offset = at_packed, .bias_offset = at_bias, .workspace_offset = at_work, .stream = queue};
    OK(nb_gemm(ctx, &args, &err));
    OK(nb_ctx_sync(ctx, queue, &err));
    d.read(queue, mem, CL_TRUE, at_y, sizeof got, got, 0, NULL, NULL);
    for (size_t i = 0; i < M * N; i++)
        cr_assert_eq((double)got[i], c.want[i], "y[%zu] is %g, not %g", i, (double)got[i], c.want[i]);
    /* One row in place (no preparation), added to what is there. */
    args.m = 1;
    args.accumulate = 1;
    args.bias = NULL;
    OK(nb_gemm(ctx, &args, &err));
    OK(nb_ctx_sync(ctx, queue, &err));
    d.read(queue, mem, CL_TRUE, at_y, N * sizeof(float), got, 0, NULL, NULL);
    for (size_t j = 0; j < N; j++)
        cr_assert_eq((double)got[j], 2 * c.want[j] - c.bias[j]);
    args.workspace_bytes = 0;
    cr_expect_eq(nb_gemm(ctx, &args, &err), NB_E_USAGE);
    const char *name = NULL;
    OK(nb_ctx_kernel(ctx, NB_GEMM_FAST, &name, &err));
    cr_expect(!strncmp(name, "qgemm_i8", 8));
    nb_ctx_close(ctx);
    d.free_buffer(mem);
    d.free_queue(queue);
    d.free_context(context);
    free(packed);
}
#endif
