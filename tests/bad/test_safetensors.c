/* Bad inputs 1-16: safetensors files, shards, and the folder around them. */
#include "host/ckpt/ckpt.h"
#include "tests/bad/files.h"

typedef struct row {
    int number;
    const char *name;
    const char *header;
    uint64_t length; /* stated length of the header; 0: the true one */
    size_t data;     /* bytes after it */
    nb_status status;
    const char *text; /* part of the message */
} row;

#define T(dtype, shape, begin, end) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

/* clang-format off */
static const row rows[] = {
    {0, "good", "{\"a\":" T("F16", "[2,3]", 0, 12) "}   ", 0, 12, NB_OK, ""},
    {0, "good scalar and empty", "{\"a\":" T("F32", "[]", 0, 4) ",\"b\":" T("F32", "[0,5]", 4, 4) "}", 0, 4, NB_OK, ""},
    {0, "good, nothing in it", "{}", 0, 0, NB_OK, ""},
    {0, "good, any order", "{\"a\":" T("U8", "[2]", 4, 6) ",\"b\":" T("F32", "[1]", 0, 4) "}", 0, 6, NB_OK, ""},
    {2, "header longer than file", "{}", 1000, 0, NB_E_INPUT, "only 2 follow"},
    {2, "header longer by one", "{}", 3, 0, NB_E_INPUT, "only 2 follow"},
    {3, "length 2^64-1", "{}", UINT64_MAX, 0, NB_E_INPUT, "at most 100000000"},
    {3, "length 2^64-8", "{}", UINT64_MAX - 7, 0, NB_E_INPUT, "at most 100000000"},
    {4, "length over 100 MB", "{}", 100000001, 0, NB_E_INPUT, "at most 100000000"},
    {5, "not UTF-8", "{\"a\xff\":" T("U8", "[1]", 0, 1) "}", 0, 1, NB_E_INPUT, "not valid JSON"},
    {5, "not JSON", "{\"a\":", 0, 0, NB_E_INPUT, "not valid JSON"},
    {5, "an array", "[]", 0, 0, NB_E_INPUT, "does not begin with '{'"},
    {5, "a blank in front", " {}", 0, 0, NB_E_INPUT, "does not begin with '{'"},
    {5, "two objects", "{}{}", 0, 0, NB_E_INPUT, "not valid JSON"},
    {6, "duplicate key", "{\"a\":" T("U8", "[1]", 0, 1) ",\"a\":" T("U8", "[1]", 1, 2) "}", 0, 2, NB_E_INPUT, "duplicate"},
    {7, "end before begin", "{\"a\":" T("U8", "[1]", 1, 0) "}", 0, 1, NB_E_INPUT, "before its begin"},
    {8, "negative offset", "{\"a\":" T("U8", "[1]", -1, 0) "}", 0, 1, NB_E_INPUT, "negative data offset"},
    {8, "offset beyond int64", "{\"a\":" T("U8", "[1]", 0, 18446744073709551615) "}", 0, 1, NB_E_INPUT, "not two integers"},
    {8, "offset no integer", "{\"a\":" T("U8", "[1]", 0, 1.0) "}", 0, 1, NB_E_INPUT, "not two integers"},
    {9, "overlap", "{\"a\":" T("U8", "[2]", 0, 2) ",\"b\":" T("U8", "[2]", 1, 3) "}", 0, 3, NB_E_INPUT, "overlaps"},
    {9, "the same bytes twice", "{\"a\":" T("U8", "[2]", 0, 2) ",\"b\":" T("U8", "[2]", 0, 2) "}", 0, 2, NB_E_INPUT, "overlaps"},
    {10, "hole", "{\"a\":" T("U8", "[1]", 0, 1) ",\"b\":" T("U8", "[1]", 2, 3) "}", 0, 3, NB_E_INPUT, "hole of 1 bytes"},
    {10, "hole at the start", "{\"a\":" T("U8", "[1]", 1, 2) "}", 0, 2, NB_E_INPUT, "hole of 1 bytes"},
    {10, "trailing bytes", "{\"a\":" T("U8", "[1]", 0, 1) "}", 0, 2, NB_E_INPUT, "1 bytes after the last tensor"},
    {11, "product wraps", "{\"a\":" T("U8", "[4294967297,4294967297]", 0, 1) "}", 0, 1, NB_E_INPUT, "overflows"},
    {11, "product wraps to 0", "{\"a\":" T("U8", "[4294967296,4294967296]", 0, 0) "}", 0, 0, NB_E_INPUT, "overflows"},
    {11, "bytes wrap to 0", "{\"a\":" T("F64", "[2305843009213693952]", 0, 0) "}", 0, 0, NB_E_INPUT, "overflows"},
    {11, "negative dimension", "{\"a\":" T("U8", "[-1]", 0, 1) "}", 0, 1, NB_E_INPUT, "no count"},
    {12, "shape and span differ", "{\"a\":" T("F16", "[2,3]", 0, 11) "}", 0, 11, NB_E_INPUT, "needs 12 bytes, its data_offsets span 11"},
    {13, "span beyond the file", "{\"a\":" T("F16", "[2,3]", 0, 12) "}", 0, 11, NB_E_INPUT, "truncated"},
    {14, "unknown dtype", "{\"a\":" T("F12", "[2]", 0, 3) "}", 0, 3, NB_E_INPUT, "unknown dtype 'F12'"},
    {14, "unsupported dtype", "{\"a\":" T("F4", "[2]", 0, 1) "}", 0, 1, NB_E_UNSUPPORTED, "F4"},
    {14, "dtype of a GGUF file", "{\"a\":" T("Q4_0", "[32]", 0, 18) "}", 0, 18, NB_E_INPUT, "unknown dtype"},
    {14, "no dtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 0, 1, NB_E_INPUT, "no dtype"},
    {0, "no shape", "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 0, 1, NB_E_INPUT, "no shape"},
    {0, "no offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 0, 1, NB_E_INPUT, "not two integers"},
    {0, "three offsets", "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", 0, 1, NB_E_INPUT, "not two integers"},
    {0, "entry no object", "{\"a\":3}", 0, 0, NB_E_INPUT, "no object"},
    {0, "metadata no object", "{\"__metadata__\":[]}", 0, 0, NB_E_INPUT, "no object"},
    {0, "metadata value no string", "{\"__metadata__\":{\"x\":1}}", 0, 0, NB_E_INPUT, "no string"},
    {0, "five dimensions", "{\"a\":" T("U8", "[1,1,1,1,1]", 0, 1) "}", 0, 1, NB_E_UNSUPPORTED, "5 dimensions"},
};
/* clang-format on */

static void check(int number, const char *name, const char *dir, nb_status status, const char *text) {
    nb_ckpt *ckpt = NULL;
    nb_err err = {0};
    nb_status got = nb_ckpt_open(dir, &ckpt, &err);
    cr_expect_eq(got, status, "%d %s: status %d (%s: %s), expected %d", number, name, got, err.item, err.text, status);
    if (status != NB_OK) {
        cr_expect_null(ckpt, "%d %s: the output must stay untouched", number, name);
        cr_expect_eq(err.status, status);
        cr_expect(strstr(err.text, text), "%d %s: '%s' is not in '%s'", number, name, text, err.text);
        cr_expect(err.path[0], "%d %s: no file is named", number, name);
    }
    nb_ckpt_close(ckpt);
}

static void put_st(nb_str *s, const char *header, uint64_t length, size_t data) {
    put_u64(s, length ? length : strlen(header));
    put(s, header, strlen(header));
    put_zeros(s, data);
}

Test(bad_safetensors, table_of_single_files) {
    char dir[64];
    temp_dir(dir);
    save_text(dir, "config.json", "{}");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nb_str s = {0};
        put_st(&s, rows[i].header, rows[i].length, rows[i].data);
        save(dir, "model.safetensors", &s);
        check(rows[i].number, rows[i].name, dir, rows[i].status, rows[i].text);
    }
    nb_dir_remove(dir, NULL);
}

Test(bad_safetensors, n1_short_files) {
    char dir[64];
    temp_dir(dir);
    save_text(dir, "config.json", "{}");
    for (size_t len = 0; len < 8; len++) {
        nb_str s = {0};
        put_zeros(&s, len);
        save(dir, "model.safetensors", &s);
        check(1, "short file", dir, NB_E_INPUT, "too short");
    }
    nb_dir_remove(dir, NULL);
}

/* A good file cut at every length is refused, whatever the place. */
Test(bad_safetensors, n13_cut_anywhere) {
    char dir[64];
    temp_dir(dir);
    save_text(dir, "config.json", "{}");
    nb_str whole = {0};
    put_st(&whole, "{\"a\":" T("F16", "[2,3]", 0, 12) ",\"b\":" T("U8", "[3]", 12, 15) "}", 0, 15);
    for (size_t len = 0; len <= whole.len; len++) {
        nb_str s = {0};
        if (len)
            put(&s, whole.data, len);
        save(dir, "model.safetensors", &s);
        check(13, "cut", dir, len == whole.len ? NB_OK : NB_E_INPUT, "");
    }
    nb_str_free(&whole);
    nb_dir_remove(dir, NULL);
}

/* clang-format off */
static const struct {
    int number;
    const char *name, *index;
    nb_status status;
    const char *text;
} indexes[] = {
    {0, "good", "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"}}", NB_OK, ""},
    {0, "good, the map leaves one out", "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\"},\"metadata\":{}}", NB_OK, ""},
    {15, "../x", "{\"weight_map\":{\"a\":\"../m-1.safetensors\"}}", NB_E_INPUT, "no shard's name"},
    {15, "absolute", "{\"weight_map\":{\"a\":\"/etc/m.safetensors\"}}", NB_E_INPUT, "no shard's name"},
    {15, "another file", "{\"weight_map\":{\"a\":\"config.json\"}}", NB_E_INPUT, "no shard's name"},
    {15, "hidden", "{\"weight_map\":{\"a\":\".safetensors\"}}", NB_E_INPUT, "no shard's name"},
    {15, "a number", "{\"weight_map\":{\"a\":1}}", NB_E_INPUT, "no shard's name"},
    {15, "missing shard", "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-9.safetensors\"}}", NB_E_INPUT, "is missing"},
    {15, "missing tensor", "{\"weight_map\":{\"zz\":\"m-1.safetensors\"}}", NB_E_INPUT, "does not hold it"},
    {15, "tensor in another shard", "{\"weight_map\":{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\"}}", NB_E_INPUT, "puts this tensor into"},
    {15, "no map", "{\"metadata\":{}}", NB_E_INPUT, "no weight_map"},
    {15, "empty map", "{\"weight_map\":{}}", NB_E_INPUT, "no weight_map"},
    {15, "not JSON", "{\"weight_map\":{", NB_E_INPUT, "not valid JSON"},
    {16, "one tensor in two shards", "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"c\":\"m-3.safetensors\"}}", NB_E_INPUT, "in two shards"},
};
/* clang-format on */

Test(bad_safetensors, n15_n16_table_of_indexes) {
    char dir[64];
    temp_dir(dir);
    save_text(dir, "config.json", "{}");
    nb_str s = {0};
    put_st(&s, "{\"a\":" T("U8", "[1]", 0, 1) "}", 0, 1);
    save(dir, "m-1.safetensors", &s);
    put_st(&s, "{\"b\":" T("U8", "[1]", 0, 1) "}", 0, 1);
    save(dir, "m-2.safetensors", &s);
    put_st(&s, "{\"a\":" T("U8", "[1]", 0, 1) ",\"c\":" T("U8", "[1]", 1, 2) "}", 0, 2);
    save(dir, "m-3.safetensors", &s);
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        save_text(dir, "model.safetensors.index.json", indexes[i].index);
        check(indexes[i].number, indexes[i].name, dir, indexes[i].status, indexes[i].text);
    }
    nb_dir_remove(dir, NULL);
}

Test(bad_safetensors, folders_without_a_model) {
    char dir[64], path[128];
    temp_dir(dir);
    check(0, "empty folder", dir, NB_E_INPUT, "no config.json");
    save_text(dir, "config.json", "{");
    check(0, "broken config", dir, NB_E_INPUT, "not valid JSON");
    save_text(dir, "config.json", "[1]");
    check(0, "config no object", dir, NB_E_INPUT, "no JSON object");
    save_text(dir, "config.json", "");
    check(0, "empty config", dir, NB_E_INPUT, "not valid JSON");
    save_text(dir, "config.json", "{\"a\":1,\"a\":2}");
    check(0, "duplicate key in config", dir, NB_E_INPUT, "duplicate");
    save_text(dir, "config.json", "{}");
    check(0, "no weights", dir, NB_E_INPUT, "has neither");
    save_text(dir, "pytorch_model.bin", "PK");
    check(0, "pickle", dir, NB_E_UNSUPPORTED, "convert them to safetensors");
    save_text(dir, "generation_config.json", "x");
    check(0, "broken generation config", dir, NB_E_INPUT, "not valid JSON");
    snprintf(path, sizeof path, "%s/none", dir);
    check(0, "missing path", path, NB_E_INPUT, "cannot open");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    check(0, "a lone file", path, NB_E_INPUT, "give its folder");
    check(0, "a device", "/dev/null", NB_E_INPUT, "not a regular file");
    nb_dir_remove(dir, NULL);
}
