/* The simulator's own structures. Driver entry points are in driver_*.c, the machine in the rest.
 */
#ifndef CUDA_SIM_SIM_H
#define CUDA_SIM_SIM_H

#include "ptx.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>

#define SIM_LANES      32
#define SIM_FULL       0xffffffffu
#define SIM_MAX_WARPS  32 /* of a CTA */
#define SIM_BARRIERS   16
#define SIM_CALL_DEPTH 24

/* Generic address windows. Device addresses start above them, so that the host cannot dereference
 * one. */
#define SIM_SHARED_BASE 0x100000000ull
#define SIM_LOCAL_BASE  0x180000000ull
#define SIM_PARAM_BASE  0x190000000ull
#define SIM_WINDOW      0x1000000ull
#define SIM_DEV_BASE    0x200000000ull

/* ---- options (environment) ---- */
typedef struct sim_options {
    int sms, cc, threads, strict, slice, fmad;
    uint64_t seed, memory, watchdog;
    char report[512];
    char fault_kind[16];
    uint64_t fault_at;
    char delete_kernel[256]; /* CUDA_SIM_DELETE=kernel:line[:mode], the mutation checker's knob */
    char delete_mode[16];
    int delete_line;
} sim_options;
extern sim_options sim_opt;
void sim_options_read(void);

/* ---- memory ---- */
typedef struct sim_alloc {
    uint64_t lo, size; /* device address, bytes asked for */
    bool freed, module;
    uint32_t serial;
} sim_alloc;

typedef struct sim_memory {
    uint8_t *arena;       /* host image of [SIM_DEV_BASE, + arena_size) */
    uint8_t *valid;       /* strict: one byte a byte, 1 = written */
    struct sim_grec *rec; /* strict: one record a 4-byte word */
    uint64_t arena_size, top, used, limit;
    sim_alloc *a; /* sorted by address */
    size_t n, cap;
    uint32_t serial;
    pthread_mutex_t lock;
} sim_memory;
extern sim_memory sim_mem;
int sim_mem_init(void);
void sim_mem_reset(void);
bool sim_mem_records(void);
uint64_t sim_mem_alloc(uint64_t size, bool module); /* 0: out of memory */
bool sim_mem_free(uint64_t addr);
/* The live allocation that holds [addr, addr+n), NULL if none; *why (may be NULL) gets a phrase. */
const sim_alloc *sim_mem_find(uint64_t addr, uint64_t n, char *why, size_t nwhy);
static inline uint8_t *sim_host(uint64_t addr) {
    return sim_mem.arena + (addr - SIM_DEV_BASE);
}
void sim_mem_mark(uint64_t addr, uint64_t n, int valid);

/* ---- programs ---- */
typedef enum {
    CL_INT,
    CL_LOGIC,
    CL_F16,
    CL_BF16,
    CL_F32,
    CL_F64,
    CL_CVT,
    CL_MOV,
    CL_PRED,
    CL_SFU,
    CL_BRANCH,
    CL_LD_GLOBAL,
    CL_ST_GLOBAL,
    CL_LD_SHARED,
    CL_ST_SHARED,
    CL_LOCAL,
    CL_PARAM,
    CL_GENERIC,
    CL_LDMATRIX,
    CL_CPASYNC,
    CL_MMA,
    CL_ATOM,
    CL_WARP,
    CL_BARRIER,
    CL_FENCE,
    CL_OTHER,
    CL_COUNT
} sim_class;
extern const char *const sim_class_name[CL_COUNT];

typedef enum {
    CTL_NONE,
    CTL_BRA,
    CTL_BRX,
    CTL_RET,
    CTL_EXIT,
    CTL_CALL,
    CTL_BAR,
    CTL_SYNC,
    CTL_YIELD,
    CTL_TRAP
} sim_ctl;

typedef struct sim_insn sim_insn;
typedef struct sim_warp sim_warp;
typedef struct sim_cta sim_cta;
typedef struct sim_runner sim_runner;
typedef struct sim_launch sim_launch;
typedef struct sim_program sim_program;
typedef void (*sim_fn)(sim_warp *w, const sim_insn *in, uint32_t m);

/* Flags of memory instructions. */
enum {
    MF_VOLATILE = 1,
    MF_RELAXED = 2,
    MF_ACQUIRE = 4,
    MF_RELEASE = 8,
    MF_NC = 16,
    MF_SYSGPU = 32,
    MF_SIGNED = 64,
    MF_POLICY = 128,
    MF_WEAKENED = 256
};
#define MF_STRONG (MF_VOLATILE | MF_RELAXED | MF_ACQUIRE | MF_RELEASE)

struct sim_insn {
    sim_fn fn;
    int32_t d, a, b, c, e; /* operand slots (>= 0 register file, < 0 pool), or predicate numbers */
    int32_t off;           /* address offset, branch target */
    uint32_t imm;          /* operation's own constant: lop3 table, comparison, ... */
    uint16_t flags;
    int16_t guard;
    uint8_t gneg, ctl, cls, space;
    uint8_t bytes, vec, abits,
        neg;        /* element bytes, elements, address register bits, negated inputs */
    uint8_t member; /* CTL_SYNC: which operand (1 a .. 4 e) is the member mask, 0: all */
    int32_t *ext;   /* further operand slots (vectors, mma) */
    const ptx_insn *src;
};

typedef struct sim_opstat {
    uint64_t n, lanes;
} sim_opstat;
typedef struct sim_memstat {
    uint64_t greq, sectors, sectors_ideal, gbytes, sreq, waves, waves_ideal, sbytes;
} sim_memstat;

struct sim_program {
    const char *name;
    const ptx_func *entry;
    struct sim_module *mod;
    sim_insn *code;
    int ncode, cap;
    uint32_t *pool; /* broadcast constants, 32 lanes each */
    int npool, cap_pool;
    int nslots; /* 32-bit words a lane */
    int npreds;
    int nsregs; /* special registers kept in slots: see sreg[] */
    struct {
        int32_t slot;
        int id;
    } sreg[64];
    uint32_t static_shared, local_bytes, param_bytes;
    uint32_t dyn_align;
    int nregs;          /* estimated 32-bit registers a thread */
    bool communicates;  /* CTAs can see each other: atomics, strong accesses, fences */
    bool partial_bars;  /* barriers with a thread count */
    int max_dyn_shared; /* cuFuncSetAttribute */
    int carveout;
    bool loaded; /* on the device: drivers put that off to the first use */
    int cluster_unused;
};

typedef struct sim_module {
    ptx_module *ptx;
    sim_program **prog;
    int nprog;
    uint64_t *allocs;
    int nallocs;
    char log[1024];
} sim_module;
sim_module *sim_module_load(const char *text, char *err, size_t errlen, int *unsupported_target);
void sim_module_free(sim_module *m);
sim_program *sim_decode(sim_module *m, ptx_func *f, char *err, size_t errlen);
void sim_program_free(sim_program *p);

/* ---- execution ---- */
typedef struct sim_vc { /* what is known of other CTAs' warps: clock by global warp number */
    uint32_t refs, n;
    uint32_t t[];
} sim_vc;

typedef struct sim_reader { /* of one word since its last write */
    uint32_t id, ts;        /* global: warp of the grid + 1; shared: warp of the CTA + 1; 0: free */
    uint8_t lane, bm;
} sim_reader;

typedef struct sim_srec { /* shared memory, one 4-byte word */
    uint32_t wts;
    uint8_t wwarp, wlane, wbm;
    sim_reader r[4];
} sim_srec;

typedef struct sim_grec { /* global memory, one 4-byte word */
    uint32_t launch;
    uint32_t wid, wts;
    uint8_t wlane, wbm, strong;
    sim_reader r[2];
} sim_grec;

typedef struct sim_copy { /* a cp.async in flight (strict mode) */
    uint32_t group, dst;
    uint8_t lane, size;
    uint8_t data[16];
    const sim_insn *in;
} sim_copy;

struct sim_warp {
    uint32_t *r;
    const uint32_t *pool;
    uint32_t *p;
    uint32_t pc, limit;
    uint32_t active, live, blocked, parked;
    bool diverged, done;
    uint8_t id;
    uint32_t gid; /* warp number in the grid */
    sim_cta *cta;
    sim_runner *run;
    uint32_t cc; /* carry flags */
    uint8_t *local;
    uint8_t *local_valid;
    uint32_t lane_pc[SIM_LANES];
    uint32_t ret[SIM_CALL_DEPTH][SIM_LANES];
    uint8_t sp[SIM_LANES];
    uint64_t steps, spin;
    /* cp.async */
    uint32_t group[SIM_LANES];
    sim_copy *copy;
    int ncopy, cap_copy;
    /* happens-before */
    uint32_t sync_ts;
    sim_vc *known, *fence, *pending;
    /* deadlock proof */
    uint64_t spin_hash, spin_power, spin_len, spin_epoch;
    uint32_t spin_visit;
    bool cycling;
    uint64_t last_addr;
    const sim_insn *last_ld;
};

typedef struct sim_barrier {
    uint32_t arrived, expected; /* lanes; expected 0: every live lane */
    uint32_t red_and, red_or, red_count;
    uint32_t line;
    uint32_t warps; /* waiting */
    uint32_t lanes[SIM_MAX_WARPS];
    int32_t red_dst[SIM_MAX_WARPS];
    uint8_t red_kind[SIM_MAX_WARPS];
    uint32_t joined; /* warps that arrived (also without waiting) */
} sim_barrier;

struct sim_cta {
    uint32_t idx[3];
    uint64_t lin;
    uint8_t *smem;
    uint32_t smem_size, smem_cap;
    uint32_t *regs; /* register files of all warps, aligned */
    uint32_t *preds;
    uint8_t *local, *local_valid;
    sim_warp *warp;
    int nwarps, live_warps;
    uint32_t live_lanes;
    sim_barrier bar[SIM_BARRIERS];
    /* strict */
    uint8_t *svalid;
    sim_srec *srec;
    uint8_t *spend; /* per byte: cp.async in flight to it */
    uint32_t clock, full_ts;
    uint32_t seen[SIM_MAX_WARPS][SIM_MAX_WARPS];
    uint64_t rng;
    struct sim_cta *next;
    bool used;
};

struct sim_launch {
    sim_program *prog;
    uint32_t grid[3], block[3];
    uint32_t dyn_shared;
    uint8_t params[4352];
    uint64_t ncta, next_cta;
    int threads_per_cta, warps_per_cta, resident, occupancy;
    bool strict, parallel, cooperative;
    uint32_t serial;
    uint64_t grid_ws; /* cooperative launch: barrier word of this_grid().sync() */
    pthread_mutex_t lock;
    sim_opstat *stat; /* merged */
    sim_memstat *mem;
    uint64_t total;
    volatile int failed;
    int error; /* CUresult */
    char msg[1024];
    double seconds;
    struct sim_sync *sync; /* strict: released clocks by address */
    uint32_t nwarps_grid;
    bool vc_on;
};

struct sim_runner {
    sim_launch *l;
    sim_opstat *stat;
    sim_memstat *mem;
    jmp_buf fail;
    uint64_t alloc_lo, alloc_hi; /* the allocation found last */
    uint64_t steps, progress;    /* steps at the last progress */
    sim_cta *list;
    int nresident;
    bool strict;
    uint64_t rng;
};

/* ---- launch.c, cta.c, warp.c ---- */
int sim_run(sim_launch *l); /* CUresult */
int sim_occupancy(const sim_program *p, int threads, uint32_t dyn);
uint32_t sim_max_shared(void);
uint32_t sim_sm_shared(void);
void sim_cta_start(sim_runner *r, sim_cta *c, uint64_t lin);
void sim_cta_free(sim_cta *c);
bool sim_cta_step(sim_runner *r, sim_cta *c); /* true: it did something */
void sim_barrier_arrive(sim_warp *w, const sim_insn *in, uint32_t m);
void sim_barrier_check(sim_cta *c, int b);
typedef enum { RUN_SLICE, RUN_BLOCKED, RUN_DONE } sim_run_state;
sim_run_state sim_warp_run(sim_warp *w, int budget);
void sim_warp_reselect(sim_warp *w);
void sim_deadlock(sim_runner *r);
uint64_t sim_random(uint64_t *s);

/* ---- faults and findings ---- */
enum {
    SIM_ERR_ADDRESS = 700,
    SIM_ERR_MISALIGNED = 716,
    SIM_ERR_FAILED = 719,
    SIM_ERR_ILLEGAL = 715,
    SIM_ERR_TIMEOUT = 702
};
/* Ends the launch: one line to stderr and the report. lane < 0: the whole warp. */
_Noreturn void sim_fault(sim_warp *w, const sim_insn *in, int lane, uint64_t addr, int err,
                         const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void sim_where(char *buf, size_t n, const sim_program *p, const sim_insn *in);
extern char sim_last_msg[1024];
void sim_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- strict checks ---- */
/* Races: all lanes of an instruction are checked first, then their accesses are noted. */
typedef enum { SIM_CHECK, SIM_NOTE } sim_phase;
void sim_shared_access(sim_warp *w, const sim_insn *in, sim_phase ph, int lane, uint32_t off,
                       unsigned n, bool write, bool atomic);
void sim_global_access(sim_warp *w, const sim_insn *in, sim_phase ph, int lane, uint64_t addr,
                       unsigned n, bool write, bool strong);
void sim_hb_barrier(sim_cta *c, uint32_t from, uint32_t to, bool full);
void sim_hb_warpsync(sim_warp *w);
void sim_hb_release(sim_warp *w, uint64_t addr, unsigned flags, bool rmw);
void sim_hb_acquire(sim_warp *w, uint64_t addr, unsigned flags);
uint64_t sim_hb_key(const sim_warp *w, uint64_t addr, int space);
void sim_hb_fence(sim_warp *w);
bool sim_hb_ordered(const sim_warp *w, uint32_t gid, uint32_t ts);
void sim_hb_begin(sim_launch *l);
void sim_hb_end(sim_launch *l);
void sim_hb_warp_end(sim_warp *w);
/* Marks [off, off+n) of shared memory pending for a cp.async (1) or delivered (0). */
void sim_deliver(sim_warp *w, uint32_t m, int keep);

/* ---- counters ---- */
void sim_count_global(sim_warp *w, const sim_insn *in, uint32_t m, const uint64_t *addr,
                      unsigned size);
void sim_count_shared(sim_warp *w, const sim_insn *in, uint32_t m, const uint32_t *off,
                      unsigned size);
void sim_count_rows(sim_warp *w, const sim_insn *in, const uint32_t *off, int rows);
void sim_report_launch(const sim_launch *l);
char *sim_report_json(const sim_launch *l); /* malloc'd */

/* ---- opcode tables ---- */
typedef struct sim_op {
    const char *op;  /* whole opcode without the ignorable parts */
    const char *sig; /* operand kinds, see decode.c */
    sim_fn fn;
    sim_class cls;
    uint32_t imm;
    sim_ctl ctl;
} sim_op;
typedef struct sim_dec sim_dec;
typedef struct sim_decoder {
    const char *mnemonic;
    void (*fn)(sim_dec *d, const ptx_insn *in);
} sim_decoder;
extern const sim_op sim_ops_int[], sim_ops_bits[], sim_ops_float[], sim_ops_half[], sim_ops_bf16[],
    sim_ops_sfu[], sim_ops_warp[], sim_ops_misc[], sim_ops_simd[], sim_ops_round[];
extern const sim_decoder sim_dec_ctl[], sim_dec_mem[], sim_dec_cvt[], sim_dec_setp[],
    sim_dec_atom[], sim_dec_mma[], sim_dec_video[];

#endif
