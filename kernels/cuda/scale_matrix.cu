/* Rows and columns of a matrix times factors. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) scale_matrix_cuda(const nb_cu_rows p) {
    const float row = p.row ? p.row[blockIdx.x] : 1.0f;
    const float *x = p.x + blockIdx.x * p.ldx;
    float *y = p.y + blockIdx.x * p.ldy;
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.k; j += gridDim.y * 256u)
        y[j] = p.col ? x[j] * row * p.col[j] : x[j] * row;
}
