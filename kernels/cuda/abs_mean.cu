/* Mean magnitude of each column: a CTA takes 32 columns, each of its 8 warps every eighth row; sums in f64. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) abs_mean_cuda(const nb_cu_rows p) {
    __shared__ double sums[8][32];
    const unsigned j = blockIdx.x * 32u + lane_id(), warp = threadIdx.x / 32u;
    double sum = 0.0;
    if (j < p.k)
        for (u64 i = warp; i < p.rows; i += 8u)
            sum += (double)fabsf(p.x[i * p.ldx + j]);
    sums[warp][lane_id()] = sum;
    __syncthreads();
    if (warp == 0u && j < p.k) {
        for (unsigned w = 1u; w < 8u; w++)
            sum += sums[w][lane_id()];
        p.y[j] = p.rows ? (float)(sum / (double)p.rows) : 0.0f;
    }
}
