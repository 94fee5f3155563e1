/* What OpenCL kernels share: arguments, vectors of lanes, wide sums, correctly rounded division. Stands before each
 * operation's source, after layout.h. Nothing is contracted but in files of products, which say so. */
#pragma OPENCL FP_CONTRACT OFF
#if NB_CL_FP64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

/* A buffer argument: the cl_mem and bytes from its start. AT gives the pointer of a type; HAS whether it was given. */
#define BUF(name) global char *name##_base, ulong name##_at
#define AT(type, name) ((global type *)(name##_base + name##_at))
#define HAS(name) (name##_base != 0)

/* Multiplies and adds, for sums whose order is free: fused where the compiler finds that fast, after FP_CONTRACT ON, which files
 * of products say (drivers do not name a fast fma as they should, and one that is not fast is made of integers). */
#define MAD(a, b, c) ((a) * (b) + (c))
