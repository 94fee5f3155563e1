/* Rows that did not get better take their old contents; by words where rows allow it. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) keep_rows_cuda(const nb_cu_keep p) {
    const u64 i = blockIdx.x;
    const bool better = p.after[i] < p.before[i];
    __syncthreads(); /* a row of one float may be after[i] itself: it is read by all before it is written */
    if (better)
        return;
    const unsigned char *src = p.src + i * p.row_bytes;
    unsigned char *dst = p.dst + i * p.row_bytes;
    const bool words = ((u64)src | (u64)dst | p.row_bytes) % 4u == 0u;
    for (u64 e = blockIdx.y * 256ull + threadIdx.x; words && e < p.row_bytes / 4u; e += gridDim.y * 256ull)
        ((unsigned *)dst)[e] = ((const unsigned *)src)[e];
    for (u64 e = blockIdx.y * 256ull + threadIdx.x; !words && e < p.row_bytes; e += gridDim.y * 256ull)
        dst[e] = src[e];
}
