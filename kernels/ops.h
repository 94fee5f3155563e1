/* Arguments of each operation. Matrices are row-major; a leading dimension (ld*) is the distance of rows in elements
 * and at least the row's length. [n, k] names shape; f32 is IEEE binary32. Buffers may not overlap unless said.
 * Optional buffers are absent where base is NULL. Data is aligned to its elements, not to more. Where there are no rows or no
 * columns there is nothing to do, and that is fine. What lies between the rows of a matrix is neither used nor written. */
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

/* The same by search: of these pairs, in this order, the first of the least error sum_j h_j (w_j - c_j scale)^2 over the
 * group's columns, c = clamp(round(w (1 / scale)), -zero, 2^bits - 1 - zero), every operation rounded, sums in rising j:
 *   the pair of group_range;
 *   symmetric: scale = (232 - 3 i) / 200 a / 2^(bits-1), i = 0..35, the same zero; and where `either_sign` these scales negated,
 *   so that the side of zero with one code more may be either;
 *   else: scale = p (max - min) / (2^bits - 1), p = (52 - i) / 50, i = 0..25; with each, z = round(-(p min) / scale),
 *     z - 1, z + 1, and round(-(min + (1 - p) / 2 (max - min)) / scale), clamped to the codes.
 * min and max include 0. Scales are rounded to scale_type before they are used. h_j = H[j][j], or 1 where h is absent. */
struct nb_group_search_args {
    size_t n, k, group;
    nb_mem w; /* f32 [n,k] */
    size_t ldw;
    nb_mem h; /* f32 [k,k], optional; only the diagonal is read */
    size_t ldh;
    unsigned bits;
    bool symmetric, either_sign;
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

/* Error of codes: error[i] = sum_j (w[i][j] - (codes[i][j] - zero) * scale)^2, each difference in f32, the sum in f64. */
struct nb_quant_error_args {
    size_t n, k, group;
    nb_mem w; /* f32 [n,k] */
    size_t ldw;
    nb_mem codes;         /* u8 [n,k] */
    nb_mem scales, zeros; /* f32 [n, ceil(k/group)] */
    nb_mem g_idx;         /* u32 [k], optional */
    nb_mem error;         /* out, f32 [n] */
};

/* ---- quantization: GPTQ (arXiv 2210.17323) ----
 * Columns are visited in an order perm[k]: position p holds column perm[p]. The solver works on the transposed weight
 * Wt[k,n], whose row p is column perm[p] of W: what is done to one column is then contiguous, and rows of W, which do not
 * depend on each other, are lanes of a vector or threads of a warp. */

/* H[k,k] += scale * X^T X, lower triangle only (column <= row); what stands above it is unspecified until a call with
 * `mirror`, which copies the lower triangle up after it has added. `rows` may be 0 with mirror. Each call adds chunks
 * of at most 256 rows, each an f32 sum s_c of products in rising order, to H in f32:
 *   |error| <= (min(rows, 256) + ceil(rows/256) + 2) u * (|H before| + scale * |X|^T |X|), u = 2^-24, to first order. */
struct nb_hessian_args {
    size_t rows, k;
    nb_mem x; /* f32 [rows,k] */
    size_t ldx;
    nb_mem h; /* f32 [k,k] */
    size_t ldh;
    float scale;
    bool mirror;
};

/* What the steps of GPTQ report from the device: one struct, 20 bytes. */
struct nb_gptq_status {
    uint32_t dead;        /* columns with H[j][j] == 0 */
    uint32_t bad_hessian; /* elements of H that are NaN or infinite, or negative on the diagonal */
    uint32_t bad_weight;  /* elements of W that are NaN or infinite */
    uint32_t pivot;       /* 1 + position of the first pivot that is not positive, 0 where all are */
    float mean;           /* of the diagonal over columns that are not dead; 1 where all are */
};

/* Looks at H and W before a solve: fills `status`, and sets W[:,j] = 0 in dead columns j. mean is summed in f64. */
struct nb_hessian_check_args {
    size_t n, k;
    nb_mem h; /* f32 [k,k], all of it */
    size_t ldh;
    nb_mem w; /* f32 [n,k] */
    size_t ldw;
    nb_mem status; /* out, struct nb_gptq_status; pivot = 0 */
};

/* The visiting order that `order` (nb_column_order) means, by the diagonal of H, ties by rising index:
 *   stored: as stored; act, act_static: by falling diagonal; group_aware: groups by their falling largest diagonal,
 *   columns by falling diagonal inside a group.
 * group_of[p] is the group of position p: p / group for act, else perm[p] / group. NaN counts as least. */
struct nb_column_order_args {
    size_t k, group;
    unsigned order;
    nb_mem h; /* f32 [k,k]; only the diagonal is read */
    size_t ldh;
    nb_mem perm, group_of; /* out, u32 [k] */
    nb_mem g_idx;          /* out, u32 [k], optional: group of each stored column */
};

/* F = J P (H + damp * mean * I) P^T J, lower triangle, zeros above; P puts columns in visiting order, J reverses it:
 * F[i][j] = H'[perm[k-1-i]][perm[k-1-j]] for j <= i. A dead column has H'[j][j] = mean (before damping): any positive
 * value will do, as nothing couples it to the others. Sets status->pivot = 0. */
struct nb_hessian_order_args {
    size_t k;
    nb_mem h; /* f32 [k,k], all of it */
    size_t ldh;
    nb_mem perm; /* u32 [k] */
    float damp;
    nb_mem f; /* out, f32 [k,k] */
    size_t ldf;
    nb_mem status; /* in: mean; out: pivot */
};

enum { NB_CHOL_BLOCK = 64 };

/* Of a symmetric block A[k,k], k <= NB_CHOL_BLOCK, given by its lower triangle: A = L L^T, A := L^-1 with zeros above the
 * diagonal. In f64, rounded to f32 once at the end. A pivot that is not positive makes A the identity and, where
 * status->pivot is 0, sets it to 1 + base + its index. */
struct nb_chol_inverse_args {
    size_t k, base;
    nb_mem a; /* in and out, f32 [k,k] */
    size_t lda;
    nb_mem status; /* struct nb_gptq_status */
};

/* dst = src [rows,cols], or zeros where src is absent. */
struct nb_copy_matrix_args {
    size_t rows, cols;
    nb_mem src, dst; /* f32 */
    size_t lds, ldd;
};

/* Reverses the order of `count` f32 in place. A lower triangular matrix with ld = k becomes J A J, upper triangular. */
struct nb_reverse_args {
    size_t count;
    nb_mem a;
};

/* Transposes src [rows,cols] and permutes: dst[c][r] = src[r][from[c]], or dst[c][to[r]] = src[r][c]; at most one of from
 * [cols], to [rows] (u32, each a permutation) is given. */
struct nb_transpose_args {
    size_t rows, cols;
    unsigned elem; /* bytes of an element: 1 or 4 */
    nb_mem src, dst;
    size_t lds, ldd;
    nb_mem from, to;
};

/* GPTQ's step over positions first .. first + cols - 1. For each position p in rising order, and each row i of W:
 *   where p begins a group (group_of[p] != group_of[p-1], or p == 0), unless static_params: scale and zero of row i by
 *     the range of the group's weights as they stand, by the rule of struct nb_group_range_args, or where h is given by
 *     that of struct nb_group_search_args, over the group's columns in visiting order;
 *   code = clamp(round(w / scale) + zero, 0, 2^bits - 1);  e = (w - (code - zero) * scale) / U[p][p];
 *   w[q] -= e * U[p][q] for q in (p, first + cols);  err[p - first] = e;  loss[i] += e * e.
 * A group's weights past the block are read from wt: for parameters by fully updated weights a group that goes past the
 * block begins at its first column. Sums run in rising p, products are rounded (no fused multiply-add): bit-equal on all
 * backends. wt is only read. U is the upper Cholesky factor of H^-1. */
struct nb_gptq_block_args {
    size_t n, k, groups, first, cols;
    nb_mem wt; /* f32 [k,n] */
    size_t ldw;
    nb_mem u; /* f32 [k,k] */
    size_t ldu;
    nb_mem group_of; /* u32 [k] */
    nb_mem h;        /* f32 [k,k] in stored order, only its diagonal is read; absent: no search */
    size_t ldh;
    nb_mem perm; /* u32 [k], with h */
    bool static_params;
    bool symmetric, either_sign; /* the latter with h */
    unsigned bits;
    nb_dtype scale_type;
    nb_mem scales, zeros; /* out (in where static), f32 [n,groups] */
    nb_mem codes;         /* out, u8 [k,n]; rows first .. first + cols - 1 */
    nb_mem err;           /* out, f32 [cols,n] */
    size_t lderr;
    nb_mem loss; /* in and out, f32 [n] */
};

/* ---- quantization: coordinate descent ---- */

/* One pass over stored columns first .. first + cols - 1 that lowers L_i = e_i H e_i^T of each row i, e = w - q, q =
 * (code - zero) * scale, given g = e H. Changing q by d changes L by d H d^T - 2 g . d. A step is taken only where the change
 * of L, computed in f32, is below 0; g is kept up to date inside the block.
 *   With params, first each group, of which all columns stand in the block: where not symmetric, zero - 1 and then zero + 1 in
 *     place of zero, if it is a code, then scale := scale + (g . c) / (c H c^T), c = code - zero, rounded to scale_type;
 *   then each column in rising order: code := clamp(round((q + g / H[j][j]) / scale + zero)); H[j][j] = 0 is left alone.
 * Every row is f32 sums in rising order. delta = q after - q before, differences of rounded products. */
struct nb_descent_block_args {
    size_t n, k, group, first, cols;
    nb_mem g; /* f32 [n,k]; only columns of the block are read */
    size_t ldg;
    nb_mem h; /* f32 [k,k], symmetric */
    size_t ldh;
    unsigned bits;
    bool symmetric, params;
    nb_dtype scale_type;
    nb_mem codes;         /* in and out, u8 [n,k] */
    nb_mem scales, zeros; /* in and out, f32 [n, ceil(k/group)] */
    nb_mem g_idx;         /* u32 [k], optional; not with params */
    nb_mem delta;         /* out, f32 [n,cols] */
    size_t ldd;
};

/* dst's row i := src's row i where after[i] is not below before[i]. Rows of one float may be after itself. */
struct nb_keep_rows_args {
    size_t rows, row_bytes;
    nb_mem before, after; /* f32 [rows] */
    nb_mem src, dst;      /* rows of row_bytes bytes, without gaps */
};

/* ---- quantization: half-quadratic (HQQ, Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models",
 * 2023) ---- */

/* Codes, scale and zero point of each group that make sum |w - q|^p small, p = 0.7, by half-quadratic splitting: the scale is
 * that of the range of the values, and of the zero points that the iteration passes through the one of least sum |w - q| is
 * kept. From zero = -min / scale, beta = 10, up to `iterations` times, as long as sum |w - q| (in f64) falls:
 *   c = clamp(round(w / scale + zero)), q = (c - zero) scale, e = w - q,
 *   d = sign(e) max(0, |e| - |e|^(p-1) / beta)                                                    (shrinkage)
 *   zero = mean(c - (w - d) / scale), beta *= 1.01.
 * With float_zeros zero points are real numbers and the range is [min w, max w]; else they are rounded and clamped to the codes
 * wherever they are made, and the range includes 0. w / scale is w * (1 / scale), 1 / scale rounded. The scale is rounded to
 * scale_type first; a group without range has scale 1 (or as group_range has it). */
struct nb_hqq_args {
    size_t n, k, group;
    nb_mem w; /* f32 [n,k] */
    size_t ldw;
    unsigned bits, iterations;
    bool float_zeros;
    nb_dtype scale_type;
    nb_mem codes;         /* out, u8 [n,k] */
    nb_mem scales, zeros; /* out, f32 [n, ceil(k/group)] */
};

/* ---- quantization: learned rounding (AutoRound, arXiv 2309.05516) ----
 * A weight b [n,k] is rounded after an offset v, on a grid whose ends are moved by alpha and beta (of each group; all 1 and v 0
 * at first), from scale0 and zero0:
 *   low = -zero0 scale0, high = (top - zero0) scale0, top = 2^bits - 1
 *   asymmetric: scale = (alpha high - beta low) / top, zero = round(-beta low / scale), clamped to the codes
 *   symmetric:  scale = alpha scale0, zero = zero0
 *   code = clamp(round(b / scale + v) + zero, 0, top), w = (code - zero) scale
 * scale is rounded to scale_type. */
struct nb_learned_round_args {
    size_t n, k, group;
    nb_mem b, v;                            /* f32 [n,k] */
    nb_mem scale0, zero0, alpha, beta;      /* f32 [n, ceil(k/group)] */
    unsigned bits;
    bool symmetric;
    nb_dtype scale_type;
    nb_mem w;             /* out, f32 [n,k] */
    nb_mem codes;         /* out, u8 [n,k] */
    nb_mem scales, zeros; /* out, f32 [n, ceil(k/group)] */
};

/* Its gradient, straight through every rounding (arXiv 1308.3432): given g = dL/dw,
 *   dv = g scale where the code is not clamped, else 0 (in place over g),
 *   dalpha, dbeta = sums over the group of g dw/dalpha, g dw/dbeta, with dw/dscale = code - zero - (clamped ? 0 : b / scale),
 *   dw/dzero = clamped ? -scale : 0, and scale and zero as functions of alpha and beta as above. Sums in f64. */
struct nb_learned_back_args {
    struct nb_learned_round_args f; /* of the forward step, with what it made */
    nb_mem g;                       /* in: dL/dw, out: dL/dv, f32 [n,k] */
    nb_mem dalpha, dbeta;           /* out, f32 [n, ceil(k/group)] */
};

/* x := clamp(x - step sign(g), low, high); a g of 0 or NaN leaves x where it is. */
struct nb_sign_step_args {
    size_t rows, k;
    nb_mem x, g; /* f32 [rows,k], without gaps */
    float step, low, high;
};

/* ---- quantization: learned scales (EfficientQAT's second phase, arXiv 2407.11062) ----
 * Codes and zero points stand fast, each group's scale is scale0 times a factor f: w = (code - zero) round(f scale0). */

/* Given g = dL/dw: d = dL/df = scale0 sum over the group of g (code - zero), straight through the rounding; differences and
 * products in f32, sums in f64. */
struct nb_scale_back_args {
    size_t rows, k, group;
    nb_mem codes;         /* u8 [rows,k] */
    nb_mem scale0, zeros; /* f32 [rows, ceil(k/group)] */
    nb_mem g;             /* f32 [rows,k] */
    nb_mem d;             /* out, f32 [rows, ceil(k/group)] */
};

/* A step of Adam (arXiv 1412.6980) on the factors, and the scales that follow:
 *   m := beta1 m + (1 - beta1) d, v := beta2 v + (1 - beta2) d^2,
 *   f := clamp(f - step (m fix1) / (sqrt(v fix2) + eps), low, high), scales = round(f scale0) to scale_type,
 * fix1 = 1 / (1 - beta1^t) and fix2 = 1 / (1 - beta2^t) at the t-th step. A scale keeps its sign and does not become 0. */
struct nb_scale_step_args {
    size_t rows, k;
    nb_mem f, m, v;      /* f32 [rows,k], without gaps */
    nb_mem d, scale0;    /* f32 [rows,k] */
    nb_mem scales;       /* out, f32 [rows,k] */
    float step, beta1, beta2, fix1, fix2, eps, low, high;
    nb_dtype scale_type;
};

/* ---- quantization: channel scales ---- */

/* out[j] = mean over rows of |x[i][j]|, summed in f64 in rising rows. */
struct nb_abs_mean_args {
    size_t rows, k;
    nb_mem x; /* f32 [rows,k] */
    size_t ldx;
    nb_mem out; /* f32 [k] */
};

/* y[i][j] = (x[i][j] * row[i]) * col[j], each factor only where it is given; y may be x. */
struct nb_scale_matrix_args {
    size_t rows, k;
    nb_mem x, y; /* f32 [rows,k] */
    size_t ldx, ldy;
    nb_mem row, col; /* f32 [rows], [k]; optional */
};

/* y = x - y, each f32 [rows,k]. */
struct nb_subtract_args {
    size_t rows, k;
    nb_mem x, y;
    size_t ldx, ldy;
};

/* out[i] = sum_j a[i][j] b[i][j], products and sums in f64. */
struct nb_row_dot_args {
    size_t rows, k;
    nb_mem a, b; /* f32 [rows,k] */
    size_t lda, ldb;
    nb_mem out; /* f32 [rows] */
};

/* ---- forward ----
 * Activations are f32, a token a row. u = 2^-24. */

typedef enum nb_glu_act { NB_GLU_SILU, NB_GLU_GELU_TANH } nb_glu_act;

/* out[i] = scale * table[ids[i]]; ids must be in [0, vocab), which the caller has checked. */
struct nb_embed_args {
    size_t rows, k;
    nb_mem ids;   /* i32 [rows] */
    nb_mem table; /* w_type [vocab,k], any type that nb_to_f32 reads */
    nb_mem out;   /* f32 [rows,k] */
    size_t ldo;
    nb_dtype w_type;
    float scale;
};

/* y[i][j] = x[i][j] / sqrt(mean_j x[i][j]^2 + eps) * (weight[j] + offset). The mean is taken in double; y may be x.
 * |error| <= 4 u |y|. */
struct nb_rmsnorm_args {
    size_t rows, k;
    nb_mem x;      /* f32 [rows,k] */
    nb_mem weight; /* f32 [k] */
    nb_mem y;      /* f32 [rows,k] */
    size_t ldx, ldy;
    float eps, offset;
};

/* Rotates, in place, the halves of each head: (a, b) -> (a c - b s, b c + a s), a = x[i], b = x[i + head_dim/2], with the
 * cosine and sine of row `past + r % length` of the tables. |error| <= 3 u (|a c| + |b s|). */
struct nb_rope_args {
    size_t rows, length, past, heads, head_dim;
    nb_mem x; /* f32 [rows, heads*head_dim] */
    size_t ldx;
    nb_mem cos, sin; /* f32 [positions, head_dim/2] */
};

/* Causal attention of `length` queries of each sequence to past + length keys; query head h reads key head
 * h / (heads / kv_heads). Query i sees keys j <= past + i, and with a window only past + i - j < window.
 *   out = softmax(scale q k^T) v
 * Sequence s has its queries (and out) at rows [s*length, (s+1)*length), and its keys and values `kv_stride` elements after
 * those of sequence s - 1. Softmax in tiles of keys with a running maximum (arXiv 2205.14135), so that scores are never
 * whole in memory. */
struct nb_attention_args {
    size_t sequences, length, past, heads, kv_heads, head_dim;
    nb_mem q; /* f32 [sequences*length, heads*head_dim] */
    nb_mem k; /* f32 [past+length, kv_heads*head_dim] for each sequence */
    nb_mem v; /* as k */
    nb_mem out; /* f32 [sequences*length, heads*head_dim] */
    size_t ldq, ldkv, ldo, kv_stride;
    size_t window; /* 0: none */
    float scale;
};

/* out = act(gate) * up, each f32 [rows,n]; out may be gate. act: x / (1 + exp(-x)), or x * (1 + tanh(sqrt(2/pi)
 * (x + 0.044715 x^3))) / 2. */
struct nb_glu_args {
    size_t rows, n;
    nb_mem gate, up, out;
    size_t ldg, ldu, ldo;
    nb_glu_act act;
};

/* y += x, each f32 [rows,n]. */
struct nb_add_args {
    size_t rows, n;
    nb_mem x, y;
    size_t ldx, ldy;
};

/* ---- backward ----
 * Gradients of a loss by what the forward operation read, given d = gradient by what it wrote. Linears are products of
 * matrices, and rope is undone by its own operation with -sin. */

/* Of rmsnorm: with r = 1 / sqrt(mean x^2 + eps) and t = d (weight + offset), dx = r t - x r^3 mean(t x), sums in double;
 * added to dx where accumulate. dx may be d. */
struct nb_rmsnorm_back_args {
    size_t rows, k;
    nb_mem x, weight, d; /* f32 [rows,k], [k], [rows,k] */
    nb_mem dx;           /* f32 [rows,k] */
    size_t ldx, ldd, lddx;
    float eps, offset;
    bool accumulate;
};

/* Of causal attention without a past: q, k, v, out as in nb_attention_args with past = 0 and kv_stride = length ldkv; d by
 * out. With p the softmax: dv_j = sum_i p_ij d_i, ds_ij = p_ij (d_i . v_j - d_i . out_i), dq_i = scale sum_j ds_ij k_j,
 * dk_j = scale sum_i ds_ij q_i, keys' sums over the query heads that read them. */
struct nb_attention_back_args {
    size_t sequences, length, heads, kv_heads, head_dim;
    nb_mem q, k, v, out, d; /* f32, rows of heads*head_dim or kv_heads*head_dim */
    nb_mem dq, dk, dv;      /* out, as q, k, v */
    size_t ldq, ldkv, ldo;  /* of q and dq; of k, v, dk and dv; of out and d */
    size_t window;
    float scale;
};

/* Of glu: dup = d act(gate), dgate = d up act'(gate); dgate may be gate and dup may be up. */
struct nb_glu_back_args {
    size_t rows, n;
    nb_mem gate, up, d, dgate, dup; /* f32 [rows,n], all with ld = n */
    nb_glu_act act;
};

/* Of each row of logits: nll = logsumexp(logits) - logits[target]; with reference logits also
 * kl = sum_j p_j (log p_j - log q_j), p = softmax(reference), q = softmax(logits), and agree = 1 where both have their
 * maximum (the first of equals) at one place. Sums over n in double; exponentials to 2 ulp. */
struct nb_logit_stats_args {
    size_t rows, n;
    nb_mem logits;    /* f32 [rows,n] */
    nb_mem reference; /* f32 [rows,n], optional */
    size_t ldl, ldr;
    nb_mem targets;   /* i32 [rows]; below 0: no nll (0 is written) */
    nb_mem nll;       /* out, f64 [rows] */
    nb_mem kl;        /* out, f64 [rows], with reference */
    nb_mem agree;     /* out, i32 [rows], with reference */
};

/* Of factor times the kl of logit_stats, by the logits: d = factor (softmax(logits) - softmax(reference)). d may be logits. */
struct nb_kl_back_args {
    size_t rows, n;
    nb_mem logits, reference; /* f32 [rows,n] */
    nb_mem d;                 /* out, f32 [rows,n] */
    size_t ldl, ldr, ldd;
    float factor;
};

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
