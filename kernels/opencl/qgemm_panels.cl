/* Kernels for row panels of MR rows of X; their names end in MR. Follows qgemm.cl in the program, for each MR. */
#undef NAME
#undef NAME_OF
#undef NAME_TEXT
#define NAME_TEXT(name, mr) name##_##mr
#define NAME_OF(name, mr) NAME_TEXT(name, mr)
#define NAME(name) NAME_OF(name, MR)

#if BITS == 0
#if !I8
/* out[row panel][kp][MR]; a work-item is a column of a row panel. */
kernel void NAME(qgemm_prepare)(PREPARE_ARGS) {
    uint p = get_global_id(0), panel = get_global_id(1);
    if (p >= kp)
        return;
    global x_float *to = AT(x_float, out) + ((ulong)panel * kp + p) * MR;
    for (uint r = 0; r < MR; r++)
        to[r] = (x_float)packed_value(AT(const uchar, x), ldx, x_type, AT(const uint, map), act_order, k, group, span, row0,
                             rows, panel * MR + r, p);
}
#else
/* Activations rounded to 8 bits: as floats x[kp][MR] (qgemm_wide), or as bytes x[kp / 4][MR][4]. With them the step of each
 * block and minus the sum of its numbers, [blocks][MR]. A block whose largest value is below 2^-100 counts as zero; one
 * with NaN or infinity has a step of NaN. A work-item is a block of a row. */
kernel void NAME(qgemm_prepare)(PREPARE_ARGS) {
    uint blk = get_global_id(0), row = get_global_id(1), blocks = kp / block;
    if (blk >= blocks)
        return;
    float v[32];
    uint most = 0;
    for (uint i = 0; i < block; i++) {
        v[i] = packed_value(AT(const uchar, x), ldx, x_type, AT(const uint, map), act_order, k, group, span, row0,
                            rows, row, blk * block + i);
        most = max(most, as_uint(v[i]) & 0x7fffffffu);
    }
    float largest = as_float(most), step = 0.0f, inverse = 0.0f;
    if (most >= 0x7f800000u)
        step = as_float(0x7fc00000u);
    else if (largest >= 0x1p-100f) {
        step = largest / 127.0f;
        inverse = 127.0f / largest;
    }
    ulong panel = row / MR, lane = row % MR;
    int sum = 0;
    for (uint i = 0; i < block; i++) {
        int q = inverse > 0.0f ? clamp(convert_int_rte(v[i] * inverse), -127, 127) : 0;
        ulong p = panel * kp + blk * block + i;
        sum -= q;
#if NB_CL_CPU
        AT(float, out)[p * MR + lane] = (float)q;
#else
        AT(char, out)[(p / 4 * MR + lane) * 4 + p % 4] = (char)q;
#endif
    }
    ulong at = (panel * blocks + blk) * MR + lane;
    AT(float, steps)[at] = step;
    AT(int, sums)[at] = sum;
}
#endif
#elif NB_CL_CPU
/* out += offset * sum of x over `count` floats of a row panel, times its steps where it has any. */
INLINE void NAME(add_offsets)(global const float *x, uint count, global const float *steps, global const uchar *const *panel,
                 ulong zero_at, uint g, float16 *out) {
    float16 total = 0.0f; /* lane i is of row i % MR */
    float lanes[PANEL], sum[MR];
    for (uint i = 0; i < count; i += PANEL)
        total += vload16(0, x + i);
    vstore16(total, 0, lanes);
    for (uint r = 0; r < MR; r++) {
        sum[r] = 0.0f;
        for (uint i = r; i < PANEL; i += MR)
            sum[r] += lanes[i];
        if (steps)
            sum[r] *= steps[r];
    }
    for (uint c = 0; c < NR; c++) {
        float16 offset = vload16(0, (global const float *)(panel[c] + zero_at) + (ulong)g * PANEL);
        for (uint r = 0; r < MR; r++)
            out[r * NR + c] = MAD(offset, (float16)(sum[r]), out[r * NR + c]);
    }
}

/* Work-items (ceil(panels / NR), row panels). */
kernel void NAME(qgemm_wide)(PRODUCT_ARGS) {
    PRODUCT_NUMBERS
    const uint first = get_global_id(0) * NR, row_panel = get_global_id(1), panels = (n + PANEL - 1) / PANEL;
    global const float *xs = AT(const float, x) + (ulong)row_panel * kp * MR;
    global const uchar *panel[NR];
    float16 out[MR * NR], acc[SETS * MR * NR];
    if (first >= panels)
        return;
    /* The last work-item may have one panel less: it then does one twice. */
#pragma unroll
    for (uint c = 0; c < NR; c++)
        panel[c] = AT(const uchar, w) + min(first + c, panels - 1) * panel_bytes;
#pragma unroll
    for (uint i = 0; i < MR * NR; i++)
        out[i] = 0.0f;
    for (uint g = 0; g < groups; g++) {
        const uint c0 = g * span, c1 = min(c0 + span, kp);
        float16 zero[NR * PLACES];
#pragma unroll
        for (uint c = 0; c < NR; c++) {
            float16 z = load_zeros(panel[c] + zero_at, form, g);
#pragma unroll
            for (uint i = 0; i < PLACES; i++)
                zero[c * PLACES + i] = z + as_float(MAGIC(i * WIDTH));
        }
        for (uint from = c0; from < c1; from += FLUSH) {
            const uint to = min(from + FLUSH, c1);
#pragma unroll
            for (uint i = 0; i < SETS * MR * NR; i++)
                acc[i] = 0.0f;
#if BITS == 3
            for (uint col = from, u = 0; col < to; col += 4, u = (u + 1) % 8) {
                const uint at = u;
                const ulong base = (ulong)(col - 4 * u) * 2 * BITS;
#else
            for (uint col = from; col < to; col += CODES) {
                const uint at = 0;
                const ulong base = (ulong)col * 2 * BITS;
#endif
                uint16 v[NR];
                global const float *xc = xs + (ulong)col * MR;
#pragma unroll
                for (uint c = 0; c < NR; c++)
                    v[c] = load_codes((global const uint *)(panel[c] + base), at);
                if (MR == 1)
                    FETCH(panel[0] + base);
#pragma unroll
                for (uint i = 0; i < CODES; i++) {
                    const uint bit = i % PLACES * WIDTH, shift = i / PLACES * PLACES * WIDTH;
                    global const float *xi = xc + COLUMN(i) * MR;
                    const uint set = i % SETS * MR * NR;
#pragma unroll
                    for (uint c = 0; c < NR; c++) {
                        uint16 q = shift ? v[c] >> shift : v[c];
                        float16 f = as_float16((q & (MASK << bit)) | MAGIC(bit)) - zero[c * PLACES + i % PLACES];
#pragma unroll
                        for (uint r = 0; r < MR; r++)
                            acc[set + r * NR + c] = MAD(f, (float16)(xi[r]), acc[set + r * NR + c]);
                    }
                }
            }
#pragma unroll
            for (uint i = MR * NR; i < SETS * MR * NR; i++)
                acc[i % (MR * NR)] += acc[i];
            if (form == FORM_OFFSETS)
                NAME(add_offsets)(xs + (ulong)from * MR, (to - from) * MR,
#if I8
                            STEPS + ((ulong)row_panel * (kp / block) + from / block) * MR,
#else
                            0,
#endif
                            panel, zero_at, g, out);
#pragma unroll
            for (uint c = 0; c < NR; c++) {
                float16 scale = load_scales(panel[c] + scale_at + (ulong)g * PANEL * (scale_type ? 2 : 4), scale_type);
#pragma unroll
                for (uint r = 0; r < MR; r++) {
#if I8
                    float step = STEPS[((ulong)row_panel * (kp / block) + from / block) * MR + r];
                    out[r * NR + c] = MAD(acc[r * NR + c] * scale, (float16)(step), out[r * NR + c]);
#else
                    out[r * NR + c] = MAD(scale, acc[r * NR + c], out[r * NR + c]);
#endif
                }
            }
        }
    }
#pragma unroll
    for (uint r = 0; r < MR; r++)
#pragma unroll
        for (uint c = 0; c < NR; c++)
            if (row_panel * MR + r < rows && first + c < panels)
                store_row(AT(uchar, y), y_type, ldy, row0 + row_panel * MR + r, (first + c) * PANEL, n, out[r * NR + c],
                          AT(const float, bias), HAS(bias), accumulate);
}
#else
/* A group of work-items (16, SLICES) is a panel by a row panel; each slice takes its part of the blocks, and the slices' sums
 * are added in their order. */
LANES_KERNEL void NAME(qgemm_lanes)(PRODUCT_ARGS) {
    PRODUCT_NUMBERS
    local float partial[SLICES * MR * PANEL];
    const uint lane = get_local_id(0), slice = get_local_id(1), row_panel = get_group_id(1), blocks = kp / block;
    const uint first = (uint)((ulong)slice * blocks / SLICES), last = (uint)((ulong)(slice + 1) * blocks / SLICES);
    global const uchar *panel = AT(const uchar, w) + get_group_id(0) * panel_bytes;
    float out[MR], acc[MR], total[MR], scale = 0.0f, zero = 0.0f;
    for (uint r = 0; r < MR; r++)
        out[r] = acc[r] = total[r] = 0.0f;
    uint g = 0, end = first; /* first block of the next group */
    for (uint blk = first; blk < last; blk++) {
        if (blk == end) {
            ulong at;
            g = blk * block / span;
            end = (g + 1) * (span / block);
            at = (ulong)g * PANEL + lane;
            scale = load_float(panel + scale_at, scale_type, at);
            zero = load_zero(panel + zero_at, form, at);
        }
#if I8
        int sum[MR];
        global const int *minus_sum = SUMS + ((ulong)row_panel * blocks + blk) * MR;
        global const float *step = STEPS + ((ulong)row_panel * blocks + blk) * MR;
        for (uint r = 0; r < MR; r++)
            sum[r] = minus_sum[r] * (int)zero;
#endif
        for (uint col = blk * block; col < (blk + 1) * block; col += COLS) {
            global const uint *p = (global const uint *)(panel + (ulong)col * 2 * BITS) + lane;
            step_words v;
            for (uint i = 0; i < WORDS; i++)
                v.at[i] = p[i * PANEL];
#if !I8
            global const x_float *xs = AT(const x_float, x) + ((ulong)row_panel * kp + col) * MR;
#if NB_CL_SUBGROUP16
            float held[HELD];
            for (uint i = 0; i < HELD; i++)
                held[i] = xs[min(i * PANEL + lane, COLS * MR - 1)];
#endif
#endif
#pragma unroll
            for (uint u = 0; u < COLS / 4; u++) {
                const uint unit = unit_of(&v, u);
#if I8
                global const uint *xs = AT(const uint, x) + ((ulong)row_panel * (kp / 4) + col / 4 + u) * MR;
                for (uint r = 0; r < MR; r++)
                    sum[r] = dot4(unit, xs[r], sum[r]);
#else
#pragma unroll
                for (uint b = 0; b < 4; b++) {
                    const float q = (float)(unit >> 8 * b & 0xffu) - zero;
                    for (uint r = 0; r < MR; r++) {
                        const float value = X_OF((4 * u + b) * MR + r);
                        acc[r] = MAD(q, value, acc[r]);
                        if (form == FORM_OFFSETS)
                            total[r] += value;
                    }
                }
#endif
            }
        }
#if I8
        for (uint r = 0; r < MR; r++) {
            out[r] = MAD((float)sum[r] * scale, step[r], out[r]);
            total[r] -= form == FORM_OFFSETS ? step[r] * (float)minus_sum[r] : 0.0f;
        }
#endif
        if (blk + 1 == end || blk + 1 == last)
            for (uint r = 0; r < MR; r++) {
                out[r] = MAD(scale, acc[r], out[r]);
                if (form == FORM_OFFSETS)
                    out[r] = MAD(((global const float *)(panel + zero_at))[(ulong)g * PANEL + lane], total[r], out[r]);
                acc[r] = total[r] = 0.0f;
            }
    }
    for (uint r = 0; r < MR; r++)
        partial[(slice * MR + r) * PANEL + lane] = out[r];
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint col = get_group_id(0) * PANEL + lane;
    for (uint r = slice; r < MR; r += SLICES) {
        float sum = 0.0f;
        for (uint s = 0; s < SLICES; s++)
            sum += partial[(s * MR + r) * PANEL + lane];
        if (col < n && row_panel * MR + r < rows)
            store_float(AT(uchar, y), y_type, (ulong)(row0 + row_panel * MR + r) * ldy + col,
                        HAS(bias) ? sum + AT(const float, bias)[col] : sum, accumulate);
    }
}

#if MR == 8 && !I8
/* Many rows: 16 x 16 work-items make 64 rows of X by 64 of W, 16 columns at a time; each has 4 x 4 sums. Weights are read
 * once for 64 rows, and rounded once as they are scaled. */
#define TILE 64u
#define DEPTH 16u
kernel void qgemm_tile(PRODUCT_ARGS) {
    PRODUCT_NUMBERS
    local float ws[DEPTH * TILE], xs[DEPTH * TILE];
    const uint lx = get_local_id(0), ly = get_local_id(1), t = ly * 16 + lx, col0 = get_group_id(0) * TILE,
               first_row = get_group_id(1) * TILE, row_panels = (rows + MR - 1) / MR, panels = (n + PANEL - 1) / PANEL;
    /* Of W this item unpacks unit t / 64 (4 columns) of row t % 64; of X it brings 4 rows of column t / 16. */
    const uint w_row = t % TILE, unit = t / TILE, lane = w_row % PANEL, w_panel = (col0 + w_row) / PANEL,
               x_panel = (first_row + t % 16 * 4) / MR;
    global const uchar *panel = AT(const uchar, w) + min(w_panel, panels - 1) * panel_bytes;
    float acc[4][4];
    for (uint i = 0; i < 4; i++)
        for (uint j = 0; j < 4; j++)
            acc[i][j] = 0.0f;
    for (uint col = 0; col < kp; col += DEPTH) {
        const uint g = col / span, u = col % block / 4 + unit; /* of its block */
        const ulong at = (ulong)g * PANEL + lane;
        const float scale = load_float(panel + scale_at, scale_type, at), zero = load_zero(panel + zero_at, form, at),
                    offset = form == FORM_OFFSETS ? ((global const float *)(panel + zero_at))[at] : 0.0f;
        global const uint *p = (global const uint *)(panel + (ulong)(col / block * block) * 2 * BITS) + lane;
        step_words v;
#if BITS == 3
        for (uint i = 0; i < WORDS; i++)
            v.at[i] = p[i * PANEL];
        const uint four = unit_of(&v, u);
#else
        v.at[0] = p[u / PER * PANEL];
        const uint four = unit_of(&v, u % PER);
#endif
        for (uint b = 0; b < 4; b++)
            ws[(unit * 4 + b) * TILE + w_row] = MAD((float)(four >> 8 * b & 0xffu) - zero, scale, offset);
        float4 some = 0.0f;
        if (x_panel < row_panels)
            some = convert_float4(vload4(0, AT(const x_float, x) + ((ulong)x_panel * kp + col + t / 16) * MR + t % 2 * 4));
        vstore4(some, 0, xs + t / 16 * TILE + t % 16 * 4);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint kk = 0; kk < DEPTH; kk++) {
            float a[4], b[4];
            vstore4(vload4(0, xs + kk * TILE + ly * 4), 0, a);
            for (uint j = 0; j < 4; j++)
                b[j] = ws[kk * TILE + lx + 16 * j];
            for (uint i = 0; i < 4; i++)
                for (uint j = 0; j < 4; j++)
                    acc[i][j] = MAD(a[i], b[j], acc[i][j]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (uint i = 0; i < 4; i++)
        for (uint j = 0; j < 4; j++) {
            const uint row = first_row + ly * 4 + i, c = col0 + lx + 16 * j;
            if (row < rows && c < n)
                store_float(AT(uchar, y), y_type, (ulong)(row0 + row) * ldy + c,
                            HAS(bias) ? acc[i][j] + AT(const float, bias)[c] : acc[i][j], accumulate);
        }
}
#endif
#endif
