/* The main job: a model, calibration text and settings in; a quantized checkpoint out. */
#ifndef NB_PIPELINE_H
#define NB_PIPELINE_H

#include "host/base/log.h"
#include "host/run/plan.h"

typedef struct nb_run_progress {
    size_t block, blocks;   /* finished, in all */
    double seconds;         /* since the run began */
    double loss;            /* mean of the block's relative layer errors; < 0 where there is none */
    double learned_before, learned_after; /* learned rounding: error of the block's output; < 0 where there is none */
    bool learned_kept;                    /* ... was it less, and was what was learned taken? */
    bool resumed;           /* this block came from the journal */
    const char *stage, *unit; /* what is done beside blocks ("gradients", "window"; "learning scales", "step"); NULL while blocks are */
    size_t step, steps;     /* ... so far, in all; seconds are then those of this stage, and loss is the mean KL divergence of the windows
                             * of a step that learns scales, < 0 where there is none */
} nb_run_progress;

typedef struct nb_run_hooks {
    void *ctx;
    /* After each block; may be NULL. */
    void (*progress)(void *ctx, const nb_run_progress *progress);
    /* Asked between blocks, and inside of what takes as long (gradients, tuning, self-written text); true stops with NB_E_INTERRUPTED. May be NULL. */
    bool (*stop)(void *ctx);
    nb_log log;
} nb_run_hooks;

static inline bool nb_run_stop_asked(const nb_run_hooks *hooks) {
    return hooks->stop && hooks->stop(hooks->ctx);
}

typedef struct nb_run_result {
    json_t *report;       /* what quantization_report.json holds; json_decref */
    char device[160];
    double seconds, forward_seconds, statistics_seconds, solve_seconds, write_seconds;
    double other_seconds; /* calibration text, fingerprint, loading blocks */
    uint64_t file_bytes;  /* of the safetensors files written */
    size_t resumed_blocks;
    size_t zeros_clamped; /* zero points that the format could not hold, in the blocks of this process */
    uint64_t peak_memory; /* anonymous memory, bytes; 0 where the system does not say */
} nb_run_result;

/* Runs the plan. Output appears under options->out only when it is whole; the work folder is options->out + ".partial" and stays
 * after a failure, for --resume. */
nb_status nb_run_quantize(const nb_model *model, const nb_plan *plan, const nb_run_options *options,
                          const nb_run_hooks *hooks, nb_run_result *out, nb_err *err);
/* Would a run of these options find its output's place as it must be? Changes nothing; a run asks for itself. */
nb_status nb_run_check_output(const nb_run_options *options, bool gguf, nb_err *err);
/* The recipe of --method best that an interrupted run of these options was begun with; "" if there is none. */
nb_status nb_run_recipe(const nb_run_options *options, char *out, size_t cap, nb_err *err);
void nb_run_result_free(nb_run_result *result);

/* Peak of anonymous memory of this process so far (Linux: RssAnon is sampled; VmHWM counts mapped files too); 0 where unknown. */
uint64_t nb_anon_memory(void);

/* Has the device the kernels of a pass backward through a whole model? */
bool nb_device_has_gradients(const nb_device *device);

/* What a device must be like for the same bytes: its kind and the rows that it runs. */
void nb_device_text(nb_device *device, char *out, size_t cap);

#endif
