// Y = X W^T with packed W by f32 fused multiply-adds: any type of X on any device, exact but for the rounding of f32 sums. For
// f32 activations, and for bf16 where tensor cores know none (sm_75). Layout: kernels/cuda/qgemm.h; it stands after qgemm.cu.
//
// A CTA is 4 rows of X by one panel of W; its 4 warps take slices of the steps. A lane multiplies the codes that the layout
// gives it; the 4 lanes of a row add up in the end.
#include "kernels/cuda/qgemm.h"

namespace qf {

enum { ROWS = 4, WARPS = 4 };

template <int BITS> QG void fetch(qg_words<BITS> &w, const unsigned char *tile, int lane) {
    if constexpr (BITS >= 4) {
#pragma unroll
        for (int i = 0; i < BITS / 4; i++) {
            const uint4 v = __ldg((const uint4 *)(tile + 512 * i) + lane);
            w.w[4 * i] = v.x, w.w[4 * i + 1] = v.y, w.w[4 * i + 2] = v.z, w.w[4 * i + 3] = v.w;
        }
    } else {
        const uint2 v = __ldg((const uint2 *)tile + lane);
        w.w[0] = v.x, w.w[1] = v.y;
        if constexpr (BITS == 3)
            w.w[2] = __ldg((const uint32_t *)(tile + 256) + lane);
    }
}

// The code of register i, half h of block F.
template <int BITS, int F> QG uint32_t code(const qg_words<BITS> &w, int i, int h) {
    const int at = 2 * i + 16 * h;
    if constexpr (BITS == 8)
        return w.w[2 * F + i / 2] >> (i % 2 * 16 + 8 * h) & 255;
    else if constexpr (BITS == 4)
        return w.w[F] >> 2 * at - 16 * h & 15;
    else if constexpr (BITS == 3)
        return (w.w[F / 2] >> 8 * (F % 2) + at & 3) |
               (__funnelshift_r(w.w[2], w.w[2], F % 2 + 8 * (F / 2)) >> at & 4);
    else
        return w.w[F / 2] >> 8 * (F % 2) + at & 3;
}

QG float value(const nb_cu_qgemm &p, size_t at) {
    if (p.x_type == NB_CU_F16)
        return __half2float(((const __half *)p.x)[at]);
    if (p.x_type == NB_CU_BF16)
        return __uint_as_float((uint32_t)((const uint16_t *)p.x)[at] << 16);
    return ((const float *)p.x)[at];
}

struct group {
    float scale[4], zero[4]; // of rows g, g + 8, g + 16, g + 24; zero may be an offset
};

template <int BITS> QG void load_group(const nb_cu_qgemm &p, const unsigned char *panel, unsigned number, int lane, group &g) {
    const size_t at = (size_t)number * 32 + lane / 4 * 4;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const unsigned char *s = panel + p.scale_at, *z = panel + p.zero_at;
        if (p.scale_type == NB_CU_F16)
            g.scale[j] = __half2float(((const __half *)s)[at + j]);
        else if (p.scale_type == NB_CU_BF16)
            g.scale[j] = __uint_as_float((uint32_t)((const uint16_t *)s)[at + j] << 16);
        else
            g.scale[j] = ((const float *)s)[at + j];
        g.zero[j] = p.zeros == NB_QC_ZEROS ? (float)z[at + j] : p.zeros == NB_QC_OFFSETS ? ((const float *)z)[at + j] : (float)(1 << (BITS - 1));
    }
}

template <int BITS> QG void run(const nb_cu_qgemm &p) {
    __shared__ __align__(16) float xs[WARPS][ROWS][NB_QC_STEP];
    __shared__ float table[WARPS][ROWS][33];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = lane % 4;
    const unsigned m0 = blockIdx.x * ROWS, rows = min(p.m - m0, (unsigned)ROWS), n0 = blockIdx.y * 32;
    const unsigned char *panel = p.panels + blockIdx.y * p.panel_bytes;
    const unsigned first = warp * p.part, last = min(first + p.part, p.steps);
    float sum[4][ROWS] = {}, part[4][ROWS] = {}, x_sum[ROWS] = {};
    if (first < last) {
        unsigned number = first * 8 / p.group_blocks, left = p.group_blocks - first * 8 % p.group_blocks;
        group g = {};
        if (number < p.groups)
            load_group<BITS>(p, panel, number, lane, g);
        auto end_group = [&]() {
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    sum[j][r] = fmaf(g.scale[j], part[j][r], sum[j][r]);
                    if (p.zeros == NB_QC_OFFSETS)
                        sum[j][r] = fmaf(g.zero[j], x_sum[r], sum[j][r]);
                    part[j][r] = 0.0f;
                }
                x_sum[r] = 0.0f;
            }
        };
#pragma unroll 1
        for (unsigned step = first; step < last; step++) {
            __syncwarp();
#pragma unroll 1
            for (unsigned i = lane; i < NB_QC_STEP; i += 32) {
                const unsigned place = step * NB_QC_STEP + i, col = p.map ? __ldg(p.map + place) : place;
#pragma unroll
                for (unsigned r = 0; r < ROWS; r++)
                    xs[warp][r][i] = r < rows && col < p.k ? value(p, (m0 + r) * p.ldx + col) : 0.0f;
            }
            __syncwarp();
#pragma unroll 1
            for (int u = 0; u < 2; u++) {
                qg_words<BITS> w[2];
                const unsigned char *tile = panel + (size_t)step * (512 * BITS) + u * (256 * BITS);
                fetch<BITS>(w[0], tile, lane);
                fetch<BITS>(w[1], tile + 128 * BITS, lane);
                qg_each<4>([&](auto nf) {
                    constexpr int f = decltype(nf)::v;
                    float x[ROWS][4]; // k 2 c, 2 c + 1, and 8 further
#pragma unroll
                    for (int r = 0; r < ROWS; r++) {
                        const float *at = &xs[warp][r][64 * u + 16 * f + 2 * c];
                        const float2 a = *(const float2 *)at, b = *(const float2 *)(at + 8);
                        x[r][0] = a.x, x[r][1] = a.y, x[r][2] = b.x, x[r][3] = b.y;
                        if (p.zeros == NB_QC_OFFSETS)
                            x_sum[r] = __fadd_rn(x_sum[r], __fadd_rn(__fadd_rn(a.x, a.y), __fadd_rn(b.x, b.y)));
                    }
#pragma unroll
                    for (int t = 0; t < 2; t++)
#pragma unroll
                        for (int i = 0; i < 4; i++)
#pragma unroll
                            for (int h = 0; h < 2; h++) {
                                float q = (float)code<BITS, f>(w[t], i, h);
                                if (p.zeros != NB_QC_OFFSETS)
                                    q = __fadd_rn(q, -g.zero[2 * t + i % 2]);
#pragma unroll
                                for (int r = 0; r < ROWS; r++)
                                    part[2 * t + i % 2][r] = fmaf(q, x[r][i / 2 * 2 + h], part[2 * t + i % 2][r]);
                            }
                    if (--left == 0) {
                        left = p.group_blocks;
                        end_group();
                        if (++number < p.groups)
                            load_group<BITS>(p, panel, number, lane, g);
                    }
                });
            }
        }
        end_group();
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float v = sum[j][r];
            v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, 1));
            v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, 2));
            if (c == 0)
                table[warp][r][lane / 4 + 8 * j] = v;
        }
    __syncthreads();
    qg_results<32>(p, m0, n0, rows, [&](unsigned r, unsigned n) {
        float v = table[0][r][n];
#pragma unroll
        for (int i = 1; i < WARPS; i++)
            v = __fadd_rn(v, table[i][r][n]);
        return v;
    });
}

} // namespace qf

#define QF_KERNEL(bits)                                                                                                \
    extern "C" __global__ void __launch_bounds__(128) qgemm_##bits##_f32_4(const __grid_constant__ nb_cu_qgemm p) {    \
        qf::run<bits>(p);                                                                                              \
    }
QF_KERNEL(4)
QF_KERNEL(8)
QF_KERNEL(3)
QF_KERNEL(2)
