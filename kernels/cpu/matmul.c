/* General f32 matrix product. */
#include "kernels/cpu/sgemm.h"

static nb_status matmul(nb_pool *pool, const nb__sgemm_isa *isa, const struct nb_matmul_args *args, nb_err *err) {
    nb__f32_operand a = {nb_host_f32(args->a), args->lda}, b = {nb_host_f32(args->b), args->ldb};
    nb__sgemm_job job = {
        .m = args->m,
        .n = args->n,
        .k = args->k,
        .pack_a = args->trans_a ? nb__pack_f32_cols : isa->pack_rows,
        .pack_b = args->trans_b ? isa->pack_rows : nb__pack_f32_cols,
        .a = &a,
        .b = &b,
        .c = nb_host_f32(args->c),
        .ldc = args->ldc,
        .alpha = args->alpha,
        .beta = args->beta,
        .lower = args->lower,
    };
    return nb__sgemm_run(pool, isa, &job, err);
}

nb_status nb__cpu_matmul_plain(nb_pool *pool, const struct nb_matmul_args *args, nb_err *err) {
    return matmul(pool, &nb__sgemm_plain, args, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_matmul_avx2(nb_pool *pool, const struct nb_matmul_args *args, nb_err *err) {
    return matmul(pool, &nb__sgemm_avx2, args, err);
}

nb_status nb__cpu_matmul_avx512(nb_pool *pool, const struct nb_matmul_args *args, nb_err *err) {
    return matmul(pool, &nb__sgemm_avx512, args, err);
}
#endif
