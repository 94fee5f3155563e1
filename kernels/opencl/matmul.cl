/* C = alpha op(A) op(B) + beta C. */
#if NB_CL_CPU
#include "kernels/opencl/wide_tile.cl"

/* Panels of B for wide_tile.cl. A work-item packs 16 rows of one panel. */
kernel void matmul_pack(uint n, uint k, BUF(b), uint ldb, uint trans_b, BUF(out)) {
    uint k0 = get_global_id(0) * 16, panel = get_global_id(1), k1 = min(k0 + 16, k), j0 = panel * PANEL;
    uint cols = min(n - j0, (uint)PANEL);
    global const float *b = AT(float, b);
    global float *out = AT(float, out) + (ulong)panel * k * PANEL;
    ulong ldk = trans_b ? 1 : ldb, ldj = trans_b ? ldb : 1;
    for (uint kk = k0; kk < k1; kk++)
        for (uint j = 0; j < PANEL; j++)
            out[(ulong)kk * PANEL + j] = j < cols ? b[kk * ldk + (j0 + j) * ldj] : 0.0f;
}

/* Dimension 0: tiles of a block of rows; 1: panels; 2: blocks of rows. */
kernel void matmul_wide(uint m, uint n, uint k, BUF(a), uint lda, uint trans_a, BUF(packed), BUF(c), uint ldc, float alpha,
                        float beta, uint lower) {
    uint i0 = (get_global_id(2) * get_global_size(0) + get_global_id(0)) * TILE_M, j0 = get_global_id(1) * PANEL;
    if (i0 >= m || (lower && j0 >= i0 + TILE_M))
        return;
    uint rows = min(m - i0, (uint)TILE_M);
    ulong ldr = trans_a ? 1 : lda, ldk = trans_a ? lda : 1;
    float16 c[TILE_M][2] = {{0.0f}};
    global const float *panel = AT(float, packed) + (ulong)j0 * k;
    if (trans_a)
        tile_product(c, AT(float, a) + i0, 1, lda, rows, panel, k);
    else
        tile_product(c, AT(float, a) + (ulong)i0 * lda, lda, 1, rows, panel, k);
    tile_store(c, AT(float, c) + (ulong)i0 * ldc + j0, ldc, rows, min(n - j0, (uint)PANEL), alpha, beta, 0);
}
#else
#define LOAD_A(i, kk) (trans_a ? a[(ulong)(kk) * lda + (i)] : a[(ulong)(i) * lda + (kk)])
#define LOAD_B(kk, j) (trans_b ? b[(ulong)(j) * ldb + (kk)] : b[(ulong)(kk) * ldb + (j)])
#define A_ALONG_K (!trans_a)
#define B_ALONG_K trans_b
#include "kernels/opencl/local_tile.cl"

kernel __attribute__((reqd_work_group_size(16, 16, 1))) void matmul_tiled(uint m, uint n, uint k, BUF(a), uint lda, uint trans_a,
                                                                          BUF(b), uint ldb, uint trans_b, BUF(c), uint ldc,
                                                                          float alpha, float beta, uint lower) {
    LOCAL_TILE_MEMORY
    uint i0 = get_group_id(1) * SIDE, j0 = get_group_id(0) * SIDE;
    if (lower && j0 >= i0 + SIDE)
        return;
    global const float *a = AT(float, a), *b = AT(float, b);
    global float *out = AT(float, c);
    float c[EACH][EACH] = {{0.0f}};
    LOCAL_TILE_PRODUCT(c, i0, j0, m, n, k);
    for (uint r = 0; r < EACH; r++)
        for (uint s = 0; s < EACH; s++) {
            uint i = i0 + get_local_id(1) + 16 * r, j = j0 + get_local_id(0) + 16 * s;
            if (i < m && j < n) {
                ulong at = (ulong)i * ldc + j;
                float v = alpha * c[r][s];
                out[at] = beta != 0.0f ? v + beta * out[at] : v;
            }
        }
}
#endif
