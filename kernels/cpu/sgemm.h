/* The f32 matrix product behind every dense kernel on the CPU, and behind packed weights in exact mode: panels of the two
 * operands are packed into cache by callbacks, so that an operand may be f32, transposed, or codes to dequantize.
 *
 * C[m,n] = alpha * A[m,k] * B[n,k]^T + beta * C (+ bias[n]). The work is cut into tiles of C by shape alone, each
 * computed by one worker with sums over k in rising order, in chunks of equal length: bits do not depend on the number
 * of threads. Blocking after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008). */
#ifndef NB_KERNELS_CPU_SGEMM_H
#define NB_KERNELS_CPU_SGEMM_H

#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

/* Packs rows [row, row + rows) and columns [k0, k0 + ks) of an operand into a panel: dst[kk * width + r], zero for
 * r in [rows, width). `scratch` has room for NB_PACK_ROWS rows of ks + NB_PACK_SLACK floats, and for one of k. */
typedef void nb__pack_fn(const void *operand, size_t row, size_t rows, size_t k0, size_t ks, size_t width, float *scratch,
                         float *dst);

enum { NB_PACK_ROWS = 16, NB_PACK_SLACK = 512 };

/* Transposes src[rows, ks] (ld) into the first `cols` columns (at most NB_PACK_ROWS) of a panel; zero where rows end. */
typedef void nb__strip_fn(const float *src, size_t ld, size_t rows, size_t ks, size_t width, size_t cols, float *dst);

/* Instruction-set dependent parts. acc[r][c] is MR x NR, row-major, in registers. */
typedef struct nb__sgemm_isa {
    size_t mr, nr;
    /* C[mr,nr] (ldc) = alpha * sum_kk a[kk*mr + r] * b[kk*nr + c] + (load ? C : 0), for the first rows x cols only. */
    void (*tile)(size_t ks, const float *a, const float *b, float *c, size_t ldc, size_t rows, size_t cols, float alpha,
                 bool load);
    /* sum_j x[j] * y[j] in a fixed order. */
    float (*dot)(const float *x, const float *y, size_t k);
    /* The same with y of F16 at any address, bit for bit; NULL where it takes a conversion first. */
    float (*dot_f16)(const float *x, const void *y, size_t k);
    nb__strip_fn *strip;
    nb__pack_fn *pack_rows; /* as nb__pack_f32_rows */
} nb__sgemm_isa;

extern const nb__sgemm_isa nb__sgemm_plain, nb__sgemm_avx2, nb__sgemm_avx512;

typedef struct nb__sgemm_job {
    size_t m, n, k;
    nb__pack_fn *pack_a, *pack_b;
    const void *a, *b; /* operands, handed to the pack functions */
    float *c;
    size_t ldc;
    float alpha, beta;
    const float *bias; /* [n] or NULL */
    bool lower;        /* skip tiles wholly above the diagonal */
} nb__sgemm_job;

nb_status nb__sgemm_run(nb_pool *pool, const nb__sgemm_isa *isa, const nb__sgemm_job *job, nb_err *err);

/* Packers of plain f32 operands. */
typedef struct nb__f32_operand {
    const float *data;
    size_t ld;
} nb__f32_operand;
/* data[row * ld + k]: each row is contiguous. */
nb__pack_fn nb__pack_f32_rows;
/* data[k * ld + row]: each column of rows is contiguous. */
nb__pack_fn nb__pack_f32_cols;
/* All of [rows, ks] in panels of `width`, one behind the other; by packers that need no scratch. */
void nb__pack_panels(nb__pack_fn *pack, const nb__f32_operand *o, size_t rows, size_t ks, size_t width, float *dst);

static inline size_t nb__round_up(size_t x, size_t to) {
    return nb_ceil_div(x, to) * to;
}

nb__strip_fn nb__strip_plain, nb__strip_avx2, nb__strip_avx512;
nb__pack_fn nb__pack_rows_avx2, nb__pack_rows_avx512;

#endif
