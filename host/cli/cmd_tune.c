/* nibble tune: finds what is fastest on a device, once. */
#include <stddef.h>
#include <stdio.h>

#include "host/backend/backend.h"
#include "host/cli/cli.h"
#include "host/cli/progress.h"

enum { MAX_TUNED = 16 };

typedef struct options {
    nb_common common;
    const char *device;
} options;

static nb_status show(const options *o, const nb_tuned *found, size_t count, nb_err *err) {
    json_t *list = o->common.json ? json_object() : NULL;
    for (size_t i = 0; i < count && i < MAX_TUNED; i++) {
        if (list)
            json_object_set_new(list, found[i].name, json_integer(found[i].value));
        else
            printf("%-16s %u\n", found[i].name, found[i].value);
    }
    if (!list)
        return nb_cli_flush(err);
    return nb_cli_json(json_pack("{s:i, s:s, s:o}", "schema", 1, "device", o->device, "tuning", list), err);
}

static nb_status execute(const options *o, nb_err *err) {
    nb_progress progress = nb_progress_new(&o->common, "tuning", "candidate");
    nb_device_options device_options = {.cache_dir = nb_cli_cache_dir(), .log = nb_progress_log(&progress)};
    nb_device *device;
    nb_stream *stream = NULL;
    nb_tuned found[MAX_TUNED];
    size_t count = 0;
    NB_TRY(nb_device_open(o->device, &device_options, &device, err));
    nb_status status = nb_stream_new(device, &stream, err);
    if (status == NB_OK)
        status = device->backend->tune ? device->backend->tune(stream, found, MAX_TUNED, &count, err)
                                       : nb_fail_at(err, NB_E_UNSUPPORTED, NULL, o->device, "has nothing to tune");
    if (status == NB_OK)
        status = show(o, found, count, err);
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}

static const nb_opt opts[] = {
    {"device", 'd', NB_OPT_STR, offsetof(options, device), "NAME", NULL, 0, 0, "opencl[:N] or opencl:NAME (default opencl)"},
};

static int run(int argc, char **argv) {
    options o = {.common.progress = "auto", .device = "opencl"};
    bool done;
    int code;
    nb_cli_parse(&nb_cmd_tune, argc, argv, &o, NULL, &done, &code);
    if (done)
        return code;
    nb_err err = {0};
    return execute(&o, &err) == NB_OK ? 0 : nb_cli_fail(&err);
}

static const char *const examples[] = {"nibble tune", "# each candidate with its time", "nibble tune --device opencl:pocl -v", NULL};

const nb_cmd nb_cmd_tune = {
    .name = "tune",
    .about = "find and keep the fastest work-group sizes of a device; never required",
    .operands = "",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .examples = examples,
    .run = run,
};
