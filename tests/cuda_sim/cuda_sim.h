/* What the rig's own tests and bench may ask of the simulator beside the driver API. The product never
 * includes this: it sees a libcuda.so.1. */
#ifndef CUDA_SIM_H
#define CUDA_SIM_H

/* Sets an option as its environment variable does, by the name without CUDA_SIM_ ("STRICT", "1").
 * SMS, CC, SEED, STRICT, THREADS, REPORT, FAULT, WATCHDOG, DELETE at any time; MEMORY before cuInit. */
void cuda_sim_set(const char *name, const char *value);
/* JSON object with the counters of the last launch; valid until the next one. */
const char *cuda_sim_report(void);
/* The line of the last fault or finding, "" if there was none. */
const char *cuda_sim_finding(void);
/* Forgets memory, modules and a failed context: a new device. */
void cuda_sim_reset(void);

#endif
