#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/base/alloc.h"
#include "host/base/file.h"
#include "host/base/hash.h"
#include "host/base/json.h"
#include "host/base/pool.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "host/base/str.h"

Test(size, products_that_wrap_are_refused) {
    size_t r = 7;
    cr_assert(!nb_mul(SIZE_MAX / 2, 3, &r));
    cr_assert(!nb_mul((size_t)1 << 32, (size_t)1 << 32, &r)); /* wraps to exactly 0 */
    cr_assert(!nb_add(SIZE_MAX, 1, &r));
    cr_assert(!nb_align(SIZE_MAX - 2, 8, &r));
    cr_assert_eq(r, 7, "a refused result must leave the output alone");
    cr_assert(nb_mul3(3, 5, 7, &r) && r == 105);
    cr_assert(nb_align(33, 32, &r) && r == 64);
    cr_assert_eq(nb_ceil_div(SIZE_MAX, 2), SIZE_MAX / 2 + 1);
}

Test(err, line_names_path_item_and_offset) {
    nb_err err = {0};
    nb_status s = nb_fail_at(&err, NB_E_INPUT, "a.gguf", "blk.0", "found %d, expected %d", 3, 4);
    err.offset = 17;
    char line[256];
    nb_err_line(&err, line, sizeof line);
    cr_assert_eq(s, NB_E_INPUT);
    cr_assert_str_eq(line, "a.gguf: blk.0: found 3, expected 4 (at byte 17)");
    cr_assert_eq(nb_status_exit_code(s), 3);
    cr_assert_eq(nb_status_exit_code(NB_E_INTERRUPTED), 130);
}

Test(err, hostile_names_cannot_reach_the_terminal) {
    nb_err err = {0};
    nb_fail_at(&err, NB_E_INPUT, NULL, "\033[2Jname\n", "bad %s", "\007");
    cr_assert_str_eq(err.item, "?[2Jname?");
    cr_assert_str_eq(err.text, "bad ?");
}

static void mark(void *arg, size_t task, unsigned worker) {
    (void)worker;
    atomic_fetch_add(&((atomic_int *)arg)[task], 1);
}

Test(pool, each_task_runs_once) {
    for (unsigned threads = 1; threads <= 8; threads++) {
        nb_pool *pool;
        cr_assert_eq(nb_pool_new(threads, &pool, NULL), NB_OK);
        cr_assert_eq(nb_pool_threads(pool), threads);
        for (int round = 0; round < 50; round++) {
            static atomic_int hits[257];
            memset((void *)hits, 0, sizeof hits);
            nb_pool_run(pool, 257, mark, hits);
            for (int i = 0; i < 257; i++)
                cr_assert_eq(hits[i], 1);
        }
        nb_pool_free(pool);
    }
}

static void run_serially(void *ctx, size_t n, nb_task_fn *fn, void *arg) {
    *(int *)ctx += 1;
    for (size_t i = n; i-- > 0;)
        fn(arg, i, 0);
}

Test(pool, a_callers_pool_is_used) {
    int runs = 0;
    nb_parallel outer = {&runs, 1, run_serially};
    nb_pool *pool;
    atomic_int hits[5] = {0};
    cr_assert_eq(nb_pool_wrap(&outer, &pool, NULL), NB_OK);
    nb_pool_run(pool, 5, mark, hits);
    cr_assert_eq(runs, 1);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(hits[i], 1);
    nb_pool_free(pool);
}

static char *temp_dir(void) {
    static char path[64];
    strcpy(path, "/tmp/nibble-test-XXXXXX");
    cr_assert_not_null(mkdtemp(path));
    return path;
}

Test(file, an_aborted_file_leaves_nothing) {
    char *dir = temp_dir(), *path;
    nb_path_join(dir, "x", &path, NULL);
    nb_out *out;
    cr_assert_eq(nb_out_open(path, &out, NULL), NB_OK);
    cr_assert_eq(nb_out_write(out, "abc", 3, NULL), NB_OK);
    nb_out_abort(out);
    char **names;
    size_t count;
    cr_assert_eq(nb_dir_list(dir, &names, &count, NULL), NB_OK);
    cr_assert_eq(count, 0);
    nb_names_free(names, count);
    cr_assert_eq(nb_dir_remove(dir, NULL), NB_OK);
    nb_free(path);
}

Test(file, patch_and_large_writes_arrive) {
    char *dir = temp_dir(), *path;
    nb_path_join(dir, "x", &path, NULL);
    nb_out *out;
    static char big[200000];
    memset(big, 'b', sizeof big);
    cr_assert_eq(nb_out_open(path, &out, NULL), NB_OK);
    cr_assert_eq(nb_out_write(out, "head", 4, NULL), NB_OK);
    cr_assert_eq(nb_out_write(out, big, sizeof big, NULL), NB_OK);
    cr_assert_eq(nb_out_write(out, "tail", 4, NULL), NB_OK);
    cr_assert_eq(nb_out_patch(out, 0, "HE", 2, NULL), NB_OK);
    nb_err err = {0};
    cr_assert_eq(nb_out_patch(out, sizeof big + 7, "xx", 2, &err), NB_E_USAGE);
    cr_assert_not(nb_path_exists(path));
    cr_assert_eq(nb_out_commit(out, NULL), NB_OK);
    char *text;
    size_t size;
    cr_assert_eq(nb_file_read(path, 1 << 20, &text, &size, NULL), NB_OK);
    cr_assert_eq(size, sizeof big + 8);
    cr_assert(!memcmp(text, "HEadb", 5) && !memcmp(text + size - 5, "btail", 5));
    nb_free(text);
    cr_assert_eq(nb_file_read(path, 10, &text, &size, &err), NB_E_INPUT);
    nb_dir_remove(dir, NULL);
    nb_free(path);
}

Test(file, a_missing_file_is_bad_input_and_named) {
    nb_map map;
    nb_err err = {0};
    cr_assert_eq(nb_map_open("/nonexistent/file", &map, &err), NB_E_INPUT);
    cr_assert_str_eq(err.path, "/nonexistent/file");
    cr_assert_eq(nb_map_open("/tmp", &map, &err), NB_E_INPUT);
}

Test(file, same_file_by_another_name) {
    char *dir = temp_dir(), *a, *b;
    nb_path_join(dir, "a", &a, NULL);
    nb_path_join(dir, "b", &b, NULL);
    cr_assert_eq(nb_file_write(a, "x", 1, NULL), NB_OK);
    cr_assert_eq(symlink(a, b), 0);
    cr_assert(nb_path_same(a, b));
    cr_assert(!nb_path_same(a, dir));
    nb_dir_remove(dir, NULL);
    nb_free(a);
    nb_free(b);
}

Test(json, hostile_text_is_refused) {
    static const char *const bad[] = {"{\"a\":1,\"a\":2}", "{} x", "\xff", "", "{\"a\":}", "[1,]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *v;
        nb_err err = {0};
        cr_assert_eq(nb_json_parse(bad[i], strlen(bad[i]), "f", &v, &err), NB_E_INPUT, "case %zu", i);
        cr_assert_str_eq(err.path, "f");
    }
}

Test(json, typed_lookups) {
    json_t *v;
    const char *text = "{\"n\": 7, \"x\": 1.5, \"s\": \"t\", \"b\": true, \"z\": null}";
    cr_assert_eq(nb_json_parse(text, strlen(text), NULL, &v, NULL), NB_OK);
    int64_t n = 1;
    double x = 0;
    bool b = false;
    const char *s = NULL;
    nb_err err = {0};
    cr_assert_eq(nb_json_get_int(v, "n", 0, 6, &n, &err), NB_E_INPUT);
    cr_assert_str_eq(err.item, "n");
    cr_assert_eq(nb_json_get_int(v, "x", 0, 6, &n, &err), NB_E_INPUT);
    cr_assert_eq(n, 1);
    cr_assert(nb_json_get_int(v, "n", 0, 7, &n, NULL) == NB_OK && n == 7);
    cr_assert(nb_json_get_int(v, "absent", 0, 7, &n, NULL) == NB_OK && n == 7);
    cr_assert(nb_json_get_int(v, "z", 0, 7, &n, NULL) == NB_OK && n == 7);
    cr_assert(nb_json_get_number(v, "x", &x, NULL) == NB_OK && x == 1.5);
    cr_assert(nb_json_get_bool(v, "b", &b, NULL) == NB_OK && b);
    cr_assert(nb_json_get_str(v, "s", &s, NULL) == NB_OK && !strcmp(s, "t"));
    cr_assert_eq(nb_json_get_str(v, "n", &s, NULL), NB_E_INPUT);
    json_decref(v);
}

Test(json, integers_past_64_bits_are_reals_and_leave_the_others_integers) {
    const char *text = "{\"a\": [1, {\"b\": -7}], \"big\": 1000000000000000019884624838656, \"half\": 0.5, "
                       "\"exact\": 9007199254740992}";
    json_t *v = NULL;
    nb_err err = {0};
    cr_assert_eq(nb_json_parse(text, strlen(text), "f", &v, &err), NB_OK, "%s", err.text);
    int64_t exact = 0, big = 0;
    double x = 0, half = 0;
    cr_assert_eq(nb_json_get_int(v, "exact", 0, INT64_MAX, &exact, &err), NB_OK, "%s", err.text);
    cr_assert_eq(exact, INT64_C(9007199254740992));
    cr_assert_eq(nb_json_get_number(v, "big", &x, &err), NB_OK);
    cr_assert_float_eq(x, 1e30, 1e15);
    cr_assert_eq(nb_json_get_int(v, "big", 0, INT64_MAX, &big, &err), NB_E_INPUT);
    cr_assert_eq(nb_json_get_number(v, "half", &half, &err), NB_OK);
    cr_assert_float_eq(half, 0.5, 0);
    const json_t *a = json_object_get(v, "a");
    cr_assert_eq(json_integer_value(json_array_get(a, 0)), 1);
    cr_assert_eq(json_integer_value(json_object_get(json_array_get(a, 1), "b")), -7);
    json_decref(v);
    const char *bad[] = {"[1e400, 1000000000000000019884624838656]", "[1000000000000000019884624838656"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(nb_json_parse(bad[i], strlen(bad[i]), "f", &v, &err), NB_E_INPUT, "case %zu", i);
}

Test(hash, known_value_and_streaming_agree) {
    char a[NB_HASH_TEXT], b[NB_HASH_TEXT];
    nb_hash *h;
    cr_assert_eq(nb_hash_new(&h, NULL), NB_OK);
    nb_hash_add(h, "hello ", 6);
    nb_hash_add(h, "world", 5);
    nb_hash_text(h, a);
    nb_hash_free(h);
    nb_hash_once("hello world", 11, b);
    cr_assert_str_eq(a, b);
    nb_hash_once("", 0, b);
    cr_assert_str_eq(b, "99aa06d3014798d86001c324468d497f"); /* XXH3-128 of nothing, from its specification */
}

Test(random, stream_is_fixed_and_bounded) {
    nb_random a = nb_random_seed(42), b = nb_random_seed(42), c = nb_random_seed(43);
    int differ = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t x = nb_random_u32(&a);
        cr_assert_eq(x, nb_random_u32(&b));
        differ += x != nb_random_u32(&c);
        cr_assert_lt(nb_random_below(&a, 7), 7);
        (void)nb_random_below(&b, 7);
        (void)nb_random_below(&c, 7);
    }
    cr_assert_gt(differ, 990);
}

Test(str, globs) {
    cr_assert(nb_glob("*.down_proj", "model.layers.0.mlp.down_proj"));
    cr_assert(nb_glob("a?c*", "abc"));
    cr_assert(nb_glob("*", ""));
    cr_assert(nb_glob("*a*b", "xaxxbab"));
    cr_assert(!nb_glob("a*b", "abc"));
    cr_assert(!nb_glob("?", ""));
}

Test(str, builder) {
    nb_str s = {0};
    for (int i = 0; i < 100; i++)
        cr_assert_eq(nb_str_addf(&s, NULL, "%d,", i), NB_OK);
    cr_assert_eq(s.len, 290);
    cr_assert(nb_ends_with(s.data, "98,99,") && nb_starts_with(s.data, "0,1,2,"));
    nb_str_free(&s);
}
