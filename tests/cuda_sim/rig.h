/* Helpers of the rig's tests: a context, buffers, launches from PTX text or from a compiled file. */
#ifndef CUDA_SIM_RIG_H
#define CUDA_SIM_RIG_H

#include "cuda_sim.h"

#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

/* Aborts the test with the call's text when a driver call fails. */
#define OK(call) rig_ok((call), #call, __FILE__, __LINE__)
void rig_ok(CUresult r, const char *what, const char *file, int line);

void rig_start(int cc, int strict);        /* cuInit, primary context current, options set */
CUmodule rig_load(const char *name, int arch); /* kernels/<name>.cu compiled for compute_<arch> */
char *rig_text(const char *name, int arch);    /* its PTX; free() it */
CUfunction rig_function(CUmodule m, const char *name);
CUdeviceptr rig_alloc(size_t n);
CUdeviceptr rig_upload(const void *p, size_t n);
void rig_download(void *p, CUdeviceptr d, size_t n);
/* Launch with an array of pointers to arguments. */
CUresult rig_launch(CUfunction f, unsigned grid, unsigned block, unsigned dyn, void **args);
/* A whole module around one body: kernel k(u64 out, u64 a, u64 b, u64 c), registers declared by the
 * caller in `decl`. Loads it and returns the function. */
CUfunction rig_ptx(int target, const char *decl, const char *body);
/* Scalar f16 of the tests. */
float rig_float(uint16_t h);
uint16_t rig_half(double x);
float rig_bf16_round(double x);
uint64_t rig_rand(uint64_t *s);
/* Unsigned number after "key": in the last launch's report, -1 when absent. */
long long rig_counter(const char *key);

#endif
