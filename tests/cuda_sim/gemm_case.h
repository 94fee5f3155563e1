/* One case of kernels/gemm.cu: data, launch, comparison. */
#ifndef CUDA_SIM_GEMM_CASE_H
#define CUDA_SIM_GEMM_CASE_H

#include <cuda.h>
#include <stdint.h>

typedef struct gemm_case {
    int m, n, k, slices;
    uint16_t *a, *b, *c;
    float *fa, *fb;
    CUdeviceptr da, db, dc, ws, lock;
} gemm_case;

void gemm_make(gemm_case *g, int m, int n, int k, int slices);
CUresult gemm_run(gemm_case *g, CUfunction f); /* launch and download */
double gemm_error(const gemm_case *g); /* largest error as a share of the arithmetic's bound */
void gemm_free(gemm_case *g);

#endif
