#include "kernels/cpu/qlayout.h"

#include <string.h>

#include "host/base/size.h"

/* Columns of a block: 32, or 16 where groups are then padded less. Three bits need 32 for their
 * planes. */
static unsigned pick_block(const nb_qweight *w) {
    if (w->bits == 3)
        return 32;
    return nb_ceil_div(w->group, 16) % 2 && w->group < 256 ? 16 : 32;
}

bool nb__qlayout_make(const nb_qweight *w, nb__qlayout *out) {
    nb__qlayout l = {0};
    if ((w->bits != 2 && w->bits != 3 && w->bits != 4 && w->bits != 8) || w->group == 0 ||
        w->group > w->k || w->k > UINT32_MAX / 2)
        return false;
    l.block = pick_block(w);
    l.block_bytes = (size_t)NB_PANEL * l.block * w->bits / 8;
    l.groups = nb_ceil_div(w->k, w->group);
    l.group_blocks = nb_ceil_div(w->group, l.block);
    size_t last =
        w->act_order ? l.group_blocks : nb_ceil_div(nb__group_columns(w, l.groups - 1), l.block);
    l.panels = nb_ceil_div(w->n, NB_PANEL);
    l.scale_bytes = w->scale_type == NB_F32 ? 4 : 2;
    size_t zero_bytes = w->offsets ? 4 : w->symmetric ? 0 : 1, codes, scales, zeros, panels;
    if (!nb_mul(l.groups - 1, l.group_blocks, &l.blocks) || !nb_add(l.blocks, last, &l.blocks) ||
        !nb_mul(l.blocks, l.block, &l.kp) || l.kp > UINT32_MAX ||
        !nb_mul(l.blocks, l.block_bytes, &codes) ||
        !nb_align(l.groups * NB_PANEL * l.scale_bytes, 64, &scales) ||
        !nb_align(l.groups * NB_PANEL * zero_bytes, 64, &zeros))
        return false;
    l.scale_at = codes;
    l.zero_at = codes + scales;
    l.panel_bytes = l.zero_at + zeros;
    if (!nb_align(w->act_order ? l.kp * sizeof(uint32_t) : 0, 64, &l.map_bytes) ||
        !nb_mul(l.panels, l.panel_bytes, &panels) || !nb_add(panels, l.map_bytes, &l.bytes))
        return false;
    *out = l;
    return true;
}

bool nb__qlayout_map(const nb_qweight *w, const nb__qlayout *l, const void *g_idx, uint32_t *map) {
    size_t group_span = l->group_blocks * l->block;
    for (size_t p = 0; p < l->kp; p++)
        map[p] = NB_NO_COLUMN;
    if (!g_idx) {
        for (size_t j = 0; j < w->k; j++)
            map[j / w->group * group_span + j % w->group] = (uint32_t)j;
        return true;
    }
    /* Columns of a group keep their stored order. */
    for (size_t j = 0; j < w->k; j++) {
        uint32_t g;
        memcpy(&g, (const char *)g_idx + 4 * j, sizeof g);
        if (g >= l->groups)
            return false;
        size_t at = g * group_span, end = at + w->group;
        if (end > l->kp)
            return false;
        size_t lo = at, hi = end; /* first free place by bisection: places fill from the left */
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (map[mid] == NB_NO_COLUMN)
                hi = mid;
            else
                lo = mid + 1;
        }
        if (lo == end)
            return false;
        map[lo] = (uint32_t)j;
    }
    return true;
}

/* Where code c (0..3) of unit u of a block stands: byte and shift of its low part; 3 bits have a
 * high part as well. */
static void put_code(unsigned char *block, unsigned bits, size_t row, size_t u, size_t c,
                     unsigned code) {
    size_t byte = 4 * row + c;
    if (bits == 3) {
        block[u / 4 * 64 + byte] |= (unsigned char)((code & 3u) << 2 * (u % 4));
        block[128 + byte] |= (unsigned char)((code >> 2) << u);
        return;
    }
    size_t per = 8 / bits;
    block[u / per * 64 + byte] |= (unsigned char)(code << bits * (u % per));
}

static unsigned get_code(const unsigned char *block, unsigned bits, size_t row, size_t u,
                         size_t c) {
    size_t byte = 4 * row + c;
    if (bits == 3)
        return ((unsigned)block[u / 4 * 64 + byte] >> 2 * (u % 4) & 3u) | ((unsigned)block[128 + byte] >> u & 1u) << 2;
    size_t per = 8 / bits;
    return (unsigned)block[u / per * 64 + byte] >> bits * (u % per) & ((1u << bits) - 1u);
}

static void pack_params(const nb_qweight *w, const nb__qlayout *l, size_t r, const float *scales,
                        const float *zeros, unsigned char *panel) {
    for (size_t g = 0; g < l->groups; g++) {
        size_t at = g * NB_PANEL + r;
        nb_from_f32(w->scale_type, &scales[g], 1, panel + l->scale_at + at * l->scale_bytes);
        if (w->offsets)
            memcpy(panel + l->zero_at + 4 * at, &zeros[g], sizeof zeros[g]);
        else if (!w->symmetric)
            panel[l->zero_at + at] = (unsigned char)zeros[g];
    }
}

/* The stored column of packed place p, for weights without a map. */
size_t nb__qpanel_column(const nb_qweight *w, const nb__qlayout *l, const uint32_t *map, size_t p) {
    if (map)
        return map[p];
    size_t span = l->group_blocks * l->block, g = p / span, off = p % span;
    return off < nb__group_columns(w, g) ? g * w->group + off : NB_NO_COLUMN;
}

unsigned nb__qpanel_code(const nb_qweight *w, const nb__qlayout *l, const unsigned char *panel,
                         size_t r, size_t p) {
    return get_code(panel + p / l->block * l->block_bytes, w->bits, r, p % l->block / 4, p % 4);
}

void nb__qpanel_pack(const nb_qweight *w, const nb__qlayout *l, const uint32_t *map, size_t rows,
                     const uint8_t *codes, const float *scales, const float *zeros,
                     unsigned char *panel) {
    memset(panel, 0, l->panel_bytes);
    for (size_t p = 0; p < l->kp; p++) {
        size_t j = nb__qpanel_column(w, l, map, p);
        if (j == NB_NO_COLUMN)
            continue;
        unsigned char *block = panel + p / l->block * l->block_bytes;
        for (size_t r = 0; r < rows; r++)
            put_code(block, w->bits, r, p % l->block / 4, p % 4, codes[r * w->k + j]);
    }
    for (size_t r = 0; r < rows; r++)
        pack_params(w, l, r, scales + r * l->groups, zeros ? zeros + r * l->groups : NULL, panel);
}
