/* The packer of the CPU backend, over kernels/cpu/qlayout.h; the OpenCL backend has the same layout. */
#include <string.h>

#include "host/backend/packer.h"
#include "host/base/size.h"
#include "kernels/cpu/qgemm.h"

static const uint32_t *map_of(const nb_qweight *w, const void *packed) {
    return w->act_order ? packed : NULL;
}

bool nb__panels_size(const nb_qweight *w, size_t *bytes) {
    nb__qlayout l;
    if (!nb__qlayout_make(w, &l))
        return false;
    *bytes = l.bytes;
    return true;
}

bool nb__panels_begin(const nb_qweight *w, const void *g_idx, void *packed) {
    nb__qlayout l;
    return nb__qlayout_make(w, &l) && (!w->act_order || nb__qlayout_map(w, &l, g_idx, packed));
}

void nb__panels_pack(const nb_qweight *w, size_t p, size_t rows, const uint8_t *codes, const float *scales,
                     const float *zeros, void *packed) {
    nb__qlayout l;
    if (nb__qlayout_make(w, &l))
        nb__qpanel_pack(w, &l, map_of(w, packed), rows, codes, scales, zeros,
                        (unsigned char *)packed + l.map_bytes + p * l.panel_bytes);
}

/* Column by column: exact, and in no hurry. */
void nb__panels_unpack(const nb_qweight *w, const void *packed, size_t row, uint8_t *codes, float *scales, float *zeros) {
    nb__qlayout l;
    if (!nb__qlayout_make(w, &l))
        return;
    size_t r = row % NB_PANEL;
    const unsigned char *panel = (const unsigned char *)packed + l.map_bytes + row / NB_PANEL * l.panel_bytes;
    for (size_t p = 0; p < l.kp; p++) {
        size_t j = nb__qpanel_column(w, &l, map_of(w, packed), p);
        if (j != NB_NO_COLUMN)
            codes[j] = (uint8_t)nb__qpanel_code(w, &l, panel, r, p);
    }
    for (size_t g = 0; g < l.groups; g++) {
        size_t at = g * NB_PANEL + r;
        nb_to_f32(w->scale_type, panel + l.scale_at + at * l.scale_bytes, 1, &scales[g]);
        if (w->offsets)
            memcpy(&zeros[g], panel + l.zero_at + 4 * at, sizeof zeros[g]);
        else
            zeros[g] = w->symmetric ? (float)(1u << (w->bits - 1)) : (float)panel[l.zero_at + at];
    }
}

void nb__panels_columns(const nb_qweight *w, const void *packed, int32_t *g_idx) {
    nb__qlayout l;
    if (!nb__qlayout_make(w, &l))
        return;
    for (size_t p = 0; p < l.kp; p++) {
        size_t j = nb__qpanel_column(w, &l, map_of(w, packed), p);
        if (j < w->k)
            g_idx[j] = (int32_t)(p / (l.group_blocks * l.block));
    }
}

const nb_packer nb__packer_cpu = {
    .panel = NB_PANEL,
    .size = nb__panels_size,
    .begin = nb__panels_begin,
    .pack = nb__panels_pack,
    .unpack = nb__panels_unpack,
    .columns = nb__panels_columns,
    .workspace = nb__cpu_qgemm_workspace,
};
