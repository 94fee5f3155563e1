/* Scalar products of rows, a row a work-group. */
#include "kernels/opencl/wide_sum.cl"

kernel void row_dot(uint k, BUF(a), uint lda, BUF(b), uint ldb, BUF(out), local wide *room) {
    uint i = get_group_id(0);
    global const float *a = AT(float, a) + (ulong)i * lda, *b = AT(float, b) + (ulong)i * ldb;
    ITEM_SUM(sum, k, wide_mul(wide_of(a[j]), wide_of(b[j])))
    sum = group_sum(room, sum);
    if (get_local_id(0) == 0)
        AT(float, out)[i] = wide_float(sum);
}
