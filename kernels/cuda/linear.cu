/* Stored weights to f32, for products that follow; and rows of an embedding table. */
#include "kernels/cuda/decode.cuh"

extern "C" __global__ void __launch_bounds__(256) linear_convert(const nb_cu_convert p) {
    const u64 row = p.ids ? (u64)(unsigned)p.ids[blockIdx.x] : blockIdx.x;
    const unsigned char *src = p.src + row * p.row_bytes;
    float *out = p.out + blockIdx.x * p.ldo;
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.k; j += gridDim.y * 256u) {
        float x = decode(src, p.type, j);
        out[j] = p.scale != 1.0f ? x * p.scale : x;
    }
}

/* y += bias. */
extern "C" __global__ void __launch_bounds__(256) linear_bias(const nb_cu_bias p) {
    float *y = p.y + blockIdx.x * p.ldy;
    for (unsigned j = blockIdx.y * 256u + threadIdx.x; j < p.n; j += gridDim.y * 256u)
        y[j] += p.bias[j];
}
