/* H += scale X^T X, lower triangle, in chunks of 256 rows, each added to H in f32. */
#define CHUNK 256
#if NB_CL_CPU
#include "kernels/opencl/wide_tile.cl"

/* Columns of X in panels of 32 for wide_tile.cl. A work-item packs 16 rows of one panel. */
kernel void hessian_pack(uint rows, uint k, BUF(x), uint ldx, BUF(out)) {
    uint r0 = get_global_id(0) * 16, panel = get_global_id(1), r1 = min(r0 + 16, rows), j0 = panel * PANEL;
    uint cols = min(k - j0, (uint)PANEL);
    global float *out = AT(float, out) + (ulong)panel * rows * PANEL;
    for (uint r = r0; r < r1; r++)
        for (uint j = 0; j < PANEL; j++)
            out[(ulong)r * PANEL + j] = j < cols ? AT(float, x)[(ulong)r * ldx + j0 + j] : 0.0f;
}

/* Dimension 0: tiles of a block of rows of H; 1: panels; 2: blocks. TILE_M divides PANEL, so that a tile's rows lie in one
 * panel: both operands are packed columns of X. */
kernel void hessian_wide(uint rows, uint k, BUF(packed), BUF(h), uint ldh, float scale) {
    uint i0 = (get_global_id(2) * get_global_size(0) + get_global_id(0)) * TILE_M, j0 = get_global_id(1) * PANEL;
    if (i0 >= k || j0 >= i0 + TILE_M)
        return;
    uint some = min(k - i0, (uint)TILE_M), cols = min(k - j0, (uint)PANEL);
    global const float *left = AT(float, packed) + (ulong)(i0 / PANEL) * rows * PANEL + i0 % PANEL;
    global const float *right = AT(float, packed) + (ulong)j0 * rows;
    for (uint r = 0; r < rows; r += CHUNK) {
        float16 c[TILE_M][2] = {{0.0f}};
        tile_product(c, left + (ulong)r * PANEL, 1, PANEL, some, right + (ulong)r * PANEL, min(rows - r, (uint)CHUNK));
        tile_store(c, AT(float, h) + (ulong)i0 * ldh + j0, ldh, some, cols, scale, 1.0f, 0);
    }
}
#else
#define LOAD_A(i, kk) x[(ulong)(kk) * ldx + (i)]
#define LOAD_B(kk, j) x[(ulong)(kk) * ldx + (j)]
#define A_ALONG_K 0
#define B_ALONG_K 0
#include "kernels/opencl/local_tile.cl"

kernel __attribute__((reqd_work_group_size(16, 16, 1))) void hessian_tiled(uint rows, uint k, BUF(x), uint ldx, BUF(h), uint ldh,
                                                                           float scale) {
    LOCAL_TILE_MEMORY
    uint i0 = get_group_id(1) * SIDE, j0 = get_group_id(0) * SIDE;
    if (j0 >= i0 + SIDE)
        return;
    for (uint r0 = 0; r0 < rows; r0 += CHUNK) {
        global const float *x = AT(float, x) + (ulong)r0 * ldx;
        uint some = min(rows - r0, (uint)CHUNK);
        float c[EACH][EACH] = {{0.0f}};
        LOCAL_TILE_PRODUCT(c, i0, j0, k, k, some);
        for (uint r = 0; r < EACH; r++)
            for (uint s = 0; s < EACH; s++) {
                uint i = i0 + get_local_id(1) + 16 * r, j = j0 + get_local_id(0) + 16 * s;
                if (i < k && j < k)
                    AT(float, h)[(ulong)i * ldh + j] += scale * c[r][s];
            }
    }
}
#endif

/* Copies what stands below the diagonal to above it. */
kernel void hessian_mirror(uint k, BUF(h), uint ldh) {
    uint j = get_global_id(0), i = get_global_id(1);
    if (j < i && i < k)
        AT(float, h)[(ulong)j * ldh + i] = AT(float, h)[(ulong)i * ldh + j];
}
