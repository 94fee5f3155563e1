/* The packed kernels of aarch64 on a processor or under qemu-user, without a test framework:
 * layout, products against the oracle, and faults that must be caught. */
#include <stdio.h>
#include <string.h>

#include "host/cli/verify.h"

/* This program has no CUDA. */
const nb_backend nb__backend_cuda = {.id = NB_CUDA, .name = "cuda"};

static int check(nb_stream *stream, const nb_kernel *row) {
    nb_err err = {0};
    nb_verify v = {.stream = stream, .every = 17};
    if (nb_verify_packed(&v, row, &err) != NB_OK) {
        printf("%s: %s\n", row->name, err.text);
        return 1;
    }
    printf("%-20s %zu cases, %zu wrong, largest error %.0f %% of its bound  %s\n", row->name,
           v.cases, v.wrong, v.worst * 100, v.first);
    int bad = v.wrong > 0 || v.cases == 0;
    for (int fault = NB_FAULT_NONE + 1; fault < NB_FAULT_COUNT; fault++) {
        nb_verify f = {.stream = stream, .fault = (nb_fault)fault, .every = 17};
        if (nb_verify_packed(&f, row, &err) != NB_OK || f.wrong == 0) {
            printf("%s: fault %d was not caught\n", row->name, fault);
            bad = 1;
        }
    }
    return bad;
}

int main(void) {
    size_t count, seen = 0;
    const nb_kernel *rows = nb_kernels(&count);
    nb_device_options options = {.threads = 2};
    nb_device *device;
    nb_stream *stream;
    nb_err err = {0};
    if (nb_device_open("cpu", &options, &device, &err) != NB_OK ||
        nb_stream_new(device, &stream, &err) != NB_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    int bad = 0;
    for (size_t i = 0; i < count; i++)
        if ((rows[i].op == NB_OP_qgemm || rows[i].op == NB_OP_qgemm_i8) && rows[i].backend == NB_CPU && rows[i].needs &&
            device->backend->can_run(device, &rows[i])) {
            bad |= check(stream, &rows[i]);
            seen +=
                !strcmp(rows[i].name, "qgemm_neon") || !strcmp(rows[i].name, "qgemm_i8_dotprod");
        }
    if (seen != 2) {
        printf("only %zu of the two aarch64 variants ran\n", seen);
        bad = 1;
    }
    nb_stream_free(stream);
    nb_device_close(device);
    return bad;
}
