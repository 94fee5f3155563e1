/* The driver's objects. */
#ifndef CUDA_SIM_DRIVER_H
#define CUDA_SIM_DRIVER_H

#pragma GCC visibility push(default)
#include <cuda.h>
#pragma GCC visibility pop
#include "sim.h"

#define SIM_API      __attribute__((visibility("default")))
#define MAGIC_STREAM 0x5354524du
#define MAGIC_EVENT  0x4556454eu
#define MAGIC_GRAPH  0x47524146u
#define MAGIC_EXEC   0x45584543u
#define MAGIC_MODULE 0x4d4f444cu
#define MAGIC_CTX    0x43545854u

struct CUctx_st {
    uint32_t magic;
    int refs;
    bool primary;
    unsigned flags;
    struct CUctx_st *below; /* stack of the thread that made it, not used for primaries */
};
struct CUstream_st {
    uint32_t magic;
    unsigned flags;
    int priority;
    CUstreamCaptureStatus capture;
    CUstreamCaptureMode mode;
    struct CUgraph_st *graph;
    bool origin;
    double done_at;
};
struct CUevent_st {
    uint32_t magic;
    unsigned flags;
    bool recorded;
    double at;
    struct CUgraph_st *graph; /* recorded inside a capture */
};
typedef enum { NODE_KERNEL, NODE_COPY, NODE_SET, NODE_CALL } sim_node_kind;
typedef struct sim_node {
    sim_node_kind kind;
    sim_program *prog;
    unsigned grid[3], block[3], dyn;
    bool cooperative;
    uint8_t params[4352];
    int (*fn)(void *); /* NODE_CALL: params holds its argument */
    int *status;
    void *dst;
    const void *src;
    uint64_t d, s; /* device addresses */
    size_t n;
    int how; /* copy: 0 HtoD, 1 DtoH, 2 DtoD; set: element bytes */
    uint32_t value;
} sim_node;
struct CUgraph_st {
    uint32_t magic;
    sim_node *node;
    size_t n, cap;
};
struct CUgraphExec_st {
    uint32_t magic;
    struct CUgraph_st *g;
};
struct CUmod_st {
    uint32_t magic;
    sim_module *m;
    struct CUmod_st *next;
};

extern CUresult drv_sticky; /* a kernel failed: every later call says so */
extern bool drv_ready;

/* First thing of every entry point: initialised, device not lost, no sticky error, context current.
 */
CUresult drv_enter(bool need_ctx);
bool drv_fault(const char *kind); /* is the n-th such call to fail now */
CUresult drv_stream(CUstream s, struct CUstream_st **out);
bool drv_capturing(struct CUstream_st *s);
CUresult drv_no_capture(void); /* for calls that a capture in global mode forbids */
sim_node *drv_graph_add(struct CUgraph_st *g);
double drv_now(void);
void drv_module_drop_all(void);
CUresult drv_run_node(const sim_node *n);
CUresult drv_copy(const sim_node *n);
CUresult drv_set(const sim_node *n);
CUresult drv_launch(const sim_node *n);
CUresult drv_submit(CUstream s, const sim_node *n); /* runs or records */
void drv_host_reset(void);

/* Every entry point holds one recursive lock, so that threads of the caller may share the device.
 */
int drv_hold(void);
void drv_leave(const int *held);
#define ENTER(ctx)                                                                                 \
    __attribute__((cleanup(drv_leave), unused)) const int held_ = drv_hold();                      \
    const CUresult enter_ = drv_enter(ctx);                                                        \
    if (enter_)                                                                                    \
    return enter_

#endif
