/* Register tiles of the f32 product for each instruction set. */
#include "kernels/cpu/sgemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* Writes an MR x NR tile that was computed in a buffer to the part of C that exists. */
static void store_part(const float *acc, size_t nr, float *c, size_t ldc, size_t rows, size_t cols, float alpha, bool load) {
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < cols; j++) {
            float v = alpha * acc[r * nr + j];
            c[r * ldc + j] = load ? c[r * ldc + j] + v : v;
        }
}

/* ---- plain C ---- */

enum { PLAIN_MR = 4, PLAIN_NR = 8 };

static void tile_plain(size_t ks, const float *a, const float *b, float *c, size_t ldc, size_t rows, size_t cols,
                       float alpha, bool load) {
    float acc[PLAIN_MR * PLAIN_NR] = {0};
    for (size_t kk = 0; kk < ks; kk++, a += PLAIN_MR, b += PLAIN_NR)
        for (int r = 0; r < PLAIN_MR; r++)
            for (int j = 0; j < PLAIN_NR; j++)
                acc[r * PLAIN_NR + j] += a[r] * b[j];
    store_part(acc, PLAIN_NR, c, ldc, rows, cols, alpha, load);
}

static float dot_plain(const float *x, const float *y, size_t k) {
    float s[8] = {0};
    size_t j = 0;
    for (; j + 8 <= k; j += 8)
        for (int l = 0; l < 8; l++)
            s[l] += x[j + (size_t)l] * y[j + (size_t)l];
    for (; j < k; j++)
        s[0] += x[j] * y[j];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

const nb__sgemm_isa nb__sgemm_plain = {PLAIN_MR, PLAIN_NR, tile_plain, dot_plain, NULL, nb__strip_plain, nb__pack_f32_rows};

#if defined(__x86_64__)

/* ---- AVX2: 6 x 16 in 12 of 16 registers ---- */

enum { AVX2_MR = 6, AVX2_NR = 16 };

NB_TARGET_AVX2 static void tile_avx2(size_t ks, const float *a, const float *b, float *c, size_t ldc, size_t rows,
                                     size_t cols, float alpha, bool load) {
    __m256 acc[AVX2_MR][2];
#pragma GCC unroll 6
    for (int r = 0; r < AVX2_MR; r++)
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (size_t kk = 0; kk < ks; kk++, a += AVX2_MR, b += AVX2_NR) {
        __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
        for (int r = 0; r < AVX2_MR; r++) {
            __m256 ar = _mm256_broadcast_ss(a + r);
            acc[r][0] = _mm256_fmadd_ps(ar, b0, acc[r][0]);
            acc[r][1] = _mm256_fmadd_ps(ar, b1, acc[r][1]);
        }
    }
    if (rows < AVX2_MR || cols < AVX2_NR) {
        float part[AVX2_MR * AVX2_NR];
#pragma GCC unroll 6
        for (int r = 0; r < AVX2_MR; r++) {
            _mm256_storeu_ps(part + r * AVX2_NR, acc[r][0]);
            _mm256_storeu_ps(part + r * AVX2_NR + 8, acc[r][1]);
        }
        store_part(part, AVX2_NR, c, ldc, rows, cols, alpha, load);
        return;
    }
    __m256 al = _mm256_set1_ps(alpha);
#pragma GCC unroll 6
    for (int r = 0; r < AVX2_MR; r++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            float *p = c + (size_t)r * ldc + 8 * h;
            __m256 v = _mm256_mul_ps(al, acc[r][h]);
            _mm256_storeu_ps(p, load ? _mm256_add_ps(_mm256_loadu_ps(p), v) : v);
        }
}

NB_TARGET_AVX2 static float dot_avx2(const float *x, const float *y, size_t k) {
    __m256 s[4];
    for (int l = 0; l < 4; l++)
        s[l] = _mm256_setzero_ps();
    size_t j = 0;
    for (; j + 32 <= k; j += 32)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++)
            s[l] = _mm256_fmadd_ps(_mm256_loadu_ps(x + j + 8 * l), _mm256_loadu_ps(y + j + 8 * l), s[l]);
    __m256 t = _mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3]));
    float p[8], tail = 0.0f;
    _mm256_storeu_ps(p, t);
    for (; j < k; j++)
        tail += x[j] * y[j];
    return (((p[0] + p[4]) + (p[1] + p[5])) + ((p[2] + p[6]) + (p[3] + p[7]))) + tail;
}

const nb__sgemm_isa nb__sgemm_avx2 = {AVX2_MR, AVX2_NR, tile_avx2, dot_avx2, NULL, nb__strip_avx2, nb__pack_rows_avx2};

/* ---- AVX-512: 14 x 32 in 28 of 32 registers ---- */

enum { AVX512_MR = 14, AVX512_NR = 32 };

NB_TARGET_AVX512 static void tile_avx512(size_t ks, const float *a, const float *b, float *c, size_t ldc, size_t rows,
                                         size_t cols, float alpha, bool load) {
    __m512 acc[AVX512_MR][2];
#pragma GCC unroll 14
    for (int r = 0; r < AVX512_MR; r++) {
        acc[r][0] = acc[r][1] = _mm512_setzero_ps();
        if ((size_t)r < rows) { /* C comes while the sums run */
            _mm_prefetch((const char *)(c + (size_t)r * ldc), _MM_HINT_T0);
            _mm_prefetch((const char *)(c + (size_t)r * ldc + cols - 1), _MM_HINT_T0);
        }
    }
    for (size_t kk = 0; kk < ks; kk++, a += AVX512_MR, b += AVX512_NR) {
        __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
#pragma GCC unroll 14
        for (int r = 0; r < AVX512_MR; r++) {
            __m512 ar = _mm512_set1_ps(a[r]);
            acc[r][0] = _mm512_fmadd_ps(ar, b0, acc[r][0]);
            acc[r][1] = _mm512_fmadd_ps(ar, b1, acc[r][1]);
        }
    }
    __mmask16 m0 = (__mmask16)(cols >= 16 ? 0xffffu : (1u << cols) - 1u);
    __mmask16 m1 = (__mmask16)(cols >= 32 ? 0xffffu : cols <= 16 ? 0u : (1u << (cols - 16)) - 1u);
    __m512 al = _mm512_set1_ps(alpha);
#pragma GCC unroll 14
    for (int r = 0; r < AVX512_MR; r++) {
        if ((size_t)r < rows) {
            float *p = c + (size_t)r * ldc;
            __m512 v0 = _mm512_mul_ps(al, acc[r][0]), v1 = _mm512_mul_ps(al, acc[r][1]);
            if (load) {
                v0 = _mm512_add_ps(_mm512_maskz_loadu_ps(m0, p), v0);
                v1 = _mm512_add_ps(_mm512_maskz_loadu_ps(m1, p + 16), v1);
            }
            _mm512_mask_storeu_ps(p, m0, v0);
            _mm512_mask_storeu_ps(p + 16, m1, v1);
        }
    }
}

NB_TARGET_AVX512 static float dot_avx512(const float *x, const float *y, size_t k) {
    __m512 s[4];
    for (int l = 0; l < 4; l++)
        s[l] = _mm512_setzero_ps();
    size_t j = 0;
    for (; j + 64 <= k; j += 64)
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++)
            s[l] = _mm512_fmadd_ps(_mm512_loadu_ps(x + j + 16 * l), _mm512_loadu_ps(y + j + 16 * l), s[l]);
    for (; j < k; j += 16) {
        __mmask16 m = (__mmask16)(k - j >= 16 ? 0xffffu : (1u << (k - j)) - 1u);
        s[0] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, x + j), _mm512_maskz_loadu_ps(m, y + j), s[0]);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

/* Rows of a table follow each other: what comes AHEAD bytes later is fetched. */
NB_TARGET_AVX512 static float dot_f16_avx512(const float *x, const void *y, size_t k) {
    enum { AHEAD = 4096 };
    const uint16_t *w = y;
    __m512 s[4];
    for (int l = 0; l < 4; l++)
        s[l] = _mm512_setzero_ps();
    size_t j = 0;
    for (; j + 64 <= k; j += 64) {
        _mm_prefetch((const char *)(w + j) + AHEAD, _MM_HINT_T0);
        _mm_prefetch((const char *)(w + j) + AHEAD + 64, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++)
            s[l] = _mm512_fmadd_ps(_mm512_loadu_ps(x + j + 16 * l),
                                   _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(w + j + 16 * l))), s[l]);
    }
    for (; j < k; j += 16) {
        __mmask16 m = (__mmask16)(k - j >= 16 ? 0xffffu : (1u << (k - j)) - 1u);
        s[0] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, x + j), _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, w + j)), s[0]);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3])));
}

const nb__sgemm_isa nb__sgemm_avx512 = {AVX512_MR,      AVX512_NR,        tile_avx512,         dot_avx512,
                                        dot_f16_avx512, nb__strip_avx512, nb__pack_rows_avx512};

#endif
