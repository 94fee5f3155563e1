/* Stored weights to f32, one element at a time, with the bits of nb_to_f32 (host/tensor/dequant.c). Blocks begin at even addresses. */
#ifndef NB_CUDA_DECODE_CUH
#define NB_CUDA_DECODE_CUH

#include "kernels/cuda/common.cuh"

static __device__ __forceinline__ float half_at(const unsigned char *p) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(*(const unsigned short *)p));
    return r;
}

/* Bit i of four bytes at an even address. */
static __device__ __forceinline__ int bit_at(const unsigned char *p, unsigned i) {
    return p[i / 8u] >> i % 8u & 1;
}

static __device__ __forceinline__ int nibble_at(const unsigned char *p, unsigned j) { /* j in a block of 32 */
    return j < 16u ? p[j] & 15 : p[j - 16u] >> 4;
}

/* 6-bit scale and minimum j of the 12 bytes that Q4_K and Q5_K share. */
static __device__ __forceinline__ void k_scale_min(const unsigned char *s, unsigned j, int *scale, int *min) {
    if (j < 4u) {
        *scale = s[j] & 63;
        *min = s[j + 4u] & 63;
    } else {
        *scale = (s[j + 4u] & 15) | (s[j - 4u] >> 6) << 4;
        *min = (s[j + 4u] >> 4) | (s[j] >> 6) << 4;
    }
}

static __device__ float decode_k(const unsigned char *p, unsigned type, unsigned e) { /* e in a block of 256 */
    if (type == NB_CU_Q6_K) {
        unsigned part = e / 16u, h = part / 8u, t = part % 8u / 2u, first = part % 2u * 16u, l = first + e % 16u;
        const unsigned char *ql = p + 64u * h + 32u * (t & 1u), *qh = p + 128u + 32u * h;
        float a = half_at(p + 208) * (float)(signed char)p[192u + part];
        return a * (float)(((ql[l] >> (t < 2u ? 0 : 4) & 15) | (qh[l] >> 2u * t & 3) << 4) - 32);
    }
    unsigned j = e / 32u, l = e % 32u, shift = 4u * (j & 1u);
    int scale, min;
    k_scale_min(p + 4, j, &scale, &min);
    float a = half_at(p) * (float)scale, b = half_at(p + 2) * (float)min;
    const unsigned char *qs = p + (type == NB_CU_Q4_K ? 16 : 48);
    int q = qs[32u * (j / 2u) + l] >> shift & 15;
    if (type == NB_CU_Q5_K)
        q |= (p[16u + l] >> j & 1) << 4;
    return a * (float)q - b;
}

/* Element j of a row. */
static __device__ float decode(const unsigned char *row, unsigned type, unsigned j) {
    const unsigned e = j % 32u;
    const u64 block = j / 32u;
    const unsigned char *p;
    switch (type) {
    case NB_CU_F32:
        return ((const float *)row)[j];
    case NB_CU_F16:
        return half_at(row + 2ull * j);
    case NB_CU_BF16:
        return __uint_as_float((unsigned)((const unsigned short *)row)[j] << 16);
    case NB_CU_Q4_0:
        p = row + block * 18u;
        return half_at(p) * (float)(nibble_at(p + 2, e) - 8);
    case NB_CU_Q4_1:
        p = row + block * 20u;
        return half_at(p) * (float)nibble_at(p + 4, e) + half_at(p + 2);
    case NB_CU_Q5_0:
        p = row + block * 22u;
        return half_at(p) * (float)((nibble_at(p + 6, e) | bit_at(p + 2, e) << 4) - 16);
    case NB_CU_Q5_1:
        p = row + block * 24u;
        return half_at(p) * (float)(nibble_at(p + 8, e) | bit_at(p + 4, e) << 4) + half_at(p + 2);
    case NB_CU_Q8_0:
        p = row + block * 34u;
        return half_at(p) * (float)(signed char)p[2u + e];
    default:
        return decode_k(row + j / 256u * (u64)(type == NB_CU_Q4_K ? 144 : type == NB_CU_Q5_K ? 176 : 210), type, j % 256u);
    }
}

#endif
