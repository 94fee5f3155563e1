/* Squared error of codes: a warp a row, sums in f64. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) quant_error_cuda(const nb_cu_codes p) {
    const u64 i = warp_index();
    if (i >= p.n)
        return;
    double sum = 0.0;
    for (unsigned j = lane_id(); j < p.k; j += 32u) {
        u64 g = i * p.groups + (p.g_idx ? p.g_idx[j] : j / p.group);
        double d = (double)(p.w[i * p.ldw + j] - ((float)p.codes[i * p.k + j] - p.zeros[g]) * p.scales[g]);
        sum += d * d;
    }
    sum = warp_sum(sum);
    if (lane_id() == 0u)
        p.error[i] = (float)sum;
}
