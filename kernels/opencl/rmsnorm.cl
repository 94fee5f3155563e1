/* Root mean square normalisation (arXiv 1910.07467), a row a work-group. */
#include "kernels/opencl/wide_sum.cl"

kernel void rmsnorm(uint k, BUF(x), BUF(weight), BUF(y), uint ldx, uint ldy, float eps, float offset, local wide *room) {
    uint i = get_group_id(0);
    global const float *x = AT(float, x) + (ulong)i * ldx, *weight = AT(float, weight);
    global float *y = AT(float, y) + (ulong)i * ldy;
    ITEM_SUM(sum, k, wide_mul(wide_of(x[j]), wide_of(x[j])))
    sum = group_sum(room, sum);
    sum = wide_add(wide_div(sum, wide_of((float)k)), wide_of(eps));
    float inverse = wide_float(wide_div(wide_of(1.0f), wide_sqrt(sum)));
    for (uint j = get_local_id(0); j < k; j += get_local_size(0))
        y[j] = x[j] * inverse * (weight[j] + offset);
}
