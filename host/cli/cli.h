/* Commands of `nibble`. Each is an nb_cmd in a file cmd_<name>.c; cli.c lists them. */
#ifndef NB_CLI_H
#define NB_CLI_H

#include <jansson.h>
#include "host/base/log.h"
#include "host/cli/opt.h"

/* Runs the command line and returns the exit code. */
int nb_cli_main(int argc, char **argv);

/* All commands, NULL-terminated. */
extern const nb_cmd *const nb_cmds[];

extern const nb_cmd nb_cmd_quantize, nb_cmd_eval, nb_cmd_generate, nb_cmd_inspect, nb_cmd_devices, nb_cmd_verify, nb_cmd_bench, nb_cmd_tune;

/* Prints err as one line on standard error and returns its exit code. */
int nb_cli_fail(const nb_err *err);

/* Parses a command line; *done is set where the command ends here, with *code: after --help or a usage error. */
void nb_cli_parse(const nb_cmd *cmd, int argc, char **argv, void *values, const char **operands, bool *done, int *code);

/* Prints a JSON object on standard output, with a newline; takes the reference. A closed standard output is NB_E_FAILED. */
nb_status nb_cli_json(json_t *object, nb_err *err);
/* Flushes standard output; NB_E_FAILED where what was printed did not arrive. */
nb_status nb_cli_flush(nb_err *err);
/* A JSON string of any bytes: what is not UTF-8 (also a character cut at the end) becomes U+FFFD. NULL where there is no memory. */
json_t *nb_cli_text(const char *bytes, size_t len);

/* Where programs of the OpenCL backend are kept: nibble/ in $XDG_CACHE_HOME or ~/.cache (XDG base directory specification).
 * NULL where neither is an absolute path. Static storage. */
const char *nb_cli_cache_dir(void);

/* SIGINT and SIGTERM ask to stop; a second one ends the process at once with code 130. */
void nb_cli_catch_signals(void);
bool nb_cli_stop_asked(void *ctx);

#endif
