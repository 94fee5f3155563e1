/* The packer of the CUDA backend: the layout of kernels/cuda/qgemm.h, written and read. */
#include <string.h>

#include "host/backend/cuda_qgemm.h"
#include "host/base/size.h"

bool nb__cuda_qsize(const nb_qweight *w, size_t *bytes) {
    nb__cuda_qlayout l;
    if (!nb__cuda_qlayout_make(w, &l))
        return false;
    *bytes = l.bytes;
    return true;
}

#define NO_COLUMN UINT32_MAX

/* Columns of a group keep their stored order; places fill from the left, so the first free one is found by bisection. */
static bool put_column(uint32_t *map, size_t first, size_t count, uint32_t column) {
    size_t lo = first, hi = first + count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (map[mid] == NO_COLUMN)
            hi = mid;
        else
            lo = mid + 1;
    }
    if (lo == first + count)
        return false;
    map[lo] = column;
    return true;
}

bool nb__cuda_qbegin(const nb_qweight *w, const void *g_idx, void *packed) {
    nb__cuda_qlayout l;
    uint32_t *map = packed;
    if (!nb__cuda_qlayout_make(w, &l))
        return false;
    for (size_t p = 0; p < l.map_bytes / sizeof *map; p++)
        map[p] = NO_COLUMN;
    for (size_t j = 0; l.map_bytes && j < w->k; j++) {
        uint32_t g;
        if (!w->act_order) { /* the last group may have fewer places than w->group */
            map[j / w->group * l.group_places + j % w->group] = (uint32_t)j;
            continue;
        }
        memcpy(&g, (const char *)g_idx + 4 * j, sizeof g);
        if (g >= l.groups || !put_column(map, g * l.group_places, w->group, (uint32_t)j))
            return false;
    }
    return true;
}

/* Where the code of a place stands in a tile of a unit: byte and bit of its low part; of the high bit, with 3 bits. */
typedef struct code_at {
    size_t byte, high_byte;
    unsigned bit, high_bit;
} code_at;

static code_at find_code(unsigned bits, size_t row, size_t column) {
    size_t block = column / 16 % 4, c = column % 16;
    size_t lane = row % 8 * 4 + c % 8 / 2, i = row / 8 % 2 + c / 8 * 2, half = c % 2;
    code_at at = {0};
    if (bits == 8) {
        at.byte = block / 2 * 512 + lane * 16 + block % 2 * 8 + 2 * i + half;
    } else if (bits == 4) {
        size_t bit = 4 * i + 16 * half;
        at.byte = lane * 16 + block * 4 + bit / 8;
        at.bit = (unsigned)(bit % 8);
    } else {
        static const unsigned turned[4] = {0, 1, 8, 9};
        size_t bit = block % 2 * 8 + 2 * i + 16 * half, high = (2 * i + 2 + 16 * half + turned[block]) % 32;
        at.byte = lane * 8 + block / 2 * 4 + bit / 8;
        at.bit = (unsigned)(bit % 8);
        at.high_byte = 256 + lane * 4 + high / 8;
        at.high_bit = (unsigned)(high % 8);
    }
    return at;
}

/* Bytes from the start of a panel to the tile of a place and row. */
static size_t tile_at(unsigned bits, size_t row, size_t place) {
    return (place / 64 * 2 + row / 16) * 128 * bits;
}

static void put_code(unsigned char *panel, unsigned bits, size_t row, size_t place, unsigned code) {
    unsigned char *tile = panel + tile_at(bits, row, place);
    code_at at = find_code(bits, row % 16, place);
    unsigned low = bits == 3 ? code & 3u : code;
    tile[at.byte] = (unsigned char)(tile[at.byte] | low << at.bit);
    if (bits == 3)
        tile[at.high_byte] = (unsigned char)(tile[at.high_byte] | code >> 2 << at.high_bit);
}

static unsigned get_code(const unsigned char *panel, unsigned bits, size_t row, size_t place) {
    const unsigned char *tile = panel + tile_at(bits, row, place);
    code_at at = find_code(bits, row % 16, place);
    unsigned low = bits == 3 ? 2 : bits, code = tile[at.byte] >> at.bit & ((1u << low) - 1u);
    return bits == 3 ? code | (tile[at.high_byte] >> at.high_bit & 1u) << 2 : code;
}

static size_t column_of(const nb_qweight *w, const nb__cuda_qlayout *l, const void *packed, size_t place) {
    size_t column = l->map_bytes ? ((const uint32_t *)packed)[place] : place;
    return column < w->k ? column : SIZE_MAX;
}

/* Rows r + 8 j of a group stand at [r][j]. */
static size_t param_at(size_t group, size_t row) {
    return group * NB_QC_PANEL + row % 8 * 4 + row / 8;
}

static void put_params(const nb_qweight *w, const nb__cuda_qlayout *l, size_t row, const float *scales, const float *zeros,
                       unsigned char *panel) {
    for (size_t g = 0; g < l->groups; g++) {
        unsigned char *z = panel + l->zero_at + param_at(g, row) * l->zero_bytes;
        nb_from_f32(w->scale_type, &scales[g], 1, panel + l->scale_at + param_at(g, row) * l->scale_bytes);
        if (w->offsets)
            memcpy(z, &zeros[g], sizeof zeros[g]);
        else if (!w->symmetric)
            *z = (unsigned char)zeros[g];
    }
}

void nb__cuda_qpack(const nb_qweight *w, size_t p, size_t rows, const uint8_t *codes, const float *scales, const float *zeros,
                    void *packed) {
    nb__cuda_qlayout l;
    if (!nb__cuda_qlayout_make(w, &l))
        return;
    unsigned char *panel = (unsigned char *)packed + l.map_bytes + p * l.panel_bytes;
    memset(panel, 0, l.panel_bytes);
    for (size_t place = 0; place < l.steps * NB_QC_STEP; place++) {
        size_t column = column_of(w, &l, packed, place);
        for (size_t r = 0; column != SIZE_MAX && r < rows; r++)
            put_code(panel, w->bits, r, place, codes[r * w->k + column]);
    }
    for (size_t r = 0; r < rows; r++)
        put_params(w, &l, r, scales + r * l.groups, zeros ? zeros + r * l.groups : NULL, panel);
}

void nb__cuda_qunpack(const nb_qweight *w, const void *packed, size_t row, uint8_t *codes, float *scales, float *zeros) {
    nb__cuda_qlayout l;
    if (!nb__cuda_qlayout_make(w, &l))
        return;
    const unsigned char *panel = (const unsigned char *)packed + l.map_bytes + row / NB_QC_PANEL * l.panel_bytes;
    size_t r = row % NB_QC_PANEL;
    for (size_t place = 0; place < l.steps * NB_QC_STEP; place++) {
        size_t column = column_of(w, &l, packed, place);
        if (column != SIZE_MAX)
            codes[column] = (uint8_t)get_code(panel, w->bits, r, place);
    }
    for (size_t g = 0; g < l.groups; g++) {
        const unsigned char *z = panel + l.zero_at + param_at(g, r) * l.zero_bytes;
        nb_to_f32(w->scale_type, panel + l.scale_at + param_at(g, r) * l.scale_bytes, 1, &scales[g]);
        if (w->offsets)
            memcpy(&zeros[g], z, sizeof zeros[g]);
        else
            zeros[g] = w->symmetric ? (float)(1u << (w->bits - 1)) : (float)*z;
    }
}

void nb__cuda_qcolumns(const nb_qweight *w, const void *packed, int32_t *g_idx) {
    nb__cuda_qlayout l;
    if (!nb__cuda_qlayout_make(w, &l))
        return;
    for (size_t place = 0; place < l.steps * NB_QC_STEP; place++) {
        size_t column = column_of(w, &l, packed, place);
        if (column != SIZE_MAX)
            g_idx[column] = (int32_t)(place / l.group_places);
    }
}
