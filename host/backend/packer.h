/* How a backend lays packed weights out: pure functions over bytes in host memory, of which a device then gets a copy. One
 * table a backend; what is packed with it is one copy of bytes away from the device's memory, in both directions. */
#ifndef NB_BACKEND_PACKER_H
#define NB_BACKEND_PACKER_H

#include "kernels/ops.h"

typedef struct nb_packer {
    /* Rows of W that stand together: a panel is packed in one call, and panels may be packed from several threads. */
    size_t panel;
    /* Bytes of a packed weight (w.data is not read). False where a size overflows or w is out of its domain. */
    bool (*size)(const nb_qweight *w, size_t *bytes);
    /* Writes what all panels share, before any of them. g_idx: u32 [k] at any address, NULL without act_order. False where
     * it names a group that does not exist or gives one more than w->group columns. */
    bool (*begin)(const nb_qweight *w, const void *g_idx, void *packed);
    /* Writes panel p, of `rows` rows (fewer than `panel` in the last one), from codes [rows, k] (u8, columns as stored),
     * scales [rows, groups], and zeros or offsets [rows, groups] (not read where symmetric). Scales are exact in
     * w->scale_type. */
    void (*pack)(const nb_qweight *w, size_t p, size_t rows, const uint8_t *codes, const float *scales,
                 const float *zeros, void *packed);
    /* One row back, exactly: codes [k], scales [groups], zeros or offsets [groups] (2^(bits-1) where symmetric). */
    void (*unpack)(const nb_qweight *w, const void *packed, size_t row, uint8_t *codes, float *scales, float *zeros);
    /* The group of each column, [k]. */
    void (*columns)(const nb_qweight *w, const void *packed, int32_t *g_idx);
    /* Bytes of workspace of qgemm (fast: qgemm_i8) for m rows and fewer, on a device of so many units. */
    bool (*workspace)(const nb_qweight *w, size_t m, bool fast, unsigned units, size_t *bytes);
} nb_packer;

/* ceil(k / group). */
static inline size_t nb__qweight_groups(const nb_qweight *w) {
    return (w->k - 1) / w->group + 1;
}

extern const nb_packer nb__packer_cpu; /* kernels/cpu/qlayout.h */

/* ---- packer_cpu.c: the layout of kernels/cpu/qlayout.h, for packers that share it ---- */

bool nb__panels_size(const nb_qweight *w, size_t *bytes);
bool nb__panels_begin(const nb_qweight *w, const void *g_idx, void *packed);
void nb__panels_pack(const nb_qweight *w, size_t p, size_t rows, const uint8_t *codes, const float *scales,
                     const float *zeros, void *packed);
void nb__panels_unpack(const nb_qweight *w, const void *packed, size_t row, uint8_t *codes, float *scales, float *zeros);
void nb__panels_columns(const nb_qweight *w, const void *packed, int32_t *g_idx);

#endif
