/* What was measured, as a table, as JSON, and against another file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/json.h"
#include "host/base/size.h"
#include "host/cli/bench.h"
#include "host/cli/cli.h"

nb_status nb_bench_add(nb_bench_results *r, const nb_bench_result *one, nb_err *err) {
    if (r->count == r->room) {
        size_t room = nb_max(2 * r->room, 64);
        NB_TRY(nb_regrow(room, sizeof *r->items, "results", &r->items, err));
        r->room = room;
    }
    r->items[r->count++] = *one;
    return NB_OK;
}

void nb_bench_print_head(void) {
    printf("%-13s %-22s %5s %6s %6s %2s %5s %4s %2s %10s %10s %6s %8s %9s %6s\n", "operation",
           "variant", "m", "n", "k", "b", "group", "ring", "t", "median us", "min us", "spread",
           "GB/s", "GFLOP/s", "% roof");
}

void nb_bench_print(const nb_bench_result *r) {
    char flops[32] = "-", roof[32] = "-", bytes[32] = "-";
    if (r->bytes > 0)
        snprintf(bytes, sizeof bytes, "%.2f", r->bytes / r->min * 1e-9);
    if (r->flops > 0)
        snprintf(flops, sizeof flops, "%.1f", r->flops / r->min * 1e-9);
    if (r->share > 0)
        snprintf(roof, sizeof roof, "%.0f", 100 * r->share);
    printf("%-13s %-22s %5zu %6zu %6zu %2u %5zu %4zu %2u %10.1f %10.1f %5.0f%% %8s %9s %6s\n",
           r->op, r->name, r->shape.m, r->shape.n, r->shape.k, r->shape.bits, r->shape.group,
           r->shape.ring, r->threads, r->median * 1e6, r->min * 1e6, r->spread * 100,
           bytes, flops, roof);
    fflush(stdout);
}

static json_t *result_json(const nb_bench_result *r) {
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:i, s:I, s:I, s:i, s:I, s:I}", "op", r->op, "variant",
        r->name, "device", r->device, "m", (json_int_t)r->shape.m, "n", (json_int_t)r->shape.n, "k",
        (json_int_t)r->shape.k, "bits", (int)r->shape.bits, "group", (json_int_t)r->shape.group,
        "ring", (json_int_t)r->shape.ring, "threads", (int)r->threads, "samples",
        (json_int_t)r->samples, "repeats", (json_int_t)r->repeats);
    if (!o)
        return NULL;
    json_object_set_new(o, "median_s", json_real(r->median));
    json_object_set_new(o, "min_s", json_real(r->min));
    json_object_set_new(o, "spread", json_real(r->spread));
    json_object_set_new(o, "bytes", json_real(r->bytes));
    json_object_set_new(o, "gbytes_per_s", json_real(r->bytes / r->min * 1e-9));
    if (r->flops > 0)
        json_object_set_new(o, "gflops", json_real(r->flops / r->min * 1e-9));
    if (r->share > 0)
        json_object_set_new(o, "percent_of_roof", json_real(100 * r->share));
    return o;
}

nb_status nb_bench_json(const nb_bench_results *r, const nb_device_info *info, nb_err *err) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(list, result_json(&r->items[i]));
    return nb_cli_json(json_pack("{s:i, s:s, s:{s:s, s:s, s:s}, s:o}", "schema", 1, "version",
                                 nb_version(), "device", "name", info->name, "model", info->model,
                                 "detail", info->detail, "results", list),
                       err);
}

/* Are these the same measurement? */
static bool same_case(const json_t *a, const json_t *b) {
    static const char *const keys[] = {"op", "variant", "device", "m",    "n",
                                       "k",  "bits",    "group",  "ring", "threads"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
            return false;
    return true;
}

/* The measurement of list_b that is list_a's i-th: of several of one case (bandwidth and peak stand beside each operation) the
 * one with as many before it. NULL where there is none. */
static const json_t *partner(const json_t *list_a, size_t i, const json_t *list_b) {
    const json_t *one = json_array_get(list_a, i);
    size_t before = 0;
    for (size_t j = 0; j < i; j++)
        before += same_case(json_array_get(list_a, j), one);
    for (size_t j = 0; j < json_array_size(list_b); j++)
        if (same_case(one, json_array_get(list_b, j)) && before-- == 0)
            return json_array_get(list_b, j);
    return NULL;
}

static json_int_t integer(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

static void print_pair(const json_t *a, const json_t *b) {
    double before = json_number_value(json_object_get(a, "min_s")),
           after = json_number_value(json_object_get(b, "min_s"));
    double noise = fmax(json_number_value(json_object_get(a, "spread")),
                        json_number_value(json_object_get(b, "spread")));
    double change = after / before - 1;
    printf("%-13s %-22s m %-4lld n %-6lld k %-6lld t %-2lld %10.1f us -> %10.1f us  %+6.1f%%%s\n",
           json_string_value(json_object_get(a, "op")),
           json_string_value(json_object_get(a, "variant")), (long long)integer(a, "m"),
           (long long)integer(a, "n"), (long long)integer(a, "k"), (long long)integer(a, "threads"),
           before * 1e6, after * 1e6, change * 100,
           fabs(change) <= noise ? "  (within spread)"
           : change > 0          ? "  slower"
                                 : "  faster");
}

static nb_status read_results(const char *path, json_t **root, json_t **list, nb_err *err) {
    NB_TRY(nb_json_read(path, (size_t)64 << 20, root, err));
    *list = json_object_get(*root, "results");
    if (json_is_array(*list))
        return NB_OK;
    json_decref(*root);
    return nb_fail_at(err, NB_E_INPUT, path, "results",
                      "is missing; expected what nibble bench --json prints");
}

nb_status nb_bench_compare(const char *before, const char *after, nb_err *err) {
    json_t *a, *b, *list_a, *list_b;
    NB_TRY(read_results(before, &a, &list_a, err));
    nb_status status = read_results(after, &b, &list_b, err);
    if (status != NB_OK) {
        json_decref(a);
        return status;
    }
    size_t pairs = 0;
    for (size_t i = 0; i < json_array_size(list_a); i++) {
        const json_t *other = partner(list_a, i, list_b);
        if (other)
            print_pair(json_array_get(list_a, i), other);
        pairs += other != NULL;
    }
    if (pairs == 0)
        status = nb_fail_at(err, NB_E_INPUT, after, NULL, "has no measurement in common with %s",
                            before);
    json_decref(a);
    json_decref(b);
    return status;
}
