/* A quantization run between its parts: pipeline.c walks the blocks, place.c knows where output goes, device.c keeps a device's memory
 * and loads blocks ahead, block.c takes one block through its stages, linear.c quantizes one matrix, channels.c finds and folds channel scales, resume.c replays
 * blocks that are done, tuned.c learns the scales of all blocks at last. */
#ifndef NB_RUN_IMPL_H
#define NB_RUN_IMPL_H

#include <pthread.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/calib/calib.h"
#include "host/calib/stats.h"
#include "host/model/forward.h"
#include "host/run/learn.h"
#include "host/run/output.h"
#include "host/run/pipeline.h"
#include "host/run/tune.h"

enum { NB__RUN_TENSORS = NB_LIN_COUNT * NB_SCHEME_MAX_TENSORS + NB_TAP_COUNT };

/* The next block's weights, loaded on a thread and a stream of their own while the present block is in work; for devices that do not
 * read host memory in place. */
typedef struct nb__prefetch {
    bool enabled;   /* there is room for it */
    bool running;   /* a thread is to be joined */
    pthread_t thread;
    nb_stream *stream;
    const nb_model *model;
    size_t layer, wanted, copies; /* copies: how many of the wanted are there */
    nb_block blocks[2]; /* the second for the original model's stream */
    nb_status status;
    nb_err err;
} nb__prefetch;

typedef struct nb_run {
    const nb_model *model;
    const nb_plan *plan;
    const nb_run_options *options;
    const nb_run_hooks *hooks;
    nb_run_result *result;
    nb_device *device;
    nb_stream *stream;
    nb_windows windows;
    nb_forward *forward;
    nb_mem hidden, work;
    nb_mem exact_hidden, exact_work; /* of the original model, where the calibration is asymmetric or rounding is learned */
    nb_mem block_input;              /* learned rounding: hidden before the block in work */
    nb_journal journal;
    int lock;      /* on the work folder, or -1 */
    bool replaces; /* what stood at the output's place when the run began, or with --force what does */
    double started, tuning_since;
    /* of the block in work */
    nb_qtensor quantized[NB_LIN_COUNT]; /* learned rounding: not packed yet; AWQ: as packed, for what is folded later */
    size_t packed_at[NB_LIN_COUNT];     /* AWQ: where its tensors stand */
    nb_mem tap_x[NB_TAP_COUNT];         /* inputs of the taps that were reached */
    nb_learn_report learned;
    nb_packed_tensor tensors[NB__RUN_TENSORS];
    const char *prefixes[NB__RUN_TENSORS];
    char norm_names[NB_TAP_COUNT][160];
    /* of two-sided runs, for blocks outputs_first to outputs_end - 1: */
    size_t outputs_first, outputs_end;
    nb_mem *output_side;  /* [their plan items] f32 [n,n]: covariances of gradients by outputs, or NULL */
    nb_mem token_factor;  /* f32 [blocks, NB_TAP_COUNT, tokens]: what each token's input is multiplied by, or absent */
    nb_mem channel_scale; /* f32 [k] of the tap in work; absent: all 1 */
    size_t n_tensors;
    json_t *report;
    double loss_sum;
    size_t loss_count;
    nb__prefetch prefetch;
} nb_run;

static inline const nb_plan_item *nb__run_item(const nb_run *r, size_t layer, nb_lin lin) {
    return &r->plan->items[layer * NB_LIN_COUNT + (size_t)lin];
}

/* Seconds of a clock that only goes forward. */
double nb__run_now(void);
/* Keeps the largest of the process's memory so far. */
void nb__run_sample_memory(nb_run *r);
/* Embeddings of `count` calibration windows from `first` on: out, f32 [count * seq_len, hidden]. */
nb_status nb__run_embed(nb_run *r, size_t first, size_t count, nb_mem out, nb_err *err);
/* Frees what r holds of the block in work. */
void nb__run_forget_block(nb_run *r);

/* ---- place.c ---- */

/* NB_E_USAGE where the output or the work folder holds an input, or what is not ours to remove. */
nb_status nb__run_check_place(nb_run *r, const char *work, bool gguf, nb_err *err);
/* Is there room on the disk for what the run writes? */
nb_status nb__run_check_disk(const nb_run *r, const char *work, nb_err *err);
/* `made` takes the output's name by one rename; an old output is moved into the work folder first, which is removed after. */
nb_status nb__run_put_in_place(nb_run *r, const char *work, const char *made, nb_err *err);

/* ---- linear.c ---- */

/* The plan's settings for one matrix, as a method takes them. */
nb_quant_options nb__run_quant_options(const nb_run *r, const nb_plan_item *it);
/* A matrix of the model as f32 [n,k] on the device, the caller's to release. */
nb_status nb__run_weight(nb_run *r, const nb_plan_item *it, nb_mem *out, nb_err *err);
/* Dequantizes q into w, f32 [n,k] on the device; done on return. */
nb_status nb__run_upload(nb_run *r, const nb_qtensor *q, nb_mem w, nb_err *err);
/* Rows and columns of m [rows,k] times factors (each optional), in place. */
nb_status nb__run_scale_matrix(nb_run *r, nb_mem m, size_t rows, size_t k, nb_mem row, nb_mem col, nb_err *err);
/* Packs q into r->tensors. Where the format could not hold it exactly, q and w take what it does hold. */
nb_status nb__run_keep(nb_run *r, const nb_plan_item *it, nb_qtensor *q, nb_mem w, size_t *clamped, nb_err *err);
/* Rows of a linear that AWQ has kept are divided by s [n], by its scales, in r->tensors and in the block. s becomes 1 where a
 * scale would leave the range of its type. */
nb_status nb__run_divide_rows(nb_run *r, nb_block *block, nb_lin lin, float *s, nb_err *err);
/* Quantizes one matrix with the statistics of its input and keeps it in r->tensors as the format packs it, or with
 * learned rounding in r->quantized. *w_out is what the format gives back, f32 [n,k], the caller's to release. */
nb_status nb__run_linear(nb_run *r, const nb_plan_item *it, const nb_quant_stats *stats, nb_mem *w_out, nb_err *err);

/* ---- channels.c (AWQ, arXiv 2306.00978) ---- */

/* Can channel scales of a tap be folded? Into a norm only where all that reads it is quantized, into rows where those are. */
bool nb__run_can_smooth(const nb_run *r, size_t layer, nb_tap tap);
/* Finds channel scales of a tap's linears and folds them into the norm or the linear before; from here until the tap is done
 * weights and statistics are in scaled channels. x [rows,k] is made anew. */
nb_status nb__run_smooth(nb_run *r, nb_block *block, nb_tap tap, const nb_lin *lins, size_t count, nb_mem x, size_t rows,
                         size_t k, nb_quant_stats *stats, nb_err *err);

/* ---- device.c ---- */

/* Tokens that a step of the forward pass handles at once. */
size_t nb__run_forward_rows(const nb_run *r);
/* Before work starts: NB_E_MEMORY where the run needs more memory of the device than it may take. Decides whether the next block's
 * weights may be there too. */
nb_status nb__run_check_memory(nb_run *r, nb_err *err);
/* The weights of a layer, count of them alike: those that were fetched while the last block was in work, or loaded now. Begins to
 * fetch the next layer's. */
nb_status nb__run_load(nb_run *r, size_t layer, nb_block *out, size_t count, nb_err *err);
/* Waits for what is being fetched, and drops it. */
void nb__run_prefetch_stop(nb_run *r);

/* ---- block.c ---- */

/* Quantizes one block: packed tensors and report are then in r. */
nb_status nb__run_block(nb_run *r, size_t layer, nb_err *err);
/* The stages of one block over all windows, in both streams (`original`, NULL without the second, has the model's own weights); with `quantize` each tap quantizes what reads it. */
nb_status nb__run_stages(nb_run *r, nb_block *block, nb_block *original, bool quantize, nb_err *err);
/* Are there two streams of activations, the original model's beside ours? */
static inline bool nb__run_has_original(const nb_run *r) {
    return r->exact_hidden.base != NULL;
}

/* ---- resume.c ---- */

/* Runs a finished block forward with its quantized weights, so that the next one sees the inputs that it would have seen. */
nb_status nb__run_replay(nb_run *r, size_t layer, nb_err *err);
/* A linear as the part file of its block holds it. */
nb_status nb__run_part_linear(const nb_run *r, const nb_ckpt *part, const nb_plan_item *it, nb_qtensor *out, nb_err *err);
/* Norms that the part file holds, those with channel scales in them, in place of the block's. */
nb_status nb__run_part_norms(nb_run *r, const nb_ckpt *part, nb_block *block, nb_err *err);

/* ---- outputs.c ---- */

/* Before block `layer`: output_side and token_factor are there for it, by a pass through the whole model if they were not. */
nb_status nb__run_outputs(nb_run *r, size_t layer, nb_err *err);
void nb__run_outputs_free(nb_run *r);

/* ---- tuned.c ---- */

/* When all blocks are done: learns their scales, writes part files anew where that gains, and says so in the journal. The original
 * model's last activations stand in r->exact_hidden. */
nb_status nb__run_tune(nb_run *r, nb_err *err);
/* Is that still to be done? */
static inline bool nb__run_tune_pending(const nb_run *r) {
    return r->plan->tune && !r->journal.tune_report;
}

#endif
