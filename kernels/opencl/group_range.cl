/* Scale and zero point of each group by the range of its values. Dimension 0: groups; 1: LANES rows. */
#include "kernels/opencl/lanes.cl"
#include "kernels/opencl/grid.cl"

kernel void group_range(uint n, uint k, uint group, BUF(w), uint ldw, uint bits, uint symmetric, uint type, BUF(scales),
                        BUF(zeros)) {
    uint groups = (k - 1) / group + 1, g = get_global_id(0), i0 = get_global_id(1) * LANES;
    if (g >= groups)
        return;
    uint first = g * group, last = min(first + group, k), lanes = min(n - i0, (uint)LANES);
    float lows[LANES], highs[LANES];
    for (uint l = 0; l < LANES; l++) {
        global const float *w = AT(float, w) + (ulong)(i0 + min(l, lanes - 1)) * ldw;
        float low = w[first], high = low;
        for (uint j = first + 1; j < last; j++) {
            float x = w[j];
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        lows[l] = low;
        highs[l] = high;
    }
    V scale, zero;
    grid_params(V_LOAD(lows), V_LOAD(highs), bits, symmetric, type, &scale, &zero);
    ulong at = (ulong)i0 * groups + g;
    lanes_scatter(scale, AT(float, scales) + at, groups, lanes);
    lanes_scatter(zero, AT(float, zeros) + at, groups, lanes);
}
