/* nibble: quantization of one weight matrix for pipelines that bring their own model. */
#ifndef NIBBLE_QUANTIZE_H
#define NIBBLE_QUANTIZE_H

#include <nibble/packed.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Order in which GPTQ visits columns, and how they form groups (arXiv 2210.17323 and what followed). */
typedef enum nb_column_order {
    NB_ORDER_STORED = 0,      /* as stored */
    NB_ORDER_ACT = 1,         /* by falling diag H, groups in that order: g_idx is a permutation's */
    NB_ORDER_ACT_STATIC = 2,  /* by falling diag H, group parameters fixed before: g_idx = k / g */
    NB_ORDER_GROUP_AWARE = 3  /* groups by importance, columns by importance inside: g_idx = k / g */
} nb_column_order;

#ifdef __cplusplus
}
#endif
#endif
