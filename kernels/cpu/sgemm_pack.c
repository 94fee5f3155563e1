/* Packing of f32 rows into panels, which is a transposition: in squares of vectors where the processor has them. */
#include "kernels/cpu/vmath.h"
#include "kernels/cpu/sgemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* With a width that the compiler knows, a row of a panel is a few moves and no call. */
static inline __attribute__((always_inline)) void copy_cols(const float *src, size_t ld, size_t ks, const size_t width, float *dst) {
    for (size_t kk = 0; kk < ks; kk++)
        memcpy(dst + kk * width, src + kk * ld, width * sizeof *dst);
}

void nb__pack_f32_cols(const void *operand, size_t row, size_t rows, size_t k0, size_t ks, size_t width, float *scratch,
                       float *dst) {
    const nb__f32_operand *o = operand;
    const float *src = o->data + k0 * o->ld + row;
    (void)scratch;
    if (rows == width && width == 6)
        copy_cols(src, o->ld, ks, 6, dst);
    else if (rows == width && width == 14)
        copy_cols(src, o->ld, ks, 14, dst);
    else if (rows == width && width == 16)
        copy_cols(src, o->ld, ks, 16, dst);
    else if (rows == width && width == 32)
        copy_cols(src, o->ld, ks, 32, dst);
    else {
        if (rows < width)
            memset(dst, 0, ks * width * sizeof *dst);
        for (size_t kk = 0; kk < ks; kk++)
            memcpy(dst + kk * width, src + kk * o->ld, rows * sizeof *dst);
    }
}

void nb__pack_panels(nb__pack_fn *pack, const nb__f32_operand *o, size_t rows, size_t ks, size_t width, float *dst) {
    for (size_t i = 0; i < rows; i += width)
        pack(o, i, nb_min(width, rows - i), 0, ks, width, NULL, dst + i * ks);
}

void nb__strip_plain(const float *src, size_t ld, size_t rows, size_t ks, size_t width, size_t cols, float *dst) {
    for (size_t r = 0; r < cols; r++)
        for (size_t kk = 0; kk < ks; kk++)
            dst[kk * width + r] = r < rows ? src[r * ld + kk] : 0.0f;
}

#if defined(__x86_64__)

/* ---- AVX2: squares of 8 ---- */

NB_TARGET_AVX2 static inline void square8(__m256 v[8]) {
    __m256 t[8], u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            u[4 * i + 2 * j] = _mm256_shuffle_ps(t[4 * i + j], t[4 * i + j + 2], 0x44);
            u[4 * i + 2 * j + 1] = _mm256_shuffle_ps(t[4 * i + j], t[4 * i + j + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
    }
}

/* Columns [0, cols) of the panel, cols <= 8. A panel of 6 columns takes whole vectors, each row's last two lanes being
 * overwritten by the next row, and only its last row is cut: masked stores take many times as long on some processors. */
NB_TARGET_AVX2 static void strip8(const float *src, size_t ld, size_t rows, size_t ks, size_t width, size_t cols, float *dst) {
    static const int32_t on[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    __m256i keep = _mm256_loadu_si256((const __m256i *)(const void *)(on + 8 - cols));
    size_t whole = cols == 8 ? ks : cols == width ? ks - 1 : 0;
    for (size_t kk = 0; kk < ks; kk += 8) {
        size_t len = nb_min(8, ks - kk);
        __m256i part = _mm256_loadu_si256((const __m256i *)(const void *)(on + 8 - len));
        __m256 v[8];
        for (size_t r = 0; r < 8; r++)
            v[r] = r < rows ? _mm256_maskload_ps(src + r * ld + kk, part) : _mm256_setzero_ps();
        square8(v);
        for (size_t i = 0; i < len; i++)
            if (kk + i < whole)
                _mm256_storeu_ps(dst + (kk + i) * width, v[i]);
            else
                _mm256_maskstore_ps(dst + (kk + i) * width, keep, v[i]);
    }
}

NB_TARGET_AVX2 void nb__strip_avx2(const float *src, size_t ld, size_t rows, size_t ks, size_t width, size_t cols, float *dst) {
    for (size_t r = 0; r < cols; r += 8)
        strip8(src + nb_min(r, rows) * ld, ld, rows > r ? nb_min(8, rows - r) : 0, ks, width, nb_min(8, cols - r), dst + r);
}

/* ---- AVX-512: squares of 16 ---- */

NB_TARGET_AVX512 static inline __attribute__((always_inline)) void square16(__m512 v[16]) {
    __m512 t[16], u[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    /* u[4i + c]: column c (mod 4) of rows 4i .. 4i + 3, in each quarter */
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        u[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        u[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        u[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        u[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512 a = _mm512_shuffle_f32x4(u[c], u[c + 4], 0x88), b = _mm512_shuffle_f32x4(u[c], u[c + 4], 0xdd);
        __m512 d = _mm512_shuffle_f32x4(u[c + 8], u[c + 12], 0x88), e = _mm512_shuffle_f32x4(u[c + 8], u[c + 12], 0xdd);
        v[c] = _mm512_shuffle_f32x4(a, d, 0x88);
        v[c + 4] = _mm512_shuffle_f32x4(b, e, 0x88);
        v[c + 8] = _mm512_shuffle_f32x4(a, d, 0xdd);
        v[c + 12] = _mm512_shuffle_f32x4(b, e, 0xdd);
    }
}

/* A panel of 14 columns takes whole vectors, each row's last two lanes being overwritten by the next row, and only the last
 * row of the panel is cut. The same place of the next strip of rows is fetched ahead: rows lie pages apart, where hardware does
 * not look. */
NB_TARGET_AVX512 void nb__strip_avx512(const float *src, size_t ld, size_t rows, size_t ks, size_t width, size_t cols,
                                       float *dst) {
    __mmask16 keep = (__mmask16)((1u << cols) - 1u);
    bool whole = cols == 16 || cols == width;
    for (size_t kk = 0; kk < ks; kk += 16) {
        size_t len = nb_min(16, ks - kk);
        __mmask16 part = (__mmask16)((1u << len) - 1u);
        __m512 v[16];
#pragma GCC unroll 16
        for (size_t r = 0; r < 16; r++) {
            v[r] = r < rows ? _mm512_maskz_loadu_ps(part, src + r * ld + kk) : _mm512_setzero_ps();
            if (r < cols)
                _mm_prefetch((const char *)((uintptr_t)(src + kk) + (cols + r) * ld * sizeof *src), _MM_HINT_T0);
        }
        square16(v);
        if (whole && kk + 16 < ks) {
#pragma GCC unroll 16
            for (size_t i = 0; i < 16; i++)
                _mm512_storeu_ps(dst + (kk + i) * width, v[i]);
        } else {
#pragma GCC unroll 16
            for (size_t i = 0; i < 16; i++)
                if (i < len)
                    _mm512_mask_storeu_ps(dst + (kk + i) * width, keep, v[i]);
        }
    }
}

#endif

#define PACK_VARIANT(name, isa)                                                                                        \
    void name(const void *operand, size_t row, size_t rows, size_t k0, size_t ks, size_t width, float *scratch,        \
              float *dst) {                                                                                            \
        const nb__f32_operand *o = operand;                                                                            \
        (void)scratch;                                                                                                 \
        for (size_t r = 0; r < width; r += NB_PACK_ROWS)                                                               \
            nb__strip_##isa(o->data + (row + nb_min(r, rows)) * o->ld + k0, o->ld,                                     \
                            rows > r ? nb_min(NB_PACK_ROWS, rows - r) : 0, ks, width,                                  \
                            nb_min(NB_PACK_ROWS, width - r), dst + r);                                                 \
    }

PACK_VARIANT(nb__pack_f32_rows, plain)
#if defined(__x86_64__)
PACK_VARIANT(nb__pack_rows_avx2, avx2)
PACK_VARIANT(nb__pack_rows_avx512, avx512)
#endif
