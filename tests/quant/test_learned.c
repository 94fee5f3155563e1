/* Learned rounding of one matrix: where it begins, and that steps against the gradient lower the loss. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/quant/learned.h"
#include "tests/quant/naive.h"

enum { N = 12, K = 48 };

typedef struct rig {
    nb_device *device;
    nb_stream *stream;
    float w[N * K], h[K * K], deq[N * K];
    nb_qtensor q;
} rig;

static void rig_open(rig *r, const char *method, unsigned bits, bool symmetric, uint64_t seed) {
    nb_device_options options = {.threads = 2};
    nb_quant_options o = nb_quant_defaults(K);
    cr_assert_eq(nb_device_open("cpu", &options, &r->device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(r->device, &r->stream, NULL), NB_OK);
    make_weight(r->w, N, K, seed);
    make_hessian(r->h, K, 200, seed + 1);
    o.group_size = 16;
    o.bits = bits;
    o.symmetric = symmetric;
    r->q = must_run(method, r->w, r->h, N, K, &o, r->deq, NULL);
}

static void rig_close(rig *r) {
    nb_qtensor_free(&r->q);
    nb_stream_free(r->stream);
    nb_device_close(r->device);
}

/* Without a step the tensor is the one that it began with, whatever made that. */
Test(learned, begins_at_the_tensor_it_is_given) {
    for (int i = 0; i < 8; i++) {
        rig r;
        nb_learned *l;
        nb_qtensor got;
        rig_open(&r, i & 1 ? "gptq" : "rtn", 2 + (unsigned)(i / 2 % 3), i & 4, 30 + (uint64_t)i);
        cr_assert_eq(nb_learned_new(r.stream, &r.q, r.w, &l, NULL), NB_OK);
        cr_assert_eq(nb_learned_result(l, &got, NULL), NB_OK);
        cr_assert(!memcmp(got.scales, r.q.scales, N * r.q.groups * sizeof(float)));
        cr_assert(!memcmp(got.zeros, r.q.zeros, N * r.q.groups * sizeof(float)));
        cr_assert(!memcmp(got.codes, r.q.codes, N * K), "case %d", i);
        nb_qtensor_free(&got);
        nb_learned_free(l);
        rig_close(&r);
    }
}

/* Gradient of tr(E H E^T): 2 (Q - W) H. */
static double gradient(const rig *r, const float *q, float *g) {
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < K; j++) {
            double sum = 0;
            for (size_t c = 0; c < K; c++)
                sum += ((double)q[i * K + c] - (double)r->w[i * K + c]) * (double)r->h[c * K + j];
            g[i * K + j] = (float)(2 * sum);
        }
    return quad_loss(r->w, q, r->h, N, K);
}

/* Steps from rounding to nearest: correlated columns leave much to gain, at 3 bits a fifth of the loss at the least. */
Test(learned, steps_lower_the_loss) {
    for (int i = 0; i < 4; i++) {
        rig r;
        nb_learned *l;
        nb_mem w;
        enum { STEPS = 200 };
        double first = 0;
        rig_open(&r, "rtn", 3, i & 1, 60 + (uint64_t)i);
        cr_assert_eq(nb_learned_new(r.stream, &r.q, r.w, &l, NULL), NB_OK);
        for (int step = 0; step < STEPS; step++) {
            cr_assert_eq(nb_learned_weight(l, &w, NULL), NB_OK);
            double loss = gradient(&r, nb_host(w), nb_host(nb_learned_gradient(l)));
            first = step ? first : loss;
            cr_assert_eq(nb_learned_step(l, 0.01f * (1.0f - (float)step / STEPS), NULL), NB_OK);
        }
        nb_qtensor got;
        cr_assert_eq(nb_learned_result(l, &got, NULL), NB_OK);
        for (size_t j = 0; j < N; j++)
            nb_qtensor_row(&got, j, r.deq + j * K);
        double last = quad_loss(r.w, r.deq, r.h, N, K);
        cr_assert_lt(last, 0.8 * first, "from %g to %g", first, last);
        nb_qtensor_free(&got);
        nb_learned_free(l);
        rig_close(&r);
    }
}
