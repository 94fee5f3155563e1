/* A wrong kernel must fail: each variant, broken in each way, is caught; unbroken it passes. */
#include <criterion/criterion.h>
#include <string.h>

#include "host/base/str.h"
#include "host/cli/verify.h"

static void each_packed_row(void (*fn)(nb_stream *stream, const nb_kernel *row)) {
    size_t count, seen = 0;
    const nb_kernel *rows = nb_kernels(&count);
    nb_device_options options = {.threads = 1};
    nb_device *device;
    nb_stream *stream;
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    for (size_t i = 0; i < count; i++)
        if ((rows[i].op == NB_OP_qgemm || rows[i].op == NB_OP_qgemm_i8) &&
            rows[i].backend == NB_CPU && device->backend->can_run(device, &rows[i])) {
            fn(stream, &rows[i]);
            seen++;
        }
    cr_assert_geq(seen, 2);
    nb_stream_free(stream);
    nb_device_close(device);
}

static void broken(nb_stream *stream, const nb_kernel *row) {
    for (int fault = NB_FAULT_NONE + 1; fault < NB_FAULT_COUNT; fault++) {
        nb_verify v = {.stream = stream, .fault = (nb_fault)fault};
        nb_err err = {0};
        cr_assert_eq(nb_verify_packed(&v, row, &err), NB_OK, "%s", err.text);
        cr_assert_gt(v.wrong, 0, "%s with fault %d passed %zu cases", row->name, fault, v.cases);
    }
}

Test(verify, every_fault_of_every_variant_is_caught) {
    each_packed_row(broken);
}

/* A kernel that writes where it must not: the guards see one byte before, after, and in the padding
 * of a row. */
Test(verify, guards_see_overruns) {
    nb_device_options options = {.threads = 1};
    nb_device *device;
    nb_guarded g;
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_guarded_new(device, 100, 64, &g, NULL), NB_OK);
    unsigned char *p = nb_host(g.mem);
    memset(p, 1, 100);
    cr_assert(nb_guarded_intact(&g));
    p[100]++;
    cr_assert(!nb_guarded_intact(&g));
    p[100]--;
    cr_assert(nb_guarded_intact(&g));
    p[-1]++;
    cr_assert(!nb_guarded_intact(&g));
    nb_guarded_free(device, &g);
    nb_device_close(device);
}

/* A NaN is never inside a bound. */
Test(verify, nan_is_wrong) {
    nb_verify v = {0};
    double zero = 0;
    cr_assert(!nb_verify_count(&v, zero / zero, 1e9));
    cr_assert(!nb_verify_count(&v, 2, 1));
    cr_assert(nb_verify_count(&v, 1, 1));
}
