/* The search for a group's scale and zero point that group_search and gptq_block share: a warp takes one group of one row, a lane one
 * scale, so that each sum runs over the columns in rising order, as struct nb_group_search_args has it. */
#ifndef NB_CUDA_SEARCH_CUH
#define NB_CUDA_SEARCH_CUH

#include "kernels/cuda/common.cuh"

/* The best pair that a lane has seen: least error, of equal ones the first. */
struct nb_best {
    float error, scale, zero;
    unsigned order;
};

static __device__ __forceinline__ void keep(nb_best *b, float error, float scale, float zero, unsigned order) {
    if (error < b->error || (error == b->error && order < b->order)) {
        b->error = error;
        b->scale = scale;
        b->zero = zero;
        b->order = order;
    }
}

static __device__ __forceinline__ float clamp_zero(float z, float top) {
    return !(z > 0.0f) ? 0.0f : z > top ? top : z;
}

/* error[z] = sum_j h_j (w_j - q scale)^2 for ZEROS zero points. weight(j) and factor(j) give w_j and h_j. */
template <int ZEROS, class W, class H>
static __device__ __forceinline__ void search_errors(unsigned count, const W &weight, const H &factor, float scale, const float *zero,
                                                     float top, float *error) {
    float r = 1.0f / scale, lo[ZEROS], hi[ZEROS];
#pragma unroll
    for (int z = 0; z < ZEROS; z++) {
        lo[z] = 0.0f - zero[z];
        hi[z] = top - zero[z];
        error[z] = 0.0f;
    }
    for (unsigned j = 0; j < count; j++) {
        float x = weight(j), q = rintf(x * r), h = factor(j);
#pragma unroll
        for (int z = 0; z < ZEROS; z++) {
            float c = q > lo[z] ? q : lo[z];
            c = c < hi[z] ? c : hi[z];
            float e = x - c * scale;
            error[z] = error[z] + h * (e * e);
        }
    }
}

/* All lanes of the warp call it with the same group, and get the same result. */
template <class W, class H>
static __device__ void search_params(unsigned count, const W &weight, const H &factor, unsigned bits, bool symmetric, bool either_sign,
                                     unsigned type, float *scale_out, float *zero_out) {
    const unsigned lane = lane_id();
    const float top = (float)((1u << bits) - 1u), half = (float)(1u << (bits - 1u));
    float min, max;
    warp_range(count, weight, &min, &max);
    nb_best best;
    range_params(min, max, bits, symmetric, type, &best.scale, &best.zero);
    best.order = 0u;
    search_errors<1>(count, weight, factor, best.scale, &best.zero, top, &best.error);
    bool first = !(best.error == best.error); /* nothing is less than NaN */
    if (symmetric) {
        float a = -min > max ? -min : max;
        for (unsigned i = lane; i < (either_sign ? 72u : 36u); i += 32u) {
            float scale = round_scale((float)(232 - 3 * (int)(i % 36u)) / 200.0f * a / half, type), error;
            scale = i < 36u ? scale : -scale;
            search_errors<1>(count, weight, factor, scale, &half, top, &error);
            keep(&best, error, scale, half, 1u + i);
        }
    } else if (lane < 26u) {
        float part = (float)(52 - (int)lane) / 50.0f, range = max - min, scale = round_scale(part * range / top, type);
        float z = rintf(-(part * min) / scale), low = min + (1.0f - part) * 0.5f * range, error[4];
        float zero[4] = {clamp_zero(z, top), clamp_zero(z - 1.0f, top), clamp_zero(z + 1.0f, top), clamp_zero(rintf(-low / scale), top)};
        search_errors<4>(count, weight, factor, scale, zero, top, error);
#pragma unroll
        for (unsigned i = 0; i < 4u; i++)
            keep(&best, error[i], scale, zero[i], 1u + 4u * lane + i);
    }
    if (first) /* every lane sees the same error of the first pair, so all agree */
        range_params(min, max, bits, symmetric, type, &best.scale, &best.zero);
    for (int d = 16; d > 0 && !first; d /= 2) {
        nb_best other;
        other.error = __shfl_xor_sync(ALL_LANES, best.error, d);
        other.scale = __shfl_xor_sync(ALL_LANES, best.scale, d);
        other.zero = __shfl_xor_sync(ALL_LANES, best.zero, d);
        other.order = __shfl_xor_sync(ALL_LANES, best.order, d);
        keep(&best, other.error, other.scale, other.zero, other.order);
    }
    *scale_out = best.scale;
    *zero_out = best.zero;
}

#endif
