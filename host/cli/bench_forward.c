/* Bench cases of the forward pass: m tokens, k wide (heads of 64), n outputs; with attention n keys before. */
#include "host/base/size.h"
#include "host/cli/bench_case.h"

/* Rows of an f16 table of n. */
nb_status nb_bench_make_embed(nb_bench_case *c, nb_err *err) {
    size_t m = c->shape.m, n = c->shape.n, k = c->shape.k;
    struct nb_embed_args *a = &c->args.embed;
    *a = (struct nb_embed_args){.rows = m, .k = k, .ldo = k, .w_type = NB_F16, .scale = 1.0f};
    c->bytes = 6 * TIMES(m, k);
    NB_TRY(nb_bench_indices(c, m, nb_ceil_div(m, n), &a->ids, err));
    NB_TRY(nb_bench_zeros(c, n * k, sizeof(uint16_t), &a->table, err));
    return nb_bench_zeros(c, m * k, sizeof(float), &a->out, err);
}

nb_status nb_bench_make_rmsnorm(nb_bench_case *c, nb_err *err) {
    size_t m = c->shape.m, k = c->shape.k;
    struct nb_rmsnorm_args *a = &c->args.rmsnorm;
    *a = (struct nb_rmsnorm_args){.rows = m, .k = k, .ldx = k, .ldy = k, .eps = 1e-5f};
    c->bytes = 8 * TIMES(m, k);
    NB_TRY(nb_bench_floats(c, m * k, &a->x, err));
    NB_TRY(nb_bench_floats(c, k, &a->weight, err));
    return nb_bench_zeros(c, m * k, sizeof(float), &a->y, err);
}

/* Heads of 64, or of 2 where k has no whole ones. */
static size_t head_of(size_t k) {
    return k % 64 == 0 ? 64 : 2;
}

/* Cosines of 1 and sines of 0 would do as well: any numbers take the same time. */
nb_status nb_bench_make_rope(nb_bench_case *c, nb_err *err) {
    size_t m = c->shape.m, k = c->shape.k, head = head_of(k);
    struct nb_rope_args *a = &c->args.rope;
    *a = (struct nb_rope_args){.rows = m, .length = m, .heads = k / head, .head_dim = head, .ldx = k};
    c->bytes = 8 * TIMES(m, k);
    c->flops = 3 * TIMES(m, k);
    NB_TRY(nb_bench_floats(c, m * k, &a->x, err));
    NB_TRY(nb_bench_floats(c, m * head / 2, &a->cos, err));
    return nb_bench_floats(c, m * head / 2, &a->sin, err);
}

/* One sequence of m queries after n keys, a key head for each query head. */
nb_status nb_bench_make_attention(nb_bench_case *c, nb_err *err) {
    size_t m = c->shape.m, n = c->shape.n, k = c->shape.k, head = head_of(k), width = k / head * head;
    struct nb_attention_args *a = &c->args.attention;
    *a = (struct nb_attention_args){.sequences = 1, .length = m, .past = n, .heads = k / head, .kv_heads = k / head,
                                    .head_dim = head, .scale = 0.125f};
    a->ldq = a->ldkv = a->ldo = width;
    a->kv_stride = (n + m) * width;
    if (width == 0)
        return nb_fail(err, NB_E_UNSUPPORTED, "attention needs heads of 2 columns at least");
    c->bytes = 8 * (TIMES(m, width) + TIMES(n + m, width));
    c->flops = 4 * TIMES(m, width) * ((double)n + (double)(m + 1) / 2);
    NB_TRY(nb_bench_floats(c, m * width, &a->q, err));
    NB_TRY(nb_bench_floats(c, (n + m) * width, &a->k, err));
    NB_TRY(nb_bench_floats(c, (n + m) * width, &a->v, err));
    return nb_bench_zeros(c, m * width, sizeof(float), &a->out, err);
}

nb_status nb_bench_make_glu(nb_bench_case *c, nb_err *err) {
    size_t m = c->shape.m, n = c->shape.n;
    struct nb_glu_args *a = &c->args.glu;
    *a = (struct nb_glu_args){.rows = m, .n = n, .ldg = n, .ldu = n, .ldo = n, .act = NB_GLU_SILU};
    c->bytes = 12 * TIMES(m, n);
    NB_TRY(nb_bench_floats(c, m * n, &a->gate, err));
    NB_TRY(nb_bench_floats(c, m * n, &a->up, err));
    return nb_bench_zeros(c, m * n, sizeof(float), &a->out, err);
}

nb_status nb_bench_make_add(nb_bench_case *c, nb_err *err) {
    size_t m = c->shape.m, n = c->shape.n;
    struct nb_add_args *a = &c->args.add;
    *a = (struct nb_add_args){.rows = m, .n = n, .ldx = n, .ldy = n};
    c->bytes = 12 * TIMES(m, n);
    NB_TRY(nb_bench_floats(c, m * n, &a->x, err));
    return nb_bench_floats(c, m * n, &a->y, err);
}

/* With a reference. */
nb_status nb_bench_make_logit_stats(nb_bench_case *c, nb_err *err) {
    size_t m = c->shape.m, n = c->shape.n;
    struct nb_logit_stats_args *a = &c->args.logit_stats;
    *a = (struct nb_logit_stats_args){.rows = m, .n = n, .ldl = n, .ldr = n};
    c->bytes = 8 * TIMES(m, n);
    NB_TRY(nb_bench_floats(c, m * n, &a->logits, err));
    NB_TRY(nb_bench_floats(c, m * n, &a->reference, err));
    NB_TRY(nb_bench_zeros(c, m, sizeof(int32_t), &a->targets, err));
    NB_TRY(nb_bench_zeros(c, m, sizeof(double), &a->nll, err));
    NB_TRY(nb_bench_zeros(c, m, sizeof(double), &a->kl, err));
    return nb_bench_zeros(c, m, sizeof(int32_t), &a->agree, err);
}
