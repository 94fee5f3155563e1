/* Inverse Cholesky factor of one block of at most 64, in f64: one CTA.
 *
 * One square in shared memory holds L below and on the diagonal, and its inverse X, transposed, above it; X's diagonal stands apart. The
 * row length is odd, and a warp takes a row with its columns across lanes, so that rows and columns are read without bank conflicts. */
#include "kernels/cuda/common.cuh"

enum { CHOL_MAX = 64, CHOL_LD = CHOL_MAX + 1, CHOL_WARPS = 8 };

/* Right-looking; returns the first pivot that is not positive, or k. */
static __device__ unsigned factor(unsigned k, double *l) {
    for (unsigned j = 0u; j < k; j++) {
        double pivot = l[j * CHOL_LD + j];
        if (!(pivot > 0.0) || pivot > 1.7976931348623157e308)
            return j;
        double root = sqrt(pivot);
        __syncthreads();
        for (unsigned i = j + threadIdx.x; i < k; i += blockDim.x)
            l[i * CHOL_LD + j] = i == j ? root : l[i * CHOL_LD + j] / root;
        __syncthreads();
        for (unsigned i = j + 1u + threadIdx.x / 32u; i < k; i += CHOL_WARPS) {
            const double x = l[i * CHOL_LD + j];
            for (unsigned c = j + 1u + lane_id(); c <= i; c += 32u)
                l[i * CHOL_LD + c] -= x * l[c * CHOL_LD + j];
        }
        __syncthreads();
    }
    return k;
}

/* X[i][j] = (e_i - sum_{c<i} L[i][c] X[c][j]) / L[i][i]: a thread a column j, all threads at one row i. */
static __device__ void invert(unsigned k, double *l, double *diagonal) {
    const unsigned j = threadIdx.x;
    if (j / 32u * 32u >= k)
        return;                  /* whole warps; single lanes from k on find nothing to do */
    double *x = l + j * CHOL_LD; /* X[i][j] at x[i], i > j */
    double mine = 0.0;
    if (j < k)
        diagonal[j] = mine = 1.0 / l[j * CHOL_LD + j];
    for (unsigned i = 1u; i < k; i++) {
        double sum = 0.0;
        for (unsigned c = 0u; c < i; c++)
            if (c >= j)
                sum -= l[i * CHOL_LD + c] * (c == j ? mine : x[c]);
        if (i > j)
            x[i] = sum / l[i * CHOL_LD + i];
    }
}

extern "C" __global__ void __launch_bounds__(32 * CHOL_WARPS) chol_inverse_cuda(const nb_cu_chol p) {
    __shared__ double l[CHOL_MAX * CHOL_LD], diagonal[CHOL_MAX];
    for (unsigned i = threadIdx.x / 32u; i < p.k; i += CHOL_WARPS)
        for (unsigned j = lane_id(); j <= i; j += 32u)
            l[i * CHOL_LD + j] = (double)p.a[i * p.lda + j];
    __syncthreads();
    unsigned bad = factor(p.k, l);
    if (bad == p.k)
        invert(p.k, l, diagonal);
    __syncthreads();
    for (unsigned i = threadIdx.x / 32u; i < p.k; i += CHOL_WARPS)
        for (unsigned j = lane_id(); j < p.k; j += 32u) {
            double x = i == j ? 1.0 : 0.0;
            if (bad == p.k)
                x = j > i ? 0.0 : i == j ? diagonal[i] : l[j * CHOL_LD + i];
            p.a[i * p.lda + j] = (float)x;
        }
    if (bad < p.k && threadIdx.x == 0u && p.status[3] == 0u)
        p.status[3] = 1u + p.base + bad;
}
