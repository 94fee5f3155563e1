#include "host/base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"

nb_status nb_str_add(nb_str *s, const void *bytes, size_t len, nb_err *err) {
    size_t need;
    if (!nb_add(s->len, len, &need) || !nb_add(need, 1, &need))
        return nb_fail_memory(err, len, "a string");
    if (need > s->room) {
        size_t room = nb_max(need, s->room < (size_t)-1 / 2 ? 2 * s->room : need);
        NB_TRY(nb_regrow(room, 1, "a string", &s->data, err));
        s->room = room;
    }
    if (len)
        memcpy(s->data + s->len, bytes, len);
    s->len += len;
    s->data[s->len] = 0;
    return NB_OK;
}

nb_status nb_str_addf(nb_str *s, nb_err *err, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    nb_status status = len < 0 ? nb_fail(err, NB_E_FAILED, "a message could not be formatted") : NB_OK;
    char *text = NULL;
    if (status == NB_OK)
        status = nb_calloc((size_t)len + 1, 1, "a string", &text, err);
    if (status == NB_OK) {
        vsnprintf(text, (size_t)len + 1, fmt, again);
        status = nb_str_add(s, text, (size_t)len, err);
    }
    va_end(again);
    nb_free(text);
    return status;
}

void nb_str_free(nb_str *s) {
    nb_free(s->data);
    *s = (nb_str){0};
}

/* Iterative: on a mismatch go back to the last '*' and let it take one more character. */
bool nb_glob(const char *p, const char *s) {
    const char *star = NULL, *resume = NULL;
    while (*s) {
        if (*p == '*') {
            star = p++;
            resume = s;
        } else if (*p == '?' || *p == *s) {
            p++;
            s++;
        } else if (star) {
            p = star + 1;
            s = ++resume;
        } else {
            return false;
        }
    }
    while (*p == '*')
        p++;
    return *p == 0;
}

bool nb_starts_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool nb_ends_with(const char *s, const char *suffix) {
    size_t a = strlen(s), b = strlen(suffix);
    return a >= b && memcmp(s + a - b, suffix, b) == 0;
}
