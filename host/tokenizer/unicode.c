#include "host/tokenizer/unicode.h"

#include <pthread.h>
#include <oniguruma.h>
#include <utf8proc.h>

uint8_t nb__char_class[0x110000];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Adds bit to all characters of an Oniguruma type. Its range lists are count, then pairs (first, last). */
static void mark_ranges(int type, uint8_t bit) {
    OnigCodePoint single_byte_end;
    const OnigCodePoint *ranges = NULL;
    if (ONIG_ENCODING_UTF8->get_ctype_code_range((OnigCtype)type, &single_byte_end, &ranges) != 0 || !ranges) {
        for (uint32_t c = 0; c < 0x110000; c++)
            if (ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, c, (OnigCtype)type))
                nb__char_class[c] |= bit;
        return;
    }
    for (OnigCodePoint r = 0; r < ranges[0]; r++)
        for (uint32_t c = ranges[1 + 2 * r]; c <= ranges[2 + 2 * r] && c < 0x110000; c++)
            nb__char_class[c] |= bit;
}

static void mark_property(const char *name, uint8_t bit) {
    OnigUChar text[2] = {(OnigUChar)name[0], 0};
    mark_ranges(ONIGENC_PROPERTY_NAME_TO_CTYPE(ONIG_ENCODING_UTF8, text, text + 1), bit);
}

static void fill(void) {
    OnigEncoding use[] = {ONIG_ENCODING_UTF8};
    onig_initialize(use, 1);
    mark_property("L", NB_CH_LETTER);
    mark_property("M", NB_CH_MARK);
    mark_property("N", NB_CH_NUMBER);
    mark_ranges(ONIGENC_CTYPE_SPACE, NB_CH_BLANK);
    nb__char_class['\r'] |= NB_CH_NEWLINE;
    nb__char_class['\n'] |= NB_CH_NEWLINE;
}

void nb__unicode_init(void) {
    pthread_once(&once, fill);
}

bool nb__is_numeric(uint32_t cp) {
    if (cp < 0x80)
        return cp >= '0' && cp <= '9';
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool nb__is_word(uint32_t cp) {
    /* Rust's \w has the join controls (UTS 18, annex C), Oniguruma's has not. */
    return cp == 0x200C || cp == 0x200D || ONIGENC_IS_CODE_CTYPE(ONIG_ENCODING_UTF8, cp, ONIGENC_CTYPE_WORD);
}
