#include <criterion/criterion.h>
#include <math.h>

#include "host/backend/backend.h"
#include "host/base/random.h"

static nb_device *device;
static nb_stream *stream;

static void open_device(void) {
    nb_device_options options = {.threads = 2};
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
}

static void close_device(void) {
    nb_stream_free(stream);
    nb_device_close(device);
}

TestSuite(quant_ops, .init = open_device, .fini = close_device);

enum { N = 19, K = 70, GROUP = 32, GROUPS = 3 };
static float w[N * K], scales[N * GROUPS], zeros[N * GROUPS], back[N * K];
static uint8_t codes[N * K];

static void quantize(unsigned bits, bool symmetric) {
    struct nb_group_range_args range = {.n = N, .k = K, .group = GROUP, .ldw = K, .bits = bits, .symmetric = symmetric,
                                        .scale_type = NB_F16};
    range.w = nb_mem_host(w, sizeof w);
    range.scales = nb_mem_host(scales, sizeof scales);
    range.zeros = nb_mem_host(zeros, sizeof zeros);
    cr_assert_eq(nb_launch(stream, NB_OP_group_range, &range, NULL), NB_OK);
    struct nb_rtn_args rtn = {.n = N, .k = K, .group = GROUP, .w = range.w, .ldw = K, .bits = bits,
                              .scales = range.scales, .zeros = range.zeros, .codes = nb_mem_host(codes, sizeof codes)};
    cr_assert_eq(nb_launch(stream, NB_OP_rtn, &rtn, NULL), NB_OK);
    struct nb_dequant_args dequant = {.n = N, .k = K, .group = GROUP, .codes = rtn.codes, .scales = range.scales,
                                      .zeros = range.zeros, .w = nb_mem_host(back, sizeof back), .ldw = K};
    cr_assert_eq(nb_launch(stream, NB_OP_dequant, &dequant, NULL), NB_OK);
}

/* Inside the range the error is at most half a step; rounding the scale to f16 (2^-11 of it) moves the clipped end by
 * at most 2^bits steps * 2^-11. */
Test(quant_ops, error_is_within_half_a_step) {
    nb_random r = nb_random_seed(1);
    for (size_t i = 0; i < N * K; i++)
        w[i] = nb_random_f32(&r) - 0.4f;
    for (unsigned bits = 2; bits <= 8; bits++)
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            quantize(bits, symmetric);
            double slack = symmetric ? 0.5 : 0.5 + ldexp(1, (int)bits - 11);
            for (size_t i = 0; i < N; i++)
                for (size_t j = 0; j < K; j++) {
                    double step = (double)scales[i * GROUPS + j / GROUP];
                    double diff = fabs((double)w[i * K + j] - (double)back[i * K + j]);
                    /* a symmetric grid ends half a step short of +a */
                    cr_assert_leq(diff, step * (slack + ldexp(1, (int)bits - 11) + 1e-6), "bits %u at %zu,%zu", bits, i, j);
                }
        }
}

Test(quant_ops, one_sided_and_zero_groups) {
    for (size_t i = 0; i < N * K; i++)
        w[i] = i < K ? 0.0f : i < 2 * K ? 5.0f : -3.0f;
    quantize(4, false);
    for (size_t j = 0; j < K; j++) {
        cr_assert_eq(back[j], 0.0f);
        cr_assert_float_eq(back[K + j], 5.0f, 5.0 / 15 * ldexp(15, -11));
        cr_assert_float_eq(back[2 * K + j], -3.0f, 3.0 / 15 * ldexp(15, -11));
    }
    quantize(4, true);
    /* half a step, and 8 steps times the scale's rounding to f16 */
    cr_assert_float_eq(back[2 * K], -3.0f, 6.0 / 15 * (0.5 + 8 * 0x1p-11));
    cr_assert_float_eq(back[K], 5.0f, 10.0 / 15 * (0.5 + 8 * 0x1p-11), "a group without negative values must not be clipped");
}

Test(quant_ops, scales_are_exact_in_f16) {
    nb_random r = nb_random_seed(2);
    for (size_t i = 0; i < N * K; i++)
        w[i] = 1e-7f * nb_random_f32(&r);
    quantize(4, false);
    for (size_t i = 0; i < N * GROUPS; i++) {
        cr_assert_eq(nb_f16_to_f32(nb_f32_to_f16(scales[i])), scales[i]);
        cr_assert_geq(scales[i], 0x1p-14f);
    }
}
