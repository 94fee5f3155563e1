/* nibble verify: every variant that this machine can run, against the oracles. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "host/base/size.h"
#include "host/base/str.h"
#include "host/cli/cli.h"
#include "host/cli/verify.h"

typedef struct options {
    nb_common common;
    const char *device, *op, *kernel;
    bool full;
    int64_t threads, every, jobs;
} options;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what was found, and how it is said ---- */

typedef struct report {
    const options *o;
    json_t *list;
    size_t passed, failed, skipped, unchecked;
} report;

static const char *const result_names[] = {
    [NB_ROW_SKIPPED] = "skipped", [NB_ROW_UNCHECKED] = "no check", [NB_ROW_PASSED] = "passed", [NB_ROW_FAILED] = "FAILED"};

static const nb_kernel *kernel_at(size_t index) {
    size_t count;
    return &nb_kernels(&count)[index];
}

static void say_text(const nb_row_found *f) {
    const nb_kernel *row = kernel_at(f->row);
    bool ran = f->result == NB_ROW_PASSED || f->result == NB_ROW_FAILED;
    printf("%-8s %-16s %-24s", result_names[f->result], nb_op_name(row->op), row->name);
    if (ran)
        printf(" %6zu cases, %.1f s, ", f->cases, f->seconds);
    if (ran && row->err.acc == NB_EXACT)
        printf("bit for bit");
    else if (ran)
        printf("largest error %.0f %% of its bound", f->worst * 100);
    printf("%s%s\n", f->why[0] ? "  " : "", f->why);
    fflush(stdout);
}

static json_t *row_json(const nb_row_found *f) {
    const nb_kernel *row = kernel_at(f->row);
    json_t *o = json_pack("{s:s, s:s, s:s}", "op", nb_op_name(row->op), "variant", row->name, "result",
                          result_names[f->result]);
    if (f->why[0])
        json_object_set_new(o, "why", json_string(f->why));
    if (f->result == NB_ROW_PASSED || f->result == NB_ROW_FAILED) {
        json_object_set_new(o, "cases", json_integer((json_int_t)f->cases));
        json_object_set_new(o, "wrong", json_integer((json_int_t)f->wrong));
        json_object_set_new(o, "largest_error_of_bound", json_real(f->worst));
        json_object_set_new(o, "seconds", json_real(f->seconds));
    }
    return o;
}

static void say(void *ctx, const nb_row_found *f) {
    report *r = ctx;
    r->passed += f->result == NB_ROW_PASSED;
    r->failed += f->result == NB_ROW_FAILED;
    r->skipped += f->result == NB_ROW_SKIPPED;
    r->unchecked += f->result == NB_ROW_UNCHECKED;
    if (r->o->common.json)
        json_array_append_new(r->list, row_json(f));
    else
        say_text(f);
}

/* ---- one row ---- */

static nb_status verify_row(const options *o, nb_stream *stream, size_t index, nb_row_found *f, nb_err *err) {
    const nb_kernel *row = kernel_at(index);
    nb_device *device = stream->device;
    *f = (nb_row_found){.row = index};
    if (!o->full && device->backend->wants && !device->backend->wants(device, row)) {
        f->result = NB_ROW_SKIPPED;
        snprintf(f->why, sizeof f->why, "tuning has not chosen it here; --full checks it all the same");
        return NB_OK;
    }
    if (!device->backend->can_run(device, row)) {
        f->result = NB_ROW_SKIPPED;
        snprintf(f->why, sizeof f->why, "this device cannot run it");
        return NB_OK;
    }
    f->result = NB_ROW_UNCHECKED;
    if (!nb_check_of(row->op)) {
        snprintf(f->why, sizeof f->why, "the operation has none");
        return NB_OK;
    }
    nb_verify v = {.stream = stream, .full = o->full, .every = (size_t)o->every};
    double start = now();
    nb_status status = nb_verify_row(&v, row, err);
    if (status == NB_E_UNSUPPORTED && v.cases == 0) {
        snprintf(f->why, sizeof f->why, "%s", err ? err->text : "");
        return NB_OK;
    }
    NB_TRY(status);
    f->result = v.wrong ? NB_ROW_FAILED : NB_ROW_PASSED;
    f->cases = v.cases;
    f->wrong = v.wrong;
    f->worst = v.worst;
    f->seconds = now() - start;
    if (v.wrong)
        snprintf(f->why, sizeof f->why, "%s", v.first);
    return NB_OK;
}

/* ---- all rows ---- */

/* Checks the rows that `next` gives, of those that are asked for, on a device of this process. */
static nb_status verify_rows(void *ctx, nb_next_row_fn *next, void *from, nb_found_fn *found, void *to, nb_err *err) {
    const options *o = ctx;
    nb_device_options device_options = {.threads = (unsigned)o->threads, .cache_dir = nb_cli_cache_dir()};
    nb_device *device;
    nb_stream *stream = NULL;
    nb_row_found f;
    size_t index;
    NB_TRY(nb_device_open(o->device, &device_options, &device, err));
    nb_status status = nb_stream_new(device, &stream, err);
    while (status == NB_OK && next(from, &index)) {
        const nb_kernel *row = kernel_at(index);
        if (row->backend != device->backend->id || !nb_glob(o->kernel, row->name) || !nb_glob(o->op, nb_op_name(row->op)))
            continue;
        status = verify_row(o, stream, index, &f, err);
        if (status == NB_OK)
            found(to, &f);
    }
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}

/* All rows in their order. */
static bool count_up(void *from, size_t *row) {
    size_t count, *at = from;
    nb_kernels(&count);
    *row = *at;
    return (*at)++ < count;
}

/* OpenCL drivers compile what is verified, which takes longer than its runs. */
static unsigned process_count(const options *o) {
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    if (o->jobs)
        return (unsigned)o->jobs;
    return nb_starts_with(o->device, "opencl") && processors > 1 ? (unsigned)nb_min((size_t)processors, 4) : 1;
}

static nb_status verify_all(options *o, report *r, nb_err *err) {
    unsigned processes = process_count(o);
    size_t count, at = 0;
    nb_kernels(&count);
    nb_status status = processes > 1 ? nb_verify_share(processes, count, verify_rows, o, say, r, err)
                                     : verify_rows(o, count_up, &at, say, r, err);
    if (status == NB_OK && r->passed + r->failed + r->skipped + r->unchecked == 0)
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
    {"jobs", 0, NB_OPT_INT, offsetof(options, jobs), "N", NULL, 0, 16,
     "processes that share the rows (0: one; OpenCL, whose drivers compile, one for each processor up to 4)"},
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
