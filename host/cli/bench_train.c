/* Bench cases of the operations of learned rounding: the step forward and the gradients. */
#include "host/base/size.h"
#include "host/cli/bench_case.h"

/* Weights [n,k] with ranges; what the step makes of them stands in the same arguments. */
static nb_status make_round(nb_bench_case *c, struct nb_learned_round_args *a, nb_err *err) {
    const nb_bench_shape *s = &c->shape;
    size_t group = s->group == 0 || s->group > s->k ? s->k : s->group, params = s->n * nb_ceil_div(s->k, group);
    nb_mem *floats[] = {&a->scale0, &a->zero0, &a->alpha, &a->beta, &a->scales, &a->zeros};
    *a = (struct nb_learned_round_args){.n = s->n, .k = s->k, .group = group, .bits = s->bits, .scale_type = NB_F16};
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        NB_TRY(nb_bench_floats(c, params, floats[i], err));
    NB_TRY(nb_bench_floats(c, s->n * s->k, &a->b, err));
    NB_TRY(nb_bench_floats(c, s->n * s->k, &a->v, err));
    NB_TRY(nb_bench_zeros(c, s->n * s->k, sizeof(float), &a->w, err));
    return nb_bench_zeros(c, s->n * s->k, 1, &a->codes, err);
}

nb_status nb_bench_make_learned_round(nb_bench_case *c, nb_err *err) {
    c->bytes = 13 * TIMES(c->shape.n, c->shape.k);
    return make_round(c, &c->args.learned_round, err);
}

nb_status nb_bench_make_learned_back(nb_bench_case *c, nb_err *err) {
    struct nb_learned_back_args *a = &c->args.learned_back;
    size_t n = c->shape.n, k = c->shape.k;
    NB_TRY(make_round(c, &a->f, err));
    size_t params = n * nb_ceil_div(k, a->f.group);
    c->bytes = 17 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->g, err));
    NB_TRY(nb_bench_zeros(c, params, sizeof(float), &a->dalpha, err));
    return nb_bench_zeros(c, params, sizeof(float), &a->dbeta, err);
}

nb_status nb_bench_make_sign_step(nb_bench_case *c, nb_err *err) {
    struct nb_sign_step_args *a = &c->args.sign_step;
    size_t n = c->shape.n, k = c->shape.k;
    *a = (struct nb_sign_step_args){.rows = n, .k = k, .step = 0x1p-10f, .low = -0.5f, .high = 0.5f};
    c->bytes = 12 * TIMES(n, k);
    NB_TRY(nb_bench_floats(c, n * k, &a->x, err));
    return nb_bench_floats(c, n * k, &a->g, err);
}

nb_status nb_bench_make_rmsnorm_back(nb_bench_case *c, nb_err *err) {
    struct nb_rmsnorm_back_args *a = &c->args.rmsnorm_back;
    size_t m = c->shape.m, k = c->shape.k;
    *a = (struct nb_rmsnorm_back_args){.rows = m, .k = k, .ldx = k, .ldd = k, .lddx = k, .eps = 1e-5f};
    c->bytes = 12 * TIMES(m, k);
    NB_TRY(nb_bench_floats(c, m * k, &a->x, err));
    NB_TRY(nb_bench_floats(c, k, &a->weight, err));
    NB_TRY(nb_bench_floats(c, m * k, &a->d, err));
    return nb_bench_zeros(c, m * k, sizeof(float), &a->dx, err);
}

/* One sequence of m, heads of 64 (or of 2), a key head for each. */
nb_status nb_bench_make_attention_back(nb_bench_case *c, nb_err *err) {
    struct nb_attention_back_args *a = &c->args.attention_back;
    size_t m = c->shape.m, k = c->shape.k, head = k % 64 == 0 ? 64 : 2, width = k / head * head;
    nb_mem *in[] = {&a->q, &a->k, &a->v, &a->out, &a->d}, *out[] = {&a->dq, &a->dk, &a->dv};
    *a = (struct nb_attention_back_args){.sequences = 1, .length = m, .heads = k / head, .kv_heads = k / head, .head_dim = head,
                                         .ldq = width, .ldkv = width, .ldo = width, .scale = 0.125f};
    if (width == 0)
        return nb_fail(err, NB_E_UNSUPPORTED, "attention needs heads of 2 columns at least");
    c->bytes = 32 * TIMES(m, width);
    c->flops = 10 * TIMES(m, width) * (double)(m + 1) / 2; /* five products of the size of q k^T, half of it masked */
    for (size_t i = 0; i < sizeof in / sizeof *in; i++)
        NB_TRY(nb_bench_floats(c, m * width, in[i], err));
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        NB_TRY(nb_bench_zeros(c, m * width, sizeof(float), out[i], err));
    return NB_OK;
}

nb_status nb_bench_make_glu_back(nb_bench_case *c, nb_err *err) {
    struct nb_glu_back_args *a = &c->args.glu_back;
    size_t m = c->shape.m, k = c->shape.k;
    *a = (struct nb_glu_back_args){.rows = m, .n = k, .act = NB_GLU_SILU};
    c->bytes = 20 * TIMES(m, k);
    NB_TRY(nb_bench_floats(c, m * k, &a->gate, err));
    NB_TRY(nb_bench_floats(c, m * k, &a->up, err));
    NB_TRY(nb_bench_floats(c, m * k, &a->d, err));
    NB_TRY(nb_bench_zeros(c, m * k, sizeof(float), &a->dgate, err));
    return nb_bench_zeros(c, m * k, sizeof(float), &a->dup, err);
}

nb_status nb_bench_make_scale_back(nb_bench_case *c, nb_err *err) {
    struct nb_scale_back_args *a = &c->args.scale_back;
    const nb_bench_shape *s = &c->shape;
    size_t group = s->group == 0 || s->group > s->k ? s->k : s->group, params = s->n * nb_ceil_div(s->k, group);
    *a = (struct nb_scale_back_args){.rows = s->n, .k = s->k, .group = group};
    c->bytes = 5 * TIMES(s->n, s->k);
    NB_TRY(nb_bench_zeros(c, s->n * s->k, 1, &a->codes, err));
    NB_TRY(nb_bench_floats(c, s->n * s->k, &a->g, err));
    NB_TRY(nb_bench_floats(c, params, &a->scale0, err));
    NB_TRY(nb_bench_floats(c, params, &a->zeros, err));
    return nb_bench_zeros(c, params, sizeof(float), &a->d, err);
}

nb_status nb_bench_make_scale_step(nb_bench_case *c, nb_err *err) {
    struct nb_scale_step_args *a = &c->args.scale_step;
    size_t n = c->shape.n, k = c->shape.k;
    nb_mem *floats[] = {&a->f, &a->m, &a->d, &a->scale0, &a->scales};
    *a = (struct nb_scale_step_args){.rows = n, .k = k, .step = 0x1p-10f, .beta1 = 0.9f, .beta2 = 0.99f, .fix1 = 1.0f, .fix2 = 1.0f,
                                     .eps = 1e-12f, .low = 0.5f, .high = 2.0f, .scale_type = NB_F16};
    c->bytes = 36 * TIMES(n, k);
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        NB_TRY(nb_bench_floats(c, n * k, floats[i], err));
    return nb_bench_zeros(c, n * k, sizeof(float), &a->v, err);
}

nb_status nb_bench_make_kl_back(nb_bench_case *c, nb_err *err) {
    struct nb_kl_back_args *a = &c->args.kl_back;
    size_t m = c->shape.m, n = c->shape.n;
    *a = (struct nb_kl_back_args){.rows = m, .n = n, .ldl = n, .ldr = n, .ldd = n, .factor = 1.0f};
    c->bytes = 12 * TIMES(m, n);
    NB_TRY(nb_bench_floats(c, m * n, &a->logits, err));
    NB_TRY(nb_bench_floats(c, m * n, &a->reference, err));
    return nb_bench_zeros(c, m * n, sizeof(float), &a->d, err);
}
