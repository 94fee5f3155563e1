/* Tiles in AVX2: a panel is two vectors of 8 rows. f32 with FMA; 8 bits with AVX-VNNI or without. Eight rows
 * of X are done as two times four, as there are 16 registers. */
#include "kernels/cpu/qgemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "host/base/size.h"

#define INLINE static inline __attribute__((always_inline))

enum { AHEAD = 12288, HALVES = 2, MAX_ROWS = 4 };

INLINE NB_TARGET_AVX2 __m256 load_scales(const nb__qtile *t, size_t g, size_t h) {
    const unsigned char *p = t->panel + t->l->scale_at + (g * NB_PANEL + 8 * h) * t->l->scale_bytes;
    if (t->scale_type == NB_F16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
    if (t->scale_type == NB_BF16)
        return _mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
    return _mm256_loadu_ps((const void *)p);
}

INLINE NB_TARGET_AVX2 __m256i load_zeros(const nb__qtile *t, size_t g, size_t h) {
    if (t->offsets)
        return _mm256_setzero_si256();
    if (t->symmetric)
        return _mm256_set1_epi32(1 << (t->bits - 1));
    return _mm256_cvtepu8_epi32(
        _mm_loadl_epi64((const void *)(t->panel + t->l->zero_at + g * NB_PANEL + 8 * h)));
}

INLINE size_t units_of_step(unsigned bits) {
    return 8 / (bits == 3 ? 1 : bits);
}

/* Half h of unit i of a step, one code a byte. */
INLINE NB_TARGET_AVX2 __m256i unit_of(const unsigned char *p, unsigned bits, size_t i, size_t h) {
    p += 32 * h;
    if (bits == 8)
        return _mm256_loadu_si256((const void *)p);
    if (bits == 3) {
        __m256i v = _mm256_loadu_si256((const void *)(p + i / 4 * 64)),
                high = _mm256_loadu_si256((const void *)(p + 128));
        v = _mm256_and_si256(_mm256_srli_epi16(v, (int)(2 * (i % 4))), _mm256_set1_epi8(3));
        high =
            i >= 2 ? _mm256_srli_epi16(high, (int)(i - 2)) : _mm256_slli_epi16(high, (int)(2 - i));
        return _mm256_or_si256(v, _mm256_and_si256(high, _mm256_set1_epi8(4)));
    }
    __m256i v = _mm256_loadu_si256((const void *)p);
    return _mm256_and_si256(_mm256_srli_epi16(v, (int)(bits * i)),
                            _mm256_set1_epi8((char)((1u << bits) - 1u)));
}

/* y[row][half] += offset * sum of the group's activations. */
INLINE NB_TARGET_AVX2 void add_offsets(const nb__qtile *t, size_t stride, size_t first, size_t rows,
                                       size_t g, __m256 *y) {
    for (size_t h = 0; h < HALVES; h++) {
        __m256 offset = _mm256_loadu_ps(
            (const void *)(t->panel + t->l->zero_at + (g * NB_PANEL + 8 * h) * sizeof(float)));
        NB_UNROLL
        for (size_t r = 0; r < rows; r++)
            y[r * HALVES + h] = _mm256_fmadd_ps(
                offset, _mm256_set1_ps(t->group_sum[g * stride + first + r]), y[r * HALVES + h]);
    }
}

INLINE NB_TARGET_AVX2 void store_tile(const nb__qtile *t, size_t first, size_t rows,
                                      const __m256 *y) {
    NB_UNROLL
    for (size_t r = 0; r < rows; r++)
        NB_UNROLL
    for (size_t h = 0; h < HALVES; h++) {
        float *out = t->c + (first + r) * t->ldc + 8 * h;
        __m256 v = y[r * HALVES + h];
        _mm256_storeu_ps(out, t->load ? _mm256_add_ps(_mm256_loadu_ps(out), v) : v);
    }
}

/* ---- f32 ---- */

/* The code at `shift` of each lane, less its zero, exactly: bits or-ed into 2^23 make the float
 * 2^23 + q. */
INLINE NB_TARGET_AVX2 __m256 weight(__m256i v, unsigned shift, unsigned bits, __m256 magic_zero) {
    __m256i q = _mm256_and_si256(_mm256_srli_epi32(v, (int)shift),
                                 _mm256_set1_epi32((int)((1u << bits) - 1u)));
    return _mm256_sub_ps(_mm256_castsi256_ps(_mm256_or_si256(q, _mm256_set1_epi32(0x4b000000))),
                         magic_zero);
}

/* acc[set][row][half] += codes of one block; x has `stride` rows, of which `rows` count. */
INLINE NB_TARGET_AVX2 void block_f32(const unsigned char *p, const float *x, size_t block,
                                     unsigned bits, size_t stride, size_t rows, size_t sets,
                                     const __m256 *zero, __m256 *acc) {
    unsigned width = bits == 3 ? 8 : bits, codes = 32 / width, per = 8 / width;
    size_t units = units_of_step(bits), vectors = bits == 3 ? 8 : 1, bytes = bits == 3 ? 192 : 64;
    for (size_t s = 0; s < block / (4 * units); s++)
        for (size_t u = 0; u < vectors; u++) {
            const float *xs = x + (s * units + u) * 4 * stride;
            __m256i v[HALVES];
            NB_UNROLL
            for (size_t h = 0; h < HALVES; h++)
                v[h] = bits == 3 ? unit_of(p + s * bytes, 3, u, h)
                                 : _mm256_loadu_si256((const void *)(p + s * bytes + 32 * h));
            NB_UNROLL
            for (unsigned i = 0; i < codes; i++) {
                const float *xi = xs + (4 * (i % per) + i / per) * stride;
                __m256 *a = acc + i % sets * rows * HALVES;
                NB_UNROLL
                for (size_t h = 0; h < HALVES; h++) {
                    __m256 w = weight(v[h], width * i, width, zero[h]);
                    NB_UNROLL
                    for (size_t r = 0; r < rows; r++)
                        a[r * HALVES + h] =
                            _mm256_fmadd_ps(w, _mm256_set1_ps(xi[r]), a[r * HALVES + h]);
                }
            }
        }
}

INLINE NB_TARGET_AVX2 void tile_f32(const nb__qtile *t, unsigned bits, size_t block, size_t stride,
                                    size_t first, size_t rows) {
    size_t sets = rows == 1 ? 2 : 1, block_bytes = 2 * block * bits;
    __m256 y[MAX_ROWS * HALVES], acc[MAX_ROWS * HALVES];
    NB_UNROLL
    for (size_t i = 0; i < rows * HALVES; i++)
        y[i] = _mm256_setzero_ps();
    for (size_t blk = t->blk0; blk < t->blk1;) {
        size_t g = blk / t->l->group_blocks, end = nb_min((g + 1) * t->l->group_blocks, t->blk1);
        __m256 zero[HALVES];
        NB_UNROLL
        for (size_t h = 0; h < HALVES; h++)
            zero[h] =
                _mm256_add_ps(_mm256_cvtepi32_ps(load_zeros(t, g, h)), _mm256_set1_ps(0x1p23f));
        if (t->offsets && blk == g * t->l->group_blocks)
            add_offsets(t, stride, first, rows, g, y);
        NB_UNROLL
        for (size_t i = 0; i < sets * rows * HALVES; i++)
            acc[i] = _mm256_setzero_ps();
        for (; blk < end; blk++) {
            const unsigned char *p = t->panel + blk * block_bytes;
            for (size_t i = 0; stride == 1 && i < block_bytes; i += 64)
                _mm_prefetch((const void *)(p + AHEAD + i), _MM_HINT_T0);
            block_f32(p, (const float *)t->x + blk * block * stride + first, block, bits, stride,
                      rows, sets, zero, acc);
        }
        if (sets == 2)
            NB_UNROLL
        for (size_t i = 0; i < rows * HALVES; i++)
            acc[i] = _mm256_add_ps(acc[i], acc[i + rows * HALVES]);
        NB_UNROLL
        for (size_t h = 0; h < HALVES; h++) {
            __m256 scale = load_scales(t, g, h);
            NB_UNROLL
            for (size_t r = 0; r < rows; r++)
                y[r * HALVES + h] = _mm256_fmadd_ps(scale, acc[r * HALVES + h], y[r * HALVES + h]);
        }
    }
    store_tile(t, first, rows, y);
}

/* ---- 8 bits ---- */

/* acc[row][half] += codes * x of one block, in integers: by the dot product of bytes. */
INLINE NB_TARGET_AVX_VNNI void block_vnni(const unsigned char *p, const int8_t *x, size_t block,
                                        unsigned bits, size_t stride, size_t rows, __m256i *acc) {
    size_t units = units_of_step(bits), bytes = bits == 3 ? 192 : 64;
    for (size_t s = 0; s < block / (4 * units); s++)
        NB_UNROLL
    for (size_t i = 0; i < units; i++) {
        const int8_t *xu = x + (s * units + i) * 4 * stride;
        __m256i w0 = unit_of(p + s * bytes, bits, i, 0), w1 = unit_of(p + s * bytes, bits, i, 1);
        NB_UNROLL
        for (size_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, xu + 4 * r, sizeof four);
            __m256i xr = _mm256_set1_epi32(four);
            acc[r * HALVES] = _mm256_dpbusd_avx_epi32(acc[r * HALVES], w0, xr);
            acc[r * HALVES + 1] = _mm256_dpbusd_avx_epi32(acc[r * HALVES + 1], w1, xr);
        }
    }
}

#define I8_NAME(part) part##_vnni
#define I8_TARGET     NB_TARGET_AVX_VNNI
#include "kernels/cpu/qgemm_avx2_i8.h"

/* Without it, codes of up to 4 bits: products of bytes in pairs, in 16 bits. A pair is at most 2 * 15 * 127 = 3810, and the 8 units
 * of a block of 32 columns 30480: nothing saturates, and one widening for each block is enough. */
INLINE NB_TARGET_AVX2 void block_small(const unsigned char *p, const int8_t *x, size_t block,
                                       unsigned bits, size_t stride, size_t rows, __m256i *acc) {
    size_t units = units_of_step(bits), bytes = bits == 3 ? 192 : 64;
    __m256i sum[MAX_ROWS * HALVES], one = _mm256_set1_epi16(1);
    NB_UNROLL
    for (size_t i = 0; i < rows * HALVES; i++)
        sum[i] = _mm256_setzero_si256();
    for (size_t s = 0; s < block / (4 * units); s++)
        NB_UNROLL
    for (size_t i = 0; i < units; i++) {
        const int8_t *xu = x + (s * units + i) * 4 * stride;
        __m256i w0 = unit_of(p + s * bytes, bits, i, 0), w1 = unit_of(p + s * bytes, bits, i, 1);
        NB_UNROLL
        for (size_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, xu + 4 * r, sizeof four);
            __m256i xr = _mm256_set1_epi32(four), *to = sum + r * HALVES;
            to[0] = _mm256_add_epi16(to[0], _mm256_maddubs_epi16(w0, xr));
            to[1] = _mm256_add_epi16(to[1], _mm256_maddubs_epi16(w1, xr));
        }
    }
    NB_UNROLL
    for (size_t i = 0; i < rows * HALVES; i++)
        acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(sum[i], one));
}

/* 8 bits: pairs of bytes could reach 2 * 255 * 127, past 16 bits, so codes and activations are widened first, those of even
 * columns and those of odd ones. */
INLINE NB_TARGET_AVX2 void block_bytes(const unsigned char *p, const int8_t *x, size_t block,
                                       size_t stride, size_t rows, __m256i *acc) {
    for (size_t u = 0; u < block / 4; u++) {
        __m256i even[HALVES], odd[HALVES];
        NB_UNROLL
        for (size_t h = 0; h < HALVES; h++) {
            __m256i w = _mm256_loadu_si256((const void *)(p + 64 * u + 32 * h));
            even[h] = _mm256_and_si256(w, _mm256_set1_epi16(0xFF));
            odd[h] = _mm256_srli_epi16(w, 8);
        }
        NB_UNROLL
        for (size_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, x + (u * stride + r) * 4, sizeof four);
            __m256i xr = _mm256_set1_epi32(four), *to = acc + r * HALVES;
            __m256i x0 = _mm256_srai_epi16(_mm256_slli_epi16(xr, 8), 8), x1 = _mm256_srai_epi16(xr, 8);
            NB_UNROLL
            for (size_t h = 0; h < HALVES; h++)
                to[h] = _mm256_add_epi32(to[h], _mm256_add_epi32(_mm256_madd_epi16(even[h], x0),
                                                                 _mm256_madd_epi16(odd[h], x1)));
        }
    }
}

INLINE NB_TARGET_AVX2 void block_avx2(const unsigned char *p, const int8_t *x, size_t block,
                                      unsigned bits, size_t stride, size_t rows, __m256i *acc) {
    if (bits == 8)
        block_bytes(p, x, block, stride, rows, acc);
    else
        block_small(p, x, block, bits, stride, rows, acc);
}

#define I8_NAME(part) part##_avx2
#define I8_TARGET     NB_TARGET_AVX2
#include "kernels/cpu/qgemm_avx2_i8.h"

NB_TARGET_AVX2 static void quantize(const float *x, size_t block, size_t mr, int8_t *q, float *step,
                                    int32_t *minus_sum) {
    if (block == 32)
        nb__quantize_block(x, 32, mr, q, step, minus_sum);
    else
        nb__quantize_block(x, block, mr, q, step, minus_sum);
}

/* ---- the tables ---- */

#define TILE(kind, target, bits, mr)                                                               \
    target static void kind##_##bits##_##mr(const nb__qtile *t) {                                  \
        enum { ROWS = mr < MAX_ROWS ? mr : MAX_ROWS };                                             \
        for (size_t first = 0; first < mr; first += ROWS) {                                        \
            if (bits == 3 || t->l->block == 32)                                                    \
                tile_##kind(t, bits, 32, mr, first, ROWS);                                         \
            else                                                                                   \
                tile_##kind(t, bits, 16, mr, first, ROWS);                                         \
        }                                                                                          \
    }
#define WIDTHS(kind, target, mr)                                                                   \
    TILE(kind, target, 2, mr)                                                                      \
    TILE(kind, target, 3, mr)                                                                      \
    TILE(kind, target, 4, mr)                                                                      \
    TILE(kind, target, 8, mr)
#define KIND(kind, target)                                                                         \
    WIDTHS(kind, target, 1) WIDTHS(kind, target, 2) WIDTHS(kind, target, 4) WIDTHS(kind, target, 8)
#define LINE(kind, mr)                                                                             \
    { kind##_2_##mr, kind##_3_##mr, kind##_4_##mr, kind##_8_##mr }

KIND(f32, NB_TARGET_AVX2)
KIND(vnni, NB_TARGET_AVX_VNNI)
KIND(avx2, NB_TARGET_AVX2)

const nb__qisa nb__qgemm_avx2 = {.one = {LINE(f32, 1), LINE(f32, 2), LINE(f32, 4), LINE(f32, 8)}};
const nb__qisa nb__qgemm_i8_avx_vnni = {
    .one = {LINE(vnni, 1), LINE(vnni, 2), LINE(vnni, 4), LINE(vnni, 8)},
    .quantize = quantize,
};
const nb__qisa nb__qgemm_i8_avx2 = {
    .one = {LINE(avx2, 1), LINE(avx2, 2), LINE(avx2, 4), LINE(avx2, 8)},
    .quantize = quantize,
};

#endif
