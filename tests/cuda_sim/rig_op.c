/* One instruction over many elements. */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *reg_of(char kind) {
    return kind == 'h' ? "%h" : kind == 'w' ? "%r" : kind == 'x' ? "%d" : "%p";
}

static int load(char *s, size_t n, char kind, int k) {
    static const char *const src = "abc";
    if (kind == 'p')
        return snprintf(s, n, "ld.global.b32 %%t,[%%%c]; setp.ne.b32 %%p%d,%%t,0;\n", src[k],
                        k + 1);
    return snprintf(s, n, "ld.global.b%s %s%d,[%%%c];\n",
                    kind == 'h'   ? "16"
                    : kind == 'w' ? "32"
                                  : "64",
                    reg_of(kind), k + 1, src[k]);
}

void rig_op(const rig_case *t, const uint64_t *a, const uint64_t *b, const uint64_t *c,
            uint64_t *out, int n) {
    char body[2048], op[300];
    const uint64_t *src[3] = {a, b, c};
    CUdeviceptr dev[4] = {0};
    size_t k = 0;
    const int ns = (int)strlen(t->sig) - 1;
    k += (size_t)snprintf(
        body, sizeof body,
        "ld.param.u64 %%o,[out]; ld.param.u64 %%a,[a]; ld.param.u64 %%b,[b]; ld.param.u64 "
        "%%c,[c];\n"
        "mov.u32 %%t,%%ctaid.x; mov.u32 %%u,%%tid.x; mad.lo.u32 %%t,%%t,128,%%u; mul.wide.u32 "
        "%%i,%%t,8;\n"
        "rem.u32 %%u,%%t,3; setp.ne.u32 %%q,%%u,1;\n"
        "add.u64 %%o,%%o,%%i; add.u64 %%a,%%a,%%i; add.u64 %%b,%%b,%%i; add.u64 %%c,%%c,%%i;\n"
        "mov.b64 %%d0,0x5a5a5a5a5a5a5a5a; mov.b32 %%r0,0x5a5a5a5a; mov.b16 %%h0,0x5a5a; "
        "setp.eq.u32 %%p0,0,1;\n");
    for (int i = 0; i < ns; i++)
        k += (size_t)load(body + k, sizeof body - k, t->sig[i + 1], i);
    int m = snprintf(op, sizeof op, "%s%s %s0", t->masked ? "@%q " : "", t->op, reg_of(t->sig[0]));
    for (int i = 0; i < ns; i++)
        m += snprintf(op + m, sizeof op - (size_t)m, ",%s%d", reg_of(t->sig[i + 1]), i + 1);
    k += (size_t)snprintf(body + k, sizeof body - k, "%s%s;\n", op, t->tail ? t->tail : "");
    const char d = t->sig[0];
    snprintf(body + k, sizeof body - k, "%s",
             d == 'h'   ? "cvt.u64.u16 %d0,%h0; st.global.u64 [%o],%d0;"
             : d == 'w' ? "cvt.u64.u32 %d0,%r0; st.global.u64 [%o],%d0;"
             : d == 'p' ? "selp.u64 %d0,1,0,%p0; st.global.u64 [%o],%d0;"
                        : "st.global.u64 [%o],%d0;");
    CUfunction f = rig_ptx(t->target ? t->target : 80,
                           ".reg .pred %p<5>,%q; .reg .b16 %h<5>; .reg .b32 %r<5>,%t,%u; .reg .b64 "
                           "%d<5>,%o,%a,%b,%c,%i;",
                           body);
    const int blocks = (n + 127) / 128;
    const size_t bytes = (size_t)blocks * 128 * 8;
    for (int i = 0; i < 4; i++) {
        dev[i] = rig_alloc(bytes);
        OK(cuMemsetD8(dev[i], 0, bytes));
        if (i < 3 && src[i])
            OK(cuMemcpyHtoD(dev[i], src[i], (size_t)n * 8));
    }
    void *args[] = {&dev[3], &dev[0], &dev[1], &dev[2]};
    CUresult r = rig_launch(f, (unsigned)blocks, 128, 0, args);
    cr_assert_eq(r, CUDA_SUCCESS, "%s: %d %s", t->op, (int)r, cuda_sim_finding());
    rig_download(out, dev[3], (size_t)n * 8);
    for (int i = 0; i < 4; i++)
        OK(cuMemFree(dev[i]));
}

void rig_ints(uint64_t *v, int n, uint64_t seed) {
    for (int i = 0; i < n; i++) {
        uint64_t r = rig_rand(&seed), s = rig_rand(&seed);
        switch (s % 8) {
        case 0:
            v[i] = (r & 1) ? r % 70 : 0 - r % 70;
            break;
        case 1:
            v[i] = 1ull << (r % 64);
            break;
        case 2:
            v[i] =
                (1ull << (r % 64)) - (s >> 32) % 3 - ((s >> 40) & 1 ? 0 : 1ull << (s >> 48) % 64);
            break;
        case 3:
            v[i] = r >> (s >> 8) % 64;
            break;
        case 4:
            v[i] = (r & 0xffffffffull) | (uint64_t)(s & 256 ? ~0u : 0u) << 32;
            break;
        default:
            v[i] = r;
            break;
        }
    }
}

void rig_f32s(uint64_t *v, int n, uint64_t seed) {
    static const uint32_t special[] = {0,           0x80000000u, 1,           0x807fffffu,
                                       0x00800000u, 0x7f7fffffu, 0x7f800000u, 0xff800000u,
                                       0x7fc00000u, 0x7f800001u, 0x3f800000u, 0xbf800000u,
                                       0x4b000000u, 0x4f000000u, 0xcf000000u, 0x5f000000u};
    for (int i = 0; i < n; i++) {
        uint64_t r = rig_rand(&seed), s = rig_rand(&seed);
        uint32_t x = (uint32_t)r;
        if (s % 8 == 0)
            x = special[r % 16];
        else if (s % 8 < 4) /* near one another: cancellation, halfway cases */
            x = (x & 0x80ffffffu) | (uint32_t)(120 + (s >> 8) % 16) << 23;
        else if (s % 8 == 4)
            x = (x & 0x80000fffu) | (uint32_t)(100 + (s >> 8) % 60) << 23;
        v[i] = x;
    }
}

void rig_f64s(uint64_t *v, int n, uint64_t seed) {
    static const uint64_t special[] = {0,
                                       1ull << 63,
                                       1,
                                       0x000fffffffffffffull,
                                       0x0010000000000000ull,
                                       0x7fefffffffffffffull,
                                       0x7ff0000000000000ull,
                                       0xfff0000000000000ull,
                                       0x7ff8000000000000ull,
                                       0x3ff0000000000000ull};
    for (int i = 0; i < n; i++) {
        uint64_t r = rig_rand(&seed), s = rig_rand(&seed);
        v[i] = s % 8 == 0  ? special[r % 10]
               : s % 8 < 5 ? (r & 0x800fffffffffffffull) | (1000 + (s >> 8) % 50) << 52
                           : r;
    }
}
