/* Methods through whole runs on a tiny model. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

static void setup(void) {
    make_dir();
    cr_assert_eq(shell("for i in $(seq 600); do echo \"Line $i of prose, number $((i * i %% 997)).\"; done >text.txt"), 0);
}

TestSuite(methods, .init = setup, .fini = drop_dir);

#define RUN "$N quantize $M/llama-tied-f16 --calib text.txt --samples 8 --seq-len 64 -q"

/* Mean KL divergence of an output to the original. */
static double divergence(const char *name) {
    cr_assert_eq(shell("$N eval %s --text text.txt --max-tokens 512 --seq-len 128 --reference $M/llama-tied-f16 --json -q", name), 0,
                 "%s", run_err);
    const char *at = strstr(run_out, "\"kl_mean\"");
    cr_assert_not_null(at, "%s", run_out);
    return strtod(strchr(at, ':') + 1, NULL);
}

/* Channel scales go into norms, and into the rows of v (whose heads share them: 4 query heads read 2) and of up. A factor that
 * were not undone would leave nothing of the model at 8 bits; what is left is the rounding, of scales once more too. */
Test(methods, folded_channels_leave_the_model_as_it_was) {
    cr_assert_eq(shell(RUN " --bits 8 --method rtn --scales search -o plain && " RUN " --bits 8 --method awq -o folded"), 0, "%s",
                 run_err);
    cr_assert_eq(shell("tr -d ' \\n' <folded/quantization_report.json | grep -o '\"alpha\":[0-9.]*' | grep -v ':0.0$' | wc -l"), 0);
    cr_assert_geq(atoi(run_out), 4, "too few channel scales were found: %s", run_out);
    cr_assert_eq(shell("tr -d ' \\n' <folded/quantization_report.json | grep -o '\"first\":\"[a-z0-9_.]*\"' | grep -c 'o_proj\\|down_proj'"), 0);
    cr_assert_eq(atoi(run_out), 4, "%s", run_out);
    double plain = divergence("plain"), folded = divergence("folded");
    cr_assert_lt(folded, 3 * plain + 1e-5, "%g, without channel scales %g", folded, plain);
}

/* Each refinement changes what GPTQ writes, and none breaks it: at 3 bits all are nearer to the original than rounding to nearest. Learned
 * rounding keeps a block only where its error fell, which steps of the default length, 1 / 5, are too long for. */
Test(methods, are_better_than_rounding) {
    static const char *const methods[] = {"gptq", "gptq --descent 3", "awq+gptq", "autoround --iters 40 --batch 4",
                                          "gptq+autoround --iters 5 --rate 0.05", "gptq --two-sided", "gptq+tune --iters 20 --rate 0.0003"};
    cr_assert_eq(shell(RUN " --bits 3 --asym --method rtn -o rtn"), 0, "%s", run_err);
    double plain = divergence("rtn");
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        cr_assert_eq(shell(RUN " --bits 3 --asym --method %s -o m%zu", methods[i], i), 0, "%s", run_err);
        char name[16];
        snprintf(name, sizeof name, "m%zu", i);
        if (i > 0)
            cr_assert_eq(shell("cmp m0/model.safetensors %s/model.safetensors", name), 1, "%s is gptq", methods[i]);
        double kl = divergence(name);
        cr_assert_lt(kl, plain, "%s: %g, rounding %g", methods[i], kl, plain);
    }
}

/* Gradients go through Gemma's norms of heads and of what is added, its windows and its other activation too: what is learned with them
 * lowers the divergence on the text that it was learned from, and 8 windows of the same text are enough for some of it to stay. */
Test(methods, gradients_of_a_whole_model) {
    static const char *const models[] = {"llama-untied-bf16", "gemma3-bf16"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        cr_assert_eq(shell("$N quantize $M/%s --calib text.txt --samples 24 --seq-len 64 --group-size 16 --asym --two-sided --method gptq+tune "
                           "--iters 40 --batch 4 -q -o %s", models[i], models[i]), 0, "%s", run_err);
        cr_assert_eq(shell("tr -d ' \\n' <%s/quantization_report.json | grep -o '\"kl_[a-z]*\":[0-9.e-]*' | sed 's/.*://' | tr '\\n' ' '", models[i]), 0);
        char *end;
        double before = strtod(run_out, &end), after = strtod(end, NULL);
        cr_assert(before > 0 && after > 0 && after < 0.97 * before, "%s: %s", models[i], run_out);
    }
}

/* A copy of a tiny model as `m`, all values of its tensor `name` replaced by one of `format` (of Python's struct). */
static void with_tensor(const char *model, const char *name, const char *format, const char *value) {
    cr_assert_eq(shell("rm -rf m && cp -r $M/%s m && chmod -R u+w m && python3 -c \"\nimport json, struct\nf = open('m/model.safetensors', 'r+b')\n"
                       "h = struct.unpack('<Q', f.read(8))[0]; a, b = json.loads(f.read(h))['%s']['data_offsets']; v = struct.pack('%s', %s)\n"
                       "f.seek(8 + h + a); f.write(v * ((b - a) // len(v)))\n\"", model, name, format, value), 0, "%s", run_err);
}

#define SMALL "$N quantize m --calib text.txt --samples 12 --seq-len 64 --group-size 16 -d cpu -q --force -o out "

/* A block whose attention does nothing: no gradient reaches its first three linears. */
Test(methods, outputs_that_nothing_depends_on) {
    with_tensor("llama-tied-f16", "model.layers.1.self_attn.o_proj.weight", "<e", "0");
    cr_assert_eq(shell(SMALL "--two-sided"), 0, "%s", run_err);
    cr_assert_eq(shell("$N quantize m --calib text.txt --samples 12 --seq-len 64 --group-size 16 -d cpu -o out --force --two-sided"), 0);
    cr_assert_not_null(strstr(run_err, "model.layers.1.self_attn.q_proj: the gradients by its outputs are all zero"), "%s", run_err);
    cr_assert_eq(shell("$N eval out --text text.txt --seq-len 64 --max-tokens 640 -q"), 0, "%s", run_err);
}

/* Activations past F32's range are said to be so, whatever the method. */
Test(methods, infinite_activations_are_refused) {
    static const char *const methods[] = {"gptq", "awq", "awq+gptq", "autoround --iters 2", "gptq+tune --iters 2", "rtn+tune --iters 2"};
    with_tensor("llama-tied-f32", "model.layers.0.input_layernorm.weight", "<f", "3e38");
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        cr_expect_eq(shell(SMALL "--method %s", methods[i]), 3, "%s: %s", methods[i], run_err);
        cr_expect(strstr(run_err, "NaN") || strstr(run_err, "infinit"), "%s: %s", methods[i], run_err);
    }
    cr_assert_eq(shell("test ! -e out"), 0);
}
