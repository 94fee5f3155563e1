/* The tile of qgemm_avx2.c with 8-bit activations, once for each way to multiply bytes: I8_NAME(block) and I8_TARGET are
 * given before. */

INLINE I8_TARGET void I8_NAME(tile)(const nb__qtile *t, unsigned bits, size_t block,
                                       size_t stride, size_t first, size_t rows) {
    size_t block_bytes = 2 * block * bits;
    __m256 y[MAX_ROWS * HALVES];
    __m256i acc[MAX_ROWS * HALVES];
    NB_UNROLL
    for (size_t i = 0; i < rows * HALVES; i++)
        y[i] = _mm256_setzero_ps();
    for (size_t blk = t->blk0; blk < t->blk1;) {
        size_t g = blk / t->l->group_blocks, end = nb_min((g + 1) * t->l->group_blocks, t->blk1);
        __m256 scale[HALVES];
        __m256i zero[HALVES];
        NB_UNROLL
        for (size_t h = 0; h < HALVES; h++) {
            scale[h] = load_scales(t, g, h);
            zero[h] = load_zeros(t, g, h);
        }
        if (t->offsets && blk == g * t->l->group_blocks)
            add_offsets(t, stride, first, rows, g, y);
        for (; blk < end; blk++) {
            const unsigned char *p = t->panel + blk * block_bytes;
            for (size_t i = 0; stride == 1 && i < block_bytes; i += 64)
                _mm_prefetch((const void *)(p + AHEAD + i), _MM_HINT_T0);
            /* -zero * sum(x): both fit 16 bits, and zero's lane has an empty high half. */
            NB_UNROLL
            for (size_t r = 0; r < rows; r++)
                NB_UNROLL
            for (size_t h = 0; h < HALVES; h++)
                acc[r * HALVES + h] = _mm256_madd_epi16(
                    zero[h], _mm256_set1_epi32(t->minus_sum[blk * stride + first + r]));
            I8_NAME(block)(p, (const int8_t *)t->x + blk * block * stride + 4 * first, block, bits,
                     stride, rows, acc);
            NB_UNROLL
            for (size_t r = 0; r < rows; r++)
                NB_UNROLL
            for (size_t h = 0; h < HALVES; h++)
                y[r * HALVES + h] = _mm256_fmadd_ps(
                    _mm256_mul_ps(_mm256_cvtepi32_ps(acc[r * HALVES + h]), scale[h]),
                    _mm256_set1_ps(t->step[blk * stride + first + r]), y[r * HALVES + h]);
        }
    }
    store_tile(t, first, rows, y);
}

#undef I8_NAME
#undef I8_TARGET
