/* The vector parts of gptq_block.c, once for each instruction set, after lanes.h. Arithmetic is by the operators of vector
 * types; nothing is fused, so that all variants have the same bits. */

/* Least and largest value of each lane over tile[0..count), beginning with what min and max hold. */
TARGET static void FN(range)(const float *tile, size_t ld, size_t count, float *min, float *max) {
    for (size_t v = 0; v < LANES; v += VL) {
        V lo = LOAD(min + v), hi = LOAD(max + v);
        for (size_t j = 0; j < count; j++) {
            V x = LOAD(tile + j * ld + v);
            lo = MIN(x, lo);
            hi = MAX(x, hi);
        }
        STORE(min + v, lo);
        STORE(max + v, hi);
    }
}

/* Codes and errors of one column: w, scale, zero, err, loss [LANES]. */
TARGET static void FN(column)(const float *w, const float *scale, const float *zero, float top, float pivot, float *err,
                              float *loss, uint8_t *codes) {
    V none = SET1(0.0f), most = SET1(top), u = SET1(pivot);
    for (size_t v = 0; v < LANES; v += VL) {
        V x = LOAD(w + v), s = LOAD(scale + v), z = LOAD(zero + v), q = ROUND(x / s) + z;
        q = MAX(q, none);
        q = MIN(q, most);
        V e = (x - (q - z) * s) / u;
        STORE(err + v, e);
        STORE(loss + v, LOAD(loss + v) + e * e);
        STORE_CODES(codes + v, q);
    }
}

/* tile[j] -= sum_s err[s] * u[s][j] for j in [first, last), in rising s; err is [STEPS, LANES]. */
TARGET static void FN(update_steps)(float *tile, size_t first, size_t last, const float *err, const float *u, size_t ldu) {
    for (size_t v = 0; v < LANES; v += VL * NV) {
        V e[STEPS][NV];
#pragma GCC unroll 8
        for (int s = 0; s < STEPS; s++)
#pragma GCC unroll 2
            for (int i = 0; i < NV; i++)
                e[s][i] = LOAD(err + s * LANES + (int)v + VL * i);
        for (size_t j = first; j < last; j++) {
            float *at = tile + j * LANES + v;
            V t[NV];
#pragma GCC unroll 2
            for (int i = 0; i < NV; i++)
                t[i] = LOAD(at + VL * i);
#pragma GCC unroll 8
            for (int s = 0; s < STEPS; s++) {
                V us = SET1(u[(size_t)s * ldu + j]);
#pragma GCC unroll 2
                for (int i = 0; i < NV; i++)
                    t[i] = t[i] - e[s][i] * us;
            }
#pragma GCC unroll 2
            for (int i = 0; i < NV; i++)
                STORE(at + VL * i, t[i]);
        }
    }
}

/* The same for one step. */
TARGET static void FN(update_one)(float *tile, size_t first, size_t last, const float *err, const float *u) {
    for (size_t j = first; j < last; j++) {
        V us = SET1(u[j]);
        for (size_t v = 0; v < LANES; v += VL) {
            float *at = tile + j * LANES + v;
            STORE(at, LOAD(at) - LOAD(err + v) * us);
        }
    }
}

static const block_isa FN(isa) = {FN(range), FN(column), FN(update_steps), FN(update_one), &FN(nb__search)};

#include "kernels/cpu/lanes_end.h"
