/* Writing safetensors. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/random.h"
#include "host/ckpt/ckpt.h"

static char dir[64], file[96];

static void setup(void) {
    strcpy(dir, "/tmp/nibble-write-XXXXXX");
    cr_assert(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/config.json", dir);
    cr_assert_eq(nb_file_write(file, "{}", 2, NULL), NB_OK);
    snprintf(file, sizeof file, "%s/model.safetensors", dir);
}

static void teardown(void) { nb_dir_remove(dir, NULL); }

static nb_st_writer *start(void) {
    nb_st_writer *w;
    cr_assert_eq(nb_st_writer_new(file, &w, NULL), NB_OK);
    return w;
}

static void declare(nb_st_writer *w, const char *name, nb_dtype dtype, size_t rows, size_t cols) {
    size_t dims[2] = {rows, cols};
    cr_assert_eq(nb_st_declare(w, name, dtype, 2, dims, NULL), NB_OK, "%s", name);
}

/* The bytes that `safetensors` of PyPI (0.8.0, serialize) writes for these tensors. */
Test(st_write, bytes_are_those_of_the_reference, .init = setup, .fini = teardown) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\"},\"q\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[0,8]},"
        "\"z\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[8,16]},"
        "\"b\":{\"dtype\":\"I32\",\"shape\":[2,1],\"data_offsets\":[16,24]},"
        "\"h\":{\"dtype\":\"BF16\",\"shape\":[1,1],\"data_offsets\":[24,26]},"
        "\"a\":{\"dtype\":\"F16\",\"shape\":[3,1],\"data_offsets\":[26,32]},"
        "\"c\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[32,34]},"
        "\"u\":{\"dtype\":\"U8\",\"shape\":[1,3],\"data_offsets\":[34,37]}}";
    static const char names[] = "cauqzbh"; /* declared in this order */
    static const nb_dtype types[] = {NB_F16, NB_F16, NB_U8, NB_I64, NB_F32, NB_I32, NB_BF16};
    static const size_t shapes[][2] = {{1, 1}, {3, 1}, {1, 3}, {1, 1}, {1, 2}, {2, 1}, {1, 1}};
    nb_st_writer *w = start();
    for (size_t i = 0; i < 7; i++) {
        char name[2] = {names[i], 0};
        declare(w, name, types[i], shapes[i][0], shapes[i][1]);
    }
    cr_assert_eq(nb_st_begin(w, NULL), NB_OK);
    static const char order[] = "qzbhacu";
    for (size_t i = 0; i < 7; i++)
        cr_assert_eq(names[nb_st_order(w, i)], order[i], "place %zu", i);
    for (int i = 0; i < 37; i++) { /* in pieces that cross tensors */
        unsigned char byte = (unsigned char)i;
        cr_assert_eq(nb_st_write(w, &byte, 1, NULL), NB_OK);
    }
    cr_assert(!nb_path_exists(file), "nothing stands under the final name before the commit");
    cr_assert_eq(nb_st_commit(w, NULL), NB_OK);
    char *text;
    size_t size, padded = (strlen(header) + 7) / 8 * 8;
    cr_assert_eq(nb_file_read(file, 4096, &text, &size, NULL), NB_OK);
    cr_assert_eq(size, 8 + padded + 37);
    cr_assert_eq((size_t)((unsigned char)text[0] | (unsigned char)text[1] << 8), padded);
    cr_assert_eq(memcmp(text + 2, "\0\0\0\0\0\0", 6), 0);
    cr_assert_eq(memcmp(text + 8, header, strlen(header)), 0, "%.*s", (int)padded, text + 8);
    for (size_t i = strlen(header); i < padded; i++)
        cr_assert_eq(text[8 + i], ' ');
    for (size_t i = 0; i < 37; i++)
        cr_assert_eq((size_t)text[8 + padded + i], i);
    nb_free(text);
}

/* Tensors of random types and sizes come back, each from an aligned place. */
Test(st_write, our_reader_reads_it, .init = setup, .fini = teardown) {
    static const nb_dtype types[] = {NB_F32, NB_F16, NB_BF16, NB_I32, NB_U8, NB_I64, NB_BOOL, NB_F64, NB_I8};
    enum { COUNT = 200 };
    nb_random r = nb_random_seed(5);
    unsigned char data[COUNT][512];
    size_t bytes[COUNT];
    nb_st_writer *w = start();
    for (size_t i = 0; i < COUNT; i++) {
        nb_dtype type = types[nb_random_below(&r, 9)];
        size_t rows = nb_random_below(&r, 5), cols = nb_random_below(&r, 12);
        char name[32];
        snprintf(name, sizeof name, "t\"%zu/\xc3\xa9", i * 7919 % COUNT);
        declare(w, name, type, rows, cols);
        bytes[i] = rows * cols * nb_dtype_get(type)->block_bytes;
        for (size_t j = 0; j < bytes[i]; j++)
            data[i][j] = (unsigned char)nb_random_u32(&r);
    }
    cr_assert_eq(nb_st_begin(w, NULL), NB_OK);
    for (size_t i = 0; i < COUNT; i++)
        cr_assert_eq(nb_st_write(w, data[nb_st_order(w, i)], bytes[nb_st_order(w, i)], NULL), NB_OK);
    cr_assert_eq(nb_st_commit(w, NULL), NB_OK);
    nb_ckpt *c;
    nb_err err = {0};
    cr_assert_eq(nb_ckpt_open(dir, &c, &err), NB_OK, "%s", err.text);
    cr_assert_eq(nb_ckpt_count(c), COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "t\"%zu/\xc3\xa9", i * 7919 % COUNT);
        const nb_view *v = nb_ckpt_find(c, name);
        cr_assert(v && v->bytes == bytes[i], "%s", name);
        cr_assert_eq(memcmp(v->data, data[i], bytes[i]), 0, "%s", name);
        cr_assert_eq((uintptr_t)v->data % nb_dtype_get(v->dtype)->block_bytes, 0, "%s is not aligned", name);
    }
    nb_ckpt_close(c);
}

/* An existing file written by the reference writer: written again from its tensors it is the same. */
Test(st_write, a_file_of_the_reference_again, .init = setup, .fini = teardown) {
    static const char *const models[] = {"llama-tied-f16", "llama-tied-f32"};
    for (size_t m = 0; m < 2; m++) {
        char path[512];
        nb_ckpt *c;
        nb_err err = {0};
        snprintf(path, sizeof path, NB_TEST_DATA "/golden/models/%s", models[m]);
        cr_assert_eq(nb_ckpt_open(path, &c, &err), NB_OK, "%s", err.text);
        nb_st_writer *w = start();
        for (size_t i = 0; i < nb_ckpt_count(c); i++) {
            const nb_view *v = nb_ckpt_tensor(c, nb_ckpt_count(c) - 1 - i);
            cr_assert_eq(nb_st_declare(w, v->name, v->dtype, v->ndim, v->dims, &err), NB_OK);
        }
        cr_assert_eq(nb_st_begin(w, &err), NB_OK);
        for (size_t i = 0; i < nb_ckpt_count(c); i++) {
            const nb_view *v = nb_ckpt_tensor(c, nb_ckpt_count(c) - 1 - nb_st_order(w, i));
            cr_assert_eq(nb_st_write(w, v->data, v->bytes, &err), NB_OK);
        }
        cr_assert_eq(nb_st_commit(w, &err), NB_OK);
        nb_map a, b;
        cr_assert_eq(nb_map_open(nb_ckpt_tensor(c, 0)->path, &a, &err), NB_OK);
        cr_assert_eq(nb_map_open(file, &b, &err), NB_OK);
        cr_assert_eq(a.size, b.size, "%s", models[m]);
        cr_assert_eq(memcmp(a.data, b.data, a.size), 0, "%s", models[m]);
        nb_map_close(&a);
        nb_map_close(&b);
        nb_ckpt_close(c);
    }
}

Test(st_write, misuse_is_refused, .init = setup, .fini = teardown) {
    size_t dims[2] = {2, 2}, wraps[2] = {(size_t)1 << 32, (size_t)1 << 32};
    char junk[32] = {0};
    nb_st_writer *w = start();
    cr_assert_eq(nb_st_declare(w, "a", NB_Q4_0, 2, dims, NULL), NB_E_USAGE, "no such type in safetensors");
    cr_assert_eq(nb_st_declare(w, "a", NB_U8, 5, dims, NULL), NB_E_USAGE);
    cr_assert_eq(nb_st_declare(w, "a", NB_U8, 2, wraps, NULL), NB_E_USAGE);
    cr_assert_eq(nb_st_write(w, junk, 1, NULL), NB_E_USAGE, "data before the header");
    declare(w, "a", NB_U8, 2, 2);
    cr_assert_eq(nb_st_begin(w, NULL), NB_OK);
    cr_assert_eq(nb_st_begin(w, NULL), NB_E_USAGE);
    cr_assert_eq(nb_st_declare(w, "b", NB_U8, 2, dims, NULL), NB_E_USAGE);
    cr_assert_eq(nb_st_write(w, junk, 5, NULL), NB_E_USAGE, "more than declared");
    cr_assert_eq(nb_st_write(w, junk, 3, NULL), NB_OK);
    cr_assert_eq(nb_st_commit(w, NULL), NB_E_USAGE, "one byte is missing");
    cr_assert(!nb_path_exists(file), "no debris under the final name");
    w = start();
    declare(w, "a", NB_U8, 1, 1);
    declare(w, "a", NB_F32, 1, 1);
    cr_assert_eq(nb_st_begin(w, NULL), NB_E_USAGE, "declared twice");
    nb_st_abort(w);
    w = start();
    declare(w, "__metadata__", NB_U8, 1, 1);
    cr_assert_eq(nb_st_begin(w, NULL), NB_E_USAGE);
    nb_st_abort(w);
    w = start();
    declare(w, "bad \xff name", NB_U8, 1, 1);
    cr_assert_eq(nb_st_begin(w, NULL), NB_E_USAGE);
    nb_st_abort(w);
    nb_st_abort(NULL);
    char **names;
    size_t count;
    cr_assert_eq(nb_dir_list(dir, &names, &count, NULL), NB_OK);
    cr_assert_eq(count, 1, "only config.json is left");
    nb_names_free(names, count);
}

Test(st_write, an_aborted_file_leaves_the_old_one, .init = setup, .fini = teardown) {
    cr_assert_eq(nb_file_write(file, "old", 3, NULL), NB_OK);
    nb_st_writer *w = start();
    declare(w, "a", NB_U8, 1, 1);
    cr_assert_eq(nb_st_begin(w, NULL), NB_OK);
    nb_st_abort(w);
    char *text;
    cr_assert_eq(nb_file_read(file, 100, &text, NULL, NULL), NB_OK);
    cr_assert_str_eq(text, "old");
    nb_free(text);
}
