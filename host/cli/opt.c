#include "host/cli/opt.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/size.h"
#include "host/base/str.h"

static const nb_opt common_opts[] = {
    {"json", 0, NB_OPT_FLAG, offsetof(nb_common, json), NULL, NULL, 0, 0, "print one JSON object on standard output"},
    {"progress", 0, NB_OPT_CHOICE, offsetof(nb_common, progress), NULL, "auto|plain|none|json", 0, 0,
     "how progress is shown on standard error (auto: a rewritten line on a terminal, plain lines elsewhere)"},
    {"quiet", 'q', NB_OPT_FLAG, offsetof(nb_common, quiet), NULL, NULL, 0, 0, "errors only"},
    {"verbose", 'v', NB_OPT_FLAG, offsetof(nb_common, verbose), NULL, NULL, 0, 0, "more detail on standard error"},
    {"help", 'h', NB_OPT_FLAG, offsetof(nb_common, help), NULL, NULL, 0, 0, "this text"},
};
enum { N_COMMON = sizeof common_opts / sizeof *common_opts, MAX_OPTS = 64 };

/* Option i of a command: its own first, then the common ones. */
static const nb_opt *opt_at(const nb_cmd *cmd, size_t i) {
    return i < cmd->n_opts ? &cmd->opts[i] : &common_opts[i - cmd->n_opts];
}

static size_t opt_count(const nb_cmd *cmd) {
    return cmd->n_opts + N_COMMON;
}

/* ---- values ---- */

static nb_status bad_value(const char *what, const char *text, const char *expected, nb_err *err) {
    return nb_fail_at(err, NB_E_USAGE, NULL, what, "\"%s\" is not %s", text, expected);
}

nb_status nb_parse_int(const char *what, const char *text, int64_t lo, int64_t hi, int64_t *out, nb_err *err) {
    char expected[96], *end;
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)lo, (long long)hi);
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (!*text || isspace((unsigned char)*text) || *end || errno || v < lo || v > hi)
        return bad_value(what, text, expected, err);
    *out = v;
    return NB_OK;
}

static nb_status parse_size(const char *what, const char *text, int64_t *out, nb_err *err) {
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    end += shift != 0;
    if (!isdigit((unsigned char)*text) || *end || errno || v < 0 || v > INT64_MAX >> shift)
        return bad_value(what, text, "a size, such as 500M or 2G", err);
    *out = v << shift;
    return NB_OK;
}

static nb_status parse_number(const nb_opt *o, const char *what, const char *text, double *out, nb_err *err) {
    char expected[96], *end;
    snprintf(expected, sizeof expected, "a number from %lld to %lld", (long long)o->lo, (long long)o->hi);
    double v = strtod(text, &end);
    if (!*text || isspace((unsigned char)*text) || *end || !isfinite(v) || v < (double)o->lo || v > (double)o->hi)
        return bad_value(what, text, expected, err);
    *out = v;
    return NB_OK;
}

static bool is_choice(const char *choices, const char *text) {
    size_t len = strlen(text);
    for (const char *c = choices; c; c = strchr(c, '|')) {
        c += *c == '|';
        if (strcspn(c, "|") == len && !memcmp(c, text, len))
            return len > 0;
    }
    return false;
}

static nb_status parse_value(const nb_opt *o, const char *what, const char *text, void *at, nb_err *err) {
    switch (o->type) {
    case NB_OPT_INT:
        return nb_parse_int(what, text, o->lo, o->hi, at, err);
    case NB_OPT_SIZE:
        return parse_size(what, text, at, err);
    case NB_OPT_NUMBER:
        return parse_number(o, what, text, at, err);
    case NB_OPT_CHOICE:
        if (!is_choice(o->choices, text))
            return nb_fail_at(err, NB_E_USAGE, NULL, what, "\"%s\" is not one of %s", text, o->choices);
        *(const char **)at = text;
        return NB_OK;
    case NB_OPT_LIST: {
        nb_opt_list *list = at;
        if (list->count == NB_OPT_MAX_LIST)
            return nb_fail_at(err, NB_E_USAGE, NULL, what, "is given more than %d times", NB_OPT_MAX_LIST);
        list->items[list->count++] = text;
        return NB_OK;
    }
    default:
        *(const char **)at = text;
        return NB_OK;
    }
}

/* ---- names ---- */

/* Levenshtein distance, cut off at 63 characters. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[64], n = nb_min(strlen(a), 63), m = nb_min(strlen(b), 63);
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t up = row[j], step = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = nb_min(step, nb_min(up, row[j - 1]) + 1);
            diagonal = up;
        }
    }
    return row[m];
}

const char *nb_opt_nearest(const char *word, const char *const *names, size_t count) {
    const char *best = NULL;
    size_t best_distance = nb_max(strlen(word) / 3, 1) + 1;
    for (size_t i = 0; i < count; i++) {
        size_t d = edit_distance(word, names[i]);
        if (d < best_distance) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}

static nb_status unknown_option(const nb_cmd *cmd, const char *arg, nb_err *err) {
    const char *names[MAX_OPTS];
    char word[64];
    size_t n = 0;
    for (; n < opt_count(cmd) && n < MAX_OPTS; n++)
        names[n] = opt_at(cmd, n)->name;
    const char *start = arg + strspn(arg, "-");
    snprintf(word, sizeof word, "%.*s", (int)nb_min(strcspn(start, "="), 63), start);
    const char *near = nb_opt_nearest(word, names, n);
    return nb_fail_at(err, NB_E_USAGE, NULL, arg, "no such option of nibble %s%s%s%s; see nibble %s --help", cmd->name,
                      near ? ", did you mean --" : "", near ? near : "", near ? "?" : "", cmd->name);
}

/* The option that arg names, and the value after '=' where it has one. */
static const nb_opt *find_option(const nb_cmd *cmd, const char *arg, size_t *index, const char **value) {
    bool is_long = arg[1] == '-';
    size_t len = is_long ? strcspn(arg + 2, "=") : 1;
    for (size_t i = 0; i < opt_count(cmd); i++) {
        const nb_opt *o = opt_at(cmd, i);
        bool hit = is_long ? strlen(o->name) == len && !memcmp(o->name, arg + 2, len) : o->letter && o->letter == arg[1];
        if (!hit)
            continue;
        const char *rest = arg + (is_long ? 2 + len : 2);
        *value = is_long ? (*rest == '=' ? rest + 1 : NULL) : (*rest ? rest : NULL);
        *index = i;
        return o;
    }
    return NULL;
}

/* Handles argv[*i] (and its value). */
static nb_status take_option(const nb_cmd *cmd, int argc, char **argv, int *i, void *values, bool *seen, nb_err *err) {
    const char *arg = argv[*i], *value;
    char what[64];
    size_t index = 0;
    const nb_opt *o = find_option(cmd, arg, &index, &value);
    if (!o)
        return unknown_option(cmd, arg, err);
    void *at = (char *)values + o->at;
    snprintf(what, sizeof what, "--%s", o->name);
    if (seen[index] && o->type != NB_OPT_LIST)
        return nb_fail_at(err, NB_E_USAGE, NULL, what, "is given twice");
    seen[index] = true;
    if (o->type == NB_OPT_FLAG || o->type == NB_OPT_NOT) {
        if (value)
            return nb_fail_at(err, NB_E_USAGE, NULL, what, "takes no value, found \"%s\"", value);
        *(bool *)at = o->type == NB_OPT_FLAG;
        return NB_OK;
    }
    if (!value) {
        if (*i + 1 >= argc)
            return nb_fail_at(err, NB_E_USAGE, NULL, what, "needs a value");
        value = argv[++*i];
    }
    return parse_value(o, what, value, at, err);
}

nb_status nb_opt_parse(const nb_cmd *cmd, int argc, char **argv, void *values, const char **operands, nb_err *err) {
    bool seen[MAX_OPTS] = {false};
    size_t count = 0;
    bool only_operands = false;
    nb_common *common = values;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_operands && !strcmp(arg, "--")) {
            only_operands = true;
        } else if (!only_operands && arg[0] == '-' && arg[1]) {
            NB_TRY(take_option(cmd, argc, argv, &i, values, seen, err));
            if (common->help)
                return NB_OK;
        } else if (count == cmd->max_operands) {
            return nb_fail_at(err, NB_E_USAGE, NULL, arg, "one operand too many; usage: nibble %s %s [options]", cmd->name,
                              cmd->operands);
        } else {
            operands[count++] = arg;
        }
    }
    if (count < cmd->min_operands)
        return nb_fail(err, NB_E_USAGE, "%s is missing; usage: nibble %s %s [options], see nibble %s --help", cmd->operands,
                       cmd->name, cmd->operands, cmd->name);
    return NB_OK;
}

/* ---- help ---- */

/* "-o, --output DIR" */
static int spell(const nb_opt *o, char *out, size_t cap) {
    char letter[8] = "    ";
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    const char *arg = o->type == NB_OPT_CHOICE ? o->choices : o->arg;
    return snprintf(out, cap, "%s--%s%s%s", letter, o->name, arg ? " " : "", arg ? arg : "");
}

/* Writes text wrapped to 100 columns after a margin. */
static void wrap(FILE *out, const char *text, int margin) {
    int at = margin;
    while (*text) {
        int len = (int)strcspn(text, " ");
        if (at > margin && at + 1 + len > 100) {
            fprintf(out, "\n%*s", margin, "");
            at = margin;
        }
        at += fprintf(out, "%s%.*s", at > margin ? " " : "", len, text);
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

void nb_opt_help(const nb_cmd *cmd, FILE *out) {
    enum { MARGIN = 34 };
    char left[160];
    fprintf(out, "nibble %s: %s\n\nusage: nibble %s %s%s[options]\n\n", cmd->name, cmd->about, cmd->name, cmd->operands,
            *cmd->operands ? " " : "");
    for (size_t i = 0; i < opt_count(cmd); i++) {
        int len = spell(opt_at(cmd, i), left, sizeof left);
        fprintf(out, "  %-*s", MARGIN - 3, left);
        if (len > MARGIN - 3)
            fprintf(out, "\n%*s", MARGIN, "");
        else
            fputc(' ', out);
        wrap(out, opt_at(cmd, i)->help, MARGIN);
    }
    if (cmd->examples)
        fprintf(out, "\nexamples:\n");
    for (const char *const *e = cmd->examples; e && *e; e++)
        fprintf(out, "  %s\n", *e);
}

static void roff_text(FILE *out, const char *s) {
    for (; *s; s++) {
        if (*s == '\\' || *s == '-')
            fputc('\\', out);
        fputc(*s, out);
    }
}

void nb_opt_man(const nb_cmd *const *cmds, size_t count, FILE *out) {
    char left[160];
    fprintf(out, ".TH NIBBLE 1 \"\" \"nibble %s\"\n.SH NAME\nnibble \\- quantize language models and measure what was lost\n"
                 ".SH SYNOPSIS\n.B nibble\n.I command\n[options]\n", NB_VERSION_STRING);
    for (size_t c = 0; c < count; c++) {
        fprintf(out, ".SH \"nibble %s %s\"\n", cmds[c]->name, cmds[c]->operands);
        roff_text(out, cmds[c]->about);
        fputc('\n', out);
        for (size_t i = 0; i < opt_count(cmds[c]); i++) {
            spell(opt_at(cmds[c], i), left, sizeof left);
            fprintf(out, ".TP\n.B ");
            roff_text(out, left + strspn(left, " "));
            fputc('\n', out);
            roff_text(out, opt_at(cmds[c], i)->help);
            fputc('\n', out);
        }
        for (const char *const *e = cmds[c]->examples; e && *e; e++) {
            fprintf(out, "%s.RS\n", e == cmds[c]->examples ? ".PP\nExamples:\n" : "");
            roff_text(out, *e);
            fprintf(out, "\n.RE\n");
        }
    }
    fprintf(out, ".SH \"EXIT STATUS\"\n0 done, 1 failed, 2 usage or not supported, 3 bad input, 4 device or memory, 5 a check failed, "
                 "130 interrupted and resumable.\n");
}

static void bash_completions(const nb_cmd *const *cmds, size_t count, FILE *out) {
    fprintf(out, "_nibble() {\n    local cur=${COMP_WORDS[COMP_CWORD]} words=\n    case ${COMP_WORDS[1]} in\n");
    for (size_t c = 0; c < count; c++) {
        fprintf(out, "    %s) words='", cmds[c]->name);
        for (size_t i = 0; i < opt_count(cmds[c]); i++)
            fprintf(out, "--%s ", opt_at(cmds[c], i)->name);
        fprintf(out, "' ;;\n");
    }
    fprintf(out, "    esac\n    [ $COMP_CWORD = 1 ] && words='");
    for (size_t c = 0; c < count; c++)
        fprintf(out, "%s ", cmds[c]->name);
    fprintf(out, "'\n    [[ $COMP_CWORD = 1 || $cur = -* ]] || words=\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\ncomplete -o default -F _nibble nibble\n");
}

static void zsh_completions(const nb_cmd *const *cmds, size_t count, FILE *out) {
    fprintf(out, "#compdef nibble\nautoload -U +X bashcompinit && bashcompinit\n");
    bash_completions(cmds, count, out);
}

static void fish_quote(FILE *out, const char *s) {
    for (; *s; s++)
        fprintf(out, *s == '\'' || *s == '\\' ? "\\%c" : "%c", *s);
}

static void fish_completions(const nb_cmd *const *cmds, size_t count, FILE *out) {
    for (size_t c = 0; c < count; c++) {
        fprintf(out, "complete -c nibble -n __fish_use_subcommand -a %s -d '", cmds[c]->name);
        fish_quote(out, cmds[c]->about);
        fprintf(out, "'\n");
        for (size_t i = 0; i < opt_count(cmds[c]); i++) {
            fprintf(out, "complete -c nibble -n '__fish_seen_subcommand_from %s' -l %s -d '", cmds[c]->name,
                    opt_at(cmds[c], i)->name);
            fish_quote(out, opt_at(cmds[c], i)->help);
            fprintf(out, "'\n");
        }
    }
}

bool nb_opt_completions(const nb_cmd *const *cmds, size_t count, const char *shell, FILE *out) {
    if (!strcmp(shell, "bash"))
        bash_completions(cmds, count, out);
    else if (!strcmp(shell, "zsh"))
        zsh_completions(cmds, count, out);
    else if (!strcmp(shell, "fish"))
        fish_completions(cmds, count, out);
    else
        return false;
    return true;
}
