/* Finders: what a Split or a Replace looks for. */
#include <string.h>

#include "host/tokenizer/steps.h"
#include "host/tokenizer/unicode.h"
#include "host/tokenizer/utf8.h"

nb_status nb__finder_string(nb__finder *f, const char *s, size_t len, nb_err *err) {
    f->kind = NB_FIND_STRING;
    if (len == 0)
        return nb_fail(err, NB_E_INPUT, "an empty string to look for");
    return nb_str_add(&f->string, s, len, err);
}

nb_status nb__finder_regex(nb__finder *f, const char *pattern, size_t len, nb_err *err) {
    nb__unicode_init();
    f->fast = nb__pattern_of(pattern, len);
    f->kind = f->fast == NB_FAST_COUNT ? NB_FIND_REGEX : NB_FIND_FAST;
    return f->kind == NB_FIND_FAST ? NB_OK : nb__regex_new(pattern, len, &f->regex, err);
}

void nb__finder_free(nb__finder *f) {
    nb_str_free(&f->string);
    nb__regex_free(f->regex);
    f->regex = NULL;
}

static bool find_string(const nb_str *needle, const char *text, size_t len, size_t from, size_t *start, size_t *end) {
    while (from + needle->len <= len) {
        const char *hit = memchr(text + from, needle->data[0], len - from - needle->len + 1);
        if (!hit)
            return false;
        from = (size_t)(hit - text);
        if (memcmp(hit, needle->data, needle->len) == 0) {
            *start = from;
            *end = from + needle->len;
            return true;
        }
        from++;
    }
    return false;
}

static bool find_class(bool digit, const char *text, size_t len, size_t from, size_t *start, size_t *end) {
    while (from < len) {
        uint32_t cp;
        size_t n = nb__utf8_get(text + from, &cp);
        if (digit ? nb__is_numeric(cp) : (nb__class_of(cp) & NB_CH_BLANK) != 0) {
            *start = from;
            *end = from + n;
            return true;
        }
        from += n;
    }
    return false;
}

nb_status nb__find(const nb__finder *f, nb__regex_scratch *scratch, const char *text, size_t len, size_t from,
                   bool *found, size_t *start, size_t *end, nb_err *err) {
    switch (f->kind) {
    case NB_FIND_STRING:
        *found = find_string(&f->string, text, len, from, start, end);
        return NB_OK;
    case NB_FIND_FAST:
        *found = from < len;
        if (*found) {
            *start = from;
            *end = nb__pattern_next(f->fast, text, len, from);
        }
        return NB_OK;
    case NB_FIND_REGEX:
        return nb__regex_find(f->regex, scratch, text, len, from, found, start, end, err);
    default:
        *found = find_class(f->kind == NB_FIND_DIGIT, text, len, from, start, end);
        return NB_OK;
    }
}

nb_status nb__replace(const nb__finder *f, nb__regex_scratch *scratch, const char *text, size_t len, const nb_str *by,
                      nb_str *out, nb_err *err) {
    size_t from = 0, done = 0, start = 0, end = 0;
    bool found = false, any = false;
    while (len && from <= len) {
        NB_TRY(nb__find(f, scratch, text, len, from, &found, &start, &end, err));
        if (!found)
            break;
        if (start == end && any && end == done) {
            uint32_t cp;
            from += from < len ? nb__utf8_get(text + from, &cp) : 1;
            continue;
        }
        NB_TRY(nb_str_add(out, text + done, start - done, err));
        NB_TRY(nb_str_add(out, by->data, by->len, err));
        from = done = end;
        any = true;
    }
    return nb_str_add(out, text + done, len - done, err);
}
