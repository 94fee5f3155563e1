/* Bad inputs 17-29: GGUF files. */
#include "host/ckpt/ckpt.h"
#include "tests/bad/files.h"

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };

static void head(nb_str *s, uint32_t version, uint64_t tensors, uint64_t keys) {
    put(s, "GGUF", 4);
    put_u32(s, version);
    put_u64(s, tensors);
    put_u64(s, keys);
}

static void text(nb_str *s, const char *t) {
    put_u64(s, strlen(t));
    put(s, t, strlen(t));
}

static void key(nb_str *s, const char *name, uint32_t type) {
    text(s, name);
    put_u32(s, type);
}

static void key_u32(nb_str *s, const char *name, uint32_t value) {
    key(s, name, U32);
    put_u32(s, value);
}

static void info(nb_str *s, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset) {
    text(s, name);
    put_u32(s, 2);
    put_u64(s, ne0);
    put_u64(s, ne1);
    put_u32(s, type);
    put_u64(s, offset);
}

/* Padding to `to`, then data. */
static void data(nb_str *s, size_t to, size_t bytes) {
    put_zeros(s, (to - s->len % to) % to + bytes);
}

static void good(nb_str *s) {
    head(s, 3, 2, 1);
    key_u32(s, "general.alignment", 64);
    info(s, "a", 32, 2, 2, 0); /* Q4_0: 36 bytes, padded to 64 */
    info(s, "b", 4, 1, 0, 64);
    data(s, 64, 64 + 16);
}
static void version2(nb_str *s) {
    head(s, 2, 1, 0);
    info(s, "a", 4, 1, 0, 0);
    data(s, 32, 16);
}
static void nothing(nb_str *s) { head(s, 3, 0, 0); }
static void not_gguf(nb_str *s) { put(s, "GGML\3\0\0\0", 8); }
static void empty(nb_str *s) { (void)s; }
static void version0(nb_str *s) { head(s, 0, 0, 0); }
static void version1(nb_str *s) { head(s, 1, 0, 0); }
static void version4(nb_str *s) { head(s, 4, 0, 0); }
static void swapped(nb_str *s) { head(s, 3u << 24, 0, 0); }
static void keys_minus_1(nb_str *s) { head(s, 3, 0, UINT64_MAX); }
static void tensors_minus_1(nb_str *s) { head(s, 3, UINT64_MAX, 0); }
static void tensors_many(nb_str *s) { head(s, 3, (uint64_t)1 << 40, 0); }
static void key_length(nb_str *s) {
    head(s, 3, 0, 1);
    put_u64(s, UINT64_MAX);
    put_zeros(s, 64);
}
static void string_length(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", STRING);
    put_u64(s, UINT64_MAX);
    put_zeros(s, 64);
}
static void string_one_too_long(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", STRING);
    put_u64(s, 5);
    put(s, "four", 4);
}
static void array_wraps(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", ARRAY);
    put_u32(s, U32);
    put_u64(s, ((uint64_t)1 << 62) + 1); /* times 4 wraps to 4 */
    put_zeros(s, 64);
}
static void array_of_strings_long(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", ARRAY);
    put_u32(s, STRING);
    put_u64(s, (uint64_t)1 << 61); /* times 8 wraps to 0 */
    put_zeros(s, 64);
}
static void array_of_bytes_long(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", ARRAY);
    put_u32(s, 0);
    put_u64(s, 65);
    put_zeros(s, 64);
}
static void nested(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", ARRAY);
    for (int i = 0; i < 100000; i++) {
        put_u32(s, ARRAY);
        put_u64(s, 1);
    }
    put_u32(s, U32);
}
static void five_dims(nb_str *s) {
    head(s, 3, 1, 0);
    text(s, "a");
    put_u32(s, 5);
    put_zeros(s, 80);
}
static void many_dims(nb_str *s) {
    head(s, 3, 1, 0);
    text(s, "a");
    put_u32(s, UINT32_MAX);
    put_zeros(s, 80);
}
static void no_dims(nb_str *s) {
    head(s, 3, 1, 0);
    text(s, "a");
    put_u32(s, 0);
    put_zeros(s, 80);
}
static void negative_dim(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", UINT64_MAX, 1, 0, 0);
    data(s, 32, 64);
}
static void type_out_of_range(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", 32, 1, 99, 0);
    data(s, 32, 64);
}
static void type_negative(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", 32, 1, UINT32_MAX, 0);
    data(s, 32, 64);
}
static void type_unsupported(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", 256, 1, 16, 0);
    data(s, 32, 66);
}
static void value_type(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", 13);
    put_zeros(s, 64);
}
static void element_type(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", ARRAY);
    put_u32(s, 77);
    put_zeros(s, 64);
}
static void bool_2(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "k", BOOL);
    put(s, "\2", 1);
    put_zeros(s, 8);
}
static void alignment_of(nb_str *s, uint32_t value) {
    head(s, 3, 1, 1);
    key_u32(s, "general.alignment", value);
    info(s, "a", 4, 1, 0, 0);
    data(s, 32, 64);
}
static void alignment_0(nb_str *s) { alignment_of(s, 0); }
static void alignment_13(nb_str *s) { alignment_of(s, 13); }
static void alignment_2_31(nb_str *s) { alignment_of(s, 1u << 31); } /* the data would begin at 2 GiB */
static void alignment_type(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "general.alignment", STRING);
    text(s, "32");
}
static void padding_wraps(nb_str *s) {
    head(s, 3, 2, 0);
    info(s, "a", ((uint64_t)1 << 62) - 1, 4, 24, 0); /* I8: 2^64 - 4 bytes, which padding takes to 0 */
    info(s, "b", 4, 1, 0, 0);
    data(s, 32, 64);
}
static void sum_wraps(nb_str *s) {
    head(s, 3, 3, 0);
    info(s, "a", (uint64_t)1 << 62, 2, 24, 0);
    info(s, "b", (uint64_t)1 << 62, 2, 24, (uint64_t)1 << 63);
    info(s, "c", 4, 1, 0, 0);
    data(s, 32, 64);
}
static void product_wraps(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", (uint64_t)1 << 32, (uint64_t)1 << 32, 0, 0);
    data(s, 32, 64);
}
static void bytes_wrap(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", (uint64_t)1 << 62, 1, 0, 0); /* times 4 */
    data(s, 32, 64);
}
static void beyond_file(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", 4, 4, 0, 0);
    data(s, 32, 63);
}
static void far_beyond_file(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", 1 << 20, 1 << 20, 0, 0);
    data(s, 32, 64);
}
static void duplicate_tensor(nb_str *s) {
    head(s, 3, 2, 0);
    info(s, "a", 8, 1, 0, 0);
    info(s, "a", 8, 1, 0, 32);
    data(s, 32, 64);
}
static void duplicate_key(nb_str *s) {
    head(s, 3, 0, 2);
    key_u32(s, "k", 1);
    key_u32(s, "k", 2);
}
static void gap(nb_str *s) {
    head(s, 3, 2, 0);
    info(s, "a", 8, 1, 0, 0);
    info(s, "b", 8, 1, 0, 64);
    data(s, 32, 96);
}
static void unaligned(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", 8, 1, 0, 4);
    data(s, 32, 96);
}
static void half_block(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "a", 16, 2, 2, 0); /* 32 elements, but rows of 16 */
    data(s, 32, 64);
}
static void long_name(nb_str *s) {
    head(s, 3, 1, 0);
    info(s, "0123456789012345678901234567890123456789012345678901234567890123", 8, 1, 0, 0);
    data(s, 32, 64);
}
static void empty_key(nb_str *s) {
    head(s, 3, 0, 1);
    key_u32(s, "", 1);
}
static void nul_in_name(nb_str *s) {
    head(s, 3, 1, 0);
    put_u64(s, 3);
    put(s, "a\0b", 3);
    put_u32(s, 1);
    put_u64(s, 8);
    put_u32(s, 0);
    put_u64(s, 0);
    data(s, 32, 64);
}
static void split(nb_str *s) {
    head(s, 3, 0, 1);
    key(s, "split.count", 2);
    put(s, "\3\0", 2);
}

/* clang-format off */
static const struct {
    int number;
    const char *name;
    void (*recipe)(nb_str *);
    nb_status status;
    const char *text;
} rows[] = {
    {0, "good", good, NB_OK, ""},
    {0, "version 2", version2, NB_OK, ""},
    {0, "nothing in it", nothing, NB_OK, ""},
    {0, "not GGUF", not_gguf, NB_E_INPUT, "neither"},
    {0, "empty", empty, NB_E_INPUT, "neither"},
    {17, "version 0", version0, NB_E_INPUT, "version 0"},
    {17, "version 1", version1, NB_E_INPUT, "version 1"},
    {17, "version 4", version4, NB_E_INPUT, "version 4"},
    {17, "byte-swapped", swapped, NB_E_UNSUPPORTED, "big-endian"},
    {18, "n_kv -1", keys_minus_1, NB_E_INPUT, "-1 metadata keys"},
    {18, "n_tensors -1", tensors_minus_1, NB_E_INPUT, "-1 tensors"},
    {18, "n_tensors 2^40", tensors_many, NB_E_INPUT, "do not fit"},
    {19, "key of 2^64-1 bytes", key_length, NB_E_INPUT, "string of 18446744073709551615"},
    {19, "string of 2^64-1 bytes", string_length, NB_E_INPUT, "string of 18446744073709551615"},
    {19, "string longer by one", string_one_too_long, NB_E_INPUT, "string of 5 bytes"},
    {20, "array wraps", array_wraps, NB_E_INPUT, "overflows"},
    {20, "array of strings wraps", array_of_strings_long, NB_E_INPUT, "strings, but"},
    {20, "array longer by one", array_of_bytes_long, NB_E_INPUT, "ends early"},
    {21, "nested arrays", nested, NB_E_INPUT, "array of arrays"},
    {22, "5 dimensions", five_dims, NB_E_INPUT, "5 dimensions"},
    {22, "2^32-1 dimensions", many_dims, NB_E_INPUT, "4294967295 dimensions"},
    {22, "no dimensions", no_dims, NB_E_INPUT, "0 dimensions"},
    {23, "negative dimension", negative_dim, NB_E_INPUT, "negative"},
    {24, "type out of range", type_out_of_range, NB_E_INPUT, "99 is out of range"},
    {24, "type -1", type_negative, NB_E_INPUT, "out of range"},
    {24, "type not supported", type_unsupported, NB_E_UNSUPPORTED, "16 is not supported"},
    {24, "value type", value_type, NB_E_INPUT, "13 is out of range"},
    {24, "element type", element_type, NB_E_INPUT, "77 is out of range"},
    {24, "bool of 2", bool_2, NB_E_INPUT, "bool of value 2"},
    {25, "alignment 0", alignment_0, NB_E_INPUT, "power of two"},
    {25, "alignment 13", alignment_13, NB_E_INPUT, "power of two"},
    {25, "alignment 2^31", alignment_2_31, NB_E_INPUT, "inside the file"},
    {25, "alignment of another type", alignment_type, NB_E_INPUT, "not of type u32"},
    {26, "padding wraps", padding_wraps, NB_E_INPUT, "overflows"},
    {27, "sum of sizes wraps", sum_wraps, NB_E_INPUT, "overflows"},
    {27, "product wraps to 0", product_wraps, NB_E_INPUT, "overflows"},
    {27, "bytes wrap to 0", bytes_wrap, NB_E_INPUT, "overflows"},
    {28, "one byte beyond the file", beyond_file, NB_E_INPUT, "inside the file"},
    {28, "far beyond the file", far_beyond_file, NB_E_INPUT, "inside the file"},
    {29, "duplicate tensor", duplicate_tensor, NB_E_INPUT, "duplicate tensor"},
    {29, "duplicate key", duplicate_key, NB_E_INPUT, "duplicate key"},
    {0, "gap", gap, NB_E_INPUT, "expected 32"},
    {0, "unaligned offset", unaligned, NB_E_INPUT, "expected 0"},
    {0, "rows of half a block", half_block, NB_E_INPUT, "no multiple of Q4_0"},
    {0, "name of 64 bytes", long_name, NB_E_INPUT, "longer than 63"},
    {0, "empty key", empty_key, NB_E_INPUT, "empty"},
    {0, "NUL in a name", nul_in_name, NB_E_INPUT, "with a NUL"},
    {0, "split", split, NB_E_UNSUPPORTED, "llama-gguf-split"},
};
/* clang-format on */

static void check(int number, const char *name, const char *path, nb_status status, const char *part) {
    nb_ckpt *ckpt = NULL;
    nb_err err = {0};
    nb_status got = nb_ckpt_open(path, &ckpt, &err);
    cr_expect_eq(got, status, "%d %s: status %d (%s: %s), expected %d", number, name, got, err.item, err.text, status);
    if (status != NB_OK) {
        cr_expect_null(ckpt, "%d %s", number, name);
        cr_expect(strstr(err.text, part), "%d %s: '%s' is not in '%s'", number, name, part, err.text);
        cr_expect_str_eq(err.path, path, "%d %s", number, name);
    }
    nb_ckpt_close(ckpt);
}

Test(bad_gguf, table) {
    char dir[64], path[128];
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nb_str s = {0};
        rows[i].recipe(&s);
        save(dir, "x.gguf", &s);
        check(rows[i].number, rows[i].name, path, rows[i].status, rows[i].text);
    }
    nb_dir_remove(dir, NULL);
}

Test(bad_gguf, n28_cut_anywhere) {
    char dir[64], path[128];
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    nb_str whole = {0};
    good(&whole);
    for (size_t len = 0; len <= whole.len; len++) {
        nb_str s = {0};
        if (len)
            put(&s, whole.data, len);
        save(dir, "x.gguf", &s);
        check(28, "cut", path, len == whole.len ? NB_OK : NB_E_INPUT, "");
    }
    nb_str_free(&whole);
    nb_dir_remove(dir, NULL);
}

Test(bad_gguf, error_tells_the_place) {
    char dir[64], path[128];
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    nb_str s = {0};
    value_type(&s);
    save(dir, "x.gguf", &s);
    nb_ckpt *ckpt;
    nb_err err = {0};
    cr_assert_eq(nb_ckpt_open(path, &ckpt, &err), NB_E_INPUT);
    cr_assert_str_eq(err.item, "k");
    cr_assert_eq(err.offset, 24 + 8 + 1 + 4);
    nb_dir_remove(dir, NULL);
}

/* ---- vocabularies ---- */

static void strings(nb_str *s, const char *name, size_t count, const char *const *list) {
    key(s, name, ARRAY);
    put_u32(s, STRING);
    put_u64(s, count);
    for (size_t i = 0; i < count; i++)
        text(s, list[i]);
}

static void key_text(nb_str *s, const char *name, const char *value) {
    key(s, name, STRING);
    text(s, value);
}

static const char *const three[] = {"a", "b", "ab"};

static void vocab_bpe(nb_str *s) {
    head(s, 3, 0, 3);
    key_text(s, "tokenizer.ggml.model", "gpt2");
    strings(s, "tokenizer.ggml.tokens", 3, three);
    key_u32(s, "tokenizer.ggml.padding_token_id", UINT32_MAX);
}
static void vocab_small_spm(nb_str *s) { /* 35: smaller than the default ids of its special tokens */
    head(s, 3, 0, 3);
    key_text(s, "tokenizer.ggml.model", "llama");
    strings(s, "tokenizer.ggml.tokens", 1, three);
    key(s, "tokenizer.ggml.scores", ARRAY);
    put_u32(s, F32);
    put_u64(s, 1);
    put_u32(s, 0);
}
static void vocab_none(nb_str *s) { nothing(s); }
static void vocab_unknown_model(nb_str *s) {
    head(s, 3, 0, 1);
    key_text(s, "tokenizer.ggml.model", "rwkv");
}
static void vocab_model_type(nb_str *s) {
    head(s, 3, 0, 1);
    key_u32(s, "tokenizer.ggml.model", 1);
}
static void vocab_no_tokens(nb_str *s) {
    head(s, 3, 0, 1);
    key_text(s, "tokenizer.ggml.model", "gpt2");
}
static void vocab_tokens_type(nb_str *s) {
    head(s, 3, 0, 2);
    key_text(s, "tokenizer.ggml.model", "gpt2");
    key_u32(s, "tokenizer.ggml.tokens", 1);
}
static void vocab_id_high(nb_str *s) {
    head(s, 3, 0, 3);
    key_text(s, "tokenizer.ggml.model", "gpt2");
    strings(s, "tokenizer.ggml.tokens", 3, three);
    key_u32(s, "tokenizer.ggml.bos_token_id", 3);
}
static void vocab_id_type(nb_str *s) {
    head(s, 3, 0, 3);
    key_text(s, "tokenizer.ggml.model", "gpt2");
    strings(s, "tokenizer.ggml.tokens", 3, three);
    key_text(s, "tokenizer.ggml.eos_token_id", "2");
}
static void vocab_types_short(nb_str *s) {
    head(s, 3, 0, 3);
    key_text(s, "tokenizer.ggml.model", "gpt2");
    strings(s, "tokenizer.ggml.tokens", 3, three);
    key(s, "tokenizer.ggml.token_type", ARRAY);
    put_u32(s, I32);
    put_u64(s, 2);
    put_u64(s, 0);
}
static void vocab_spm_no_scores(nb_str *s) {
    head(s, 3, 0, 2);
    key_text(s, "tokenizer.ggml.model", "llama");
    strings(s, "tokenizer.ggml.tokens", 3, three);
}
static void vocab_flag_type(nb_str *s) {
    head(s, 3, 0, 3);
    key_text(s, "tokenizer.ggml.model", "gpt2");
    strings(s, "tokenizer.ggml.tokens", 3, three);
    key_u32(s, "tokenizer.ggml.add_bos_token", 1);
}

/* clang-format off */
static const struct {
    const char *name;
    void (*recipe)(nb_str *);
    nb_status status;
    const char *item, *text;
} vocabs[] = {
    {"BPE", vocab_bpe, NB_OK, "", ""},
    {"small SentencePiece", vocab_small_spm, NB_OK, "", ""},
    {"none", vocab_none, NB_E_INPUT, "tokenizer.ggml.model", "no vocabulary"},
    {"unknown model", vocab_unknown_model, NB_E_UNSUPPORTED, "tokenizer.ggml.model", "rwkv"},
    {"model of another type", vocab_model_type, NB_E_INPUT, "tokenizer.ggml.model", "no string"},
    {"no tokens", vocab_no_tokens, NB_E_INPUT, "tokenizer.ggml.tokens", "0 tokens"},
    {"tokens of another type", vocab_tokens_type, NB_E_INPUT, "tokenizer.ggml.tokens", "no array of strings"},
    {"id beyond the vocabulary", vocab_id_high, NB_E_INPUT, "tokenizer.ggml.bos_token_id", "is 3, but there are 3 tokens"},
    {"id of another type", vocab_id_type, NB_E_INPUT, "tokenizer.ggml.eos_token_id", "string"},
    {"too few types", vocab_types_short, NB_E_INPUT, "tokenizer.ggml.token_type", "2 entries for 3 tokens"},
    {"no scores", vocab_spm_no_scores, NB_E_INPUT, "tokenizer.ggml.scores", "missing"},
    {"flag of another type", vocab_flag_type, NB_E_INPUT, "tokenizer.ggml.add_bos_token", "u32"},
};
/* clang-format on */

/* The file opens, as it can still be inspected; asking for the vocabulary tells what is wrong with it. */
Test(bad_gguf, n30_n35_table_of_vocabularies) {
    char dir[64], path[128];
    temp_dir(dir);
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    for (size_t i = 0; i < sizeof vocabs / sizeof vocabs[0]; i++) {
        nb_str s = {0};
        nb_ckpt *ckpt;
        nb_err err = {0};
        const nb_vocab *v = NULL;
        vocabs[i].recipe(&s);
        save(dir, "x.gguf", &s);
        cr_assert_eq(nb_ckpt_open(path, &ckpt, &err), NB_OK, "%s: %s", vocabs[i].name, err.text);
        cr_expect_eq(nb_ckpt_vocab(ckpt, &v, &err), vocabs[i].status, "%s: %s", vocabs[i].name, err.text);
        if (vocabs[i].status == NB_OK) {
            cr_assert(v);
            cr_expect_eq(v->pad, -1);
            cr_expect(v->bos < (int64_t)v->size && v->eos < (int64_t)v->size);
        } else {
            cr_expect_str_eq(err.item, vocabs[i].item, "%s", vocabs[i].name);
            cr_expect(strstr(err.text, vocabs[i].text), "%s: '%s'", vocabs[i].name, err.text);
        }
        nb_ckpt_close(ckpt);
    }
    nb_dir_remove(dir, NULL);
}
