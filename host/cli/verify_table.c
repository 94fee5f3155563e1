/* The check of each operation: one entry each. */
#include "host/cli/verify.h"

#define NB_OP(op) extern const nb_check nb_check_##op;
#include "kernels/kernels.def"

#define CHECK(op) [NB_OP_##op] = &nb_check_##op

/* clang-format off */
static const nb_check *const checks[NB_OP_COUNT] = {
    CHECK(matmul), CHECK(linear),
    CHECK(group_range), CHECK(group_search), CHECK(rtn), CHECK(dequant), CHECK(quant_error),
    CHECK(hessian), CHECK(hessian_check), CHECK(column_order), CHECK(hessian_order), CHECK(chol_inverse),
    CHECK(copy_matrix), CHECK(reverse), CHECK(transpose), CHECK(gptq_block),
    CHECK(abs_mean), CHECK(scale_matrix), CHECK(subtract), CHECK(row_dot),
    CHECK(descent_block), CHECK(keep_rows), CHECK(hqq), CHECK(learned_round), CHECK(learned_back), CHECK(sign_step),
    CHECK(scale_back), CHECK(scale_step),
    CHECK(embed), CHECK(rmsnorm), CHECK(rope), CHECK(attention), CHECK(glu), CHECK(add), CHECK(logit_stats),
    CHECK(rmsnorm_back), CHECK(attention_back), CHECK(glu_back), CHECK(kl_back),
    CHECK(qgemm), CHECK(qgemm_i8),
};
/* clang-format on */

const nb_check *nb_check_of(nb_op op) {
    return checks[op];
}
