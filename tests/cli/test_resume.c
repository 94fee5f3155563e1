/* Long runs: a run that is killed and resumed gives the bytes of one that was not. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "process.h"

static void setup(void) {
    make_dir();
    cr_assert_eq(shell("for i in $(seq 600); do echo \"Line $i of prose, number $((i * i %% 997)).\"; done >text.txt"), 0);
}

TestSuite(resume, .init = setup, .fini = drop_dir);

#define RUN "$N quantize $M/llama-tied-f16 --calib text.txt --samples 8 --seq-len 64 -q"

/* Cuts a finished work folder back to what stands after `blocks` blocks. */
static void cut_back(int blocks) {
    cr_assert_eq(shell("test $(wc -l <out.partial/journal.jsonl) -ge 3"), 0, "both blocks were done: %s", run_err);
    cr_assert_eq(shell("head -n %d out.partial/journal.jsonl >j && mv j out.partial/journal.jsonl && rm -rf out.partial/out", blocks + 1), 0,
                 "%s", run_err);
}

/* Stops a run before its output is whole: part files fit into 100 blocks of 512 bytes, the output does not. */
static void run_until_assembly(void) {
    cr_assert_eq(shell("ulimit -f 100; " RUN " -o out; :"), 0);
    cr_assert_eq(shell("test -s out.partial/journal.jsonl"), 0, "the journal stays after a failure: %s", run_err);
}

/* A run with the options `how` that was stopped after `blocks` blocks goes on, by the options `then`, to the bytes of `whole`. */
static void goes_on(const char *how, int blocks, const char *then, const char *whole) {
    cr_assert_eq(shell("rm -rf out out.partial; ulimit -f 100; " RUN " %s -o out; :", how), 0);
    cut_back(blocks);
    cr_assert_eq(shell(RUN " %s -o out --resume", then), 0, "%s after %d blocks: %s", then, blocks, run_err);
    cr_assert_str_eq(folder_hash("out"), whole, "%s resumed after %d blocks", then, blocks);
}

Test(resume, from_every_block) {
    char whole[128];
    cr_assert_eq(shell(RUN " -o whole"), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    for (int blocks = 0; blocks <= 2; blocks++) {
        cr_assert_eq(shell("rm -rf out out.partial; cp -r whole out.x; rm -rf out.x"), 0);
        run_until_assembly();
        cut_back(blocks);
        cr_assert_eq(shell(RUN " -o out --resume"), 0, "%d blocks: %s", blocks, run_err);
        cr_assert_str_eq(folder_hash("out"), whole, "resumed after %d blocks", blocks);
    }
}

/* The original model's stream is replayed too. */
Test(resume, with_asymmetric_calibration) {
    char whole[128];
    cr_assert_eq(shell(RUN " --asym-calib 1 -o whole && " RUN " -o without"), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    cr_assert_str_neq(folder_hash("without"), whole);
    goes_on("--asym-calib 1", 1, "--asym-calib 1", whole);
}

/* So are the norms that AWQ has folded scales into. */
Test(resume, with_folded_norms) {
    static const char how[] = "--method awq+gptq --asym-calib 0.5";
    char whole[128];
    cr_assert_eq(shell(RUN " %s -o whole && " RUN " --asym-calib 0.5 -o without", how), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    cr_assert_str_neq(folder_hash("without"), whole);
    for (int blocks = 0; blocks <= 2; blocks++)
        goes_on(how, blocks, how, whole);
}

/* So are both streams of learned rounding; its draws and steps are those of an uninterrupted run. */
Test(resume, with_learned_rounding) {
    char whole[128];
    static const char how[] = "--method autoround --iters 12 --batch 3 --bits 3";
    cr_assert_eq(shell(RUN " %s -o whole && " RUN " --method rtn --bits 3 --scales search -o without", how), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    cr_assert_eq(shell("tr -d ' \\n' <whole/quantization_report.json | grep -o '\"kept\":true' | wc -l | grep -qx 2"), 0,
                 "learned rounding gains in both blocks: %s", run_err);
    for (int blocks = 0; blocks <= 2; blocks++) {
        cr_assert_eq(shell("rm -rf out out.partial; ulimit -f 100; " RUN " %s -o out; :", how), 0);
        cut_back(blocks);
        cr_assert_eq(shell(RUN " %s -o out --resume -j 1", how), 0, "%s", run_err);
        cr_assert_str_eq(folder_hash("out"), whole, "resumed after %d blocks", blocks);
    }
    cr_assert_eq(shell(RUN " --method autoround+awq -o no"), 2);
    cr_assert_eq(shell(RUN " --method awq+autoround -o no"), 2);
    cr_assert_eq(shell(RUN " --method gptq+autoround --order act -o no"), 2);
    cr_assert_eq(shell(RUN " --method hqq -o no"), 2);
}

/* So are the gradients by outputs, and scales are learned anew from the same blocks; a run that has learned them goes on with them. */
Test(resume, with_learned_scales) {
    char whole[128];
    static const char how[] = "--method gptq+tune --two-sided --iters 12 --batch 3 --bits 3";
    cr_assert_eq(shell(RUN " %s -o whole && " RUN " --two-sided --bits 3 -o without && " RUN " --bits 3 -o plain", how), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    cr_assert_eq(shell("tr -d ' \\n' <whole/quantization_report.json | grep -q 'learned_scales.*\"kept\":true'"), 0, "learned scales gain");
    cr_assert_eq(shell("cmp whole/model.safetensors without/model.safetensors || cmp without/model.safetensors plain/model.safetensors"), 1);
    for (int blocks = 0; blocks <= 3; blocks++) {
        cr_assert_eq(shell("rm -rf out out.partial; ulimit -f 100; " RUN " %s -o out; :", how), 0);
        if (blocks < 3)
            cut_back(blocks);
        else
            cr_assert_eq(shell("grep -q '\"tuned\":\"' out.partial/journal.jsonl && rm -rf out.partial/out"), 0, "%s", run_err);
        cr_assert_eq(shell(RUN " %s -o out --resume -j 1", how), 0, "%d blocks: %s", blocks, run_err);
        cr_assert_str_eq(folder_hash("out"), whole, "resumed after %d blocks", blocks);
    }
    /* a new part file that is not whole is not taken */
    cr_assert_eq(shell("rm -rf out out.partial; ulimit -f 100; " RUN " %s -o out; :", how), 0);
    cr_assert_eq(shell("rm -rf out.partial/out; echo x >>out.partial/tuned-00001.safetensors"), 0);
    cr_assert_eq(shell(RUN " %s -o out --resume", how), 0, "%s", run_err);
    cr_assert_str_eq(folder_hash("out"), whole);
    cr_assert_eq(shell(RUN " --method tune -o no"), 2);
    cr_assert_eq(shell(RUN " --method +tune -o no"), 2);
    cr_assert_eq(shell(RUN " --method gptq+tune --order act -o no"), 2);
    cr_assert_eq(shell(RUN " --two-sided --order act -o no"), 2);
    cr_assert_eq(shell(RUN " --method rtn --two-sided -o no"), 2);
}

/* Kill at instants spread over the run; each time resume, killing again, until it is whole. */
Test(resume, killed_at_any_instant) {
    char whole[128];
    cr_assert_eq(shell(RUN " -o whole"), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    for (int i = 1; i <= 12; i++) {
        cr_assert_eq(shell("rm -rf out out.partial; timeout -s KILL 0.%03d " "env $N quantize $M/llama-tied-f16 --calib text.txt "
                           "--samples 8 --seq-len 64 -q -o out; :", i * 8), 0);
        cr_assert_eq(shell("{ test -d out && test ! -e out.partial; } || " RUN " -o out --resume"), 0, "%s", run_err);
        cr_assert_str_eq(folder_hash("out"), whole, "killed after %d ms", i * 8);
        cr_assert_eq(shell("test ! -e out.partial"), 0, "killed after %d ms", i * 8);
    }
}

/* A pass for each block in place of one for all, also where a run goes on in the middle. */
Test(resume, gradients_in_one_pass_or_in_many) {
    static const char how[] = "--two-sided --asym";
    char whole[128];
    cr_assert_eq(shell(RUN " %s -o whole && " RUN " %s --gradient-memory 1 -o out", how, how), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    cr_assert_str_eq(folder_hash("out"), whole);
    for (int blocks = 0; blocks <= 1; blocks++)
        goes_on("--two-sided --asym --gradient-memory 1", blocks, how, whole);
}

/* --method best goes on with what it began, whatever would be chosen by now. */
Test(resume, with_the_recipe_that_was_begun) {
    char whole[128];
    cr_assert_eq(shell(RUN " --method best -o whole && " RUN " --method best --budget 0.000000001 -o cheap"), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
    cr_assert_str_neq(folder_hash("cheap"), whole);
    goes_on("--method best", 1, "--method best --budget 0.000000001", whole);
}

Test(resume, another_run_is_refused_and_nothing_is_lost) {
    run_until_assembly();
    static const char *const changes[] = {"--bits 8", "--asym", "--seed 7", "--order act", "--group-size 32", "--damp 0.02",
                                          "--scales minmax", "--asym-calib 0",
                                          "--override '*.o_proj:skip'"};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        cr_assert_eq(shell(RUN " -o out --resume %s", changes[i]), 2, "%s", changes[i]);
        cr_assert_not_null(strstr(run_err, "differs"), "%s: %s", changes[i], run_err);
    }
    cr_assert_eq(shell("echo more >>text.txt; " RUN " -o out --resume --seq-len 65"), 2);
    cr_assert_eq(shell("$N quantize $M/llama-tied-f32 --calib text.txt --samples 8 --seq-len 64 --group-size 16 -o out --resume"), 2);
    cr_assert_eq(shell(RUN " -o out --resume -j 1"), 0, "the number of threads may change: %s", run_err);
}

/* Without AVX-512 the last bits differ, so it is another device. */
Test(resume, another_kernel_is_another_device) {
    run_until_assembly();
    int code = shell(RUN " -o out --resume --kernel '*_avx512,*_avx2'");
    if (code == 0)
        return; /* a machine that has only the plain kernels */
    cr_assert_eq(code, 2);
    cr_assert_not_null(strstr(run_err, "--allow-device-change"));
    cr_assert_eq(shell(RUN " -o out --resume --kernel '*_avx512,*_avx2' --allow-device-change"), 0, "%s", run_err);
}

Test(resume, an_interrupted_run_says_how_to_go_on) {
    cr_assert_eq(shell(STOPPED_RUN "kill -INT $p; kill -CONT $p; wait $p"), 130, "%s", run_err);
    cr_assert_not_null(strstr(run_err, "--resume"));
}

/* A full disk (a file size limit here): one line, exit 1, no folder under the final name. */
Test(resume, a_write_that_fails_leaves_nothing_under_the_final_name) {
    cr_assert_eq(shell("trap '' XFSZ; ulimit -f 4; " RUN " -o out"), 1, "%s", run_err);
    cr_assert_not_null(strstr(run_err, "cannot write"));
    cr_assert_eq(shell("test ! -e out"), 0);
    cr_assert_eq(shell(RUN " -o out --resume"), 0, "%s", run_err);
}

/* A GGUF is one file; the parts hold blocks and norms as it will hold them. */
Test(resume, of_a_gguf) {
    static const char *const more[] = {"--format gguf --method awq+gptq", "--format gguf --asym"};
    for (size_t i = 0; i < 2; i++)
        for (int blocks = 0; blocks <= 2; blocks++) {
            cr_assert_eq(shell("rm -rf out out.partial whole"), 0);
            cr_assert_eq(shell(RUN " %s --group-size 32 -o whole", more[i]), 0, "%s", run_err);
            cr_assert_eq(shell("ulimit -f 100; " RUN " %s --group-size 32 -o out; :", more[i]), 0);
            cr_assert_eq(shell("test ! -e out"), 0);
            cut_back(blocks);
            cr_assert_eq(shell(RUN " %s --group-size 32 -o out --resume", more[i]), 0, "%s", run_err);
            cr_assert_eq(shell("cmp out whole && test ! -e out.partial"), 0, "resumed after %d blocks: %s", blocks, run_out);
            cr_assert_eq(shell(RUN " %s --group-size 32 -o out --force && cmp out whole && test ! -e out.partial", more[i]), 0, "%s", run_err);
        }
}
