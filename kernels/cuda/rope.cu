/* Rotary position embedding (arXiv 2104.09864): a thread takes pairs (head, dimension) of a row. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) rope_cuda(const nb_cu_rope p) {
    const u64 i = blockIdx.x, at = (p.past + i % p.length) * p.half;
    for (unsigned e = blockIdx.y * 256u + threadIdx.x; e < p.heads * p.half; e += gridDim.y * 256u) {
        unsigned h = e / p.half, j = e % p.half;
        float *lo = p.x + i * p.ldx + (u64)h * 2u * p.half + j, *hi = lo + p.half;
        float a = *lo, b = *hi, c = p.cos[at + j], s = p.sin[at + j];
        *lo = a * c - b * s;
        *hi = b * c + a * s;
    }
}
