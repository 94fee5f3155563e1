/* Packed weights on CUDA: where things stand (kernels/cuda/qgemm.h), and how a product is cut. Pure functions, no driver. */
#ifndef NB_BACKEND_CUDA_QGEMM_H
#define NB_BACKEND_CUDA_QGEMM_H

#include "host/backend/packer.h"
#include "kernels/cuda/qgemm.h"

typedef struct nb__cuda_qlayout {
    size_t groups, group_places; /* places of a group but the last */
    size_t steps;                /* of 128 places */
    size_t panels;
    size_t step_bytes, scale_at, zero_at, panel_bytes; /* in a panel */
    size_t scale_bytes, zero_bytes; /* of one row and group */
    size_t map_bytes; /* the column map at the start; 0 where places are columns */
    size_t bytes;
} nb__cuda_qlayout;

/* False where a size overflows or the weight is out of its domain. */
bool nb__cuda_qlayout_make(const nb_qweight *w, nb__cuda_qlayout *out);

/* How a product runs on a device. */
typedef struct nb__cuda_qplan {
    unsigned tile;           /* rows of X in a tile: 8, 16, 32, 64; 4 of the f32 kernels */
    unsigned warps;          /* panels of a CTA */
    unsigned split, slices;  /* slices of K: in a CTA, and CTAs */
    unsigned part;           /* steps of a slice */
    unsigned grid_x, grid_y; /* tiles of X, tiles of W */
    unsigned shared;         /* bytes */
    size_t partial_bytes, bytes; /* workspace: sums of slices, and in all */
    const char *kernel; /* static storage */
} nb__cuda_qplan;

/* m rows of x_type on a device of compute capability cc (80 for 8.0) with so many multiprocessors. Tensor cores are for f16,
 * and bf16 from 80 on; all else, and what `exact` asks, goes to the f32 kernels. */
bool nb__cuda_qplan_make(const nb_qweight *w, size_t m, nb_dtype x_type, bool exact, unsigned cc, unsigned units,
                         nb__cuda_qplan *out);

/* How a product runs with f32 X in 8 bits: a kernel that rounds X into the workspace, and one that multiplies. */
typedef struct nb__cuda_i8plan {
    unsigned warps;                        /* slices of K, of a CTA */
    unsigned part;                         /* steps of a slice */
    unsigned grid_x, grid_y;               /* tiles of X, panels of W */
    unsigned prepare_x, prepare_y;         /* rows of X with padding, steps by PREPARE_WARPS */
    bool wide;                             /* blocks of 32 columns, else of 16 */
    size_t code_bytes, bytes;              /* workspace: codes of X, and in all */
    const char *kernel; /* static storage */
} nb__cuda_i8plan;
#define NB_CUDA_PREPARE "qgemm_i8_prepare"
enum { NB_CUDA_PREPARE_WARPS = 8 }; /* of a CTA that rounds X */
bool nb__cuda_i8plan_make(const nb_qweight *w, size_t m, nb__cuda_i8plan *out);

/* Every kernel that a plan may name in an image of this capability: for i from 0 on until it is false; *name is NULL where a place is empty. */
bool nb__cuda_qkernel(size_t i, unsigned cc, const char **name);

/* The kernel's parameters; addresses are 0 where absent. */
typedef struct nb__cuda_qaddress {
    uint64_t packed, x, y, bias, workspace;
} nb__cuda_qaddress;
void nb__cuda_i8params(const nb__cuda_i8plan *plan, const nb__cuda_qaddress *at, nb_cu_qgemm_i8 *io); /* after nb__cuda_qparams of io->g */
bool nb__cuda_qparams(const struct nb_qgemm_args *a, const nb__cuda_qplan *plan, const nb__cuda_qaddress *at, nb_cu_qgemm *out);

/* The packer's functions (packer.h), in packer_cuda.c. */
bool nb__cuda_qsize(const nb_qweight *w, size_t *bytes);
bool nb__cuda_qbegin(const nb_qweight *w, const void *g_idx, void *packed);
void nb__cuda_qpack(const nb_qweight *w, size_t p, size_t rows, const uint8_t *codes, const float *scales, const float *zeros,
                    void *packed);
void nb__cuda_qunpack(const nb_qweight *w, const void *packed, size_t row, uint8_t *codes, float *scales, float *zeros);
void nb__cuda_qcolumns(const nb_qweight *w, const void *packed, int32_t *g_idx);

extern const nb_packer nb__packer_cuda;

#endif
