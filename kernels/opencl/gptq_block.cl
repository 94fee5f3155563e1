/* GPTQ's step over a block of columns (arXiv 2210.17323, algorithm 1, the inner loop). A work-item takes LANES rows of W, which
 * are columns of Wt, and works on a copy of the block in `room`: [cols][LANES] for each item, or [cols][n] where items are
 * the lanes. Each element sees its subtractions in rising order, one rounding each. */
#include "kernels/opencl/lanes.cl"
#include "kernels/opencl/grid.cl"

/* The group that begins at column `first` of the block: in the tile as far as the block goes, then in Wt. */
typedef struct Source {
    global const float *tile, *wt;
    uint stride, inside; /* columns in the block */
    uint lanes;
    ulong ldw;
    global const float *h;
    ulong ldh;
    global const uint *perm;
} Source;
#define SOURCE Source

inline V search_weight(Source s, uint j) {
    return j < s.inside ? V_LOAD(s.tile + (ulong)j * s.stride) : lanes_load(s.wt + j * s.ldw, s.lanes);
}
inline float search_h(Source s, uint j) { return s.h[s.perm[j] * s.ldh]; }

#include "kernels/opencl/search.cl"

inline void range_params(Source s, uint count, uint bits, uint symmetric, uint type, V *scale, V *zero) {
    V low = search_weight(s, 0), high = low;
    for (uint j = 1; j < count; j++) {
        V x = search_weight(s, j);
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    grid_params(low, high, bits, symmetric, type, scale, zero);
}

kernel void gptq_block(uint n, uint k, uint groups, uint first, uint cols, BUF(wt), uint ldw, BUF(u), uint ldu, BUF(group_of),
                       BUF(h), uint ldh, BUF(perm), uint static_params, uint symmetric, uint either_sign, uint bits, uint type, BUF(scales),
                       BUF(zeros), BUF(codes), BUF(err), uint lderr, BUF(loss), BUF(room)) {
    uint i0 = get_global_id(0) * LANES;
    if (i0 >= n)
        return;
    uint lanes = min(n - i0, (uint)LANES), stride = LANES == 1 ? n : LANES;
    global float *tile = AT(float, room) + (LANES == 1 ? (ulong)i0 : (ulong)i0 * cols);
    global const float *wt = AT(float, wt) + (ulong)first * ldw + i0;
    global const float *u = AT(float, u) + (ulong)first * ldu + first;
    global const uint *group_of = AT(uint, group_of);
    float top = (float)((1u << bits) - 1u);
    V scale = (V)(1.0f), zero = (V)(0.0f), loss = lanes_load(AT(float, loss) + i0, lanes);
    for (uint c = 0; c < cols; c++)
        V_STORE(lanes_load(wt + (ulong)c * ldw, lanes), tile + (ulong)c * stride);
    for (uint c = 0; c < cols; c++) {
        uint p = first + c, group = group_of[p];
        bool begins = p == 0 || group_of[p - 1] != group;
        ulong params = (ulong)i0 * groups + group;
        if (begins && !static_params) {
            uint end = p;
            while (end < k && group_of[end] == group)
                end++;
            Source s = {tile + (ulong)c * stride, wt + (ulong)c * ldw, stride, cols - c, lanes, ldw,
                        HAS(h) ? AT(float, h) : 0, ldh + 1ul, HAS(h) ? AT(uint, perm) + p : 0};
            if (HAS(h))
                search_params(s, end - p, bits, symmetric, either_sign, type, &scale, &zero);
            else
                range_params(s, end - p, bits, symmetric, type, &scale, &zero);
            lanes_scatter(scale, AT(float, scales) + params, groups, lanes);
            lanes_scatter(zero, AT(float, zeros) + params, groups, lanes);
        } else if (begins || c == 0) {
            scale = lanes_gather(AT(float, scales) + params, groups, lanes);
            zero = lanes_gather(AT(float, zeros) + params, groups, lanes);
        }
        V x = V_LOAD(tile + (ulong)c * stride), q = rint(grid_div(x, scale)) + zero;
        q = q > 0.0f ? q : (V)(0.0f);
        q = q < top ? q : (V)(top);
        V e = grid_div(x - (q - zero) * scale, (V)(u[(ulong)c * ldu + c]));
        loss = loss + e * e;
        lanes_store(e, AT(float, err) + (ulong)c * lderr + i0, lanes);
        float code[LANES];
        V_STORE(q, code);
        for (uint l = 0; l < lanes; l++)
            AT(uchar, codes)[(ulong)p * n + i0 + l] = (uchar)(int)code[l];
        for (uint j = c + 1; j < cols; j++) {
            V t = V_LOAD(tile + (ulong)j * stride);
            V_STORE(t - e * u[(ulong)c * ldu + j], tile + (ulong)j * stride);
        }
    }
    lanes_store(loss, AT(float, loss) + i0, lanes);
}
