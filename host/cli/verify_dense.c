/* Dense products against sums in f64; conversions between codes and floats bit for bit. */
#include <math.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/cli/verify.h"

static nb_status random_floats(size_t count, uint64_t seed, float **out, nb_err *err) {
    nb_random r = nb_random_seed(seed);
    NB_TRY(nb_calloc(count, sizeof **out, "random numbers", out, err));
    for (size_t i = 0; i < count; i++)
        (*out)[i] = nb_random_f32(&r) - 0.5f;
    return NB_OK;
}

/* Buffers of a case on the device, and their copies here. */
typedef struct buffers {
    nb_guarded a, b, c, d;
    float *ha, *hb, *hc, *hd;
} buffers;

static void buffers_free(nb_device *device, buffers *t) {
    nb_guarded_free(device, &t->a);
    nb_guarded_free(device, &t->b);
    nb_guarded_free(device, &t->c);
    nb_guarded_free(device, &t->d);
    nb_free(t->ha);
    nb_free(t->hb);
    nb_free(t->hc);
    nb_free(t->hd);
}

static nb_status put(nb_verify *v, const void *host, size_t bytes, nb_guarded *g, nb_err *err) {
    NB_TRY(nb_guarded_new(v->stream->device, bytes, 4, g, err));
    return nb_upload(v->stream, g->mem, host, bytes, err);
}

/* ---- matmul and linear ---- */

typedef struct dims {
    size_t m, n, k;
} dims;

static nb_status product_case(nb_verify *v, const nb_kernel *row, dims d, bool trans_a,
                              bool trans_b, nb_err *err) {
    buffers t = {0};
    nb_status status;
    NB_GO(random_floats(d.m * d.k, 1, &t.ha, err));
    NB_GO(random_floats(d.n * d.k, 2, &t.hb, err));
    NB_GO(random_floats(d.m * d.n, 3, &t.hc, err));
    NB_GO(put(v, t.ha, d.m * d.k * 4, &t.a, err));
    NB_GO(put(v, t.hb, d.n * d.k * 4, &t.b, err));
    NB_GO(nb_guarded_new(v->stream->device, d.m * d.n * 4, 4, &t.c, err));
    struct nb_matmul_args mm = {.m = d.m,
                                .n = d.n,
                                .k = d.k,
                                .a = t.a.mem,
                                .b = t.b.mem,
                                .c = t.c.mem,
                                .ldc = d.n,
                                .lda = trans_a ? d.m : d.k,
                                .ldb = trans_b ? d.k : d.n,
                                .trans_a = trans_a,
                                .trans_b = trans_b,
                                .alpha = 1.0f};
    struct nb_linear_args lin = {.m = d.m,
                                 .n = d.n,
                                 .k = d.k,
                                 .x = t.a.mem,
                                 .w = t.b.mem,
                                 .y = t.c.mem,
                                 .ldx = d.k,
                                 .ldy = d.n,
                                 .w_type = NB_F32};
    NB_GO(nb_launch_row(v->stream, row, row->op == NB_OP_matmul ? (const void *)&mm : &lin, err));
    NB_GO(nb_download(v->stream, t.hc, t.c.mem, d.m * d.n * 4, err));
    NB_GO(nb_sync(v->stream, err));
    v->cases++;
    double gamma = (double)(d.k + 4) * 0x1p-24 * 1.001;
    for (size_t i = 0; i < d.m; i++)
        for (size_t j = 0; j < d.n; j++) {
            double sum = 0, mag = 0;
            for (size_t l = 0; l < d.k; l++) {
                double x = (double)t.ha[trans_a ? l * d.m + i : i * d.k + l] *
                           (double)t.hb[trans_b ? j * d.k + l : l * d.n + j];
                sum += x;
                mag += fabs(x);
            }
            double got = (double)t.hc[i * d.n + j];
            if (!nb_verify_count(v, fabs(got - sum), gamma * mag))
                nb_verify_wrong(v, "m %zu n %zu k %zu: c[%zu][%zu] is %.9g, not %.9g", d.m, d.n,
                                d.k, i, j, got, sum);
        }
    if (!nb_guarded_intact(&t.c))
        nb_verify_wrong(v, "m %zu n %zu k %zu: written beyond C", d.m, d.n, d.k);
out:
    buffers_free(v->stream->device, &t);
    return status;
}

nb_status nb_verify_product(nb_verify *v, const nb_kernel *row, nb_err *err) {
    static const dims cases[] = {{1, 1, 1},    {6, 16, 256},  {14, 32, 257}, {15, 33, 40},
                                 {5, 300, 31}, {3, 17, 1000}, {510, 9, 20},  {70, 257, 130}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int f = 0; f < (row->op == NB_OP_matmul ? 4 : 1); f++)
            NB_TRY(product_case(v, row, cases[i], f & 1, row->op == NB_OP_linear || (f & 2), err));
    return NB_OK;
}

/* ---- rtn and dequant ---- */

typedef struct code_case {
    size_t n, k, group;
    unsigned bits;
} code_case;

static uint8_t round_code(float w, float scale, float zero, unsigned bits) {
    float top = (float)((1u << bits) - 1u), q = rintf(w / scale) + zero;
    return (uint8_t)(q < 0.0f ? 0.0f : q > top ? top : q);
}

/* rtn on random values and scales, then dequant of its codes: both bit for bit. */
static nb_status codes_case(nb_verify *v, const nb_kernel *row, code_case c, nb_err *err) {
    buffers t = {0};
    nb_guarded out = {0};
    uint8_t *codes = NULL;
    size_t groups = nb_ceil_div(c.k, c.group), count = c.n * c.k;
    nb_status status;
    bool rtn = row->op == NB_OP_rtn;
    NB_GO(random_floats(count, 4, &t.ha, err));
    NB_GO(random_floats(c.n * groups, 5, &t.hb, err));
    NB_GO(random_floats(c.n * groups, 6, &t.hc, err));
    NB_GO(nb_calloc(count, 1, "codes", &codes, err));
    for (size_t i = 0; i < c.n * groups; i++) {
        t.hb[i] = 0.01f + fabsf(t.hb[i]) / 4;
        t.hc[i] = (float)((1u << c.bits) / 2);
    }
    for (size_t i = 0; i < count; i++)
        codes[i] = round_code(t.ha[i], t.hb[i / c.k * groups + i % c.k / c.group],
                              t.hc[i / c.k * groups + i % c.k / c.group], c.bits);
    NB_GO(rtn ? put(v, t.ha, count * 4, &t.a, err) : put(v, codes, count, &t.a, err));
    NB_GO(put(v, t.hb, c.n * groups * 4, &t.b, err));
    NB_GO(put(v, t.hc, c.n * groups * 4, &t.c, err));
    NB_GO(nb_guarded_new(v->stream->device, count * (rtn ? 1 : 4), 4, &out, err));
    struct nb_rtn_args r = {.n = c.n,
                            .k = c.k,
                            .group = c.group,
                            .w = t.a.mem,
                            .ldw = c.k,
                            .bits = c.bits,
                            .scales = t.b.mem,
                            .zeros = t.c.mem,
                            .codes = out.mem};
    struct nb_dequant_args d = {.n = c.n,
                                .k = c.k,
                                .group = c.group,
                                .codes = t.a.mem,
                                .scales = t.b.mem,
                                .zeros = t.c.mem,
                                .w = out.mem,
                                .ldw = c.k};
    NB_GO(nb_launch_row(v->stream, row, rtn ? (const void *)&r : &d, err));
    NB_GO(nb_calloc(count, 4, "results", &t.hd, err));
    NB_GO(nb_download(v->stream, t.hd, out.mem, count * (rtn ? 1 : 4), err));
    NB_GO(nb_sync(v->stream, err));
    v->cases++;
    for (size_t i = 0; i < count; i++) {
        size_t g = i / c.k * groups + i % c.k / c.group;
        float want = ((float)codes[i] - t.hc[g]) * t.hb[g];
        bool same = rtn ? ((uint8_t *)t.hd)[i] == codes[i] : !memcmp(&t.hd[i], &want, 4);
        if (!same)
            nb_verify_wrong(v, "n %zu k %zu, %u bits, group %zu: element %zu differs", c.n, c.k,
                            c.bits, c.group, i);
    }
    if (!nb_guarded_intact(&out))
        nb_verify_wrong(v, "n %zu k %zu: written beyond the output", c.n, c.k);
out:
    nb_guarded_free(v->stream->device, &out);
    nb_free(codes);
    buffers_free(v->stream->device, &t);
    return status;
}

nb_status nb_verify_codes(nb_verify *v, const nb_kernel *row, nb_err *err) {
    static const code_case cases[] = {
        {1, 1, 1, 4}, {16, 64, 32, 4}, {17, 65, 32, 3}, {3, 100, 100, 8}, {33, 129, 16, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        NB_TRY(codes_case(v, row, cases[i], err));
    return NB_OK;
}
