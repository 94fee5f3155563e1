/* Packed products of the CUDA kernels against a sum in f64, on the simulator or on a GPU, straight over the driver: the
 * command of the mutation check.
 *
 *     qgemm_check PTX CC SHAPE...      SHAPE: [abi:]bits,type,m,n,k,group,form[,units]
 *
 * type f16, bf16, f32, or i8 (f32 in 8 bits); form s symmetric, z zero points, a zero points and act-order, o offsets. Exit 0: every launch passed and
 * every value is inside gamma_K sum|x||w| and the rounding of Y. */
#include <cuda.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nibble/gemm.h>

#include "host/backend/cuda_qgemm.h"
#include "host/base/random.h"

static int fail_count;

static void ok(CUresult r, const char *what) {
    if (r != CUDA_SUCCESS) {
        fprintf(stderr, "%s: error %d\n", what, (int)r);
        exit(1);
    }
}
#define OK(call) ok((call), #call)

typedef struct shape {
    unsigned bits;
    nb_dtype type;
    size_t m, n, k, group;
    char form;
    unsigned units;
    nb_dtype y_type, scale_type;
    size_t ldx;
    bool i8; /* X in 8 bits */
} shape;

typedef struct data {
    nb_qweight w;
    size_t groups;
    uint8_t *codes;
    float *scales, *zeros, *x, *y0, *bias;
    uint32_t *g_idx;
    void *x16; /* X in its type */
    void *packed;
    size_t packed_bytes;
} data;

static float round16(nb_dtype t, float f) {
    return t == NB_F16 ? nb_f16_to_f32(nb_f32_to_f16(f)) : t == NB_BF16 ? nb_bf16_to_f32(nb_f32_to_bf16(f)) : f;
}

static void *get(size_t n) {
    void *p = calloc(n ? n : 1, 1);
    if (!p)
        exit(1);
    return p;
}

static void make(const shape *s, data *d) {
    nb_random r = nb_random_seed(s->n * 7919 + s->k * 31 + s->group + s->bits + s->m);
    size_t group = s->group && s->group < s->k ? s->group : s->k;
    d->w = (nb_qweight){.n = s->n, .k = s->k, .group = group, .bits = s->bits, .scale_type = s->scale_type};
    d->w.symmetric = s->form == 's';
    d->w.offsets = s->form == 'o';
    d->w.act_order = s->form == 'a';
    d->groups = nb__qweight_groups(&d->w);
    d->codes = get(s->n * s->k);
    d->scales = get(s->n * d->groups * 4);
    d->zeros = get(s->n * d->groups * 4);
    d->g_idx = get(s->k * 4);
    d->x = get(s->m * s->ldx * 4);
    d->x16 = get(s->m * s->ldx * 4);
    d->bias = get(s->n * 4);
    for (size_t i = 0; i < s->n * s->k; i++)
        d->codes[i] = (uint8_t)(nb_random_u32(&r) & ((1u << s->bits) - 1u));
    for (size_t i = 0; i < s->n * d->groups; i++) {
        d->scales[i] = round16(s->scale_type, (0.001f + nb_random_f32(&r)) * (nb_random_below(&r, 5) ? 1.0f : -1.0f));
        d->zeros[i] = d->w.symmetric ? (float)(1u << (s->bits - 1))
                      : d->w.offsets ? nb_random_f32(&r) * 4 - 2
                                     : (float)nb_random_below(&r, s->bits == 8 ? 256 : (1u << s->bits) + 1);
    }
    for (size_t j = 0; j < s->k; j++)
        d->g_idx[j] = (uint32_t)(j / group);
    for (size_t j = s->k; d->w.act_order && j > 1; j--) {
        size_t o = nb_random_below(&r, (uint32_t)j);
        uint32_t t = d->g_idx[j - 1];
        d->g_idx[j - 1] = d->g_idx[o];
        d->g_idx[o] = t;
    }
    for (size_t i = 0; i < s->m * s->ldx; i++) {
        d->x[i] = round16(s->type, nb_random_f32(&r) - 0.5f);
        if (s->type == NB_F32)
            ((float *)d->x16)[i] = d->x[i];
        else
            ((uint16_t *)d->x16)[i] = s->type == NB_F16 ? nb_f32_to_f16(d->x[i]) : nb_f32_to_bf16(d->x[i]);
    }
    for (size_t j = 0; j < s->n; j++)
        d->bias[j] = nb_random_f32(&r);
    if (!nb__packer_cuda.size(&d->w, &d->packed_bytes))
        exit(1);
    d->packed = get(d->packed_bytes);
    if (!nb__packer_cuda.begin(&d->w, d->w.act_order ? d->g_idx : NULL, d->packed))
        exit(1);
    for (size_t p = 0; p * NB_QC_PANEL < s->n; p++) {
        size_t row = p * NB_QC_PANEL, rows = s->n - row < NB_QC_PANEL ? s->n - row : NB_QC_PANEL;
        nb__packer_cuda.pack(&d->w, p, rows, d->codes + row * s->k, d->scales + row * d->groups, d->zeros + row * d->groups,
                             d->packed);
    }
}

/* X as 8 bits have it, in place of X: the reference then takes what the kernel multiplies, and only sums may differ. Blocks are of places
 * of W, 32 where groups allow, else 16. */
static void round_x(const shape *s, data *d) {
    nb__cuda_qlayout l;
    nb__cuda_i8plan plan;
    if (!nb__cuda_qlayout_make(&d->w, &l) || !nb__cuda_i8plan_make(&d->w, s->m, &plan))
        exit(1);
    const uint32_t *map = l.map_bytes ? d->packed : NULL;
    size_t places = l.steps * NB_QC_STEP, block = plan.wide ? 32 : 16;
    for (size_t i = 0; i < s->m * places / block; i++) {
        float *row = d->x + i / (places / block) * s->ldx, most = 0;
        size_t first = i % (places / block) * block;
        for (size_t q = first; q < first + block; q++) {
            size_t c = map ? map[q] : q;
            most = c < s->k ? fmaxf(most, fabsf(row[c])) : most;
        }
        float step = most / 127.0f;
        for (size_t q = first; q < first + block; q++) {
            size_t c = map ? map[q] : q;
            if (c >= s->k)
                continue;
            float to = most < 0x1p-100f ? 0.0f : rintf(row[c] / step) * step;
            if (fabs((double)to - (double)row[c]) > (double)step / 2 * (1 + 0x1p-14))
                fail_count++;
            row[c] = to;
        }
    }
}

static void check_unpack(const shape *s, const data *d) {
    uint8_t *codes = get(s->k);
    float *scales = get(d->groups * 4), *zeros = get(d->groups * 4);
    int32_t *g_idx = get(s->k * 4);
    for (size_t i = 0; i < s->n; i++) {
        nb__packer_cuda.unpack(&d->w, d->packed, i, codes, scales, zeros);
        if (memcmp(codes, d->codes + i * s->k, s->k) || memcmp(scales, d->scales + i * d->groups, d->groups * 4) ||
            memcmp(zeros, d->zeros + i * d->groups, d->groups * 4)) {
            fprintf(stderr, "row %zu does not come back as it was packed\n", i);
            fail_count++;
            break;
        }
    }
    nb__packer_cuda.columns(&d->w, d->packed, g_idx);
    if (memcmp(g_idx, d->g_idx, s->k * 4)) {
        fprintf(stderr, "g_idx does not come back as it was packed\n");
        fail_count++;
    }
    free(codes), free(scales), free(zeros), free(g_idx);
}

/* The worst error in units of its bound. */
static double worst_of(const shape *s, const data *d, const void *y, size_t ldy, const float *before) {
    double worst = 0, k = (double)s->k + 10, gamma = k * 0x1p-24 / (1 - k * 0x1p-24);
    double unit = s->y_type == NB_F16 ? 0x1p-11 : s->y_type == NB_BF16 ? 0x1p-8 : 0;
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = 0; j < s->n; j++) {
            double sum = 0, mag = 0;
            for (size_t c = 0; c < s->k; c++) {
                size_t g = j * d->groups + d->g_idx[c];
                double q = d->codes[j * s->k + c], sc = (double)d->scales[g], z = (double)d->zeros[g];
                double w = d->w.offsets ? q * sc + z : (q - z) * sc;
                double size = d->w.offsets ? fabs(q * sc) + fabs(z) : fabs(w);
                sum += w * (double)d->x[i * s->ldx + c];
                mag += size * fabs((double)d->x[i * s->ldx + c]);
            }
            sum += (double)d->bias[j] + (before ? (double)before[j] : 0);
            mag += fabs((double)d->bias[j]) + (before ? fabs((double)before[j]) : 0);
            uint16_t h = s->y_type == NB_F32 ? 0 : ((const uint16_t *)y)[i * ldy + j];
            double got = s->y_type == NB_F32   ? (double)((const float *)y)[i * ldy + j]
                         : s->y_type == NB_F16 ? (double)nb_f16_to_f32(h)
                                               : (double)nb_bf16_to_f32(h);
            double e = fabs(got - sum) / (gamma * mag + unit * (fabs(sum) + gamma * mag) + 0x1p-25);
            worst = e > worst || e != e ? e : worst;
        }
    return worst;
}

static CUdeviceptr room_for(size_t n) {
    CUdeviceptr q;
    OK(cuMemAlloc(&q, n));
    return q;
}

static CUdeviceptr up(const void *p, size_t n) {
    CUdeviceptr q = room_for(n);
    OK(cuMemcpyHtoD(q, p, n));
    return q;
}

static void drop(data *d) {
    free(d->codes), free(d->scales), free(d->zeros), free(d->g_idx), free(d->x), free(d->x16), free(d->bias), free(d->packed);
}

static void say(const shape *s, const char *kernel, double worst, unsigned split, unsigned slices, unsigned part) {
    bool bad = !(worst <= 1);
    fail_count += bad;
    if (bad || getenv("QGEMM_SAY"))
        fprintf(stderr, "%s%s: %u bits m %zu n %zu k %zu group %zu form %c: split %u slices %u part %u: %.3g of the bound\n",
                bad ? "WRONG " : "", kernel, s->bits, s->m, s->n, s->k, s->group, s->form, split, slices, part, worst);
}

/* The worst error of Y on the device, infinite where something stands beside it. */
static double look(const shape *s, const data *d, CUdeviceptr from, size_t ldy, size_t ysize) {
    void *y = get(s->m * ldy * ysize);
    OK(cuMemcpyDtoH(y, from, s->m * ldy * ysize));
    double worst = worst_of(s, d, y, ldy, NULL);
    for (size_t i = 0; i < s->m; i++)
        for (size_t j = s->n * ysize; j < ldy * ysize; j++)
            if (((unsigned char *)y)[i * ldy * ysize + j] != 0xA5)
                worst = HUGE_VAL;
    free(y);
    return worst;
}

static void launch(CUmodule module, const char *kernel, unsigned x, unsigned y, unsigned threads, nb_cu_qgemm_i8 *params) {
    CUfunction f;
    void *args[] = {params};
    OK(cuModuleGetFunction(&f, module, kernel));
    OK(cuLaunchKernel(f, x, y, 1, threads, 1, 1, 0, NULL, args, NULL));
}

static void run_i8(const shape *s, data *d, CUmodule module, size_t ldy, size_t ysize) {
    struct nb_qgemm_args a = {.m = s->m, .w = d->w, .ldx = s->ldx, .ldy = ldy, .x_type = NB_F32, .y_type = s->y_type};
    nb__cuda_i8plan p;
    nb__cuda_qplan exact = {.slices = 1};
    nb_cu_qgemm_i8 params;
    size_t room;
    if (!nb__cuda_i8plan_make(&d->w, s->m, &p) || !nb__packer_cuda.workspace(&d->w, s->m, true, s->units, &room) || p.bytes > room)
        exit(1);
    nb__cuda_qaddress at = {.packed = up(d->packed, d->packed_bytes), .x = up(d->x16, ((s->m - 1) * s->ldx + s->k) * 4),
                            .y = room_for(s->m * ldy * ysize), .bias = up(d->bias, s->n * 4), .workspace = room_for(p.bytes)};
    OK(cuMemsetD8(at.y, 0xA5, s->m * ldy * ysize));
    if (!nb__cuda_qparams(&a, &exact, &at, &params.g))
        exit(1);
    nb__cuda_i8params(&p, &at, &params);
    launch(module, NB_CUDA_PREPARE, p.prepare_x, p.prepare_y, 32 * NB_CUDA_PREPARE_WARPS, &params);
    launch(module, p.kernel, p.grid_x, p.grid_y, 32 * p.warps, &params);
    OK(cuCtxSynchronize());
    round_x(s, d);
    say(s, p.kernel, look(s, d, at.y, ldy, ysize), 1, 1, p.part);
    cuMemFree(at.packed), cuMemFree(at.x), cuMemFree(at.y), cuMemFree(at.bias), cuMemFree(at.workspace);
}

static void run(const shape *s, CUmodule module, unsigned cc) {
    data d;
    size_t ldy = s->n < 1024 ? s->n + 3 : s->n, ysize = s->y_type == NB_F32 ? 4 : 2;
    CUfunction f;
    make(s, &d);
    check_unpack(s, &d);
    if (s->i8) {
        run_i8(s, &d, module, ldy, ysize);
        drop(&d);
        return;
    }
    struct nb_qgemm_args a = {.m = s->m, .w = d.w, .ldx = s->ldx, .ldy = ldy, .x_type = s->type, .y_type = s->y_type};
    nb__cuda_qplan p;
    nb_cu_qgemm params;
    if (!nb__cuda_qplan_make(&d.w, s->m, s->type, false, cc, s->units, &p))
        exit(1);
    size_t room;
    if (!nb__packer_cuda.workspace(&d.w, s->m, false, s->units, &room) || p.bytes > room) {
        fprintf(stderr, "workspace: %zu bytes are needed, %zu were said\n", p.bytes, room);
        fail_count++;
    }
    nb__cuda_qaddress at = {.packed = up(d.packed, d.packed_bytes), .x = up(d.x16, ((s->m - 1) * s->ldx + s->k) * (s->type == NB_F32 ? 4 : 2))};
    at.bias = up(d.bias, s->n * 4);
    at.y = room_for(s->m * ldy * ysize);
    OK(cuMemsetD8(at.y, 0xA5, s->m * ldy * ysize));
    if (p.bytes) {
        at.workspace = room_for(p.bytes);
        OK(cuMemsetD8(at.workspace + p.partial_bytes, 0, p.bytes - p.partial_bytes));
    }
    if (!nb__cuda_qparams(&a, &p, &at, &params))
        exit(1);
    OK(cuModuleGetFunction(&f, module, p.kernel));
    if (p.shared > 48 * 1024)
        OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, (int)p.shared));
    void *args[] = {&params};
    OK(cuLaunchKernel(f, p.grid_x, p.grid_y, p.slices, p.warps * p.split * 32, 1, 1, p.shared, NULL, args, NULL));
    OK(cuCtxSynchronize());
    say(s, p.kernel, look(s, &d, at.y, ldy, ysize), p.split, p.slices, p.part);
    cuMemFree(at.packed), cuMemFree(at.x), cuMemFree(at.y), cuMemFree(at.bias);
    if (p.bytes)
        cuMemFree(at.workspace);
    drop(&d);
}

static nb_float_type float_type(nb_dtype t) {
    return t == NB_F16 ? NB_FLOAT_F16 : t == NB_BF16 ? NB_FLOAT_BF16 : NB_FLOAT_F32;
}

static void nb_ok(nb_status status, const nb_err *err) {
    if (status != NB_OK) {
        fprintf(stderr, "status %d: %s\n", (int)status, err->text);
        exit(1);
    }
}

/* The same through the public ABI: the caller's context, stream and memory. */
static void run_abi(const shape *s, CUcontext context) {
    data d;
    make(s, &d);
    nb_ctx *ctx;
    nb_err err = {0};
    CUstream stream;
    size_t bytes, work, ldy = s->n + 3, ysize = s->y_type == NB_F32 ? 4 : 2, scale_size = s->scale_type == NB_F32 ? 4 : 2;
    nb_weight_desc desc = {.n = s->n, .k = s->k, .bits = s->bits, .group_size = d.w.group, .symmetric = d.w.symmetric,
                           .act_order = d.w.act_order, .scale_type = float_type(s->scale_type), .offsets = d.w.offsets};
    uint8_t *zeros = get(s->n * d.groups);
    void *scales = get(s->n * d.groups * scale_size);
    for (size_t i = 0; i < s->n * d.groups; i++) {
        uint16_t h = s->scale_type == NB_F16 ? nb_f32_to_f16(d.scales[i]) : nb_f32_to_bf16(d.scales[i]);
        if (!d.w.offsets)
            zeros[i] = (uint8_t)d.zeros[i];
        memcpy((char *)scales + i * scale_size, scale_size == 4 ? (void *)&d.scales[i] : &h, scale_size);
    }
    nb_weight_source source = {.layout = NB_LAYOUT_CANONICAL, .scale_type = float_type(s->scale_type), .codes = d.codes,
                               .codes_bytes = s->n * s->k, .scales = scales, .scales_bytes = s->n * d.groups * scale_size,
                               .zeros = d.w.offsets ? (void *)d.zeros : zeros, .zeros_bytes = s->n * d.groups * (d.w.offsets ? 4 : 1),
                               .g_idx = d.g_idx, .g_idx_bytes = s->k * 4};
    nb_ctx_options options = {.size = sizeof options, .device = "cuda", .threads = 1, .native_context = context};
    nb_ok(nb_ctx_open(&options, &ctx, &err), &err);
    nb_ok(nb_weight_packed_size(ctx, &desc, &bytes, &err), &err);
    void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    nb_ok(nb_weight_pack(ctx, &desc, &source, packed, bytes, NULL, 0, &err), &err);
    if (bytes != d.packed_bytes || memcmp(packed, d.packed, bytes)) {
        fprintf(stderr, "the ABI packs other bytes\n");
        fail_count++;
    }
    nb_ok(nb_gemm_workspace_size(ctx, &desc, s->m, NB_GEMM_EXACT, &work, &err), &err);
    OK(cuCtxSetCurrent(context));
    OK(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    CUdeviceptr y = room_for(s->m * ldy * ysize), bias = up(d.bias, s->n * 4), w = up(packed, bytes);
    CUdeviceptr x = up(d.x16, ((s->m - 1) * s->ldx + s->k) * (s->type == NB_F32 ? 4 : 2)), ws = room_for(work ? work : 1);
    nb_gemm_args args = {.size = sizeof args, .m = s->m, .desc = &desc, .packed = (void *)(uintptr_t)w, .packed_bytes = bytes,
                         .x = (void *)(uintptr_t)x, .x_type = float_type(s->type), .ldx = s->ldx, .y = (void *)(uintptr_t)y,
                         .y_type = float_type(s->y_type), .ldy = ldy, .bias = (void *)(uintptr_t)bias,
                         .workspace = (void *)(uintptr_t)ws, .workspace_bytes = work, .stream = stream};
    nb_ok(nb_gemm(ctx, &args, &err), &err);
    nb_ok(nb_ctx_sync(ctx, stream, &err), &err);
    float *before = get(s->m * ldy * 4);
    void *host = get(s->m * ldy * ysize);
    OK(cuMemcpyDtoH(host, y, s->m * ldy * ysize));
    double worst = worst_of(s, &d, host, ldy, NULL);
    if (!(worst <= 1)) {
        fprintf(stderr, "WRONG through the ABI: %.3g of the bound\n", worst);
        fail_count++;
    }
    nb_ctx_close(ctx);
    free(before), free(host), free(packed), free(zeros), free(scales);
}

static void parse(const char *text, shape *s) {
    char type[8];
    *s = (shape){.units = 4, .y_type = NB_F16, .scale_type = NB_F16};
    if (sscanf(text, "%u,%7[a-z0-9],%zu,%zu,%zu,%zu,%c,%u", &s->bits, type, &s->m, &s->n, &s->k, &s->group, &s->form, &s->units) < 7) {
        fprintf(stderr, "%s: not a shape\n", text);
        exit(2);
    }
    s->i8 = !strcmp(type, "i8");
    s->type = !strcmp(type, "bf16") ? NB_BF16 : !strcmp(type, "f32") || s->i8 ? NB_F32 : NB_F16;
    s->ldx = s->k;
    /* Odd sizes bring other types and rows that are not aligned. */
    if (s->n % 2)
        s->y_type = s->n % 4 == 1 ? NB_F32 : NB_BF16, s->scale_type = s->n % 4 == 1 ? NB_BF16 : NB_F32, s->ldx += s->n % 5;
}

int main(int argc, char **argv) {
    CUdevice dev;
    CUcontext context;
    CUmodule module;
    if (argc < 4)
        return 2;
    OK(cuInit(0));
    OK(cuDeviceGet(&dev, 0));
    OK(cuDevicePrimaryCtxRetain(&context, dev));
    OK(cuCtxSetCurrent(context));
    OK(cuModuleLoad(&module, argv[1]));
    for (int i = 3; i < argc; i++) {
        shape s;
        if (!strncmp(argv[i], "abi:", 4)) {
            parse(argv[i] + 4, &s);
            run_abi(&s, context);
            continue;
        }
        parse(argv[i], &s);
        run(&s, module, (unsigned)atoi(argv[2]));
    }
    return fail_count != 0;
}
