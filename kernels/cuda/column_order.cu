/* The order in which GPTQ visits columns: each column counts those that come before it. k^2 comparisons, all independent. */
#include "kernels/cuda/common.cuh"

enum { ORDER_STORED = 0, ORDER_ACT = 1, ORDER_GROUP_AWARE = 3 }; /* of nb_column_order */

/* keys[j] = key of column j, keys[k + j] = that of its group: a warp a group. */
extern "C" __global__ void __launch_bounds__(256) column_order_keys(const nb_cu_order p) {
    const u64 g = warp_index();
    if (g * p.group >= p.k)
        return;
    const unsigned first = (unsigned)g * p.group, count = p.k - first < p.group ? p.k - first : p.group;
    float top = -2.0f; /* below every key: NaN counts as -1, and the diagonal is not negative */
    bool any = false;
    for (unsigned j = first + lane_id(); j < first + count; j += 32u) {
        float d = p.order == ORDER_STORED ? 0.0f : p.h[j * (p.ldh + 1u)];
        d = d == d ? d : -1.0f;
        p.keys[j] = d;
        top = !any || d > top ? d : top;
        any = true;
    }
    for (int d = 16; d > 0; d /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, top, d);
        int has = __shfl_xor_sync(ALL_LANES, (int)any, d);
        top = has && (!any || other > top) ? other : top;
        any = any || has;
    }
    for (unsigned j = first + lane_id(); j < first + count; j += 32u)
        p.keys[p.k + j] = p.order == ORDER_GROUP_AWARE ? top : 0.0f;
}

/* Falling key of the group, rising group, falling key, rising index. */
static __device__ __forceinline__ bool before(float ga, unsigned na, float a, unsigned ia, float gb, unsigned nb, float b, unsigned ib) {
    if (ga != gb)
        return ga > gb;
    if (na != nb)
        return na < nb;
    if (a != b)
        return a > b;
    return ia < ib;
}

extern "C" __global__ void __launch_bounds__(256) column_order_rank(const nb_cu_order p) {
    __shared__ float keys[256], tops[256];
    const unsigned j = blockIdx.x * 256u + threadIdx.x;
    const bool grouped = p.order == ORDER_GROUP_AWARE;
    const float key = j < p.k ? p.keys[j] : 0.0f, top = j < p.k ? p.keys[p.k + j] : 0.0f;
    const unsigned group = grouped ? j / p.group : 0u;
    unsigned rank = 0u;
    for (unsigned at = 0u; at < p.k; at += 256u) {
        __syncthreads();
        if (at + threadIdx.x < p.k) {
            keys[threadIdx.x] = p.keys[at + threadIdx.x];
            tops[threadIdx.x] = p.keys[p.k + at + threadIdx.x];
        }
        __syncthreads();
        unsigned count = p.k - at < 256u ? p.k - at : 256u;
        unsigned their = grouped ? at / p.group : 0u, rest = grouped ? p.group - at % p.group : p.k;
        for (unsigned c = 0u; c < count; c++) {
            rank += before(tops[c], their, keys[c], at + c, top, group, key, j);
            if (--rest == 0u) {
                their++;
                rest = p.group;
            }
        }
    }
    if (j < p.k) {
        unsigned g = (p.order == ORDER_ACT ? rank : j) / p.group;
        p.perm[rank] = j;
        p.group_of[rank] = g;
        if (p.g_idx)
            p.g_idx[j] = g;
    }
}
