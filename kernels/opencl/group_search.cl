/* Scales and zero points of stored groups, searched. */
#include "kernels/opencl/lanes.cl"
#include "kernels/opencl/grid.cl"

typedef struct Source {
    global const float *w; /* first column of the group: [k, padded rows] */
    ulong ld;
    global const float *h; /* its diagonal; 0: ones */
    ulong ldh;
} Source;
#define SOURCE Source

inline V search_weight(Source s, uint j) { return V_LOAD(s.w + j * s.ld); }
inline float search_h(Source s, uint j) { return s.h ? s.h[j * s.ldh] : 1.0f; }

#include "kernels/opencl/search.cl"

/* W^T, rows padded to whole lanes with zeros: lanes then lie side by side. Dimension 0: columns of W; 1: LANES rows. */
kernel void group_search_turn(uint n, uint k, BUF(w), uint ldw, BUF(out), uint padded) {
    uint j = get_global_id(0), i0 = get_global_id(1) * LANES;
    if (j >= k)
        return;
    V x = lanes_gather(AT(float, w) + (ulong)i0 * ldw + j, ldw, min(n - i0, (uint)LANES));
    V_STORE(x, AT(float, out) + (ulong)j * padded + i0);
}

/* Dimension 0: groups; 1: LANES rows. */
kernel void group_search(uint n, uint k, uint group, BUF(turned), uint padded, BUF(h), uint ldh, uint bits, uint symmetric,
                         uint either_sign, uint type, BUF(scales), BUF(zeros)) {
    uint groups = (k - 1) / group + 1, g = get_global_id(0), i0 = get_global_id(1) * LANES;
    if (g >= groups)
        return;
    uint first = g * group, lanes = min(n - i0, (uint)LANES);
    Source s = {AT(float, turned) + (ulong)first * padded + i0, padded, HAS(h) ? AT(float, h) + (ulong)first * (ldh + 1ul) : 0,
                ldh + 1ul};
    V scale, zero;
    search_params(s, min(group, k - first), bits, symmetric, either_sign, type, &scale, &zero);
    ulong at = (ulong)i0 * groups + g;
    lanes_scatter(scale, AT(float, scales) + at, groups, lanes);
    lanes_scatter(zero, AT(float, zeros) + at, groups, lanes);
}
