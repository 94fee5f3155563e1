#include "host/backend/backend.h"
#include "host/cli/cli.h"

#include <stddef.h>
#include <stdio.h>

enum { MAX_DEVICES = 16 };

static json_t *device_json(const nb_device_info *d) {
    return json_pack("{s:s, s:s, s:s, s:I, s:I}", "name", d->name, "model", d->model, "detail", d->detail, "memory",
                     (json_int_t)d->memory, "memory_free", (json_int_t)d->memory_free);
}

static nb_status show(const nb_backend *backend, bool json, json_t *list, nb_err *err) {
    nb_device_info infos[MAX_DEVICES];
    size_t found;
    char why[256] = "";
    NB_TRY(backend->list(infos, MAX_DEVICES, &found, why, err));
    if (found == 0 && json)
        json_array_append_new(list, json_pack("{s:s, s:s}", "backend", backend->name, "missing", why));
    else if (found == 0)
        printf("%-10s none: %s\n", backend->name, why);
    for (size_t d = 0; d < found && d < MAX_DEVICES; d++) {
        if (json)
            json_array_append_new(list, device_json(&infos[d]));
        else
            printf("%-10s %s; %s; %.1f GiB, %.1f GiB free\n", infos[d].name, infos[d].model, infos[d].detail,
                   (double)infos[d].memory / 0x1p30, (double)infos[d].memory_free / 0x1p30);
    }
    return NB_OK;
}

static int run(int argc, char **argv) {
    nb_common values = {.progress = "auto"};
    bool done;
    int code;
    nb_cli_parse(&nb_cmd_devices, argc, argv, &values, NULL, &done, &code);
    if (done)
        return code;
    nb_err err = {0};
    nb_status status = NB_OK;
    size_t count;
    const nb_backend *const *all = nb_backends(&count);
    json_t *list = json_array();
    for (size_t i = 0; i < count && status == NB_OK; i++)
        status = show(all[i], values.json, list, &err);
    if (status == NB_OK)
        status = values.json ? nb_cli_json(json_pack("{s:i, s:O}", "schema", 1, "devices", list), &err) : nb_cli_flush(&err);
    json_decref(list);
    return status == NB_OK ? 0 : nb_cli_fail(&err);
}

static const char *const examples[] = {"nibble devices", "nibble devices --json", NULL};

const nb_cmd nb_cmd_devices = {
    .name = "devices",
    .about = "list the devices that this machine has",
    .operands = "",
    .examples = examples,
    .run = run,
};
