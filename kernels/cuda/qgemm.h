/* The packed weight on CUDA devices and the parameters of the kernels that read it; for device code and for the host.
 *
 * Rows of W stand in panels of 32, columns in units of 64 and steps of 128. W is the A operand of mma.m16n8k16, so a panel
 * is two tiles of 16 rows, and the codes stand in the order in which a lane wants them: of tile t, block f of 16 columns of
 * a unit, lane (g = lane / 4, c = lane % 4), register i of 4 and half h of it the code is
 *     row  16 t + g + 8 (i % 2),   column  16 f + 2 c + h + 8 (i / 2).
 * A tile of a unit is 128 * bits bytes:
 *   4 bits  [lane][16 bytes]: word f, bit 4 i + 16 h;
 *   8 bits  [f / 2][lane][16 bytes]: byte 8 (f % 2) + 2 i + h;
 *   2 bits  [lane][8 bytes]: word f / 2, bit 8 (f % 2) + 2 i + 16 h;
 *   3 bits  the low two bits as 2 bits have them, then [lane][4 bytes] of high bits: bit 2 i + 2 + 16 h, rotated left by
 *           (0, 1, 8, 9)[f], so that after one shift of the low and one rotation of the high word both stand at 2 i + 16 h.
 * A step is [unit 2][tile 2] of those. Each group of columns begins a block of 16 and is filled up with columns that have no
 * activation; K is filled up to whole steps.
 *
 * In memory: the column map u32 [steps * 128] (where groups are not whole blocks, or with act-order), then the panels. A
 * panel is its codes, its scales [groups][8][4] and its zero points, u8 [groups][8][4], or offsets, f32 [groups][8][4];
 * place [r][j] is of row r + 8 j, which is what one lane wants of both tiles. Parts start at 128 bytes. */
#ifndef NB_KERNELS_CUDA_QGEMM_H
#define NB_KERNELS_CUDA_QGEMM_H

#include "kernels/cuda/params.h"

enum {
    NB_QC_PANEL = 32,
    NB_QC_STEP = 128,
    NB_QC_NO_COLUMN = -1, /* in the map, as u32 */
    NB_QC_PITCH = 272     /* bytes of a row of a step's activations in shared memory: 17 places of 16 bytes */
};

/* What stands beside the scales. */
enum { NB_QC_SYMMETRIC = 0, NB_QC_ZEROS = 1, NB_QC_OFFSETS = 2 };

/* Y[m,n] = X[m,k] W^T. CTA (x, y, z): rows x * tile of X, panels of y * panels of W, slice z of the steps. Of a CTA's
 * warps, `panels` neighbours share a slice of its steps; the others take the next ones. */
typedef struct nb_cu_qgemm {
    NB_CU(const unsigned char) panels;
    NB_CU(const unsigned) map; /* 0: places are columns */
    NB_CU(const void) x;
    NB_CU(void) y;
    NB_CU(const float) bias;   /* may be 0 */
    NB_CU(float) partial;      /* [tiles][slices][rows][columns], where slices > 1 */
    NB_CU(unsigned) arrived;   /* [tiles], zero */
    nb_cu_u64 panel_bytes, scale_at, zero_at, ldx, ldy;
    unsigned m, n, k;
    unsigned steps;            /* of K, in all */
    unsigned part;             /* steps of a warp */
    unsigned slices;
    unsigned groups, group_steps, group_blocks; /* steps of a group (0: parts of steps) and blocks of 16 of it */
    unsigned bits, scale_type, x_type, y_type; /* types are NB_CU_F32, _F16, _BF16 */
    unsigned zeros;            /* NB_QC_* */
    unsigned aligned;          /* rows of X may be read 16 bytes at a time, by place */
    unsigned accumulate;
} nb_cu_qgemm;

/* The same with X (f32) in 8 bits. X stands in tiles of 8 rows and units of 64 places, both in the workspace:
 *   codes  s8 [tile][unit][row 8][c 4][block 4][4]: columns 2 c, 2 c + 8, 2 c + 1, 2 c + 9 of the block of 16;
 *   sums   [tile][unit][block 4][row 8] of the block's step, f32, and its sum of codes, i32. `wide`: of the two blocks of 32 columns. */
typedef struct nb_cu_qgemm_i8 {
    nb_cu_qgemm g;
    NB_CU(unsigned) codes;
    NB_CU(float) sums;
    unsigned wide;
} nb_cu_qgemm_i8;

#endif
