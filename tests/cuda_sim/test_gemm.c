/* The cp.async + ldmatrix + mma.sync + split-K GEMM: values, counters, determinism. */
#include "rig.h"
#include "gemm_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int archs[] = {75, 80, 90};

Test(gemm, values_and_slices) {
    static const int shapes[][4] = {
        {64, 64, 64, 1}, {64, 128, 256, 1}, {128, 64, 256, 4}, {64, 64, 512, 8}};
    for (int ai = 0; ai < 3; ai++)
        for (int s = 0; s < 4; s++) {
            gemm_case g;
            rig_start(archs[ai], 1);
            gemm_make(&g, shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3]);
            CUfunction f = rig_function(rig_load("gemm", archs[ai]), "gemm");
            OK(gemm_run(&g, f));
            double worst = gemm_error(&g);
            cr_assert(worst <= 1.0, "sm_%d shape %d: %g of the bound", archs[ai], s, worst);
            gemm_free(&g);
            cuda_sim_reset();
        }
}

/* Seeds change the order of warps and CTAs, not the bits. */
Test(gemm, order_does_not_matter) {
    static const char *const seeds[] = {"0", "1", "7", "12345"};
    uint16_t first[128 * 64];
    for (int k = 0; k < 4; k++) {
        gemm_case g;
        cuda_sim_set("SEED", seeds[k]);
        rig_start(80, 1);
        gemm_make(&g, 128, 64, 256, 4);
        OK(gemm_run(&g, rig_function(rig_load("gemm", 80), "gemm")));
        if (!k)
            memcpy(first, g.c, sizeof first);
        cr_assert(!memcmp(first, g.c, sizeof first), "seed %s", seeds[k]);
        gemm_free(&g);
        cuda_sim_reset();
    }
}

Test(gemm, strict_and_plain_agree_and_count_the_same) {
    uint16_t c[2][64 * 128];
    long long n[2][4];
    static const char *const keys[] = {"warp_instructions", "mma", "sectors", "wavefronts"};
    for (int strict = 0; strict < 2; strict++) {
        gemm_case g;
        rig_start(80, strict);
        cuda_sim_set("THREADS", strict ? "1" : "2");
        gemm_make(&g, 64, 128, 256, 1);
        OK(gemm_run(&g, rig_function(rig_load("gemm", 80), "gemm")));
        memcpy(c[strict], g.c, sizeof c[0]);
        for (int k = 0; k < 4; k++)
            n[strict][k] = rig_counter(keys[k]);
        gemm_free(&g);
        cuda_sim_reset();
    }
    cr_assert(!memcmp(c[0], c[1], sizeof c[0]));
    for (int k = 0; k < 4; k++)
        cr_assert_eq(n[0][k], n[1][k], "%s: %lld %lld", keys[k], n[0][k], n[1][k]);
    /* 2 CTAs x 8 steps x 4 warps x 2 k-halves x 8 tiles */
    cr_assert_eq(n[0][1], 2 * 8 * 4 * 2 * 8);
}
