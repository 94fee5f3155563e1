/* Element types of tensors on disk and in memory: one table for all containers. */
#ifndef NB_TENSOR_DTYPE_H
#define NB_TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "host/base/err.h"

typedef enum nb_dtype {
    NB_F32,
    NB_F16,
    NB_BF16,
    NB_F64,
    NB_I8,
    NB_U8,
    NB_I16,
    NB_U16,
    NB_I32,
    NB_U32,
    NB_I64,
    NB_U64,
    NB_BOOL,
    NB_F8_E4M3,
    NB_F8_E5M2,
    NB_Q4_0,
    NB_Q4_1,
    NB_Q5_0,
    NB_Q5_1,
    NB_Q8_0,
    NB_Q2_K,
    NB_Q3_K,
    NB_Q4_K,
    NB_Q5_K,
    NB_Q6_K,
    NB_IQ4_NL,
    NB_DTYPE_COUNT
} nb_dtype;

typedef struct nb_dtype_info {
    const char *name;        /* as printed: "F16", "Q4_K" */
    const char *safetensors; /* name in a safetensors header, or NULL */
    int ggml;                /* ggml type id, or -1 */
    unsigned block_elems;    /* elements in a block; 1 for plain types */
    unsigned block_bytes;
    bool to_f32;             /* does nb_to_f32 read it? */
} nb_dtype_info;

const nb_dtype_info *nb_dtype_get(nb_dtype dtype);
/* False where no type has that name or id. */
bool nb_dtype_from_safetensors(const char *name, nb_dtype *out);
bool nb_dtype_from_ggml(int id, nb_dtype *out);

/* Bytes of `count` elements; false where the product overflows or count is no multiple of the block. */
bool nb_dtype_bytes(nb_dtype dtype, size_t count, size_t *out);

/* Converts count elements (a multiple of the block) at src, which need not be aligned, to float. The type must have
 * to_f32. Rows of a matrix are whole numbers of blocks, so a row may be converted by itself. Thread-safe. */
void nb_to_f32(nb_dtype dtype, const void *src, size_t count, float *dst);
/* The same in plain C, whatever the CPU: what tests hold nb_to_f32 against. Equal bit for bit. */
void nb__to_f32_plain(nb_dtype dtype, const void *src, size_t count, float *dst);

/* IEEE binary16 and bfloat16, rounding half to even; NaN stays NaN, and becomes quiet as in hardware. */
float nb_f16_to_f32(uint16_t h);
uint16_t nb_f32_to_f16(float x);
static inline float nb_bf16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)h << 16};
    return v.f;
}
uint16_t nb_f32_to_bf16(float x);
/* Many at once; dst and src may not overlap. */
void nb_f16_from_f32(const float *src, size_t count, uint16_t *dst);
void nb_bf16_from_f32(const float *src, size_t count, uint16_t *dst);
/* The same to F32, F16 or BF16; dst need not be aligned. */
void nb_from_f32(nb_dtype dtype, const float *src, size_t count, void *dst);

#endif
