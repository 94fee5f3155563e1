/* Inverse Cholesky factor of one small block, in f64. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { MAX = NB_CHOL_BLOCK };

/* l[k,k] (ld MAX) := its Cholesky factor, right-looking; `column` keeps the loops over rows contiguous. Returns the
 * index of the first pivot that is not positive, or k. */
static size_t factor(size_t k, double *l) {
    double column[MAX];
    for (size_t j = 0; j < k; j++) {
        double pivot = l[j * MAX + j];
        if (!(pivot > 0.0) || isinf(pivot))
            return j;
        double root = sqrt(pivot);
        l[j * MAX + j] = root;
        for (size_t i = j + 1; i < k; i++)
            column[i] = l[i * MAX + j] /= root;
        for (size_t i = j + 1; i < k; i++)
            for (size_t c = j + 1; c <= i; c++)
                l[i * MAX + c] -= column[i] * column[c];
    }
    return k;
}

/* x := l^-1 by rows: x[i] = (e_i - sum_{c<i} l[i][c] x[c]) / l[i][i]. */
static void invert(size_t k, const double *l, double *x) {
    for (size_t i = 0; i < k; i++) {
        double *row = x + i * MAX;
        memset(row, 0, k * sizeof *row);
        for (size_t c = 0; c < i; c++)
            for (size_t j = 0; j <= c; j++)
                row[j] -= l[i * MAX + c] * x[c * MAX + j];
        row[i] = 1.0;
        for (size_t j = 0; j <= i; j++)
            row[j] /= l[i * MAX + i];
    }
}

nb_status nb__cpu_chol_inverse_plain(nb_pool *pool, const struct nb_chol_inverse_args *args, nb_err *err) {
    double l[MAX * MAX], x[MAX * MAX];
    struct nb_gptq_status *status = nb_host(args->status);
    float *a = nb_host_f32(args->a);
    size_t k = args->k;
    (void)pool;
    if (k > MAX)
        return nb_fail(err, NB_E_USAGE, "a Cholesky block of %zu, at most %d are possible", k, MAX);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++)
            l[i * MAX + j] = (double)a[i * args->lda + j];
    size_t bad = factor(k, l);
    if (bad < k && status->pivot == 0)
        status->pivot = (uint32_t)(1 + args->base + bad);
    if (bad == k)
        invert(k, l, x);
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            a[i * args->lda + j] = bad < k ? (float)(i == j) : j <= i ? (float)x[i * MAX + j] : 0.0f;
    return NB_OK;
}
