/* All of kernels/cuda is one translation unit: the build has nvcc read every .cu file of this folder before this one
 * (-include), in the order of their names. Helpers are static; kernels are extern "C". */
