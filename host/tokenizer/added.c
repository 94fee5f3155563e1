#include "host/tokenizer/added.h"

#include <string.h>

#include "host/base/alloc.h"
#include "host/base/size.h"
#include "host/tokenizer/unicode.h"
#include "host/tokenizer/utf8.h"

nb_status nb__matcher_init(nb__matcher *m, size_t bytes, nb_err *err) {
    NB_TRY(nb__pairmap_init(&m->edges, bytes, err));
    NB_TRY(nb_calloc(bytes + 1, sizeof *m->token, "added tokens", &m->token, err));
    m->nodes = 1;
    m->room = bytes + 1;
    m->token[0] = -1;
    return NB_OK;
}

void nb__matcher_add(nb__matcher *m, const char *content, size_t len, int32_t index) {
    int32_t node = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t byte = (unsigned char)content[i];
        const nb__pair_slot *edge = nb__pairmap_get(&m->edges, node, byte);
        if (edge) {
            node = edge->id;
            continue;
        }
        m->token[m->nodes] = -1;
        nb__pairmap_put(&m->edges, node, byte, 0, (int32_t)m->nodes);
        node = (int32_t)m->nodes++;
    }
    if (len) {
        m->first[(unsigned char)content[0]] = true;
        m->token[node] = index;
        m->any = true;
    }
}

void nb__matcher_free(nb__matcher *m) {
    nb__pairmap_free(&m->edges);
    nb_free(m->token);
    *m = (nb__matcher){0};
}

/* Longest token at `at`: its index, or -1. */
static int32_t longest(const nb__matcher *m, const char *text, size_t len, size_t at, size_t *end) {
    int32_t node = 0, best = -1;
    for (size_t i = at; i < len; i++) {
        const nb__pair_slot *edge = nb__pairmap_get(&m->edges, node, (unsigned char)text[i]);
        if (!edge)
            break;
        node = edge->id;
        if (m->token[node] >= 0) {
            best = m->token[node];
            *end = i + 1;
        }
    }
    return best;
}

static bool stands_alone(const char *text, size_t len, size_t start, size_t end) {
    uint32_t cp;
    if (start > 0) {
        nb__utf8_get(text + nb__utf8_back(text, start), &cp);
        if (nb__is_word(cp))
            return false;
    }
    if (end < len) {
        nb__utf8_get(text + end, &cp);
        if (nb__is_word(cp))
            return false;
    }
    return true;
}

static size_t blanks_before(const char *text, size_t start, size_t done) {
    while (start > done) {
        uint32_t cp;
        size_t back = nb__utf8_back(text, start);
        nb__utf8_get(text + back, &cp);
        if (!(nb__class_of(cp) & NB_CH_BLANK))
            break;
        start = back;
    }
    return start;
}

static size_t blanks_behind(const char *text, size_t len, size_t end) {
    while (end < len) {
        uint32_t cp;
        size_t n = nb__utf8_get(text + end, &cp);
        if (!(nb__class_of(cp) & NB_CH_BLANK))
            break;
        end += n;
    }
    return end;
}

int32_t nb__matcher_next(const nb__matcher *m, const nb__added_token *tokens, const char *text, size_t len, size_t done,
                         size_t *from, size_t *start, size_t *end) {
    for (size_t at = m->any ? *from : len; at < len; at++) {
        if (!m->first[(unsigned char)text[at]])
            continue;
        size_t stop = at;
        int32_t i = longest(m, text, len, at, &stop);
        if (i < 0)
            continue;
        const nb__added_token *t = &tokens[i];
        if (t->single_word && !stands_alone(text, len, at, stop)) {
            at = stop - 1;
            continue;
        }
        *from = stop;
        *start = t->lstrip ? blanks_before(text, at, done) : at;
        *end = t->rstrip ? blanks_behind(text, len, stop) : stop;
        return i;
    }
    *from = len;
    return -1;
}
