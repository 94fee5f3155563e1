/* Where output goes: nothing is lost that the user did not ask to replace, and what would end a run ends it at once. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "process.h"

static void setup(void) {
    make_dir();
    cr_assert_eq(shell("for i in $(seq 200); do echo \"Line $i of prose, number $((i * i %% 997)).\"; done >text.txt"), 0);
}

TestSuite(place, .init = setup, .fini = drop_dir);

#define RTN "$N quantize --method rtn -q "

/* A command that must be refused, with `says`, and leave everything in the test's folder as it was. */
static void refused(const char *command, const char *says) {
    char before[128];
    strcpy(before, folder_hash("."));
    cr_expect_eq(shell("%s", command), 2, "%s: %s", command, run_err);
    cr_expect_not_null(strstr(run_err, says), "%s: %s", command, run_err);
    cr_expect_str_eq(folder_hash("."), before, "%s changed something", command);
}

Test(place, inputs_are_not_replaced) {
    cr_assert_eq(shell("mkdir -p all/models && cp -r $M/llama-tied-f16 all/models/m && cp -r all/models/m m.partial && ln -s all/models/m link && "
                       "cp -r all/models/m out && cp text.txt out/"), 0);
    refused(RTN "all/models/m -o all/models --force", "holds the input model");
    refused(RTN "all/models/m -o all --force", "holds the input model");
    refused(RTN "all/models/m -o ../${D##*/} --force", "holds the input model");
    refused(RTN "link -o all/models/m --force", "is the input model itself");
    refused(RTN "link -o all --force", "holds the input model");
    refused(RTN "m.partial -o m", "is the input model itself");
    cr_assert_eq(shell("mkdir v; cp out/*.json v; ln -s ../out/model.safetensors v/; ln -s m.partial link.partial"), 0);
    refused(RTN "v -o out --force", "holds files of the input model");
    refused(RTN "out -o link", "not the work folder of a run");
    refused("$N quantize all/models/m --calib out/text.txt --samples 2 --seq-len 32 -q -o out --force", "holds the calibration text");
}

Test(place, only_models_and_work_folders_are_removed) {
    cr_assert_eq(shell("mkdir photos other.partial && echo x >photos/1.jpg && echo x >other.partial/2.jpg && cp -r $M/llama-tied-f16 m"), 0);
    refused(RTN "m -o photos", "is no model");
    refused(RTN "m -o photos --force", "is no model");
    refused(RTN "m -o other", "not the work folder of a run");
    refused(RTN "m -o other --resume", "not the work folder of a run");
    cr_assert_eq(shell("rm other.partial/*; echo x >other.partial/out; echo x >notes.txt; mkdir app; echo {} >app/config.json; echo x >app/app.js"), 0);
    refused(RTN "m -o other", "not the work folder of a run");
    refused(RTN "m -o app --force", "is no model");
    refused(RTN "m --format gguf -o notes.txt --force", "is no model");
    cr_assert_eq(shell("mkdir empty && " RTN "m -o empty --force && test -s empty/config.json"), 0, "%s", run_err);
    cr_assert_eq(shell(RTN "m -o empty --force --bits 8 && test ! -e empty.partial"), 0, "%s", run_err);
}

/* An output that came into being between a run and its resuming is somebody else's. */
Test(place, resuming_does_not_replace_without_force) {
    cr_assert_eq(shell("(ulimit -f 100; " RTN "$M/llama-tied-f16 -o out); test -s out.partial/journal.jsonl && cp -r $M/llama-tied-f32 out"), 0);
    refused(RTN "$M/llama-tied-f16 -o out --resume", "--force replaces it");
    cr_assert_eq(shell(RTN "$M/llama-tied-f16 -o out --resume --force && test -s out/quantization_report.json"), 0, "%s", run_err);
    refused(RTN "$M/llama-tied-f16 -o out --resume", "whole already");
}

/* A run stopped between its two renames: the old output is in the work folder, and a new run puts it back. */
Test(place, an_old_output_comes_back) {
    cr_assert_eq(shell("cp -r $M/llama-tied-f32 kept && mkdir -p out.partial/out && cp -r kept out.partial/old && touch out.partial/journal.jsonl"), 0);
    cr_assert_eq(shell(RTN "$M/llama-tied-f16 -o out"), 2, "%s", run_err);
    cr_assert_eq(shell("diff -r kept out"), 0, "%s", run_out);
    cr_assert_eq(shell("rm -r out && mkdir -p out.partial/old && cp kept/* out.partial/old/ && touch out.partial/journal.jsonl"), 0);
    cr_assert_eq(shell(RTN "$M/llama-tied-f16 -o out"), 2, "also without the new one, which a failed resume removes: %s", run_err);
    cr_assert_eq(shell("diff -r kept out"), 0, "%s", run_out);
}

Test(place, slashes_at_the_end_are_none) {
    cr_assert_eq(shell(RTN "$M/llama-tied-f16 -o out/ && test -s out/config.json && test ! -e out.partial"), 0, "%s", run_err);
    refused(RTN "$M/llama-tied-f16 -o out/. --force", "is not a name");
    refused(RTN "$M/llama-tied-f16 -o . --force", "is not a name");
    refused(RTN "$M/llama-tied-f16 -o ''", "is not a name");
    cr_assert_eq(shell(RTN "$M/llama-tied-f16 -o out// --force && test -s out/config.json && test ! -e out/.partial"), 0, "%s", run_err);
}

/* What ends a run ends it before the first block: no work folder is left. */
Test(place, what_cannot_be_written_is_said_before_work_begins) {
    cr_assert_eq(shell("$N quantize $M/llama-untied-bf16 --method rtn --format gguf --override '*:skip' -q -o rope.gguf"), 0, "%s", run_err);
    cr_assert_eq(shell("at=$(LC_ALL=C grep -obUaP '(\\x00\\x00\\x00\\x41){4}' rope.gguf | head -1 | cut -d: -f1) && "
                       "printf '\\0\\0\\20\\101' | dd of=rope.gguf bs=1 seek=$at conv=notrunc"), 0, "%s", run_err); /* one factor of 8 is 9 now */
    refused(RTN "rope.gguf --group-size -1 -o out", "rope_freqs");
    cr_assert_eq(shell("cp -r $M/llama-tied-f16 m && ln -s nowhere m/README.md"), 0);
    cr_assert_eq(shell(RTN "m -o out"), 3, "%s", run_err);
    cr_assert_not_null(strstr(run_err, "m/README.md"), "%s", run_err);
    cr_assert_eq(shell("ls -d out*"), 2, "%s", run_out);
}

/* What came into being at the output's place while the run was on is not replaced; the run can go on once that is settled. */
Test(place, what_appears_during_the_run_stays) {
    cr_assert_eq(shell(STOPPED_RUN "cp -r $M/llama-tied-f32 out; kill -CONT $p; wait $p"), 1, "%s", run_err);
    cr_assert_not_null(strstr(run_err, "came into being during the run"), "%s", run_err);
    cr_assert_eq(shell("diff -r $M/llama-tied-f32 out && mv out theirs && $N quantize $M/llama-tied-f16 " LONG_RUN " --resume && test -s out/config.json"), 0,
                 "%s", run_err);
}

/* Two runs to one output: the second is refused while the first is on. */
Test(place, one_run_at_a_time) {
    cr_assert_eq(shell(STOPPED_RUN RTN "$M/llama-tied-f16 -o out; code=$?; kill -CONT $p; wait $p && exit $code"), 1, "%s", run_err);
    cr_assert_not_null(strstr(run_err, "in use by another run"), "%s", run_err);
    cr_assert_eq(shell("test -s out/config.json && test ! -e out.partial"), 0);
}

/* Finished blocks are hours of work. */
Test(place, blocks_are_not_dropped_without_a_word) {
    cr_assert_eq(shell("(ulimit -f 100; " RTN "$M/llama-tied-f16 -o out); test -s out.partial/journal.jsonl"), 0);
    refused(RTN "$M/llama-tied-f16 -o out", "holds 2 finished blocks of a run");
    cr_assert_eq(shell(RTN "$M/llama-tied-f16 -o out --force && test ! -e out.partial"), 0, "%s", run_err);
}

Test(place, options_that_do_nothing_are_refused) {
    refused("$N quantize $M/llama-tied-f16 --iters 5 -o out", "belongs to autoround and tune");
    refused("$N quantize $M/llama-tied-f16 --gradient-memory 1G -o out", "belongs to --two-sided");
    refused("$N quantize $M/llama-tied-f16 --method gtpq -o out", "autoround, gptq+autoround");
}

Test(place, an_output_inside_the_models_folder) {
    cr_assert_eq(shell("cp -r $M/llama-tied-f16 m && " RTN "m -o m/w4 && " RTN "m -o m/w4 --force"), 0, "%s", run_err);
    cr_assert_eq(shell("(ulimit -f 100; " RTN "m -o m/w8 --bits 8); test -s m/w8.partial/journal.jsonl && " RTN "m -o m/w8 --bits 8 --resume"), 0, "%s", run_err);
}

Test(place, best_says_what_it_chooses_itself) {
    refused("$N quantize $M/llama-tied-f16 --method best --two-sided -o out", "is chosen by --method best");
    refused("$N quantize $M/llama-tied-f16 --method best --asym-calib 0 -o out", "is chosen by --method best");
    refused("$N quantize $M/llama-tied-f16 --method best --descent 2 -o out", "is chosen by --method best");
}

/* Linears of a GGUF that are left alone keep their type where it is a plain float. */
Test(place, skipped_linears_of_a_gguf_stay_as_they_are) {
    cr_assert_eq(shell("$N quantize $M/llama-tied-f32 --method rtn --format gguf --override '*:skip' -q -o f32.gguf && " RTN
                       "f32.gguf --group-size 16 --override '*.down_proj:skip' -o out && $N inspect out --tensors"), 0, "%s", run_err);
    const char *line = strstr(run_out, "model.layers.0.mlp.down_proj.weight");
    cr_assert_not_null(line, "%s", run_out);
    char one[256];
    snprintf(one, sizeof one, "%.*s", (int)strcspn(line, "\n"), line);
    cr_assert_not_null(strstr(one, "F32"), "%s", one);
    cr_assert_eq(shell("python3 -c \"\nimport json, struct, sys\n"
                       "def data(p, n):\n f = open(p, 'rb'); h = struct.unpack('<Q', f.read(8))[0]; o = json.loads(f.read(h)); a, b = o[n]['data_offsets']\n"
                       " f.seek(8 + h + a); return f.read(b - a)\n"
                       "n = 'model.layers.1.mlp.down_proj.weight'\n"
                       "sys.exit(data('out/model.safetensors', n) != data('$M/llama-tied-f32/model.safetensors', n))\""), 0, "%s", run_err);
}
