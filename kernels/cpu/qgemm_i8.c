/* Packed dequant-GEMM with activations rounded to 8 bits: the entry points; the driver is qgemm.c.
 */
#include "kernels/cpu/qgemm.h"

nb_status nb__cpu_qgemm_i8_plain(nb_pool *pool, const struct nb_qgemm_i8_args *args, nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_i8_plain, &args->g, true, err);
}

#if defined(__x86_64__)
nb_status nb__cpu_qgemm_i8_avx2(nb_pool *pool, const struct nb_qgemm_i8_args *args, nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_i8_avx2, &args->g, true, err);
}

nb_status nb__cpu_qgemm_i8_avx_vnni(nb_pool *pool, const struct nb_qgemm_i8_args *args,
                                    nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_i8_avx_vnni, &args->g, true, err);
}

nb_status nb__cpu_qgemm_i8_avx512_vnni(nb_pool *pool, const struct nb_qgemm_i8_args *args,
                                       nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_i8_avx512_vnni, &args->g, true, err);
}
#elif defined(__aarch64__)
nb_status nb__cpu_qgemm_i8_dotprod(nb_pool *pool, const struct nb_qgemm_i8_args *args, nb_err *err) {
    return nb__qgemm_run(pool, &nb__qgemm_i8_dotprod, &args->g, true, err);
}
#endif
