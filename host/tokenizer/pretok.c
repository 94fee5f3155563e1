/* Pre-tokenizers: a piece runs through the steps depth first, so that no list of pieces is kept. */
#include <string.h>

#include "host/tokenizer/steps.h"
#include "host/tokenizer/utf8.h"

/* One run through the chain. */
typedef struct walk {
    const nb__pre *pre;
    nb__pre_scratch *scratch;
    nb__piece_fn *fn;
    void *arg;
    nb_err *err;
} walk;

static nb_status step(const walk *w, size_t at, const char *text, size_t len, bool first);

/* Where a splitting stands: the span that may still grow (see nb__behaviour). */
typedef struct spans {
    const walk *w;
    size_t at;
    const char *text;
    bool first;
    const nb__pre_step *step;
    bool open, was_match;
    size_t start, end;
} spans;

static nb_status emit(const spans *s, size_t start, size_t end) {
    return start == end ? NB_OK : step(s->w, s->at + 1, s->text + start, end - start, s->first && start == 0);
}

static nb_status flush(spans *s) {
    if (!s->open)
        return NB_OK;
    s->open = false;
    return emit(s, s->start, s->end);
}

/* Takes the next span of the text, a match or what lies between matches. */
static nb_status span(spans *s, size_t start, size_t end, bool match) {
    match = match != s->step->invert;
    bool grows = false, waits = true;
    switch (s->step->behaviour) {
    case NB_SPLIT_REMOVED:
        return match ? NB_OK : emit(s, start, end);
    case NB_SPLIT_ISOLATED:
        return emit(s, start, end);
    case NB_SPLIT_PREVIOUS: /* a match joins the span before it, unless that is a match */
        grows = match && !s->was_match && s->open;
        break;
    case NB_SPLIT_NEXT: /* only a match waits, and what follows joins it, unless it is a match */
        grows = !match && s->was_match && s->open;
        waits = match;
        break;
    case NB_SPLIT_CONTIGUOUS:
        grows = match == s->was_match && s->open;
        break;
    }
    s->was_match = match;
    if (!grows) {
        NB_TRY(flush(s));
        s->open = true;
        s->start = start;
    }
    s->end = end;
    return waits ? NB_OK : flush(s);
}

/* Matches in order. An empty match right behind the last one is not taken (as the Rust binding of Oniguruma does). */
static nb_status split(const walk *w, size_t at, const char *text, size_t len, bool first) {
    spans s = {.w = w, .at = at, .text = text, .first = first, .step = &w->pre->steps[at]};
    size_t from = 0, done = 0, start = 0, end = 0;
    bool found = true, any = false;
    while (from <= len) {
        NB_TRY(nb__find(&s.step->find, &w->scratch->regex[at], text, len, from, &found, &start, &end, w->err));
        if (!found)
            break;
        if (end == start && any && end == done) {
            uint32_t cp;
            from += from < len ? nb__utf8_get(text + from, &cp) : 1;
            continue;
        }
        if (start > done)
            NB_TRY(span(&s, done, start, false));
        NB_TRY(span(&s, start, end, true));
        from = done = end;
        any = true;
    }
    if (done < len)
        NB_TRY(span(&s, done, len, false));
    return flush(&s);
}

static nb_status metaspace(const walk *w, size_t at, const char *text, size_t len, bool first) {
    const nb__pre_step *s = &w->pre->steps[at];
    nb_str *out = &w->scratch->text[at];
    bool marked = *text == ' ' || (len >= s->text.len && memcmp(text, s->text.data, s->text.len) == 0);
    out->len = 0;
    if (!marked && (s->prepend == NB_PREPEND_ALWAYS || (s->prepend == NB_PREPEND_FIRST && first)))
        NB_TRY(nb_str_add(out, s->text.data, s->text.len, w->err));
    for (size_t i = 0; i < len;) {
        const char *blank = memchr(text + i, ' ', len - i);
        size_t end = blank ? (size_t)(blank - text) : len;
        NB_TRY(nb_str_add(out, text + i, end - i, w->err));
        if (blank)
            NB_TRY(nb_str_add(out, s->text.data, s->text.len, w->err));
        i = end + (blank != NULL);
    }
    return step(w, at + 1, out->data, out->len, first);
}

static nb_status prefix_space(const walk *w, size_t at, const char *text, size_t len, bool first) {
    if (*text == ' ')
        return step(w, at + 1, text, len, first);
    nb_str *out = &w->scratch->text[at];
    out->len = 0;
    NB_TRY(nb_str_add(out, " ", 1, w->err));
    NB_TRY(nb_str_add(out, text, len, w->err));
    return step(w, at + 1, out->data, out->len, first);
}

static nb_status step(const walk *w, size_t at, const char *text, size_t len, bool first) {
    if (at == w->pre->count)
        return w->fn(w->arg, text, len, w->err);
    switch (w->pre->steps[at].kind) {
    case NB_PRE_METASPACE:
        return metaspace(w, at, text, len, first);
    case NB_PRE_SPACE:
        return prefix_space(w, at, text, len, first);
    default:
        return split(w, at, text, len, first);
    }
}

nb_status nb__pretokenize(const nb__pre *pre, nb__pre_scratch *scratch, const char *text, size_t len, bool first,
                          nb__piece_fn *fn, void *arg, nb_err *err) {
    walk w = {pre, scratch, fn, arg, err};
    return len == 0 ? NB_OK : step(&w, 0, text, len, first);
}

void nb__pre_scratch_free(nb__pre_scratch *s) {
    for (size_t i = 0; i < NB_STEPS_MAX; i++) {
        nb__regex_scratch_free(&s->regex[i]);
        nb_str_free(&s->text[i]);
    }
}

void nb__pre_free(nb__pre *pre) {
    for (size_t i = 0; i < pre->count; i++) {
        nb__finder_free(&pre->steps[i].find);
        nb_str_free(&pre->steps[i].text);
    }
    pre->count = 0;
}
