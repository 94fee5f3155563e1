/* Tiles in AVX-512: 16 rows of a panel are the lanes of one vector. f32 with FMA; 8 bits with VNNI.
 */
#include "kernels/cpu/qgemm.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "host/base/size.h"

#define INLINE static inline __attribute__((always_inline))

/* Bytes that a GEMV fetches ahead of use: enough to hide DRAM at 10 bytes a cycle, and across the
 * end of a panel, as panels lie one after another. */
enum { AHEAD = 12288 };

INLINE NB_TARGET_AVX512 __m512 load_scales(const nb__qtile *t, const unsigned char *panel,
                                           size_t g) {
    const unsigned char *p = panel + t->l->scale_at + g * NB_PANEL * t->l->scale_bytes;
    if (t->scale_type == NB_F16)
        return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
    if (t->scale_type == NB_BF16)
        return _mm512_castsi512_ps(
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
    return _mm512_loadu_ps(p);
}

INLINE NB_TARGET_AVX512 __m512i load_zeros(const nb__qtile *t, const unsigned char *panel,
                                           size_t g) {
    if (t->offsets)
        return _mm512_setzero_si512();
    if (t->symmetric)
        return _mm512_set1_epi32(1 << (t->bits - 1));
    return _mm512_cvtepu8_epi32(
        _mm_loadu_si128((const void *)(panel + t->l->zero_at + g * NB_PANEL)));
}

INLINE NB_TARGET_AVX512 __m512 load_offsets(const nb__qtile *t, const unsigned char *panel,
                                            size_t g) {
    return _mm512_loadu_ps(panel + t->l->zero_at + g * NB_PANEL * sizeof(float));
}

/* The shift count is int in gcc's header and unsigned in clang's. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
INLINE NB_TARGET_AVX512 __m512i right_16(__m512i v, unsigned by) {
    return by ? _mm512_srli_epi16(v, by) : v;
}
INLINE NB_TARGET_AVX512 __m512i left_16(__m512i v, unsigned by) {
    return by ? _mm512_slli_epi16(v, by) : v;
}
#pragma GCC diagnostic pop

/* Bytes of a step: the fewest vectors that hold whole units; `per` units each. */
INLINE size_t units_of_step(unsigned bits) {
    return 8 / (bits == 3 ? 1 : bits);
}

/* Unit i of a step, one code a byte. */
INLINE NB_TARGET_AVX512 __m512i unit_of(const unsigned char *p, unsigned bits, size_t i) {
    __m512i v;
    if (bits == 8)
        return _mm512_loadu_si512(p);
    if (bits == 3) {
        v = _mm512_loadu_si512(p + i / 4 * 64);
        __m512i high = _mm512_loadu_si512(p + 128);
        v = _mm512_and_si512(right_16(v, (unsigned)(2 * (i % 4))), _mm512_set1_epi8(3));
        high = i >= 2 ? right_16(high, (unsigned)(i - 2)) : left_16(high, (unsigned)(2 - i));
        return _mm512_ternarylogic_epi32(v, high, _mm512_set1_epi8(4), 0xf8); /* v | high & 4 */
    }
    v = _mm512_loadu_si512(p);
    return _mm512_and_si512(right_16(v, (unsigned)(bits * i)),
                            _mm512_set1_epi8((char)((1u << bits) - 1u)));
}

/* ---- f32 ---- */

/* Codes become floats without a conversion: a code that stands at bit b of a float's fraction,
 * under the exponent of 2^(23 - b), is the float 2^(23 - b) + q; less 2^(23 - b) + zero it is q -
 * zero, exactly. With `places` values of b in use a vector is shifted once for so many codes. */
INLINE size_t places_of(unsigned bits, size_t mr) {
    return mr == 8 ? 1 : bits == 2 || bits == 4 ? 4 : 2;
}

INLINE float magic(unsigned at) {
    return (float)(1u << (23 - at));
}

/* Of the places of a symmetric 4-bit weight, so many look the weight up in a table of 16 instead:
 * with few rows of X the arithmetic on weights is what takes time, and permutations run beside it.
 * Found by measurement on a Zen 5. */
INLINE unsigned lookups_of(unsigned bits, size_t mr, bool symmetric) {
    return !symmetric || bits != 4 ? 0 : mr == 1 ? 4 : mr == 2 ? 2 : 0;
}

/* Code i of each 32-bit lane, less its zero; zero[] by place, or the table. */
INLINE NB_TARGET_AVX512 __m512 weight(__m512i v, unsigned i, unsigned width, unsigned places,
                                      unsigned lookups, const __m512 *zero) {
    if (i % places < lookups)
        return _mm512_permutexvar_ps(i ? _mm512_srli_epi32(v, i * width) : v, zero[0]);
    unsigned at = i % places * width, shift = i / places * places * width;
    union {
        float f;
        int i;
    } m = {magic(at)};
    __m512i q = shift ? _mm512_srli_epi32(v, shift) : v;
    q = _mm512_ternarylogic_epi32(q, _mm512_set1_epi32((int)(((1u << width) - 1u) << at)),
                                  _mm512_set1_epi32(m.i), 0xea);
    return _mm512_sub_ps(_mm512_castsi512_ps(q), zero[i % places]);
}

/* Zero points as weight() takes them. */
INLINE NB_TARGET_AVX512 void make_zeros(const nb__qtile *t, const unsigned char *panel, size_t g,
                                        unsigned width, unsigned places, unsigned lookups,
                                        __m512 *zero) {
    __m512 z = _mm512_cvtepi32_ps(load_zeros(t, panel, g));
    NB_UNROLL
    for (unsigned i = 0; i < places; i++)
        zero[i] = _mm512_add_ps(z, _mm512_set1_ps(magic(i * width)));
    if (lookups)
        zero[0] = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
}

INLINE size_t sets_of(size_t mr) {
    return mr <= 2 ? 4 : mr == 4 ? 2 : 1;
}

/* acc[set][row][panel] += codes of one block. Sets are there so that enough sums are under way for
 * the latency of FMA. */
INLINE NB_TARGET_AVX512 void block_f32(const unsigned char *const *p, const float *x, size_t block,
                                       unsigned bits, size_t mr, size_t nr, size_t sets,
                                       unsigned lookups, const __m512 (*zero)[4], __m512 *acc) {
    unsigned width = bits == 3 ? 8 : bits, codes = 32 / width, per = 8 / width,
             places = (unsigned)places_of(bits, mr);
    size_t units = units_of_step(bits), vectors = bits == 3 ? 8 : 1, stride = bits == 3 ? 192 : 64;
    for (size_t s = 0; s < block / (4 * units); s++)
        for (size_t u = 0; u < vectors; u++) {
            const float *xs = x + (s * units + u) * 4 * mr;
            __m512i v[NB_QNV];
            NB_UNROLL
            for (size_t c = 0; c < nr; c++)
                v[c] = bits == 3 ? unit_of(p[c] + s * stride, 3, u)
                                 : _mm512_loadu_si512(p[c] + s * stride);
            NB_UNROLL
            for (unsigned i = 0; i < codes; i++) {
                const float *xi = xs + (4 * (i % per) + i / per) * mr;
                __m512 *a = acc + i % sets * mr * nr;
                NB_UNROLL
                for (size_t c = 0; c < nr; c++) {
                    __m512 w = weight(v[c], i, width, places, lookups, zero[c]);
                    NB_UNROLL
                    for (size_t r = 0; r < mr; r++)
                        a[r * nr + c] = _mm512_fmadd_ps(w, _mm512_set1_ps(xi[r]), a[r * nr + c]);
                }
            }
        }
}

INLINE NB_TARGET_AVX512 void store_tile(const nb__qtile *t, size_t mr, size_t nr, const __m512 *y) {
    NB_UNROLL
    for (size_t r = 0; r < mr; r++)
        NB_UNROLL
    for (size_t c = 0; c < nr; c++) {
        float *out = t->c + r * t->ldc + c * NB_PANEL;
        _mm512_storeu_ps(out, t->load ? _mm512_add_ps(_mm512_loadu_ps(out), y[r * nr + c])
                                      : y[r * nr + c]);
    }
}

INLINE NB_TARGET_AVX512 void add_offsets(const nb__qtile *t, size_t mr, size_t nr, size_t g,
                                         __m512 *y) {
    for (size_t c = 0; c < nr; c++) {
        __m512 offset = load_offsets(t, t->panel + c * t->l->panel_bytes, g);
        NB_UNROLL
        for (size_t r = 0; r < mr; r++)
            y[r * nr + c] =
                _mm512_fmadd_ps(offset, _mm512_set1_ps(t->group_sum[g * mr + r]), y[r * nr + c]);
    }
}

/* Scales and zero points stand behind a panel's codes, out of reach of that: those of the next
 * panel are fetched group by group while this one is worked on. */
INLINE void fetch_next_params(const nb__qtile *t, const unsigned char *panel, size_t g) {
    const unsigned char *next = panel + t->l->panel_bytes;
    _mm_prefetch((const void *)(next + t->l->scale_at + g * NB_PANEL * t->l->scale_bytes),
                 _MM_HINT_T0);
    if (!t->symmetric)
        _mm_prefetch((const void *)(next + t->l->zero_at + g * NB_PANEL), _MM_HINT_T0);
}

INLINE void fetch_ahead(const unsigned char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const void *)(p + AHEAD + i), _MM_HINT_T0);
}

INLINE NB_TARGET_AVX512 void tile_f32_of(const nb__qtile *t, unsigned bits, size_t block, size_t mr,
                                         size_t nr, bool symmetric) {
    size_t sets = sets_of(mr), block_bytes = 2 * block * bits;
    unsigned width = bits == 3 ? 8 : bits, lookups = lookups_of(bits, mr, symmetric);
    __m512 y[NB_QMR * NB_QNR], acc[NB_QMR * NB_QNR];
    NB_UNROLL
    for (size_t i = 0; i < mr * nr; i++)
        y[i] = _mm512_setzero_ps();
    for (size_t blk = t->blk0; blk < t->blk1;) {
        size_t g = blk / t->l->group_blocks, end = nb_min((g + 1) * t->l->group_blocks, t->blk1);
        __m512 zero[NB_QNR][4];
        NB_UNROLL
        for (size_t c = 0; c < nr; c++)
            make_zeros(t, t->panel + c * t->l->panel_bytes, g, width, (unsigned)places_of(bits, mr),
                       lookups, zero[c]);
        if (mr == 1)
            fetch_next_params(t, t->panel, g);
        if (t->offsets && blk == g * t->l->group_blocks)
            add_offsets(t, mr, nr, g, y);
        NB_UNROLL
        for (size_t i = 0; i < sets * mr * nr; i++)
            acc[i] = _mm512_setzero_ps();
        for (; blk < end; blk++) {
            const unsigned char *p[NB_QNR] = {t->panel + blk * block_bytes,
                                              t->panel + (nr - 1) * t->l->panel_bytes +
                                                  blk * block_bytes};
            if (mr == 1)
                fetch_ahead(p[0], block_bytes);
            block_f32(p, (const float *)t->x + blk * block * mr, block, bits, mr, nr, sets, lookups,
                      (const __m512(*)[4])zero, acc);
        }
        NB_UNROLL
        for (size_t i = mr * nr; i < sets * mr * nr; i++)
            acc[i % (mr * nr)] = _mm512_add_ps(acc[i % (mr * nr)], acc[i]);
        NB_UNROLL
        for (size_t c = 0; c < nr; c++) {
            __m512 scale = load_scales(t, t->panel + c * t->l->panel_bytes, g);
            NB_UNROLL
            for (size_t r = 0; r < mr; r++)
                y[r * nr + c] = _mm512_fmadd_ps(scale, acc[r * nr + c], y[r * nr + c]);
        }
    }
    store_tile(t, mr, nr, y);
}

INLINE NB_TARGET_AVX512 void tile_f32(const nb__qtile *t, unsigned bits, size_t block, size_t mr,
                                      size_t nr) {
    if (t->symmetric && lookups_of(bits, mr, true))
        tile_f32_of(t, bits, block, mr, nr, true);
    else
        tile_f32_of(t, bits, block, mr, nr, false);
}

/* ---- 8 bits ---- */

/* acc[row][panel] += codes * x of one block, in integers. */
INLINE NB_TARGET_AVX512_VNNI void step_i8(const unsigned char *const *p, const int8_t *x,
                                          unsigned bits, size_t mr, size_t nr, __m512i *acc) {
    NB_UNROLL
    for (size_t i = 0; i < units_of_step(bits); i++) {
        __m512i w[NB_QNR];
        NB_UNROLL
        for (size_t c = 0; c < nr; c++)
            w[c] = unit_of(p[c], bits, i);
        NB_UNROLL
        for (size_t r = 0; r < mr; r++) {
            int32_t four;
            memcpy(&four, x + (i * mr + r) * 4, sizeof four);
            __m512i xr = _mm512_set1_epi32(four);
            NB_UNROLL
            for (size_t c = 0; c < nr; c++)
                acc[r * nr + c] = _mm512_dpbusd_epi32(acc[r * nr + c], w[c], xr);
        }
    }
}

INLINE NB_TARGET_AVX512_VNNI void block_i8(const unsigned char *const *p, const int8_t *x,
                                           size_t block, unsigned bits, size_t mr, size_t nr,
                                           __m512i *acc) {
    size_t columns = 4 * units_of_step(bits), stride = bits == 3 ? 192 : 64;
    if (mr <= 2) {
        NB_UNROLL
        for (size_t s = 0; s < block / columns; s++)
            step_i8(&(const unsigned char *){p[0] + s * stride}, x + s * columns * mr, bits, mr, 1,
                    acc);
        return;
    }
    NB_UNROLL
    for (size_t s = 0; s < block / columns; s++) {
        const unsigned char *at[NB_QNR] = {p[0] + s * stride, p[1] + s * stride};
        step_i8(at, x + s * columns * mr, bits, mr, nr, acc);
    }
}

INLINE NB_TARGET_AVX512_VNNI void tile_i8(const nb__qtile *t, unsigned bits, size_t block,
                                          size_t mr, size_t nr) {
    size_t block_bytes = 2 * block * bits;
    __m512 y[NB_QMR * NB_QNR];
    __m512i acc[NB_QMR * NB_QNR];
    NB_UNROLL
    for (size_t i = 0; i < mr * nr; i++)
        y[i] = _mm512_setzero_ps();
    for (size_t blk = t->blk0; blk < t->blk1;) {
        size_t g = blk / t->l->group_blocks, end = nb_min((g + 1) * t->l->group_blocks, t->blk1);
        __m512 scale[NB_QNR];
        __m512i zero[NB_QNR];
        NB_UNROLL
        for (size_t c = 0; c < nr; c++) {
            scale[c] = load_scales(t, t->panel + c * t->l->panel_bytes, g);
            zero[c] = load_zeros(t, t->panel + c * t->l->panel_bytes, g);
        }
        if (mr == 1)
            fetch_next_params(t, t->panel, g);
        if (t->offsets && blk == g * t->l->group_blocks)
            add_offsets(t, mr, nr, g, y);
        for (; blk < end; blk++) {
            const unsigned char *p[NB_QNR] = {t->panel + blk * block_bytes,
                                              t->panel + (nr - 1) * t->l->panel_bytes +
                                                  blk * block_bytes};
            if (mr == 1)
                fetch_ahead(p[0], block_bytes);
            /* -zero * sum(x): both fit 16 bits, and zero's lane has an empty high half. */
            NB_UNROLL
            for (size_t r = 0; r < mr; r++)
                NB_UNROLL
            for (size_t c = 0; c < nr; c++)
                acc[r * nr + c] = _mm512_dpwssd_epi32(
                    _mm512_setzero_si512(), zero[c], _mm512_set1_epi32(t->minus_sum[blk * mr + r]));
            block_i8(p, (const int8_t *)t->x + blk * block * mr, block, bits, mr, nr, acc);
            NB_UNROLL
            for (size_t r = 0; r < mr; r++)
                NB_UNROLL
            for (size_t c = 0; c < nr; c++)
                y[r * nr + c] =
                    _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r * nr + c]), scale[c]),
                                    _mm512_set1_ps(t->step[blk * mr + r]), y[r * nr + c]);
        }
    }
    store_tile(t, mr, nr, y);
}

/* ---- one row of X ---- */

/* NB_QNV panels are read side by side, as they share what is loaded of X, each fetched so many bytes ahead of its use. Short panels of
 * the product in 8 bits, which memory bounds, are read one after another: a stream that is not broken off so often. By measurement
 * on a Zen 5: out of cache, K = 1536, 90 % of the bandwidth instead of 80. */
enum { EACH_AHEAD = 2560, WALK_AHEAD = 8192, WALK_BELOW = 24 << 10 };

/* What differs between the panels of a GEMV: found out once, ahead of its loops. PLAIN: symmetric, scales of f16. */
typedef enum gemv_form { PLAIN, GENERAL } gemv_form;

INLINE NB_TARGET_AVX512 __m512 gemv_scales(const nb__qtile *t, const unsigned char *panel, size_t g,
                                           gemv_form form) {
    if (form == GENERAL)
        return load_scales(t, panel, g);
    return _mm512_cvtph_ps(
        _mm256_loadu_si256((const void *)(panel + t->l->scale_at + g * NB_PANEL * 2)));
}

/* From a block to the one that is used EACH_AHEAD bytes of its panel later; past the panel's end that lies in the panels after
 * these. */
INLINE size_t fetch_distance(const nb__qtile *t, size_t blk, size_t block_bytes) {
    size_t ahead = nb_min(EACH_AHEAD / block_bytes, t->l->blocks);
    size_t next = NB_QNV * t->l->panel_bytes - t->l->blocks * block_bytes;
    return ahead * block_bytes + (blk + ahead < t->l->blocks ? 0 : next);
}

/* Each line is used once: it may leave the caches before others. */
INLINE void fetch_lines(const unsigned char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const void *)(p + i), _MM_HINT_NTA);
}

/* Scales and zero points of the panels after these. */
INLINE void fetch_params(const nb__qtile *t, size_t g) {
    const unsigned char *next = t->panel + NB_QNV * t->l->panel_bytes;
    for (size_t c = 0; c < NB_QNV; c++, next += t->l->panel_bytes) {
        _mm_prefetch((const void *)(next + t->l->scale_at + g * NB_PANEL * t->l->scale_bytes), _MM_HINT_T0);
        if (!t->symmetric)
            _mm_prefetch((const void *)(next + t->l->zero_at + g * NB_PANEL), _MM_HINT_T0);
    }
}

/* One panel by one row of X in 8 bits. */
INLINE NB_TARGET_AVX512_VNNI __m512 walk_i8(const nb__qtile *t, const unsigned char *panel, unsigned bits, size_t block,
                                            gemv_form form) {
    size_t block_bytes = 2 * block * bits, blk = 0;
    const int8_t *x = t->x;
    __m512 y = _mm512_setzero_ps();
    __m512i zero = _mm512_set1_epi32(1 << (bits - 1));
    for (size_t g = 0; blk < t->l->blocks; g++) {
        size_t end = nb_min(blk + t->l->group_blocks, t->l->blocks);
        __m512 scale = gemv_scales(t, panel, g, form);
        if (form == GENERAL)
            zero = load_zeros(t, panel, g);
        if (form == GENERAL && t->offsets)
            y = _mm512_fmadd_ps(load_offsets(t, panel, g), _mm512_set1_ps(t->group_sum[g]), y);
        fetch_next_params(t, panel, g);
        for (; blk < end; blk++) {
            const unsigned char *p = panel + blk * block_bytes;
            __m512i acc = _mm512_dpwssd_epi32(_mm512_setzero_si512(), zero, _mm512_set1_epi32(t->minus_sum[blk]));
            fetch_lines(p + WALK_AHEAD, block_bytes);
            block_i8(&p, x + blk * block, block, bits, 1, 1, &acc);
            y = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale), _mm512_set1_ps(t->step[blk]), y);
        }
    }
    return y;
}

INLINE NB_TARGET_AVX512_VNNI void side_i8(const nb__qtile *t, unsigned bits, size_t block, gemv_form form) {
    size_t block_bytes = 2 * block * bits, panel_bytes = t->l->panel_bytes, blk = 0;
    size_t units = units_of_step(bits), stride = bits == 3 ? 192 : 64, steps = block / (4 * units);
    const int8_t *x = t->x;
    __m512 y[NB_QNV];
    __m512i zero[NB_QNV];
    NB_UNROLL
    for (size_t c = 0; c < NB_QNV; c++) {
        y[c] = _mm512_setzero_ps();
        zero[c] = _mm512_set1_epi32(1 << (bits - 1));
    }
    for (size_t g = 0; blk < t->l->blocks; g++) {
        size_t end = nb_min(blk + t->l->group_blocks, t->l->blocks);
        __m512 scale[NB_QNV];
        NB_UNROLL
        for (size_t c = 0; c < NB_QNV; c++) {
            const unsigned char *panel = t->panel + c * panel_bytes;
            scale[c] = gemv_scales(t, panel, g, form);
            if (form == GENERAL)
                zero[c] = load_zeros(t, panel, g);
        }
        if (form == GENERAL && t->offsets)
            add_offsets(t, 1, NB_QNV, g, y);
        fetch_params(t, g);
        for (; blk < end; blk++) {
            const unsigned char *p = t->panel + blk * block_bytes, *far = p + fetch_distance(t, blk, block_bytes);
            __m512i acc[NB_QNV], sum = _mm512_set1_epi32(t->minus_sum[blk]);
            NB_UNROLL
            for (size_t c = 0; c < NB_QNV; c++) {
                fetch_lines(far + c * panel_bytes, block_bytes);
                acc[c] = _mm512_dpwssd_epi32(_mm512_setzero_si512(), zero[c], sum);
            }
            NB_UNROLL
            for (size_t s = 0; s < steps; s++)
                NB_UNROLL
            for (size_t i = 0; i < units; i++) {
                int32_t four;
                memcpy(&four, x + (blk * block + 4 * (s * units + i)), sizeof four);
                __m512i xi = _mm512_set1_epi32(four);
                NB_UNROLL
                for (size_t c = 0; c < NB_QNV; c++)
                    acc[c] = _mm512_dpbusd_epi32(
                        acc[c], unit_of(p + c * panel_bytes + s * stride, bits, i), xi);
            }
            __m512 step = _mm512_set1_ps(t->step[blk]);
            NB_UNROLL
            for (size_t c = 0; c < NB_QNV; c++)
                y[c] = _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[c]), scale[c]), step,
                                       y[c]);
        }
    }
    store_tile(t, 1, NB_QNV, y);
}

INLINE NB_TARGET_AVX512_VNNI void gemv_i8_of(const nb__qtile *t, unsigned bits, size_t block, gemv_form form) {
    if (t->l->panel_bytes >= WALK_BELOW) {
        side_i8(t, bits, block, form);
        return;
    }
    __m512 y[NB_QNV];
    for (size_t c = 0; c < NB_QNV; c++)
        y[c] = walk_i8(t, t->panel + c * t->l->panel_bytes, bits, block, form);
    store_tile(t, 1, NB_QNV, y);
}

INLINE NB_TARGET_AVX512 void gemv_f32_of(const nb__qtile *t, unsigned bits, size_t block,
                                         gemv_form form) {
    enum { SETS = 4 };
    size_t block_bytes = 2 * block * bits, panel_bytes = t->l->panel_bytes, blk = 0;
    unsigned width = bits == 3 ? 8 : bits, lookups = lookups_of(bits, 1, form == PLAIN);
    __m512 y[NB_QNV], zero[NB_QNV][4];
    NB_UNROLL
    for (size_t c = 0; c < NB_QNV; c++)
        y[c] = _mm512_setzero_ps();
    for (size_t g = 0; blk < t->l->blocks; g++) {
        size_t end = nb_min(blk + t->l->group_blocks, t->l->blocks);
        __m512 acc[SETS * NB_QNV];
        if (form == GENERAL || g == 0)
            NB_UNROLL
        for (size_t c = 0; c < NB_QNV; c++)
            make_zeros(t, t->panel + c * panel_bytes, g, width, (unsigned)places_of(bits, 1),
                       lookups, zero[c]);
        if (form == GENERAL && t->offsets)
            add_offsets(t, 1, NB_QNV, g, y);
        fetch_params(t, g);
        NB_UNROLL
        for (size_t i = 0; i < SETS * NB_QNV; i++)
            acc[i] = _mm512_setzero_ps();
        for (; blk < end; blk++) {
            const unsigned char *p[NB_QNV], *far;
            p[0] = t->panel + blk * block_bytes;
            far = p[0] + fetch_distance(t, blk, block_bytes);
            NB_UNROLL
            for (size_t c = 0; c < NB_QNV; c++) {
                p[c] = p[0] + c * panel_bytes;
                fetch_lines(far + c * panel_bytes, block_bytes);
            }
            const float *x = (const float *)t->x + blk * block;
            block_f32(p, x, block, bits, 1, NB_QNV, SETS, lookups, (const __m512(*)[4])zero, acc);
        }
        NB_UNROLL
        for (size_t i = NB_QNV; i < SETS * NB_QNV; i++)
            acc[i % NB_QNV] = _mm512_add_ps(acc[i % NB_QNV], acc[i]);
        NB_UNROLL
        for (size_t c = 0; c < NB_QNV; c++)
            y[c] = _mm512_fmadd_ps(gemv_scales(t, t->panel + c * panel_bytes, g, form), acc[c], y[c]);
    }
    store_tile(t, 1, NB_QNV, y);
}

INLINE NB_TARGET_AVX512 void gemv_f32(const nb__qtile *t, unsigned bits, size_t block) {
    if (t->symmetric && t->scale_type == NB_F16)
        gemv_f32_of(t, bits, block, PLAIN);
    else
        gemv_f32_of(t, bits, block, GENERAL);
}

INLINE NB_TARGET_AVX512_VNNI void gemv_i8(const nb__qtile *t, unsigned bits, size_t block) {
    if (t->symmetric && t->scale_type == NB_F16)
        gemv_i8_of(t, bits, block, PLAIN);
    else
        gemv_i8_of(t, bits, block, GENERAL);
}

/* As nb__quantize_block. */
NB_TARGET_AVX512 static void quantize(const float *x, size_t block, size_t mr, int8_t *q,
                                      float *step, int32_t *minus_sum) {
    __m512 a = _mm512_loadu_ps(x), b = block == 32 ? _mm512_loadu_ps(x + 16) : _mm512_setzero_ps();
    __m512i abs = _mm512_set1_epi32(0x7fffffff);
    int max =
        _mm512_reduce_max_epi32(_mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(a), abs),
                                                 _mm512_and_si512(_mm512_castps_si512(b), abs)));
    float inverse = nb__quantize_step(max, step);
    __m512 inv = _mm512_set1_ps(inverse);
    __mmask16 some = inverse > 0.0f ? 0xffff : 0;
    __m512i qa = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(a, inv)),
            qb = _mm512_maskz_cvtps_epi32(some, _mm512_mul_ps(b, inv));
    *minus_sum = -_mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
    __m128i ba = _mm512_cvtepi32_epi8(qa), bb = _mm512_cvtepi32_epi8(qb);
    if (mr == 1) {
        _mm_storeu_si128((void *)q, ba);
        if (block == 32)
            _mm_storeu_si128((void *)(q + 16), bb);
        return;
    }
    int32_t words[8];
    _mm_storeu_si128((void *)words, ba);
    _mm_storeu_si128((void *)(words + 4), bb);
    for (size_t u = 0; u < block / 4; u++)
        memcpy(q + u * mr * 4, &words[u], sizeof words[u]);
}

/* ---- the tables ---- */

#define TILE(kind, target, bits, mr, nr)                                                           \
    target static void kind##_##bits##_##mr##_##nr(const nb__qtile *t) {                           \
        if (bits == 3 || t->l->block == 32)                                                        \
            tile_##kind(t, bits, 32, mr, nr);                                                      \
        else                                                                                       \
            tile_##kind(t, bits, 16, mr, nr);                                                      \
    }
#define ROWS(kind, target, mr, nr)                                                                 \
    TILE(kind, target, 2, mr, nr)                                                                  \
    TILE(kind, target, 3, mr, nr)                                                                  \
    TILE(kind, target, 4, mr, nr)                                                                  \
    TILE(kind, target, 8, mr, nr)
#define KIND(kind, target)                                                                         \
    ROWS(kind, target, 1, 1)                                                                       \
    ROWS(kind, target, 2, 1)                                                                       \
    ROWS(kind, target, 4, 1)                                                                       \
    ROWS(kind, target, 8, 1)                                                                       \
    ROWS(kind, target, 8, 2)
#define LINE(kind, mr, nr)                                                                         \
    { kind##_2_##mr##_##nr, kind##_3_##mr##_##nr, kind##_4_##mr##_##nr, kind##_8_##mr##_##nr }

#define GEMV(kind, target, bits)                                                                   \
    target static void gemv_##kind##_##bits(const nb__qtile *t) {                                  \
        if (bits == 3 || t->l->block == 32)                                                        \
            gemv_##kind(t, bits, 32);                                                              \
        else                                                                                       \
            gemv_##kind(t, bits, 16);                                                              \
    }
#define GEMVS(kind, target)                                                                        \
    GEMV(kind, target, 2)                                                                          \
    GEMV(kind, target, 3)                                                                          \
    GEMV(kind, target, 4)                                                                          \
    GEMV(kind, target, 8)
#define GEMV_LINE(kind)                                                                            \
    { gemv_##kind##_2, gemv_##kind##_3, gemv_##kind##_4, gemv_##kind##_8 }

KIND(f32, NB_TARGET_AVX512)
KIND(i8, NB_TARGET_AVX512_VNNI)
GEMVS(f32, NB_TARGET_AVX512)
GEMVS(i8, NB_TARGET_AVX512_VNNI)

const nb__qisa nb__qgemm_avx512 = {
    .one = {LINE(f32, 1, 1), LINE(f32, 2, 1), LINE(f32, 4, 1), LINE(f32, 8, 1)},
    .two = LINE(f32, 8, 2),
    .gemv = GEMV_LINE(f32),
};
const nb__qisa nb__qgemm_i8_avx512_vnni = {
    .one = {LINE(i8, 1, 1), LINE(i8, 2, 1), LINE(i8, 4, 1), LINE(i8, 8, 1)},
    .two = LINE(i8, 8, 2),
    .gemv = GEMV_LINE(i8),
    .quantize = quantize,
};

#endif
