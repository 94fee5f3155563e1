/* The steps of GPTQ (arXiv 2210.17323). */
#include <math.h>
#include <nibble/quantize.h>
#include <string.h>

#include "kernels/cpu/ref/ref.h"
#include "kernels/cpu/ref/ref_quant.h"

/* The bound of ops.h, with the units of operands that are rounded first. Above the diagonal anything will do, unless
 * mirrored. */
void nb_ref_hessian(const struct nb_hessian_args *a, const nb_error_model *e, const nb_ref_out *out) {
    double chunks = (double)((a->rows + 255) / 256), chunk = a->rows < 256 ? (double)a->rows : 256;
    double unit = nb_ref_gamma(chunk + chunks + 2) + nb_ref_unit(e->weight) + nb_ref_unit(e->act);
    for (size_t i = 0; i < a->k; i++)
        for (size_t j = 0; j < a->k; j++) {
            size_t row = i > j ? i : j, col = i > j ? j : i;
            double before = (double)nb_host_f32(a->h)[row * a->ldh + col], sum = 0, size = 0;
            for (size_t r = 0; r < a->rows; r++) {
                double x = (double)nb_host_f32(a->x)[r * a->ldx + i] * (double)nb_host_f32(a->x)[r * a->ldx + j];
                sum += x;
                size += fabs(x);
            }
            out->y[i * a->k + j] = before + (double)a->scale * sum;
            out->bound[i * a->k + j] = j > i && !a->mirror ? INFINITY
                                       : a->rows == 0      ? 0
                                                           : unit * (fabs(before) + fabs((double)a->scale) * size) +
                                                            (double)a->rows * 0x1p-149;
        }
}

static bool is_finite(float x) {
    return !isnan(x) && !isinf(x);
}

/* Exact: the mean is a sum in f64 of numbers that the check chooses so that no order rounds. */
void nb_ref_hessian_check(const struct nb_hessian_check_args *a, const nb_error_model *e, const nb_ref_out *out) {
    struct nb_gptq_status s = {0};
    double sum = 0;
    (void)e, (void)out;
    for (size_t i = 0; i < a->k; i++) {
        const float *row = nb_host_f32(a->h) + i * a->ldh;
        for (size_t j = 0; j < a->k; j++)
            s.bad_hessian += !is_finite(row[j]) || (i == j && row[j] < 0);
        s.dead += row[i] == 0;
        sum += (double)row[i];
    }
    s.mean = s.dead < a->k ? (float)(sum / (double)(a->k - s.dead)) : 1.0f;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->k; j++) {
            float *w = nb_host_f32(a->w) + i * a->ldw + j;
            s.bad_weight += !is_finite(*w);
            if (nb_host_f32(a->h)[j * a->ldh + j] == 0)
                *w = 0;
        }
    memcpy(nb_host(a->status), &s, sizeof s);
}

/* ---- column_order ---- */

static double key_of(const struct nb_column_order_args *a, size_t j) {
    double d = (double)nb_host_f32(a->h)[j * a->ldh + j];
    return a->order == NB_ORDER_STORED ? 0 : isnan(d) ? -INFINITY : d;
}

static double group_key(const struct nb_column_order_args *a, size_t j) {
    size_t first = j / a->group * a->group;
    double most = -INFINITY;
    for (size_t l = first; l < first + a->group && l < a->k; l++)
        most = fmax(most, key_of(a, l));
    return most;
}

/* Does column i come before column j? */
static bool before(const struct nb_column_order_args *a, size_t i, size_t j) {
    if (a->order == NB_ORDER_GROUP_AWARE && i / a->group != j / a->group) {
        double gi = group_key(a, i), gj = group_key(a, j);
        return gi != gj ? gi > gj : i < j;
    }
    double ki = key_of(a, i), kj = key_of(a, j);
    return ki != kj ? ki > kj : i < j;
}

void nb_ref_column_order(const struct nb_column_order_args *a, const nb_error_model *e, const nb_ref_out *out) {
    uint32_t *perm = nb_host(a->perm), *group_of = nb_host(a->group_of), *g_idx = nb_host(a->g_idx);
    (void)e, (void)out;
    for (size_t j = 0; j < a->k; j++) {
        size_t p = 0;
        for (size_t i = 0; i < a->k; i++)
            p += i != j && before(a, i, j);
        perm[p] = (uint32_t)j;
        group_of[p] = (uint32_t)((a->order == NB_ORDER_ACT ? p : j) / a->group);
        if (g_idx)
            g_idx[j] = group_of[p];
    }
}

/* ---- hessian_order ---- */

void nb_ref_hessian_order(const struct nb_hessian_order_args *a, const nb_error_model *e, const nb_ref_out *out) {
    struct nb_gptq_status *s = nb_host(a->status);
    const uint32_t *perm = nb_host(a->perm);
    (void)e, (void)out;
    s->pivot = 0;
    for (size_t i = 0; i < a->k; i++)
        for (size_t j = 0; j < a->k; j++) {
            float h = nb_host_f32(a->h)[perm[a->k - 1 - i] * a->ldh + perm[a->k - 1 - j]];
            float damp = a->damp * s->mean;
            if (i == j)
                h = (h == 0 ? s->mean : h) + damp;
            nb_host_f32(a->f)[i * a->ldf + j] = j <= i ? h : 0;
        }
}

/* ---- chol_inverse ---- */

enum { SIDE = NB_CHOL_BLOCK };
typedef double square[SIDE][SIDE];

/* Lower Cholesky factor, row by row; the first row whose pivot is not positive, or k. */
static size_t factor(const struct nb_chol_inverse_args *a, square l) {
    for (size_t i = 0; i < a->k; i++)
        for (size_t j = 0; j <= i; j++) {
            double t = (double)nb_host_f32(a->a)[i * a->lda + j];
            for (size_t c = 0; c < j; c++)
                t -= l[i][c] * l[j][c];
            if (i == j && !(t > 0 && !isinf(t)))
                return i;
            l[i][j] = i == j ? sqrt(t) : t / l[j][j];
        }
    return a->k;
}

/* Column by column: l x = e_j. */
static void invert(size_t k, square l, square x) {
    for (size_t j = 0; j < k; j++)
        for (size_t i = j; i < k; i++) {
            double t = i == j;
            for (size_t c = j; c < i; c++)
                t -= l[i][c] * x[c][j];
            x[i][j] = t / l[i][i];
        }
}

/* r = |p| |q|, of the second the transpose where asked. Upper parts of lower triangles are zero. */
static void magnitude(size_t k, square p, square q, bool transpose, square r) {
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            r[i][j] = 0;
            for (size_t c = 0; c < k; c++)
                r[i][j] += fabs(p[i][c]) * fabs(transpose ? q[j][c] : q[c][j]);
        }
}

/* X = L^-1. In f64 the factor is that of A + dA with |dA| <= g |L||L|^T, g = gamma(k + 1) (Higham, 10.3), which moves X by
 * low(X dA X^T) X to first order; the inverse of a triangle adds g |X||L||X| (Higham, 14.2). Both errors are made twice, here
 * and in the kernel; then the result is rounded once to f32. */
void nb_ref_chol_inverse(const struct nb_chol_inverse_args *a, const nb_error_model *e, const nb_ref_out *out) {
    static const square none;
    square l, x, t, s, moved;
    struct nb_gptq_status *status = nb_host(a->status);
    size_t k = a->k;
    (void)e;
    memcpy(l, none, sizeof l);
    memcpy(x, none, sizeof x);
    size_t bad = factor(a, l);
    if (bad < k && status->pivot == 0)
        status->pivot = (uint32_t)(1 + a->base + bad);
    for (size_t i = 0; bad < k && i < k; i++)
        for (size_t j = 0; j < k; j++) {
            out->y[i * k + j] = i == j;
            out->bound[i * k + j] = 0;
        }
    if (bad < k)
        return;
    invert(k, l, x);
    magnitude(k, x, l, false, t);    /* |X||L| */
    magnitude(k, t, t, true, s);     /* |X||L||L|^T|X|^T */
    magnitude(k, s, x, false, moved); /* ... |X| */
    magnitude(k, t, x, false, s);    /* |X||L||X| */
    double g = 2 * (double)(k + 2) * 0x1p-53 * 1.01;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++) {
            out->y[i * k + j] = x[i][j];
            out->bound[i * k + j] = j > i ? 0 : NB_U * fabs(x[i][j]) + g * (moved[i][j] + s[i][j]) + 0x1p-149;
        }
}

/* ---- gptq_block ---- */

/* Row i of W, which is column i of Wt; the position p begins a group: its parameters from the weights as they stand. */
static void begin_group(const struct nb_gptq_block_args *a, size_t p, const float *w, float *scale, float *zero) {
    const uint32_t *group_of = nb_host(a->group_of), *perm = nb_host(a->perm);
    nb_ref_grid grid = {a->bits, a->symmetric, a->scale_type, a->either_sign};
    float h[NB_REF_MOST_COLUMNS];
    size_t count = 0;
    for (; p + count < a->k && group_of[p + count] == group_of[p]; count++)
        if (a->h.base)
            h[count] = nb_host_f32(a->h)[perm[p + count] * a->ldh + perm[p + count]];
    if (a->h.base)
        nb_ref_search(w + p, 1, count, h, &grid, scale, zero);
    else
        nb_ref_range(w + p, 1, count, &grid, scale, zero);
}

void nb_ref_gptq_block(const struct nb_gptq_block_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const uint32_t *group_of = nb_host(a->group_of);
    const float *u = nb_host_f32(a->u);
    (void)e, (void)out;
    for (size_t i = 0; i < a->n; i++) {
        float w[NB_REF_MOST_COLUMNS];
        for (size_t p = 0; p < a->k; p++)
            w[p] = nb_host_f32(a->wt)[p * a->ldw + i];
        for (size_t p = a->first; p < a->first + a->cols; p++) {
            float *scale = nb_host_f32(a->scales) + i * a->groups + group_of[p];
            float *zero = nb_host_f32(a->zeros) + i * a->groups + group_of[p];
            if (!a->static_params && (p == 0 || group_of[p] != group_of[p - 1]))
                begin_group(a, p, w, scale, zero);
            float code = nb_ref_code(w[p], *scale, *zero, a->bits);
            float back = (code - *zero) * *scale;
            float error = (w[p] - back) / u[p * a->ldu + p];
            for (size_t q = p + 1; q < a->first + a->cols; q++)
                w[q] = w[q] - error * u[p * a->ldu + q];
            ((uint8_t *)nb_host(a->codes))[p * a->n + i] = (uint8_t)code;
            nb_host_f32(a->err)[(p - a->first) * a->lderr + i] = error;
            nb_host_f32(a->loss)[i] = nb_host_f32(a->loss)[i] + error * error;
        }
    }
}
