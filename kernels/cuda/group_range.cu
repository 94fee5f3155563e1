/* Scale and zero point of each group by the range of its values: a warp a group. */
#include "kernels/cuda/common.cuh"

extern "C" __global__ void __launch_bounds__(256) group_range_cuda(const nb_cu_groups p) {
    u64 piece = warp_index();
    if (piece >= (u64)p.n * p.groups)
        return;
    unsigned i = (unsigned)(piece / p.groups), g = (unsigned)(piece % p.groups);
    unsigned first = g * p.group, count = p.k - first < p.group ? p.k - first : p.group;
    const float *w = p.w + i * p.ldw + first;
    float min, max; /* the rule takes 0 in anyway */
    warp_range(count, [&](unsigned j) { return w[j]; }, &min, &max);
    if (lane_id() == 0u)
        range_params(min, max, p.bits, p.symmetric, p.scale_type, p.scales + piece, p.zeros + piece);
}
