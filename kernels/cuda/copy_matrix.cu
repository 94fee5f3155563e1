/* Copies or clears a part of a matrix. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) copy_matrix_cuda(const nb_cu_copy p) {
    const float *src = p.src ? (const float *)p.src + blockIdx.x * p.lds : 0;
    float *dst = (float *)p.dst + blockIdx.x * p.ldd;
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.cols; j += gridDim.y * 256u)
        dst[j] = src ? src[j] : 0.0f;
}
