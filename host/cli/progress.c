#include "host/cli/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT = 24 };

static nb_progress_mode choose_mode(const nb_common *common) {
    if (common->quiet || !strcmp(common->progress, "none"))
        return NB_PROGRESS_NONE;
    if (!strcmp(common->progress, "json"))
        return NB_PROGRESS_JSON;
    const char *term = getenv("TERM");
    bool terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    return terminal && !strcmp(common->progress, "auto") ? NB_PROGRESS_LINE : NB_PROGRESS_PLAIN;
}

nb_progress nb_progress_new(const nb_common *common, const char *what, const char *unit) {
    return (nb_progress){.mode = choose_mode(common), .verbose = common->verbose, .quiet = common->quiet, .what = what,
                         .unit = unit, .last_plain = -1e9};
}

const char *nb_duration(double seconds, char *out) {
    if (seconds >= 3600)
        snprintf(out, TEXT, "%.0fh%02.0fm", (double)(long)(seconds / 3600), (double)((long)(seconds / 60) % 60));
    else if (seconds >= 60)
        snprintf(out, TEXT, "%.0fm%02.0fs", (double)(long)(seconds / 60), (double)((long)seconds % 60));
    else
        snprintf(out, TEXT, "%.1fs", seconds);
    return out;
}

const char *nb_bytes_text(double bytes, char *out) {
    if (bytes >= 1e9)
        snprintf(out, TEXT, "%.2f GB", 1e-9 * bytes);
    else if (bytes >= 1e6)
        snprintf(out, TEXT, "%.1f MB", 1e-6 * bytes);
    else
        snprintf(out, TEXT, "%.1f kB", 1e-3 * bytes);
    return out;
}

/* Plain logs get a line at most every two seconds, and the last one. */
static bool plain_is_due(nb_progress *p, size_t done, size_t total, double seconds) {
    if (done < total && seconds - p->last_plain < 2.0)
        return false;
    p->last_plain = seconds;
    return true;
}

void nb_progress_step(nb_progress *p, size_t done, size_t total, double seconds, const char *note) {
    char spent[TEXT], left[TEXT];
    double rate = seconds > 0 ? (double)done / seconds : 0.0;
    if (p->mode == NB_PROGRESS_NONE)
        return;
    if (p->mode == NB_PROGRESS_JSON) {
        fprintf(stderr, "{\"event\":\"progress\",\"what\":\"%s\",\"unit\":\"%s\",\"done\":%zu,\"total\":%zu,\"seconds\":%.3f}\n",
                p->what, p->unit, done, total, seconds);
        return;
    }
    if (p->mode == NB_PROGRESS_PLAIN && !plain_is_due(p, done, total, seconds))
        return;
    nb_duration(seconds, spent);
    nb_duration(rate > 0 ? (double)(total - done) / rate : 0.0, left);
    fprintf(stderr, "%s%s %s %zu/%zu  %.2f %ss/s  %s, %s left%s%s%s", p->mode == NB_PROGRESS_LINE ? "\r\033[K" : "", p->what,
            p->unit, done, total, rate, p->unit, spent, left, note ? "  " : "", note ? note : "",
            p->mode == NB_PROGRESS_LINE ? "" : "\n");
    fflush(stderr);
    p->open = p->mode == NB_PROGRESS_LINE;
}

void nb_progress_end(nb_progress *p) {
    if (p->open)
        fputc('\n', stderr);
    p->open = false;
}

static void log_line(void *ctx, nb_log_level level, const char *line) {
    nb_progress *p = ctx;
    if (p->quiet || (level == NB_LOG_INFO && !p->verbose) || level == NB_LOG_DEBUG)
        return;
    if (p->open)
        fputs("\r\033[K", stderr);
    fprintf(stderr, "%s%s\n", level == NB_LOG_WARN ? "warning: " : "", line);
    p->open = false;
}

nb_log nb_progress_log(nb_progress *p) {
    return (nb_log){.write = log_line, .ctx = p};
}
