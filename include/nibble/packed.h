/* nibble: the packed weight, as inference backends see it.
 *
 * A weight is W[N,K] = (q - zero) * scale with codes q of `bits` bits. Along K the columns form groups of
 * `group_size` (the last one may be short); each row has a scale, and unless symmetric a zero point, per
 * group. With act-order, g_idx[k] names the group of column k; otherwise it is k / group_size. */
#ifndef NIBBLE_PACKED_H
#define NIBBLE_PACKED_H

#include <stddef.h>
#include <nibble/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nb_float_type { NB_FLOAT_F32 = 0, NB_FLOAT_F16 = 1, NB_FLOAT_BF16 = 2 } nb_float_type;

/* Describes a packed weight. Plain data; copy it freely. */
typedef struct nb_weight_desc {
    size_t n;                 /* output rows */
    size_t k;                 /* input columns */
    unsigned bits;            /* 2, 3, 4 or 8 */
    size_t group_size;        /* 16..k; k means per channel */
    int symmetric;            /* nonzero: zero point is 2^(bits-1) everywhere and is not stored */
    int act_order;            /* nonzero: g_idx is not k / group_size */
    nb_float_type scale_type; /* in which type the scales are exact, and stored */
} nb_weight_desc;

#ifdef __cplusplus
}
#endif
#endif
