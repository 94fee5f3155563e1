/* The lower triangle of a square matrix copied above the diagonal, by tiles of 32 x 32 through shared memory. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) hessian_mirror(const nb_cu_square p) {
    __shared__ float tile[32][33];
    if (blockIdx.y > blockIdx.x)
        return;
    const unsigned x = lane_id(), y = threadIdx.x / 32u;
    const u64 i0 = blockIdx.x * 32u, j0 = blockIdx.y * 32u; /* source: rows i0.., columns j0.. */
    for (unsigned r = y; r < 32u; r += 8u)
        if (i0 + r < p.k && j0 + x < i0 + r)
            tile[r][x] = p.h[(i0 + r) * p.ldh + j0 + x];
    __syncthreads();
    for (unsigned r = y; r < 32u; r += 8u)
        if (i0 + x < p.k && j0 + r < i0 + x)
            p.h[(j0 + r) * p.ldh + i0 + x] = tile[x][r];
}
