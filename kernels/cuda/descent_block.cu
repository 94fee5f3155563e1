/* Coordinate descent over one block of columns: a warp a row of W, its gradient in shared memory with the block's columns across lanes.
 * Sums run in rising order in every lane alike: bit for bit the plain loop. */
#include "kernels/cuda/common.cuh"

struct descent_row {
    float *g, *c, *v;    /* [cols] in shared memory: gradient; codes less zero; c H */
    unsigned char *codes; /* of the block's columns */
    float *scales, *zeros;
    const unsigned *g_idx;
    float top;
};

static __device__ __forceinline__ unsigned group_at(const nb_cu_descent &p, const descent_row &r, unsigned j) {
    return r.g_idx ? r.g_idx[j] : (p.first + j) / p.group;
}

/* g -= step * h over the block; what follows reads other lanes' columns only after __syncwarp. */
static __device__ __forceinline__ void descent_move(float *g, const float *h, float step, unsigned cols) {
    for (unsigned i = lane_id(); i < cols; i += 32u)
        g[i] = g[i] - step * h[i];
}

/* v = sum over columns j0 .. j1 - 1 of c[j] H[j], over the block. */
static __device__ void descent_product(const nb_cu_descent &p, const descent_row &r, unsigned j0, unsigned j1) {
    __syncwarp();
    for (unsigned i = lane_id(); i < p.cols; i += 32u) {
        float v = 0.0f;
        for (unsigned j = j0; j < j1; j++)
            v = v - -r.c[j] * p.h[(u64)(p.first + j) * p.ldh + p.first + i];
        r.v[i] = v;
    }
    __syncwarp();
}

static __device__ float descent_dot(const float *x, const float *y, unsigned j0, unsigned j1) {
    float sum = 0.0f;
    for (unsigned j = j0; j < j1; j++)
        sum = sum + x[j] * y[j];
    return sum;
}

static __device__ void step_zero(const nb_cu_descent &p, const descent_row &r, unsigned group, unsigned j0, unsigned j1) {
    const float scale = r.scales[group], old = r.zeros[group];
    float sum = 0.0f, square = 0.0f;
    for (unsigned j = j0 + lane_id(); j < j1; j += 32u)
        r.c[j] = 1.0f;
    descent_product(p, r, j0, j1);
    for (unsigned j = j0; j < j1; j++) {
        sum = sum + r.g[j];
        square = square + r.v[j];
    }
    __syncwarp();
    for (float step = -1.0f; step <= 1.0f; step += 2.0f) {
        float zero = old + step, d = -(step * scale);
        if (zero < 0.0f || zero > r.top || !(d * (d * square - 2.0f * sum) < 0.0f))
            continue;
        if (lane_id() == 0u)
            r.zeros[group] = zero;
        descent_move(r.g, r.v, d, p.cols);
        __syncwarp();
        return;
    }
}

static __device__ void step_scale(const nb_cu_descent &p, const descent_row &r, unsigned group, unsigned j0, unsigned j1) {
    const float zero = r.zeros[group], old = r.scales[group];
    for (unsigned j = j0 + lane_id(); j < j1; j += 32u)
        r.c[j] = (float)r.codes[j] - zero;
    descent_product(p, r, j0, j1);
    float slope = descent_dot(r.c, r.g, j0, j1), curve = descent_dot(r.c, r.v, j0, j1);
    if (!(curve > 0.0f))
        return;
    float scale = round_scale(old + slope / curve, p.scale_type), d = scale - old;
    if (!(d * (d * curve - 2.0f * slope) < 0.0f))
        return;
    __syncwarp();
    if (lane_id() == 0u)
        r.scales[group] = scale;
    descent_move(r.g, r.v, d, p.cols);
}

static __device__ void step_params(const nb_cu_descent &p, const descent_row &r) {
    for (unsigned j0 = 0u, j1; j0 < p.cols; j0 = j1) {
        unsigned group = (p.first + j0) / p.group, begin = group * p.group, end = p.k - begin < p.group ? p.k : begin + p.group;
        j1 = end - p.first < p.cols ? end - p.first : p.cols;
        if (begin < p.first || end - p.first > p.cols)
            continue;
        if (!p.symmetric)
            step_zero(p, r, group, j0, j1);
        step_scale(p, r, group, j0, j1);
        __syncwarp();
    }
}

static __device__ void step_code(const nb_cu_descent &p, const descent_row &r, unsigned j) {
    const unsigned group = group_at(p, r, j);
    const float *h = p.h + (u64)(p.first + j) * p.ldh + p.first;
    float scale = r.scales[group], zero = r.zeros[group], q = ((float)r.codes[j] - zero) * scale, g = r.g[j], square = h[j];
    __syncwarp();
    if (!(square > 0.0f))
        return;
    float code = rintf((q + g / square) / scale + zero);
    code = !(code > 0.0f) ? 0.0f : code > r.top ? r.top : code;
    float d = (code - zero) * scale - q;
    if (!(d * (d * square - 2.0f * g) < 0.0f))
        return;
    if (lane_id() == 0u)
        r.codes[j] = (unsigned char)(int)code;
    descent_move(r.g, h, d, p.cols);
    __syncwarp();
}

/* delta := what q is now, less what delta holds (0 at first: then what it is). */
static __device__ void note_values(const nb_cu_descent &p, const descent_row &r, float *delta, bool again) {
    for (unsigned j = lane_id(); j < p.cols; j += 32u) {
        unsigned group = group_at(p, r, j);
        float q = ((float)r.codes[j] - r.zeros[group]) * r.scales[group];
        delta[j] = again ? q - delta[j] : q;
    }
}

extern "C" __global__ void __launch_bounds__(128) descent_block_cuda(const nb_cu_descent p) {
    const u64 i = warp_index();
    if (i >= p.n)
        return;
    descent_row r;
    r.g = (float *)nb_shared + threadIdx.x / 32u * 3u * p.cols;
    r.c = r.g + p.cols;
    r.v = r.c + p.cols;
    r.codes = p.codes + i * p.k + p.first;
    r.scales = p.scales + i * p.groups;
    r.zeros = p.zeros + i * p.groups;
    r.g_idx = p.g_idx ? p.g_idx + p.first : 0;
    r.top = (float)((1u << p.bits) - 1u);
    float *delta = p.delta + i * p.ldd;
    for (unsigned j = lane_id(); j < p.cols; j += 32u)
        r.g[j] = p.g[i * p.ldg + p.first + j];
    note_values(p, r, delta, false);
    __syncwarp();
    if (p.params && !p.g_idx)
        step_params(p, r);
    for (unsigned j = 0u; j < p.cols; j++)
        step_code(p, r, j);
    note_values(p, r, delta, true);
}
