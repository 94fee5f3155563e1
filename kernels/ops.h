/* Arguments of each operation. Matrices are row-major; a leading dimension (ld*) is the distance of rows in elements
 * and at least the row's length. [n, k] names shape; f32 is IEEE binary32. Buffers may not overlap unless said.
 * Optional buffers are absent where base is NULL. */
#ifndef NB_OPS_H
#define NB_OPS_H

#include <stdbool.h>
#include "host/tensor/dtype.h"

/* A place in a device's memory: host pointer, CUdeviceptr or cl_mem, plus a byte offset. A plain value. */
typedef struct nb_mem {
    void *base;
    size_t offset;
    size_t bytes; /* from offset to the end of the buffer; 0 where not known */
} nb_mem;

static inline nb_mem nb_mem_at(nb_mem mem, size_t bytes) {
    mem.offset += bytes;
    mem.bytes = mem.bytes > bytes ? mem.bytes - bytes : 0;
    return mem;
}

/* Host memory as an nb_mem of the CPU backend, and back. */
static inline nb_mem nb_mem_host(const void *p, size_t bytes) {
    return (nb_mem){.base = (void *)(uintptr_t)p, .offset = 0, .bytes = bytes};
}
static inline void *nb_host(nb_mem mem) {
    return mem.base ? (char *)mem.base + mem.offset : NULL;
}
static inline float *nb_host_f32(nb_mem mem) {
    return nb_host(mem);
}

/* ---- dense ---- */

/* C[m,n] = alpha * op(A) * op(B) + beta * C. op(A) is [m,k]: A is stored [m,k], or [k,m] where trans_a; op(B) is
 * [k,n]: B is stored [k,n], or [n,k] where trans_b. beta == 0 does not read C. `lower`: only tiles that touch the lower
 * triangle (column <= row) need be computed; what stands above it is then unspecified (m == n). */
struct nb_matmul_args {
    size_t m, n, k;
    nb_mem a, b, c; /* f32 */
    size_t lda, ldb, ldc;
    bool trans_a, trans_b, lower;
    float alpha, beta;
};

/* Y[m,n] = X[m,k] * W[n,k]^T + bias[n] (+ Y where accumulate). W's rows are whole blocks of w_type, any type that
 * nb_to_f32 reads, and are converted to f32 on the way (exactly, as nb_to_f32 does). */
struct nb_linear_args {
    size_t m, n, k;
    nb_mem x; /* f32 [m,k] */
    nb_mem w; /* w_type [n,k] */
    nb_mem bias; /* f32 [n], optional */
    nb_mem y; /* f32 [m,n] */
    size_t ldx, ldy;
    nb_dtype w_type;
    bool accumulate;
};

/* ---- quantization ----
 * Bit-equal on all backends: no fused multiply-add, correctly rounded division, rounding half to even. */

/* Scale and zero point of each group of `group` columns of W[n,k] by the range of its values, 0 included:
 *   symmetric: scale = 2a / (2^bits - 1), a = max|w|, zero = 2^(bits-1);
 *   else:      scale = (max - min) / (2^bits - 1), zero = round(-min / scale) clamped to the codes.
 * A group of zeros takes min = -1, max = 1. scale is rounded to scale_type before it is used (GPTQ grid, AutoGPTQ
 * quantizer.py, with its one-sided symmetric case mended); one that rounds to 0 becomes the type's least normal. */
struct nb_group_range_args {
    size_t n, k, group;
    nb_mem w; /* f32 [n,k] */
    size_t ldw;
    unsigned bits;
    bool symmetric;
    nb_dtype scale_type;
    nb_mem scales, zeros; /* out, f32 [n, ceil(k/group)] */
};

/* codes[i][j] = clamp(round(w / scale) + zero, 0, 2^bits - 1), scale and zero of group g_idx[j] or j / group. */
struct nb_rtn_args {
    size_t n, k, group;
    nb_mem w; /* f32 [n,k] */
    size_t ldw;
    unsigned bits;
    nb_mem scales, zeros; /* f32 [n, ceil(k/group)] */
    nb_mem g_idx;         /* u32 [k], optional */
    nb_mem codes;         /* out, u8 [n,k] */
};

/* W[i][j] = (codes[i][j] - zero) * scale. */
struct nb_dequant_args {
    size_t n, k, group;
    nb_mem codes; /* u8 [n,k] */
    nb_mem scales, zeros; /* f32 [n, ceil(k/group)] */
    nb_mem g_idx;         /* u32 [k], optional */
    nb_mem w;             /* out, f32 [n,k] */
    size_t ldw;
};

/* ---- forward ---- */

/* ---- packed inference ---- */

/* A packed weight W[n,k] in a backend's own layout (CPU: cpu/qlayout.h). Values are (q - zero) * scale, or
 * q * scale + offset where `offsets` (Q4_1). Data is as the backend's packer wrote it. */
typedef struct nb_qweight {
    size_t n, k, group; /* group in 1..k */
    unsigned bits;      /* 2, 3, 4 or 8 */
    bool symmetric;     /* zero = 2^(bits-1), not stored */
    bool offsets;       /* instead of zeros: f32 offsets */
    bool act_order;     /* columns are stored in the order of their groups; data holds the map */
    nb_dtype scale_type; /* NB_F16, NB_BF16 or NB_F32 */
    nb_mem data;
} nb_qweight;

/* Y[m,n] = X[m,k] * W[n,k]^T + bias[n] (+ Y where accumulate). X and Y are NB_F32, NB_F16 or NB_BF16. Arithmetic is f32
 * (GPU rows may round weights to f16, see their error models). The workspace is the caller's, of the size that the
 * backend asks for, 64-byte aligned. */
struct nb_qgemm_args {
    size_t m;
    nb_qweight w;
    nb_mem x; /* x_type [m,k] */
    nb_mem y; /* y_type [m,n] */
    nb_mem bias; /* f32 [n], optional */
    nb_mem workspace;
    size_t ldx, ldy;
    nb_dtype x_type, y_type;
    bool accumulate;
};

/* The same with X rounded to 8 bits by blocks of columns: step = max|x| / 127 of the block, 127 steps each way. A block
 * whose largest value is below 2^-100 counts as zero; one with NaN or infinity makes its row of Y NaN. */
struct nb_qgemm_i8_args {
    struct nb_qgemm_args g;
};

#endif
