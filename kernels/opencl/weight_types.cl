/* Elements of a weight of a stored type, bit for bit as nb_to_f32 reads them (layouts: ggml-common.h of ggml). The build
 * defines one of W_F32, W_F16, W_BF16 and W_ with a block type of GGUF. */
inline float load_bf16(global const uchar *p) {
    return as_float((uint)p[0] << 16 | (uint)p[1] << 24);
}

inline float load_f16(global const uchar *p) {
    ushort bits = (ushort)(p[0] | p[1] << 8);
    return vload_half(0, (const half *)&bits);
}

/* 6-bit scale (x) and minimum (y) j of the 12 bytes that Q4_K and Q5_K share. */
inline float2 k_scale_min(global const uchar *s, uint j) {
    if (j < 4)
        return (float2)(s[j] & 63, s[j + 4] & 63);
    return (float2)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4);
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
#elif defined(W_Q5_0)
    global const uchar *block = w + (ulong)(j / 32) * 22;
    uint at = j % 32, q = block[6 + at % 16] >> (at / 16 * 4) & 15, high = block[2 + at / 8] >> at % 8 & 1;
    return load_f16(block) * (float)((int)(q | high << 4) - 16);
#elif defined(W_Q5_1)
    global const uchar *block = w + (ulong)(j / 32) * 24;
    uint at = j % 32, q = block[8 + at % 16] >> (at / 16 * 4) & 15, high = block[4 + at / 8] >> at % 8 & 1;
    return load_f16(block) * (float)(q | high << 4) + load_f16(block + 2);
#elif defined(W_Q4_K) || defined(W_Q5_K)
#ifdef W_Q4_K
    global const uchar *block = w + (ulong)(j / 256) * 144, *low = block + 16;
#else
    global const uchar *block = w + (ulong)(j / 256) * 176, *low = block + 48;
#endif
    uint at = j % 256, part = at / 32, l = at % 32, q = low[32 * (part / 2) + l] >> 4 * (part & 1) & 15;
#ifdef W_Q5_K
    q |= (block[16 + l] >> part & 1) << 4;
#endif
    float2 scale = k_scale_min(block + 4, part);
    float a = load_f16(block) * scale.x, b = load_f16(block + 2) * scale.y;
    return a * (float)q - b;
#elif defined(W_Q6_K)
    global const uchar *block = w + (ulong)(j / 256) * 210;
    uint at = j % 256, h = at / 128, t = at % 128 / 32, l = at % 32;
    uint low = block[64 * h + 32 * (t & 1) + l] >> (t < 2 ? 0 : 4) & 15, high = block[128 + 32 * h + l] >> 2 * t & 3;
    float a = load_f16(block + 208) * (float)(char)block[192 + at / 16];
    return a * (float)((int)(low | high << 4) - 32);
#endif
}
