/* Lane loops and operand access for the executors. */
#ifndef CUDA_SIM_EXEC_H
#define CUDA_SIM_EXEC_H

#include "sim.h"

#include <math.h>
#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__clang__)
#define SIM_SIMD _Pragma("clang loop vectorize(assume_safety)")
#else
#define SIM_SIMD _Pragma("GCC ivdep")
#endif
/* One lane each: destination and sources are the same vector or disjoint ones. */
#define LANES SIM_SIMD for (int i = 0; i < SIM_LANES; i++)
#define ON(m) (((m) >> i) & 1u)
#define EACH_LANE(m, l)                                                                            \
    for (uint32_t each_ = (m), l; each_ && ((l = (uint32_t)__builtin_ctz(each_)), 1);              \
         each_ &= each_ - 1)

static inline const uint32_t *sim_r32(const sim_warp *w, int32_t o) {
    return (o >= 0 ? w->r : w->pool) + (o >= 0 ? o : ~o);
}
static inline const uint64_t *sim_r64(const sim_warp *w, int32_t o) {
    return (const uint64_t *)(const void *)sim_r32(w, o);
}
static inline uint32_t *sim_w32(sim_warp *w, int32_t o) {
    return w->r + o;
}
static inline uint64_t *sim_w64(sim_warp *w, int32_t o) {
    return (uint64_t *)(void *)(w->r + o);
}
static inline uint32_t sim_pred(const sim_warp *w, int32_t p) {
    return w->p[p];
}
static inline void sim_set_pred(sim_warp *w, int32_t p, uint32_t bits, uint32_t m) {
    w->p[p] = (w->p[p] & ~m) | (bits & m);
}

static inline float sim_f(uint32_t b) {
    float f;
    memcpy(&f, &b, 4);
    return f;
}
static inline uint32_t sim_b(float f) {
    uint32_t b;
    memcpy(&b, &f, 4);
    return b;
}
static inline double sim_d(uint64_t b) {
    double f;
    memcpy(&f, &b, 8);
    return f;
}
static inline uint64_t sim_bd(double f) {
    uint64_t b;
    memcpy(&b, &f, 8);
    return b;
}
/* PTX results that are NaN are the canonical NaN. */
static inline uint32_t sim_bn(float f) {
    return f != f ? 0x7fffffffu : sim_b(f);
}
static inline uint64_t sim_bdn(double f) {
    return f != f ? 0xfff8000000000000ull : sim_bd(f);
}
static inline uint32_t sim_ftz(uint32_t b) {
    return (b & 0x7f800000u) ? b : (b & 0x80000000u);
}

/* f16 -> f32, exact. */
static inline float sim_h2f(uint32_t h) {
    uint32_t x = (h & 0x7fffu) << 13;
    uint32_t y = sim_b(sim_f(x) * 0x1p112f);
    y |= x >= 0x0f800000u ? 0x7f800000u : 0u;
    return sim_f(y | (h & 0x8000u) << 16);
}
/* f32 -> f16, to nearest even; NaN becomes 0x7fff. */
static inline uint32_t sim_f2h(float f) {
    uint32_t b = sim_b(f), s = b >> 16 & 0x8000u, x = b & 0x7fffffffu;
    uint32_t n = (x + 0xfffu + (x >> 13 & 1u) - 0x38000000u) >> 13;
    n = x >= 0x477ff000u ? 0x7c00u : n;
    uint32_t d = sim_b(sim_f(x) + 0.5f) - 0x3f000000u;
    uint32_t r = x < 0x38800000u ? d : n;
    return x > 0x7f800000u ? 0x7fffu : (r | s);
}
static inline float sim_bf2f(uint32_t h) {
    return sim_f(h << 16);
}
static inline uint32_t sim_f2bf(float f) {
    uint32_t x = sim_b(f);
    uint32_t r = (x + 0x7fffu + (x >> 16 & 1u)) >> 16;
    return (x & 0x7fffffffu) > 0x7f800000u ? 0x7fffu : r;
}

/* Sum of two f32 rounded to odd: a later rounding to at most 22 bits is then a single rounding. */
static inline float sim_add_odd(float p, float c) {
    float s = p + c;
    float bb = s - p;
    float err = (p - (s - bb)) + (c - bb);
    uint32_t b = sim_b(s);
    /* +1 ulp of magnitude when the error points away from zero, -1 towards it; only for even s. */
    uint32_t up = (sim_b(err) ^ b) >> 31 ? 0xffffffffu : 1u;
    uint32_t adj =
        (err > 0.0f || err < 0.0f) && !(b & 1u) && (b & 0x7f800000u) != 0x7f800000u ? up : 0u;
    return sim_f(b + adj);
}
/* fma of f16 operands given as f32: the product is exact in f32. */
static inline uint32_t sim_hfma(float a, float b, float c) {
    return sim_f2h(sim_add_odd(a * b, c));
}

#define SRC32(n, o) const uint32_t *n = sim_r32(w, in->o)
#define SRC64(n, o) const uint64_t *n = sim_r64(w, in->o)
#define DST32(n)    uint32_t *n = sim_w32(w, in->d)
#define DST64(n)    uint64_t *n = sim_w64(w, in->d)

#define EXEC(name) static void name(sim_warp *w, const sim_insn *in, uint32_t m)

/* d = E(x), E(x, y), E(x, y, z) on lanes of D and S bits. */
#define UN(name, D, S, E)                                                                          \
    EXEC(name) {                                                                                   \
        SRC##S(pa, a);                                                                             \
        DST##D(pd);                                                                                \
        LANES {                                                                                    \
            const uint##S##_t x = pa[i];                                                           \
            const uint##D##_t r_ = (uint##D##_t)(E);                                               \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
    }
#define BIN(name, D, S, E)                                                                         \
    EXEC(name) {                                                                                   \
        SRC##S(pa, a);                                                                             \
        SRC##S(pb, b);                                                                             \
        DST##D(pd);                                                                                \
        LANES {                                                                                    \
            const uint##S##_t x = pa[i], y = pb[i];                                                \
            const uint##D##_t r_ = (uint##D##_t)(E);                                               \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
    }
#define TRI(name, D, S, E)                                                                         \
    EXEC(name) {                                                                                   \
        SRC##S(pa, a);                                                                             \
        SRC##S(pb, b);                                                                             \
        SRC##S(pc, c);                                                                             \
        DST##D(pd);                                                                                \
        LANES {                                                                                    \
            const uint##S##_t x = pa[i], y = pb[i], z = pc[i];                                     \
            const uint##D##_t r_ = (uint##D##_t)(E);                                               \
            pd[i] = ON(m) ? r_ : pd[i];                                                            \
        }                                                                                          \
    }

/* Bit mask of the lanes whose word is not zero. */
static inline uint32_t sim_mask_of(const uint32_t *v) {
#if defined(__AVX512F__)
    __m512i a = _mm512_loadu_si512(v), b = _mm512_loadu_si512(v + 16);
    return (uint32_t)_mm512_test_epi32_mask(a, a) | (uint32_t)_mm512_test_epi32_mask(b, b) << 16;
#else
    uint32_t m = 0;
    for (int i = 0; i < SIM_LANES; i++)
        m |= (uint32_t)(v[i] != 0) << i;
    return m;
#endif
}

#endif
