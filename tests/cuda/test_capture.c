/* nb_gemm inside a CUDA graph, through the public calls and the driver alone: the first use of each kernel is inside a capture, a replay takes
 * the X that lies there then, and what may not stand in a capture is the driver's error. Weights and X are small integers, so sums
 * are exact in any order and compared as they are. */
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nibble/gemm.h>

#include "host/backend/cuda_api.h"
#include "host/tensor/dtype.h"

enum { GLOBAL = 0, NON_BLOCKING = 1 };

typedef struct graph graph;
typedef struct graph_exec graph_exec;
static struct {
    nb__cu_result (*begin)(nb__cu_stream, int);
    nb__cu_result (*end)(nb__cu_stream, graph **);
    nb__cu_result (*make)(graph_exec **, graph *, unsigned long long);
    nb__cu_result (*launch)(graph_exec *, nb__cu_stream);
    nb__cu_result (*drop)(graph *);
    nb__cu_result (*drop_exec)(graph_exec *);
} cg;
static const nb__cu_api *cu;
static nb__cu_context context;
static nb__cu_stream stream;
static nb_ctx *ctx;
static nb_err err;

static void find(void *library, const char *symbol, void *field) {
    void *address = dlsym(library, symbol);
    cr_assert_not_null(address, "%s", symbol);
    memcpy(field, &address, sizeof address);
}

static void ok(nb__cu_result r) {
    cr_assert_eq(r, 0, "the driver answers %d", r);
}

static void open_all(const char *device, nb_status expect) {
    nb_ctx_options o = {.size = sizeof o, .device = device, .threads = 1, .native_context = context};
    cr_assert_eq(nb_ctx_open(&o, &ctx, &err), expect, "%s", err.text);
}

static void setup(void) {
    char why[256];
    nb__cu_device id;
    nb__cu_context old;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    cu = nb__cu_load(why, sizeof why);
    cr_assert(library && cu, "%s", why);
    find(library, "cuStreamBeginCapture_v2", &cg.begin);
    find(library, "cuStreamEndCapture", &cg.end);
    find(library, "cuGraphInstantiateWithFlags", &cg.make);
    find(library, "cuGraphLaunch", &cg.launch);
    find(library, "cuGraphDestroy", &cg.drop);
    find(library, "cuGraphExecDestroy", &cg.drop_exec);
    ok(cu->device_get(&id, 0));
    ok(cu->primary_retain(&context, id));
    ok(cu->context_push(context));
    ok(cu->stream_new(&stream, NON_BLOCKING));
    ok(cu->context_pop(&old));
}

TestSuite(cuda_capture, .init = setup);

typedef struct product {
    nb_weight_desc desc;
    nb_gemm_args args;
    size_t m, n, k, x_bytes;
    int *w; /* [n, k], twice the weight */
    nb__cu_ptr x, y;
    float *out;
} product;

static int value(size_t i) {
    return (int)(i * 2654435761u % 4294967291u >> 7 & 7) - 3;
}

static nb__cu_ptr room_for(size_t bytes) {
    nb__cu_ptr p;
    ok(cu->mem_alloc(&p, bytes ? bytes : 1));
    return p;
}

static void fill_x(const product *p, size_t seed) {
    size_t size = p->args.x_type == NB_FLOAT_F32 ? 4 : 2;
    unsigned char *host = calloc(p->x_bytes, 1);
    for (size_t i = 0; i < p->m * p->k; i++) {
        float f = (float)value(i * 31 + seed);
        uint16_t h = p->args.x_type == NB_FLOAT_F16 ? nb_f32_to_f16(f) : nb_f32_to_bf16(f);
        memcpy(host + i * size, size == 4 ? (void *)&f : &h, size);
    }
    ok(cu->upload(p->x, host, p->x_bytes, stream));
    ok(cu->stream_sync(stream));
    free(host);
}

/* [m,k] [n,k]^T; codes, scales of 1/2, all in the caller's memory. */
static void make(product *p, unsigned bits, nb_float_type type, size_t m, size_t n, size_t k, size_t group, nb_gemm_mode mode) {
    size_t groups = (k + group - 1) / group, bytes, work;
    *p = (product){.m = m, .n = n, .k = k, .x_bytes = m * k * (type == NB_FLOAT_F32 ? 4 : 2)};
    p->desc = (nb_weight_desc){.n = n, .k = k, .bits = bits, .group_size = group, .symmetric = 1, .scale_type = NB_FLOAT_F16};
    p->w = calloc(n * k, sizeof *p->w);
    p->out = calloc(m * n, sizeof *p->out);
    uint8_t *codes = calloc(n, k);
    uint16_t *scales = calloc(n * groups, sizeof *scales);
    for (size_t i = 0; i < n * k; i++) {
        codes[i] = (uint8_t)((i * 40503u >> 3) & ((1u << bits) - 1u));
        p->w[i] = codes[i] - (1 << (bits - 1));
    }
    for (size_t i = 0; i < n * groups; i++)
        scales[i] = nb_f32_to_f16(0.5f);
    nb_weight_source source = {.layout = NB_LAYOUT_CANONICAL, .scale_type = NB_FLOAT_F16, .codes = codes, .codes_bytes = n * k,
                               .scales = scales, .scales_bytes = n * groups * 2};
    cr_assert_eq(nb_weight_packed_size(ctx, &p->desc, &bytes, &err), NB_OK);
    void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    cr_assert_eq(nb_weight_pack(ctx, &p->desc, &source, packed, bytes, NULL, 0, &err), NB_OK, "%s", err.text);
    cr_assert_eq(nb_gemm_workspace_size(ctx, &p->desc, m, mode, &work, &err), NB_OK, "%s", err.text);
    nb__cu_context old;
    ok(cu->context_push(context));
    nb__cu_ptr w = room_for(bytes), workspace = room_for(work);
    p->x = room_for(p->x_bytes);
    p->y = room_for(m * n * sizeof(float));
    ok(cu->upload(w, packed, bytes, stream));
    ok(cu->stream_sync(stream));
    ok(cu->context_pop(&old));
    p->args = (nb_gemm_args){.size = sizeof p->args, .mode = mode, .m = m, .desc = &p->desc, .packed = (void *)(uintptr_t)w,
                             .packed_bytes = bytes, .x = (void *)(uintptr_t)p->x, .x_type = type, .ldx = k,
                             .y = (void *)(uintptr_t)p->y, .y_type = NB_FLOAT_F32, .ldy = n,
                             .workspace = (void *)(uintptr_t)workspace, .workspace_bytes = work, .stream = stream};
    free(packed), free(codes), free(scales);
}

static void drop(product *p) {
    cu->mem_free(p->x), cu->mem_free(p->y);
    cu->mem_free((nb__cu_ptr)(uintptr_t)p->args.packed), cu->mem_free((nb__cu_ptr)(uintptr_t)p->args.workspace);
    free(p->w), free(p->out);
}

/* Replays with another X, and looks at each sum. Blocks of X with max|x| = 3 in the fast mode have a step of 3/127, so that sums are near and
 * not exact: within half a step for each weight. */
static void replay(product *p, graph_exec *e, size_t seed) {
    fill_x(p, seed);
    ok(cu->fill(p->y, 0xFF, p->m * p->n * sizeof(float), stream));
    ok(cg.launch(e, stream));
    ok(cu->download(p->out, p->y, p->m * p->n * sizeof(float), stream));
    ok(cu->stream_sync(stream));
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            double sum = 0, most = 0;
            for (size_t c = 0; c < p->k; c++) {
                sum += 0.5 * p->w[j * p->k + c] * value((i * p->k + c) * 31 + seed);
                most += 0.5 * abs(p->w[j * p->k + c]);
            }
            double e_ = (double)p->out[i * p->n + j] - sum, room = p->args.mode == NB_GEMM_FAST ? most * 4.0 / 127 : 0;
            cr_assert(e_ >= -room && e_ <= room, "row %zu, column %zu: %g, expected %g", i, j, (double)p->out[i * p->n + j], sum);
        }
}

static void capture_one(unsigned bits, nb_float_type type, size_t m, size_t n, size_t k, size_t group, nb_gemm_mode mode) {
    product p;
    graph *g;
    graph_exec *e;
    nb__cu_context old;
    make(&p, bits, type, m, n, k, group, mode);
    ok(cu->context_push(context));
    ok(cg.begin(stream, GLOBAL));
    nb_status status = nb_gemm(ctx, &p.args, &err);
    ok(cg.end(stream, &g));
    cr_assert_eq(status, NB_OK, "%u bits, type %d, %zu rows: %s", bits, (int)type, m, err.text);
    ok(cg.make(&e, g, 0));
    for (size_t seed = 0; seed < 3; seed++)
        replay(&p, e, seed);
    ok(cg.drop_exec(e));
    ok(cg.drop(g));
    drop(&p);
    ok(cu->context_pop(&old));
}

/* All widths, types and tiles: no capture meets a kernel that is not loaded. */
Test(cuda_capture, every_kernel_first_inside_a_capture) {
    static const unsigned bits[] = {2, 3, 4, 8};
    static const size_t rows[] = {1, 16, 20, 64};
    open_all("cuda", NB_OK);
    for (size_t b = 0; b < 4; b++)
        for (int type = NB_FLOAT_F32; type <= NB_FLOAT_BF16; type++)
            for (size_t r = 0; r < 4; r++)
                capture_one(bits[b], (nb_float_type)type, rows[r], 33, 160, 32, NB_GEMM_EXACT);
    const char *name;
    for (size_t b = 0; b < 4 && nb_ctx_kernel(ctx, NB_GEMM_FAST, &name, NULL) == NB_OK; b++)
        for (size_t r = 0; r < 2; r++)
            capture_one(bits[b], NB_FLOAT_F32, rows[r], 33, 160, 32, NB_GEMM_FAST);
    nb_ctx_close(ctx);
}

/* With slices of K: the counters of arrivals are cleared by a node of the graph, so a second replay finds them clean. */
Test(cuda_capture, slices) {
    open_all("cuda:0", NB_OK);
    capture_one(4, NB_FLOAT_F16, 3, 64, 4096, 128, NB_GEMM_EXACT);
    capture_one(4, NB_FLOAT_F16, 16, 64, 4096, 128, NB_GEMM_EXACT);
    nb_ctx_close(ctx);
}

Test(cuda_capture, waiting_inside_a_capture_is_an_error) {
    enum { INVALIDATED = 901 };
    product p;
    graph *g;
    nb__cu_context old;
    open_all("cuda", NB_OK);
    make(&p, 4, NB_FLOAT_F16, 1, 32, 128, 32, NB_GEMM_EXACT);
    ok(cu->context_push(context));
    fill_x(&p, 0);
    ok(cg.begin(stream, GLOBAL));
    cr_assert_eq(nb_gemm(ctx, &p.args, &err), NB_OK, "%s", err.text);
    cr_assert_eq(nb_ctx_sync(ctx, stream, &err), NB_E_DEVICE);
    cr_assert(strstr(err.text, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED (900)"), "%s", err.text);
    cr_assert_eq(cg.end(stream, &g), INVALIDATED);
    cr_assert_eq(nb_gemm(ctx, &p.args, &err), NB_OK, "the stream serves again: %s", err.text);
    cr_assert_eq(nb_ctx_sync(ctx, stream, &err), NB_OK, "%s", err.text);
    drop(&p);
    ok(cu->context_pop(&old));
    nb_ctx_close(ctx);
}

Test(cuda_capture, a_context_of_another_device) {
    open_all("cuda:1", NB_E_USAGE);
    cr_assert(strstr(err.text, "cuda:1 is asked for, and the given context is of cuda:0"), "%s", err.text);
    open_all("cuda:x", NB_E_USAGE);
    cr_assert(strstr(err.text, "by its number"), "%s", err.text);
    open_all("cuda:0", NB_OK);
    nb_ctx_close(ctx);
}
