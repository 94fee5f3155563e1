#include "host/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *nb_version(void) { return NB_VERSION_STRING; }

static const struct {
    const char *name;
    int exit_code;
} status_table[] = {
    [NB_OK] = {"ok", 0},
    [NB_E_FAILED] = {"failed", 1},
    [NB_E_USAGE] = {"usage", 2},
    [NB_E_INPUT] = {"input", 3},
    [NB_E_DEVICE] = {"device", 4},
    [NB_E_MEMORY] = {"memory", 4},
    [NB_E_CHECK] = {"check", 5},
    [NB_E_UNSUPPORTED] = {"unsupported", 2},
    [NB_E_INTERRUPTED] = {"interrupted", 130},
};

static int status_known(nb_status status) {
    return (unsigned)status < sizeof status_table / sizeof status_table[0];
}

const char *nb_status_name(nb_status status) {
    return status_known(status) ? status_table[status].name : "unknown";
}

int nb_status_exit_code(nb_status status) {
    return status_known(status) ? status_table[status].exit_code : 1;
}

/* Copies s into dst[cap], cut to fit; a path keeps its end, which tells more than its start. */
static void copy_cut(char *dst, size_t cap, const char *s, int keep_end) {
    size_t len = strlen(s);
    if (len >= cap && keep_end) {
        memcpy(dst, "...", 3);
        s += len - (cap - 4);
        memcpy(dst + 3, s, cap - 4);
        dst[cap - 1] = 0;
        return;
    }
    if (len >= cap)
        len = cap - 1;
    memcpy(dst, s, len);
    dst[len] = 0;
}

/* Control characters of a hostile name must not reach a terminal. */
static void make_printable(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            *s = '?';
}

static void fill(nb_err *err, nb_status status, const char *path, const char *item, const char *fmt, va_list ap) {
    err->status = status;
    err->offset = UINT64_MAX;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    make_printable(err->text);
    err->path[0] = 0;
    err->item[0] = 0;
    nb_err_at(err, status, path, item);
}

nb_status nb_fail(nb_err *err, nb_status status, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, status, NULL, NULL, fmt, ap);
        va_end(ap);
    }
    return status;
}

nb_status nb_fail_at(nb_err *err, nb_status status, const char *path, const char *item, const char *fmt, ...) {
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, status, path, item, fmt, ap);
        va_end(ap);
    }
    return status;
}

nb_status nb_err_at(nb_err *err, nb_status status, const char *path, const char *item) {
    if (err && status != NB_OK) {
        if (path && !err->path[0]) {
            copy_cut(err->path, sizeof err->path, path, 1);
            make_printable(err->path);
        }
        if (item && !err->item[0]) {
            copy_cut(err->item, sizeof err->item, item, 0);
            make_printable(err->item);
        }
    }
    return status;
}

nb_status nb_fail_memory(nb_err *err, size_t bytes, const char *what) {
    return nb_fail(err, NB_E_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

int nb_err_line(const nb_err *err, char *out, unsigned cap) {
    char where[32] = "";
    if (err->offset != UINT64_MAX && err->offset != 0)
        snprintf(where, sizeof where, " (at byte %llu)", (unsigned long long)err->offset);
    return snprintf(out, cap, "%s%s%s%s%s%s", err->path, err->path[0] ? ": " : "", err->item,
                    err->item[0] ? ": " : "", err->text, where);
}
