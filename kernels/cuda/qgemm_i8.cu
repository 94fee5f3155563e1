// Y = X W^T with packed W and X in 8 bits, for f32 X, which has no tensor cores of its own. Layouts: kernels/cuda/qgemm.h; this stands
// after qgemm_f32.cu.
//
// Two kernels. The first rounds X once, into the order in which the lanes of the second want it. In the second a warp owns a panel of
// 32 rows of W and a slice of K; codes are the u8 operand of mma.m16n8k16 as they are, X the s8 one, and zero points go
// into what the sums begin with: c = -zero * (sum of x). So the sum of a block is an exact integer, below 2^22; it is carried
// above 1.5 * 2^23, the bits of an f32 of the same value, which needs no conversion. The step of the block multiplies it in f32.
#include "kernels/cuda/qgemm.h"

#if __CUDA_ARCH__ >= 800

namespace qi {

// The integer 0 as an f32 with room for 22 bits of either sign: bits, and value.
enum : int { MAGIC = 0x4b400000 };
#define QI_MAGIC 12582912.0f

// ---- X in 8 bits ----

struct four {
    float v[4];
};

// Values of X at columns 2 c, 2 c + 8, 2 c + 1, 2 c + 9 of the block at `place`.
QG four read_x(const nb_cu_qgemm &p, const float *row, unsigned place, int c) {
    four x;
    if (p.aligned && place + 16 <= p.k) {
        const float2 a = __ldg((const float2 *)(row + place + 2 * c)), b = __ldg((const float2 *)(row + place + 2 * c + 8));
        x.v[0] = a.x, x.v[1] = b.x, x.v[2] = a.y, x.v[3] = b.y;
        return x;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const unsigned at = place + 2 * c + j % 2 * 8 + j / 2, col = p.map ? __ldg(p.map + at) : at;
        x.v[j] = col < p.k ? __ldg(row + col) : 0.0f;
    }
    return x;
}

// A warp rounds 128 places of one row: lane = unit * 16 + block * 4 + c. Rows beyond m are zeros.
QG void prepare(const nb_cu_qgemm_i8 &p) {
    const int lane = threadIdx.x % 32, c = lane % 4, f = lane / 4 % 4;
    const unsigned r = blockIdx.x, step = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    if (step >= p.g.steps) // all of the warp
        return;
    const unsigned unit = step * 2 + lane / 16;
    four x = {};
    if (r < p.g.m)
        x = read_x(p.g, (const float *)p.g.x + (size_t)r * p.g.ldx, unit * 64 + f * 16, c);
    float most = 0.0f;
    bool finite = true;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        most = fmaxf(most, fabsf(x.v[j]));
        finite = finite && fabsf(x.v[j]) <= 3.402823466e38f; // false for NaN
    }
    const int reach = p.wide ? 4 : 2;
#pragma unroll 1
    for (int d = 1; d <= reach; d *= 2) {
        most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, d));
        const int other = __shfl_xor_sync(0xffffffffu, (int)finite, d);
        finite = finite && other;
    }
    const bool some = most >= 7.888609052210118e-31f; // 2^-100
    const float by = __fdiv_rn(most, 127.0f);
    uint32_t word = 0;
    int sum = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int q = some && finite ? __float2int_rn(__fdiv_rn(x.v[j], by)) : 0;
        word |= (uint32_t)(q & 255) << 8 * j;
        sum += q;
    }
#pragma unroll 1
    for (int d = 1; d <= reach; d *= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, d);
    const size_t at = (size_t)(r / 8) * (p.g.steps * 2) + unit;
    p.codes[at * 128 + (r % 8 * 4 + c) * 4 + f] = word;
    if (c == 0)
        *(float2 *)(p.sums + (at * 32 + f * 8 + r % 8) * 2) = make_float2(!finite ? __int_as_float(0x7fc00000) : some ? by : 0.0f, __int_as_float(sum));
}

// ---- the product ----

// Codes of block F as bytes, rows g (a[0]) and g + 8 (a[1]), columns in the order of read_x.
template <int BITS, int F> QG void expand(const qg_words<BITS> &w, uint32_t *a) {
    if constexpr (BITS == 8) {
        a[0] = __byte_perm(w.w[2 * F], w.w[2 * F + 1], 0x5140);
        a[1] = __byte_perm(w.w[2 * F], w.w[2 * F + 1], 0x7362);
    } else if constexpr (BITS == 4) {
        a[0] = w.w[F] & 0x0f0f0f0fu;
        a[1] = w.w[F] >> 4 & 0x0f0f0f0fu;
    } else {
        const uint32_t v = w.w[F / 2] >> 8 * (F % 2);
        a[0] = (v & 0x00030003u) | (v << 4 & 0x03000300u);
        a[1] = (v >> 2 & 0x00030003u) | (v << 2 & 0x03000300u);
        if constexpr (BITS == 3) {
            const uint32_t h = __funnelshift_r(w.w[BITS - 1], w.w[BITS - 1], F % 2 + 8 * (F / 2));
            a[0] |= (h & 0x00040004u) | (h << 4 & 0x04000400u);
            a[1] |= (h >> 2 & 0x00040004u) | (h << 2 & 0x04000400u);
        }
    }
}

QG void mac(int *d, const uint32_t *a, uint32_t b) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}

template <int BITS, int NT> struct warp {
    float sum[4][NT][2], part[4][NT][2], x_sum[NT][2];
    int minus[4]; // zero points of rows g, g + 8, g + 16, g + 24
    qf::group g;
    unsigned left, number;

    QG void begin(const nb_cu_qgemm &p, const unsigned char *panel, int lane) {
        if (number < p.groups)
            qf::load_group<BITS>(p, panel, number, lane, g);
#pragma unroll
        for (int j = 0; j < 4; j++)
            minus[j] = p.zeros == NB_QC_OFFSETS ? 0 : -(int)g.zero[j];
    }

    QG void end(const nb_cu_qgemm &p) {
#pragma unroll
        for (int t = 0; t < NT; t++)
#pragma unroll
            for (int q = 0; q < 2; q++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    sum[j][t][q] = fmaf(g.scale[j], part[j][t][q], sum[j][t][q]);
                    if (p.zeros == NB_QC_OFFSETS)
                        sum[j][t][q] = fmaf(g.zero[j], x_sum[t][q], sum[j][t][q]);
                    part[j][t][q] = 0.0f;
                }
                x_sum[t][q] = 0.0f;
            }
    }

    // Blocks F to F + COUNT - 1 of a unit by tile T, which share a step: s is (step, sum) of rows 2 c and 2 c + 1 of X.
    template <int T, int F, int COUNT> QG void blocks(const nb_cu_qgemm &p, const qg_words<BITS> *w, const uint4 *x, const uint4 *s) {
        const float by[2] = {__uint_as_float(s->x), __uint_as_float(s->z)};
        const int xs[2] = {(int)s->y, (int)s->w};
        uint32_t a[2][COUNT][2];
        qg_each<COUNT>([&](auto n) {
            constexpr int i = decltype(n)::v;
            expand<BITS, F + i>(w[0], a[0][i]);
            expand<BITS, F + i>(w[1], a[1][i]);
        });
        const uint32_t b[4] = {x->x, x->y, x->z, x->w};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int d[4];
#pragma unroll
            for (int q = 0; q < 4; q++)
                d[q] = minus[2 * i + q / 2] * xs[q % 2] + MAGIC;
#pragma unroll
            for (int j = 0; j < COUNT; j++)
                mac(d, a[i][j], b[F + j]);
#pragma unroll
            for (int q = 0; q < 4; q++) {
                float &to = part[2 * i + q / 2][T][q % 2];
                to = fmaf(by[q % 2], __fadd_rn(__int_as_float(d[q]), -QI_MAGIC), to);
            }
        }
        if (p.zeros == NB_QC_OFFSETS)
#pragma unroll
            for (int q = 0; q < 2; q++)
                x_sum[T][q] = fmaf(by[q], (float)xs[q], x_sum[T][q]);
    }
};

template <int BITS, int NT, int WARPS> QG void run(const nb_cu_qgemm_i8 &p) {
    __shared__ float table[WARPS][8 * NT][36]; // 36: the 4 lanes of a row of W meet other banks
    const nb_cu_qgemm &g = p.g;
    const int lane = threadIdx.x % 32, number = threadIdx.x / 32, c = lane % 4;
    const unsigned m0 = blockIdx.x * (8 * NT), rows = min(g.m - m0, 8u * NT), n0 = blockIdx.y * 32;
    const unsigned char *panel = g.panels + blockIdx.y * g.panel_bytes;
    const unsigned first = number * g.part, last = min(first + g.part, g.steps), units = g.steps * 2;
    warp<BITS, NT> k = {};
    if (first < last) {
        k.number = first * 8 / g.group_blocks;
        k.left = g.group_blocks - first * 8 % g.group_blocks;
        k.begin(g, panel, lane);
        qg_words<BITS> w[2], next[2];
        auto fetch = [&](unsigned unit, qg_words<BITS> *to) {
            const unsigned char *at = panel + (size_t)unit * (256 * BITS);
            qf::fetch<BITS>(to[0], at, lane);
            qf::fetch<BITS>(to[1], at + 128 * BITS, lane);
        };
        fetch(first * 2, next);
#pragma unroll 1
        for (unsigned unit = first * 2; unit < last * 2; unit++) {
            w[0] = next[0], w[1] = next[1];
            if (unit + 1 < last * 2)
                fetch(unit + 1, next);
            uint4 x[NT];
            size_t at[NT];
#pragma unroll
            for (int t = 0; t < NT; t++) {
                at[t] = (size_t)(m0 / 8 + t) * units + unit;
                x[t] = 8u * t < rows ? __ldg((const uint4 *)p.codes + at[t] * 32 + lane) : make_uint4(0, 0, 0, 0);
            }
            // Blocks F.. of all tiles, and the end of their group.
            auto some = [&](auto nf, auto count) {
                constexpr int F = decltype(nf)::v, COUNT = decltype(count)::v;
                qg_each<NT>([&](auto nt) {
                    constexpr int t = decltype(nt)::v;
                    if (8u * t < rows) {
                        const uint4 s = __ldg((const uint4 *)p.sums + (at[t] * 32 + F * 8) / 2 + c);
                        k.template blocks<t, F, COUNT>(g, w, &x[t], &s);
                    }
                });
                k.left -= COUNT;
                if (k.left == 0) {
                    k.left = g.group_blocks;
                    k.end(g);
                    k.number++;
                    k.begin(g, panel, lane);
                }
            };
            if (p.wide) {
                some(qg_int<0>(), qg_int<2>());
                some(qg_int<2>(), qg_int<2>());
            } else {
                qg_each<4>([&](auto nf) { some(nf, qg_int<1>()); });
            }
        }
        k.end(g);
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int t = 0; t < NT; t++)
#pragma unroll
            for (int q = 0; q < 2; q++)
                table[number][8 * t + 2 * c + q][lane / 4 + 8 * j] = k.sum[j][t][q];
    __syncthreads();
    qg_results<32>(g, m0, n0, rows, [&](unsigned r, unsigned n) {
        float v = table[0][r][n];
#pragma unroll
        for (int i = 1; i < WARPS; i++)
            v = __fadd_rn(v, table[i][r][n]);
        return v;
    });
}

} // namespace qi

extern "C" __global__ void __launch_bounds__(256) qgemm_i8_prepare(const __grid_constant__ nb_cu_qgemm_i8 p) {
    qi::prepare(p);
}

#define QI_KERNELS(bits)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) qgemm_##bits##_i8_8(const __grid_constant__ nb_cu_qgemm_i8 p) {  \
        qi::run<bits, 1, 8>(p);                                                                                        \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) qgemm_##bits##_i8_32(const __grid_constant__ nb_cu_qgemm_i8 p) { \
        qi::run<bits, 4, 4>(p);                                                                                        \
    }
QI_KERNELS(4)
QI_KERNELS(8)
QI_KERNELS(3)
QI_KERNELS(2)

#endif
