/* Blocks of GGUF types to float. Layouts: formats of ggml-common.h, as documented in docs/formats. */
#include "host/tensor/dtype.h"

#include <string.h>

/* Little-endian binary16 at an address of any alignment. */
static float half_at(const uint8_t *p) {
    return nb_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static void from_f32(const uint8_t *p, size_t count, float *out) {
    memcpy(out, p, count * sizeof *out);
}

static void from_f16(const uint8_t *p, size_t count, float *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = half_at(p + 2 * i);
}

static void from_bf16(const uint8_t *p, size_t count, float *out) {
    for (size_t i = 0; i < count; i++)
        out[i] = nb_bf16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
}

/* 32-element blocks hold element j in the low and j + 16 in the high nibble of byte j. */
static void from_q4_0(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 18, out += 32) {
        float d = half_at(p);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((p[2 + j] & 15) - 8);
            out[j + 16] = d * (float)((p[2 + j] >> 4) - 8);
        }
    }
}

static void from_q4_1(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 20, out += 32) {
        float d = half_at(p), m = half_at(p + 2);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)(p[4 + j] & 15) + m;
            out[j + 16] = d * (float)(p[4 + j] >> 4) + m;
        }
    }
}

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void from_q5_0(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 22, out += 32) {
        float d = half_at(p);
        uint32_t high = u32_at(p + 2);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((int)((p[6 + j] & 15) | (high >> j & 1) << 4) - 16);
            out[j + 16] = d * (float)((int)((uint32_t)(p[6 + j] >> 4) | (high >> (j + 16) & 1) << 4) - 16);
        }
    }
}

static void from_q5_1(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 24, out += 32) {
        float d = half_at(p), m = half_at(p + 2);
        uint32_t high = u32_at(p + 4);
        for (int j = 0; j < 16; j++) {
            out[j] = d * (float)((p[8 + j] & 15) | (high >> j & 1) << 4) + m;
            out[j + 16] = d * (float)((uint32_t)(p[8 + j] >> 4) | (high >> (j + 16) & 1) << 4) + m;
        }
    }
}

static void from_q8_0(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 32, p += 34, out += 32) {
        float d = half_at(p);
        for (int j = 0; j < 32; j++)
            out[j] = d * (float)(int8_t)p[2 + j];
    }
}

/* 6-bit scale and minimum j of the 12 bytes that Q4_K and Q5_K share. */
static void k_scale_min(const uint8_t *s, int j, int *scale, int *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

static void from_q4_k(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 256, p += 144, out += 256) {
        float d = half_at(p), dmin = half_at(p + 2);
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

static void from_q5_k(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 256, p += 176, out += 256) {
        float d = half_at(p), dmin = half_at(p + 2);
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

static void from_q6_k(const uint8_t *p, size_t count, float *out) {
    for (; count; count -= 256, p += 210, out += 256) {
        const uint8_t *ql = p, *qh = p + 128, *sc = p + 192;
        float d = half_at(p + 208);
        for (int e = 0; e < 256; e++) {
            int h = e / 128, t = e % 128 / 32, l = e % 32;
            int lo = ql[64 * h + l + 32 * (t & 1)] >> (t < 2 ? 0 : 4) & 15;
            int hi = qh[32 * h + l] >> 2 * t & 3;
            out[e] = d * (float)(int8_t)sc[e / 16] * (float)((lo | hi << 4) - 32);
        }
    }
}

void nb_to_f32(nb_dtype dtype, const void *src, size_t count, float *dst) {
    typedef void reader(const uint8_t *, size_t, float *);
    static reader *const readers[NB_DTYPE_COUNT] = {
        [NB_F32] = from_f32,   [NB_F16] = from_f16,   [NB_BF16] = from_bf16, [NB_Q4_0] = from_q4_0,
        [NB_Q4_1] = from_q4_1, [NB_Q5_0] = from_q5_0, [NB_Q5_1] = from_q5_1, [NB_Q8_0] = from_q8_0,
        [NB_Q4_K] = from_q4_k, [NB_Q5_K] = from_q5_k, [NB_Q6_K] = from_q6_k,
    };
    readers[dtype](src, count, dst);
}
