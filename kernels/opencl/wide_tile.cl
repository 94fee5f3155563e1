/* The register tile of products on processors: TILE_M rows by 32 columns of C in vectors of 16 floats, one work-item a tile.
 * The right operand is packed before: panels of 32 columns, [k][32], zeros past the last column. */
#pragma OPENCL FP_CONTRACT ON
#ifndef TILE_M
#define TILE_M 8
#endif
#define PANEL 32

/* c[TILE_M][2] += A B over k columns, B a panel in memory of the kind `space`: A's element (row r, kk) is at
 * a[r * ldr + kk * ldk]; rows past `rows` repeat the last. */
#define TILE_PRODUCT(name, space)                                                                                      \
    inline void name(float16 c[TILE_M][2], global const float *a, ulong ldr, ulong ldk, uint rows, space const float *panel, \
                     uint k) {                                                                                         \
        global const float *row[TILE_M];                                                                               \
        _Pragma("unroll") for (uint r = 0; r < TILE_M; r++) row[r] = a + (ulong)min(r, rows - 1) * ldr;                \
        float16 sum[TILE_M][2]; /* its own, so that it lives in registers */                                           \
        _Pragma("unroll") for (uint r = 0; r < TILE_M; r++) {                                                          \
            sum[r][0] = c[r][0];                                                                                       \
            sum[r][1] = c[r][1];                                                                                       \
        }                                                                                                              \
        for (uint kk = 0; kk < k; kk++) {                                                                              \
            float16 b0 = vload16(0, panel + (ulong)kk * PANEL), b1 = vload16(1, panel + (ulong)kk * PANEL);            \
            _Pragma("unroll") for (uint r = 0; r < TILE_M; r++) {                                                      \
                float16 x = (float16)(row[r][kk * ldk]);                                                               \
                sum[r][0] = MAD(x, b0, sum[r][0]);                                                                     \
                sum[r][1] = MAD(x, b1, sum[r][1]);                                                                     \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("unroll") for (uint r = 0; r < TILE_M; r++) {                                                          \
            c[r][0] = sum[r][0];                                                                                       \
            c[r][1] = sum[r][1];                                                                                       \
        }                                                                                                              \
    }
TILE_PRODUCT(tile_product, global)
TILE_PRODUCT(tile_product_local, local)

/* C = alpha c + beta C + bias on the rows and columns that are there. */
inline void tile_store(float16 c[TILE_M][2], global float *out, ulong ldc, uint rows, uint cols, float alpha, float beta,
                       global const float *bias) {
#pragma unroll
    for (uint r = 0; r < TILE_M; r++) {
        if (r >= rows)
            continue;
        global float *to = out + (ulong)r * ldc;
        float16 v0 = alpha * c[r][0], v1 = alpha * c[r][1];
        if (cols == PANEL) {
            if (bias) {
                v0 += vload16(0, bias);
                v1 += vload16(1, bias);
            }
            if (beta != 0.0f) {
                v0 += beta * vload16(0, to);
                v1 += beta * vload16(1, to);
            }
            vstore16(v0, 0, to);
            vstore16(v1, 1, to);
        } else {
            float v[PANEL];
            vstore16(v0, 0, v);
            vstore16(v1, 1, v);
            for (uint j = 0; j < cols; j++)
                to[j] = v[j] + (bias ? bias[j] : 0.0f) + (beta != 0.0f ? beta * to[j] : 0.0f);
        }
    }
}
