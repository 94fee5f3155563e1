// What the tensor-core products are made of: copies into shared memory, mma, and codes that become numbers in registers.
#ifndef NB_CUDA_QGEMM_CUH
#define NB_CUDA_QGEMM_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/qgemm.h"

#define QG __device__ __forceinline__

// f(0), f(1), ... f(N - 1) with the number as a constant: what an asm wants as an immediate.
template <int I> struct qg_int {
    static constexpr int v = I;
};
template <int N, int I = 0, typename F> QG void qg_each(const F &f) {
    if constexpr (I < N) {
        f(qg_int<I>());
        qg_each<N, I + 1>(f);
    }
}

// ---- instructions ----

// A value that the compiler shall keep rather than work out again in a loop.
template <typename T> QG void qg_keep(T &v) {
    if constexpr (sizeof(T) == 8)
        asm volatile("" : "+l"(v));
    else
        asm volatile("" : "+r"(v));
}

QG uint32_t qg_smem(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

QG void qg_put16(uint32_t dst, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(dst), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

// 16 bytes into shared memory, TO and FROM bytes further on.
template <int TO, int FROM> QG void qg_copy16(uint32_t dst, const void *src) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0+%2], [%1+%3], 16;" ::"r"(dst), "l"(src), "n"(TO), "n"(FROM) : "memory");
#else
    const uint4 v = *(const uint4 *)((const char *)src + FROM);
    qg_put16(dst + TO, v.x, v.y, v.z, v.w);
#endif
}

// The same of `bytes` bytes, 16 or 0; the rest is zeros.
template <int TO, int FROM> QG void qg_copy16_or_0(uint32_t dst, const void *src, unsigned bytes) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0+%2], [%1+%3], 16, %4;" ::"r"(dst), "l"(src), "n"(TO), "n"(FROM), "r"(bytes) : "memory");
#else
    if (bytes)
        qg_copy16<TO, FROM>(dst, src);
    else
        qg_put16(dst + TO, 0, 0, 0, 0);
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
template <int WARPS> QG void qg_meet(unsigned barrier) {
    if (WARPS == 1)
        __syncwarp();
    else
        asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(WARPS * 32) : "memory");
}

template <int AT> QG void qg_ldmatrix(uint32_t *r, uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at), "n"(AT)
                 : "memory");
}

template <int AT, int WORDS> QG void qg_get(uint32_t *r, uint32_t at) {
    if constexpr (WORDS == 4)
        asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4+%5];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at), "n"(AT)
                     : "memory");
    else if constexpr (WORDS == 2)
        asm volatile("ld.shared.v2.b32 {%0,%1}, [%2+%3];" : "=r"(r[0]), "=r"(r[1]) : "r"(at), "n"(AT) : "memory");
    else
        asm volatile("ld.shared.b32 %0, [%1+%2];" : "=r"(r[0]) : "r"(at), "n"(AT) : "memory");
}

// d = a b (FIRST) or d += a b, 16 x 8 x 16.
#define QG_MMA16(type)                                                                                                 \
    if constexpr (FIRST)                                                                                               \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "      \
            "{%10,%10,%10,%10};"                                                                                       \
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                                           \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(0.0f));                            \
    else                                                                                                               \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "      \
            "{%0,%1,%2,%3};"                                                                                           \
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                           \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
#define QG_MMA8(a0, a1, b0)                                                                                            \
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"                \
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                               \
        : "r"(a0), "r"(a1), "r"(b0))

template <bool BF16, bool FIRST> QG void qg_mac(float *d, const uint32_t *a, const uint32_t *b) {
#if __CUDA_ARCH__ >= 800
    if constexpr (BF16) {
        QG_MMA16("bf16");
    } else {
        QG_MMA16("f16");
    }
#else
    if (FIRST)
        d[0] = d[1] = d[2] = d[3] = 0.0f;
    QG_MMA8(a[0], a[1], b[0]);
    QG_MMA8(a[2], a[3], b[1]);
#endif
}

template <uint32_t MASK, uint32_t MAGIC> QG uint32_t qg_pick(uint32_t w) { // (w & MASK) | MAGIC
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(w), "n"(MASK), "n"(MAGIC));
    return r;
}
template <uint32_t MASK> QG uint32_t qg_join(uint32_t w, uint32_t v) { // (w & MASK) | v
    uint32_t r;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(r) : "r"(w), "n"(MASK), "r"(v));
    return r;
}

template <bool BF16> QG uint32_t qg_add(uint32_t a, uint32_t b) {
    uint32_t r;
    if constexpr (BF16)
        asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(0x3f803f80u), "r"(b));
    else
        asm("add.rn.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
    return r;
}

// ---- codes to fragments ----

// What stands above the code of register i: 2^e such that a code at mantissa bit p counts in steps of 1.
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
    if constexpr (BF16 && BITS == 8) {
        return 0xcb000000u + z;
    } else {
        constexpr uint32_t base = BF16 ? 0x43004300u : 0x64006400u;
        const uint32_t c = __byte_perm(z, 0, 0x4040) + (base | 0x80008000u), magic = qg_magic<BITS, BF16>(i);
        return magic == base            ? c
               : BF16                   ? qg_add<BF16>(c, 0x42c042c0u)  // 128 - 32
               : magic == 0x5c005c00u ? qg_add<BF16>(c, 0x62006200u)  // 1024 - 256
               : magic == 0x54005400u ? qg_add<BF16>(c, 0x63806380u)  // 1024 - 64
                                      : qg_add<BF16>(c, 0x63e063e0u); // 1024 - 16
    }
}

// The codes of one tile of one unit that a lane owns, AT bytes after `at`.
template <int BITS> struct qg_words {
    uint32_t w[BITS];
    template <int AT> QG void read(uint32_t at, int lane) {
        if constexpr (BITS == 8) {
            qg_get<AT, 4>(w, at + 16 * lane);
            qg_get<AT + 512, 4>(w + 4, at + 16 * lane);
        } else if constexpr (BITS == 4) {
            qg_get<AT, 4>(w, at + 16 * lane);
        } else {
            qg_get<AT, 2>(w, at + 8 * lane);
            if constexpr (BITS == 3)
                qg_get<AT + 256, 1>(w + 2, at + 4 * lane);
        }
    }
};

// The A fragment of block F: integers q - z. c are the constants of qg_minus.
template <int BITS, bool BF16, int F> QG void qg_dequant(const qg_words<BITS> &s, const uint32_t *c, uint32_t *a) {
    if constexpr (BITS == 8) {
        qg_each<4>([&](auto n) {
            constexpr int i = decltype(n)::v;
            const uint32_t w = s.w[2 * F + i / 2];
            if constexpr (BF16) {
                const uint32_t lo = __byte_perm(w, 0x4b000000u, i % 2 ? 0x7552 : 0x7550),
                               hi = __byte_perm(w, 0x4b000000u, i % 2 ? 0x7553 : 0x7551);
                const float z = __uint_as_float(c[i]);
                a[i] = __byte_perm(__float_as_uint(__fadd_rn(__uint_as_float(lo), z)),
                                   __float_as_uint(__fadd_rn(__uint_as_float(hi), z)), 0x7632);
            } else {
                a[i] = qg_add<BF16>(__byte_perm(w, 0x64646464u, i % 2 ? 0x4342 : 0x4140), c[i]);
            }
        });
    } else if constexpr (BITS == 4) {
        qg_each<4>([&](auto n) {
            constexpr int i = decltype(n)::v;
            const uint32_t w = BF16 ? s.w[F] >> 4 * i : i < 2 ? s.w[F] : s.w[F] >> 8;
            constexpr uint32_t mask = !BF16 && i % 2 ? 0x00f000f0u : 0x000f000fu;
            a[i] = qg_add<BF16>(qg_pick<mask, qg_magic<BITS, BF16>(i)>(w), c[i]);
        });
    } else {
        const uint32_t w = s.w[F / 2] >> 8 * (F % 2);
        const uint32_t h = BITS == 3 ? __funnelshift_r(s.w[BITS - 1], s.w[BITS - 1], F % 2 + 8 * (F / 2)) : 0;
        qg_each<4>([&](auto n) {
            constexpr int i = decltype(n)::v, down = BF16 && i >= 2 ? 4 : 0, p = 2 * i - down;
            uint32_t v = qg_pick<(0x00030003u << p), qg_magic<BITS, BF16>(i)>(w >> down);
            if constexpr (BITS == 3)
                v = qg_join<(0x00040004u << p)>(h >> down, v);
            a[i] = qg_add<BF16>(v, c[i]);
        });
    }
}

// ---- scales ----

// Four numbers, of rows g, g + 8, g + 16, g + 24 of a panel, as they are stored.
struct qg_four {
    uint32_t v[4];
};

// Two f16 (or bf16) numbers of a word.
template <bool BF16> QG void qg_two(uint32_t v, float *s) {
    if constexpr (BF16)
        s[0] = __uint_as_float(v << 16), s[1] = __uint_as_float(v & 0xffff0000u);
    else
        asm("{.reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h;}" : "=f"(s[0]), "=f"(s[1]) : "r"(v));
}

// Constants of a panel's two tiles by the zero points of rows g, g + 8, ... in the bytes of z.
template <int BITS, bool BF16> QG void qg_constants(uint32_t z, uint32_t (*c)[4]) {
#pragma unroll
    for (int t = 0; t < 2; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[t][i] = qg_minus<BITS, BF16>(i, z >> (16 * t + 8 * (i % 2)) & 0xff);
}

#endif
