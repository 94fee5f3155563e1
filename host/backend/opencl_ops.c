/* How each operation is launched on OpenCL. Elementwise and small ones are here; families have files of their own. */
#include "host/backend/opencl_ops.h"

#include "host/base/size.h"

/* Items of a work-group along a row. */
enum { ROW_ITEMS = 64 };

/* Work-items over [rows, cols], a row of groups for each row. */
nb__cl_grid nb__cl_over(size_t rows, size_t cols) {
    return NB_CL_GRID2(nb_ceil_div(cols, ROW_ITEMS), rows, ROW_ITEMS, 1);
}

nb__cl_grid nb__cl_over_lanes(const nb_kernel *row, size_t rows, size_t cols) {
    if (!(row->needs & NB_CL_CPU))
        return nb__cl_over(rows, cols);
    return NB_CL_GRID2(nb_ceil_div(cols, nb__cl_lanes(row)), rows, 1, 1);
}

nb_status nb__cl_add(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_add_args *a = args;
    return NB_CL_RUN(stream, row, err, ("add", NULL, nb__cl_over(a->rows, a->n)), NB_CL_U32(a->n), NB_CL_MEM(a->x),
                     NB_CL_MEM(a->y), NB_CL_U32(a->ldx), NB_CL_U32(a->ldy));
}

nb_status nb__cl_subtract(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_subtract_args *a = args;
    return NB_CL_RUN(stream, row, err, ("subtract", NULL, nb__cl_over(a->rows, a->k)), NB_CL_U32(a->k), NB_CL_MEM(a->x),
                     NB_CL_MEM(a->y), NB_CL_U32(a->ldx), NB_CL_U32(a->ldy));
}

nb_status nb__cl_scale_matrix(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_scale_matrix_args *a = args;
    return NB_CL_RUN(stream, row, err, ("scale_matrix", NULL, nb__cl_over(a->rows, a->k)), NB_CL_U32(a->k), NB_CL_MEM(a->x),
                     NB_CL_MEM(a->y), NB_CL_U32(a->ldx), NB_CL_U32(a->ldy), NB_CL_MEM(a->row), NB_CL_MEM(a->col));
}

nb_status nb__cl_copy_matrix(nb_stream *stream, const nb_kernel *row, const void *args, nb_err *err) {
    const struct nb_copy_matrix_args *a = args;
    return NB_CL_RUN(stream, row, err, ("copy_matrix", NULL, nb__cl_over(a->rows, a->cols)), NB_CL_U32(a->cols),
                     NB_CL_MEM(a->src), NB_CL_MEM(a->dst), NB_CL_U32(a->lds), NB_CL_U32(a->ldd));
}

/* A launcher for each row of OpenCL: nb__cl_<op>. */
static const struct {
    nb_op op;
    nb__cl_op *launch;
} table[] = {
#define NB_OPENCL_ROW(op, name, needs, err) {NB_OP_##op, nb__cl_##op},
#include "kernels/kernels.def"
};

nb__cl_op *nb__cl_op_of(nb_op op) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].op == op)
            return table[i].launch;
    return NULL;
}
