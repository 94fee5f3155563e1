/* Coordinate descent over one block of columns; struct nb_descent_block_args states the rule. A work-item a row: what
 * one row does depends on its own steps, so rows are no lanes. `room` holds four times [cols] for each row, beside each other on
 * processors, else row by row interleaved so that items lie side by side. */
#include "kernels/opencl/lanes.cl"
#include "kernels/opencl/grid.cl"

typedef struct Row {
    global float *g, *c, *v, *before; /* gradient; codes less zero; c H; q as it was */
    ulong step;                       /* from one column of these to the next */
    global uchar *codes;              /* of the block's columns */
    global float *scales, *zeros;     /* of the row */
    global const uint *g_idx;         /* of the block's columns, or 0 */
    global const float *h;            /* the block's part of H */
    ulong ldh;
    uint k, group, first, cols, symmetric, type;
    float top;
} Row;

inline float divide(float a, float b) {
#if NB_CL_DIVIDE
    return a / b;
#else
    return integer_div(a, b);
#endif
}

inline uint row_group(const Row *r, uint j) { return r->g_idx ? r->g_idx[j] : (r->first + j) / r->group; }

inline float row_value(const Row *r, uint j) {
    uint g = row_group(r, j);
    return ((float)r->codes[j] - r->zeros[g]) * r->scales[g];
}

/* v = sum over columns j0 .. j1 - 1 of c[j] H[j], over the block. */
inline void row_product(const Row *r, uint j0, uint j1) {
    for (uint i = 0; i < r->cols; i++) {
        float v = 0.0f;
        for (uint j = j0; j < j1; j++)
            v = v - -r->c[j * r->step] * r->h[j * r->ldh + i];
        r->v[i * r->step] = v;
    }
}

/* g -= by * v. */
inline void row_move(const Row *r, float by) {
    for (uint i = 0; i < r->cols; i++)
        r->g[i * r->step] = r->g[i * r->step] - by * r->v[i * r->step];
}

/* The zero point one lower or higher: q moves by -+scale in all columns of the group. */
inline void step_zero(const Row *r, uint group, uint j0, uint j1) {
    float scale = r->scales[group], sum = 0.0f, square = 0.0f;
    for (uint j = j0; j < j1; j++)
        r->c[j * r->step] = 1.0f;
    row_product(r, j0, j1);
    for (uint j = j0; j < j1; j++) {
        sum = sum + r->g[j * r->step];
        square = square + r->v[j * r->step];
    }
    for (float step = -1.0f; step <= 1.0f; step += 2.0f) {
        float zero = r->zeros[group] + step, d = -(step * scale);
        if (zero < 0.0f || zero > r->top || !(d * (d * square - 2.0f * sum) < 0.0f))
            continue;
        r->zeros[group] = zero;
        row_move(r, d);
        return;
    }
}

inline void step_scale(const Row *r, uint group, uint j0, uint j1) {
    float slope = 0.0f, curve = 0.0f;
    for (uint j = j0; j < j1; j++)
        r->c[j * r->step] = (float)r->codes[j] - r->zeros[group];
    row_product(r, j0, j1);
    for (uint j = j0; j < j1; j++) {
        slope = slope + r->c[j * r->step] * r->g[j * r->step];
        curve = curve + r->c[j * r->step] * r->v[j * r->step];
    }
    if (!(curve > 0.0f))
        return;
    V rounded = grid_round_scale((V)(r->scales[group] + divide(slope, curve)), r->type);
    float lanes[LANES];
    V_STORE(rounded, lanes);
    float scale = lanes[0], d = scale - r->scales[group];
    if (!(d * (d * curve - 2.0f * slope) < 0.0f))
        return;
    r->scales[group] = scale;
    row_move(r, d);
}

inline void step_params(const Row *r) {
    for (uint j0 = 0; j0 < r->cols;) {
        uint group = (r->first + j0) / r->group, begin = group * r->group, end = min(begin + r->group, r->k);
        uint j1 = min(end - r->first, r->cols);
        if (begin >= r->first && end - r->first <= r->cols) {
            if (!r->symmetric)
                step_zero(r, group, j0, j1);
            step_scale(r, group, j0, j1);
        }
        j0 = j1;
    }
}

inline void step_code(const Row *r, uint j) {
    uint group = row_group(r, j);
    float scale = r->scales[group], zero = r->zeros[group], q = ((float)r->codes[j] - zero) * scale;
    global const float *h = r->h + j * r->ldh;
    if (!(h[j] > 0.0f))
        return;
    float g = r->g[j * r->step], code = rint(divide(q + divide(g, h[j]), scale) + zero);
    code = !(code > 0.0f) ? 0.0f : code > r->top ? r->top : code;
    float d = (code - zero) * scale - q;
    if (!(d * (d * h[j] - 2.0f * g) < 0.0f))
        return;
    r->codes[j] = (uchar)(int)code;
    for (uint i = 0; i < r->cols; i++)
        r->g[i * r->step] = r->g[i * r->step] - d * h[i];
}

kernel void descent_block(uint n, uint k, uint group, uint first, uint cols, BUF(g), uint ldg, BUF(h), uint ldh, uint bits,
                          uint symmetric, uint params, uint type, BUF(codes), BUF(scales), BUF(zeros), BUF(g_idx), BUF(delta),
                          uint ldd, BUF(room)) {
    uint i = get_global_id(0), groups = (k - 1) / group + 1;
    if (i >= n)
        return;
#if NB_CL_CPU
    ulong step = 1, at = (ulong)i * cols * 4;
#else
    ulong step = n, at = i;
#endif
    Row r;
    r.g = AT(float, room) + at;
    r.c = r.g + cols * step;
    r.v = r.c + cols * step;
    r.before = r.v + cols * step;
    r.step = step;
    r.codes = AT(uchar, codes) + (ulong)i * k + first;
    r.scales = AT(float, scales) + (ulong)i * groups;
    r.zeros = AT(float, zeros) + (ulong)i * groups;
    r.g_idx = HAS(g_idx) ? AT(uint, g_idx) + first : 0;
    r.h = AT(float, h) + (ulong)first * ldh + first;
    r.ldh = ldh;
    r.k = k;
    r.group = group;
    r.first = first;
    r.cols = cols;
    r.symmetric = symmetric;
    r.type = type;
    r.top = (float)((1u << bits) - 1u);
    for (uint j = 0; j < cols; j++) {
        r.g[j * step] = AT(float, g)[(ulong)i * ldg + first + j];
        r.before[j * step] = row_value(&r, j);
    }
    if (params && !HAS(g_idx))
        step_params(&r);
    for (uint j = 0; j < cols; j++)
        step_code(&r, j);
    for (uint j = 0; j < cols; j++)
        AT(float, delta)[(ulong)i * ldd + j] = row_value(&r, j) - r.before[j * step];
}
