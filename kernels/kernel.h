/* What a row of kernels.def becomes: an operation's variant, what it needs of a device, and how far from the oracle
 * its results may lie. */
#ifndef NB_KERNEL_H
#define NB_KERNEL_H

#include "host/base/err.h"
#include "host/base/pool.h"

typedef enum nb_op {
#define NB_OP(op) NB_OP_##op,
#include "kernels/kernels.def"
    NB_OP_COUNT
} nb_op;

typedef enum nb_backend_id { NB_CPU, NB_CUDA, NB_OPENCL, NB_BACKEND_COUNT } nb_backend_id;

/* Needs of CPU rows; each names all that its code uses. */
enum {
    NB_NEED_NONE = 0,
    NB_NEED_AVX2 = 1 << 0,        /* AVX2, FMA, F16C */
    NB_NEED_AVX512 = 1 << 1,      /* AVX-512 F, BW, DQ, VL, and AVX2 */
    NB_NEED_AVX512_VNNI = 1 << 2, /* AVX-512 and its VNNI */
    NB_NEED_AVX_VNNI = 1 << 3,    /* AVX2 and AVX-VNNI */
    NB_NEED_NEON = 1 << 4,
    NB_NEED_DOTPROD = 1 << 5
};

/* A CUDA row that needs cuBLAS; set beside the compute capability. */
enum { NB_CUDA_NEEDS_BLAS = 1 << 16 };

/* Needs of OpenCL rows. A row is built with what it needs, so that a lesser row is the other path of the same source. */
enum {
    NB_CL_NONE = 0,
    NB_CL_FP64 = 1 << 0,      /* doubles; else sums are pairs of floats */
    NB_CL_DIVIDE = 1 << 1,    /* correctly rounded f32 division; else it is made of integers */
    NB_CL_CPU = 1 << 2,       /* a processor: wide vectors in a work-item, no local memory */
    NB_CL_FP16 = 1 << 3,      /* half arithmetic */
    NB_CL_SUBGROUPS = 1 << 4, /* cl_khr_subgroups */
    NB_CL_DOT = 1 << 5,       /* cl_khr_integer_dot_product */
    NB_CL_SUBGROUP16 = 1 << 6, /* sub-groups of 16, which a kernel can ask for (cl_intel_required_subgroup_size) */
    NB_CL_BLAST = 1 << 7      /* CLBlast is installed; taken only where tuning has found it faster */
};

/* Error model: |y - oracle| <= (gamma_K of the accumulator + u_weight) * sum|x||w| + u_out * |y|, with int8 activations
 * adding sum|w| * step / 2. An EXACT row is bit-equal to the oracle. */
typedef enum nb_accumulator { NB_EXACT, NB_F32_ACC, NB_F64_ACC } nb_accumulator;
typedef enum nb_rounding { NB_AS_IS, NB_F16_ROUND, NB_BF16_ROUND, NB_F32_ROUND, NB_INT8_ROUND } nb_rounding;

typedef struct nb_error_model {
    nb_accumulator acc;
    nb_rounding weight; /* of dequantized weights before they are multiplied */
    nb_rounding act;    /* of activations */
} nb_error_model;

#define NB_ERR(acc_, weight_, act_)                                                                                    \
    { .acc = (acc_), .weight = (weight_), .act = (act_) }

/* A CPU kernel: runs on the pool and returns when done. args points to the operation's struct in ops.h. */
typedef nb_status nb_cpu_kernel(nb_pool *pool, const void *args, nb_err *err);

typedef struct nb_kernel {
    nb_op op;
    nb_backend_id backend;
    const char *name;
    unsigned needs; /* CPU: NB_NEED_*; CUDA: compute capability * 10, and NB_CUDA_NEEDS_BLAS; OpenCL: NB_CL_* */
    nb_error_model err;
    nb_cpu_kernel *cpu; /* NULL for other backends */
} nb_kernel;

#endif
