/* Second moments of a linear's input. The lower triangle is a matrix product that skips tiles above the diagonal, half
 * of the work of the whole. */
#include "host/base/size.h"
#include "kernels/cpu/sgemm.h"

enum { TILE = 64 };

/* Copies one row of tiles of the lower triangle to above the diagonal, tile by tile, as either side of a large
 * transposition is strided. */
static void mirror_task(void *arg, size_t task, unsigned worker) {
    const struct nb_hessian_args *a = arg;
    (void)worker;
    float *h = nb_host_f32(a->h);
    size_t i0 = task * TILE, i1 = nb_min(i0 + TILE, a->k);
    for (size_t j0 = 0; j0 < i1; j0 += TILE)
        for (size_t i = i0; i < i1; i++) {
            size_t j1 = nb_min(j0 + TILE, i);
            for (size_t j = j0; j < j1; j++)
                h[j * a->ldh + i] = h[i * a->ldh + j];
        }
}

static nb_status hessian(nb_pool *pool, const nb__sgemm_isa *isa, const struct nb_hessian_args *a, nb_err *err) {
    if (a->rows > 0) {
        nb__f32_operand x = {nb_host_f32(a->x), a->ldx};
        nb__sgemm_job job = {
            .m = a->k,
            .n = a->k,
            .k = a->rows,
            .pack_a = nb__pack_f32_cols,
            .pack_b = nb__pack_f32_cols,
            .a = &x,
            .b = &x,
            .c = nb_host_f32(a->h),
            .ldc = a->ldh,
            .alpha = a->scale,
            .beta = 1.0f,
            .lower = true,
        };
        NB_TRY(nb__sgemm_run(pool, isa, &job, err));
    }
    if (a->mirror)
        nb_pool_run(pool, nb_ceil_div(a->k, TILE), mirror_task, (void *)(uintptr_t)a);
    return NB_OK;
}

nb_status nb__cpu_hessian_plain(nb_pool *pool, const struct nb_hessian_args *args, nb_err *err) {
    return hessian(pool, &nb__sgemm_plain, args, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_hessian_avx2(nb_pool *pool, const struct nb_hessian_args *args, nb_err *err) {
    return hessian(pool, &nb__sgemm_avx2, args, err);
}

nb_status nb__cpu_hessian_avx512(nb_pool *pool, const struct nb_hessian_args *args, nb_err *err) {
    return hessian(pool, &nb__sgemm_avx512, args, err);
}
#endif
