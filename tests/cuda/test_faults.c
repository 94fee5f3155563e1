/* What fails on the device is a clear error and exit code 4; what was finished is kept, and --resume gives the bytes of a run that was
 * not interrupted. Faults are injected by the simulator; on a GPU these tests have nothing to do. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/cli/process.h"

static char whole[128];

/* --scales minmax: less work for the simulator, whose checks are off here. */
#define QUANTIZE "$N quantize $M/llama-tied-f16 --calib text.txt --samples 4 --seq-len 32 --scales minmax --progress none --device cuda "

static int simulated(void) {
    cr_assert_eq(shell("$N devices"), 0);
    cr_assert(strstr(run_out, "cuda:0 "), "%s", run_out);
    return strstr(run_out, "cuda_sim") != NULL;
}

static void setup(void) {
    make_dir();
    cr_assert_eq(shell("for i in $(seq 600); do echo \"Line $i of prose, number $((i * i %% 997)).\"; done >text.txt"), 0);
}

static void setup_whole(void) {
    setup();
    cr_assert_eq(shell("CUDA_SIM_STRICT=0 " QUANTIZE "-o whole"), 0, "%s", run_err);
    strcpy(whole, folder_hash("whole"));
}

TestSuite(cuda_faults, .init = setup, .fini = drop_dir);
TestSuite(cuda_resume, .init = setup_whole, .fini = drop_dir);

static const struct {
    const char *environment, *says;
} refusals[] = {
    {"CUDA_SIM_FAULT=init:100", "CUDA_ERROR_NO_DEVICE"},
    {"CUDA_SIM_FAULT=init:3", "does not start"},
    {"CUDA_SIM_FAULT=module:222", "R580 or later is wanted"},
    {"CUDA_SIM_FAULT=module:218", "R580 or later is wanted"},
    {"CUDA_SIM_FAULT=module:209", "R580 or later is wanted"},
    {"CUDA_SIM_FAULT=module:2", "CUDA_ERROR_OUT_OF_MEMORY"},
    {"CUDA_SIM_CC=70", "compute capability 7.0, these kernels need 7.5"},
    {"CUDA_SIM_MEMORY=1M", "of the device's memory"},
    {"LD_LIBRARY_PATH=", "libcuda.so.1 was not found"},
};

Test(cuda_faults, a_device_that_is_not_there) {
    if (!simulated())
        return;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        cr_assert_eq(shell("%s " QUANTIZE "-o out", refusals[i].environment), 4, "%s: %s", refusals[i].environment, run_err);
        cr_assert(strstr(run_err, refusals[i].says), "%s: %s", refusals[i].environment, run_err);
        cr_assert_eq(shell("ls -d out out.partial"), 2, "%s: nothing is begun", refusals[i].environment);
    }
    cr_assert_eq(shell(QUANTIZE "-o out --device cuda:9"), 2, "given twice");
    cr_assert_eq(shell("$N quantize $M/llama-tied-f16 -o out --device cuda:9 --method rtn"), 4);
    cr_assert(strstr(run_err, "no CUDA device 9"), "%s", run_err);
    cr_assert_eq(shell("$N quantize $M/llama-tied-f16 -o out --device cuda:x --method rtn"), 2);
}

/* `devices` and `auto` go on without it. */
Test(cuda_faults, other_devices_stay) {
    if (!simulated())
        return;
    cr_assert_eq(shell("CUDA_SIM_FAULT=init:100 $N devices"), 0);
    cr_assert(strstr(run_out, "cuda       none: the NVIDIA driver does not start: CUDA_ERROR_NO_DEVICE (100)"), "%s", run_out);
    cr_assert_eq(shell("CUDA_SIM_FAULT=init:100 $N quantize $M/llama-tied-f16 -o out --method rtn --progress none"), 0, "%s", run_err);
}

/* Runs with the fault; whatever came of it, resumes, and compares with the whole run. Returns the first exit code. */
static int fail_and_resume(const char *fault) {
    cr_assert_eq(shell("rm -rf out out.partial"), 0);
    int code = shell("CUDA_SIM_STRICT=0 CUDA_SIM_FAULT=%s " QUANTIZE "-o out", fault);
    cr_assert(code == 4 || code == 0, "%s: exit code %d: %s", fault, code, run_err);
    if (code == 4) {
        cr_assert(strstr(run_err, "CUDA_ERROR_"), "%s: %s", fault, run_err);
        cr_assert_eq(shell("CUDA_SIM_STRICT=0 " QUANTIZE "-o out --resume"), 0, "%s: %s", fault, run_err);
    }
    cr_assert_str_eq(folder_hash("out"), whole, "%s", fault);
    return code;
}

Test(cuda_resume, one_call_fails) {
    static const char *const faults[] = {"alloc:1", "alloc:30", "alloc:150", "launch:1", "launch:60", "launch:300", "copy:2", "copy:50"};
    int failed = 0;
    if (!simulated())
        return;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        failed += fail_and_resume(faults[i]) == 4;
    cr_assert_geq(failed, 6, "a block that could not be loaded ahead is loaded again; all else fails");
}

/* Lost at instants spread over the run, in the first block and in the second. */
Test(cuda_resume, device_lost_at_any_instant) {
    int kept = 0;
    if (!simulated())
        return;
    for (unsigned n = 40; n < 6000; n += n / 2) {
        char fault[32];
        snprintf(fault, sizeof fault, "lost:%u", n);
        if (fail_and_resume(fault) == 0)
            break;
        cr_assert_eq(shell("rm -rf out; CUDA_SIM_STRICT=0 CUDA_SIM_FAULT=%s " QUANTIZE "-o out", fault), 4);
        kept += strstr(run_err, "1 finished blocks are kept") != NULL;
    }
    cr_assert_geq(kept, 1, "no loss fell into the second block");
}
