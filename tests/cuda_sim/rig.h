/* Helpers of the rig's tests: a context, buffers, launches from PTX text or from a compiled file.
 */
#ifndef CUDA_SIM_RIG_H
#define CUDA_SIM_RIG_H

#include "cuda_sim.h"

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Aborts the test with the call's text when a driver call fails. */
#define OK(call) rig_ok((call), #call, __FILE__, __LINE__)
void rig_ok(CUresult r, const char *what, const char *file, int line);

void rig_start(int cc, int strict);            /* cuInit, primary context current, options set */
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
/* Runs one instruction over n elements. sig: kinds of destination and sources, h 16, w 32, x 64
 * bits, p predicate; a literal tail (", 0xea") may follow the opcode's operands. Slots are 64-bit,
 * used from the low end; out keeps `keep` where element i has i % 3 == 1 and masked is set (lane
 * predicated off). */
typedef struct rig_case {
    const char *op, *sig, *tail;
    int target;
    bool masked;
} rig_case;
void rig_op(const rig_case *t, const uint64_t *a, const uint64_t *b, const uint64_t *c,
            uint64_t *out, int n);
#define RIG_KEEP 0x5a5a5a5a5a5a5a5aull
/* Random 64-bit values with edges (0, 1, -1, powers of two, extremes of every width) mixed in. */
void rig_ints(uint64_t *v, int n, uint64_t seed);
/* Random f32 bit patterns with specials: zeros, subnormals, infinities, NaN, near-equal values. */
void rig_f32s(uint64_t *v, int n, uint64_t seed);
void rig_f64s(uint64_t *v, int n, uint64_t seed);
/* Scalar f16 of the tests. */
float rig_float(uint16_t h);
uint16_t rig_half(double x);
float rig_bf16_round(double x);
uint64_t rig_rand(uint64_t *s);
/* Unsigned number after "key": in the last launch's report, -1 when absent. */
long long rig_counter(const char *key);

#endif
