#include "host/tensor/dtype.h"

#include <string.h>

#include "host/base/size.h"

/* clang-format off */
static const nb_dtype_info table[NB_DTYPE_COUNT] = {
    /*              name       safetensors  ggml elems bytes to_f32 */
    [NB_F32]     = {"F32",     "F32",       0,   1,    4,   true},
    [NB_F16]     = {"F16",     "F16",       1,   1,    2,   true},
    [NB_BF16]    = {"BF16",    "BF16",      30,  1,    2,   true},
    [NB_F64]     = {"F64",     "F64",       28,  1,    8,   false},
    [NB_I8]      = {"I8",      "I8",        24,  1,    1,   false},
    [NB_U8]      = {"U8",      "U8",        -1,  1,    1,   false},
    [NB_I16]     = {"I16",     "I16",       25,  1,    2,   false},
    [NB_U16]     = {"U16",     "U16",       -1,  1,    2,   false},
    [NB_I32]     = {"I32",     "I32",       26,  1,    4,   false},
    [NB_U32]     = {"U32",     "U32",       -1,  1,    4,   false},
    [NB_I64]     = {"I64",     "I64",       27,  1,    8,   false},
    [NB_U64]     = {"U64",     "U64",       -1,  1,    8,   false},
    [NB_BOOL]    = {"BOOL",    "BOOL",      -1,  1,    1,   false},
    [NB_F8_E4M3] = {"F8_E4M3", "F8_E4M3",   -1,  1,    1,   false},
    [NB_F8_E5M2] = {"F8_E5M2", "F8_E5M2",   -1,  1,    1,   false},
    [NB_Q4_0]    = {"Q4_0",    NULL,        2,   32,   18,  true},
    [NB_Q4_1]    = {"Q4_1",    NULL,        3,   32,   20,  true},
    [NB_Q5_0]    = {"Q5_0",    NULL,        6,   32,   22,  true},
    [NB_Q5_1]    = {"Q5_1",    NULL,        7,   32,   24,  true},
    [NB_Q8_0]    = {"Q8_0",    NULL,        8,   32,   34,  true},
    [NB_Q2_K]    = {"Q2_K",    NULL,        10,  256,  84,  false},
    [NB_Q3_K]    = {"Q3_K",    NULL,        11,  256,  110, false},
    [NB_Q4_K]    = {"Q4_K",    NULL,        12,  256,  144, true},
    [NB_Q5_K]    = {"Q5_K",    NULL,        13,  256,  176, true},
    [NB_Q6_K]    = {"Q6_K",    NULL,        14,  256,  210, true},
    [NB_IQ4_NL]  = {"IQ4_NL",  NULL,        20,  32,   18,  false},
};
/* clang-format on */

const nb_dtype_info *nb_dtype_get(nb_dtype dtype) {
    return &table[dtype];
}

bool nb_dtype_from_safetensors(const char *name, nb_dtype *out) {
    for (int i = 0; i < NB_DTYPE_COUNT; i++)
        if (table[i].safetensors && !strcmp(table[i].safetensors, name)) {
            *out = (nb_dtype)i;
            return true;
        }
    return false;
}

bool nb_dtype_from_ggml(int id, nb_dtype *out) {
    for (int i = 0; i < NB_DTYPE_COUNT; i++)
        if (table[i].ggml == id && id >= 0) {
            *out = (nb_dtype)i;
            return true;
        }
    return false;
}

bool nb_dtype_bytes(nb_dtype dtype, size_t count, size_t *out) {
    const nb_dtype_info *t = &table[dtype];
    return count % t->block_elems == 0 && nb_mul(count / t->block_elems, t->block_bytes, out);
}

static uint32_t f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float f32_from_bits(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float nb_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = (h >> 10) & 31u, man = h & 0x3ffu;
    if (exp == 31)
        return f32_from_bits(sign | 0x7f800000u | man << 13 | (man ? 0x400000u : 0u));
    if (exp == 0) { /* zero or subnormal: man * 2^-24, exact in float */
        float x = (float)man * 0x1p-24f;
        return sign ? -x : x;
    }
    return f32_from_bits(sign | (exp + 112) << 23 | man << 13);
}

uint16_t nb_f32_to_f16(float x) {
    uint32_t u = f32_bits(x), sign = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | ((a >> 13) & 0x3ffu));
    if (a >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (a < 0x38800000u) { /* below 2^-14: adding 0.5 leaves the subnormal's bits, rounded half to even */
        uint32_t r = f32_bits(f32_from_bits(a) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | r);
    }
    uint32_t r = a + 0xfffu + ((a >> 13) & 1u) - (112u << 23);
    return (uint16_t)(sign | r >> 13);
}

uint16_t nb_f32_to_bf16(float x) {
    uint32_t u = f32_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

void nb_f16_from_f32(const float *src, size_t count, uint16_t *dst) {
    for (size_t i = 0; i < count; i++)
        dst[i] = nb_f32_to_f16(src[i]);
}

void nb_bf16_from_f32(const float *src, size_t count, uint16_t *dst) {
    for (size_t i = 0; i < count; i++)
        dst[i] = nb_f32_to_bf16(src[i]);
}

void nb_from_f32(nb_dtype dtype, const float *src, size_t count, void *dst) {
    if (dtype == NB_F32) {
        memcpy(dst, src, count * sizeof *src);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t h = dtype == NB_F16 ? nb_f32_to_f16(src[i]) : nb_f32_to_bf16(src[i]);
        memcpy((char *)dst + i * sizeof h, &h, sizeof h);
    }
}
