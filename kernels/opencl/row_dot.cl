/* Scalar products of rows, a row a work-group. */
#include "kernels/opencl/wide_sum.cl"

#if NB_CL_FP64
#define SCALED_TERM(a, b) wide_mul(wide_of(a), wide_of(b))
#else
/* The range of a pair is too small for products of the smallest floats: terms are scaled by the largest one's exponent. */
#define SCALED_TERM(a, b) scaled_product(a, b, exponent)

inline int exponent_of(float a, float b) {
    int ea, eb;
    frexp(a, &ea);
    frexp(b, &eb);
    return a == 0.0f || b == 0.0f ? -1000 : ea + eb;
}

inline wide scaled_product(float a, float b, int exponent) {
    int ea, eb;
    float ma = frexp(a, &ea), mb = frexp(b, &eb);
    wide p = exact_product(ma, mb);
    int shift = ea + eb - exponent;
    return (float2)(ldexp(p.x, shift), ldexp(p.y, shift));
}
#endif

kernel void row_dot(uint k, BUF(a), uint lda, BUF(b), uint ldb, BUF(out), local wide *room) {
    uint i = get_group_id(0);
    global const float *a = AT(float, a) + (ulong)i * lda, *b = AT(float, b) + (ulong)i * ldb;
#if !NB_CL_FP64
    int exponent = -1000;
    for (uint j = 0; j < k; j++)
        exponent = max(exponent, exponent_of(a[j], b[j]));
#endif
    ITEM_SUM(sum, k, SCALED_TERM(a[j], b[j]))
    sum = group_sum(room, sum);
#if NB_CL_FP64
    float dot = wide_float(sum);
#else
    float dot = ldexp(wide_float(sum), exponent);
#endif
    if (get_local_id(0) == 0)
        AT(float, out)[i] = dot;
}
