/* Gated linear units; both activations are x * sigmoid(z), see kernels/cpu/glu.c. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) glu_cuda(const nb_cu_glu p) {
    const float *gate = p.gate + blockIdx.x * p.ldg, *up = p.up + blockIdx.x * p.ldu;
    float *out = p.out + blockIdx.x * p.ldo;
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.n; j += gridDim.y * 256u) {
        float x = gate[j], z = p.gelu ? 1.5957691216057308f * (x + 0.044715f * (x * x * x)) : x;
        out[j] = x / (1.0f + expf(-z)) * up[j];
    }
}
