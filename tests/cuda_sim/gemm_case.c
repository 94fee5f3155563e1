#include "gemm_case.h"

#include "rig.h"

#include <math.h>
#include <stdlib.h>

void gemm_make(gemm_case *g, int m, int n, int k, int slices) {
    uint64_t s = (uint64_t)(m * 31 + n * 7 + k);
    *g = (gemm_case){.m = m, .n = n, .k = k, .slices = slices};
    g->a = malloc(sizeof(uint16_t) * (size_t)(m * k));
    g->b = malloc(sizeof(uint16_t) * (size_t)(k * n));
    g->c = calloc((size_t)(m * n), sizeof(uint16_t));
    g->fa = malloc(sizeof(float) * (size_t)(m * k));
    g->fb = malloc(sizeof(float) * (size_t)(k * n));
    for (int i = 0; i < m * k + k * n; i++) {
        /* multiples of 1/64 below 2 are f16 numbers */
        int v = (int)(rig_rand(&s) % 255) - 127;
        float f = (float)v / 64.0f;
        uint16_t h = rig_half(f);
        if (i < m * k)
            g->a[i] = h, g->fa[i] = f;
        else
            g->b[i - m * k] = h, g->fb[i - m * k] = f;
    }
    g->da = rig_upload(g->a, sizeof(uint16_t) * (size_t)(m * k));
    g->db = rig_upload(g->b, sizeof(uint16_t) * (size_t)(k * n));
    g->dc = rig_alloc(sizeof(uint16_t) * (size_t)(m * n));
    g->ws = rig_alloc(sizeof(float) * (size_t)(m * n));
    g->lock = rig_alloc(sizeof(int) * (size_t)(m * n / 4096));
    OK(cuMemsetD32(g->lock, 0, (size_t)(m * n / 4096)));
}

CUresult gemm_run(gemm_case *g, CUfunction f) {
    enum { DYN = 3 * (64 * 40 + 32 * 72) * 2 };
    void *args[] = {&g->dc, &g->da, &g->db, &g->ws, &g->lock, &g->m, &g->n, &g->k};
    CUresult r = cuLaunchKernel(f, (unsigned)g->n / 64, (unsigned)g->m / 64, (unsigned)g->slices,
                                128, 1, 1, DYN, NULL, args, NULL);
    if (!r)
        r = cuMemcpyDtoH(g->c, g->dc, sizeof(uint16_t) * (size_t)(g->m * g->n));
    return r;
}

double gemm_error(const gemm_case *g) {
    double worst = 0;
    for (int i = 0; i < g->m; i++)
        for (int j = 0; j < g->n; j++) {
            double s = 0, mag = 0;
            for (int k = 0; k < g->k; k++) {
                double p = (double)g->fa[i * g->k + k] * (double)g->fb[k * g->n + j];
                s += p;
                mag += fabs(p);
            }
            /* f32 accumulation (gamma_k) and the rounding to f16 */
            double bound = (double)g->k * 0x1p-23 * mag + 0x1p-11 * fabs(s) + 0x1p-25;
            double e = fabs((double)rig_float(g->c[i * g->n + j]) - s) / bound;
            worst = e > worst || e != e ? e : worst;
        }
    return worst;
}

void gemm_free(gemm_case *g) {
    free(g->a), free(g->b), free(g->c), free(g->fa), free(g->fb);
}
