/* Packing arithmetic: one source for C, CUDA C and OpenCL C. It includes nothing, and any room may include it.
 * Codes stand in words of 32 bits, low bits first; word orders of disk formats are in ../docs and scheme/. */
#ifndef NB_LAYOUT_H
#define NB_LAYOUT_H

#if defined(__OPENCL_VERSION__)
#define NB_LAYOUT_FN inline
typedef uint nb_u32;
#elif defined(__CUDACC__)
#define NB_LAYOUT_FN static __host__ __device__ __forceinline__
typedef unsigned int nb_u32;
#else
#define NB_LAYOUT_FN static inline
typedef unsigned int nb_u32;
#endif

/* 32-bit words that hold `count` codes of `bits` bits as one little-endian bit stream (bits 2, 3, 4, 8). With 3 bits
 * 32 codes take 3 words; other widths divide the word. */
NB_LAYOUT_FN nb_u32 nb_words_for(nb_u32 count, nb_u32 bits) {
    return (count * bits + 31u) / 32u;
}

/* Code i of a bit stream of `bits`-bit codes. A 3-bit code may straddle two words. */
NB_LAYOUT_FN nb_u32 nb_stream_get(const nb_u32 *words, nb_u32 i, nb_u32 bits) {
    nb_u32 at = i * bits, word = at >> 5, shift = at & 31u, mask = (1u << bits) - 1u;
    nb_u32 v = words[word] >> shift;
    if (shift + bits > 32u)
        v |= words[word + 1u] << (32u - shift);
    return v & mask;
}

/* Sets code i, which must be zero before. */
NB_LAYOUT_FN void nb_stream_put(nb_u32 *words, nb_u32 i, nb_u32 bits, nb_u32 code) {
    nb_u32 at = i * bits, word = at >> 5, shift = at & 31u;
    words[word] |= code << shift;
    if (shift + bits > 32u)
        words[word + 1u] |= code >> (32u - shift);
}

/* AWQ GEMM words: nibble i of word c holds output column 8c + nb_awq_column(i) = 0,2,4,6,1,3,5,7. */
NB_LAYOUT_FN nb_u32 nb_awq_column(nb_u32 nibble) {
    return nibble < 4u ? 2u * nibble : 2u * nibble - 7u;
}

/* The other way: the nibble that holds column c (0..7) of a word: 0,4,1,5,2,6,3,7. */
NB_LAYOUT_FN nb_u32 nb_awq_nibble(nb_u32 column) {
    return column / 2u + (column % 2u ? 4u : 0u);
}

#endif
