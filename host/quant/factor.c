/* The inverse Cholesky factor, by recursion on halves:
 *
 *   A = [A11  .  ]   L11 L11^T = A11       X11 = L11^-1
 *       [A21  A22]   L21 = A21 X11^T       X21 = -X22 L21 X11
 *                    L22 L22^T = A22 - L21 L21^T
 *
 * L itself is not kept. Products with a triangular operand run in panels that skip its zeros. */
#include "host/base/size.h"
#include "host/quant/internal.h"

/* Panels of a product with a triangular operand: wide enough for a fast product, narrow enough to waste little. */
enum { PANEL = 256 };

typedef struct factor {
    nb_stream *stream;
    nb_mem f, temp, status;
    size_t ld;
    nb_err *err;
} factor;

static nb_mem at(nb_mem m, size_t index) {
    return nb_mem_at(m, index * sizeof(float));
}

/* Columns of the first half: whole diagonal blocks. */
static size_t first_half(size_t n) {
    return nb_ceil_div(n / 2, NB_CHOL_BLOCK) * NB_CHOL_BLOCK;
}

/* The first half of an odd number of diagonal blocks is the larger one: its own halves may need more than the whole. */
size_t nb__factor_temp(size_t k) {
    if (k <= NB_CHOL_BLOCK)
        return 1;
    size_t half = first_half(k);
    return nb_max(half * (k - half), nb_max(nb__factor_temp(half), nb__factor_temp(k - half)));
}

static nb_status leaf(const factor *s, size_t p, size_t n) {
    struct nb_chol_inverse_args a = {.k = n, .base = p, .a = at(s->f, p * s->ld + p), .lda = s->ld, .status = s->status};
    return nb_launch(s->stream, NB_OP_chol_inverse, &a, s->err);
}

static nb_status copy(const factor *s, size_t rows, size_t cols, nb_mem src, size_t lds, nb_mem dst) {
    struct nb_copy_matrix_args a = {.rows = rows, .cols = cols, .src = src, .lds = lds, .dst = dst, .ldd = s->ld};
    return nb_launch(s->stream, NB_OP_copy_matrix, &a, s->err);
}

static nb_status product(const factor *s, struct nb_matmul_args a) {
    return nb_launch(s->stream, NB_OP_matmul, &a, s->err);
}

/* temp[n2,n1] = A21 * X11^T; X11[c][l] is 0 for l > c. */
static nb_status make_l21(const factor *s, nb_mem x11, nb_mem a21, size_t n1, size_t n2) {
    for (size_t c = 0; c < n1; c += PANEL) {
        size_t end = nb_min(c + PANEL, n1);
        NB_TRY(product(s, (struct nb_matmul_args){.m = n2, .n = end - c, .k = end, .a = a21, .lda = s->ld,
                                                  .b = at(x11, c * s->ld), .ldb = s->ld, .trans_b = true,
                                                  .c = at(s->temp, c), .ldc = n1, .alpha = 1.0f}));
    }
    return NB_OK;
}

/* A21 = temp * X11. */
static nb_status times_x11(const factor *s, nb_mem x11, nb_mem a21, size_t n1, size_t n2) {
    for (size_t c = 0; c < n1; c += PANEL) {
        size_t end = nb_min(c + PANEL, n1);
        NB_TRY(product(s, (struct nb_matmul_args){.m = n2, .n = end - c, .k = n1 - c, .a = at(s->temp, c), .lda = n1,
                                                  .b = at(x11, c * s->ld + c), .ldb = s->ld, .c = at(a21, c),
                                                  .ldc = s->ld, .alpha = 1.0f}));
    }
    return NB_OK;
}

/* temp[n2,n1] = -X22 * A21. */
static nb_status times_x22(const factor *s, nb_mem x22, nb_mem a21, size_t n1, size_t n2) {
    for (size_t r = 0; r < n2; r += PANEL) {
        size_t end = nb_min(r + PANEL, n2);
        NB_TRY(product(s, (struct nb_matmul_args){.m = end - r, .n = n1, .k = end, .a = at(x22, r * s->ld), .lda = s->ld,
                                                  .b = a21, .ldb = s->ld, .c = at(s->temp, r * n1), .ldc = n1,
                                                  .alpha = -1.0f}));
    }
    return NB_OK;
}

/* The block of n columns that begins at p. Depth is log2(k / NB_CHOL_BLOCK). */
static nb_status invert(const factor *s, size_t p, size_t n) {
    if (n <= NB_CHOL_BLOCK)
        return leaf(s, p, n);
    size_t n1 = first_half(n), n2 = n - n1;
    nb_mem x11 = at(s->f, p * s->ld + p), a21 = at(x11, n1 * s->ld), x22 = at(a21, n1);
    NB_TRY(invert(s, p, n1));
    NB_TRY(make_l21(s, x11, a21, n1, n2));
    NB_TRY(product(s, (struct nb_matmul_args){.m = n2, .n = n2, .k = n1, .a = s->temp, .lda = n1, .b = s->temp, .ldb = n1,
                                              .trans_b = true, .c = x22, .ldc = s->ld, .lower = true, .alpha = -1.0f,
                                              .beta = 1.0f}));
    NB_TRY(times_x11(s, x11, a21, n1, n2));
    NB_TRY(invert(s, p + n1, n2));
    NB_TRY(times_x22(s, x22, a21, n1, n2));
    NB_TRY(copy(s, n2, n1, s->temp, n1, a21));
    /* a product with `lower` may have left anything above the diagonal */
    return copy(s, n1, n2, (nb_mem){0}, 0, at(x11, n1));
}

nb_status nb__inverse_factor(nb_stream *stream, nb_mem f, size_t k, nb_mem temp, nb_mem status, nb_err *err) {
    factor s = {.stream = stream, .f = f, .temp = temp, .status = status, .ld = k, .err = err};
    return invert(&s, 0, k);
}
