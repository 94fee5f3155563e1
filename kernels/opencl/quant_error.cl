/* Squared error of codes, a row a work-group. */
#include "kernels/opencl/wide_sum.cl"

kernel void quant_error(uint k, uint group, BUF(w), uint ldw, BUF(codes), BUF(scales), BUF(zeros), BUF(g_idx), BUF(error),
                        local wide *room) {
    uint i = get_group_id(0), groups = (k - 1) / group + 1;
    global const float *w = AT(float, w) + (ulong)i * ldw;
    global const float *scales = AT(float, scales) + (ulong)i * groups, *zeros = AT(float, zeros) + (ulong)i * groups;
    global const uint *g_idx = HAS(g_idx) ? AT(uint, g_idx) : 0;
    global const uchar *codes = AT(uchar, codes) + (ulong)i * k;
#define GROUP(j) (g_idx ? g_idx[j] : (j) / group)
#define DIFFERENCE(j) wide_of(w[j] - ((float)codes[j] - zeros[GROUP(j)]) * scales[GROUP(j)])
    ITEM_SUM(sum, k, wide_mul(DIFFERENCE(j), DIFFERENCE(j)))
    sum = group_sum(room, sum);
    if (get_local_id(0) == 0)
        AT(float, error)[i] = wide_float(sum);
}
