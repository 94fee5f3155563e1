/* eval and generate: what they read, what they must not touch, where they end. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

static void setup(void) {
    make_dir();
    cr_assert_eq(shell("for i in $(seq 100); do echo \"Line $i of prose, number $((i * i %% 997)).\"; done >text.txt; cp -r $M/llama-tied-f32 m; "
                       "chmod -R u+w m"), 0);
}

TestSuite(text, .init = setup, .fini = drop_dir);

#define EVAL "$N eval m --seq-len 64 --max-tokens 256 -d cpu -q "
#define GENERATE "$N generate m -p hello -d cpu -q "

static void fails(int code, const char *command, const char *says) {
    cr_expect_eq(shell("%s", command), code, "%s: %s", command, run_err);
    cr_expect_not_null(strstr(run_err, says), "%s: %s", command, run_err);
}

/* The number behind a key of run_out. */
static double value(const char *key) {
    const char *at = strstr(run_out, key);
    cr_assert_not_null(at, "%s in %s", key, run_out);
    return strtod(strchr(at, ':') + 1, NULL);
}

Test(text, logits_replace_no_input) {
    char before[128];
    cr_assert_eq(shell("mkfifo fifo && ln -s text.txt link"), 0);
    strcpy(before, folder_hash("."));
    fails(2, EVAL "-t text.txt --logits text.txt", "files of the input");
    fails(2, EVAL "-t text.txt --logits link", "files of the input");
    fails(2, EVAL "-t text.txt --logits m/model.safetensors", "files of the input");
    fails(2, EVAL "-t text.txt --logits m/new", "files of the input");
    fails(1, EVAL "-t text.txt --logits nodir/x", "cannot create");
    fails(2, EVAL "-t text.txt --logits fifo", "is not a regular file");
    fails(2, EVAL "-t text.txt --logits /dev/null", "is not a regular file");
    fails(3, EVAL "-t fifo", "is not a regular file");
    cr_assert_str_eq(folder_hash("."), before);
    cr_assert_eq(shell("cp text.txt x.partial"), 0);
    fails(2, EVAL "-t x.partial --logits x", "files of the input");
    cr_assert_eq(shell("cmp text.txt x.partial"), 0);
    cr_assert_eq(shell("echo old >keep; " EVAL "-t text.txt --seq-len 10000 --logits keep"), 2);
    cr_assert_eq(shell("test \"$(cat keep)\" = old"), 0, "a run that cannot begin leaves the file alone");
}

Test(text, logits_are_those_of_the_settings) {
    cr_assert_eq(shell(EVAL "-t text.txt --logits a && " EVAL "-t text.txt --embeddings q8 --logits b && test $(stat -c %%s a) = $(stat -c %%s b)"), 0, "%s",
                 run_err);
    cr_assert_eq(shell("cmp -s a b"), 1, "an output head in 8 bits has other logits");
}

/* Byte order mark, JSON lines, NUL: as calibration text. */
Test(text, is_read_as_calibration_is) {
    cr_assert_eq(shell(EVAL "-t text.txt --json"), 0, "%s", run_err);
    double plain = value("\"nll\"");
    cr_assert_eq(shell("{ printf '\\357\\273\\277'; cat text.txt; } >bom.txt; " EVAL "-t bom.txt --json"), 0, "%s", run_err);
    cr_assert_eq(value("\"nll\""), plain);
    cr_assert_eq(shell("python3 -c \"import json; print(json.dumps({'text': open('text.txt').read()}))\" >text.jsonl; " EVAL "-t text.jsonl --json"), 0, "%s",
                 run_err);
    cr_assert_eq(value("\"nll\""), plain);
    cr_assert_eq(shell("{ cat text.txt; printf '\\0'; } >nul.txt"), 0);
    cr_assert_eq(shell(EVAL "-t nul.txt"), 3, "%s", run_err);
}

Test(text, windows_fit_text_and_model) {
    fails(2, "$N eval m -t text.txt --seq-len 513 -q", "the model's context 512");
    fails(2, "$N eval m -t text.txt --max-tokens 100 -q", "less than one window");
    cr_assert_eq(shell("$N eval m -t text.txt --seq-len 64 --max-tokens 9223372036854775807 -q"), 0, "%s", run_err);
    fails(3, "echo short >short.txt; $N eval m -t short.txt -q", "--seq-len");
    cr_assert_eq(shell("$N eval m -t text.txt -q --json"), 0, "%s", run_err);
    cr_assert_eq((int)value("\"seq_len\""), 512, "by default the context, where that is less than 1024");
}

/* llama.cpp's tool puts BOS before the text and then in the place of each chunk's first token. */
Test(text, of_llama_cpp_begins_with_bos) {
    cr_assert_eq(shell("python3 - <<'PY'\nimport json\nt = json.load(open('m/tokenizer.json'))\n"
                       "t['post_processor'] = {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': 'B', 'type_id': 0}}, {'Sequence': {'id': 'A', "
                       "'type_id': 0}}], 'pair': [], 'special_tokens': {'B': {'id': 'B', 'ids': [5], 'tokens': ['B']}}}\n"
                       "json.dump(t, open('m/tokenizer.json', 'w'))\n"
                       "c = {'bos_token': next(k for k, v in t['model']['vocab'].items() if v == 5), 'add_bos_token': True}\n"
                       "json.dump(c, open('m/tokenizer_config.json', 'w'))\nPY\n" EVAL "-t text.txt --json --logits a"), 0, "%s", run_err);
    char ids[4096];
    cr_assert_eq(shell("cat >ids.py <<'PY'\nimport json, sys\nprint(json.load(open(sys.argv[1]))['logits_ids'])\nPY\n" EVAL
                       "-t text.txt --json --logits a >hf.json && python3 ids.py hf.json"), 0, "%s", run_err);
    snprintf(ids, sizeof ids, "%.4000s", run_out);
    cr_assert_eq(shell(EVAL "-t text.txt --json --protocol llama.cpp --logits a >lc.json && python3 ids.py lc.json"), 0, "%s", run_err);
    cr_assert_eq(strncmp(run_out, "[5, ", 4), 0, "%s", run_out);
    cr_assert_str_eq(run_out, ids, "the first window is that of hf, with the text's first token");
}

Test(text, predictions_that_are_no_numbers_are_bad_input) {
    cr_assert_eq(shell("python3 - <<'PY'\nimport json, struct\nf = open('m/model.safetensors', 'r+b')\nh = struct.unpack('<Q', f.read(8))[0]; o = json.loads(f.read(h))\n"
                       "for n in ('up', 'gate', 'down'):\n a, b = o['model.layers.0.mlp.%%s_proj.weight' %% n]['data_offsets']; f.seek(8 + h + a); "
                       "f.write(struct.pack('<f', 1e30) * ((b - a) // 4))\nPY"), 0, "%s", run_err);
    fails(3, EVAL "-t text.txt --json", "NaN or infinity");
    fails(3, EVAL "-t text.txt", "NaN or infinity");
}

/* A table with more rows than the tokenizer has tokens, and bytes that are no UTF-8. */
Test(text, whatever_is_drawn_is_written) {
    cr_assert_eq(shell("python3 - <<'PY'\nimport json\nt = json.load(open('m/tokenizer.json'))\nv = t['model']['vocab']\n"
                       "keep = {k: i for k, i in v.items() if i < 200}\nt['model']['vocab'] = keep\n"
                       "t['model']['merges'] = [m for m in t['model']['merges'] if ''.join(m if isinstance(m, list) else m.split(' ')) in keep]\n"
                       "t['added_tokens'] = []\njson.dump(t, open('m/tokenizer.json', 'w'))\njson.dump({}, open('m/tokenizer_config.json', 'w'))\nPY"), 0, "%s",
                 run_err);
    cr_assert_eq(shell(GENERATE "-n 200 --temp 5 --seed 1 --ignore-eos --json"), 0, "%s", run_err);
    cr_assert_null(strstr(run_out, "\"text\": \"\""), "%s", run_out);
    cr_assert_eq((int)value("\"tokens\""), 200);
    cr_assert_eq(shell("$N generate m -p \"$(printf 'caf\\351')\" -n 2 -q --json -d cpu"), 0, "%s", run_err);
}

/* What generation_config.json and config.json name ends a text too: here whatever is most likely after 4 tokens. */
Test(text, ends_where_the_model_says) {
    cr_assert_eq(shell("cat >next.py <<'PY'\nimport json, sys\nfor n in ('config.json', 'generation_config.json'):\n p = 'm/' + n\n c = json.load(open(p)); "
                       "c['eos_token_id'] = 0; json.dump(c, open(p, 'w'))\np = 'm/' + sys.argv[1]; c = json.load(open(p)); "
                       "c['eos_token_id'] = list(range(288)) if sys.argv[2] == 'all' else 1; json.dump(c, open(p, 'w'))\nPY"), 0);
    static const char *const files[] = {"config.json", "generation_config.json"};
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(shell("python3 next.py %s all && " GENERATE "-n 20 --json", files[i]), 0, "%s", run_err);
        cr_assert_eq((int)value("\"tokens\""), 1, "%s: %s", files[i], run_out);
        cr_assert_not_null(strstr(run_out, "\"ended\": true"));
        cr_assert_eq(shell(GENERATE "-n 20 --json --ignore-eos"), 0, "%s", run_err);
        cr_assert_eq((int)value("\"tokens\""), 20);
    }
}

Test(text, stopped_is_130) {
    cr_assert_eq(shell("sed -i 's/\"max_position_embeddings\": 512/\"max_position_embeddings\": 100000/' m/config.json; "
                       GENERATE "-n 90000 --ignore-eos -j 1 >out.txt & p=$!; while [ ! -s out.txt ] && kill -0 $p; do :; done; kill -INT $p; wait $p"), 130, "%s", run_err);
    cr_assert_not_null(strstr(run_err, "stopped after"), "%s", run_err);
}

Test(text, small_things_that_end_well) {
    fails(1, "$N eval --help >/dev/full", "standard output");
    fails(2, "$N bench --compare a,b --json", "does not go with --compare");
    cr_assert_eq(shell("mkdir x && cp m/config.json m/tokenizer.json x/ && python3 - <<'PY'\nimport json, struct\nb = open('m/model.safetensors', 'rb').read()\n"
                       "h = struct.unpack('<Q', b[:8])[0]; o = json.loads(b[8:8 + h]); o['bad\\x1b[2J'] = o.pop('model.norm.weight')\n"
                       "t = json.dumps(o).encode(); open('x/model.safetensors', 'wb').write(struct.pack('<Q', len(t)) + t + b[8 + h:])\nPY"), 0, "%s", run_err);
    fails(3, "$N inspect x", "control characters");
    cr_assert_null(strchr(run_err, 033), "they do not reach a terminal");
}
