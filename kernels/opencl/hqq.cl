/* Half-quadratic quantization, a group of a row a work-group; struct nb_hqq_args states the iteration. Sums are wide, in an order
 * of their own. */
#include "kernels/opencl/lanes.cl"
#include "kernels/opencl/grid.cl"
#include "kernels/opencl/wide_sum.cl"

#define NORM 0.7f
#define BETA 10.0f
#define KAPPA 1.01f

inline float first_lane(V x) {
    float v[LANES];
    V_STORE(x, v);
    return v[0];
}

inline float divide(float a, float b) {
    return first_lane(grid_div((V)(a), (V)(b)));
}

inline float settle(float x, float top) {
    return !(x > 0.0f) ? 0.0f : x > top ? top : x;
}

/* x^-0.3: pow may be off by 16 ulp. y^3 x = x^0.1, so that (y^3 x)^3 y is 1 where y is right; a step of Newton's on y^-10 leaves
 * what 9 roundings over 10 and the last one give, under 2 ulp. */
inline float power(float x) {
    float y = pow(x, NORM - 1.0f), tenth = y * y * y * x;
    return y - y * (tenth * tenth * tenth * y - 1.0f) / 10.0f;
}

/* What an element adds to the mean that is the next zero point. */
inline float shrunk(float w, float code, float zero, float scale, float inverse, float beta, float least) {
    float e = w - (code - zero) * scale, size = fabs(e), d = 0.0f;
    if (size > least)
        d = copysign(fmax(0.0f, size - divide(power(size), beta)), e);
    return code - (w - d) * inverse;
}

#define CODE(j, zero) settle(rint(w[j] * inverse + (zero)), top)

kernel void hqq(uint k, uint group, BUF(w), uint ldw, uint bits, uint iterations, uint float_zeros, uint type, BUF(codes),
                BUF(scales), BUF(zeros), local wide *room) {
    uint at = get_group_id(0), i = get_group_id(1), groups = (k - 1) / group + 1, first = at * group, count = min(group, k - first);
    global const float *w = AT(float, w) + (ulong)i * ldw + first;
    float top = (float)((1u << bits) - 1u), low = w[0], high = w[0], scale, zero, beta = BETA;
    for (uint j = 1; j < count; j++) {
        low = w[j] < low ? w[j] : low;
        high = w[j] > high ? w[j] : high;
    }
    if (float_zeros) {
        scale = high > low ? first_lane(grid_round_scale(grid_div((V)(high - low), (V)(top)), type)) : 1.0f;
        zero = divide(-low, scale);
    } else {
        V s, z;
        grid_params((V)(low), (V)(high), bits, 0, type, &s, &z);
        scale = first_lane(s);
        zero = first_lane(z);
    }
    float inverse = divide(1.0f, scale);
    ITEM_SUM(start, count, wide_of(fabs(w[j] - (CODE(j, zero) - zero) * scale)))
    wide best = group_sum(room, start);
    for (uint t = 0; t < iterations; t++) {
        float least = pow(beta, -1.0f / (2.0f - NORM));
        ITEM_SUM(sum, count, wide_of(shrunk(w[j], CODE(j, zero), zero, scale, inverse, beta, least)))
        float next = wide_float(wide_div(group_sum(room, sum), wide_of((float)count)));
        if (!float_zeros)
            next = settle(rint(next), top);
        ITEM_SUM(now, count, wide_of(fabs(w[j] - (CODE(j, next) - next) * scale)))
        wide error = group_sum(room, now);
        if (!wide_less(error, best))
            break;
        best = error;
        zero = next;
        beta *= KAPPA;
    }
    for (uint j = get_local_id(0); j < count; j += get_local_size(0))
        AT(uchar, codes)[(ulong)i * k + first + j] = (uchar)(int)CODE(j, zero);
    if (get_local_id(0) == 0) {
        AT(float, scales)[(ulong)i * groups + at] = scale;
        AT(float, zeros)[(ulong)i * groups + at] = zero;
    }
}
