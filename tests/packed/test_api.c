/* The public ABI: every disk layout, exact round trips, products in all float types, a caller's
 * pool and memory. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <nibble/nibble.h>
#include "host/base/random.h"
#include "host/tensor/dtype.h"
#include "kernels/cpu/ref/qgemm_ref.h"

/* A weight in plain form, and the buffers of one layout of it. */
typedef struct plain {
    nb_weight_desc d;
    size_t groups;
    uint8_t *codes, *zeros;
    uint16_t *scales;
    float *offsets;
    int32_t *g_idx;
    nb_weight_source s;
    void *buffers[4];
} plain;

static void *zeroed(size_t bytes) {
    return calloc(bytes ? bytes : 1, 1);
}

static plain make(nb_weight_desc d, uint64_t seed) {
    plain p = {.d = d, .groups = (d.k + d.group_size - 1) / d.group_size};
    nb_random r = nb_random_seed(seed);
    p.codes = zeroed(d.n * d.k);
    p.zeros = zeroed(d.n * p.groups);
    p.scales = zeroed(d.n * p.groups * 2);
    p.offsets = zeroed(d.n * p.groups * 4);
    p.g_idx = zeroed(d.k * 4);
    for (size_t i = 0; i < d.n * d.k; i++)
        p.codes[i] = (uint8_t)nb_random_below(&r, 1u << d.bits);
    for (size_t i = 0; i < d.n * p.groups; i++) {
        float s = 0.01f + nb_random_f32(&r);
        p.scales[i] = d.scale_type == NB_FLOAT_BF16 ? nb_f32_to_bf16(s) : nb_f32_to_f16(s);
        p.zeros[i] = (uint8_t)(d.symmetric ? 1u << (d.bits - 1)
                                           : 1 + nb_random_below(&r, (1u << d.bits) - 1));
        p.offsets[i] = nb_f16_to_f32(nb_f32_to_f16(-s));
    }
    for (size_t j = 0; j < d.k; j++)
        p.g_idx[j] = (int32_t)(j / d.group_size);
    for (size_t j = d.k; d.act_order && j > 1; j--) {
        size_t o = nb_random_below(&r, (uint32_t)j);
        int32_t t = p.g_idx[j - 1];
        p.g_idx[j - 1] = p.g_idx[o];
        p.g_idx[o] = t;
    }
    return p;
}

static void drop(plain *p) {
    for (int i = 0; i < 4; i++)
        free(p->buffers[i]);
    free(p->codes);
    free(p->zeros);
    free(p->scales);
    free(p->offsets);
    free(p->g_idx);
}

static void put(uint32_t *words, size_t first, size_t stride, size_t i, unsigned bits,
                unsigned code) {
    for (unsigned b = 0; b < bits; b++) {
        size_t at = i * bits + b;
        words[first + at / 32 * stride] |= (code >> b & 1u) << at % 32;
    }
}

static size_t words_of(size_t count, unsigned bits) {
    return bits == 3 ? (count + 31) / 32 * 3 : (count * bits + 31) / 32;
}

/* The layouts, written bit by bit from their descriptions, not by the library's helpers. */
static void to_gptq(plain *p, bool v1) {
    const nb_weight_desc *d = &p->d;
    size_t kw = words_of(d->k, d->bits), nw = words_of(d->n, d->bits);
    uint32_t *q = p->buffers[0] = zeroed(kw * d->n * 4),
             *z = p->buffers[1] = zeroed(p->groups * nw * 4);
    uint16_t *s = p->buffers[2] = zeroed(p->groups * d->n * 2);
    for (size_t n = 0; n < d->n; n++) {
        for (size_t k = 0; k < d->k; k++)
            put(q, n, d->n, k, d->bits, p->codes[n * d->k + k]);
        for (size_t g = 0; g < p->groups; g++) {
            put(z, g * nw, 1, n, d->bits, p->zeros[n * p->groups + g] - (v1 ? 1u : 0u));
            s[g * d->n + n] = p->scales[n * p->groups + g];
        }
    }
    p->s = (nb_weight_source){v1 ? NB_LAYOUT_GPTQ_V1 : NB_LAYOUT_GPTQ_V2,
                              d->scale_type,
                              q,
                              s,
                              z,
                              p->g_idx,
                              kw * d->n * 4,
                              p->groups * d->n * 2,
                              p->groups * nw * 4,
                              d->k * 4};
}

static void to_awq(plain *p) {
    static const unsigned order[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    const nb_weight_desc *d = &p->d;
    size_t c = d->n / 8;
    uint32_t *q = p->buffers[0] = zeroed(d->k * c * 4),
             *z = p->buffers[1] = zeroed(p->groups * c * 4);
    uint16_t *s = p->buffers[2] = zeroed(p->groups * d->n * 2);
    for (size_t w = 0; w < c; w++)
        for (unsigned i = 0; i < 8; i++) {
            size_t n = 8 * w + order[i];
            for (size_t k = 0; k < d->k; k++)
                q[k * c + w] |= (uint32_t)p->codes[n * d->k + k] << 4 * i;
            for (size_t g = 0; g < p->groups; g++) {
                z[g * c + w] |= (uint32_t)p->zeros[n * p->groups + g] << 4 * i;
                s[g * d->n + n] = p->scales[n * p->groups + g];
            }
        }
    p->s = (nb_weight_source){NB_LAYOUT_AWQ,        d->scale_type,     q, s, z, NULL, d->k * c * 4,
                              p->groups * d->n * 2, p->groups * c * 4, 0};
}

static void to_compressed(plain *p) {
    const nb_weight_desc *d = &p->d;
    size_t pf = 32 / d->bits, kw = (d->k + pf - 1) / pf, nw = (d->n + pf - 1) / pf;
    uint32_t *q = p->buffers[0] = zeroed(d->n * kw * 4),
             *z = p->buffers[1] = zeroed(nw * p->groups * 4);
    for (size_t n = 0; n < d->n; n++) {
        for (size_t k = 0; k < d->k; k++)
            q[n * kw + k / pf] |= (uint32_t)p->codes[n * d->k + k] << d->bits * (k % pf);
        for (size_t g = 0; g < p->groups; g++)
            z[n / pf * p->groups + g] |= (uint32_t)p->zeros[n * p->groups + g]
                                         << d->bits * (n % pf);
    }
    p->s = (nb_weight_source){NB_LAYOUT_COMPRESSED_TENSORS,
                              d->scale_type,
                              q,
                              p->scales,
                              z,
                              p->g_idx,
                              d->n * kw * 4,
                              p->groups * d->n * 2,
                              nw * p->groups * 4,
                              d->k * 4};
}

static void to_canonical(plain *p) {
    const nb_weight_desc *d = &p->d;
    p->s = (nb_weight_source){NB_LAYOUT_CANONICAL,
                              d->scale_type,
                              p->codes,
                              p->scales,
                              d->offsets ? (void *)p->offsets : p->zeros,
                              p->g_idx,
                              d->n * d->k,
                              d->n * p->groups * 2,
                              d->n * p->groups * 4,
                              d->k * 4};
}

static void to_gguf(plain *p) {
    const nb_weight_desc *d = &p->d;
    size_t head = d->offsets ? 4 : 2, bytes = head + (d->bits == 8 ? 32 : 16);
    uint8_t *b = p->buffers[0] = zeroed(d->n * p->groups * bytes);
    for (size_t i = 0; i < d->n * p->groups; i++) {
        uint8_t *o = b + i * bytes;
        const uint8_t *c = p->codes + i * 32;
        uint16_t m = nb_f32_to_f16(p->offsets[i]);
        memcpy(o, &p->scales[i], 2);
        if (d->offsets)
            memcpy(o + 2, &m, 2);
        for (size_t j = 0; j < 32 && d->bits == 8; j++)
            o[head + j] = (uint8_t)(int8_t)(c[j] - 128);
        for (size_t j = 0; j < 16 && d->bits == 4; j++)
            o[head + j] = (uint8_t)(c[j] | c[j + 16] << 4);
    }
    nb_weight_layout l = d->bits == 8 ? NB_LAYOUT_GGUF_Q8_0
                         : d->offsets ? NB_LAYOUT_GGUF_Q4_1
                                      : NB_LAYOUT_GGUF_Q4_0;
    p->s = (nb_weight_source){.layout = l,
                              .scale_type = NB_FLOAT_F16,
                              .codes = b,
                              .codes_bytes = d->n * p->groups * bytes};
}

static nb_ctx *open_ctx(unsigned threads) {
    nb_ctx_options o = {.size = sizeof o, .threads = threads};
    nb_ctx *ctx;
    nb_err err = {0};
    cr_assert_eq(nb_ctx_open(&o, &ctx, &err), NB_OK, "%s", err.text);
    return ctx;
}

static void *pack(nb_ctx *ctx, const plain *p, size_t *bytes) {
    nb_err err = {0};
    cr_assert_eq(nb_weight_packed_size(ctx, &p->d, bytes, &err), NB_OK, "%s", err.text);
    void *packed = aligned_alloc(64, *bytes + 64);
    cr_assert_eq(nb_weight_pack(ctx, &p->d, &p->s, packed, *bytes, NULL, 0, &err), NB_OK, "%s: %s",
                 err.item, err.text);
    return packed;
}

/* pack, unpack: all as it was. */
static void round_trip(nb_ctx *ctx, plain *p) {
    size_t bytes, params = p->d.n * p->groups;
    void *packed = pack(ctx, p, &bytes);
    uint8_t *codes = zeroed(p->d.n * p->d.k);
    uint16_t *scales = zeroed(params * 2);
    void *zeros = zeroed(params * 4);
    int32_t *g_idx = zeroed(p->d.k * 4);
    cr_assert_eq(nb_weight_unpack(ctx, &p->d, packed, bytes, codes, scales, zeros, g_idx, NULL),
                 NB_OK);
    cr_assert(!memcmp(codes, p->codes, p->d.n * p->d.k), "codes, layout %d, %u bits", p->s.layout,
              p->d.bits);
    cr_assert(!memcmp(scales, p->scales, params * 2), "scales, layout %d", p->s.layout);
    cr_assert(!memcmp(zeros, p->d.offsets ? (void *)p->offsets : p->zeros,
                      params * (p->d.offsets ? 4 : 1)),
              "zeros, layout %d", p->s.layout);
    cr_assert(!memcmp(g_idx, p->g_idx, p->d.k * 4), "g_idx, layout %d", p->s.layout);
    free(codes);
    free(scales);
    free(zeros);
    free(g_idx);
    free(packed);
}

Test(api, every_layout_packs_and_unpacks_exactly) {
    static const unsigned widths[] = {2, 3, 4, 8};
    static const size_t groups[] = {16, 32, 40, 128, 200};
    nb_ctx *ctx = open_ctx(2);
    for (size_t b = 0; b < 4; b++)
        for (size_t g = 0; g < 5; g++)
            for (int form = 0; form < 4; form++)
                for (int layout = 0; layout < 4; layout++) {
                    nb_weight_desc d = {.n = 40,
                                        .k = 200,
                                        .bits = widths[b],
                                        .group_size = groups[g],
                                        .symmetric = form == 0,
                                        .act_order = form == 2,
                                        .offsets = form == 3 && layout == 3,
                                        .scale_type = form == 1 ? NB_FLOAT_BF16 : NB_FLOAT_F16};
                    plain p = make(d, b * 31 + g);
                    if (layout < 2)
                        to_gptq(&p, layout == 0);
                    else if (layout == 2)
                        to_compressed(&p);
                    else
                        to_canonical(&p);
                    round_trip(ctx, &p);
                    drop(&p);
                }
    nb_weight_desc awq = {
        .n = 48, .k = 256, .bits = 4, .group_size = 64, .scale_type = NB_FLOAT_F16};
    plain p = make(awq, 5);
    to_awq(&p);
    round_trip(ctx, &p);
    drop(&p);
    for (int type = 0; type < 3; type++) {
        nb_weight_desc d = {.n = 19,
                            .k = 96,
                            .bits = type == 2 ? 8 : 4,
                            .group_size = 32,
                            .symmetric = type != 1,
                            .offsets = type == 1,
                            .scale_type = NB_FLOAT_F16};
        p = make(d, 6);
        to_gguf(&p);
        round_trip(ctx, &p);
        drop(&p);
    }
    nb_ctx_close(ctx);
}

/* Zero points as the first version stores them: whole words less 1 in each field, so that a 0 borrows from its neighbour. */
Test(api, zero_points_of_the_first_version) {
    static const uint8_t zeros[8] = {0, 5, 3, 7, 8, 0, 15, 2};
    nb_ctx *ctx = open_ctx(1);
    uint32_t codes[2 * 8] = {0}, word = (uint32_t)-0x11111111;
    uint16_t ones[8];
    uint8_t got[8];
    void *packed = aligned_alloc(64, 4096);
    for (unsigned i = 0; i < 8; i++) {
        word += (uint32_t)zeros[i] << 4 * i;
        ones[i] = 0x3c00;
    }
    nb_weight_desc d = {.n = 8, .k = 16, .bits = 4, .group_size = 16, .scale_type = NB_FLOAT_F16};
    nb_weight_source s = {.layout = NB_LAYOUT_GPTQ_V1, .scale_type = NB_FLOAT_F16, .codes = codes, .codes_bytes = sizeof codes,
                          .scales = ones, .scales_bytes = sizeof ones, .zeros = &word, .zeros_bytes = sizeof word};
    cr_assert_eq(nb_weight_pack(ctx, &d, &s, packed, 4096, NULL, 0, NULL), NB_OK);
    cr_assert_eq(nb_weight_unpack(ctx, &d, packed, 4096, NULL, NULL, got, NULL, NULL), NB_OK);
    cr_assert_arr_eq(got, zeros, 8);
    s.scale_type = (nb_float_type)7;
    cr_assert_eq(nb_weight_pack(ctx, &d, &s, packed, 4096, NULL, 0, NULL), NB_E_USAGE);
    free(packed);
    nb_ctx_close(ctx);
}

/* Words known from the formats: 8 codes 0..7 of GPTQ and compressed-tensors, and of AWQ. */
Test(api, golden_words) {
    nb_ctx *ctx = open_ctx(1);
    uint32_t gptq = 0x76543210, awq[16];
    uint16_t one = 0x3c00,
             ones[8] = {0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00, 0x3c00};
    uint8_t codes[128];
    void *packed = aligned_alloc(64, 4096);
    nb_weight_desc d = {
        .n = 1, .k = 8, .bits = 4, .group_size = 8, .symmetric = 1, .scale_type = NB_FLOAT_F16};
    nb_weight_source s = {.layout = NB_LAYOUT_GPTQ_V1,
                          .scale_type = NB_FLOAT_F16,
                          .codes = &gptq,
                          .codes_bytes = 4,
                          .scales = &one,
                          .scales_bytes = 2};
    cr_assert_eq(nb_weight_pack(ctx, &d, &s, packed, 4096, NULL, 0, NULL), NB_OK);
    cr_assert_eq(nb_weight_unpack(ctx, &d, packed, 4096, codes, NULL, NULL, NULL, NULL), NB_OK);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(codes[i], i);
    for (int i = 0; i < 16; i++)
        awq[i] = 0x75316420;
    d = (nb_weight_desc){
        .n = 8, .k = 16, .bits = 4, .group_size = 16, .symmetric = 1, .scale_type = NB_FLOAT_F16};
    s = (nb_weight_source){.layout = NB_LAYOUT_AWQ,
                           .scale_type = NB_FLOAT_F16,
                           .codes = awq,
                           .codes_bytes = sizeof awq,
                           .scales = ones,
                           .scales_bytes = 16};
    cr_assert_eq(nb_weight_pack(ctx, &d, &s, packed, 4096, NULL, 0, NULL), NB_OK);
    cr_assert_eq(nb_weight_unpack(ctx, &d, packed, 4096, codes, NULL, NULL, NULL, NULL), NB_OK);
    for (unsigned n = 0; n < 8; n++)
        cr_assert_eq(codes[n * 16 + 3], n);
    free(packed);
    nb_ctx_close(ctx);
}

/* ---- products ---- */

static uint16_t to_16(nb_float_type t, float v) {
    return t == NB_FLOAT_F16 ? nb_f32_to_f16(v) : nb_f32_to_bf16(v);
}
static float from_16(nb_float_type t, uint16_t v) {
    return t == NB_FLOAT_F16 ? nb_f16_to_f32(v) : nb_bf16_to_f32(v);
}

/* Y in y_type from X in x_type with bias and accumulate, against the oracle; guards around Y. */
static void product(nb_ctx *ctx, const plain *p, size_t m, nb_gemm_mode mode, nb_float_type xt,
                    nb_float_type yt) {
    size_t bytes, work_bytes, k = p->d.k, n = p->d.n, ldx = k + 3, ldy = n + 5;
    void *packed = pack(ctx, p, &bytes), *work, *x16 = zeroed(m * ldx * 4),
         *y = zeroed((m * ldy + 8) * 4);
    float *x = zeroed(m * ldx * 4), *bias = zeroed(n * 4), *scales = zeroed(n * p->groups * 4),
          *zeros = zeroed(n * p->groups * 4);
    double *step = zeroed(k * 8);
    nb_random r = nb_random_seed(m);
    nb_err err = {0};
    cr_assert_eq(nb_gemm_workspace_size(ctx, &p->d, m, mode, &work_bytes, &err), NB_OK);
    work = aligned_alloc(64, (work_bytes + 127) / 64 * 64);
    memset((char *)work + work_bytes, 0x5a, 64);
    for (size_t i = 0; i < m * ldx; i++) {
        x[i] = nb_random_f32(&r) - 0.5f;
        if (xt != NB_FLOAT_F32) {
            ((uint16_t *)x16)[i] = to_16(xt, x[i]);
            x[i] = from_16(xt, ((uint16_t *)x16)[i]);
        }
    }
    for (size_t j = 0; j < n; j++)
        bias[j] = nb_random_f32(&r);
    memset(y, 0, (m * ldy + 8) * 4);
    nb_gemm_args a = {.size = sizeof a,
                      .mode = mode,
                      .m = m,
                      .desc = &p->d,
                      .packed = packed,
                      .packed_bytes = bytes,
                      .x = xt == NB_FLOAT_F32 ? (void *)x : x16,
                      .x_type = xt,
                      .ldx = ldx,
                      .y = y,
                      .y_type = yt,
                      .ldy = ldy,
                      .bias = bias,
                      .accumulate = 1,
                      .workspace = work,
                      .workspace_bytes = work_bytes};
    cr_assert_eq(nb_gemm(ctx, &a, &err), NB_OK, "%s", err.text);
    for (size_t i = 0; i < n * p->groups; i++) {
        scales[i] = from_16(p->d.scale_type, p->scales[i]);
        zeros[i] = p->d.offsets ? p->offsets[i] : p->zeros[i];
    }
    for (size_t j = 0; j < k; j++)
        step[j] = 0.5 / 127;
    nb_ref_weight w = {n,           k,      p->d.group_size, p->groups,
                       p->codes,    scales, zeros,           (const uint32_t *)p->g_idx,
                       p->d.offsets};
    double out = yt == NB_FLOAT_F32 ? 0x1p-24 : yt == NB_FLOAT_F16 ? 0x1p-11 : 0x1p-8;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < ldy; j++) {
            double got = yt == NB_FLOAT_F32 ? (double)((float *)y)[i * ldy + j]
                                            : (double)from_16(yt, ((uint16_t *)y)[i * ldy + j]);
            if (j >= n) {
                cr_assert(got == 0, "written past a row of Y");
                continue;
            }
            nb_ref_sum s = nb_ref_dot(&w, j, x + i * ldx, step);
            double extra = mode == NB_GEMM_FAST ? s.weights * 0.5 * 1.0001 : 0,
                   want = s.y + (double)bias[j];
            double bound =
                (double)(k + 10) * 0x1p-24 * (s.magnitude + extra + (double)bias[j]) * 1.001 +
                extra;
            bound += out * (fabs(want) + bound) * 1.001;
            cr_assert_leq(fabs(got - want), bound, "m %zu at %zu,%zu: %g, not %g", m, i, j, got,
                          want);
        }
    for (int i = 0; i < 64; i++)
        cr_assert_eq(((unsigned char *)work)[work_bytes + (size_t)i], 0x5a,
                     "written past the workspace");
    free(packed);
    free(work);
    free(x16);
    free(y);
    free(x);
    free(bias);
    free(scales);
    free(zeros);
    free(step);
}

Test(api, products_in_all_float_types) {
    nb_ctx *ctx = open_ctx(2);
    for (int xt = 0; xt < 3; xt++)
        for (int yt = 0; yt < 3; yt++)
            for (int mode = 0; mode < 2; mode++)
                for (size_t m = 1; m < 30; m = 3 * m + 1) {
                    nb_weight_desc d = {.n = 37,
                                        .k = 150,
                                        .bits = 4,
                                        .group_size = 64,
                                        .act_order = yt == 1,
                                        .scale_type = xt == 1 ? NB_FLOAT_BF16 : NB_FLOAT_F16};
                    plain p = make(d, m);
                    to_gptq(&p, false);
                    product(ctx, &p, m, (nb_gemm_mode)mode, (nb_float_type)xt, (nb_float_type)yt);
                    drop(&p);
                }
    nb_ctx_close(ctx);
}

/* ---- a caller's pool and memory ---- */

typedef struct counted {
    size_t live, calls, fail_at;
} counted;

static void *count_alloc(void *ctx, size_t bytes, size_t align) {
    counted *c = ctx;
    if (++c->calls == c->fail_at)
        return NULL;
    c->live++;
    return aligned_alloc(align, (bytes + align - 1) / align * align);
}
static void count_release(void *ctx, void *p) {
    ((counted *)ctx)->live--;
    free(p);
}
static void run_backwards(void *ctx, size_t n, nb_task_fn *task, void *arg) {
    ++*(size_t *)ctx;
    for (size_t i = n; i-- > 0;)
        task(arg, i, (unsigned)(i % 3));
}

Test(api, callers_pool_and_allocator) {
    size_t runs = 0;
    counted c = {0};
    nb_parallel pool = {&runs, 3, run_backwards};
    nb_allocator mem = {&c, count_alloc, count_release};
    nb_ctx_options o = {.size = sizeof o, .parallel = &pool, .allocator = &mem};
    nb_weight_desc d = {
        .n = 500, .k = 300, .bits = 4, .group_size = 32, .scale_type = NB_FLOAT_F16};
    plain p = make(d, 1);
    nb_ctx *ctx;
    nb_err err = {0};
    to_canonical(&p);
    c.fail_at = 1;
    cr_assert_eq(nb_ctx_open(&o, &ctx, &err), NB_E_MEMORY);
    c.fail_at = 0;
    cr_assert_eq(nb_ctx_open(&o, &ctx, &err), NB_OK);
    size_t bytes;
    cr_assert_eq(nb_weight_packed_size(ctx, &d, &bytes, &err), NB_OK);
    void *packed = aligned_alloc(64, bytes);
    c.fail_at = c.calls + 1;
    cr_assert_eq(nb_weight_pack(ctx, &d, &p.s, packed, bytes, NULL, 0, &err), NB_E_MEMORY);
    c.fail_at = 0;
    free(packed);
    round_trip(ctx, &p);
    size_t before = c.calls;
    product(ctx, &p, 5, NB_GEMM_FAST, NB_FLOAT_F32, NB_FLOAT_F32);
    cr_assert_eq(c.calls, before + 1, "packing takes scratch once; a product allocates nothing");
    cr_assert_gt(runs, 2, "the caller's pool was not used");
    nb_ctx_close(ctx);
    cr_assert_eq(c.live, 0);
    drop(&p);
}

/* The same bytes of Y whatever the number of threads, and from two threads at once on one context.
 */
typedef struct job {
    nb_ctx *ctx;
    const plain *p;
    void *packed;
    size_t bytes, m;
    nb_gemm_mode mode;
    float *x, *y;
} job;

static void *run_job(void *arg) {
    job *j = arg;
    size_t work_bytes;
    nb_gemm_workspace_size(j->ctx, &j->p->d, j->m, j->mode, &work_bytes, NULL);
    void *work = aligned_alloc(64, (work_bytes + 63) / 64 * 64);
    nb_gemm_args a = {.size = sizeof a,
                      .mode = j->mode,
                      .m = j->m,
                      .desc = &j->p->d,
                      .packed = j->packed,
                      .packed_bytes = j->bytes,
                      .x = j->x,
                      .ldx = j->p->d.k,
                      .y = j->y,
                      .ldy = j->p->d.n,
                      .workspace = work,
                      .workspace_bytes = work_bytes};
    nb_status status = nb_gemm(j->ctx, &a, NULL);
    free(work);
    return status == NB_OK ? j : NULL;
}

Test(api, bits_do_not_depend_on_threads) {
    nb_weight_desc d = {
        .n = 700, .k = 600, .bits = 4, .group_size = 128, .scale_type = NB_FLOAT_F16};
    static const size_t rows[] = {1, 3, 8, 40, 600};
    plain p = make(d, 3);
    to_canonical(&p);
    nb_random r = nb_random_seed(9);
    float *x = zeroed(600 * d.k * 4), *y = zeroed(600 * d.n * 4), *first = zeroed(600 * d.n * 4);
    for (size_t i = 0; i < 600 * d.k; i++)
        x[i] = nb_random_f32(&r) - 0.5f;
    for (int mode = 0; mode < 2; mode++)
        for (size_t i = 0; i < 5; i++)
            for (unsigned threads = 1; threads <= 8; threads = threads == 3 ? 8 : threads + 1) {
                job j = {.ctx = open_ctx(threads),
                         .p = &p,
                         .m = rows[i],
                         .mode = (nb_gemm_mode)mode,
                         .x = x,
                         .y = threads == 1 ? first : y};
                j.packed = pack(j.ctx, &p, &j.bytes);
                cr_assert(run_job(&j));
                cr_assert(threads == 1 || !memcmp(y, first, rows[i] * d.n * 4),
                          "mode %d, m %zu, %u threads", mode, rows[i], threads);
                free(j.packed);
                nb_ctx_close(j.ctx);
            }
    job a = {.ctx = open_ctx(2), .p = &p, .m = 8, .mode = NB_GEMM_FAST, .x = x, .y = y}, b = a;
    a.packed = b.packed = pack(a.ctx, &p, &a.bytes);
    b.bytes = a.bytes;
    b.y = first;
    pthread_t t;
    pthread_create(&t, NULL, run_job, &b);
    cr_assert(run_job(&a));
    void *ok;
    pthread_join(t, &ok);
    cr_assert(ok);
    cr_assert(!memcmp(y, first, 8 * d.n * 4));
    free(a.packed);
    nb_ctx_close(a.ctx);
    free(x);
    free(y);
    free(first);
    drop(&p);
}

Test(api, wrong_arguments_are_refused) {
    nb_ctx *ctx = open_ctx(1);
    nb_err err = {0};
    size_t bytes;
    nb_weight_desc good = {.n = 16,
                           .k = 64,
                           .bits = 4,
                           .group_size = 32,
                           .scale_type = NB_FLOAT_F16},
                   d;
#define REFUSED(status, change)                                                                    \
    d = good;                                                                                      \
    change;                                                                                        \
    cr_assert_eq(nb_weight_packed_size(ctx, &d, &bytes, &err), status, #change)
    REFUSED(NB_E_USAGE, d.bits = 5);
    REFUSED(NB_E_USAGE, d.group_size = 0);
    REFUSED(NB_E_USAGE, d.group_size = 65);
    REFUSED(NB_E_USAGE, d.group_size = 8);
    REFUSED(NB_E_USAGE, d.k = 0);
    REFUSED(NB_E_USAGE, (d.symmetric = 1, d.offsets = 1));
    REFUSED(NB_E_USAGE, d.scale_type = (nb_float_type)7);
    REFUSED(NB_E_MEMORY, d.n = SIZE_MAX);
    REFUSED(NB_OK, d.n = 0);
    plain p = make(good, 1);
    void *packed = aligned_alloc(64, 1 << 16);
    to_gptq(&p, false);
    nb_weight_source s = p.s;
    s.codes_bytes--;
    cr_assert_eq(nb_weight_pack(ctx, &good, &s, packed, 1 << 16, NULL, 0, &err), NB_E_INPUT);
    s = p.s;
    s.zeros = NULL;
    cr_assert_eq(nb_weight_pack(ctx, &good, &s, packed, 1 << 16, NULL, 0, &err), NB_E_INPUT);
    cr_assert_eq(nb_weight_pack(ctx, &good, &p.s, packed, 100, NULL, 0, &err), NB_E_USAGE);
    cr_assert_eq(nb_weight_pack(ctx, &good, &p.s, (char *)packed + 4, 1 << 15, NULL, 0, &err),
                 NB_E_USAGE);
    d = good;
    d.act_order = 1;
    p.g_idx[5] = 2;
    cr_assert_eq(nb_weight_pack(ctx, &d, &p.s, packed, 1 << 16, NULL, 0, &err), NB_E_INPUT);
    p.g_idx[5] = 1; /* one too many in group 1 */
    cr_assert_eq(nb_weight_pack(ctx, &d, &p.s, packed, 1 << 16, NULL, 0, &err), NB_E_INPUT);
    nb_gemm_args a = {.size = sizeof a,
                      .m = 1,
                      .desc = &good,
                      .packed = packed,
                      .packed_bytes = 1 << 16,
                      .x = packed,
                      .ldx = 64,
                      .y = packed,
                      .ldy = 16};
    cr_assert_eq(nb_gemm(ctx, &a, &err), NB_E_USAGE, "no workspace");
    a.m = 0;
    cr_assert_eq(nb_gemm(ctx, &a, &err), NB_OK, "no rows, nothing to do");
    a.m = 1;
    a.ldx = 63;
    cr_assert_eq(nb_gemm(ctx, &a, &err), NB_E_USAGE);
    a.size = 8;
    cr_assert_eq(nb_gemm(ctx, &a, &err), NB_E_USAGE);
    nb_ctx_options o = {.size = sizeof o, .device = "cuda"};
    nb_ctx *none;
    cr_assert_eq(nb_ctx_open(&o, &none, &err), NB_E_DEVICE);
    free(packed);
    drop(&p);
    nb_ctx_close(ctx);
}

/* A NaN or infinity reaches every output of its row, and of no other, in both modes. */
Test(api, nan_and_infinity_are_not_hidden) {
    enum { M = 3, N = 20, K = 70 };
    nb_weight_desc d = {.n = N, .k = K, .bits = 4, .group_size = 32, .scale_type = NB_FLOAT_F16};
    static float x[M * K], y[M * N];
    nb_ctx *ctx = open_ctx(1);
    plain p = make(d, 4);
    to_canonical(&p);
    for (int mode = 0; mode < 2; mode++)
        for (int kind = 0; kind < 2; kind++) {
            for (int i = 0; i < M * K; i++)
                x[i] = 1.0f;
            x[K + 69] = kind ? INFINITY : NAN;
            job j = {.ctx = ctx, .p = &p, .m = M, .mode = (nb_gemm_mode)mode, .x = x, .y = y};
            j.packed = pack(ctx, &p, &j.bytes);
            cr_assert(run_job(&j));
            for (int i = 0; i < M * N; i++) {
                bool finite = isfinite(y[i]);
                cr_assert_eq(finite, i / N != 1, "mode %d, kind %d, output %d is %g", mode, kind, i, (double)y[i]);
            }
            free(j.packed);
        }
    drop(&p);
    nb_ctx_close(ctx);
}
