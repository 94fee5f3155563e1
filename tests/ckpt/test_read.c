/* Reading good files: tests/golden/models and tests/golden/gguf. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/hash.h"
#include "host/base/str.h"
#include "host/ckpt/ckpt.h"

#define GOLDEN NB_TEST_DATA "/golden/"

static nb_ckpt *open_ok(const char *path) {
    nb_ckpt *c = NULL;
    nb_err err = {0};
    cr_assert_eq(nb_ckpt_open(path, &c, &err), NB_OK, "%s: %s", path, err.text);
    return c;
}

Test(ckpt, single_file_folder) {
    nb_ckpt *c = open_ok(GOLDEN "models/llama-tied-f16");
    cr_assert_eq(nb_ckpt_kind_of(c), NB_CKPT_HF);
    cr_assert_str_eq(nb_ckpt_path(c), GOLDEN "models/llama-tied-f16");
    cr_assert_eq(nb_ckpt_count(c), 20);
    const nb_view *v = nb_ckpt_find(c, "model.layers.1.mlp.down_proj.weight");
    cr_assert(v && v->dtype == NB_F16 && v->ndim == 2 && v->dims[0] == 64 && v->dims[1] == 128);
    cr_assert_eq(v->bytes, 64 * 128 * 2);
    cr_assert_null(nb_ckpt_find(c, "model.layers.1.mlp.down_proj"));
    cr_assert_null(nb_ckpt_find(c, ""));
    cr_assert_str_eq(json_string_value(json_object_get(nb_ckpt_config(c), "model_type")), "llama");
    cr_assert(json_is_object(nb_ckpt_generation_config(c)));
    nb_err err = {0};
    const nb_vocab *vocab;
    cr_assert_eq(nb_ckpt_vocab(c, &vocab, &err), NB_E_UNSUPPORTED);
    nb_ckpt_close(c);
}

Test(ckpt, views_lie_in_their_files_in_order) {
    static const char *const paths[] = {GOLDEN "models/llama-tied-f16", GOLDEN "models/llama-untied-bf16",
                                        GOLDEN "gguf/llama-untied-mix.gguf", GOLDEN "gguf/blocks.gguf"};
    for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
        nb_ckpt *c = open_ok(paths[p]);
        uint64_t sum = 0;
        for (size_t i = 0; i < nb_ckpt_count(c); i++) {
            const nb_view *v = nb_ckpt_tensor(c, i), *before = i ? nb_ckpt_tensor(c, i - 1) : NULL;
            size_t bytes;
            char *text;
            size_t size;
            cr_assert(nb_dtype_bytes(v->dtype, nb_view_count(v), &bytes));
            cr_assert_eq(bytes, v->bytes);
            cr_assert_eq(nb_ckpt_find(c, v->name), v);
            if (before && before->path == v->path)
                cr_assert_geq(v->offset, before->offset + before->bytes);
            else if (before)
                cr_assert_lt(strcmp(before->path, v->path), 0, "shards come in order of name");
            cr_assert_eq(nb_file_read(v->path, 1 << 20, &text, &size, NULL), NB_OK);
            cr_assert_leq(v->offset + v->bytes, size);
            cr_assert_eq(memcmp(text + v->offset, v->data, v->bytes), 0);
            nb_free(text);
            nb_ckpt_drop(c, v); /* advice: the bytes stay readable */
            sum += v->bytes;
        }
        cr_assert_eq(sum, nb_ckpt_tensor_bytes(c));
        cr_assert_gt(nb_ckpt_file_bytes(c), sum);
        nb_ckpt_close(c);
    }
}

/* The same weights as a folder and as a GGUF file. */
Test(ckpt, gguf_holds_what_the_folder_holds) {
    static const char *const pairs[][2] = {
        {"model.embed_tokens.weight", "token_embd.weight"},
        {"model.norm.weight", "output_norm.weight"},
        {"model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"},
        {"model.layers.1.self_attn.v_proj.weight", "blk.1.attn_v.weight"},
    };
    nb_ckpt *a = open_ok(GOLDEN "models/llama-tied-f16"), *b = open_ok(GOLDEN "gguf/llama-tied-f16.gguf");
    cr_assert_eq(nb_ckpt_kind_of(b), NB_CKPT_GGUF);
    cr_assert_null(nb_ckpt_config(b));
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const nb_view *x = nb_ckpt_find(a, pairs[i][0]), *y = nb_ckpt_find(b, pairs[i][1]);
        cr_assert(x && y && x->ndim == y->ndim, "%s", pairs[i][1]);
        for (unsigned d = 0; d < x->ndim; d++)
            cr_assert_eq(x->dims[d], y->dims[d], "%s: dimensions are turned round", pairs[i][1]);
        size_t n = nb_view_count(x);
        float *fx = malloc(n * sizeof *fx), *fy = malloc(n * sizeof *fy);
        nb_to_f32(x->dtype, x->data, n, fx);
        nb_to_f32(y->dtype, y->data, n, fy);
        cr_assert_eq(memcmp(fx, fy, n * sizeof *fx), 0, "%s", pairs[i][1]);
        free(fx);
        free(fy);
    }
    nb_ckpt_close(a);
    nb_ckpt_close(b);
}

Test(ckpt, shards_and_their_index) {
    nb_ckpt *c = open_ok(GOLDEN "models/llama-untied-bf16");
    cr_assert_eq(nb_ckpt_count(c), 21);
    cr_assert(nb_ends_with(nb_ckpt_tensor(c, 0)->path, "model-00001-of-00003.safetensors"));
    cr_assert(nb_ends_with(nb_ckpt_tensor(c, 20)->path, "model-00003-of-00003.safetensors"));
    nb_ckpt_close(c);
}

Test(ckpt, metadata_by_type) {
    nb_ckpt *c = open_ok(GOLDEN "gguf/llama-untied-mix.gguf");
    nb_err err = {0};
    int64_t i = -7;
    double x = -7;
    bool b = true, found = true;
    const char *s = "untouched";
    cr_assert_eq(nb_ckpt_meta_str(c, "general.architecture", &s, &found, &err), NB_OK);
    cr_assert(found);
    cr_assert_str_eq(s, "llama");
    cr_assert_eq(nb_ckpt_meta_int(c, "llama.block_count", 1, 1000, &i, &found, &err), NB_OK);
    cr_assert_eq(i, 2);
    cr_assert_eq(nb_ckpt_meta_float(c, "llama.attention.layer_norm_rms_epsilon", &x, &found, &err), NB_OK);
    cr_assert_eq((float)x, 1e-5f);
    /* absent: nothing changes */
    cr_assert_eq(nb_ckpt_meta_int(c, "llama.none", 1, 2, &i, &found, &err), NB_OK);
    cr_assert(!found && i == 2);
    cr_assert_eq(nb_ckpt_meta_bool(c, "llama.none", &b, NULL, &err), NB_OK);
    cr_assert(b);
    /* out of range, and of another type */
    cr_assert_eq(nb_ckpt_meta_int(c, "llama.block_count", 3, 1000, &i, NULL, &err), NB_E_INPUT);
    cr_assert_str_eq(err.item, "llama.block_count");
    cr_assert_eq(nb_ckpt_meta_int(c, "general.architecture", 3, 1000, &i, NULL, &err), NB_E_INPUT);
    cr_assert_eq(nb_ckpt_meta_str(c, "llama.block_count", &s, NULL, &err), NB_E_INPUT);
    cr_assert_eq(nb_ckpt_meta_float(c, "llama.block_count", &x, NULL, &err), NB_E_INPUT);
    cr_assert_eq(nb_ckpt_meta_bool(c, "llama.block_count", &b, NULL, &err), NB_E_INPUT);
    cr_assert_eq(i, 2);
    nb_ckpt_close(c);
}

Test(ckpt, vocabulary_of_gguf) {
    nb_ckpt *c = open_ok(GOLDEN "tok/llama2.gguf");
    const nb_vocab *v;
    nb_err err = {0};
    cr_assert_eq(nb_ckpt_vocab(c, &v, &err), NB_OK, "%s", err.text);
    cr_assert_eq(v->kind, NB_VOCAB_SPM);
    cr_assert(v->scores && v->types && v->size > 259);
    cr_assert(v->add_bos && v->add_space_prefix);
    cr_assert(v->bos == 1 && v->eos == 2 && v->unk == 0);
    cr_assert_eq(v->tokens[1].len, 3);
    cr_assert_eq(memcmp(v->tokens[1].data, "<s>", 3), 0);
    cr_assert_eq(v->types[3], NB_TOKEN_BYTE);
    cr_assert_eq(memcmp(v->tokens[3].data, "<0x00>", 6), 0);
    nb_ckpt_close(c);
    c = open_ok(GOLDEN "tok/llama3.gguf");
    cr_assert_eq(nb_ckpt_vocab(c, &v, &err), NB_OK, "%s", err.text);
    cr_assert_eq(v->kind, NB_VOCAB_BPE);
    cr_assert_str_eq(v->pre, "llama-bpe");
    cr_assert(v->n_merges > 1000 && v->add_bos);
    cr_assert(memchr(v->merges[0].data, ' ', v->merges[0].len));
    nb_ckpt_close(c);
}

/* One changed byte of data, of metadata or of config changes the fingerprint; a copy elsewhere does not. */
Test(ckpt, fingerprint_covers_all_bytes) {
    char dir[] = "/tmp/nibble-ckpt-XXXXXX", path[64], first[NB_HASH_TEXT], other[NB_HASH_TEXT];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/b.gguf", dir);
    nb_ckpt *c = open_ok(GOLDEN "gguf/blocks.gguf");
    cr_assert_eq(nb_ckpt_fingerprint(c, first, NULL), NB_OK);
    nb_ckpt_close(c);
    cr_assert_eq(nb_file_copy(GOLDEN "gguf/blocks.gguf", path, NULL), NB_OK);
    c = open_ok(path);
    cr_assert_eq(nb_ckpt_fingerprint(c, other, NULL), NB_OK);
    cr_assert_str_eq(first, other);
    nb_ckpt_close(c);
    char *text;
    size_t size;
    cr_assert_eq(nb_file_read(path, 1 << 20, &text, &size, NULL), NB_OK);
    text[size - 1] = (char)(text[size - 1] ^ 1);
    cr_assert_eq(nb_file_write(path, text, size, NULL), NB_OK);
    c = open_ok(path);
    cr_assert_eq(nb_ckpt_fingerprint(c, other, NULL), NB_OK);
    cr_assert_str_neq(first, other);
    nb_ckpt_close(c);
    nb_free(text);
    nb_dir_remove(dir, NULL);
}

/* AutoGPTQ names its only file as it likes. */
Test(ckpt, a_folder_with_one_file_of_any_name) {
    char dir[] = "/tmp/nibble-ckpt-XXXXXX", path[96];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    cr_assert_eq(nb_file_copy(GOLDEN "models/llama-tied-f16/config.json", path, NULL), NB_OK);
    snprintf(path, sizeof path, "%s/gptq_model-4bit-128g.safetensors", dir);
    cr_assert_eq(nb_file_copy(GOLDEN "models/llama-tied-f16/model.safetensors", path, NULL), NB_OK);
    nb_ckpt *c = open_ok(dir);
    cr_assert_eq(nb_ckpt_count(c), 20);
    cr_assert_null(nb_ckpt_generation_config(c));
    nb_ckpt_close(c);
    nb_dir_remove(dir, NULL);
}

/* AutoGPTQ's older habit: settings in quantize_config.json alone. A folder without packed tensors does not take them. */
Test(ckpt, settings_in_quantize_config) {
    static const char *const sources[] = {"gptq/w4-sym-g32", "models/llama-tied-f16"};
    for (size_t i = 0; i < 2; i++) {
        char dir[] = "/tmp/nibble-ckpt-XXXXXX", from[512], path[96];
        cr_assert(mkdtemp(dir));
        snprintf(path, sizeof path, "%s/config.json", dir);
        cr_assert_eq(nb_file_write(path, "{}", 2, NULL), NB_OK);
        snprintf(path, sizeof path, "%s/quantize_config.json", dir);
        cr_assert_eq(nb_file_copy(GOLDEN "gptq/w4-sym-g32/quantize_config.json", path, NULL), NB_OK);
        snprintf(from, sizeof from, GOLDEN "%s/model.safetensors", sources[i]);
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        cr_assert_eq(nb_file_copy(from, path, NULL), NB_OK);
        nb_ckpt *c = open_ok(dir);
        const json_t *settings = json_object_get(nb_ckpt_config(c), "quantization_config");
        cr_assert_eq(settings != NULL, i == 0, "%s", sources[i]);
        cr_assert(!settings || json_integer_value(json_object_get(settings, "bits")) == 4);
        nb_ckpt_close(c);
        nb_dir_remove(dir, NULL);
    }
}

/* Random blocks of every type that we decode, against the floats of gguf-py, bit for bit; whole rows and, for the
 * block types, each block alone. */
Test(ckpt, blocks_decode_to_the_bits_of_gguf_py) {
    nb_ckpt *blocks = open_ok(GOLDEN "gguf/blocks.gguf");
    size_t checked = 0;
    char dir[] = "/tmp/nibble-ckpt-XXXXXX", path[96];
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/config.json", dir);
    cr_assert_eq(nb_file_write(path, "{}", 2, NULL), NB_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    cr_assert_eq(nb_file_copy(GOLDEN "gguf/blocks.expected.safetensors", path, NULL), NB_OK);
    nb_ckpt *expected = open_ok(dir);
    for (size_t i = 0; i < nb_ckpt_count(blocks); i++) {
        const nb_view *v = nb_ckpt_tensor(blocks, i), *e = nb_ckpt_find(expected, v->name);
        const nb_dtype_info *info = nb_dtype_get(v->dtype);
        cr_assert(e && e->dtype == NB_F32 && nb_view_count(e) == nb_view_count(v), "%s", v->name);
        if (!info->to_f32)
            continue;
        size_t n = nb_view_count(v), per = info->block_elems == 1 ? 7 : info->block_elems;
        float *out = malloc(n * sizeof *out);
        nb_to_f32(v->dtype, v->data, n, out);
        cr_assert_eq(memcmp(out, e->data, n * sizeof *out), 0, "%s", v->name);
        memset(out, 0xff, n * sizeof *out);
        for (size_t at = 0; at < n; at += per) {
            size_t count = n - at < per ? n - at : per;
            nb_to_f32(v->dtype, (const char *)v->data + at / info->block_elems * info->block_bytes, count, out + at);
        }
        cr_assert_eq(memcmp(out, e->data, n * sizeof *out), 0, "%s in pieces", v->name);
        free(out);
        checked++;
    }
    cr_assert_eq(checked, 11);
    nb_ckpt_close(blocks);
    nb_ckpt_close(expected);
    nb_dir_remove(dir, NULL);
}
