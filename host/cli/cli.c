#include "host/cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/backend/backend.h"
#include "host/base/alloc.h"
#include "host/base/json.h"
#include "host/base/str.h"
#include "host/tokenizer/utf8.h"

const nb_cmd *const nb_cmds[] = {
    &nb_cmd_quantize, &nb_cmd_eval, &nb_cmd_generate, &nb_cmd_inspect, &nb_cmd_devices, &nb_cmd_verify, &nb_cmd_bench, &nb_cmd_tune, NULL,
};

const char *nb_cli_cache_dir(void) {
    static char dir[4096];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int len = -1;
    if (cache && cache[0] == '/')
        len = snprintf(dir, sizeof dir, "%s/nibble", cache);
    else if (home && home[0] == '/')
        len = snprintf(dir, sizeof dir, "%s/.cache/nibble", home);
    return len > 0 && (size_t)len < sizeof dir ? dir : NULL;
}

int nb_cli_fail(const nb_err *err) {
    char line[1400];
    nb_err_line(err, line, sizeof line);
    fprintf(stderr, "nibble: %s\n", line);
    return err->status == NB_OK ? nb_status_exit_code(NB_E_FAILED) : nb_status_exit_code(err->status);
}

void nb_cli_parse(const nb_cmd *cmd, int argc, char **argv, void *values, const char **operands, bool *done, int *code) {
    nb_err err = {0};
    nb_status status = nb_opt_parse(cmd, argc, argv, values, operands, &err);
    *done = status != NB_OK || ((nb_common *)values)->help;
    *code = 0;
    if (status != NB_OK)
        *code = nb_cli_fail(&err);
    else if (*done) {
        nb_opt_help(cmd, stdout);
        *code = nb_cli_flush(&err) == NB_OK ? 0 : nb_cli_fail(&err);
    }
}

nb_status nb_cli_flush(nb_err *err) {
    if (fflush(stdout) != 0 || ferror(stdout))
        return nb_fail(err, NB_E_FAILED, "standard output could not be written");
    return NB_OK;
}

json_t *nb_cli_text(const char *bytes, size_t len) {
    nb_str clean = {0};
    nb_err err = {0};
    json_t *text = NULL;
    if (len == 0)
        return json_string("");
    if (nb__utf8_repair(bytes, len, &clean, &err) == NB_OK)
        text = json_stringn(clean.data, clean.len);
    nb_str_free(&clean);
    return text;
}

nb_status nb_cli_json(json_t *object, nb_err *err) {
    if (!object)
        return nb_fail_memory(err, 0, "JSON output");
    char *text;
    nb_status status = nb_json_text(object, JSON_INDENT(2), &text, err);
    json_decref(object);
    NB_TRY(status);
    puts(text);
    nb_free(text);
    return nb_cli_flush(err);
}

static volatile sig_atomic_t stops;

static void on_signal(int sig) {
    static const char told[] = "\nnibble: stopping when what is in work is done; again to stop at once\n";
    (void)sig;
    if (++stops > 1)
        _exit(130);
    if (write(STDERR_FILENO, told, sizeof told - 1) < 0)
        return; /* nobody reads it */
}

void nb_cli_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool nb_cli_stop_asked(void *ctx) {
    (void)ctx;
    return stops > 0;
}

static size_t cmd_count(void) {
    size_t n = 0;
    while (nb_cmds[n])
        n++;
    return n;
}

static void usage(FILE *out) {
    fprintf(out, "nibble %s: quantizes language models to 2 to 8 bits and measures what was lost\n\nusage: nibble COMMAND [options]\n\n",
            nb_version());
    for (size_t i = 0; nb_cmds[i]; i++)
        fprintf(out, "  %-10s %s\n", nb_cmds[i]->name, nb_cmds[i]->about);
    fprintf(out, "\nnibble COMMAND --help explains a command.\n  nibble --version; nibble --man; nibble --completions bash|zsh|fish\n"
                 "\nexit codes: 0 done, 1 failed, 2 usage or not supported, 3 bad input, 4 device or memory, 5 a check failed, 130 interrupted\n");
}

static int unknown_command(const char *word) {
    const char *names[32];
    size_t n = 0;
    for (; nb_cmds[n] && n < 32; n++)
        names[n] = nb_cmds[n]->name;
    const char *near = nb_opt_nearest(word, names, n);
    fprintf(stderr, "nibble: \"%s\" is not a command%s%s%s; see nibble --help\n", word, near ? ", did you mean " : "",
            near ? near : "", near ? "?" : "");
    return 2;
}

static void version(void) {
    size_t count;
    const nb_backend *const *all = nb_backends(&count);
    printf("nibble %s (%s), backends:", nb_version(), NB_COMMIT);
    for (size_t i = 0; i < count; i++)
        printf(" %s", all[i]->name);
    putchar('\n');
}

/* Options of nibble itself; -1 where argv[1] is none. */
static int own_option(int argc, char **argv) {
    const char *a = argv[1];
    if (!strcmp(a, "--help") || !strcmp(a, "-h") || !strcmp(a, "help")) {
        usage(stdout);
        return 0;
    }
    if (!strcmp(a, "--version")) {
        version();
        return 0;
    }
    if (!strcmp(a, "--man")) {
        nb_opt_man(nb_cmds, cmd_count(), stdout);
        return 0;
    }
    if (!strcmp(a, "--completions")) {
        if (argc == 3 && nb_opt_completions(nb_cmds, cmd_count(), argv[2], stdout))
            return 0;
        fprintf(stderr, "nibble: --completions takes bash, zsh or fish\n");
        return 2;
    }
    return -1;
}

int nb_cli_main(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    nb_json_watch();
    int code = own_option(argc, argv);
    if (code >= 0) {
        nb_err err = {0};
        return nb_cli_flush(&err) == NB_OK ? code : nb_cli_fail(&err);
    }
    for (size_t i = 0; nb_cmds[i]; i++)
        if (!strcmp(nb_cmds[i]->name, argv[1]))
            return nb_cmds[i]->run(argc - 1, argv + 1);
    return unknown_command(argv[1]);
}
