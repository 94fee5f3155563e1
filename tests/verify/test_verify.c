/* A wrong kernel must fail: each variant, broken in each way, is caught; unbroken it passes. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "host/cli/verify.h"

/* The device under test: NB_VERIFY_DEVICE (cuda, opencl), or the CPU. */
static const char *device_name(void) {
    const char *name = getenv("NB_VERIFY_DEVICE");
    return name ? name : "cpu";
}

/* Runs `fn` on every row that the device can run. */
static void each_row(void (*fn)(nb_stream *stream, const nb_kernel *row)) {
    size_t count, seen = 0;
    const nb_kernel *rows = nb_kernels(&count);
    nb_device_options options = {.threads = 1};
    nb_device *device;
    nb_stream *stream;
    nb_err err = {0};
    cr_assert_eq(nb_device_open(device_name(), &options, &device, &err), NB_OK, "%s", err.text);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    for (size_t i = 0; i < count; i++)
        if (rows[i].backend == device->backend->id && device->backend->can_run(device, &rows[i])) {
            fn(stream, &rows[i]);
            seen++;
        }
    cr_assert_geq(seen, 4);
    nb_stream_free(stream);
    nb_device_close(device);
}

static void broken(nb_stream *stream, const nb_kernel *row) {
    if (row->op != NB_OP_qgemm && row->op != NB_OP_qgemm_i8)
        return;
    for (int fault = NB_FAULT_NONE + 1; fault < NB_FAULT_COUNT; fault++) {
        nb_verify v = {.stream = stream, .fault = (nb_fault)fault};
        nb_err err = {0};
        cr_assert_eq(nb_verify_packed(&v, row, &err), NB_OK, "%s", err.text);
        cr_assert_gt(v.wrong, 0, "%s with fault %d passed %zu cases", row->name, fault, v.cases);
    }
}

Test(verify, every_fault_of_every_variant_is_caught) {
    each_row(broken);
}

/* False where the fault finds nothing that it could change. */
static bool caught(nb_stream *stream, const nb_kernel *row, int fault, const char *name) {
    nb_verify v = {.stream = stream, .fault = (nb_fault)fault};
    nb_err err = {0};
    cr_assert_eq(nb_verify_row(&v, row, &err), NB_OK, "%s: %s", row->name, err.text);
    bool changes = fault == NB_FAULT_PADDING || fault == NB_FAULT_INPUT;
    cr_assert(v.wrong > 0 || (changes && v.spoiled == 0), "%s, %s: %zu cases passed", row->name, name, v.cases);
    return v.wrong > 0;
}

/* Operations that unit tests alone cover as yet. */
static bool without_check(nb_op op) {
    static const nb_op ops[] = {NB_OP_learned_round, NB_OP_learned_back,   NB_OP_sign_step,
                                NB_OP_rmsnorm_back,  NB_OP_attention_back, NB_OP_glu_back};
    for (size_t i = 0; i < NB_COUNT_OF(ops); i++)
        if (ops[i] == op)
            return true;
    return false;
}

static size_t padded, with_inputs;

static void wrong_kernels(nb_stream *stream, const nb_kernel *row) {
    const nb_check *check = nb_check_of(row->op);
    if (!check && without_check(row->op))
        return;
    cr_assert_not_null(check, "%s has no check", nb_op_name(row->op));
    if (check->walk)
        return;
    caught(stream, row, NB_FAULT_NOT_RUN, "a kernel that does nothing");
    caught(stream, row, NB_FAULT_ELEMENT, "one element of the output wrong");
    caught(stream, row, NB_FAULT_OVERRUN, "a byte beside the output written");
    padded += caught(stream, row, NB_FAULT_PADDING, "a byte between rows written");
    with_inputs += caught(stream, row, NB_FAULT_INPUT, "an input written");
    for (int i = 0; check->faults[i].name; i++)
        if (row->backend != NB_CUDA || strcmp(check->faults[i].name, "scales of one sign")) /* it has no others */
            caught(stream, row, NB_FAULT_ARGS + i, check->faults[i].name);
    cr_assert_not_null(check->faults[0].name);
}

/* Every operation has a check; of the CPU's plain rows alone 16 have padded outputs and 25 inputs. */
Test(verify, wrong_kernels_of_every_operation_are_caught) {
    each_row(wrong_kernels);
    bool cpu = !strcmp(device_name(), "cpu");
    cr_assert_geq(padded, cpu ? 16 : 1);
    cr_assert_geq(with_inputs, cpu ? 25 : 1);
}

/* The CPU as a device that does not share its memory with the host: all goes through uploads and downloads. */
static void far_away(nb_stream *stream, const nb_kernel *row) {
    nb_verify v = {.stream = stream, .every = row->op == NB_OP_qgemm || row->op == NB_OP_qgemm_i8 ? 97 : 7};
    nb_err err = {0};
    if (without_check(row->op))
        return;
    stream->device->unified = false;
    cr_assert_eq(nb_verify_row(&v, row, &err), NB_OK, "%s: %s", row->name, err.text);
    stream->device->unified = !strcmp(device_name(), "cpu");
    cr_assert(v.cases > 0 && v.wrong == 0, "%s: %s", row->name, v.first);
}

Test(verify, memory_of_a_devices_own) {
    each_row(far_away);
}

/* A write before, after, and up to the alignment of a guarded buffer is seen. */
Test(verify, guards_see_overruns) {
    nb_device_options options = {.threads = 1};
    nb_device *device;
    nb_stream *stream;
    nb_guarded g;
    bool intact;
    unsigned char data[100];
    cr_assert_eq(nb_device_open("cpu", &options, &device, NULL), NB_OK);
    cr_assert_eq(nb_stream_new(device, &stream, NULL), NB_OK);
    for (int unified = 1; unified >= 0; unified--) {
        device->unified = unified;
        cr_assert_eq(nb_guarded_new(stream, sizeof data, 64, &g, NULL), NB_OK);
        cr_assert_eq(g.map != NULL, unified);
        unsigned char *p = nb_host(g.mem);
        memset(p, 1, sizeof data);
        static const int places[] = {0, 100, -1, 127};
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            p[places[i]]++;
            cr_assert_eq(nb_guarded_read(stream, &g, data, &intact, NULL), NB_OK);
            cr_assert_eq(intact, i == 0, "place %d", places[i]);
            cr_assert(data[0] == 2 && data[99] == 1);
            if (i > 0)
                p[places[i]]--;
        }
        nb_guarded_free(stream, &g);
    }
    device->unified = true;
    nb_stream_free(stream);
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
