#include "host/calib/stats.h"

nb_status nb_calib_hessian(nb_stream *stream, nb_mem x, size_t rows, size_t k, size_t total, nb_mem h, nb_err *err) {
    struct nb_hessian_args args = {
        .rows = rows, .k = k, .x = x, .ldx = k, .h = h, .ldh = k, .scale = 2.0f / (float)total, .mirror = true};
    return nb_launch(stream, NB_OP_hessian, &args, err);
}

nb_status nb_calib_cross(nb_stream *stream, nb_mem exact, nb_mem x, size_t rows, size_t k, size_t total, nb_mem cross, nb_err *err) {
    struct nb_matmul_args args = {.m = k, .n = k, .k = rows, .a = exact, .lda = k, .trans_a = true, .b = x, .ldb = k, .c = cross,
                                  .ldc = k, .alpha = 2.0f / (float)total, .beta = 1.0f};
    return nb_launch(stream, NB_OP_matmul, &args, err);
}
