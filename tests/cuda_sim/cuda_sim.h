/* What the rig's own tests and bench may ask of the simulator beside the driver API. The product
 * never includes this: it sees a libcuda.so.1. */
#ifndef CUDA_SIM_H
#define CUDA_SIM_H

/* Sets an option as its environment variable does, by the name without CUDA_SIM_ ("STRICT", "1").
 * SMS, CC, SEED, STRICT, THREADS, REPORT, FAULT, WATCHDOG, DELETE at any time; MEMORY before
 * cuInit. */
void cuda_sim_set(const char *name, const char *value);
/* JSON object with the counters of the last launch; valid until the next one. */
const char *cuda_sim_report(void);
/* The line of the last fault or finding, "" if there was none. */
const char *cuda_sim_finding(void);
/* Forgets memory, modules and a failed context: a new device. */
void cuda_sim_reset(void);

/* For libraries that compute on the simulator's memory, as the cuBLAS stand-in does. */
#include <cuda.h>
#include <stddef.h>
/* Host image of [p, p + n) of device memory, NULL (and a line on stderr) when it is not inside one
 * live allocation. access bit 0: all of it must be initialised (strict mode), bit 1: it becomes so.
 */
void *cuda_sim_range(CUdeviceptr p, size_t n, int access);
/* Runs fn(copy of arg) in stream order, or records it when the stream captures. *status gets what
 * fn returned; n is at most 4096 bytes. */
CUresult cuda_sim_enqueue(CUstream s, int (*fn)(void *), const void *arg, size_t n, int *status);

#endif
