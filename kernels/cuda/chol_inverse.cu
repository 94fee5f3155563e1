/* Inverse Cholesky factor of one block of at most 64, in f64: one CTA. L and its inverse are packed lower triangles in shared memory. */
#include "kernels/cuda/common.cuh"

enum { CHOL_MAX = 64, CHOL_PACKED = CHOL_MAX * (CHOL_MAX + 1) / 2 };

static __device__ __forceinline__ unsigned tri(unsigned i, unsigned j) {
    return i * (i + 1u) / 2u + j;
}

/* Right-looking; returns the first pivot that is not positive, or k. */
static __device__ unsigned factor(unsigned k, double *l) {
    for (unsigned j = 0u; j < k; j++) {
        double pivot = l[tri(j, j)];
        if (!(pivot > 0.0) || pivot > 1.7976931348623157e308)
            return j;
        double root = sqrt(pivot);
        __syncthreads();
        for (unsigned i = j + threadIdx.x; i < k; i += blockDim.x)
            l[tri(i, j)] = i == j ? root : l[tri(i, j)] / root;
        __syncthreads();
        unsigned rest = k - j - 1u;
        for (unsigned e = threadIdx.x; e < rest * rest; e += blockDim.x) {
            unsigned i = j + 1u + e / rest, c = j + 1u + e % rest;
            if (c <= i)
                l[tri(i, c)] -= l[tri(i, j)] * l[tri(c, j)];
        }
        __syncthreads();
    }
    return k;
}

/* Column j of X = L^-1 depends on no other column: a thread a column. */
static __device__ void invert(unsigned k, const double *l, double *x) {
    for (unsigned j = threadIdx.x; j < k; j += blockDim.x)
        for (unsigned i = j; i < k; i++) {
            double sum = i == j ? 1.0 : 0.0;
            for (unsigned c = j; c < i; c++)
                sum -= l[tri(i, c)] * x[tri(c, j)];
            x[tri(i, j)] = sum / l[tri(i, i)];
        }
}

extern "C" __global__ void __launch_bounds__(256) chol_inverse_cuda(const nb_cu_chol p) {
    __shared__ double l[CHOL_PACKED], x[CHOL_PACKED];
    for (unsigned e = threadIdx.x; e < p.k * p.k; e += blockDim.x) {
        unsigned i = e / p.k, j = e % p.k;
        if (j <= i)
            l[tri(i, j)] = (double)p.a[i * p.lda + j];
    }
    __syncthreads();
    unsigned bad = factor(p.k, l);
    if (bad == p.k)
        invert(p.k, l, x);
    __syncthreads();
    for (unsigned e = threadIdx.x; e < p.k * p.k; e += blockDim.x) {
        unsigned i = e / p.k, j = e % p.k;
        p.a[i * p.lda + j] = bad < p.k ? (i == j ? 1.0f : 0.0f) : j <= i ? (float)x[tri(i, j)] : 0.0f;
    }
    if (bad < p.k && threadIdx.x == 0u && p.status[3] == 0u)
        p.status[3] = 1u + p.base + bad;
}
