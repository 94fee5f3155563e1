/* Tiles in NEON: a panel is four vectors of 4 rows. f32 with FMA; 8 bits with the dot product
 * (sdot). Eight rows of X are done as two times four. */
#include "kernels/cpu/qgemm.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

#include "host/base/size.h"

#define INLINE static inline __attribute__((always_inline))
#define NB_TARGET_NEON
#define NB_TARGET_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))

enum { QUARTERS = 4, MAX_ROWS = 4 };

INLINE float32x4_t load_scales(const nb__qtile *t, size_t g, size_t h) {
    const unsigned char *p = t->panel + t->l->scale_at + (g * NB_PANEL + 4 * h) * t->l->scale_bytes;
    if (t->scale_type == NB_F16)
        return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
    if (t->scale_type == NB_BF16)
        return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

INLINE int32x4_t load_zeros(const nb__qtile *t, size_t g, size_t h) {
    int32_t z[4];
    for (size_t r = 0; r < 4; r++)
        z[r] = t->offsets     ? 0
               : t->symmetric ? 1 << (t->bits - 1)
                              : t->panel[t->l->zero_at + g * NB_PANEL + 4 * h + r];
    return vld1q_s32(z);
}

INLINE size_t units_of_step(unsigned bits) {
    return 8 / (bits == 3 ? 1 : bits);
}

INLINE uint8x16_t shift_right(uint8x16_t v, size_t by) {
    return vshlq_u8(v, vdupq_n_s8((int8_t) - (int)by));
}

/* Quarter h of unit i of a step, one code a byte. */
INLINE uint8x16_t unit_of(const unsigned char *p, unsigned bits, size_t i, size_t h) {
    p += 16 * h;
    if (bits == 8)
        return vld1q_u8(p);
    if (bits == 3) {
        uint8x16_t low =
            vandq_u8(shift_right(vld1q_u8(p + i / 4 * 64), 2 * (i % 4)), vdupq_n_u8(3));
        uint8x16_t high = vandq_u8(shift_right(vld1q_u8(p + 128), i), vdupq_n_u8(1));
        return vorrq_u8(low, vshlq_n_u8(high, 2));
    }
    return vandq_u8(shift_right(vld1q_u8(p), bits * i), vdupq_n_u8((uint8_t)((1u << bits) - 1u)));
}

/* y[row][quarter] += offset * sum of the group's activations. */
INLINE void add_offsets(const nb__qtile *t, size_t stride, size_t first, size_t rows, size_t g,
                        float32x4_t *y) {
    for (size_t h = 0; h < QUARTERS; h++) {
        float32x4_t offset =
            vreinterpretq_f32_u8(vld1q_u8(t->panel + t->l->zero_at + (g * NB_PANEL + 4 * h) * 4));
        for (size_t r = 0; r < rows; r++)
            y[r * QUARTERS + h] =
                vfmaq_n_f32(y[r * QUARTERS + h], offset, t->group_sum[g * stride + first + r]);
    }
}

INLINE void store_tile(const nb__qtile *t, size_t first, size_t rows, const float32x4_t *y) {
    for (size_t r = 0; r < rows; r++)
        for (size_t h = 0; h < QUARTERS; h++) {
            float *out = t->c + (first + r) * t->ldc + 4 * h;
            vst1q_f32(out, t->load ? vaddq_f32(vld1q_f32(out), y[r * QUARTERS + h])
                                   : y[r * QUARTERS + h]);
        }
}

/* ---- f32 ---- */

/* acc[row][quarter] += (q - zero) * x of one block; q - zero is exact. */
INLINE void block_f32(const unsigned char *p, const float *x, size_t block, unsigned bits,
                      size_t stride, size_t rows, const float32x4_t *zero, float32x4_t *acc) {
    size_t units = units_of_step(bits), bytes = bits == 3 ? 192 : 64;
    for (size_t u = 0; u < block / 4; u++)
        for (size_t h = 0; h < QUARTERS; h++) {
            uint32x4_t unit =
                vreinterpretq_u32_u8(unit_of(p + u / units * bytes, bits, u % units, h));
            for (size_t j = 0; j < 4; j++) {
                uint32x4_t q =
                    vandq_u32(vshlq_u32(unit, vdupq_n_s32(-8 * (int)j)), vdupq_n_u32(255));
                float32x4_t w = vsubq_f32(vcvtq_f32_u32(q), zero[h]);
                for (size_t r = 0; r < rows; r++)
                    acc[r * QUARTERS + h] =
                        vfmaq_n_f32(acc[r * QUARTERS + h], w, x[(4 * u + j) * stride + r]);
            }
        }
}

INLINE void tile_f32(const nb__qtile *t, unsigned bits, size_t block, size_t stride, size_t first,
                     size_t rows) {
    float32x4_t y[MAX_ROWS * QUARTERS], acc[MAX_ROWS * QUARTERS], zero[QUARTERS];
    for (size_t i = 0; i < rows * QUARTERS; i++)
        y[i] = vdupq_n_f32(0);
    for (size_t blk = t->blk0; blk < t->blk1;) {
        size_t g = blk / t->l->group_blocks, end = nb_min((g + 1) * t->l->group_blocks, t->blk1);
        for (size_t h = 0; h < QUARTERS; h++)
            zero[h] = vcvtq_f32_s32(load_zeros(t, g, h));
        if (t->offsets && blk == g * t->l->group_blocks)
            add_offsets(t, stride, first, rows, g, y);
        for (size_t i = 0; i < rows * QUARTERS; i++)
            acc[i] = vdupq_n_f32(0);
        for (; blk < end; blk++)
            block_f32(t->panel + blk * t->l->block_bytes,
                      (const float *)t->x + blk * block * stride + first, block, bits, stride, rows,
                      zero, acc);
        for (size_t h = 0; h < QUARTERS; h++)
            for (size_t r = 0; r < rows; r++)
                y[r * QUARTERS + h] =
                    vfmaq_f32(y[r * QUARTERS + h], load_scales(t, g, h), acc[r * QUARTERS + h]);
    }
    store_tile(t, first, rows, y);
}

/* ---- 8 bits ---- */

/* acc[row][quarter] += codes * x of one block, in integers. Codes of 8 bits are taken less 128, to
 * be signed. */
INLINE NB_TARGET_DOTPROD void block_i8(const unsigned char *p, const int8_t *x, size_t block,
                                       unsigned bits, size_t stride, size_t rows, int32x4_t *acc) {
    size_t units = units_of_step(bits), bytes = bits == 3 ? 192 : 64;
    for (size_t u = 0; u < block / 4; u++)
        for (size_t h = 0; h < QUARTERS; h++) {
            uint8x16_t unit = unit_of(p + u / units * bytes, bits, u % units, h);
            int8x16_t w = vreinterpretq_s8_u8(bits == 8 ? veorq_u8(unit, vdupq_n_u8(128)) : unit);
            for (size_t r = 0; r < rows; r++) {
                int32_t four;
                memcpy(&four, x + (u * stride + r) * 4, sizeof four);
                acc[r * QUARTERS + h] =
                    vdotq_s32(acc[r * QUARTERS + h], w, vreinterpretq_s8_s32(vdupq_n_s32(four)));
            }
        }
}

INLINE NB_TARGET_DOTPROD void tile_i8(const nb__qtile *t, unsigned bits, size_t block,
                                      size_t stride, size_t first, size_t rows) {
    float32x4_t y[MAX_ROWS * QUARTERS];
    int32x4_t acc[MAX_ROWS * QUARTERS], zero[QUARTERS];
    for (size_t i = 0; i < rows * QUARTERS; i++)
        y[i] = vdupq_n_f32(0);
    for (size_t blk = t->blk0; blk < t->blk1;) {
        size_t g = blk / t->l->group_blocks, end = nb_min((g + 1) * t->l->group_blocks, t->blk1);
        for (size_t h = 0; h < QUARTERS; h++)
            zero[h] = vsubq_s32(load_zeros(t, g, h), vdupq_n_s32(bits == 8 ? 128 : 0));
        if (t->offsets && blk == g * t->l->group_blocks)
            add_offsets(t, stride, first, rows, g, y);
        for (; blk < end; blk++) {
            for (size_t r = 0; r < rows; r++)
                for (size_t h = 0; h < QUARTERS; h++)
                    acc[r * QUARTERS + h] =
                        vmulq_n_s32(zero[h], t->minus_sum[blk * stride + first + r]);
            block_i8(t->panel + blk * t->l->block_bytes,
                     (const int8_t *)t->x + blk * block * stride + 4 * first, block, bits, stride,
                     rows, acc);
            for (size_t r = 0; r < rows; r++)
                for (size_t h = 0; h < QUARTERS; h++) {
                    float32x4_t v =
                        vmulq_f32(vcvtq_f32_s32(acc[r * QUARTERS + h]), load_scales(t, g, h));
                    y[r * QUARTERS + h] =
                        vfmaq_n_f32(y[r * QUARTERS + h], v, t->step[blk * stride + first + r]);
                }
        }
    }
    store_tile(t, first, rows, y);
}

static void quantize(const float *x, size_t block, size_t mr, int8_t *q, float *step,
                     int32_t *minus_sum) {
    nb__quantize_block(x, block, mr, q, step, minus_sum);
}

/* ---- the tables ---- */

#define TILE(kind, target, bits, mr)                                                               \
    target static void kind##_##bits##_##mr(const nb__qtile *t) {                                  \
        enum { ROWS = mr < MAX_ROWS ? mr : MAX_ROWS };                                             \
        for (size_t first = 0; first < mr; first += ROWS)                                          \
            tile_##kind(t, bits, t->l->block, mr, first, ROWS);                                    \
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

KIND(f32, NB_TARGET_NEON)
KIND(i8, NB_TARGET_DOTPROD)

const nb__qisa nb__qgemm_neon = {.one = {LINE(f32, 1), LINE(f32, 2), LINE(f32, 4), LINE(f32, 8)}};
const nb__qisa nb__qgemm_i8_dotprod = {
    .one = {LINE(i8, 1), LINE(i8, 2), LINE(i8, 4), LINE(i8, 8)},
    .quantize = quantize,
};

#endif
