/* Elementwise operations, sums of rows and columns, and moves. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/ref/ref.h"

/* Half the distance of f32 at y, or below the normal numbers, and what n additions in f64 lose of `size`. */
static double rounded_once(double y, double n, double size) {
    return fabs(y) * NB_U * (1 + 0x1p-20) + 0x1p-149 + n * 0x1p-53 * size * 1.01;
}

void nb_ref_abs_mean(const struct nb_abs_mean_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t j = 0; j < a->k; j++) {
        double sum = 0;
        for (size_t i = 0; i < a->rows; i++)
            sum += fabs((double)nb_host_f32(a->x)[i * a->ldx + j]);
        out->y[j] = a->rows ? sum / (double)a->rows : 0;
        out->bound[j] = rounded_once(out->y[j], (double)a->rows + 1, out->y[j]);
    }
}

void nb_ref_row_dot(const struct nb_row_dot_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e;
    for (size_t i = 0; i < a->rows; i++) {
        double sum = 0, size = 0;
        for (size_t j = 0; j < a->k; j++) {
            double x = (double)nb_host_f32(a->a)[i * a->lda + j] * (double)nb_host_f32(a->b)[i * a->ldb + j];
            sum += x;
            size += fabs(x);
        }
        out->y[i] = sum;
        out->bound[i] = rounded_once(sum, (double)a->k, size);
    }
}

void nb_ref_scale_matrix(const struct nb_scale_matrix_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const float *row = nb_host_f32(a->row), *col = nb_host_f32(a->col);
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->k; j++) {
            float v = nb_host_f32(a->x)[i * a->ldx + j];
            if (row)
                v = v * row[i];
            if (col)
                v = v * col[j];
            nb_host_f32(a->y)[i * a->ldy + j] = v;
        }
}

void nb_ref_subtract(const struct nb_subtract_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->k; j++) {
            float *y = nb_host_f32(a->y) + i * a->ldy + j;
            *y = nb_host_f32(a->x)[i * a->ldx + j] - *y;
        }
}

void nb_ref_add(const struct nb_add_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->n; j++) {
            float *y = nb_host_f32(a->y) + i * a->ldy + j;
            *y = *y + nb_host_f32(a->x)[i * a->ldx + j];
        }
}

void nb_ref_copy_matrix(const struct nb_copy_matrix_args *a, const nb_error_model *e, const nb_ref_out *out) {
    (void)e, (void)out;
    for (size_t i = 0; i < a->rows; i++)
        for (size_t j = 0; j < a->cols; j++)
            nb_host_f32(a->dst)[i * a->ldd + j] = a->src.base ? nb_host_f32(a->src)[i * a->lds + j] : 0.0f;
}

void nb_ref_reverse(const struct nb_reverse_args *a, const nb_error_model *e, const nb_ref_out *out) {
    float *p = nb_host_f32(a->a);
    (void)e, (void)out;
    for (size_t i = 0; i < a->count / 2; i++) {
        float t = p[i];
        p[i] = p[a->count - 1 - i];
        p[a->count - 1 - i] = t;
    }
}

void nb_ref_transpose(const struct nb_transpose_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const uint32_t *from = nb_host(a->from), *to = nb_host(a->to);
    const char *src = nb_host(a->src);
    char *dst = nb_host(a->dst);
    (void)e, (void)out;
    for (size_t r = 0; r < a->rows; r++)
        for (size_t c = 0; c < a->cols; c++)
            memcpy(dst + (c * a->ldd + (to ? to[r] : r)) * a->elem, src + (r * a->lds + (from ? from[c] : c)) * a->elem,
                   a->elem);
}
