/* Gradient of causal attention. A task is one sequence and one key head, with all query heads that read it, query after query:
 * probabilities are made anew, so that nothing but the forward pass's inputs and output is kept. */
#include <math.h>

#include "kernels/cpu/vmath.h"

enum { LANES = 16 };

typedef struct run {
    const struct nb_attention_back_args *a;
    nb_pool *pool;
} run;

NB_BODY float dot(const float *x, const float *y, size_t count) {
    float lanes[LANES] = {0}, sum = 0.0f;
    size_t j = 0;
    for (; j + LANES <= count; j += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += x[j + l] * y[j + l];
    for (; j < count; j++)
        sum += x[j] * y[j];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

NB_BODY void add(float *restrict y, const float *restrict x, float scale, size_t count) {
    for (size_t j = 0; j < count; j++)
        y[j] += scale * x[j];
}

/* Probabilities of `keys` keys from k on, into p. */
NB_BODY void probabilities(const struct nb_attention_back_args *a, const float *q, const float *k, size_t keys, float *p) {
    float max = -INFINITY, sum = 0.0f;
    for (size_t j = 0; j < keys; j++) {
        p[j] = a->scale * dot(q, k + j * a->ldkv, a->head_dim);
        max = p[j] > max ? p[j] : max;
    }
    for (size_t j = 0; j < keys; j++)
        p[j] = nb__exp(p[j] - max);
    for (size_t j = 0; j < keys; j++)
        sum += p[j];
    for (size_t j = 0; j < keys; j++)
        p[j] /= sum;
}

/* Query i of one head; kv is the place of the first key of its sequence and key head. */
NB_BODY void query(const struct nb_attention_back_args *a, size_t row, size_t pos, size_t head, size_t kv, float *p) {
    size_t hd = a->head_dim, first = a->window && pos + 1 > a->window ? pos + 1 - a->window : 0, keys = pos + 1 - first;
    const float *q = nb_host_f32(a->q) + row * a->ldq + head * hd, *d = nb_host_f32(a->d) + row * a->ldo + head * hd;
    const float *out = nb_host_f32(a->out) + row * a->ldo + head * hd;
    float *dq = nb_host_f32(a->dq) + row * a->ldq + head * hd, own = dot(d, out, hd);
    kv += first * a->ldkv;
    probabilities(a, q, nb_host_f32(a->k) + kv, keys, p);
    memset(dq, 0, hd * sizeof *dq);
    for (size_t j = 0; j < keys; j++) {
        size_t at = kv + j * a->ldkv;
        add(nb_host_f32(a->dv) + at, d, p[j], hd);
        float ds = a->scale * p[j] * (dot(d, nb_host_f32(a->v) + at, hd) - own);
        add(dq, nb_host_f32(a->k) + at, ds, hd);
        add(nb_host_f32(a->dk) + at, q, ds, hd);
    }
}

NB_BODY void head_body(const run *r, size_t task, unsigned worker) {
    const struct nb_attention_back_args *a = r->a;
    size_t seq = task / a->kv_heads, kvh = task % a->kv_heads, group = a->heads / a->kv_heads;
    size_t kv = seq * a->length * a->ldkv + kvh * a->head_dim;
    for (size_t j = 0; j < a->length; j++) {
        memset(nb_host_f32(a->dk) + kv + j * a->ldkv, 0, a->head_dim * sizeof(float));
        memset(nb_host_f32(a->dv) + kv + j * a->ldkv, 0, a->head_dim * sizeof(float));
    }
    for (size_t i = 0; i < a->length; i++)
        for (size_t g = 0; g < group; g++)
            query(a, seq * a->length + i, i, kvh * group + g, kv, nb_pool_scratch(r->pool, worker, 0));
}

#define VARIANT(isa, target)                                                                                           \
    target static void task_##isa(void *arg, size_t task, unsigned worker) {                                           \
        head_body(arg, task, worker);                                                                                  \
    }                                                                                                                  \
    nb_status nb__cpu_attention_back_##isa(nb_pool *pool, const struct nb_attention_back_args *args, nb_err *err) {    \
        run r = {.a = args, .pool = pool};                                                                             \
        size_t bytes;                                                                                                  \
        if (!nb_mul(args->length, sizeof(float), &bytes))                                                              \
            return nb_fail_memory(err, SIZE_MAX, "attention");                                                         \
        NB_TRY(nb_pool_reserve(pool, bytes, err));                                                                     \
        nb_pool_run(pool, args->sequences * args->kv_heads, task_##isa, &r);                                           \
        return NB_OK;                                                                                                  \
    }

VARIANT(plain, NB_TARGET_PLAIN)
#if defined(__x86_64__)
VARIANT(avx2, NB_TARGET_AVX2)
VARIANT(avx512, NB_TARGET_AVX512)
#endif
