/* Rounding to nearest, and back. A thread takes every (256 * gridDim.y)-th column of a row. */
#include "kernels/cuda/common.cuh"

static __device__ __forceinline__ unsigned char code_of(float w, float scale, float zero, float top) {
    float x = w / scale;
    x = x > 0x1p21f ? 0x1p21f : x; /* any code is clamped there */
    x = x < -0x1p21f ? -0x1p21f : x;
    float q = rintf(x) + zero;
    q = q > 0.0f ? q : 0.0f; /* NaN to 0 */
    return (unsigned char)(int)(q < top ? q : top);
}

extern "C" __global__ void __launch_bounds__(256) rtn_cuda(const nb_cu_codes p) {
    const u64 i = blockIdx.x;
    const float top = (float)((1u << p.bits) - 1u);
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.k; j += gridDim.y * 256u) {
        u64 g = i * p.groups + (p.g_idx ? p.g_idx[j] : j / p.group);
        p.codes[i * p.k + j] = code_of(p.w[i * p.ldw + j], p.scales[g], p.zeros[g], top);
    }
}
