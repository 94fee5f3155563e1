/* General f32 product for machines without cuBLAS: tiles of 64 x 64, 16 columns of the sum at a time, 4 x 4 results a thread. Sums run
 * in rising order, each step fused. */
#include "kernels/cuda/common.cuh"

enum { MM_TILE = 64, MM_DEPTH = 16 };

/* Element (i, l) of a tile that begins at row i0, column l0 of an operand [rows, k]; 0 outside. Threads walk along whichever
 * direction lies contiguous in memory; along the sum by 8, a sector, so that 4 rows by 8 fall into 32 banks. */
static __device__ __forceinline__ void load_tile(const float *x, u64 row, u64 col, unsigned rows, unsigned k, unsigned i0, unsigned l0,
                                                 float tile[MM_DEPTH][MM_TILE + 4]) {
    for (unsigned e = threadIdx.x; e < MM_TILE * MM_DEPTH; e += 256u) {
        unsigned i = col == 1u ? e / 8u % MM_TILE : e % MM_TILE, l = col == 1u ? e % 8u + e / (8u * MM_TILE) * 8u : e / MM_TILE;
        tile[l][i] = i0 + i < rows && l0 + l < k ? x[(i0 + i) * row + (l0 + l) * col] : 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(256) matmul_tiled(const nb_cu_matmul p) {
    __shared__ __align__(16) float a[MM_DEPTH][MM_TILE + 4], b[MM_DEPTH][MM_TILE + 4];
    const unsigned i0 = blockIdx.x * MM_TILE, j0 = blockIdx.y * MM_TILE;
    if (p.lower && j0 > i0 + MM_TILE - 1u)
        return;
    const unsigned ty = threadIdx.x / 16u, tx = threadIdx.x % 16u;
    float sum[4][4] = {};
    for (unsigned l0 = 0u; l0 < p.k; l0 += MM_DEPTH) {
        load_tile(p.a, p.a_row, p.a_col, p.m, p.k, i0, l0, a);
        load_tile(p.b, p.b_col, p.b_row, p.n, p.k, j0, l0, b);
        __syncthreads();
#pragma unroll
        for (unsigned l = 0u; l < MM_DEPTH; l++) {
            float4 x = *(const float4 *)&a[l][4u * ty], y = *(const float4 *)&b[l][4u * tx];
            const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[i][j] = fmaf(xs[i], ys[j], sum[i][j]);
        }
        __syncthreads();
    }
#pragma unroll
    for (unsigned i = 0u; i < 4u; i++)
#pragma unroll
        for (unsigned j = 0u; j < 4u; j++) {
            unsigned r = i0 + 4u * ty + i, c = j0 + 4u * tx + j;
            if (r < p.m && c < p.n) {
                float *at = p.c + r * p.ldc + c;
                *at = p.beta == 0.0f ? p.alpha * sum[i][j] : p.alpha * sum[i][j] + p.beta * *at;
            }
        }
}
