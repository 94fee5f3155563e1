// What inference kernels are made of, one small kernel each.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>
#include <cooperative_groups.h>

// int4 -> f16 with lop3 and the 0x6400 trick, eight weights a word, scale and zero of the group.
extern "C" __global__ void dequant4(__half2 *o, const uint32_t *q, const __half *scale, const __half *zero, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    __half2 s = __half2half2(scale[i / 16]), z = __half2half2(zero[i / 16]);
    uint32_t w = q[i];
    for (int k = 0; k < 4; k++) {
        uint32_t h;
        asm volatile("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(h) : "r"(w >> (4 * k)), "n"(0x000f000f), "n"(0x64006400));
        __half2 v = __hsub2(*(__half2 *)&h, __half2half2(__ushort_as_half(0x6400)));
        o[4 * i + k] = __hmul2(__hsub2(v, z), s);
    }
}

__device__ float warp_sum(float v)
{
    for (int d = 16; d; d /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
}
__device__ float warp_max(float v)
{
    for (int d = 16; d; d /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, d));
    return v;
}

extern "C" __global__ void rmsnorm(float *o, const float *x, const float *g, int n, float eps)
{
    __shared__ float part[32];
    const float *row = x + (size_t)blockIdx.x * n;
    float s = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        s += row[i] * row[i];
    s = warp_sum(s);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = s;
    __syncthreads();
    s = threadIdx.x % 32 < blockDim.x / 32 ? part[threadIdx.x % 32] : 0;
    s = rsqrtf(warp_sum(s) / n + eps);
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        o[(size_t)blockIdx.x * n + i] = row[i] * s * g[i];
}

extern "C" __global__ void softmax(float *o, const float *x, int n)
{
    const float *row = x + (size_t)blockIdx.x * n;
    float m = -INFINITY, s = 0;
    for (int i = threadIdx.x; i < n; i += 32)
        m = fmaxf(m, row[i]);
    m = warp_max(m);
    for (int i = threadIdx.x; i < n; i += 32)
        s += __expf(row[i] - m);
    s = warp_sum(s);
    for (int i = threadIdx.x; i < n; i += 32)
        o[(size_t)blockIdx.x * n + i] = __expf(row[i] - m) / s;
}

extern "C" __global__ void rope(float *o, const float *x, int half, float base, int pos)
{
    int i = threadIdx.x;
    if (i < half) {
        float a = pos * powf(base, -(float)i / half), s, c;
        sincosf(a, &s, &c);
        o[i] = x[i] * c - x[i + half] * s;
        o[i + half] = x[i] * s + x[i + half] * c;
    }
}

// Forward substitution L y = b, n <= 128, one column at a time.
extern "C" __global__ void solve(float *y, const float *L, const float *b, int n)
{
    extern __shared__ float r[];
    int t = threadIdx.x;
    if (t < n)
        r[t] = b[t];
    __syncthreads();
    for (int j = 0; j < n; j++) {
        float v = r[j] / L[j * n + j];
        __syncthreads();
        if (t == j)
            y[j] = v;
        if (t > j && t < n)
            r[t] -= L[t * n + j] * v;
        __syncthreads();
    }
}

#if __CUDA_ARCH__ >= 800
extern "C" __global__ void bf16_ops(float *o, const float *a, const float *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        __nv_bfloat16 x = __float2bfloat16(a[i]), y = __float2bfloat16(b[i]);
        o[i] = __bfloat162float(__hfma(x, y, __hadd(x, y))) + __bfloat162float(__hmul(x, y)) +
               __bfloat162float(__hmax(x, y));
    }
}

#endif

// Sum over the grid behind a cooperative barrier.
extern "C" __global__ void grid_sum(float *total, float *part, const float *x, int n)
{
    cooperative_groups::grid_group g = cooperative_groups::this_grid();
    float s = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        s += x[i];
    s = warp_sum(s);
    if (threadIdx.x == 0)
        part[blockIdx.x] = s;
    g.sync();
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        float t = 0;
        for (int i = 0; i < (int)gridDim.x; i++)
            t += part[i];
        *total = t;
    }
}

// The last block to arrive adds up: fence, then an atomic ticket.
extern "C" __global__ void last_block(float *total, float *part, unsigned *ticket, const float *x, int n)
{
    __shared__ bool last;
    float s = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        s += x[i];
    s = warp_sum(s);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = s;
        __threadfence();
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        __threadfence();
        float t = 0;
        for (int i = 0; i < (int)gridDim.x; i++)
            t += part[i];
        *total = t;
        *ticket = 0;
    }
}

struct Params {
    float scale[3];
    int n;
    const float *x;
};
__constant__ float ctable[4] = {1.0f, 2.0f, 4.0f, 8.0f};
__device__ float gtable[4] = {0.5f, 0.25f, 0.125f, 0.0625f};
__device__ const float *gptr = gtable;

extern "C" __global__ void spaces(float *o, Params p, char4 k, short h)
{
    float local[8];
    int i = threadIdx.x;
    for (int j = 0; j < 8; j++)
        local[(j + i) % 8] = p.x[j] * p.scale[j % 3];
    float s = 0;
    for (int j = 0; j < p.n; j++)
        s += local[(i * j) % 8] * ctable[j % 4] + gptr[(i + j) % 4];
    o[i] = s + k.x - k.w + h;
}

// A structure of parameters indexed at run time, by its generic address.
extern "C" __global__ void param_array(float *o, const __grid_constant__ Params p)
{
    const float *f = p.scale;
    o[threadIdx.x] = f[threadIdx.x % 3] + p.n;
}

extern "C" __global__ void switches(int *o, const int *a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int x = a[i], r = 0;
    for (int t = 0; t < (x & 7); t++) {
        switch ((x + t) & 7) {
        case 0: r += 3 * t; break;
        case 1: r ^= x; break;
        case 2: r -= t; break;
        case 3: r = r * 7 + 1; break;
        case 4: r <<= 1; break;
        case 5: r += x >> 2; break;
        case 6: if (r & 1) continue; r /= 3; break;
        default: r = -r; break;
        }
    }
    o[i] = r;
}

// Ballot compaction and match inside warps.
extern "C" __global__ void compact(int *o, unsigned *groups, int *count, const int *a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    int v = i < n ? a[i] : 0;
    unsigned b = __ballot_sync(0xffffffffu, v > 0);
    int base = 0;
    if (lane == 0)
        base = atomicAdd(count, __popc(b));
    base = __shfl_sync(0xffffffffu, base, 0);
    if (v > 0)
        o[base + __popc(b & ((1u << lane) - 1))] = v;
    unsigned g = __match_any_sync(0xffffffffu, v & 3);
    if (i < n)
        groups[i] = g;
}

// dp4a GEMV, one warp a row.
extern "C" __global__ void gemv_s8(int *o, const int *w, const int *x, int words)
{
    int row = blockIdx.x, s = 0;
    for (int i = threadIdx.x; i < words; i += 32)
        s = __dp4a(w[row * words + i], x[i], s);
    for (int d = 16; d; d /= 2)
        s += __shfl_down_sync(0xffffffffu, s, d);
    if (threadIdx.x == 0)
        o[row] = s;
}
