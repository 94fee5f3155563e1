/* Dead columns, values that are no numbers, and the mean of the diagonal, before a GPTQ solve. */
#include <stdatomic.h>
#include <string.h>

#include "host/base/size.h"
#include "kernels/cpu/cpu.h"

enum { ROWS_PER_TASK = 16 };

typedef struct run {
    const struct nb_hessian_check_args *args;
    atomic_uint bad_hessian, bad_weight;
} run;

/* NaN and infinity have all bits of the exponent set. */
static unsigned not_finite(const float *x, size_t count) {
    unsigned bad = 0;
    for (size_t j = 0; j < count; j++) {
        uint32_t bits;
        memcpy(&bits, &x[j], sizeof bits);
        bad += (bits & 0x7f800000u) == 0x7f800000u;
    }
    return bad;
}

static void hessian_task(void *arg, size_t task, unsigned worker) {
    run *r = arg;
    const struct nb_hessian_check_args *a = r->args;
    (void)worker;
    unsigned bad = 0;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->k);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++) {
        const float *row = nb_host_f32(a->h) + i * a->ldh;
        bad += not_finite(row, a->k) + (row[i] < 0.0f);
    }
    atomic_fetch_add_explicit(&r->bad_hessian, bad, memory_order_relaxed);
}

static void weight_task(void *arg, size_t task, unsigned worker) {
    run *r = arg;
    const struct nb_hessian_check_args *a = r->args;
    const struct nb_gptq_status *status = nb_host(a->status);
    (void)worker;
    unsigned bad = 0;
    size_t last = nb_min((task + 1) * ROWS_PER_TASK, a->n);
    for (size_t i = task * ROWS_PER_TASK; i < last; i++) {
        float *row = nb_host_f32(a->w) + i * a->ldw;
        bad += not_finite(row, a->k);
        for (size_t j = 0; status->dead > 0 && j < a->k; j++)
            if (nb_host_f32(a->h)[j * a->ldh + j] == 0.0f)
                row[j] = 0.0f;
    }
    atomic_fetch_add_explicit(&r->bad_weight, bad, memory_order_relaxed);
}

nb_status nb__cpu_hessian_check_plain(nb_pool *pool, const struct nb_hessian_check_args *a, nb_err *err) {
    (void)err;
    struct nb_gptq_status *status = nb_host(a->status);
    run r = {.args = a};
    nb_pool_run(pool, nb_ceil_div(a->k, ROWS_PER_TASK), hessian_task, &r);
    double sum = 0.0;
    uint32_t dead = 0;
    for (size_t j = 0; j < a->k; j++) {
        float d = nb_host_f32(a->h)[j * a->ldh + j];
        sum += (double)d;
        dead += d == 0.0f;
    }
    status->dead = dead;
    status->pivot = 0;
    status->mean = dead < a->k ? (float)(sum / (double)(a->k - dead)) : 1.0f;
    nb_pool_run(pool, nb_ceil_div(a->n, ROWS_PER_TASK), weight_task, &r);
    status->bad_hessian = atomic_load(&r.bad_hessian);
    status->bad_weight = atomic_load(&r.bad_weight);
    return NB_OK;
}
