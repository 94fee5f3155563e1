/* Packed dequant-GEMM: Y[m,n] = X[m,k] * W[n,k]^T + bias[n] (+ Y). Weights stand as kernels/cpu/qlayout.h says: panels of 16
 * rows, whose codes are vectors of 16 words, a word (4 bytes) of each row. Activations are prepared once: put in the packed
 * order of columns, x[kp][MR] for each row panel of MR rows, as f32 or rounded to 8 bits by blocks of columns.
 *
 * Built by -D:
 *   BITS   2, 3, 4, 8; or 0: the kernels that prepare activations, which are the same for all widths
 *   SLICES qgemm_lanes: parts into which a work-group cuts K
 *   I8     1: activations are rounded to 8 bits
 *   X_HALF 1: activations are f16 and stay so until they are multiplied (rows that need NB_CL_FP16)
 * and by what the row needs: NB_CL_CPU gives qgemm_wide, else qgemm_lanes and qgemm_tile; with NB_CL_DOT the device multiplies
 * bytes; with NB_CL_SUBGROUP16 a panel's 16 rows are a sub-group, which shares what it reads of X.
 *
 * Here is what all kernels share. Those of row panels of MR = 1, 4 or 8 rows are in qgemm_panels.cl, which stands in the
 * program once for each: drivers spend most of a build on what does not depend on a program's size.
 *
 * Arithmetic is f32. Sums of 8-bit blocks are exact: integers, or floats below 2^24 (255 * 127 * 32 is 2^20). */
#pragma OPENCL FP_CONTRACT ON

#ifndef X_HALF
#define X_HALF 0
#endif
#if NB_CL_FP16 && X_HALF
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
typedef half x_float;
#else
typedef float x_float;
#endif

#if I8
#define FLUSH block /* columns after which sums take their step and scale */
#else
#define FLUSH span
#endif
#define INLINE static inline __attribute__((always_inline))
#define PANEL 16u
/* Codes as bit fields: 3 bits are brought to bytes first. */
#if BITS == 3
#define WIDTH 8
#else
#define WIDTH BITS
#endif
#define CODES (32u / WIDTH)      /* of a word */
#define PER (8u / WIDTH)         /* of a byte: code i of a word stands in byte i / PER and belongs to column COLUMN(i) */
#define COLUMN(i) (4u * ((i) % PER) + (i) / PER)
#define MASK ((1u << WIDTH) - 1u)

enum { TYPE_F32, TYPE_F16, TYPE_BF16 };
enum { FORM_SYMMETRIC, FORM_ZEROS, FORM_OFFSETS };

/* Arguments of a product, as host/backend/opencl_qgemm.c has them: the buffers, and all numbers in one struct. Some drivers copy
 * each argument of a launch by itself (PoCL: an allocation each), which costs a small product more than its work.
 * X_at: bytes from the start of the buffer X. span: columns of a full group, filled up to blocks. panel_bytes, scale_at, zero_at:
 * where codes, scales and zero points or offsets of a weight are. */
typedef struct product {
    ulong w_at, x_at, steps_at, sums_at, y_at, bias_at;
    ulong panel_bytes, scale_at, zero_at, ldy;
    uint n, groups, span, block, kp, scale_type, form, y_type, accumulate, row0, rows, unused;
} product;
#define PRODUCT_ARGS                                                                                                   \
    global char *w_base, global char *x_base, global char *steps_base, global char *sums_base, global char *y_base,    \
        global char *bias_base, product s
#define PRODUCT_NUMBERS                                                                                                \
    const ulong w_at = s.w_at, x_at = s.x_at, y_at = s.y_at, bias_at = s.bias_at, panel_bytes = s.panel_bytes,         \
                scale_at = s.scale_at, zero_at = s.zero_at, ldy = s.ldy;                                               \
    const uint n = s.n, groups = s.groups, span = s.span, block = s.block, kp = s.kp, scale_type = s.scale_type,       \
               form = s.form, y_type = s.y_type, accumulate = s.accumulate, row0 = s.row0, rows = s.rows;
#define STEPS ((global const float *)(steps_base + s.steps_at)) /* where I8 */
#define SUMS ((global const int *)(sums_base + s.sums_at))

INLINE float load_float(global const uchar *p, uint type, ulong i) {
    if (type == TYPE_F16)
        return vload_half(i, (global const half *)p);
    if (type == TYPE_BF16)
        return as_float((uint)((global const ushort *)p)[i] << 16);
    return ((global const float *)p)[i];
}

/* As the host's conversion: to nearest, ties to even; a NaN stays one. */
INLINE ushort to_bf16(float f) {
    uint u = as_uint(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (ushort)(u >> 16 | 0x40u);
    return (ushort)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

INLINE void store_float(global uchar *p, uint type, ulong i, float v, uint accumulate) {
    if (accumulate)
        v += load_float(p, type, i);
    if (type == TYPE_F16)
        vstore_half_rte(v, i, (global half *)p);
    else if (type == TYPE_BF16)
        ((global ushort *)p)[i] = to_bf16(v);
    else
        ((global float *)p)[i] = v;
}

/* ---- activations ---- */

/* What packs X: x_type [.., k], rows [row0, row0 + rows). map: u32 [kp], where act_order. */
#define PREPARE_ARGS                                                                                                   \
    BUF(x), ulong ldx, uint x_type, BUF(map), uint act_order, uint k, uint group, uint span, uint block, uint kp,      \
        uint row0, uint rows, BUF(out), BUF(steps), BUF(sums)

/* The value at packed column p of row `row` of this pass; 0 where there is none. */
INLINE float packed_value(global const uchar *x, ulong ldx, uint x_type, global const uint *map, uint act_order, uint k,
                   uint group, uint span, uint row0, uint rows, uint row, uint p) {
    uint g = p / span, off = p - g * span, j = off < group ? g * group + off : k;
    if (act_order)
        j = map[p];
    return row < rows && j < k ? load_float(x, x_type, (ulong)(row0 + row) * ldx + j) : 0.0f;
}

/* ---- a processor: a work-item is one or two panels, a row of W is a lane of its vectors ---- */

#if BITS && NB_CL_CPU
/* Codes become floats without a conversion: a code at bit b of a float's fraction, under the exponent of 2^(23 - b), is the
 * float 2^(23 - b) + q; less 2^(23 - b) + zero it is q - zero, exactly. With PLACES values of b a vector is shifted once
 * for so many codes. SETS of sums are under way for the latency of the sum. */
#define PLACES (MR == 8 ? 1u : BITS == 2 || BITS == 4 ? 4u : 2u)
#define SETS (MR >= 8 ? 1u : 8u / MR)
#define NR (MR == 8 ? 2u : 1u) /* panels of W that a work-item takes */

#define MAGIC(at) ((127u + 23u - (at)) << 23)

/* With one row of X the codes are read faster than a processor fetches them by itself: they are asked for so many bytes
 * ahead, across the end of a panel, as panels lie one after another. Processors have one address space. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_prefetch)
#define FETCH(p) __builtin_prefetch((const private void *)(size_t)((p) + 12288))
#endif
#endif
#ifndef FETCH
#define FETCH(p) (void)0
#endif

INLINE float16 load_scales(global const uchar *p, uint type) {
    if (type == TYPE_F16)
        return vload_half16(0, (global const half *)p);
    if (type == TYPE_BF16)
        return as_float16(convert_uint16(vload16(0, (global const ushort *)p)) << 16u);
    return vload16(0, (global const float *)p);
}

INLINE float16 load_zeros(global const uchar *p, uint form, uint g) {
    if (form == FORM_ZEROS)
        return convert_float16(vload16(0, p + (ulong)g * PANEL));
    return (float16)(form == FORM_OFFSETS ? 0.0f : (float)(1 << (BITS - 1)));
}

/* Vector `at` of a block's codes; with 3 bits unit `at` of a block of 32 columns, a code a byte. */
INLINE uint16 load_codes(global const uint *p, uint at) {
#if BITS == 3
    uint16 low = vload16(0, p + at / 4u * PANEL) >> (2u * (at % 4u)), high = vload16(0, p + 2u * PANEL);
    high = at >= 2u ? high >> (at - 2u) : high << (2u - at);
    return (low & 0x03030303u) | (high & 0x04040404u);
#else
    return vload16(0, p + at * PANEL);
#endif
}

/* A row of 16 results at columns [col, ..) of row `row`. */
INLINE void store_row(global uchar *y, uint type, ulong ldy, uint row, uint col, uint n, float16 v, global const float *bias,
               uint has_bias, uint accumulate) {
    ulong at = (ulong)row * ldy + col;
    uint cols = min(n - col, PANEL);
    if (type == TYPE_F32 && cols == PANEL) {
        global float *to = (global float *)y + at;
        if (has_bias)
            v += vload16(0, bias + col);
        vstore16(accumulate ? vload16(0, to) + v : v, 0, to);
        return;
    }
    float t[PANEL];
    vstore16(v, 0, t);
    for (uint j = 0; j < cols; j++)
        store_float(y, type, at + j, has_bias ? t[j] + bias[col + j] : t[j], accumulate);
}

#endif

/* ---- any device: a work-item is a row of W, 16 of them read 64 bytes at once ---- */

#if BITS && !NB_CL_CPU
#define COLS (BITS == 3 ? 32u : CODES) /* columns of a step: a word of codes, or three */
#define WORDS (BITS == 3 ? 3u : 1u)

INLINE float load_zero(global const uchar *p, uint form, ulong at) {
    return form == FORM_ZEROS ? (float)p[at] : form == FORM_OFFSETS ? 0.0f : (float)(1 << (BITS - 1));
}

/* Words of a step, which stand 16 words apart. */
typedef struct step_words {
    uint at[WORDS];
} step_words;

/* Unit u of a step: 4 columns of a row, a code a byte. */
INLINE uint unit_of(const step_words *v, uint u) {
#if BITS == 3
    uint low = v->at[u / 4u] >> (2u * (u % 4u)) & 0x03030303u;
    return low | (u >= 2u ? v->at[2] >> (u - 2u) : v->at[2] << (2u - u)) & 0x04040404u;
#elif BITS == 8
    return v->at[0];
#else
    return v->at[0] >> (BITS * u) & (0x01010101u * MASK);
#endif
}

#if I8
/* sum + the product of 4 codes (unsigned) and 4 activations (signed). */
INLINE int dot4(uint q, uint x, int sum) {
#if NB_CL_DOT
    return sum + dot_4x8packed_us_int(q, x);
#else
    uchar4 a = as_uchar4(q);
    char4 b = as_char4(x);
    return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
#endif
}
#endif

/* Value i of a step's x[COLS][MR]: read, or from the lane of the sub-group that holds it. */
#if NB_CL_SUBGROUP16
#define HELD ((COLS * MR + PANEL - 1) / PANEL)
#define X_OF(i) sub_group_broadcast(held[(i) / PANEL], (i) % PANEL)
#define LANES_KERNEL __attribute__((intel_reqd_sub_group_size(16))) kernel
#else
#define X_OF(i) xs[i]
#define LANES_KERNEL kernel
#endif
#endif
