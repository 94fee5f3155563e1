/* nibble: the packed weight, as inference backends see it.
 *
 * A weight is W[N,K] = (q - zero) * scale with codes q of `bits` bits. Along K the columns form groups of
 * `group_size` (the last one may be short); each row has a scale, and unless symmetric a zero point, per
 * group. With act-order, g_idx[k] names the group of column k; otherwise it is k / group_size.
 *
 * A packed weight is `nb_weight_packed_size` bytes in the layout of one device kind, in memory of the caller's.
 * On the CPU the layout is the same for every instruction set. It is not a file format: it may change between
 * versions of the library. */
#ifndef NIBBLE_PACKED_H
#define NIBBLE_PACKED_H

#include <stddef.h>
#include <nibble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nb_float_type { NB_FLOAT_F32 = 0, NB_FLOAT_F16 = 1, NB_FLOAT_BF16 = 2 } nb_float_type;

/* Describes a packed weight. Plain data, zero-initialise what is not used; copy it freely. */
typedef struct nb_weight_desc {
    size_t n;                 /* output rows, 0 and more */
    size_t k;                 /* input columns, 1 and more; need be a multiple of nothing */
    unsigned bits;            /* 2, 3, 4 or 8 */
    size_t group_size;        /* 16..k, or k: one group a row, whatever k is */
    int symmetric;            /* nonzero: zero point is 2^(bits-1) everywhere and is not stored */
    int act_order;            /* nonzero: g_idx is not k / group_size */
    nb_float_type scale_type; /* in which type the scales are exact, and stored */
    int offsets;              /* nonzero: W = q * scale + offset with f32 offsets in place of zero points (Q4_1) */
} nb_weight_desc;

/* Where a weight comes from. All words are little-endian and need no alignment. */
typedef enum nb_weight_layout {
    /* codes u8 [n,k]; scales [n,groups]; zeros u8 [n,groups], or f32 [n,groups] with `offsets`; with act_order g_idx i32 [k]. */
    NB_LAYOUT_CANONICAL = 0,
    /* qweight i32 [words(k), n], qzeros i32 [groups, words(n)], scales [groups, n], g_idx i32 [k]; words(x) = ceil(x*bits/32), for
     * 3 bits 3*ceil(x/32). The first version stores zero - 1 (`checkpoint_format` "gptq"; subtracted from
     * whole words, for 3 bits from each field), the second zero ("gptq_v2"). */
    NB_LAYOUT_GPTQ_V1 = 1,
    NB_LAYOUT_GPTQ_V2 = 2,
    /* AWQ GEMM, 4 bits: qweight i32 [k, n/8], qzeros i32 [groups, n/8], scales [groups, n]; n is a multiple of 8. */
    NB_LAYOUT_AWQ = 3,
    /* compressed-tensors pack-quantized: weight_packed i32 [n, ceil(k/pf)], weight_zero_point i32 [ceil(n/pf), groups],
     * weight_scale [n, groups] or one for all, weight_g_idx i32 [k]; pf = floor(32 / bits). */
    NB_LAYOUT_COMPRESSED_TENSORS = 4,
    /* GGUF blocks [n, k/32] in `codes`, groups of 32, f16 scales inside: Q4_0 and Q8_0 (8 bits) are symmetric, Q4_1 has
     * offsets. */
    NB_LAYOUT_GGUF_Q4_0 = 5,
    NB_LAYOUT_GGUF_Q4_1 = 6,
    NB_LAYOUT_GGUF_Q8_0 = 7
} nb_weight_layout;

/* The buffers of a source with their sizes in bytes, which are checked. Buffers that a layout does not have, and zeros of a
 * symmetric weight, are not read. */
typedef struct nb_weight_source {
    nb_weight_layout layout;
    nb_float_type scale_type; /* of `scales`: the type of the description, unless that is f32 */
    const void *codes, *scales, *zeros, *g_idx;
    size_t codes_bytes, scales_bytes, zeros_bytes, g_idx_bytes;
} nb_weight_source;

#ifdef __cplusplus
}
#endif
#endif
