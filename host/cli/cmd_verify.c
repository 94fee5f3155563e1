/* nibble verify: every variant that this machine can run, against the oracles. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "host/base/str.h"
#include "host/cli/cli.h"
#include "host/cli/verify.h"

typedef struct options {
    nb_common common;
    const char *device, *op, *kernel;
    bool full;
    int64_t threads, every;
} options;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct report {
    const options *o;
    json_t *list;
    size_t passed, failed, skipped, unchecked;
} report;

static void say(report *r, const nb_kernel *row, const nb_verify *v, const char *result,
                const char *why, double seconds) {
    if (!r->o->common.json) {
        printf("%-8s %-16s %-24s", result, nb_op_name(row->op), row->name);
        if (v)
            printf(" %6zu cases, %.1f s, ", v->cases, seconds);
        if (v && row->err.acc == NB_EXACT)
            printf("bit for bit");
        else if (v)
            printf("largest error %.0f %% of its bound", v->worst * 100);
        printf("%s%s\n", why ? "  " : "", why ? why : "");
        fflush(stdout);
        return;
    }
    json_t *o = json_pack("{s:s, s:s, s:s}", "op", nb_op_name(row->op), "variant", row->name,
                          "result", result);
    if (why)
        json_object_set_new(o, "why", json_string(why));
    if (v) {
        json_object_set_new(o, "cases", json_integer((json_int_t)v->cases));
        json_object_set_new(o, "wrong", json_integer((json_int_t)v->wrong));
        json_object_set_new(o, "largest_error_of_bound", json_real(v->worst));
        json_object_set_new(o, "seconds", json_real(seconds));
    }
    json_array_append_new(r->list, o);
}

static nb_status verify_row(report *r, nb_stream *stream, const nb_kernel *row, nb_err *err) {
    nb_device *device = stream->device;
    if (!device->backend->can_run(device, row)) {
        r->skipped++;
        say(r, row, NULL, "skipped", "this device cannot run it", 0);
        return NB_OK;
    }
    if (!nb_check_of(row->op)) {
        r->unchecked++;
        say(r, row, NULL, "no check", "the operation has none", 0);
        return NB_OK;
    }
    nb_verify v = {.stream = stream, .full = r->o->full, .every = (size_t)r->o->every};
    double start = now();
    nb_status status = nb_verify_row(&v, row, err);
    if (status == NB_E_UNSUPPORTED && v.cases == 0) {
        r->unchecked++;
        say(r, row, NULL, "no check", err ? err->text : NULL, 0);
        return NB_OK;
    }
    NB_TRY(status);
    r->passed += v.wrong == 0;
    r->failed += v.wrong > 0;
    say(r, row, &v, v.wrong ? "FAILED" : "passed", v.wrong ? v.first : NULL, now() - start);
    return NB_OK;
}

static nb_status verify_all(const options *o, report *r, nb_err *err) {
    nb_device_options device_options = {.threads = (unsigned)o->threads, .cache_dir = nb_cli_cache_dir()};
    nb_device *device;
    nb_stream *stream = NULL;
    size_t count, seen = 0;
    const nb_kernel *rows = nb_kernels(&count);
    NB_TRY(nb_device_open(o->device, &device_options, &device, err));
    nb_status status = nb_stream_new(device, &stream, err);
    for (size_t i = 0; i < count && status == NB_OK; i++)
        if (rows[i].backend == device->backend->id && nb_glob(o->kernel, rows[i].name) &&
            nb_glob(o->op, nb_op_name(rows[i].op))) {
            seen++;
            status = verify_row(r, stream, &rows[i], err);
        }
    nb_stream_free(stream);
    nb_device_close(device);
    if (status == NB_OK && seen == 0)
        status = nb_fail(err, NB_E_USAGE, "no variant of %s matches --op %s --kernel %s", o->device, o->op, o->kernel);
    if (status == NB_OK && r->failed)
        status = nb_fail(err, NB_E_CHECK, "%zu of %zu variants are wrong", r->failed,
                         r->failed + r->passed);
    return status;
}

static const nb_opt opts[] = {
    {"device", 0, NB_OPT_STR, offsetof(options, device), "DEVICE", NULL, 0, 0,
     "cpu, cuda[:N], opencl[:N] (cpu)"},
    {"op", 0, NB_OPT_STR, offsetof(options, op), "GLOB", NULL, 0, 0, "operations to check (*)"},
    {"kernel", 0, NB_OPT_STR, offsetof(options, kernel), "GLOB", NULL, 0, 0,
     "variants to check (*)"},
    {"full", 0, NB_OPT_FLAG, offsetof(options, full), NULL, NULL, 0, 0,
     "all shapes, all rows and all fillings together"},
    {"every", 0, NB_OPT_INT, offsetof(options, every), "N", NULL, 1, 1 << 20,
     "about one case in N of each variant, for devices that are emulated (1)"},
    {"threads", 'j', NB_OPT_INT, offsetof(options, threads), "N", NULL, 0, 1024,
     "worker threads (0: all processors)"},
};

static int run(int argc, char **argv) {
    options o = {.common.progress = "auto", .device = "cpu", .op = "*", .kernel = "*", .every = 1};
    bool done;
    int code;
    nb_cli_parse(&nb_cmd_verify, argc, argv, &o, NULL, &done, &code);
    if (done)
        return code;
    nb_err err = {0};
    report r = {.o = &o, .list = json_array()};
    double start = now();
    nb_status status = verify_all(&o, &r, &err), printed;
    if (o.common.json) {
        printed = nb_cli_json(
            json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:O}", "schema", 1, "device", o.device,
                      "passed", (json_int_t)r.passed, "failed", (json_int_t)r.failed, "skipped",
                      (json_int_t)r.skipped, "unchecked", (json_int_t)r.unchecked, "rows", r.list),
            status == NB_OK ? &err : NULL);
    } else {
        printf("%zu passed, %zu failed, %zu skipped, %zu without a check here, %.0f s\n", r.passed,
               r.failed, r.skipped, r.unchecked, now() - start);
        printed = nb_cli_flush(status == NB_OK ? &err : NULL);
    }
    json_decref(r.list);
    if (status == NB_OK)
        status = printed;
    return status == NB_OK ? 0 : nb_cli_fail(&err);
}

static const char *const examples[] = {"nibble verify", "nibble verify --kernel 'qgemm*' --full",
                                       NULL};

const nb_cmd nb_cmd_verify = {
    .name = "verify",
    .about = "check every kernel variant that a device can run against the oracles",
    .operands = "",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .examples = examples,
    .run = run,
};
