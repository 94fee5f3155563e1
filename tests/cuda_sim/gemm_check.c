/* The command of the mutation check: runs the test GEMM in strict mode over shapes and orders.
 * Exit status 0: every launch passed and every value is inside its bound. */
#include "cuda_sim.h"
#include "gemm_case.h"

#include <stdio.h>
#include <stdlib.h>

static int bad(CUresult r) {
    if (r)
        fprintf(stderr, "error %d: %s\n", (int)r, cuda_sim_finding());
    return r != CUDA_SUCCESS;
}

int main(int argc, char **argv) {
    /* 7 steps: the last one reads the stage that the epilogue overwrites */
    static const int shapes[][4] = {{64, 64, 224, 1}, {64, 128, 512, 4}};
    static const char *const seeds[] = {"0", "3"};
    if (argc < 2)
        return 2;
    for (int k = 0; k < 2; k++)
        for (int s = 0; s < 2; s++) {
            CUcontext x;
            CUmodule m;
            CUfunction f;
            gemm_case g;
            cuda_sim_set("SEED", seeds[k]);
            cuda_sim_set("STRICT", "1");
            cuda_sim_set("CC", argc > 2 ? argv[2] : "80");
            if (bad(cuInit(0)) || bad(cuDevicePrimaryCtxRetain(&x, 0)) || bad(cuCtxSetCurrent(x)) ||
                bad(cuModuleLoad(&m, argv[1])) || bad(cuModuleGetFunction(&f, m, "gemm")))
                return 1;
            gemm_make(&g, shapes[s][0], shapes[s][1], shapes[s][2], shapes[s][3]);
            if (bad(gemm_run(&g, f)) || !(gemm_error(&g) <= 1.0))
                return 1;
            gemm_free(&g);
            cuda_sim_reset();
        }
    return 0;
}
