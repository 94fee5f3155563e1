/* Y = X W^T + bias, W in its stored type, converted as it is packed or loaded. */
#include "kernels/opencl/weight_types.cl"
#if NB_CL_CPU
#include "kernels/opencl/wide_tile.cl"

/* Panels of W^T for wide_tile.cl. A work-item packs 16 columns of W for one panel. */
kernel void linear_pack(uint n, uint k, BUF(w), uint type, ulong row_bytes, BUF(out)) {
    uint k0 = get_global_id(0) * 16, panel = get_global_id(1), k1 = min(k0 + 16, k), j0 = panel * PANEL;
    uint cols = min(n - j0, (uint)PANEL);
    global float *out = AT(float, out) + (ulong)panel * k * PANEL;
    for (uint kk = k0; kk < k1; kk++)
        for (uint j = 0; j < PANEL; j++)
            out[(ulong)kk * PANEL + j] = j < cols ? load_weight(AT(uchar, w) + (j0 + j) * row_bytes, type, kk) : 0.0f;
}

/* Dimension 0: tiles of a block of rows; 1: panels; 2: blocks of rows. */
kernel void linear_wide(uint m, uint n, uint k, BUF(x), uint ldx, BUF(packed), BUF(bias), BUF(y), uint ldy, uint accumulate) {
    uint i0 = (get_global_id(2) * get_global_size(0) + get_global_id(0)) * TILE_M, j0 = get_global_id(1) * PANEL;
    if (i0 >= m)
        return;
    uint rows = min(m - i0, (uint)TILE_M);
    float16 c[TILE_M][2] = {{0.0f}};
    tile_product(c, AT(float, x) + (ulong)i0 * ldx, ldx, 1, rows, AT(float, packed) + (ulong)j0 * k, k);
    tile_store(c, AT(float, y) + (ulong)i0 * ldy + j0, ldy, rows, min(n - j0, (uint)PANEL), 1.0f, accumulate ? 1.0f : 0.0f,
               HAS(bias) ? AT(float, bias) + j0 : 0);
}
#else
#define LOAD_A(i, kk) x[(ulong)(i) * ldx + (kk)]
#define LOAD_B(kk, j) load_weight(w + (j) * row_bytes, type, kk)
#define A_ALONG_K 1
#define B_ALONG_K 1
#include "kernels/opencl/local_tile.cl"

kernel __attribute__((reqd_work_group_size(16, 16, 1))) void linear_tiled(uint m, uint n, uint k, BUF(x), uint ldx, BUF(w), uint type,
                                                                          ulong row_bytes, BUF(bias), BUF(y), uint ldy,
                                                                          uint accumulate) {
    LOCAL_TILE_MEMORY
    uint i0 = get_group_id(1) * SIDE, j0 = get_group_id(0) * SIDE;
    global const float *x = AT(float, x);
    global const uchar *w = AT(uchar, w);
    global float *y = AT(float, y);
    float c[EACH][EACH] = {{0.0f}};
    LOCAL_TILE_PRODUCT(c, i0, j0, m, n, k);
    for (uint r = 0; r < EACH; r++)
        for (uint s = 0; s < EACH; s++) {
            uint i = i0 + get_local_id(1) + 16 * r, j = j0 + get_local_id(0) + 16 * s;
            if (i < m && j < n) {
                ulong at = (ulong)i * ldy + j;
                float v = c[r][s] + (HAS(bias) ? AT(float, bias)[j] : 0.0f);
                y[at] = accumulate ? y[at] + v : v;
            }
        }
}
#endif
