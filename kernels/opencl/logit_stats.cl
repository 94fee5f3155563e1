/* Negative log-likelihood, KL divergence and agreement of rows of logits, a row a work-group. */
#include "kernels/opencl/lanes.cl"
#include "kernels/opencl/wide_sum.cl"

#if NB_CL_FP64
inline wide wide_log(wide z) { return log(z); }
inline void store_f64(global char *p, wide v) { *(global double *)p = v; }
#else
/* log z = k ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), z = m 2^k, m in [0.7, 1.42]: |s| <= 0.172, twelve terms. */
inline wide wide_log(wide z) {
    int k = ilogb(z.x);
    k += ldexp(z.x, -k) > 1.41421356f;
    wide m = (float2)(ldexp(z.x, -k), ldexp(z.y, -k)), one = wide_of(1.0f);
    wide s = wide_div(wide_sub(m, one), wide_add(m, one)), square = wide_mul(s, s), sum = WIDE_ZERO;
    for (int i = 11; i >= 0; i--)
        sum = wide_add(wide_mul(sum, square), wide_div(one, wide_of((float)(2 * i + 1))));
    wide ln2 = (float2)(0.693147182464599609375f, -1.904654299957768e-09f);
    return wide_add(wide_mul(wide_of((float)k), ln2), wide_mul(wide_of(2.0f), wide_mul(s, sum)));
}

/* hi + lo as the bits of a double: a 62-bit sum, cut to 53. */
inline void store_f64(global char *p, wide v) {
    global ulong *to = (global ulong *)p;
    if (isnan(v.x) || isnan(v.y) || isinf(v.x) || v.x == 0.0f) {
        *to = v.x == 0.0f ? 0ul : isinf(v.x) ? (v.x > 0.0f ? 0x7fful : 0xffful) << 52 : 0x7ff8ul << 48;
        return;
    }
    int e = ilogb(v.x) - 61; /* |hi + lo| = |sum| 2^e */
    long sum = (long)ldexp(v.x, -e) + (long)ldexp(v.y, -e);
    ulong magnitude = sum < 0 ? (ulong)-sum : (ulong)sum, sign = sum < 0 ? 1ul << 63 : 0;
    int up = (int)clz(magnitude);
    magnitude <<= up;
    *to = sign | (ulong)(e - up + 63 + 1023) << 52 | (magnitude << 1 >> 12);
}
#endif

/* All items get the group's largest value, and the first place of it in x (n - 1 where there is none, as with NaN). */
inline float row_max(global const float *x, uint n, local float *room, local uint *places, uint *place) {
    uint item = get_local_id(0), items = get_local_size(0);
    V m = (V)(-INFINITY);
    uint j = item * LANES;
    for (; j + LANES <= n; j += items * LANES) {
        V v = V_LOAD(x + j);
        m = v > m ? v : m;
    }
    float lanes[LANES], top = -INFINITY;
    V_STORE(m, lanes);
    for (uint l = 0; l < LANES; l++)
        top = lanes[l] > top ? lanes[l] : top;
    for (; j < n; j++)
        top = x[j] > top ? x[j] : top;
    room[item] = top;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < items; i++)
        top = room[i] > top ? room[i] : top;
    uint first = n - 1;
    for (uint i = item; i < first; i += items)
        if (x[i] == top)
            first = i;
    places[item] = first;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < items; i++)
        first = min(first, places[i]);
    barrier(CLK_LOCAL_MEM_FENCE);
    *place = first;
    return top;
}

/* z = sum_j exp(r_j - max); returns sum_j exp(r_j - max) (r_j - x_j), of the group. */
inline wide sum_exp(global const float *r, global const float *x, uint n, float top, local wide *room, wide *z) {
    wide s = WIDE_ZERO, d = WIDE_ZERO;
    uint step = get_local_size(0) * LANES, j = get_local_id(0) * LANES;
#if NB_CL_CPU && NB_CL_FP64
    double16 ss = (double16)(0.0), dd = (double16)(0.0);
    for (; j + LANES <= n; j += step) {
        double16 e = convert_double16(lanes_exp(V_LOAD(r + j) - top));
        ss += e;
        dd += e * (convert_double16(V_LOAD(r + j)) - convert_double16(V_LOAD(x + j)));
    }
    double lanes[16];
    vstore16(ss, 0, lanes);
    for (uint l = 0; l < 16; l++)
        s += lanes[l];
    vstore16(dd, 0, lanes);
    for (uint l = 0; l < 16; l++)
        d += lanes[l];
#endif
    for (; j < n; j += step) {
        uint count = min(n - j, (uint)LANES);
        float e[LANES];
        V_STORE(lanes_exp(lanes_load(r + j, count) - top), e);
        for (uint l = 0; l < count; l++) {
            s = wide_add(s, wide_of(e[l]));
            d = wide_add(d, wide_mul(wide_of(e[l]), wide_sub(wide_of(r[j + l]), wide_of(x[j + l]))));
        }
    }
    *z = group_sum(room, s);
    return group_sum(room, d);
}

/* What one row of logits or of the reference leaves for the end: compilers copy a body wherever it stands, so it stands once. */
typedef struct Part {
    wide lse, mean; /* log sum exp; the mean of r - x under softmax(r) */
    uint top;       /* where the largest value stands */
    uint pad;
} Part;

kernel void logit_stats_row(uint n, BUF(r), uint ldr, BUF(x), uint ldx, BUF(parts), local wide *room, local float *tops,
                            local uint *places) {
    uint i = get_group_id(0), top;
    global const float *r = AT(float, r) + (ulong)i * ldr, *x = AT(float, x) + (ulong)i * ldx;
    wide z;
    float most = row_max(r, n, tops, places, &top);
    wide d = sum_exp(r, x, n, most, room, &z);
    if (get_local_id(0) == 0) {
        global Part *part = AT(Part, parts) + i;
        part->lse = wide_add(wide_of(most), wide_log(z));
        part->mean = wide_div(d, z);
        part->top = top;
    }
}

/* A work-item a row; parts: those of the logits, then those of the reference. */
kernel void logit_stats(uint rows, BUF(parts), BUF(logits), uint ldl, BUF(targets), BUF(nll), BUF(kl), BUF(agree),
                        uint with_reference) {
    uint i = get_global_id(0);
    if (i >= rows)
        return;
    global const Part *x = AT(Part, parts) + i, *r = x + rows;
    int target = AT(int, targets)[i];
    wide nll = WIDE_ZERO;
    if (target >= 0)
        nll = wide_sub(x->lse, wide_of(AT(float, logits)[(ulong)i * ldl + target]));
    store_f64(AT(char, nll) + 8 * (ulong)i, nll);
    if (!with_reference)
        return;
    /* sum p (r - x) - lse(r) + lse(x) */
    store_f64(AT(char, kl) + 8 * (ulong)i, wide_add(wide_sub(r->mean, r->lse), x->lse));
    AT(int, agree)[i] = x->top == r->top;
}
