/* Streams, events, capture, graphs. Work runs when it is submitted: one of the orders a stream
 * allows. */
#include "driver.h"

#include "cuda_sim.h"

#include <stdlib.h>
#include <string.h>

static struct CUstream_st legacy = {.magic = MAGIC_STREAM}, per_thread = {.magic = MAGIC_STREAM};
static int global_captures; /* captures in the global mode */
static int blocking_captures;

CUresult drv_stream(CUstream s, struct CUstream_st **out) {
    if (!s || s == CU_STREAM_LEGACY)
        s = &legacy;
    else if (s == CU_STREAM_PER_THREAD)
        s = &per_thread;
    if (s->magic != MAGIC_STREAM)
        return CUDA_ERROR_INVALID_HANDLE;
    *out = s;
    return CUDA_SUCCESS;
}

bool drv_capturing(struct CUstream_st *s) {
    return s->capture != CU_STREAM_CAPTURE_STATUS_NONE;
}

CUresult drv_no_capture(void) {
    return global_captures ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}

sim_node *drv_graph_add(struct CUgraph_st *g) {
    if (g->n == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 16;
        sim_node *a = realloc(g->node, cap * sizeof *a);
        if (!a)
            return NULL;
        g->node = a;
        g->cap = cap;
    }
    return &g->node[g->n++];
}

static CUresult drv_call(const sim_node *n) {
    uint8_t *arg = malloc(sizeof n->params);
    if (!arg)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(arg, n->params, sizeof n->params);
    int r = n->fn(arg);
    free(arg);
    if (n->status)
        *n->status = r;
    return r ? CUDA_ERROR_LAUNCH_FAILED : CUDA_SUCCESS;
}

CUresult drv_run_node(const sim_node *n) {
    switch (n->kind) {
    case NODE_KERNEL:
        return drv_launch(n);
    case NODE_COPY:
        return drv_copy(n);
    case NODE_SET:
        return drv_set(n);
    default:
        return drv_call(n);
    }
}

SIM_API CUresult cuda_sim_enqueue(CUstream s, int (*fn)(void *), const void *arg, size_t n,
                                  int *status) {
    ENTER(true);
    sim_node k = {.kind = NODE_CALL, .fn = fn, .status = status};
    if (n > sizeof k.params)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(k.params, arg, n);
    *status = 0;
    return drv_submit(s, &k);
}

CUresult drv_submit(CUstream s, const sim_node *n) {
    struct CUstream_st *st;
    CUresult r = drv_stream(s, &st);
    if (r)
        return r;
    if (st->capture == CU_STREAM_CAPTURE_STATUS_INVALIDATED)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (st == &legacy && blocking_captures)
        return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    if (drv_capturing(st)) {
        sim_node *k = drv_graph_add(st->graph);
        if (!k)
            return CUDA_ERROR_OUT_OF_MEMORY;
        *k = *n;
        k->status = NULL; /* the caller's frame is gone when the graph runs */
        return CUDA_SUCCESS;
    }
    r = drv_run_node(n);
    st->done_at = drv_now();
    return r;
}

/* ---- streams ---- */

CUresult cuStreamCreateWithPriority(CUstream *s, unsigned int flags, int priority) {
    ENTER(true);
    if (!s || flags > 1)
        return CUDA_ERROR_INVALID_VALUE;
    struct CUstream_st *n = calloc(1, sizeof *n);
    if (!n)
        return CUDA_ERROR_OUT_OF_MEMORY;
    n->magic = MAGIC_STREAM;
    n->flags = flags;
    n->priority = priority;
    *s = n;
    return CUDA_SUCCESS;
}
CUresult cuStreamCreate(CUstream *s, unsigned int flags) {
    return cuStreamCreateWithPriority(s, flags, 0);
}
CUresult cuStreamDestroy(CUstream s) {
    ENTER(false);
    if (!s || s == CU_STREAM_LEGACY || s == CU_STREAM_PER_THREAD || s->magic != MAGIC_STREAM)
        return CUDA_ERROR_INVALID_HANDLE;
    s->magic = 0;
    free(s);
    return CUDA_SUCCESS;
}
CUresult cuStreamSynchronize(CUstream s) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (!r && drv_capturing(st)) {
        st->capture = CU_STREAM_CAPTURE_STATUS_INVALIDATED;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return r;
}
CUresult cuStreamQuery(CUstream s) {
    return cuStreamSynchronize(s);
}
CUresult cuStreamGetFlags(CUstream s, unsigned int *f) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (!r && f)
        *f = st->flags;
    return r;
}
CUresult cuStreamGetPriority(CUstream s, int *p) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (!r && p)
        *p = st->priority;
    return r;
}
CUresult cuStreamGetCtx(CUstream s, CUcontext *c) {
    (void)s;
    return cuCtxGetCurrent(c);
}
CUresult cuStreamAddCallback(CUstream s, CUstreamCallback fn, void *arg, unsigned int flags) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (r || flags || !fn)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    if (drv_capturing(st))
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    fn(s, CUDA_SUCCESS, arg);
    return CUDA_SUCCESS;
}
CUresult cuLaunchHostFunc(CUstream s, CUhostFn fn, void *arg) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (r || !fn)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    if (drv_capturing(st))
        return CUDA_ERROR_NOT_SUPPORTED;
    fn(arg);
    return CUDA_SUCCESS;
}

/* ---- events ---- */

CUresult cuEventCreate(CUevent *e, unsigned int flags) {
    ENTER(true);
    if (!e)
        return CUDA_ERROR_INVALID_VALUE;
    struct CUevent_st *n = calloc(1, sizeof *n);
    if (!n)
        return CUDA_ERROR_OUT_OF_MEMORY;
    n->magic = MAGIC_EVENT;
    n->flags = flags;
    *e = n;
    return CUDA_SUCCESS;
}
static bool is_event(const struct CUevent_st *e) {
    return e && e->magic == MAGIC_EVENT;
}
CUresult cuEventDestroy(CUevent e) {
    ENTER(false);
    if (!is_event(e))
        return CUDA_ERROR_INVALID_HANDLE;
    e->magic = 0;
    free(e);
    return CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent e, CUstream s) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (r || !is_event(e))
        return r ? r : CUDA_ERROR_INVALID_HANDLE;
    e->graph = drv_capturing(st) ? st->graph : NULL;
    e->recorded = !e->graph;
    e->at = drv_now();
    return CUDA_SUCCESS;
}
CUresult cuEventRecordWithFlags(CUevent e, CUstream s, unsigned int f) {
    (void)f;
    return cuEventRecord(e, s);
}
CUresult cuEventSynchronize(CUevent e) {
    ENTER(true);
    if (!is_event(e))
        return CUDA_ERROR_INVALID_HANDLE;
    return e->graph ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS;
}
CUresult cuEventQuery(CUevent e) {
    return cuEventSynchronize(e);
}
CUresult cuEventElapsedTime(float *ms, CUevent a, CUevent b) {
    ENTER(true);
    if (!is_event(a) || !is_event(b) || !ms)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!a->recorded || !b->recorded || ((a->flags | b->flags) & CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_HANDLE;
    *ms = (float)(b->at - a->at);
    return CUDA_SUCCESS;
}
#undef cuEventElapsedTime
CUresult SIM_API cuEventElapsedTime(float *ms, CUevent a, CUevent b);
CUresult SIM_API cuEventElapsedTime(float *ms, CUevent a, CUevent b) {
    return cuEventElapsedTime_v2(ms, a, b);
}
CUresult cuStreamWaitEvent(CUstream s, CUevent e, unsigned int flags) {
    struct CUstream_st *st;
    ENTER(true);
    (void)flags;
    CUresult r = drv_stream(s, &st);
    if (r || !is_event(e))
        return r ? r : CUDA_ERROR_INVALID_HANDLE;
    if (e->graph && !drv_capturing(st)) { /* the stream joins the capture */
        st->capture = CU_STREAM_CAPTURE_STATUS_ACTIVE;
        st->graph = e->graph;
        st->origin = false;
    }
    return CUDA_SUCCESS;
}

/* ---- capture and graphs ---- */

CUresult cuStreamBeginCapture(CUstream s, CUstreamCaptureMode mode) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (r)
        return r;
    if (st == &legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (drv_capturing(st))
        return CUDA_ERROR_ILLEGAL_STATE;
    st->graph = calloc(1, sizeof *st->graph);
    if (!st->graph)
        return CUDA_ERROR_OUT_OF_MEMORY;
    st->graph->magic = MAGIC_GRAPH;
    st->capture = CU_STREAM_CAPTURE_STATUS_ACTIVE;
    st->mode = mode;
    st->origin = true;
    global_captures += mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    blocking_captures += !(st->flags & CU_STREAM_NON_BLOCKING);
    return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream s, CUgraph *g) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (r || !g)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    if (!drv_capturing(st))
        return CUDA_ERROR_ILLEGAL_STATE;
    if (!st->origin)
        return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    bool bad = st->capture == CU_STREAM_CAPTURE_STATUS_INVALIDATED;
    global_captures -= st->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
    blocking_captures -= !(st->flags & CU_STREAM_NON_BLOCKING);
    st->capture = CU_STREAM_CAPTURE_STATUS_NONE;
    *g = bad ? NULL : st->graph;
    if (bad)
        cuGraphDestroy(st->graph);
    st->graph = NULL;
    return bad ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
}

CUresult cuStreamIsCapturing(CUstream s, CUstreamCaptureStatus *c) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (r || !c)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    *c = st->capture;
    return CUDA_SUCCESS;
}
CUresult SIM_API cuStreamGetCaptureInfo_v2(CUstream s, CUstreamCaptureStatus *c, cuuint64_t *id,
                                           CUgraph *g, const CUgraphNode **deps, size_t *n);
CUresult SIM_API cuStreamGetCaptureInfo_v2(CUstream s, CUstreamCaptureStatus *c, cuuint64_t *id,
                                           CUgraph *g, const CUgraphNode **deps, size_t *n) {
    struct CUstream_st *st = NULL;
    CUresult r = cuStreamIsCapturing(s, c);
    if (r)
        return r;
    if (drv_stream(s, &st))
        return CUDA_ERROR_INVALID_HANDLE;
    if (id)
        *id = (uintptr_t)st->graph;
    if (g)
        *g = st->graph;
    if (deps)
        *deps = NULL;
    if (n)
        *n = 0;
    return CUDA_SUCCESS;
}
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *m) {
    ENTER(false);
    static _Thread_local CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!m)
        return CUDA_ERROR_INVALID_VALUE;
    CUstreamCaptureMode old = mode;
    mode = *m;
    *m = old;
    return CUDA_SUCCESS;
}

static bool is_graph(const struct CUgraph_st *g) {
    return g && g->magic == MAGIC_GRAPH;
}
CUresult cuGraphCreate(CUgraph *g, unsigned int flags) {
    ENTER(true);
    if (!g || flags)
        return CUDA_ERROR_INVALID_VALUE;
    *g = calloc(1, sizeof **g);
    if (!*g)
        return CUDA_ERROR_OUT_OF_MEMORY;
    (*g)->magic = MAGIC_GRAPH;
    return CUDA_SUCCESS;
}
CUresult cuGraphDestroy(CUgraph g) {
    if (!is_graph(g))
        return CUDA_ERROR_INVALID_VALUE;
    g->magic = 0;
    free(g->node);
    free(g);
    return CUDA_SUCCESS;
}
CUresult cuGraphGetNodes(CUgraph g, CUgraphNode *nodes, size_t *n) {
    ENTER(true);
    if (!is_graph(g) || !n)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; nodes && i < *n && i < g->n; i++)
        nodes[i] = (CUgraphNode)(void *)&g->node[i];
    *n = g->n;
    return CUDA_SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec *e, CUgraph g, unsigned long long flags) {
    ENTER(true);
    (void)flags;
    if (!e || !is_graph(g))
        return CUDA_ERROR_INVALID_VALUE;
    struct CUgraphExec_st *x = calloc(1, sizeof *x);
    struct CUgraph_st *c = calloc(1, sizeof *c);
    sim_node *nodes = calloc(g->n + 1, sizeof *nodes);
    if (!x || !c || !nodes) {
        free(x), free(c), free(nodes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (g->n)
        memcpy(nodes, g->node, g->n * sizeof *nodes);
    *c = (struct CUgraph_st){.magic = MAGIC_GRAPH, .node = nodes, .n = g->n, .cap = g->n};
    x->magic = MAGIC_EXEC;
    x->g = c;
    *e = x;
    return CUDA_SUCCESS;
}
CUresult SIM_API cuGraphInstantiate_v2(CUgraphExec *e, CUgraph g, CUgraphNode *bad, char *log,
                                       size_t n);
CUresult SIM_API cuGraphInstantiate_v2(CUgraphExec *e, CUgraph g, CUgraphNode *bad, char *log,
                                       size_t n) {
    if (bad)
        *bad = NULL;
    if (log && n)
        *log = 0;
    return cuGraphInstantiateWithFlags(e, g, 0);
}
CUresult cuGraphUpload(CUgraphExec e, CUstream s) {
    ENTER(true);
    (void)s;
    return e && e->magic == MAGIC_EXEC ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGraphLaunch(CUgraphExec e, CUstream s) {
    struct CUstream_st *st;
    ENTER(true);
    CUresult r = drv_stream(s, &st);
    if (r || !e || e->magic != MAGIC_EXEC)
        return r ? r : CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < e->g->n && !r; i++)
        r = drv_submit(s, &e->g->node[i]);
    return r;
}
CUresult cuGraphExecDestroy(CUgraphExec e) {
    if (!e || e->magic != MAGIC_EXEC)
        return CUDA_ERROR_INVALID_VALUE;
    e->magic = 0;
    cuGraphDestroy(e->g);
    free(e);
    return CUDA_SUCCESS;
}
