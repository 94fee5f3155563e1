/* Weights without rows and products without rows, through every function of the public ABI. Buffers of no bytes are absent; what
 * must not be touched is watched. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include <nibble/nibble.h>

enum { K = 96, GROUP = 32, GROUPS = K / GROUP };

static nb_ctx *open_ctx(void) {
    nb_ctx_options o = {.size = sizeof o, .threads = 2};
    nb_ctx *ctx;
    cr_assert_eq(nb_ctx_open(&o, &ctx, NULL), NB_OK);
    return ctx;
}

static const nb_weight_layout layouts[] = {
    NB_LAYOUT_CANONICAL, NB_LAYOUT_GPTQ_V1,   NB_LAYOUT_GPTQ_V2,   NB_LAYOUT_AWQ,      NB_LAYOUT_COMPRESSED_TENSORS,
    NB_LAYOUT_GGUF_Q4_0, NB_LAYOUT_GGUF_Q4_1, NB_LAYOUT_GGUF_Q8_0};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* A description that the layout can have. */
static nb_weight_desc describe(nb_weight_layout layout, size_t n, unsigned bits, bool act_order) {
    bool gguf = layout >= NB_LAYOUT_GGUF_Q4_0;
    return (nb_weight_desc){.n = n,
                            .k = K,
                            .bits = layout == NB_LAYOUT_GGUF_Q8_0 ? 8 : gguf || layout == NB_LAYOUT_AWQ ? 4 : bits,
                            .group_size = GROUP,
                            .symmetric = gguf && layout != NB_LAYOUT_GGUF_Q4_1,
                            .offsets = layout == NB_LAYOUT_GGUF_Q4_1,
                            .act_order = act_order && !gguf && layout != NB_LAYOUT_AWQ,
                            .scale_type = NB_FLOAT_F16};
}

static void product(nb_ctx *ctx, const nb_weight_desc *d, const void *packed, size_t packed_bytes, size_t m, nb_gemm_mode mode,
                    const float *x, float *y) {
    nb_err err = {0};
    size_t bytes;
    cr_assert_eq(nb_gemm_workspace_size(ctx, d, m, mode, &bytes, &err), NB_OK, "%s", err.text);
    void *work = bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    nb_gemm_args a = {.size = sizeof a,
                      .mode = mode,
                      .m = m,
                      .desc = d,
                      .packed = packed,
                      .packed_bytes = packed_bytes,
                      .x = x,
                      .ldx = K,
                      .y = y,
                      .ldy = d->n,
                      .workspace = work,
                      .workspace_bytes = bytes};
    cr_assert_eq(nb_gemm(ctx, &a, &err), NB_OK, "%s", err.text);
    free(work);
}

Test(empty, weights_without_rows) {
    static const unsigned widths[] = {2, 3, 4, 8};
    static float x[5 * K];
    static int32_t g_idx[K], back[K];
    nb_ctx *ctx = open_ctx();
    nb_err err = {0};
    for (size_t j = 0; j < K; j++)
        g_idx[j] = (int32_t)(j % GROUPS);
    for (size_t l = 0; l < LAYOUTS; l++)
        for (size_t b = 0; b < 4; b++)
            for (int order = 0; order < 2; order++) {
                nb_weight_desc d = describe(layouts[l], 0, widths[b], order);
                nb_weight_source s = {.layout = layouts[l], .scale_type = NB_FLOAT_F16};
                size_t bytes, scratch;
                s.g_idx = d.act_order ? g_idx : NULL;
                s.g_idx_bytes = d.act_order ? sizeof g_idx : 0;
                cr_assert_eq(nb_weight_packed_size(ctx, &d, &bytes, &err), NB_OK, "%s", err.text);
                cr_assert_eq(nb_weight_scratch_size(ctx, &d, &scratch, &err), NB_OK, "%s", err.text);
                cr_assert(d.act_order ? bytes > 0 : bytes == 0, "layout %zu: %zu bytes", l, bytes);
                void *packed = bytes ? aligned_alloc(64, bytes) : NULL;
                cr_assert_eq(nb_weight_pack(ctx, &d, &s, packed, bytes, NULL, 0, &err), NB_OK, "layout %zu: %s", l, err.text);
                memset(back, 0xFF, sizeof back);
                cr_assert_eq(nb_weight_unpack(ctx, &d, packed, bytes, NULL, NULL, NULL, back, &err), NB_OK, "%s", err.text);
                for (size_t j = 0; j < K; j++)
                    cr_assert_eq(back[j], d.act_order ? g_idx[j] : (int32_t)(j / GROUP));
                for (size_t m = 0; m < 6; m += 5)
                    for (int mode = 0; mode < 2; mode++)
                        product(ctx, &d, packed, bytes, m, (nb_gemm_mode)mode, m ? x : NULL, NULL);
                free(packed);
            }
    nb_ctx_close(ctx);
}

/* Y is neither written nor needed; then one row, which is. */
Test(empty, products_without_rows) {
    enum { N = 19 };
    static uint8_t codes[N * K], zeros[N * GROUPS];
    static uint16_t scales[N * GROUPS];
    static float x[K], y[N], before[N];
    nb_weight_desc d = describe(NB_LAYOUT_CANONICAL, N, 4, false);
    nb_weight_source s = {.layout = NB_LAYOUT_CANONICAL, .scale_type = NB_FLOAT_F16, .codes = codes, .scales = scales,
                          .zeros = zeros, .codes_bytes = sizeof codes, .scales_bytes = sizeof scales,
                          .zeros_bytes = sizeof zeros};
    nb_ctx *ctx = open_ctx();
    nb_err err = {0};
    size_t bytes;
    for (size_t i = 0; i < N * GROUPS; i++)
        scales[i] = 0x3C00; /* 1 */
    for (size_t i = 0; i < N * K; i++)
        codes[i] = (uint8_t)(i / K % 16);
    for (size_t j = 0; j < K; j++)
        x[j] = 1;
    cr_assert_eq(nb_weight_packed_size(ctx, &d, &bytes, &err), NB_OK);
    void *packed = aligned_alloc(64, bytes);
    cr_assert_eq(nb_weight_pack(ctx, &d, &s, packed, bytes, NULL, 0, &err), NB_OK, "%s", err.text);
    for (int mode = 0; mode < 2; mode++) {
        memset(y, 0x5A, sizeof y);
        memcpy(before, y, sizeof y);
        product(ctx, &d, packed, bytes, 0, (nb_gemm_mode)mode, NULL, NULL);
        product(ctx, &d, packed, bytes, 0, (nb_gemm_mode)mode, x, y);
        cr_assert_arr_eq(y, before, sizeof y);
        product(ctx, &d, packed, bytes, 1, (nb_gemm_mode)mode, x, y);
        for (size_t n = 0; n < N; n++)
            cr_assert_eq(y[n], (float)(K * (n % 16)));
    }
    free(packed);
    nb_ctx_close(ctx);
}
