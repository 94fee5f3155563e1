/* mma.sync. Products are exact; a whole k-chunk is summed in double with the accumulator and
 * rounded once, which is at least as exact as any hardware order.
 *
 * Fragments (g = lane / 4, t = lane % 4): a register of packed halves, read as an 8x8 array by
 * lanes, is row-major: lane 4g+t holds row g, columns 2t, 2t+1. So A is 2x1 or 2x2 such blocks, B
 * one or two blocks of B transposed ([n][k]), and C/D of f32 two registers a row pair. */
#include "decode.h"
#include "exec.h"

typedef double mat_a[16][32];
typedef double mat_b[32][8]; /* [k][n] */

static void blocks16(const sim_warp *w, int32_t slot, bool bf, double *dst, size_t row,
                     size_t col) {
    uint16_t h[64];
    memcpy(h, sim_r32(w, slot), sizeof h);
    float f[64];
    if (bf)
        for (int i = 0; i < 64; i++)
            f[i] = sim_bf2f(h[i]);
    else
        for (int i = 0; i < 64; i++)
            f[i] = sim_h2f(h[i]);
    for (size_t r = 0; r < 8; r++)
        for (size_t c = 0; c < 8; c++)
            dst[r * row + c * col] = (double)f[8 * r + c];
}

/* D += A B for 16 x k by k x 8. Four rows at a time keep the sums in registers. */
typedef double row8 __attribute__((vector_size(64)));
static void multiply(mat_a a, mat_b b, int kk, double acc[16][8]) {
    for (int r = 0; r < 16; r += 4) {
        row8 s0, s1, s2, s3, y;
        memcpy(&s0, acc[r], 64), memcpy(&s1, acc[r + 1], 64);
        memcpy(&s2, acc[r + 2], 64), memcpy(&s3, acc[r + 3], 64);
        for (int k = 0; k < kk; k++) {
            memcpy(&y, b[k], 64);
            s0 += a[r][k] * y;
            s1 += a[r + 1][k] * y;
            s2 += a[r + 2][k] * y;
            s3 += a[r + 3][k] * y;
        }
        memcpy(acc[r], &s0, 64), memcpy(acc[r + 1], &s1, 64);
        memcpy(acc[r + 2], &s2, 64), memcpy(acc[r + 3], &s3, 64);
    }
}

static void need_warp(sim_warp *w, const sim_insn *in, uint32_t m) {
    if (m != SIM_FULL)
        sim_fault(w, in, -1, 0, SIM_ERR_FAILED, "mma needs all 32 lanes, has %08x", m);
}

static void acc_f32_in(const sim_warp *w, const int32_t *c, double acc[16][8]) {
    for (int q = 0; q < 4; q += 2) {
        const uint32_t *x = sim_r32(w, c[q]), *y = sim_r32(w, c[q + 1]);
        double *o = acc[4 * q]; /* rows g + 8 (q / 2): lane 4g + t has columns 2t, 2t + 1 */
        for (int l = 0; l < 32; l++) {
            o[2 * l] = (double)sim_f(x[l]);
            o[2 * l + 1] = (double)sim_f(y[l]);
        }
    }
}
static void acc_f32_out(sim_warp *w, const int32_t *d, double acc[16][8]) {
    for (int q = 0; q < 4; q++) {
        uint32_t *r = sim_w32(w, d[q]);
        const double *o = acc[8 * (q / 2)] + (q & 1);
        for (int l = 0; l < 32; l++)
            r[l] = sim_bn((float)o[2 * l]);
    }
}
/* double -> f16 in one rounding: f32 rounded to odd first. */
static uint32_t d2h(double v) {
    float f = (float)v;
    uint32_t b = sim_b(f);
    double e = v - (double)f;
    if ((e > 0.0 || e < 0.0) && !(b & 1u) && (b & 0x7f800000u) != 0x7f800000u && (b & 0x7fffffffu))
        b += ((e < 0.0) ^ (b >> 31)) ? 0xffffffffu : 1u;
    return sim_f2h(sim_f(b));
}

/* ext: d[nd], a[na], b[nb], c[nd]; imm: k | acc16 << 8 | kind << 16 */
typedef enum { MM_F16, MM_BF16, MM_TF32, MM_S8 } mkind;

EXEC(mma_half) {
    need_warp(w, in, m);
    const int k = (int)(in->imm & 255u);
    const bool acc16 = in->imm >> 8 & 1u, bf = (in->imm >> 16) == MM_BF16;
    const int nd = acc16 ? 2 : 4, na = k / 4, nb = k / 8;
    const int32_t *d = in->ext, *a = d + nd, *b = a + na, *c = b + nb;
    mat_a A;
    mat_b B;
    double acc[16][8];
    for (int q = 0; q < na; q++)
        blocks16(w, a[q], bf, &A[8 * (q & 1)][8 * (q / 2)], 32, 1);
    for (int q = 0; q < nb; q++)
        blocks16(w, b[q], bf, &B[8 * q][0], 1, 8);
    if (acc16)
        for (int q = 0; q < 2; q++)
            blocks16(w, c[q], false, &acc[8 * q][0], 8, 1);
    else
        acc_f32_in(w, c, acc);
    multiply(A, B, k, acc);
    if (!acc16) {
        acc_f32_out(w, d, acc);
        return;
    }
    for (int q = 0; q < 2; q++) {
        uint32_t *r = sim_w32(w, d[q]);
        for (int l = 0; l < 32; l++) {
            const double *row = &acc[l / 4 + 8 * q][2 * (l % 4)];
            r[l] = d2h(row[0]) | d2h(row[1]) << 16;
        }
    }
}

EXEC(mma_tf32) {
    need_warp(w, in, m);
    const int k = (int)(in->imm & 255u), na = k / 2, nb = k / 4;
    const int32_t *d = in->ext, *a = d + 4, *b = a + na, *c = b + nb;
    mat_a A;
    mat_b B;
    double acc[16][8];
    for (int q = 0; q < na; q++) { /* (g,t) (g+8,t) (g,t+4) (g+8,t+4) */
        const uint32_t *r = sim_r32(w, a[q]);
        for (int l = 0; l < 32; l++)
            A[l / 4 + 8 * (q & 1)][l % 4 + 4 * (q / 2)] = (double)sim_f(r[l] & 0xffffe000u);
    }
    for (int q = 0; q < nb; q++) {
        const uint32_t *r = sim_r32(w, b[q]);
        for (int l = 0; l < 32; l++)
            B[l % 4 + 4 * q][l / 4] = (double)sim_f(r[l] & 0xffffe000u);
    }
    acc_f32_in(w, c, acc);
    multiply(A, B, k, acc);
    acc_f32_out(w, d, acc);
}

/* Bytes: a register holds row g, k = 4t .. 4t+3. neg: bit 0 A unsigned, bit 1 B unsigned, bit 2 sat
 */
EXEC(mma_s8) {
    need_warp(w, in, m);
    const int k = (int)(in->imm & 255u), na = k / 8, nb = k / 16;
    const int32_t *d = in->ext, *a = d + 4, *b = a + na, *c = b + nb;
    int32_t A[16][32], B[8][32];
    for (int q = 0; q < na; q++) {
        const uint32_t *r = sim_r32(w, a[q]);
        for (int l = 0; l < 32; l++)
            for (int e = 0; e < 4; e++) {
                uint32_t v = r[l] >> (8 * e) & 255u;
                A[l / 4 + 8 * (q & 1)][4 * (l % 4) + e + 16 * (q / 2)] =
                    in->neg & 1 ? (int32_t)v : (int8_t)v;
            }
    }
    for (int q = 0; q < nb; q++) {
        const uint32_t *r = sim_r32(w, b[q]);
        for (int l = 0; l < 32; l++)
            for (int e = 0; e < 4; e++) {
                uint32_t v = r[l] >> (8 * e) & 255u;
                B[l / 4][4 * (l % 4) + e + 16 * q] = in->neg & 2 ? (int32_t)v : (int8_t)v;
            }
    }
    for (int q = 0; q < 4; q++) {
        uint32_t out[SIM_LANES];
        const uint32_t *r = sim_r32(w, c[q]);
        for (int l = 0; l < 32; l++) {
            const int32_t *x = A[l / 4 + 8 * (q / 2)], *y = B[2 * (l % 4) + (q & 1)];
            int64_t s = (int32_t)r[l];
            for (int e = 0; e < k; e++)
                s += x[e] * y[e];
            if (in->neg & 4)
                s = s > INT32_MAX ? INT32_MAX : s < INT32_MIN ? INT32_MIN : s;
            out[l] = (uint32_t)s;
        }
        memcpy(sim_w32(w, d[q]), out, sizeof out);
    }
}

static void mma_operands(sim_dec *d, const ptx_insn *in, int32_t *ext, const int *n,
                         const char *kind) {
    if (in->nopd != 4)
        dec_bad(d, "mma takes four operands");
    for (int q = 0; q < 4; q++) {
        const ptx_operand *o = &in->opd[q];
        int have = o->kind == OP_VEC ? o->nv : 1;
        if (have != n[q])
            dec_bad(d, "mma operand %d has %d registers, %d expected", q, have, n[q]);
        for (int i = 0; i < n[q]; i++) {
            const ptx_operand *e = o->kind == OP_VEC ? &o->v[i] : o;
            *ext++ = q == 0 ? dec_dst(d, e, kind[q]) : dec_src(d, e, kind[q]);
        }
    }
}

static void dec_mma(sim_dec *d, const ptx_insn *in) {
    static const struct {
        const char *op;
        mkind kind;
        int k, acc16, cc;
        uint8_t neg;
    } forms[] = {
        {"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", MM_F16, 8, 0, 75, 0},
        {"mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", MM_F16, 8, 1, 75, 0},
        {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", MM_F16, 16, 0, 80, 0},
        {"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", MM_F16, 16, 1, 80, 0},
        {"mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", MM_BF16, 8, 0, 80, 0},
        {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", MM_BF16, 16, 0, 80, 0},
        {"mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", MM_TF32, 4, 0, 80, 0},
        {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", MM_TF32, 8, 0, 80, 0},
        {"mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32", MM_S8, 16, 0, 80, 0},
        {"mma.sync.aligned.m16n8k16.row.col.satfinite.s32.s8.s8.s32", MM_S8, 16, 0, 80, 4},
        {"mma.sync.aligned.m16n8k16.row.col.s32.u8.u8.s32", MM_S8, 16, 0, 80, 3},
        {"mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32", MM_S8, 16, 0, 80, 1},
        {"mma.sync.aligned.m16n8k16.row.col.s32.s8.u8.s32", MM_S8, 16, 0, 80, 2},
        {"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", MM_S8, 32, 0, 80, 0},
        {"mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.s8.s32", MM_S8, 32, 0, 80, 4},
        {"mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32", MM_S8, 32, 0, 80, 3},
        {"mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32", MM_S8, 32, 0, 80, 1},
        {"mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32", MM_S8, 32, 0, 80, 2},
    };
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(forms[i].op, in->op))
            continue;
        dec_need(d, forms[i].cc, "this mma");
        int k = forms[i].k, acc16 = forms[i].acc16;
        int half = forms[i].kind <= MM_BF16, tf = forms[i].kind == MM_TF32;
        int na = half ? k / 4 : tf ? k / 2 : k / 8, nb = half ? k / 8 : tf ? k / 4 : k / 16;
        int n[4] = {acc16 ? 2 : 4, na, nb, acc16 ? 2 : 4};
        int at = d->p->ncode;
        dec_emit(d, half ? mma_half : tf ? mma_tf32 : mma_s8, CL_MMA)->ctl = CTL_SYNC;
        int32_t *ext = dec_ext(d, n[0] + n[1] + n[2] + n[3]);
        mma_operands(d, in, ext, n, "wwww");
        sim_insn *s = &d->p->code[at];
        s->ext = ext;
        s->imm = (uint32_t)k | (uint32_t)acc16 << 8 | (uint32_t)forms[i].kind << 16;
        s->neg = forms[i].neg;
        return;
    }
    dec_bad(d, "unknown opcode %s", in->op);
}

const sim_decoder sim_dec_mma[] = {{"mma", dec_mma}, {0}};
