/* shfl, vote, match, redux, memory widths and spaces, atomics, ldmatrix, mma against scalar C. */
#include "rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint32_t u32;
typedef uint64_t u64;

static const char *const decl = ".reg .pred %p<6>; .reg .b16 %h<8>; .reg .b32 %r<40>; .reg .b64 "
                                "%d<12>; .shared .align 16 .b8 sm[8192];";
#define PRE                                                                                        \
    "ld.param.u64 %d0,[out]; ld.param.u64 %d1,[a]; ld.param.u64 %d2,[b]; ld.param.u64 %d3,[c]; "   \
    "mov.u32 %r0,%tid.x; mov.u32 %r1,sm;"
/* %r2 = a[tid], %r3 = b[tid]; ends with out[tid] = %r4 */
#define LOADS                                                                                      \
    PRE "mul.wide.u32 %d4,%r0,4; add.u64 %d5,%d1,%d4; ld.global.u32 %r2,[%d5]; add.u64 "           \
        "%d5,%d2,%d4; ld.global.u32 %r3,[%d5]; add.u64 %d6,%d0,%d4;"
#define STORE "st.global.u32 [%d6],%r4;"

static void go(const char *body, const u32 *a, const u32 *b, u32 *o, int n, int target) {
    char text[4096];
    snprintf(text, sizeof text, "%s%s%s", LOADS, body, STORE);
    CUfunction f = rig_ptx(target, decl, text);
    CUdeviceptr da = rig_upload(a, (size_t)n * 4), db = rig_upload(b, (size_t)n * 4),
                d = rig_alloc((size_t)n * 4);
    OK(cuMemsetD32(d, 0, (size_t)n));
    void *args[] = {&d, &da, &db, &db};
    CUresult r = rig_launch(f, 1, (unsigned)n, 0, args);
    cr_assert_eq(r, CUDA_SUCCESS, "%s: %s", body, cuda_sim_finding());
    rig_download(o, d, (size_t)n * 4);
}

Test(warp, shuffles) {
    static const char *const modes[] = {"up", "down", "bfly", "idx"};
    static const u32 cs[] = {0x1f, 0x181f, 0x1c1f, 0x1010 | 0xf, 0, 0x0f00};
    u32 a[32], b[32], o[32];
    u64 s = 1;
    rig_start(80, 0);
    for (int m = 0; m < 4; m++)
        for (int k = 0; k < 6; k++)
            for (int v = 0; v < 8; v++) {
                char body[300];
                for (int i = 0; i < 32; i++) {
                    a[i] = (u32)rig_rand(&s) & 0xffffff;
                    b[i] = v < 6 ? (u32)v * 5 : (u32)rig_rand(&s) % 40;
                }
                snprintf(body, sizeof body,
                         "shfl.sync.%s.b32 %%r4|%%p1,%%r2,%%r3,0x%x,-1; selp.b32 "
                         "%%r5,0x1000000,0,%%p1; or.b32 %%r4,%%r4,%%r5;",
                         modes[m], cs[k]);
                go(body, a, b, o, 32, 80);
                for (int l = 0; l < 32; l++) {
                    /* the PTX manual's pseudocode */
                    int bv = (int)(b[l] & 31), cv = (int)(cs[k] & 31),
                        mask = (int)(cs[k] >> 8 & 31), j, p;
                    int maxl = (l & mask) | (cv & ~mask), minl = l & mask;
                    if (m == 0)
                        j = l - bv, p = j >= maxl;
                    else if (m == 1)
                        j = l + bv, p = j <= maxl;
                    else if (m == 2)
                        j = l ^ bv, p = j <= maxl;
                    else
                        j = minl | (bv & ~mask), p = j <= maxl;
                    if (!p)
                        j = l;
                    cr_assert_eq(o[l], a[j] | (p ? 0x1000000u : 0u), "%s c %x lane %d b %d: %x",
                                 modes[m], cs[k], l, bv, o[l]);
                }
                if (v == 7)
                    cuda_sim_reset(), rig_start(80, 0);
            }
}

Test(warp, votes_and_reductions) {
    u32 a[64], b[64], o[64];
    u64 s = 2;
    for (int i = 0; i < 64; i++)
        a[i] = (u32)rig_rand(&s), b[i] = (u32)rig_rand(&s) % 3;
    static const struct {
        const char *body;
        int k;
    } t[] = {{"setp.ne.u32 %p1,%r3,0; vote.sync.ballot.b32 %r4,%p1,-1;", 0},
             {"setp.ne.u32 %p1,%r3,0; vote.sync.any.pred %p2,%p1,-1; selp.b32 %r4,1,0,%p2;", 1},
             {"setp.ne.u32 %p1,%r3,7; vote.sync.all.pred %p2,%p1,-1; selp.b32 %r4,1,0,%p2;", 2},
             {"setp.ne.u32 %p1,%r3,0; vote.sync.ballot.b32 %r4,!%p1,-1;", 3},
             {"redux.sync.add.u32 %r4,%r2,-1;", 4},
             {"redux.sync.min.s32 %r4,%r2,-1;", 5},
             {"redux.sync.max.u32 %r4,%r2,-1;", 6},
             {"redux.sync.xor.b32 %r4,%r2,-1;", 7},
             {"match.any.sync.b32 %r4,%r3,-1;", 8},
             {"match.all.sync.b32 %r4|%p1,%r3,-1;", 9},
             {"activemask.b32 %r4;", 10},
             {"mov.u32 %r4,%lanemask_lt;", 11},
             {"mov.u32 %r4,%laneid;", 12},
             {"setp.ne.u32 %p1,%r3,0; bar.red.popc.u32 %r4,0,%p1;", 13},
             {"setp.ne.u32 %p1,%r3,0; bar.red.and.pred %p2,0,%p1; selp.b32 %r4,1,0,%p2;", 14},
             {"setp.ne.u32 %p1,%r3,0; bar.red.or.pred %p2,0,!%p1; selp.b32 %r4,1,0,%p2;", 15}};
    for (size_t k = 0; k < sizeof t / sizeof *t; k++) {
        rig_start(80, 1);
        go(t[k].body, a, b, o, 64, 80);
        u32 pop = 0;
        for (int i = 0; i < 64; i++)
            pop += b[i] != 0;
        for (int w = 0; w < 2; w++) {
            u32 bal = 0, add = 0, x = 0, mxu = 0;
            int mns = 0x7fffffff;
            for (int l = 0; l < 32; l++) {
                u32 v = a[32 * w + l];
                bal |= (u32)(b[32 * w + l] != 0) << l;
                add += v, x ^= v;
                mxu = v > mxu ? v : mxu;
                mns = (int)v < mns ? (int)v : mns;
            }
            for (int l = 0; l < 32; l++) {
                u32 any = 0;
                for (int j = 0; j < 32; j++)
                    any |= (u32)(b[32 * w + j] == b[32 * w + l]) << j;
                const u32 want[] = {bal,      bal != 0,      1,      ~bal, add,
                                    (u32)mns, mxu,           x,      any,  any == ~0u ? ~0u : 0,
                                    ~0u,      (1u << l) - 1, (u32)l, pop,  pop == 64,
                                    pop != 64};
                cr_assert_eq(o[32 * w + l], want[t[k].k], "%s warp %d lane %d: %x, expected %x",
                             t[k].body, w, l, o[32 * w + l], want[t[k].k]);
            }
        }
        cuda_sim_reset();
    }
}

/* Lanes that took another way come back for the shuffle; a loop of unequal length reconverges. */
Test(warp, divergence) {
    u32 a[32], b[32], o[32];
    for (u32 i = 0; i < 32; i++)
        a[i] = i * 3 % 7, b[i] = 0;
    rig_start(80, 1);
    go("mov.u32 %r4,0; mov.u32 %r6,0;\nL1: setp.ge.u32 %p1,%r6,%r2; @%p1 bra L2; add.u32 "
       "%r6,%r6,1; mad.lo.u32 %r4,%r4,3,%r6; bra L1;\n"
       "L2: setp.lt.u32 %p2,%r2,3; @%p2 bra L3; add.u32 %r4,%r4,100; bra L4;\nL3: add.u32 "
       "%r4,%r4,7;\nL4: shfl.sync.bfly.b32 %r5,%r4,1,31,-1; add.u32 %r4,%r4,%r5;",
       a, b, o, 32, 80);
    u32 v[32];
    for (int l = 0; l < 32; l++) {
        v[l] = 0;
        for (u32 k = 1; k <= a[l]; k++)
            v[l] = v[l] * 3 + k;
        v[l] += a[l] < 3 ? 7 : 100;
    }
    for (int l = 0; l < 32; l++)
        cr_assert_eq(o[l], v[l] + v[l ^ 1]);
    cuda_sim_reset();
    /* brx.idx and calls are in the zoo; a lane that holds a lock while a neighbour spins must get
     * on */
    rig_start(80, 0);
    go("mov.u32 %r4,0; and.b32 %r5,%r0,3; mov.u64 %d7,%d3;\nT: atom.global.cas.b32 %r6,[%d7],0,1; "
       "setp.ne.u32 %p1,%r6,0; @%p1 bra T;\n"
       "ld.volatile.global.u32 %r7,[%d7+4]; add.u32 %r7,%r7,1; st.volatile.global.u32 [%d7+4],%r7; "
       "membar.gl; atom.global.exch.b32 %r8,[%d7],0; mov.u32 %r4,%r7;",
       a, b, o, 32, 80);
    u32 seen = 0;
    for (int l = 0; l < 32; l++)
        seen |= 1u << (o[l] - 1);
    cr_assert_eq(seen, ~0u, "%x", seen);
}

/* Every width and vector through global and shared memory, signed and unsigned. */
Test(warp, loads_and_stores) {
    unsigned char a[32 * 16], o[32 * 16];
    u64 s = 3;
    for (size_t i = 0; i < sizeof a; i++)
        a[i] = (unsigned char)rig_rand(&s);
    static const struct {
        const char *ty;
        int n;
        const char *regs;
    } t[] = {{"u8", 1, "%h1"},           {"b16", 2, "%h1"},
             {"u32", 4, "%r4"},          {"b64", 8, "%d7"},
             {"v2.u8", 2, "{%h1,%h2}"},  {"v4.u8", 4, "{%h1,%h2,%h3,%h4}"},
             {"v2.b16", 4, "{%h1,%h2}"}, {"v4.u16", 8, "{%h1,%h2,%h3,%h4}"},
             {"v2.u32", 8, "{%r4,%r5}"}, {"v4.u32", 16, "{%r4,%r5,%r6,%r7}"},
             {"v2.u64", 16, "{%d7,%d8}"}};
    static const char *const way[] = {
        "ld.global.%s %s,[%%d5]; st.global.%s [%%d6],%s;",
        "ld.global.nc.L1::no_allocate.L2::128B.%s %s,[%%d5]; st.global.wt.%s [%%d6],%s;",
        "ld.%s %s,[%%d5]; st.%s [%%d6],%s;",
        "ld.volatile.global.%s %s,[%%d5]; st.volatile.global.%s [%%d6],%s;"};
    for (int w = 0; w < 5; w++)
        for (size_t k = 0; k < sizeof t / sizeof *t; k++) {
            char acc[400], body[2000];
            if (w < 4)
                snprintf(acc, sizeof acc, way[w], t[k].ty, t[k].regs, t[k].ty, t[k].regs);
            else
                snprintf(acc, sizeof acc,
                         "ld.global.%s %s,[%%d5]; mad.lo.u32 %%r10,%%r0,16,%%r1; st.shared.%s "
                         "[%%r10],%s; ld.shared.%s %s,[%%r10]; st.global.%s [%%d6],%s;",
                         t[k].ty, t[k].regs, t[k].ty, t[k].regs, t[k].ty, t[k].regs, t[k].ty,
                         t[k].regs);
            snprintf(
                body, sizeof body,
                "%smul.wide.u32 %%d4,%%r0,16; add.u64 %%d5,%%d1,%%d4; add.u64 %%d6,%%d0,%%d4; %s",
                PRE, acc);
            rig_start(80, 1);
            CUfunction f = rig_ptx(80, decl, body);
            CUdeviceptr da = rig_upload(a, sizeof a), d = rig_alloc(sizeof o);
            OK(cuMemsetD8(d, 0xee, sizeof o));
            void *args[] = {&d, &da, &da, &da};
            OK(rig_launch(f, 1, 32, 0, args));
            rig_download(o, d, sizeof o);
            for (int i = 0; i < 32; i++)
                for (int j = 0; j < 16; j++)
                    cr_assert_eq(o[16 * i + j], j < t[k].n ? a[16 * i + j] : 0xee,
                                 "%s way %d lane %d byte %d", t[k].ty, w, i, j);
            cuda_sim_reset();
        }
    u32 x[32], y[32], r[32];
    for (u32 i = 0; i < 32; i++)
        x[i] = i * 0x01234567u + 0x80f0u, y[i] = 0;
    rig_start(80, 1);
    go("add.u64 %d7,%d1,%d4; ld.global.s8 %r5,[%d7]; ld.global.s16 %r6,[%d7]; add.s32 %r4,%r5,%r6;",
       x, y, r, 32, 80);
    for (int i = 0; i < 32; i++)
        cr_assert_eq(r[i], (u32)((int)(int8_t)x[i] + (int)(int16_t)x[i]));
}

Test(warp, atomics) {
    static const struct {
        const char *op;
        int k;
    } t[] = {{"add.u32", 0}, {"min.s32", 1}, {"max.u32", 2}, {"and.b32", 3}, {"or.b32", 4},
             {"xor.b32", 5}, {"inc.u32", 6}, {"dec.u32", 7}, {"exch.b32", 8}};
    u32 a[64], b[64] = {0}, o[64];
    u64 s = 4;
    for (int i = 0; i < 64; i++)
        a[i] = (u32)rig_rand(&s);
    for (size_t k = 0; k < sizeof t / sizeof *t; k++)
        for (int sh = 0; sh < 2; sh++) {
            char body[400];
            const u32 start = 0x12345678u;
            rig_start(80, 1);
            b[0] = start;
            if (sh)
                snprintf(body, sizeof body,
                         "mov.u32 %%r6,0x%x; setp.eq.u32 %%p1,%%r0,0; @%%p1 st.shared.u32 "
                         "[sm],%%r6; bar.sync 0; atom.shared.%s %%r4,[sm],%%r2; bar.sync 0; @%%p1 "
                         "ld.shared.u32 %%r4,[sm];",
                         start, t[k].op);
            else
                snprintf(body, sizeof body,
                         "atom.relaxed.gpu.global.%s %%r4,[%%d3],%%r2; setp.eq.u32 %%p1,%%r0,0; "
                         "bar.sync 0; @%%p1 ld.volatile.global.u32 %%r4,[%%d3];",
                         t[k].op);
            go(body, a, b, o, 64, 80);
            u32 v = start;
            for (int i = 0; i < 64; i++) {
                u32 x = a[i], old = v;
                switch (t[k].k) {
                case 0:
                    v += x;
                    break;
                case 1:
                    v = (int)x < (int)v ? x : v;
                    break;
                case 2:
                    v = x > v ? x : v;
                    break;
                case 3:
                    v &= x;
                    break;
                case 4:
                    v |= x;
                    break;
                case 5:
                    v ^= x;
                    break;
                case 6:
                    v = v >= x ? 0 : v + 1;
                    break;
                case 7:
                    v = v == 0 || v > x ? x : v - 1;
                    break;
                default:
                    v = x;
                    break;
                }
                if (i && t[k].k != 8 && !sh) /* warps and lanes come in order here */
                    cr_assert_eq(o[i], old, "%s lane %d shared %d: %x, expected %x", t[k].op, i, sh,
                                 o[i], old);
            }
            if (t[k].k < 6 || (t[k].k != 8 && !sh))
                cr_assert_eq(o[0], v, "%s: %x %x", t[k].op, o[0], v);
            cuda_sim_reset();
        }
    float fs = 0, got;
    rig_start(80, 1);
    for (u32 i = 0; i < 64; i++) {
        float x = (float)i * 0.5f;
        memcpy(&a[i], &x, 4);
        fs += x;
    }
    b[0] = 0;
    go("red.global.add.f32 [%d3],%r2; bar.sync 0; ld.volatile.global.u32 %r4,[%d3];", a, b, o, 64,
       80);
    memcpy(&got, &o[9], 4);
    cr_assert_eq(got, fs);
    cuda_sim_reset();
    rig_start(80, 1);
    b[0] = b[1] = 0;
    go("cvt.u64.u32 %d7,%r0; add.u64 %d7,%d7,0x100000000; atom.global.add.u64 %d8,[%d3],%d7; "
       "bar.sync 0; ld.volatile.global.u64 %d9,[%d3]; shr.u64 %d9,%d9,32; cvt.u32.u64 %r4,%d9;",
       a, b, o, 64, 80);
    cr_assert_eq(o[5], 64);
}

/* ---- matrices ---- */

Test(warp, ldmatrix_and_stmatrix) {
    static uint16_t m[4][8][8];
    u32 o[32 * 4];
    for (int i = 0; i < 256; i++)
        (&m[0][0][0])[i] = (uint16_t)(i * 257 + 3);
    for (int trans = 0; trans < 2; trans++)
        for (int x = 1; x <= 4; x *= 2)
            for (int st = 0; st < 2; st++) {
                char body[2000];
                const char *regs = x == 1   ? "{%r10}"
                                   : x == 2 ? "{%r10,%r11}"
                                            : "{%r10,%r11,%r12,%r13}";
                const char *tr = trans ? ".trans" : "";
                char again[200] = "";
                if (st) /* back through stmatrix of the same kind, then plainly */
                    snprintf(
                        again, sizeof again,
                        "bar.warp.sync -1; stmatrix.sync.aligned.m8n8.x%d%s.shared.b16 [%%r8],%s; "
                        "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 %s,[%%r8];",
                        x, tr, regs, x, tr, regs);
                snprintf(
                    body, sizeof body,
                    "%smov.u32 %%r10,0; mov.u32 %%r11,0; mov.u32 %%r12,0; mov.u32 %%r13,0; "
                    "mul.wide.u32 %%d4,%%r0,16; add.u64 %%d5,%%d1,%%d4; ld.global.v4.u32 "
                    "{%%r2,%%r3,%%r4,%%r5},[%%d5];"
                    "mad.lo.u32 %%r8,%%r0,16,%%r1; st.shared.v4.u32 [%%r8],{%%r2,%%r3,%%r4,%%r5}; "
                    "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 %s,[%%r8]; %s"
                    "add.u64 %%d6,%%d0,%%d4; st.global.v4.u32 [%%d6],{%%r10,%%r11,%%r12,%%r13};",
                    PRE, x, tr, regs, again);
                rig_start(90, 1);
                CUfunction f = rig_ptx(90, decl, body);
                CUdeviceptr da = rig_upload(m, sizeof m), d = rig_alloc(sizeof o);
                void *args[] = {&d, &da, &da, &da};
                CUresult r = rig_launch(f, 1, 32, 0, args);
                cr_assert_eq(r, CUDA_SUCCESS, "%s", cuda_sim_finding());
                rig_download(o, d, sizeof o);
                for (int l = 0; l < 32; l++)
                    for (int k = 0; k < 4; k++) {
                        int g = l / 4, t = l % 4;
                        u32 want = k >= x  ? 0
                                   : trans ? m[k][2 * t][g] | (u32)m[k][2 * t + 1][g] << 16
                                           : m[k][g][2 * t] | (u32)m[k][g][2 * t + 1] << 16;
                        cr_assert_eq(o[4 * l + k], want, "x%d trans %d st %d lane %d matrix %d", x,
                                     trans, st, l, k);
                    }
                cuda_sim_reset();
            }
}

typedef struct mm {
    const char *op;
    int k, kind, acc, na, nb, target;
} mm; /* kind 0 f16, 1 bf16, 2 tf32, 3 s8 */
static const mm mms[] = {{"m16n8k8.row.col.f32.f16.f16.f32", 8, 0, 0, 2, 1, 75},
                         {"m16n8k16.row.col.f32.f16.f16.f32", 16, 0, 0, 4, 2, 80},
                         {"m16n8k8.row.col.f16.f16.f16.f16", 8, 0, 1, 2, 1, 75},
                         {"m16n8k16.row.col.f16.f16.f16.f16", 16, 0, 1, 4, 2, 80},
                         {"m16n8k8.row.col.f32.bf16.bf16.f32", 8, 1, 0, 2, 1, 80},
                         {"m16n8k16.row.col.f32.bf16.bf16.f32", 16, 1, 0, 4, 2, 80},
                         {"m16n8k8.row.col.f32.tf32.tf32.f32", 8, 2, 0, 4, 2, 80},
                         {"m16n8k4.row.col.f32.tf32.tf32.f32", 4, 2, 0, 2, 1, 80},
                         {"m16n8k32.row.col.s32.s8.s8.s32", 32, 3, 2, 4, 2, 80},
                         {"m16n8k16.row.col.s32.s8.s8.s32", 16, 3, 2, 2, 1, 80},
                         {"m16n8k16.row.col.s32.u8.s8.s32", 16, 3, 2, 2, 1, 80},
                         {"m16n8k16.row.col.s32.s8.u8.s32", 16, 3, 2, 2, 1, 80},
                         {"m16n8k32.row.col.s32.u8.s8.s32", 32, 3, 2, 4, 2, 80}};

/* Element (row, k) of A as the manual lays it out: register and position for a lane. */
static void place_a(const mm *t, int row, int k, int *lane, int *reg, int *pos) {
    int per = t->kind == 3   ? 4
              : t->kind == 2 ? 1
                             : 2,
        half = 4 * per; /* elements of k covered by one register column */
    *lane = row % 8 * 4 + k % half / per;
    *reg = row / 8 + 2 * (k / half);
    *pos = k % per;
}
static void place_b(const mm *t, int k, int n, int *lane, int *reg, int *pos) {
    int per = t->kind == 3 ? 4 : t->kind == 2 ? 1 : 2, half = 4 * per;
    *lane = n * 4 + k % half / per;
    *reg = k / half;
    *pos = k % per;
}
static u32 code(const mm *t, int v) /* small integers in each format */
{
    float f = (float)v;
    u32 b;
    memcpy(&b, &f, 4);
    return t->kind == 0   ? rig_half((double)v)
           : t->kind == 1 ? b >> 16
           : t->kind == 2 ? b
                          : (u32)(v & 255);
}

Test(warp, mma_shapes) {
    for (size_t q = 0; q < sizeof mms / sizeof *mms; q++) {
        const mm *t = &mms[q];
        u32 in[32 * 16] = {0}, o[32 * 4];
        int A[16][32], B[32][8], C[16][8];
        u64 s = q + 1;
        const int bits = t->kind == 3 ? 8 : t->kind == 2 ? 32 : 16;
        for (int r = 0; r < 16; r++)
            for (int k = 0; k < t->k; k++) {
                int l, g, p;
                A[r][k] = strstr(t->op, ".u8.s8") ? (int)(rig_rand(&s) % 256) : (int)(rig_rand(&s) % 17) - 8;
                place_a(t, r, k, &l, &g, &p);
                in[16 * l + g] |= code(t, A[r][k]) << (bits == 32 ? 0 : bits * p);
            }
        for (int k = 0; k < t->k; k++)
            for (int n = 0; n < 8; n++) {
                int l, g, p;
                B[k][n] = strstr(t->op, ".s8.u8") ? (int)(rig_rand(&s) % 256) : (int)(rig_rand(&s) % 17) - 8;
                place_b(t, k, n, &l, &g, &p);
                in[16 * l + 4 + g] |= code(t, B[k][n]) << (bits == 32 ? 0 : bits * p);
            }
        for (int r = 0; r < 16; r++)
            for (int n = 0; n < 8; n++) {
                int l = r % 8 * 4 + n / 2;
                float f = (float)(C[r][n] = (int)(rig_rand(&s) % 41) - 20);
                if (t->acc == 1)
                    in[16 * l + 8 + r / 8] |= (u32)rig_half((double)f) << 16 * (n % 2);
                else if (t->acc == 2)
                    in[16 * l + 8 + 2 * (r / 8) + n % 2] = (u32)C[r][n];
                else
                    memcpy(&in[16 * l + 8 + 2 * (r / 8) + n % 2], &f, 4);
            }
        char body[1500];
        const char *ra = t->na == 2 ? "{%r10,%r11}" : "{%r10,%r11,%r12,%r13}",
                   *rb = t->nb == 1 ? "{%r14}" : "{%r14,%r15}";
        const char *rc = t->acc == 1 ? "{%r18,%r19}" : "{%r18,%r19,%r20,%r21}",
                   *rd = t->acc == 1 ? "{%r22,%r23}" : "{%r22,%r23,%r24,%r25}";
        snprintf(body, sizeof body,
                 "%smov.u32 %%r24,0; mov.u32 %%r25,0; mul.wide.u32 %%d4,%%r0,64; add.u64 "
                 "%%d5,%%d1,%%d4; ld.global.v4.u32 {%%r10,%%r11,%%r12,%%r13},[%%d5]; "
                 "ld.global.v4.u32 {%%r14,%%r15,%%r16,%%r17},[%%d5+16];"
                 "ld.global.v4.u32 {%%r18,%%r19,%%r20,%%r21},[%%d5+32]; mma.sync.aligned.%s "
                 "%s,%s,%s,%s; mul.wide.u32 %%d4,%%r0,16; add.u64 %%d6,%%d0,%%d4; st.global.v4.u32 "
                 "[%%d6],{%%r22,%%r23,%%r24,%%r25};",
                 PRE, t->op, rd, ra, rb, rc);
        rig_start(80, 1);
        CUfunction f = rig_ptx(t->target, decl, body);
        CUdeviceptr da = rig_upload(in, sizeof in), d = rig_alloc(sizeof o);
        void *args[] = {&d, &da, &da, &da};
        OK(rig_launch(f, 1, 32, 0, args));
        rig_download(o, d, sizeof o);
        for (int r = 0; r < 16; r++)
            for (int n = 0; n < 8; n++) {
                int want = C[r][n],
                    l = r % 8 * 4 + n / 2; /* exact in every format: |sum| <= 32 * 64 + 20 */
                for (int k = 0; k < t->k; k++)
                    want += A[r][k] * B[k][n];
                float got;
                if (t->acc == 1) {
                    got = rig_float((uint16_t)(o[4 * l + r / 8] >> 16 * (n % 2)));
                } else if (t->acc == 2) {
                    got = (float)(int)o[4 * l + 2 * (r / 8) + n % 2];
                } else {
                    memcpy(&got, &o[4 * l + 2 * (r / 8) + n % 2], 4);
                }
                cr_assert_eq(got, (float)want, "%s row %d column %d: %g, expected %d", t->op, r, n,
                             (double)got, want);
            }
        cuda_sim_reset();
    }
}

Test(warp, counters_are_exact) {
    u32 a[64] = {0}, b[64] = {0}, o[64];
    rig_start(80, 1);
    /* stride-2 words of shared memory: two wavefronts; broadcast: one */
    go("shl.b32 %r5,%r0,3; add.u32 %r5,%r5,%r1; st.shared.u32 [%r5],%r2; bar.sync 0; ld.shared.u32 "
       "%r4,[sm];",
       a, b, o, 64, 80);
    cr_assert_eq(rig_counter("wavefronts"), 2 * 2 + 2 * 1);
    cr_assert_eq(rig_counter("wavefronts_ideal"), 4);
    cr_assert_eq(rig_counter("barriers"), 2);
    /* three coalesced requests a warp, 4 sectors each */
    cr_assert_eq(rig_counter("sectors"), 2 * 3 * 4);
    cr_assert_eq(rig_counter("sectors_ideal"), 2 * 3 * 4);
    long long n = rig_counter("warp_instructions");
    go("shl.b32 %r5,%r0,3; add.u32 %r5,%r5,%r1; st.shared.u32 [%r5],%r2; bar.sync 0; ld.shared.u32 "
       "%r4,[sm];",
       a, b, o, 64, 80);
    cr_assert_eq(rig_counter("warp_instructions"), n);
    cr_assert_eq(n, 2 * (6 + 6 + 5 + 1 + 1)); /* PRE, LOADS, the body, the store, ret */
}
