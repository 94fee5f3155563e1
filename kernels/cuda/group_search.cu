/* Scales and zero points of stored groups, searched: a warp a group. */
#include "kernels/cuda/search.cuh"

extern "C" __global__ void __launch_bounds__(256) group_search_cuda(const nb_cu_groups p) {
    u64 piece = warp_index();
    if (piece >= (u64)p.n * p.groups)
        return;
    unsigned i = (unsigned)(piece / p.groups), g = (unsigned)(piece % p.groups);
    unsigned first = g * p.group, count = p.k - first < p.group ? p.k - first : p.group;
    const float *w = p.w + i * p.ldw + first;
    const float *h = p.h ? p.h + first * (p.ldh + 1u) : 0;
    const u64 step = p.ldh + 1u;
    float scale, zero;
    search_params(count, [=](unsigned j) { return w[j]; }, [=](unsigned j) { return h ? h[j * step] : 1.0f; }, p.bits, p.symmetric,
                  p.either_sign, p.scale_type, &scale, &zero);
    if (lane_id() == 0u) {
        p.scales[piece] = scale;
        p.zeros[piece] = zero;
    }
}
