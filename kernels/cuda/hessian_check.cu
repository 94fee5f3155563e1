/* Dead columns, values that are no numbers, and the mean of the diagonal, before a GPTQ solve. `status` is struct nb_gptq_status,
 * cleared before: 0 dead, 1 bad_hessian, 2 bad_weight, 3 pivot, 4 mean. */
#include "kernels/cuda/common.cuh"

static __device__ __forceinline__ bool not_finite(float x) {
    return (__float_as_uint(x) & 0x7f800000u) == 0x7f800000u;
}

/* One CTA of 256. */
extern "C" __global__ void __launch_bounds__(256) hessian_check_diagonal(const nb_cu_square p) {
    __shared__ double sums[256];
    __shared__ unsigned deads[256];
    double sum = 0.0;
    unsigned dead = 0u;
    for (unsigned j = threadIdx.x; j < p.k; j += 256u) {
        float d = p.h[j * (p.ldh + 1u)];
        sum += (double)d;
        dead += d == 0.0f;
    }
    sums[threadIdx.x] = sum;
    deads[threadIdx.x] = dead;
    for (unsigned step = 128u; step > 0u; step /= 2u) {
        __syncthreads();
        if (threadIdx.x < step) {
            sums[threadIdx.x] += sums[threadIdx.x + step];
            deads[threadIdx.x] += deads[threadIdx.x + step];
        }
    }
    if (threadIdx.x == 0u) {
        p.status[0] = deads[0];
        p.status[4] = __float_as_uint(deads[0] < p.k ? (float)(sums[0] / (double)(p.k - deads[0])) : 1.0f);
    }
}

/* A warp a row of H. Counts are integers: their atomic sum does not depend on its order. */
extern "C" __global__ void __launch_bounds__(256) hessian_check_square(const nb_cu_square p) {
    const u64 i = warp_index();
    if (i >= p.k)
        return;
    const float *row = p.h + i * p.ldh;
    unsigned bad = 0u;
    for (unsigned j = lane_id(); j < p.k; j += 32u) {
        float x = row[j];
        bad += not_finite(x);
        bad += j == i && x < 0.0f;
    }
    bad = warp_sum(bad);
    if (lane_id() == 0u && bad > 0u)
        atomicAdd(p.status + 1, bad);
}

/* A warp a row of W. */
extern "C" __global__ void __launch_bounds__(256) hessian_check_weight(const nb_cu_square p) {
    const u64 i = warp_index();
    if (i >= p.n)
        return;
    float *row = p.w + i * p.ldw;
    const bool dead = p.status[0] > 0u;
    unsigned bad = 0u;
    for (unsigned j = lane_id(); j < p.k; j += 32u) {
        bad += not_finite(row[j]);
        if (dead && p.h[j * (p.ldh + 1u)] == 0.0f)
            row[j] = 0.0f;
    }
    bad = warp_sum(bad);
    if (lane_id() == 0u && bad > 0u)
        atomicAdd(p.status + 2, bad);
}
