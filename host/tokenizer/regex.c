#include "host/tokenizer/regex.h"

#include <oniguruma.h>
#include <string.h>

#include "host/base/alloc.h"
#include "host/tokenizer/unicode.h"

/* Steps of backtracking in one match and in one search, and entries of the backtracking stack (some 50 bytes each). No
 * sane pattern of a tokenizer needs them: the published ones take a few steps for each character. */
enum { MATCH_RETRIES = 10000000, SEARCH_RETRIES = 20000000, STACK_LIMIT = 4000000, PATTERN_LIMIT = 65536 };

struct nb__regex {
    regex_t *onig;
    char name[128]; /* beginning of the pattern, for errors */
};

nb_status nb__regex_new(const char *pattern, size_t len, nb__regex **out, nb_err *err) {
    nb__unicode_init();
    nb__regex *r;
    if (len > PATTERN_LIMIT)
        return nb_fail(err, NB_E_INPUT, "a pattern of %zu bytes, expected at most %d", len, PATTERN_LIMIT);
    NB_TRY(nb_calloc(1, sizeof *r, "a pattern", &r, err));
    size_t shown = len < sizeof r->name - 1 ? len : sizeof r->name - 1;
    memcpy(r->name, pattern, shown);
    const OnigUChar *p = (const OnigUChar *)pattern;
    OnigErrorInfo info;
    int code = onig_new(&r->onig, p, p + len, ONIG_OPTION_NONE, ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
    if (code != ONIG_NORMAL) {
        OnigUChar text[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(text, code, &info);
        nb_fail(err, NB_E_INPUT, "the pattern \"%s\" is not a regular expression: %s", r->name, (const char *)text);
        r->onig = NULL;
        nb__regex_free(r);
        return NB_E_INPUT;
    }
    *out = r;
    return NB_OK;
}

void nb__regex_free(nb__regex *r) {
    if (!r)
        return;
    if (r->onig)
        onig_free(r->onig);
    nb_free(r);
}

void nb__regex_scratch_free(nb__regex_scratch *s) {
    if (s->region)
        onig_region_free(s->region, 1);
    if (s->param)
        onig_free_match_param(s->param);
    *s = (nb__regex_scratch){0};
}

static nb_status prepare(nb__regex_scratch *s, nb_err *err) {
    if (!s->region)
        s->region = onig_region_new();
    if (!s->param) {
        s->param = onig_new_match_param();
        if (s->param) {
            onig_set_retry_limit_in_match_of_match_param(s->param, MATCH_RETRIES);
            onig_set_retry_limit_in_search_of_match_param(s->param, SEARCH_RETRIES);
            onig_set_match_stack_limit_size_of_match_param(s->param, STACK_LIMIT);
        }
    }
    if (!s->region || !s->param)
        return nb_fail_memory(err, sizeof(OnigRegion), "a pattern search");
    return NB_OK;
}

nb_status nb__regex_find(const nb__regex *r, nb__regex_scratch *s, const char *text, size_t len, size_t from,
                         bool *found, size_t *start, size_t *end, nb_err *err) {
    NB_TRY(prepare(s, err));
    const OnigUChar *t = (const OnigUChar *)text;
    OnigRegion *region = s->region;
    int at = onig_search_with_param(r->onig, t, t + len, t + from, t + len, region, ONIG_OPTION_NONE, s->param);
    if (at == ONIG_MISMATCH) {
        *found = false;
        return NB_OK;
    }
    if (at < 0) {
        OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
        onig_error_code_to_str(message, at);
        return nb_fail(err, at == ONIGERR_MEMORY ? NB_E_MEMORY : NB_E_INPUT,
                       "the pattern \"%s\" gives up after byte %zu of a text of %zu bytes: %s", r->name, from, len,
                       (const char *)message);
    }
    *found = true;
    *start = (size_t)region->beg[0];
    *end = (size_t)region->end[0];
    return NB_OK;
}
