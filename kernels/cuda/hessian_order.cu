/* The Hessian in reversed visiting order, damped, as a lower triangle. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) hessian_order_cuda(const nb_cu_square p) {
    const unsigned i = blockIdx.x;
    const float mean = __uint_as_float(p.status[4]);
    const float *h = p.h + (u64)p.perm[p.k - 1u - i] * p.ldh;
    float *f = p.f + i * p.ldf;
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.k; j += gridDim.y * 256u) {
        float x = j <= i ? h[p.perm[p.k - 1u - j]] : 0.0f;
        if (j == i)
            x = (x == 0.0f ? mean : x) + p.damp * mean;
        f[j] = x;
    }
    if (i == 0u && blockIdx.y == 0u && threadIdx.x == 0u)
        p.status[3] = 0u;
}
