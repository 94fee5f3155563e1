/* Negative log-likelihood, KL divergence and agreement: a CTA of 256 a row of logits. Exponentials in f32, sums in f64, always by the
 * same tree. */
#include "kernels/cuda/common.cuh"

/* Sum over the CTA, in thread 0. Each call has a room of its own. */
static __device__ double cta_sum(double x, double *room) {
    room[threadIdx.x] = x;
    for (unsigned step = 128u; step > 0u; step /= 2u) {
        __syncthreads();
        if (threadIdx.x < step)
            room[threadIdx.x] += room[threadIdx.x + step];
    }
    return room[threadIdx.x];
}

/* Largest value of a row and its first place, in every thread. Each call has a room of its own. */
static __device__ float cta_max(const float *x, unsigned n, float *room, unsigned *places, unsigned *place) {
    float max = -INFINITY;
    unsigned at = n - 1u;
    for (unsigned j = threadIdx.x; j < n; j += 256u) {
        float v = x[j];
        if (v > max) {
            max = v;
            at = j;
        }
    }
    room[threadIdx.x] = max;
    places[threadIdx.x] = at;
    for (unsigned step = 128u; step > 0u; step /= 2u) {
        __syncthreads();
        if (threadIdx.x < step) {
            float other = room[threadIdx.x + step];
            unsigned there = places[threadIdx.x + step];
            if (other > room[threadIdx.x] || (other == room[threadIdx.x] && there < places[threadIdx.x])) {
                room[threadIdx.x] = other;
                places[threadIdx.x] = there;
            }
        }
    }
    __syncthreads();
    *place = places[0];
    return room[0];
}

extern "C" __global__ void __launch_bounds__(256) logit_stats_cuda(const nb_cu_logits p) {
    __shared__ double sums[3][256];
    __shared__ float maxima[2][256];
    __shared__ unsigned places[2][256];
    const u64 i = blockIdx.x;
    const float *x = p.logits + i * p.ldl;
    unsigned top, ref_top;
    const float max = cta_max(x, p.n, maxima[0], places[0], &top);
    double z = 0.0;
    for (unsigned j = threadIdx.x; j < p.n; j += 256u)
        z += (double)expf(x[j] - max);
    const double lse = (double)max + log(cta_sum(z, sums[0]));
    if (threadIdx.x == 0u)
        p.nll[i] = p.targets[i] < 0 ? 0.0 : lse - (double)x[p.targets[i]];
    if (!p.reference)
        return;
    const float *r = p.reference + i * p.ldr;
    const float ref_max = cta_max(r, p.n, maxima[1], places[1], &ref_top);
    double ref_z = 0.0, d = 0.0;
    for (unsigned j = threadIdx.x; j < p.n; j += 256u) {
        double e = (double)expf(r[j] - ref_max);
        ref_z += e;
        d += e * ((double)r[j] - (double)x[j]);
    }
    ref_z = cta_sum(ref_z, sums[1]);
    d = cta_sum(d, sums[2]);
    if (threadIdx.x == 0u) {
        p.kl[i] = d / ref_z - ((double)ref_max + log(ref_z)) + lse;
        p.agree[i] = top == ref_top;
    }
}
