/* The option table: one description of each command that parsing, --help, the man page and shell completions read. */
#ifndef NB_OPT_H
#define NB_OPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "host/base/err.h"

typedef enum nb_opt_type {
    NB_OPT_FLAG,   /* bool */
    NB_OPT_NOT,    /* bool, set to false */
    NB_OPT_INT,    /* int64_t in [lo, hi] */
    NB_OPT_SIZE,   /* int64_t bytes, with K, M, G */
    NB_OPT_NUMBER, /* double in [lo, hi] */
    NB_OPT_STR,    /* const char * */
    NB_OPT_CHOICE, /* const char *, one of `choices`, split by '|' */
    NB_OPT_LIST    /* nb_opt_list: may be repeated */
} nb_opt_type;

enum { NB_OPT_MAX_LIST = 64 };
typedef struct nb_opt_list {
    const char *items[NB_OPT_MAX_LIST];
    size_t count;
} nb_opt_list;

typedef struct nb_opt {
    const char *name;   /* without "--" */
    char letter;        /* or 0 */
    nb_opt_type type;
    size_t at;          /* offset of its value in the command's struct */
    const char *arg;    /* name of the value in help: "N", "FILE" */
    const char *choices;
    int64_t lo, hi;
    const char *help;   /* ends with its default, where that is not plain */
} nb_opt;

/* Options that every command has; the first member of each command's struct. */
typedef struct nb_common {
    bool json, quiet, verbose, help;
    const char *progress; /* "auto", "plain", "none", "json" */
} nb_common;

typedef struct nb_cmd {
    const char *name;
    const char *about;       /* one line */
    const char *operands;    /* "MODEL" or "" */
    size_t min_operands, max_operands;
    const nb_opt *opts;
    size_t n_opts;
    const char *const *examples; /* lines, NULL at the end; a line that starts with '#' explains the next */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
} nb_cmd;

/* Parses argv[1..) into values (a struct that begins with nb_common and holds its defaults) and operands[max_operands].
 * An unknown option is NB_E_USAGE with a suggestion; so are a bad value, a repeated option, a missing or surplus operand.
 * --help sets common.help and stops. */
nb_status nb_opt_parse(const nb_cmd *cmd, int argc, char **argv, void *values, const char **operands, nb_err *err);

void nb_opt_help(const nb_cmd *cmd, FILE *out);
/* The manual page of all commands (roff), and completions for "bash", "zsh" or "fish" (false for another shell). */
void nb_opt_man(const nb_cmd *const *cmds, size_t count, FILE *out);
bool nb_opt_completions(const nb_cmd *const *cmds, size_t count, const char *shell, FILE *out);
/* The nearest name by edit distance, or NULL where none is near. */
const char *nb_opt_nearest(const char *word, const char *const *names, size_t count);

/* Reads a whole number, or NB_E_USAGE: "4x", "", overflow, out of [lo, hi]. */
nb_status nb_parse_int(const char *what, const char *text, int64_t lo, int64_t hi, int64_t *out, nb_err *err);

#endif
