/* Classes of characters. Letters, marks, numbers and blanks come from Oniguruma's own tables, so that the hand-written
 * matcher of split.c and a pattern run by Oniguruma cannot disagree. */
#ifndef NB_TOKENIZER_UNICODE_H
#define NB_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

enum { NB_CH_LETTER = 1, NB_CH_MARK = 2, NB_CH_NUMBER = 4, NB_CH_BLANK = 8, NB_CH_NEWLINE = 16 };

/* Fills the tables and starts Oniguruma, once; thread-safe. To be called before any other function here. */
void nb__unicode_init(void);

extern uint8_t nb__char_class[0x110000];

/* Letter, mark, number, blank (White_Space), newline (\r or \n only): a set of NB_CH_ bits. */
static inline unsigned nb__class_of(uint32_t cp) {
    return nb__char_class[cp];
}

/* General categories Nd, Nl, No of a newer Unicode than Oniguruma's: what the pre-tokenizer Digits looks at. */
bool nb__is_numeric(uint32_t cp);
/* \w as added tokens with single_word use it. */
bool nb__is_word(uint32_t cp);

#endif
