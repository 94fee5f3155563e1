/* Transposition with a permutation of the columns that are read, or of those that are written. A work-item makes BLOCK rows by
 * BLOCK columns of dst. */
#if NB_CL_CPU
#define BLOCK 16
#else
#define BLOCK 1
#endif

#define TRANSPOSE(name, type)                                                                                          \
    kernel void name(uint rows, uint cols, BUF(src), BUF(dst), uint lds, uint ldd, BUF(from), BUF(to)) {               \
        uint r0 = get_global_id(0) * BLOCK, c0 = get_global_id(1) * BLOCK;                                             \
        global const type *src = AT(type, src);                                                                        \
        global type *dst = AT(type, dst);                                                                              \
        for (uint c = c0; c < min(c0 + BLOCK, cols); c++) {                                                            \
            uint column = HAS(from) ? AT(uint, from)[c] : c;                                                           \
            for (uint r = r0; r < min(r0 + BLOCK, rows); r++)                                                          \
                dst[(ulong)c * ldd + (HAS(to) ? AT(uint, to)[r] : r)] = src[(ulong)r * lds + column];                  \
        }                                                                                                              \
    }
TRANSPOSE(transpose_bytes, uchar)
TRANSPOSE(transpose_words, uint)
