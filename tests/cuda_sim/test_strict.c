/* Each strict detector catches its small faulty kernel and passes the correct twin. */
#include "rig.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct detector {
    const char *name, *says; /* part of the finding */
    unsigned grid, block, dyn;
    int a_words, fill; /* words of a, and whether they start as zeros instead of numbers */
} detector;

static const detector detectors[] = {
    {"bounds", "out of bounds: byte 512", 1, 128, 0, 128, 0},
    {"before", "before allocation", 1, 128, 0, 128, 0},
    {"aligned", "misaligned global read of 8", 1, 32, 0, 128, 0},
    {"shared_bounds", "shared write of 4 bytes out of bounds", 1, 128, 512, 128, 0},
    {"shared_init", "uninitialised shared", 1, 128, 0, 128, 0},
    {"shared_raw", "race in shared", 1, 128, 0, 128, 0},
    {"shared_war", "race in shared", 1, 128, 0, 128, 0},
    {"shared_waw", "write-after-write race in shared", 1, 128, 0, 128, 0},
    {"lane_race", "lanes without bar.warp.sync", 1, 128, 0, 128, 0},
    {"same_store", "different values to one address", 1, 128, 0, 128, 0},
    {"async_wait", "wait missing", 1, 128, 0, 512, 0},
    {"async_count", "wait missing", 1, 128, 0, 512, 0},
    {"async_barrier", "shared memory", 1, 128, 0, 512, 0},
    {"async_refill", "race in shared", 1, 128, 0, 512, 0},
    {"split_barrier", "on another path", 1, 128, 0, 128, 0},
    {"two_barriers", "different barriers", 1, 128, 0, 128, 0},
    {"crossed", "deadlock: live lanes wait at a barrier", 1, 128, 0, 128, 0},
    {"resident", "deadlock: warp spins with unchanging state", 200, 32, 0, 256, 1},
    {"handover", "no acquire/release", 2, 128, 0, 128, 1},
    {"takeover", "no acquire/release", 2, 128, 0, 128, 1},
    {"grid_race", "write-after-write race in global", 2, 128, 0, 128, 0},
    {"grid_war", "race in global", 2, 128, 0, 256, 0},
    {"nc_written", "ld.global.nc of data", 1, 128, 0, 128, 0},
    {"shfl_lane", "does not take part", 1, 128, 0, 128, 0},
    {"mask_lane", "not in the member mask", 1, 128, 0, 128, 0},
    {"mask_never", "never", 1, 128, 0, 128, 0},
    {"local_bounds", "local access of 4 bytes out of bounds", 1, 128, 0, 128, 0},
    {"local_init", "uninitialised local", 1, 128, 0, 128, 0},
};
enum { COUNT = sizeof detectors / sizeof detectors[0], OUT = 512 };

static CUresult run(const detector *d, const char *suffix) {
    char name[80];
    int a[512];
    snprintf(name, sizeof name, "%s_%s", d->name, suffix);
    rig_start(80, 1);
    cuda_sim_set("SMS", "2");
    for (int i = 0; i < 512; i++)
        a[i] = d->fill ? 0 : i * 3 + 1;
    CUfunction f = rig_function(rig_load("faults", 80), name);
    CUdeviceptr da = rig_upload(a, (size_t)d->a_words * 4), o = rig_alloc(OUT * 4);
    OK(cuMemsetD8(o, 0, OUT * 4));
    int n = 3;
    void *args[] = {&o, &da, &n};
    return rig_launch(f, d->grid, d->block, d->dyn, args);
}

Test(strict, twins) {
    for (int i = 0; i < COUNT; i++) {
        const detector *d = &detectors[i];
        CUresult good = run(d, "good");
        cr_expect_eq(good, CUDA_SUCCESS, "%s_good: %d %s", d->name, (int)good, cuda_sim_finding());
        cuda_sim_reset();
        CUresult bad = run(d, "bad");
        cr_expect_neq(bad, CUDA_SUCCESS, "%s_bad was not caught", d->name);
        cr_expect(strstr(cuda_sim_finding(), d->says), "%s_bad: %s", d->name, cuda_sim_finding());
        cr_expect(strstr(cuda_sim_finding(), "faults.cu:"), "%s: no source line: %s", d->name,
                  cuda_sim_finding());
        cuda_sim_reset();
    }
}

/* Other orders of warps and CTAs find the same. */
Test(strict, twins_in_other_orders) {
    static const char *const seeds[] = {"1", "99"};
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < COUNT; i++) {
            const detector *d = &detectors[i];
            cuda_sim_set("SEED", seeds[s]);
            CUresult good = run(d, "good");
            cr_expect_eq(good, CUDA_SUCCESS, "%s_good: %d %s", d->name, (int)good,
                         cuda_sim_finding());
            cuda_sim_reset();
            CUresult bad = run(d, "bad");
            cr_expect_neq(bad, CUDA_SUCCESS, "%s_bad was not caught with seed %s", d->name,
                          seeds[s]);
            cuda_sim_reset();
        }
}

/* Bounds and alignment hold without the shadows too, and races do not stop a plain run. */
Test(strict, plain_mode) {
    static const struct {
        int i;
        int caught;
    } want[] = {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {5, 0}, {13, 0}, {20, 0}};
    for (size_t k = 0; k < sizeof want / sizeof want[0]; k++) {
        const detector *d = &detectors[want[k].i];
        char name[80];
        int a[512] = {0};
        snprintf(name, sizeof name, "%s_bad", d->name);
        rig_start(80, 0);
        CUfunction f = rig_function(rig_load("faults", 80), name);
        CUdeviceptr da = rig_upload(a, (size_t)d->a_words * 4), o = rig_alloc(OUT * 4);
        int n = 3;
        void *args[] = {&o, &da, &n};
        CUresult r = rig_launch(f, d->grid, d->block, d->dyn, args);
        cr_expect_eq(r != CUDA_SUCCESS, want[k].caught, "%s: %d", d->name, (int)r);
        cuda_sim_reset();
    }
}

Test(strict, use_after_free_and_uninitialised) {
    int a[128] = {0};
    rig_start(80, 1);
    CUfunction f = rig_function(rig_load("faults", 80), "reader");
    CUdeviceptr da = rig_upload(a, sizeof a), o = rig_alloc(sizeof a), fresh = rig_alloc(sizeof a);
    int n = 100;
    void *good[] = {&o, &da, &n};
    OK(rig_launch(f, 1, 128, 0, good));
    void *bad[] = {&o, &fresh, &n};
    cr_assert_eq(rig_launch(f, 1, 128, 0, bad), CUDA_ERROR_LAUNCH_FAILED);
    cr_assert(strstr(cuda_sim_finding(), "uninitialised global"), "%s", cuda_sim_finding());
    /* the context is broken until it is reset, as on a device */
    cr_assert_eq(cuMemAlloc(&fresh, 16), CUDA_ERROR_LAUNCH_FAILED);
    cuda_sim_reset();
    rig_start(80, 1);
    f = rig_function(rig_load("faults", 80), "reader");
    da = rig_upload(a, sizeof a), o = rig_alloc(sizeof a);
    OK(cuMemFree(da));
    cr_assert_eq(rig_launch(f, 1, 128, 0, good), CUDA_ERROR_ILLEGAL_ADDRESS);
    cr_assert(strstr(cuda_sim_finding(), "use after free"), "%s", cuda_sim_finding());
}

Test(strict, shared_and_launch_limits) {
    int a[1024] = {0};
    rig_start(80, 1);
    CUmodule m = rig_load("faults", 80);
    CUfunction f = rig_function(m, "shared_bounds_good");
    CUdeviceptr da = rig_upload(a, sizeof a), o = rig_alloc(sizeof a);
    int n = 1, v;
    void *args[] = {&o, &da, &n};
    cr_assert_eq(rig_launch(f, 1, 128, 49153, args), CUDA_ERROR_INVALID_VALUE);
    OK(rig_launch(f, 1, 128, 49152, args));
    OK(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 100000));
    OK(rig_launch(f, 1, 128, 100000, args));
    cr_assert_eq(rig_launch(f, 1, 128, 100001, args), CUDA_ERROR_INVALID_VALUE);
    cr_assert_eq(
        cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 * 1024 + 1),
        CUDA_ERROR_INVALID_VALUE);
    CUfunction big = rig_function(m, "big_static");
    cr_assert_eq(rig_launch(big, 1, 32, 9153, args), CUDA_ERROR_INVALID_VALUE);
    OK(cuFuncGetAttribute(&v, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, big));
    cr_assert_eq(v, 40000);
    cr_assert_eq(rig_launch(f, 1, 1025, 512, args), CUDA_ERROR_INVALID_VALUE);
    cr_assert_eq(rig_launch(f, 0, 32, 512, args), CUDA_ERROR_INVALID_VALUE);
    CUfunction bounded = rig_function(m, "bounded");
    OK(rig_launch(bounded, 1, 64, 0, args));
    cr_assert_eq(rig_launch(bounded, 1, 96, 0, args), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    /* a refused launch is no fault: the context still works */
    OK(cuCtxSynchronize());
}
