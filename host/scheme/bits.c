#include "host/scheme/bits.h"

#include <string.h>

#include "host/base/size.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are little-endian in files, and are moved as they are"
#endif

/* 8 codes are `bits` bytes of a stream, whatever the width: a row is moved 8 codes at a time, as one 64-bit number. */

static inline uint64_t low_bits(unsigned count) { return count >= 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1; }

/* 8 codes in the low 8*b bits of v to a byte each: halves move apart to 32, then quarters to 16, then eighths to 8 bits. */
static inline uint64_t spread8(uint64_t v, unsigned b) {
    uint64_t m4 = low_bits(4 * b), m2 = low_bits(2 * b) * 0x0000000100000001u, m1 = low_bits(b) * 0x0001000100010001u;
    v = (v & m4) | (v >> 4 * b & m4) << 32;
    v = (v & m2) | (v >> 2 * b & m2) << 16;
    return (v & m1) | (v >> b & m1) << 8;
}

/* The inverse; each byte of v is below 2^b. */
static inline uint64_t gather8(uint64_t v, unsigned b) {
    v = (v & 0x00ff00ff00ff00ffu) | (v >> 8 & 0x00ff00ff00ff00ffu) << b;
    v = (v & 0x0000ffff0000ffffu) | (v >> 16 & 0x0000ffff0000ffffu) << 2 * b;
    return (v & 0x00000000ffffffffu) | (v >> 32) << 4 * b;
}

static inline void unpack(const unsigned char *p, size_t count, unsigned b, uint8_t *codes) {
    for (; count >= 8; count -= 8, p += b, codes += 8) {
        uint64_t v = 0;
        memcpy(&v, p, b);
        v = spread8(v, b);
        memcpy(codes, &v, 8);
    }
    if (count) {
        uint64_t v = 0;
        memcpy(&v, p, (count * b + 7) / 8);
        v = spread8(v, b);
        memcpy(codes, &v, count);
    }
}

static inline void pack(const uint8_t *codes, size_t count, unsigned b, unsigned char *p) {
    for (; count >= 8; count -= 8, p += b, codes += 8) {
        uint64_t v;
        memcpy(&v, codes, 8);
        v = gather8(v, b);
        memcpy(p, &v, b);
    }
    if (count) {
        uint64_t v = 0;
        memcpy(&v, codes, count);
        v = gather8(v, b);
        memcpy(p, &v, (count * b + 7) / 8);
    }
}

size_t nb__stream_words(size_t count, unsigned bits) {
    return count / 32 * bits + (count % 32 * bits + 31) / 32;
}

/* The widths in use are compiled with their masks as constants. */
void nb__unpack_stream(const void *words, size_t count, unsigned bits, uint8_t *codes) {
    switch (bits) {
    case 2: unpack(words, count, 2, codes); break;
    case 3: unpack(words, count, 3, codes); break;
    case 4: unpack(words, count, 4, codes); break;
    case 5: unpack(words, count, 5, codes); break;
    case 6: unpack(words, count, 6, codes); break;
    case 7: unpack(words, count, 7, codes); break;
    default: memcpy(codes, words, count); break;
    }
}

void nb__pack_stream(const uint8_t *codes, size_t count, unsigned bits, uint32_t *words) {
    size_t whole = nb__stream_words(count, bits);
    if (whole)
        words[whole - 1] = 0;
    unsigned char *p = (unsigned char *)words;
    switch (bits) {
    case 2: pack(codes, count, 2, p); break;
    case 3: pack(codes, count, 3, p); break;
    case 4: pack(codes, count, 4, p); break;
    case 5: pack(codes, count, 5, p); break;
    case 6: pack(codes, count, 6, p); break;
    case 7: pack(codes, count, 7, p); break;
    default: memcpy(p, codes, count); break;
    }
}

/* A tile is TILE_N columns by TILE_K codes: 4 KiB of codes, at most 4 KiB of words. */
enum { TILE_N = 16, TILE_K = 256, TILE_WORDS = TILE_K * 8 / 32 };

void nb__unpack_columns(const void *words, size_t n, size_t k, unsigned bits, uint8_t *codes) {
    const unsigned char *src = words;
    uint32_t tile[TILE_N][TILE_WORDS], row[TILE_N];
    for (size_t n0 = 0; n0 < n; n0 += TILE_N) {
        size_t cols = nb_min(TILE_N, n - n0);
        for (size_t k0 = 0; k0 < k; k0 += TILE_K) {
            size_t count = nb_min(TILE_K, k - k0), first = nb__stream_words(k0, bits);
            size_t rows = nb__stream_words(count, bits);
            for (size_t r = 0; r < rows; r++) {
                memcpy(row, src + 4 * ((first + r) * n + n0), 4 * cols);
                for (size_t j = 0; j < cols; j++)
                    tile[j][r] = row[j];
            }
            for (size_t j = 0; j < cols; j++)
                nb__unpack_stream(tile[j], count, bits, codes + (n0 + j) * k + k0);
        }
    }
}

void nb__pack_columns(const uint8_t *codes, size_t n, size_t k, unsigned bits, uint32_t *words) {
    uint32_t tile[TILE_N][TILE_WORDS];
    for (size_t n0 = 0; n0 < n; n0 += TILE_N) {
        size_t cols = nb_min(TILE_N, n - n0);
        for (size_t k0 = 0; k0 < k; k0 += TILE_K) {
            size_t count = nb_min(TILE_K, k - k0), first = nb__stream_words(k0, bits);
            size_t rows = nb__stream_words(count, bits);
            for (size_t j = 0; j < cols; j++)
                nb__pack_stream(codes + (n0 + j) * k + k0, count, bits, tile[j]);
            for (size_t r = 0; r < rows; r++)
                for (size_t j = 0; j < cols; j++)
                    words[(first + r) * n + n0 + j] = tile[j][r];
        }
    }
}
