/* Quantizing and evaluating on the CUDA device: the same bytes where bits are promised, the same codes but for a stated fraction where
 * they are not. Small models; all checks of the simulator are on where it serves as the device. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/file.h"
#include "tests/cli/process.h"
#include "tests/cuda/codes.h"

static void setup(void) {
    make_dir();
    cr_assert_eq(shell("for i in $(seq 600); do echo \"Line $i of prose, number $((i * i %% 997)).\"; done >text.txt"), 0);
}

TestSuite(cuda, .init = setup, .fini = drop_dir);

#define QUANTIZE "$N quantize $M/llama-tied-f16 --calib text.txt --samples 8 --seq-len 64 -q "

/* Bytes of the tensors, which name no device. */
static void same_tensors(const char *settings) {
    cr_assert_eq(shell("rm -rf a b; " QUANTIZE "--device cpu -o a %s && " QUANTIZE "--device cuda -o b %s && cmp a/model.safetensors "
                       "b/model.safetensors", settings, settings), 0, "%s: %s%s", settings, run_out, run_err);
}

Test(cuda, devices_are_listed) {
    cr_assert_eq(shell("$N devices"), 0);
    cr_assert(strstr(run_out, "cuda:0 "), "%s", run_out);
    cr_assert(strstr(run_out, "compute capability"), "%s", run_out);
}

/* Everything that rounds to nearest is bit-equal, from weight to packed file. */
Test(cuda, rounding_gives_the_same_bytes) {
    same_tensors("--method rtn");
    same_tensors("--method rtn --asym --bits 3 --group-size 32");
    same_tensors("--method rtn --asym --bits 2 --scales search");
    same_tensors("--method rtn --bits 8 --group-size -1");
}

/* A GGUF's scales may have either sign. Its metadata names the device: the tensors are the last 50 KB. */
Test(cuda, gguf_has_the_same_bytes) {
    cr_assert_eq(shell(QUANTIZE "--method rtn --scales search --group-size 32 --format gguf --device cpu -o a.gguf && " QUANTIZE
                               "--method rtn --scales search --group-size 32 --format gguf --device cuda -o b.gguf && "
                               "tail -c 50000 a.gguf >a && tail -c 50000 b.gguf >b && cmp a b && test $(wc -c <a) = 50000"), 0,
                 "%s%s", run_out, run_err);
}

/* The solver's own steps are bit-equal; Hessian, factor and forward pass are sums in another order. */
static void nearly_same_codes(const char *settings, double fraction) {
    cr_assert_eq(shell("rm -rf a b; " QUANTIZE "--device cpu -o a %s && " QUANTIZE "--device cuda -o b %s", settings, settings), 0, "%s",
                 run_err);
    char a[128], b[128];
    snprintf(a, sizeof a, "%s/a/model.safetensors", test_dir);
    snprintf(b, sizeof b, "%s/b/model.safetensors", test_dir);
    code_count c = compare_codes(a, b, "*.qweight");
    cr_assert_gt(c.all, 10000);
    cr_assert_leq((double)c.differ, fraction * (double)c.all, "%s: %zu of %zu codes differ", settings, c.differ, c.all);
}

Test(cuda, gptq_codes) {
    nearly_same_codes("--asym-calib 0", 0.002);
    nearly_same_codes("--asym-calib 0 --asym --order act --bits 3 --scales minmax", 0.002);
    nearly_same_codes("--asym-calib 0 --order act-static --group-size -1", 0.002);
}

Test(cuda, other_methods) {
    nearly_same_codes("--asym-calib 0 --descent 2 --order stored", 0.002);
    nearly_same_codes("--method hqq --asym", 0.002);
    nearly_same_codes("--method awq --asym", 0.002);
}

/* The order in which CTAs and warps run changes nothing. */
Test(cuda, results_do_not_depend_on_scheduling) {
    cr_assert_eq(shell(QUANTIZE "--device cuda -o a && CUDA_SIM_SEED=7 CUDA_SIM_SMS=3 " QUANTIZE
                               "--device cuda -o b && cmp a/model.safetensors b/model.safetensors"), 0, "%s%s", run_out, run_err);
}

/* Without cuBLAS our own kernel serves, and it is said. */
Test(cuda, own_product_serves_without_cublas) {
    cr_assert_eq(shell("mkdir only; for d in $(echo $LD_LIBRARY_PATH | tr : ' '); do cp -P $d/libcuda.so* only; done; "
                       "LD_LIBRARY_PATH=$PWD/only $N devices"), 0);
    if (!strstr(run_out, "no cuBLAS"))
        return; /* the machine has one of its own */
    cr_assert_eq(shell("LD_LIBRARY_PATH=$PWD/only $N quantize $M/llama-tied-f16 --calib text.txt --samples 8 --seq-len 64 "
                       "--asym-calib 0 --device cuda -o b --progress none && " QUANTIZE "--asym-calib 0 --device cpu -o a"), 0, "%s", run_err);
    char a[128], b[128];
    snprintf(a, sizeof a, "%s/a/model.safetensors", test_dir);
    snprintf(b, sizeof b, "%s/b/model.safetensors", test_dir);
    code_count c = compare_codes(a, b, "*.qweight");
    cr_assert_leq((double)c.differ, 0.002 * (double)c.all, "%zu of %zu codes differ", c.differ, c.all);
}

static double perplexity(const char *device) {
    cr_assert_eq(shell("$N eval $M/llama-untied-bf16 --text text.txt --seq-len 64 --max-tokens 512 --json -q --device %s", device), 0, "%s",
                 run_err);
    const char *at = strstr(run_out, "\"perplexity\":");
    cr_assert_not_null(at, "%s", run_out);
    return strtod(at + strlen("\"perplexity\":"), NULL);
}

Test(cuda, evaluation_forward) {
    double cpu = perplexity("cpu"), cuda = perplexity("cuda");
    cr_assert_gt(cpu, 1.0);
    cr_assert_lt(fabs(cuda - cpu), 1e-5 * cpu, "%.9g on the CPU, %.9g on CUDA", cpu, cuda);
}

/* The limit is honoured: with as much as a run says that it needs it runs, with less it does not begin. */
Test(cuda, device_memory_limit) {
    cr_assert_eq(shell(QUANTIZE "--device cuda -o a --device-memory 1M"), 4);
    const char *at = strstr(run_err, "this run needs ");
    cr_assert_not_null(at, "%s", run_err);
    double need = strtod(at + strlen("this run needs "), NULL);
    cr_assert(need > 1.0 && need < 100.0, "%s", run_err);
    cr_assert_eq(shell("ls -d a a.partial 2>/dev/null"), 2, "nothing is begun: %s", run_out);
    cr_assert_eq(shell(QUANTIZE "--device cuda -o a --device-memory %.0f", 1e6 * (need + 0.1)), 0, "%s", run_err);
    cr_assert_eq(shell(QUANTIZE "--device cuda -o b --device-memory %.0f", 1e6 * (need - 0.1)), 4, "%s", run_err);
}
