#include "host/calib/stats.h"

#include "host/base/size.h"

enum { WEIGHTED_ROWS = 4096 }; /* tokens whose inputs are multiplied by their factors at once */

static nb_status new_square(nb_stream *stream, size_t k, nb_mem *out, nb_err *err) {
    NB_TRY(nb_alloc_array(stream->device, k * k, sizeof(float), out, err));
    return nb_fill(stream, *out, 0, k * k * sizeof(float), err);
}

/* One piece of x, multiplied into room where there are factors. */
static nb_status piece(nb_stream *stream, const nb_inputs *in, nb_mem x, size_t at, size_t rows, nb_mem room, nb_mem *out, nb_err *err) {
    nb_mem from = nb_mem_at(x, at * in->k * sizeof(float));
    struct nb_scale_matrix_args a = {.rows = rows, .k = in->k, .x = from, .ldx = in->k, .y = room, .ldy = in->k,
                                     .row = nb_mem_at(in->factor, at * sizeof(float))};
    *out = in->factor.base ? room : from;
    return in->factor.base ? nb_launch(stream, NB_OP_scale_matrix, &a, err) : NB_OK;
}

/* What the tokens from `at` on add. room: f32 [2, step, k] where there are factors. */
static nb_status add_piece(nb_stream *stream, const nb_inputs *in, size_t at, size_t step, nb_mem room, nb_mem hessian, nb_mem cross,
                           nb_err *err) {
    size_t rows = nb_min(step, in->rows - at), k = in->k;
    float scale = 2.0f / (float)in->rows;
    nb_mem x, exact;
    NB_TRY(piece(stream, in, in->x, at, rows, room, &x, err));
    struct nb_hessian_args h = {.rows = rows, .k = k, .x = x, .ldx = k, .h = hessian, .ldh = k, .scale = scale, .mirror = true};
    NB_TRY(nb_launch(stream, NB_OP_hessian, &h, err));
    if (!in->exact.base)
        return NB_OK;
    NB_TRY(piece(stream, in, in->exact, at, rows, nb_mem_at(room, step * k * sizeof(float)), &exact, err));
    struct nb_matmul_args c = {.m = k, .n = k, .k = rows, .a = exact, .lda = k, .trans_a = true, .b = x, .ldb = k, .c = cross, .ldc = k,
                               .alpha = scale, .beta = 1.0f};
    return nb_launch(stream, NB_OP_matmul, &c, err);
}

nb_status nb_calib_statistics(nb_stream *stream, const nb_inputs *in, nb_mem *hessian, nb_mem *cross, nb_err *err) {
    size_t step = in->factor.base ? nb_min(in->rows, WEIGHTED_ROWS) : in->rows;
    nb_mem room = {0};
    nb_status status;
    NB_GO(new_square(stream, in->k, hessian, err));
    if (in->exact.base)
        NB_GO(new_square(stream, in->k, cross, err));
    if (in->factor.base)
        NB_GO(nb_alloc_array(stream->device, 2 * step, in->k * sizeof(float), &room, err));
    for (size_t at = 0; at < in->rows; at += step)
        NB_GO(add_piece(stream, in, at, step, room, *hessian, *cross, err));
    NB_GO(nb_sync(stream, err));
out:
    nb_release(stream->device, &room);
    return status;
}
