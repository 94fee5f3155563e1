#include <criterion/criterion.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/cli/cli.h"
#include "host/cli/progress.h"

typedef struct values {
    nb_common common;
    int64_t n, size;
    double x;
    const char *s, *mode;
    bool yes;
    nb_opt_list list;
} values;

static const nb_opt opts[] = {
    {"number", 'n', NB_OPT_INT, offsetof(values, n), "N", NULL, 2, 8, "a number"},
    {"size", 0, NB_OPT_SIZE, offsetof(values, size), "S", NULL, 0, 0, "a size"},
    {"part", 0, NB_OPT_NUMBER, offsetof(values, x), "X", NULL, 0, 1, "a part"},
    {"string", 's', NB_OPT_STR, offsetof(values, s), "S", NULL, 0, 0, "a string"},
    {"mode", 0, NB_OPT_CHOICE, offsetof(values, mode), NULL, "fast|exact", 0, 0, "a choice"},
    {"yes", 0, NB_OPT_FLAG, offsetof(values, yes), NULL, NULL, 0, 0, "sets"},
    {"no", 0, NB_OPT_NOT, offsetof(values, yes), NULL, NULL, 0, 0, "clears"},
    {"item", 0, NB_OPT_LIST, offsetof(values, list), "I", NULL, 0, 0, "many"},
};
static const nb_cmd cmd = {.name = "try", .about = "for tests", .operands = "FILE", .min_operands = 1, .max_operands = 1,
                           .opts = opts, .n_opts = sizeof opts / sizeof *opts};

static values v;
static const char *operand;
static nb_err err;

static nb_status parse(const char *line) {
    static char copy[512];
    char *argv[32] = {NULL};
    int argc = 0;
    v = (values){.common.progress = "auto"};
    operand = NULL;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    return nb_opt_parse(&cmd, argc, argv, &v, &operand, &err);
}

Test(opt, values_arrive) {
    cr_assert_eq(parse("try f --number=3 --size 2G --part 0.25 -s text --mode exact --yes --item a --item b"), NB_OK);
    cr_assert_str_eq(operand, "f");
    cr_assert(v.n == 3 && v.size == (int64_t)2 << 30 && v.x == 0.25 && v.yes);
    cr_assert_str_eq(v.s, "text");
    cr_assert_str_eq(v.mode, "exact");
    cr_assert(v.list.count == 2 && !strcmp(v.list.items[1], "b"));
    cr_assert(parse("try -n4 -- --number") == NB_OK && v.n == 4 && !strcmp(operand, "--number"));
    cr_assert(parse("try f --no") == NB_OK && !v.yes);
    cr_assert(parse("try - ") == NB_OK && !strcmp(operand, "-"));
}

/* Bad inputs 46 and 47 of the conventions. */
Test(opt, bad_lines_are_usage_errors_that_say_what) {
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"try f --number 4x", "4x"},       {"try f --number -1", "2 to 8"},
        {"try f --number 9", "2 to 8"},    {"try f --number 99999999999999999999", "2 to 8"},
        {"try f --number", "needs a value"}, {"try f --number=", "whole number"},
        {"try f --size 3X", "size"},       {"try f --size 99999999999G", "size"},
        {"try f --size -1", "size"},       {"try f --part nan", "number"},
        {"try f --part 1.5", "0 to 1"},    {"try f --mode fas", "fast|exact"},
        {"try f --mode fast|exact", "fast|exact"}, {"try f --yes=1", "no value"},
        {"try f -n 3 --number 3", "twice"}, {"try f --yes --yes", "twice"},
        {"try f g", "too many"},           {"try", "missing"},
        {"try f --numbr 3", "did you mean --number"}, {"try f --zzzzzzzz", "no such option"},
        {"try f -z", "no such option"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[1400];
        cr_assert_eq(parse(cases[i].line), NB_E_USAGE, "%s", cases[i].line);
        nb_err_line(&err, line, sizeof line);
        cr_assert_not_null(strstr(line, cases[i].text), "\"%s\" gave \"%s\"", cases[i].line, line);
    }
}

Test(opt, every_command_has_a_description_and_examples) {
    for (size_t i = 0; nb_cmds[i]; i++) {
        cr_assert_gt(strlen(nb_cmds[i]->about), 10);
        cr_assert_not_null(nb_cmds[i]->examples, "%s", nb_cmds[i]->name);
        for (size_t o = 0; o < nb_cmds[i]->n_opts; o++) {
            const nb_opt *a = &nb_cmds[i]->opts[o];
            cr_assert(a->help && *a->help, "%s --%s", nb_cmds[i]->name, a->name);
            cr_assert(a->type != NB_OPT_INT || a->lo < a->hi);
            for (size_t p = 0; p < o; p++) {
                cr_assert_str_neq(a->name, nb_cmds[i]->opts[p].name);
                cr_assert(!a->letter || a->letter != nb_cmds[i]->opts[p].letter);
            }
        }
    }
}

Test(opt, help_man_and_completions_name_every_option) {
    char *text;
    size_t len, count = 0;
    while (nb_cmds[count])
        count++;
    for (int form = 0; form < 4; form++) {
        FILE *f = open_memstream(&text, &len);
        if (form == 0)
            for (size_t i = 0; i < count; i++)
                nb_opt_help(nb_cmds[i], f);
        else if (form == 1)
            nb_opt_man(nb_cmds, count, f);
        else
            cr_assert(nb_opt_completions(nb_cmds, count, form == 2 ? "bash" : "fish", f));
        fclose(f);
        for (size_t i = 0; i < count; i++)
            for (size_t o = 0; o < nb_cmds[i]->n_opts; o++) {
                const char *name = nb_cmds[i]->opts[o].name;
                size_t word = strcspn(name, "-"); /* roff escapes the minus */
                char first[32];
                snprintf(first, sizeof first, "%.*s", (int)word, name);
                cr_assert_not_null(strstr(text, first), "form %d lacks %s", form, name);
            }
        free(text);
    }
    cr_assert(!nb_opt_completions(nb_cmds, count, "csh", stdout));
}

Test(progress, durations_and_sizes) {
    char out[24];
    cr_assert_str_eq(nb_duration(12.34, out), "12.3s");
    cr_assert_str_eq(nb_duration(200, out), "3m20s");
    cr_assert_str_eq(nb_duration(3725, out), "1h02m");
    cr_assert_str_eq(nb_bytes_text(1.53e9, out), "1.53 GB");
    cr_assert_str_eq(nb_bytes_text(12.1e6, out), "12.1 MB");
}
