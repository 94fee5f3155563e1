/* What a run measures of its machine: the speed of the dense product (for a plan's time), memory, and the device's name. */
#include <stdio.h>
#include <time.h>

#include "host/base/alloc.h"
#include "host/run/pipeline.h"

enum { SIZE = 768, RUNS = 3 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static nb_status best_time(nb_stream *stream, const struct nb_matmul_args *args, double *out, nb_err *err) {
    double best = 0;
    for (int i = 0; i <= RUNS; i++) {
        double t = now();
        NB_TRY(nb_launch(stream, NB_OP_matmul, args, err));
        NB_TRY(nb_sync(stream, err));
        t = now() - t;
        if (i == 1 || (i > 1 && t < best)) /* the first run warms up */
            best = t;
    }
    *out = best;
    return NB_OK;
}

bool nb_device_has_gradients(const nb_device *device) {
    return device->chosen[NB_OP_scale_step] && device->chosen[NB_OP_kl_back];
}

nb_status nb_measure_machine(const char *name, unsigned threads, nb_machine *out, nb_err *err) {
    nb_device_options o = {.threads = threads};
    size_t bytes = (size_t)SIZE * SIZE * sizeof(float);
    struct nb_matmul_args args = {.m = SIZE, .n = SIZE, .k = SIZE, .lda = SIZE, .ldb = SIZE, .ldc = SIZE, .trans_b = true,
                                  .alpha = 1.0f};
    nb_device *device = NULL;
    nb_stream *stream = NULL;
    nb_device_info info;
    double seconds = 0;
    nb_status status;
    NB_GO(nb_device_open(name, &o, &device, err));
    NB_GO(nb_stream_new(device, &stream, err));
    NB_GO(nb_alloc(device, bytes, &args.a, err));
    NB_GO(nb_alloc(device, bytes, &args.b, err));
    NB_GO(nb_alloc(device, bytes, &args.c, err));
    NB_GO(nb_fill(stream, args.a, 0, bytes, err));
    NB_GO(nb_fill(stream, args.b, 0, bytes, err));
    NB_GO(best_time(stream, &args, &seconds, err));
    NB_GO(device->backend->info(device, &info, err));
    *out = (nb_machine){.flops = 2.0 * SIZE * SIZE * SIZE / seconds, .memory = info.memory, .gradients = nb_device_has_gradients(device)};
out:
    if (device) {
        nb_release(device, &args.a);
        nb_release(device, &args.b);
        nb_release(device, &args.c);
    }
    nb_stream_free(stream);
    nb_device_close(device);
    return status;
}

uint64_t nb_anon_memory(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    unsigned long long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib * 1024;
}

void nb_device_text(nb_device *device, char *out, size_t cap) {
    const nb_kernel *row = device->chosen[NB_OP_matmul];
    nb_device_info info;
    if (device->backend->info(device, &info, NULL) != NB_OK)
        info.model[0] = 0;
    if (device->backend->id == NB_CPU)
        snprintf(out, cap, "cpu %s", row ? row->name : "");
    else
        snprintf(out, cap, "%s %.100s", device->backend->name, info.model);
}
