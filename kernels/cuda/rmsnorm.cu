/* Root mean square normalisation (arXiv 1910.07467): a warp a row; the mean in f64. p.row is the weight. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) rmsnorm_cuda(const nb_cu_rows p) {
    const u64 i = warp_index();
    if (i >= p.rows)
        return;
    const float *x = p.x + i * p.ldx;
    float *y = p.y + i * p.ldy;
    double sum = 0.0;
    for (unsigned j = lane_id(); j < p.k; j += 32u)
        sum += (double)x[j] * (double)x[j];
    sum = warp_sum(sum);
    const float inverse = (float)(1.0 / sqrt(sum / (double)p.k + (double)p.eps));
    for (unsigned j = lane_id(); j < p.k; j += 32u)
        y[j] = x[j] * inverse * (p.row[j] + p.offset);
}
