/* Elementwise mathematics that compilers vectorise, and the macro by which one body becomes a kernel for each instruction
 * set. Only additions, multiplications, divisions and bit operations in a fixed order: the same bits on every processor. */
#ifndef NB_KERNELS_CPU_VMATH_H
#define NB_KERNELS_CPU_VMATH_H

#include <string.h>

#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

/* A body that is compiled anew inside each variant. */
#define NB_BODY static inline __attribute__((always_inline))
#define NB_TARGET_PLAIN

/* A task function and a kernel that run `op`_rows(args, first, last) over args->rows in tasks of `per_task` rows. */
#define NB_ROWS_VARIANT(op, isa, target, per_task)                                                                     \
    target static void op##_task_##isa(void *arg, size_t task, unsigned worker) {                                      \
        const struct nb_##op##_args *a = arg;                                                                          \
        (void)worker;                                                                                                  \
        op##_rows(a, task * (per_task), nb_min((task + 1) * (per_task), a->rows));                                     \
    }                                                                                                                  \
    nb_status nb__cpu_##op##_##isa(nb_pool *pool, const struct nb_##op##_args *args, nb_err *err) {                    \
        (void)err;                                                                                                     \
        nb_pool_run(pool, nb_ceil_div(args->rows, (per_task)), op##_task_##isa, (void *)(uintptr_t)args);              \
        return NB_OK;                                                                                                  \
    }
#if defined(__x86_64__)
#define NB_ROWS_VARIANTS(op, per_task)                                                                                 \
    NB_ROWS_VARIANT(op, plain, NB_TARGET_PLAIN, per_task)                                                              \
    NB_ROWS_VARIANT(op, avx2, NB_TARGET_AVX2, per_task)                                                                \
    NB_ROWS_VARIANT(op, avx512, NB_TARGET_AVX512, per_task)
#else
#define NB_ROWS_VARIANTS(op, per_task) NB_ROWS_VARIANT(op, plain, NB_TARGET_PLAIN, per_task)
#endif

NB_BODY uint32_t nb__bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

NB_BODY float nb__from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* exp(x) to 2 ulp for x in [-87.33, 88.37]; 0 below, exp(88.37) above; NaN stays NaN. x = n ln 2 + r with ln 2 in two
 * parts (Cody and Waite), exp(r) = 1 + r + r^2 P(r) with the polynomial of Cephes' expf, n added to the exponent. Adding
 * 1.5 * 2^23 rounds to an integer and leaves it in the low bits. */
NB_BODY float nb__exp(float x) {
    const float magic = 12582912.0f;
    float c = x > 88.37f ? 88.37f : x;
    float t = c * 1.44269504088896341f + magic;
    float n = t - magic;
    float r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float e = (p * (r * r) + r) + 1.0f;
    float scaled = e * nb__from_bits((nb__bits(t) + (127u - 0x4b400000u)) << 23);
    return x < -87.33f ? 0.0f : scaled;
}

/* Softmax down the columns of s[rows][ld], nr of them: the larger of max[l] and column l, to max[l]. */
NB_BODY void nb__column_max(const float *restrict s, size_t rows, size_t ld, const size_t nr, float *restrict max) {
    for (size_t i = 0; i < rows; i++)
        NB_LANES
        for (size_t l = 0; l < nr; l++)
            max[l] = s[i * ld + l] > max[l] ? s[i * ld + l] : max[l];
}

/* exp(s - max) in place of s; column l is added to sum[l]. */
NB_BODY void nb__column_exp(float *restrict s, size_t rows, size_t ld, const size_t nr, const float *restrict max,
                            float *restrict sum) {
    for (size_t i = 0; i < rows; i++)
        NB_LANES
        for (size_t l = 0; l < nr; l++) {
            float e = nb__exp(s[i * ld + l] - max[l]);
            s[i * ld + l] = e;
            sum[l] += e;
        }
}

#endif
