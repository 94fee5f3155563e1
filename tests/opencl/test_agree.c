/* GPTQ on OpenCL beside the CPU, from the same weight and the same Hessian. The steps on codes are the same bits; products and
 * the factor are f32 sums in another order. A value w / scale that lies closer to the middle between two codes than that
 * rounding may go the other way: with a factor good to k u cond, here 256 * 2^-24 * 100 = 1.5e-3 of a step at most, one value in
 * 300 stands so close. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "host/backend/backend.h"
#include "host/base/alloc.h"
#include "host/base/random.h"
#include "host/quant/quant.h"

#define OK(call) cr_assert_eq((call), NB_OK, "%s: %s", #call, err.text)

enum { N = 80, K = 256, ROWS = 2048 };

static float weight[N * K], inputs[ROWS * K];

static float draw(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 40) * 0x1p-24 - 0.5);
}

/* Columns of sizes from 1 to 10, and a common part, so that the Hessian is neither diagonal nor near singular. */
static void fill(void) {
    uint64_t state = 7;
    for (size_t i = 0; i < N * K; i++)
        weight[i] = draw(&state);
    for (size_t r = 0; r < ROWS; r++) {
        float common = draw(&state);
        for (size_t j = 0; j < K; j++)
            inputs[r * K + j] = (draw(&state) + 0.5f * common) * (1.0f + 9.0f * (float)(j * 37 % K) / (float)K);
    }
}

static const nb_quantizer *method(const char *name) {
    for (const nb_quantizer *const *q = nb_quantizers; *q; q++)
        if (!strcmp((*q)->name, name))
            return *q;
    return NULL;
}

/* One solve on a device, whose own Hessian it uses. False where there is no such device. */
static bool solve(const char *how, const char *name, const char *filter, const nb_quant_options *o, nb_qtensor *q, double *loss) {
    nb_err err = {0};
    nb_device_options options = {.threads = 2, .kernel_filter = filter};
    nb_device *device;
    nb_stream *stream;
    nb_mem x = {0}, w = {0}, h = {0};
    if (nb_device_open(name, &options, &device, &err) != NB_OK)
        return false;
    OK(nb_stream_new(device, &stream, &err));
    OK(nb_alloc(device, sizeof inputs, &x, &err));
    OK(nb_alloc(device, sizeof weight, &w, &err));
    OK(nb_alloc_array(device, K * K, sizeof(float), &h, &err));
    OK(nb_upload(stream, x, inputs, sizeof inputs, &err));
    OK(nb_upload(stream, w, weight, sizeof weight, &err));
    OK(nb_fill(stream, h, 0, K * K * sizeof(float), &err));
    struct nb_hessian_args ha = {.rows = ROWS, .k = K, .x = x, .ldx = K, .h = h, .ldh = K, .scale = 2.0f / ROWS, .mirror = true};
    OK(nb_launch(stream, NB_OP_hessian, &ha, &err));
    nb_quant_stats stats = {.hessian = h, .rows = ROWS};
    nb_quant_report report;
    OK(method(how)->run(stream, w, N, K, &stats, o, q, &report, &err));
    *loss = report.loss;
    nb_release(device, &x);
    nb_release(device, &w);
    nb_release(device, &h);
    nb_stream_free(stream);
    nb_device_close(device);
    return true;
}

static void compare(const char *filter) {
    static const nb_column_order orders[] = {NB_ORDER_STORED, NB_ORDER_ACT, NB_ORDER_ACT_STATIC, NB_ORDER_GROUP_AWARE};
    fill();
    for (int i = 0; i < 8; i++) {
        nb_quant_options o = nb_quant_defaults(K);
        nb_qtensor cpu, cl;
        double cpu_loss, cl_loss;
        o.group_size = 64;
        o.order = orders[i / 2];
        o.symmetric = i & 1;
        o.bits = i == 5 ? 3 : 4;
        o.descent = i == 6 ? 2 : 0; /* coordinate descent at the end */
        o.scales = i % 3 ? NB_SCALES_SEARCH : NB_SCALES_MINMAX;
        if (!solve("gptq", "opencl", filter, &o, &cl, &cl_loss))
            cr_skip("no OpenCL device");
        cr_assert(solve("gptq", "cpu", NULL, &o, &cpu, &cpu_loss));
        size_t other = 0;
        for (size_t j = 0; j < N * K; j++)
            other += cpu.codes[j] != cl.codes[j];
        printf("case %d: %zu of %d codes differ, loss %.6g and %.6g\n", i, other, N * K, cpu_loss, cl_loss);
        cr_expect_leq(other, N * K / 300, "case %d: %zu of %d codes differ", i, other, N * K);
        cr_expect_lt(fabs(cl_loss / cpu_loss - 1.0), 2e-3, "case %d: loss %g and %g", i, cpu_loss, cl_loss);
        nb_qtensor_free(&cpu);
        nb_qtensor_free(&cl);
    }
}

Test(opencl_agree, codes_of_gptq) {
    compare(NULL);
}

/* The path of devices that are no processors, have no doubles, and do not divide exactly. */
Test(opencl_agree, codes_of_gptq_on_the_least_device) {
    compare("*_wide,*_lanes,*_lanes_integer,*_item,*_f64,*_blocks,gptq_block,group_search,group_range,rtn");
}

/* HQQ: elements are the same f32 values (no error here is past 0.17, from where the shrinkage takes a power), sums of 64 of them
 * are f64 or pairs in another order. A zero point below 16 may then be its neighbour in f32, 2^-20 away, and no code follows it. */
static void compare_hqq(const char *filter) {
    fill();
    for (int i = 0; i < 4; i++) {
        nb_quant_options o = nb_quant_defaults(K);
        nb_qtensor cpu, cl;
        double loss;
        o.group_size = 64;
        o.symmetric = false;
        o.float_zeros = i & 1;
        o.bits = i & 2 ? 3 : 4;
        if (!solve("hqq", "opencl", filter, &o, &cl, &loss))
            cr_skip("no OpenCL device");
        cr_assert(solve("hqq", "cpu", NULL, &o, &cpu, &loss));
        cr_expect(!memcmp(cpu.codes, cl.codes, N * K), "case %d: codes", i);
        cr_expect(!memcmp(cpu.scales, cl.scales, N * cl.groups * sizeof(float)), "case %d: scales", i);
        for (size_t g = 0; g < N * cl.groups; g++)
            cr_expect_lt(fabsf(cpu.zeros[g] - cl.zeros[g]), 1e-5f, "case %d, group %zu: %.9g, %.9g", i, g, (double)cpu.zeros[g],
                         (double)cl.zeros[g]);
        nb_qtensor_free(&cpu);
        nb_qtensor_free(&cl);
    }
}

Test(opencl_agree, codes_of_hqq) {
    compare_hqq(NULL);
}

Test(opencl_agree, codes_of_hqq_on_the_least_device) {
    compare_hqq("hqq_item,hqq_f64");
}
