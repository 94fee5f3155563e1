/* Packed dequant-GEMM on the CPU: what its driver and its instruction sets share.
 *
 * Activations are prepared once: converted to f32 (or rounded to 8 bits), put in the packed order
 * of columns, and interleaved by row panels of mr = 1, 2, 4 or 8 rows. A tile is mr rows of X by
 * one or two panels of W, over a range of blocks; weights are unpacked in registers, so GEMV and
 * GEMM read the same bytes, and a weight is never in memory as floats. Work is cut by shape alone
 * and sums run in a fixed order: bits do not depend on the number of threads. */
#ifndef NB_KERNELS_CPU_QGEMM_H
#define NB_KERNELS_CPU_QGEMM_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/qlayout.h"

enum { NB_QMR = 8, NB_QNR = 2, NB_QNV = 3 };

/* One tile: c[r][16 * panel + row] += or = sum over blocks [blk0, blk1). */
typedef struct nb__qtile {
    const nb__qlayout *l;
    const unsigned char *panel; /* the first of nr panels, l->panel_bytes apart */
    size_t blk0, blk1;
    nb_dtype scale_type;
    bool symmetric, offsets;
    unsigned bits;
    /* Prepared activations of this row panel, from block 0. f32: x[kp][mr]. 8 bits: x[kp/4][mr][4],
     * with the step of each block and minus the sum of its 8-bit values, [blocks][mr]. */
    const void *x;
    const float *step;
    const int32_t *minus_sum;
    const float
        *group_sum; /* [groups][mr]: sum of the activations of a group; only where offsets */
    float *c;       /* [mr][ldc] */
    size_t ldc;
    bool load; /* add to c */
} nb__qtile;

typedef void nb__qtile_fn(const nb__qtile *t);

/* Tile functions by number of panels (1, 2), log2 of rows (1, 2, 4, 8) and width (2, 3, 4, 8 bits).
 * Two panels only with 8 rows; NULL where one panel at a time is as good. */
typedef struct nb__qisa {
    nb__qtile_fn *one[4][4];
    nb__qtile_fn *two[4];
    /* One row of X by NB_QNV panels; NULL where that gains nothing. */
    nb__qtile_fn *gemv[4];
    /* Rounds one block of `block` activations to 8 bits (below); NULL in a table for f32. */
    void (*quantize)(const float *x, size_t block, size_t mr, int8_t *q, float *step,
                     int32_t *minus_sum);
} nb__qisa;

static inline size_t nb__bits_index(unsigned bits) {
    return bits == 8 ? 3 : bits - 2;
}

extern const nb__qisa nb__qgemm_plain, nb__qgemm_avx2, nb__qgemm_avx512, nb__qgemm_neon;
extern const nb__qisa nb__qgemm_i8_plain, nb__qgemm_i8_avx2, nb__qgemm_i8_avx_vnni, nb__qgemm_i8_avx512_vnni,
    nb__qgemm_i8_dotprod;

/* Bytes of workspace for m rows on `workers` threads; false where that overflows or w is out of its
 * domain. */
bool nb__cpu_qgemm_workspace(const nb_qweight *w, size_t m, bool i8, unsigned workers, size_t *out);

nb_status nb__qgemm_run(nb_pool *pool, const nb__qisa *isa, const struct nb_qgemm_args *a, bool i8,
                        nb_err *err);

/* Step of a block whose largest activation has these bits (sign cleared), and its inverse: 0 where
 * the block counts as zero or is not finite. */
static inline float nb__quantize_step(int32_t max_bits, float *step) {
    union {
        int32_t i;
        float f;
    } max = {max_bits}, nan = {0x7fc00000};
    if (max_bits >= 0x7f800000) {
        *step = nan.f;
        return 0.0f;
    }
    *step = max.f >= 0x1p-100f ? max.f / 127.0f : 0.0f;
    return max.f >= 0x1p-100f ? 127.0f / max.f : 0.0f;
}

/* One block of activations to 8 bits, as nb_qgemm_i8_args says. q[u][mr][4] is written for one row:
 * q points at its 4 bytes of the first unit. Every instruction set gives the same bytes. */
static inline __attribute__((always_inline)) void nb__quantize_block(const float *x, size_t block,
                                                                     size_t mr, int8_t *q,
                                                                     float *step,
                                                                     int32_t *minus_sum) {
    union {
        float f;
        int32_t i;
    } t[32];
    int32_t max = 0, sum = 0;
    for (size_t j = 0; j < block; j++) {
        t[j].f = x[j];
        int32_t a = t[j].i & 0x7fffffff;
        max = a > max ? a : max;
    }
    float inverse = nb__quantize_step(max, step);
    int8_t b[32];
    for (size_t j = 0; j < block; j++) {
        /* Adding 1.5 * 2^23 rounds to an integer, half to even, and leaves it in the low bits. */
        t[j].f = inverse > 0.0f ? t[j].f * inverse + 12582912.0f : 12582912.0f;
        int32_t i = t[j].i - 0x4b400000;
        b[j] = (int8_t)i;
        sum -= i;
    }
    *minus_sum = sum;
    for (size_t u = 0; u < block / 4; u++)
        for (size_t c = 0; c < 4; c++)
            q[u * mr * 4 + c] = b[4 * u + c];
}

#endif
