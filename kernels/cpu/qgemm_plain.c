/* Tiles in plain C, for every processor. */
#include <string.h>

#include "host/base/size.h"
#include "kernels/cpu/qgemm.h"

/* Unit u of a block, 64 codes: unit[4 * row + column]. */
static void unpack_unit(const unsigned char *block, unsigned bits, size_t u, uint8_t *unit) {
    size_t per = bits == 3 ? 4 : 8 / bits;
    unsigned width = bits == 3 ? 2 : bits, shift = width * (unsigned)(u % per),
             mask = (1u << width) - 1u;
    const unsigned char *p = block + u / per * 64;
    for (size_t i = 0; i < 64; i++)
        unit[i] = (uint8_t)(p[i] >> shift & mask);
    for (size_t i = 0; bits == 3 && i < 64; i++)
        unit[i] |= (uint8_t)((block[128 + i] >> u & 1u) << 2);
}

/* Scales of group g, and its zero points (0 where the weight has offsets). */
static void load_params(const nb__qtile *t, size_t g, float *scale, int32_t *zero) {
    const unsigned char *s = t->panel + t->l->scale_at + g * NB_PANEL * t->l->scale_bytes;
    nb_to_f32(t->scale_type, s, NB_PANEL, scale);
    for (size_t r = 0; r < NB_PANEL; r++)
        zero[r] = t->offsets     ? 0
                  : t->symmetric ? 1 << (t->bits - 1)
                                 : t->panel[t->l->zero_at + g * NB_PANEL + r];
}

/* c += offset * sum of the group's activations, once a group. */
static void add_offsets(const nb__qtile *t, size_t mr, size_t g, float *c) {
    const unsigned char *p = t->panel + t->l->zero_at + g * NB_PANEL * 4;
    for (size_t r = 0; r < NB_PANEL; r++) {
        float offset;
        memcpy(&offset, p + 4 * r, sizeof offset);
        for (size_t i = 0; i < mr; i++)
            c[i * t->ldc + r] += offset * t->group_sum[g * mr + i];
    }
}

/* Sums of one group's blocks in f32: acc[mr][16] += (q - zero) * x. */
static void block_f32(const nb__qtile *t, size_t mr, size_t blk, const int32_t *zero, float *acc) {
    const float *x = (const float *)t->x + blk * t->l->block * mr;
    const unsigned char *block = t->panel + blk * t->l->block_bytes;
    uint8_t unit[64];
    for (size_t u = 0; u < t->l->block / 4; u++) {
        unpack_unit(block, t->bits, u, unit);
        for (size_t j = 0; j < 4; j++)
            for (size_t i = 0; i < mr; i++)
                for (size_t r = 0; r < NB_PANEL; r++)
                    acc[i * NB_PANEL + r] +=
                        (float)(unit[4 * r + j] - zero[r]) * x[(4 * u + j) * mr + i];
    }
}

/* One block in integers: acc[mr][16] = sum of (q - zero) * xq. */
static void block_i8(const nb__qtile *t, size_t mr, size_t blk, const int32_t *zero, int32_t *acc) {
    const int8_t *x = (const int8_t *)t->x + blk * t->l->block * mr;
    const unsigned char *block = t->panel + blk * t->l->block_bytes;
    uint8_t unit[64];
    for (size_t i = 0; i < mr; i++)
        for (size_t r = 0; r < NB_PANEL; r++)
            acc[i * NB_PANEL + r] = zero[r] * t->minus_sum[blk * mr + i];
    for (size_t u = 0; u < t->l->block / 4; u++) {
        unpack_unit(block, t->bits, u, unit);
        for (size_t i = 0; i < mr; i++)
            for (size_t r = 0; r < NB_PANEL; r++)
                for (size_t j = 0; j < 4; j++)
                    acc[i * NB_PANEL + r] += unit[4 * r + j] * x[(u * mr + i) * 4 + j];
    }
}

static void tile(const nb__qtile *t, size_t mr, bool i8) {
    float scale[NB_PANEL], acc[NB_QMR * NB_PANEL];
    int32_t zero[NB_PANEL], iacc[NB_QMR * NB_PANEL];
    for (size_t i = 0; i < mr && !t->load; i++)
        memset(t->c + i * t->ldc, 0, NB_PANEL * sizeof(float));
    for (size_t blk = t->blk0; blk < t->blk1;) {
        size_t g = blk / t->l->group_blocks, end = nb_min((g + 1) * t->l->group_blocks, t->blk1);
        load_params(t, g, scale, zero);
        if (t->offsets && blk == g * t->l->group_blocks)
            add_offsets(t, mr, g, t->c);
        memset(acc, 0, sizeof acc);
        for (; blk < end; blk++) {
            if (!i8) {
                block_f32(t, mr, blk, zero, acc);
                continue;
            }
            block_i8(t, mr, blk, zero, iacc);
            for (size_t i = 0; i < mr; i++)
                for (size_t r = 0; r < NB_PANEL; r++)
                    acc[i * NB_PANEL + r] += (float)iacc[i * NB_PANEL + r] * t->step[blk * mr + i];
        }
        for (size_t i = 0; i < mr; i++)
            for (size_t r = 0; r < NB_PANEL; r++)
                t->c[i * t->ldc + r] += scale[r] * acc[i * NB_PANEL + r];
    }
}

static void f32_1(const nb__qtile *t) {
    tile(t, 1, false);
}
static void f32_2(const nb__qtile *t) {
    tile(t, 2, false);
}
static void f32_4(const nb__qtile *t) {
    tile(t, 4, false);
}
static void f32_8(const nb__qtile *t) {
    tile(t, 8, false);
}
static void i8_1(const nb__qtile *t) {
    tile(t, 1, true);
}
static void i8_2(const nb__qtile *t) {
    tile(t, 2, true);
}
static void i8_4(const nb__qtile *t) {
    tile(t, 4, true);
}
static void i8_8(const nb__qtile *t) {
    tile(t, 8, true);
}

static void quantize(const float *x, size_t block, size_t mr, int8_t *q, float *step,
                     int32_t *minus_sum) {
    nb__quantize_block(x, block, mr, q, step, minus_sum);
}

const nb__qisa nb__qgemm_plain = {
    .one = {{f32_1, f32_1, f32_1, f32_1},
            {f32_2, f32_2, f32_2, f32_2},
            {f32_4, f32_4, f32_4, f32_4},
            {f32_8, f32_8, f32_8, f32_8}},
};
const nb__qisa nb__qgemm_i8_plain = {
    .one = {{i8_1, i8_1, i8_1, i8_1},
            {i8_2, i8_2, i8_2, i8_2},
            {i8_4, i8_4, i8_4, i8_4},
            {i8_8, i8_8, i8_8, i8_8}},
    .quantize = quantize,
};
