/* Causal attention with grouped heads, softmax in tiles of 32 keys with a running maximum (arXiv 2205.14135).
 *
 * A CTA of 4 warps takes 4 * QUERIES queries of one head of one sequence. A tile of keys lies in shared memory, padded so that a lane a
 * key reads without bank conflicts: scores come out with keys across lanes. The same room then takes the tile of values, with the
 * dimensions of the head across lanes. */
#include "kernels/cuda/common.cuh"

enum { ATT_WARPS = 4, ATT_KEYS = 32 };

static __device__ __forceinline__ float warp_max(float x) {
    for (int d = 16; d > 0; d /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, d));
    return x;
}

static __device__ __forceinline__ float warp_add(float x) {
    for (int d = 16; d > 0; d /= 2)
        x += __shfl_xor_sync(ALL_LANES, x, d);
    return x;
}

/* Rows key0.. of a [keys, head_dim] matrix into the tile [ATT_KEYS, head_dim | 1], a warp a row; zeros past the last key. */
static __device__ void load_keys(const nb_cu_attention &p, const float *src, unsigned key0, unsigned keys, float *tile) {
    for (unsigned i = threadIdx.x / 32u; i < ATT_KEYS; i += ATT_WARPS)
        for (unsigned d = lane_id(); d < p.head_dim; d += 32u)
            tile[i * (p.head_dim | 1u) + d] = i < keys ? src[(key0 + i) * p.ldkv + d] : 0.0f;
}

template <int DIMS, int QUERIES> static __device__ __forceinline__ void attention(const nb_cu_attention &p) {
    float *room = (float *)nb_shared;
    const unsigned lane = lane_id(), warp = threadIdx.x / 32u, hd = p.head_dim, head = blockIdx.y;
    float *queries = room + warp * QUERIES * hd, *tile = room + ATT_WARPS * QUERIES * hd; /* the warp's own, and all's */
    const unsigned block0 = blockIdx.x * ATT_WARPS * QUERIES, query0 = block0 + warp * QUERIES;
    const u64 row0 = (u64)blockIdx.z * p.length;
    const float *k = p.k + blockIdx.z * p.kv_stride + (u64)(head / (p.heads / p.kv_heads)) * hd;
    const float *v = p.v + blockIdx.z * p.kv_stride + (u64)(head / (p.heads / p.kv_heads)) * hd;
    float out[QUERIES][DIMS] = {}, max[QUERIES], sum[QUERIES];
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
        max[i] = -1e30f; /* below any score; a difference of two of them is 0 */
        sum[i] = 0.0f;
        for (unsigned d = lane; d < hd; d += 32u)
            queries[i * hd + d] = query0 + i < p.length ? p.q[(row0 + query0 + i) * p.ldq + (u64)head * hd + d] : 0.0f;
    }
    const unsigned block_last = block0 + ATT_WARPS * QUERIES - 1u < p.length ? block0 + ATT_WARPS * QUERIES - 1u : p.length - 1u;
    const unsigned end = p.past + block_last + 1u; /* keys that the last query sees */
    const u64 oldest = (u64)p.past + block0 + 1u;
    const unsigned begin = p.window && oldest > p.window ? (unsigned)(oldest - p.window) / ATT_KEYS * ATT_KEYS : 0u;
    for (unsigned key0 = begin; key0 < end; key0 += ATT_KEYS) {
        const unsigned keys = end - key0 < ATT_KEYS ? end - key0 : ATT_KEYS;
        float score[QUERIES] = {};
        __syncthreads();
        load_keys(p, k, key0, keys, tile);
        __syncthreads();
        for (unsigned d = 0u; d < hd; d++) {
            float x = tile[lane * (hd | 1u) + d];
#pragma unroll
            for (int i = 0; i < QUERIES; i++)
                score[i] = fmaf(queries[i * hd + d], x, score[i]);
        }
        __syncthreads();
        load_keys(p, v, key0, keys, tile);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < QUERIES; i++) {
            const u64 at = (u64)p.past + query0 + i, key = key0 + lane;
            bool seen = key <= at && (!p.window || at - key < p.window);
            float s = seen ? score[i] * p.scale : -INFINITY, top = fmaxf(max[i], warp_max(s));
            float keep = expf(max[i] - top);
            max[i] = top;
            score[i] = seen ? expf(s - top) : 0.0f;
            sum[i] = sum[i] * keep + warp_add(score[i]);
#pragma unroll
            for (int d = 0; d < DIMS; d++)
                out[i][d] *= keep;
        }
        for (unsigned j = 0u; j < keys; j++) {
            float weight[QUERIES];
#pragma unroll
            for (int i = 0; i < QUERIES; i++)
                weight[i] = __shfl_sync(ALL_LANES, score[i], (int)j);
#pragma unroll
            for (int d = 0; d < DIMS; d++) {
                float x = lane + 32u * d < hd ? tile[j * (hd | 1u) + lane + 32u * d] : 0.0f;
#pragma unroll
                for (int i = 0; i < QUERIES; i++)
                    out[i][d] = fmaf(weight[i], x, out[i][d]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
#pragma unroll
        for (int d = 0; d < DIMS; d++)
            if (query0 + i < p.length && lane + 32u * d < hd)
                p.out[(row0 + query0 + i) * p.ldo + (u64)head * hd + lane + 32u * d] = out[i][d] / sum[i];
}

extern "C" __global__ void __launch_bounds__(128, 7) attention_tiled_64(const nb_cu_attention p) {
    attention<2, 4>(p);
}

extern "C" __global__ void __launch_bounds__(128, 7) attention_tiled_128(const nb_cu_attention p) {
    attention<4, 4>(p);
}

extern "C" __global__ void __launch_bounds__(128, 7) attention_tiled_256(const nb_cu_attention p) {
    attention<8, 2>(p);
}
