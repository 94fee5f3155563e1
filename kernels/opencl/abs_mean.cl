/* Mean magnitude of each column. A work-item a column. */
#include "kernels/opencl/wide_sum.cl"

kernel void abs_mean(uint rows, uint k, BUF(x), uint ldx, BUF(out)) {
    uint j = get_global_id(0);
    if (j >= k)
        return;
    global const float *x = AT(float, x) + j;
    wide sum = WIDE_ZERO;
    for (uint i = 0; i < rows; i++)
        sum = wide_add(sum, wide_of(fabs(x[(ulong)i * ldx])));
    AT(float, out)[j] = rows ? wide_float(wide_div(sum, wide_of((float)rows))) : 0.0f;
}
