// Y = X W^T with packed W: tensor cores, W as the A operand (16 rows of W by 8 rows of X), f32 sums.
//
// A warp owns a panel of 32 rows of W and a range of steps of 128 columns. Codes come through shared memory by cp.async,
// several steps ahead, in fragment order: a lane reads its own 16 bytes. They become f16 (bf16) integers q - zero in
// registers, exactly: a code is put into the mantissa of 2^e by one lop3, and 2^e + zero is taken off. The products of a
// group (at most 128 columns) are summed by mma from zero; scales are applied to these sums in f32. So nothing of W is
// rounded, and no f16 overflows: |y - exact| <= gamma_K sum |x||w|, as on the CPU.
//
// Activations are shared by the warps of a slice; rows of 128 columns stand 272 bytes apart, so that ldmatrix and its
// filling meet no bank twice. Rows beyond m are zeros, or (of a tile of 8) read as row m - 1, and not stored.
//
// Sums of slices: inside a CTA through shared memory; over CTAs through `partial`, by the CTA that arrives last; always in
// the order of the slices.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "kernels/cuda/qgemm.h"

#define QG __device__ __forceinline__

// ---- instructions ----

QG uint32_t qg_smem(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

// 16 bytes into shared memory, the last ones zero where fewer are left in the row.
QG void qg_copy16(uint32_t dst, const void *src, unsigned bytes) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes));
#else
    uint32_t w[4] = {0, 0, 0, 0};
    if (bytes == 16) {
        const uint4 v = *(const uint4 *)src;
        w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
    } else {
        const uint16_t *s = (const uint16_t *)src;
#pragma unroll
        for (unsigned i = 0; i < 8; i++)
            if (2 * i < bytes)
                w[i / 2] |= (uint32_t)s[i] << 16 * (i % 2);
    }
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(dst), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]));
#endif
}

QG void qg_copy16(uint32_t dst, const void *src) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src));
#else
    const uint4 v = *(const uint4 *)src;
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(dst), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w));
#endif
}

QG void qg_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int LEFT> QG void qg_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

// The warps of one slice; barrier 0 is the CTA's.
template <int WARPS> QG void qg_meet(unsigned slice) {
    if (WARPS == 1)
        __syncwarp();
    else
        asm volatile("bar.sync %0, %1;" ::"r"(slice + 1), "n"(WARPS * 32) : "memory");
}

QG void qg_ldmatrix(uint32_t *r, uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

template <bool BF16> struct qg_mma;

// d = a b (FIRST) or d += a b.
#if __CUDA_ARCH__ >= 800
#define QG_MMA(type)                                                                                                   \
    if (FIRST)                                                                                                         \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "      \
            "{%10,%10,%10,%10};"                                                                                       \
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                                           \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(0.0f));                            \
    else                                                                                                               \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "      \
            "{%0,%1,%2,%3};"                                                                                           \
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                           \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#endif

template <bool BF16, bool FIRST> QG void qg_mac(float *d, const uint32_t *a, const uint32_t *b) {
#if __CUDA_ARCH__ >= 800
    if (BF16) {
        QG_MMA("bf16");
    } else {
        QG_MMA("f16");
    }
#else
    if (FIRST)
        d[0] = d[1] = d[2] = d[3] = 0.0f;
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2]), "r"(a[3]), "r"(b[1]));
#endif
}

QG uint32_t qg_pick(uint32_t w, uint32_t mask, uint32_t magic) { // (w & mask) | magic, one lop3
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(w), "r"(mask), "r"(magic));
    return r;
}

template <bool BF16> QG uint32_t qg_add(uint32_t a, uint32_t b) {
    uint32_t r;
#if __CUDA_ARCH__ >= 800
    if (BF16)
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(0x3f803f80u), "r"(b));
    else
#endif
        asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

// ---- codes to fragments ----

// The magic number of register i: a code at mantissa bit p of it counts in steps of 1.
template <int BITS, bool BF16> QG constexpr uint32_t qg_magic(int i) {
    return BITS == 8             ? (BF16 ? 0x4b000000u : 0x64006400u)
           : BF16 && BITS == 4   ? 0x43004300u
           : BF16                ? (i % 2 ? 0x42004200u : 0x43004300u)
           : BITS == 4           ? (i % 2 ? 0x54005400u : 0x64006400u)
           : i == 0              ? 0x64006400u
           : i == 1              ? 0x5c005c00u
           : i == 2              ? 0x54005400u
                                 : 0x4c004c00u;
}

// -(2^e + z) for register i, twice in a word (8 bits in bf16: once, in f32). z is at most 255, in bf16 with fewer than 8
// bits at most 128: exact.
template <int BITS, bool BF16> QG uint32_t qg_minus(int i, uint32_t z) {
    if (BF16 && BITS == 8)
        return 0xcb000000u + z;
    const uint32_t zz = __byte_perm(z, 0, 0x4040); // z in both halves
    if (BF16) {
        // -(128 + z) is 0xc300 + z; the others differ by a constant.
        const uint32_t c = zz + 0xc300c300u;
        const uint32_t magic = qg_magic<BITS, BF16>(i);
        return magic == 0x43004300u ? c : qg_add<BF16>(c, 0x42c042c0u); // + 96
    }
    const uint32_t c = zz + 0xe400e400u; // -(1024 + z)
    const uint32_t magic = qg_magic<BITS, BF16>(i);
    return magic == 0x64006400u   ? c
           : magic == 0x5c005c00u ? qg_add<BF16>(c, 0x62006200u)  // + 768
           : magic == 0x54005400u ? qg_add<BF16>(c, 0x63806380u)  // + 960
                                  : qg_add<BF16>(c, 0x63e063e0u); // + 1008
}

// The codes of one tile of one unit that a lane owns.
template <int BITS> struct qg_words {
    uint32_t w[BITS == 8 ? 8 : BITS == 4 ? 4 : BITS == 3 ? 3 : 2];
};

template <int BITS> QG qg_words<BITS> qg_read(const unsigned char *tile, int lane) {
    qg_words<BITS> r;
    if (BITS == 8) {
        const uint4 a = *(const uint4 *)(tile + 16 * lane), b = *(const uint4 *)(tile + 512 + 16 * lane);
        r.w[0] = a.x, r.w[1] = a.y, r.w[2 % (BITS)] = a.z, r.w[3 % BITS] = a.w;
        r.w[4 % BITS] = b.x, r.w[5 % BITS] = b.y, r.w[6 % BITS] = b.z, r.w[7 % BITS] = b.w;
    } else if (BITS == 4) {
        const uint4 a = *(const uint4 *)(tile + 16 * lane);
        r.w[0] = a.x, r.w[1] = a.y, r.w[2 % BITS] = a.z, r.w[3 % BITS] = a.w;
    } else {
        const uint2 a = *(const uint2 *)(tile + 8 * lane);
        r.w[0] = a.x, r.w[1] = a.y;
        if (BITS == 3)
            r.w[2 % BITS] = *(const uint32_t *)(tile + 256 + 4 * lane);
    }
    return r;
}

// The A fragment of block f: integers q - z. c are the constants of qg_minus.
template <int BITS, bool BF16> QG void qg_dequant(const qg_words<BITS> &s, int f, const uint32_t *c, uint32_t *a) {
    if (BITS == 8) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t w = s.w[(2 * f + i / 2) % (2 * BITS) % 8];
            if (BF16) {
                const uint32_t lo = __byte_perm(w, 0x4b000000u, i % 2 ? 0x7552 : 0x7550),
                               hi = __byte_perm(w, 0x4b000000u, i % 2 ? 0x7553 : 0x7551);
                const float z = __uint_as_float(c[i]);
                a[i] = __byte_perm(__float_as_uint(__fadd_rn(__uint_as_float(lo), z)),
                                   __float_as_uint(__fadd_rn(__uint_as_float(hi), z)), 0x7632);
            } else {
                a[i] = qg_add<BF16>(__byte_perm(w, 0x64646464u, i % 2 ? 0x4342 : 0x4140), c[i]);
            }
        }
    } else if (BITS == 4) {
        const uint32_t w = s.w[f % BITS];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t v = BF16 ? w >> 4 * i : i < 2 ? w : w >> 8;
            const uint32_t mask = !BF16 && i % 2 ? 0x00f000f0u : 0x000f000fu;
            a[i] = qg_add<BF16>(qg_pick(v, mask, qg_magic<BITS, BF16>(i)), c[i]);
        }
    } else {
        const uint32_t w = s.w[f / 2] >> 8 * (f % 2);
        const uint32_t h = BITS == 3 ? __funnelshift_r(s.w[BITS - 1], s.w[BITS - 1], f % 2 + 8 * (f / 2)) : 0;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int down = BF16 && i >= 2 ? 4 : 0, p = 2 * i - down;
            uint32_t v = qg_pick(w >> down, 0x00030003u << p, qg_magic<BITS, BF16>(i));
            if (BITS == 3)
                v = qg_pick(h >> down, 0x00040004u << p, v);
            a[i] = qg_add<BF16>(v, c[i]);
        }
    }
}

// ---- scales ----

// What a lane needs of one group: rows g, g + 8, g + 16, g + 24 of the panel.
struct qg_group {
    uint4 scale; // as stored
    uint32_t zero;
};

QG qg_group qg_group_load(const nb_cu_qgemm &p, const unsigned char *panel, unsigned group, int lane) {
    qg_group r;
    const unsigned place = group * 8 + lane / 4;
    const unsigned char *s = panel + p.scale_at;
    r.zero = 0;
    if (p.scale_type == NB_CU_F32) {
        r.scale = *((const uint4 *)s + place);
    } else {
        const uint2 v = *((const uint2 *)s + place);
        r.scale = make_uint4(v.x, v.y, 0, 0);
    }
    if (p.zeros == NB_QC_ZEROS)
        r.zero = *((const uint32_t *)(panel + p.zero_at) + place);
    return r;
}

QG void qg_scales(const nb_cu_qgemm &p, const qg_group &g, float *s) {
    if (p.scale_type == NB_CU_F16) {
        const __half2 a = *(const __half2 *)&g.scale.x, b = *(const __half2 *)&g.scale.y;
        s[0] = __low2float(a), s[1] = __high2float(a), s[2] = __low2float(b), s[3] = __high2float(b);
    } else if (p.scale_type == NB_CU_BF16) {
        s[0] = __uint_as_float(g.scale.x << 16), s[1] = __uint_as_float(g.scale.x & 0xffff0000u);
        s[2] = __uint_as_float(g.scale.y << 16), s[3] = __uint_as_float(g.scale.y & 0xffff0000u);
    } else {
        s[0] = __uint_as_float(g.scale.x), s[1] = __uint_as_float(g.scale.y);
        s[2] = __uint_as_float(g.scale.z), s[3] = __uint_as_float(g.scale.w);
    }
}

// Constants of both tiles by the zero points of rows g, g + 8, ... in the bytes of z.
template <int BITS, bool BF16> QG void qg_constants(uint32_t z, uint32_t c[2][4]) {
#pragma unroll
    for (int t = 0; t < 2; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[t][i] = qg_minus<BITS, BF16>(i, z >> (16 * t + 8 * (i % 2)) & 0xff);
}

// ---- activations ----

// One value of X by place, for rows that cannot be read 16 bytes at a time.
QG uint32_t qg_x(const nb_cu_qgemm &p, const uint16_t *row, unsigned place) {
    const unsigned col = p.map ? __ldg(p.map + place) : place;
    return col < p.k ? __ldg(row + col) : 0;
}

QG void qg_gather16(const nb_cu_qgemm &p, uint32_t dst, const uint16_t *row, unsigned place) {
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        w[i] = qg_x(p, row, place + 2 * i) | qg_x(p, row, place + 2 * i + 1) << 16;
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(dst), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]) : "memory");
}

// ---- results ----

QG void qg_store(const nb_cu_qgemm &p, unsigned row, unsigned col, float v) {
    const size_t at = row * p.ldy + col;
    if (p.bias)
        v = __fadd_rn(v, p.bias[col]);
    if (p.y_type == NB_CU_F16) {
        __half *y = (__half *)p.y + at;
        *y = __float2half_rn(p.accumulate ? __fadd_rn(v, __half2float(*y)) : v);
    } else if (p.y_type == NB_CU_BF16) {
        uint16_t *y = (uint16_t *)p.y + at;
        if (p.accumulate)
            v = __fadd_rn(v, __uint_as_float((uint32_t)*y << 16));
        const uint32_t u = __float_as_uint(v);
        *y = (uint16_t)((v != v ? u | 0x400000u : u + 0x7fffu + (u >> 16 & 1u)) >> 16);
    } else {
        float *y = (float *)p.y + at;
        *y = p.accumulate ? __fadd_rn(v, *y) : v;
    }
}

// ---- the product ----

template <int MT> struct qg_shape { // tile of MT rows of X
    static constexpr int warps = MT == 8 ? 1 : MT == 16 ? 2 : 4; // of a slice, each with a panel
    static constexpr int n8 = MT / 8;
#if __CUDA_ARCH__ >= 800
    static constexpr int stages = MT <= 16 ? 4 : 3;
#else
    static constexpr int stages = 2;
#endif
};

// Where a thread reads X and where it puts it.
struct qg_feed {
    const uint16_t *x;
    uint32_t to;
    unsigned place; // of the first 16 bytes, in a step
    bool on;
};

template <int MT> QG qg_feed qg_feed_at(const nb_cu_qgemm &p, unsigned m0, unsigned rows, int warp, int lane) {
    qg_feed f;
    unsigned row;
    if (MT == 8) { // 16 lanes a row
        row = lane / 16;
        f.place = lane % 16 * 8;
    } else { // two lanes a row: neighbours fill a sector, and the rows of 8 lanes are 2 apart, so that banks differ
        const int pair = lane / 2;
        row = pair % 4 * 2 + pair / 4 % 2 + pair / 8 * 8 + (MT == 16 ? 0 : MT == 32 ? warp % 2 * 16 : warp * 16);
        f.place = (lane % 2 + 2 * (MT == 16 ? warp : MT == 32 ? warp / 2 : 0)) * 8;
    }
    f.on = row < rows;
    f.x = (const uint16_t *)p.x + (m0 + row) * p.ldx;
    f.to = row * NB_QC_PITCH + f.place * 2;
    return f;
}

// 16 bytes of X at place f.place + more of the step at `place`, `down` rows further down.
QG void qg_feed16(const nb_cu_qgemm &p, const qg_feed &f, uint32_t slot, unsigned place, unsigned more, unsigned down) {
    const uint16_t *row = f.x + down * p.ldx;
    const unsigned at = place + f.place + more;
    const uint32_t to = slot + f.to + more * 2 + down * NB_QC_PITCH;
    if (p.aligned) {
        if (place + NB_QC_STEP <= p.k)
            qg_copy16(to, row + at);
        else
            qg_copy16(to, row + (at < p.k ? at : 0), at >= p.k ? 0 : p.k - at >= 8 ? 16 : 2 * (p.k - at));
    } else {
        qg_gather16(p, to, row, at);
    }
}

template <int MT> QG void qg_feed_step(const nb_cu_qgemm &p, const qg_feed &f, uint32_t slot, unsigned place, unsigned rows,
                                       int lane) {
    if (MT == 8) {
        if (f.on)
            qg_feed16(p, f, slot, place, 0, 0);
        if (rows > 2) {
#pragma unroll
            for (unsigned i = 2; i < 8; i += 2)
                if (i + lane / 16 < rows)
                    qg_feed16(p, f, slot, place, 0, i);
        }
    } else if (f.on) {
        constexpr int count = MT == 64 ? 8 : 4, apart = MT == 64 ? 16 : 32;
#pragma unroll
        for (int i = 0; i < count; i++)
            qg_feed16(p, f, slot, place, i * apart, 0);
    }
}

template <int BITS, bool BF16, int MT> struct qg_warp {
    static constexpr int n8 = MT / 8, tile_bytes = 128 * BITS;
    float sum[2][n8][4], part[2][n8][4];
    uint32_t c[2][4];

    QG void clear(float (*v)[n8][4]) {
#pragma unroll
        for (int t = 0; t < 2; t++)
#pragma unroll
            for (int j = 0; j < n8; j++)
#pragma unroll
                for (int q = 0; q < 4; q++)
                    v[t][j][q] = 0.0f;
    }

    // B fragments of block f: b[j] is rows 8 j .. 8 j + 7 of X.
    QG void read_x(uint32_t x, int f, uint32_t b[n8][2]) {
#pragma unroll
        for (int j = 0; j < n8; j += 2)
            qg_ldmatrix(b[j], x + 32 * f + 8 * j * NB_QC_PITCH);
    }

    template <bool FIRST> QG void block(const qg_words<BITS> *w, int f, const uint32_t b[n8][2]) {
        uint32_t a[4];
#pragma unroll
        for (int t = 0; t < 2; t++) {
            qg_dequant<BITS, BF16>(w[t], f, c[t], a);
#pragma unroll
            for (int j = 0; j < n8; j++)
                qg_mac<BF16, FIRST>(part[t][j], a, b[j]);
        }
    }

    // Two blocks: with 8 rows of X one ldmatrix serves both.
    template <bool FIRST> QG void pair(const qg_words<BITS> *w, uint32_t x, int f) {
        if (MT == 8) {
            uint32_t b[2][2];
            qg_ldmatrix(b[0], x + 32 * f);
            block<FIRST>(w, f, b);
            block<false>(w, f + 1, b + 1);
        } else {
            uint32_t b[n8][2];
            read_x(x, f, b);
            block<FIRST>(w, f, b);
            read_x(x, f + 1, b);
            block<false>(w, f + 1, b);
        }
    }

    QG void flush(const float *s) {
#pragma unroll
        for (int t = 0; t < 2; t++)
#pragma unroll
            for (int j = 0; j < n8; j++)
#pragma unroll
                for (int q = 0; q < 4; q++)
                    sum[t][j][q] = fmaf(s[2 * t + q / 2], part[t][j][q], sum[t][j][q]);
    }

    // A step inside one group.
    QG void step(const unsigned char *codes, uint32_t x, int lane) {
#pragma unroll
        for (int u = 0; u < 2; u++) {
            qg_words<BITS> w[2] = {qg_read<BITS>(codes + 2 * u * tile_bytes, lane),
                                   qg_read<BITS>(codes + (2 * u + 1) * tile_bytes, lane)};
            if (u == 0)
                pair<true>(w, x, 0);
            else
                pair<false>(w, x + 128, 0);
            pair<false>(w, x + 128 * u, 2);
        }
    }
};

template <int BITS, bool BF16, int MT> QG void qg_run(const nb_cu_qgemm &p) {
    typedef qg_shape<MT> shape;
    constexpr int W = shape::warps, S = shape::stages, n8 = MT / 8;
    constexpr int step_bytes = 512 * BITS, pitch = 32 * W + 4;
    extern __shared__ __align__(16) unsigned char smem[];
    __shared__ unsigned order;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % W, slice = threadIdx.x / 32 / W,
              slices = blockDim.x / (32 * W);
    const unsigned m0 = blockIdx.x * MT, rows = min((unsigned)MT, p.m - m0), n0 = blockIdx.y * (32 * W);
    const unsigned panels = (p.n + 31) / 32, panel_at = min(blockIdx.y * W + warp, panels - 1);
    const unsigned x_bytes = (MT == 8 ? rows : MT) * NB_QC_PITCH, slot_bytes = x_bytes + W * step_bytes;
    unsigned char *ring = smem + slice * (S * slot_bytes);
    const unsigned char *panel = p.panels + panel_at * p.panel_bytes;
    const unsigned first = (blockIdx.z * slices + slice) * p.part, last = min(first + p.part, p.steps);

    qg_warp<BITS, BF16, MT> k;
    k.clear(k.sum);
    if (first < last) {
        const qg_feed feed = qg_feed_at<MT>(p, m0, rows, warp, lane);
        const unsigned char *from = panel + (size_t)first * step_bytes + lane * 16;
        const uint32_t ring_at = qg_smem(ring), codes_at = ring_at + x_bytes + warp * step_bytes + lane * 16;
        // Lane l gives row l % 8 (+ 8) of matrix l / 8; two matrices are 16 columns of 8 rows.
        const unsigned xr = MT == 8 ? lane % 8 : lane % 8 + lane / 16 * 8, xc = MT == 8 ? lane / 8 : lane / 8 % 2;
        const uint32_t x_at = ring_at + (MT == 8 ? min(xr, rows - 1) : xr) * NB_QC_PITCH + xc * 16;
        if (MT > 8) // 16 lanes a row
            for (unsigned r = rows + threadIdx.x / 16 % (2 * W); r < MT; r += 2 * W)
                for (int i = 0; i < S; i++)
                    *(uint4 *)(ring + i * slot_bytes + r * NB_QC_PITCH + lane % 16 * 16) = make_uint4(0, 0, 0, 0);
        unsigned load = first;
        auto load_step = [&](unsigned slot) {
            if (load < last) {
#pragma unroll
                for (int i = 0; i < step_bytes / 512; i++)
                    qg_copy16(codes_at + slot + i * 512, from + i * 512);
                qg_feed_step<MT>(p, feed, ring_at + slot, load * NB_QC_STEP, rows, lane);
                from += step_bytes;
                load++;
            }
            qg_commit();
        };
        unsigned slot = 0, next = 0;
        qg_constants<BITS, BF16>(0x01010101u << (BITS - 1), k.c);
        if (p.group_steps) {
            unsigned group = first / p.group_steps, left = p.group_steps - first % p.group_steps;
            qg_group g = qg_group_load(p, panel, group, lane);
            for (int s = 0; s < S - 1; s++, next += slot_bytes)
                load_step(next);
            for (unsigned step = first; step < last; step++) {
                float s[4];
                qg_wait<S - 2>();
                qg_meet<W>(slice);
                load_step(next);
                next = next + slot_bytes == S * slot_bytes ? 0 : next + slot_bytes;
                if (p.zeros == NB_QC_ZEROS)
                    qg_constants<BITS, BF16>(g.zero, k.c);
                qg_scales(p, g, s);
                if (--left == 0) {
                    left = p.group_steps;
                    group += group + 1 < p.groups;
                    g = qg_group_load(p, panel, group, lane);
                }
                k.step(ring + slot + x_bytes + warp * step_bytes, x_at + slot, lane);
                k.flush(s);
                slot = slot + slot_bytes == S * slot_bytes ? 0 : slot + slot_bytes;
            }
        }
        qg_wait<0>();
    }
    // Sums of the CTA's slices.
    __syncthreads();
    float *table = (float *)smem;
    {
        float *mine = table + (slice * MT + lane % 4 * 2) * pitch + warp * 32 + lane / 4;
#pragma unroll
        for (int j = 0; j < n8; j++)
#pragma unroll
            for (int q = 0; q < 2; q++)
                if (8 * j + lane % 4 * 2 + q < rows)
#pragma unroll
                    for (int t = 0; t < 4; t++)
                        mine[(8 * j + q) * pitch + 8 * t] = k.sum[t / 2][j][t % 2 * 2 + q];
    }
    __syncthreads();
    const unsigned tile = blockIdx.y * gridDim.x + blockIdx.x, threads = blockDim.x, count = rows * (32 * W);
    float *partial = p.partial + ((size_t)tile * p.slices * MT) * (32 * W);
    for (unsigned i = threadIdx.x; i < count; i += threads) {
        const unsigned r = i / (32 * W), c = i % (32 * W);
        float v = table[r * pitch + c];
        for (int s = 1; s < slices; s++)
            v = __fadd_rn(v, table[(s * MT + r) * pitch + c]);
        if (p.slices > 1)
            partial[(size_t)blockIdx.z * MT * (32 * W) + i] = v;
        else if (n0 + c < p.n)
            qg_store(p, m0 + r, n0 + c, v);
    }
    if (p.slices == 1)
        return;
    __syncthreads();
    if (threadIdx.x == 0)
        asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(order) : "l"(p.arrived + tile) : "memory");
    __syncthreads();
    if (order != p.slices - 1)
        return;
    for (unsigned i = threadIdx.x; i < count; i += threads) {
        const unsigned c = i % (32 * W);
        float v = __ldcg(partial + i);
        for (unsigned s = 1; s < p.slices; s++)
            v = __fadd_rn(v, __ldcg(partial + (size_t)s * MT * (32 * W) + i));
        if (n0 + c < p.n)
            qg_store(p, m0 + i / (32 * W), n0 + c, v);
    }
}

#define QG_KERNEL(bits, name, bf16, mt)                                                                                \
    extern "C" __global__ void __launch_bounds__(256) qgemm_##bits##_##name##_##mt(const __grid_constant__ nb_cu_qgemm p) { \
        qg_run<bits, bf16, mt>(p);                                                                                     \
    }
#define QG_KERNELS(bits, name, bf16)                                                                                   \
    QG_KERNEL(bits, name, bf16, 8)                                                                                     \
    QG_KERNEL(bits, name, bf16, 16)                                                                                    \
    QG_KERNEL(bits, name, bf16, 32)                                                                                    \
    QG_KERNEL(bits, name, bf16, 64)

QG_KERNELS(4, f16, false)
