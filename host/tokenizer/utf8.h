/* UTF-8. Text from outside may hold any bytes: where it is not UTF-8, each maximal subpart of an ill-formed sequence
 * (Unicode 15, section 3.9, "U+FFFD Substitution of Maximal Subparts") is replaced by one U+FFFD before anything else
 * happens. Python's decode("utf-8", errors="replace") and Rust's from_utf8_lossy do the same. */
#ifndef NB_TOKENIZER_UTF8_H
#define NB_TOKENIZER_UTF8_H

#include <stdint.h>
#include "host/base/str.h"

enum { NB_UTF8_REPLACEMENT = 0xFFFD };

/* Length in bytes of the character at text[0..len), len > 0, and its code point. For ill-formed bytes: the length of
 * the maximal subpart (1 to 3), *cp = U+FFFD and *ok = false. */
size_t nb__utf8_next(const char *text, size_t len, uint32_t *cp, bool *ok);

/* As above, for text known to be well-formed. */
static inline size_t nb__utf8_get(const char *text, uint32_t *cp) {
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) {
        *cp = s[0];
        return 1;
    }
    if (s[0] < 0xE0) {
        *cp = (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
        return 2;
    }
    if (s[0] < 0xF0) {
        *cp = (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
        return 3;
    }
    *cp = (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 | (s[3] & 0x3F);
    return 4;
}

/* Start of the last character of text[0..len), len > 0, well-formed. */
size_t nb__utf8_back(const char *text, size_t len);

/* Writes cp (a Unicode scalar value) to out; returns its length. */
size_t nb__utf8_put(uint32_t cp, char out[4]);

/* Length of the longest well-formed prefix. */
size_t nb__utf8_valid(const char *text, size_t len);

/* Appends text with ill-formed subparts replaced. */
nb_status nb__utf8_repair(const char *text, size_t len, nb_str *out, nb_err *err);

#endif
