#include "host/tokenizer/pattern.h"

#include <string.h>

#include "host/tokenizer/unicode.h"
#include "host/tokenizer/utf8.h"

const char *nb__pattern_text(nb__pattern p) {
    static const char *const texts[] = {NB_PATTERN_GPT2, NB_PATTERN_LLAMA3, NB_PATTERN_QWEN2, NB_PATTERN_QWEN35};
    return texts[p];
}

nb__pattern nb__pattern_of(const char *text, size_t len) {
    nb__pattern p = NB_FAST_GPT2;
    while (p < NB_FAST_COUNT && (strlen(nb__pattern_text(p)) != len || memcmp(nb__pattern_text(p), text, len) != 0))
        p++;
    return p;
}

/* Class of the character at `at`, and the position behind it. */
static inline unsigned class_at(const char *text, size_t at, size_t *next) {
    uint32_t cp;
    *next = at + nb__utf8_get(text + at, &cp);
    return nb__class_of(cp);
}

/* End of the run of characters that have a bit of `in` and none of `out` (in = 0: any). At most `most` characters. */
static size_t run(const char *text, size_t len, size_t at, unsigned in, unsigned out, size_t most) {
    while (at < len && most--) {
        size_t next;
        unsigned c = class_at(text, at, &next);
        if ((in && !(c & in)) || (c & out))
            break;
        at = next;
    }
    return at;
}

/* 's 't 're 've 'm 'll 'd at `at` (an apostrophe): its end, or `at`. With fold, capitals and U+017F (long s), which
 * folds to s, count too. */
static size_t contraction(const char *text, size_t len, size_t at, bool fold) {
    char c[2] = {0, 0};
    for (size_t i = 0; i < 2 && at + 1 + i < len; i++) {
        c[i] = text[at + 1 + i];
        if (fold && c[i] >= 'A' && c[i] <= 'Z')
            c[i] = (char)(c[i] - 'A' + 'a');
    }
    if (c[0] == 's' || c[0] == 't' || c[0] == 'm' || c[0] == 'd')
        return at + 2;
    if ((c[0] == 'r' && c[1] == 'e') || (c[0] == 'v' && c[1] == 'e') || (c[0] == 'l' && c[1] == 'l'))
        return at + 3;
    if (fold && c[0] == '\xC5' && c[1] == '\xBF')
        return at + 3;
    return at;
}

/* \s+(?!\S)|\s+ at a blank: the whole run at the end of the text, otherwise all but its last character, but one at
 * least. With newlines, \s*[\r\n]+ comes first: up to the last newline of the run. */
static size_t blanks(const char *text, size_t len, size_t at, bool newlines) {
    size_t end = at, last = at, newline = at, next;
    while (end < len) {
        unsigned c = class_at(text, end, &next);
        if (!(c & NB_CH_BLANK))
            break;
        last = end;
        end = next;
        if (c & NB_CH_NEWLINE)
            newline = end;
    }
    if (newlines && newline > at)
        return newline;
    return end == len || last == at ? end : last;
}

static size_t next_gpt2(const char *text, size_t len, size_t at) {
    if (text[at] == '\'') {
        size_t end = contraction(text, len, at, false);
        if (end > at)
            return end;
    }
    size_t body = at + (text[at] == ' '), next;
    if (body < len) {
        unsigned c = class_at(text, body, &next);
        if (c & NB_CH_LETTER)
            return run(text, len, next, NB_CH_LETTER, 0, SIZE_MAX);
        if (c & NB_CH_NUMBER)
            return run(text, len, next, NB_CH_NUMBER, 0, SIZE_MAX);
        if (!(c & NB_CH_BLANK))
            return run(text, len, next, 0, NB_CH_LETTER | NB_CH_NUMBER | NB_CH_BLANK, SIZE_MAX);
    }
    return blanks(text, len, at, false);
}

/* Llama 3 and its kin: word = letters (or letters and marks), up to `digits` numbers together. */
static size_t next_llama3(const char *text, size_t len, size_t at, unsigned word, size_t digits) {
    if (text[at] == '\'') {
        size_t end = contraction(text, len, at, true);
        if (end > at)
            return end;
    }
    size_t next, after;
    unsigned c = class_at(text, at, &next);
    if (c & word)
        return run(text, len, next, word, 0, SIZE_MAX);
    if (c & NB_CH_NUMBER)
        return run(text, len, at, NB_CH_NUMBER, 0, digits);
    if (!(c & NB_CH_NEWLINE) && next < len && (class_at(text, next, &after) & word))
        return run(text, len, after, word, 0, SIZE_MAX);
    unsigned not_other = word | NB_CH_NUMBER | NB_CH_BLANK;
    size_t body = text[at] == ' ' ? next : at;
    size_t end = run(text, len, body, 0, not_other, SIZE_MAX);
    if (end > body)
        return run(text, len, end, NB_CH_NEWLINE, 0, SIZE_MAX);
    return blanks(text, len, at, true);
}

size_t nb__pattern_next(nb__pattern pattern, const char *text, size_t len, size_t at) {
    switch (pattern) {
    case NB_FAST_LLAMA3:
        return next_llama3(text, len, at, NB_CH_LETTER, 3);
    case NB_FAST_QWEN2:
        return next_llama3(text, len, at, NB_CH_LETTER, 1);
    case NB_FAST_QWEN35:
        return next_llama3(text, len, at, NB_CH_LETTER | NB_CH_MARK, 1);
    default:
        return next_gpt2(text, len, at);
    }
}
