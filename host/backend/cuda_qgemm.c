#include "host/backend/cuda_qgemm.h"

#include "host/base/size.h"

/* ---- where things stand ---- */

bool nb__cuda_qlayout_make(const nb_qweight *w, nb__cuda_qlayout *out) {
    nb__cuda_qlayout l = {0};
    size_t places, codes, scales, zeros, panels;
    if ((w->bits != 2 && w->bits != 3 && w->bits != 4 && w->bits != 8) || w->group == 0 || w->group > w->k ||
        w->k > INT32_MAX / 2 || w->n > INT32_MAX)
        return false;
    l.groups = nb__qweight_groups(w);
    bool padded = l.groups > 1 && w->group % 16;
    l.group_places = l.groups > 1 ? nb_ceil_div(w->group, 16) * 16 : w->k;
    size_t last = w->act_order ? l.group_places : w->k - (l.groups - 1) * w->group;
    if (!nb_mul(l.groups - 1, l.group_places, &places) || !nb_add(places, last, &places) || places > INT32_MAX)
        return false;
    l.steps = nb_ceil_div(places, NB_QC_STEP);
    l.panels = nb_ceil_div(w->n, NB_QC_PANEL);
    l.step_bytes = (size_t)NB_QC_PANEL * NB_QC_STEP / 8 * w->bits;
    l.scale_bytes = w->scale_type == NB_F32 ? 4 : 2;
    l.zero_bytes = w->offsets ? 4 : w->symmetric ? 0 : 1;
    if (!nb_mul(l.steps, l.step_bytes, &codes) || !nb_align(l.groups * NB_QC_PANEL * l.scale_bytes, 128, &scales) ||
        !nb_align(l.groups * NB_QC_PANEL * l.zero_bytes, 128, &zeros))
        return false;
    l.scale_at = codes;
    l.zero_at = codes + scales;
    l.panel_bytes = l.zero_at + zeros;
    l.map_bytes = w->act_order || padded ? l.steps * NB_QC_STEP * sizeof(uint32_t) : 0;
    if (!nb_mul(l.panels, l.panel_bytes, &panels) || !nb_add(panels, l.map_bytes, &l.bytes))
        return false;
    *out = l;
    return true;
}

/* ---- how a product is cut ---- */

/* Panels that a multiprocessor works on at once, and slices of a CTA. */
enum { RESIDENT = 8, MOST_SPLIT = 4, F32_ROWS = 4, F32_WARPS = 4, MOST_Y = 65535 };

/* Dynamic shared memory that a CTA may have; 256 bytes are left to what a kernel has of its own. */
static unsigned shared_limit(unsigned cc) {
    unsigned all = cc == 75 ? 64 : cc == 80 || cc == 87 || (cc >= 90 && cc < 120) ? 163 : 99;
    return all * 1024 - 256;
}

/* Warps of a slice, and their panels. */
static unsigned warps_of(unsigned tile) {
    return tile == 8 ? 1 : tile == 16 ? 2 : 4;
}

static unsigned panels_of(unsigned tile) {
    return tile == 8 ? 2 : warps_of(tile);
}

/* Bytes of the ring of one slice, as the kernel counts them. */
static size_t ring_bytes(const nb_qweight *w, unsigned tile, size_t m, unsigned cc) {
    unsigned stages = cc == 75 ? 2 : tile <= 16 ? 4 : 3;
    size_t rows = tile == 8 ? nb_min(m, 8) : tile;
    return stages * (rows * NB_QC_PITCH + (size_t)panels_of(tile) * w->bits * 512);
}

static size_t shared_bytes(const nb_qweight *w, unsigned tile, size_t m, unsigned split, unsigned cc) {
    size_t table = (size_t)split * tile * (32 * panels_of(tile) + 4) * sizeof(float);
    return nb_max(table, split * ring_bytes(w, tile, m, cc));
}

/* The cost of a cut, in steps: rounds of the device, each with what a CTA costs to begin and end, and the sums over CTAs. */
static size_t cost_of(const nb__cuda_qlayout *l, size_t tiles, unsigned panels, unsigned split, unsigned slices, unsigned units,
                      size_t *part) {
    size_t all = tiles * panels * split * slices, round = (size_t)units * RESIDENT;
    *part = nb_ceil_div(l->steps, split * slices);
    if (slices > 1 && (all > round || (*part * split * (slices - 1)) >= l->steps))
        return SIZE_MAX;
    return nb_ceil_div(all, round) * (*part + 4) + (slices > 1 ? 4 + slices : 0);
}

static bool cut(const nb_qweight *w, const nb__cuda_qlayout *l, size_t m, unsigned cc, unsigned units, nb__cuda_qplan *p) {
    size_t best = SIZE_MAX, tiles = (size_t)p->grid_x * p->grid_y;
    for (unsigned split = 1; split <= MOST_SPLIT; split *= 2) {
        size_t shared = shared_bytes(w, p->tile, m, split, cc);
        if (shared > shared_limit(cc) || split * p->warps > 8)
            break;
        for (unsigned slices = 1; slices <= 64; slices++) {
            size_t part, cost = cost_of(l, tiles, panels_of(p->tile), split, slices, units, &part);
            if (cost >= best)
                continue;
            best = cost;
            p->split = split;
            p->slices = slices;
            p->part = (unsigned)part;
            p->shared = (unsigned)shared;
        }
    }
    return best != SIZE_MAX;
}

/* Names outlive the plan: the device keeps them. By width, type of X and tile. */
enum { WIDTHS = 4, TYPES = 3, TILES = 4 };
#define NAMES(b)                                                                                                       \
    {{"qgemm_" #b "_f16_8", "qgemm_" #b "_f16_16", "qgemm_" #b "_f16_32", "qgemm_" #b "_f16_64"},                      \
     {"qgemm_" #b "_bf16_8", "qgemm_" #b "_bf16_16", "qgemm_" #b "_bf16_32", "qgemm_" #b "_bf16_64"},                  \
     {"qgemm_" #b "_f32_4", NULL, NULL, NULL}}
static const char *const names[WIDTHS][TYPES][TILES] = {NAMES(2), NAMES(3), NAMES(4), NAMES(8)};
#undef NAMES

static const char *kernel_name(unsigned bits, unsigned type, unsigned tile) {
    return names[bits == 8 ? 3 : bits - 2][type][tile <= 8 ? 0 : tile == 16 ? 1 : tile == 32 ? 2 : 3];
}

/* Of 8-bit X, by width and tile. */
#define NAMES(b) {"qgemm_" #b "_i8_8", "qgemm_" #b "_i8_32"}
static const char *const i8_names[WIDTHS][2] = {NAMES(2), NAMES(3), NAMES(4), NAMES(8)};
#undef NAMES

bool nb__cuda_qkernel(size_t i, unsigned cc, const char **name) {
    enum { F = WIDTHS * TYPES * TILES, I8 = 2 * WIDTHS };
    if (i > F + I8)
        return false;
    if (i >= F) {
        *name = cc < 80 ? NULL : i == F + I8 ? NB_CUDA_PREPARE : i8_names[(i - F) / 2][(i - F) % 2];
        return true;
    }
    bool bf16 = i / TILES % TYPES == 1;
    *name = bf16 && cc < 80 ? NULL : names[i / TILES / TYPES][i / TILES % TYPES][i % TILES];
    return true;
}

/* The f32 kernels: static shared memory, a panel a CTA, whose warps are the slices. */
static bool plan_f32(const nb_qweight *w, const nb__cuda_qlayout *l, size_t m, nb__cuda_qplan *out) {
    *out = (nb__cuda_qplan){.tile = F32_ROWS, .warps = 1, .split = F32_WARPS, .slices = 1};
    out->part = (unsigned)nb_ceil_div(l->steps, F32_WARPS);
    out->grid_x = (unsigned)nb_ceil_div(m, F32_ROWS);
    out->grid_y = (unsigned)l->panels;
    out->kernel = kernel_name(w->bits, 2, F32_ROWS);
    return l->panels <= MOST_Y;
}

bool nb__cuda_qplan_make(const nb_qweight *w, size_t m, nb_dtype x_type, bool exact, unsigned cc, unsigned units,
                         nb__cuda_qplan *out) {
    nb__cuda_qlayout l;
    nb__cuda_qplan p = {.tile = m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : 64};
    if (!nb__cuda_qlayout_make(w, &l) || m > INT32_MAX)
        return false;
    if (exact || x_type == NB_F32 || (x_type == NB_BF16 && cc < 80))
        return plan_f32(w, &l, m, out);
    while (shared_bytes(w, p.tile, m, 1, cc) > shared_limit(cc) || (w->offsets && p.tile > 32))
        p.tile /= 2;
    p.warps = warps_of(p.tile);
    p.grid_x = (unsigned)nb_ceil_div(m, p.tile);
    p.grid_y = (unsigned)nb_ceil_div(l.panels, panels_of(p.tile));
    if (p.grid_y > MOST_Y || !cut(w, &l, m, cc, units ? units : 1, &p))
        return false;
    if (p.slices > 1) {
        size_t tiles = (size_t)p.grid_x * p.grid_y;
        p.partial_bytes = tiles * p.slices * p.tile * panels_of(p.tile) * NB_QC_PANEL * sizeof(float);
        p.bytes = p.partial_bytes + tiles * sizeof(uint32_t);
    }
    p.kernel = kernel_name(w->bits, x_type == NB_BF16, p.tile);
    *out = p;
    return true;
}

bool nb__cuda_i8plan_make(const nb_qweight *w, size_t m, nb__cuda_i8plan *out) {
    enum { TILE = 8, TILES_OF_MANY = 4, WARPS_OF_FEW = 8, WARPS_OF_MANY = 4, UNIT_CODES = 512, UNIT_SUMS = 256 };
    nb__cuda_qlayout l;
    bool many = m > TILE;
    size_t tiles = nb_ceil_div(m, TILE), units, sums, rows = tiles * TILE;
    if (!nb__cuda_qlayout_make(w, &l) || m > INT32_MAX - 64)
        return false;
    size_t prepare_y = nb_ceil_div(l.steps, NB_CUDA_PREPARE_WARPS);
    nb__cuda_i8plan p = {.warps = many ? WARPS_OF_MANY : WARPS_OF_FEW, .grid_y = (unsigned)l.panels, .prepare_x = (unsigned)rows};
    p.part = (unsigned)nb_ceil_div(l.steps, p.warps);
    p.grid_x = (unsigned)nb_ceil_div(tiles, many ? TILES_OF_MANY : 1);
    p.prepare_y = (unsigned)prepare_y;
    p.wide = l.groups == 1 || l.group_places % 32 == 0;
    p.kernel = i8_names[w->bits == 8 ? 3 : w->bits - 2][many];
    if (!nb_mul3(tiles, l.steps, 2, &units) || !nb_mul(units, UNIT_CODES, &p.code_bytes) || !nb_mul(units, UNIT_SUMS, &sums) ||
        !nb_add(p.code_bytes, sums, &p.bytes))
        return false;
    *out = p;
    return l.panels <= MOST_Y && prepare_y <= MOST_Y;
}

/* Slices are cut only where all CTAs fit the device at once: that bounds their sums. For `fast` what either type of X needs. */
static bool cuda_workspace(const nb_qweight *w, size_t m, bool fast, unsigned units, size_t *bytes) {
    nb__cuda_qlayout l;
    nb__cuda_i8plan i8 = {0};
    size_t tile = m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : 64, panels = (size_t)(units ? units : 1) * RESIDENT;
    if (!nb__cuda_qlayout_make(w, &l) || (fast && !nb__cuda_i8plan_make(w, m, &i8)))
        return false;
    *bytes = nb_max(i8.bytes, l.steps > 1 ? panels * (tile * NB_QC_PANEL * sizeof(float) + sizeof(uint32_t)) : 0);
    return true;
}

static unsigned type_of(nb_dtype t) {
    return t == NB_F16 ? NB_CU_F16 : t == NB_BF16 ? NB_CU_BF16 : NB_CU_F32;
}

bool nb__cuda_qparams(const struct nb_qgemm_args *a, const nb__cuda_qplan *plan, const nb__cuda_qaddress *at, nb_cu_qgemm *out) {
    const nb_qweight *w = &a->w;
    nb__cuda_qlayout l;
    if (!nb__cuda_qlayout_make(w, &l))
        return false;
    bool one = l.groups == 1;
    *out = (nb_cu_qgemm){
        .panels = at->packed + l.map_bytes,
        .map = l.map_bytes ? at->packed : 0,
        .x = at->x,
        .y = at->y,
        .bias = at->bias,
        .partial = at->workspace,
        .arrived = at->workspace + plan->partial_bytes,
        .panel_bytes = l.panel_bytes,
        .scale_at = l.scale_at,
        .zero_at = l.zero_at,
        .ldx = a->ldx,
        .ldy = a->ldy,
        .m = (unsigned)a->m,
        .n = (unsigned)w->n,
        .k = (unsigned)w->k,
        .steps = (unsigned)l.steps,
        .part = plan->part,
        .slices = plan->slices,
        .groups = (unsigned)l.groups,
        .group_steps = w->offsets ? 0 : one ? (unsigned)l.steps : w->group % NB_QC_STEP ? 0 : (unsigned)(w->group / NB_QC_STEP),
        .group_blocks = one ? (unsigned)l.steps * (NB_QC_STEP / 16) : (unsigned)(l.group_places / 16),
        .bits = w->bits,
        .scale_type = type_of(w->scale_type),
        .x_type = type_of(a->x_type),
        .y_type = type_of(a->y_type),
        .zeros = w->offsets ? NB_QC_OFFSETS : w->symmetric ? NB_QC_SYMMETRIC : NB_QC_ZEROS,
        .aligned = !l.map_bytes && a->ldx % 8 == 0 && at->x % 16 == 0,
        .accumulate = a->accumulate,
    };
    return true;
}

void nb__cuda_i8params(const nb__cuda_i8plan *plan, const nb__cuda_qaddress *at, nb_cu_qgemm_i8 *io) {
    io->g.part = plan->part;
    io->g.aligned = !io->g.map && io->g.ldx % 2 == 0 && at->x % 8 == 0;
    io->codes = at->workspace;
    io->sums = at->workspace + plan->code_bytes;
    io->wide = plan->wide;
}

const nb_packer nb__packer_cuda = {
    .panel = NB_QC_PANEL,
    .size = nb__cuda_qsize,
    .begin = nb__cuda_qbegin,
    .pack = nb__cuda_qpack,
    .unpack = nb__cuda_qunpack,
    .columns = nb__cuda_qcolumns,
    .workspace = cuda_workspace,
};
