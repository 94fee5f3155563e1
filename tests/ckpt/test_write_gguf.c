/* Writing GGUF: what is written is read back by our own reader, which refuses gaps, other orders and wrong offsets. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/file.h"
#include "host/ckpt/ckpt.h"

static char dir[64], file[96];

static void setup(void) {
    strcpy(dir, "/tmp/nibble-gguf-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/model.gguf", dir);
}

static void teardown(void) { nb_dir_remove(dir, NULL); }

static nb_gguf_writer *start(void) {
    nb_gguf_writer *w;
    cr_assert_eq(nb_gguf_writer_new(file, &w, NULL), NB_OK);
    return w;
}

static void vocabulary(nb_gguf_writer *w) {
    static const nb_bytes tokens[] = {{"<s>", 3}, {"a", 1}, {"", 0}, {"b\0c", 3}}, merges[] = {{"a b", 3}};
    static const int32_t types[] = {3, 1, 1, 1};
    cr_assert_eq(nb_gguf_put_str(w, "tokenizer.ggml.model", "gpt2", NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_strs(w, "tokenizer.ggml.tokens", tokens, 4, NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_strs(w, "tokenizer.ggml.merges", merges, 1, NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_i32s(w, "tokenizer.ggml.token_type", types, 4, NULL), NB_OK);
}

static bool not_dropped(const char *key) { return strcmp(key, "drop.me") != 0; }

static void check_values(const nb_ckpt *c) {
    int64_t i = 0;
    double x = 0;
    bool b = false, found = false;
    const char *s = NULL;
    const nb_vocab *v;
    cr_assert_eq(nb_ckpt_meta_int(c, "n", 0, UINT32_MAX, &i, &found, NULL), NB_OK);
    cr_assert(found && i == 4000000000);
    cr_assert_eq(nb_ckpt_meta_float(c, "x", &x, &found, NULL), NB_OK);
    cr_assert(found && x == 0.25);
    cr_assert_eq(nb_ckpt_meta_bool(c, "yes", &b, &found, NULL), NB_OK);
    cr_assert(found && b);
    cr_assert_eq(nb_ckpt_meta_str(c, "general.architecture", &s, &found, NULL), NB_OK);
    cr_assert_str_eq(s, "llama");
    cr_assert_eq(nb_ckpt_vocab(c, &v, NULL), NB_OK);
    cr_assert(v->size == 4 && v->n_merges == 1 && v->types[0] == 3);
    cr_assert(v->tokens[3].len == 3 && !memcmp(v->tokens[3].data, "b\0c", 3));
}

Test(gguf_write, reads_back, .init = setup, .fini = teardown) {
    static const unsigned char blocks[36] = {1, 2, 3, 4, 5};
    static const float norm[3] = {1, 2, 3};
    nb_gguf_writer *w = start();
    nb_ckpt *c, *again;
    cr_assert_eq(nb_gguf_put_str(w, "general.architecture", "llama", NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_u32(w, "n", 4000000000u, NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_f32(w, "x", 0.25f, NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_bool(w, "yes", true, NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_str(w, "drop.me", "", NULL), NB_OK);
    vocabulary(w);
    cr_assert_eq(nb_gguf_declare(w, "norm.weight", NB_F32, 1, (const size_t[]){3}, NULL), NB_OK);
    cr_assert_eq(nb_gguf_declare(w, "w.weight", NB_Q4_0, 2, (const size_t[]){2, 32}, NULL), NB_OK);
    cr_assert_eq(nb_gguf_begin(w, NULL), NB_OK);
    cr_assert_eq(nb_gguf_write(w, norm, 4, NULL), NB_OK);
    cr_assert_eq(nb_gguf_write(w, norm + 1, 8, NULL), NB_OK);
    cr_assert_eq(nb_gguf_write(w, blocks, 36, NULL), NB_OK);
    cr_assert_eq(nb_gguf_commit(w, NULL), NB_OK);
    cr_assert_eq(nb_ckpt_open(file, &c, NULL), NB_OK);
    check_values(c);
    const nb_view *v = nb_ckpt_find(c, "w.weight");
    cr_assert(v && v->dtype == NB_Q4_0 && v->ndim == 2 && v->dims[0] == 2 && v->dims[1] == 32 && !memcmp(v->data, blocks, 36));
    v = nb_ckpt_find(c, "norm.weight");
    cr_assert(v && v->dtype == NB_F32 && !memcmp(v->data, norm, 12));

    char copy[112];
    snprintf(copy, sizeof copy, "%s/copy.gguf", dir);
    cr_assert_eq(nb_gguf_writer_new(copy, &w, NULL), NB_OK);
    cr_assert_eq(nb_gguf_copy_meta(w, c, not_dropped, NULL), NB_OK);
    cr_assert_eq(nb_gguf_begin(w, NULL), NB_OK);
    cr_assert_eq(nb_gguf_commit(w, NULL), NB_OK);
    cr_assert_eq(nb_ckpt_open(copy, &again, NULL), NB_OK);
    check_values(again);
    bool found = true;
    const char *s;
    cr_assert_eq(nb_ckpt_meta_str(again, "drop.me", &s, &found, NULL), NB_OK);
    cr_assert(!found);
    nb_ckpt_close(again);
    nb_ckpt_close(c);
}

Test(gguf_write, refusals, .init = setup, .fini = teardown) {
    nb_gguf_writer *w = start();
    char longer[80];
    memset(longer, 'x', 64);
    longer[64] = 0;
    cr_assert_eq(nb_gguf_declare(w, longer, NB_F32, 1, (const size_t[]){3}, NULL), NB_E_USAGE);
    cr_assert_eq(nb_gguf_declare(w, "a", NB_Q4_0, 2, (const size_t[]){32, 31}, NULL), NB_E_USAGE);
    cr_assert_eq(nb_gguf_declare(w, "a", NB_U8, 1, (const size_t[]){3}, NULL), NB_E_USAGE); /* ggml has none */
    cr_assert_eq(nb_gguf_declare(w, "a", NB_F32, 2, (const size_t[]){SIZE_MAX / 2, 4}, NULL), NB_E_USAGE);
    cr_assert_eq(nb_gguf_declare(w, "a", NB_F32, 0, NULL, NULL), NB_E_USAGE);
    cr_assert_eq(nb_gguf_declare(w, "a", NB_F32, 1, (const size_t[]){2}, NULL), NB_OK);
    cr_assert_eq(nb_gguf_write(w, "12345678", 8, NULL), NB_E_USAGE); /* no header yet */
    cr_assert_eq(nb_gguf_begin(w, NULL), NB_OK);
    cr_assert_eq(nb_gguf_put_u32(w, "late", 1, NULL), NB_E_USAGE);
    cr_assert_eq(nb_gguf_declare(w, "late", NB_F32, 1, (const size_t[]){2}, NULL), NB_E_USAGE);
    cr_assert_eq(nb_gguf_write(w, "123456789", 9, NULL), NB_E_USAGE);
    cr_assert_eq(nb_gguf_write(w, "1234", 4, NULL), NB_OK);
    cr_assert_eq(nb_gguf_commit(w, NULL), NB_E_USAGE); /* four bytes short */
    cr_assert(!nb_path_exists(file));
    nb_gguf_abort(NULL);
}
