// Y = X W^T with packed W: tensor cores, W as the A operand (16 rows of W by 8 rows of X), f32 sums.
//
// A warp owns a panel of 32 rows of W and a range of steps of 128 columns. Codes come through shared memory by cp.async,
// several steps ahead, in fragment order: a lane reads its own 16 bytes. They become f16 (bf16) integers q - zero in
// registers, exactly: a code is put into the mantissa of 2^e by one lop3, and 2^e + zero is taken off. The products of a
// group (at most 128 columns) are summed by mma from zero; scales are applied to these sums in f32. So nothing of W is
// rounded, and no f16 overflows: |y - exact| <= gamma_K sum |x||w|, as on the CPU.
//
// Activations are shared by the warps of a slice; rows of 128 columns stand 272 bytes apart, so that ldmatrix and its
// filling meet no bank twice. Rows beyond m are zeros, or (of a tile of 8) read as row m - 1, and not stored.
//
// Sums of slices: inside a CTA through shared memory; over CTAs through `partial`, by the CTA that arrives last; always in
// the order of the slices.
#include "kernels/cuda/qgemm.cuh"

// ---- activations ----

template <int MT> struct qg_shape { // a tile of MT rows of X
    static constexpr int panels = MT == 8 ? 2 : 1;               // of a warp
    static constexpr int warps = MT <= 8 ? 1 : MT == 16 ? 2 : 4; // of a slice
    static constexpr int columns = 32 * panels * warps;          // rows of W of a CTA
#if __CUDA_ARCH__ >= 800
    static constexpr int stages = MT <= 16 ? 4 : 3;
#else
    static constexpr int stages = 2;
#endif
    // A thread's share of a step's X: `count` times 16 bytes, each `apart` places or `down` rows after the one before.
    static constexpr int count = MT == 8 ? 4 : MT == 64 ? 8 : 4, apart = MT == 8 ? 0 : MT == 64 ? 16 : 32,
                         down = MT == 8 ? 2 : 0;
};

// Where a thread reads X and where it puts it.
struct qg_feed {
    const uint16_t *x; // at the thread's first place of the step to load
    uint32_t to;
    unsigned row, place; // in a step
    unsigned bytes;      // 16, or 0 beyond the last row
};

template <int MT>
QG qg_feed qg_feed_at(const nb_cu_qgemm &p, unsigned m0, unsigned rows, unsigned step, int warp, int lane) {
    qg_feed f;
    if (MT == 8) { // 16 lanes a row
        f.row = lane / 16;
        f.place = lane % 16 * 8;
    } else { // two lanes a row: neighbours fill a sector, and the rows of 8 lanes are 2 apart, so that banks differ
        const int pair = lane / 2;
        f.row = pair % 4 * 2 + pair / 4 % 2 + pair / 8 * 8 + (MT == 16 ? 0 : MT == 32 ? warp % 2 * 16 : warp * 16);
        f.place = (lane % 2 + 2 * (MT == 16 ? warp : MT == 32 ? warp / 2 : 0)) * 8;
    }
    f.to = f.row * NB_QC_PITCH + f.place * 2;
    f.bytes = f.row < rows ? 16 : 0;
    f.x = (const uint16_t *)p.x + (m0 + (f.row < rows ? f.row : 0)) * p.ldx + f.place + step * NB_QC_STEP;
    return f;
}

// A step whose places are all columns, read 16 bytes at a time.
template <int MT, int TO = 0, int FROM = 0>
QG void qg_feed_whole(const nb_cu_qgemm &p, const qg_feed &f, uint32_t slot, unsigned rows) {
    typedef qg_shape<MT> s;
    if (MT == 8) {
        if (f.row >= rows)
            return;
        qg_copy16<0, 0>(slot + f.to, f.x);
        if (f.row + 2 < rows)
#pragma unroll 1
            for (unsigned i = 2; f.row + i < rows; i += 2)
                qg_copy16<0, 0>(slot + f.to + i * NB_QC_PITCH, f.x + i * p.ldx);
    } else {
        qg_each<s::count>([&](auto n) {
            constexpr int at = decltype(n)::v * s::apart * 2;
            qg_copy16_or_0<TO + at, FROM + at>(slot + f.to, f.x, f.bytes);
        });
    }
}

// Any step: value by value.
template <int MT>
QG void qg_feed_any(const nb_cu_qgemm &p, const qg_feed &f, uint32_t slot, unsigned rows, unsigned first) {
    typedef qg_shape<MT> s;
    const unsigned end = f.row < rows ? p.k : 0;
#pragma unroll 1
    for (int i = 0; i < s::count; i++) {
        const unsigned place = first + f.place + i * s::apart, down = i * s::down;
        if (MT == 8 && f.row + down >= rows)
            return;
        const uint16_t *row = f.x - f.place - first + down * p.ldx;
        uint32_t w[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            unsigned a = place + 2 * j, b = a + 1;
            if (p.map)
                a = __ldg(p.map + a), b = __ldg(p.map + b);
            w[j] = (a < end ? __ldg(row + a) : 0) | (uint32_t)(b < end ? __ldg(row + b) : 0) << 16;
        }
        qg_put16(slot + f.to + i * s::apart * 2 + down * NB_QC_PITCH, w[0], w[1], w[2], w[3]);
    }
}

// ---- results ----

template <int TYPE> QG void qg_store(const nb_cu_qgemm &p, size_t at, float v) {
    if constexpr (TYPE == NB_CU_F16) {
        __half *y = (__half *)p.y + at;
        *y = __float2half_rn(p.accumulate ? __fadd_rn(v, __half2float(*y)) : v);
    } else if constexpr (TYPE == NB_CU_BF16) {
        uint16_t *y = (uint16_t *)p.y + at;
        if (p.accumulate)
            v = __fadd_rn(v, __uint_as_float((uint32_t)*y << 16));
        const uint32_t u = __float_as_uint(v);
        *y = (uint16_t)((v != v ? u | 0x400000u : u + 0x7fffu + (u >> 16 & 1u)) >> 16);
    } else {
        float *y = (float *)p.y + at;
        *y = p.accumulate ? __fadd_rn(v, *y) : v;
    }
}

// Sums of a tile, rows by C columns: value(place) for each that a thread owns, as put(row, column, value) or into Y.
template <int C, typename V, typename P> QG void qg_sums(unsigned rows, const V &value, const P &put) {
    const unsigned threads = blockDim.x, down = threads > C ? threads / C : 1;
#pragma unroll 1
    for (unsigned c = threadIdx.x % C; c < C; c += threads)
#pragma unroll 1
        for (unsigned r = threadIdx.x / C; r < rows; r += down)
            put(r, c, value(r, c));
}

template <int C, int TYPE, typename V>
QG void qg_results_as(const nb_cu_qgemm &p, unsigned m0, unsigned n0, unsigned rows, const V &value) {
    qg_sums<C>(rows, value, [&](unsigned r, unsigned c, float v) {
        if (n0 + c < p.n)
            qg_store<TYPE>(p, (m0 + r) * p.ldy + n0 + c, p.bias ? __fadd_rn(v, __ldg(p.bias + n0 + c)) : v);
    });
}

template <int C, typename V> QG void qg_results(const nb_cu_qgemm &p, unsigned m0, unsigned n0, unsigned rows, const V &value) {
    if (p.y_type == NB_CU_F16)
        qg_results_as<C, NB_CU_F16>(p, m0, n0, rows, value);
    else if (p.y_type == NB_CU_BF16)
        qg_results_as<C, NB_CU_BF16>(p, m0, n0, rows, value);
    else
        qg_results_as<C, NB_CU_F32>(p, m0, n0, rows, value);
}

// ---- the product ----

// What a warp works with: sums of its tiles of 16 rows by MT, and what it needs of the current group.
template <int BITS, bool BF16, int MT> struct qg_warp {
    static constexpr int n8 = MT / 8, panels = qg_shape<MT>::panels, tiles = 2 * panels, step_bytes = 512 * BITS;
    float sum[tiles][n8][4], part[tiles][n8][4];
    uint32_t c[tiles][4];
    qg_four scale[panels];
    uint32_t zero[panels];
    const unsigned char *scale_at[panels], *zero_at[panels];
    // For groups that end inside of a step:
    static constexpr bool can_offset = MT < 64; // more would not fit the registers; the host knows
    unsigned left, groups_left;
    float x_sum[can_offset ? n8 : 1][4];
    qg_four offset[panels];
    uint32_t rest[tiles][2];

    QG void clear(float (*v)[n8][4]) {
#pragma unroll
        for (int t = 0; t < tiles; t++)
#pragma unroll
            for (int j = 0; j < n8; j++)
#pragma unroll
                for (int q = 0; q < 4; q++)
                    v[t][j][q] = 0.0f;
    }

    QG void constants(const uint32_t *z) {
#pragma unroll
        for (int i = 0; i < panels; i++)
            qg_constants<BITS, BF16>(z[i], c + 2 * i);
    }

    // The scales and zero points at the pointers, which then go on to the next group.
    QG void load_group(const nb_cu_qgemm &p) {
        if (p.scale_type == NB_CU_F32) {
#pragma unroll
            for (int i = 0; i < panels; i++) {
                const uint4 v = __ldg((const uint4 *)scale_at[i]);
                scale[i].v[0] = v.x, scale[i].v[1] = v.y, scale[i].v[2] = v.z, scale[i].v[3] = v.w;
                scale_at[i] += 128;
            }
        } else {
#pragma unroll
            for (int i = 0; i < panels; i++) {
                const uint2 v = __ldg((const uint2 *)scale_at[i]);
                scale[i].v[0] = v.x, scale[i].v[1] = v.y;
                scale_at[i] += 64;
            }
        }
        if (p.zeros == NB_QC_ZEROS) {
#pragma unroll
            for (int i = 0; i < panels; i++) {
                zero[i] = __ldg((const uint32_t *)zero_at[i]);
                zero_at[i] += 32;
            }
        }
    }

    // Block F of a unit with B fragments b. WIDE: what is left of zero points above 128 is taken off as well.
    template <int F, bool FIRST, bool WIDE> QG void block(const qg_words<BITS> *w, const uint32_t (*b)[2], bool wide) {
        uint32_t a[4];
#pragma unroll
        for (int t = 0; t < tiles; t++) {
            qg_dequant<BITS, BF16, F>(w[t], c[t], a);
            if constexpr (WIDE) {
                if (wide) {
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        a[i] = qg_add<BF16>(a[i], rest[t][i % 2]);
                }
            }
#pragma unroll
            for (int j = 0; j < n8; j++)
                qg_mac<BF16, FIRST>(part[t][j], a, b[j]);
        }
    }

    // B fragments of block F of a unit AT bytes after x: b[j] is rows 8 j .. 8 j + 7 of X. With 8 rows one ldmatrix serves two blocks.
    template <int AT, int F> QG void read_x(uint32_t x, uint32_t (*b)[2]) {
        if constexpr (MT == 8) {
            if constexpr (F % 2 == 0)
                qg_ldmatrix<AT + 32 * F>(b[0], x);
            else
                b[0][0] = b[1][0], b[0][1] = b[1][1];
        } else {
            qg_each<n8 / 2>([&](auto n) {
                constexpr int j = decltype(n)::v * 2;
                qg_ldmatrix<AT + 32 * F + 8 * j * NB_QC_PITCH>(b[j], x);
            });
        }
    }

    // The codes of a unit.
    template <int AT> QG void read_codes(uint32_t codes, qg_words<BITS> *w, int lane) {
        qg_each<tiles>([&](auto n) {
            constexpr int t = decltype(n)::v;
            w[t].template read<AT + t / 2 * step_bytes + t % 2 * 128 * BITS>(codes, lane);
        });
    }

    // sum += scale * part.
    QG void add(int i, const float *s) {
#pragma unroll
        for (int t = 0; t < 2; t++)
#pragma unroll
            for (int j = 0; j < n8; j++)
#pragma unroll
                for (int q = 0; q < 4; q++)
                    sum[2 * i + t][j][q] = fmaf(s[2 * t + q / 2], part[2 * i + t][j][q], sum[2 * i + t][j][q]);
    }

    QG void flush(const nb_cu_qgemm &p) {
        float s[4];
        if (p.scale_type == NB_CU_F16) {
#pragma unroll
            for (int i = 0; i < panels; i++) {
                qg_two<false>(scale[i].v[0], s), qg_two<false>(scale[i].v[1], s + 2);
                add(i, s);
            }
        } else {
#pragma unroll
            for (int i = 0; i < panels; i++) {
                if (p.scale_type == NB_CU_BF16)
                    qg_two<true>(scale[i].v[0], s), qg_two<true>(scale[i].v[1], s + 2);
                else
                    for (int j = 0; j < 4; j++)
                        s[j] = __uint_as_float(scale[i].v[j]);
                add(i, s);
            }
        }
    }

    // ---- groups that end inside of a step ----

    // Does a zero point not fit bf16 beside the magic number?
    static constexpr bool can_be_wide = BF16 && BITS < 8;

    QG bool is_wide(const nb_cu_qgemm &p, const unsigned char *const *panel, int lane) {
        uint32_t any = 0;
        if (can_be_wide && p.zeros == NB_QC_ZEROS)
            for (int i = 0; i < panels; i++)
                for (unsigned j = lane; j < p.groups * 8; j += 32)
                    any |= __vcmpgtu4(*((const uint32_t *)(panel[i] + p.zero_at) + j), 0x80808080u);
        return __any_sync(0xffffffffu, any != 0);
    }

    // Loads for a group that begins: its scales (and offsets), and the zero points of the one after it.
    QG void begin_group(const nb_cu_qgemm &p, bool wide) {
        if (p.zeros == NB_QC_ZEROS) {
#pragma unroll
            for (int i = 0; i < panels; i++) {
                uint32_t z = zero[i];
                if constexpr (can_be_wide) {
                    if (wide) {
                        const uint32_t more = __vsubus4(z, 0x80808080u); // what is above 128
                        z -= more;
#pragma unroll
                        for (int t = 0; t < 4; t++)
                            rest[2 * i + t / 2][t % 2] = qg_add<BF16>(__byte_perm(more >> 8 * t & 0xff, 0, 0x4040) + 0xc300c300u, 0x43004300u);
                    }
                }
                qg_constants<BITS, BF16>(z, c + 2 * i);
            }
        }
        if (groups_left == 0)
            return;
        groups_left--;
#pragma unroll
        for (int i = 0; i < panels; i++) {
            if (p.scale_type == NB_CU_F32) {
                const uint4 v = __ldg((const uint4 *)scale_at[i]);
                scale[i].v[0] = v.x, scale[i].v[1] = v.y, scale[i].v[2] = v.z, scale[i].v[3] = v.w;
                scale_at[i] += 128;
            } else {
                const uint2 v = __ldg((const uint2 *)scale_at[i]);
                scale[i].v[0] = v.x, scale[i].v[1] = v.y;
                scale_at[i] += 64;
            }
            if (p.zeros == NB_QC_ZEROS && groups_left) {
                zero_at[i] += 32;
                zero[i] = __ldg((const uint32_t *)zero_at[i]);
            }
            if (can_offset && p.zeros == NB_QC_OFFSETS) {
                const uint4 v = __ldg((const uint4 *)zero_at[i]);
                offset[i].v[0] = v.x, offset[i].v[1] = v.y, offset[i].v[2] = v.z, offset[i].v[3] = v.w;
                zero_at[i] += 128;
            }
        }
    }

    QG void end_group(const nb_cu_qgemm &p) {
        flush(p);
        clear(part);
        if constexpr (can_offset) {
            if (p.zeros == NB_QC_OFFSETS) {
#pragma unroll
                for (int j = 0; j < n8; j++)
#pragma unroll
                    for (int q = 0; q < 4; q++) {
#pragma unroll
                        for (int t = 0; t < tiles; t++)
                            sum[t][j][q] = fmaf(__uint_as_float(offset[t / 2].v[t % 2 * 2 + q / 2]), x_sum[j][q], sum[t][j][q]);
                        x_sum[j][q] = 0.0f;
                    }
            }
        }
    }

    QG void step_fine(const nb_cu_qgemm &p, uint32_t codes, uint32_t x, int lane, bool wide) {
#pragma unroll 1
        for (int u = 0; u < 2; u++, codes += 256 * BITS, x += 128) {
            qg_words<BITS> w[tiles];
            uint32_t b[n8 > 1 ? n8 : 2][2];
            read_codes<0>(codes, w, lane);
            qg_each<4>([&](auto nf) {
                constexpr int f = decltype(nf)::v;
                read_x<0, f>(x, b);
                block<f, false, can_be_wide>(w, b, wide);
                if constexpr (can_offset) {
                    if (p.zeros == NB_QC_OFFSETS) { // sums of X by the same units
                        const uint32_t one = BF16 ? 0x3f803f80u : 0x3c003c00u, ones[4] = {one, one, one, one};
#pragma unroll
                        for (int j = 0; j < n8; j++)
                            qg_mac<BF16, false>(x_sum[j], ones, b[j]);
                    }
                }
                if (--left == 0) {
                    left = p.group_blocks;
                    end_group(p);
                    begin_group(p, wide);
                }
            });
        }
    }

    // A step inside one group, AT bytes after codes and x.
    template <int AT = 0> QG void step(uint32_t codes, uint32_t x, int lane) {
        qg_each<2>([&](auto nu) {
            constexpr int u = decltype(nu)::v;
            qg_words<BITS> w[tiles];
            uint32_t b[n8 > 1 ? n8 : 2][2];
            read_codes<AT + 256 * BITS * u>(codes, w, lane);
            qg_each<4>([&](auto nf) {
                constexpr int f = decltype(nf)::v;
                read_x<AT + 128 * u, f>(x, b);
                block<f, u == 0 && f == 0, false>(w, b, false);
            });
        });
    }
};

template <int BITS, bool BF16, int MT> QG void qg_run(const nb_cu_qgemm &p) {
    typedef qg_shape<MT> shape;
    typedef qg_warp<BITS, BF16, MT> warp_type;
    constexpr int W = shape::warps, S = shape::stages, n8 = MT / 8, P = shape::panels, C = shape::columns;
    constexpr int step_bytes = 512 * BITS, pitch = C + 4;
    __shared__ unsigned order;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % W, slices = blockDim.x / (32 * W);
    const unsigned slice = threadIdx.x / 32 / W;
    unsigned barrier = slice + 1;
    const unsigned m0 = blockIdx.x * MT, n0 = blockIdx.y * C;
    unsigned rows = min((unsigned)MT, p.m - m0);
    const unsigned x_bytes = (MT == 8 ? rows : MT) * NB_QC_PITCH, slot_bytes = x_bytes + W * P * step_bytes,
                   ring_bytes = S * slot_bytes;
    uint32_t ring = qg_smem(nb_shared) + slice * ring_bytes;
    const unsigned first = (blockIdx.z * slices + slice) * p.part, last = min(first + p.part, p.steps);

    warp_type k;
    k.clear(k.sum);
    if (first < last) {
        const unsigned all = (p.n + 31) / 32, at = (blockIdx.y * W + warp) * P;
        const unsigned char *from[P], *panel[P];
        const unsigned group = p.group_steps ? first / p.group_steps : first * 8 / p.group_blocks;
#pragma unroll
        for (int i = 0; i < P; i++) {
            panel[i] = p.panels + min(at + i, all - 1) * p.panel_bytes;
            from[i] = panel[i] + (size_t)first * step_bytes + lane * 16;
            const size_t place = (size_t)group * 8 + lane / 4;
            k.scale_at[i] = panel[i] + p.scale_at + place * (p.scale_type == NB_CU_F32 ? 16 : 8);
            k.zero_at[i] = panel[i] + p.zero_at + place * (p.zeros == NB_QC_OFFSETS ? 16 : 4);
        }
        qg_feed feed = qg_feed_at<MT>(p, m0, rows, first, warp, lane);
        // Lane l gives row l % 8 (+ 8) of matrix l / 8; two matrices are 16 columns of 8 rows.
        const unsigned xr = MT == 8 ? min(lane % 8, rows - 1) : lane % 8 + lane / 16 * 8, xc = MT == 8 ? lane / 8 : lane / 8 % 2;
        uint32_t x_at = ring + xr * NB_QC_PITCH + xc * 16;
        uint32_t codes_at = ring + x_bytes + warp * P * step_bytes, codes_to = codes_at + lane * 16;
        // Steps before `whole` are fed 16 bytes at a time.
        unsigned load = first, stop = last, whole = p.aligned ? min(last, p.k / NB_QC_STEP) : 0;
        unsigned ring_size = ring_bytes, slot_size = slot_bytes;
        feed.to += ring;
        qg_keep(x_at), qg_keep(codes_at), qg_keep(codes_to), qg_keep(feed.to), qg_keep(feed.row), qg_keep(feed.bytes), qg_keep(rows);
        qg_keep(whole), qg_keep(stop), qg_keep(ring_size), qg_keep(slot_size), qg_keep(barrier);
        auto load_codes = [&](unsigned slot, auto to, auto ahead) { // `to` bytes after the slot, from `ahead` steps further on
            qg_each<P * BITS>([&](auto n) {
                constexpr int i = decltype(n)::v / BITS, f = decltype(n)::v % BITS * 512;
                qg_copy16<decltype(to)::v + i * step_bytes + f, decltype(ahead)::v * step_bytes + f>(codes_to + slot, from[i]);
            });
        };
        auto load_step = [&](unsigned slot) {
            if (load < whole) {
                load_codes(slot, qg_int<0>(), qg_int<0>());
                qg_feed_whole<MT>(p, feed, slot, rows);
            } else if (load < stop) {
                load_codes(slot, qg_int<0>(), qg_int<0>());
                qg_feed_any<MT>(p, feed, slot, rows, load * NB_QC_STEP);
            }
            qg_commit();
            load++;
            feed.x += NB_QC_STEP;
#pragma unroll
            for (int i = 0; i < P; i++)
                from[i] += step_bytes;
        };
        unsigned slot = 0, spent = (S - 1) * slot_bytes;
        for (int i = 0; i < P; i++)
            k.zero[i] = p.zeros == NB_QC_OFFSETS ? 0 : 0x01010101u << (BITS - 1);
        k.constants(k.zero);
        bool fine = p.group_steps == 0, wide = false;
        if constexpr (warp_type::can_be_wide)
            fine |= wide = k.is_wide(p, panel, lane);
#pragma unroll 1
        for (unsigned at_slot = 0; at_slot < (S - 1) * slot_bytes; at_slot += slot_bytes)
            load_step(at_slot);
        unsigned left = UINT32_MAX, step = first;
        if (fine) {
            k.left = p.group_blocks - first * 8 % p.group_blocks;
            k.groups_left = group < p.groups ? p.groups - group : 0;
            k.clear(k.part);
            for (int j = 0; j < (warp_type::can_offset ? n8 : 0); j++)
                for (int q = 0; q < 4; q++)
                    k.x_sum[j][q] = 0.0f;
            for (int i = 0; i < P; i++) {
                k.scale[i] = qg_four{{0, 0, 0, 0}};
                k.offset[i] = qg_four{{0, 0, 0, 0}};
                if (p.zeros == NB_QC_ZEROS && k.groups_left)
                    k.zero[i] = __ldg((const uint32_t *)k.zero_at[i]);
            }
            k.begin_group(p, wide);
        } else {
            left = p.group_steps - first % p.group_steps;
            k.load_group(p);
        }
        // The usual case with many rows: nothing to decide in a step, and the slots of the ring are constants.
        bool fast = false;
        if constexpr (MT == 64) {
            fast = !fine && whole == stop && p.scale_type == NB_CU_F16 && p.zeros == NB_QC_SYMMETRIC && p.group_steps == 1;
            if (fast) {
                constexpr int slot_fixed = MT * NB_QC_PITCH + W * P * step_bytes;
                unsigned end = stop + S - 1;
                qg_keep(end);
                // Step I of a round: false after the last one.
                auto turn = [&](auto ni) {
                    constexpr int I = decltype(ni)::v, to = (I + S - 1) % S * slot_fixed;
                    qg_wait<S - 2>();
                    qg_meet<W>(barrier);
                    if (load < stop) {
                        load_codes(0, qg_int<to>(), ni);
                        qg_feed_whole<MT, to, I * 2 * NB_QC_STEP>(p, feed, 0, rows);
                    }
                    qg_commit();
                    k.template step<I * slot_fixed>(codes_at, x_at, lane);
                    float s[4];
                    qg_two<false>(k.scale[0].v[0], s), qg_two<false>(k.scale[0].v[1], s + 2);
                    k.add(0, s);
                    if (++load == end)
                        return false;
                    const uint2 v = __ldg((const uint2 *)k.scale_at[0] + 8 * I);
                    k.scale[0].v[0] = v.x, k.scale[0].v[1] = v.y;
                    return true;
                };
#pragma unroll 1
                while (turn(qg_int<0>()) && turn(qg_int<1>()) && (S == 2 || turn(qg_int<S - 1>()))) {
                    from[0] += S * step_bytes;
                    feed.x += S * NB_QC_STEP;
                    k.scale_at[0] += S * 64;
                }
            }
        }
#pragma unroll 1
        while (!fast) {
            qg_wait<S - 2>();
            qg_meet<W>(barrier);
            load_step(spent);
            if (!fine) {
                if (p.zeros == NB_QC_ZEROS)
                    k.constants(k.zero);
                k.step(codes_at + slot, x_at + slot, lane);
                k.flush(p);
            } else {
                k.step_fine(p, codes_at + slot, x_at + slot, lane, wide);
            }
            if (++step == stop)
                break;
            if (--left == 0) {
                left = p.group_steps;
                k.load_group(p);
            }
            spent = slot;
            slot += slot_size;
            if (slot == ring_size)
                slot = 0;
        }
        if (fine)
            k.end_group(p);
    }
    // Sums of the CTA's slices.
    __syncthreads();
    float *table = (float *)nb_shared;
    {
        float *mine = table + (slice * MT + lane % 4 * 2) * pitch + warp * (32 * P) + lane / 4;
#pragma unroll
        for (int j = 0; j < n8; j++)
#pragma unroll
            for (int q = 0; q < 2; q++)
                if (8 * j + lane % 4 * 2 + q < rows)
#pragma unroll
                    for (int t = 0; t < 4 * P; t++)
                        mine[(8 * j + q) * pitch + 8 * t] = k.sum[t / 2][j][t % 2 * 2 + q];
    }
    __syncthreads();
    // Sums of the CTA's slices, in their order.
    auto sum_here = [&](unsigned r, unsigned c) {
        float v = table[r * pitch + c];
        for (int i = 1; i < slices; i++)
            v = __fadd_rn(v, table[(i * MT + r) * pitch + c]);
        return v;
    };
    if (p.slices == 1) {
        qg_results<C>(p, m0, n0, rows, sum_here);
        return;
    }
    const unsigned tile = blockIdx.y * gridDim.x + blockIdx.x;
    float *partial = p.partial + (size_t)tile * p.slices * MT * C;
    qg_sums<C>(rows, sum_here, [&](unsigned r, unsigned c, float v) { partial[(blockIdx.z * MT + r) * C + c] = v; });
    __syncthreads();
    if (threadIdx.x == 0)
        asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(order) : "l"(p.arrived + tile) : "memory");
    __syncthreads();
    if (order != p.slices - 1)
        return;
    qg_results<C>(p, m0, n0, rows, [&](unsigned r, unsigned c) {
        float v = __ldcg(partial + r * C + c);
        for (unsigned i = 1; i < p.slices; i++)
            v = __fadd_rn(v, __ldcg(partial + (i * MT + r) * C + c));
        return v;
    });
}

#define QG_KERNEL(bits, name, bf16, mt)                                                                                \
    extern "C" __global__ void __launch_bounds__(mt == 8 ? 128 : 256, mt == 8 ? 3 : 1) qgemm_##bits##_##name##_##mt(const __grid_constant__ nb_cu_qgemm p) { \
        qg_run<bits, bf16, mt>(p);                                                                                     \
    }
#define QG_KERNELS(bits, name, bf16)                                                                                   \
    QG_KERNEL(bits, name, bf16, 8)                                                                                     \
    QG_KERNEL(bits, name, bf16, 16)                                                                                    \
    QG_KERNEL(bits, name, bf16, 32)                                                                                    \
    QG_KERNEL(bits, name, bf16, 64)

QG_KERNELS(4, f16, false)
QG_KERNELS(8, f16, false)
QG_KERNELS(3, f16, false)
QG_KERNELS(2, f16, false)
#if __CUDA_ARCH__ >= 800
QG_KERNELS(4, bf16, true)
QG_KERNELS(8, bf16, true)
QG_KERNELS(3, bf16, true)
QG_KERNELS(2, bf16, true)
#endif
