#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/random.h"
#include "tests/quant/naive.h"

Test(quantizers, the_list_is_found_by_name) {
    cr_assert_not_null(nb_quantizer_by_name("rtn"));
    cr_assert_not_null(nb_quantizer_by_name("gptq"));
    cr_assert_null(nb_quantizer_by_name("gptq2"));
    for (size_t i = 0; nb_quantizers[i]; i++) {
        const nb_quantizer *m = nb_quantizers[i];
        cr_assert_eq(nb_quantizer_by_name(m->name), m);
        cr_assert(m->about[0] && m->run && m->scratch);
        nb_quant_options o = nb_quant_defaults(256);
        cr_assert_geq(m->scratch(64, 256, &o), 64 * 256);
    }
    cr_assert(nb_quantizer_by_name("gptq")->needs_hessian);
    cr_assert_not(nb_quantizer_by_name("rtn")->needs_hessian);
}

/* |w - q| <= scale / 2 between the ends of the grid; beyond them it is the distance to the end. */
Test(rtn, error_is_at_most_half_a_step_in_range) {
    nb_random r = nb_random_seed(3);
    static const size_t shapes[][2] = {{1, 5}, {7, 33}, {17, 576}, {1, 576}, {33, 1}, {64, 64}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (unsigned bits = 2; bits <= 8; bits++) {
            size_t n = shapes[s][0], k = shapes[s][1];
            float *w = must_alloc(n * k, 4), *deq = must_alloc(n * k, 4), *row = must_alloc(k, 4);
            make_weight(w, n, k, s * 10 + bits);
            nb_quant_options o = nb_quant_defaults(k);
            o.bits = bits;
            o.group_size = 1 + nb_random_below(&r, (uint32_t)k);
            o.symmetric = bits & 1;
            nb_quant_report report;
            nb_qtensor q = must_run("rtn", w, NULL, n, k, &o, deq, &report);
            double error = 0.0;
            for (size_t i = 0; i < n; i++) {
                nb_qtensor_row(&q, i, row);
                cr_assert(!memcmp(row, deq + i * k, k * 4));
                for (size_t j = 0; j < k; j++) {
                    size_t at = i * q.groups + j / o.group_size;
                    double x = (double)w[i * k + j], step = (double)q.scales[at];
                    double lo = (0.0 - (double)q.zeros[at]) * step, hi = ((double)((1u << bits) - 1u) - (double)q.zeros[at]) * step;
                    double bound = fmax(0.5 * step, fmax(lo - x, x - hi));
                    cr_assert_leq(fabs(x - (double)row[j]), bound * (1.0 + 1e-6), "%zu x %zu bits %u", n, k, bits);
                    error += (x - (double)row[j]) * (x - (double)row[j]);
                }
            }
            cr_assert_float_eq(report.loss, error / (double)(n * k), 1e-5 * report.loss);
            nb_qtensor_free(&q);
            free(w);
            free(deq);
            free(row);
        }
}

Test(rtn, needs_no_statistics_and_ignores_order) {
    enum { N = 5, K = 40 };
    float w[N * K];
    make_weight(w, N, K, 1);
    nb_quant_options o = nb_quant_defaults(K);
    o.group_size = 16;
    nb_qtensor a = must_run("rtn", w, NULL, N, K, &o, NULL, NULL);
    o.order = NB_ORDER_ACT;
    nb_qtensor b = must_run("rtn", w, NULL, N, K, &o, NULL, NULL);
    cr_assert(!memcmp(a.codes, b.codes, N * K));
    cr_assert_null(b.g_idx);
    nb_qtensor_free(&a);
    nb_qtensor_free(&b);
}
