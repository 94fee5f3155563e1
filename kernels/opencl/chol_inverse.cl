/* Inverse Cholesky factor of one block of at most 64, in wide numbers, by one work-group: an item a row or a column. */
#include "kernels/opencl/wide_sum.cl"
#include "kernels/opencl/gptq_status.cl"

#define MAX 64
#define L(i, j) l[(i) * ((i) + 1) / 2 + (j)] /* rows of the triangle, one after the other */

kernel __attribute__((reqd_work_group_size(MAX, 1, 1))) void chol_inverse(uint k, uint base, BUF(a), uint lda, BUF(status)) {
    local wide l[MAX * (MAX + 1) / 2];
    local uint bad;
    global float *a = AT(float, a);
    uint item = get_local_id(0);
    if (item == 0)
        bad = 0;
    for (uint j = 0; item < k && j <= item; j++)
        L(item, j) = wide_of(a[(ulong)item * lda + j]);
    /* Column by column; an item a row. */
    for (uint j = 0; j < k; j++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        bool good = wide_positive(L(j, j));
        wide root = wide_sqrt(L(j, j));
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item == j && !good && bad == 0)
            bad = 1 + j;
        if (item == j)
            L(j, j) = root;
        if (item > j && item < k)
            L(item, j) = wide_div(L(item, j), root);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint c = j + 1; item < k && c <= item; c++)
            L(item, c) = wide_sub(L(item, c), wide_mul(L(item, j), L(c, j)));
    }
    /* Row by row, in place; an item a column: X[i][j] = (e_i - sum_c L[i][c] X[c][j]) / L[i][i]. */
    for (uint i = 0; i < k; i++) {
        barrier(CLK_LOCAL_MEM_FENCE);
        wide x = wide_of(item == i ? 1.0f : 0.0f);
        for (uint c = item; c < i; c++)
            x = wide_sub(x, wide_mul(L(i, c), L(c, item)));
        if (item <= i)
            x = wide_div(x, L(i, i));
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item <= i)
            L(i, item) = x;
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* a was read by rows and is written by columns */
    for (uint i = 0; item < k && i < k; i++)
        a[(ulong)i * lda + item] = bad ? (i == item ? 1.0f : 0.0f) : item <= i ? wide_float(L(i, item)) : 0.0f;
    if (item == 0 && bad && AT(Status, status)->pivot == 0)
        AT(Status, status)->pivot = base + bad;
}
