/* The packed weight on the CPU: one layout for all of its instruction sets, for GEMV and GEMM.
 *
 * Rows stand in panels of 16, one for each 32-bit lane of a 64-byte vector. Along K the columns
 * stand in blocks of 16 or 32; each group of columns starts a new block and is filled up with
 * columns whose activation is zero. A unit is 4 columns of a panel: 64 bytes, byte 4r + b holding
 * column b of row r, which is what a byte dot product (vpdpbusd, sdot) multiplies with 4
 * activations. Units are packed bytewise: 8 bits  a vector holds one unit; 4 bits  unit i of a
 * vector is its nibble i;      2 bits  unit i of a vector is bits 2i, 2i+1 of each byte; 3 bits two
 * vectors with the low two bits of units 0-3 and 4-7, then one whose bit i is the high bit of unit
 * i. So a kernel unpacks with one shift and one mask for 64 codes, whatever its width.
 *
 * In memory: the column map (act-order only), then the panels. A panel is its codes
 * [blocks][block_bytes], its scales [groups][16] and its zero points, u8 [groups][16], or offsets,
 * f32 [groups][16]; each part starts at 64 bytes. */
#ifndef NB_KERNELS_CPU_QLAYOUT_H
#define NB_KERNELS_CPU_QLAYOUT_H

#include "kernels/ops.h"

enum { NB_PANEL = 16 };
#define NB_NO_COLUMN UINT32_MAX

typedef struct nb__qlayout {
    size_t groups, group_blocks; /* blocks of each group but the last */
    size_t blocks;               /* in all */
    unsigned block;              /* columns in a block: 16 or 32 */
    size_t block_bytes;
    size_t kp; /* blocks * block: the padded K */
    size_t panels;
    size_t scale_at, zero_at; /* in a panel, bytes */
    size_t scale_bytes;       /* of one scale */
    size_t panel_bytes;
    size_t map_bytes; /* the column map, u32 [kp], at the start; 0 without act-order */
    size_t bytes;     /* all */
} nb__qlayout;

/* False where a size overflows or the description is out of its domain. */
bool nb__qlayout_make(const nb_qweight *w, nb__qlayout *out);

/* Columns of group g (without act-order). */
static inline size_t nb__group_columns(const nb_qweight *w, size_t g) {
    size_t first = g * w->group;
    return w->k - first < w->group ? w->k - first : w->group;
}

/* The map from packed to stored columns, map[kp], NB_NO_COLUMN where there is none. g_idx is 32-bit
 * numbers [k] at any address, or NULL; false where it names a group that does not exist or gives
 * one more columns than `group`. */
bool nb__qlayout_map(const nb_qweight *w, const nb__qlayout *l, const void *g_idx, uint32_t *map);

/* Writes one panel from rows of codes [rows, k] (u8, columns as stored), scales [rows, groups] and
 * zeros or offsets [rows, groups] (NULL where symmetric). rows <= 16; the missing ones become zero.
 * map as above, or NULL where the order is the stored one. Scales must be exact in scale_type. */
void nb__qpanel_pack(const nb_qweight *w, const nb__qlayout *l, const uint32_t *map, size_t rows,
                     const uint8_t *codes, const float *scales, const float *zeros,
                     unsigned char *panel);
/* The stored column of packed place p (NB_NO_COLUMN where there is none), and the code of row r
 * there. */
size_t nb__qpanel_column(const nb_qweight *w, const nb__qlayout *l, const uint32_t *map, size_t p);
unsigned nb__qpanel_code(const nb_qweight *w, const nb__qlayout *l, const unsigned char *panel,
                         size_t r, size_t p);

#endif
