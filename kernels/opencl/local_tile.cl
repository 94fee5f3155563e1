/* The tile of products on GPUs: a work-group of 16 x 16 makes 64 x 64 of C, 4 x 4 a work-item, by tiles of 16 columns in local
 * memory. The file that includes this defines LOAD_A(i, kk) and LOAD_B(kk, j), which are called inside the matrices only. */
#pragma OPENCL FP_CONTRACT ON
#define SIDE 64
#define STEP 16
#define EACH 4

#define LOCAL_TILE_MEMORY                                                                                              \
    local float as[STEP][SIDE + 1];                                                                                    \
    local float bs[STEP][SIDE + 1];

#define LOCAL_TILE_PRODUCT(c, i0, j0, m, n, k)                                                                         \
    do {                                                                                                               \
        uint lx = get_local_id(0), ly = get_local_id(1), item = ly * 16 + lx;                                          \
        for (uint k0 = 0; k0 < (k); k0 += STEP) {                                                                      \
            for (uint e = item; e < STEP * SIDE; e += 256) {                                                           \
                uint side = A_ALONG_K ? e / STEP : e % SIDE, kk = A_ALONG_K ? e % STEP : e / SIDE;                      \
                as[kk][side] = (i0) + side < (m) && k0 + kk < (k) ? LOAD_A((i0) + side, k0 + kk) : 0.0f;               \
            }                                                                                                          \
            for (uint e = item; e < STEP * SIDE; e += 256) {                                                           \
                uint side = B_ALONG_K ? e / STEP : e % SIDE, kk = B_ALONG_K ? e % STEP : e / SIDE;                      \
                bs[kk][side] = (j0) + side < (n) && k0 + kk < (k) ? LOAD_B(k0 + kk, (j0) + side) : 0.0f;               \
            }                                                                                                          \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
            for (uint kk = 0; kk < STEP; kk++) {                                                                       \
                float a[EACH], b[EACH];                                                                                \
                for (uint e = 0; e < EACH; e++) {                                                                      \
                    a[e] = as[kk][ly + 16 * e];                                                                        \
                    b[e] = bs[kk][lx + 16 * e];                                                                        \
                }                                                                                                      \
                for (uint r = 0; r < EACH; r++)                                                                        \
                    for (uint s = 0; s < EACH; s++)                                                                    \
                        c[r][s] = MAD(a[r], b[s], c[r][s]);                                                            \
            }                                                                                                          \
            barrier(CLK_LOCAL_MEM_FENCE);                                                                              \
        }                                                                                                              \
    } while (0)
