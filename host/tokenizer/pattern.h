/* The published pre-tokenizer patterns, matched by hand: no backtracking, no memory, any length. tests/tokenizer
 * compares them with Oniguruma. */
#ifndef NB_TOKENIZER_PATTERN_H
#define NB_TOKENIZER_PATTERN_H

#include <stddef.h>

/* clang-format off */
#define NB_PATTERN_GPT2   "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define NB_PATTERN_LLAMA3 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" \
                          "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define NB_PATTERN_QWEN2  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" \
                          "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define NB_PATTERN_QWEN35 "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}" \
                          "| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* clang-format on */

typedef enum nb__pattern { NB_FAST_GPT2, NB_FAST_LLAMA3, NB_FAST_QWEN2, NB_FAST_QWEN35, NB_FAST_COUNT } nb__pattern;

/* The text of a pattern, and the pattern of a text (NB_FAST_COUNT where it is none of them). */
const char *nb__pattern_text(nb__pattern pattern);
nb__pattern nb__pattern_of(const char *text, size_t len);

/* End of the match that begins at `at` < len. These patterns match at every position of well-formed text.
 * nb__unicode_init must have run. */
size_t nb__pattern_next(nb__pattern pattern, const char *text, size_t len, size_t at);

#endif
