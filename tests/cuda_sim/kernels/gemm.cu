// C = A B, f16 with f32 accumulation: cp.async pipeline, ldmatrix, mma.sync, split-K whose slices add
// to a workspace in a fixed order behind a lock per tile. The kernel of the mutation check.
//
// A [M][K], B [K][N], C [M][N] row-major f16; M, N multiples of 64, K of 32 * gridDim.z.
// Grid (N/64, M/64, slices), 128 threads: 2 x 2 warps of 32 x 32. ws [M][N] f32, lock [tiles] zeros.
#include <cuda_fp16.h>
#include <stdint.h>

#define BM 64
#define BN 64
#define BK 32
#define STAGES 3
#define LDA (BK + 8)
#define LDB (BN + 8)
#define STAGE_HALVES (BM * LDA + BK * LDB)

__device__ __forceinline__ uint32_t smem_addr(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void copy16(__half *dst, const __half *src)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(smem_addr(dst)), "l"(src));
#else
    *(uint4 *)dst = *(const uint4 *)src;
#endif
}

__device__ __forceinline__ void load_stage(__half *s, const __half *A, const __half *B, int N, int K, int row,
                                           int col, int k)
{
    for (int i = threadIdx.x; i < BM * BK / 8; i += blockDim.x) {
        int r = i / (BK / 8), c = i % (BK / 8) * 8;
        copy16(s + r * LDA + c, A + (size_t)(row + r) * K + k + c);
    }
    s += BM * LDA;
    for (int i = threadIdx.x; i < BK * BN / 8; i += blockDim.x) {
        int r = i / (BN / 8), c = i % (BN / 8) * 8;
        copy16(s + r * LDB + c, B + (size_t)(k + r) * N + col + c);
    }
}

__device__ __forceinline__ void mma(float *d, const uint32_t *a, const uint32_t *b)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int h = 0; h < 2; h++)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[2 * h]), "r"(a[2 * h + 1]), "r"(b[h]));
#endif
}

__device__ __forceinline__ void compute_stage(const __half *s, float acc[2][4][4], int wm, int wn)
{
    const int lane = threadIdx.x % 32;
    const __half *sb = s + BM * LDA;
    for (int kk = 0; kk < BK; kk += 16) {
        uint32_t a[2][4], b[4][2];
        for (int i = 0; i < 2; i++) {
            uint32_t p = smem_addr(s + (wm + 16 * i + lane % 16) * LDA + kk + lane / 16 * 8);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(a[i][0]), "=r"(a[i][1]), "=r"(a[i][2]), "=r"(a[i][3]) : "r"(p) : "memory");
        }
        for (int j = 0; j < 2; j++) {
            uint32_t p = smem_addr(sb + (kk + lane % 16) * LDB + wn + 16 * j + lane / 16 * 8);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                         : "=r"(b[2 * j][0]), "=r"(b[2 * j][1]), "=r"(b[2 * j + 1][0]), "=r"(b[2 * j + 1][1])
                         : "r"(p) : "memory");
        }
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 4; j++)
                mma(acc[i][j], a[i], b[j]);
    }
}

extern "C" __global__ void __launch_bounds__(128) gemm(__half *C, const __half *A, const __half *B, float *ws,
                                                       int *lock, int M, int N, int K)
{
    extern __shared__ __align__(16) __half smem[];
    const int row = blockIdx.y * BM, col = blockIdx.x * BN;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int wm = warp / 2 * 32, wn = warp % 2 * 32;
    const int slices = gridDim.z, slice = blockIdx.z;
    const int steps = K / slices / BK, k0 = slice * (K / slices);
    float acc[2][4][4] = {};

#if __CUDA_ARCH__ >= 800
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps)
            load_stage(smem + s * STAGE_HALVES, A, B, N, K, row, col, k0 + s * BK);
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    for (int t = 0; t < steps; t++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
        __syncthreads();
        int next = t + STAGES - 1;
        if (next < steps)
            load_stage(smem + next % STAGES * STAGE_HALVES, A, B, N, K, row, col, k0 + next * BK);
        asm volatile("cp.async.commit_group;" ::: "memory");
        compute_stage(smem + t % STAGES * STAGE_HALVES, acc, wm, wn);
    }
#else
    for (int t = 0; t < steps; t++) {
        __half *s = smem + t % 2 * STAGE_HALVES;
        load_stage(s, A, B, N, K, row, col, k0 + t * BK);
        __syncthreads();
        compute_stage(s, acc, wm, wn);
    }
#endif

    int *mine = lock + blockIdx.y * gridDim.x + blockIdx.x;
    if (slices > 1) {
        if (threadIdx.x == 0) {
            int seen;
            do {
                asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(seen) : "l"(mine) : "memory");
            } while (seen != slice);
        }
        __syncthreads();
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 4; j++)
                for (int q = 0; q < 4; q++) {
                    int r = row + wm + 16 * i + lane / 4 + 8 * (q / 2), c = col + wn + 8 * j + lane % 4 * 2 + q % 2;
                    float *p = ws + (size_t)r * N + c;
                    if (slice > 0)
                        acc[i][j][q] += *p;
                    if (slice < slices - 1)
                        *p = acc[i][j][q];
                }
        if (slice < slices - 1) {
            __syncthreads();
            if (threadIdx.x == 0) {
                __threadfence();
                asm volatile("st.relaxed.gpu.global.b32 [%0], %1;" ::"l"(mine), "r"(slice + 1) : "memory");
            }
            return;
        }
        if (threadIdx.x == 0)
            *mine = 0; // for the next launch
    } else {
        __syncthreads();
    }
    __half *out = smem; // [64][72]
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int h = 0; h < 2; h++)
                *(__half2 *)(out + (wm + 16 * i + lane / 4 + 8 * h) * LDB + wn + 8 * j + lane % 4 * 2) =
                    __floats2half2_rn(acc[i][j][2 * h], acc[i][j][2 * h + 1]);
    __syncthreads();
    for (int i = threadIdx.x; i < BM * BN / 8; i += blockDim.x) {
        int r = i / (BN / 8), c = i % (BN / 8) * 8;
        *(uint4 *)(C + (size_t)(row + r) * N + col + c) = *(const uint4 *)(out + r * LDB + c);
    }
}
