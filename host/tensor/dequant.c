/* Blocks of GGUF types to float. Layouts: ggml-common.h of ggml, where each is described. */
#include "host/tensor/dtype.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define NB_TARGET_HALF __attribute__((target("avx2,f16c")))
#endif

typedef void reader(const uint8_t *, size_t, float *);

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* 6-bit scale and minimum j of the 12 bytes that Q4_K and Q5_K share. */
static void k_scale_min(const uint8_t *s, int j, int *scale, int *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

static void from_f32(const uint8_t *p, size_t count, float *out) {
    memcpy(out, p, count * sizeof *out);
}

static void from_bf16(const uint8_t *p, size_t count, float *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = nb_bf16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
}

/* ---- plain C ---- */

static float half_at(const uint8_t *p) {
    return nb_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static void from_f16_plain(const uint8_t *p, size_t count, float *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = half_at(p + 2 * i);
}

/* 32-element blocks hold element j in the low and j + 16 in the high nibble of byte j. */
static void from_q4_0_plain(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 18, out += 32) {
        float d = half_at(p);
        for (int j = 0; j < 16; j++)
            out[j] = d * (float)((p[2 + j] & 15) - 8);
        for (int j = 0; j < 16; j++)
            out[j + 16] = d * (float)((p[2 + j] >> 4) - 8);
    }
}

static void from_q4_1_plain(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 20, out += 32) {
        float d = half_at(p), m = half_at(p + 2);
        for (int j = 0; j < 16; j++)
            out[j] = d * (float)(p[4 + j] & 15) + m;
        for (int j = 0; j < 16; j++)
            out[j + 16] = d * (float)(p[4 + j] >> 4) + m;
    }
}

#define NAME(x) x##_plain
#define TARGET
#define HALF(p) half_at(p)
#include "host/tensor/dequant_tmpl.h"
#undef NAME
#undef TARGET
#undef HALF

static reader *const plain[NB_DTYPE_COUNT] = {
    [NB_F32] = from_f32,         [NB_F16] = from_f16_plain,   [NB_BF16] = from_bf16,       [NB_Q4_0] = from_q4_0_plain,
    [NB_Q4_1] = from_q4_1_plain, [NB_Q5_0] = from_q5_0_plain, [NB_Q5_1] = from_q5_1_plain, [NB_Q8_0] = from_q8_0_plain,
    [NB_Q4_K] = from_q4_k_plain, [NB_Q5_K] = from_q5_k_plain, [NB_Q6_K] = from_q6_k_plain,
};

#if defined(__x86_64__)

/* ---- AVX2 and F16C ---- */

NB_TARGET_HALF static inline float half_at_f16c(const uint8_t *p) {
    return _cvtsh_ss((unsigned short)(p[0] | p[1] << 8));
}

NB_TARGET_HALF static void from_f16_avx2(const uint8_t *p, size_t count, float *out) {
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 2 * i))));
    for (; i < count; i++)
        out[i] = half_at_f16c(p + 2 * i);
}

/* 8 bytes to floats. */
NB_TARGET_HALF static inline __m256 floats8(__m128i bytes) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

NB_TARGET_HALF static void from_q4_0_avx2(const uint8_t *p, size_t count, float *out) {
    const __m128i low = _mm_set1_epi8(15);
    const __m256 zero = _mm256_set1_ps(8); /* q - 8 is exact in float */
    for (; count; count -= 32, p += 18, out += 32) {
        __m256 d = _mm256_set1_ps(half_at_f16c(p));
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 2));
        __m128i a = _mm_and_si128(v, low), b = _mm_and_si128(_mm_srli_epi16(v, 4), low);
        _mm256_storeu_ps(out, _mm256_mul_ps(d, _mm256_sub_ps(floats8(a), zero)));
        _mm256_storeu_ps(out + 8, _mm256_mul_ps(d, _mm256_sub_ps(floats8(_mm_srli_si128(a, 8)), zero)));
        _mm256_storeu_ps(out + 16, _mm256_mul_ps(d, _mm256_sub_ps(floats8(b), zero)));
        _mm256_storeu_ps(out + 24, _mm256_mul_ps(d, _mm256_sub_ps(floats8(_mm_srli_si128(b, 8)), zero)));
    }
}

NB_TARGET_HALF static void from_q4_1_avx2(const uint8_t *p, size_t count, float *out) {
    const __m128i low = _mm_set1_epi8(15);
    for (; count; count -= 32, p += 20, out += 32) {
        __m256 d = _mm256_set1_ps(half_at_f16c(p)), m = _mm256_set1_ps(half_at_f16c(p + 2));
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + 4));
        __m128i a = _mm_and_si128(v, low), b = _mm_and_si128(_mm_srli_epi16(v, 4), low);
        _mm256_storeu_ps(out, _mm256_add_ps(_mm256_mul_ps(d, floats8(a)), m));
        _mm256_storeu_ps(out + 8, _mm256_add_ps(_mm256_mul_ps(d, floats8(_mm_srli_si128(a, 8))), m));
        _mm256_storeu_ps(out + 16, _mm256_add_ps(_mm256_mul_ps(d, floats8(b)), m));
        _mm256_storeu_ps(out + 24, _mm256_add_ps(_mm256_mul_ps(d, floats8(_mm_srli_si128(b, 8))), m));
    }
}

#define NAME(x) x##_avx2
#define TARGET NB_TARGET_HALF
#define HALF(p) half_at_f16c(p)
#include "host/tensor/dequant_tmpl.h"
#undef NAME
#undef TARGET
#undef HALF

static reader *const avx2[NB_DTYPE_COUNT] = {
    [NB_F32] = from_f32,        [NB_F16] = from_f16_avx2,   [NB_BF16] = from_bf16,      [NB_Q4_0] = from_q4_0_avx2,
    [NB_Q4_1] = from_q4_1_avx2, [NB_Q5_0] = from_q5_0_avx2, [NB_Q5_1] = from_q5_1_avx2, [NB_Q8_0] = from_q8_0_avx2,
    [NB_Q4_K] = from_q4_k_avx2, [NB_Q5_K] = from_q5_k_avx2, [NB_Q6_K] = from_q6_k_avx2,
};

/* The operating system saves the registers where gcc's check of avx2 passes; F16C is a bit of its own. */
static reader *const *pick(void) {
    unsigned a, b, c, d;
    bool f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
    return f16c && __builtin_cpu_supports("avx2") ? avx2 : plain;
}

#else

static reader *const *pick(void) {
    return plain;
}

#endif

void nb_to_f32(nb_dtype dtype, const void *src, size_t count, float *dst) {
    static _Atomic(reader *const *) picked;
    reader *const *readers = atomic_load_explicit(&picked, memory_order_relaxed);
    if (!readers) {
        readers = pick();
        atomic_store_explicit(&picked, readers, memory_order_relaxed);
    }
    readers[dtype](src, count, dst);
}

void nb__to_f32_plain(nb_dtype dtype, const void *src, size_t count, float *dst) {
    plain[dtype](src, count, dst);
}
