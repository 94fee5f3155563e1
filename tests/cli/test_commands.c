/* The commands, run as a user runs them. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "process.h"

static void put_text(void) {
    static char text[40000];
    size_t len = 0;
    for (unsigned i = 0; len + 80 < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "Line %u of some prose, with words like %c%u and more of them.\n", i,
                                'a' + (int)(i * 7 % 26), i * i % 1009);
    put_file("text.txt", text, len);
}

static void setup(void) {
    make_dir();
    put_text();
}

TestSuite(commands, .init = setup, .fini = drop_dir);

Test(commands, help_everywhere) {
    static const char *const names[] = {"quantize", "eval", "generate", "inspect", "devices"};
    cr_assert_eq(shell("$N --help"), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cr_assert_not_null(strstr(run_out, names[i]) ? run_out : NULL, "nibble --help lacks %s", names[i]);
        cr_assert_eq(shell("$N %s --help", names[i]), 0);
        cr_assert_not_null(strstr(run_out, "examples:"), "%s", names[i]);
        cr_assert_eq(shell("$N --help"), 0);
    }
}

/* Bad inputs 46 to 49, and operands: exit code, and what the one line on standard error says. */
Test(commands, bad_lines) {
    static const struct {
        const char *line;
        int code;
        const char *text;
    } cases[] = {
        {"$N", 2, "usage"},
        {"$N quantise x -o y", 2, "did you mean quantize"},
        {"$N quantize", 2, "MODEL is missing"},
        {"$N quantize $M/llama-tied-f16", 2, "--output"},
        {"$N quantize $M/llama-tied-f16 -o out --bits 4x", 2, "4x"},
        {"$N quantize $M/llama-tied-f16 -o out --bits 5", 2, "2, 3, 4 or 8"},
        {"$N quantize $M/llama-tied-f16 -o out --bits -1", 2, "2 to 8"},
        {"$N quantize $M/llama-tied-f16 -o out --samples 99999999999999999999", 2, "--samples"},
        {"$N quantize $M/llama-tied-f16 -o out --sym --sym", 2, "twice"},
        {"$N quantize $M/llama-tied-f16 -o out --method best-ever", 2, "not a method"},
        {"$N quantize $M/llama-tied-f16 -o out --device gpu0", 2, "no such device"},
        {"$N quantize $M/llama-tied-f16 -o out --group-size 48 --method rtn", 2, "does not divide"},
        {"$N quantize $M/llama-tied-f16 -o out --group-size 0", 2, "--group-size"},
        {"$N quantize $M/llama-tied-f16 -o out --budget 60", 2, "--budget: is for --method best"},
        {"$N quantize $M/llama-tied-f16 -o out --method best --descent 2", 2, "--descent: is chosen by --method best"},
        {"$N quantize $M/llama-tied-f16 -o out --method rtn --descent 2", 2, "--descent: ends GPTQ"},
        {"$N quantize $M/llama-tied-f16 -o out --method rtn --damp 0.1", 2, "--damp: belongs to GPTQ"},
        {"$N quantize $M/llama-tied-f16 -o out --method awq --order act", 2, "--order: belongs to GPTQ"},
        {"$N quantize $M/llama-tied-f16 -o out --method hqq --asym --scales search", 2, "--scales: are hqq's own"},
        {"$N quantize $M/llama-tied-f16 -o out --method gptq+autoround+tune --rate 0.1", 2, "--rate: is not the same thing"},
        {"$N quantize $M/llama-tied-f16 -o out --override '*.gate:skip' --method rtn", 2, "matches no module"},
        {"$N quantize nowhere -o out", 3, "nowhere"},
        {"$N quantize $M/llama-tied-f16 -o $M/llama-tied-f16 --force --method rtn", 2, "input model itself"},
        {"ln -s $M/llama-tied-f16 link; $N quantize $M/llama-tied-f16 -o link --force --method rtn", 2, "input model itself"},
        {"mkdir out; $N quantize $M/llama-tied-f16 -o out --method rtn", 2, "--force"},
        {"touch file; $N quantize $M/llama-tied-f16 -o file --force --method rtn", 2, "not a folder"},
        {"$N quantize $M/llama-tied-f16 -o no/such/place --method rtn", 2, "does not exist"},
        {"$N quantize $M/llama-tied-f16 -o o2 --calib missing.txt", 3, "missing.txt"},
        {": >empty; $N quantize $M/llama-tied-f16 -o o3 --calib empty", 3, "empty"},
        {"echo short >s; $N quantize $M/llama-tied-f16 -o o4 --calib s --seq-len 64", 3, "tokens"},
        {"$N quantize $M/llama-tied-f16 -o o5 --calib text.txt --seq-len 100000", 2, "context"},
        {"$N eval $M/llama-tied-f16", 2, "--text"},
        {"$N eval $M/llama-tied-f16 --text empty", 3, "empty"},
        {"$N eval $M/llama-tied-f16 --text text.txt --protocol gguf", 2, "hf|llama.cpp"},
        {"$N inspect text.txt", 3, "text.txt"},
        {"$N devices extra", 2, "too many"},
        {"$N --completions csh", 2, "bash, zsh or fish"},
        {"$N devices >&-", 1, "standard output"},
        {"$N devices --json >/dev/full", 1, "standard output"},
        {"$N inspect $M/llama-tied-f16 --tensors >/dev/full", 1, "standard output"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int code = shell("%s", cases[i].line);
        cr_assert_eq(code, cases[i].code, "%s: exit %d, expected %d: %s", cases[i].line, code, cases[i].code, run_err);
        cr_assert_not_null(strstr(run_err, cases[i].text), "%s said: %s", cases[i].line, run_err);
        cr_assert_eq(shell("ls -d out.partial o[2-9] o[2-9].partial 2>/dev/null"), 2, "%s left debris: %s", cases[i].line, run_out);
    }
}

static json_t *parse_out(void) {
    json_t *o = json_loads(run_out, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(o, "not JSON: %s", run_out);
    return o;
}

static double number(const json_t *o, const char *key) {
    cr_assert(json_is_number(json_object_get(o, key)), "no number %s in %s", key, run_out);
    return json_number_value(json_object_get(o, key));
}

#define QUANTIZE "$N quantize $M/llama-tied-f16 --calib text.txt --samples 8 --seq-len 64 -q"

Test(commands, quantize_inspect_eval_generate) {
    cr_assert_eq(shell(QUANTIZE " -o out --json"), 0, "%s", run_err);
    json_t *o = parse_out();
    cr_assert_gt(number(o, "bits_per_weight"), 4.0);
    cr_assert_gt(number(json_object_get(o, "split"), "forward"), 0.0);
    cr_assert_eq(json_array_size(json_object_get(json_object_get(o, "report"), "blocks")), 2);
    json_decref(o);
    cr_assert_eq(shell("ls out.partial 2>/dev/null"), 2, "the work folder is gone");
    cr_assert_eq(shell("$N inspect out --json"), 0, "%s", run_err);
    o = parse_out();
    cr_assert_str_eq(json_string_value(json_object_get(json_object_get(o, "quantization"), "format")), "gptq");
    json_decref(o);
    cr_assert_eq(shell("$N eval out --text text.txt --seq-len 64 --reference $M/llama-tied-f16 --json -q"), 0, "%s", run_err);
    o = parse_out();
    cr_assert_geq(number(o, "kl_mean"), 0.0);
    cr_assert_leq(number(o, "top1_agreement"), 1.0);
    cr_assert_gt(number(o, "perplexity"), 1.0);
    cr_assert_gt(number(o, "nll"), 0.0);
    cr_assert_eq((long)number(o, "tokens") % 63, 0, "L-1 targets a window");
    json_decref(o);
    cr_assert_eq(shell("$N generate out -p 'Some prose' -n 8 --json -q"), 0, "%s", run_err);
    o = parse_out();
    cr_assert_gt(number(o, "tokens_per_second"), 0.0);
    cr_assert(json_is_string(json_object_get(o, "text")));
    json_decref(o);
}

Test(commands, a_model_against_itself_loses_nothing) {
    cr_assert_eq(shell("$N eval $M/llama-tied-f16 --text text.txt --seq-len 64 --reference $M/llama-tied-f16 --json -q"), 0, "%s", run_err);
    json_t *o = parse_out();
    cr_assert_float_eq(number(o, "kl_mean"), 0.0, 1e-9);
    cr_assert_eq(number(o, "top1_agreement"), 1.0);
    json_decref(o);
}

Test(commands, bytes_do_not_depend_on_threads_nor_on_the_run) {
    static const char *const settings[] = {"", "--asym --order act", "--method rtn --bits 8", "--bits 3 --group-size 32 --order stored"};
    for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
        char first[128] = "";
        static const int threads[] = {1, 2, 3, 8, 2};
        for (size_t t = 0; t < 5; t++) {
            cr_assert_eq(shell(QUANTIZE " -o out --force %s -j %d", settings[s], threads[t]), 0, "%s", run_err);
            const char *hash = folder_hash("out");
            if (t == 0)
                strcpy(first, hash);
            cr_assert_str_eq(hash, first, "%s with %d threads", settings[s], threads[t]);
        }
    }
}

Test(commands, a_quantized_model_is_not_quantized_again) {
    cr_assert_eq(shell(QUANTIZE " -o out --method rtn"), 0, "%s", run_err);
    cr_assert_eq(shell("$N quantize out -o again --method rtn"), 3);
    cr_assert_not_null(strstr(run_err, "quantized already"));
}

Test(commands, dry_run_prints_and_writes_nothing) {
    cr_assert_eq(shell(QUANTIZE " -o out --dry-run"), 0, "%s", run_err);
    cr_assert_not_null(strstr(run_out, "model.layers.1.mlp.down_proj"));
    cr_assert_eq(shell("ls -d out*"), 2);
    cr_assert_eq(shell(QUANTIZE " -o out --dry-run --json"), 0);
    json_t *o = parse_out();
    cr_assert_eq(json_array_size(json_object_get(o, "tensors")), 14);
    json_decref(o);
}

/* What the run itself would refuse is said beside the plan, and nothing is touched. */
Test(commands, dry_run_says_what_is_wrong_with_the_output) {
#define DRY "$N quantize $M/llama-tied-f16 --calib text.txt --samples 8 --seq-len 64 --dry-run"
    const char *wrong = "warning: this run would not begin: ";
    cr_assert_eq(shell(DRY " -o out"), 0);
    cr_assert_null(strstr(run_err, wrong), "%s", run_err);
    cr_assert_eq(shell(DRY " -o nowhere/out"), 0);
    cr_assert(strstr(run_err, wrong) && strstr(run_err, "make it first"), "%s", run_err);
    cr_assert_eq(shell("mkdir out.partial && echo mine >out.partial/notes && " DRY " -o out"), 0);
    cr_assert(strstr(run_err, wrong) && strstr(run_err, "not the work folder of a run"), "%s", run_err);
    cr_assert_eq(shell("rm -r out.partial; " QUANTIZE " -o out --method rtn && " DRY " -o out"), 0);
    cr_assert(strstr(run_err, wrong) && strstr(run_err, "--force replaces it"), "%s", run_err);
    cr_assert_eq(shell(DRY " -o out --force"), 0);
    cr_assert_null(strstr(run_err, wrong), "%s", run_err);
    cr_assert_eq(shell("ls -d out* | wc -l | grep -qx 1"), 0);
}

/* Rounding reads no text, so it would not miss a vocabulary either. */
Test(commands, what_goes_unused_or_will_be_missing_is_noted) {
    const char *unread = "--calib is not read", *missing = "no tokenizer.json";
    cr_assert_eq(shell(DRY " -o out"), 0);
    cr_assert(!strstr(run_out, unread) && !strstr(run_out, missing), "%s", run_out);
    cr_assert_eq(shell(DRY " -o out --method rtn"), 0);
    cr_assert(strstr(run_out, "rtn needs no calibration text") && strstr(run_out, unread) && !strstr(run_out, missing), "%s", run_out);
    cr_assert_eq(shell("mkdir bare && cp $M/llama-tied-f16/config.json $M/llama-tied-f16/*.safetensors bare && "
                       "$N quantize bare -o out --method rtn -n"), 0, "%s", run_err);
    cr_assert(!strstr(run_out, unread) && strstr(run_out, missing), "%s", run_out);
}

Test(commands, a_kernel_that_is_none_leaves_nothing_out_and_says_so) {
    cr_assert_eq(shell("$N eval $M/llama-tied-f16 --text text.txt --seq-len 64 --kernel 'matmul_pl*,matmul_none' -d cpu"), 0, "%s", run_err);
    cr_assert(strstr(run_err, "no kernel of this build is called \"matmul_none\"") && !strstr(run_err, "matmul_pl"), "%s", run_err);
}

Test(commands, shards_and_overrides_arrive) {
    cr_assert_eq(shell(QUANTIZE " -o out --shard-size 40K --override '*.down_proj:bits=8' --override '*.layers.0.*q_proj:skip'"), 0,
                 "%s", run_err);
    cr_assert_eq(shell("ls out/model-00001-of-*.safetensors out/model.safetensors.index.json && grep -c dynamic out/config.json"), 0);
    cr_assert_eq(shell("$N inspect out --tensors"), 0, "%s", run_err);
    cr_assert_not_null(strstr(run_out, "model.layers.0.self_attn.q_proj.weight"));
    cr_assert_not_null(strstr(run_out, "13 linears, 1 left alone"));
    cr_assert_eq(shell("$N eval out --text text.txt --seq-len 64 -q"), 0, "%s", run_err);
}

Test(commands, zero_points_that_v1_cannot_hold_are_counted) {
    cr_assert_eq(shell("$N quantize $M/llama-tied-f16 -o out --method rtn --asym --bits 2 --group-size 16 --checkpoint-format gptq --json"), 0,
                 "%s", run_err);
    json_t *o = parse_out();
    cr_assert_gt(number(o, "zeros_clamped"), 0.0);
    cr_assert_not_null(strstr(run_err, "were raised to 1"));
    json_decref(o);
    cr_assert_eq(shell("$N quantize $M/llama-tied-f16 -o out2 --method rtn --asym --bits 2 --group-size 16 --json"), 0, "%s", run_err);
    o = parse_out();
    cr_assert_eq(number(o, "zeros_clamped"), 0.0);
    json_decref(o);
}

Test(commands, self_written_calibration) {
    cr_assert_eq(shell("$N quantize $M/llama-tied-f16 --calib self --samples 4 --seq-len 32 -o a"), 0, "%s", run_err);
    cr_assert_not_null(strstr(run_err, "writes 4 sequences"), "it must be said: %s", run_err);
    cr_assert_eq(shell("$N quantize $M/llama-tied-f16 --calib self --samples 4 --seq-len 32 -o b -q -j 1"), 0);
    char a[128];
    strcpy(a, folder_hash("a"));
    cr_assert_str_eq(a, folder_hash("b"));
}

/* Mean KL divergence of a folder's model to a reference, on the test's text. */
static double kl_to(const char *model, const char *reference) {
    cr_assert_eq(shell("$N eval %s --reference %s --text text.txt --seq-len 64 --max-tokens 640 --json -q", model, reference), 0, "%s",
                 run_err);
    json_t *doc = json_loads(run_out, 0, NULL);
    double kl = json_number_value(json_object_get(doc, "kl_mean"));
    cr_assert(json_is_number(json_object_get(doc, "kl_mean")), "%s", run_out);
    json_decref(doc);
    return kl;
}

/* The same codes in two formats are the same model; channel scales in the norms lose no more than rounding
 * does without them (a norm that misses its scale loses a hundred times as much). */
Test(commands, formats_and_folded_norms_keep_the_model) {
    const char *common = "$M/llama-tied-f16 --calib text.txt --samples 8 --seq-len 64 --group-size 32 -q --asym";
    cr_assert_eq(shell("$N quantize %s -o a --format awq", common), 0, "%s", run_err);
    cr_assert_eq(shell("$N quantize %s -o g", common), 0, "%s", run_err);
    cr_assert_float_eq(kl_to("a", "g"), 0.0, 1e-12);
    cr_assert_gt(kl_to("a", "$M/llama-tied-f16"), 1e-6);
    cr_assert_eq(shell("$N quantize %s -o s --bits 8 --method awq", common), 0, "%s", run_err);
    cr_assert_eq(shell("grep -q '\"alpha\": *0.[1-7]' s/quantization_report.json"), 0, "no scales were found");
    cr_assert_eq(shell("$N quantize %s -o r --bits 8 --method rtn", common), 0, "%s", run_err);
    cr_assert_lt(kl_to("s", "$M/llama-tied-f16"), 1.5 * kl_to("r", "$M/llama-tied-f16"));
    cr_assert_eq(shell("$N quantize %s -o x --format awq --bits 3", common), 2);
    cr_assert_eq(shell("$N quantize %s -o x --format awq --checkpoint-format gptq_v2", common), 2);
}

/* The same where files hold norms less 1 (Gemma), from a directory and from a GGUF, which holds them whole; and a copy is the
 * model itself. K = 48 and 80. */
Test(commands, norms_with_an_offset_keep_the_model) {
    static const char *const sources[] = {"$M/gemma3-bf16", "$M/../gguf/gemma3-f16.gguf"};
    for (size_t i = 0; i < 2; i++) {
        char common[160];
        snprintf(common, sizeof common, "%s --calib text.txt --samples 8 --seq-len 64 --group-size 16 -q --asym", sources[i]);
        cr_assert_eq(shell("$N quantize %s -o s%zu --bits 8 --method awq", common, i), 0, "%s", run_err);
        cr_assert_eq(shell("grep -q '\"alpha\": *0.[1-7]' s%zu/quantization_report.json", i), 0, "no scales were found");
        cr_assert_eq(shell("$N quantize %s -o r%zu --bits 8 --method rtn", common, i), 0, "%s", run_err);
        cr_assert_eq(shell("$N quantize %s -o c%zu --method rtn --override '*:skip'", common, i), 0, "%s", run_err);
        char s[8], r[8], c[8];
        snprintf(s, sizeof s, "s%zu", i);
        snprintf(r, sizeof r, "r%zu", i);
        snprintf(c, sizeof c, "c%zu", i);
        cr_assert_lt(kl_to(s, sources[i]), 1.5 * kl_to(r, sources[i]), "%s", sources[i]);
        cr_assert_float_eq(kl_to(c, sources[i]), 0.0, 1e-12, "%s", sources[i]);
        cr_assert_gt(kl_to(r, sources[i]), 1e-7);
    }
}

/* GGUF: the codes of GPTQ in Q4_0 are the same model as in a directory; Q4_1 loses the rounding of its offsets, which is far less
 * than what 4 bits lose. From a directory (rows of q and k permuted, vocabulary from tokenizer.json) and from a GGUF. */
Test(commands, gguf_holds_the_same_model) {
    static const char *const sources[] = {"$M/llama-tied-f16", "$M/../gguf/llama-tied-f16.gguf", "$M/llama-untied-bf16"};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        char common[200];
        snprintf(common, sizeof common, "%s --calib text.txt --samples 8 --seq-len 64 --group-size 32 -q --force", sources[i]);
        /* a search would also try negative scales in the GGUF alone */
        cr_assert_eq(shell("$N quantize %s -o s.gguf --format gguf --embeddings f16 --scales minmax", common), 0, "%s", run_err);
        cr_assert_eq(shell("$N quantize %s -o s --scales minmax", common), 0, "%s", run_err);
        /* packed and dense kernels sum in other orders, which the residual stream carries on: 4e-10 with plain kernels; the
         * weights are equal (tests/readers); and BF16 tables become F16 */
        double same = kl_to("s.gguf", "s");
        cr_assert_leq(same, i == 2 ? 1e-6 : 1e-8, "%s: %g", sources[i], same);
        cr_assert_eq(shell("$N quantize %s -o a.gguf --format gguf --embeddings f16 --asym --method rtn", common), 0, "%s", run_err);
        cr_assert_eq(shell("$N quantize %s -o a --asym --method rtn", common), 0, "%s", run_err);
        cr_assert_leq(kl_to("a.gguf", "a"), 0.02 * kl_to("a", sources[i]), "%s", sources[i]);
        /* with GPTQ other inputs of later layers give other codes, no worse ones */
        cr_assert_eq(shell("$N quantize %s -o b.gguf --format gguf --embeddings f16 --asym", common), 0, "%s", run_err);
        cr_assert_lt(kl_to("b.gguf", sources[i]), kl_to("a", sources[i]), "%s", sources[i]);
        cr_assert_eq(shell("$N quantize %s -o e.gguf --format gguf --bits 8", common), 0, "%s", run_err);
        cr_assert_lt(kl_to("e.gguf", sources[i]), 0.05 * kl_to("s", sources[i]), "%s", sources[i]);
        cr_assert_eq(shell("$N quantize %s -o w.gguf --format gguf --bits 8 --method awq", common), 0, "%s", run_err);
        cr_assert_lt(kl_to("w.gguf", sources[i]), 0.05 * kl_to("s", sources[i]), "%s", sources[i]);
        cr_assert_eq(shell("$N inspect e.gguf | grep -q Q8_0 && $N inspect a.gguf | grep -q Q4_1 && $N inspect s.gguf | grep -q Q4_0"), 0);
    }
}

Test(commands, gguf_refusals_and_left_out_linears) {
    const char *common = "$M/llama-tied-f16 --method rtn -q";
    cr_assert_eq(shell("$N quantize %s -o x.gguf --format gguf --bits 3", common), 2);
    cr_assert(strstr(run_err, "no block type for 3-bit"), "%s", run_err);
    cr_assert_eq(shell("$N quantize %s -o x.gguf --format gguf --bits 8 --asym", common), 2);
    cr_assert_eq(shell("$N quantize $M/llama-tied-f16 --calib text.txt -o x.gguf --format gguf --order act"), 2);
    cr_assert(strstr(run_err, "g_idx"), "%s", run_err);
    cr_assert_eq(shell("$N quantize %s -o x --embeddings f16", common), 2);
    cr_assert_eq(shell("mkdir d && $N quantize %s -o d --format gguf --force", common), 2);
    cr_assert(strstr(run_err, "is a folder"), "%s", run_err);
    cr_assert_eq(shell("$N quantize %s -o c.gguf --format gguf --embeddings f16 --override '*:skip'", common), 0, "%s", run_err);
    cr_assert_float_eq(kl_to("c.gguf", "$M/llama-tied-f16"), 0.0, 1e-12);
    cr_assert_eq(shell("$N quantize c.gguf -o c2.gguf --format gguf --embeddings f16 --override '*:skip' --method rtn -q"), 0, "%s", run_err);
    cr_assert_float_eq(kl_to("c2.gguf", "c.gguf"), 0.0, 1e-12);
    cr_assert_eq(shell("$N quantize %s -o c.gguf --format gguf", common), 2);
    cr_assert(strstr(run_err, "--force"), "%s", run_err);
}

/* A GGUF has a factor for each frequency, config.json the parameters that they are made of. */
Test(commands, rope_factors_become_llama3s_parameters) {
    cr_assert_eq(shell("$N quantize $M/../gguf/llama-untied-mix.gguf -o x --method rtn --override '*:skip' -q && python3 -c \"\nimport json, sys\n"
                       "rope = [json.load(open(p + '/config.json'))['rope_scaling'] for p in ('x', '$M/llama-untied-bf16')]\n"
                       "sys.exit(rope[0] != rope[1])\""), 0, "%s%s", run_out, run_err);
}

/* Norms are whole in a GGUF, whatever the source holds. K = 48 and 80 are no whole blocks: no linear is quantized. */
Test(commands, gguf_of_gemma3) {
    cr_assert_eq(shell("mkdir m && cp $M/gemma3-bf16/* m/ && sed -i 's/\"query_pre_attn_scalar\": 24/\"query_pre_attn_scalar\": 16/' m/config.json"), 0);
    cr_assert_eq(shell("$N quantize $M/gemma3-bf16 -o x.gguf --format gguf --method rtn --override '*:skip' -q"), 2);
    cr_assert(strstr(run_err, "query_pre_attn_scalar"), "%s", run_err);
    for (size_t i = 0; i < 2; i++) {
        const char *source = i ? "$M/../gguf/gemma3-f16.gguf" : "m";
        cr_assert_eq(shell("$N quantize %s -o g%zu.gguf --format gguf --method rtn --override '*:skip' -q", source, i), 0, "%s", run_err);
        char name[16];
        snprintf(name, sizeof name, "g%zu.gguf", i);
        cr_assert_float_eq(kl_to(name, source), 0.0, 1e-6, "%s", source); /* BF16 tables become F16 */
    }
}

/* Turns m, a copy of the tiny Gemma 3, into one whose linears have whole blocks of 32: other sizes, and drawn weights in F32, of 7
 * bits, so that F16 holds them as they are. */
static const char widen[] =
    "import json, random, struct\n"
    "c = json.load(open('m/config.json'))\n"
    "c.update(hidden_size=64, intermediate_size=96, num_attention_heads=4, query_pre_attn_scalar=16)\n"
    "json.dump(c, open('m/config.json', 'w'))\n"
    "shapes = {'norm': [64], 'embed_tokens': [288, 64]}\n"
    "linears = {'self_attn.q': [64, 64], 'self_attn.k': [16, 64], 'self_attn.v': [16, 64], 'self_attn.o': [64, 64],\n"
    "           'mlp.gate': [96, 64], 'mlp.up': [96, 64], 'mlp.down': [64, 96]}\n"
    "norms = ['input_layernorm', 'post_attention_layernorm', 'pre_feedforward_layernorm', 'post_feedforward_layernorm']\n"
    "for i in range(3):\n"
    "    shapes.update({f'layers.{i}.{n}_proj': s for n, s in linears.items()})\n"
    "    shapes.update({f'layers.{i}.{n}': [64] for n in norms} | {f'layers.{i}.self_attn.{n}_norm': [16] for n in 'qk'})\n"
    "draw, head, data = random.Random(1), {}, b''\n"
    "for n, s in shapes.items():\n"
    "    low, unit, count = (-60, 64, s[0]) if len(s) == 1 else (-64, 512, s[0] * s[1])\n"
    "    end = len(data) + 4 * count\n"
    "    head[f'model.{n}.weight'] = {'dtype': 'F32', 'shape': s, 'data_offsets': [len(data), end]}\n"
    "    data += struct.pack(f'<{count}f', *(draw.randint(low, low + 127) / unit for _ in range(count)))\n"
    "head = json.dumps(head).encode()\n"
    "open('m/model.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + data)\n";

/* Channel scales stand in the norms of a GGUF, which are whole, as in those of a directory, which are less 1. The codes are the same;
 * sums in another order may turn the last bit of a norm or of a scale, which is far less than what even 8 bits lose, and norms
 * without their scales lose thirty times what these do. With GPTQ that last bit gives later blocks other codes, no worse ones: they
 * lose less than rounding does. */
Test(commands, gguf_of_gemma3_holds_channel_scales) {
    const char *common = "m --calib text.txt --samples 8 --seq-len 64 --group-size 32 --bits 8 --scales minmax -q";
    put_file("widen.py", widen, sizeof widen - 1);
    cr_assert_eq(shell("mkdir m && cp $M/gemma3-bf16/* m/ && python3 widen.py"), 0, "%s", run_err);
    cr_assert_eq(shell("$N quantize %s -o s.gguf --format gguf --embeddings f16 --method awq", common), 0, "%s", run_err);
    cr_assert_eq(shell("$N quantize %s -o s --method awq", common), 0, "%s", run_err);
    cr_assert_eq(shell("grep -A1 '\"first\": .*\\(q\\|gate\\)_proj' s/quantization_report.json | grep -q '\"alpha\": *0.[1-7]'"), 0,
                 "no scales were found");
    cr_assert_eq(shell("$N inspect s.gguf | grep -q 'Q8_0 *21 tensors'"), 0, "%s", run_out);
    double lost = kl_to("s", "m");
    cr_assert_leq(kl_to("s.gguf", "s"), 0.02 * lost);
    cr_assert_eq(shell("$N quantize %s -o g.gguf --format gguf --embeddings f16 --method awq+gptq", common), 0, "%s", run_err);
    cr_assert_lt(kl_to("g.gguf", "m"), lost);
}
