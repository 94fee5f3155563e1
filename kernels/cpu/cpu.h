/* What CPU kernels share. */
#ifndef NB_KERNELS_CPU_H
#define NB_KERNELS_CPU_H

#include "host/base/pool.h"
#include "kernels/ops.h"

#define NB_CPU_ROW(op, name, needs, err)                                                           \
    nb_status nb__cpu_##name(nb_pool *pool, const struct nb_##op##_args *args, nb_err *e);
#include "kernels/kernels.def"

/* Before a loop that must be unrolled for its arrays to live in registers. clang 14 does not heed the GCC form. */
#if defined(__clang__)
#define NB_UNROLL    _Pragma("clang loop unroll(full)")
#else
#define NB_UNROLL    _Pragma("GCC unroll 16")
#endif

/* Before a loop over lanes that must become vectors: gcc takes a short loop apart before it looks whether it could vectorise
 * it, and then does not. */
#if defined(__clang__)
#define NB_LANES
#else
#define NB_LANES    _Pragma("GCC unroll 1")
#endif

/* Code for one kind of processor stands in functions marked so; rows of kernels.def say who may
 * call them. */
#if defined(__x86_64__)
#define NB_TARGET_AVX2   __attribute__((target("avx2,fma,f16c")))
#define NB_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")))
#define NB_TARGET_AVX512_VNNI                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")))
#define NB_TARGET_AVX_VNNI __attribute__((target("avx2,fma,f16c,avxvnni")))
#endif

/* A scale as the file will hold it: rounded to F16, BF16 or F32, never below the type's least
 * normal number nor, for F16, above 65504. */
float nb__cpu_round_scale(float scale, nb_dtype type);

/* Scale and zero point by range; struct nb_group_range_args states the rule. */
void nb__cpu_range_params(float min, float max, unsigned bits, bool symmetric, nb_dtype type,
                          float *scale, float *zero);

#endif
