/* The check of each operation: one entry each. */
#include "host/cli/verify.h"

#define NB_OP(op) extern const nb_check nb_check_##op;
#include "kernels/kernels.def"

#define CHECK(op) [NB_OP_##op] = &nb_check_##op

static const nb_check *const checks[NB_OP_COUNT] = {
    CHECK(matmul),      CHECK(linear),
    CHECK(group_range), CHECK(group_search), CHECK(rtn), CHECK(dequant), CHECK(quant_error),
    CHECK(copy_matrix), CHECK(reverse),      CHECK(transpose),
    CHECK(abs_mean),    CHECK(scale_matrix), CHECK(subtract), CHECK(row_dot),
    CHECK(add),
    CHECK(qgemm),       CHECK(qgemm_i8),
};

const nb_check *nb_check_of(nb_op op) {
    return checks[op];
}
