/* Scalar products of rows: a warp a row, in f64. p.row is the second matrix, with ldy. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) row_dot_cuda(const nb_cu_rows p) {
    const u64 i = warp_index();
    if (i >= p.rows)
        return;
    double sum = 0.0;
    for (unsigned j = lane_id(); j < p.k; j += 32u)
        sum += (double)p.x[i * p.ldx + j] * (double)p.row[i * p.ldy + j];
    sum = warp_sum(sum);
    if (lane_id() == 0u)
        p.y[i] = (float)sum;
}
