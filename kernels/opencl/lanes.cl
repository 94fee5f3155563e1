/* Lanes: V is LANES floats side by side, 16 on processors and 1 elsewhere, where work-items are the lanes. */
#if NB_CL_CPU
#define LANES 16
typedef float16 V;
typedef int16 VI;
typedef uint16 VU;
#define V_LOAD(p) vload16(0, p)
#define V_STORE(v, p) vstore16(v, 0, p)
#define V_UINT(v) as_uint16(v)
#define V_FLOAT(v) as_float16(v)
#define V_TO_UCHAR(v) convert_uchar16(v)
#else
#define LANES 1
typedef float V;
typedef int VI;
typedef uint VU;
#define V_LOAD(p) (*(p))
#define V_STORE(v, p) (*(p) = (v))
#define V_UINT(v) as_uint(v)
#define V_FLOAT(v) as_float(v)
#define V_TO_UCHAR(v) convert_uchar(v)
#endif

/* The first `count` lanes; the others are 0. */
inline V lanes_load(global const float *p, uint count) {
    if (count >= LANES)
        return V_LOAD(p);
    float v[LANES];
    for (uint l = 0; l < LANES; l++)
        v[l] = l < count ? p[l] : 0.0f;
    return V_LOAD(v);
}

inline void lanes_store(V x, global float *p, uint count) {
    if (count >= LANES) {
        V_STORE(x, p);
        return;
    }
    float v[LANES];
    V_STORE(x, v);
    for (uint l = 0; l < count; l++)
        p[l] = v[l];
}

/* The same for elements `ld` apart. */
inline V lanes_gather(global const float *p, uint ld, uint count) {
    float v[LANES];
    for (uint l = 0; l < LANES; l++)
        v[l] = l < count ? p[(ulong)l * ld] : 0.0f;
    return V_LOAD(v);
}

inline void lanes_scatter(V x, global float *p, uint ld, uint count) {
    float v[LANES];
    V_STORE(x, v);
    for (uint l = 0; l < LANES && l < count; l++)
        p[(ulong)l * ld] = v[l];
}

/* exp(x) to 2 ulp, bit for bit that of the CPU's kernels (kernels/cpu/vmath.h). */
inline V lanes_exp(V x) {
    const float magic = 12582912.0f;
    V c = x > 88.37f ? (V)(88.37f) : x;
    V t = c * 1.44269504088896341f + magic;
    V n = t - magic;
    V r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    V p = (V)(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    V e = (p * (r * r) + r) + 1.0f;
    V scaled = e * V_FLOAT((V_UINT(t) + (127u - 0x4b400000u)) << 23);
    return x < -87.33f ? (V)(0.0f) : scaled;
}
