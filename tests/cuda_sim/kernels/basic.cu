// The first things: addition, a shared-memory reduction, a device function, slow paths of libdevice.
#include <cuda_fp16.h>

extern "C" __global__ void add(float *o, const float *a, const float *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = a[i] + b[i];
}

extern "C" __global__ void block_sum(float *o, const float *a, int n)
{
    __shared__ float s[256];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    s[threadIdx.x] = i < n ? a[i] : 0.0f;
    __syncthreads();
    for (int d = blockDim.x / 2; d > 0; d /= 2) {
        if (threadIdx.x < d)
            s[threadIdx.x] += s[threadIdx.x + d];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        o[blockIdx.x] = s[0];
}

__device__ __noinline__ float poly(float x, int n, int *calls)
{
    *calls += n;
    float r = 0;
    for (int i = 0; i < n; i++)
        r = r * x + (float)i;
    return r;
}

extern "C" __global__ void with_call(float *o, const float *a, int *calls, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n)
        return;
    int c = 0;
    float r = poly(a[i], 3 + i % 4, &c);
    if (i % 3 == 0)
        r += poly(r, 2, &c);
    o[i] = r;
    calls[i] = c;
}

// Large arguments take the slow range reduction with its local array.
extern "C" __global__ void slow_math(float *o, const float *a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = sinf(a[i]) + 2.0f * cosf(a[i]) + powf(fabsf(a[i]) + 0.5f, 0.3f) + expf(-fabsf(a[i])) + tanhf(a[i])
             + log1pf(fabsf(a[i])) + erff(a[i]) + rsqrtf(fabsf(a[i]) + 1.0f);
}

extern "C" __global__ void int_math(int *o, const int *a, const int *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        int x = a[i], y = b[i];
        long long q = (long long)x * y;
        o[4 * i] = y ? x / y : 0;
        o[4 * i + 1] = y ? x % y : 0;
        o[4 * i + 2] = (int)(q / 1000003);
        o[4 * i + 3] = (int)((unsigned long long)q % 97u) + __popc(x) + __clz(y) + __brev(x) + __ffs(y);
    }
}

extern "C" __global__ void double_math(double *o, const double *a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        o[i] = sqrt(fabs(a[i])) / (1.0 + a[i] * a[i]) + exp(-fabs(a[i])) + log(fabs(a[i]) + 1.0) + sin(a[i]);
}

extern "C" __global__ void histogram(unsigned *h, const unsigned char *x, int n)
{
    __shared__ unsigned s[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        s[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&s[x[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        atomicAdd(&h[i], s[i]);
}

extern "C" __global__ void half_math(__half2 *o, const __half2 *a, const __half2 *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        __half2 x = __hfma2(a[i], b[i], a[i]);
        x = __hadd2(x, __hmul2(b[i], __float2half2_rn(0.25f)));
        o[i] = __hgt2_mask(x, b[i]) ? __hmax2(x, a[i]) : h2exp2(__hmin2(b[i], __float2half2_rn(1.0f)));
    }
}
