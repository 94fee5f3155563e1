/* Vectors of rows for the kernels that take rows of W as lanes, one instruction set at a time. Included with LANES_ISA set to
 * LANES_PLAIN, LANES_AVX2 or LANES_AVX512, it defines, for a template that follows and ends with lanes_end.h:
 *   FN(name)       a name's variant          TARGET    function attribute
 *   V, VL          vector type and lanes     NV        vectors that are updated together; the lanes are a multiple of VL * NV
 *   LOAD STORE SET1 ROUND MIN MAX STORE_CODES
 * MIN and MAX are a < b ? a : b and a > b ? a : b (the second where one is NaN), as x86 has them. */
#ifndef NB_KERNELS_CPU_LANES_H
#define NB_KERNELS_CPU_LANES_H

#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES_PLAIN 0
#define LANES_AVX2 1
#define LANES_AVX512 2

/* ---- plain C: vectors of four, which every compiler target can split ---- */

typedef float v4 __attribute__((vector_size(16)));

static inline v4 load4(const float *p) {
    v4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store4(float *p, v4 v) {
    memcpy(p, &v, sizeof v);
}

static inline v4 round4(v4 v) {
    return (v4){nearbyintf(v[0]), nearbyintf(v[1]), nearbyintf(v[2]), nearbyintf(v[3])};
}

static inline v4 min4(v4 a, v4 b) {
    v4 r;
    for (int i = 0; i < 4; i++)
        r[i] = a[i] < b[i] ? a[i] : b[i];
    return r;
}

static inline v4 max4(v4 a, v4 b) {
    v4 r;
    for (int i = 0; i < 4; i++)
        r[i] = a[i] > b[i] ? a[i] : b[i];
    return r;
}

__attribute__((unused)) static inline void codes4(uint8_t *p, v4 v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)v[i];
}

#if defined(__x86_64__)
__attribute__((unused)) NB_TARGET_AVX2 static inline void codes8(uint8_t *p, __m256 v) {
    __m256i i = _mm256_cvtps_epi32(v);
    __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(w, w));
}

__attribute__((unused)) NB_TARGET_AVX512 static inline void codes16(uint8_t *p, __m512 v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}
#endif

#endif

#if LANES_ISA == LANES_PLAIN
#define FN(name) name##_plain
#define TARGET
#define V v4
#define VL 4
#define NV 1
#define LOAD load4
#define STORE store4
#define SET1(x) ((v4){x, x, x, x})
#define ROUND round4
#define MIN min4
#define MAX max4
#define STORE_CODES codes4
#elif LANES_ISA == LANES_AVX2
#define FN(name) name##_avx2
#define TARGET NB_TARGET_AVX2
#define V __m256
#define VL 8
#define NV 1
#define LOAD _mm256_loadu_ps
#define STORE _mm256_storeu_ps
#define SET1 _mm256_set1_ps
#define ROUND(x) _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define MIN _mm256_min_ps
#define MAX _mm256_max_ps
#define STORE_CODES codes8
#else
#define FN(name) name##_avx512
#define TARGET NB_TARGET_AVX512
#define V __m512
#define VL 16
#define NV 2
#define LOAD _mm512_loadu_ps
#define STORE _mm512_storeu_ps
#define SET1 _mm512_set1_ps
#define ROUND(x) _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define MIN _mm512_min_ps
#define MAX _mm512_max_ps
#define STORE_CODES codes16
#endif
