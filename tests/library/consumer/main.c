/* What an inference backend does with libnibble: packs a GPTQ weight once, multiplies with it often. */
#include <nibble/nibble.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 24, K = 64, GROUP = 32, M = 3 };

static int fail(const nb_err *err) {
    char line[1200];
    nb_err_line(err, line, sizeof line);
    fprintf(stderr, "%s\n", line);
    return 1;
}

int main(void) {
    /* A v2 GPTQ weight whose codes are all 9 and zero points all 8, with scale 1/2: every weight is 1/2. */
    static uint32_t qweight[K / 8 * N], qzeros[K / GROUP * N / 8];
    static uint16_t scales[K / GROUP * N];
    static float x[M * K], y[M * N], bias[N];
    for (int i = 0; i < K / 8 * N; i++)
        qweight[i] = 0x99999999;
    for (int i = 0; i < K / GROUP * N / 8; i++)
        qzeros[i] = 0x88888888;
    for (int i = 0; i < K / GROUP * N; i++)
        scales[i] = 0x3800; /* binary16 1/2 */
    for (int i = 0; i < M * K; i++)
        x[i] = 1.0f;
    for (int i = 0; i < N; i++)
        bias[i] = (float)i;

    nb_err err = {0};
    nb_ctx *ctx;
    if (nb_ctx_open(NULL, &ctx, &err) != NB_OK)
        return fail(&err);
    nb_weight_desc desc = {.n = N, .k = K, .bits = 4, .group_size = GROUP, .scale_type = NB_FLOAT_F16};
    nb_weight_source source = {.layout = NB_LAYOUT_GPTQ_V2, .scale_type = NB_FLOAT_F16, .codes = qweight, .scales = scales,
                               .zeros = qzeros, .codes_bytes = sizeof qweight, .scales_bytes = sizeof scales,
                               .zeros_bytes = sizeof qzeros};
    size_t bytes, work_bytes;
    if (nb_weight_packed_size(ctx, &desc, &bytes, &err) != NB_OK ||
        nb_gemm_workspace_size(ctx, &desc, M, NB_GEMM_EXACT, &work_bytes, &err) != NB_OK)
        return fail(&err);
    void *packed = aligned_alloc(64, (bytes + 63) / 64 * 64), *work = aligned_alloc(64, (work_bytes + 63) / 64 * 64);
    if (nb_weight_pack(ctx, &desc, &source, packed, bytes, NULL, 0, &err) != NB_OK)
        return fail(&err);
    nb_gemm_args args = {.size = sizeof args, .mode = NB_GEMM_EXACT, .m = M, .desc = &desc, .packed = packed,
                         .packed_bytes = bytes, .x = x, .ldx = K, .y = y, .ldy = N, .bias = bias, .workspace = work,
                         .workspace_bytes = work_bytes};
    if (nb_gemm(ctx, &args, &err) != NB_OK)
        return fail(&err);
    for (int i = 0; i < M * N; i++)
        if (y[i] != K * 0.5f + (float)(i % N)) {
            fprintf(stderr, "y[%d] = %g\n", i, (double)y[i]);
            return 1;
        }
    printf("libnibble %s: a product of %d x %d x %d is right\n", nb_version(), M, N, K);
    free(packed);
    free(work);
    nb_ctx_close(ctx);
    return 0;
}
