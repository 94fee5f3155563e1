/* Scale and zero point of each group by the range of its values: a warp a group. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) group_range_cuda(const nb_cu_groups p) {
    u64 piece = warp_index();
    if (piece >= (u64)p.n * p.groups)
        return;
    unsigned i = (unsigned)(piece / p.groups), g = (unsigned)(piece % p.groups);
    unsigned first = g * p.group, last = p.k - first < p.group ? p.k : first + p.group;
    const float *w = p.w + i * p.ldw;
    float min = 0.0f, max = 0.0f; /* the rule takes 0 in anyway */
    for (unsigned j = first + lane_id(); j < last; j += 32u) {
        float x = w[j];
        min = x < min ? x : min;
        max = x > max ? x : max;
    }
    for (int d = 16; d > 0; d /= 2) {
        float a = __shfl_xor_sync(ALL_LANES, min, d), b = __shfl_xor_sync(ALL_LANES, max, d);
        min = a < min ? a : min;
        max = b > max ? b : max;
    }
    if (lane_id() == 0u)
        range_params(min, max, p.bits, p.symmetric, p.scale_type, p.scales + piece, p.zeros + piece);
}
