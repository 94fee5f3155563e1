/* The one parameter of each kernel, for the kernel and for the host that launches it. Pointers are device addresses. */
#ifndef NB_KERNELS_CUDA_PARAMS_H
#define NB_KERNELS_CUDA_PARAMS_H

#if defined(__CUDACC__)
#define NB_CU(type) type *
typedef unsigned long long nb_cu_u64;
#else
#include <stdint.h>
#define NB_CU(type) uint64_t
typedef uint64_t nb_cu_u64;
#endif

/* ---- dense ---- */

/* Types of stored weights; the numbers of enum nb_dtype, which a static assertion in cuda_ops_dense.c holds. */
enum {
    NB_CU_F32 = 0,
    NB_CU_F16 = 1,
    NB_CU_BF16 = 2,
    NB_CU_Q4_0 = 15,
    NB_CU_Q4_1 = 16,
    NB_CU_Q5_0 = 17,
    NB_CU_Q5_1 = 18,
    NB_CU_Q8_0 = 19,
    NB_CU_Q4_K = 22,
    NB_CU_Q5_K = 23,
    NB_CU_Q6_K = 24
};

/* C[m,n] = alpha op(A) op(B) + beta C; element (i, l) of op(A) at a[i * a_row + l * a_col], and so for op(B) (l, j). */
typedef struct nb_cu_matmul {
    NB_CU(const float) a;
    NB_CU(const float) b;
    NB_CU(float) c;
    nb_cu_u64 a_row, a_col, b_row, b_col, ldc;
    unsigned m, n, k, lower;
    float alpha, beta;
} nb_cu_matmul;

/* out [rows,k] = src, stored as `type` in rows of row_bytes. ids, where given, names the row of src. */
typedef struct nb_cu_convert {
    NB_CU(const unsigned char) src;
    NB_CU(const int) ids;
    NB_CU(float) out;
    nb_cu_u64 row_bytes, ldo;
    unsigned rows, k, type;
    float scale;
} nb_cu_convert;

/* y [rows,n] += bias [n]. */
typedef struct nb_cu_bias {
    NB_CU(float) y;
    NB_CU(const float) bias;
    nb_cu_u64 ldy;
    unsigned rows, n;
} nb_cu_bias;

/* ---- quantization ---- */

typedef struct nb_cu_groups { /* group_range, group_search */
    NB_CU(const float) w;
    NB_CU(const float) h; /* may be 0 */
    NB_CU(float) scales;
    NB_CU(float) zeros;
    nb_cu_u64 ldw, ldh;
    unsigned n, k, group, groups, bits, symmetric, either_sign, scale_type;
} nb_cu_groups;

typedef struct nb_cu_codes { /* rtn, dequant, quant_error */
    NB_CU(float) w;
    NB_CU(const float) scales;
    NB_CU(const float) zeros;
    NB_CU(const unsigned) g_idx; /* may be 0 */
    NB_CU(unsigned char) codes;
    NB_CU(float) error;
    nb_cu_u64 ldw;
    unsigned n, k, group, groups, bits;
} nb_cu_codes;

typedef struct nb_cu_square { /* hessian's mirror, hessian_check, hessian_order, column_order */
    NB_CU(float) h;
    NB_CU(float) w;
    NB_CU(float) f;
    NB_CU(const unsigned) perm;
    NB_CU(unsigned) status; /* struct nb_gptq_status */
    nb_cu_u64 ldh, ldw, ldf;
    unsigned n, k;
    float damp;
} nb_cu_square;

typedef struct nb_cu_order {
    NB_CU(const float) h;
    NB_CU(float) keys; /* scratch: key [k], then group_key [k] */
    NB_CU(unsigned) perm;
    NB_CU(unsigned) group_of;
    NB_CU(unsigned) g_idx; /* may be 0 */
    nb_cu_u64 ldh;
    unsigned k, group, order;
} nb_cu_order;

typedef struct nb_cu_chol {
    NB_CU(float) a;
    NB_CU(unsigned) status;
    nb_cu_u64 lda;
    unsigned k, base;
} nb_cu_chol;

typedef struct nb_cu_copy { /* copy_matrix, transpose, reverse */
    NB_CU(const void) src;
    NB_CU(void) dst;
    NB_CU(const unsigned) from;
    NB_CU(const unsigned) to;
    nb_cu_u64 lds, ldd, count;
    unsigned rows, cols;
} nb_cu_copy;

typedef struct nb_cu_gptq {
    NB_CU(const float) wt;
    NB_CU(const float) u;
    NB_CU(const unsigned) group_of;
    NB_CU(const float) h; /* 0: no search */
    NB_CU(const unsigned) perm;
    NB_CU(float) scales;
    NB_CU(float) zeros;
    NB_CU(unsigned char) codes;
    NB_CU(float) err;
    NB_CU(float) loss;
    nb_cu_u64 ldw, ldu, ldh, lderr;
    unsigned n, k, groups, first, cols, lanes; /* lanes: rows of W in a CTA, a power of two up to 32 */
    unsigned static_params, symmetric, either_sign, bits, scale_type;
} nb_cu_gptq;

typedef struct nb_cu_descent {
    NB_CU(const float) g;
    NB_CU(const float) h;
    NB_CU(unsigned char) codes;
    NB_CU(float) scales;
    NB_CU(float) zeros;
    NB_CU(const unsigned) g_idx; /* may be 0 */
    NB_CU(float) delta;
    nb_cu_u64 ldg, ldh, ldd;
    unsigned n, k, group, groups, first, cols, bits, symmetric, params, scale_type;
} nb_cu_descent;

typedef struct nb_cu_keep {
    NB_CU(const float) before;
    NB_CU(const float) after;
    NB_CU(const unsigned char) src;
    NB_CU(unsigned char) dst;
    nb_cu_u64 row_bytes;
} nb_cu_keep;

typedef struct nb_cu_hqq {
    NB_CU(const float) w;
    NB_CU(unsigned char) codes;
    NB_CU(float) scales;
    NB_CU(float) zeros;
    nb_cu_u64 ldw;
    unsigned n, k, group, groups, bits, iterations, float_zeros, scale_type;
} nb_cu_hqq;

/* ---- channel scales and elementwise ---- */

typedef struct nb_cu_rows { /* abs_mean, scale_matrix, subtract, row_dot, add, rmsnorm */
    NB_CU(const float) x;
    NB_CU(float) y;
    NB_CU(const float) row; /* rmsnorm: weight */
    NB_CU(const float) col;
    nb_cu_u64 ldx, ldy;
    unsigned rows, k;
    float eps, offset;
} nb_cu_rows;

/* ---- forward ---- */

typedef struct nb_cu_rope {
    NB_CU(float) x;
    NB_CU(const float) cos;
    NB_CU(const float) sin;
    nb_cu_u64 ldx, length, past;
    unsigned rows, heads, half;
} nb_cu_rope;

typedef struct nb_cu_attention {
    NB_CU(const float) q;
    NB_CU(const float) k;
    NB_CU(const float) v;
    NB_CU(float) out;
    nb_cu_u64 ldq, ldkv, ldo, kv_stride, window;
    unsigned sequences, length, past, heads, kv_heads, head_dim;
    float scale;
} nb_cu_attention;

typedef struct nb_cu_glu {
    NB_CU(const float) gate;
    NB_CU(const float) up;
    NB_CU(float) out;
    nb_cu_u64 ldg, ldu, ldo;
    unsigned rows, n, gelu;
} nb_cu_glu;

typedef struct nb_cu_logits {
    NB_CU(const float) logits;
    NB_CU(const float) reference; /* may be 0 */
    NB_CU(const int) targets;
    NB_CU(double) nll;
    NB_CU(double) kl;
    NB_CU(int) agree;
    nb_cu_u64 ldl, ldr;
    unsigned rows, n;
} nb_cu_logits;

#endif
