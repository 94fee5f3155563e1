/* What kernels share. Arithmetic is never contracted (the build says -fmad=false): a fused product is written fmaf. */
#ifndef NB_CUDA_COMMON_CUH
#define NB_CUDA_COMMON_CUH

#include "kernels/cuda/params.h"

typedef unsigned long long u64;

static const unsigned ALL_LANES = 0xffffffffu;

/* Dynamic shared memory: one name for all kernels of the module, each sees it as what it needs. */
extern __shared__ __align__(16) unsigned char nb_shared[];

static __device__ __forceinline__ unsigned lane_id() {
    return threadIdx.x & 31u;
}

/* Sum over the lanes of a warp, in every lane, always by the same tree. */
static __device__ __forceinline__ double warp_sum(double x) {
    for (int d = 16; d > 0; d /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, d);
    return x;
}

static __device__ __forceinline__ unsigned warp_sum(unsigned x) {
    for (int d = 16; d > 0; d /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, d);
    return x;
}

/* Least and largest of weight(0) .. weight(count - 1) and 0, in every lane of the warp. */
template <class W>
static __device__ __forceinline__ void warp_range(unsigned count, const W &weight, float *min_out, float *max_out) {
    float min = 0.0f, max = 0.0f;
    for (unsigned j = lane_id(); j < count; j += 32u) {
        float x = weight(j);
        min = x < min ? x : min;
        max = x > max ? x : max;
    }
    for (int d = 16; d > 0; d /= 2) {
        float a = __shfl_xor_sync(ALL_LANES, min, d), b = __shfl_xor_sync(ALL_LANES, max, d);
        min = a < min ? a : min;
        max = b > max ? b : max;
    }
    *min_out = min;
    *max_out = max;
}

/* Number of the warp among all of the grid: pieces of work that a warp takes. */
static __device__ __forceinline__ u64 warp_index() {
    return ((u64)blockIdx.x * blockDim.x + threadIdx.x) / 32u;
}

/* Types of scales, as enum nb_dtype has them: 0 F32, 1 F16, 2 BF16. */

/* binary32 to binary16 and back, rounded half to even; x is finite, at most 65504 and not below 0. */
static __device__ __forceinline__ float through_f16(float x) {
    unsigned short h;
    float r;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h));
    return r;
}

static __device__ __forceinline__ float through_bf16(float x) {
    unsigned u = __float_as_uint(x);
    return __uint_as_float((u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u);
}

/* As nb__cpu_round_scale. */
static __device__ __forceinline__ float round_scale(float scale, unsigned type) {
    if (type == NB_CU_F16) {
        float r = through_f16(scale > 65504.0f ? 65504.0f : scale);
        return r < 0x1p-14f ? 0x1p-14f : r;
    }
    if (type == NB_CU_BF16)
        scale = through_bf16(scale);
    return scale < 0x1p-126f ? 0x1p-126f : scale;
}

/* Scale and zero point of a group by its least and largest value; struct nb_group_range_args states the rule. */
static __device__ __forceinline__ void range_params(float min, float max, unsigned bits, bool symmetric, unsigned type,
                                                    float *scale, float *zero) {
    float top = (float)((1u << bits) - 1u);
    min = min < 0.0f ? min : 0.0f;
    max = max > 0.0f ? max : 0.0f;
    if (min == 0.0f && max == 0.0f) {
        min = -1.0f;
        max = 1.0f;
    }
    if (symmetric) {
        float a = -min > max ? -min : max;
        *scale = round_scale(2.0f * a / top, type);
        *zero = (float)(1u << (bits - 1u));
        return;
    }
    *scale = round_scale((max - min) / top, type);
    float z = rintf(-min / *scale);
    *zero = z < 0.0f ? 0.0f : z > top ? top : z;
}

#endif
