/* Transposition by tiles of 32 x 32 through shared memory, with a permutation of the columns that are read, or of the places in a row
 * that are written. */
#include "kernels/cuda/common.cuh"

template <class T> static __device__ __forceinline__ void transpose(const nb_cu_copy &p) {
    __shared__ T tile[32][sizeof(T) == 1 ? 36 : 33]; /* an odd number of words: columns are read without bank conflicts */
    const T *src = (const T *)p.src;
    T *dst = (T *)p.dst;
    const unsigned x = lane_id(), y = threadIdx.x / 32u, r0 = blockIdx.x * 32u, c0 = blockIdx.y * 32u;
    const unsigned column = c0 + x < p.cols ? (p.from ? p.from[c0 + x] : c0 + x) : 0u;
    for (unsigned r = y; r < 32u; r += 8u)
        if (r0 + r < p.rows && c0 + x < p.cols)
            tile[r][x] = src[(r0 + r) * p.lds + column];
    __syncthreads();
    const unsigned place = r0 + x < p.rows ? (p.to ? p.to[r0 + x] : r0 + x) : 0u;
    for (unsigned c = y; c < 32u; c += 8u)
        if (r0 + x < p.rows && c0 + c < p.cols)
            dst[(c0 + c) * p.ldd + place] = tile[x][c];
}

extern "C" __global__ void __launch_bounds__(256) transpose_words(const nb_cu_copy p) {
    transpose<unsigned>(p);
}

extern "C" __global__ void __launch_bounds__(256) transpose_bytes(const nb_cu_copy p) {
    transpose<unsigned char>(p);
}
