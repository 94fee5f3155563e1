/* Packed weights against the oracle, by the small API that the model room uses. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "host/backend/packed.h"
#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/base/size.h"
#include "kernels/cpu/ref/qgemm_ref.h"

static nb_qtensor make(size_t n, size_t k, unsigned bits, size_t group, bool symmetric,
                       bool act_order, bool offsets, uint64_t seed) {
    nb_qtensor q;
    nb_random r = nb_random_seed(seed);
    cr_assert_eq(nb_qtensor_new(n, k, bits, group, symmetric, act_order, &q, NULL), NB_OK);
    for (size_t i = 0; i < n * k; i++)
        q.codes[i] = (uint8_t)nb_random_below(&r, 1u << bits);
    for (size_t i = 0; i < n * q.groups; i++) {
        q.scales[i] = nb_f16_to_f32(nb_f32_to_f16(0.01f + nb_random_f32(&r)));
        q.zeros[i] = symmetric ? (float)(1u << (bits - 1))
                     : offsets ? 3.7f * nb_random_f32(&r)
                               : (float)nb_random_below(&r, 1u << bits);
    }
    q.float_zeros = offsets;
    for (size_t j = 0; act_order && j < k; j++)
        q.g_idx[j] = (uint32_t)(j / group);
    for (size_t j = k; act_order && j > 1; j--) {
        size_t o = nb_random_below(&r, (uint32_t)j);
        uint32_t t = q.g_idx[j - 1];
        q.g_idx[j - 1] = q.g_idx[o];
        q.g_idx[o] = t;
    }
    return q;
}

static void check(nb_stream *stream, const nb_qtensor *q, size_t m, nb_gemm_mode mode) {
    nb_random r = nb_random_seed(m);
    nb_packed *p;
    nb_err err = {0};
    size_t bytes;
    float *x, *y;
    char *work;
    cr_assert_eq(nb_packed_new(stream, q, &p, &err), NB_OK, "%s", err.text);
    cr_assert_eq(nb_packed_workspace(p, m, mode, &bytes, &err), NB_OK);
    nb_calloc(m * q->k, sizeof *x, "x", &x, NULL);
    nb_calloc(m * q->n, sizeof *y, "y", &y, NULL);
    nb_alloc_aligned(bytes, 1, "work", &work, NULL);
    for (size_t i = 0; i < m * q->k; i++)
        x[i] = nb_random_f32(&r) - 0.5f;
    cr_assert_eq(nb_packed_linear(stream, p, mode, m, nb_mem_host(x, 0), q->k, nb_mem_host(y, 0),
                                  q->n, (nb_mem){0}, false, nb_mem_host(work, bytes), &err),
                 NB_OK, "%s", err.text);
    float *offsets;
    nb_calloc(q->n * q->groups, sizeof *offsets, "o", &offsets, NULL);
    for (size_t i = 0; i < q->n * q->groups; i++)
        offsets[i] = q->float_zeros ? -q->zeros[i] * q->scales[i] : q->zeros[i];
    nb_ref_weight w = {q->n,      q->k,    q->group_size, q->groups,     q->codes,
                       q->scales, offsets, q->g_idx,      q->float_zeros};
    double *step;
    nb_calloc(q->k, sizeof *step, "step", &step, NULL);
    for (size_t j = 0; j < q->k; j++)
        step[j] = 0.5 / 127; /* of the largest |x| that there can be */
    double gamma = (double)(q->k + 8) * 0x1p-24 * 1.001;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < q->n; j++) {
            nb_ref_sum s = nb_ref_dot(&w, j, x + i * q->k, step);
            double extra = mode == NB_GEMM_FAST ? s.weights * 0.5 * 1.0001 : 0.0;
            double bound = gamma * (s.magnitude + extra) + extra;
            cr_assert_leq(fabs((double)y[i * q->n + j] - s.y), bound,
                          "%zu x %zu, %u bits, group %zu, mode %d, m %zu: %g, not %g at %zu,%zu",
                          q->n, q->k, q->bits, q->group_size, mode, m, (double)y[i * q->n + j], s.y,
                          i, j);
        }
    nb_free(step);
    nb_free(offsets);
    nb_free(work);
    nb_free(x);
    nb_free(y);
    nb_packed_free(p);
}

Test(packed, linear_stays_inside_its_bound) {
    static const unsigned widths[] = {2, 3, 4, 8};
    static const size_t shapes[][3] = {
        {16, 32, 32}, {33, 128, 128}, {50, 100, 16}, {7, 77, 40}, {70, 2100, 128}};
    nb_device_options options = {.threads = 2};
    nb_device *device;
    nb_stream *stream;
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    size_t count;
    const nb_kernel *rows = nb_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        if ((rows[i].op != NB_OP_qgemm && rows[i].op != NB_OP_qgemm_i8) ||
            rows[i].backend != NB_CPU || !device->backend->can_run(device, &rows[i]))
            continue;
        device->chosen[rows[i].op] = &rows[i];
        for (size_t b = 0; b < 4; b++)
            for (size_t s = 0; s < 5; s++)
                for (int form = 0; form < 4; form++) {
                    nb_qtensor q = make(shapes[s][0], shapes[s][1], widths[b], shapes[s][2],
                                        form == 0, form == 2, form == 3, s + 10);
                    for (size_t m = 1; m < 20; m += 3)
                        check(stream, &q, m,
                              rows[i].op == NB_OP_qgemm ? NB_GEMM_EXACT : NB_GEMM_FAST);
                    nb_qtensor_free(&q);
                }
    }
    nb_stream_free(stream);
    nb_device_close(device);
}
