/* Codes to floats. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) dequant_cuda(const nb_cu_codes p) {
    const u64 i = blockIdx.x;
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.k; j += gridDim.y * 256u) {
        u64 g = i * p.groups + (p.g_idx ? p.g_idx[j] : j / p.group);
        p.w[i * p.ldw + j] = ((float)p.codes[i * p.k + j] - p.zeros[g]) * p.scales[g];
    }
}
