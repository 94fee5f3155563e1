/* Codes of a byte each to bit streams of 32-bit little-endian words and back: what the disk formats share. The streams
 * are those of kernels/layout.h (code i at stream bits bits*i.., low bits first); here whole rows and matrices are
 * moved at once. bits is 2..8; with a width that does not divide 32 a code may straddle two words. */
#ifndef NB_SCHEME_BITS_H
#define NB_SCHEME_BITS_H

#include <stddef.h>
#include <stdint.h>

/* Words that hold `count` codes: ceil(count * bits / 32). */
size_t nb__stream_words(size_t count, unsigned bits);

/* count codes from / to one contiguous stream. words may be unaligned where it is a const void *. Bits of the last word
 * beyond the codes are ignored, and written as 0. */
void nb__unpack_stream(const void *words, size_t count, unsigned bits, uint8_t *codes);
void nb__pack_stream(const uint8_t *codes, size_t count, unsigned bits, uint32_t *words);

/* Streams that run down the columns: words [k * bits / 32, n], column i holding row i of codes [n, k]. k * bits must be
 * a multiple of 32. Transposed in tiles, so that neither side is walked with a stride. */
void nb__unpack_columns(const void *words, size_t n, size_t k, unsigned bits, uint8_t *codes);
void nb__pack_columns(const uint8_t *codes, size_t n, size_t k, unsigned bits, uint32_t *words);

#endif
