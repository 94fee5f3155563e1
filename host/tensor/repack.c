#include "host/tensor/repack.h"

#include <string.h>

#include "host/base/size.h"
#include "host/tensor/dtype.h"
#include "kernels/layout.h"

/* ---- words ---- */

static uint32_t word_at(const void *base, size_t index) {
    const uint8_t *p = (const uint8_t *)base + 4 * index;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static float float_at(nb_float_type type, const void *base, size_t index) {
    const uint8_t *p = (const uint8_t *)base + index * (type == NB_FLOAT_F32 ? 4 : 2);
    float f;
    uint32_t word;
    if (type == NB_FLOAT_F32) {
        word = word_at(base, index);
        memcpy(&f, &word, sizeof f);
        return f;
    }
    uint16_t h = (uint16_t)(p[0] | p[1] << 8);
    return type == NB_FLOAT_F16 ? nb_f16_to_f32(h) : nb_bf16_to_f32(h);
}

/* Code i of a bit stream whose words are `stride` words apart. */
static unsigned stream_code(const void *base, size_t first, size_t stride, size_t i,
                            unsigned bits) {
    size_t bit = i * bits, at = first + bit / 32 * stride;
    unsigned shift = (unsigned)(bit % 32);
    uint32_t v = word_at(base, at) >> shift;
    if (shift + bits > 32)
        v |= word_at(base, at + stride) << (32 - shift);
    return v & ((1u << bits) - 1u);
}

/* ---- sizes ---- */

size_t nb_repack_groups(const nb_weight_desc *d) {
    return nb_ceil_div(d->k, d->group_size);
}

/* 32-bit words of a bit stream of `count` codes; 3 bits come in threes of words. */
static size_t stream_words(size_t count, unsigned bits) {
    return bits == 3 ? nb_ceil_div(count, 32) * 3 : nb_ceil_div(count, 32 / bits);
}

static nb_status need(const char *what, const void *p, size_t found, size_t a, size_t b,
                      size_t bytes, nb_err *err) {
    size_t want;
    if (!nb_mul3(a, b, bytes, &want))
        return nb_fail_memory(err, SIZE_MAX, what);
    if (want && !p)
        return nb_fail_at(err, NB_E_INPUT, NULL, what, "is missing, expected %zu bytes", want);
    if (found < want)
        return nb_fail_at(err, NB_E_INPUT, NULL, what, "has %zu bytes, expected %zu", found, want);
    return NB_OK;
}

static nb_status check_gguf(const nb_weight_desc *d, const nb_weight_source *s, nb_err *err) {
    unsigned bits = s->layout == NB_LAYOUT_GGUF_Q8_0 ? 8 : 4;
    bool offsets = s->layout == NB_LAYOUT_GGUF_Q4_1;
    size_t block = bits == 8 ? 34 : offsets ? 20 : 18;
    if (d->bits != bits || d->group_size != 32 || d->k % 32 || !d->offsets != !offsets ||
        (!offsets && !d->symmetric) || d->act_order)
        return nb_fail(err, NB_E_USAGE,
                       "this GGUF type has %u bits, groups of 32 that fill the row, and %s", bits,
                       offsets ? "offsets" : "is symmetric");
    if (d->scale_type == NB_FLOAT_BF16)
        return nb_fail(err, NB_E_USAGE, "scales of a GGUF block are f16, not exact in bf16");
    return need("blocks", s->codes, s->codes_bytes, d->n, d->k / 32, block, err);
}

static nb_status check_words(const nb_weight_desc *d, const nb_weight_source *s, nb_err *err) {
    size_t g = nb_repack_groups(d), pf = 32 / d->bits,
           scale = s->scale_type == NB_FLOAT_F32 ? 4 : 2;
    if (d->offsets)
        return nb_fail(err, NB_E_USAGE, "this layout has zero points, not offsets");
    if (s->layout == NB_LAYOUT_AWQ && (d->bits != 4 || d->n % 8 || d->act_order))
        return nb_fail(
            err, NB_E_USAGE,
            "AWQ has 4 bits, rows in eights and no act-order, found %u bits and %zu rows", d->bits,
            d->n);
    if (s->layout == NB_LAYOUT_AWQ)
        NB_TRY(need("qweight", s->codes, s->codes_bytes, d->k, d->n / 8, 4, err));
    else if (s->layout == NB_LAYOUT_COMPRESSED_TENSORS)
        NB_TRY(
            need("weight_packed", s->codes, s->codes_bytes, d->n, nb_ceil_div(d->k, pf), 4, err));
    else
        NB_TRY(
            need("qweight", s->codes, s->codes_bytes, stream_words(d->k, d->bits), d->n, 4, err));
    bool one_scale = s->layout == NB_LAYOUT_COMPRESSED_TENSORS && s->scales_bytes == scale;
    NB_TRY(need("scales", s->scales, s->scales_bytes, one_scale ? 1 : g, one_scale ? 1 : d->n,
                scale, err));
    if (d->symmetric)
        return NB_OK;
    if (s->layout == NB_LAYOUT_AWQ)
        return need("qzeros", s->zeros, s->zeros_bytes, g, d->n / 8, 4, err);
    if (s->layout == NB_LAYOUT_COMPRESSED_TENSORS)
        return need("weight_zero_point", s->zeros, s->zeros_bytes, nb_ceil_div(d->n, pf), g, 4,
                    err);
    return need("qzeros", s->zeros, s->zeros_bytes, g, stream_words(d->n, d->bits), 4, err);
}

static nb_status check_canonical(const nb_weight_desc *d, const nb_weight_source *s, nb_err *err) {
    size_t g = nb_repack_groups(d);
    NB_TRY(need("codes", s->codes, s->codes_bytes, d->n, d->k, 1, err));
    NB_TRY(need("scales", s->scales, s->scales_bytes, d->n, g,
                s->scale_type == NB_FLOAT_F32 ? 4 : 2, err));
    if (d->offsets)
        return need("offsets", s->zeros, s->zeros_bytes, d->n, g, 4, err);
    return d->symmetric ? NB_OK : need("zeros", s->zeros, s->zeros_bytes, d->n, g, 1, err);
}

nb_status nb_repack_check(const nb_weight_desc *d, const nb_weight_source *s, nb_err *err) {
    if (s->layout > NB_LAYOUT_GGUF_Q8_0)
        return nb_fail(err, NB_E_USAGE, "layout %u is not known", (unsigned)s->layout);
    bool gguf = s->layout >= NB_LAYOUT_GGUF_Q4_0;
    if (gguf)
        return check_gguf(d, s, err);
    if ((unsigned)s->scale_type > NB_FLOAT_BF16)
        return nb_fail(err, NB_E_USAGE, "type of scales %u, expected 0 to %d", (unsigned)s->scale_type, NB_FLOAT_BF16);
    if (d->scale_type != NB_FLOAT_F32 && d->scale_type != s->scale_type)
        return nb_fail(err, NB_E_USAGE, "scales of the source are not exact in the packed type");
    if (d->act_order)
        NB_TRY(need("g_idx", s->g_idx, s->g_idx_bytes, d->k, 1, 4, err));
    return s->layout == NB_LAYOUT_CANONICAL ? check_canonical(d, s, err) : check_words(d, s, err);
}

/* ---- rows ---- */

static void gguf_row(const nb_weight_desc *d, const nb_weight_source *s, size_t row, uint8_t *codes,
                     float *scales, float *offsets) {
    bool q8 = s->layout == NB_LAYOUT_GGUF_Q8_0, q41 = s->layout == NB_LAYOUT_GGUF_Q4_1;
    size_t bytes = q8 ? 34 : q41 ? 20 : 18, head = q41 ? 4 : 2, blocks = d->k / 32;
    const uint8_t *p = (const uint8_t *)s->codes + row * blocks * bytes;
    for (size_t b = 0; b < blocks; b++, p += bytes, codes += 32) {
        scales[b] = float_at(NB_FLOAT_F16, p, 0);
        if (q41)
            offsets[b] = float_at(NB_FLOAT_F16, p, 1);
        for (size_t j = 0; j < (q8 ? 32u : 16u); j++) {
            codes[j] = q8 ? (uint8_t)(p[head + j] ^ 0x80u) : p[head + j] & 15u; /* i8 + 128 */
            if (!q8)
                codes[j + 16] = (uint8_t)(p[head + j] >> 4);
        }
    }
}

static void word_codes(const nb_weight_desc *d, const nb_weight_source *s, size_t row, size_t rows,
                       uint8_t *codes) {
    size_t k = d->k, pf = 32 / d->bits;
    unsigned mask = (1u << d->bits) - 1u;
    for (size_t r = 0; r < rows && s->layout == NB_LAYOUT_COMPRESSED_TENSORS; r++)
        for (size_t j = 0; j < k; j++)
            codes[r * k + j] =
                (uint8_t)(word_at(s->codes, (row + r) * nb_ceil_div(k, pf) + j / pf) >>
                              d->bits * (j % pf) &
                          mask);
    /* The others hold neighbouring rows side by side. */
    for (size_t j = 0; j < k && s->layout == NB_LAYOUT_AWQ; j++)
        for (size_t r = 0; r < rows; r++) {
            size_t n = row + r;
            uint32_t word = word_at(s->codes, j * (d->n / 8) + n / 8);
            codes[r * k + j] = (uint8_t)(word >> 4 * nb_awq_nibble((nb_u32)(n % 8)) & 15u);
        }
    for (size_t j = 0; j < k && (s->layout == NB_LAYOUT_GPTQ_V1 || s->layout == NB_LAYOUT_GPTQ_V2);
         j++)
        for (size_t r = 0; r < rows; r++)
            codes[r * k + j] = (uint8_t)stream_code(s->codes, row + r, d->n, j, d->bits);
}

uint32_t nb_gptq_ones(unsigned bits) {
    static const uint32_t ones[9] = {[2] = 0x55555555u, [4] = 0x11111111u, [8] = 0x01010101u};
    return ones[bits];
}

/* Zero point n of a group that begins at word `first`. The first version stores zero - 1, subtracted from whole words (from each field
 * where there are 3 bits): adding it back likewise is exact also where a zero point of 0 has borrowed from its neighbour. */
static unsigned gptq_zero(const nb_weight_desc *d, const nb_weight_source *s, size_t first, size_t n) {
    unsigned bits = d->bits, mask = (1u << bits) - 1u, v1 = s->layout == NB_LAYOUT_GPTQ_V1;
    if (bits == 3)
        return (stream_code(s->zeros, first, 1, n, bits) + v1) & mask;
    return (word_at(s->zeros, first + n / (32 / bits)) + v1 * nb_gptq_ones(bits)) >> n % (32 / bits) * bits & mask;
}

static float zero_at(const nb_weight_desc *d, const nb_weight_source *s, size_t n, size_t g) {
    size_t pf = 32 / d->bits, groups = nb_repack_groups(d);
    switch (s->layout) {
    case NB_LAYOUT_AWQ:
        return (float)(word_at(s->zeros, g * (d->n / 8) + n / 8) >>
                           4 * nb_awq_nibble((nb_u32)(n % 8)) &
                       15u);
    case NB_LAYOUT_COMPRESSED_TENSORS:
        return (float)(word_at(s->zeros, n / pf * groups + g) >> d->bits * (n % pf) &
                       ((1u << d->bits) - 1u));
    case NB_LAYOUT_CANONICAL:
        return d->offsets ? float_at(NB_FLOAT_F32, s->zeros, n * groups + g)
                          : (float)((const uint8_t *)s->zeros)[n * groups + g];
    default:
        return (float)gptq_zero(d, s, g * stream_words(d->n, d->bits), n);
    }
}

bool nb_repack_rows(const nb_weight_desc *d, const nb_weight_source *s, size_t row, size_t rows,
                    uint8_t *codes, float *scales, float *zeros) {
    size_t groups = nb_repack_groups(d);
    if (s->layout >= NB_LAYOUT_GGUF_Q4_0) {
        for (size_t r = 0; r < rows; r++)
            gguf_row(d, s, row + r, codes + r * d->k, scales + r * groups, zeros + r * groups);
        return true;
    }
    if (s->layout == NB_LAYOUT_CANONICAL)
        memcpy(codes, (const uint8_t *)s->codes + row * d->k, rows * d->k);
    else
        word_codes(d, s, row, rows, codes);
    bool by_row = s->layout == NB_LAYOUT_CANONICAL || s->layout == NB_LAYOUT_COMPRESSED_TENSORS;
    bool one = s->layout == NB_LAYOUT_COMPRESSED_TENSORS &&
               s->scales_bytes == (s->scale_type == NB_FLOAT_F32 ? 4 : 2);
    bool ok = true;
    for (size_t r = 0; r < rows; r++)
        for (size_t g = 0; g < groups; g++) {
            size_t n = row + r, at = r * groups + g;
            scales[at] = float_at(s->scale_type, s->scales,
                                  one      ? 0
                                  : by_row ? n * groups + g
                                           : g * d->n + n);
            if (d->symmetric)
                continue;
            zeros[at] = zero_at(d, s, n, g);
            ok = ok && (d->offsets || zeros[at] <= 255.0f);
        }
    return ok;
}
