/* Reversal in place: a thread swaps pairs. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) reverse_cuda(const nb_cu_copy p) {
    float *a = (float *)p.dst;
    for (u64 i = blockIdx.x * 256ull + threadIdx.x; i < p.count / 2u; i += gridDim.x * 256ull) {
        float x = a[i], y = a[p.count - 1u - i];
        a[i] = y;
        a[p.count - 1u - i] = x;
    }
}
