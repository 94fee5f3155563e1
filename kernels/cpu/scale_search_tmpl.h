/* The vector part of scale_search.c, once for each instruction set, after lanes.h. Bits are those of the statement in ops.h. */

/* error[z][lane] = sum_j h[j] (w - q scale)^2, q = clamp(round(w / scale), -zero, top - zero), by the reciprocal. */
TARGET static inline __attribute__((always_inline)) void FN(errors)(const float *w, size_t count, const float *h,
                                                                    const float *scale, const float *zero, float top,
                                                                    float *error, int zeros) {
    for (size_t v = 0; v < LANES; v += VL) {
        V s = LOAD(scale + v), r = SET1(1.0f) / s, lo[4], hi[4], sum[4];
#pragma GCC unroll 4
        for (int z = 0; z < zeros; z++) {
            V at = LOAD(zero + z * LANES + (int)v);
            lo[z] = SET1(0.0f) - at;
            hi[z] = SET1(top) - at;
            sum[z] = SET1(0.0f);
        }
        for (size_t j = 0; j < count; j++) {
            V x = LOAD(w + j * LANES + v), q = ROUND(x * r), weight = SET1(h[j]);
#pragma GCC unroll 4
            for (int z = 0; z < zeros; z++) {
                V c = MAX(q, lo[z]);
                c = MIN(c, hi[z]);
                V e = x - c * s;
                sum[z] = sum[z] + weight * (e * e);
            }
        }
#pragma GCC unroll 4
        for (int z = 0; z < zeros; z++)
            STORE(error + z * LANES + (int)v, sum[z]);
    }
}

TARGET static void FN(one)(const float *w, size_t count, const float *h, const float *scale, const float *zero, float top,
                           float *error) {
    FN(errors)(w, count, h, scale, zero, top, error, 1);
}

TARGET static void FN(four)(const float *w, size_t count, const float *h, const float *scale, const float *zero, float top,
                            float *error) {
    FN(errors)(w, count, h, scale, zero, top, error, 4);
}

const nb__search_isa FN(nb__search) = {FN(one), FN(four)};

#include "kernels/cpu/lanes_end.h"
