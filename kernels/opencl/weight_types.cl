/* Elements of a weight of a stored type; the build defines one of W_F32, W_F16, W_BF16, W_Q8_0, W_Q4_0, W_Q4_1. */
inline float load_bf16(global const uchar *p) {
    return as_float((uint)p[0] << 16 | (uint)p[1] << 24);
}

inline float load_f16(global const uchar *p) {
    ushort bits = (ushort)(p[0] | p[1] << 8);
    return vload_half(0, (const half *)&bits);
}

/* Element j of the row that begins at w. */
inline float load_weight(global const uchar *w, uint j) {
#if defined(W_F32)
    return ((global const float *)w)[j];
#elif defined(W_F16)
    return load_f16(w + 2 * (ulong)j);
#elif defined(W_BF16)
    return load_bf16(w + 2 * (ulong)j);
#elif defined(W_Q8_0)
    global const uchar *block = w + (ulong)(j / 32) * 34;
    return load_f16(block) * (float)(char)block[2 + j % 32];
#elif defined(W_Q4_0)
    global const uchar *block = w + (ulong)(j / 32) * 18;
    uint at = j % 32, q = block[2 + at % 16] >> (at / 16 * 4) & 15;
    return load_f16(block) * (float)((int)q - 8);
#elif defined(W_Q4_1)
    global const uchar *block = w + (ulong)(j / 32) * 20;
    uint at = j % 32, q = block[4 + at % 16] >> (at / 16 * 4) & 15;
    return load_f16(block) * (float)q + load_f16(block + 2);
#endif
}
