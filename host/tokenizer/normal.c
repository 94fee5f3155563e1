/* Normalizers. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "host/tokenizer/steps.h"

/* Characters below U+0300 compose with nothing and, without compatibility mappings, are in NFC already. */
static bool is_plain(const char *text, size_t len, unsigned char limit) {
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= limit)
            return false;
    return true;
}

static nb_status unicode_form(nb__norm_kind kind, const char *text, size_t len, nb_str *out, nb_err *err) {
    if (is_plain(text, len, kind == NB_NORM_NFC ? 0xCC : 0x80)) /* 0xCC leads U+0300 */
        return nb_str_add(out, text, len, err);
    int options = UTF8PROC_STABLE;
    options |= kind == NB_NORM_NFC || kind == NB_NORM_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (kind == NB_NORM_NFKC || kind == NB_NORM_NFKD)
        options |= UTF8PROC_COMPAT;
    if (len > (size_t)PTRDIFF_MAX / 8)
        return nb_fail_memory(err, len, "a Unicode normalization");
    utf8proc_uint8_t *made = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &made, (utf8proc_option_t)options);
    if (n < 0)
        return n == UTF8PROC_ERROR_NOMEM ? nb_fail_memory(err, len, "a Unicode normalization")
                                         : nb_fail(err, NB_E_FAILED, "Unicode normalization: %s", utf8proc_errmsg(n));
    nb_status status = nb_str_add(out, made, (size_t)n, err);
    free(made);
    return status;
}

static nb_status apply(const nb__norm_step *s, nb__regex_scratch *scratch, const char *text, size_t len, nb_str *out,
                       nb_err *err) {
    switch (s->kind) {
    case NB_NORM_PREPEND:
        if (len)
            NB_TRY(nb_str_add(out, s->text.data, s->text.len, err));
        return nb_str_add(out, text, len, err);
    case NB_NORM_REPLACE:
        return nb__replace(&s->find, scratch, text, len, &s->text, out, err);
    default:
        return unicode_form(s->kind, text, len, out, err);
    }
}

nb_status nb__normalize(const nb__norm *norm, nb__regex_scratch *scratch, const char *text, size_t len, nb_str *out,
                        nb_err *err) {
    nb_str now = {0}, next = {0};
    nb_status status = nb_str_add(&now, text, len, err);
    for (size_t i = 0; status == NB_OK && i < norm->count; i++) {
        next.len = 0;
        status = apply(&norm->steps[i], scratch, now.data, now.len, &next, err);
        nb_str swap = now;
        now = next;
        next = swap;
    }
    if (status == NB_OK)
        status = nb_str_add(out, now.data, now.len, err);
    nb_str_free(&now);
    nb_str_free(&next);
    return status;
}

void nb__norm_free(nb__norm *norm) {
    for (size_t i = 0; i < norm->count; i++) {
        nb__finder_free(&norm->steps[i].find);
        nb_str_free(&norm->steps[i].text);
    }
    norm->count = 0;
}
