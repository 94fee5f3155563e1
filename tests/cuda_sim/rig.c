#include "rig.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rig_ok(CUresult r, const char *what, const char *file, int line) {
    if (r == CUDA_SUCCESS)
        return;
    const char *name = NULL;
    cuGetErrorName(r, &name);
    cr_assert_fail("%s:%d: %s: %s (%d) %s", file, line, what, name ? name : "?", (int)r,
                   cuda_sim_finding());
}

static void set_number(const char *name, int v) {
    char b[16];
    snprintf(b, sizeof b, "%d", v);
    cuda_sim_set(name, b);
}

void rig_start(int cc, int strict) {
    CUcontext c;
    CUdevice d;
    set_number("CC", cc);
    set_number("STRICT", strict);
    OK(cuInit(0));
    OK(cuDeviceGet(&d, 0));
    OK(cuDevicePrimaryCtxRetain(&c, d));
    OK(cuCtxSetCurrent(c));
}

char *rig_text(const char *name, int arch) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.%d.ptx", SIM_PTX_DIR, name, arch);
    FILE *f = fopen(path, "rb");
    cr_assert(f, "cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *t = malloc((size_t)n + 1);
    cr_assert(t && fread(t, 1, (size_t)n, f) == (size_t)n);
    t[n] = 0;
    fclose(f);
    return t;
}

CUmodule rig_load(const char *name, int arch) {
    CUmodule m;
    char *t = rig_text(name, arch);
    OK(cuModuleLoadData(&m, t));
    free(t);
    return m;
}

CUfunction rig_function(CUmodule m, const char *name) {
    CUfunction f;
    OK(cuModuleGetFunction(&f, m, name));
    return f;
}

CUdeviceptr rig_alloc(size_t n) {
    CUdeviceptr p;
    OK(cuMemAlloc(&p, n));
    return p;
}

CUdeviceptr rig_upload(const void *p, size_t n) {
    CUdeviceptr d = rig_alloc(n);
    OK(cuMemcpyHtoD(d, p, n));
    return d;
}

void rig_download(void *p, CUdeviceptr d, size_t n) {
    OK(cuMemcpyDtoH(p, d, n));
}

CUresult rig_launch(CUfunction f, unsigned grid, unsigned block, unsigned dyn, void **args) {
    return cuLaunchKernel(f, grid, 1, 1, block, 1, 1, dyn, NULL, args, NULL);
}

CUfunction rig_ptx(int target, const char *decl, const char *body) {
    CUmodule m;
    size_t n = strlen(decl) + strlen(body) + 1024;
    char *t = malloc(n);
    cr_assert(t);
    snprintf(t, n,
             ".version 8.5\n.target sm_%d\n.address_size 64\n"
             ".visible .entry k(.param .u64 out, .param .u64 a, .param .u64 b, .param .u64 "
             "c)\n{\n%s\n%s\nret;\n}\n",
             target, decl, body);
    OK(cuModuleLoadData(&m, t));
    free(t);
    return rig_function(m, "k");
}

uint64_t rig_rand(uint64_t *s) {
    uint64_t z = (*s += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

long long rig_counter(const char *key) {
    char q[80];
    snprintf(q, sizeof q, "\"%s\": ", key);
    const char *p = strstr(cuda_sim_report(), q);
    return p ? strtoll(p + strlen(q), NULL, 10) : -1;
}

/* Scalar f16, written apart from the simulator's: by the value, not by the bits. */
float rig_float(uint16_t h) {
    int e = h >> 10 & 31, m = h & 1023;
    float v = e == 0    ? ldexpf((float)m, -24)
              : e == 31 ? (m ? NAN : INFINITY)
                        : ldexpf((float)(m + 1024), e - 25);
    return h & 0x8000 ? -v : v;
}

/* Rounding to nearest even of any double. */
uint16_t rig_half(double x) {
    uint16_t s = signbit(x) ? 0x8000 : 0;
    double a = fabs(x);
    if (isnan(x))
        return 0x7fff;
    if (a >= 65520.0)
        return (uint16_t)(s | 0x7c00);
    int e;
    frexp(a, &e);
    e = e - 1 < -14 ? -14 : e - 1;
    double q = nearbyint(ldexp(a, 10 - e)); /* in units of the last place */
    if (q < 1024.0)
        return (uint16_t)(s | (uint16_t)q);
    if (q >= 2048.0) {
        q /= 2;
        e++;
    }
    return (uint16_t)(s | (e + 15) << 10 | ((int)q - 1024));
}

/* Nearest bf16 (ties to even) of a normal double, as a float. */
float rig_bf16_round(double x) {
    if (x == 0.0 || isnan(x) || isinf(x))
        return (float)x;
    int e;
    frexp(x, &e);
    e = e < -125 ? -125 : e;
    double v = ldexp(nearbyint(ldexp(x, 8 - e)), e - 8);
    return fabs(v) >= 0x1p128 ? copysignf(INFINITY, (float)x) : (float)v;
}
