/* Rounding to nearest. Dimension 0: LANES columns; 1: rows. */
#include "kernels/opencl/lanes.cl"
#include "kernels/opencl/grid.cl"

inline uchar code_of(float q, float zero, float top) {
    q = rint(q) + zero;
    q = q > 0.0f ? q : 0.0f; /* NaN to 0 */
    return (uchar)(int)(q < top ? q : top);
}

kernel void rtn(uint k, uint group, BUF(w), uint ldw, uint bits, BUF(scales), BUF(zeros), BUF(g_idx), BUF(codes)) {
    uint j0 = get_global_id(0) * LANES, i = get_global_id(1);
    if (j0 >= k)
        return;
    uint groups = (k - 1) / group + 1, lanes = min(k - j0, (uint)LANES);
    global const float *scales = AT(float, scales) + (ulong)i * groups, *zeros = AT(float, zeros) + (ulong)i * groups;
    float scale[LANES], zero[LANES], q[LANES], top = (float)((1u << bits) - 1u);
    for (uint l = 0; l < LANES; l++) {
        uint j = min(j0 + l, k - 1), g = HAS(g_idx) ? AT(uint, g_idx)[j] : j / group;
        scale[l] = scales[g];
        zero[l] = zeros[g];
    }
    V ratio = grid_div(lanes_load(AT(float, w) + (ulong)i * ldw + j0, lanes), V_LOAD(scale));
    ratio = ratio > 0x1p21f ? (V)(0x1p21f) : ratio;
    ratio = ratio < -0x1p21f ? (V)(-0x1p21f) : ratio;
    V_STORE(ratio, q);
    for (uint l = 0; l < lanes; l++)
        AT(uchar, codes)[(ulong)i * k + j0 + l] = code_of(q[l], zero[l], top);
}
