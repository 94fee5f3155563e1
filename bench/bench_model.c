/* A whole run of GPTQ on a model: time split in forward, statistics, solve and write, the forward pass against the machine's own
 * matrix product, and the peak of anonymous memory against its bound.
 *   bench_model MODEL CALIB.txt OUT [THREADS]     32 x 512 tokens, 4 bits, group 64, asymmetric, group-aware */
#include <stdio.h>
#include <stdlib.h>

#include "host/model/forward.h"
#include "host/run/pipeline.h"

enum { SAMPLES = 32, SEQ_LEN = 512 };

static void must(nb_status status, const nb_err *err) {
    if (status != NB_OK) {
        char line[1400];
        nb_err_line(err, line, sizeof line);
        fprintf(stderr, "bench_model: %s\n", line);
        exit(nb_status_exit_code(status));
    }
}

/* FLOP of the forward pass over the calibration text: linears, and attention's two products over the causal half. */
static double forward_flop(const nb_hparams *hp) {
    double tokens = (double)SAMPLES * SEQ_LEN, flop = 0;
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        size_t n, k;
        nb_lin_shape(hp, (nb_lin)l, &n, &k);
        flop += 2.0 * tokens * (double)n * (double)k;
    }
    flop += 4.0 * tokens * (SEQ_LEN + 1) / 2.0 * (double)(hp->heads * hp->head_dim);
    return flop * (double)hp->layers;
}

/* Largest block in f32 + its Hessians + calibration activations (block inputs and the widest stage) + 200 MB. */
static double memory_bound(const nb_hparams *hp) {
    double bytes = 200e6, tokens = (double)SAMPLES * SEQ_LEN;
    for (int l = 0; l < NB_LIN_COUNT; l++) {
        size_t n, k;
        nb_lin_shape(hp, (nb_lin)l, &n, &k);
        bytes += 4.0 * (double)n * (double)k;
        if (l == NB_LIN_Q || l == NB_LIN_O || l == NB_LIN_GATE || l == NB_LIN_DOWN)
            bytes += 4.0 * (double)k * (double)k;
    }
    return bytes + 4.0 * tokens * (double)hp->hidden + (double)nb_forward_stage_bytes(hp, SAMPLES * SEQ_LEN);
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: bench_model MODEL CALIB.txt OUT [THREADS]\n");
        return 2;
    }
    nb_run_options o = {.model = argv[1], .calib = argv[2], .out = argv[3], .method = "gptq", .format = "gptq", .device = "cpu",
                        .bits = 4, .group_size = 64, .order = NB_ORDER_GROUP_AWARE, .damp = 0.01, .samples = SAMPLES,
                        .seq_len = SEQ_LEN, .threads = argc == 5 ? (unsigned)strtoul(argv[4], NULL, 10) : 0, .force = true};
    nb_run_hooks hooks = {0};
    nb_run_result r;
    nb_err err = {0};
    nb_model *model;
    nb_plan plan;
    nb_machine machine;
    must(nb_model_open(o.model, &model, &err), &err);
    must(nb_plan_make(model, &o, &plan, &err), &err);
    must(nb_measure_machine("cpu", o.threads, &machine, &err), &err);
    must(nb_run_quantize(model, &plan, &o, &hooks, &r, &err), &err);
    const nb_hparams *hp = nb_model_hparams(model);
    double rate = forward_flop(hp) / r.forward_seconds;
    printf("matrix product %.0f GFLOP/s\n", 1e-9 * machine.flops);
    printf("total %.2f s: forward %.2f, statistics %.2f, solve %.2f, write %.2f, other %.2f\n", r.seconds, r.forward_seconds,
           r.statistics_seconds, r.solve_seconds, r.write_seconds, r.other_seconds);
    printf("calibration forward %.0f GFLOP/s, %.0f %% of the matrix product\n", 1e-9 * rate, 100 * rate / machine.flops);
    printf("peak anonymous memory %.1f MB, bound %.1f MB\n", 1e-6 * (double)r.peak_memory, 1e-6 * memory_bound(hp));
    nb_run_result_free(&r);
    nb_plan_free(&plan);
    nb_model_close(model);
    return 0;
}
