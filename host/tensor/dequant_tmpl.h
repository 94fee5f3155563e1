/* Readers of blocks, compiled once for each instruction set by dequant.c, which defines NAME(x) (the function's name),
 * TARGET (its attribute) and HALF(p) (binary16 at any address to float). Plain loops that compilers vectorise; each
 * float comes from the same operations in the same order everywhere, so that all variants give the same bits. */

TARGET static void NAME(from_q5_0)(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 22, out += 32) {
        float d = HALF(p);
        uint32_t high = u32_at(p + 2);
        for (int j = 0; j < 16; j++)
            out[j] = d * (float)(((p[6 + j] & 15) | (int)(high >> j & 1) << 4) - 16);
        for (int j = 0; j < 16; j++)
            out[j + 16] = d * (float)((p[6 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4) - 16);
    }
}

TARGET static void NAME(from_q5_1)(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 24, out += 32) {
        float d = HALF(p), m = HALF(p + 2);
        uint32_t high = u32_at(p + 4);
        for (int j = 0; j < 16; j++)
            out[j] = d * (float)((p[8 + j] & 15) | (int)(high >> j & 1) << 4) + m;
        for (int j = 0; j < 16; j++)
            out[j + 16] = d * (float)(p[8 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4) + m;
    }
}

TARGET static void NAME(from_q8_0)(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 34, out += 32) {
        float d = HALF(p);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)(int8_t)p[2 + j];
    }
}

TARGET static void NAME(from_q4_k)(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 256, p += 144, out += 256) {
        float d = HALF(p), dmin = HALF(p + 2);
        const uint8_t *qs = p + 16;
        for (int j = 0; j < 8; j++) {
            int scale, min, shift = 4 * (j & 1);
            k_scale_min(p + 4, j, &scale, &min);
            float a = d * (float)scale, b = dmin * (float)min;
            for (int l = 0; l < 32; l++)
                out[32 * j + l] = a * (float)(qs[32 * (j / 2) + l] >> shift & 15) - b;
        }
    }
}

TARGET static void NAME(from_q5_k)(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 256, p += 176, out += 256) {
        float d = HALF(p), dmin = HALF(p + 2);
        const uint8_t *qh = p + 16, *qs = p + 48;
        for (int j = 0; j < 8; j++) {
            int scale, min, shift = 4 * (j & 1);
            k_scale_min(p + 4, j, &scale, &min);
            float a = d * (float)scale, b = dmin * (float)min;
            for (int l = 0; l < 32; l++) {
                int q = (qs[32 * (j / 2) + l] >> shift & 15) | (qh[l] >> j & 1) << 4;
                out[32 * j + l] = a * (float)q - b;
            }
        }
    }
}

/* Element 32 t + l of half h: 4 low bits in ql[64 h + l + 32 (t & 1)], 2 high bits in qh[32 h + l]; a scale for 16. */
TARGET static void NAME(from_q6_k)(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 256, p += 210, out += 256) {
        float d = HALF(p + 208);
        for (int part = 0; part < 16; part++) { /* 16 elements each */
            int h = part / 8, t = part % 8 / 2, first = part % 2 * 16, shift = t < 2 ? 0 : 4;
            const uint8_t *ql = p + 64 * h + 32 * (t & 1) + first, *qh = p + 128 + 32 * h + first;
            float a = d * (float)(int8_t)p[192 + part];
            for (int l = 0; l < 16; l++)
                out[16 * part + l] = a * (float)(((ql[l] >> shift & 15) | (qh[l] >> 2 * t & 3) << 4) - 32);
        }
    }
}
