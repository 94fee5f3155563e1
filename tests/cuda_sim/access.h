/* The one path of every memory instruction: addresses, checks, counters, shadows. */
#ifndef CUDA_SIM_ACCESS_H
#define CUDA_SIM_ACCESS_H
#include "exec.h"

enum { ACC_READ = 1, ACC_WRITE = 2, ACC_STRONG = 4, ACC_QUIET = 8 /* no counters */ };
/* Resolves the addresses of the lanes in m to host pointers. Faults do not return. */
void sim_access(sim_warp *w, const sim_insn *in, uint32_t m, unsigned n, unsigned how,
                uint8_t **ptr);
/* The same for given generic-free addresses: global (64-bit) or shared (32-bit) ones. */
void sim_access_global(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                       unsigned n, unsigned how, uint8_t **ptr);
void sim_access_shared(sim_warp *w, const sim_insn *in, uint32_t m, const uint32_t *off, unsigned n,
                       unsigned how, uint8_t **ptr);
/* Base register plus offset of each lane. */
void sim_addresses(const sim_warp *w, const sim_insn *in, uint64_t *addr);
#endif
