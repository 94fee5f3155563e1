#include "host/cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "host/backend/backend.h"

static int fail(const nb_err *err) {
    char line[1400];
    nb_err_line(err, line, sizeof line);
    fprintf(stderr, "nibble: %s\n", line);
    return nb_status_exit_code(err->status);
}

static int cmd_devices(void) {
    size_t count;
    const nb_backend *const *all = nb_backends(&count);
    for (size_t i = 0; i < count; i++) {
        nb_device_info infos[16];
        size_t found;
        char why[256];
        nb_err err = {0};
        if (all[i]->list(infos, 16, &found, why, &err) != NB_OK)
            return fail(&err);
        if (found == 0)
            printf("%-10s none: %s\n", all[i]->name, why);
        for (size_t d = 0; d < found && d < 16; d++)
            printf("%-10s %s, %s, %.1f GiB\n", infos[d].name, infos[d].model, infos[d].detail,
                   (double)infos[d].memory / 0x1p30);
    }
    return 0;
}

int nb_cli_main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "devices"))
        return cmd_devices();
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        printf("nibble %s (%s)\n", nb_version(), NB_COMMIT);
        return 0;
    }
    fprintf(stderr, "usage: nibble devices | --version\n");
    return 2;
}
