/* nibble bench: what it prints can be read back and compared; a filter that matches nothing is an
 * error. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/kernel.h"
#include "host/backend/backend.h"

static int shell(const char *fmt, const char *a) {
    char command[512];
    snprintf(command, sizeof command, fmt, NB_BIN, a, a);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(bench, json_and_compare) {
    char path[] = "/tmp/nb-bench-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert_eq(shell("%s bench --shape 64x128 --shape 33x65 -m 1 -m 9 -g 32 -b 3 -j 2 --samples "
                       "3 --sample-ms 0 --json >%s",
                       path),
                 0);
    json_t *root = json_load_file(path, 0, NULL), *results = json_object_get(root, "results"), *one;
    size_t i, rows = 0;
    cr_assert(json_is_array(results));
    json_array_foreach(results, i, one) {
        double min = json_number_value(json_object_get(one, "min_s")),
               median = json_number_value(json_object_get(one, "median_s"));
        cr_assert(min > 0 && median >= min);
        cr_assert_eq(json_integer_value(json_object_get(one, "bits")), 3);
        cr_assert_eq(json_integer_value(json_object_get(one, "threads")), 2);
        rows += !strncmp(json_string_value(json_object_get(one, "op")), "qgemm", 5);
    }
    cr_assert_geq(rows, 2 * 2 * 2, "the two plain variants on each shape");
    json_decref(root);
    cr_assert_eq(shell("%s bench --compare %s,%s >/dev/null", path), 0);
    cr_assert_eq(shell("%s bench --compare %s,/dev/null 2>/dev/null >/dev/null; exit $? #%s", path),
                 3);
    unlink(path);
}

/* Every operation has a case, with a figure of the roof; a file compared with itself pairs each result with itself. */
Test(bench, every_operation) {
    char path[] = "/tmp/nb-bench-XXXXXX", line[512];
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert_eq(shell("%s bench --op '*' --kernel '*_plain' --shape 64x128 -m 5 -g 32 -j 1 --samples 2 --sample-ms 0 "
                       "--json >%s",
                       path),
                 0);
    json_t *root = json_load_file(path, 0, NULL), *results = json_object_get(root, "results"), *one;
    size_t i, count = json_array_size(results), pairs = 0;
    for (int op = 0; op < NB_OP_COUNT; op++) {
        size_t seen = 0;
        json_array_foreach(results, i, one)
            if (!strcmp(json_string_value(json_object_get(one, "op")), nb_op_name((nb_op)op))) {
                seen++;
                cr_assert_gt(json_number_value(json_object_get(one, "percent_of_roof")), 0);
                cr_assert_gt(json_number_value(json_object_get(one, "bytes")), 0);
            }
        cr_assert_eq(seen, 1, "%s: %zu results", nb_op_name((nb_op)op), seen);
    }
    json_decref(root);
    snprintf(line, sizeof line, "%s bench --compare %s,%s", NB_BIN, path, path);
    FILE *f = popen(line, "r");
    while (fgets(line, sizeof line, f))
        pairs += strstr(line, " +0.0%") != NULL;
    cr_assert_eq(pclose(f), 0);
    cr_assert_eq(pairs, count);
    unlink(path);
}

Test(bench, nothing_to_time) {
    cr_assert_eq(shell("%s bench --kernel '%s' >/dev/null 2>&1; exit $? #%s", "nothing*"), 2);
    cr_assert_eq(shell("%s bench --shape '%s' >/dev/null 2>&1; exit $? #%s", "12"), 2);
    cr_assert_eq(
        shell("%s bench --op rtn --shape %s --samples 2 --sample-ms 0 >/dev/null; exit $? #%s",
              "64x64"),
        0);
}

Test(bench, a_whole_model) {
    char path[] = "/tmp/nb-bench-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    cr_assert_eq(shell("%s bench --model " NB_TEST_DATA "/golden/gptq/w4-sym-g32 --prompt 20 --tokens 6 --past 3 --samples 2 "
                       "-j 1 -j 2 --json >%s",
                       path),
                 0);
    json_t *root = json_load_file(path, 0, NULL), *results = json_object_get(root, "results"), *one;
    size_t i;
    cr_assert_eq(json_array_size(results), 4);
    json_array_foreach(results, i, one) {
        double best = json_number_value(json_object_get(one, "best_tokens_per_second")),
               median = json_number_value(json_object_get(one, "tokens_per_second"));
        cr_assert(median > 0 && best >= median);
        cr_assert_str_eq(json_string_value(json_object_get(one, "op")), i % 2 ? "decode" : "prompt");
        cr_assert_str_eq(json_string_value(json_object_get(one, "embeddings")), "q8");
        cr_assert_eq(json_integer_value(json_object_get(one, "tokens")), i % 2 ? 6 : 20);
        cr_assert_eq(json_integer_value(json_object_get(one, "past")), i % 2 ? 3 : 0);
        cr_assert_eq(json_integer_value(json_object_get(one, "threads")), i < 2 ? 1 : 2);
    }
    json_decref(root);
    unlink(path);
    cr_assert_eq(shell("%s bench --model " NB_TEST_DATA "/golden/gptq/w4-sym-g32 --prompt %s >/dev/null 2>&1; exit $? #%s",
                       "100000"),
                 2);
}
