/* The quantization grid on lanes, after lanes.cl: correctly rounded division, scales as the file will hold them, parameters by
 * range. Bit for bit what struct nb_group_range_args says. */
#if NB_CL_DIVIDE
inline V grid_div(V a, V b) { return a / b; }
#else
/* a / b by integers: 24-bit significands, four bits more and a sticky one, rounded half to even. */
inline float integer_div(float a, float b) {
    uint ua = as_uint(a), ub = as_uint(b), sign = (ua ^ ub) & 0x80000000u;
    uint ma = ua & 0x7fffffu, mb = ub & 0x7fffffu;
    int ea = (int)(ua >> 23 & 255u), eb = (int)(ub >> 23 & 255u);
    bool zero_a = (ua << 1) == 0, zero_b = (ub << 1) == 0;
    if ((ea == 255 && ma) || (eb == 255 && mb) || (ea == 255 && eb == 255) || (zero_a && zero_b))
        return as_float(0x7fc00000u);
    if (ea == 255 || zero_b)
        return as_float(sign | 0x7f800000u);
    if (eb == 255 || zero_a)
        return as_float(sign);
    uint left = ea == 0 ? clz(ma) - 8 : 0, right = eb == 0 ? clz(mb) - 8 : 0; /* subnormal: shifted into place */
    ma = ea == 0 ? ma << left : ma | 0x800000u;
    mb = eb == 0 ? mb << right : mb | 0x800000u;
    int e = (ea == 0 ? 1 - (int)left : ea) - (eb == 0 ? 1 - (int)right : eb);
    ulong top = (ulong)ma << 27, q = top / mb;
    q |= q * mb != top;
    if (q < 1ul << 27) {
        q <<= 1;
        e--;
    }
    uint shift = e >= -126 ? 4 : (uint)(4 - 126 - e), bits = (uint)q;
    if (shift >= 30)
        return as_float(sign);
    uint rest = bits & ((1u << shift) - 1u), half_way = 1u << (shift - 1);
    bits >>= shift;
    bits += rest > half_way || (rest == half_way && (bits & 1u));
    if (e >= -126)
        bits += (uint)(e + 126) << 23;
    return as_float(sign | (e > 127 || bits > 0x7f800000u ? 0x7f800000u : bits));
}

inline V grid_div(V a, V b) {
    float x[LANES], y[LANES];
    V_STORE(a, x);
    V_STORE(b, y);
    for (uint l = 0; l < LANES; l++)
        x[l] = integer_div(x[l], y[l]);
    return V_LOAD(x);
}
#endif

/* Types of scales, as in host/tensor/dtype.h. */
#define SCALE_F32 0
#define SCALE_F16 1
#define SCALE_BF16 2

inline V through_f16(V x) {
    ushort bits[LANES];
    float v[LANES];
    V_STORE(x, v);
    for (uint l = 0; l < LANES; l++)
        vstore_half_rte(v[l], l, (half *)bits);
    for (uint l = 0; l < LANES; l++)
        v[l] = vload_half(l, (const half *)bits);
    return V_LOAD(v);
}

inline V grid_round_scale(V scale, uint type) {
    if (type == SCALE_F16) {
        V r = through_f16(scale > 65504.0f ? (V)(65504.0f) : scale);
        return r < 0x1p-14f ? (V)(0x1p-14f) : r;
    }
    if (type == SCALE_BF16) {
        VU u = V_UINT(scale);
        scale = V_FLOAT((u + 0x7fffu + (u >> 16 & 1u)) & 0xffff0000u);
    }
    return scale < 0x1p-126f ? (V)(0x1p-126f) : scale;
}

inline void grid_params(V low, V high, uint bits, uint symmetric, uint type, V *scale, V *zero) {
    float top = (float)((1u << bits) - 1u);
    low = low < 0.0f ? low : (V)(0.0f);
    high = high > 0.0f ? high : (V)(0.0f);
    VI none = (low == 0.0f) && (high == 0.0f);
    low = none ? (V)(-1.0f) : low;
    high = none ? (V)(1.0f) : high;
    if (symmetric) {
        V a = -low > high ? -low : high;
        *scale = grid_round_scale(grid_div(2.0f * a, (V)(top)), type);
        *zero = (V)((float)(1u << (bits - 1)));
        return;
    }
    *scale = grid_round_scale(grid_div(high - low, (V)(top)), type);
    V z = rint(grid_div(-low, *scale));
    *zero = z < 0.0f ? (V)(0.0f) : z > top ? (V)(top) : z;
}
