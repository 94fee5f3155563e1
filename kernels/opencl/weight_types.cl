/* Elements of a weight of a stored type, bit for bit as nb_to_f32 reads them (layouts: ggml-common.h of ggml). F32 has a
 * program of its own (W_F32); the other types share one, and `type` says which: one build instead of ten. */
#define W_F16 1
#define W_BF16 2
#define W_Q4_0 3
#define W_Q4_1 4
#define W_Q5_0 5
#define W_Q5_1 6
#define W_Q8_0 7
#define W_Q4_K 8
#define W_Q5_K 9
#define W_Q6_K 10

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

/* Bit `at` of the fifth bits of a block. */
inline uint high_bit(global const uchar *p, uint at) { return (p[at / 8] >> at % 8 & 1) << 4; }

/* Element j of the row that begins at w. */
#ifdef W_F32
inline float load_weight(global const uchar *w, uint type, uint j) { return ((global const float *)w)[j]; }
#else
inline float load_k4_k5(global const uchar *block, uint type, uint at) {
    global const uchar *low = block + (type == W_Q4_K ? 16 : 48);
    uint part = at / 32, l = at % 32, q = low[32 * (part / 2) + l] >> 4 * (part & 1) & 15;
    if (type == W_Q5_K)
        q |= (block[16 + l] >> part & 1) << 4;
    float2 scale = k_scale_min(block + 4, part);
    float a = load_f16(block) * scale.x, b = load_f16(block + 2) * scale.y;
    return a * (float)q - b;
}

inline float load_k6(global const uchar *block, uint at) {
    uint h = at / 128, t = at % 128 / 32, l = at % 32;
    uint low = block[64 * h + 32 * (t & 1) + l] >> (t < 2 ? 0 : 4) & 15, high = block[128 + 32 * h + l] >> 2 * t & 3;
    float a = load_f16(block + 208) * (float)(char)block[192 + at / 16];
    return a * (float)((int)(low | high << 4) - 32);
}

/* 32-element blocks hold element j in the low and j + 16 in the high nibble of byte j. */
inline float load_block32(global const uchar *row, uint type, uint j) {
    uint bytes = type == W_Q4_0 ? 18 : type == W_Q4_1 ? 20 : type == W_Q5_0 ? 22 : type == W_Q5_1 ? 24 : 34, at = j % 32;
    global const uchar *block = row + (ulong)(j / 32) * bytes;
    float d = load_f16(block);
    if (type == W_Q8_0)
        return d * (float)(char)block[2 + at];
    uint q = block[bytes - 16 + at % 16] >> (at / 16 * 4) & 15;
    if (type == W_Q4_0)
        return d * (float)((int)q - 8);
    if (type == W_Q5_0)
        return d * (float)((int)(q | high_bit(block + 2, at)) - 16);
    q |= type == W_Q5_1 ? high_bit(block + 4, at) : 0;
    return d * (float)q + load_f16(block + 2);
}

inline float load_weight(global const uchar *w, uint type, uint j) {
    if (type == W_F16)
        return load_f16(w + 2 * (ulong)j);
    if (type == W_BF16)
        return load_bf16(w + 2 * (ulong)j);
    if (type <= W_Q8_0)
        return load_block32(w, type, j);
    if (type <= W_Q5_K)
        return load_k4_k5(w + (ulong)(j / 256) * (type == W_Q4_K ? 144 : 176), type, j % 256);
    return load_k6(w + (ulong)(j / 256) * 210, j % 256);
}
#endif
