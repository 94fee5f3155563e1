/* Prints the counters of CUDA_SIM_REPORT as a table: one line a kernel and shape, equal launches
 * once.
 *
 *   bench_cuda_sim_table report.json... */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long long num(const json_t *o, const char *a, const char *b) {
    const json_t *v = json_object_get(o, a);
    if (b)
        v = json_object_get(v, b);
    return v ? (long long)json_integer_value(v) : 0;
}

static double ratio(long long a, long long b) {
    return b ? (double)a / (double)b : 1.0;
}

static void dims(const json_t *o, const char *key, char *s, size_t n) {
    const json_t *d = json_object_get(o, key);
    snprintf(s, n, "%lldx%lldx%lld", (long long)json_integer_value(json_array_get(d, 0)),
             (long long)json_integer_value(json_array_get(d, 1)),
             (long long)json_integer_value(json_array_get(d, 2)));
}

static void line(const json_t *o, int times) {
    char grid[64], block[64];
    const char *kernel = json_string_value(json_object_get(o, "kernel"));
    const char *finding = json_string_value(json_object_get(o, "finding"));
    dims(o, "grid", grid, sizeof grid);
    dims(o, "block", block, sizeof block);
    const long long n = num(o, "warp_instructions", NULL);
    printf("%-36.36s %-12s %-10s %4d %11lld %6.2f %9lld %6.2f %9lld %6.2f %8lld %7lld %6lld%s%s\n",
           kernel ? kernel : "?", grid, block, times, n, ratio(num(o, "active_lanes", NULL), n),
           num(o, "global", "sectors"),
           ratio(num(o, "global", "sectors"), num(o, "global", "sectors_ideal")),
           num(o, "shared", "wavefronts"),
           ratio(num(o, "shared", "wavefronts"), num(o, "shared", "wavefronts_ideal")),
           num(o, "mma", NULL), num(o, "barriers", NULL), num(o, "atomics", NULL),
           finding && *finding ? "  " : "", finding ? finding : "");
}

int main(int argc, char **argv) {
    printf("%-36s %-12s %-10s %4s %11s %6s %9s %6s %9s %6s %8s %7s %6s\n", "kernel", "grid",
           "block", "runs", "warp-inst", "lanes", "sectors", "/ideal", "waves", "/ideal", "mma",
           "barrier", "atomic");
    for (int i = 1; i < argc; i++) {
        json_error_t e;
        json_t *all = json_load_file(argv[i], 0, &e);
        if (!json_is_array(all)) {
            fprintf(stderr, "%s: %s\n", argv[i], all ? "not an array of launches" : e.text);
            json_decref(all);
            return 1;
        }
        for (size_t k = 0; k < json_array_size(all); k++) {
            const json_t *o = json_array_get(all, k);
            size_t before = 0;
            int times = 1;
            while (before < k && !json_equal(json_array_get(all, before), o))
                before++;
            if (before < k)
                continue;
            for (size_t j = k + 1; j < json_array_size(all); j++)
                times += json_equal(json_array_get(all, j), o);
            line(o, times);
        }
        json_decref(all);
    }
    return 0;
}
