#include "host/tokenizer/utf8.h"

#include <string.h>

/* Number of bytes that lead promises, and the range of the second byte (Unicode 15, table 3-7). */
static size_t expect(unsigned char lead, unsigned char *lo, unsigned char *hi) {
    *lo = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    *hi = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

size_t nb__utf8_next(const char *text, size_t len, uint32_t *cp, bool *ok) {
    const unsigned char *s = (const unsigned char *)text;
    unsigned char lo, hi;
    size_t want = expect(s[0], &lo, &hi), have = 1;
    while (have < want && have < len && s[have] >= lo && s[have] <= hi) {
        lo = 0x80;
        hi = 0xBF;
        have++;
    }
    *ok = have == want;
    if (*ok)
        nb__utf8_get(text, cp);
    else
        *cp = NB_UTF8_REPLACEMENT;
    return have;
}

size_t nb__utf8_back(const char *text, size_t len) {
    size_t i = len - 1;
    while (i > 0 && ((unsigned char)text[i] & 0xC0) == 0x80)
        i--;
    return i;
}

size_t nb__utf8_put(uint32_t cp, char out[4]) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

size_t nb__utf8_valid(const char *text, size_t len) {
    size_t i = 0;
    while (i < len) {
        uint64_t word;
        if (len - i >= sizeof word) { /* eight ASCII bytes at a time */
            memcpy(&word, text + i, sizeof word);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                i += sizeof word;
                continue;
            }
        }
        uint32_t cp;
        bool ok;
        size_t n = nb__utf8_next(text + i, len - i, &cp, &ok);
        if (!ok)
            return i;
        i += n;
    }
    return i;
}

nb_status nb__utf8_repair(const char *text, size_t len, nb_str *out, nb_err *err) {
    size_t i = 0;
    while (i < len) {
        size_t good = nb__utf8_valid(text + i, len - i);
        NB_TRY(nb_str_add(out, text + i, good, err));
        i += good;
        if (i < len) {
            uint32_t cp;
            bool ok;
            i += nb__utf8_next(text + i, len - i, &cp, &ok);
            NB_TRY(nb_str_add(out, "\xEF\xBF\xBD", 3, err));
        }
    }
    return NB_OK;
}
