#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/size.h"
#include "host/base/str.h"
#include "host/cli/cli.h"
#include "host/cli/progress.h"
#include "host/run/pipeline.h"

typedef struct quantize_values {
    nb_common common;
    const char *out, *method, *group_size, *order, *scales, *calib, *device, *format, *checkpoint_format, *embeddings, *kernel_filter;
    int64_t bits, samples, seq_len, seed, threads, shard_bytes, descent, iters, batch, device_memory, gradient_memory;
    double damp, asym_calib, rate, budget;
    bool symmetric, two_sided, ragged, dry_run, resume, force, allow_device_change;
    nb_opt_list overrides;
} quantize_values;

#define AT(field) offsetof(quantize_values, field)
/* clang-format off */
static const nb_opt opts[] = {
    {"output", 'o', NB_OPT_STR, AT(out), "DIR", NULL, 0, 0, "folder to write (a file for --format gguf); it appears only when it is whole"},
    {"method", 0, NB_OPT_STR, AT(method), "NAME", NULL, 0, 0, "gptq: minimises the error of each layer's output on calibration text; rtn: rounding to nearest, needs no text; hqq: zero points by half-quadratic steps, needs no text, for --asym --format gguf (with the whole zero points of the other formats it is rounding to nearest); awq+gptq, awq, awq+hqq: channel scales folded into norms first, then GPTQ, rounding to nearest or hqq; autoround, gptq+autoround, hqq+autoround: rounding and ranges learned block by block by signed gradient steps, from rounding to nearest, GPTQ or hqq (CPU only); any of these and +tune (gptq+tune): at last the scales of all groups are learned together, by gradient steps on the KL divergence of the whole model's predictions to the original's (CPU only); best: what measured best, of what bits, device, memory and --budget allow (default gptq)"},
    {"budget", 0, NB_OPT_NUMBER, AT(budget), "SECONDS", NULL, 0, 1000000000, "best: computing may take so long by the estimate of --dry-run; 0: any (default 0)"},
    {"bits", 'b', NB_OPT_INT, AT(bits), "N", NULL, 2, 8, "bits of a weight: 2, 3, 4 or 8 (default 4)"},
    {"group-size", 'g', NB_OPT_STR, AT(group_size), "auto|N", NULL, 0, 0, "inputs that share a scale; -1: a whole row; auto: the largest of 128, 64 and 32 that divides every layer; 32 for a GGUF (default auto)"},
    {"sym", 0, NB_OPT_FLAG, AT(symmetric), NULL, NULL, 0, 0, "no zero points: most engines load it (default)"},
    {"asym", 0, NB_OPT_NOT, AT(symmetric), NULL, NULL, 0, 0, "zero points: better quality, fewer engines"},
    {"order", 0, NB_OPT_CHOICE, AT(order), NULL, "stored|act|act-static|group-aware", 0, 0, "order of the columns in GPTQ: as stored; by activation with g_idx; by activation with static groups; groups and columns by activation with g_idx = k/g (default group-aware)"},
    {"scales", 0, NB_OPT_CHOICE, AT(scales), NULL, "auto|minmax|search", 0, 0, "scale and zero point of a group: by the range of its weights, or those of least error on a grid, weighted by the Hessian's diagonal where there is calibration; auto: search with calibration, else minmax (default auto)"},
    {"calib", 'c', NB_OPT_STR, AT(calib), "FILE|self", NULL, 0, 0, "calibration text (plain, or JSON lines with \"text\"); self: text that the model itself writes (default self)"},
    {"samples", 0, NB_OPT_INT, AT(samples), "N", NULL, 1, 1000000, "calibration windows (default 128)"},
    {"seq-len", 0, NB_OPT_INT, AT(seq_len), "L", NULL, 8, 1000000, "tokens in a window (default 512)"},
    {"seed", 0, NB_OPT_INT, AT(seed), "S", NULL, 0, INT64_MAX, "seed of the draw of windows, of self-written text, and of what --two-sided, autoround and tune draw (default 0)"},
    {"damp", 0, NB_OPT_NUMBER, AT(damp), "X", NULL, 0, 1, "GPTQ: part of the Hessian's mean diagonal that is added to it (default: 655 / calibration tokens, three times that with --two-sided; 0.01 at the least, 0.5 at the most)"},
    {"asym-calib", 0, NB_OPT_NUMBER, AT(asym_calib), "A", NULL, 0, 1, "GPTQ: also make up for what the layers before have lost, by this part; takes a second forward pass of the original model (0: off) (default 0.5)"},
    {"descent", 0, NB_OPT_INT, AT(descent), "N", NULL, 0, 1000, "GPTQ: sweeps of coordinate descent over codes, scales and zero points at the end (default 0)"},
    {"two-sided", 0, NB_OPT_FLAG, AT(two_sided), NULL, NULL, 0, 0, "GPTQ: rows make up for each other's errors too, by what the outputs of each layer mean to the model's predictions; takes a backward pass through the original model (CPU only)"},
    {"gradient-memory", 0, NB_OPT_SIZE, AT(gradient_memory), "SIZE", NULL, 0, 0, "two-sided: covariances of gradients take no more than this (or one block's, where that is more), for which the backward pass is made again for some blocks at a time (default: a quarter of the device's memory). The result does not depend on it"},
    {"iters", 0, NB_OPT_INT, AT(iters), "N", NULL, 1, 1000000, "autoround: steps for a block (default 200); tune: steps of the whole model (default 128)"},
    {"batch", 0, NB_OPT_INT, AT(batch), "N", NULL, 1, 100000, "windows in a step (default: autoround 8, tune 1)"},
    {"rate", 0, NB_OPT_NUMBER, AT(rate), "X", NULL, 0, 1, "autoround: length of the first step, in steps of the grid (default 1 / iters); tune: length of the longest step, as a part of the scale (default 0.0003)"},
    {"device", 'd', NB_OPT_STR, AT(device), "NAME", NULL, 0, 0, "auto, cpu, cuda[:N], opencl[:N] (default auto)"},
    {"device-memory", 0, NB_OPT_SIZE, AT(device_memory), "SIZE", NULL, 0, 0, "most memory to take of a GPU; what a run needs is checked before it begins (default: all that is free)"},
    {"format", 0, NB_OPT_STR, AT(format), "NAME", NULL, 0, 0, "format of the checkpoint: gptq; awq (4 bits; the one in which engines load zero points); gguf (one file for llama.cpp: Q4_0 for --sym, Q4_1 for --asym, Q8_0 for 8 bits) (default gptq)"},
    {"checkpoint-format", 0, NB_OPT_CHOICE, AT(checkpoint_format), NULL, "gptq|gptq_v2", 0, 0, "which form of the zero points: v1 stores zero - 1 (default: gptq for --sym, gptq_v2 for --asym)"},
    {"embeddings", 0, NB_OPT_CHOICE, AT(embeddings), NULL, "q8_0|f16", 0, 0, "gguf: type of embeddings and head (default q8_0)"},
    {"threads", 'j', NB_OPT_INT, AT(threads), "T", NULL, 0, 1024, "threads; 0: one per processor (default 0). The result does not depend on it"},
    {"override", 0, NB_OPT_LIST, AT(overrides), "PATTERN:KEY=V,...", NULL, 0, 0, "other settings for modules whose names match a glob (or re:REGEX): skip, bits=N, group-size=N; may be repeated, the last match wins"},
    {"ragged", 0, NB_OPT_FLAG, AT(ragged), NULL, NULL, 0, 0, "allow a short last group where the group size does not divide K; such files do not load in GPTQModel"},
    {"shard-size", 0, NB_OPT_SIZE, AT(shard_bytes), "SIZE", NULL, 0, 0, "largest output file (default 5G)"},
    {"dry-run", 'n', NB_OPT_FLAG, AT(dry_run), NULL, NULL, 0, 0, "print the plan and stop"},
    {"resume", 0, NB_OPT_FLAG, AT(resume), NULL, NULL, 0, 0, "go on with a run that was interrupted"},
    {"allow-device-change", 0, NB_OPT_FLAG, AT(allow_device_change), NULL, NULL, 0, 0, "let --resume go on on another device"},
    {"force", 0, NB_OPT_FLAG, AT(force), NULL, NULL, 0, 0, "replace an output that exists: a folder with a model in it, or a GGUF file"},
    {"kernel", 0, NB_OPT_STR, AT(kernel_filter), "GLOBS", NULL, 0, 0, "leave these kernels out (comma-separated globs), for finding faults"},
};
/* clang-format on */

static const char *const examples[] = {
    "# 4-bit GPTQ, in the form that most engines load",
    "nibble quantize SmolLM2-135M -o SmolLM2-135M-w4 --calib prose.txt",
    "# best quality of this method: zero points, groups of 64",
    "nibble quantize model.gguf -o model-w4 --calib prose.txt --asym --group-size 64",
    "# what would happen, with sizes, memory and time",
    "nibble quantize model -o model-w4 --calib prose.txt --dry-run",
    "# a GGUF for llama.cpp, at the size of its Q4_0",
    "nibble quantize model.gguf -o model-q4_0.gguf --calib prose.txt --format gguf",
    "# down projections in 8 bits, the first block untouched",
    "nibble quantize model -o model-mixed --calib prose.txt --override '*.down_proj:bits=8' --override 'model.layers.0.*:skip'",
    NULL};

static int run(int argc, char **argv);
const nb_cmd nb_cmd_quantize = {
    .name = "quantize",
    .about = "quantize a model's weights and write a checkpoint",
    .operands = "MODEL",
    .min_operands = 1,
    .max_operands = 1,
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .examples = examples,
    .run = run,
};

static nb_column_order order_of(const char *name) {
    static const char *const names[] = {"stored", "act", "act-static", "group-aware"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(names[i], name))
            return (nb_column_order)i;
    return NB_ORDER_GROUP_AWARE;
}

/* The output's name without slashes at its end, as a shell completes a folder's. */
static nb_status output_name(const char *given, char **out, nb_err *err) {
    if (!given)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--output", "is missing: where should the result go?");
    NB_TRY(nb_strdup(given, out, err));
    nb_path_trim(*out);
    const char *name = nb_path_base(*out);
    return *name && strcmp(name, "/") != 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0
               ? NB_OK
               : nb_fail_at(err, NB_E_USAGE, NULL, "--output", "\"%s\" is not a name for what is written", given);
}

static nb_status to_options(const quantize_values *v, const char *model, const char *out, nb_override *overrides, nb_run_options *o, nb_err *err) {
    if (v->bits != 2 && v->bits != 3 && v->bits != 4 && v->bits != 8)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--bits", "is %lld, expected 2, 3, 4 or 8", (long long)v->bits);
    *o = (nb_run_options){.model = model, .out = out, .method = v->method, .format = v->format,
                          .checkpoint_format = v->checkpoint_format, .embeddings = v->embeddings, .calib = v->calib, .device = v->device,
                          .kernel_filter = v->kernel_filter, .device_memory = (size_t)v->device_memory, .cache_dir = nb_cli_cache_dir(), .bits = (unsigned)v->bits, .symmetric = v->symmetric,
                          .order = order_of(v->order), .scales = v->scales,
                          .damp = v->damp, .asym_calib = v->asym_calib < 0 ? 0.5 : v->asym_calib, .descent = (unsigned)v->descent, .iterations = (size_t)v->iters, .batch = (size_t)v->batch,
                          .rate = v->rate, .two_sided = v->two_sided, .gradient_memory = (uint64_t)v->gradient_memory, .samples = (size_t)v->samples,
                          .seq_len = (size_t)v->seq_len, .seed = (uint64_t)v->seed, .threads = (unsigned)v->threads,
                          .ragged = v->ragged, .resume = v->resume, .force = v->force,
                          .allow_device_change = v->allow_device_change, .shard_bytes = (uint64_t)v->shard_bytes,
                          .overrides = overrides};
    bool best = !strcmp(v->method, "best");
    if (v->budget > 0 && !best)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--budget", "is for --method best, which chooses by it");
    const char *chosen = v->descent > 0 ? "--descent" : v->two_sided ? "--two-sided" : v->asym_calib >= 0 ? "--asym-calib" : NULL;
    if (v->gradient_memory > 0 && !v->two_sided && !best)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--gradient-memory", "belongs to --two-sided");
    if (chosen && best)
        return nb_fail_at(err, NB_E_USAGE, NULL, chosen, "is chosen by --method best; leave it out, or say --method gptq");
    if (strcmp(v->group_size, "auto") != 0) {
        NB_TRY(nb_parse_int("--group-size", v->group_size, -1, INT64_MAX / 2, &o->group_size, err));
        if (o->group_size == 0)
            return nb_fail_at(err, NB_E_USAGE, NULL, "--group-size", "is 0, expected auto, -1 or at least 1");
    }
    for (size_t i = 0; i < v->overrides.count; i++) {
        NB_TRY(nb_override_parse(v->overrides.items[i], &overrides[i], err));
        o->n_overrides++;
    }
    return NB_OK;
}

/* ---- the plan, printed ---- */

/* What finds scales and zero points. */
static const char *scales_by(const nb_plan *plan) {
    return plan->method->own_scales ? plan->method->name : nb_scale_rule_name(plan->scales);
}

static json_t *plan_json(const nb_plan *plan) {
    json_t *items = json_array();
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        json_array_append_new(items, json_pack("{s:s, s:I, s:I, s:b, s:i, s:I}", "name", it->name, "n", (json_int_t)it->n, "k",
                                               (json_int_t)it->k, "skip", (int)it->skip, "bits", (int)it->bits, "group_size",
                                               (json_int_t)it->group_size));
    }
    return json_pack("{s:i, s:s, s:b, s:i, s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:f, s:I, s:f, s:s?, s:o}", "schema", 1, "method", plan->method_name,
                     "two_sided", (int)plan->two_sided, "descent", (int)plan->descent, "scales", scales_by(plan),
                     "format", plan->config.format, "group_size", (json_int_t)plan->group_size, "symmetric",
                     (int)plan->config.symmetric, "weights", (json_int_t)plan->weights, "packed_bytes",
                     (json_int_t)plan->packed_bytes, "other_bytes", (json_int_t)plan->other_bytes, "bits_per_weight",
                     plan->bits_per_weight, "peak_memory", (json_int_t)plan->peak_memory, "flop", plan->flop, "notes", plan->notes,
                     "tensors", items);
}

static void print_settings(const nb_plan *plan, FILE *out) {
    char packed[24], other[24], peak[24];
    fprintf(out, "%s%s%s, %u bits, group size %lld, %s, scales by %s, format %s\n", plan->method_name,
            plan->two_sided ? " with feedback over rows" : "", plan->descent ? " and coordinate descent" : "", plan->config.bits,
            (long long)plan->group_size, plan->config.symmetric ? "symmetric" : "asymmetric", scales_by(plan),
            plan->config.format);
    fprintf(out, "quantized matrices %s (%.3f bits per weight), other tensors %s, peak memory about %s\n",
            nb_bytes_text((double)plan->packed_bytes, packed), plan->bits_per_weight,
            nb_bytes_text((double)plan->other_bytes, other), nb_bytes_text((double)plan->peak_memory, peak));
    for (const char *line = plan->notes; line && *line;) {
        int len = (int)strcspn(line, "\n");
        fprintf(out, "note: %.*s\n", len, line);
        line += len + (line[len] == '\n');
    }
}

static void print_plan(const nb_plan *plan, double flops_rate) {
    char time[24];
    printf("%-44s %14s %5s %6s\n", "tensor", "shape", "bits", "group");
    for (size_t i = 0; i < plan->count; i++) {
        const nb_plan_item *it = &plan->items[i];
        char shape[48];
        snprintf(shape, sizeof shape, "%zu x %zu", it->n, it->k);
        if (it->skip)
            printf("%-44s %14s %12s\n", it->name, shape, "left alone");
        else
            printf("%-44s %14s %5u %6zu\n", it->name, shape, it->bits, it->group_size);
    }
    print_settings(plan, stdout);
    printf("about %s of computing, at the %.0f GFLOP/s that this machine just made\n",
           nb_duration(plan->flop / flops_rate, time), 1e-9 * flops_rate);
}

/* The plan is worth seeing all the same. */
static void tell_output(const nb_run_options *o, const nb_plan *plan) {
    nb_err why = {0};
    char line[1400];
    if (nb_run_check_output(o, plan->gguf, &why) == NB_OK)
        return;
    nb_err_line(&why, line, sizeof line);
    fprintf(stderr, "warning: this run would not begin: %s\n", line);
}

static nb_status dry_run(const quantize_values *v, const nb_run_options *o, const nb_plan *plan, const nb_machine *machine, nb_err *err) {
    if (!v->common.quiet)
        tell_output(o, plan);
    if (plan->needs_data && strcmp(v->calib, "self") != 0)
        NB_TRY(nb_file_readable(v->calib, err));
    if (v->common.json) {
        json_t *json = plan_json(plan);
        if (json && (json_object_set_new(json, "flop_per_second", json_real(machine->flops)) != 0 ||
                     json_object_set_new(json, "seconds", json_real(plan->flop / machine->flops)) != 0)) {
            json_decref(json);
            json = NULL;
        }
        return nb_cli_json(json, err);
    }
    print_plan(plan, machine->flops);
    if (machine->memory && plan->peak_memory > machine->memory)
        printf("this is more memory than there is (%.1f GB): fewer --samples or a shorter --seq-len take less\n", 1e-9 * (double)machine->memory);
    return nb_cli_flush(err);
}

/* ---- the run ---- */

/* What is done before and after blocks has a line of its own. */
static void on_stage(nb_progress *p, const nb_run_progress *r) {
    char note[96] = "";
    nb_progress steps = *p;
    steps.what = r->stage;
    steps.unit = r->unit;
    if (r->loss >= 0)
        snprintf(note, sizeof note, "KL %.4f", r->loss);
    nb_progress_step(&steps, r->step, r->steps, r->seconds, note);
    p->open = steps.open;
    p->last_plain = steps.last_plain;
}

static void on_progress(void *ctx, const nb_run_progress *r) {
    char note[96] = "";
    if (r->stage) {
        on_stage(ctx, r);
        return;
    }
    if (r->learned_before >= 0)
        snprintf(note, sizeof note, "loss %.3e, learned %.3e -> %.3e%s", r->loss, r->learned_before, r->learned_after,
                 r->learned_kept ? "" : ", not kept");
    else if (r->loss >= 0)
        snprintf(note, sizeof note, "loss %.3e", r->loss);
    nb_progress_step(ctx, r->block, r->blocks, r->seconds, r->resumed ? "from the journal" : note);
}

static json_t *result_json(const nb_run_options *o, const nb_plan *plan, const nb_run_result *r) {
    return json_pack("{s:i, s:o, s:s, s:f, s:{s:f, s:f, s:f, s:f, s:f}, s:I, s:I, s:f, s:I, s:I, s:I, s:O}", "schema", 1, "output", nb_cli_text(o->out, strlen(o->out)),
                     "device", r->device, "seconds", r->seconds, "split", "forward", r->forward_seconds, "statistics",
                     r->statistics_seconds, "solve", r->solve_seconds, "write", r->write_seconds, "other", r->other_seconds, "file_bytes",
                     (json_int_t)r->file_bytes, "matrix_bytes", (json_int_t)plan->packed_bytes, "bits_per_weight",
                     plan->bits_per_weight, "peak_anonymous_memory", (json_int_t)r->peak_memory, "resumed_blocks",
                     (json_int_t)r->resumed_blocks, "zeros_clamped", (json_int_t)r->zeros_clamped, "report", r->report);
}

static void print_result(const nb_run_options *o, const nb_plan *plan, const nb_run_result *r) {
    char total[24], a[24], b[24], c[24], d[24], e[24], size[24], peak[24];
    fprintf(stderr, "wrote %s: %s, %.3f bits per weight in the quantized matrices\n", o->out,
            nb_bytes_text((double)r->file_bytes, size), plan->bits_per_weight);
    fprintf(stderr, "%s: forward %s, statistics %s, solve %s, write %s, other %s; peak anonymous memory %s\n", nb_duration(r->seconds, total),
            nb_duration(r->forward_seconds, a), nb_duration(r->statistics_seconds, b), nb_duration(r->solve_seconds, c),
            nb_duration(r->write_seconds, d), nb_duration(r->other_seconds, e), nb_bytes_text((double)r->peak_memory, peak));
}

static nb_status quantize(const quantize_values *v, const nb_model *model, const nb_plan *plan, const nb_run_options *o,
                          nb_err *err) {
    nb_progress progress = nb_progress_new(&v->common, "quantizing", "block");
    nb_run_hooks hooks = {.ctx = &progress, .progress = on_progress, .stop = nb_cli_stop_asked, .log = nb_progress_log(&progress)};
    nb_run_result result;
    if (!v->common.quiet)
        print_settings(plan, stderr);
    nb_status status = nb_run_quantize(model, plan, o, &hooks, &result, err);
    nb_progress_end(&progress);
    if (status == NB_OK && !v->common.quiet)
        print_result(o, plan, &result);
    if (status == NB_OK && v->common.json)
        status = nb_cli_json(result_json(o, plan, &result), err);
    nb_run_result_free(&result);
    return status;
}

/* What depends on the machine: what best is, and how much gradients may take. It is measured where that, or --dry-run, asks for it. */
static nb_status settle_machine(const quantize_values *v, const nb_model *model, nb_run_options *o, nb_machine *machine, nb_err *err) {
    nb_best_limits limits = {.seconds = v->budget};
    bool asked = !strcmp(o->method, "best") || o->two_sided;
    if (asked || v->dry_run)
        NB_TRY(nb_measure_machine(v->device, (unsigned)v->threads, machine, err));
    if (!asked)
        return NB_OK;
    limits.flops = machine->flops;
    limits.memory = machine->memory;
    limits.gradients = machine->gradients;
    if (!o->gradient_memory)
        o->gradient_memory = machine->memory / 4;
    if (o->resume)
        NB_TRY(nb_run_recipe(o, limits.begun, sizeof limits.begun, err));
    return nb_best_options(model, o, &limits, err);
}

/* Settings of GPTQ for a method without it say that something else was meant. What best falls back to is not the user's doing. */
static nb_status check_used(const quantize_values *v, const nb_plan *plan, nb_err *err) {
    const char *given = v->damp >= 0 ? "--damp" : v->asym_calib >= 0 ? "--asym-calib" : order_of(v->order) != NB_ORDER_GROUP_AWARE ? "--order" : NULL;
    if (given && !plan->method->needs_hessian && strcmp(v->method, "best") != 0)
        return nb_fail_at(err, NB_E_USAGE, NULL, given, "belongs to GPTQ, which \"%s\" is without", v->method);
    if (strcmp(v->scales, "auto") != 0 && plan->method->own_scales)
        return nb_fail_at(err, NB_E_USAGE, NULL, "--scales", "are %s's own matter", plan->method->name);
    return NB_OK;
}

static nb_status execute(const quantize_values *v, const char *path, nb_err *err) {
    nb_override *overrides = NULL;
    nb_run_options o = {0};
    nb_model *model = NULL;
    nb_plan plan = {0};
    nb_machine machine = {0};
    char *out = NULL;
    nb_status status;
    NB_GO(output_name(v->out, &out, err));
    NB_GO(nb_calloc(NB_OPT_MAX_LIST, sizeof *overrides, "overrides", &overrides, err));
    NB_GO(to_options(v, path, out, overrides, &o, err));
    NB_GO(nb_model_open(path, &model, err));
    NB_GO(settle_machine(v, model, &o, &machine, err));
    NB_GO(nb_plan_make(model, &o, &plan, err));
    NB_GO(check_used(v, &plan, err));
    NB_GO(v->dry_run ? dry_run(v, &o, &plan, &machine, err) : quantize(v, model, &plan, &o, err));
out:
    nb_plan_free(&plan);
    nb_model_close(model);
    for (size_t i = 0; i < o.n_overrides; i++)
        nb_override_free(&overrides[i]);
    nb_free(overrides);
    nb_free(out);
    return status;
}

static int run(int argc, char **argv) {
    quantize_values v = {.common.progress = "auto", .method = "gptq", .group_size = "auto", .order = "group-aware", .scales = "auto",
                         .calib = "self", .device = "auto", .format = "gptq", .bits = 4,  .samples = 128, .seq_len = 512,
                         .damp = -1, .asym_calib = -1, .symmetric = true};
    const char *model = NULL;
    bool done;
    int code;
    nb_err err = {0};
    nb_cli_parse(&nb_cmd_quantize, argc, argv, &v, &model, &done, &code);
    if (done)
        return code;
    nb_cli_catch_signals();
    return execute(&v, model, &err) == NB_OK ? 0 : nb_cli_fail(&err);
}
