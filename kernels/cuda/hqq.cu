/* Half-quadratic quantization: a warp a group, sums in f64 by one tree. struct nb_hqq_args states the iteration. */
#include "kernels/cuda/common.cuh"

#define HQQ_NORM  0.7f
#define HQQ_BETA  10.0f
#define HQQ_KAPPA 1.01f

struct hqq_group {
    const float *w;
    unsigned count;
    float scale, inverse, top;
    bool float_zeros;
};

static __device__ __forceinline__ float hqq_code(const hqq_group &g, float w, float zero) {
    float c = rintf(w * g.inverse + zero);
    return !(c > 0.0f) ? 0.0f : c > g.top ? g.top : c;
}

static __device__ double hqq_error(const hqq_group &g, float zero) {
    double error = 0.0;
    for (unsigned j = lane_id(); j < g.count; j += 32u)
        error += (double)fabsf(g.w[j] - (hqq_code(g, g.w[j], zero) - zero) * g.scale);
    return warp_sum(error);
}

static __device__ float hqq_step(const hqq_group &g, float zero, float beta) {
    const float least = powf(beta, -1.0f / (2.0f - HQQ_NORM));
    double sum = 0.0;
    for (unsigned j = lane_id(); j < g.count; j += 32u) {
        float c = hqq_code(g, g.w[j], zero), e = g.w[j] - (c - zero) * g.scale, d = 0.0f;
        if (fabsf(e) > least)
            d = copysignf(fmaxf(0.0f, fabsf(e) - powf(fabsf(e), HQQ_NORM - 1.0f) / beta), e);
        sum += (double)(c - (g.w[j] - d) * g.inverse);
    }
    zero = (float)(warp_sum(sum) / (double)g.count);
    if (g.float_zeros)
        return zero;
    zero = rintf(zero);
    return !(zero > 0.0f) ? 0.0f : zero > g.top ? g.top : zero;
}

/* Range of the values, without 0 where zero points are real numbers. */
static __device__ void hqq_begin(hqq_group *g, unsigned bits, unsigned type, float *zero) {
    float min = g->float_zeros ? g->w[0] : 0.0f, max = min;
    for (unsigned j = lane_id(); j < g->count; j += 32u) {
        min = g->w[j] < min ? g->w[j] : min;
        max = g->w[j] > max ? g->w[j] : max;
    }
    for (int d = 16; d > 0; d /= 2) {
        float a = __shfl_xor_sync(ALL_LANES, min, d), b = __shfl_xor_sync(ALL_LANES, max, d);
        min = a < min ? a : min;
        max = b > max ? b : max;
    }
    if (g->float_zeros) {
        g->scale = max > min ? round_scale((max - min) / g->top, type) : 1.0f;
        *zero = -min / g->scale;
    } else {
        range_params(min, max, bits, false, type, &g->scale, zero);
    }
    g->inverse = 1.0f / g->scale;
}

extern "C" __global__ void __launch_bounds__(256) hqq_cuda(const nb_cu_hqq p) {
    const u64 piece = warp_index();
    if (piece >= (u64)p.n * p.groups)
        return;
    const u64 i = piece / p.groups;
    const unsigned first = (unsigned)(piece % p.groups) * p.group;
    hqq_group g;
    g.w = p.w + i * p.ldw + first;
    g.count = p.k - first < p.group ? p.k - first : p.group;
    g.top = (float)((1u << p.bits) - 1u);
    g.float_zeros = p.float_zeros;
    float zero, beta = HQQ_BETA;
    hqq_begin(&g, p.bits, p.scale_type, &zero);
    double best = hqq_error(g, zero);
    for (unsigned t = 0u; t < p.iterations; t++, beta *= HQQ_KAPPA) {
        float next = hqq_step(g, zero, beta);
        double error = hqq_error(g, next);
        if (!(error < best))
            break;
        best = error;
        zero = next;
    }
    for (unsigned j = lane_id(); j < g.count; j += 32u)
        p.codes[i * p.k + first + j] = (unsigned char)(int)hqq_code(g, g.w[j], zero);
    if (lane_id() == 0u) {
        p.scales[piece] = g.scale;
        p.zeros[piece] = zero;
    }
}
