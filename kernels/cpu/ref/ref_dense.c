/* Dense products. */
#include <math.h>

#include "kernels/cpu/ref/ref.h"

/* C = alpha op(A) op(B) + beta C. Roundings: one for each product and addition of the sum, in whatever order (k), and of
 * alpha, beta and their addition (3). Operands that are rounded first add their units. Each product may underflow. */
void nb_ref_matmul(const struct nb_matmul_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const float *pa = nb_host_f32(a->a), *pb = nb_host_f32(a->b), *pc = nb_host_f32(a->c);
    double alpha = (double)a->alpha, beta = (double)a->beta;
    double unit = nb_ref_gamma((double)a->k + 3) + nb_ref_unit(e->weight) + nb_ref_unit(e->act);
    for (size_t i = 0; i < a->m; i++)
        for (size_t j = 0; j < a->n; j++) {
            double sum = 0, size = 0;
            for (size_t l = 0; l < a->k; l++) {
                double x = (double)pa[a->trans_a ? l * a->lda + i : i * a->lda + l];
                double y = (double)pb[a->trans_b ? j * a->ldb + l : l * a->ldb + j];
                sum += x * y;
                size += fabs(x * y);
            }
            double before = beta != 0 ? beta * (double)pc[i * a->ldc + j] : 0;
            double tiny = ((double)a->k * fabs(alpha) + 3) * 0x1p-149;
            out->y[i * a->n + j] = alpha * sum + before;
            out->bound[i * a->n + j] = unit * (fabs(alpha) * size + fabs(before)) + tiny;
            if (a->lower && j > i)
                out->bound[i * a->n + j] = INFINITY;
        }
}

/* Block b of row j of the stored weight, as floats. */
static void stored(const struct nb_linear_args *a, size_t j, size_t b, float *block) {
    const nb_dtype_info *t = nb_dtype_get(a->w_type);
    size_t blocks = a->k / t->block_elems;
    nb__to_f32_plain(a->w_type, (const char *)nb_host(a->w) + (j * blocks + b) * t->block_bytes, t->block_elems, block);
}

/* Y = X W^T + bias (+ Y). Roundings: k of the sum, and two additions. */
void nb_ref_linear(const struct nb_linear_args *a, const nb_error_model *e, const nb_ref_out *out) {
    const float *x = nb_host_f32(a->x), *bias = nb_host_f32(a->bias), *y = nb_host_f32(a->y);
    double unit = nb_ref_gamma((double)a->k + 2) + nb_ref_unit(e->weight) + nb_ref_unit(e->act);
    for (size_t j = 0; j < a->n; j++)
        for (size_t i = 0; i < a->m; i++) {
            out->y[i * a->n + j] = (bias ? (double)bias[j] : 0) + (a->accumulate ? (double)y[i * a->ldy + j] : 0);
            out->bound[i * a->n + j] = (bias ? fabs((double)bias[j]) : 0) +
                                       (a->accumulate ? fabs((double)y[i * a->ldy + j]) : 0);
        }
    size_t width = nb_dtype_get(a->w_type)->block_elems;
    float block[256];
    for (size_t j = 0; j < a->n; j++)
        for (size_t l = 0; l < a->k; l++) {
            if (l % width == 0)
                stored(a, j, l / width, block);
            double w = (double)block[l % width];
            for (size_t i = 0; i < a->m; i++) {
                out->y[i * a->n + j] += (double)x[i * a->ldx + l] * w;
                out->bound[i * a->n + j] += fabs((double)x[i * a->ldx + l] * w);
            }
        }
    for (size_t i = 0; i < a->m * a->n; i++)
        out->bound[i] = unit * out->bound[i] + ((double)a->k + 2) * 0x1p-149;
}
